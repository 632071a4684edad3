//! Why a write was not accepted, or why nobody can tell.

use std::time::Duration;

use super::kinds::KindError;
use super::status::{Cause, clip};

/// Who refused, and so who can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusedBy {
    /// The request itself: malformed, wrong method, unknown field.
    Request,
    /// The schema or validation of the kind.
    Schema,
    /// A field that cannot be changed on a living object.
    Immutable,
    /// The epoch rule of our own kinds: this process was deposed.
    Epoch,
    Quota,
    /// A webhook, a policy, Pod Security, a limit range.
    Admission,
    /// The object is too large to store.
    Size,
}

/// One field that another manager holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldField {
    /// As the API server names it, with operation where it says so.
    pub manager: String,
    pub field: String,
}

/// Every variant but `Unknown` is certain: the write was not accepted. After `Unknown` the object must be read by quorum before
/// anything is decided.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{object} is not what the decision was based on ({message}); read it again and decide again")]
    Precondition { object: String, message: String },
    #[error("fields of {object} belong to others: {}", held(.conflicts))]
    FieldConflict { object: String, conflicts: Vec<HeldField> },
    #[error("the API server refuses {object} ({status} {reason}): {message}")]
    Refused { object: String, by: RefusedBy, status: u16, reason: String, message: String, causes: Vec<Cause> },
    #[error("writing {object} is not allowed ({status}): {message}; grant the verb to the account")]
    Denied { object: String, status: u16, message: String },
    #[error("the namespace of {object} is being deleted")]
    NamespaceTerminating { object: String },
    /// The object, or its namespace, is not there.
    #[error("{object} cannot be written: {message}")]
    NotFound { object: String, message: String },
    #[error("{object} exists already{}", if *.deleting { " and is being deleted" } else { "" })]
    AlreadyExists { object: String, deleting: bool },
    /// Turned away before it was carried out.
    #[error("the API server asks to slow down while writing {object}: {message}")]
    Throttled { object: String, retry_after: Option<Duration>, message: String },
    #[error("whether the write to {object} was accepted is unknown: {message}")]
    Unknown { object: String, status: Option<u16>, message: String },
    #[error("{object} was not written: this process does not hold the leader lease")]
    NotLeader { object: String },
    /// The installed CRD does not know what this version wrote: nothing may rest on it.
    #[error("the API server dropped {} from {object}; the installed CRD is older than this controller, install its CRDs", .fields.join(", "))]
    Pruned { object: String, fields: Vec<String> },
    #[error("writing {object}: {source}")]
    Kind {
        object: String,
        #[source]
        source: KindError,
    },
    #[error("{object} cannot be written: {message}")]
    InvalidKey { object: String, message: String },
}

const HELD_SHOWN: usize = 8;

fn held(conflicts: &[HeldField]) -> String {
    let mut texts: Vec<String> =
        conflicts.iter().take(HELD_SHOWN).map(|conflict| format!("{} ({})", conflict.field, conflict.manager)).collect();
    if conflicts.len() > HELD_SHOWN {
        texts.push(format!("and {} more", conflicts.len() - HELD_SHOWN));
    }
    texts.join(", ")
}

impl WriteError {
    /// Stable, for conditions and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Precondition { .. } => "PreconditionFailed",
            Self::FieldConflict { .. } => "FieldConflict",
            Self::Refused { by: RefusedBy::Request, .. } => "RequestRefused",
            Self::Refused { by: RefusedBy::Schema, .. } => "Invalid",
            Self::Refused { by: RefusedBy::Immutable, .. } => "ImmutableField",
            Self::Refused { by: RefusedBy::Epoch, .. } => "Deposed",
            Self::Refused { by: RefusedBy::Quota, .. } => "QuotaExceeded",
            Self::Refused { by: RefusedBy::Admission, .. } => "AdmissionRefused",
            Self::Refused { by: RefusedBy::Size, .. } => "TooLarge",
            Self::Denied { .. } => "WriteDenied",
            Self::NamespaceTerminating { .. } => "NamespaceTerminating",
            Self::NotFound { .. } => "NotFound",
            Self::AlreadyExists { .. } => "AlreadyExists",
            Self::Throttled { .. } => "Throttled",
            Self::Unknown { .. } => "OutcomeUnknown",
            Self::NotLeader { .. } => "NotLeader",
            Self::Pruned { .. } => "FieldsPruned",
            Self::Kind { source, .. } => source.reason(),
            Self::InvalidKey { .. } => "InvalidName",
        }
    }

    /// For a person, at most [`super::MESSAGE_MAX_BYTES`] long, without data of Secrets.
    #[must_use]
    pub fn message(&self) -> String {
        clip(&self.to_string())
    }

    /// Must the object be read before anything is decided about it?
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }

    /// Would the same write be refused again until somebody changes something? Bounds attempts and lengthens back-off.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::Denied { .. }
            | Self::FieldConflict { .. }
            | Self::Pruned { .. }
            | Self::InvalidKey { .. } => true,
            Self::Kind { source, .. } => !source.is_transient(),
            Self::Precondition { .. }
            | Self::NamespaceTerminating { .. }
            | Self::NotFound { .. }
            | Self::AlreadyExists { .. }
            | Self::Throttled { .. }
            | Self::Unknown { .. }
            | Self::NotLeader { .. } => false,
        }
    }
}
