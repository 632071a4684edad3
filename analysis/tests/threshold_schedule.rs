//! When measurements are due: on a fixed grid, late ones once, missed ones never.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use sluice_analysis::threshold::{Bounds, ThresholdPlan, ThresholdState, due, fold, next_due, start};
use sluice_analysis::{Answer, FailureKind, QueryFailure, Sample};
use support::{Run, at, failed, plan, t0, value};

fn every_minute() -> ThresholdPlan {
    plan(Bounds::max(0.5))
}

fn next(run: &Run) -> Option<i64> {
    next_due(&run.plan, &run.state).map(|due| (due - t0()).num_seconds())
}

#[test]
fn the_first_measurement_waits_for_the_delay_and_no_longer() {
    let run = Run::new(ThresholdPlan { initial_delay_s: 120, ..every_minute() });
    assert_eq!(due(&run.plan, &run.state, at(119)), None);
    assert_eq!(due(&run.plan, &run.state, at(120)), Some(at(120)));
    assert_eq!(due(&run.plan, &run.state, at(-500)), None);
}

#[test]
fn a_late_measurement_does_not_move_the_later_ones() {
    let mut run = Run::new(every_minute());
    run.now = at(47);
    run.measure(value(0.1));
    assert_eq!(run.state.last_due, Some(t0()));
    assert_eq!(next(&run), Some(60));
}

#[test]
fn missed_measurements_are_not_made_up() {
    let mut run = Run::new(every_minute()).measure_all([value(0.1)]);
    run.now = at(605);
    run.measure(value(0.1));
    assert_eq!((run.state.last_due, run.state.measurements), (Some(at(600)), 2));
    assert_eq!(due(&run.plan, &run.state, run.now), None);
    assert_eq!(next(&run), Some(660));
}

#[test]
fn a_failed_query_is_retried_soon_and_the_next_slot_stays_where_it_was() {
    let mut run = Run::new(every_minute());
    for expected in [10, 20, 30, 40, 50, 60, 70] {
        run.measure(failed(FailureKind::Transient));
        assert_eq!(next(&run), Some(expected));
    }
    run.measure(value(0.1));
    assert_eq!(next(&run), Some(120));
}

#[test]
fn missed_retries_are_not_made_up_either() {
    let mut run = Run::new(ThresholdPlan { interval_s: 600, ..every_minute() });
    run.measure(failed(FailureKind::Transient));
    assert_eq!(due(&run.plan, &run.state, at(9)), None);
    assert_eq!(due(&run.plan, &run.state, at(307)), Some(at(300)));
}

#[test]
fn retries_are_not_slower_than_a_short_interval() {
    let run = Run::new(ThresholdPlan { interval_s: 5, ..every_minute() }).measure_all([failed(FailureKind::Transient)]);
    assert_eq!(next(&run), Some(5));
}

#[test]
fn a_server_that_asks_for_time_gets_it_within_reason() {
    let asking = |retry_after_s| {
        Answer::Failed(QueryFailure {
            retry_after_s: Some(retry_after_s),
            ..QueryFailure::new(FailureKind::Transient, "429 Too Many Requests")
        })
    };
    for (asked_s, expected) in [(-5, 10), (3, 10), (45, 45), (90, 90), (1_000_000, 300)] {
        let run = Run::new(every_minute()).measure_all([asking(asked_s)]);
        assert_eq!(next(&run), Some(expected), "Retry-After: {asked_s}");
    }
    let run = Run::new(every_minute()).measure_all([asking(90), value(0.1)]);
    assert_eq!((run.state.last_due, next(&run)), (Some(at(90)), Some(120)));
    assert_eq!(run.state.retry_after_s, None);
}

#[test]
fn a_single_measurement_is_taken_again_until_it_counts() {
    let single = ThresholdPlan { interval_s: 0, ..every_minute() };
    let run = Run::new(single).measure_all([Answer::Empty]);
    assert_eq!(next(&run), Some(60));
    let run = run.measure_all([value(0.1)]);
    assert_eq!(next(&run), None);
}

#[test]
fn a_sample_from_before_the_step_is_not_taken() {
    let delayed = ThresholdPlan { initial_delay_s: 60, ..every_minute() };
    let state = start(&delayed, t0());
    for s in [-1, 0, 59] {
        assert_eq!(fold(&delayed, &state, &Sample { due: at(s), answer: value(9.0) }), state);
    }
}

#[test]
fn numbers_out_of_range_in_a_stored_plan_do_not_stop_the_schedule() {
    let odd = ThresholdPlan {
        interval_s: i64::MAX,
        initial_delay_s: i64::MIN,
        no_data_limit_s: i64::MIN,
        query_error_limit_s: i64::MAX,
        min_measurements: i32::MIN,
        consecutive_error_limit: i32::MIN,
        ..every_minute()
    };
    let state = start(&odd, t0());
    let state = fold(&odd, &state, &Sample { due: t0(), answer: Answer::Empty });
    assert_eq!(next_due(&odd, &state), Some(at(sluice_analysis::threshold::DURATION_S_MAX)));
    let failed =
        fold(&every_minute(), &start(&every_minute(), t0()), &Sample { due: t0(), answer: failed(FailureKind::Transient) });
    let asking = ThresholdState { retry_after_s: Some(i64::MAX), ..failed };
    assert_eq!(next_due(&every_minute(), &asking), Some(at(300)));
    let far = chrono::DateTime::<chrono::Utc>::MAX_UTC;
    assert_eq!(next_due(&odd, &start(&every_minute(), far)), Some(far));
    let state = fold(&odd, &start(&odd, far), &Sample { due: far, answer: value(0.1) });
    assert_eq!(next_due(&odd, &state), None);
}
