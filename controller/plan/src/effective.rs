//! What the cluster shall be: effective object = render + overlay(state). At rest the overlay is empty.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use sluice_crds::gitsync::GitSync;
use sluice_crds::names::{FINALIZER_IN_MOTION, LABEL_EPOCH, LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE, LABEL_RELEASE};
use sluice_crds::release::{Handover, ReleaseSpec, ReleaseStatus, Rollback, RolloutPlan, RolloutProgress, State};

use crate::check::{deployment_id, named, rollout_id, route_id, service_id};
use crate::digest::digest;
use crate::foreign::has_foreign_content;
use crate::id::Id;
use crate::naming::{autoscales, is_autoscaled, referenced_config, selecting_services};
use crate::overlay::{WEIGHT_TOTAL, canary_service, pause, pin, split};
use crate::render::Render;
use crate::view::{remove, set};
use crate::wait::Blocked;
use crate::world::World;

/// The last stage of applying: workloads.
pub const STAGE_LAST: i32 = 2;

/// One object as it shall be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    pub object: Value,
    /// Of the object: what [`crate::world::Live::settled`] is compared with.
    pub digest: String,
    /// 0 what others need to exist, 1 configuration, 2 workloads.
    pub stage: i32,
}

/// What shall be, and what shall not be any more.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Effective {
    pub objects: BTreeMap<Id, Desired>,
    pub absent: BTreeSet<Id>,
}

/// The side of a release that an object is taken from, and what lies over it.
struct Side<'a> {
    good: &'a BTreeMap<Id, Value>,
    target: &'a BTreeMap<Id, Value>,
}

impl Effective {
    fn put(&mut self, world: &World, objects: &BTreeMap<Id, Value>, id: &Id, mut object: Value) {
        finish(&world.sync, objects, id, &mut object);
        let digest = digest(&object);
        self.objects.insert(id.clone(), Desired { object, digest, stage: stage(id) });
    }

    /// The desired objects that the live ones are not proven to equal, in the order of stages.
    pub fn unsettled<'a>(&'a self, world: &'a World) -> impl Iterator<Item = (&'a Id, &'a Desired)> {
        self.objects.iter().filter(|(id, desired)| !is_settled(world, id, desired))
    }
}

/// Whether a live object was proven to be as desired, with nothing added by others.
#[must_use]
pub fn is_settled(world: &World, id: &Id, desired: &Desired) -> bool {
    world.live.get(id).is_some_and(|live| {
        live.settled.as_deref() == Some(&desired.digest)
            && live.object.as_ref().is_some_and(|object| !has_foreign_content(id, &desired.object, object))
    })
}

/// Dependency stages: what others need to exist, configuration, workloads.
#[must_use]
pub fn stage(id: &Id) -> i32 {
    match (id.group.as_str(), id.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") | ("", "Namespace") => 0,
        ("apps" | "batch", _) | ("", "Pod" | "ReplicationController") => STAGE_LAST,
        _ => 1,
    }
}

/// Marks an object as this GitSync's, and leaves out what belongs to an autoscaler.
fn finish(sync: &GitSync, objects: &BTreeMap<Id, Value>, id: &Id, object: &mut Value) {
    set(object, &["metadata", "labels", LABEL_GITSYNC], json!(sync.metadata.name));
    set(object, &["metadata", "labels", LABEL_GITSYNC_NAMESPACE], json!(sync.metadata.namespace));
    if id.is(crate::id::APPS, "Deployment") && is_autoscaled(objects, id) {
        remove(object, &["spec", "replicas"]);
    }
}

/// The good revision and nothing over it.
#[must_use]
pub fn at_rest(world: &World, render: &Render) -> Effective {
    let objects = named(Some(render));
    let mut effective = Effective::default();
    for (id, object) in &objects {
        effective.put(world, &objects, id, object.clone());
    }
    effective
}

