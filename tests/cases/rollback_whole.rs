//! The commit is the unit: what else is in it goes back with the part that failed.

use anyhow::Result;
use serde_json::json;
use sluice_crds::release::State;
use sluice_tests::app::metric;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, number_at, text_at};
use sluice_tests::wait::{Look, stays_so};

use crate::promotion::add_second_app;
use crate::support::release::{cause, expect_nothing_left, has_been, restarts, status, workload};
use crate::support::traffic::{all as tally_of, expect_no_failure};
use crate::support::{Test, ensure_that, people, test};

pub fn all() -> Vec<Test> {
    vec![
        test("two Rollouts of one commit go back together when one of them fails", two_back),
        test("a Deployment without a Rollout that fails its progress deadline takes the commit back", plain_deployment),
        test("a first install that never becomes ready holds and alerts, and a fix heals it", first_install),
        test("with onFailure Hold the traffic goes back and the rest waits for a person", on_failure_hold),
    ]
}

async fn two_back(mut case: Case) -> Result<()> {
    add_second_app(&mut case);
    case.install().await?;
    let before = (workload(&case, "shop").await?, workload(&case, "cart").await?);
    let pods = (case.pod_uids("shop").await?, case.pod_uids("cart").await?);
    let bad = case.commit("both, and cart is bad", |tree| {
        tree.apps.iter_mut().for_each(|app| app.message = "two".to_owned());
        if let Some(cart) = tree.apps.get_mut(1) {
            cart.rolling().metrics = vec![metric("bad", "vector(1)")];
        }
        tree.config_map("shared", "of the bad commit");
        Ok(())
    })?;
    let release = case.wait_rolled_back(&bad).await?;
    let found = status(&release)?.cause.clone();
    ensure_that!(found.as_ref().is_some_and(|cause| cause.rollout.as_deref() == Some("cart")), "the cause is {found:?}");
    for app in ["shop", "cart"] {
        case.expect_at_rest(app).await?;
        expect_nothing_left(&case, app).await?;
    }
    let after = (workload(&case, "shop").await?, workload(&case, "cart").await?);
    ensure_that!(after == before, "not both Deployments and their config are as before");
    ensure_that!((case.pod_uids("shop").await?, case.pod_uids("cart").await?) == pods, "stable pods changed");
    ensure_that!(
        case.cluster.get(Kind::ConfigMap, &case.namespace, "shared").await?.is_none(),
        "the commit's new object is still there"
    );
    let alerts = case.alerts().len();
    case.wait_alert("RolledBack").await?;
    ensure_that!(alerts <= 1, "one failed commit raised {alerts} alerts");
    Ok(())
}

async fn plain_deployment(mut case: Case) -> Result<()> {
    let app = case.tree.app()?;
    app.rollout = None;
    app.progress_deadline_s = 5;
    case.tree.config_map("beside", "one");
    let one = case.install().await?;
    let traffic = case.steady_traffic(20).await?;
    let before = restarts(&case, "shop").await?;
    let bad = case.commit("bad", |tree| {
        tree.app()?.crash();
        tree.config_map("beside", "two");
        Ok(())
    })?;
    let release = case.wait_rolled_back(&bad).await?;
    ensure_that!(["ObjectFailed", "CrashLoop"].contains(&cause(&release)), "the cause is {:?}", status(&release)?.cause);
    case.wait("the good pods alone", async || {
        let now = restarts(&case, "shop").await?;
        Ok(Look::at(now == before, format!("{now:?} instead of {before:?}")))
    })
    .await?;
    let beside = case.object(Kind::ConfigMap, "beside").await?;
    ensure_that!(text_at(&beside, "/data/value") == "one", "another object of the commit did not go back");
    let sync = case.sync().await?.status.unwrap_or_default();
    ensure_that!(sync.good.is_some_and(|good| good.sha == one), "another revision is good");
    let tally = tally_of(&*expect_no_failure(traffic).await?);
    ensure_that!(tally.of("one") == tally.good(), "other answers were seen: {tally}");
    case.wait_alert("RolledBack").await.map(|_| ())
}

async fn first_install(mut case: Case) -> Result<()> {
    let app = case.tree.app()?;
    app.progress_deadline_s = 4;
    app.crash();
    let bad = case.push("one")?;
    case.start_sync(json!({})).await?;
    let release = case.wait_state(&bad, "holding", |state| matches!(state, State::Holding {})).await?;
    ensure_that!(status(&release)?.cause.is_some(), "it holds without a cause");
    let alert = case.wait_alert("Holding").await?;
    ensure_that!(alert.text("/revision/sha") == bad, "the alert is about something else: {}", alert.body);
    let ready = case.sync().await?.status.unwrap_or_default().conditions;
    ensure_that!(ready.iter().any(|it| it.kind == "Ready" && it.status == "False"), "the GitSync says it is ready: {ready:?}");
    let fix = case.commit("fix", |tree| {
        tree.app()?.args.clear();
        Ok(())
    })?;
    case.wait_good(&fix).await?;
    let deployment = case.object(Kind::Deployment, "shop").await?;
    ensure_that!(number_at(&deployment, "/status/readyReplicas") == 2, "the fix is not ready");
    ensure_that!(case.alerts().iter().filter(|alert| alert.text("/kind") == "Holding").count() == 1, "more than one alert");
    case.expect_at_rest("shop").await
}

async fn on_failure_hold(mut case: Case) -> Result<()> {
    case.tree.config_map("beside", "one");
    case.install().await?;
    case.edit_sync(json!({"onFailure": "Hold"})).await?;
    let bad = case.commit("bad", |tree| {
        let app = tree.app()?;
        app.message = "bad".to_owned();
        app.rolling().metrics = vec![metric("bad", "vector(1)")];
        tree.config_map("beside", "two");
        Ok(())
    })?;
    let release = case.wait_state(&bad, "holding", |state| matches!(state, State::Holding {})).await?;
    ensure_that!(
        cause(&release) == "MetricFailed" && has_been(&release, "Judging"),
        "the cause is {:?}",
        status(&release)?.cause
    );
    case.wait_alert("Holding").await?;
    stays_so("the hold", std::time::Duration::from_secs(2), async || {
        let share = sluice_tests::weights::canary_thousandths(&case.cluster, &case.namespace, "shop", "shop").await?;
        let beside = case.object(Kind::ConfigMap, "beside").await?;
        let holds = share == 0 && text_at(&beside, "/data/value") == "two";
        Ok(Look::at(holds, format!("{share} thousandths, {}", beside["data"])))
    })
    .await?;
    people::command_sync(&case, "abort", &bad)?;
    case.wait_rolled_back(&bad).await?;
    case.expect_at_rest("shop").await?;
    let beside = case.object(Kind::ConfigMap, "beside").await?;
    ensure_that!(text_at(&beside, "/data/value") == "one", "the rest did not go back on the abort");
    Ok(())
}
