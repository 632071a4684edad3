//! What Prometheus answers, and what comes of it.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sluice_crds::release::{Release, State};
use sluice_tests::app::{ERRORS_QUERY, metric};
use sluice_tests::case::Case;
use sluice_tests::wait::{Look, stays_so};

use crate::support::release::{cause, status};
use crate::support::{Test, ensure_that, people, test};

pub fn all() -> Vec<Test> {
    vec![
        test("a metric over its bound goes back and says value and bound", over_the_bound),
        test("an empty answer holds the step as no data", |case| held(case, "absent_in_every_cluster", "NoData")),
        test("NaN holds the step as no data", |case| held(case, "vector(0) / vector(0)", "NoData")),
        test("infinity holds the step as no data", |case| held(case, "vector(1) / vector(0)", "NoData")),
        test("a query that is no PromQL holds the step as a query error", |case| held(case, "sum(", "QueryError")),
        test("several series where one is expected hold the step as a query error", several_series),
        test("several series become one number when the metric says how", reduced),
        test("a canary without any request holds as no data, and a person lets it go on", no_traffic),
        test("a metric that is only watched decides nothing", dry_run),
        test("no data beyond its limit goes back where the plan says so", no_data_goes_back),
    ]
}

/// Installs, then pushes a second version that is judged by this metric alone.
async fn judged_by(case: &mut Case, metric: Value) -> Result<String> {
    case.install().await?;
    case.commit("judged", |tree| {
        let app = tree.app()?;
        app.message = "judged".to_owned();
        app.rolling().metrics = vec![metric];
        Ok(())
    })
}

/// Waits until a release waits for a reason; returns it.
async fn wait_for_reason(case: &Case, sha: &str, reason: &str) -> Result<Release> {
    case.wait(&format!("the release to wait for {reason}"), async || {
        let release = case.release_of(sha).await?;
        let wait = status(&release)?.wait.clone();
        Ok(match wait.as_ref().is_some_and(|wait| wait.reason == reason) {
            true => Look::Done(release),
            false => Look::NotYet(format!("{wait:?}")),
        })
    })
    .await
}

async fn over_the_bound(mut case: Case) -> Result<()> {
    let bad = judged_by(&mut case, metric("share", "vector(0.5)")).await?;
    let release = case.wait_rolled_back(&bad).await?;
    let found = status(&release)?.cause.clone().context("there is no cause")?;
    ensure_that!(found.kind == "MetricFailed" && found.value == Some(0.5), "the cause is {found:?}");
    ensure_that!(found.bound.as_deref().is_some_and(|bound| bound.contains("0.05")), "the bound is not said: {found:?}");
    ensure_that!(found.weight_percent == 25, "it went back at {} %", found.weight_percent);
    case.expect_at_rest("shop").await
}

/// The step holds for a reason, longer than its own time, at its weight; an abort ends it.
async fn held(mut case: Case, query: &str, reason: &str) -> Result<()> {
    let sha = judged_by(&mut case, metric("odd", query)).await?;
    let release = wait_for_reason(&case, &sha, reason).await?;
    let wait = status(&release)?.wait.clone().map(|wait| wait.message).unwrap_or_default();
    ensure_that!(wait.contains("odd"), "the wait does not name the metric: {wait}");
    case.wait_event(reason, "odd").await?;
    stays_so("the first step", std::time::Duration::from_secs(3), async || {
        let release = case.release_of(&sha).await?;
        let state = status(&release)?.state.clone();
        Ok(Look::at(matches!(state, State::Judging { step: 0 }), format!("{state:?}")))
    })
    .await?;
    people::command(&case, "shop", "abort", &sha)?;
    let release = case.wait_rolled_back(&sha).await?;
    ensure_that!(cause(&release) == "Aborted", "the cause is {:?}", status(&release)?.cause);
    case.expect_at_rest("shop").await
}

async fn several_series(case: Case) -> Result<()> {
    held(
        case,
        "label_replace(vector(0), \"a\", \"1\", \"\", \"\") or label_replace(vector(0), \"a\", \"2\", \"\", \"\")",
        "QueryError",
    )
    .await
}

async fn reduced(mut case: Case) -> Result<()> {
    let series = "label_replace(vector(0.03), \"a\", \"1\", \"\", \"\") or label_replace(vector(0.04), \"a\", \"2\", \"\", \"\")";
    let mut sum = metric("sum", series);
    sum["reduce"] = json!("Sum");
    let bad = judged_by(&mut case, sum).await?;
    let release = case.wait_rolled_back(&bad).await?;
    let value = status(&release)?.cause.as_ref().and_then(|cause| cause.value).unwrap_or_default();
    ensure_that!((value - 0.07).abs() < 1e-9, "the sum is {value}");
    let good = case.commit("largest", |tree| {
        let mut largest = metric("largest", series);
        largest["reduce"] = json!("Max");
        let app = tree.app()?;
        app.message = "largest".to_owned();
        app.rolling().metrics = vec![largest];
        Ok(())
    })?;
    case.wait_good(&good).await
}

async fn no_traffic(mut case: Case) -> Result<()> {
    let sha = judged_by(&mut case, metric("errors", ERRORS_QUERY)).await?;
    wait_for_reason(&case, &sha, "NoData").await?;
    people::command(&case, "shop", "promote", &sha)?;
    people::answered(&case, "promote", true, "step 1").await?;
    case.wait_judging(&sha, 1).await?;
    // the next step holds again: a promotion passes one gate
    wait_for_reason(&case, &sha, "NoData").await?;
    people::command(&case, "shop", "promote-full", &sha)?;
    case.wait_good(&sha).await?;
    case.expect_at_rest("shop").await
}

async fn dry_run(mut case: Case) -> Result<()> {
    let mut watched = metric("watched", "vector(1)");
    watched["dryRun"] = json!(true);
    let sha = judged_by(&mut case, watched).await?;
    case.wait_good(&sha).await
}

async fn no_data_goes_back(mut case: Case) -> Result<()> {
    case.install().await?;
    // the fixture's Rollout has no field for it, so this one is written out
    let mut shop = case.tree.app()?.clone();
    shop.message = "judged".to_owned();
    let mut silent = metric("silent", "absent_in_every_cluster");
    silent["noDataLimit"] = json!("3s");
    shop.rolling().metrics = vec![silent];
    let mut objects = shop.objects();
    for object in objects.iter_mut().filter(|object| object["kind"] == "Rollout") {
        object["spec"]["analysis"]["onNoData"] = json!("Rollback");
    }
    let sha = case.commit("judged", |tree| {
        tree.apps.clear();
        tree.file("shop.yaml", &sluice_tests::manifests::stream(&objects)?);
        Ok(())
    })?;
    let release = case.wait_rolled_back(&sha).await?;
    ensure_that!(cause(&release) == "MetricFailed", "the cause is {:?}", status(&release)?.cause);
    case.expect_at_rest("shop").await
}
