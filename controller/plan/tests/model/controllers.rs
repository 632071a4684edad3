//! The Deployment controller, as far as a handover meets it, and the garbage collector.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sluice_plan::Id;
use sluice_plan::digest::{digest, short};
use sluice_plan::id::APPS;
use sluice_plan::view::{
    annotation, contains_all, controller_uid, integer, is_deleting, label, set, templates_equal, text, texts, uid,
};

use super::pods::{self, CONTROLLER, Fates, ready_of};
use super::store::Store;

const REVISION: &str = "deployment.kubernetes.io/revision";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const HASH: &str = "pod-template-hash";
/// Rounds until the controllers agree; more would be a bug of the model.
const ROUNDS_MAX: usize = 60;

/// Lets all controllers work until none has anything to do.
pub fn settle(store: &mut Store, fates: &Fates, mono_ms: i64) {
    for _ in 0..ROUNDS_MAX {
        let before = store.revision;
        collect_garbage(store);
        let deployments: Vec<(Id, Value)> =
            store.of_kind(APPS, "Deployment").map(|(id, value)| (id.clone(), value.clone())).collect();
        for (id, deployment) in deployments.into_iter().filter(|(_, value)| !is_deleting(value)) {
            sync(store, &id, &deployment);
        }
        pods::scale(store, mono_ms);
        pods::live(store, fates, mono_ms);
        if store.revision == before {
            return;
        }
    }
    panic!("the modelled controllers do not settle");
}

fn collect_garbage(store: &mut Store) {
    let alive: BTreeSet<String> = store.all().map(|(_, value)| uid(value).to_owned()).collect();
    let orphans: Vec<(Id, String)> = store
        .all()
        .filter(|(_, value)| !is_deleting(value) && controller_uid(value).is_some_and(|owner| !alive.contains(owner)))
        .map(|(id, value)| (id.clone(), uid(value).to_owned()))
        .collect();
    for (id, uid) in orphans {
        store.delete(&id, &uid, None).unwrap();
    }
}

fn owned(store: &Store, deployment: &Value) -> Vec<(Id, Value)> {
    let mut sets: Vec<(Id, Value)> = store
        .of_kind(APPS, "ReplicaSet")
        .filter(|(_, set)| controller_uid(set) == Some(uid(deployment)) && !is_deleting(set))
        .map(|(id, set)| (id.clone(), set.clone()))
        .collect();
    sets.sort_by_key(|(id, set)| (text(set, &["metadata", "creationTimestamp"]).to_owned(), id.clone()));
    sets
}

fn scale_to(store: &mut Store, id: &Id, replicas: i64, wanted: i64) {
    let _ = store.update(id, CONTROLLER, "", |value| {
        set(value, &["spec", "replicas"], json!(replicas));
        set(value, &["metadata", "annotations", DESIRED], json!(wanted.to_string()));
    });
}

fn replicas(set: &Value) -> i64 {
    integer(set, &["spec", "replicas"]).unwrap_or(1)
}

fn sync(store: &mut Store, id: &Id, deployment: &Value) {
    adopt(store, deployment);
    let template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
    let wanted = replicas(deployment);
    let is_paused = deployment.pointer("/spec/paused") == Some(&json!(true));
    let sets = owned(store, deployment);
    let is_new = |set: &Value| set.pointer("/spec/template").is_some_and(|own| templates_equal(own, &template));
    // The oldest of equal templates counts, which is a trap.
    let new = sets.iter().find(|(_, set)| is_new(set)).map(|(id, _)| id.clone());
    if let Some(new) = &new {
        number(store, id, new, &sets);
    } else if !is_paused {
        create(store, id, deployment, &template, &sets);
        return;
    }
    let sets = owned(store, deployment);
    let (current, old): (Vec<_>, Vec<_>) = sets.iter().partition(|(id, _)| Some(id) == new.as_ref());
    let current = current.first().copied();
    let active: Vec<&(Id, Value)> = sets.iter().filter(|(_, set)| replicas(set) > 0).collect();
    let is_saturated = current.is_some_and(|(_, set)| {
        replicas(set) == wanted && annotation(set, DESIRED) == wanted.to_string() && ready_of(store, set) == wanted
    });
    if is_saturated {
        for (old, _) in old.iter().filter(|(_, set)| replicas(set) > 0) {
            scale_to(store, old, 0, wanted);
        }
    } else if active.len() == 1 && (is_paused || Some(&active[0].0) == new.as_ref()) {
        let (only, set) = active[0];
        if replicas(set) != wanted || annotation(set, DESIRED) != wanted.to_string() {
            scale_to(store, only, wanted, wanted);
        }
    } else if is_paused {
        let surge = text(deployment, &["spec", "strategy", "rollingUpdate", "maxSurge"]);
        assert!(
            active.len() < 2 || surge == "100%",
            "a paused {id} with two live sets and a surge of {surge} would be cut on any scaling"
        );
    } else if let Some((new, set)) = current {
        roll(store, new, set, &old, wanted);
    }
    show(store, id, new.as_ref());
}

