//! When a number is good, when it is bad, and when it is neither.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::PlanError;
use crate::text::shortest;

/// Conditions on a number. At least one of the four is set and all are finite.
///
/// Success: within `min..=max`, as far as given. Failure: under `fail_below` or over `fail_above` where at least one of
/// those is given, else whatever is not success. Where both hold it is a failure, where neither holds inconclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Bounds {
    /// The least good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// The greatest good value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Every value under this is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_below: Option<f64>,
    /// Every value over this is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_above: Option<f64>,
}

/// What the bounds say about one number; ordered from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    Success,
    Inconclusive,
    Failure,
}

impl Bounds {
    /// Good up to and including `max`, bad above.
    pub fn max(max: f64) -> Self {
        Self { max: Some(max), ..Self::default() }
    }

    /// Good from `min` on, bad below.
    pub fn min(min: f64) -> Self {
        Self { min: Some(min), ..Self::default() }
    }

    /// # Errors
    /// When no bound is set, one is not finite, or no number could pass.
    pub fn validate(&self) -> Result<(), PlanError> {
        let named = [("min", self.min), ("max", self.max), ("failBelow", self.fail_below), ("failAbove", self.fail_above)];
        if named.iter().all(|(_, bound)| bound.is_none()) {
            return Err(PlanError::NoBound);
        }
        for (field, bound) in named {
            if bound.is_some_and(|b| !b.is_finite()) {
                return Err(PlanError::BoundNotFinite { field });
            }
        }
        for (low_field, low, high_field, high) in [
            ("min", self.min, "max", self.max),
            ("failBelow", self.fail_below, "failAbove", self.fail_above),
            // a best value that is already a failure: nothing would ever pass
            ("failBelow", self.fail_below, "max", self.max),
            ("min", self.min, "failAbove", self.fail_above),
        ] {
            if let (Some(low), Some(high)) = (low, high)
                && low > high
            {
                return Err(PlanError::BoundsCross { low_field, low, high_field, high });
            }
        }
        Ok(())
    }

    /// `value` must not be NaN: NaN is decided before the bounds are looked at.
    pub(crate) fn grade(&self, value: f64) -> Grade {
        let success = self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max);
        let failure = if self.fail_below.is_some() || self.fail_above.is_some() {
            self.fail_below.is_some_and(|low| value < low) || self.fail_above.is_some_and(|high| value > high)
        } else {
            !success
        };
        match (success, failure) {
            (_, true) => Grade::Failure,
            (true, false) => Grade::Success,
            (false, false) => Grade::Inconclusive,
        }
    }
}

/// Such as `min 0.98, fail below 0.95`.
impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("min", self.min), ("max", self.max), ("fail below", self.fail_below), ("fail above", self.fail_above)];
        let mut separator = "";
        for (word, bound) in parts {
            if let Some(bound) = bound {
                write!(f, "{separator}{word} {}", shortest(bound))?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(min: Option<f64>, max: Option<f64>, fail_below: Option<f64>, fail_above: Option<f64>) -> Bounds {
        Bounds { min, max, fail_below, fail_above }
    }

    #[test]
    fn with_success_bounds_alone_everything_else_is_a_failure() {
        let b = bounds(Some(1.0), Some(2.0), None, None);
        for (value, grade) in [
            (0.999, Grade::Failure),
            (1.0, Grade::Success),
            (2.0, Grade::Success),
            (2.001, Grade::Failure),
            (f64::INFINITY, Grade::Failure),
            (f64::NEG_INFINITY, Grade::Failure),
        ] {
            assert_eq!(b.grade(value), grade, "{value}");
        }
    }

    #[test]
    fn with_failure_bounds_alone_everything_else_is_a_success() {
        let b = bounds(None, None, Some(0.95), None);
        assert_eq!(b.grade(0.949), Grade::Failure);
        assert_eq!(b.grade(0.95), Grade::Success);
    }

    #[test]
    fn between_success_and_failure_lies_the_inconclusive() {
        let b = bounds(Some(0.98), None, Some(0.95), None);
        assert_eq!(b.grade(0.98), Grade::Success);
        assert_eq!(b.grade(0.97), Grade::Inconclusive);
        assert_eq!(b.grade(0.95), Grade::Inconclusive);
        assert_eq!(b.grade(0.94), Grade::Failure);
    }

    #[test]
    fn a_failure_bound_on_one_side_leaves_the_other_side_inconclusive() {
        let b = bounds(Some(1.0), None, None, Some(5.0));
        assert_eq!(b.grade(0.5), Grade::Inconclusive);
        assert_eq!(b.grade(6.0), Grade::Failure);
    }

    #[test]
    fn success_and_failure_at_once_is_a_failure() {
        assert_eq!(bounds(Some(0.9), None, Some(0.95), None).grade(0.92), Grade::Failure);
    }

    #[test]
    fn bounds_that_decide_nothing_are_refused() {
        assert_eq!(Bounds::default().validate(), Err(PlanError::NoBound));
        assert_eq!(Bounds::max(f64::NAN).validate(), Err(PlanError::BoundNotFinite { field: "max" }));
        assert_eq!(Bounds::min(f64::INFINITY).validate(), Err(PlanError::BoundNotFinite { field: "min" }));
        for crossed in [
            bounds(Some(2.0), Some(1.0), None, None),
            bounds(None, None, Some(2.0), Some(1.0)),
            bounds(None, Some(1.0), Some(2.0), None),
            bounds(Some(2.0), None, None, Some(1.0)),
        ] {
            assert!(matches!(crossed.validate(), Err(PlanError::BoundsCross { .. })), "{crossed}");
        }
        assert_eq!(bounds(Some(1.0), Some(1.0), Some(1.0), Some(1.0)).validate(), Ok(()));
    }

    #[test]
    fn bounds_are_shown_in_words() {
        assert_eq!(
            bounds(Some(0.98), Some(2.0), Some(0.95), Some(1e20)).to_string(),
            "min 0.98, max 2, fail below 0.95, fail above 1e20"
        );
    }
}
