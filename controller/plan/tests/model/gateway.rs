//! The gateway: it accepts the present form of every route a moment after it was written.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sluice_plan::Id;
use sluice_plan::id::GATEWAY;
use sluice_plan::view::{integer, list};

use super::store::Store;

/// Measured: 0.1 to 0.2 s.
const ACCEPT_MS: i64 = 200;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Gateway {
    pub is_down: bool,
    /// The generation that each route was last seen with, and when that was.
    seen: BTreeMap<Id, (i64, i64)>,
}

impl Gateway {
    pub fn accept(&mut self, store: &mut Store, mono_ms: i64) {
        let routes: Vec<(Id, Value)> =
            store.of_kind(GATEWAY, "HTTPRoute").map(|(id, route)| (id.clone(), route.clone())).collect();
        for (id, route) in routes {
            let generation = integer(&route, &["metadata", "generation"]).unwrap_or(0);
            let (seen, since_ms) = self.seen.get(&id).copied().unwrap_or((0, mono_ms));
            let since_ms = if seen == generation { since_ms } else { mono_ms };
            self.seen.insert(id.clone(), (generation, since_ms));
            if self.is_down || mono_ms < since_ms + ACCEPT_MS {
                continue;
            }
            let condition = |kind: &str| json!({"type": kind, "status": "True", "observedGeneration": generation});
            let parents: Vec<Value> = list(&route, &["spec", "parentRefs"])
                .iter()
                .map(|parent| json!({"parentRef": parent, "conditions": [condition("Accepted"), condition("ResolvedRefs")]}))
                .collect();
            store.update(&id, "gateway", "status", |value| value["status"] = json!({"parents": parents})).unwrap();
        }
    }

    /// When it will accept something next.
    pub fn next_change(&self, mono_ms: i64) -> Option<i64> {
        if self.is_down {
            return None;
        }
        self.seen.values().map(|(_, since_ms)| since_ms + ACCEPT_MS).filter(|at| *at > mono_ms).min()
    }
}
