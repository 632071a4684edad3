//! Git or Prometheus is gone: nothing moves forward on it, and the way back needs neither.

use anyhow::Result;
use serde_json::json;
use sluice_crds::release::State;
use sluice_tests::app::metric;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::env::Env;
use sluice_tests::wait::{Look, stays_so};

use crate::support::release::{cause, has_been, status};
use crate::support::traffic::expect_no_failure;
use crate::support::{Test, alone, ensure_that, people};

pub fn all() -> Vec<Test> {
    vec![
        alone("with Prometheus gone the step holds as a query error, and goes on when it is back", prometheus_gone),
        alone("with Prometheus and Git gone an abort takes everything back", both_gone),
        alone("with Git gone a release ends, hand edits are put back, and the next commit is seen when it is back", git_gone),
    ]
}

/// Something that is stopped until this value goes.
struct Outage {
    env: Env,
    what: &'static str,
}

impl Outage {
    fn of(env: &Env, what: &'static str) -> Result<Self> {
        env.cluster_command(&["stop", what])?;
        Ok(Self { env: env.clone(), what })
    }
}

impl Drop for Outage {
    fn drop(&mut self) {
        if let Err(error) = self.env.cluster_command(&["start", self.what]) {
            eprintln!("{} cannot be started again: {error:#}", self.what);
        }
    }
}

async fn judged(case: &mut Case, steps: Vec<(i64, i64, bool)>) -> Result<String> {
    case.tree.app()?.rolling().steps = steps;
    case.install().await?;
    let two = case.commit("two", |tree| {
        let app = tree.app()?;
        app.message = "two".to_owned();
        app.rolling().metrics = vec![metric("fine", "vector(0)")];
        Ok(())
    })?;
    case.wait_judging(&two, 0).await?;
    Ok(two)
}

async fn prometheus_gone(mut case: Case) -> Result<()> {
    let two = judged(&mut case, vec![(25, 8, false)]).await?;
    let outage = Outage::of(&case.env, "prometheus")?;
    case.wait_event("QueryError", "fine").await?;
    let held = status(&case.release_of(&two).await?)?.held.ms;
    stays_so("the step", std::time::Duration::from_secs(12), async || {
        let release = case.release_of(&two).await?;
        let (state, now) = (status(&release)?.state.clone(), status(&release)?.held.ms);
        // what was under way when the outage was found may still count
        let holds = matches!(state, State::Judging { step: 0 }) && now <= held + 1000;
        Ok(Look::at(holds, format!("{state:?}, {now} ms held of {held} before")))
    })
    .await?;
    drop(outage);
    case.wait_good(&two).await?;
    case.expect_at_rest("shop").await
}

async fn both_gone(mut case: Case) -> Result<()> {
    case.tree.config_map("beside", "one");
    let two = judged(&mut case, vec![(25, 60, false)]).await?;
    let traffic = case.steady_traffic(20).await?;
    let _outages = (Outage::of(&case.env, "prometheus")?, Outage::of(&case.env, "git")?);
    people::command(&case, "shop", "abort", &two)?;
    let release = case.wait_rolled_back(&two).await?;
    ensure_that!(cause(&release) == "Aborted", "the cause is {:?}", status(&release)?.cause);
    case.expect_at_rest("shop").await?;
    case.wait_alert("RolledBack").await?;
    expect_no_failure(traffic).await.map(|_| ())
}

async fn git_gone(mut case: Case) -> Result<()> {
    let two = judged(&mut case, vec![(25, 4, false)]).await?;
    let outage = Outage::of(&case.env, "git")?;
    case.wait("the release to end", async || {
        let release = case.release_of(&two).await?;
        Ok(Look::at(has_been(&release, "Promoted"), status(&release)?.phase.clone()))
    })
    .await?;
    case.expect_at_rest("shop").await?;
    case.wait_event("ConnectFailed", "git").await?;
    case.cluster.edit(Kind::ConfigMap, &case.namespace, "shop", &json!({"data": {"message": "by hand"}})).await?;
    case.wait("the hand edit to be put back", async || {
        let config = case.object(Kind::ConfigMap, "shop").await?;
        Ok(Look::at(text_at(&config, "/data/message") == "two", config["data"].to_string()))
    })
    .await?;
    drop(outage);
    let three = case.commit_message("three")?;
    case.wait_good(&three).await?;
    let refused = case.sync().await?.status.unwrap_or_default().refused;
    ensure_that!(refused.is_none(), "it is still refused: {refused:?}");
    Ok(())
}
