//! An autoscaler owns the number of pods, in the middle of everything.

use anyhow::Result;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, number_at};
use sluice_tests::wait::{Look, wait_until};

use crate::support::release::{expect_judged_pods, pods, wait_handing_over};
use crate::support::traffic::expect_no_failure;
use crate::support::{Test, ensure_that, people, test};

/// How often the number of replicas is looked at.
const WATCH: std::time::Duration = std::time::Duration::from_secs(60);

pub fn all() -> Vec<Test> {
    vec![
        test("an autoscaler that scales in the middle of a step keeps its number", mid_step),
        test("an autoscaler that scales during the handover keeps its number", during_handover),
        test("a commit that raises the autoscaler's least number takes effect and replicas never fall", raised_minimum),
        test("a commit that leaves the number of replicas to an autoscaler does not scale to one", given_up),
    ]
}

/// Watches that the Deployment never wants fewer than `least` until the commit is good.
async fn good_and_never_below(case: &Case, sha: &str, least: i64) -> Result<()> {
    wait_until("the commit to be good", WATCH, async || {
        let deployment = case.object(Kind::Deployment, "shop").await?;
        let wanted = number_at(&deployment, "/spec/replicas");
        if wanted < least {
            return Ok(Look::Done(Err(anyhow::anyhow!("the Deployment wanted {wanted} replicas, the autoscaler said {least}"))));
        }
        let good = case.sync().await?.status.unwrap_or_default().good;
        Ok(match good.is_some_and(|good| good.sha == sha) {
            true => Look::Done(Ok(())),
            false => Look::NotYet("it is not".to_owned()),
        })
    })
    .await??;
    case.wait_good(sha).await
}

async fn expect_pods(case: &Case, count: usize) -> Result<()> {
    case.wait(&format!("{count} pods"), async || {
        let now = pods(case, "shop").await?.len();
        Ok(Look::at(now == count, format!("{now}")))
    })
    .await
}

async fn install_scaled(case: &mut Case, steps: Vec<(i64, i64, bool)>) -> Result<()> {
    let app = case.tree.app()?;
    app.autoscaler = Some((2, 6));
    app.rolling().steps = steps;
    case.install().await?;
    expect_pods(case, 2).await
}

async fn mid_step(mut case: Case) -> Result<()> {
    install_scaled(&mut case, vec![(50, 6, false)]).await?;
    let traffic = case.steady_traffic(20).await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    people::scale(&case, "shop", 4)?;
    good_and_never_below(&case, &two, 4).await?;
    expect_pods(&case, 4).await?;
    expect_judged_pods(&case, &case.release_of(&two).await?, "shop").await?;
    case.expect_at_rest("shop").await?;
    expect_no_failure(traffic).await.map(|_| ())
}

async fn during_handover(mut case: Case) -> Result<()> {
    install_scaled(&mut case, vec![(50, 1, false)]).await?;
    let traffic = case.steady_traffic(20).await?;
    let two = case.commit_message("two")?;
    wait_handing_over(&case, &two).await?;
    people::scale(&case, "shop", 4)?;
    good_and_never_below(&case, &two, 4).await?;
    expect_pods(&case, 4).await?;
    case.expect_at_rest("shop").await?;
    expect_no_failure(traffic).await.map(|_| ())
}

async fn raised_minimum(mut case: Case) -> Result<()> {
    install_scaled(&mut case, vec![(50, 4, false)]).await?;
    let two = case.commit_message("two")?;
    case.wait_judging(&two, 0).await?;
    let three = case.commit("more at least", |tree| {
        tree.app()?.autoscaler = Some((3, 6));
        Ok(())
    })?;
    good_and_never_below(&case, &three, 2).await?;
    expect_pods(&case, 3).await?;
    ensure_that!(
        case.release_of(&two).await?.spec.number == case.release_of(&three).await?.spec.number,
        "it did not join the release"
    );
    case.expect_at_rest("shop").await
}

async fn given_up(mut case: Case) -> Result<()> {
    case.tree.app()?.replicas = 3;
    case.install().await?;
    let two = case.commit("an autoscaler", |tree| {
        tree.app()?.autoscaler = Some((2, 6));
        Ok(())
    })?;
    good_and_never_below(&case, &two, 2).await?;
    let count = pods(&case, "shop").await?.len();
    ensure_that!(count == 3, "{count} pods after the number was left to the autoscaler, 3 before");
    Ok(())
}
