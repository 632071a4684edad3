//! Pods and their ReplicaSets: so many as are wanted, and what becomes of each by the image that it runs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_plan::Id;
use sluice_plan::id::{APPS, CORE};
use sluice_plan::view::{annotation, controller_uid, integer, text, texts, uid};

use super::store::Store;

pub const CONTROLLER: &str = "kube-controller-manager";
const KUBELET: &str = "kubelet";
/// When a pod was made, in milliseconds of the clock that nobody sets.
const BORN: &str = "test/born";
/// A container that crashes does so after this time, and again after the same.
const CRASH_MS: i64 = 1000;

/// What becomes of pods with an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    ReadyAfter(i64),
    NeverReady,
    Crash,
    PullError,
}

pub type Fates = BTreeMap<String, Fate>;

pub fn fate(fates: &Fates, image: &str) -> Fate {
    fates.get(image).copied().unwrap_or(Fate::ReadyAfter(2000))
}

pub fn image(template: &Value) -> &str {
    template.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap_or("")
}

pub fn is_ready(pod: &Value) -> bool {
    sluice_plan::view::list(pod, &["status", "conditions"]).iter().any(|condition| condition["status"] == "True")
}

/// The pods of a ReplicaSet, oldest first.
pub fn pods_of(store: &Store, replica_set: &Value) -> Vec<(Id, Value)> {
    let owner = uid(replica_set);
    let mut pods: Vec<(Id, Value)> = store
        .of_kind(CORE, "Pod")
        .filter(|(_, pod)| controller_uid(pod) == Some(owner))
        .map(|(id, pod)| (id.clone(), pod.clone()))
        .collect();
    pods.sort_by_key(|(id, pod)| (born(pod), id.clone()));
    pods
}

pub fn ready_of(store: &Store, replica_set: &Value) -> i64 {
    i64::try_from(pods_of(store, replica_set).iter().filter(|(_, pod)| is_ready(pod)).count()).unwrap()
}

fn born(pod: &Value) -> i64 {
    annotation(pod, BORN).parse().unwrap_or(0)
}

/// Makes and removes pods as their ReplicaSets want it, and writes what the sets show.
pub fn scale(store: &mut Store, mono_ms: i64) {
    let sets: Vec<(Id, Value)> = store.of_kind(APPS, "ReplicaSet").map(|(id, set)| (id.clone(), set.clone())).collect();
    for (id, set) in sets {
        let mut pods = pods_of(store, &set);
        let wanted = usize::try_from(integer(&set, &["spec", "replicas"]).unwrap_or(1)).unwrap();
        // Those that are not ready go first, then the youngest.
        pods.sort_by_key(|(_, pod)| !is_ready(pod));
        for (pod_id, pod) in pods.drain(wanted.min(pods.len())..) {
            store.delete(&pod_id, uid(&pod), None).unwrap();
        }
        let mut number = 0;
        let mut have = pods.len();
        while have < wanted {
            let pod_id = Id::new(CORE, "Pod", id.namespace_text(), &format!("{}-{number}", id.name));
            number += 1;
            if store.get(&pod_id).is_none() {
                store.create(&pod_id, &pod(&pod_id, &set, mono_ms), CONTROLLER).unwrap();
                have += 1;
            }
        }
        let ready = ready_of(store, &set);
        let generation = integer(&set, &["metadata", "generation"]);
        let status =
            json!({"replicas": have, "readyReplicas": ready, "availableReplicas": ready, "observedGeneration": generation});
        let _ = store.update(&id, CONTROLLER, "status", |value| value["status"] = status);
    }
}

fn pod(id: &Id, set: &Value, mono_ms: i64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": id.name, "namespace": id.namespace, "labels": texts(set, &["spec", "template", "metadata", "labels"]),
            "annotations": {BORN: mono_ms.to_string()},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": text(set, &["metadata", "name"]), "uid": uid(set), "controller": true,
            }],
        },
        "spec": set.pointer("/spec/template/spec"),
    })
}

/// What every pod shows at an instant.
pub fn live(store: &mut Store, fates: &Fates, mono_ms: i64) {
    let pods: Vec<(Id, Value)> = store.of_kind(CORE, "Pod").map(|(id, pod)| (id.clone(), pod.clone())).collect();
    for (id, pod) in pods {
        let status = status(fate(fates, image(&json!({"spec": pod["spec"]}))), mono_ms - born(&pod));
        if pod.get("status") != Some(&status) {
            store.update(&id, KUBELET, "status", |value| value["status"] = status).unwrap();
        }
    }
}

fn status(fate: Fate, age_ms: i64) -> Value {
    let ready = matches!(fate, Fate::ReadyAfter(after_ms) if age_ms >= after_ms);
    let container = match fate {
        Fate::ReadyAfter(_) | Fate::NeverReady => json!({"name": "main", "restartCount": 0, "state": {"running": {}}}),
        Fate::PullError => json!({
            "name": "main", "restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}},
        }),
        Fate::Crash if age_ms < CRASH_MS => json!({"name": "main", "restartCount": 0, "state": {"running": {}}}),
        Fate::Crash => json!({
            "name": "main", "restartCount": if age_ms < 2 * CRASH_MS { 0 } else { 1 },
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }),
    };
    json!({
        "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        "containerStatuses": [container],
    })
}

/// When a pod next shows something else by itself.
pub fn next_change(store: &Store, fates: &Fates, mono_ms: i64) -> Option<i64> {
    store
        .of_kind(CORE, "Pod")
        .flat_map(|(_, pod)| {
            let born = born(pod);
            let ages = match fate(fates, image(&json!({"spec": pod["spec"]}))) {
                Fate::ReadyAfter(after_ms) => vec![after_ms],
                Fate::Crash => vec![CRASH_MS, 2 * CRASH_MS],
                Fate::NeverReady | Fate::PullError => Vec::new(),
            };
            ages.into_iter().map(move |age_ms| born + age_ms)
        })
        .filter(|at| *at > mono_ms)
        .min()
}