/// What a release in motion wants in its recorded state.
///
/// # Errors
/// [`Blocked::SnapshotMissing`]: a render that the release needs is not to be had; nothing may be written.
pub fn in_motion(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> Result<Effective, Blocked> {
    let missing = |sha: &str| Blocked::SnapshotMissing(sha.to_owned());
    let target_render = world.renders.get(&status.target.digest).ok_or_else(|| missing(&status.target.sha))?;
    let target = named(Some(target_render));
    let good = match &spec.previous {
        Some(previous) => named(Some(world.renders.get(&previous.digest).ok_or_else(|| missing(&previous.sha))?)),
        None => BTreeMap::new(),
    };
    let side = Side { good: &good, target: &target };
    let managed = managed(spec, side.good, side.target);
    let mut effective = Effective::default();
    let base = if restores_base(&status.state) { &good } else { &target };
    let stage_limit = match status.state {
        State::Applying { stage } => stage,
        _ => STAGE_LAST,
    };
    for (id, object) in base {
        if !managed.contains(id) && stage(id) <= stage_limit {
            effective.put(world, base, id, object.clone());
        }
    }
    for (plan, progress) in spec.rollouts.iter().zip(&status.rollouts) {
        put_rollout(&mut effective, world, &side, plan, progress, &status.state, spec.number, status.epoch);
    }
    if matches!(status.state, State::RollingBack { stage: Rollback::Unpin }) {
        effective.absent.extend(target.keys().filter(|id| !good.contains_key(*id) && !is_retained(id)).cloned());
    }
    Ok(effective)
}

/// A rollback deletes what only the failed revision had, except what holds data or other objects.
#[must_use]
pub fn is_retained(id: &Id) -> bool {
    matches!(id.kind.as_str(), "PersistentVolumeClaim" | "Namespace" | "CustomResourceDefinition")
}

fn restores_base(state: &State) -> bool {
    matches!(state, State::RollingBack { stage } if *stage >= Rollback::Restore)
        || matches!(state, State::RolledBack {} | State::Superseded {} | State::Failed {})
}

/// Objects that wait for the rollouts of a release, on either side of it.
#[must_use]
pub fn managed(spec: &ReleaseSpec, good: &BTreeMap<Id, Value>, target: &BTreeMap<Id, Value>) -> BTreeSet<Id> {
    let mut managed = BTreeSet::new();
    for plan in &spec.rollouts {
        let deployment = deployment_id(plan);
        for objects in [good, target] {
            managed.extend(selecting_services(objects, &deployment).iter().map(|name| service_id(plan, name)));
            managed.extend(referenced_config(objects, &deployment));
            managed.extend(objects.iter().filter(|(id, object)| autoscales(id, object, &deployment)).map(|(id, _)| id.clone()));
        }
        managed.extend(plan.routes.iter().map(|name| route_id(plan, name)));
        managed.insert(service_id(plan, &plan.service));
        managed.insert(rollout_id(plan));
        managed.insert(deployment);
    }
    managed
}

/// Canary weight in thousandths that a state asks of a rollout's routes; `None`: the route is as in Git.
#[must_use]
pub fn canary_weight(plan: &RolloutPlan, state: &State) -> Option<i64> {
    let of_step = |step: i32| step_of(plan, step).map_or(0, |step| i64::from(step.weight_percent) * WEIGHT_TOTAL / 100);
    match state {
        State::Applying { .. } | State::Preparing {} | State::Scaling { step: 0 } => None,
        State::Scaling { step } => Some(of_step(step - 1)),
        State::Warming { .. } => Some(1),
        State::Shifting { step } | State::Judging { step } => Some(of_step(*step)),
        State::HandingOver { stage } => match stage {
            Handover::RepointServices => Some(WEIGHT_TOTAL - 1),
            Handover::ShiftToRoot => Some(1),
            _ => None,
        },
        State::RollingBack { stage: Rollback::Traffic | Rollback::Drain } | State::Holding {} => Some(0),
        _ => None,
    }
}

/// The plan's step at a release's index: a rollout with fewer steps stays at its last.
#[must_use]
pub fn step_of(plan: &RolloutPlan, step: i32) -> Option<&sluice_crds::release::StepPlan> {
    let index = usize::try_from(step).unwrap_or(0).min(plan.steps.len().saturating_sub(1));
    plan.steps.get(index)
}

/// Which pods the Services select: `None` as in Git, else the pods of one ReplicaSet.
fn pinned_hash<'a>(plan: &'a RolloutPlan, progress: &'a RolloutProgress, state: &State) -> Option<&'a str> {
    let hash = match state {
        State::Preparing {} | State::Scaling { .. } | State::Warming { .. } | State::Shifting { .. } | State::Judging { .. } => {
            &progress.stable_hash
        }
        State::HandingOver { stage: Handover::Unpin } | State::RollingBack { stage: Rollback::Unpin } => return None,
        State::HandingOver { .. } => &plan.canary_hash,
        State::RollingBack { .. } | State::Holding {} => &progress.stable_hash,
        _ => return None,
    };
    (!hash.is_empty()).then_some(hash.as_str())
}

/// Whether the canary's Service is there in a state: from before its pods to after the last route that names it.
fn has_canary_service(state: &State, progress: &RolloutProgress) -> Option<bool> {
    match state {
        State::Applying { .. } => None,
        State::Preparing {} | State::Scaling { .. } | State::Warming { .. } | State::Shifting { .. } | State::Judging { .. } => {
            Some(true)
        }
        State::HandingOver { stage: Handover::Unpin } => Some(false),
        State::HandingOver { .. } => Some(true),
        State::RollingBack { stage } if *stage < Rollback::RemoveCanary => (!progress.stable_hash.is_empty()).then_some(true),
        State::Holding {} => (!progress.stable_hash.is_empty()).then_some(true),
        _ => Some(false),
    }
}

#[allow(
    clippy::too_many_arguments,
    reason = "one rollout's place in one release: a struct for one caller would hide the data flow"
)]
fn put_rollout(
    effective: &mut Effective,
    world: &World,
    side: &Side<'_>,
    plan: &RolloutPlan,
    progress: &RolloutProgress,
    state: &State,
    number: i64,
    epoch: i64,
) {
    let pinned = pinned_hash(plan, progress, state);
    // In motion each object that carries traffic wears the epoch of the leader: a new leader's first pass touches all of
    // them, and a late write of the old one meets a newer resourceVersion.
    let in_motion = !matches!(state, State::Applying { .. }) && is_moving(state);
    let stamp = |object: &mut Value| {
        if in_motion {
            set(object, &["metadata", "labels", LABEL_EPOCH], json!(epoch.to_string()));
        }
    };
    let from = |target_side: bool, id: &Id| -> Option<Value> {
        let (first, second) = if target_side { (side.target, side.good) } else { (side.good, side.target) };
        let goes_back = matches!(state, State::RollingBack { .. });
        first.get(id).or_else(|| if goes_back { None } else { second.get(id) }).cloned()
    };
    let handover = match state {
        State::HandingOver { stage } => Some(*stage),
        _ => None,
    };
    let past =
        |stage: Handover| handover.is_some_and(|now| now >= stage) || matches!(state, State::Pruning {} | State::Promoted {});
    let (service_new, route_new, deployment_new) =
        (past(Handover::Unpin), past(Handover::RouteAsGit), past(Handover::PauseDeployment));
    let rest_new = past(Handover::ReleaseDeployment);

    let deployment = deployment_id(plan);
    if let Some(mut object) = from(deployment_new, &deployment) {
        if matches!(handover, Some(Handover::PauseDeployment | Handover::ChangeOwner)) {
            pause(&mut object);
            hold_replicas(world, &deployment, &mut object);
        }
        stamp(&mut object);
        let objects = if deployment_new { side.target } else { side.good };
        effective.put(world, objects, &deployment, object);
    }
    let mut services: BTreeSet<String> = plan.pinned_services.iter().cloned().collect();
    services.extend(selecting_services(side.good, &deployment));
    for name in &services {
        let id = service_id(plan, name);
        if let Some(mut object) = from(service_new, &id) {
            if let Some(hash) = pinned {
                pin(&mut object, hash);
            }
            stamp(&mut object);
            effective.put(world, side.good, &id, object);
        }
    }
    let canary = service_id(plan, &plan.canary_service);
    match has_canary_service(state, progress) {
        Some(true) => {
            if let Some(root) = from(false, &service_id(plan, &plan.service)) {
                let mut object = canary_service(&root, &plan.canary_service, &plan.canary_hash);
                set(
                    &mut object,
                    &["metadata", "labels", LABEL_RELEASE],
                    json!(format!("{}-{number}", world.sync.metadata.name.as_deref().unwrap_or(""))),
                );
                stamp(&mut object);
                effective.put(world, side.good, &canary, object);
            }
        }
        Some(false) => {
            effective.absent.insert(canary);
        }
        None => {}
    }
    for name in &plan.routes {
        let id = route_id(plan, name);
        if let Some(mut object) = from(route_new, &id) {
            // A rollback from before the canary existed has no weight to take away.
            if let Some(weight) = canary_weight(plan, state).filter(|_| !progress.stable_hash.is_empty()) {
                split(&mut object, &plan.service, &plan.canary_service, weight);
            }
            stamp(&mut object);
            effective.put(world, side.good, &id, object);
        }
    }
    let rollout = rollout_id(plan);
    let rollout_new = !restores_base(state);
    if let Some(mut object) = from(rollout_new, &rollout) {
        if in_motion
            && !matches!(state, State::RollingBack { stage: Rollback::Unpin } | State::HandingOver { stage: Handover::Unpin })
        {
            set(&mut object, &["metadata", "finalizers"], json!([FINALIZER_IN_MOTION]));
        }
        effective.put(world, side.target, &rollout, object);
    }
    let others = managed_others(plan, side, &deployment);
    for id in others {
        if let Some(object) = from(rest_new, &id) {
            effective.put(world, if rest_new { side.target } else { side.good }, &id, object);
        }
    }
}

