//! What holds for every sequence of answers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod support;

use chrono::TimeDelta;
use proptest::prelude::*;
use sluice_analysis::threshold::{
    Bounds, Ended, OnNoData, Reduce, ThresholdPlan, ThresholdState, close, due, fold, judge, next_due, start,
};
use sluice_analysis::{Answer, FailureKind, Judgement, MESSAGE_BYTES_MAX, QueryFailure, Sample, Verdict};
use support::{Run, t0};

fn failure() -> impl Strategy<Value = Answer> {
    let kind = prop_oneof![Just(FailureKind::Transient), Just(FailureKind::Permanent), Just(FailureKind::Partial)];
    (kind, any::<String>(), proptest::option::of(any::<i64>()))
        .prop_map(|(kind, message, retry_after_s)| Answer::Failed(QueryFailure { kind, message, retry_after_s }))
}

/// Everything that says nothing about the canary.
fn blind() -> impl Strategy<Value = Answer> {
    let odd = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)];
    prop_oneof![
        Just(Answer::Empty),
        Just(Answer::Values(vec![])),
        proptest::collection::vec(odd, 1..4).prop_map(Answer::Values),
        (proptest::collection::vec(any::<f64>(), 0..3), any::<String>())
            .prop_map(|(values, message)| Answer::Partial { values, message }),
        // several series that nobody said how to reduce
        proptest::collection::vec(-2.0..2.0, 2..4).prop_map(Answer::Values),
        failure(),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        4 => (-1.0..2.0).prop_map(|v| Answer::Values(vec![v])),
        1 => any::<f64>().prop_map(|v| Answer::Values(vec![v])),
        2 => blind(),
    ]
}

fn on_no_data() -> impl Strategy<Value = OnNoData> {
    prop_oneof![
        4 => Just(OnNoData::Hold),
        1 => Just(OnNoData::Success),
        1 => Just(OnNoData::Failure),
        1 => Just(OnNoData::Inconclusive),
        1 => Just(OnNoData::Error),
    ]
}

fn reduce() -> impl Strategy<Value = Reduce> {
    prop_oneof![
        4 => Just(Reduce::Only),
        1 => Just(Reduce::Any),
        1 => Just(Reduce::All),
        1 => Just(Reduce::Min),
        1 => Just(Reduce::Max),
        1 => Just(Reduce::Sum),
        1 => Just(Reduce::Avg),
    ]
}

/// Plans that wait for a number, whatever their limits.
fn holding_plan() -> impl Strategy<Value = ThresholdPlan> {
    let bounds = prop_oneof![
        Just(Bounds::min(0.5)),
        Just(Bounds::max(0.5)),
        Just(Bounds { fail_above: Some(0.5), ..Bounds::default() }),
        Just(Bounds { min: Some(0.7), fail_below: Some(0.3), ..Bounds::default() }),
    ];
    let schedule = (0_i64..90, proptest::option::of(1_i32..6), 0_i64..90);
    let limits = (-1_i32..3, -1_i32..3, -1_i32..6, 0_i32..4, 1_i32..4, 0_i64..700, 0_i64..700);
    (bounds, schedule, limits).prop_map(|(bounds, (interval_s, count, initial_delay_s), limits)| ThresholdPlan {
        // several measurements need an interval, and a count that the minimum fits into
        interval_s: if count.is_some_and(|c| c > 1) { interval_s.max(1) } else { interval_s },
        count,
        initial_delay_s,
        failure_limit: limits.0,
        inconclusive_limit: limits.1,
        consecutive_error_limit: limits.2,
        consecutive_success_limit: limits.3,
        min_measurements: limits.4.min(count.unwrap_or(if interval_s == 0 { 1 } else { i32::MAX })),
        no_data_limit_s: limits.5,
        query_error_limit_s: limits.6,
        ..ThresholdPlan::new("success-ratio", bounds).unwrap()
    })
}

