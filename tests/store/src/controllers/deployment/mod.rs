//! Deployments, after the controller of Kubernetes 1.36: adoption, the set with the equal template, scaling, rolling.

mod children;
mod progress;
mod roll;
mod scale;

use std::sync::Arc;

use serde_json::{Value, json};

use super::is_deleting;
use crate::json::{flag, integer, text};
use crate::key::Key;
use crate::state::State;
use children::Children;

const USER: &str = "deployment-controller";
pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX: &str = "deployment.kubernetes.io/max-replicas";

pub use progress::next_due_ms;

pub fn run(state: &mut State) {
    for deployment in state.of_kind("apps", "Deployment", "") {
        sync(state, &deployment);
    }
}

/// One pass for one Deployment, with fresh reads.
fn sync(state: &mut State, deployment: &Arc<Value>) {
    let key = Key::of(deployment);
    children::adopt_and_release(state, deployment);
    if is_deleting(deployment) {
        let children = Children::read(state, deployment);
        progress::write(state, &key, &children);
        return;
    }
    progress::note_pause(state, &key);
    let Some(deployment) = state.get(&key).cloned() else { return };
    let is_paused = flag(&deployment, &["spec", "paused"]);
    let children = Children::with_revisions(state, &deployment, false);
    if is_paused || is_scaling(&deployment, &children) {
        scale::scale(state, &deployment, &children);
        if is_paused {
            children::clean_up(state, &deployment);
        }
    } else if text(&deployment, &["spec", "strategy", "type"]) == "Recreate" {
        roll::recreate(state, &deployment);
    } else {
        roll::rolling(state, &deployment);
    }
    let Some(deployment) = state.get(&key).cloned() else { return };
    let children = Children::read(state, &deployment);
    progress::write(state, &key, &children);
}

/// Whether the wanted number changed since the sets were last sized.
fn is_scaling(deployment: &Value, children: &Children) -> bool {
    children.all().filter(|set| replicas(set) > 0).any(|set| {
        let desired = text(set, &["metadata", "annotations", DESIRED]).parse::<i64>().ok();
        desired.is_some_and(|desired| desired != replicas(deployment))
    })
}

pub(crate) fn replicas(object: &Value) -> i64 {
    integer(object, &["spec", "replicas"]).unwrap_or(1)
}

fn available(set: &Value) -> i64 {
    integer(set, &["status", "availableReplicas"]).unwrap_or(0)
}

fn is_rolling(deployment: &Value) -> bool {
    text(deployment, &["spec", "strategy", "type"]) != "Recreate"
}

/// Pods above and below the wanted number, of which at least one is more than 0.
fn fenceposts(deployment: &Value) -> (i64, i64) {
    let wanted = replicas(deployment);
    let of = |field: &str, up: bool| {
        let value = &deployment["spec"]["strategy"]["rollingUpdate"][field];
        match value.as_str().and_then(|text| text.trim_end_matches('%').parse::<i64>().ok()) {
            Some(percent) if up => (wanted * percent + 99) / 100,
            Some(percent) => wanted * percent / 100,
            None => value.as_i64().unwrap_or(0),
        }
    };
    let (surge, unavailable) = (of("maxSurge", true), of("maxUnavailable", false));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

fn max_surge(deployment: &Value) -> i64 {
    if is_rolling(deployment) { fenceposts(deployment).0 } else { 0 }
}

fn max_unavailable(deployment: &Value) -> i64 {
    if is_rolling(deployment) && replicas(deployment) > 0 { fenceposts(deployment).1.min(replicas(deployment)) } else { 0 }
}

/// Sets the size of a set, and the notes from which the next scaling event is recognised. Returns whether the size changed.
fn resize(state: &mut State, deployment: &Value, set: &Value, size: i64) -> bool {
    let notes = [(DESIRED, replicas(deployment)), (MAX, replicas(deployment) + max_surge(deployment))];
    let differs = replicas(set) != size;
    state.edit(USER, &Key::of(set), "", |object| {
        crate::json::set(object, &["spec", "replicas"], json!(size));
        for (note, number) in notes {
            crate::json::set(object, &["metadata", "annotations", note], number.to_string());
        }
    });
    differs
}
