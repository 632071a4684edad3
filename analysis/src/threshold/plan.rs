//! What a metric asks for, checked where it enters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;

/// Bound on every duration of a plan, in seconds: 30 days. A rollout is over long before; the bound keeps sums of
/// durations far from overflow.
pub const DURATION_S_MAX: i64 = 30 * 24 * 3600;

/// Bound on a metric's name, in bytes; it is repeated in messages, labels and keys.
pub const NAME_BYTES_MAX: usize = 63;

const INTERVAL_S_DEFAULT: i64 = 60;
const CONSECUTIVE_ERROR_LIMIT_DEFAULT: i32 = 4;
const MIN_MEASUREMENTS_DEFAULT: i32 = 1;
/// How long "nothing to judge by" may last before somebody must look.
const HOLD_LIMIT_S_DEFAULT: i64 = 600;

/// What an answer without a usable number counts as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnNoData {
    /// Nothing: the metric waits, up to a limit. It counts towards nothing.
    #[default]
    Hold,
    /// A good measurement.
    Success,
    /// A bad measurement.
    Failure,
    /// An inconclusive measurement.
    Inconclusive,
    /// A failed query.
    Error,
}

/// How several series become one result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Reduce {
    /// There must be exactly one; several are a query error, since nobody said which counts.
    #[default]
    Only,
    /// The best series counts: one good one is enough.
    Any,
    /// The worst series counts: every one must be good.
    All,
    /// The least value.
    Min,
    /// The greatest value.
    Max,
    /// Their sum.
    Sum,
    /// Their mean.
    Avg,
}

/// One metric with everything resolved. Make it with [`ThresholdPlan::new`] and set what differs from the defaults;
/// [`ThresholdPlan::validate`] checks the whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdPlan {
    /// The metric's name, for people.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// When a value is good and when it is bad.
    pub bounds: Bounds,
    /// Seconds between measurements; 0: a single measurement. Default 60.
    #[serde(default = "interval_s_default")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub interval_s: i64,
    /// Measurements after which it is decided. None with an interval: as long as the step lasts; none without: one.
    /// 0: not measured, and said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub count: Option<i32>,
    /// Seconds from the step's start to the first measurement: the query's look-back, so that no range selector reaches
    /// before the step. Default 0; whoever knows the query sets it.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub initial_delay_s: i64,
    /// Bad measurements tolerated, over the whole run and never forgiven; -1: any number. Default 0.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub failure_limit: i32,
    /// Inconclusive measurements tolerated; -1: any number. Default 0.
    #[serde(default)]
    #[schemars(range(min = -1))]
    pub inconclusive_limit: i32,
    /// Failed queries in a row tolerated before the verdict is a query error; -1: any number. Default 4.
    #[serde(default = "consecutive_error_limit_default")]
    #[schemars(range(min = -1))]
    pub consecutive_error_limit: i32,
    /// Good measurements in a row after which the metric is decided; 0: off. Default 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub consecutive_success_limit: i32,
    /// Good measurements without which nothing is healthy. Default 1; 0 would call the unmeasured good and is refused.
    #[serde(default = "min_measurements_default")]
    #[schemars(range(min = 1))]
    pub min_measurements: i32,
    /// What an answer without any series counts as. Default `Hold`.
    #[serde(default)]
    pub on_no_data: OnNoData,
    /// What NaN (and an infinity, unless `allow_inf`) counts as. Default `Hold`.
    #[serde(default)]
    pub on_nan: OnNoData,
    /// Seconds that `Hold` may last before it is inconclusive. Default 600.
    #[serde(default = "hold_limit_s_default")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub no_data_limit_s: i64,
    /// Seconds that queries may fail before it is inconclusive. Default 600.
    #[serde(default = "hold_limit_s_default")]
    #[schemars(range(min = 0, max = 2_592_000))]
    pub query_error_limit_s: i64,
    /// How several series become one result. Default `Only`.
    #[serde(default)]
    pub reduce: Reduce,
    /// Measured and shown, never counted. Default false.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether numbers that the server calls incomplete are used. Default false.
    #[serde(default)]
    pub accept_partial: bool,
    /// Whether an infinity is a value to hold against the bounds. Default false.
    #[serde(default)]
    pub allow_inf: bool,
}

fn interval_s_default() -> i64 {
    INTERVAL_S_DEFAULT
}
fn consecutive_error_limit_default() -> i32 {
    CONSECUTIVE_ERROR_LIMIT_DEFAULT
}
fn min_measurements_default() -> i32 {
    MIN_MEASUREMENTS_DEFAULT
}
fn hold_limit_s_default() -> i64 {
    HOLD_LIMIT_S_DEFAULT
}

/// Why a plan cannot be judged by.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// Nothing to hold the value against.
    #[error("the threshold has no bound: set at least one of min, max, failBelow, failAbove")]
    NoBound,
    /// A bound that no value can be held against.
    #[error("the threshold's {field} is not a finite number")]
    BoundNotFinite {
        /// The bound.
        field: &'static str,
    },
    /// No value could pass.
    #[error("the threshold's {low_field} ({low}) is over its {high_field} ({high}): no value could pass")]
    BoundsCross {
        /// The lower bound's field.
        low_field: &'static str,
        /// Its value.
        low: f64,
        /// The upper bound's field.
        high_field: &'static str,
        /// Its value.
        high: f64,
    },
    /// A name that does not fit into messages and keys.
    #[error("a metric's name must have 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    /// A number outside its range.
    #[error("the metric's {field} is {value}, allowed is {least} to {greatest}")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
        /// The least allowed.
        least: i64,
        /// The greatest allowed.
        greatest: i64,
    },
    /// Several measurements at one instant.
    #[error("the metric asks for {count} measurements without an interval between them: set interval")]
    CountWithoutInterval {
        /// The count asked for.
        count: i32,
    },
    /// The count is over before enough good measurements can be there.
    #[error("the metric asks for {min_measurements} good measurements and ends after {count}: raise count")]
    CountUnderMinimum {
        /// The count.
        count: i32,
        /// The good measurements asked for.
        min_measurements: i32,
    },
}

