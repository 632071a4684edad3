//! ReplicaSets: as many pods as wanted, and what became of them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{is_deleting, owner_reference, owner_uid, set_condition, uid};
use crate::clock::stamp;
use crate::json::{at, integer, list, set, text};
use crate::key::Key;
use crate::selector::Selector;
use crate::state::State;
use crate::trace::Verb;

const USER: &str = "replicaset-controller";

pub fn run(state: &mut State) {
    for set in state.of_kind("apps", "ReplicaSet", "") {
        sync(state, &set);
    }
}

/// When the next ready pod counts as available.
pub fn next_due_ms(state: &State) -> Option<i64> {
    let now_ms = state.now_ms();
    let mut due = Vec::new();
    for set in state.of_kind("apps", "ReplicaSet", "") {
        let needed_ms = min_ready_ms(&set);
        if needed_ms > 0 {
            due.extend(pods_of(state, &set).iter().filter_map(|pod| Some(state.times_of(pod).ready_ms? + needed_ms)));
        }
    }
    due.into_iter().filter(|at| *at > now_ms).min()
}

fn min_ready_ms(set: &Value) -> i64 {
    integer(set, &["spec", "minReadySeconds"]).unwrap_or(0) * 1000
}

/// The pods that a set owns and that are not over.
pub fn pods_of(state: &State, set: &Value) -> Vec<Arc<Value>> {
    let mut pods = state.of_kind("", "Pod", text(set, &["metadata", "namespace"]));
    pods.retain(|pod| owner_uid(pod) == Some(uid(set)) && !matches!(text(pod, &["status", "phase"]), "Succeeded" | "Failed"));
    pods
}

fn sync(state: &mut State, set_object: &Arc<Value>) {
    let mut failure = None;
    if !is_deleting(set_object) {
        failure = manage(state, set_object);
    }
    let Some(live) = state.get(&Key::of(set_object)).cloned() else { return };
    let now_ms = state.now_ms();
    let mine = pods_of(state, &live);
    let (active, ending): (Vec<_>, Vec<_>) = mine.iter().partition(|pod| !is_deleting(pod));
    let selector =
        Selector::of(at(&live, &["spec", "template", "metadata"]).map(|meta| json!({"matchLabels": meta["labels"]})).as_ref());
    let labelled = active.iter().filter(|pod| selector.as_ref().is_none_or(|selector| selector.matches(pod))).count();
    let ready: Vec<i64> = active.iter().filter_map(|pod| state.times_of(pod).ready_ms).collect();
    let available = ready.iter().filter(|since| **since + min_ready_ms(&live) <= now_ms).count();
    let mut status = json!({
        "replicas": active.len(), "fullyLabeledReplicas": labelled, "readyReplicas": ready.len(), "availableReplicas": available,
        "terminatingReplicas": ending.len(), "observedGeneration": live["metadata"]["generation"],
    });
    if let Some(conditions) = at(&live, &["status", "conditions"]) {
        status["conditions"] = conditions.clone();
    }
    match failure {
        Some(message) => set_condition(&mut status, "ReplicaFailure", "True", "FailedCreate", &message, &stamp(now_ms)),
        None => {
            let kept: Vec<Value> = list(&status, &["conditions"])
                .iter()
                .filter(|condition| text(condition, &["type"]) != "ReplicaFailure")
                .cloned()
                .collect();
            if kept.is_empty() {
                status.as_object_mut().map(|fields| fields.remove("conditions"));
            } else {
                status["conditions"] = json!(kept);
            }
        }
    }
    state.edit(USER, &Key::of(&live), "status", |object| set(object, &["status"], status));
}

/// Creates and deletes pods. Returns why pods cannot be created.
fn manage(state: &mut State, set_object: &Value) -> Option<String> {
    let wanted = usize::try_from(integer(set_object, &["spec", "replicas"]).unwrap_or(1)).unwrap_or(0);
    let mut active = pods_of(state, set_object);
    active.retain(|pod| !is_deleting(pod));
    let namespace = text(set_object, &["metadata", "namespace"]).to_owned();
    for _ in active.len()..wanted {
        let held = state.of_kind("", "Pod", &namespace).len();
        if state.settings.pod_quota.get(&namespace).is_some_and(|quota| held >= *quota) {
            return Some(format!("pods \"{}\" is forbidden: exceeded quota", text(set_object, &["metadata", "name"])));
        }
        let pod = new_pod(state, set_object);
        let key = Key::of(&pod);
        if state.control(USER, Verb::Create, key, "", pod).is_none() {
            return Some("pods could not be created".to_owned());
        }
    }
    // those that serve least go first, then the youngest
    active.sort_by_key(|pod| {
        let times = state.times_of(pod);
        (times.ready_ms.is_some(), std::cmp::Reverse(times.ready_ms), std::cmp::Reverse(times.created_ms), Key::of(pod))
    });
    for pod in active.iter().take(active.len().saturating_sub(wanted)) {
        state.discard(USER, pod, json!({}));
    }
    None
}

fn new_pod(state: &mut State, set_object: &Value) -> Value {
    let template = at(set_object, &["spec", "template"]).cloned().unwrap_or_default();
    let stem = text(set_object, &["metadata", "name"]).to_owned();
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": template.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "spec": template["spec"],
    });
    let name = format!("{stem}-{}", state.next_suffix());
    set(&mut pod, &["metadata", "name"], name);
    set(&mut pod, &["metadata", "namespace"], set_object["metadata"]["namespace"].clone());
    set(&mut pod, &["metadata", "ownerReferences"], json!([owner_reference(set_object)]));
    pod
}
