//! The Rollout or the GitSync is deleted, in each phase: stable serves, and nothing of ours is left behind.

use anyhow::Result;
use sluice_crds::release::State;
use sluice_tests::case::{Case, SYNC};
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::install;
use sluice_tests::traffic::Traffic;
use sluice_tests::wait::Look;

use crate::support::release::{cause, expect_nothing_left, status, wait_handing_over};
use crate::support::traffic::expect_no_failure;
use crate::support::{Test, ensure_that, test};

pub fn all() -> Vec<Test> {
    vec![
        test("a GitSync deleted at rest leaves the application as it runs, and no snapshot", sync_at_rest),
        test("a GitSync deleted while a step is judged goes back first", sync_judging),
        test("a GitSync deleted during the handover leaves a whole application", sync_handing_over),
        test("a Rollout deleted at rest comes back and no pod changes", rollout_at_rest),
        test("a Rollout deleted while a step is judged takes the release back", rollout_judging),
        test("a Rollout deleted during the handover leaves a whole application", rollout_handing_over),
        test("a namespace deleted in the middle of a release goes", namespace_in_motion),
    ]
}

async fn start(case: &mut Case) -> Result<Traffic> {
    case.tree.app()?.rolling().steps = vec![(50, 3, false)];
    case.install().await?;
    case.steady_traffic(20).await
}

/// The GitSync is gone, the application is whole, and nothing of a release is left.
async fn expect_gone(case: &Case, sync_uid: &str, traffic: Traffic) -> Result<()> {
    case.wait("the GitSync to go", async || {
        let sync = case.cluster.get(Kind::GitSync, &case.namespace, SYNC).await?;
        Ok(Look::at(sync.is_none(), format!("{:?}", sync.map(|sync| sync["metadata"]["finalizers"].clone()))))
    })
    .await?;
    case.expect_at_rest("shop").await?;
    expect_nothing_left(case, "shop").await?;
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    expect_no_failure(traffic).await?;
    case.wait("the snapshots to go", async || {
        let left = snapshots(case, sync_uid).await?;
        Ok(Look::at(left.is_empty(), format!("{left:?}")))
    })
    .await
}

/// Snapshots of a GitSync.
async fn snapshots(case: &Case, sync_uid: &str) -> Result<Vec<String>> {
    let secrets = case.cluster.list(Kind::Secret, install::NAMESPACE, &format!("sluice.dev/snapshot-of={sync_uid}")).await?;
    Ok(secrets.iter().map(|secret| text_at(secret, "/metadata/name").to_owned()).collect())
}

async fn sync_at_rest(mut case: Case) -> Result<()> {
    let traffic = start(&mut case).await?;
    let sync = uid(&case, Kind::GitSync, SYNC).await?;
    let before = case.pod_uids("shop").await?;
    ensure_that!(!snapshots(&case, &sync).await?.is_empty(), "there are no snapshots to be collected");
    case.cluster.delete(Kind::GitSync, &case.namespace, SYNC).await?;
    expect_gone(&case, &sync, traffic).await?;
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    ensure_that!(case.cluster.get(Kind::Rollout, &case.namespace, "shop").await?.is_some(), "the Rollout went with the GitSync");
    Ok(())
}

async fn sync_judging(mut case: Case) -> Result<()> {
    let traffic = start(&mut case).await?;
    let sync = uid(&case, Kind::GitSync, SYNC).await?;
    let before = case.pod_uids("shop").await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    case.cluster.delete(Kind::GitSync, &case.namespace, SYNC).await?;
    expect_gone(&case, &sync, traffic).await?;
    ensure_that!(case.pod_uids("shop").await? == before, "the stable pods are others");
    Ok(())
}

async fn sync_handing_over(mut case: Case) -> Result<()> {
    let traffic = start(&mut case).await?;
    let sync = uid(&case, Kind::GitSync, SYNC).await?;
    let two = case.commit_message("two")?;
    wait_handing_over(&case, &two).await?;
    case.cluster.delete(Kind::GitSync, &case.namespace, SYNC).await?;
    expect_gone(&case, &sync, traffic).await
}

async fn rollout_at_rest(mut case: Case) -> Result<()> {
    let traffic = start(&mut case).await?;
    let (before, uid) = (case.pod_uids("shop").await?, uid(&case, Kind::Rollout, "shop").await?);
    case.cluster.delete(Kind::Rollout, &case.namespace, "shop").await?;
    expect_new_rollout(&case, &uid).await?;
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    expect_no_failure(traffic).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    case.expect_at_rest("shop").await
}

async fn rollout_judging(mut case: Case) -> Result<()> {
    let traffic = start(&mut case).await?;
    let (before, uid) = (case.pod_uids("shop").await?, uid(&case, Kind::Rollout, "shop").await?);
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    case.cluster.delete(Kind::Rollout, &case.namespace, "shop").await?;
    let release = case.wait_rolled_back(&two).await?;
    ensure_that!(cause(&release) == "RolloutDeleted", "the cause is {:?}", status(&release)?.cause);
    expect_new_rollout(&case, &uid).await?;
    case.expect_at_rest("shop").await?;
    expect_nothing_left(&case, "shop").await?;
    ensure_that!(case.pod_uids("shop").await? == before, "the stable pods are others");
    expect_no_failure(traffic).await?;
    ensure_that!(case.release().await?.spec.number == release.spec.number, "the same commit was tried again by itself");
    let three = case.commit_message("three")?;
    case.wait_good(&three).await
}

async fn rollout_handing_over(mut case: Case) -> Result<()> {
    let traffic = start(&mut case).await?;
    let uid = uid(&case, Kind::Rollout, "shop").await?;
    let two = case.commit_message("two")?;
    wait_handing_over(&case, &two).await?;
    case.cluster.delete(Kind::Rollout, &case.namespace, "shop").await?;
    case.wait_state(&two, "at an end", |state| matches!(state, State::Promoted {} | State::RolledBack {})).await?;
    expect_new_rollout(&case, &uid).await?;
    case.expect_at_rest("shop").await?;
    expect_nothing_left(&case, "shop").await?;
    expect_no_failure(traffic).await.map(|_| ())
}

async fn uid(case: &Case, kind: Kind, name: &str) -> Result<String> {
    Ok(text_at(&case.object(kind, name).await?, "/metadata/uid").to_owned())
}

/// Git still has the Rollout, so it comes back as another object.
async fn expect_new_rollout(case: &Case, old_uid: &str) -> Result<()> {
    case.wait("the Rollout to come back", async || {
        let now = uid(case, Kind::Rollout, "shop").await?;
        Ok(Look::at(!now.is_empty() && now != old_uid, "it is the old one"))
    })
    .await
}

async fn namespace_in_motion(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 60, false)];
    case.install().await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    case.cluster.delete_namespace(&case.namespace).await?;
    case.wait("the namespace to go", async || Ok(Look::at(!case.cluster.has_namespace(&case.namespace).await?, "it is there")))
        .await
}
