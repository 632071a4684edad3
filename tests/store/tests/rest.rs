//! The store under the controller's own client stack: addresses, lists, watches, dry-runs, impersonation, faults.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use futures::{StreamExt as _, TryStreamExt as _};
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use serde_json::json;
use sluice_cluster::gate::Gate;
use sluice_cluster::object::{ApplyOptions, Kinds, ObjectKey, Objects, Propagation, RefusedBy, WriteError};
use sluice_cluster::stack::{Cluster, ServiceAccountRef, StackOptions};
use sluice_store::{Fault, Store};
use support::*;

fn cluster(store: &Store) -> Cluster {
    Cluster::over(store.service(), "default", Gate::always_open(), StackOptions::default())
}

fn objects(store: &Store) -> Objects {
    let client = cluster(store).client();
    Objects::new(client.clone(), Kinds::new(client))
}

fn options(dry_run: bool) -> ApplyOptions<'static> {
    ApplyOptions { manager: "sluice", force: true, dry_run, uid: None, resource_version: None }
}

fn config_key(name: &str) -> ObjectKey {
    ObjectKey::new("", "v1", "ConfigMap", Some(SHOP), name)
}

fn config_maps(store: &Store) -> Api<DynamicObject> {
    let kind = kube::core::ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
    Api::namespaced_with(cluster(store).watch_client(), SHOP, &kind)
}

