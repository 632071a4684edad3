//! 3. A bad commit: judged on Prometheus, and everything of it taken back, by nobody.

use anyhow::{Context, Result};
use serde_json::json;
use sluice_crds::release::State;

use super::{set_message, set_random_error};
use crate::case::short;
use crate::cluster::Kind;
use crate::demo::stage::{Stage, seconds};
use crate::git::AUTHOR;
use crate::report::Point;

/// The object that only the bad commit has.
const PROMOTION: &str = "promotion";

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    let (fingerprint, stable) = (stage.fingerprint().await?, stage.pods(None).await?);
    let manifests_before = stage.manifests.clone();
    set_message(&mut stage.manifests, "three")?;
    set_random_error(&mut stage.manifests, true)?;
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": PROMOTION}, "data": {"sale": "everything"}});
    stage.manifests.files.insert("promotion.yaml".to_owned(), vec![object]);
    let resources = stage.manifests.at("Kustomization", "/resources")?;
    resources.as_array_mut().context("the kustomization has no list of resources")?.push("promotion.yaml".into());
    let (sha, pushed_at) = stage.commit("A great sale").await?;

    let release = stage
        .release_until(&sha, "the verdict", |release, _| release.status.as_ref().is_some_and(|status| status.cause.is_some()))
        .await?;
    let seen_new = stage.cluster.get(Kind::ConfigMap, &stage.namespace, PROMOTION).await?.is_some();
    point.check("the commit's new object was there", seen_new.to_string(), seen_new);
    let cause = release.status.as_ref().and_then(|status| status.cause.clone()).context("no cause")?;
    let verdict = format!(
        "{} {}: {} against {}",
        cause.kind,
        cause.metric.as_deref().unwrap_or("-"),
        cause.value.unwrap_or(-1.0),
        cause.bound.as_deref().unwrap_or("-")
    );
    point.check(
        "judged on Prometheus, at 5 %",
        format!("{verdict}, at {} %", cause.weight_percent),
        cause.metric.as_deref() == Some("errors") && cause.weight_percent == 5,
    );
    stage.release_until(&sha, "the end of the rollback", |_, state| matches!(state, State::RolledBack {})).await?;

    stage.first_write(point, "commit", pushed_at)?;
    let first_bad = stage.clients()?.0.record().since(pushed_at).first_error_at.context("no client saw a bad answer")?;
    let zero = stage.routes()?.first(first_bad, |shares| shares.beside(&stage.app) == 0).context("the weight never went to 0")?;
    point.check("back to 0 % by itself", format!("{:.2} s after the first bad answer", seconds(zero - first_bad)), true);
    point.time("first bad answer to weight 0", seconds(zero - first_bad));
    if let Some(time) = stage.verdict_to_weight_0(cause.at)? {
        point.time("verdict to weight 0 accepted", time);
    }
    let highest = stage.routes()?.since(pushed_at).iter().map(|shares| shares.beside(&stage.app)).max().unwrap_or(0);
    point.check("never more than 5 %", format!("{} %", highest / 10), highest == 50);

    let now = stage.fingerprint().await?;
    let different: Vec<&str> =
        now.iter().filter(|(name, value)| fingerprint.get(*name) != Some(value)).map(|(name, _)| *name).collect();
    point.check(
        "every object of the commit is as in the good revision",
        if different.is_empty() { "all equal".to_owned() } else { format!("different: {}", different.join(", ")) },
        different.is_empty(),
    );
    let gone = stage.cluster.get(Kind::ConfigMap, &stage.namespace, PROMOTION).await?.is_none();
    point.check("the new object is gone", gone.to_string(), gone);
    let pods = stage.pods(None).await?;
    point.check("stable pods: same uids, same restart counts", format!("{} pods", pods.len()), pods == stable);

    let status = stage.cluster.sync(&stage.namespace, &stage.sync).await?.status.unwrap_or_default();
    let entry = status.quarantine.iter().find(|entry| entry.sha == sha);
    point.check(
        "the commit is quarantined",
        entry.map_or("not".to_owned(), |entry| format!("{} and its digest", short(&entry.sha))),
        entry.is_some_and(|entry| !entry.digest.is_empty()),
    );
    let alert = stage.alert("RolledBack", pushed_at).await?;
    let holds = alert.text("/revision/sha") == sha
        && alert.text("/revision/author").contains(AUTHOR)
        && !alert.text("/step").is_empty()
        && alert.text("/metric") == "errors"
        && alert.body.pointer("/value").is_some_and(serde_json::Value::is_number)
        && !alert.text("/bound").is_empty();
    let seen = format!(
        "{} by {}, step {}, {} = {}, {}",
        short(alert.text("/revision/sha")),
        alert.text("/revision/author"),
        alert.text("/step"),
        alert.text("/metric"),
        alert.body["value"],
        alert.text("/bound")
    );
    point.check("the alert has SHA, author, step, metric, value and bound", seen, holds);
    let (_, cluster_ip) = stage.clients()?;
    let beside = cluster_ip.record().since(pushed_at);
    point.check(
        "no failed request through the ClusterIP, which is pinned to stable",
        beside.bad().to_string(),
        beside.bad() == 0,
    );
    stage.expect_errors_of_canary_only(point, pushed_at).await?;
    stage.manifests = manifests_before;
    stage.bad = Some(sha);
    Ok(())
}
