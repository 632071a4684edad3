//! What may never be seen, whatever happened. Written from the architecture's list and not from the planner: it reads the
//! objects, the records and the writes, and remembers what it saw itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_crds::names::LABEL_EPOCH;
use sluice_crds::release::{Handover, Release, ReleaseStatus, Rollback, State};
use sluice_plan::effective::step_of;
use sluice_plan::id::{APPS, CORE, GATEWAY};
use sluice_plan::plan::{Action, is_final};
use sluice_plan::view::{
    annotation, contains_all, controller_uid, integer, is_deleting, label, list, templates_equal, text, texts, uid,
};
use sluice_plan::{Effect, Id, Plan, World, plan};

use super::app::id;
use super::controllers::{pinned, with_hash};
use super::observe::SYNC;
use super::pods::{is_ready, ready_of};
use super::store::Store;

/// Bytes of a status, at most (I50).
const STATUS_BYTES_MAX: usize = 64 * 1024;
/// Requests in flight end within this time (I3).
const DRAIN_MS: i64 = 3000;

/// See the module.
#[derive(Default)]
pub struct Watch {
    pub now_ms: i64,
    /// Release, step, and when its judging was recorded.
    judging: Option<(i64, i32, i64)>,
    /// The shares that the routes had before the write under way.
    shares_before: BTreeMap<String, i64>,
    template_before: Option<Value>,
    /// By hash: when a Service that selects only these pods last had weight in a route.
    weighted_ms: BTreeMap<String, i64>,
    good: Option<String>,
    release: i64,
    epoch: i64,
}

fn must(holds: bool, invariant: &str, message: impl FnOnce() -> String) {
    assert!(holds, "{invariant}: {}", message());
}

fn status_of(object: &Value) -> Option<ReleaseStatus> {
    serde_json::from_value(object.get("status")?.clone()).unwrap()
}

/// Pods that a Service of the store selects and that are ready.
fn ready_behind(store: &Store, namespace: &str, service: &str) -> i64 {
    let Some(service) = store.get(&Id::new(CORE, "Service", namespace, service)) else { return 0 };
    let selector = texts(&service, &["spec", "selector"]);
    let selected = store.of_kind(CORE, "Pod").filter(|(id, pod)| {
        id.namespace_text() == namespace
            && is_ready(pod)
            && !is_deleting(pod)
            && contains_all(&texts(pod, &["metadata", "labels"]), &selector)
    });
    i64::try_from(selected.count()).unwrap()
}

/// I30: one world has one plan, also after JSON; and what the process remembers decides nothing.
pub fn one_plan(world: &World, forgotten: Option<&World>, made: &Plan) {
    let text = serde_json::to_string(world).unwrap();
    let read: World = serde_json::from_str(&text).unwrap();
    must(serde_json::to_string(&read).unwrap() == text, "I30", || "a world is another one after JSON".to_owned());
    must(plan(&read) == *made, "I30", || "the same world has two plans".to_owned());
    must(forgotten.map(plan).as_ref() == Some(made), "I29", || "a lost memory changes what is decided".to_owned());
}

/// Each Service's thousandths of a route's traffic, with the canary's marked by its name.
fn shares(route: &Value) -> BTreeMap<String, i64> {
    let mut shares = BTreeMap::new();
    for rule in list(route, &["spec", "rules"]) {
        let backends = list(rule, &["backendRefs"]);
        let weight = |backend: &Value| integer(backend, &["weight"]).unwrap_or(1);
        let total: i64 = backends.iter().map(weight).sum();
        must(backends.is_empty() || total > 0, "I5", || "a rule has no backend with a weight".to_owned());
        must(backends.iter().all(|backend| weight(backend) >= 0), "I5", || "a weight is negative".to_owned());
        for backend in backends {
            let share = weight(backend) * 1000 / total;
            let entry = shares.entry(text(backend, &["name"]).to_owned()).or_insert(0);
            *entry = share.max(*entry);
        }
    }
    shares
}

fn is_canary(service: &str) -> bool {
    service.contains("-canary-")
}

