//! 4. A commit whose pods exit: pod evidence, before any traffic.

use anyhow::{Context, Result};
use chrono::Utc;
use sluice_crds::release::State;

use super::{command, set_message};
use crate::demo::stage::{Stage, seconds};
use crate::report::Point;

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    let (fingerprint, stable) = (stage.fingerprint().await?, stage.pods(None).await?);
    let manifests_before = stage.manifests.clone();
    set_message(&mut stage.manifests, "four")?;
    command(&mut stage.manifests)?.push("--no-such-flag".into());
    let (sha, pushed_at) = stage.commit("A flag that nobody knows").await?;
    let release = stage
        .release_until(&sha, "the verdict", |release, _| release.status.as_ref().is_some_and(|status| status.cause.is_some()))
        .await?;
    let cause = release.status.as_ref().and_then(|status| status.cause.clone()).context("no cause")?;
    point.check("rolled back on what the pods say", format!("{}: {}", cause.kind, cause.message), cause.kind == "CrashLoop");
    let hash = release.spec.rollouts.first().map(|plan| plan.canary_hash.clone()).unwrap_or_default();
    if let Some(exit) = stage.cluster.last_exit(&stage.namespace, &format!("pod-template-hash={hash}")).await? {
        // the kubelet gives whole seconds, rounded down: the true time is up to 1 s shorter
        point.time("last exit to the decision", seconds(cause.at - exit));
    }
    stage.release_until(&sha, "the end of the rollback", |_, state| matches!(state, State::RolledBack {})).await?;
    stage.first_write(point, "commit", pushed_at)?;
    point.time("commit to rolled back", seconds(Utc::now() - pushed_at));
    let highest = stage.routes()?.since(pushed_at).iter().map(|shares| shares.beside(&stage.app)).max().unwrap_or(0);
    let answers = stage.clients()?.0.record().since(pushed_at).of("four");
    point.check("before any traffic reached it", format!("weight {highest}, {answers} answers"), highest == 0 && answers == 0);
    let same = stage.fingerprint().await? == fingerprint;
    point.check("every object is as in the good revision", same.to_string(), same);
    let pods = stage.pods(None).await?;
    point.check("stable pods: same uids, same restart counts", format!("{} pods", pods.len()), pods == stable);
    stage.expect_no_errors(point, pushed_at).await?;
    stage.manifests = manifests_before;
    Ok(())
}
