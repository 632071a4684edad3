//! Good commits: by steps, with the pods that were judged, without a lost request.

use anyhow::{Context, Result};
use sluice_crds::release::State;
use sluice_tests::app::App;
use sluice_tests::case::Case;
use sluice_tests::cluster::{Kind, text_at};
use sluice_tests::wait::Look;
use sluice_tests::weights::RouteWatch;

use crate::support::release::{expect_judged_pods, has_been, pods, status, workload};
use crate::support::traffic::{expect_no_failure, expect_only};
use crate::support::{Test, ensure_that, people, test};

pub fn all() -> Vec<Test> {
    vec![
        test(
            "a good commit goes through its steps and is promoted with the judged pods and without a failed request",
            good_commit,
        ),
        test("a commit that changes only config goes through the steps while stable pods keep the old one", config_only),
        test("going back and forth between two versions hands over the right pods each time", back_and_forth),
        test("a commit that changes no workload is applied without steps and touches no pod", no_workload),
        test("a change of the number of replicas joins the running release and is there after it", absorbed),
        test("two Rollouts of one commit move together", two_together),
    ]
}

async fn good_commit(mut case: Case) -> Result<()> {
    case.install().await?;
    let traffic = case.steady_traffic(30).await?;
    let watch = RouteWatch::start(&case.cluster, &case.namespace, "shop");
    let began = chrono::Utc::now();
    let two = case.commit_message("two")?;
    case.wait_good(&two).await?;
    let promoted = chrono::Utc::now();
    case.expect_at_rest("shop").await?;
    let release = case.release_of(&two).await?;
    ensure_that!(matches!(status(&release)?.state, State::Promoted {}), "the release is {:?}", status(&release)?.state);
    expect_judged_pods(&case, &release, "shop").await?;
    ensure_that!(pods(&case, "shop").await?.len() == 2, "there are other pods beside the judged ones");
    let shares: Vec<u64> = watch.since(began).iter().map(|shares| shares.beside("shop")).collect();
    for weight in [250, 500, 1000] {
        ensure_that!(shares.contains(&weight), "the route never gave {weight} thousandths to the canary: {shares:?}");
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let record = expect_no_failure(traffic).await?;
    expect_only(&record, "two", promoted)
}

async fn config_only(mut case: Case) -> Result<()> {
    // the app's answer comes from its ConfigMap, and nothing else changes
    case.tree.app()?.rolling().steps = vec![(50, 1, true)];
    case.install().await?;
    let before = workload(&case, "shop").await?;
    let two = case.commit_message("two")?;
    case.wait_event("WaitingForApproval", "50 %").await?;
    let now = workload(&case, "shop").await?;
    ensure_that!(now == before, "the stable Deployment or its config changed in the middle of the release: {now}");
    // a stable pod that starts again in the middle of it must read the old config
    let hash = status(&case.release_of(&two).await?)?.rollouts.first().map(|progress| progress.stable_hash.clone());
    let hash = hash.context("the release has no rollout")?;
    let stable = case.cluster.pods(&case.namespace, &format!("pod-template-hash={hash}")).await?;
    let old = stable.first().and_then(|pod| pod.metadata.name.clone()).context("there is no stable pod")?;
    case.cluster.kill_pod(&case.namespace, &old).await?;
    case.wait("a new stable pod that answers as the old ones", async || {
        let traffic = case.steady_traffic(20).await?;
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let answers = traffic.stop().await?.pods_since(chrono::DateTime::UNIX_EPOCH);
        let is_new = |name: &String| stable.iter().all(|pod| pod.metadata.name.as_ref() != Some(name));
        let found = answers.iter().find(|(name, _)| name.starts_with(&format!("shop-{hash}-")) && is_new(name));
        Ok(match found {
            Some((_, version)) => Look::Done(version.clone()),
            None => Look::NotYet(format!("{answers:?}")),
        })
    })
    .await
    .and_then(|version| {
        ensure_that!(version == "one", "a stable pod that started in the middle of the release answers {version}");
        Ok(())
    })?;
    people::command(&case, "shop", "promote", &two)?;
    case.wait_good(&two).await?;
    let config = case.object(Kind::ConfigMap, "shop").await?;
    ensure_that!(text_at(&config, "/data/message") == "two", "the ConfigMap is not as in Git after the promotion");
    case.expect_at_rest("shop").await
}

async fn back_and_forth(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 1, false)];
    case.install().await?;
    let traffic = case.steady_traffic(30).await?;
    for message in ["two", "one", "two"] {
        let sha = case.commit_message(message)?;
        case.wait_good(&sha).await?;
        let promoted = chrono::Utc::now();
        let release = case.release_of(&sha).await?;
        ensure_that!(has_been(&release, "Judging"), "the release of {message} was not judged");
        expect_judged_pods(&case, &release, "shop").await?;
        case.expect_at_rest("shop").await?;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        expect_only(traffic.record(), message, promoted)?;
    }
    expect_no_failure(traffic).await.map(|_| ())
}

