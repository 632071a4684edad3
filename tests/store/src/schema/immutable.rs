//! What may not change, and what built-in kinds must have.

use serde_json::Value;

use crate::json::{at, flag, integer, list, text};
use crate::kinds::Kind;
use crate::refusal::Cause;

const IMMUTABLE: &str = "field is immutable";

fn invalid(field: &str, message: impl Into<String>) -> Cause {
    Cause::new("FieldValueInvalid", field, format!("Invalid value: {}", message.into()))
}

fn required(field: &str) -> Cause {
    Cause::new("FieldValueRequired", field, "Required value")
}

/// The rules for every object.
#[must_use]
pub fn metadata(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let owners = list(new, &["metadata", "ownerReferences"]);
    if owners.iter().filter(|owner| flag(owner, &["controller"])).count() > 1 {
        let message = "Only one reference can have Controller set to true";
        causes.push(invalid("metadata.ownerReferences", message));
    }
    for (index, owner) in owners.iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if text(owner, &[field]).is_empty() {
                causes.push(invalid(&format!("metadata.ownerReferences[{index}].{field}"), "must not be empty"));
            }
        }
    }
    if let Some(old) = old.filter(|old| at(old, &["metadata", "deletionTimestamp"]).is_some()) {
        let before = list(old, &["metadata", "finalizers"]);
        let added: Vec<&Value> = list(new, &["metadata", "finalizers"]).iter().filter(|name| !before.contains(name)).collect();
        if !added.is_empty() {
            let message = format!(
                "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers {added:?}"
            );
            causes.push(Cause::new("FieldValueForbidden", "metadata.finalizers", message));
        }
    }
    causes
}

/// The rules of the built-in kinds that Sluice writes.
#[must_use]
pub fn built_in(kind: &Kind, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") => workload(old, new),
        ("", "Pod") => pod_spec(new.get("spec"), "spec"),
        ("", "ConfigMap" | "Secret") => config(old, new),
        ("", "Service") => service(new),
        _ => Vec::new(),
    }
}

fn workload(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    if integer(new, &["spec", "replicas"]).is_some_and(|replicas| replicas < 0) {
        causes.push(invalid("spec.replicas", "must be greater than or equal to 0"));
    }
    let selector = at(new, &["spec", "selector"]);
    match selector {
        None => causes.push(required("spec.selector")),
        Some(selector) => {
            let labels = new.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
            let wanted = selector.get("matchLabels").and_then(Value::as_object);
            if !wanted.into_iter().flatten().all(|(name, value)| labels.get(name) == Some(value)) {
                causes.push(invalid("spec.template.metadata.labels", "`selector` does not match template `labels`"));
            }
        }
    }
    if old.is_some_and(|old| at(old, &["spec", "selector"]) != selector) {
        causes.push(invalid("spec.selector", IMMUTABLE));
    }
    causes.extend(pod_spec(new.pointer("/spec/template/spec"), "spec.template.spec"));
    causes
}

fn pod_spec(spec: Option<&Value>, path: &str) -> Vec<Cause> {
    let containers = spec.map_or(&[][..], |spec| list(spec, &["containers"]));
    if containers.is_empty() {
        return vec![required(&format!("{path}.containers"))];
    }
    let mut causes = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for field in ["name", "image"] {
            if text(container, &[field]).is_empty() {
                causes.push(required(&format!("{path}.containers[{index}].{field}")));
            }
        }
    }
    causes
}

fn config(old: Option<&Value>, new: &Value) -> Vec<Cause> {
    let Some(old) = old.filter(|old| flag(old, &["immutable"])) else { return Vec::new() };
    let forbidden =
        |field: &str| Cause::new("FieldValueForbidden", field, "Forbidden: field is immutable when `immutable` is set");
    let mut causes = Vec::new();
    if !flag(new, &["immutable"]) {
        causes.push(forbidden("immutable"));
    }
    for field in ["data", "binaryData"] {
        if at(old, &[field]) != at(new, &[field]) {
            causes.push(forbidden(field));
        }
    }
    causes
}

fn service(new: &Value) -> Vec<Cause> {
    let is_external = text(new, &["spec", "type"]) == "ExternalName";
    let is_headless = text(new, &["spec", "clusterIP"]) == "None";
    if list(new, &["spec", "ports"]).is_empty() && !is_external && !is_headless {
        vec![required("spec.ports")]
    } else {
        Vec::new()
    }
}
