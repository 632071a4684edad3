//! What an answer to a write means. The table is `reliability` knowledge about real API servers, by cause and not by code alone.

use http::StatusCode;

use super::key::ObjectKey;
use super::read_error::retry_after;
use super::request::{Answer, Cause as Missing, Unanswered};
use super::status::ApiStatus;
use super::write_error::{HeldField, RefusedBy, WriteError};

const FIELD_CONFLICT: &str = "FieldManagerConflict";
const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
const ALREADY_EXISTS: &str = "AlreadyExists";
/// The words of the rule in the schemas of our own kinds.
const EPOCH_RULE: &str = "the epoch never falls";
/// etcd's limit and that of the connection to it. Both come as 500 without a reason.
const TOO_LARGE: [&str; 3] = ["request is too large", "ResourceExhausted", "trying to send message larger than max"];
/// How the authorizer and the plug-ins that stand in for it word a refusal; everything else with 403 is admission.
const RBAC: [&str; 4] = [
    "attempting to grant RBAC permissions",
    "cannot set an ownerRef on a resource you can't",
    "cannot set blockOwnerDeletion",
    "not authorized",
];

/// What the request was: the same answer means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Apply,
    Create,
    MergePatch,
    JsonPatch,
    ReplaceStatus,
    Delete,
}

pub(crate) fn unanswered(key: &ObjectKey, unanswered: Unanswered) -> WriteError {
    let object = key.to_string();
    let message = unanswered.message;
    match unanswered.cause {
        Missing::NotLeader => WriteError::NotLeader { object },
        Missing::Unsendable => WriteError::InvalidKey { object, message },
        Missing::TooLarge | Missing::Unknown => WriteError::Unknown { object, status: None, message },
    }
}

pub(crate) fn refusal(key: &ObjectKey, verb: Verb, answer: &Answer) -> WriteError {
    let status = ApiStatus::parse(&answer.body);
    let object = key.to_string();
    let code = answer.status.as_u16();
    let message = status.shown_message(key);
    let refused = |by: RefusedBy| WriteError::Refused {
        object: object.clone(),
        by,
        status: code,
        reason: super::status::clip(&status.reason),
        message: message.clone(),
        causes: status.shown_causes(key),
    };
    match answer.status {
        StatusCode::UNAUTHORIZED => WriteError::Denied { object, status: code, message },
        StatusCode::FORBIDDEN => forbidden(&status).map_or_else(
            || WriteError::Denied { object: key.to_string(), status: code, message: message.clone() },
            |by| match by {
                Forbidden::Namespace => WriteError::NamespaceTerminating { object: key.to_string() },
                Forbidden::Refused(by) => refused(by),
            },
        ),
        StatusCode::NOT_FOUND => WriteError::NotFound { object, message },
        StatusCode::CONFLICT => conflict(object, &status, message),
        StatusCode::PAYLOAD_TOO_LARGE => refused(RefusedBy::Size),
        StatusCode::UNPROCESSABLE_ENTITY => match invalid(verb, &status) {
            Some(by) => refused(by),
            None => WriteError::Precondition { object, message },
        },
        StatusCode::TOO_MANY_REQUESTS => WriteError::Throttled { object, retry_after: retry_after(answer, &status), message },
        StatusCode::BAD_REQUEST if denied_by_webhook(&status) => refused(RefusedBy::Admission),
        StatusCode::BAD_REQUEST if status.message.contains("strict decoding error") => refused(RefusedBy::Schema),
        StatusCode::REQUEST_TIMEOUT => WriteError::Unknown { object, status: Some(code), message },
        other if other.is_client_error() => {
            refused(if denied_by_webhook(&status) { RefusedBy::Admission } else { RefusedBy::Request })
        }
        StatusCode::INTERNAL_SERVER_ERROR if TOO_LARGE.iter().any(|words| status.message.contains(words)) => {
            refused(RefusedBy::Size)
        }
        StatusCode::INTERNAL_SERVER_ERROR if status.message.contains("field not declared in schema") => {
            refused(RefusedBy::Schema)
        }
        // 5xx, and whatever else no API server should say
        _ => WriteError::Unknown { object, status: Some(code), message },
    }
}

enum Forbidden {
    Namespace,
    Refused(RefusedBy),
}

/// `None`: the authorizer said no.
fn forbidden(status: &ApiStatus) -> Option<Forbidden> {
    if status.details.causes.iter().any(|cause| cause.reason == NAMESPACE_TERMINATING) {
        return Some(Forbidden::Namespace);
    }
    let message = status.message.as_str();
    if denied_by_webhook(status) {
        return Some(Forbidden::Refused(RefusedBy::Admission));
    }
    // `pods is forbidden: User "system:…" cannot create resource "pods" …`
    let by_authorizer = message.split_once("User \"").is_some_and(|(_, rest)| rest.contains("\" cannot "));
    if by_authorizer || RBAC.iter().any(|words| message.contains(words)) {
        return None;
    }
    Some(Forbidden::Refused(if message.contains("exceeded quota") { RefusedBy::Quota } else { RefusedBy::Admission }))
}

fn denied_by_webhook(status: &ApiStatus) -> bool {
    let message = status.message.as_str();
    (message.contains("admission webhook") && message.contains("denied the request"))
        || (message.contains("ValidatingAdmissionPolicy") && message.contains("denied request"))
}

fn conflict(object: String, status: &ApiStatus, message: String) -> WriteError {
    if status.reason == ALREADY_EXISTS {
        return WriteError::AlreadyExists { object, deleting: status.message.contains("object is being deleted") };
    }
    let conflicts: Vec<HeldField> = status
        .details
        .causes
        .iter()
        .filter(|cause| cause.reason == FIELD_CONFLICT)
        .map(|cause| HeldField { manager: manager_of(&cause.message), field: super::status::clip(&cause.field) })
        .collect();
    if conflicts.is_empty() {
        WriteError::Precondition { object, message }
    } else {
        WriteError::FieldConflict { object, conflicts }
    }
}

/// From `conflict with "kubectl-edit" using apps/v1`.
fn manager_of(message: &str) -> String {
    super::status::clip(message.strip_prefix("conflict with ").unwrap_or(message))
}

/// `None`: a precondition failed.
fn invalid(verb: Verb, status: &ApiStatus) -> Option<RefusedBy> {
    let causes = &status.details.causes;
    let says = |words: &str| status.message.contains(words) || causes.iter().any(|cause| cause.message.contains(words));
    if says(EPOCH_RULE) {
        return Some(RefusedBy::Epoch);
    }
    if denied_by_webhook(status) {
        return Some(RefusedBy::Admission);
    }
    // A failed test names neither the operation nor a field.
    if verb == Verb::JsonPatch && causes.is_empty() {
        return None;
    }
    // A wrong uid reads as an attempt to change it; a create that names one is our own mistake.
    if verb != Verb::Create && causes.iter().any(|cause| cause.field == "metadata.uid") {
        return None;
    }
    Some(if says("field is immutable") { RefusedBy::Immutable } else { RefusedBy::Schema })
}
