//! What one measurement changes.

use super::bounds::Grade;
use super::measure::{Outcome, OutcomeKind, measure};
use super::plan::ThresholdPlan;
use super::schedule::{RETRY_AFTER_S_MAX, is_new};
use super::state::{Ended, ThresholdState};
use crate::sample::Sample;
use crate::text::one_line;

/// Bound on the last measurement's words, in bytes: room is left in a message for the metric's name and the counts.
const LAST_MESSAGE_BYTES_MAX: usize = 384;

/// The state after a measurement. A sample that is not newer than the last one, or from before the first slot, or after
/// the metric has ended, changes nothing: no slot counts twice, whoever repeats it.
#[must_use = "the state that was passed in is left as it was"]
pub fn fold(plan: &ThresholdPlan, state: &ThresholdState, sample: &Sample) -> ThresholdState {
    let mut next = state.clone();
    if state.ended.is_some() || plan.is_skipped() || !is_new(plan, state, sample.due) {
        return next;
    }
    let Outcome { kind, value, message } = measure(plan, &sample.answer);
    next.last_due = Some(sample.due);
    next.last_message = one_line(&message, LAST_MESSAGE_BYTES_MAX);
    match kind {
        OutcomeKind::Error { kind, retry_after_s } => {
            increment(&mut next.errors);
            increment(&mut next.consecutive_errors);
            next.consecutive_successes = 0;
            next.errors_since.get_or_insert(sample.due);
            next.last_failure = Some(kind);
            next.retry_after_s = retry_after_s.map(|s| s.clamp(0, RETRY_AFTER_S_MAX));
        }
        OutcomeKind::Held => {
            answered(&mut next);
            increment(&mut next.held);
            next.consecutive_successes = 0;
            next.no_data_since.get_or_insert(sample.due);
        }
        OutcomeKind::Counted(grade) => {
            answered(&mut next);
            next.no_data_since = None;
            next.last_value = value;
            count(&mut next, grade);
            next.ended = ending(plan, &next);
        }
    }
    next
}

fn answered(state: &mut ThresholdState) {
    state.consecutive_errors = 0;
    state.errors_since = None;
    state.last_failure = None;
    state.retry_after_s = None;
}

fn count(state: &mut ThresholdState, grade: Grade) {
    increment(&mut state.measurements);
    match grade {
        Grade::Success => {
            increment(&mut state.successes);
            increment(&mut state.consecutive_successes);
        }
        Grade::Inconclusive => {
            increment(&mut state.inconclusives);
            state.consecutive_successes = 0;
        }
        Grade::Failure => {
            increment(&mut state.failures);
            state.consecutive_successes = 0;
        }
    }
}

fn ending(plan: &ThresholdPlan, state: &ThresholdState) -> Option<Ended> {
    let enough = state.successes >= plan.min_measurements.max(1);
    let in_a_row = plan.consecutive_success_limit;
    if is_over(state.failures, plan.failure_limit) {
        Some(Ended::Failed)
    } else if is_over(state.inconclusives, plan.inconclusive_limit) {
        Some(Ended::Inconclusive)
    } else if in_a_row > 0 && state.consecutive_successes >= in_a_row && enough {
        Some(Ended::Successful)
    } else if plan.effective_count().is_some_and(|count| state.measurements >= count) {
        Some(if enough { Ended::Successful } else { Ended::TooFewSuccesses })
    } else {
        None
    }
}

/// A negative limit tolerates any number.
pub(crate) fn is_over(number: i32, limit: i32) -> bool {
    limit >= 0 && number > limit
}

fn increment(counter: &mut i32) {
    *counter = counter.saturating_add(1);
}
