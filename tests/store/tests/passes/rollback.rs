//! A bad commit goes back.

use std::time::Duration;

use serde_json::json;
use sluice_analysis::Answer;
use sluice_store::{Outcome, PodRule};

use crate::app::{BAD_IMAGE, Commit, SHOP, config};
use crate::engine::Engine;
use crate::traffic::canary_weight;

fn without_release(state: serde_json::Value) -> serde_json::Value {
    let mut state = state;
    for field in ["release", "quarantine", "phase"] {
        state.as_object_mut().unwrap().remove(field);
    }
    state
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_metric_fails_is_rolled_back_and_quarantined() {
    let mut engine = Engine::installed().await;
    let (before, pods) = (engine.end_state(), engine.pods());
    engine.push(&Commit::new(2, BAD_IMAGE)).await;
    engine.run().await;
    assert_eq!(engine.phase(), "RolledBack", "{:?} {:?}", engine.states, engine.failures);
    assert_eq!(engine.pods(), pods, "no stable pod was touched");
    assert_eq!(without_release(engine.end_state()), without_release(before));
    assert_eq!(engine.sync().status.unwrap().quarantine.len(), 1);
    assert_eq!(engine.holes, Vec::<String>::new());
    let release = engine.release().unwrap().status.unwrap();
    assert_eq!(release.cause.and_then(|cause| cause.metric).as_deref(), Some("errors"));
    engine.run().await;
    assert_eq!(engine.sync().status.unwrap().release, 2, "it is not tried again");
}

#[tokio::test(start_paused = true)]
async fn traffic_goes_back_first_and_in_one_write() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, BAD_IMAGE)).await;
    engine.run_until(|engine| engine.phase() == "RollingBack").await;
    engine.store.clear_trace();
    engine.run_until(|engine| canary_weight(&engine.store) == 0).await;
    let application: Vec<String> = engine
        .store
        .rest_writes()
        .iter()
        .filter(|line| line.key.group != "sluice.dev")
        .map(|line| line.key.to_string())
        .collect();
    assert!(application.len() <= 1, "{application:?}");
    assert!(application.iter().all(|key| key.starts_with("HTTPRoute")), "{application:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_looping_canary_goes_back_before_it_gets_traffic() {
    let mut engine = Engine::installed().await;
    let outcome = Outcome::CrashLoop { after_ms: 500, exit_code: 1, reason: "Error".to_owned() };
    engine.store.set(|settings| settings.pod_rules.push(PodRule { contains: "shop:crash".to_owned(), outcome }));
    engine.push(&Commit::new(2, "shop:crash")).await;
    let began = engine.store.clock().now();
    engine.run().await;
    assert_eq!(engine.phase(), "RolledBack", "{:?} {:?}", engine.states, engine.failures);
    assert!(engine.states.iter().all(|state| !state.contains("Shifting")), "{:?}", engine.states);
    assert!(engine.store.clock().now() - began < chrono::Duration::seconds(60));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_pulled_goes_back() {
    let mut engine = Engine::installed().await;
    let outcome = Outcome::ImagePullBackOff { after_ms: 500 };
    engine.store.set(|settings| settings.pod_rules.push(PodRule { contains: "shop:absent".to_owned(), outcome }));
    engine.push(&Commit::new(2, "shop:absent")).await;
    engine.run().await;
    assert_eq!(engine.phase(), "RolledBack", "{:?} {:?}", engine.states, engine.failures);
}

#[tokio::test(start_paused = true)]
async fn a_canary_that_never_becomes_ready_goes_back_at_the_deadline() {
    let mut engine = Engine::installed().await;
    engine
        .store
        .set(|settings| settings.pod_rules.push(PodRule { contains: "shop:slow".to_owned(), outcome: Outcome::NeverReady }));
    engine.push(&Commit::new(2, "shop:slow")).await;
    engine.run().await;
    assert_eq!(engine.phase(), "RolledBack", "{:?} {:?}", engine.states, engine.failures);
}

#[tokio::test(start_paused = true)]
async fn prometheus_that_fails_holds_and_never_rolls_back() {
    let mut engine = Engine::installed().await;
    engine.metric =
        |_, _| Answer::Failed(sluice_analysis::QueryFailure::new(sluice_analysis::FailureKind::Transient, "connection refused"));
    engine.push(&Commit::new(2, "shop:2")).await;
    let end = engine.store.clock().now() + chrono::Duration::minutes(30);
    engine.run_until(|engine| engine.store.clock().now() > end || engine.phase() == "RollingBack").await;
    assert_eq!(engine.phase(), "Judging");
    engine.metric = crate::engine::by_image;
    engine.run().await;
    assert_eq!(engine.phase(), "Promoted", "{:?} {:?}", engine.states, engine.failures);
}

#[tokio::test(start_paused = true)]
async fn a_rollback_needs_no_git() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, BAD_IMAGE)).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    engine.lose_git();
    engine.restart();
    engine.run().await;
    assert_eq!(engine.phase(), "RolledBack", "{:?} {:?}", engine.states, engine.failures);
    assert!(engine.pods().values().all(|image| image == "shop:1"));
}

#[tokio::test(start_paused = true)]
async fn everything_that_the_commit_changed_goes_back_with_it() {
    let mut engine = Engine::new().await;
    engine.push(&Commit::new(1, "shop:1").with(|commit| commit.objects.push(config("flags", "old")))).await;
    engine.run().await;
    let commit = Commit::new(2, BAD_IMAGE).with(|commit| {
        commit.objects.push(config("flags", "new"));
        commit.objects.push(config("extra", "x"));
    });
    engine.push(&commit).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    assert_eq!(engine.live("ConfigMap", "flags").unwrap()["data"]["colour"], "new");
    engine.run().await;
    assert_eq!(engine.phase(), "RolledBack");
    assert_eq!(engine.live("ConfigMap", "flags").unwrap()["data"]["colour"], "old");
    assert_eq!(engine.live("ConfigMap", "extra"), None);
}

#[tokio::test(start_paused = true)]
async fn a_newer_commit_supersedes_the_one_on_trial_and_starts_from_stable() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    engine.push(&Commit::new(3, "shop:3")).await;
    engine.run().await;
    assert_eq!(
        (engine.phase().as_str(), engine.sync().status.unwrap().release),
        ("Promoted", 3),
        "{:?} {:?}",
        engine.states,
        engine.failures
    );
    assert!(engine.states.iter().any(|state| state.contains("Superseded")), "{:?}", engine.states);
    assert!(engine.pods().values().all(|image| image == "shop:3"));
    assert_eq!(engine.holes, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn git_back_at_the_good_revision_aborts_safely() {
    let mut engine = Engine::installed().await;
    let (before, pods) = (engine.end_state(), engine.pods());
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    engine.push(&Commit::new(3, "shop:1")).await;
    engine.run().await;
    assert_eq!(engine.pods(), pods);
    let objects = |state: &serde_json::Value| state["objects"].clone();
    assert_eq!(objects(&engine.end_state()), objects(&before));
    assert_eq!(engine.sync().status.unwrap().quarantine.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_bad_commit_after_a_handover_goes_back_to_the_handed_over_pods() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run().await;
    let pods = engine.pods();
    engine.push(&Commit::new(3, BAD_IMAGE)).await;
    engine.run().await;
    assert_eq!((engine.phase().as_str(), engine.pods()), ("RolledBack", pods));
    assert_eq!(engine.live("Deployment", SHOP).unwrap()["spec"]["replicas"], json!(4));
    engine.store.run_for(Duration::from_secs(60));
    assert_eq!(engine.holes, Vec::<String>::new());
}
