//! Durations as people write them: `90s`, `2m`, `1h30m`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The longest duration a field may hold: a week. Longer ones are mistakes far more often than plans.
pub const DURATION_S_MAX: i64 = 7 * 24 * 3600;

/// A duration such as `90s`, `2m` or `1h30m`: whole hours, minutes, seconds, in this order, at most a week.
///
/// The text is kept as it was written; [`DurationText::seconds`] reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DurationText(pub String);

/// What is wrong with a duration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationError(String);

impl std::fmt::Display for DurationError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is not a duration: write it like 90s, 2m or 1h30m, at most 168h", self.0)
    }
}

impl std::error::Error for DurationError {}

impl DurationText {
    /// Writes whole seconds as a duration.
    #[must_use]
    pub fn from_seconds(seconds: i64) -> Self {
        Self(format!("{seconds}s"))
    }

    /// The duration in whole seconds, `0..=`[`DURATION_S_MAX`].
    ///
    /// # Errors
    /// [`DurationError`] when the text is not a duration or is longer than a week.
    pub fn seconds(&self) -> Result<i64, DurationError> {
        let wrong = || DurationError(self.0.chars().take(32).collect());
        let mut seconds = 0_i64;
        let mut digits = String::new();
        let mut unit_last = i64::MAX;
        for character in self.0.chars() {
            if character.is_ascii_digit() && digits.len() < 9 {
                digits.push(character);
                continue;
            }
            let unit = match character {
                'h' => 3600,
                'm' => 60,
                's' => 1,
                _ => return Err(wrong()),
            };
            if unit >= unit_last {
                return Err(wrong());
            }
            let count: i64 = digits.parse().map_err(|_| wrong())?;
            seconds += count * unit;
            unit_last = unit;
            digits.clear();
        }
        if !digits.is_empty() || unit_last == i64::MAX || seconds > DURATION_S_MAX {
            return Err(wrong());
        }
        Ok(seconds)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "maxLength": 16,
            "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
            "x-kubernetes-validations": [{
                "rule": "self != '' && duration(self) <= duration('168h')",
                "message": "must be a duration such as 90s, 2m or 1h30m, at most 168h",
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn durations_are_read_in_hours_minutes_and_seconds() {
        for (text, seconds) in [("90s", 90), ("2m", 120), ("1h30m", 5400), ("0s", 0), ("168h", DURATION_S_MAX)] {
            assert_eq!(DurationText(text.into()).seconds().unwrap(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "5", "s", "1m1h", "1s1s", "-5s", "9999999999h", "169h", "1.5m", "5 m", "m5"] {
            assert!(DurationText(text.into()).seconds().is_err(), "{text}");
        }
    }
}
