//! The status of a Deployment: counts, availability, progress and its deadline.

use serde_json::{Value, json};

use super::children::Children;
use super::{USER, available, max_unavailable, replicas};
use crate::clock::stamp;
use crate::controllers::{set_condition, uid};
use crate::json::{at, flag, integer, list, set, text};
use crate::key::Key;
use crate::state::State;

const AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";

fn reason(deployment: &Value) -> &str {
    let conditions = list(deployment, &["status", "conditions"]);
    conditions
        .iter()
        .find(|condition| text(condition, &["type"]) == "Progressing")
        .map_or("", |condition| text(condition, &["reason"]))
}

fn count(deployment: &Value, field: &str) -> i64 {
    integer(deployment, &["status", field]).unwrap_or(0)
}

pub fn is_complete(deployment: &Value) -> bool {
    let wanted = replicas(deployment);
    ["updatedReplicas", "replicas", "availableReplicas"].iter().all(|field| count(deployment, field) == wanted)
        && integer(deployment, &["status", "observedGeneration"]) >= integer(deployment, &["metadata", "generation"])
}

/// A pause stops the deadline, and the end of a pause starts it anew.
pub fn note_pause(state: &mut State, key: &Key) {
    let Some(deployment) = state.get(key).cloned() else { return };
    let is_paused = flag(&deployment, &["spec", "paused"]);
    let (value, word, message) = match (is_paused, reason(&deployment)) {
        (_, TIMED_OUT) => return,
        (true, now) if now != PAUSED => ("Unknown", PAUSED, "Deployment is paused"),
        (false, PAUSED) => ("Unknown", RESUMED, "Deployment is resumed"),
        _ => return,
    };
    let (now_ms, now) = (state.now_ms(), stamp(state.now_ms()));
    state.edit(USER, key, "status", |object| {
        let mut status = at(object, &["status"]).cloned().unwrap_or_default();
        set_condition(&mut status, "Progressing", value, word, message, &now);
        set(object, &["status"], status);
    });
    if let Some(times) = state.times.get_mut(uid(&deployment)) {
        times.progress_ms = Some(now_ms);
    }
}

pub fn next_due_ms(state: &State) -> Option<i64> {
    let deployments = state.of_kind("apps", "Deployment", "");
    deployments.iter().filter_map(|deployment| deadline_ms(state, deployment)).filter(|at| *at > state.now_ms()).min()
}

fn deadline_ms(state: &State, deployment: &Value) -> Option<i64> {
    let seconds = integer(deployment, &["spec", "progressDeadlineSeconds"])?;
    let is_waiting = !flag(deployment, &["spec", "paused"]) && !matches!(reason(deployment), "" | AVAILABLE | TIMED_OUT);
    is_waiting.then(|| state.times_of(deployment).progress_ms).flatten().map(|since| since + seconds * 1000)
}

pub fn write(state: &mut State, key: &Key, children: &Children) {
    let Some(deployment) = state.get(key).cloned() else { return };
    let sum = |field: &str| children.all().map(|set| integer(set, &["status", field]).unwrap_or(0)).sum::<i64>();
    let updated = children.new.as_ref().map_or(0, |set| integer(set, &["status", "replicas"]).unwrap_or(0));
    let serving: i64 = children.all().map(|set| available(set)).sum();
    let (now_ms, now) = (state.now_ms(), stamp(state.now_ms()));
    let mut new = deployment.as_ref().clone();
    for (field, number) in [
        ("replicas", sum("replicas")),
        ("updatedReplicas", updated),
        ("readyReplicas", sum("readyReplicas")),
        ("availableReplicas", serving),
        ("unavailableReplicas", (children.total() - serving).max(0)),
        ("terminatingReplicas", sum("terminatingReplicas")),
    ] {
        // the types leave zeros out
        match number {
            0 => drop(crate::json::remove(&mut new, &["status", field])),
            _ => set(&mut new, &["status", field], json!(number)),
        }
    }
    set(&mut new, &["status", "observedGeneration"], deployment["metadata"]["generation"].clone());
    let mut status = new["status"].clone();
    let enough = serving >= replicas(&deployment) - max_unavailable(&deployment);
    match enough {
        true => set_condition(
            &mut status,
            "Available",
            "True",
            "MinimumReplicasAvailable",
            "Deployment has minimum availability.",
            &now,
        ),
        false => set_condition(
            &mut status,
            "Available",
            "False",
            "MinimumReplicasUnavailable",
            "Deployment does not have minimum availability.",
            &now,
        ),
    }
    if !flag(&deployment, &["spec", "paused"]) {
        let moved = has_moved(&deployment, &new);
        let was_settled = reason(&deployment) == AVAILABLE && count(&new, "replicas") == count(&new, "updatedReplicas");
        if is_complete(&new) && !was_settled {
            set_condition(&mut status, "Progressing", "True", AVAILABLE, "the new ReplicaSet has successfully progressed", &now);
        } else if !was_settled && (moved || matches!(reason(&deployment), "" | AVAILABLE)) {
            set_condition(&mut status, "Progressing", "True", "ReplicaSetUpdated", "the new ReplicaSet is progressing", &now);
            if let Some(times) = state.times.get_mut(uid(&deployment)) {
                times.progress_ms = Some(now_ms);
            }
        } else if !was_settled && deadline_ms(state, &deployment).is_some_and(|at| now_ms >= at) {
            set_condition(&mut status, "Progressing", "False", TIMED_OUT, "the ReplicaSet has timed out progressing", &now);
        }
    }
    state.edit(USER, key, "status", |object| set(object, &["status"], status));
}

/// More new pods, fewer old ones, or more that serve.
fn has_moved(old: &Value, new: &Value) -> bool {
    let rest = |object: &Value| count(object, "replicas") - count(object, "updatedReplicas");
    count(new, "updatedReplicas") > count(old, "updatedReplicas")
        || rest(new) < rest(old)
        || ["readyReplicas", "availableReplicas"].iter().any(|field| count(new, field) > count(old, field))
}
