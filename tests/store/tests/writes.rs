//! Writes, preconditions and server-side apply: the answers measured on a real API server.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use serde_json::json;
use sluice_store::{Deletion, Key};
use support::*;

const OLD_UID: &str = "11111111-1111-4111-8111-111111111111";

#[test]
fn a_stale_version_is_a_conflict_for_update_merge_patch_and_apply() {
    let store = store();
    let person = person(&store);
    let old = person.create(config_map("a", "1")).unwrap();
    let stale = version(&old);
    person.merge(&key("ConfigMap", "a"), "", json!({"data": {"setting": "2"}})).unwrap();
    let codes = [
        person.replace(old, "").unwrap_err().code,
        person
            .merge(&key("ConfigMap", "a"), "", json!({"metadata": {"resourceVersion": stale}, "data": {"x": "y"}}))
            .unwrap_err()
            .code,
        person.apply(guarded(config_map("a", "2"), None, Some(&stale))).unwrap_err().code,
    ];
    assert_eq!(codes, [409, 409, 409]);
}

#[test]
fn a_wrong_uid_is_invalid_for_merge_patch_and_apply() {
    let store = store();
    let person = person(&store);
    person.create(config_map("a", "1")).unwrap();
    let merged = person.merge(&key("ConfigMap", "a"), "", json!({"metadata": {"uid": OLD_UID}})).unwrap_err();
    let applied = person.apply(guarded(config_map("a", "1"), Some(OLD_UID), None)).unwrap_err();
    for refusal in [merged, applied] {
        assert_eq!((refusal.code, refusal.causes[0].field.as_str()), (422, "metadata.uid"));
    }
}

#[test]
fn a_delete_with_a_wrong_uid_or_version_is_a_conflict() {
    let store = store();
    let person = person(&store);
    person.create(config_map("a", "1")).unwrap();
    for deletion in [
        Deletion { uid: Some(OLD_UID.to_owned()), ..Deletion::default() },
        Deletion { resource_version: Some("1".to_owned()), ..Deletion::default() },
    ] {
        assert_eq!(person.delete(&key("ConfigMap", "a"), &deletion).unwrap_err().code, 409);
    }
    person.delete(&key("ConfigMap", "a"), &Deletion::default()).unwrap();
    assert_eq!(store.get(&key("ConfigMap", "a")), None);
}

#[test]
fn apply_on_a_missing_object_creates_it_unless_a_uid_is_given() {
    let store = store();
    let person = person(&store);
    person.apply(config_map("nothing", "1")).unwrap();
    person.apply(guarded(config_map("version-only", "1"), None, Some("7"))).unwrap();
    for version in [None, Some("7")] {
        assert_eq!(person.apply(guarded(config_map("uid", "1"), Some(OLD_UID), version)).unwrap_err().code, 409);
    }
    assert!(store.get(&key("ConfigMap", "version-only")).is_some());
}

#[test]
fn apply_on_the_status_of_a_missing_object_finds_nothing() {
    let status = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": "none", "namespace": SHOP},
        "status": {"phase": "Stable"},
    });
    assert_eq!(person(&store()).apply_status(status).unwrap_err().code, 404);
}

#[test]
fn a_put_without_version_is_invalid_for_custom_kinds_and_overwrites_built_in_ones() {
    let store = store();
    let person = person(&store);
    person.create(rollout()).unwrap();
    person.create(config_map("a", "1")).unwrap();
    assert_eq!(person.replace(rollout(), "").unwrap_err().code, 422);
    assert_eq!(person.replace(config_map("a", "2"), "").unwrap()["data"]["setting"], "2");
}

