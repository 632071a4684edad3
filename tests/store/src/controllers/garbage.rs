//! Garbage: what has only dead owners goes; foreground and orphan deletions are finished.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{is_deleting, uid};
use crate::json::{flag, list, set, text};
use crate::key::Key;
use crate::state::State;

const USER: &str = "generic-garbage-collector";

pub fn run(state: &mut State) {
    let alive: BTreeSet<String> = state.objects.values().map(|object| uid(object).to_owned()).collect();
    let owned: Vec<Arc<Value>> =
        state.objects.values().filter(|object| !list(object, &["metadata", "ownerReferences"]).is_empty()).cloned().collect();
    for object in owned.iter().filter(|object| !is_deleting(object)) {
        let (kept, dead): (Vec<&Value>, Vec<&Value>) =
            list(object, &["metadata", "ownerReferences"]).iter().partition(|owner| alive.contains(text(owner, &["uid"])));
        match (kept.is_empty(), dead.is_empty()) {
            (true, _) => state.discard(USER, object, json!({"propagationPolicy": "Background"})),
            (false, true) => {}
            (false, false) => {
                let kept = json!(kept);
                state.edit(USER, &Key::of(object), "", |object| set(object, &["metadata", "ownerReferences"], kept));
            }
        }
    }
    finish(state, "foregroundDeletion", &owned);
    finish(state, "orphan", &owned);
}

fn finish(state: &mut State, finalizer: &str, owned: &[Arc<Value>]) {
    let waiting: Vec<Arc<Value>> = state
        .objects
        .values()
        .filter(|object| is_deleting(object) && list(object, &["metadata", "finalizers"]).contains(&json!(finalizer)))
        .cloned()
        .collect();
    for owner in waiting {
        let names_owner = |reference: &Value| text(reference, &["uid"]) == uid(&owner);
        let dependents: Vec<&Arc<Value>> =
            owned.iter().filter(|object| list(object, &["metadata", "ownerReferences"]).iter().any(names_owner)).collect();
        let mut is_blocked = false;
        for dependent in dependents {
            if finalizer == "orphan" {
                let kept: Vec<Value> = list(dependent, &["metadata", "ownerReferences"])
                    .iter()
                    .filter(|reference| !names_owner(reference))
                    .cloned()
                    .collect();
                state.edit(USER, &Key::of(dependent), "", |object| set(object, &["metadata", "ownerReferences"], json!(kept)));
                continue;
            }
            let blocks = |reference: &Value| names_owner(reference) && flag(reference, &["blockOwnerDeletion"]);
            is_blocked |=
                list(dependent, &["metadata", "ownerReferences"]).iter().any(blocks) && state.get(&Key::of(dependent)).is_some();
            if !is_deleting(dependent) {
                state.discard(USER, dependent, json!({"propagationPolicy": "Foreground"}));
            }
        }
        if !is_blocked {
            state.edit(USER, &Key::of(&owner), "", |object| {
                let kept: Vec<Value> =
                    list(object, &["metadata", "finalizers"]).iter().filter(|name| **name != json!(finalizer)).cloned().collect();
                set(object, &["metadata", "finalizers"], kept);
            });
        }
    }
}
