//! What the API server makes of an object before it stores it: defaults, unknown fields, validation.

pub mod defaults;
pub mod gateway;
pub mod immutable;
pub mod pod_defaults;
pub mod rules;
pub mod structural;
pub mod typed;

use serde_json::Value;

use crate::kinds::{GATEWAY_GROUP, Kind};
use crate::refusal::Cause;

/// Sets what is not set. Run before validation, as the server does.
pub fn default(kind: &Kind, object: &mut Value) {
    match &kind.schema {
        Some(schema) => structural::default(schema, object),
        None if kind.group == GATEWAY_GROUP => gateway::default(kind, object),
        None => defaults::default(kind, object),
    }
}

/// Fields that the kind does not have, by path: `spec.replica`.
pub fn unknown(kind: &Kind, object: &Value) -> Result<Vec<String>, String> {
    match &kind.schema {
        Some(schema) => Ok(structural::unknown(schema, object)),
        None => typed::unknown(kind, object),
    }
}

/// Removes fields by the paths that [`unknown`] gave.
pub fn prune(object: &mut Value, unknown: &[String]) {
    for path in unknown {
        structural::remove_path(object, path);
    }
}

/// What is wrong with an object, alone and against the one it replaces.
#[must_use]
pub fn validate(kind: &Kind, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = immutable::metadata(old, new);
    match &kind.schema {
        Some(schema) => {
            causes.extend(structural::validate(schema, new));
            if causes.is_empty() {
                causes.extend(rules::broken(kind, schema, old, new));
            }
        }
        None => causes.extend(immutable::built_in(kind, old, new)),
    }
    causes
}