#[test]
fn a_failed_test_of_a_json_patch_is_invalid_and_names_nothing() {
    let store = store();
    let person = person(&store);
    person.create(config_map("a", "1")).unwrap();
    for (path, value) in
        [("/metadata/uid", json!(OLD_UID)), ("/metadata/resourceVersion", json!("1")), ("/data/setting", json!("2"))]
    {
        let operations =
            json!([{"op": "test", "path": path, "value": value}, {"op": "replace", "path": "/data/setting", "value": "3"}]);
        let refusal = person.json_patch(&key("ConfigMap", "a"), operations).unwrap_err();
        assert_eq!((refusal.code, refusal.causes.len()), (422, 0), "{path}");
    }
    let right =
        json!([{"op": "test", "path": "/data/setting", "value": "1"}, {"op": "replace", "path": "/data/setting", "value": "3"}]);
    assert_eq!(person.json_patch(&key("ConfigMap", "a"), right).unwrap()["data"]["setting"], "3");
}

#[test]
fn writes_that_change_nothing_keep_the_version() {
    let store = store();
    let person = person(&store);
    let applied = person.apply(deployment(Some(3), "app:1")).unwrap();
    let before = store.version();
    store.clock().advance(std::time::Duration::from_secs(5));
    person.apply(deployment(Some(3), "app:1")).unwrap();
    person.merge(&key("Deployment", SHOP), "", json!({"spec": {"replicas": 3}})).unwrap();
    person.replace(applied, "").unwrap();
    assert_eq!(store.version(), before);
}

#[test]
fn an_apply_of_a_field_that_another_manager_holds_is_a_conflict_that_names_field_and_manager() {
    let store = store();
    store.actor("ann", "first").apply(deployment(Some(3), "app:1")).unwrap();
    let refusal = store.actor("bob", "second").apply(deployment(Some(4), "app:1")).unwrap_err();
    assert_eq!(refusal.code, 409);
    let causes: Vec<_> =
        refusal.causes.iter().map(|cause| (cause.reason.as_str(), cause.field.as_str(), cause.message.as_str())).collect();
    assert_eq!(causes, [("FieldManagerConflict", ".spec.replicas", "conflict with \"first\" using apps/v1")]);
    store.actor("bob", "second").force_apply(deployment(Some(4), "app:1")).unwrap();
    assert_eq!(replicas(&store, &key("Deployment", SHOP)), 4);
}

#[test]
fn changing_one_element_of_an_atomic_list_conflicts_for_the_whole_list() {
    let store = store();
    store.actor("ann", "first").apply(route(&[("shop", 90), ("canary", 10)])).unwrap();
    let refusal = store.actor("bob", "second").apply(route(&[("shop", 90), ("canary", 11)])).unwrap_err();
    let fields: Vec<&str> = refusal.causes.iter().map(|cause| cause.field.as_str()).collect();
    // the live parents are defaulted and the applied ones are not: a list that is one value differs as a whole by that, too
    assert_eq!((refusal.code, fields), (409, vec![".spec.parentRefs", ".spec.rules"]));
}

#[test]
fn a_sole_manager_that_drops_replicas_sets_them_to_one() {
    let store = store();
    let ann = store.actor("ann", "first");
    ann.apply(deployment(Some(10), "app:1")).unwrap();
    ann.apply(deployment(None, "app:1")).unwrap();
    assert_eq!(replicas(&store, &key("Deployment", SHOP)), 1);
}

#[test]
fn replicas_that_a_scaler_changed_stay_when_the_manager_drops_them() {
    let store = store();
    let ann = store.actor("ann", "first");
    ann.apply(deployment(Some(10), "app:1")).unwrap();
    store.actor("hpa", "kube-controller-manager").scale(&key("Deployment", SHOP), 12).unwrap();
    ann.apply(deployment(None, "app:1")).unwrap();
    assert_eq!(replicas(&store, &key("Deployment", SHOP)), 12);
}

#[test]
fn a_scaler_that_wrote_the_same_number_owns_nothing_and_replicas_fall_to_one() {
    let store = store();
    let ann = store.actor("ann", "first");
    ann.apply(deployment(Some(10), "app:1")).unwrap();
    store.actor("hpa", "kube-controller-manager").scale(&key("Deployment", SHOP), 10).unwrap();
    ann.apply(deployment(None, "app:1")).unwrap();
    assert_eq!(replicas(&store, &key("Deployment", SHOP)), 1);
}

