//! Bad commits take themselves back.

use anyhow::{Context, Result};
use serde_json::Value;
use sluice_tests::app::metric;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, number_at, text_at};
use sluice_tests::git::AUTHOR;
use sluice_tests::weights::RouteWatch;

use crate::support::release::{cause, expect_nothing_left, has_been, restarts, status, workload};
use crate::support::traffic::{all as tally_of, expect_no_failure};
use crate::support::{Test, ensure_that, people, say, test};

/// What podinfo's random errors are.
const PODINFO_ERRORS: [&str; 3] = ["HTTP 400", "HTTP 409", "HTTP 500"];

pub fn all() -> Vec<Test> {
    vec![
        test("a commit with bad answers at 5 % goes back by itself with everything of it", bad_metric),
        test("a crash loop goes back before any request reached it", crash_loop),
        test("an image that cannot be pulled goes back before any request reached it", no_image),
        test("a fix after a bad commit is promoted", bad_then_good),
        test("bad content stays quarantined under another commit, and a retry lifts that once", quarantine),
        test("a canary that never becomes ready goes back at its deadline", deadline),
    ]
}

async fn bad_metric(mut case: Case) -> Result<()> {
    let app = case.tree.app()?;
    app.judge_errors();
    app.rolling().steps = vec![(5, 20, false), (50, 2, false)];
    let one = case.install().await?;
    let traffic = case.steady_traffic(40).await?;
    let (before, restarts_before) = (workload(&case, "shop").await?, restarts(&case, "shop").await?);
    let watch = RouteWatch::start(&case.cluster, &case.namespace, "shop");
    let began = chrono::Utc::now();
    let bad = case.commit("bad", |tree| {
        tree.config_map("brand-new", "of the bad commit");
        let app = tree.app()?;
        app.fail_a_third();
        app.message = "bad".to_owned();
        Ok(())
    })?;
    let release = case.wait_rolled_back(&bad).await?;
    case.expect_at_rest("shop").await?;
    let found = status(&release)?.cause.clone().context("there is no cause")?;
    ensure_that!(found.kind == "MetricFailed" && found.metric.as_deref() == Some("errors"), "the cause is {found:?}");
    ensure_that!(found.weight_percent == 5 && found.step == Some(0), "it went back at another step: {found:?}");
    ensure_that!(workload(&case, "shop").await? == before, "the Deployment or its config is not as before");
    ensure_that!(restarts(&case, "shop").await? == restarts_before, "the stable pods are others, or restarted");
    let left = case.cluster.get(Kind::ConfigMap, &case.namespace, "brand-new").await?;
    ensure_that!(left.is_none(), "the new object of the commit is still there");
    let sync = case.sync().await?.status.unwrap_or_default();
    ensure_that!(sync.good.is_some_and(|good| good.sha == one), "another revision is good");
    ensure_that!(sync.quarantine.iter().any(|entry| entry.sha == bad), "the commit is not quarantined");
    let alert = case.wait_alert("RolledBack").await?;
    let says = [("/revision/sha", bad.as_str()), ("/revision/author", AUTHOR), ("/metric", "errors"), ("/step", "1/3")];
    for (pointer, expected) in says {
        ensure_that!(
            alert.text(pointer).contains(expected),
            "the alert has {:?} at {pointer}: {}",
            alert.text(pointer),
            alert.body
        );
    }
    ensure_that!(alert.body["value"].as_f64().is_some_and(|value| value > 0.05), "the alert has no value: {}", alert.body);
    ensure_that!(alert.text("/bound").contains("0.05"), "the alert has no bound: {}", alert.body);
    let tally = tally_of(&*traffic.stop().await?);
    let first_bad = tally.first_error_at.context("no client saw a bad answer")?;
    let away = watch.first(first_bad, |shares| shares.beside("shop") == 0).context("the weight never fell to 0")?;
    ensure_that!(watch.since(began).iter().all(|shares| shares.beside("shop") <= 50), "the canary had more than 5 %");
    say(
        &case,
        &format!("first bad answer to weight 0: {:.2} s, {} bad answers", (away - first_bad).as_seconds_f64(), tally.bad()),
    );
    let own = |error: &String| PODINFO_ERRORS.contains(&error.as_str());
    ensure_that!(tally.errors.keys().all(own), "clients saw other errors than the version's own: {tally}");
    Ok(())
}

