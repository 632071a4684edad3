//! A ReplicaSet that changes its owner: what the Deployment controller was measured to do, with ten replicas.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use sluice_store::{Actor, Deletion, Key, Store};
use support::*;

const D: i64 = 10;
const CANARY: &str = "shop-canary";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// A settled Deployment, and a canary at full size owned by a Rollout.
struct Stage {
    store: Store,
    person: Actor,
}

impl Stage {
    fn new() -> Self {
        Self::with(D, |_| {})
    }

    fn with(canary_replicas: i64, change: impl FnOnce(&mut Value)) -> Self {
        let store = store();
        let person = store.actor("jane", "sluice");
        person.apply(deployment(Some(D), "app:1")).unwrap();
        let owner = person.create(rollout()).unwrap();
        let stage = Self { store, person };
        stage.wait();
        let mut set = canary("app:2", canary_replicas);
        set["metadata"]["ownerReferences"] = json!([owner_of(&owner)]);
        change(&mut set);
        stage.person.create(set).unwrap();
        stage.wait();
        stage
    }

    fn wait(&self) {
        self.store.run_for(Duration::from_secs(30));
    }

    fn stable(&self) -> Key {
        let sets = self.store.list("apps", "ReplicaSet", SHOP);
        Key::of(sets.iter().find(|set| set["metadata"]["name"] != CANARY && image(set) == "app:1").unwrap())
    }

    fn pods_of(&self, set: &Key) -> Vec<String> {
        let owner = uid(&self.store.get(set).unwrap());
        let pods = self.store.list("", "Pod", SHOP);
        pods.iter().filter(|pod| pod["metadata"]["ownerReferences"][0]["uid"] == owner.as_str()).map(uid).collect()
    }

    fn pause(&self, image: &str, surge: Option<&str>, kind: &str) {
        let mut paused = deployment(Some(self.wanted()), image);
        paused["spec"]["paused"] = json!(true);
        paused["spec"]["strategy"] = json!({"type": kind});
        if let Some(surge) = surge {
            paused["spec"]["strategy"]["rollingUpdate"] = json!({"maxSurge": surge});
        }
        self.person.force_apply(paused).unwrap();
        self.store.settle();
    }

    fn wanted(&self) -> i64 {
        replicas(&self.store, &key("Deployment", SHOP))
    }

    fn hand_over(&self) {
        self.hand_over_noting(self.wanted(), None);
    }

    /// With the size that was wanted when it was decided, and the largest total of that time: the measured cuts at a small surge
    /// are what the controller's arithmetic gives for a total of twenty.
    fn hand_over_noting(&self, desired: i64, max: Option<i64>) {
        let owner = owner_of(&self.store.get(&key("Deployment", SHOP)).unwrap());
        let mut annotations = json!({"deployment.kubernetes.io/desired-replicas": desired.to_string()});
        if let Some(max) = max {
            annotations["deployment.kubernetes.io/max-replicas"] = json!(max.to_string());
        }
        let patch = json!({"metadata": {"ownerReferences": [owner], "annotations": annotations}});
        self.person.merge(&canary_key(), "", patch).unwrap();
        self.store.settle();
    }

    fn as_in_git(&self, image: &str) {
        self.person.force_apply(deployment(Some(self.wanted()), image)).unwrap();
    }

    fn scale(&self, to: i64) {
        self.store.actor("hpa", "hpa").scale(&key("Deployment", SHOP), to).unwrap();
        self.store.settle();
    }

    fn size(&self, set: &Key) -> i64 {
        replicas(&self.store, set)
    }

    fn canary_size(&self) -> i64 {
        self.size(&canary_key())
    }
}

fn canary_key() -> Key {
    key("ReplicaSet", CANARY)
}

fn image(set: &Value) -> &str {
    set.pointer("/spec/template/spec/containers/0/image").unwrap().as_str().unwrap()
}

fn owner_of(object: &Value) -> Value {
    json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "name": object["metadata"]["name"],
        "uid": object["metadata"]["uid"], "controller": true,
    })
}

fn canary(image: &str, replicas: i64) -> Value {
    let mut template = template(image);
    template["metadata"]["labels"]["pod-template-hash"] = json!("canary");
    json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": CANARY, "namespace": SHOP, "labels": {"app": SHOP, "pod-template-hash": "canary"}},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": SHOP, "pod-template-hash": "canary"}}, "template": template},
    })
}

#[test]
fn the_plain_handover_keeps_the_judged_pods_and_scales_the_old_set_to_zero() {
    let stage = Stage::new();
    let judged = stage.pods_of(&canary_key());
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    assert_eq!(stage.store.list("apps", "ReplicaSet", SHOP).len(), 2, "a paused Deployment makes no set");
    stage.hand_over();
    assert_eq!((stage.size(&stage.stable()), stage.canary_size()), (0, D));
    let set = stage.store.get(&canary_key()).unwrap();
    let owner = stage.store.get(&key("Deployment", SHOP)).unwrap();
    assert_eq!(set["metadata"]["annotations"][REVISION], "2");
    assert_eq!(owner["metadata"]["annotations"][REVISION], "2");
    stage.as_in_git("app:2");
    stage.wait();
    assert_eq!(stage.pods_of(&canary_key()), judged);
    assert_eq!(stage.store.list("", "Pod", SHOP).len(), 10);
    let status = &stage.store.get(&key("Deployment", SHOP)).unwrap()["status"];
    assert_eq!((&status["updatedReplicas"], &status["availableReplicas"]), (&json!(10), &json!(10)));
}