#[test]
fn replicas_stay_when_a_second_manager_applied_the_same_number_first() {
    let store = store();
    let ann = store.actor("ann", "first");
    ann.apply(deployment(Some(10), "app:1")).unwrap();
    let only = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": SHOP, "namespace": SHOP}, "spec": {"replicas": 10},
    });
    store.actor("ann", "second").apply(only).unwrap();
    ann.apply(deployment(None, "app:1")).unwrap();
    assert_eq!(replicas(&store, &key("Deployment", SHOP)), 10);
}

#[test]
fn a_first_apply_without_replicas_keeps_what_another_client_created() {
    let store = store();
    person(&store).create(deployment(Some(10), "app:1")).unwrap();
    store.actor("ann", "first").force_apply(deployment(None, "app:1")).unwrap();
    assert_eq!(replicas(&store, &key("Deployment", SHOP)), 10);
}

#[test]
fn a_status_write_changes_nothing_but_the_status() {
    let store = store();
    let person = person(&store);
    let before = person.create(rollout()).unwrap();
    let patch = json!({
        "metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}},
        "spec": {"progressDeadline": "1s"}, "status": {"phase": "Stable"},
    });
    let merged = person.merge(&key("Rollout", SHOP), "status", patch).unwrap();
    assert_eq!(merged["status"]["phase"], "Stable");
    let mut put = merged.clone();
    put["spec"]["progressDeadline"] = json!("2s");
    put["status"]["phase"] = json!("Rolling");
    let after = person.replace(put, "status").unwrap();
    assert_eq!(after["status"]["phase"], "Rolling");
    assert_eq!((&after["spec"], &after["metadata"]["generation"]), (&before["spec"], &before["metadata"]["generation"]));
    assert_eq!(after["metadata"].get("labels"), None);
}

#[test]
fn an_unknown_status_field_is_pruned_silently_but_an_apply_fails() {
    let store = store();
    let person = person(&store);
    person.create(rollout()).unwrap();
    let merged = person.merge(&key("Rollout", SHOP), "status", json!({"status": {"phase": "Stable", "newer": 1}})).unwrap();
    assert_eq!((merged["status"]["phase"].as_str(), merged["status"].get("newer")), (Some("Stable"), None));
    let mut put = merged;
    put["status"]["newer"] = json!(1);
    assert_eq!(person.replace(put, "status").unwrap()["status"].get("newer"), None);
    let applied = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": SHOP, "namespace": SHOP}, "status": {"newer": 1},
    });
    let refusal = person.apply_status(applied).unwrap_err();
    assert_eq!((refusal.code, refusal.reason), (500, ""));
    assert!(refusal.message.contains("field not declared in schema"), "{refusal}");
}

#[test]
fn the_epoch_in_a_status_never_falls_and_is_never_lost() {
    let store = store();
    let person = person(&store);
    let sync = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {"source": {"url": "https://git.example/shop.git", "ref": {"branch": "main"}}, "target": {"serviceAccountName": "deployer"}},
    });
    person.create(sync).unwrap();
    let sync = key("GitSync", SHOP);
    person.merge(&sync, "status", json!({"status": {"epoch": 3}})).unwrap();
    for status in [json!({"epoch": 2}), json!({"epoch": null}), json!(null)] {
        let refusal = person.merge(&sync, "status", json!({"status": status})).unwrap_err();
        assert!(refusal.code == 422 && refusal.message.contains("epoch never falls"), "{status}: {refusal}");
    }
    person.merge(&sync, "status", json!({"status": {"epoch": 4}})).unwrap();
}

#[test]
fn two_controllers_of_one_object_are_invalid() {
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name, "controller": true});
    let mut object = config_map("a", "1");
    object["metadata"]["ownerReferences"] = json!([owner("b"), owner("c")]);
    assert_eq!(person(&store()).create(object).unwrap_err().code, 422);
}

#[test]
fn an_owner_that_does_not_exist_is_accepted_and_the_object_is_deleted() {
    let store = store();
    let mut object = config_map("a", "1");
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": "b", "uid": OLD_UID}]);
    person(&store).create(object).unwrap();
    store.settle();
    assert_eq!(store.get(&key("ConfigMap", "a")), None);
}

