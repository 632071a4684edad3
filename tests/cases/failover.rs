//! The leading controller is killed, in each phase: the same end, no shorter hold, no second alert, no lost request.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use sluice_crds::release::{Release, State};
use sluice_tests::app::metric;
use sluice_tests::case::Case;
use sluice_tests::cluster::Cluster;
use sluice_tests::install;
use sluice_tests::wait::{Look, wait_until};

use crate::support::controller;
use crate::support::release::{expect_judged_pods, expect_nothing_left, expect_whole_holds};
use crate::support::traffic::expect_no_failure;
use crate::support::{Test, alone, ensure_that, people};

const TWO_READY_LIMIT: Duration = Duration::from_secs(60);

pub fn all() -> Vec<Test> {
    vec![
        alone("a leader killed while the canary is scaled: the other one ends the release", |case| {
            promoted(case, |state| matches!(state, State::Preparing {} | State::Scaling { .. }), 1)
        }),
        alone("a leader killed while a step is judged: the other one ends the release and the hold stays whole", |case| {
            promoted(case, |state| matches!(state, State::Judging { .. }), 1)
        }),
        alone("a leader killed during the handover: the other one ends the release", |case| {
            promoted(case, |state| matches!(state, State::HandingOver { .. }), 1)
        }),
        alone("both replicas killed while a step is judged: new ones end the release and the hold stays whole", |case| {
            promoted(case, |state| matches!(state, State::Judging { .. }), 2)
        }),
        alone("a leader killed while a release goes back: the other one ends it, with one alert", rolling_back),
        alone("a leader killed while a person is waited for: one alert, and the command is taken by the other", waiting),
    ]
}

/// Kills the leader, after a look at what would be lost with it.
async fn kill(case: &Case, replicas: usize) -> Result<()> {
    let violations = controller::figure(&case.cluster, "sluice_plan_violations_total").await?;
    ensure_that!(violations == 0.0, "{violations} plans broke an invariant before the kill");
    if replicas == 1 {
        return install::kill_leader(&case.cluster).await.map(|_| ());
    }
    for pod in install::pods(&case.cluster).await? {
        case.cluster.kill_pod(install::NAMESPACE, &pod.metadata.name.context("a pod has a name")?).await?;
    }
    Ok(())
}

/// The next test begins with two replicas, as this one did.
async fn two_ready(cluster: &Cluster) -> Result<()> {
    wait_until("two ready replicas and a leader", TWO_READY_LIMIT, async || {
        let ready = |pod: &k8s_openapi::api::core::v1::Pod| {
            let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions.into_iter().any(|it| it.type_ == "Ready" && it.status == "True")
        };
        let count = install::pods(cluster).await?.iter().filter(|pod| ready(pod)).count();
        let leader = install::leader(cluster).await?;
        Ok(Look::at(count == 2 && leader.is_some(), format!("{count} ready, the leader is {leader:?}")))
    })
    .await
}

async fn promoted(mut case: Case, phase: fn(&State) -> bool, replicas: usize) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(25, 5, false), (50, 5, false)];
    two_ready(&case.cluster).await?;
    case.install().await?;
    let traffic = case.steady_traffic(30).await?;
    let two = case.commit_message("two")?;
    case.wait_state(&two, "in the phase", phase).await?;
    kill(&case, replicas).await?;
    case.wait_good(&two).await?;
    case.expect_at_rest("shop").await?;
    expect_nothing_left(&case, "shop").await?;
    let release = case.release_of(&two).await?;
    expect_judged_pods(&case, &release, "shop").await?;
    expect_whole_holds(&release)?;
    expect_epochs_rose(&release)?;
    ensure_that!(case.alerts().is_empty(), "a good release raised alerts");
    expect_no_failure(traffic).await?;
    two_ready(&case.cluster).await
}

/// The end was written by another leader than the first.
fn expect_epochs_rose(release: &Release) -> Result<()> {
    let epoch = release.status.as_ref().map_or(0, |status| status.epoch);
    ensure_that!(epoch >= 2, "the release ended in epoch {epoch}");
    Ok(())
}

async fn rolling_back(mut case: Case) -> Result<()> {
    two_ready(&case.cluster).await?;
    case.install().await?;
    let before = case.pod_uids("shop").await?;
    let traffic = case.steady_traffic(30).await?;
    let bad = case.commit("bad", |tree| {
        let app = tree.app()?;
        app.message = "bad".to_owned();
        app.rolling().metrics = vec![metric("bad", "vector(1)")];
        Ok(())
    })?;
    case.wait_state(&bad, "on its way back", |state| matches!(state, State::RollingBack { .. })).await?;
    kill(&case, 1).await?;
    case.wait_rolled_back(&bad).await?;
    case.expect_at_rest("shop").await?;
    expect_nothing_left(&case, "shop").await?;
    ensure_that!(case.pod_uids("shop").await? == before, "the stable pods are others");
    case.wait_alert("RolledBack").await?;
    expect_one_id(&case, "RolledBack")?;
    expect_no_failure(traffic).await?;
    two_ready(&case.cluster).await
}

/// Delivered at least once, under one id.
fn expect_one_id(case: &Case, kind: &str) -> Result<()> {
    let alerts = case.alerts();
    let ids: BTreeSet<&str> = alerts.iter().filter(|alert| alert.text("/kind") == kind).map(|alert| alert.text("/id")).collect();
    ensure_that!(ids.len() == 1, "alerts {kind} have the ids {ids:?}");
    Ok(())
}

async fn waiting(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(25, 1, true)];
    two_ready(&case.cluster).await?;
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_alert("WaitingForApproval").await?;
    kill(&case, 1).await?;
    two_ready(&case.cluster).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    expect_one_id(&case, "WaitingForApproval")?;
    people::command(&case, "shop", "promote", &two)?;
    case.wait_good(&two).await?;
    let taken = people::answered(&case, "promote", true, "step 1").await?;
    ensure_that!(taken["by"].as_str().is_some_and(|by| by.starts_with("user ")), "the record does not name the user: {taken}");
    case.expect_at_rest("shop").await?;
    two_ready(&case.cluster).await
}
