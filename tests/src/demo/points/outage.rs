//! 6. Git and Prometheus are gone in the middle of a bad release: nothing moves forward, and the way back needs neither.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use sluice_crds::names::ABORT;
use sluice_crds::release::State;

use super::{set_message, set_random_error};
use crate::cluster::Kind;
use crate::demo::stage::{Stage, seconds};
use crate::report::{Point, progress};
use crate::wait::{Look, stays_so};

/// Longer than the hold of a step: with data it would have gone on, or back.
const WATCHED: Duration = Duration::from_secs(15);

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    let (fingerprint, stable) = (stage.fingerprint().await?, stage.pods(None).await?);
    let manifests_before = stage.manifests.clone();
    set_message(&mut stage.manifests, "six")?;
    set_random_error(&mut stage.manifests, true)?;
    let (sha, pushed_at) = stage.commit("Another sale").await?;
    stage.release_until(&sha, "the release to begin", |_, _| true).await?;
    let outage = Outage::begin(stage)?;
    let result = during(stage, point, &sha, pushed_at).await;
    let fingerprint_now = stage.fingerprint().await?;
    outage.end()?;
    result?;
    point.check(
        "every object is as in the good revision",
        (fingerprint_now == fingerprint).to_string(),
        fingerprint_now == fingerprint,
    );
    let pods = stage.pods(None).await?;
    point.check("stable pods: same uids, same restart counts", format!("{} pods", pods.len()), pods == stable);
    stage.expect_errors_of_canary_only(point, pushed_at).await?;
    stage.manifests = manifests_before;
    Ok(())
}

async fn during(stage: &Stage, point: &mut Point, sha: &str, pushed_at: chrono::DateTime<Utc>) -> Result<()> {
    stage.release_until(sha, "the first step", |_, state| matches!(state, State::Judging { step: 0 })).await?;
    stage
        .release_until(sha, "the hold for want of data", |release, _| {
            release.status.as_ref().and_then(|status| status.wait.as_ref()).is_some_and(|wait| wait.reason == "QueryError")
        })
        .await?;
    let stays = stays_so("the first step", WATCHED, async || {
        let mut releases = stage.cluster.releases(&stage.namespace, &stage.sync).await?;
        let status = releases.pop().and_then(|release| release.status).context("the Release has no status")?;
        let share = crate::weights::canary_thousandths(&stage.cluster, &stage.namespace, &stage.app, &stage.app).await?;
        Ok(Look::at(
            matches!(status.state, State::Judging { step: 0 }) && share == 50,
            format!("{:?} with {share} of 1000", status.state),
        ))
    })
    .await;
    let seen =
        stays.as_ref().err().map_or_else(|| format!("5 % and QueryError for {} s", WATCHED.as_secs()), ToString::to_string);
    point.check("without Git and Prometheus nothing moves forward", seen, stays.is_ok());

    let aborted_at = Utc::now();
    stage.cluster.annotate(Kind::Rollout, &stage.namespace, &stage.app, &format!("{ABORT}={sha}"))?;
    stage.release_until(sha, "the end of the rollback", |_, state| matches!(state, State::RolledBack {})).await?;
    let zero =
        stage.routes()?.first(aborted_at, |shares| shares.beside(&stage.app) == 0).context("the weight never went to 0")?;
    point.check(
        "abort by annotation takes it back without either",
        format!("weight 0 after {:.2} s", seconds(zero - aborted_at)),
        true,
    );
    point.time("abort to weight 0", seconds(zero - aborted_at));
    point.time("abort to rolled back", seconds(Utc::now() - aborted_at));
    let (_, cluster_ip) = stage.clients()?;
    let beside = cluster_ip.record().since(pushed_at);
    point.check(
        "no failed request through the ClusterIP, which is pinned to stable",
        beside.bad().to_string(),
        beside.bad() == 0,
    );
    Ok(())
}

/// Both are started again also when a check fails halfway.
struct Outage {
    env: crate::env::Env,
    over: bool,
}

impl Outage {
    fn begin(stage: &Stage) -> Result<Self> {
        let outage = Self { env: stage.env.clone(), over: false };
        for name in ["prometheus", "git"] {
            stage.env.cluster_command(&["stop", name])?;
            progress(&format!("  stopped {name}"));
        }
        Ok(outage)
    }

    fn end(mut self) -> Result<()> {
        self.over = true;
        self.start()
    }

    fn start(&self) -> Result<()> {
        for name in ["prometheus", "git"] {
            self.env.cluster_command(&["start", name])?;
            progress(&format!("  started {name}"));
        }
        Ok(())
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if !self.over
            && let Err(error) = self.start()
        {
            progress(&format!("  {error:#}"));
        }
    }
}
