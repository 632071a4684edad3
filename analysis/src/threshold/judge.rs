//! What follows from the measurements so far.
//!
//! Only bad measurements roll back. A lack of data and failed queries hold, and after a limit they are inconclusive; they
//! end by themselves when data is back, so that a restart of Prometheus does not need a person.

use chrono::{DateTime, Utc};

use super::fold::is_over;
use super::plan::ThresholdPlan;
use super::schedule::{next_due, seconds};
use super::state::{Ended, ThresholdState};
use crate::sample::FailureKind;
use crate::text::{MESSAGE_BYTES_MAX, one_line};
use crate::verdict::{InconclusiveCause, Judgement, Verdict};

type Finding = (Verdict, Option<InconclusiveCause>, String);

/// What is known in the middle of a step.
pub fn judge(plan: &ThresholdPlan, state: &ThresholdState, now: DateTime<Utc>) -> Judgement {
    let found = standing(plan, state, now).unwrap_or_else(|| (Verdict::Undecided, None, so_far(plan, state)));
    judgement(plan, state, found)
}

/// What is known when the step's time is over. Fold what is [`due`](super::due) before asking.
///
/// Healthy needs enough good measurements, no limit crossed, and that the last question was answered with a number:
/// while the metric has no data or its query fails, the answer is a verdict that holds, and asking again later settles it.
pub fn close(plan: &ThresholdPlan, state: &ThresholdState, now: DateTime<Utc>) -> Judgement {
    let needed = plan.min_measurements.max(1);
    let found = standing(plan, state, now).unwrap_or_else(|| {
        if state.consecutive_errors > 0 {
            (Verdict::QueryError, None, so_far(plan, state))
        } else if state.measurements == 0 {
            let message = "the step's time is over without a measurement".to_owned();
            (Verdict::Inconclusive, Some(InconclusiveCause::NoData), message)
        } else if state.successes < needed {
            (Verdict::Inconclusive, Some(InconclusiveCause::TooFewMeasurements), too_few(state, needed))
        } else {
            (Verdict::Healthy, None, so_far(plan, state))
        }
    });
    judgement(plan, state, found)
}

/// What holds whether or not the step's time is over; `None`: nothing but the counts.
fn standing(plan: &ThresholdPlan, state: &ThresholdState, now: DateTime<Utc>) -> Option<Finding> {
    let last = &state.last_message;
    if plan.is_skipped() {
        return Some((Verdict::Healthy, None, "not measured: count is 0".to_owned()));
    }
    if let Some(ended) = state.ended {
        return Some(match ended {
            Ended::Failed => {
                let message = format!("{last}; {}", limit_words(state.failures, "failed", plan.failure_limit));
                (Verdict::RollBack, None, message)
            }
            Ended::Inconclusive => {
                let limit = limit_words(state.inconclusives, "inconclusive", plan.inconclusive_limit);
                (Verdict::Inconclusive, Some(InconclusiveCause::BetweenBounds), format!("{last}; {limit}"))
            }
            Ended::TooFewSuccesses => {
                let message = too_few(state, plan.min_measurements.max(1));
                (Verdict::Inconclusive, Some(InconclusiveCause::TooFewMeasurements), message)
            }
            Ended::Successful => (Verdict::Healthy, None, so_far(plan, state)),
        });
    }
    let age_s = |since: Option<DateTime<Utc>>| since.map(|since| (now - since).max(chrono::TimeDelta::zero()));
    let is_past = |since, limit_s| age_s(since).is_some_and(|age| age >= seconds(limit_s));
    if state.consecutive_errors > 0 {
        let message = format!("query failed {} times in a row: {last}", state.consecutive_errors);
        // asking again does not help, so there is nothing to wait for before saying so
        let permanent = state.last_failure == Some(FailureKind::Permanent);
        if is_past(state.errors_since, plan.query_error_limit_s) {
            return Some((Verdict::Inconclusive, Some(InconclusiveCause::QueryError), message));
        }
        if permanent || is_over(state.consecutive_errors, plan.consecutive_error_limit) {
            return Some((Verdict::QueryError, None, message));
        }
    }
    if let Some(since) = state.no_data_since {
        let message = format!("{last}, since {}", since.format("%H:%M:%S UTC"));
        if is_past(Some(since), plan.no_data_limit_s) {
            return Some((Verdict::Inconclusive, Some(InconclusiveCause::NoData), message));
        }
        return Some((Verdict::NoData, None, message));
    }
    None
}

fn so_far(plan: &ThresholdPlan, state: &ThresholdState) -> String {
    let last = &state.last_message;
    if state.consecutive_errors > 0 {
        return format!("query failed {} times in a row: {last}", state.consecutive_errors);
    }
    if state.measurements == 0 {
        return match next_due(plan, state) {
            Some(first) => format!("first measurement at {}", first.format("%H:%M:%S UTC")),
            None => "not measured".to_owned(),
        };
    }
    let of = plan.effective_count().map_or_else(String::new, |count| format!(" of {count}"));
    let bad = match (state.failures, state.inconclusives) {
        (0, 0) => String::new(),
        (failures, 0) => format!(", {failures} failed"),
        (0, inconclusives) => format!(", {inconclusives} inconclusive"),
        (failures, inconclusives) => format!(", {failures} failed, {inconclusives} inconclusive"),
    };
    format!("{last}; {}{of} measured, {} good{bad}", state.measurements, state.successes)
}

fn too_few(state: &ThresholdState, needed: i32) -> String {
    format!("{} good of {} measurements, {needed} needed", state.successes, state.measurements)
}

fn limit_words(number: i32, word: &str, limit: i32) -> String {
    format!("{number} {word}, {limit} tolerated")
}

fn judgement(plan: &ThresholdPlan, state: &ThresholdState, (verdict, cause, message): Finding) -> Judgement {
    let name = one_line(&plan.name, super::plan::NAME_BYTES_MAX);
    let base = Judgement {
        value: state.last_value.filter(|v| v.is_finite()),
        bound: Some(plan.bounds.to_string()),
        at: state.last_due,
        ..Judgement::new(verdict, format!("{name}: {message}"))
    };
    if plan.is_skipped() {
        Judgement { advisory: true, ..base }
    } else if plan.dry_run {
        let message = one_line(&format!("{name}: dry run, would be {verdict}: {message}"), MESSAGE_BYTES_MAX);
        Judgement { verdict: Verdict::Healthy, message, advisory: true, ..base }
    } else {
        Judgement { cause, ..base }
    }
}
