//! Why an object could not be read.

use std::time::Duration;

use http::StatusCode;

use super::key::ObjectKey;
use super::kinds::KindError;
use super::request::{Answer, Cause, RETRY_AFTER_MAX, Unanswered};
use super::status::ApiStatus;

/// A read that failed says nothing about the object: it is neither there nor gone.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("reading {object}: {source}")]
    Kind {
        object: String,
        #[source]
        source: KindError,
    },
    #[error("{object} is no name that can be looked up: {message}")]
    InvalidKey { object: String, message: String },
    #[error("reading {object} is not allowed ({status}): {message}; grant get, list and watch to the account")]
    Denied { object: String, status: u16, message: String },
    #[error("the API server asks to slow down while reading {object}: {message}")]
    Throttled { object: String, retry_after: Option<Duration>, message: String },
    #[error("the API server refuses to read {object} ({status}): {message}")]
    Refused { object: String, status: u16, message: String },
    /// Time-outs, 5xx, broken connections.
    #[error("reading {object} failed: {message}")]
    Unavailable { object: String, message: String },
    #[error("the answer about {object} cannot be decoded: {message}")]
    Undecodable { object: String, message: String },
}

impl ReadError {
    /// Stable, for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Kind { source, .. } => source.reason(),
            Self::InvalidKey { .. } => "InvalidName",
            Self::Denied { .. } => "ReadDenied",
            Self::Throttled { .. } => "Throttled",
            Self::Refused { .. } => "ReadRefused",
            Self::Unavailable { .. } => "ReadFailed",
            Self::Undecodable { .. } => "Undecodable",
        }
    }

    /// Will the same read do better without anyone doing anything?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Kind { source, .. } => source.is_transient(),
            Self::Throttled { .. } | Self::Unavailable { .. } => true,
            Self::InvalidKey { .. } | Self::Denied { .. } | Self::Refused { .. } | Self::Undecodable { .. } => false,
        }
    }

    pub(crate) fn of_unanswered(key: &ObjectKey, unanswered: Unanswered) -> Self {
        let object = key.to_string();
        let message = unanswered.message;
        match unanswered.cause {
            Cause::TooLarge => Self::Undecodable { object, message },
            Cause::Unsendable => Self::InvalidKey { object, message },
            Cause::NotLeader | Cause::Unknown => Self::Unavailable { object, message },
        }
    }

    pub(crate) fn of_answer(key: &ObjectKey, answer: &Answer) -> Self {
        let status = ApiStatus::parse(&answer.body);
        let object = key.to_string();
        let message = status.shown_message(key);
        let code = answer.status.as_u16();
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Denied { object, status: code, message },
            StatusCode::TOO_MANY_REQUESTS => Self::Throttled { object, retry_after: retry_after(answer, &status), message },
            other if other.is_client_error() && other != StatusCode::REQUEST_TIMEOUT => {
                Self::Refused { object, status: code, message }
            }
            _ => Self::Unavailable { object, message: format!("{code}: {message}") },
        }
    }
}

pub(crate) fn retry_after(answer: &Answer, status: &ApiStatus) -> Option<Duration> {
    let stated = status.details.retry_after_seconds;
    answer.retry_after.or_else(|| (stated > 0).then(|| Duration::from_secs(stated).min(RETRY_AFTER_MAX)))
}
