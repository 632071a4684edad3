//! Reading and changing JSON objects of known kinds without decoding them whole: unknown fields survive.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::digest::digest;

/// The value at a path of field names; `None` when any part is missing.
#[must_use]
pub fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// The text at a path, empty when there is none.
#[must_use]
pub fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or("")
}

/// The integer at a path.
#[must_use]
pub fn integer(value: &Value, path: &[&str]) -> Option<i64> {
    at(value, path).and_then(Value::as_i64)
}

/// The list at a path, empty when there is none.
#[must_use]
pub fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    at(value, path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The map of texts at a path, empty when there is none.
#[must_use]
pub fn texts(value: &Value, path: &[&str]) -> BTreeMap<String, String> {
    at(value, path)
        .and_then(Value::as_object)
        .map(|fields| fields.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect())
        .unwrap_or_default()
}

/// Sets the value at a path, making objects on the way. Does nothing where something else than an object stands on it.
pub fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut here = value;
    for name in parents {
        let Some(fields) = here.as_object_mut() else { return };
        here = fields.entry((*name).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
    if let Some(fields) = here.as_object_mut() {
        fields.insert((*last).to_owned(), new);
    }
}

/// Removes the value at a path.
pub fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let mut here = value;
    for name in parents {
        let Some(next) = here.get_mut(name) else { return };
        here = next;
    }
    if let Some(fields) = here.as_object_mut() {
        fields.remove(*last);
    }
}

#[must_use]
pub fn uid(object: &Value) -> &str {
    text(object, &["metadata", "uid"])
}

#[must_use]
pub fn resource_version(object: &Value) -> &str {
    text(object, &["metadata", "resourceVersion"])
}

#[must_use]
pub fn is_deleting(object: &Value) -> bool {
    at(object, &["metadata", "deletionTimestamp"]).is_some()
}

#[must_use]
pub fn label<'a>(object: &'a Value, name: &str) -> &'a str {
    text(object, &["metadata", "labels", name])
}

#[must_use]
pub fn annotation<'a>(object: &'a Value, name: &str) -> &'a str {
    text(object, &["metadata", "annotations", name])
}

/// The controller among an object's owners: its uid.
#[must_use]
pub fn controller_uid(object: &Value) -> Option<&str> {
    list(object, &["metadata", "ownerReferences"])
        .iter()
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true))
        .map(|owner| text(owner, &["uid"]))
}

/// The digest of everything in an object that people and controllers write as intent: not its status, not what the API
/// server keeps for itself, not what the Deployment controller notes down.
#[must_use]
pub fn intent_digest(object: &Value) -> String {
    let mut intent = object.clone();
    remove(&mut intent, &["status"]);
    for field in ["resourceVersion", "managedFields", "generation", "creationTimestamp", "selfLink"] {
        remove(&mut intent, &["metadata", field]);
    }
    for annotation in ["deployment.kubernetes.io/revision", "deployment.kubernetes.io/revision-history"] {
        remove(&mut intent, &["metadata", "annotations", annotation]);
    }
    if at(&intent, &["metadata", "annotations"]) == Some(&json!({})) {
        remove(&mut intent, &["metadata", "annotations"]);
    }
    digest(&intent)
}

/// The digest of an object's intent and of what our manager owns of it: an apply that changes neither changes nothing.
#[must_use]
pub fn proof_digest(object: &Value) -> String {
    let owned: Vec<&Value> = list(object, &["metadata", "managedFields"])
        .iter()
        .filter(|entry| {
            text(entry, &["manager"]) == sluice_crds::names::FIELD_MANAGER
                && text(entry, &["operation"]) == "Apply"
                && text(entry, &["subresource"]).is_empty()
        })
        .filter_map(|entry| entry.get("fieldsV1"))
        .collect();
    digest(&json!({"intent": intent_digest(object), "owned": owned}))
}

/// Pod templates are equal when they differ at most in the hash label, as the Deployment controller sees it.
#[must_use]
pub fn templates_equal(a: &Value, b: &Value) -> bool {
    let bare = |template: &Value| {
        let mut template = template.clone();
        remove(&mut template, &["metadata", "labels", sluice_crds::names::POD_TEMPLATE_HASH]);
        remove(&mut template, &["metadata", "creationTimestamp"]);
        template
    };
    bare(a) == bare(b)
}

/// When our manager last changed an object, from its managed fields. Seconds precision.
#[must_use]
pub fn managed_at(object: &Value, manager: &str) -> Option<chrono::DateTime<chrono::Utc>> {
    list(object, &["metadata", "managedFields"])
        .iter()
        .filter(|entry| text(entry, &["manager"]) == manager && text(entry, &["subresource"]).is_empty())
        .filter_map(|entry| text(entry, &["time"]).parse().ok())
        .max()
}

/// Whether a manager owns a field, given as its path in managed fields (`["f:spec", "f:replicas"]`).
#[must_use]
pub fn owns(object: &Value, manager: &str, path: &[&str]) -> bool {
    list(object, &["metadata", "managedFields"])
        .iter()
        .filter(|entry| text(entry, &["manager"]) == manager)
        .any(|entry| entry.get("fieldsV1").is_some_and(|fields| at(fields, path).is_some()))
}

/// Whether every pair of `part` is in `whole`.
#[must_use]
pub fn contains_all(whole: &BTreeMap<String, String>, part: &BTreeMap<String, String>) -> bool {
    part.iter().all(|(name, value)| whole.get(name) == Some(value))
}
