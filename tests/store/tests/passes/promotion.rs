//! A good commit comes in.

use serde_json::json;
use sluice_store::json::text;

use crate::app::{Commit, REPLICAS, SHOP, config};
use crate::engine::Engine;

#[tokio::test(start_paused = true)]
async fn a_first_install_is_applied_becomes_healthy_and_is_good() {
    let engine = Engine::installed().await;
    assert_eq!(engine.pods().len(), 4);
    let status = engine.sync().status.unwrap();
    assert_eq!(status.good.map(|good| good.sha), Some(format!("{:040x}", 1)));
}

#[tokio::test(start_paused = true)]
async fn a_good_commit_is_promoted_by_handover_with_the_pods_that_were_judged() {
    let mut engine = Engine::installed().await;
    let stable = engine.pods();
    engine.push(&Commit::new(2, "shop:2")).await;
    let mut judged = std::collections::BTreeMap::new();
    engine.run_until(|engine| engine.phase() == "HandingOver").await;
    for (uid, image) in engine.pods() {
        if image == "shop:2" {
            judged.insert(uid, image);
        }
    }
    assert_eq!(judged.len(), usize::try_from(REPLICAS).unwrap());
    engine.run().await;
    assert_eq!(engine.phase(), "Promoted", "{:?} {:?}", engine.states, engine.failures);
    assert_eq!(engine.pods(), judged, "the same pods serve");
    assert!(stable.keys().all(|uid| !judged.contains_key(uid)));
    assert_eq!(engine.holes, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn at_rest_nothing_of_us_lies_over_the_users_objects() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run().await;
    let root = engine.live("Service", SHOP).unwrap();
    assert_eq!(root["spec"]["selector"], json!({"app": SHOP}));
    let route = engine.live("HTTPRoute", SHOP).unwrap();
    let backends = route["spec"]["rules"][0]["backendRefs"].as_array().unwrap();
    assert_eq!((backends.len(), &backends[0]["weight"]), (1, &json!(1)));
    let deployment = engine.live("Deployment", SHOP).unwrap();
    assert_eq!(deployment["spec"].get("paused"), None);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(engine.store.list("", "Service", SHOP).len(), 1, "the canary Service is gone");
    for object in [&root, &route, &deployment, &engine.live("Rollout", SHOP).unwrap()] {
        let annotations = object["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        assert!(annotations.keys().all(|name| !name.starts_with("sluice.dev/")), "{annotations:?}");
        assert_eq!(object["metadata"].get("finalizers").filter(|list| **list != json!([])), None, "{}", text(object, &["kind"]));
    }
    for set in engine.store.list("apps", "ReplicaSet", SHOP) {
        let owners = set["metadata"]["ownerReferences"].as_array().unwrap().clone();
        assert_eq!((owners.len(), &owners[0]["kind"]), (1, &json!("Deployment")));
        let annotations = set["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        assert!(annotations.keys().all(|name| !name.starts_with("sluice.dev/")), "{annotations:?}");
    }
    assert_eq!(engine.sync().metadata.finalizers.unwrap_or_default(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_hundred_passes_at_rest_send_no_write() {
    let mut engine = Engine::installed().await;
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run().await;
    engine.store.clear_trace();
    let version = engine.store.version();
    for _ in 0..100 {
        engine.turn().await;
        engine.store.run_for(std::time::Duration::from_secs(60));
    }
    let writes: Vec<String> = engine.store.rest_writes().iter().map(ToString::to_string).collect();
    assert_eq!((writes, engine.store.version()), (Vec::<String>::new(), version));
}

#[tokio::test(start_paused = true)]
async fn going_to_and_fro_between_two_images_ends_each_time_with_the_judged_pods() {
    let mut engine = Engine::installed().await;
    for (number, image) in [(2, "shop:2"), (3, "shop:1"), (4, "shop:2"), (5, "shop:1")] {
        engine.push(&Commit::new(number, image)).await;
        engine.run_until(|engine| engine.phase() == "HandingOver").await;
        let judged: Vec<String> = engine.pods().into_iter().filter(|(_, of)| of == image).map(|(uid, _)| uid).collect();
        engine.run().await;
        assert_eq!(engine.phase(), "Promoted", "{number}: {:?} {:?}", engine.states, engine.failures);
        let uids: Vec<String> = engine.pods().into_keys().collect();
        assert_eq!(uids, judged, "{number}");
        assert_eq!(engine.holes, Vec::<String>::new(), "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_config_map_is_a_canary_and_stable_pods_never_read_it() {
    let mut engine = Engine::installed().await;
    let commit = Commit::new(2, "shop:1").with(|commit| *commit.object("ConfigMap") = config("settings", "b"));
    engine.push(&commit).await;
    engine.run_until(|engine| engine.phase() == "Judging").await;
    let named = |engine: &Engine| {
        let mut names: Vec<String> = engine
            .store
            .list("", "Pod", SHOP)
            .iter()
            .map(|pod| pod.pointer("/spec/containers/0/envFrom/0/configMapRef/name").unwrap().as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    };
    assert_eq!(named(&engine).len(), 2);
    engine.run().await;
    assert_eq!((engine.phase().as_str(), named(&engine).len()), ("Promoted", 1));
    assert_eq!(engine.live("ConfigMap", "settings").unwrap()["data"]["colour"], "b");
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_changes_only_replicas_has_no_steps() {
    let mut engine = Engine::installed().await;
    let before = engine.pods();
    engine.push(&Commit::new(2, "shop:1").with(|commit| commit.object("Deployment")["spec"]["replicas"] = json!(6))).await;
    engine.run().await;
    assert_eq!(engine.phase(), "Promoted", "{:?}", engine.states);
    assert!(engine.states.iter().all(|state| !state.contains("Judging")), "{:?}", engine.states);
    let after = engine.pods();
    assert_eq!(after.len(), 6);
    assert!(before.keys().all(|uid| after.contains_key(uid)));
}

#[tokio::test(start_paused = true)]
async fn objects_that_left_git_are_deleted_once_the_revision_is_good() {
    let mut engine = Engine::new().await;
    engine.push(&Commit::new(1, "shop:1").with(|commit| commit.objects.push(config("old", "x")))).await;
    engine.run().await;
    assert!(engine.live("ConfigMap", "old").is_some());
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run_until(|engine| engine.phase() == "HandingOver").await;
    assert!(engine.live("ConfigMap", "old").is_some());
    engine.run().await;
    assert_eq!((engine.phase().as_str(), engine.live("ConfigMap", "old")), ("Promoted", None));
}

#[tokio::test(start_paused = true)]
async fn every_write_to_the_application_is_the_tenants() {
    let mut engine = Engine::installed().await;
    engine.store.clear_trace();
    engine.push(&Commit::new(2, "shop:2")).await;
    engine.run().await;
    for line in engine.store.rest_writes() {
        let is_tenant = line.user == "system:serviceaccount:shop:deployer";
        let is_own = line.key.group == "sluice.dev" || line.key.kind == "Secret";
        assert!(is_tenant != is_own || line.key.kind == "Rollout", "{line}");
    }
}