/// A commit that goes back on what its pods show, before any request.
async fn expect_back_without_traffic(mut case: Case, change: fn(&mut sluice_tests::app::App), kind: &str) -> Result<()> {
    case.install().await?;
    let traffic = case.steady_traffic(20).await?;
    let (before, restarts_before) = (workload(&case, "shop").await?, restarts(&case, "shop").await?);
    let watch = RouteWatch::start(&case.cluster, &case.namespace, "shop");
    let began = chrono::Utc::now();
    let bad = case.commit("bad", |tree| {
        change(tree.app()?);
        tree.app()?.message = "bad".to_owned();
        Ok(())
    })?;
    let release = case.wait_rolled_back(&bad).await?;
    ensure_that!(cause(&release) == kind, "the cause is {:?}", status(&release)?.cause);
    case.expect_at_rest("shop").await?;
    ensure_that!(workload(&case, "shop").await? == before, "the Deployment or its config is not as before");
    ensure_that!(restarts(&case, "shop").await? == restarts_before, "the stable pods are others, or restarted");
    ensure_that!(watch.since(began).iter().all(|shares| shares.beside("shop") == 0), "the canary had traffic");
    case.wait_alert("RolledBack").await?;
    let record = expect_no_failure(traffic).await?;
    ensure_that!(tally_of(&record).of("bad") == 0, "the canary answered requests");
    Ok(())
}

async fn crash_loop(case: Case) -> Result<()> {
    expect_back_without_traffic(case, sluice_tests::app::App::crash, "CrashLoop").await
}

async fn no_image(case: Case) -> Result<()> {
    expect_back_without_traffic(case, |app| app.image = "registry.local/there-is-none:1".to_owned(), "ImagePullFailed").await
}

async fn bad_then_good(mut case: Case) -> Result<()> {
    case.install().await?;
    let bad = case.commit("bad", |tree| {
        tree.app()?.crash();
        Ok(())
    })?;
    case.wait_rolled_back(&bad).await?;
    let fix = case.commit("fix", |tree| {
        let app = tree.app()?;
        app.args.clear();
        app.message = "fixed".to_owned();
        Ok(())
    })?;
    case.wait_good(&fix).await?;
    case.expect_at_rest("shop").await?;
    let sync = case.sync().await?.status.unwrap_or_default();
    ensure_that!(sync.refused.is_none(), "something is still refused: {:?}", sync.refused);
    ensure_that!(sync.quarantine.iter().any(|entry| entry.sha == bad), "the bad commit is not quarantined any more");
    Ok(())
}

async fn quarantine(mut case: Case) -> Result<()> {
    case.install().await?;
    let bad = case.commit("bad", |tree| {
        tree.app()?.crash();
        Ok(())
    })?;
    case.wait_rolled_back(&bad).await?;
    let number = case.release().await?.spec.number;
    let again = case.push("the same once more")?;
    let message = case.wait_refused("Quarantined").await?;
    ensure_that!(message.contains("sluice.dev/retry="), "the refusal does not say how to retry: {message}");
    case.wait("the refusal to name the new commit", async || {
        let refused = case.sync().await?.status.unwrap_or_default().refused;
        let names = refused.as_ref().is_some_and(|refused| refused.sha == again);
        Ok(sluice_tests::wait::Look::at(names, format!("{refused:?}")))
    })
    .await?;
    ensure_that!(case.release().await?.spec.number == number, "the same content was tried again by itself");
    people::command_sync(&case, "retry", &bad)?;
    let release = case.wait_rolled_back(&again).await?;
    ensure_that!(release.spec.number == number + 1, "the retry made {} releases", release.spec.number - number);
    case.wait_refused("Quarantined").await?;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    ensure_that!(case.release().await?.spec.number == number + 1, "the retry lifted the quarantine more than once");
    case.expect_at_rest("shop").await
}

async fn deadline(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().progress_deadline_s = 6;
    case.install().await?;
    let bad = case.commit("never ready", |tree| {
        let app = tree.app()?;
        // it listens on another port than the one that is probed
        app.args = vec!["--port=9899".to_owned()];
        app.rolling().metrics = vec![metric("fine", "vector(0)")];
        Ok(())
    })?;
    let release = case.wait_rolled_back(&bad).await?;
    ensure_that!(cause(&release) == "ProgressDeadlineExceeded", "the cause is {:?}", status(&release)?.cause);
    ensure_that!(!has_been(&release, "Judging"), "it was judged though it never was ready");
    case.expect_at_rest("shop").await?;
    expect_nothing_left(&case, "shop").await?;
    let deployment: Value = case.object(Kind::Deployment, "shop").await?;
    ensure_that!(number_at(&deployment, "/status/readyReplicas") == 2, "stable has {}", text_at(&deployment, "/status"));
    Ok(())
}