impl Watch {
    pub fn recorded(&mut self, world: &World, action: &Action, store: &Store) {
        if let Action::RecordRelease(after) = action {
            let release = world.release.as_ref().unwrap();
            self.dwell(release, after);
            must(serde_json::to_string(after).unwrap().len() <= STATUS_BYTES_MAX, "I50", || {
                "the status of a Release is too large".to_owned()
            });
            let ids: BTreeSet<&str> = after.alerts.iter().map(|alert| alert.id.as_str()).collect();
            must(ids.len() == after.alerts.len(), "I58", || "an alert is there twice".to_owned());
            if matches!(after.state, State::Promoted {}) {
                promoted(release, after, store);
            }
        }
        if let Action::RecordSync(after) = action {
            must(after.release >= self.release, "I21", || "the number of the release falls".to_owned());
            must(after.epoch >= self.epoch, "I24", || "the epoch falls".to_owned());
            (self.release, self.epoch) = (after.release, after.epoch);
            let good = after.good.as_ref().map(|good| good.sha.clone());
            must(good.is_some() || self.good.is_none(), "I17", || "the good revision is forgotten".to_owned());
            self.good = good;
            must(serde_json::to_string(after).unwrap().len() <= STATUS_BYTES_MAX, "I50", || {
                "the status of a GitSync is too large".to_owned()
            });
        }
    }

    /// I14: no step ends before its time by the clock that nobody sets.
    fn dwell(&mut self, release: &Release, after: &ReleaseStatus) {
        let number = release.spec.number;
        if let (Some((judged, step, since_ms)), true) = (self.judging, is_forward(&after.state)) {
            let left = !matches!(after.state, State::Judging { step: now } if now == step);
            if judged == number && left {
                let hold_ms = release
                    .spec
                    .rollouts
                    .iter()
                    .filter_map(|plan| step_of(plan, step))
                    .map(|step| step.hold_s * 1000)
                    .max()
                    .unwrap_or(0);
                let held_ms = self.now_ms - since_ms;
                must(held_ms >= hold_ms, "I14", || format!("step {} ended after {held_ms} of {hold_ms} ms", step + 1));
            }
        }
        match after.state {
            State::Judging { step } => {
                if self.judging.is_none_or(|(judged, before, _)| (judged, before) != (number, step)) {
                    self.judging = Some((number, step, self.now_ms));
                }
            }
            _ => self.judging = None,
        }
    }

    pub fn before(&mut self, _world: &World, effect: &Effect, store: &Store) {
        self.shares_before.clear();
        self.template_before = None;
        let Some(id) = effect.id() else { return };
        let live = store.get(id);
        if let (true, Some(live)) = (id.group == GATEWAY, &live) {
            self.shares_before = shares(live);
        }
        if id.is(APPS, "Deployment") {
            self.template_before = live.as_ref().and_then(|live| live.pointer("/spec/template").cloned());
        }
        if id.is(APPS, "ReplicaSet") {
            self.canary_pods(id, effect, store);
        }
        if let (Effect::Apply { uid, resource_version, .. }, true) = (effect, live.is_some()) {
            must(uid.is_some() && resource_version.is_some(), "I26", || format!("{id} is written without a guard"));
        }
    }

    /// I3 and I60: pods go only when nothing is sent to them, and change hands only when all is right.
    fn canary_pods(&self, id: &Id, effect: &Effect, store: &Store) {
        let Some(set) = store.get(id) else { return };
        let hash = label(&set, "pod-template-hash");
        let replicas = integer(&set, &["spec", "replicas"]).unwrap_or(0);
        let goes = match effect {
            Effect::Delete { .. } => replicas > 0,
            Effect::Patch { patch, .. } => integer(patch, &["spec", "replicas"]).is_some_and(|to| to < replicas && to == 0),
            _ => false,
        };
        if goes {
            let drained_ms = self.weighted_ms.get(hash).map_or(i64::MAX, |last_ms| self.now_ms - last_ms);
            let message = || format!("{id} loses its pods {drained_ms} ms after requests were sent to them alone");
            must(drained_ms >= DRAIN_MS, "I3", message);
        }
        if let Effect::Patch { patch, .. } = effect
            && patch.pointer("/metadata/ownerReferences/0/kind") == Some(&Value::from("Deployment"))
        {
            let owner = text(patch, &["metadata", "ownerReferences"]).to_owned();
            let name = patch.pointer("/metadata/ownerReferences/0/name").and_then(Value::as_str).unwrap_or(&owner);
            let deployment = store.get(&Id::new(APPS, "Deployment", id.namespace_text(), name)).unwrap();
            let wanted = integer(&deployment, &["spec", "replicas"]).unwrap_or(1);
            let guard = |holds: bool, what: &str| must(holds, "I60", || format!("{id} changes hands though {what}"));
            guard(deployment.pointer("/spec/paused") == Some(&Value::Bool(true)), "the Deployment is not paused");
            guard(text(&deployment, &["spec", "strategy", "rollingUpdate", "maxSurge"]) == "100%", "the surge is not full");
            guard(templates_equal(&set["spec"]["template"], &deployment["spec"]["template"]), "the templates differ");
            guard(replicas == wanted && ready_of(store, &set) == wanted, "it has not all the pods");
            let is_twin = |other: &Value| {
                uid(other) != uid(&set)
                    && controller_uid(other) == Some(uid(&deployment))
                    && templates_equal(&other["spec"]["template"], &set["spec"]["template"])
            };
            guard(!store.of_kind(APPS, "ReplicaSet").any(|(_, other)| is_twin(other)), "the history has its twin");
        }
    }

