//! Health of objects, by kind: a table in the spirit of kstatus, with Argo CD's stricter rows where they are the safer ones.

use serde_json::Value;

use crate::id::{APPS, CORE, Id};
use crate::view::{integer, is_deleting, list, text};

/// How an object does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// As its spec asks.
    Current,
    /// On its way.
    InProgress(String),
    /// Will not get there by itself.
    Failed(String),
}

/// The status of a condition and its message.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<(&'a str, &'a str, &'a str)> {
    list(object, &["status", "conditions"])
        .iter()
        .find(|condition| text(condition, &["type"]) == kind)
        .map(|condition| (text(condition, &["status"]), text(condition, &["reason"]), text(condition, &["message"])))
}

/// How a live object does.
#[must_use]
pub fn health(id: &Id, object: &Value) -> Health {
    if is_deleting(object) {
        return Health::InProgress("it is being deleted".to_owned());
    }
    let generation = integer(object, &["metadata", "generation"]);
    let observed = integer(object, &["status", "observedGeneration"]);
    let lags = matches!((generation, observed), (Some(generation), Some(observed)) if observed < generation);
    if lags {
        return Health::InProgress("its controller has not seen its present form".to_owned());
    }
    match (id.group.as_str(), id.kind.as_str()) {
        (APPS, "Deployment") => deployment(object),
        (APPS, "StatefulSet") => stateful_set(object),
        (APPS, "DaemonSet") => daemon_set(object),
        (APPS, "ReplicaSet") => replica_set(object),
        ("batch", "Job") => job(object),
        (CORE, "Pod") => pod(object),
        (CORE, "PersistentVolumeClaim") if text(object, &["status", "phase"]) == "Lost" => {
            Health::Failed("its volume is lost".to_owned())
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => established(object),
        // Weights and backends are guarded by the rollout; a route that no gateway has seen is not unhealthy by itself.
        (crate::id::GATEWAY, _) | (sluice_crds::names::GROUP, _) => Health::Current,
        _ => generic(object),
    }
}

fn generic(object: &Value) -> Health {
    if let Some(("True", _, message)) = condition(object, "Stalled") {
        return Health::Failed(message.to_owned());
    }
    if let Some(("True", _, message)) = condition(object, "Reconciling") {
        return Health::InProgress(message.to_owned());
    }
    match condition(object, "Ready") {
        Some(("False" | "Unknown", _, message)) => Health::InProgress(message.to_owned()),
        _ => Health::Current,
    }
}

fn deployment(object: &Value) -> Health {
    if let Some(("False", "ProgressDeadlineExceeded", message)) = condition(object, "Progressing") {
        return Health::Failed(message.to_owned());
    }
    if integer(object, &["status", "observedGeneration"]).is_none() {
        return Health::InProgress("its controller has not seen it yet".to_owned());
    }
    let wanted = integer(object, &["spec", "replicas"]).unwrap_or(1);
    let status = |name| integer(object, &["status", name]).unwrap_or(0);
    if status("updatedReplicas") < wanted {
        return Health::InProgress(format!("{} of {wanted} pods have the new template", status("updatedReplicas")));
    }
    if status("replicas") > status("updatedReplicas") {
        return Health::InProgress(format!("{} old pods are going", status("replicas") - status("updatedReplicas")));
    }
    if status("availableReplicas") < wanted {
        return Health::InProgress(format!("{} of {wanted} pods are available", status("availableReplicas")));
    }
    Health::Current
}

fn stateful_set(object: &Value) -> Health {
    if text(object, &["spec", "updateStrategy", "type"]) == "OnDelete" {
        return Health::Current;
    }
    let wanted = integer(object, &["spec", "replicas"]).unwrap_or(1);
    let partition = integer(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
    let status = |name| integer(object, &["status", name]).unwrap_or(0);
    if status("readyReplicas") < wanted {
        return Health::InProgress(format!("{} of {wanted} pods are ready", status("readyReplicas")));
    }
    if status("updatedReplicas") < (wanted - partition).max(0) {
        return Health::InProgress(format!("{} of {} pods are updated", status("updatedReplicas"), wanted - partition));
    }
    Health::Current
}

fn daemon_set(object: &Value) -> Health {
    let status = |name| integer(object, &["status", name]).unwrap_or(0);
    let wanted = status("desiredNumberScheduled");
    if integer(object, &["status", "observedGeneration"]).is_none() {
        return Health::InProgress("its controller has not seen it yet".to_owned());
    }
    if text(object, &["spec", "updateStrategy", "type"]) != "OnDelete" && status("updatedNumberScheduled") < wanted {
        return Health::InProgress(format!("{} of {wanted} pods are updated", status("updatedNumberScheduled")));
    }
    if status("numberAvailable") < wanted {
        return Health::InProgress(format!("{} of {wanted} pods are available", status("numberAvailable")));
    }
    Health::Current
}

fn replica_set(object: &Value) -> Health {
    if let Some(("True", _, message)) = condition(object, "ReplicaFailure") {
        return Health::Failed(message.to_owned());
    }
    let wanted = integer(object, &["spec", "replicas"]).unwrap_or(1);
    let ready = integer(object, &["status", "availableReplicas"]).unwrap_or(0);
    if ready < wanted { Health::InProgress(format!("{ready} of {wanted} pods are available")) } else { Health::Current }
}

fn job(object: &Value) -> Health {
    if let Some(("True", _, message)) = condition(object, "Failed") {
        return Health::Failed(message.to_owned());
    }
    let done = matches!(condition(object, "Complete"), Some(("True", _, _)));
    let suspended = object.pointer("/spec/suspend").and_then(Value::as_bool) == Some(true);
    if done || suspended { Health::Current } else { Health::InProgress("it has not completed".to_owned()) }
}

fn pod(object: &Value) -> Health {
    match text(object, &["status", "phase"]) {
        "Succeeded" => Health::Current,
        "Failed" => Health::Failed("it has failed".to_owned()),
        _ => match condition(object, "Ready") {
            Some(("True", _, _)) => Health::Current,
            _ => Health::InProgress("it is not ready".to_owned()),
        },
    }
}

fn established(object: &Value) -> Health {
    if let Some(("False", _, message)) = condition(object, "NamesAccepted") {
        return Health::Failed(message.to_owned());
    }
    match condition(object, "Established") {
        Some(("True", _, _)) => Health::Current,
        _ => Health::InProgress("the API server does not serve it yet".to_owned()),
    }
}

/// Whether every gateway that a route names has accepted the route's present form.
#[must_use]
pub fn route_accepted(route: &Value) -> bool {
    let generation = integer(route, &["metadata", "generation"]).unwrap_or(0);
    let parents = list(route, &["status", "parents"]);
    !parents.is_empty()
        && parents.iter().all(|parent| {
            let conditions = list(parent, &["conditions"]);
            let holds = |kind: &str| {
                conditions.iter().any(|condition| {
                    text(condition, &["type"]) == kind
                        && text(condition, &["status"]) == "True"
                        && integer(condition, &["observedGeneration"]) == Some(generation)
                })
            };
            holds("Accepted") && holds("ResolvedRefs")
        })
}
