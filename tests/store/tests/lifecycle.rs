//! Finalizers, namespaces, quota, propagation, and the uids of things that come back.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::Duration;

use serde_json::json;
use sluice_store::{Deletion, Key};
use support::*;

#[test]
fn a_deleted_object_with_a_finalizer_lives_on_and_takes_changes_but_no_new_finalizer() {
    let store = store();
    let person = person(&store);
    let mut object = rollout();
    object["metadata"]["finalizers"] = json!(["sluice.dev/in-motion"]);
    person.create(object).unwrap();
    let key = key("Rollout", SHOP);
    person.delete(&key, &Deletion::default()).unwrap();
    let marked = store.get(&key).unwrap();
    assert!(marked["metadata"]["deletionTimestamp"].is_string());
    assert_eq!(marked["metadata"]["generation"], 2);
    person.merge(&key, "", json!({"spec": {"progressDeadline": "5m"}})).unwrap();
    person.merge(&key, "status", json!({"status": {"phase": "Stable"}})).unwrap();
    person.force_apply(rollout()).unwrap();
    let more = person.merge(&key, "", json!({"metadata": {"finalizers": ["sluice.dev/in-motion", "b.example/c"]}})).unwrap_err();
    assert_eq!(more.code, 422);
    let again = person.create(rollout()).unwrap_err();
    assert!(again.reason == "AlreadyExists" && again.message.contains("object is being deleted"), "{again}");
    person.merge(&key, "", json!({"metadata": {"finalizers": []}})).unwrap();
    assert_eq!(store.get(&key), None);
}

#[test]
fn a_terminating_namespace_takes_nothing_new_and_goes_with_its_content() {
    let store = store();
    let person = person(&store);
    let mut kept = config_map("kept", "1");
    kept["metadata"]["finalizers"] = json!(["a.example/b"]);
    person.create(kept).unwrap();
    let namespace = Key::new("", "Namespace", "", SHOP);
    person.delete(&namespace, &Deletion::default()).unwrap();
    store.settle();
    for refusal in [person.create(config_map("new", "1")).unwrap_err(), person.apply(config_map("new", "1")).unwrap_err()] {
        assert_eq!((refusal.code, refusal.causes[0].reason.as_str()), (403, "NamespaceTerminating"));
    }
    person.merge(&key("ConfigMap", "kept"), "", json!({"metadata": {"finalizers": null}})).unwrap();
    store.settle();
    assert_eq!(store.get(&namespace), None);
}

#[test]
fn an_object_in_a_namespace_that_does_not_exist_is_not_found() {
    let mut object = config_map("a", "1");
    object["metadata"]["namespace"] = json!("nowhere");
    let refusal = person(&store()).create(object).unwrap_err();
    assert_eq!((refusal.code, refusal.kind.as_str()), (404, "namespaces"));
}

#[test]
fn a_replica_set_reports_used_up_quota_in_its_conditions() {
    let store = store();
    store.set(|settings| {
        settings.pod_quota.insert(SHOP.to_owned(), 2);
    });
    person(&store).create(deployment(Some(3), "app:1")).unwrap();
    store.run_for(Duration::from_secs(5));
    let set = &store.list("apps", "ReplicaSet", SHOP)[0];
    let condition = &set["status"]["conditions"][0];
    assert_eq!((condition["type"].as_str(), condition["reason"].as_str()), (Some("ReplicaFailure"), Some("FailedCreate")));
    assert_eq!(store.list("", "Pod", SHOP).len(), 2);
}

#[test]
fn a_replica_set_that_is_deleted_by_hand_comes_back_under_its_name_with_a_new_uid() {
    let store = store();
    person(&store).create(deployment(Some(2), "app:1")).unwrap();
    store.run_for(Duration::from_secs(5));
    let before = store.list("apps", "ReplicaSet", SHOP).remove(0);
    person(&store).delete(&Key::of(&before), &Deletion::default()).unwrap();
    store.run_for(Duration::from_secs(5));
    let after = store.list("apps", "ReplicaSet", SHOP).remove(0);
    assert_eq!(before["metadata"]["name"], after["metadata"]["name"]);
    assert_ne!(uid(&before), uid(&after));
}

#[test]
fn a_scaler_raises_the_generation_and_owns_replicas_through_scale() {
    let store = store();
    store.actor("ann", "first").apply(deployment(Some(2), "app:1")).unwrap();
    store.actor("hpa", "kube-controller-manager").scale(&key("Deployment", SHOP), 5).unwrap();
    let live = store.get(&key("Deployment", SHOP)).unwrap();
    assert_eq!(live["metadata"]["generation"], 2);
    let entries = live["metadata"]["managedFields"].as_array().unwrap();
    let scaler = entries.iter().find(|entry| entry["subresource"] == "scale").unwrap();
    assert_eq!((scaler["operation"].as_str(), &scaler["fieldsV1"]), (Some("Update"), &json!({"f:spec": {"f:replicas": {}}})));
}

#[test]
fn an_orphaned_set_is_adopted_by_a_matching_deployment_and_scaled_to_zero() {
    let store = store();
    let person = person(&store);
    person.create(deployment(Some(2), "app:1")).unwrap();
    store.run_for(Duration::from_secs(5));
    person.delete(&key("Deployment", SHOP), &Deletion { propagation: Some("Orphan"), ..Deletion::default() }).unwrap();
    store.settle();
    let orphan = store.list("apps", "ReplicaSet", SHOP).remove(0);
    assert_eq!((store.get(&key("Deployment", SHOP)), orphan["metadata"]["ownerReferences"].clone()), (None, json!([])));
    let owner = person.create(deployment(Some(2), "app:2")).unwrap();
    store.run_for(Duration::from_secs(10));
    let adopted = store.get(&Key::of(&orphan)).unwrap();
    assert_eq!(adopted["metadata"]["ownerReferences"][0]["uid"], uid(&owner));
    assert_eq!(adopted["spec"]["replicas"], 0);
}

#[test]
fn a_deployment_takes_its_sets_and_pods_with_it() {
    let store = store();
    let person = person(&store);
    person.create(deployment(Some(2), "app:1")).unwrap();
    store.run_for(Duration::from_secs(5));
    assert_eq!(store.list("", "Pod", SHOP).len(), 2);
    person.delete(&key("Deployment", SHOP), &Deletion::default()).unwrap();
    store.run_for(Duration::from_secs(5));
    assert!(store.list("apps", "ReplicaSet", SHOP).is_empty() && store.list("", "Pod", SHOP).is_empty());
}
