//! The ReplicaSets of a rollout as they are: stable, canary, and how many pods each needs.

use serde_json::{Value, json};
use sluice_crds::names::{LABEL_EPOCH, LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE, POD_TEMPLATE_HASH};
use sluice_crds::release::{RolloutPlan, State};

use crate::check::{canary_id, deployment_id};
use crate::effective::step_of;
use crate::evidence::ready_count;
use crate::id::Id;
use crate::view::{controller_uid, integer, label, set, templates_equal, text, texts, uid};
use crate::world::World;

/// The pods of the next step start this long before the present one's time is over, so that the step need not wait for them.
const PRESCALE_S: i64 = 5;
/// The Deployment controller's note of a ReplicaSet's revision: only sets that it counts as its own have it.
const REVISION_ANNOTATION: &str = "deployment.kubernetes.io/revision";
const DESIRED_REPLICAS_ANNOTATION: &str = "deployment.kubernetes.io/desired-replicas";

/// The ReplicaSets of one rollout.
#[derive(Clone, Copy, Debug)]
pub struct Sets<'a> {
    pub deployment: Option<&'a Value>,
    pub canary: Option<&'a Value>,
}

/// Reads the ReplicaSets of one rollout.
#[must_use]
pub fn sets<'a>(world: &'a World, plan: &RolloutPlan) -> Sets<'a> {
    let id = canary_id(plan);
    Sets {
        deployment: world.object(&deployment_id(plan)),
        canary: world.replica_sets.iter().find(|set| Id::of(set).as_ref() == Some(&id)),
    }
}

impl<'a> Sets<'a> {
    /// The uid of the canary set, empty when it is not there.
    #[must_use]
    pub fn canary_uid(&self) -> &'a str {
        self.canary.map_or("", uid)
    }

    /// Whether the canary set belongs to the Deployment already.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        match (self.canary.and_then(controller_uid), self.deployment) {
            (Some(owner), Some(deployment)) => owner == uid(deployment),
            _ => false,
        }
    }

    /// How many pods are wanted in all: the live number, which an autoscaler may own.
    #[must_use]
    pub fn wanted(&self) -> i64 {
        self.deployment.map_or(0, |deployment| integer(deployment, &["spec", "replicas"]).unwrap_or(1))
    }

    /// Sets that the Deployment owns, without the canary.
    pub fn history(&self, world: &'a World) -> impl Iterator<Item = &'a Value> + use<'a> {
        let owner = self.deployment.map_or("", uid);
        let canary = self.canary_uid();
        world.replica_sets.iter().filter(move |set| !owner.is_empty() && controller_uid(set) == Some(owner) && uid(set) != canary)
    }

    /// The stable set's hash, when the Deployment is settled on one set.
    #[must_use]
    pub fn settled_stable_hash(&self, world: &'a World) -> Option<&'a str> {
        let template = self.deployment?.pointer("/spec/template")?;
        let mut current = None;
        for set in self.history(world) {
            let pods = integer(set, &["status", "replicas"]).unwrap_or(0).max(integer(set, &["spec", "replicas"]).unwrap_or(0));
            let is_current = set.pointer("/spec/template").is_some_and(|own| templates_equal(own, template));
            match (is_current, pods > 0) {
                (true, true) => current = Some(set),
                (true, false) if current.is_none() && self.wanted() == 0 => current = Some(set),
                (false, true) => return None,
                (true | false, false) => {}
            }
        }
        current.map(|set| label(set, POD_TEMPLATE_HASH)).filter(|hash| !hash.is_empty())
    }

    /// The set with this hash among the Deployment's own.
    #[must_use]
    pub fn with_hash(&self, world: &'a World, hash: &str) -> Option<&'a Value> {
        self.history(world).find(|set| label(set, POD_TEMPLATE_HASH) == hash)
    }

    /// Ready canary pods, by owner.
    #[must_use]
    pub fn canary_ready(&self, world: &World) -> i64 {
        ready_count(&world.pods, self.canary_uid())
    }
}

/// Pods that a share of the traffic needs: `⌈wanted · weight / 100⌉`.
#[must_use]
pub fn needed(wanted: i64, weight_percent: i32) -> i64 {
    (wanted * i64::from(weight_percent) + 99) / 100
}

/// Pods that the canary shall have in a state; `None`: as many as it has.
#[must_use]
pub fn canary_replicas(plan: &RolloutPlan, state: &State, wanted: i64, held_ms: i64, gate_open: bool) -> Option<i64> {
    let of_step = |step: i32| step_of(plan, step).map_or(0, |step| needed(wanted, step.weight_percent));
    match state {
        State::Preparing {} => Some(of_step(0)),
        State::Scaling { step } | State::Warming { step } | State::Shifting { step } => Some(of_step(*step)),
        State::Judging { step } => {
            let left_ms = step_of(plan, *step).map_or(0, |step| step.hold_s * 1000) - held_ms;
            let early = gate_open && left_ms <= PRESCALE_S * 1000;
            Some(of_step(if early { step + 1 } else { *step }))
        }
        State::HandingOver { .. } => Some(wanted),
        _ => None,
    }
}

/// The canary's ReplicaSet, from the Deployment that a dry-run apply at the new revision returned: defaulting and admission are in.
#[must_use]
pub fn replica_set(plan: &RolloutPlan, deployment: &Value, rollout: &Value, replicas: i64, epoch: i64) -> Value {
    let mut template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
    set(&mut template, &["metadata", "labels", POD_TEMPLATE_HASH], json!(plan.canary_hash));
    let mut labels = texts(&template, &["metadata", "labels"]);
    for name in [LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE] {
        labels.insert(name.to_owned(), label(deployment, name).to_owned());
    }
    let mut match_labels = texts(deployment, &["spec", "selector", "matchLabels"]);
    match_labels.insert(POD_TEMPLATE_HASH.to_owned(), plan.canary_hash.clone());
    json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": plan.canary_replica_set,
            "namespace": plan.namespace,
            "labels": labels,
            "annotations": {LABEL_EPOCH: epoch.to_string()},
            "ownerReferences": [owner(rollout)],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": integer(deployment, &["spec", "minReadySeconds"]).unwrap_or(0),
            "selector": {"matchLabels": match_labels},
            "template": template,
        },
    })
}