/// A native rolling update: a quarter more at most, a quarter unavailable at most.
fn roll(store: &mut Store, new: &Id, new_set: &Value, old: &[&(Id, Value)], wanted: i64) {
    let surge = (wanted + 3) / 4;
    let total: i64 = replicas(new_set) + old.iter().map(|(_, set)| replicas(set)).sum::<i64>();
    let more = (wanted - replicas(new_set)).min(wanted + surge - total);
    if more != 0 && (more > 0 || replicas(new_set) > wanted) {
        scale_to(store, new, replicas(new_set) + more, wanted);
        return;
    }
    let ready: i64 = ready_of(store, new_set) + old.iter().map(|(_, set)| ready_of(store, set)).sum::<i64>();
    let mut spare = ready - (wanted - wanted / 4);
    for (old, set) in old.iter().filter(|(_, set)| replicas(set) > 0) {
        let unready = replicas(set) - ready_of(store, set);
        let less = (spare.max(0) + unready).min(replicas(set));
        if less > 0 {
            scale_to(store, old, replicas(set) - less, wanted);
            spare -= less - unready.min(less);
        }
    }
}

fn adopt(store: &mut Store, deployment: &Value) {
    let selector = texts(deployment, &["spec", "selector", "matchLabels"]);
    let orphans: Vec<Id> = store
        .of_kind(APPS, "ReplicaSet")
        .filter(|(_, set)| controller_uid(set).is_none() && contains_all(&texts(set, &["metadata", "labels"]), &selector))
        .map(|(id, _)| id.clone())
        .collect();
    for id in orphans {
        let owner = sluice_plan::canary::owner(deployment);
        let _ = store.update(&id, CONTROLLER, "", |value| set(value, &["metadata", "ownerReferences"], json!([owner])));
    }
    let strangers: Vec<Id> = owned(store, deployment)
        .into_iter()
        .filter(|(_, set)| !contains_all(&texts(set, &["metadata", "labels"]), &selector))
        .map(|(id, _)| id)
        .collect();
    for id in strangers {
        let _ = store.update(&id, CONTROLLER, "", |value| set(value, &["metadata", "ownerReferences"], json!([])));
    }
}

fn revision(set: &Value) -> i64 {
    annotation(set, REVISION).parse().unwrap_or(0)
}

fn number(store: &mut Store, id: &Id, new: &Id, sets: &[(Id, Value)]) {
    let highest_old = sets.iter().filter(|(id, _)| id != new).map(|(_, set)| revision(set)).max().unwrap_or(0);
    let own = sets.iter().find(|(id, _)| id == new).map_or(0, |(_, set)| revision(set));
    let revision = own.max(highest_old + 1).to_string();
    for id in [new, id] {
        let _ = store.update(id, CONTROLLER, "", |value| set(value, &["metadata", "annotations", REVISION], json!(revision)));
    }
}

fn create(store: &mut Store, id: &Id, deployment: &Value, template: &Value, sets: &[(Id, Value)]) {
    let hash = short(&digest(template), 10);
    let mut template = template.clone();
    set(&mut template, &["metadata", "labels", HASH], json!(hash));
    let mut selector = texts(deployment, &["spec", "selector", "matchLabels"]);
    selector.insert(HASH.to_owned(), hash.clone());
    let wanted = replicas(deployment);
    // The first set has all its pods at once; a later one grows in the shadow of the old.
    let start = if sets.iter().any(|(_, set)| replicas(set) > 0) { (wanted + 3) / 4 } else { wanted };
    let name = format!("{}-{hash}", id.name);
    let set_id = Id::new(APPS, "ReplicaSet", id.namespace_text(), &name);
    let object = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": id.namespace, "labels": texts(&template, &["metadata", "labels"]),
            "annotations": {DESIRED: wanted.to_string()},
            "ownerReferences": [sluice_plan::canary::owner(deployment)],
        },
        "spec": {"replicas": start, "selector": {"matchLabels": selector}, "template": template},
    });
    // A name that is taken by somebody else's set is tried again later, as the real controller does with another hash.
    let _ = store.create(&set_id, &object, CONTROLLER);
}

fn show(store: &mut Store, id: &Id, new: Option<&Id>) {
    let Some(deployment) = store.get(id) else { return };
    let sets = owned(store, &deployment);
    let count =
        |sets: &[&(Id, Value)]| sets.iter().map(|(_, set)| integer(set, &["status", "replicas"]).unwrap_or(0)).sum::<i64>();
    let all: Vec<&(Id, Value)> = sets.iter().collect();
    let updated: Vec<&(Id, Value)> = sets.iter().filter(|(id, _)| Some(id) == new).collect();
    let ready: i64 = sets.iter().map(|(_, set)| ready_of(store, set)).sum();
    let status = json!({
        "observedGeneration": deployment["metadata"]["generation"], "replicas": count(&all), "updatedReplicas": count(&updated),
        "readyReplicas": ready, "availableReplicas": ready,
    });
    let _ = store.update(id, CONTROLLER, "status", |value| value["status"] = status);
}

/// The hash of the pods that a Service selects, when it names one.
pub fn pinned(service: &Value) -> &str {
    text(service, &["spec", "selector", HASH])
}

/// The ReplicaSet with a hash.
pub fn with_hash<'a>(store: &'a Store, namespace: &'a str, hash: &'a str) -> Option<(&'a Id, &'a Value)> {
    store.of_kind(APPS, "ReplicaSet").find(|(id, set)| id.namespace_text() == namespace && label(set, HASH) == hash)
}
