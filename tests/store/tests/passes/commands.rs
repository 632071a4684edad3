//! People and autoscalers in between.

use serde_json::json;
use sluice_store::Key;

use crate::app::{Commit, SHOP};
use crate::engine::Engine;

fn rollout() -> Key {
    Key::new("sluice.dev", "Rollout", SHOP, SHOP)
}

fn annotate(engine: &Engine, name: &str, value: &str) {
    let patch = json!({"metadata": {"annotations": {name: value}}});
    engine.person().merge(&rollout(), "", patch).unwrap();
}

fn gated(number: u32, image: &str) -> Commit {
    Commit::new(number, image).with(|commit| {
        commit.object("Rollout")["spec"]["strategy"]["canary"]["steps"][0]["approval"] = json!(true);
    })
}

fn waits_for_approval(engine: &Engine) -> bool {
    let wait = engine.release().and_then(|release| release.status?.wait);
    wait.is_some_and(|wait| wait.reason.contains("Approval"))
}

#[tokio::test(start_paused = true)]
async fn a_gate_waits_for_a_person_and_passes_with_the_commits_sha() {
    let mut engine = Engine::installed().await;
    let commit = gated(2, "shop:2");
    engine.push(&commit).await;
    assert!(
        engine.run_until(waits_for_approval).await && waits_for_approval(&engine),
        "{:?} {:?}",
        engine.states,
        engine.failures
    );
    annotate(&engine, "sluice.dev/promote", &commit.sha);
    engine.run().await;
    assert_eq!(engine.phase(), "Promoted", "{:?} {:?}", engine.states, engine.failures);
    let annotations = engine.live("Rollout", SHOP).unwrap()["metadata"]["annotations"].clone();
    assert_eq!(annotations.get("sluice.dev/promote"), None, "it is consumed");
}

#[tokio::test(start_paused = true)]
async fn a_stale_promote_changes_nothing_and_is_answered() {
    let mut engine = Engine::installed().await;
    engine.push(&gated(2, "shop:2")).await;
    engine.run_until(waits_for_approval).await;
    annotate(&engine, "sluice.dev/promote", &"f".repeat(40));
    let end = engine.store.clock().now() + chrono::Duration::minutes(5);
    engine.run_until(|engine| engine.store.clock().now() > end).await;
    assert!(waits_for_approval(&engine));
    let commands = engine.release().unwrap().status.unwrap().commands;
    assert_eq!(commands.iter().map(|record| record.accepted).collect::<Vec<_>>(), [false]);
}

#[tokio::test(start_paused = true)]
async fn an_abort_takes_the_commit_back() {
    let mut engine = Engine::installed().await;
    let pods = engine.pods();
    let commit = gated(2, "shop:2");
    engine.push(&commit).await;
    engine.run_until(waits_for_approval).await;
    annotate(&engine, "sluice.dev/abort", &commit.sha);
    engine.run().await;
    assert_eq!((engine.phase().as_str(), engine.pods()), ("RolledBack", pods));
    assert_eq!(engine.holes, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_abort_at_rest_changes_nothing() {
    let mut engine = Engine::installed().await;
    let (before, pods) = (engine.end_state(), engine.pods());
    annotate(&engine, "sluice.dev/abort", &format!("{:040x}", 1));
    engine.run().await;
    assert_eq!((engine.pods(), &engine.end_state()["good"]), (pods, &before["good"]));
    assert_eq!(engine.phase(), "Promoted");
}

#[tokio::test(start_paused = true)]
async fn an_autoscaler_in_the_middle_of_a_step_keeps_its_number() {
    let mut engine = Engine::new().await;
    engine.push(&autoscaled(1, "shop:1")).await;
    engine.run().await;
    let hpa = engine.store.actor("system:serviceaccount:kube-system:horizontal-pod-autoscaler", "hpa");
    let deployment = Key::new("apps", "Deployment", SHOP, SHOP);
    hpa.scale(&deployment, 4).unwrap();
    engine.run().await;
    engine.push(&autoscaled(2, "shop:2")).await;
    for (phase, replicas) in [("Judging", 7), ("HandingOver", 9)] {
        engine.run_until(|engine| engine.phase() == phase).await;
        hpa.scale(&deployment, replicas).unwrap();
    }
    engine.run().await;
    assert_eq!(engine.phase(), "Promoted", "{:?} {:?}", engine.states, engine.failures);
    assert_eq!(engine.live("Deployment", SHOP).unwrap()["spec"]["replicas"], 9);
    assert!(engine.pods().len() == 9 && engine.pods().values().all(|image| image == "shop:2"), "{:?}", engine.pods());
    assert_eq!(engine.holes, Vec::<String>::new());
}

/// The same application with an autoscaler instead of a number.
fn autoscaled(number: u32, image: &str) -> Commit {
    Commit::new(number, image).with(|commit| {
        commit.object("Deployment")["spec"].as_object_mut().unwrap().remove("replicas");
        commit.objects.push(json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": SHOP, "namespace": SHOP},
            "spec": {"minReplicas": 2, "maxReplicas": 20, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": SHOP}},
        }));
    })
}

#[tokio::test(start_paused = true)]
async fn an_application_that_gains_an_autoscaler_keeps_its_pods() {
    for image in ["shop:1", "shop:2"] {
        let mut engine = Engine::installed().await;
        engine.push(&autoscaled(2, image)).await;
        let mut least = 4;
        engine
            .run_until(|engine| {
                least = least.min(engine.live("Deployment", SHOP).unwrap()["spec"]["replicas"].as_i64().unwrap());
                false
            })
            .await;
        assert_eq!((engine.phase().as_str(), least), ("Promoted", 4), "{image}: {:?} {:?}", engine.states, engine.failures);
        assert_eq!(engine.pods().len(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_commit_with_an_autoscaler_goes_back_to_the_number_in_git() {
    let mut engine = Engine::installed().await;
    let pods = engine.pods();
    engine.push(&autoscaled(2, crate::app::BAD_IMAGE)).await;
    engine.run().await;
    assert_eq!((engine.phase().as_str(), engine.pods()), ("RolledBack", pods), "{:?} {:?}", engine.states, engine.failures);
    assert_eq!(engine.live("Deployment", SHOP).unwrap()["spec"]["replicas"], 4);
    assert!(engine.store.list("autoscaling", "HorizontalPodAutoscaler", SHOP).is_empty());
}
