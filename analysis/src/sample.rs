//! What a measurement brought back, before anybody has judged it.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One measurement: the instant that it was due (and that the query was evaluated at) and what came back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// As given by the judge's `due`; two samples of one metric never share it.
    pub due: DateTime<Utc>,
    /// What came back.
    pub answer: Answer,
}

/// What a query can come back with. There is no error beside it: whatever goes wrong is an answer too, because it has a
/// verdict of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// One number for each series (a scalar counts as one); they may be NaN or infinite.
    Values(#[serde(with = "numbers")] Vec<f64>),
    /// The query was answered, and no series matched.
    Empty,
    /// Numbers that the server itself calls incomplete (for example a federating querier that missed a shard).
    Partial {
        /// What was there, possibly nothing.
        #[serde(with = "numbers")]
        values: Vec<f64>,
        /// The server's warnings.
        message: String,
    },
    /// No usable answer.
    Failed(QueryFailure),
}

/// Why there is no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryFailure {
    /// Whether asking again soon may help.
    pub kind: FailureKind,
    /// For people; holds no secret.
    pub message: String,
    /// How long the server asked us to stay away, in seconds.
    pub retry_after_s: Option<i64>,
}

impl QueryFailure {
    /// A failure without a wish of the server about when to come back.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after_s: None }
    }
}

/// Whether asking again soon may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureKind {
    /// Unreachable, overloaded, or not Prometheus that answered.
    Transient,
    /// The same question will fail again until somebody changes something.
    Permanent,
    /// The server called its answer incomplete, and the metric does not accept that.
    Partial,
}

/// Numbers as texts: JSON has no NaN and no infinity, and a stored sample must come back as it was.
mod numbers {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(values: &[f64], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}