#[test]
fn the_data_of_an_immutable_config_map_cannot_change() {
    let store = store();
    let person = person(&store);
    let mut object = config_map("a", "1");
    object["immutable"] = json!(true);
    person.create(object).unwrap();
    let refusal = person.merge(&key("ConfigMap", "a"), "", json!({"data": {"setting": "2"}})).unwrap_err();
    assert_eq!(refusal.code, 422);
}

#[test]
fn an_apply_removes_the_container_that_its_manager_dropped_and_keeps_what_others_added() {
    let store = store();
    let ann = store.actor("ann", "first");
    let mut two = deployment(Some(1), "app:1");
    two["spec"]["template"]["spec"]["containers"] =
        json!([{"name": "app", "image": "app:1"}, {"name": "proxy", "image": "proxy:1"}]);
    ann.apply(two).unwrap();
    let added = json!([{"op": "add", "path": "/spec/template/spec/containers/-", "value": {"name": "sidecar", "image": "s:1"}}]);
    person(&store).json_patch(&key("Deployment", SHOP), added).unwrap();
    let after = ann.apply(deployment(Some(1), "app:2")).unwrap();
    let containers = after.pointer("/spec/template/spec/containers").unwrap().as_array().unwrap();
    let images: Vec<_> =
        containers.iter().map(|container| (container["name"].as_str().unwrap(), container["image"].as_str().unwrap())).collect();
    assert_eq!(images, [("app", "app:2"), ("sidecar", "s:1")]);
}

#[test]
fn a_label_and_a_selector_entry_that_are_dropped_go() {
    let store = store();
    let ann = store.actor("ann", "first");
    let mut pinned = service(SHOP);
    pinned["spec"]["selector"]["pod-template-hash"] = json!("abc");
    pinned["metadata"]["labels"] = json!({"a": "1", "b": "2"});
    ann.apply(pinned).unwrap();
    let mut plain = service(SHOP);
    plain["metadata"]["labels"] = json!({"a": "1"});
    let after = ann.apply(plain).unwrap();
    assert_eq!(after["spec"]["selector"], json!({"app": SHOP}));
    assert_eq!(after["metadata"]["labels"], json!({"a": "1"}));
    assert!(after["spec"]["clusterIP"].is_string(), "the server's own field stays");
}