fn any_plan() -> impl Strategy<Value = ThresholdPlan> {
    let flags = (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.1));
    (holding_plan(), on_no_data(), on_no_data(), reduce(), flags).prop_map(
        |(plan, on_no_data, on_nan, reduce, (accept_partial, allow_inf, dry_run))| ThresholdPlan {
            on_no_data,
            on_nan,
            reduce,
            accept_partial,
            allow_inf,
            dry_run,
            ..plan
        },
    )
}

/// Answers with how late each is taken, in milliseconds.
fn answers(of: impl Strategy<Value = Answer>) -> impl Strategy<Value = Vec<(Answer, i64)>> {
    proptest::collection::vec((of, prop_oneof![3 => Just(0_i64), 1 => 0_i64..900_000]), 0..40)
}

fn stored<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

fn judgements(run: &Run) -> [Judgement; 2] {
    [judge(&run.plan, &run.state, run.now), close(&run.plan, &run.state, run.now)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn answers_that_say_nothing_about_the_canary_never_promote_or_roll_back(
        plan in holding_plan(), answers in answers(blind()),
    ) {
        let mut run = Run::new(plan);
        for (answer, late_ms) in answers {
            run.now += TimeDelta::milliseconds(late_ms);
            run.measure(answer);
            for judgement in judgements(&run) {
                prop_assert!(!matches!(judgement.verdict, Verdict::Healthy | Verdict::RollBack), "{judgement:?}");
                prop_assert!(judgement.cause.is_none_or(|cause| !cause.allows_timetable()));
            }
        }
        prop_assert_eq!(run.state.ended, None);
        prop_assert_eq!(run.state.measurements, 0);
    }

    #[test]
    fn a_restart_between_any_two_measurements_changes_no_verdict(
        plan in any_plan(), answers in answers(answer()),
    ) {
        let mut kept = Run::new(plan);
        let mut restarted = Run::new(stored(&kept.plan));
        prop_assert_eq!(&restarted.plan, &kept.plan);
        for (answer, late_ms) in answers {
            for run in [&mut kept, &mut restarted] {
                run.now += TimeDelta::milliseconds(late_ms);
                run.measure(answer.clone());
            }
            restarted.state = stored(&restarted.state);
            for (one, other) in judgements(&kept).into_iter().zip(judgements(&restarted)) {
                prop_assert_eq!(&one, &other);
                prop_assert_eq!(&stored(&other), &other);
            }
            prop_assert_eq!(next_due(&kept.plan, &kept.state), next_due(&restarted.plan, &restarted.state));
        }
    }

    #[test]
    fn a_sample_that_is_folded_again_or_late_changes_nothing(
        plan in any_plan(), answers in answers(answer()), other in answer(), back_ms in prop_oneof![Just(0_i64), 0_i64..100_000],
    ) {
        let mut run = Run::new(plan);
        for (answer, late_ms) in answers {
            run.now += TimeDelta::milliseconds(late_ms);
            run.measure(answer);
            if let Some(last) = run.state.last_due {
                let again = Sample { due: last - TimeDelta::milliseconds(back_ms), answer: other.clone() };
                prop_assert_eq!(fold(&run.plan, &run.state, &again), run.state.clone());
            }
        }
    }

    #[test]
    fn counters_never_fall_add_up_and_an_end_is_final(plan in any_plan(), answers in answers(answer())) {
        let mut run = Run::new(plan);
        let mut before = run.state.clone();
        for (answer, late_ms) in answers {
            run.now += TimeDelta::milliseconds(late_ms);
            run.measure(answer);
            let after = run.state.clone();
            let counters = |s: &ThresholdState| [s.measurements, s.successes, s.failures, s.inconclusives, s.held, s.errors];
            prop_assert!(counters(&before).iter().zip(counters(&after)).all(|(b, a)| *b <= a));
            prop_assert_eq!(after.measurements, after.successes + after.failures + after.inconclusives);
            prop_assert!(before.last_due <= after.last_due);
            prop_assert!(after.last_value.is_none_or(f64::is_finite));
            if before.ended.is_some() {
                prop_assert_eq!(&before, &after);
            }
            before = after;
        }
    }

    #[test]
    fn a_measurement_is_due_once_and_never_in_the_future(
        plan in any_plan(), answers in answers(answer()), look_ms in -10_000_i64..1_000_000,
    ) {
        let mut run = Run::new(plan);
        for (answer, late_ms) in answers {
            run.now += TimeDelta::milliseconds(late_ms);
            run.measure(answer);
            let now = run.now + TimeDelta::milliseconds(look_ms);
            if let Some(found) = due(&run.plan, &run.state, now) {
                prop_assert!(found <= now && run.state.last_due < Some(found));
                prop_assert!(found >= next_due(&run.plan, &run.state).unwrap());
                let next = fold(&run.plan, &run.state, &Sample { due: found, answer: Answer::Empty });
                prop_assert_eq!(next.last_due, Some(found));
                // taking a late one leaves no second one behind for the same instant
                prop_assert_eq!(due(&run.plan, &next, found), None);
            }
        }
    }

    #[test]
    fn messages_are_one_short_line_whatever_the_server_says(
        plan in any_plan(), answers in answers(answer()), name in "[^\\p{Cc}]{1,15}",
    ) {
        let mut run = Run::new(ThresholdPlan { name, ..plan });
        for (answer, _) in answers {
            run.measure(answer);
            for judgement in judgements(&run) {
                prop_assert!(judgement.message.len() <= MESSAGE_BYTES_MAX);
                prop_assert!(!judgement.message.contains(char::is_control));
                prop_assert!(judgement.bound.is_some_and(|b| b.len() <= 192));
                prop_assert!(judgement.value.is_none_or(f64::is_finite));
            }
            prop_assert!(run.state.last_message.len() <= 384);
        }
    }

    /// A model of the counters that users know, for answers that are plain numbers.
    #[test]
    fn plain_numbers_end_the_metric_where_the_well_known_counters_do(
        values in proptest::collection::vec(0.0..1.0, 1..20),
        count in 1_i32..8, failure_limit in 0_i32..3, inconclusive_limit in 0_i32..3,
    ) {
        let bounds = Bounds { min: Some(0.6), fail_below: Some(0.2), ..Bounds::default() };
        let plan = ThresholdPlan {
            count: Some(count), failure_limit, inconclusive_limit, ..ThresholdPlan::new("m", bounds).unwrap()
        };
        let (mut good, mut bad, mut between, mut expected) = (0, 0, 0, None);
        for &v in &values {
            match v {
                v if v < 0.2 => bad += 1,
                v if v >= 0.6 => good += 1,
                _ => between += 1,
            }
            expected = if bad > failure_limit {
                Some(Ended::Failed)
            } else if between > inconclusive_limit {
                Some(Ended::Inconclusive)
            } else if good + bad + between == count {
                Some(if good > 0 { Ended::Successful } else { Ended::TooFewSuccesses })
            } else {
                None
            };
            if expected.is_some() {
                break;
            }
        }
        let run = Run::new(plan).measure_all(values.iter().map(|&v| Answer::Values(vec![v])));
        prop_assert_eq!(run.state.ended, expected);
        prop_assert_eq!((run.state.successes, run.state.failures, run.state.inconclusives), (good, bad, between));
    }
}

#[test]
fn a_state_stays_small_however_long_it_is_measured() {
    let plan = ThresholdPlan { failure_limit: -1, ..ThresholdPlan::new("m", Bounds::max(0.5)).unwrap() };
    let mut run = Run::new(plan);
    for n in 0..5_000 {
        let answer = match n % 3 {
            0 => Answer::Values(vec![f64::from(n)]),
            1 => Answer::Empty,
            _ => Answer::Failed(QueryFailure::new(FailureKind::Transient, "x".repeat(100_000))),
        };
        run.measure(answer);
    }
    assert!(serde_json::to_string(&run.state).unwrap().len() < 1024);
    assert_eq!(start(&run.plan, t0()).started_at, run.state.started_at);
}