/// A controller's owner reference.
#[must_use]
pub fn owner(object: &Value) -> Value {
    json!({
        "apiVersion": text(object, &["apiVersion"]), "kind": text(object, &["kind"]),
        "name": text(object, &["metadata", "name"]), "uid": uid(object),
        "controller": true, "blockOwnerDeletion": text(object, &["kind"]) == "Deployment",
    })
}

/// The patch that hands the canary's set to the Deployment: owner, the Deployment controller's note of the size, no trace of us.
#[must_use]
pub fn handover_patch(deployment: &Value, wanted: i64) -> Value {
    json!({"metadata": {
        "ownerReferences": [owner(deployment)],
        "annotations": {DESIRED_REPLICAS_ANNOTATION: wanted.to_string(), LABEL_EPOCH: null},
        "labels": {LABEL_GITSYNC: null, LABEL_GITSYNC_NAMESPACE: null},
    }})
}

/// The patch that takes it back.
#[must_use]
pub fn take_back_patch(rollout: &Value) -> Value {
    json!({"metadata": {"ownerReferences": [owner(rollout)]}})
}

/// Whether the Deployment controller counts a set as its current one.
#[must_use]
pub fn is_recognised(set: &Value, deployment: &Value) -> bool {
    let revision = crate::view::annotation(set, REVISION_ANNOTATION);
    !revision.is_empty() && revision == crate::view::annotation(deployment, REVISION_ANNOTATION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_needs_its_share_of_pods_rounded_up() {
        assert_eq!(
            [needed(4, 5), needed(4, 25), needed(4, 50), needed(4, 100), needed(10, 33), needed(0, 50)],
            [1, 1, 2, 4, 4, 0]
        );
    }
}
