//! Events for people: one for each note of a plan, on the GitSync and on the Rollouts of its release. Best effort, bounded.

use serde_json::{Value, json};
use sluice_cluster::object::{ObjectKey, Objects};
use sluice_plan::plan::Note;

/// The reporting controller of all events.
const REPORTER: &str = "sluice.dev/controller";
/// Bytes of a note that the API server takes.
const NOTE_BYTES_MAX: usize = 1024;

/// What an event is about.
#[derive(Clone, Debug)]
pub struct Regarding {
    pub kind: &'static str,
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// Writes events. A failure is logged and nothing else: an event is no record.
pub async fn send(
    objects: &Objects,
    regarding: &[Regarding],
    notes: &[Note],
    instance: &str,
    now: chrono::DateTime<chrono::Utc>,
) {
    for (index, note) in notes.iter().enumerate() {
        for about in regarding {
            let name = format!("{}.{:x}{index}", about.name, now.timestamp_micros());
            let key = ObjectKey::new("events.k8s.io", "v1", "Event", Some(&about.namespace), &name);
            if let Err(error) =
                objects.create(&key, &event(about, note, &name, instance, now), sluice_crds::names::FIELD_MANAGER).await
            {
                tracing::debug!(object = %about.name, reason = error.reason(), "an event could not be written");
            }
        }
    }
}

fn event(about: &Regarding, note: &Note, name: &str, instance: &str, now: chrono::DateTime<chrono::Utc>) -> Value {
    let mut text = note.message.clone();
    while text.len() > NOTE_BYTES_MAX {
        text.pop();
    }
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": about.namespace},
        "eventTime": now.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "reportingController": REPORTER,
        "reportingInstance": instance,
        "action": note.reason,
        "reason": note.reason,
        "type": if note.warning { "Warning" } else { "Normal" },
        "note": text,
        "regarding": {
            "apiVersion": format!("{}/{}", sluice_crds::names::GROUP, sluice_crds::names::VERSION),
            "kind": about.kind, "namespace": about.namespace, "name": about.name, "uid": about.uid,
        },
    })
}
