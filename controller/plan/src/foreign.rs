//! Fields that somebody else added to an object of ours. Server-side apply leaves them alone, since nobody who owns them gave
//! them up; but one annotation in a pod template is another template, and a rollout of its own. So they are first made ours
//! in the managed fields, which changes nothing else, and the next apply, which does not name them, removes them.

use serde_json::{Map, Value, json};
use sluice_crds::names::{FIELD_MANAGER, FIELD_MANAGER_REPLICAS, GROUP};

use crate::id::{APPS, CORE, GATEWAY, Id};
use crate::view::{at, list, text};

/// Kinds whose content is Git's alone. Of others, controllers write parts of the spec (a claim's volume name), and only the fields
/// that Git sets are kept.
fn is_exact(id: &Id) -> bool {
    matches!(
        (id.group.as_str(), id.kind.as_str()),
        (APPS, "Deployment" | "StatefulSet" | "DaemonSet")
            | (CORE, "Service" | "ConfigMap" | "Secret")
            | (GATEWAY, "HTTPRoute")
            | (GROUP, "Rollout" | "AnalysisTemplate")
    )
}

/// Whether an entry of the managed fields is somebody else's claim on content.
fn is_foreign(entry: &Value) -> bool {
    let manager = text(entry, &["manager"]);
    text(entry, &["subresource"]).is_empty()
        && manager != FIELD_MANAGER
        && manager != FIELD_MANAGER_REPLICAS
        && manager != "kube-controller-manager"
}

/// The parts of a claim that are content: neither metadata, which others may label and annotate, nor status, nor the number of
/// replicas where it is not in Git.
fn content(entry: &Value, replicas_are_given_up: bool) -> Map<String, Value> {
    let mut fields = entry.get("fieldsV1").and_then(Value::as_object).cloned().unwrap_or_default();
    fields.retain(|name, _| name.starts_with("f:") && name != "f:metadata" && name != "f:status");
    if replicas_are_given_up && let Some(spec) = fields.get_mut("f:spec").and_then(Value::as_object_mut) {
        spec.remove("f:replicas");
        if spec.is_empty() {
            fields.remove("f:spec");
        }
    }
    fields
}

/// Whether a live object has content of somebody else's.
#[must_use]
pub fn has_foreign_content(id: &Id, desired: &Value, live: &Value) -> bool {
    let given_up = at(desired, &["spec", "replicas"]).is_none();
    is_exact(id)
        && list(live, &["metadata", "managedFields"])
            .iter()
            .any(|entry| is_foreign(entry) && !content(entry, given_up).is_empty())
}

/// The managed fields of an object with all foreign content made ours.
#[must_use]
pub fn reclaimed(desired: &Value, live: &Value) -> Value {
    let given_up = at(desired, &["spec", "replicas"]).is_none();
    let mut entries: Vec<Value> = list(live, &["metadata", "managedFields"]).to_vec();
    let mut claimed = Value::Object(Map::new());
    for entry in entries.iter_mut().filter(|entry| is_foreign(entry)) {
        let taken = content(entry, given_up);
        if let Some(fields) = entry.get_mut("fieldsV1") {
            subtract(fields, &taken);
        }
        merge(&mut claimed, &Value::Object(taken));
    }
    entries.retain(|entry| entry.get("fieldsV1").and_then(Value::as_object).is_none_or(|fields| !fields.is_empty()));
    let is_ours = |entry: &&mut Value| {
        text(entry, &["manager"]) == FIELD_MANAGER
            && text(entry, &["operation"]) == "Apply"
            && text(entry, &["subresource"]).is_empty()
    };
    match entries.iter_mut().find(is_ours).and_then(|entry| entry.get_mut("fieldsV1")) {
        Some(fields) => merge(fields, &claimed),
        None => entries.push(json!({
            "manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": text(live, &["apiVersion"]),
            "fieldsType": "FieldsV1", "fieldsV1": claimed,
        })),
    }
    Value::Array(entries)
}

fn merge(into: &mut Value, from: &Value) {
    let (Some(into), Some(from)) = (into.as_object_mut(), from.as_object()) else { return };
    for (name, value) in from {
        merge(into.entry(name.clone()).or_insert_with(|| Value::Object(Map::new())), value);
    }
}

fn subtract(from: &mut Value, taken: &Map<String, Value>) {
    let Some(from) = from.as_object_mut() else { return };
    for (name, value) in taken {
        let Some(left) = from.get_mut(name) else { continue };
        let empties = value.as_object().is_none_or(Map::is_empty);
        if let Some(inner) = value.as_object().filter(|_| !empties) {
            subtract(left, inner);
        }
        if empties || left.as_object().is_some_and(Map::is_empty) {
            from.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Value {
        json!({"apiVersion": "apps/v1", "metadata": {"managedFields": [
            {"manager": "sluice", "operation": "Apply", "fieldsV1": {"f:spec": {"f:template": {"f:spec": {}}}}},
            {"manager": "kubectl-patch", "operation": "Update", "fieldsV1": {
                "f:metadata": {"f:annotations": {"f:note": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:metadata": {"f:annotations": {".": {}, "f:x": {}}}}},
            }},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ]}})
    }

    #[test]
    fn an_annotation_in_a_pod_template_is_foreign_content_and_a_note_on_the_object_is_not() {
        let id = Id::new(APPS, "Deployment", "a", "b");
        let desired = json!({"spec": {"template": {}}});
        assert!(has_foreign_content(&id, &desired, &live()));
        let fields = reclaimed(&desired, &live());
        let mut after = live();
        crate::view::set(&mut after, &["metadata", "managedFields"], fields);
        assert!(!has_foreign_content(&id, &desired, &after));
        let kubectl = &list(&after, &["metadata", "managedFields"])[1];
        // The note stays theirs, and so does the number of replicas, which Git leaves to others.
        assert_eq!(kubectl["fieldsV1"], json!({"f:metadata": {"f:annotations": {"f:note": {}}}, "f:spec": {"f:replicas": {}}}));
        let ours = &list(&after, &["metadata", "managedFields"])[0];
        assert_eq!(ours.pointer("/fieldsV1/f:spec/f:template/f:metadata/f:annotations/f:x"), Some(&json!({})));
    }
}
