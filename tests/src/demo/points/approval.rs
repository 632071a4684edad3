//! 5. The fix, with a gate: it waits, a stale command does nothing, the right one takes it on and is on record.

use std::time::Duration;

use anyhow::{Context, Result};
use chrono::Utc;
use sluice_crds::names::PROMOTE;

use super::{good, set_message};
use crate::case::short;
use crate::cluster::Kind;
use crate::demo::stage::Stage;
use crate::report::Point;
use crate::wait::{Look, stays_so, wait_until};

/// How long it is watched that a stale command changes nothing.
const WATCHED: Duration = Duration::from_secs(3);

pub async fn play(stage: &mut Stage, point: &mut Point) -> Result<()> {
    set_message(&mut stage.manifests, "five")?;
    stage.steps(&[(5, false), (25, true), (50, false)])?;
    let (sha, pushed_at) = stage.commit("The fix, with an approval").await?;
    let release = stage.release_until(&sha, "the gate", |release, _| waits_for(release) == "WaitingForApproval").await?;
    let wait = release.status.and_then(|status| status.wait).context("no wait")?;
    point.check("it waits at 25 % and says so", wait.message.clone(), wait.message.contains(&sha));
    let shown = stage.cluster.rollout(&stage.namespace, &stage.app).await?.status.unwrap_or_default();
    point.check(
        "`kubectl get rollouts` shows it",
        format!("{} {} {} %", shown.waiting, shown.step, shown.weight_percent),
        shown.waiting == "WaitingForApproval" && shown.weight_percent == 25,
    );
    let alert = stage.alert("WaitingForApproval", pushed_at).await?;
    point.check("an alert asks for a person", alert.text("/command"), alert.text("/command").contains(&sha));

    let wrong = stage.bad.clone().unwrap_or_else(|| "0123456789abcdef0123456789abcdef01234567".to_owned());
    stage.cluster.annotate(Kind::Rollout, &stage.namespace, &stage.app, &format!("{PROMOTE}={wrong}"))?;
    wait_until("the refusal of the wrong commit", crate::demo::stage::LIMIT, async || {
        Ok(Look::at(stage.has_event("CommandRefused", &wrong).await?, "no Event yet"))
    })
    .await?;
    point.check("a promotion of another commit is refused with an Event", format!("CommandRefused {}", short(&wrong)), true);
    let stays = stays_so("25 %", WATCHED, async || {
        let share = crate::weights::canary_thousandths(&stage.cluster, &stage.namespace, &stage.app, &stage.app).await?;
        Ok(Look::at(share == 250, format!("{share} of 1000")))
    })
    .await;
    point.check(
        "and changes nothing",
        stays.as_ref().err().map_or("25 % for 3 s".to_owned(), ToString::to_string),
        stays.is_ok(),
    );

    let promoted_at = Utc::now();
    stage.cluster.annotate(Kind::Rollout, &stage.namespace, &stage.app, &format!("{PROMOTE}={sha}"))?;
    good::follow(stage, point, &sha, "five", pushed_at).await?;
    point.time("promotion by hand to good", crate::demo::stage::seconds(Utc::now() - promoted_at));
    let releases = stage.cluster.releases(&stage.namespace, &stage.sync).await?;
    let commands =
        releases.last().and_then(|release| release.status.as_ref()).map(|status| status.commands.clone()).unwrap_or_default();
    let accepted = commands.iter().find(|record| record.accepted && record.annotation == PROMOTE && record.value == sha);
    let seen = accepted.map_or("no record".to_owned(), |record| format!("by {} at {}", record.by, record.at.format("%H:%M:%S")));
    point.check(
        "the Release records who promoted, and when",
        seen,
        accepted.is_some_and(|record| record.by.starts_with("user ")),
    );
    stage.expect_no_errors(point, pushed_at).await?;
    stage.good.push(sha);
    stage.steps(&[(5, false), (25, false), (50, false)])
}

fn waits_for(release: &sluice_crds::release::Release) -> &str {
    release.status.as_ref().and_then(|status| status.wait.as_ref()).map_or("", |wait| wait.reason.as_str())
}
