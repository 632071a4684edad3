//! The sequences that users of analysis runs know, one by one, and the rows of the answer table.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use sluice_analysis::threshold::{Bounds, Ended, OnNoData, Reduce, ThresholdPlan, close, fold};
use sluice_analysis::{Answer, FailureKind, InconclusiveCause, QueryFailure, Sample, Verdict};
use support::{Run, at, failed, plan, value};

fn ratio() -> ThresholdPlan {
    ThresholdPlan { count: Some(3), ..plan(Bounds::min(0.95)) }
}

fn verdict_after(plan: ThresholdPlan, answers: impl IntoIterator<Item = Answer>) -> (Verdict, Option<Ended>) {
    let run = Run::new(plan).measure_all(answers);
    (run.judge().verdict, run.state.ended)
}

#[test]
fn three_good_measurements_of_three_are_healthy() {
    let run = Run::new(ratio()).measure_all([value(0.99), value(0.99)]);
    assert_eq!(run.judge().verdict, Verdict::Undecided);
    let run = run.measure_all([value(0.99)]);
    assert_eq!(run.judge().verdict, Verdict::Healthy);
    assert_eq!(run.judge().message, "success-ratio: 0.99 meets min 0.95; 3 of 3 measured, 3 good");
    assert_eq!(run.judge().value, Some(0.99));
    assert_eq!(run.judge().bound.as_deref(), Some("min 0.95"));
    assert_eq!(run.judge().at, Some(at(120)));
}

#[test]
fn the_first_bad_measurement_rolls_back_when_none_is_tolerated() {
    let run = Run::new(ratio()).measure_all([value(0.99), value(0.90), value(0.99), value(0.99)]);
    assert_eq!(run.judge().verdict, Verdict::RollBack);
    assert_eq!(run.judge().message, "success-ratio: 0.9 fails min 0.95; 1 failed, 0 tolerated");
    assert_eq!((run.state.measurements, run.state.last_due), (2, Some(at(60))));
}

#[test]
fn a_tolerated_bad_measurement_counts_as_a_measurement() {
    let tolerant = ThresholdPlan { failure_limit: 1, ..ratio() };
    let answers = [value(0.90), value(0.99), value(0.99)];
    assert_eq!(verdict_after(tolerant.clone(), answers), (Verdict::Healthy, Some(Ended::Successful)));
    // cumulative, not in a row
    let answers = [value(0.90), value(0.99), value(0.90)];
    assert_eq!(verdict_after(tolerant, answers), (Verdict::RollBack, Some(Ended::Failed)));
}

#[test]
fn without_a_limit_bad_measurements_never_roll_back_and_still_prove_nothing() {
    let endless = ThresholdPlan { failure_limit: -1, ..ratio() };
    let run = Run::new(endless).measure_all([value(0.1), value(0.1), value(0.1)]);
    assert_eq!(run.judge().verdict, Verdict::Inconclusive);
    assert_eq!(run.judge().cause, Some(InconclusiveCause::TooFewMeasurements));
}

#[test]
fn nan_is_held_and_three_numbers_are_still_needed() {
    let run = Run::new(ratio()).measure_all([value(f64::NAN)]);
    assert_eq!(run.judge().verdict, Verdict::NoData);
    let run = run.measure_all([value(0.99), value(0.99)]);
    assert_eq!(run.judge().verdict, Verdict::Undecided);
    let run = run.measure_all([value(0.99)]);
    assert_eq!((run.judge().verdict, run.state.measurements, run.state.held), (Verdict::Healthy, 3, 1));
}

#[test]
fn nan_does_not_pass_a_failure_bound() {
    let only_failure = plan(Bounds { fail_below: Some(0.95), ..Bounds::default() });
    let run = Run::new(only_failure).measure_all([value(f64::NAN)]);
    assert_eq!(run.judge().verdict, Verdict::NoData);
    assert_eq!(run.judge().value, None);
    assert!(run.judge().message.contains("the value is NaN"), "{}", run.judge().message);
}

#[test]
fn no_data_holds_and_after_its_limit_is_inconclusive_and_ends_when_data_comes() {
    let mut run = Run::new(ratio()).measure_all([Answer::Empty, Answer::Empty, Answer::Empty]);
    assert_eq!(run.judge().verdict, Verdict::NoData);
    run.now = at(599);
    assert_eq!(run.judge().verdict, Verdict::NoData);
    run.now = at(600);
    assert_eq!((run.judge().verdict, run.judge().cause), (Verdict::Inconclusive, Some(InconclusiveCause::NoData)));
    assert!(!InconclusiveCause::NoData.allows_timetable());
    let run = run.measure_all([value(0.99)]);
    assert_eq!(run.judge().verdict, Verdict::Undecided);
}

