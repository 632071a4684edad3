//! What stands in the cluster about one application, in a few lines: for the failure of a test, where it is the first thing wanted.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cluster::{Cluster, Kind, number_at, text_at};

/// Events and lines of a history that are shown.
const LINES_MAX: usize = 25;

/// GitSync, Releases, pods and recent events of a namespace.
pub async fn describe(cluster: &Cluster, namespace: &str) -> String {
    let mut out = String::new();
    for kind in [Kind::GitSync, Kind::Rollout, Kind::Release] {
        for object in cluster.list(kind, namespace, "").await.unwrap_or_default() {
            // writing to a String cannot fail
            let _ = writeln!(out, "{kind:?} {}: {}", text_at(&object, "/metadata/name"), summary(kind, &object));
        }
    }
    for object in cluster.list(Kind::Deployment, namespace, "").await.unwrap_or_default() {
        let _ = writeln!(
            out,
            "Deployment {}: {} of {} ready, generation {} seen {}",
            text_at(&object, "/metadata/name"),
            number_at(&object, "/status/readyReplicas"),
            number_at(&object, "/spec/replicas"),
            number_at(&object, "/metadata/generation"),
            number_at(&object, "/status/observedGeneration"),
        );
    }
    if let Ok(pods) = crate::cluster::kubectl(&["-n", namespace, "get", "pods", "--no-headers"]) {
        let _ = writeln!(out, "{pods}");
    }
    let mut events = cluster.list(Kind::Event, namespace, "").await.unwrap_or_default();
    events.retain(|event| text_at(event, "/reportingController").starts_with("sluice"));
    events.sort_by(|a, b| text_at(a, "/eventTime").cmp(text_at(b, "/eventTime")));
    for event in events.iter().skip(events.len().saturating_sub(LINES_MAX)) {
        let _ = writeln!(out, "{} {}: {}", text_at(event, "/eventTime"), text_at(event, "/reason"), text_at(event, "/note"));
    }
    out
}

fn summary(kind: Kind, object: &Value) -> String {
    let mut parts = vec![];
    if kind == Kind::Release {
        parts.push(format!("state {}", object.pointer("/status/state").unwrap_or(&Value::Null)));
        let timeline = object.pointer("/status/timeline").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for line in timeline.iter().skip(timeline.len().saturating_sub(LINES_MAX)) {
            parts.push(format!("\n    {} {} {}", text_at(line, "/at"), text_at(line, "/what"), text_at(line, "/message")));
        }
        parts.push(format!("\n    wait {}", object.pointer("/status/wait").unwrap_or(&Value::Null)));
        parts.push(format!("\n    cause {}", object.pointer("/status/cause").unwrap_or(&Value::Null)));
        return parts.join(" ");
    }
    for field in ["good/short", "attempted/short", "phase", "waiting"] {
        let text = text_at(object, &format!("/status/{field}"));
        if !text.is_empty() {
            parts.push(format!("{field} {text}"));
        }
    }
    for field in ["refused", "pruneBlocked", "quarantine"] {
        if let Some(value) = object.pointer(&format!("/status/{field}")).filter(|value| **value != Value::Array(vec![])) {
            parts.push(format!("{field} {value}"));
        }
    }
    for condition in object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten() {
        if text_at(condition, "/type") == "Ready" {
            parts.push(format!(
                "Ready={} {}: {}",
                text_at(condition, "/status"),
                text_at(condition, "/reason"),
                text_at(condition, "/message")
            ));
        }
    }
    parts.join(", ")
}