#[tokio::test]
async fn objects_are_found_by_discovery_applied_read_and_deleted() {
    let store = store();
    let objects = objects(&store);
    let applied = objects.apply(&config_key("a"), &config_map("a", "1"), options(false)).await.unwrap();
    let read = objects.get(&config_key("a")).await.unwrap().unwrap();
    assert_eq!(applied, read);
    let route_key = ObjectKey::new("gateway.networking.k8s.io", "v1", "HTTPRoute", Some(SHOP), SHOP);
    let stored = objects.apply(&route_key, &route(&[(SHOP, 1)]), options(false)).await.unwrap();
    assert_eq!(stored["spec"]["rules"][0]["backendRefs"][0]["kind"], "Service");
    objects.delete(&config_key("a"), &uid(&read), None, Propagation::Background).await.unwrap();
    assert_eq!(objects.get(&config_key("a")).await.unwrap(), None);
    let unknown = objects.get(&ObjectKey::new("example.com", "v1", "Thing", Some(SHOP), "a")).await.unwrap_err();
    assert!(unknown.to_string().contains("Thing"), "{unknown}");
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_answers_what_would_be() {
    let store = store();
    let objects = objects(&store);
    let before = store.version();
    let key = ObjectKey::new("apps", "v1", "Deployment", Some(SHOP), SHOP);
    let tried = objects.apply(&key, &deployment(None, "app:1"), options(true)).await.unwrap();
    assert_eq!(tried["spec"]["replicas"], 1);
    assert_eq!(tried.pointer("/spec/template/spec/containers/0/ports/0/protocol"), Some(&json!("TCP")));
    assert_eq!((store.version(), store.rest_writes().len()), (before, 0));
}

#[tokio::test]
async fn unknown_fields_of_our_kinds_and_of_built_in_ones_are_refused() {
    let store = store();
    let objects = objects(&store);
    let mut rollout_object = rollout();
    rollout_object["spec"]["stpes"] = json!([]);
    let mut deployment_object = deployment(Some(1), "app:1");
    deployment_object["spec"]["replica"] = json!(3);
    let rollout_key = ObjectKey::new("sluice.dev", "v1alpha1", "Rollout", Some(SHOP), SHOP);
    let deployment_key = ObjectKey::new("apps", "v1", "Deployment", Some(SHOP), SHOP);
    for (key, object) in [(rollout_key, rollout_object), (deployment_key, deployment_object)] {
        let errors = [
            objects.apply(&key, &object, options(false)).await.unwrap_err(),
            objects.create(&key, &object, "sluice").await.unwrap_err(),
        ];
        for error in errors {
            assert!(matches!(error, WriteError::Refused { by: RefusedBy::Schema, .. }), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_status_with_an_unknown_field_counts_as_pruned() {
    let store = store();
    let objects = objects(&store);
    let mut stored = person(&store).create(rollout()).unwrap();
    stored["status"] = json!({"phase": "Stable", "newer": 1});
    let key = ObjectKey::new("sluice.dev", "v1alpha1", "Rollout", Some(SHOP), SHOP);
    let error = objects.replace_status(&key, &stored).await.unwrap_err();
    assert!(matches!(error, WriteError::Pruned { ref fields, .. } if *fields == ["status.newer"]), "{error:?}");
}

#[tokio::test]
async fn the_impersonated_user_is_in_the_trace() {
    let store = store();
    let cluster = cluster(&store);
    let account = ServiceAccountRef::new(SHOP, "deployer").unwrap();
    let tenant = Objects::new(cluster.impersonating(&account), Kinds::new(cluster.client()));
    tenant.apply(&config_key("a"), &config_map("a", "1"), options(false)).await.unwrap();
    let line = store.rest_writes().remove(0);
    assert_eq!((line.user.as_str(), line.code), ("system:serviceaccount:shop:deployer", 201));
}

#[tokio::test]
async fn lists_come_in_pages_of_one_version_and_by_labels() {
    let store = store();
    for index in 0..5 {
        let mut object = config_map(&format!("a{index}"), "1");
        object["metadata"]["labels"] = json!({"even": (index % 2 == 0).to_string()});
        person(&store).create(object).unwrap();
    }
    let api = config_maps(&store);
    let first = api.list(&ListParams::default().limit(3)).await.unwrap();
    person(&store).create(config_map("a9", "1")).unwrap();
    let token = first.metadata.continue_.unwrap();
    let second = api.list(&ListParams::default().limit(3).continue_token(&token)).await.unwrap();
    let names: Vec<String> =
        first.items.iter().chain(&second.items).map(|object| object.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["a0", "a1", "a2", "a3", "a4"], "what came later is not in it");
    let even = api.list(&ListParams::default().labels("even in (true),even!=x")).await.unwrap();
    assert_eq!(even.items.len(), 3);
    store.compact();
    person(&store).create(config_map("a10", "1")).unwrap();
    let expired = api.list(&ListParams::default().limit(3).continue_token(&token)).await.unwrap_err();
    assert!(matches!(expired, kube::Error::Api(status) if status.code == 410));
}

#[tokio::test]
async fn a_watch_shows_changes_and_an_object_that_leaves_its_selector_as_deleted() {
    let store = store();
    let api = config_maps(&store);
    let from = store.version().to_string();
    let mut events = api.watch(&WatchParams::default().labels("on=yes"), &from).await.unwrap().boxed();
    let mut object = config_map("a", "1");
    object["metadata"]["labels"] = json!({"on": "yes"});
    person(&store).create(object).unwrap();
    person(&store).merge(&key("ConfigMap", "a"), "", json!({"data": {"setting": "2"}})).unwrap();
    person(&store).merge(&key("ConfigMap", "a"), "", json!({"metadata": {"labels": {"on": "no"}}})).unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(match events.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(_) => "added",
            WatchEvent::Modified(_) => "modified",
            WatchEvent::Deleted(_) => "deleted",
            _ => "other",
        });
    }
    assert_eq!(seen, ["added", "modified", "deleted"]);
}

#[tokio::test]
async fn a_watch_from_a_forgotten_version_expires_in_the_stream() {
    let store = store();
    let from = store.version().to_string();
    person(&store).create(config_map("a", "1")).unwrap();
    store.compact();
    let mut events = config_maps(&store).watch(&WatchParams::default(), &from).await.unwrap().boxed();
    assert!(matches!(events.try_next().await.unwrap(), Some(WatchEvent::Error(status)) if status.code == 410));
}

#[tokio::test(start_paused = true)]
async fn faults_come_before_or_after_the_write_is_carried_out() {
    for (fault, is_applied, is_unknown) in [
        (Fault::BreakBefore, false, true),
        (Fault::BreakAfter, true, true),
        (Fault::HangBefore, false, true),
        (Fault::HangAfter, true, true),
        (Fault::Answer(500), false, true),
        (Fault::AnswerAfter(504), true, true),
        (Fault::Conflict, false, false),
    ] {
        let store = store();
        let objects = objects(&store);
        store.fail_write(1, fault);
        objects.apply(&config_key("a"), &config_map("a", "1"), options(false)).await.unwrap();
        let error = objects.apply(&config_key("b"), &config_map("b", "1"), options(false)).await.unwrap_err();
        assert_eq!(matches!(error, WriteError::Unknown { .. }), is_unknown, "{fault:?}: {error:?}");
        assert_eq!(store.get(&key("ConfigMap", "b")).is_some(), is_applied, "{fault:?}");
        objects.apply(&config_key("c"), &config_map("c", "1"), options(false)).await.unwrap();
    }
}

#[tokio::test]
async fn a_kind_is_served_once_its_definition_is_stored() {
    let store = store();
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "default": 3}}}},
            }}}],
        },
    });
    person(&store).create(crd).unwrap();
    let key = ObjectKey::new("example.com", "v1", "Thing", Some(SHOP), "a");
    let thing = objects(&store).apply(&key, &json!({"spec": {}}), options(false)).await.unwrap();
    assert_eq!(thing["spec"]["size"], 3);
}

#[tokio::test]
async fn a_list_that_must_not_be_older_than_the_future_is_refused() {
    let store = store();
    let future = (store.version() + 10).to_string();
    let error = config_maps(&store).list(&ListParams::default().at(&future)).await.unwrap_err();
    assert!(matches!(error, kube::Error::Api(status) if status.code == 504));
}