#[test]
fn failed_queries_within_the_limit_are_forgotten_by_an_answer() {
    let answers = || std::iter::repeat_n(failed(FailureKind::Transient), 4);
    let run = Run::new(ratio()).measure_all(answers());
    assert_eq!(run.judge().verdict, Verdict::Undecided);
    assert_eq!(run.state.last_due, Some(at(30)), "retried every 10 s");
    let run = run.measure_all([value(0.99)]).measure_all(answers());
    assert_eq!(run.judge().verdict, Verdict::Undecided);
    let run = run.measure_all([value(0.99), value(0.99)]);
    assert_eq!((run.judge().verdict, run.state.errors), (Verdict::Healthy, 8));
}

#[test]
fn the_fifth_failed_query_in_a_row_is_a_query_error_and_never_a_rollback() {
    let mut run = Run::new(ratio()).measure_all(std::iter::repeat_n(failed(FailureKind::Transient), 5));
    assert_eq!(run.judge().verdict, Verdict::QueryError);
    assert_eq!(run.judge().message, "success-ratio: query failed 5 times in a row: 503 Service Unavailable");
    run.now = at(600);
    assert_eq!((run.judge().verdict, run.judge().cause), (Verdict::Inconclusive, Some(InconclusiveCause::QueryError)));
    let run = run.measure_all([value(0.99), value(0.99), value(0.99)]);
    assert_eq!(run.judge().verdict, Verdict::Healthy);
}

#[test]
fn a_permanent_failure_is_reported_at_once_and_not_retried_tightly() {
    let run = Run::new(ThresholdPlan { interval_s: 5, ..ratio() }).measure_all([failed(FailureKind::Permanent)]);
    assert_eq!(run.judge().verdict, Verdict::QueryError);
    assert_eq!(sluice_analysis::threshold::next_due(&run.plan, &run.state), Some(at(60)));
}

#[test]
fn between_success_and_failure_is_inconclusive() {
    let bounds = Bounds { min: Some(0.98), fail_below: Some(0.95), ..Bounds::default() };
    let run = Run::new(plan(bounds)).measure_all([value(0.97)]);
    assert_eq!((run.judge().verdict, run.judge().cause), (Verdict::Inconclusive, Some(InconclusiveCause::BetweenBounds)));
    let tolerant = ThresholdPlan { inconclusive_limit: 1, ..plan(bounds) };
    let run = Run::new(tolerant).measure_all([value(0.97), value(0.99)]);
    assert_eq!(close(&run.plan, &run.state, run.now).verdict, Verdict::Healthy);
}

#[test]
fn a_run_without_a_measurement_does_not_promote() {
    let run = Run::new(plan(Bounds::min(0.95)));
    let judgement = close(&run.plan, &run.state, at(3600));
    assert_eq!((judgement.verdict, judgement.cause), (Verdict::Inconclusive, Some(InconclusiveCause::NoData)));
}

#[test]
fn two_series_are_a_query_error_unless_reduced() {
    let two = || Answer::Values(vec![0.99, 0.90]);
    let run = Run::new(plan(Bounds::min(0.95))).measure_all([two()]);
    assert_eq!(run.judge().verdict, Verdict::QueryError);
    assert!(run.judge().message.contains("2 series where one is expected"), "{}", run.judge().message);
    for (reduce, verdict, value) in [
        (Reduce::Any, Verdict::Undecided, 0.99),
        (Reduce::All, Verdict::RollBack, 0.90),
        (Reduce::Min, Verdict::RollBack, 0.90),
        (Reduce::Max, Verdict::Undecided, 0.99),
        (Reduce::Sum, Verdict::Undecided, 1.89),
        (Reduce::Avg, Verdict::RollBack, 0.945),
    ] {
        let run = Run::new(ThresholdPlan { reduce, ..plan(Bounds::min(0.95)) }).measure_all([two()]);
        assert_eq!(run.judge().verdict, verdict, "{reduce:?}");
        assert!((run.judge().value.unwrap() - value).abs() < 1e-12, "{reduce:?}");
    }
}

