//! The controllers beside the API server, modelled: Deployments, ReplicaSets, kubelet, gateway, garbage, namespaces.
//!
//! Each looks at the store and writes what its real counterpart would, through the same rules as everybody. They run only when
//! they are told to, in a fixed order, until none of them changes anything. Delays are in [`Settings`].
//! Left out: endpoints, autoscalers, nodes and disruption budgets; adoption of pods by ReplicaSets.

pub mod deployment;
pub mod garbage;
pub mod gateway;
pub mod hash;
pub mod kubelet;
pub mod namespace;
pub mod replica_set;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::key::Key;
use crate::state::State;
use crate::state::write::{Request, Validation};
use crate::trace::Verb;
use kubelet::PodRule;

/// Rounds after which controllers that still change things are a fight between them, not progress.
const ROUNDS_MAX: usize = 500;
const MANAGER: &str = "kube-controller-manager";

/// How the world beside the API server behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// From a pod's creation to its readiness, where no rule says otherwise.
    pub pod_ready_ms: i64,
    /// From a pod's deletion mark to its end.
    pub pod_end_ms: i64,
    /// From a route's change to the gateway's status for it; `None`: no gateway answers.
    pub route_accept_ms: Option<i64>,
    /// First match wins.
    pub pod_rules: Vec<PodRule>,
    /// Names of pods that are not ready whatever the rules say.
    pub unready: BTreeSet<String>,
    /// Pods that a namespace may hold.
    pub pod_quota: BTreeMap<String, usize>,
    /// A stopped Deployment controller acts on nothing.
    pub deployments_stopped: bool,
    pub replica_sets_stopped: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pod_ready_ms: 1000,
            pod_end_ms: 1000,
            // measured with a real gateway: 0.1 to 0.2 s
            route_accept_ms: Some(100),
            pod_rules: Vec::new(),
            unready: BTreeSet::new(),
            pod_quota: BTreeMap::new(),
            deployments_stopped: false,
            replica_sets_stopped: false,
        }
    }
}

impl State {
    /// One round of all controllers. Returns whether anything changed.
    pub fn step(&mut self) -> bool {
        let before = self.version;
        garbage::run(self);
        namespace::run(self);
        if !self.settings.deployments_stopped {
            deployment::run(self);
        }
        if !self.settings.replica_sets_stopped {
            replica_set::run(self);
        }
        kubelet::run(self);
        gateway::run(self);
        self.version != before
    }

    /// Rounds until nothing changes at this instant. Returns whether they came to rest.
    pub fn settle(&mut self) -> bool {
        let now_ms = self.now_ms();
        if self.quiet.is_some_and(|(version, until_ms)| version == self.version && now_ms < until_ms) {
            return true;
        }
        let rests = (0..ROUNDS_MAX).any(|_| !self.step());
        self.quiet = rests.then(|| (self.version, self.next_due_ms().unwrap_or(i64::MAX)));
        rests
    }

    /// The next instant at which a controller would do something by itself.
    pub fn next_due_ms(&self) -> Option<i64> {
        let due = [
            kubelet::next_due_ms(self),
            gateway::next_due_ms(self),
            replica_set::next_due_ms(self),
            deployment::next_due_ms(self),
        ];
        due.into_iter().flatten().min()
    }

    /// A controller's change to one object. Nothing is written when nothing changes; a refusal is left for the next round.
    pub(crate) fn edit(&mut self, user: &str, key: &Key, subresource: &str, change: impl FnOnce(&mut Value)) -> bool {
        let Some(live) = self.get(key).cloned() else { return false };
        let mut body = live.as_ref().clone();
        change(&mut body);
        body != *live && self.control(user, Verb::Update, key.clone(), subresource, body).is_some()
    }

    pub(crate) fn control(&mut self, user: &str, verb: Verb, key: Key, subresource: &str, body: Value) -> Option<Value> {
        let request = Request {
            user: format!("system:serviceaccount:kube-system:{user}"),
            manager: MANAGER.to_owned(),
            verb,
            key,
            subresource: subresource.to_owned(),
            force: false,
            is_dry_run: false,
            validation: Validation::Warn,
            body,
        };
        self.execute(&request, false).ok().map(|written| written.object)
    }

    pub(crate) fn discard(&mut self, user: &str, object: &Value, options: Value) {
        let mut options = options;
        crate::json::set(&mut options, &["preconditions"], json!({"uid": object["metadata"]["uid"]}));
        self.control(user, Verb::Delete, Key::of(object), "", options);
    }
}

/// The controller among an object's owners.
#[must_use]
pub fn owner_uid(object: &Value) -> Option<&str> {
    let owners = crate::json::list(object, &["metadata", "ownerReferences"]);
    owners.iter().find(|owner| crate::json::flag(owner, &["controller"])).map(|owner| crate::json::text(owner, &["uid"]))
}

#[must_use]
pub fn is_deleting(object: &Value) -> bool {
    crate::json::at(object, &["metadata", "deletionTimestamp"]).is_some()
}

#[must_use]
pub fn uid(object: &Value) -> &str {
    crate::json::text(object, &["metadata", "uid"])
}

#[must_use]
pub fn owner_reference(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// Sets one condition, keeping its transition time while its status stays.
pub fn set_condition(status: &mut Value, kind: &str, value: &str, reason: &str, message: &str, now: &str) {
    let conditions = crate::json::list(status, &["conditions"]);
    let old = conditions.iter().find(|condition| crate::json::text(condition, &["type"]) == kind);
    if old.is_some_and(|old| {
        ["status", "reason"].iter().zip([value, reason]).all(|(field, is)| crate::json::text(old, &[field]) == is)
    }) {
        return;
    }
    let since = old
        .filter(|old| crate::json::text(old, &["status"]) == value)
        .map_or(now, |old| crate::json::text(old, &["lastTransitionTime"]));
    let new = json!({
        "type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": since, "lastUpdateTime": now,
    });
    let mut conditions: Vec<Value> =
        conditions.iter().filter(|condition| crate::json::text(condition, &["type"]) != kind).cloned().collect();
    conditions.push(new);
    crate::json::set(status, &["conditions"], conditions);
}
