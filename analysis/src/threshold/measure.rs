//! From an answer to what it counts as. The order matters: failed, incomplete, empty, not a number, and only then the
//! bounds, so that no bound is ever held against something that is not a measurement.

use super::bounds::{Bounds, Grade};
use super::plan::{OnNoData, Reduce, ThresholdPlan};
use crate::sample::{Answer, FailureKind};
use crate::text::{DETAIL_BYTES_MAX, infinity_or_nan, number, one_line};

/// What one measurement counts as, with its words.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) kind: OutcomeKind,
    /// Only finite values.
    pub(crate) value: Option<f64>,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OutcomeKind {
    Counted(Grade),
    /// No usable number, and the metric waits for one.
    Held,
    Error {
        kind: FailureKind,
        retry_after_s: Option<i64>,
    },
}

pub(crate) fn measure(plan: &ThresholdPlan, answer: &Answer) -> Outcome {
    match answer {
        Answer::Failed(failure) => Outcome {
            kind: OutcomeKind::Error { kind: failure.kind, retry_after_s: failure.retry_after_s },
            value: None,
            message: one_line(&failure.message, DETAIL_BYTES_MAX),
        },
        Answer::Partial { values, .. } if plan.accept_partial => measure_values(plan, values),
        Answer::Partial { message, .. } => {
            error(FailureKind::Partial, format!("incomplete answer: {}", one_line(message, DETAIL_BYTES_MAX)))
        }
        Answer::Empty => measure_values(plan, &[]),
        Answer::Values(values) => measure_values(plan, values),
    }
}

fn measure_values(plan: &ThresholdPlan, values: &[f64]) -> Outcome {
    if values.is_empty() {
        return without_number(plan.on_no_data, "onNoData", "no data: the query matched no series");
    }
    let unusable = |v: f64| v.is_nan() || (v.is_infinite() && !plan.allow_inf);
    if let Some(&bad) = values.iter().find(|&&v| unusable(v)) {
        return without_number(plan.on_nan, "onNaN", &format!("the value is {}", infinity_or_nan(bad)));
    }
    let (grade, value) = match plan.reduce {
        Reduce::Only if values.len() > 1 => {
            let message = format!("{} series where one is expected: aggregate in the query or set reduce", values.len());
            return error(FailureKind::Permanent, message);
        }
        Reduce::Any => decisive(&plan.bounds, values, |next, best| next < best),
        Reduce::All => decisive(&plan.bounds, values, |next, worst| next > worst),
        Reduce::Only | Reduce::Min | Reduce::Max | Reduce::Sum | Reduce::Avg => {
            let value = reduce(plan.reduce, values);
            // +Inf and -Inf add up to NaN, and large numbers to an infinity
            if unusable(value) {
                return without_number(plan.on_nan, "onNaN", &format!("the value is {}", infinity_or_nan(value)));
            }
            (plan.bounds.grade(value), value)
        }
    };
    let shown = number(value, |rounded| plan.bounds.grade(rounded) == grade);
    let word = match grade {
        Grade::Success => "meets",
        Grade::Inconclusive => "neither meets nor fails",
        Grade::Failure => "fails",
    };
    Outcome {
        kind: OutcomeKind::Counted(grade),
        value: value.is_finite().then_some(value),
        message: format!("{shown} {word} {}", plan.bounds),
    }
}

/// The first series with the best or the worst grade, by `beats`. `values` is not empty.
fn decisive(bounds: &Bounds, values: &[f64], beats: impl Fn(Grade, Grade) -> bool) -> (Grade, f64) {
    values
        .iter()
        .map(|&value| (bounds.grade(value), value))
        .reduce(|chosen, next| if beats(next.0, chosen.0) { next } else { chosen })
        .unwrap_or((Grade::Inconclusive, f64::NAN))
}

/// `values` is not empty and holds no NaN.
fn reduce(how: Reduce, values: &[f64]) -> f64 {
    // lossless up to 2^53 series
    #[allow(clippy::cast_precision_loss, reason = "an answer is bounded to a few MiB, far below 2^53 series")]
    let series = values.len() as f64;
    match how {
        Reduce::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
        Reduce::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduce::Sum => values.iter().sum(),
        Reduce::Avg => {
            let sum: f64 = values.iter().sum();
            // divided first where the sum would overflow
            if sum.is_infinite() { values.iter().map(|v| v / series).sum() } else { sum / series }
        }
        Reduce::Only | Reduce::Any | Reduce::All => values.first().copied().unwrap_or(f64::NAN),
    }
}

fn without_number(how: OnNoData, field: &str, what: &str) -> Outcome {
    let counted = |grade, word| Outcome {
        kind: OutcomeKind::Counted(grade),
        value: None,
        message: format!("{what}, counted as {word} ({field})"),
    };
    match how {
        OnNoData::Hold => Outcome { kind: OutcomeKind::Held, value: None, message: what.to_owned() },
        OnNoData::Success => counted(Grade::Success, "success"),
        OnNoData::Failure => counted(Grade::Failure, "failure"),
        OnNoData::Inconclusive => counted(Grade::Inconclusive, "inconclusive"),
        OnNoData::Error => error(FailureKind::Transient, format!("{what}, counted as error ({field})")),
    }
}

fn error(kind: FailureKind, message: String) -> Outcome {
    Outcome { kind: OutcomeKind::Error { kind, retry_after_s: None }, value: None, message }
}