impl ThresholdPlan {
    /// A plan with the documented defaults.
    ///
    /// # Errors
    /// When the name or the bounds cannot be used.
    pub fn new(name: impl Into<String>, bounds: Bounds) -> Result<Self, PlanError> {
        let plan = Self {
            name: name.into(),
            bounds,
            interval_s: INTERVAL_S_DEFAULT,
            count: None,
            initial_delay_s: 0,
            failure_limit: 0,
            inconclusive_limit: 0,
            consecutive_error_limit: CONSECUTIVE_ERROR_LIMIT_DEFAULT,
            consecutive_success_limit: 0,
            min_measurements: MIN_MEASUREMENTS_DEFAULT,
            on_no_data: OnNoData::Hold,
            on_nan: OnNoData::Hold,
            no_data_limit_s: HOLD_LIMIT_S_DEFAULT,
            query_error_limit_s: HOLD_LIMIT_S_DEFAULT,
            reduce: Reduce::Only,
            dry_run: false,
            accept_partial: false,
            allow_inf: false,
        };
        plan.validate()?;
        Ok(plan)
    }

    /// # Errors
    /// When a field is out of its range or the fields contradict one another.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.chars().any(char::is_control) {
            return Err(PlanError::Name);
        }
        self.bounds.validate()?;
        let count_max = i64::from(i32::MAX);
        for (field, value, least, greatest) in [
            ("interval", self.interval_s, 0, DURATION_S_MAX),
            ("initialDelay", self.initial_delay_s, 0, DURATION_S_MAX),
            ("noDataLimit", self.no_data_limit_s, 0, DURATION_S_MAX),
            ("queryErrorLimit", self.query_error_limit_s, 0, DURATION_S_MAX),
            ("count", self.count.map_or(0, i64::from), 0, count_max),
            ("failureLimit", i64::from(self.failure_limit), -1, count_max),
            ("inconclusiveLimit", i64::from(self.inconclusive_limit), -1, count_max),
            ("consecutiveErrorLimit", i64::from(self.consecutive_error_limit), -1, count_max),
            ("consecutiveSuccessLimit", i64::from(self.consecutive_success_limit), 0, count_max),
            ("minMeasurements", i64::from(self.min_measurements), 1, count_max),
        ] {
            if !(least..=greatest).contains(&value) {
                return Err(PlanError::OutOfRange { field, value, least, greatest });
            }
        }
        match self.effective_count() {
            Some(count) if count > 1 && self.interval_s == 0 => Err(PlanError::CountWithoutInterval { count }),
            Some(count) if count > 0 && count < self.min_measurements => {
                Err(PlanError::CountUnderMinimum { count, min_measurements: self.min_measurements })
            }
            _ => Ok(()),
        }
    }

    /// Measurements after which it is decided; `None`: as long as it is asked.
    pub(crate) fn effective_count(&self) -> Option<i32> {
        self.count.or_else(|| (self.interval_s <= 0).then_some(1))
    }

    /// Whether the metric is switched off by a count of 0.
    pub(crate) fn is_skipped(&self) -> bool {
        self.effective_count().is_some_and(|count| count <= 0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn plan() -> ThresholdPlan {
        ThresholdPlan::new("p99", Bounds::max(0.5)).unwrap()
    }

    #[test]
    fn a_stored_plan_that_names_only_what_is_required_has_the_documented_defaults() {
        let stored: ThresholdPlan = serde_json::from_str(r#"{"name":"p99","bounds":{"max":0.5}}"#).unwrap();
        assert_eq!(stored, plan());
    }

    #[test]
    fn a_plan_that_cannot_be_judged_by_is_refused_with_its_field() {
        type Change = fn(&mut ThresholdPlan);
        let cases: [(Change, &str); 9] = [
            (|p| p.name.clear(), "name must have"),
            (|p| p.name = "a\nb".into(), "name must have"),
            (|p| p.bounds = Bounds::default(), "no bound"),
            (|p| p.interval_s = -1, "interval is -1"),
            (|p| p.initial_delay_s = DURATION_S_MAX + 1, "initialDelay is"),
            (|p| p.failure_limit = -2, "failureLimit is -2"),
            (|p| p.min_measurements = 0, "minMeasurements is 0"),
            (|p| (p.interval_s, p.count) = (0, Some(2)), "without an interval"),
            (|p| (p.min_measurements, p.count) = (3, Some(2)), "raise count"),
        ];
        for (change, expected) in cases {
            let mut changed = plan();
            change(&mut changed);
            let message = changed.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_count_of_zero_and_a_single_measurement_are_valid_plans() {
        assert_eq!(ThresholdPlan { count: Some(0), ..plan() }.validate(), Ok(()));
        assert_eq!(ThresholdPlan { interval_s: 0, ..plan() }.validate(), Ok(()));
    }
}
