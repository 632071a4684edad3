//! Objects of a small application, and people who write.

#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use serde_json::{Value, json};
use sluice_store::{Actor, Key, Store};

pub const SHOP: &str = "shop";

/// A cluster with the namespace of the shop.
pub fn store() -> Store {
    let store = Store::default();
    store.add_namespace(SHOP);
    store
}

pub fn person(store: &Store) -> Actor {
    store.actor("jane", "kubectl-edit")
}

pub fn key(kind: &str, name: &str) -> Key {
    let group = match kind {
        "Deployment" | "ReplicaSet" => "apps",
        "HTTPRoute" => "gateway.networking.k8s.io",
        "GitSync" | "Rollout" | "Release" => "sluice.dev",
        _ => "",
    };
    Key::new(group, kind, SHOP, name)
}

pub fn template(image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": SHOP}},
        "spec": {"containers": [{"name": "app", "image": image, "ports": [{"containerPort": 8080}]}]},
    })
}

pub fn deployment(replicas: Option<i64>, image: &str) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": SHOP, "namespace": SHOP, "labels": {"app": SHOP}},
        "spec": {"selector": {"matchLabels": {"app": SHOP}}, "template": template(image)},
    });
    if let Some(replicas) = replicas {
        object["spec"]["replicas"] = json!(replicas);
    }
    object
}

pub fn config_map(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": SHOP}, "data": {"setting": value},
    })
}

pub fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"selector": {"app": SHOP}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

pub fn route(backends: &[(&str, i64)]) -> Value {
    let backends: Vec<Value> =
        backends.iter().map(|(name, weight)| json!({"name": name, "port": 80, "weight": weight})).collect();
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {"parentRefs": [{"name": "gateway"}], "rules": [{"backendRefs": backends}]},
    })
}

pub fn rollout() -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Rollout", "metadata": {"name": SHOP, "namespace": SHOP},
        "spec": {
            "workloadRef": {"kind": "Deployment", "name": SHOP},
            "strategy": {"canary": {
                "service": SHOP, "routes": [{"kind": "HTTPRoute", "name": SHOP}],
                "steps": [{"weight": 25, "hold": "10s"}, {"weight": 50, "hold": "10s"}], "bake": "10s",
            }},
        },
    })
}

/// `spec.replicas`.
pub fn replicas(store: &Store, key: &Key) -> i64 {
    store.get(key).unwrap()["spec"]["replicas"].as_i64().unwrap()
}

pub fn uid(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap().to_owned()
}

pub fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

/// With uid and resourceVersion, as far as they are given.
pub fn guarded(mut object: Value, uid: Option<&str>, version: Option<&str>) -> Value {
    for (field, value) in [("uid", uid), ("resourceVersion", version)] {
        if let Some(value) = value {
            object["metadata"][field] = json!(value);
        }
    }
    object
}