async fn no_workload(mut case: Case) -> Result<()> {
    case.install().await?;
    let before = case.pod_uids("shop").await?;
    let two = case.commit("a flag", |tree| {
        tree.config_map("flags", "on");
        Ok(())
    })?;
    case.wait_good(&two).await?;
    let release = case.release_of(&two).await?;
    ensure_that!(release.spec.rollouts.is_empty(), "a release without a changed workload has steps");
    ensure_that!(case.pod_uids("shop").await? == before, "pods changed");
    let flags = case.object(Kind::ConfigMap, "flags").await?;
    ensure_that!(text_at(&flags, "/data/value") == "on", "the new ConfigMap is not as in Git");
    Ok(())
}

async fn absorbed(mut case: Case) -> Result<()> {
    case.tree.app()?.rolling().steps = vec![(50, 6, false)];
    case.install().await?;
    let two = case.commit_message("two")?;
    let judged = case.wait_judging(&two, 0).await?;
    let three = case.commit("more pods", |tree| {
        tree.app()?.replicas = 3;
        Ok(())
    })?;
    case.wait_good(&three).await?;
    let release = case.release_of(&three).await?;
    ensure_that!(release.spec.number == judged.spec.number, "the commit started a release of its own");
    ensure_that!(has_been(&release, "Absorbed"), "the history does not say that the commit joined");
    case.wait("three pods", async || {
        let count = pods(&case, "shop").await?.len();
        Ok(Look::at(count == 3, format!("{count}")))
    })
    .await?;
    case.expect_at_rest("shop").await
}

/// Adds a second app that changes by a Rollout of its own.
pub fn add_second_app(case: &mut Case) {
    let mut cart = App::new("cart", &case.namespace, &case.env.podinfo_image);
    cart.rolling().steps = vec![(25, 2, false), (50, 2, false)];
    case.tree.apps.push(cart);
}

async fn two_together(mut case: Case) -> Result<()> {
    add_second_app(&mut case);
    // the second one has fewer steps and must wait for the first
    if let Some(cart) = case.tree.apps.get_mut(1) {
        cart.rolling().steps = vec![(25, 1, false)];
    }
    case.install().await?;
    let (shop, cart) =
        (RouteWatch::start(&case.cluster, &case.namespace, "shop"), RouteWatch::start(&case.cluster, &case.namespace, "cart"));
    let began = chrono::Utc::now();
    let two = case.commit("two", |tree| {
        tree.apps.iter_mut().for_each(|app| app.message = "two".to_owned());
        Ok(())
    })?;
    case.wait_good(&two).await?;
    let release = case.release_of(&two).await?;
    ensure_that!(release.spec.rollouts.len() == 2, "the release has {} rollouts", release.spec.rollouts.len());
    for app in ["shop", "cart"] {
        expect_judged_pods(&case, &release, app).await?;
        case.expect_at_rest(app).await?;
    }
    // cart has fewer steps, and all of its requests move only when all of shop's do
    let steps = status(&release)?.timeline.iter().filter(|line| line.what == "Shifting").map(|line| line.at).collect::<Vec<_>>();
    let last = *steps.last().context("the history has no steps")?;
    let cart_whole = cart.first(began, |shares| shares.beside("cart") == 1000).context("cart was never at 100 %")?;
    ensure_that!(
        steps.len() == 3 && cart_whole >= last,
        "cart went ahead at {cart_whole}, the last of {} steps began at {last}",
        steps.len()
    );
    ensure_that!(shop.first(began, |shares| shares.beside("shop") == 500).is_some(), "shop was never at 50 %");
    ensure_that!(shop.first(began, |shares| shares.beside("shop") == 1000).is_some(), "shop was never at 100 %");
    Ok(())
}