    pub fn written(&mut self, world: &World, effect: &Effect, store: &Store) {
        let release = world.release.as_ref();
        // The record that stands now: it was written in this pass, before the effect.
        let number = store.get(&id("GitSync", SYNC)).and_then(|sync| integer(&sync, &["status", "release"])).unwrap_or(0);
        let status = store.get(&id("Release", &format!("{SYNC}-{number}"))).as_ref().and_then(status_of);
        if let (Effect::Apply { id, .. }, Some(release), Some(status)) = (effect, release, &status) {
            if id.group == GATEWAY {
                self.route(id, release, status, store);
            }
            if id.is(APPS, "Deployment") {
                self.template(id, release, status, store);
            }
        }
        pins(store);
    }

    /// I1, I2, I6, I16: what a route's write may raise.
    fn route(&self, id: &Id, release: &Release, status: &ReleaseStatus, store: &Store) {
        let Some(route) = store.get(id) else { return };
        let Some(plan) = release.spec.rollouts.iter().find(|plan| plan.routes.contains(&id.name)) else { return };
        let deployment = store.get(&Id::new(APPS, "Deployment", id.namespace_text(), &plan.deployment));
        let wanted = deployment.as_ref().and_then(|it| integer(it, &["spec", "replicas"])).unwrap_or(0);
        for (service, share) in shares(&route) {
            let raised = share > self.shares_before.get(&service).copied().unwrap_or(0);
            if !raised || !is_canary(&service) {
                continue;
            }
            let ready = ready_behind(store, id.namespace_text(), &service);
            must(ready >= 1, "I2", || format!("{id} sends {share} of 1000 to {service}, which has no ready pod"));
            let needed = (wanted * share + 999) / 1000;
            must(ready >= needed, "I1", || format!("{id} sends {share} of 1000 to {ready} ready pods, {needed} are needed"));
            let allowed = match &status.state {
                State::Warming { .. } => 1,
                State::Shifting { step } | State::Judging { step } => {
                    step_of(plan, *step).map_or(0, |step| i64::from(step.weight_percent) * 10)
                }
                State::Scaling { step } => step_of(plan, step - 1).map_or(0, |step| i64::from(step.weight_percent) * 10),
                State::HandingOver { .. } => 1000,
                _ => 0,
            };
            must(share <= allowed, "I6", || format!("{id} sends {share} of 1000 to the canary in {:?}", status.state));
        }
    }

    /// I22: the template of stable pods is changed by the handover only.
    fn template(&self, id: &Id, release: &Release, status: &ReleaseStatus, store: &Store) {
        let is_rolled = release.spec.rollouts.iter().any(|plan| plan.deployment == id.name);
        let (Some(before), Some(after)) = (&self.template_before, store.get(id)) else { return };
        if !is_rolled || templates_equal(before, &after["spec"]["template"]) {
            return;
        }
        let may = match status.state {
            State::HandingOver { stage } => stage >= Handover::PauseDeployment,
            State::RollingBack { stage } => stage >= Rollback::Traffic,
            _ => is_final(&status.state),
        };
        must(may, "I22", || format!("the template of {id} changes in {:?}", status.state));
    }