#[test]
fn one_series_that_is_not_a_number_makes_the_whole_result_not_a_number() {
    for reduce in [Reduce::Only, Reduce::Any, Reduce::All, Reduce::Min, Reduce::Max, Reduce::Sum, Reduce::Avg] {
        let plan = ThresholdPlan { reduce, ..plan(Bounds::min(0.95)) };
        let run = Run::new(plan).measure_all([Answer::Values(vec![0.99, f64::NAN])]);
        assert_eq!(run.judge().verdict, Verdict::NoData, "{reduce:?}");
    }
}

#[test]
fn an_infinity_is_no_number_unless_it_is_allowed() {
    let max = || plan(Bounds::max(0.5));
    let run = Run::new(max()).measure_all([value(f64::INFINITY)]);
    assert_eq!(run.judge().verdict, Verdict::NoData);
    assert!(run.judge().message.contains("the value is +Inf"), "{}", run.judge().message);
    let allowing = || ThresholdPlan { allow_inf: true, ..max() };
    let run = Run::new(allowing()).measure_all([value(f64::INFINITY)]);
    assert_eq!((run.judge().verdict, run.judge().value), (Verdict::RollBack, None));
    assert!(run.judge().message.contains("+Inf fails max 0.5"), "{}", run.judge().message);
    let run = Run::new(allowing()).measure_all([value(f64::NEG_INFINITY)]);
    assert_eq!(run.judge().verdict, Verdict::Undecided);
    // infinities that cancel out are not a number even where they are allowed
    let sum = ThresholdPlan { reduce: Reduce::Sum, ..allowing() };
    let run = Run::new(sum).measure_all([Answer::Values(vec![f64::INFINITY, f64::NEG_INFINITY])]);
    assert_eq!(run.judge().verdict, Verdict::NoData);
}

#[test]
fn a_mean_of_large_numbers_does_not_overflow() {
    let avg = ThresholdPlan { reduce: Reduce::Avg, ..plan(Bounds::min(0.95)) };
    let run = Run::new(avg).measure_all([Answer::Values(vec![f64::MAX, f64::MAX])]);
    assert_eq!((run.judge().verdict, run.judge().value), (Verdict::Undecided, Some(f64::MAX)));
}

#[test]
fn an_incomplete_answer_is_a_failed_query_unless_it_is_accepted() {
    let partial = || Answer::Partial { values: vec![0.10], message: "store 10.0.0.3 is unavailable".into() };
    let run = Run::new(plan(Bounds::min(0.95))).measure_all(std::iter::repeat_n(partial(), 5));
    assert_eq!((run.judge().verdict, run.state.last_failure), (Verdict::QueryError, Some(FailureKind::Partial)));
    assert!(run.judge().message.contains("incomplete answer: store 10.0.0.3"), "{}", run.judge().message);
    let accepting = ThresholdPlan { accept_partial: true, ..plan(Bounds::min(0.95)) };
    assert_eq!(Run::new(accepting).measure_all([partial()]).judge().verdict, Verdict::RollBack);
}

#[test]
fn no_data_and_nan_count_as_what_they_are_told_to_independently_of_each_other() {
    let told = |on_no_data, on_nan| ThresholdPlan { count: Some(1), on_no_data, on_nan, ..plan(Bounds::min(0.95)) };
    for (how, verdict) in [
        (OnNoData::Hold, Verdict::NoData),
        (OnNoData::Success, Verdict::Healthy),
        (OnNoData::Failure, Verdict::RollBack),
        (OnNoData::Inconclusive, Verdict::Inconclusive),
        (OnNoData::Error, Verdict::Undecided),
    ] {
        assert_eq!(verdict_after(told(how, OnNoData::Hold), [Answer::Empty]).0, verdict, "no data: {how:?}");
        assert_eq!(verdict_after(told(OnNoData::Hold, how), [value(f64::NAN)]).0, verdict, "NaN: {how:?}");
        assert_eq!(verdict_after(told(how, OnNoData::Hold), [value(f64::NAN)]).0, Verdict::NoData);
    }
    let error = told(OnNoData::Error, OnNoData::Hold);
    assert_eq!(verdict_after(error, std::iter::repeat_n(Answer::Empty, 5)).0, Verdict::QueryError);
}

#[test]
fn enough_good_measurements_in_a_row_end_the_metric_early() {
    let streak = ThresholdPlan { count: None, consecutive_success_limit: 2, failure_limit: 5, ..ratio() };
    let answers = [value(0.99), value(0.9), value(0.99), failed(FailureKind::Transient), value(0.99)];
    let run = Run::new(streak).measure_all(answers);
    assert_eq!(run.judge().verdict, Verdict::Undecided);
    let run = run.measure_all([value(0.99)]);
    assert_eq!((run.judge().verdict, run.state.ended), (Verdict::Healthy, Some(Ended::Successful)));
}