#[test]
fn after_a_handover_a_native_rollout_still_works() {
    let stage = Stage::new();
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.hand_over();
    stage.as_in_git("app:3");
    stage.wait();
    assert_eq!(stage.canary_size(), 0);
    let images: Vec<Value> =
        stage.store.list("", "Pod", SHOP).iter().map(|pod| pod["spec"]["containers"][0]["image"].clone()).collect();
    assert_eq!(images, vec![json!("app:3"); 10]);
}

#[test]
fn a_scale_event_between_the_writes_cuts_the_live_set_when_the_surge_is_small() {
    for (to, cut) in [(12, 8), (8, 2)] {
        let stage = Stage::new();
        stage.pause("app:2", Some("25%"), "RollingUpdate");
        stage.scale(to);
        stage.hand_over_noting(D, Some(2 * D));
        assert_eq!(stage.canary_size(), cut, "10 → {to}");
    }
}

#[test]
fn a_scale_event_between_the_writes_never_cuts_the_live_set_with_full_surge() {
    for to in [12, 8, 25, 4] {
        let stage = Stage::new();
        stage.pause("app:2", Some("100%"), "RollingUpdate");
        stage.scale(to);
        stage.hand_over_noting(D, None);
        assert!(stage.canary_size() >= to.min(D), "10 → {to}: {}", stage.canary_size());
    }
}

#[test]
fn an_unready_pod_at_the_owner_patch_costs_pods_with_a_small_surge_and_none_with_a_full_one() {
    for (surge, sizes) in [("25%", (7, true)), ("100%", (10, false))] {
        let stage = Stage::new();
        let pod = stage.store.list("", "Pod", SHOP).into_iter().find(|pod| image_of_pod(pod) == "app:2").unwrap();
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        stage.store.set(|settings| {
            settings.unready.insert(name.clone());
        });
        stage.store.settle();
        stage.pause("app:2", Some(surge), "RollingUpdate");
        stage.hand_over_noting(D, Some(2 * D));
        assert_eq!(stage.canary_size(), sizes.0, "surge {surge}");
        stage.store.set(|settings| settings.unready.clear());
        stage.wait();
        if sizes.1 {
            assert_eq!(stage.canary_size(), 7, "it stays there while paused");
        } else {
            assert_eq!(stage.size(&stage.stable()), 0, "it completes by itself");
        }
    }
}

fn image_of_pod(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap()
}

#[test]
fn recreate_with_a_scale_event_is_wedged_even_after_unpausing() {
    let stage = Stage::new();
    stage.pause("app:2", None, "Recreate");
    stage.scale(12);
    stage.hand_over_noting(D, None);
    let mut git = deployment(Some(12), "app:2");
    git["spec"]["strategy"] = json!({"type": "Recreate"});
    stage.person.force_apply(git).unwrap();
    stage.wait();
    assert_eq!((stage.size(&stage.stable()), stage.canary_size()), (12, D), "neither goes");
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.wait();
    stage.as_in_git("app:2");
    stage.wait();
    assert_eq!((stage.size(&stage.stable()), stage.canary_size()), (0, 12), "another type cures it");
}

#[test]
fn a_template_that_differs_is_not_recognised_and_loses_the_live_set_when_unpaused() {
    let stage = Stage::with(D, |set| set["spec"]["template"]["metadata"]["annotations"] = json!({"a": "b"}));
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.hand_over();
    stage.wait();
    assert_eq!(stage.store.get(&canary_key()).unwrap()["metadata"]["annotations"].get(REVISION), None);
    assert_eq!((stage.size(&stage.stable()), stage.canary_size()), (D, D), "paused: nothing happens");
    stage.as_in_git("app:2");
    stage.wait();
    assert_eq!(stage.canary_size(), 0);
}

#[test]
fn the_oldest_equal_template_wins() {
    let stage = twin();
    stage.hand_over();
    stage.as_in_git("app:2");
    stage.wait();
    assert_eq!(stage.canary_size(), 0, "all judged pods are replaced");
}

#[test]
fn without_its_twin_the_judged_set_is_taken() {
    let stage = twin();
    let sets = stage.store.list("apps", "ReplicaSet", SHOP);
    let twin = sets.iter().find(|set| set["metadata"]["name"] != CANARY && image(set) == "app:2").unwrap();
    let deletion = Deletion { uid: Some(uid(twin)), resource_version: Some(version(twin)), ..Deletion::default() };
    stage.person.delete(&Key::of(twin), &deletion).unwrap();
    let judged = stage.pods_of(&canary_key());
    stage.hand_over();
    stage.as_in_git("app:2");
    stage.wait();
    assert_eq!((stage.canary_size(), stage.pods_of(&canary_key())), (D, judged));
}

