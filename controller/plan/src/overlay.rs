//! What a phase lays over the render: pinned selectors, route weights, a paused Deployment. Empty at rest.

use serde_json::{Value, json};
use sluice_crds::names::POD_TEMPLATE_HASH;

use crate::naming::is_service;
use crate::view::{set, text};

/// The weights of a route are thousandths: the smallest one warms a backend without risking more than 1 request of 1,000.
pub const WEIGHT_TOTAL: i64 = 1000;

/// Pins a Service to the pods of one ReplicaSet.
pub fn pin(service: &mut Value, hash: &str) {
    set(service, &["spec", "selector", POD_TEMPLATE_HASH], json!(hash));
}

/// The canary's Service: the root Service's ports and selector, pinned to the canary, reached by the gateway only.
#[must_use]
pub fn canary_service(root: &Value, name: &str, hash: &str) -> Value {
    let ports: Vec<Value> = crate::view::list(root, &["spec", "ports"])
        .iter()
        .map(|port| {
            let mut port = port.clone();
            crate::view::remove(&mut port, &["nodePort"]);
            port
        })
        .collect();
    let mut service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": text(root, &["metadata", "namespace"])},
        "spec": {"ports": ports, "selector": root.pointer("/spec/selector")},
    });
    if let Some(protocol) = root.pointer("/spec/ipFamilyPolicy") {
        set(&mut service, &["spec", "ipFamilyPolicy"], protocol.clone());
    }
    pin(&mut service, hash);
    service
}

/// Splits every backend that is the root Service between it and the canary's: `canary` of [`WEIGHT_TOTAL`].
/// Other backends of the same rule keep their share.
pub fn split(route: &mut Value, root: &str, canary: &str, canary_weight: i64) {
    let Some(rules) = route.pointer_mut("/spec/rules").and_then(Value::as_array_mut) else { return };
    for rule in rules {
        let Some(backends) = rule.get_mut("backendRefs").and_then(Value::as_array_mut) else { continue };
        if !backends.iter().any(|backend| is_service(backend, root)) {
            continue;
        }
        let mut split = Vec::with_capacity(backends.len() + 1);
        for backend in backends.iter() {
            let weight = backend.get("weight").and_then(Value::as_i64).unwrap_or(1);
            let mut first = backend.clone();
            if is_service(backend, root) {
                let mut second = backend.clone();
                set(&mut first, &["weight"], json!(weight * (WEIGHT_TOTAL - canary_weight)));
                set(&mut second, &["name"], json!(canary));
                set(&mut second, &["weight"], json!(weight * canary_weight));
                split.push(first);
                split.push(second);
            } else {
                set(&mut first, &["weight"], json!(weight * WEIGHT_TOTAL));
                split.push(first);
            }
        }
        *backends = split;
    }
}

/// The Deployment as the handover needs it: paused, and so that a change of replicas in the middle never cuts the live set
/// (`maxSurge: 100%`; `Recreate` would wedge it).
pub fn pause(deployment: &mut Value) {
    set(deployment, &["spec", "paused"], json!(true));
    set(
        deployment,
        &["spec", "strategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}),
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn a_split_keeps_the_share_of_other_backends() {
        let mut route = json!({"spec": {"rules": [{"backendRefs": [
            {"name": "shop", "port": 80, "weight": 3}, {"name": "legacy", "port": 80}
        ]}]}});
        split(&mut route, "shop", "shop-canary", 250);
        let weights: Vec<(String, i64)> = route
            .pointer("/spec/rules/0/backendRefs")
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .map(|backend| (text(backend, &["name"]).to_owned(), backend["weight"].as_i64().unwrap()))
            .collect();
        assert_eq!(weights, [("shop".to_owned(), 2250), ("shop-canary".to_owned(), 750), ("legacy".to_owned(), 1000)]);
    }

    #[test]
    fn a_backend_of_another_namespace_is_not_the_root_service() {
        let mut route = json!({"spec": {"rules": [{"backendRefs": [{"name": "shop", "namespace": "other", "port": 80}]}]}});
        let before = route.clone();
        split(&mut route, "shop", "shop-canary", 250);
        assert_eq!(route, before);
    }
}