/// Whether something of a release is laid over the render in a state.
#[must_use]
pub fn is_moving(state: &State) -> bool {
    !matches!(state, State::Pruning {} | State::Promoted {} | State::RolledBack {} | State::Superseded {} | State::Failed {})
        && !matches!(state, State::RollingBack { stage: Rollback::Unpin } | State::HandingOver { stage: Handover::Unpin })
}

/// Autoscalers and original config: what waits for the handover besides workload, Services and routes.
fn managed_others(plan: &RolloutPlan, side: &Side<'_>, deployment: &Id) -> BTreeSet<Id> {
    let mut others = BTreeSet::new();
    for objects in [side.good, side.target] {
        others.extend(referenced_config(objects, deployment));
        others.extend(objects.iter().filter(|(id, object)| autoscales(id, object, deployment)).map(|(id, _)| id.clone()));
    }
    let _ = plan;
    others
}

/// During the handover the number of replicas stays what it is: a change in the same write would be a scaling event.
fn hold_replicas(world: &World, deployment: &Id, object: &mut Value) {
    let live = world.object(deployment).and_then(|live| live.pointer("/spec/replicas"));
    if let (Some(live), Some(_)) = (live, object.pointer("/spec/replicas")) {
        set(object, &["spec", "replicas"], live.clone());
    }
}

/// Every object of a revision as it would be at rest: what a check of the whole revision tries.
#[must_use]
pub fn desired_of(sync: &GitSync, render: &Render) -> Vec<(Id, Value)> {
    let objects = named(Some(render));
    objects
        .iter()
        .map(|(id, object)| {
            let mut object = object.clone();
            finish(sync, &objects, id, &mut object);
            (id.clone(), object)
        })
        .collect()
}