#[test]
fn a_dropped_strategy_comes_back_as_the_default() {
    let store = store();
    let ann = store.actor("ann", "first");
    let mut paused = deployment(Some(4), "app:1");
    paused["spec"]["paused"] = json!(true);
    paused["spec"]["strategy"] = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%"}});
    ann.apply(paused).unwrap();
    let after = ann.apply(deployment(Some(4), "app:1")).unwrap();
    assert_eq!(
        after["spec"]["strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}})
    );
    assert_eq!(after["spec"].get("paused"), None);
}

#[test]
fn a_client_may_move_ownership_by_writing_the_managed_fields_and_the_next_apply_removes_the_field() {
    let store = store();
    let ann = store.actor("ann", "first");
    ann.apply(deployment(Some(2), "app:1")).unwrap();
    let note = json!({"spec": {"template": {"metadata": {"annotations": {"note": "x"}}}}});
    let changed = person(&store).merge(&key("Deployment", SHOP), "", note).unwrap();
    let mut entries = changed["metadata"]["managedFields"].clone();
    let theirs = entries.as_array().unwrap().iter().position(|entry| entry["manager"] == "kubectl-edit").unwrap();
    let fields = entries[theirs]["fieldsV1"].take();
    entries.as_array_mut().unwrap().remove(theirs);
    entries[0]["fieldsV1"]["f:spec"]["f:template"]["f:metadata"]["f:annotations"] =
        fields["f:spec"]["f:template"]["f:metadata"]["f:annotations"].clone();
    let version = store.version();
    ann.merge(&key("Deployment", SHOP), "", json!({"metadata": {"managedFields": entries}})).unwrap();
    assert_eq!(store.version(), version + 1);
    let after = ann.apply(deployment(Some(2), "app:1")).unwrap();
    assert_eq!(after["spec"]["template"]["metadata"], json!({"labels": {"app": SHOP}}));
}

#[test]
fn a_selector_of_a_deployment_cannot_change() {
    let store = store();
    let person = person(&store);
    person.create(deployment(Some(1), "app:1")).unwrap();
    let operations = json!([
        {"op": "add", "path": "/spec/selector/matchLabels/tier", "value": "a"},
        {"op": "add", "path": "/spec/template/metadata/labels/tier", "value": "a"},
    ]);
    let refusal = person.json_patch(&key("Deployment", SHOP), operations).unwrap_err();
    assert!(refusal.code == 422 && refusal.message.contains("field is immutable"), "{refusal}");
}

#[test]
fn generations_count_specs_and_for_deployments_annotations() {
    let store = store();
    let person = person(&store);
    let generation = |kind: &str| store.get(&key(kind, SHOP)).unwrap()["metadata"]["generation"].clone();
    person.create(deployment(Some(1), "app:1")).unwrap();
    person.create(route(&[(SHOP, 1)])).unwrap();
    person.merge(&key("Deployment", SHOP), "", json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
    assert_eq!(generation("Deployment"), 1);
    person.merge(&key("Deployment", SHOP), "", json!({"metadata": {"annotations": {"a": "b"}}})).unwrap();
    person.merge(&key("HTTPRoute", SHOP), "", json!({"metadata": {"annotations": {"a": "b"}}})).unwrap();
    assert_eq!((generation("Deployment"), generation("HTTPRoute")), (json!(2), json!(1)));
    person.scale(&key("Deployment", SHOP), 3).unwrap();
    person.merge(&key("HTTPRoute", SHOP), "", json!({"spec": {"hostnames": ["a.example"]}})).unwrap();
    assert_eq!((generation("Deployment"), generation("HTTPRoute")), (json!(3), json!(2)));
}

#[test]
fn our_own_kinds_are_defaulted_and_validated() {
    let store = store();
    let person = person(&store);
    let mut bad = rollout();
    bad["spec"]["strategy"]["canary"]["steps"] = json!([{"weight": 50}, {"weight": 25}]);
    assert!(person.create(bad.clone()).unwrap_err().message.contains("weights never fall"));
    bad["spec"]["strategy"]["canary"]["steps"] = json!([{"weight": 101}]);
    assert_eq!(person.create(bad.clone()).unwrap_err().code, 422);
    bad["spec"]["strategy"]["canary"].as_object_mut().unwrap().remove("steps");
    assert!(person.create(bad).unwrap_err().causes.iter().any(|cause| cause.field.ends_with("canary.steps")));
    let created = person.create(rollout()).unwrap();
    assert_eq!(created["spec"]["progressDeadline"], "10m");
}

#[test]
fn a_releases_spec_does_not_change() {
    let store = store();
    let person = person(&store);
    let revision = json!({"sha": "a", "short": "a", "digest": "d"});
    let release = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Release", "metadata": {"name": "shop-1", "namespace": SHOP},
        "spec": {"gitSync": SHOP, "number": 1, "revision": revision},
    });
    person.create(release).unwrap();
    let refusal = person.merge(&key("Release", "shop-1"), "", json!({"spec": {"number": 2}})).unwrap_err();
    assert!(refusal.code == 422 && refusal.message.contains("does not change"), "{refusal}");
}

#[test]
fn who_wrote_what_is_in_the_trace() {
    let store = store();
    store.clear_trace();
    store.actor("jane", "kubectl").create(config_map("a", "1")).unwrap();
    let trace = store.trace();
    assert_eq!(
        (trace[0].user.as_str(), trace[0].manager.as_str(), trace[0].code, trace[0].changed),
        ("jane", "kubectl", 201, true)
    );
    assert_eq!(trace[0].key, Key::new("", "ConfigMap", SHOP, "a"));
}
