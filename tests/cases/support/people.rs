//! What people do: annotate, edit, delete, with plain kubectl where they would.

use anyhow::Result;
use serde_json::Value;
use sluice_tests::case::{Case, SYNC};
use sluice_tests::cluster::{Kind, kubectl, text_at};
use sluice_tests::wait::Look;

/// Gives a command on the app's Rollout.
pub fn command(case: &Case, app: &str, command: &str, value: &str) -> Result<()> {
    case.cluster.annotate(Kind::Rollout, &case.namespace, app, &format!("sluice.dev/{command}={value}"))
}

/// Gives a command on the GitSync.
pub fn command_sync(case: &Case, command: &str, value: &str) -> Result<()> {
    case.cluster.annotate(Kind::GitSync, &case.namespace, SYNC, &format!("sluice.dev/{command}={value}"))
}

/// Takes an annotation off.
pub fn remove_annotation(case: &Case, kind: Kind, name: &str, annotation: &str) -> Result<()> {
    case.cluster.annotate(kind, &case.namespace, name, &format!("sluice.dev/{annotation}-"))
}

/// Sets the number of pods as an autoscaler does, through the scale subresource.
pub fn scale(case: &Case, app: &str, replicas: i64) -> Result<()> {
    let replicas = format!("--replicas={replicas}");
    kubectl(&["-n", &case.namespace, "scale", "deployment", app, &replicas]).map(|_| ())
}

/// Waits until a command was answered, with a part of the answer; returns its record.
pub async fn answered(case: &Case, command: &str, accepted: bool, part: &str) -> Result<Value> {
    let annotation = format!("sluice.dev/{command}");
    case.wait(&format!("the answer to {annotation} (accepted: {accepted}) with {part:?}"), async || {
        let release = serde_json::to_value(case.release().await?)?;
        let records = release.pointer("/status/commands").and_then(Value::as_array).cloned().unwrap_or_default();
        let found = records.iter().rfind(|record| {
            text_at(record, "/annotation") == annotation
                && record["accepted"] == accepted
                && text_at(record, "/answer").contains(part)
        });
        Ok(match found {
            Some(record) => Look::Done(record.clone()),
            None => Look::NotYet(format!("{records:?}")),
        })
    })
    .await
}
