//! Others who write.

use serde_json::json;
use sluice_store::{Deletion, Fault, Key};

use crate::app::{Commit, SHOP, config};
use crate::engine::Engine;

fn key(group: &str, kind: &str) -> Key {
    Key::new(group, kind, SHOP, SHOP)
}

#[tokio::test(start_paused = true)]
async fn a_field_that_somebody_changed_at_rest_is_put_back() {
    let mut engine = Engine::installed().await;
    let before = engine.end_state();
    let person = engine.person();
    person.merge(&key("", "Service"), "", json!({"spec": {"selector": {"app": SHOP, "extra": "x"}}})).unwrap();
    person.merge(&key("apps", "Deployment"), "", json!({"spec": {"replicas": 2}})).unwrap();
    engine.run().await;
    assert_eq!(engine.end_state(), before);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_comes_back() {
    let mut engine = Engine::installed().await;
    engine.person().delete(&key("gateway.networking.k8s.io", "HTTPRoute"), &Deletion::default()).unwrap();
    engine.run().await;
    assert!(engine.live("HTTPRoute", SHOP).is_some());
}

#[tokio::test(start_paused = true)]
async fn weights_that_somebody_edits_in_motion_are_put_back() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    let operations = json!([{"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 999}]);
    engine.person().json_patch(&key("gateway.networking.k8s.io", "HTTPRoute"), operations).unwrap();
    engine.run().await;
    assert_eq!(engine.phase(), "Promoted", "{:?} {:?}", engine.states, engine.failures);
    assert_eq!(engine.holes, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_canary_set_that_is_deleted_by_hand_does_not_keep_its_weight() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    let release = engine.release().unwrap();
    let set = Key::new("apps", "ReplicaSet", SHOP, &release.spec.rollouts[0].canary_replica_set);
    engine.person().delete(&set, &Deletion::default()).unwrap();
    engine.run().await;
    assert!(matches!(engine.phase().as_str(), "Promoted" | "RolledBack"), "{:?} {:?}", engine.states, engine.failures);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_cannot_be_read_for_a_moment_does_not_end_the_release() {
    let mut engine = Engine::new().await;
    let template = json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "ClusterAnalysisTemplate", "metadata": {"name": "http"},
        "spec": {"metrics": [{"name": "errors", "query": "errors{hash=\"{{canary.hash}}\"}", "threshold": {"max": 0.05}, "interval": "2s"}]},
    });
    engine.person().create(template).unwrap();
    let commit = |number, image| {
        Commit::new(number, image).with(|commit| {
            commit.object("Rollout")["spec"]["analysis"] =
                json!({"templates": [{"kind": "ClusterAnalysisTemplate", "name": "http"}]});
        })
    };
    engine.push(&commit(1, "shop:1")).await;
    engine.run().await;
    engine.push(&commit(2, "shop:2")).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    engine.store.set_faults(|attempt| (attempt.key.kind == "ClusterAnalysisTemplate").then_some(Fault::Answer(500)));
    engine.push(&commit(3, "shop:2").with(|commit| commit.objects.push(config("extra", "x")))).await;
    let end = engine.store.clock().now() + chrono::Duration::seconds(3);
    engine.run_until(|engine| engine.store.clock().now() > end || engine.phase() == "RollingBack").await;
    engine.store.clear_faults();
    assert_eq!(engine.phase(), "Judging", "{:?}", engine.states);
}
