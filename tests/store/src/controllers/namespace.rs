//! Namespaces that go: their content first, then they themselves.

use std::sync::Arc;

use serde_json::{Value, json};

use super::is_deleting;
use crate::json::{set, text};
use crate::key::Key;
use crate::state::State;

const USER: &str = "namespace-controller";

pub fn run(state: &mut State) {
    for namespace in state.of_kind("", "Namespace", "") {
        if !is_deleting(&namespace) {
            continue;
        }
        let name = text(&namespace, &["metadata", "name"]).to_owned();
        let content = content(state, &name);
        for object in content.iter().filter(|object| !is_deleting(object)) {
            state.discard(USER, object, json!({"propagationPolicy": "Background"}));
        }
        if self::content(state, &name).is_empty() {
            state.edit(USER, &Key::of(&namespace), "", |namespace| set(namespace, &["spec", "finalizers"], json!([])));
        }
    }
}

fn content(state: &State, namespace: &str) -> Vec<Arc<Value>> {
    state.objects.iter().filter(|(key, _)| key.namespace == namespace).map(|(_, object)| object.clone()).collect()
}
