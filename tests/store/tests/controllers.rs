//! The modelled controllers by themselves: rolling updates, failing pods, deadlines, routes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use sluice_store::{Outcome, PodRule};
use support::*;

fn rule(contains: &str, outcome: Outcome) -> PodRule {
    PodRule { contains: contains.to_owned(), outcome }
}

#[test]
fn a_rolling_update_keeps_three_quarters_available_and_ends_with_new_pods() {
    let store = store();
    let person = person(&store);
    person.apply(deployment(Some(8), "app:1")).unwrap();
    store.run_for(Duration::from_secs(5));
    person.apply(deployment(Some(8), "app:2")).unwrap();
    let available = || store.get(&key("Deployment", SHOP)).unwrap()["status"]["availableReplicas"].as_i64().unwrap_or(0);
    for _ in 0..100 {
        store.run_for(Duration::from_millis(100));
        assert!(available() >= 6, "{}", available());
    }
    let images: Vec<Value> =
        store.list("", "Pod", SHOP).iter().map(|pod| pod["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, vec![json!("app:2"); 8]);
    let conditions = store.get(&key("Deployment", SHOP)).unwrap()["status"]["conditions"].clone();
    assert!(conditions.as_array().unwrap().iter().any(|condition| condition["reason"] == "NewReplicaSetAvailable"));
}

#[test]
fn a_deployment_whose_pods_never_become_ready_exceeds_its_deadline() {
    let store = store();
    store.set(|settings| settings.pod_rules.push(rule("bad", Outcome::NeverReady)));
    let mut object = deployment(Some(2), "app:bad");
    object["spec"]["progressDeadlineSeconds"] = json!(30);
    person(&store).apply(object).unwrap();
    let reason = || {
        let status = store.get(&key("Deployment", SHOP)).unwrap()["status"].clone();
        let conditions = status["conditions"].as_array().unwrap().clone();
        conditions
            .iter()
            .find(|condition| condition["type"] == "Progressing")
            .map(|condition| condition["reason"].clone())
            .unwrap()
    };
    store.run_for(Duration::from_secs(29));
    assert_ne!(reason(), "ProgressDeadlineExceeded");
    store.run_for(Duration::from_secs(2));
    assert_eq!(reason(), "ProgressDeadlineExceeded");
}

#[test]
fn pods_fail_as_the_rules_say() {
    let store = store();
    store.set(|settings| {
        settings.pod_rules = vec![
            rule("crash", Outcome::CrashLoop { after_ms: 500, exit_code: 137, reason: "OOMKilled".to_owned() }),
            rule("absent", Outcome::ImagePullBackOff { after_ms: 500 }),
        ];
    });
    let person = person(&store);
    let mut crash = deployment(Some(1), "app:1");
    crash["spec"]["template"]["spec"]["containers"][0]["args"] = json!(["--crash"]);
    person.apply(crash).unwrap();
    let mut absent = deployment(Some(1), "app:absent");
    absent["metadata"]["name"] = json!("other");
    absent["spec"]["selector"]["matchLabels"]["app"] = json!("other");
    absent["spec"]["template"]["metadata"]["labels"]["app"] = json!("other");
    person.apply(absent).unwrap();
    store.run_for(Duration::from_secs(2));
    let states: Vec<String> = store
        .list("", "Pod", SHOP)
        .iter()
        .map(|pod| pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states, ["ImagePullBackOff", "CrashLoopBackOff"]);
}

#[test]
fn pods_without_their_config_do_not_start() {
    let store = store();
    let person = person(&store);
    let mut object = deployment(Some(1), "app:1");
    object["spec"]["template"]["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    person.apply(object).unwrap();
    store.run_for(Duration::from_secs(5));
    let ready = || store.get(&key("Deployment", SHOP)).unwrap()["status"]["readyReplicas"].as_i64().unwrap_or(0);
    assert_eq!(ready(), 0);
    person.apply(config_map("settings", "1")).unwrap();
    store.run_for(Duration::from_secs(5));
    assert_eq!(ready(), 1);
}

#[test]
fn a_route_is_accepted_after_a_delay_and_its_missing_backend_is_named() {
    let store = store();
    let person = person(&store);
    person.apply(service(SHOP)).unwrap();
    person.apply(route(&[(SHOP, 1)])).unwrap();
    let conditions = || store.get(&key("HTTPRoute", SHOP)).unwrap().pointer("/status/parents/0/conditions").cloned();
    store.settle();
    assert_eq!(conditions(), None);
    store.run_for(Duration::from_millis(100));
    let accepted = conditions().unwrap();
    assert_eq!(
        (&accepted[0]["status"], &accepted[1]["status"], &accepted[0]["observedGeneration"]),
        (&json!("True"), &json!("True"), &json!(1))
    );
    person.apply(route(&[(SHOP, 1), ("none", 1)])).unwrap();
    store.settle();
    assert_eq!(conditions().unwrap()[0]["observedGeneration"], 1);
    store.run_for(Duration::from_millis(100));
    let now = conditions().unwrap();
    assert_eq!(
        (&now[1]["status"], &now[1]["reason"], &now[1]["observedGeneration"]),
        (&json!("False"), &json!("BackendNotFound"), &json!(2))
    );
}

#[test]
fn the_same_calls_give_the_same_store() {
    let run = || {
        let store = store();
        person(&store).apply(deployment(Some(5), "app:1")).unwrap();
        store.run_for(Duration::from_secs(5));
        person(&store).apply(deployment(Some(5), "app:2")).unwrap();
        store.run_for(Duration::from_secs(20));
        (store.list("", "Pod", SHOP), store.trace())
    };
    assert!(run() == run());
}

#[test]
fn at_rest_nothing_is_due_and_nothing_changes() {
    let store = store();
    person(&store).apply(deployment(Some(5), "app:1")).unwrap();
    person(&store).apply(route(&[(SHOP, 1)])).unwrap();
    store.run_for(Duration::from_secs(30));
    let version = store.version();
    store.run_for(Duration::from_secs(3600));
    assert_eq!((store.version(), store.next_due_ms()), (version, None));
}
