//! 2. A good commit: the steps are seen at the gateway, the judged pods stay.

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use sluice_crds::release::{Release, State};

use super::set_message;
use crate::demo::stage::{Stage, seconds, uids};
use crate::report::Point;

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    set_message(&mut stage.manifests, "two")?;
    let (sha, pushed_at) = stage.commit("A better greeting").await?;
    follow(stage, point, &sha, "two", pushed_at).await?;
    stage.expect_no_errors(point, pushed_at).await?;
    stage.good.push(sha);
    Ok(())
}

/// Follows a good commit from its push to rest, and checks that the judged pods are the promoted ones.
pub async fn follow(stage: &Stage, point: &mut Point, sha: &str, version: &str, pushed_at: DateTime<Utc>) -> Result<()> {
    let release = stage.release_until(sha, "the bake at 100 %", is_baking).await?;
    let judged = stage.pods(Some(&release.spec.rollouts.first().context("nothing is rolled out")?.canary_hash)).await?;
    stage.good(sha).await?;
    stage.first_write(point, "commit", pushed_at)?;
    let release = stage.release_until(sha, "the promotion", |_, state| matches!(state, State::Promoted {})).await?;
    let promoted_at = release.status.map_or(pushed_at, |status| status.state_since);
    point.time("commit to promotion", seconds(promoted_at - pushed_at));
    if let Some(first) = stage.routes()?.first(pushed_at, |shares| shares.beside(&stage.app) > 0) {
        point.time("first weight to promotion", seconds(promoted_at - first));
    }
    for percent in [5, 25, 50, 100] {
        stage.expect_share(point, version, percent, pushed_at)?;
    }
    let now = stage.pods(None).await?;
    let same = uids(&now) == uids(&judged) && now.len() == 4;
    let restarts: i32 = now.values().sum();
    point.check(
        "the promoted pods are those that were judged",
        format!("{} of {} uids, {restarts} restarts", uids(&now).intersection(&uids(&judged)).count(), now.len()),
        same && restarts == 0,
    );
    Ok(())
}

fn is_baking(release: &Release, state: &State) -> bool {
    let last = release.spec.rollouts.first().map_or(0, |plan| plan.steps.len()).saturating_sub(1);
    matches!(state, State::Judging { step } if usize::try_from(*step) == Ok(last))
}
