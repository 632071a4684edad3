//! Deletion: preconditions, finalizers, grace of pods, namespaces.

use serde_json::{Value, json};

use super::State;
use super::write::{Request, Written};
use crate::clock::stamp;
use crate::json::{at, integer, list, set, text};
use crate::refusal::Refusal;

impl State {
    /// The body is a `DeleteOptions`.
    pub fn delete(&mut self, request: &Request) -> Result<Written, Refusal> {
        let kind = self.kind(&request.key.group, &request.key.kind)?;
        let (key, options) = (&request.key, &request.body);
        let live = self.get(key).cloned().ok_or_else(|| Refusal::not_found(&kind.resource(), &key.name))?;
        for (field, own, words) in [("uid", "uid", "UID"), ("resourceVersion", "resourceVersion", "ResourceVersion")] {
            let (wanted, is) = (text(options, &["preconditions", field]), text(&live, &["metadata", own]));
            if !wanted.is_empty() && wanted != is {
                let why = format!("Precondition failed: {words} in precondition: {wanted}, {words} in object meta: {is}");
                return Err(Refusal::conflict(&kind.resource(), &key.name, &why));
            }
        }
        let mut new = live.as_ref().clone();
        let mut finalizers = list(&live, &["metadata", "finalizers"]).to_vec();
        let is_deleting = at(&live, &["metadata", "deletionTimestamp"]).is_some();
        let added = match text(options, &["propagationPolicy"]) {
            "Foreground" => Some("foregroundDeletion"),
            "Orphan" => Some("orphan"),
            _ => None,
        };
        if let Some(added) = added.filter(|added| !is_deleting && !finalizers.contains(&json!(added))) {
            finalizers.push(json!(added));
            set(&mut new, &["metadata", "finalizers"], finalizers.clone());
        }
        let grace_s = if kind.kind == "Pod" && kind.group.is_empty() {
            let asked = integer(options, &["gracePeriodSeconds"]);
            asked.or_else(|| integer(&live, &["spec", "terminationGracePeriodSeconds"])).unwrap_or(30)
        } else {
            0
        };
        let is_kept = !finalizers.is_empty() || !list(&live, &["spec", "finalizers"]).is_empty() || grace_s > 0;
        if request.is_dry_run {
            return Ok(Written { code: 200, object: success(&live), changed: false });
        }
        if !is_kept {
            self.commit(key, None);
            return Ok(Written { code: 200, object: success(&live), changed: true });
        }
        if is_deleting {
            return Ok(Written { code: 200, object: new, changed: false });
        }
        set(&mut new, &["metadata", "deletionTimestamp"], stamp(self.now_ms() + grace_s * 1000));
        set(&mut new, &["metadata", "deletionGracePeriodSeconds"], grace_s);
        if let Some(generation) = integer(&live, &["metadata", "generation"]) {
            set(&mut new, &["metadata", "generation"], generation + 1);
        }
        if kind.kind == "Namespace" {
            set(&mut new, &["status", "phase"], "Terminating");
        }
        let object = self.commit(key, Some(new));
        Ok(Written { code: 200, object: object.as_ref().clone(), changed: true })
    }
}

fn success(live: &Value) -> Value {
    let metadata = |field| text(live, &["metadata", field]);
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": {"name": metadata("name"), "uid": metadata("uid")},
    })
}
