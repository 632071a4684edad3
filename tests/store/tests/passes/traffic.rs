//! What users of the shop would meet, judged on the stored objects after every change.

use serde_json::Value;
use sluice_store::{Key, Store, json::text, selector::Selector};

use crate::app::SHOP;

/// A pod that takes requests.
fn is_serving(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
    pod["metadata"].get("deletionTimestamp").is_none()
        && conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn pods_behind(store: &Store, service: &Value) -> usize {
    let selector = serde_json::json!({"matchLabels": service["spec"]["selector"]});
    let Some(selector) = Selector::of(Some(&selector)) else { return 0 };
    store.list("", "Pod", SHOP).iter().filter(|pod| selector.matches(pod) && is_serving(pod)).count()
}

/// Backends with a weight and nobody behind them, and Services that select nobody.
pub fn holes(store: &Store) -> Vec<String> {
    let mut holes = Vec::new();
    for route in store.list("gateway.networking.k8s.io", "HTTPRoute", SHOP) {
        let rules = route["spec"]["rules"].as_array().cloned().unwrap_or_default();
        for backend in rules.iter().flat_map(|rule| rule["backendRefs"].as_array().cloned().unwrap_or_default()) {
            let (name, weight) = (text(&backend, &["name"]), backend["weight"].as_i64().unwrap_or(1));
            let service = store.get(&Key::new("", "Service", SHOP, name));
            let pods = service.as_ref().map_or(0, |service| pods_behind(store, service));
            if weight > 0 && pods == 0 {
                holes.push(format!("the route gives {name} weight {weight}, and {pods} pods stand behind it"));
            }
        }
    }
    if let Some(root) = store.get(&Key::new("", "Service", SHOP, SHOP))
        && pods_behind(store, &root) == 0
    {
        holes.push("the root Service selects no ready pod".to_owned());
    }
    holes
}

/// Canary weight in thousandths, 0 when the route is as in Git.
pub fn canary_weight(store: &Store) -> i64 {
    let route = store.get(&Key::new("gateway.networking.k8s.io", "HTTPRoute", SHOP, SHOP)).unwrap();
    let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
    let canary = backends.iter().find(|backend| text(backend, &["name"]) != SHOP);
    canary.map_or(0, |backend| backend["weight"].as_i64().unwrap())
}