#[test]
fn a_row_of_good_measurements_is_broken_by_no_data_and_is_not_enough_below_the_minimum() {
    let streak = |min_measurements| ThresholdPlan { consecutive_success_limit: 2, min_measurements, ..plan(Bounds::min(0.95)) };
    let run = Run::new(streak(1)).measure_all([value(0.99), Answer::Empty, value(0.99)]);
    assert_eq!((run.state.consecutive_successes, run.state.ended), (1, None));
    let run = Run::new(streak(3)).measure_all([value(0.99), value(0.99)]);
    assert_eq!(run.state.ended, None);
    assert_eq!(run.measure_all([value(0.99)]).state.ended, Some(Ended::Successful));
}

#[test]
fn a_metric_that_has_ended_takes_no_more_samples() {
    for (last, ended) in [(0.90, Ended::Failed), (0.99, Ended::Successful)] {
        let run = Run::new(ThresholdPlan { count: Some(1), ..ratio() }).measure_all([value(last)]);
        assert_eq!(run.state.ended, Some(ended));
        for later in [value(0.99), value(0.90), Answer::Empty, failed(FailureKind::Permanent)] {
            assert_eq!(fold(&run.plan, &run.state, &Sample { due: at(600), answer: later }), run.state);
        }
    }
}

#[test]
fn fewer_good_measurements_than_asked_for_do_not_close_as_healthy() {
    let two = ThresholdPlan { min_measurements: 2, ..plan(Bounds::min(0.95)) };
    let run = Run::new(two).measure_all([value(0.99)]);
    let judgement = close(&run.plan, &run.state, at(90));
    assert_eq!((judgement.verdict, judgement.cause), (Verdict::Inconclusive, Some(InconclusiveCause::TooFewMeasurements)));
    let run = run.measure_all([value(0.99)]);
    assert_eq!(close(&run.plan, &run.state, at(90)).verdict, Verdict::Healthy);
}

#[test]
fn a_step_does_not_close_as_healthy_while_its_last_question_is_unanswered() {
    let endless = || Run::new(plan(Bounds::min(0.95))).measure_all([value(0.99)]);
    for (answer, verdict) in [
        (failed(FailureKind::Transient), Verdict::QueryError),
        (failed(FailureKind::Permanent), Verdict::QueryError),
        (Answer::Empty, Verdict::NoData),
        (value(f64::NAN), Verdict::NoData),
    ] {
        let run = endless().measure_all([answer]);
        assert_eq!(close(&run.plan, &run.state, run.now).verdict, verdict);
        let run = run.measure_all([value(0.99)]);
        assert_eq!(close(&run.plan, &run.state, run.now).verdict, Verdict::Healthy);
    }
}

#[test]
fn a_dry_run_is_shown_and_never_counts() {
    let dry = ThresholdPlan { dry_run: true, ..ratio() };
    let judgement = Run::new(dry).measure_all([value(0.1)]).judge();
    assert_eq!((judgement.verdict, judgement.advisory), (Verdict::Healthy, true));
    assert!(judgement.message.contains("dry run, would be RollBack: 0.1 fails min 0.95"), "{}", judgement.message);
    assert_eq!(sluice_analysis::worst_judgement([&judgement]), None);
}

#[test]
fn a_metric_with_a_count_of_zero_is_skipped_and_says_so() {
    let mut run = Run::new(ThresholdPlan { count: Some(0), ..ratio() });
    assert!(!run.measure(value(0.1)));
    assert_eq!((run.judge().verdict, run.judge().advisory), (Verdict::Healthy, true));
    assert_eq!(run.judge().message, "success-ratio: not measured: count is 0");
}

#[test]
fn words_of_a_server_are_made_harmless_before_they_are_stored() {
    let hostile = format!("\u{1b}[2Jline one\r\nline two \u{202e}{}", "x".repeat(4096));
    let failure = QueryFailure::new(FailureKind::Permanent, hostile);
    let judgement = Run::new(ratio()).measure_all([Answer::Failed(failure)]).judge();
    assert!(judgement.message.contains("[2Jline one line two xxx"), "{}", judgement.message);
    assert!(judgement.message.len() <= 512 && !judgement.message.contains(char::is_control));
}
