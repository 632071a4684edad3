//! 7. Only a ConfigMap changes: the same steps, and stable pods keep reading the old one until the promotion.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;
use sluice_crds::release::State;

use super::{good, set_message};
use crate::cluster::{Kind, text_at};
use crate::demo::stage::Stage;
use crate::report::Point;

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    let stable = stage.pods(None).await?;
    let template = stage.object(Kind::Deployment).await?;
    let read = text_at(&template, "/spec/template/spec/containers/0/envFrom/0/configMapRef/name").to_owned();
    let before = data_of(stage, &read).await?;
    set_message(&mut stage.manifests, "seven")?;
    let (sha, pushed_at) = stage.commit("Another greeting, nothing else").await?;
    let release = stage.release_until(&sha, "50 %", |_, state| matches!(state, State::Judging { step: 2 })).await?;
    let hash = release.spec.rollouts.first().map(|plan| plan.canary_hash.clone()).context("nothing is rolled out")?;
    let changed = data_of(stage, &read).await? != before;
    point.check(
        "stable pods keep reading the old ConfigMap",
        format!("{read} is {}", if changed { "changed" } else { "as before" }),
        !changed,
    );
    let canary = pod_names(stage, &hash).await?;
    let (gateway, cluster_ip) = stage.clients()?;
    let mut seen = gateway.record().pods_since(pushed_at);
    seen.extend(cluster_ip.record().pods_since(pushed_at));
    let wrong: Vec<String> = seen
        .iter()
        .filter(|(pod, version)| canary.contains(*pod) != (*version == "seven"))
        .map(|(pod, version)| format!("{pod}: {version}"))
        .collect();
    point.check(
        "only canary pods answer with the new one",
        if wrong.is_empty() { format!("{} pods asked", seen.len()) } else { wrong.join(", ") },
        wrong.is_empty(),
    );
    let now = stage.pods(None).await?;
    point.check(
        "stable pods: same uids, same restart counts",
        format!("{} pods", stable.len()),
        stable.iter().all(|(uid, restarts)| now.get(uid) == Some(restarts)),
    );
    good::follow(stage, point, &sha, "seven", pushed_at).await?;
    stage.expect_no_errors(point, pushed_at).await?;
    stage.good.push(sha);
    Ok(())
}

async fn data_of(stage: &Stage, name: &str) -> Result<Value> {
    let object = stage.cluster.expect(Kind::ConfigMap, &stage.namespace, name).await?;
    Ok(object.get("data").cloned().unwrap_or_default())
}

async fn pod_names(stage: &Stage, hash: &str) -> Result<BTreeSet<String>> {
    let pods = stage.cluster.pods(&stage.namespace, &format!("pod-template-hash={hash}")).await?;
    Ok(pods.into_iter().filter_map(|pod| pod.metadata.name).collect())
}