/// A paused Deployment at app:2 whose history holds a set with that template.
fn twin() -> Stage {
    let store = store();
    let person = store.actor("jane", "sluice");
    let stage = Stage { store, person };
    for image in ["app:2", "app:1"] {
        stage.person.force_apply(deployment(Some(D), image)).unwrap();
        stage.wait();
    }
    let owner = stage.person.create(rollout()).unwrap();
    let mut set = canary("app:2", D);
    set["metadata"]["ownerReferences"] = json!([owner_of(&owner)]);
    stage.person.create(set).unwrap();
    stage.wait();
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage
}

#[test]
fn an_owner_patch_before_the_template_scales_the_live_set_to_zero() {
    let stage = Stage::new();
    stage.hand_over();
    stage.wait();
    assert_eq!((stage.size(&stage.stable()), stage.canary_size()), (D, 0));
}

#[test]
fn a_new_template_without_pause_makes_a_second_set() {
    let stage = Stage::new();
    stage.as_in_git("app:2");
    stage.store.settle();
    assert_eq!(stage.store.list("apps", "ReplicaSet", SHOP).len(), 3);
}

#[test]
fn a_canary_that_is_too_small_stays_small_until_unpaused() {
    let stage = Stage::with(4, |_| {});
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.hand_over();
    stage.wait();
    assert!(stage.canary_size() < D && stage.size(&stage.stable()) >= D);
    stage.as_in_git("app:2");
    stage.wait();
    assert_eq!((stage.size(&stage.stable()), stage.canary_size()), (0, D));
}

#[test]
fn a_set_whose_own_labels_miss_the_selector_loses_its_owner() {
    let stage = Stage::with(D, |set| set["metadata"]["labels"] = json!({"pod-template-hash": "canary"}));
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.hand_over();
    stage.wait();
    assert_eq!(stage.store.get(&canary_key()).unwrap()["metadata"]["ownerReferences"], json!([]));
}

#[test]
fn a_set_without_a_controller_is_adopted_at_once_and_scaled_to_zero() {
    let stage = Stage::with(D, |set| set["metadata"]["ownerReferences"] = json!([]));
    assert_eq!(stage.canary_size(), 0);
    let owner = &stage.store.get(&canary_key()).unwrap()["metadata"]["ownerReferences"][0];
    assert_eq!(owner["kind"], "Deployment");
}

#[test]
fn a_set_with_a_dead_owner_is_deleted_with_its_pods() {
    let stage = Stage::new();
    let dead = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": SHOP, "uid": "dead", "controller": true});
    stage.person.merge(&canary_key(), "", json!({"metadata": {"ownerReferences": [dead]}})).unwrap();
    stage.wait();
    assert_eq!(stage.store.get(&canary_key()), None);
    assert_eq!(stage.store.list("", "Pod", SHOP).len(), 10);
}

#[test]
fn stopping_after_the_pause_leaves_both_sets_untouched() {
    let stage = Stage::new();
    let pods = (stage.pods_of(&stage.stable()), stage.pods_of(&canary_key()));
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.wait();
    stage.as_in_git("app:1");
    stage.wait();
    assert_eq!((stage.pods_of(&stage.stable()), stage.pods_of(&canary_key())), pods);
}

#[test]
fn an_unrecognised_set_can_be_taken_back_with_all_pods() {
    let stage = Stage::with(D, |set| set["spec"]["template"]["metadata"]["annotations"] = json!({"a": "b"}));
    let pods = (stage.pods_of(&stage.stable()), stage.pods_of(&canary_key()));
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.hand_over();
    stage.wait();
    let owner = owner_of(&stage.store.get(&key("Rollout", SHOP)).unwrap());
    stage.person.merge(&canary_key(), "", json!({"metadata": {"ownerReferences": [owner]}})).unwrap();
    stage.as_in_git("app:1");
    stage.wait();
    assert_eq!((stage.pods_of(&stage.stable()), stage.pods_of(&canary_key())), pods);
}

#[test]
fn taken_back_after_the_old_set_went_the_deployment_scales_its_newest_old_set_up() {
    let stage = Stage::new();
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.hand_over();
    assert_eq!(stage.size(&stage.stable()), 0);
    let owner = owner_of(&stage.store.get(&key("Rollout", SHOP)).unwrap());
    stage.person.merge(&canary_key(), "", json!({"metadata": {"ownerReferences": [owner]}})).unwrap();
    stage.store.settle();
    assert_eq!(stage.size(&stage.stable()), D);
}

#[test]
fn annotations_of_a_deployment_are_copied_to_its_set_old_over_new() {
    let stage = Stage::new();
    stage.pause("app:2", Some("100%"), "RollingUpdate");
    stage.person.merge(&canary_key(), "", json!({"metadata": {"annotations": {"stamp": "new"}}})).unwrap();
    stage.person.merge(&key("Deployment", SHOP), "", json!({"metadata": {"annotations": {"stamp": "old"}}})).unwrap();
    stage.hand_over();
    assert_eq!(stage.store.get(&canary_key()).unwrap()["metadata"]["annotations"]["stamp"], "old");
}
