//! When the world of a GitSync cannot be read: it is said in status and Event, without decoding anything, and a GitSync that is
//! being deleted is let go.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};
use sluice_cluster::object::{ObjectKey, Objects, WriteError};
use sluice_crds::names::{FIELD_MANAGER, FINALIZER_IN_MOTION, GROUP, LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE, VERSION};
use sluice_plan::check::{bounded, name_of};
use sluice_plan::plan::Note;
use sluice_plan::view::{at, list, resource_version, text, uid};

use crate::events::{self, Regarding};
use crate::tenant::own_key;

/// A GitSync that is being deleted is let go after this time when its application cannot be reached any more: its namespace or
/// its account go with it.
const GIVE_UP_S: i64 = 30;
/// Rollouts of one GitSync.
const ROLLOUTS_MAX: usize = 500;

/// Says why a GitSync is stuck, in its status and in an Event, once for each reason.
pub async fn say(own: &Objects, key: &ObjectKey, reason: &str, message: &str, instance: &str) {
    let Ok(Some(object)) = own.get(key).await else { return };
    let before = list(&object, &["status", "conditions"]);
    let is_ready = |condition: &&Value| text(condition, &["type"]) == "Ready";
    if before.iter().filter(is_ready).any(|condition| text(condition, &["reason"]) == reason) {
        return;
    }
    let (now, message) = (Utc::now(), bounded(message));
    let mut conditions: Vec<Value> = before.iter().filter(|condition| !is_ready(condition)).cloned().collect();
    conditions.push(json!({"type": "Ready", "status": "False", "reason": reason, "message": message, "lastTransitionTime": now}));
    let patch = json!({"metadata": {"uid": uid(&object)}, "status": {"conditions": conditions}});
    if let Err(error) = own.merge_patch(key, &patch, Some("status"), FIELD_MANAGER).await {
        tracing::warn!(gitsync = %key, reason = error.reason(), "its status could not be written");
    }
    let note = Note { warning: true, reason: reason.to_owned(), message };
    events::send(own, &[regarding(key, &object)], &[note], instance, now).await;
}

fn regarding(key: &ObjectKey, object: &Value) -> Regarding {
    Regarding {
        kind: "GitSync",
        namespace: key.namespace.clone().unwrap_or_default(),
        name: key.name.clone(),
        uid: uid(object).to_owned(),
    }
}

/// Lets go of a GitSync that is being deleted and whose application cannot be reached: finalizers are lifted with the
/// controller's own rights. There is nothing left that traffic could be put back on.
pub async fn abandon(own: &Objects, key: &ObjectKey, instance: &str) {
    let Ok(Some(object)) = own.get(key).await else { return };
    let deleted_at: Option<DateTime<Utc>> =
        at(&object, &["metadata", "deletionTimestamp"]).and_then(Value::as_str).and_then(|text| text.parse().ok());
    if deleted_at.is_none_or(|at| Utc::now() - at < Duration::seconds(GIVE_UP_S)) {
        return;
    }
    let namespace = key.namespace.as_deref().unwrap_or_default();
    let labels = format!("{LABEL_GITSYNC}={},{LABEL_GITSYNC_NAMESPACE}={namespace}", key.name);
    if let Ok(rollouts) = own.list(GROUP, VERSION, "Rollout", None, Some(&labels), ROLLOUTS_MAX).await {
        for rollout in &rollouts.items {
            let key = own_key("Rollout", text(rollout, &["metadata", "namespace"]), name_of(rollout));
            lift(own, &key, rollout).await;
        }
    }
    let message = "its application cannot be reached any more; what is left of it stays as it is".to_owned();
    let note = Note { warning: true, reason: "Abandoned".to_owned(), message };
    events::send(own, &[regarding(key, &object)], &[note], instance, Utc::now()).await;
    lift(own, key, &object).await;
}

async fn lift(own: &Objects, key: &ObjectKey, object: &Value) {
    let ours = json!(FINALIZER_IN_MOTION);
    let finalizers = list(object, &["metadata", "finalizers"]);
    if !finalizers.contains(&ours) {
        return;
    }
    let kept: Vec<&Value> = finalizers.iter().filter(|name| **name != ours).collect();
    let patch = json!({"metadata": {"uid": uid(object), "resourceVersion": resource_version(object), "finalizers": kept}});
    match own.merge_patch(key, &patch, None, FIELD_MANAGER).await {
        Ok(_) => tracing::warn!(object = %key, "let go of"),
        Err(WriteError::NotFound { .. }) => {}
        Err(error) => tracing::warn!(object = %key, reason = error.reason(), "a finalizer could not be lifted"),
    }
}
