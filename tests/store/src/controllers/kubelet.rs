//! Pods: they become ready after a while, or fail in one of the usual ways, and end a while after they were deleted.

use serde_json::{Value, json};

use super::{is_deleting, uid};
use crate::clock::stamp;
use crate::json::{list, set, text};
use crate::key::Key;
use crate::state::State;

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Ready {
        after_ms: i64,
    },
    /// It runs and never becomes ready.
    NeverReady,
    /// It starts, ends with this code, and is started again, again and again.
    CrashLoop {
        after_ms: i64,
        exit_code: i64,
        reason: String,
    },
    ImagePullBackOff {
        after_ms: i64,
    },
    /// A ConfigMap or Secret that it names is not there.
    ConfigError,
    Unschedulable,
}

/// Pods whose images, commands or arguments contain a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRule {
    pub contains: String,
    pub outcome: Outcome,
}

const USER: &str = "kubelet";
/// Restarts that a crash loop shows once it has begun.
const RESTARTS: i64 = 2;

pub fn run(state: &mut State) {
    for pod in state.of_kind("", "Pod", "") {
        let times = state.times_of(&pod);
        let now_ms = state.now_ms();
        if is_deleting(&pod) {
            if times.deleted_ms.is_some_and(|at| now_ms >= at + state.settings.pod_end_ms) {
                state.discard(USER, &pod, json!({"gracePeriodSeconds": 0}));
            }
            continue;
        }
        let (mut status, is_ready) = status(state, &pod, now_ms - times.created_ms);
        let ready_ms = if is_ready { times.ready_ms.or(Some(now_ms)) } else { None };
        if let Some(times) = state.times.get_mut(uid(&pod)) {
            times.ready_ms = ready_ms;
        }
        let since = stamp(ready_ms.unwrap_or(times.created_ms));
        status["startTime"] = json!(stamp(times.created_ms));
        for kind in ["Ready", "ContainersReady"] {
            let is = if is_ready { "True" } else { "False" };
            super::set_condition(&mut status, kind, is, if is_ready { "" } else { "ContainersNotReady" }, "", &since);
        }
        let conditions: Vec<Value> = list(&status, &["conditions"])
            .iter()
            .map(|condition| {
                let mut condition = condition.clone();
                condition.as_object_mut().map(|fields| fields.remove("lastUpdateTime"));
                condition
            })
            .collect();
        status["conditions"] = json!(conditions);
        state.edit(USER, &Key::of(&pod), "status", |pod| set(pod, &["status"], status));
    }
}

pub fn next_due_ms(state: &State) -> Option<i64> {
    let now_ms = state.now_ms();
    let mut due = Vec::new();
    for pod in state.of_kind("", "Pod", "") {
        let times = state.times_of(&pod);
        if let Some(deleted_ms) = times.deleted_ms {
            due.push(deleted_ms + state.settings.pod_end_ms);
        } else if let Outcome::Ready { after_ms } | Outcome::CrashLoop { after_ms, .. } | Outcome::ImagePullBackOff { after_ms } =
            outcome(state, &pod)
        {
            due.push(times.created_ms + after_ms);
        }
    }
    due.into_iter().filter(|at| *at > now_ms).min()
}

fn outcome(state: &State, pod: &Value) -> Outcome {
    let texts: Vec<String> = list(pod, &["spec", "containers"])
        .iter()
        .flat_map(|container| {
            let words = list(container, &["command"]).iter().chain(list(container, &["args"])).filter_map(Value::as_str);
            words.chain([text(container, &["image"])]).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    if is_config_missing(state, pod) {
        return Outcome::ConfigError;
    }
    let rule = state.settings.pod_rules.iter().find(|rule| texts.iter().any(|text| text.contains(&rule.contains)));
    rule.map_or(Outcome::Ready { after_ms: state.settings.pod_ready_ms }, |rule| rule.outcome.clone())
}

/// Only what containers take their environment from; a missing volume would keep the pod in creation for ever as well.
fn is_config_missing(state: &State, pod: &Value) -> bool {
    let namespace = text(pod, &["metadata", "namespace"]);
    let is_missing = |kind: &str, name: &str| !name.is_empty() && state.get(&Key::new("", kind, namespace, name)).is_none();
    let containers = list(pod, &["spec", "containers"]).iter();
    let of_env = containers.flat_map(|container| list(container, &["envFrom"])).any(|source| {
        is_missing("ConfigMap", text(source, &["configMapRef", "name"]))
            || is_missing("Secret", text(source, &["secretRef", "name"]))
    });
    let of_volumes = list(pod, &["spec", "volumes"]).iter().any(|volume| {
        is_missing("ConfigMap", text(volume, &["configMap", "name"]))
            || is_missing("Secret", text(volume, &["secret", "secretName"]))
    });
    of_env || of_volumes
}

/// The status of a pod of this age, and whether it is ready.
fn status(state: &State, pod: &Value, age_ms: i64) -> (Value, bool) {
    let outcome = outcome(state, pod);
    let held = state.settings.unready.contains(text(pod, &["metadata", "name"]));
    let is_ready = !held && matches!(outcome, Outcome::Ready { after_ms } if age_ms >= after_ms);
    let started = stamp(state.times_of(pod).created_ms);
    let running = json!({"running": {"startedAt": started}});
    let waiting = |reason: &str, message: &str| json!({"waiting": {"reason": reason, "message": message}});
    let mut phase = "Running";
    let (mut current, mut last, mut restarts) = (running, json!({}), 0);
    match &outcome {
        Outcome::Ready { .. } | Outcome::NeverReady => {}
        Outcome::CrashLoop { after_ms, exit_code, reason } if age_ms >= *after_ms => {
            current = waiting("CrashLoopBackOff", "back-off restarting failed container");
            let finished = stamp(state.times_of(pod).created_ms + after_ms);
            last = json!({"terminated": {"exitCode": exit_code, "reason": reason, "startedAt": started, "finishedAt": finished}});
            restarts = RESTARTS;
        }
        Outcome::CrashLoop { .. } => {}
        Outcome::ImagePullBackOff { after_ms } => {
            phase = "Pending";
            let reason = if age_ms >= *after_ms { "ImagePullBackOff" } else { "ContainerCreating" };
            current = waiting(reason, "Back-off pulling image");
        }
        Outcome::ConfigError => {
            phase = "Pending";
            current = waiting("CreateContainerConfigError", "a ConfigMap or Secret was not found");
        }
        Outcome::Unschedulable => phase = "Pending",
    }
    let old = pod.get("status").cloned().unwrap_or_default();
    let conditions = old.get("conditions").cloned().unwrap_or_else(|| json!([]));
    let mut status = json!({"phase": phase, "conditions": conditions, "qosClass": "BestEffort"});
    let now = stamp(state.now_ms());
    if outcome == Outcome::Unschedulable {
        super::set_condition(&mut status, "PodScheduled", "False", "Unschedulable", "0/1 nodes are available", &now);
        return (status, false);
    }
    super::set_condition(&mut status, "PodScheduled", "True", "", "", &started);
    let containers: Vec<Value> = list(pod, &["spec", "containers"])
        .iter()
        .map(|container| {
            let image = text(container, &["image"]);
            json!({
                "name": container["name"], "image": image, "imageID": format!("sim@{}", super::hash::of_template(&json!(image), 0)),
                "ready": is_ready, "started": phase == "Running", "restartCount": restarts, "state": current, "lastState": last,
            })
        })
        .collect();
    set(&mut status, &["containerStatuses"], containers);
    (status, is_ready)
}