    /// What holds at every instant.
    pub fn state(&mut self, store: &Store) {
        for (id, route) in store.of_kind(GATEWAY, "HTTPRoute") {
            for (service, _) in shares(route).into_iter().filter(|(_, share)| *share > 0) {
                if let Some(service) = store.get(&Id::new(CORE, "Service", id.namespace_text(), &service)) {
                    self.weighted_ms.insert(pinned(&service).to_owned(), self.now_ms);
                }
            }
        }
        let open = store
            .of_kind("sluice.dev", "Release")
            .filter(|(_, release)| status_of(release).is_none_or(|status| !is_final(&status.state)));
        must(open.count() <= 1, "I21", || "two releases are open".to_owned());
        for (id, set) in store.of_kind(APPS, "ReplicaSet") {
            let owners = list(set, &["metadata", "ownerReferences"]);
            let controllers = owners.iter().filter(|owner| owner["controller"] == Value::Bool(true)).count();
            must(controllers == 1, "I62", || format!("{id} has {controllers} controllers"));
        }
    }
}

fn is_forward(state: &State) -> bool {
    matches!(state, State::Scaling { .. } | State::Judging { .. } | State::HandingOver { .. })
}

/// I63: no Service that users reach names pods that are not to be there.
fn pins(store: &Store) {
    for (id, service) in store.of_kind(CORE, "Service").filter(|(id, _)| !is_canary(&id.name)) {
        let hash = pinned(service);
        if hash.is_empty() {
            continue;
        }
        let set = with_hash(store, id.namespace_text(), hash);
        let replicas = set.map_or(0, |(_, set)| integer(set, &["spec", "replicas"]).unwrap_or(0));
        let deployment = store.get(&Id::new(APPS, "Deployment", id.namespace_text(), &id.name));
        let wanted = deployment.as_ref().and_then(|it| integer(it, &["spec", "replicas"])).unwrap_or(0);
        must(replicas > 0 || wanted == 0, "I63", || format!("{id} selects {hash}, whose ReplicaSet has {replicas} pods"));
    }
}

/// I20: what is called in is in.
fn promoted(release: &Release, status: &ReleaseStatus, store: &Store) {
    for plan in &release.spec.rollouts {
        let deployment = store.get(&Id::new(APPS, "Deployment", &plan.namespace, &plan.deployment)).unwrap();
        let hash_is_served = plan.routes.iter().all(|name| {
            let route = store.get(&Id::new(GATEWAY, "HTTPRoute", &plan.namespace, name));
            route.is_some_and(|route| shares(&route).keys().all(|service| !is_canary(service)))
        });
        must(hash_is_served, "I20", || format!("a route of {} still names its canary in {:?}", plan.name, status.target.short));
        must(deployment.pointer("/spec/paused").is_none(), "I57", || format!("Deployment {} is left paused", plan.deployment));
    }
}

/// At rest no trace of a release is left on the application's objects, and nothing of ours remains beside them.
pub fn at_rest(store: &Store) {
    let sync = store.get(&id("GitSync", SYNC));
    for (id, object) in store.all() {
        if id.is("sluice.dev", "GitSync") || id.is("sluice.dev", "Rollout") {
            must(list(object, &["metadata", "finalizers"]).is_empty(), "I57", || format!("{id} keeps our finalizer at rest"));
        }
        if sync.is_some() && (id.is(APPS, "Deployment") || id.is(CORE, "Service") || id.group == GATEWAY) {
            must(label(object, LABEL_EPOCH).is_empty(), "I57", || format!("{id} keeps the epoch at rest"));
        }
        match id.kind.as_str() {
            "Service" => {
                must(!is_canary(&id.name), "I47", || format!("{id} is left"));
                must(pinned(object).is_empty(), "I57", || format!("{id} is left pinned"));
            }
            "HTTPRoute" => {
                must(shares(object).keys().all(|service| !is_canary(service)), "I57", || format!("{id} is left with a canary"))
            }
            "Deployment" => must(object.pointer("/spec/paused").is_none(), "I57", || format!("{id} is left paused")),
            "ReplicaSet" => {
                let owner =
                    list(object, &["metadata", "ownerReferences"]).iter().map(|owner| text(owner, &["kind"])).collect::<Vec<_>>();
                must(owner == ["Deployment"], "I47", || format!("{id} is left, owned by {owner:?}"));
                must(annotation(object, LABEL_EPOCH).is_empty(), "I57", || format!("{id} keeps the epoch at rest"));
            }
            _ => {}
        }
    }
}
