//! A gateway that accepts routes a while after they were written, and says so in their status.

use serde_json::{Value, json};

use crate::clock::stamp;
use crate::json::{at, list, set, text};
use crate::key::Key;
use crate::kinds::GATEWAY_GROUP;
use crate::state::State;

const USER: &str = "gateway";
const CONTROLLER: &str = "sim.sluice.dev/gateway";

pub fn run(state: &mut State) {
    let Some(delay_ms) = state.settings.route_accept_ms else { return };
    for route in state.of_kind(GATEWAY_GROUP, "HTTPRoute", "") {
        if state.now_ms() < state.times_of(&route).generation_ms + delay_ms {
            continue;
        }
        let status = json!({"parents": parents(state, &route)});
        state.edit(USER, &Key::of(&route), "status", |route| set(route, &["status"], status));
    }
}

pub fn next_due_ms(state: &State) -> Option<i64> {
    let delay_ms = state.settings.route_accept_ms?;
    let now_ms = state.now_ms();
    let routes = state.of_kind(GATEWAY_GROUP, "HTTPRoute", "");
    routes.iter().map(|route| state.times_of(route).generation_ms + delay_ms).filter(|at| *at > now_ms).min()
}

fn parents(state: &State, route: &Value) -> Vec<Value> {
    let namespace = text(route, &["metadata", "namespace"]);
    let missing = list(route, &["spec", "rules"]).iter().flat_map(|rule| list(rule, &["backendRefs"])).find(|backend| {
        let place = at(backend, &["namespace"]).and_then(Value::as_str).unwrap_or(namespace);
        text(backend, &["kind"]) == "Service" && state.get(&Key::new("", "Service", place, text(backend, &["name"]))).is_none()
    });
    let generation = &route["metadata"]["generation"];
    let known = list(route, &["status", "parents"]);
    let now = stamp(state.now_ms());
    list(route, &["spec", "parentRefs"])
        .iter()
        .map(|parent| {
            let before =
                known.iter().find(|known| known["parentRef"] == *parent).map_or(&[][..], |known| list(known, &["conditions"]));
            let condition = |kind: &str, holds: bool, reason: &str| {
                let status = if holds { "True" } else { "False" };
                let old = before.iter().find(|old| text(old, &["type"]) == kind && text(old, &["status"]) == status);
                let since = old.map_or(now.as_str(), |old| text(old, &["lastTransitionTime"]));
                json!({
                    "type": kind, "status": status, "reason": reason, "message": "", "observedGeneration": generation,
                    "lastTransitionTime": since,
                })
            };
            let resolved = if missing.is_none() { "ResolvedRefs" } else { "BackendNotFound" };
            json!({
                "parentRef": parent, "controllerName": CONTROLLER,
                "conditions": [condition("Accepted", true, "Accepted"), condition("ResolvedRefs", missing.is_none(), resolved)],
            })
        })
        .collect()
}
