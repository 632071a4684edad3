//! Questions about a Release and its pods.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use sluice_crds::release::{Release, ReleaseStatus, State};
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, number_at, text_at};
use sluice_tests::wait::Look;

use super::ensure_that;

/// The status, which every Release has soon.
pub fn status(release: &Release) -> Result<&ReleaseStatus> {
    release.status.as_ref().context("the Release has no status")
}

/// The word for why it went back.
pub fn cause(release: &Release) -> &str {
    release.status.as_ref().and_then(|status| status.cause.as_ref()).map_or("", |cause| cause.kind.as_str())
}

/// The first time that its history has a word.
pub fn when(release: &Release, what: &str) -> Option<DateTime<Utc>> {
    release.status.as_ref()?.timeline.iter().find(|line| line.what == what).map(|line| line.at)
}

/// Whether its history has a word.
pub fn has_been(release: &Release, what: &str) -> bool {
    when(release, what).is_some()
}

/// The pods of an app that are not going away.
pub async fn pods(case: &Case, app: &str) -> Result<Vec<Pod>> {
    let pods = case.cluster.pods(&case.namespace, &format!("app={app}")).await?;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// Restarts of each pod, by uid.
pub async fn restarts(case: &Case, app: &str) -> Result<BTreeMap<String, i32>> {
    let count = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        containers.map(|container| container.restart_count).sum()
    };
    Ok(pods(case, app).await?.iter().map(|pod| (pod.metadata.uid.clone().unwrap_or_default(), count(pod))).collect())
}

/// The pods that serve now are those that were judged: of the canary's ReplicaSet, older than the handover, never restarted.
pub async fn expect_judged_pods(case: &Case, release: &Release, app: &str) -> Result<()> {
    let plan = release.spec.rollouts.iter().position(|plan| plan.name == app).context("the release has no such rollout")?;
    let uid = status(release)?.rollouts.get(plan).map(|progress| progress.canary_uid.clone()).unwrap_or_default();
    let handed_over = when(release, "HandingOver").context("the release was never handed over")?;
    let pods = pods(case, app).await?;
    ensure_that!(!pods.is_empty(), "{app} has no pods");
    for pod in pods {
        let name = pod.metadata.name.unwrap_or_default();
        let owner = pod.metadata.owner_references.iter().flatten().next().map(|owner| owner.uid.clone()).unwrap_or_default();
        ensure_that!(owner == uid, "pod {name} is of another ReplicaSet than the judged one");
        let made = pod.metadata.creation_timestamp.map(|time| time.0.to_string()).unwrap_or_default();
        let made: DateTime<Utc> = made.parse().context("a pod's creation time")?;
        ensure_that!(made <= handed_over, "pod {name} was made at {made}, after the handover began at {handed_over}");
    }
    let restarts = restarts(case, app).await?;
    ensure_that!(restarts.values().all(|count| *count == 0), "pods restarted: {restarts:?}");
    Ok(())
}

/// The pod template of an app's Deployment, and its config, as they are now.
pub async fn workload(case: &Case, app: &str) -> Result<Value> {
    let deployment = case.object(Kind::Deployment, app).await?;
    let config = case.object(Kind::ConfigMap, app).await?;
    let template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
    Ok(serde_json::json!({"template": template, "config": config["data"]}))
}

/// Every step that the history has, with the time from its first judgement to what came after it.
pub fn step_times(release: &Release) -> Vec<(String, f64)> {
    let timeline = release.status.as_ref().map(|status| status.timeline.clone()).unwrap_or_default();
    let mut times = Vec::new();
    for (index, line) in timeline.iter().enumerate().filter(|(_, line)| line.what == "Judging" || line.what == "Baking") {
        let next =
            timeline.iter().skip(index + 1).find(|next| matches!(next.what.as_str(), "Judging" | "Shifting" | "HandingOver"));
        if let Some(next) = next {
            times.push((line.message.clone(), (next.at - line.at).as_seconds_f64()));
        }
    }
    times
}

/// No step was shorter than its hold.
pub fn expect_whole_holds(release: &Release) -> Result<()> {
    let hold_s = release.spec.rollouts.first().map(|plan| plan.steps.clone()).unwrap_or_default();
    let times = step_times(release);
    ensure_that!(times.len() >= hold_s.len(), "the history has {} of {} steps: {times:?}", times.len(), hold_s.len());
    for (step, (line, took_s)) in hold_s.iter().zip(&times) {
        // a second of grace would hide a lost hold of one second: holds in these tests are longer
        let hold = f64::from(i32::try_from(step.hold_s)?);
        ensure_that!(*took_s >= hold - 0.05, "{line}: it took {took_s:.2} s, its hold is {hold} s");
    }
    Ok(())
}

/// Waits until the Release of a commit is handed over, at a stage or later.
pub async fn wait_handing_over(case: &Case, sha: &str) -> Result<Release> {
    case.wait_state(sha, "handed over", |state| matches!(state, State::HandingOver { .. })).await
}

/// No finalizer of ours is left in the namespace, no canary, no pin.
pub async fn expect_nothing_left(case: &Case, app: &str) -> Result<()> {
    case.wait("nothing to be left of a release", async || {
        let left = leftovers(case, app).await?;
        Ok(Look::at(left.is_empty(), format!("{left:?}")))
    })
    .await
}

async fn leftovers(case: &Case, app: &str) -> Result<Vec<String>> {
    let mut left = Vec::new();
    for kind in [Kind::GitSync, Kind::Rollout] {
        for object in case.cluster.list(kind, &case.namespace, "").await? {
            let finalizers = object.pointer("/metadata/finalizers").and_then(Value::as_array).map_or(0, Vec::len);
            if finalizers > 0 {
                left.push(format!("a finalizer on {kind:?} {}", text_at(&object, "/metadata/name")));
            }
        }
    }
    for service in case.cluster.list(Kind::Service, &case.namespace, "").await? {
        let name = text_at(&service, "/metadata/name").to_owned();
        if name.contains("-canary-") {
            left.push(format!("Service {name}"));
        }
        if service.pointer("/spec/selector/pod-template-hash").is_some() {
            left.push(format!("the pin of Service {name}"));
        }
    }
    for set in case.cluster.list(Kind::ReplicaSet, &case.namespace, &format!("app={app}")).await? {
        if text_at(&set, "/metadata/ownerReferences/0/kind") != "Deployment" {
            left.push(format!("ReplicaSet {} of {}", text_at(&set, "/metadata/name"), number_at(&set, "/spec/replicas")));
        }
    }
    Ok(left)
}
