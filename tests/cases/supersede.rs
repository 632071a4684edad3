//! Git moves on while a release is in motion.

use anyhow::Result;
use sluice_crds::release::State;
use sluice_tests::case::Case;
use sluice_tests::weights::RouteWatch;

use crate::support::release::{cause, expect_judged_pods, has_been, status};
use crate::support::traffic::{all as tally_of, expect_no_failure};
use crate::support::{Test, ensure_that, say, test};

pub fn all() -> Vec<Test> {
    vec![
        test("a commit that reverts the one on trial is an immediate abort without quarantine", revert),
        test("a newer commit supersedes the one on trial by way of the stable pods", supersede),
        test("a newer commit fixes one that holds for no data", supersede_held),
    ]
}

async fn revert(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 60, false)];
    case.install().await?;
    let traffic = case.steady_traffic(30).await?;
    let before = case.pod_uids("shop").await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    let back = case.commit_message("one")?;
    let pushed = chrono::Utc::now();
    let release = case.wait_state(&two, "superseded", |state| matches!(state, State::Superseded {})).await?;
    ensure_that!(cause(&release) == "Reverted", "the cause is {:?}", status(&release)?.cause);
    case.wait_good(&back).await?;
    case.expect_at_rest("shop").await?;
    ensure_that!(case.pod_uids("shop").await? == before, "the stable pods are others");
    let sync = case.sync().await?.status.unwrap_or_default();
    ensure_that!(sync.quarantine.is_empty(), "a reverted commit is quarantined: {:?}", sync.quarantine);
    ensure_that!(sync.release == release.spec.number, "the revert started a release of its own");
    ensure_that!(case.alerts().is_empty(), "a revert raised an alert");
    let record = expect_no_failure(traffic).await?;
    let last = record.seen("two").map(|(_, last)| last);
    if let Some(last) = last {
        say(&case, &format!("the reverted version answered last {:.2} s after the push", (last - pushed).as_seconds_f64()));
    }
    Ok(())
}

async fn supersede(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 30, false)];
    case.install().await?;
    let traffic = case.steady_traffic(30).await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    let watch = RouteWatch::start(&case.cluster, &case.namespace, "shop");
    let began = chrono::Utc::now();
    let three = case.commit("three", |tree| {
        let app = tree.app()?;
        app.message = "three".to_owned();
        app.rolling().steps = vec![(25, 2, false)];
        Ok(())
    })?;
    let release = case.wait_state(&two, "superseded", |state| matches!(state, State::Superseded {})).await?;
    ensure_that!(cause(&release) == "Superseded", "the cause is {:?}", status(&release)?.cause);
    case.wait_good(&three).await?;
    case.expect_at_rest("shop").await?;
    let next = case.release_of(&three).await?;
    expect_judged_pods(&case, &next, "shop").await?;
    // between the two, all requests went to the stable pods
    let shares: Vec<u64> = watch.since(began).iter().map(|shares| shares.beside("shop")).collect();
    let at_half = shares.iter().position(|share| *share == 500);
    let back = shares.iter().skip(at_half.unwrap_or(0)).position(|share| *share == 0);
    ensure_that!(back.is_some(), "the traffic did not go back to stable before the next release: {shares:?}");
    let sync = case.sync().await?.status.unwrap_or_default();
    ensure_that!(sync.quarantine.is_empty(), "a superseded commit is quarantined");
    let tally = tally_of(&*expect_no_failure(traffic).await?);
    ensure_that!(tally.of("two") > 0 && tally.of("three") > 0, "not all versions were seen: {tally}");
    Ok(())
}

async fn supersede_held(mut case: Case) -> Result<()> {
    case.install().await?;
    let two = case.commit("two", |tree| {
        let app = tree.app()?;
        app.message = "two".to_owned();
        app.rolling().metrics = vec![sluice_tests::app::metric("silent", "absent_in_every_cluster")];
        Ok(())
    })?;
    case.wait_event("NoData", "silent").await?;
    let three = case.commit("three", |tree| {
        tree.app()?.rolling().metrics.clear();
        Ok(())
    })?;
    case.wait_good(&three).await?;
    let release = case.release_of(&three).await?;
    ensure_that!(has_been(&release, "Promoted"), "it was not promoted");
    ensure_that!(release.spec.number > case.release_of(&two).await?.spec.number, "another plan joined the running release");
    case.expect_at_rest("shop").await
}
