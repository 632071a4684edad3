//! What is remembered between measurements: bounded in size, and finite numbers only, since it is stored as JSON.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::plan::ThresholdPlan;
use crate::sample::FailureKind;

/// A metric's history, folded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ThresholdState {
    /// When the step (or the background run) began; the schedule counts from here.
    pub started_at: DateTime<Utc>,
    /// Measurements that counted: good, bad and inconclusive ones.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub measurements: i32,
    /// Good ones.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub successes: i32,
    /// Bad ones.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub failures: i32,
    /// Those that were neither.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub inconclusives: i32,
    /// Answers without a usable number that counted towards nothing.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub held: i32,
    /// Failed queries.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub errors: i32,
    /// Failed queries since the last answer.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub consecutive_errors: i32,
    /// Good measurements since anything else.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub consecutive_successes: i32,
    /// When the present lack of data was first seen. Failed queries in between do not end it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data_since: Option<DateTime<Utc>>,
    /// When the present row of failed queries began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_since: Option<DateTime<Utc>>,
    /// The instant of the last measurement folded in; nothing at or before it is taken again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_due: Option<DateTime<Utc>>,
    /// How the last query failed; absent when it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureKind>,
    /// How long the server asked us to stay away after the last failure, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 300))]
    pub retry_after_s: Option<i64>,
    /// The last value that was finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_value: Option<f64>,
    /// What the last measurement said, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 384))]
    pub last_message: String,
    /// How it ended. It is not measured again after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
}

/// How a metric ended for good. A lack of data and failed queries are not among them: they pass, and measuring goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Ended {
    /// More bad measurements than tolerated.
    Failed,
    /// More inconclusive measurements than tolerated.
    Inconclusive,
    /// All measurements are taken, and fewer were good than asked for.
    TooFewSuccesses,
    /// All measurements are taken, or enough in a row were good.
    Successful,
}

/// The state of a metric that has not been measured yet. `step_started_at` is when the step's traffic was in place.
pub fn start(_plan: &ThresholdPlan, step_started_at: DateTime<Utc>) -> ThresholdState {
    ThresholdState {
        started_at: step_started_at,
        measurements: 0,
        successes: 0,
        failures: 0,
        inconclusives: 0,
        held: 0,
        errors: 0,
        consecutive_errors: 0,
        consecutive_successes: 0,
        no_data_since: None,
        errors_since: None,
        last_due: None,
        last_failure: None,
        retry_after_s: None,
        last_value: None,
        last_message: String::new(),
        ended: None,
    }
}
