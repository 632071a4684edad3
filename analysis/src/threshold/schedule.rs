//! When to measure. Measurement n is due at start + delay + n intervals, so that a slow measurement or a restart does
//! not move the later ones; what was missed is not made up.

use chrono::{DateTime, TimeDelta, Utc};

use super::plan::{DURATION_S_MAX, ThresholdPlan};
use super::state::ThresholdState;
use crate::sample::FailureKind;

/// Seconds until a query that failed for a passing reason is tried again, where the interval is longer.
pub const TRANSIENT_RETRY_S: i64 = 10;

/// Seconds that a query which will fail again is left alone at least: somebody must change something first, and a
/// minute is soon enough to notice that they did.
pub const PERMANENT_RETRY_S: i64 = 60;

/// Bound on what a server may ask for with `Retry-After`, in seconds: it must not be able to switch judging off.
pub const RETRY_AFTER_S_MAX: i64 = 300;

/// Seconds between attempts of a plan with a single measurement whose answer did not count.
const SINGLE_RETRY_S: i64 = 60;

/// The instant of the measurement to take now; the query is evaluated at that instant. `None` when none is due yet or
/// the metric has ended. A late measurement is taken once, at the latest instant that has passed.
///
/// Every attempt has an instant of its own, a repeated one too: that makes folding idempotent by instant alone.
pub fn due(plan: &ThresholdPlan, state: &ThresholdState, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let next = next_due(plan, state)?;
    if next > now {
        return None;
    }
    let slot = latest_slot(plan, state, now).filter(|&slot| slot >= next);
    let retry = matches!(state.last_failure, Some(FailureKind::Transient | FailureKind::Partial));
    match slot {
        Some(slot) => Some(slot),
        // between two slots: the latest of the instants at which the attempt would have been repeated
        None if retry => next.checked_add_signed(whole_steps(now - next, seconds(TRANSIENT_RETRY_S))),
        None => Some(next),
    }
}

/// The instant of the next measurement, in the future or past; `None` when the metric has ended.
pub fn next_due(plan: &ThresholdPlan, state: &ThresholdState) -> Option<DateTime<Utc>> {
    if state.ended.is_some() || plan.is_skipped() {
        return None;
    }
    let Some(last) = state.last_due else {
        return first_slot(plan, state);
    };
    let in_s = |s: i64| last.checked_add_signed(seconds(s));
    let slot = slot_after(plan, state, last)?;
    let earliest = match state.last_failure {
        None => return Some(slot),
        Some(FailureKind::Transient | FailureKind::Partial) => in_s(TRANSIENT_RETRY_S)?.min(slot),
        Some(FailureKind::Permanent) => slot_after(plan, state, in_s(PERMANENT_RETRY_S - 1)?)?,
    };
    // the slots until the server wants to be asked again are missed
    Some(earliest.max(in_s(state.retry_after_s.unwrap_or(0).min(RETRY_AFTER_S_MAX))?))
}

/// Whether a measurement at this instant belongs to the metric: not before its first slot and not taken already.
pub(crate) fn is_new(plan: &ThresholdPlan, state: &ThresholdState, due: DateTime<Utc>) -> bool {
    let began = first_slot(plan, state).is_some_and(|first| due >= first);
    began && state.last_due.is_none_or(|last| due > last)
}

/// Stored numbers are not trusted to be in range.
pub(crate) fn seconds(s: i64) -> TimeDelta {
    TimeDelta::seconds(s.clamp(0, DURATION_S_MAX))
}

pub(crate) fn first_slot(plan: &ThresholdPlan, state: &ThresholdState) -> Option<DateTime<Utc>> {
    state.started_at.checked_add_signed(seconds(plan.initial_delay_s))
}

fn interval(plan: &ThresholdPlan) -> TimeDelta {
    seconds(if plan.interval_s > 0 { plan.interval_s } else { SINGLE_RETRY_S })
}

/// The last slot at or before `instant`; `None` before the first.
fn latest_slot(plan: &ThresholdPlan, state: &ThresholdState, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let first = first_slot(plan, state)?;
    if instant < first {
        return None;
    }
    first.checked_add_signed(whole_steps(instant - first, interval(plan)))
}

/// The first slot after `instant`.
fn slot_after(plan: &ThresholdPlan, state: &ThresholdState, instant: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match latest_slot(plan, state, instant) {
        Some(slot) => slot.checked_add_signed(interval(plan)),
        None => first_slot(plan, state),
    }
}

/// As many whole `step`s as fit into `span`. `step` is at least one second.
fn whole_steps(span: TimeDelta, step: TimeDelta) -> TimeDelta {
    let step_s = step.num_seconds().max(1);
    TimeDelta::try_seconds(span.num_seconds() / step_s * step_s).unwrap_or(TimeDelta::zero())
}
