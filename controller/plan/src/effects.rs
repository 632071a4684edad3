//! The writes that bring the cluster to what the recorded state prescribes. In the order in which they are safe: first what
//! keeps canary pods from users, then pods, then weights, then everything else; deletions last.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sluice_crds::names::{FIELD_MANAGER, FIELD_MANAGER_REPLICAS, LABEL_EPOCH};
use sluice_crds::release::{Handover, ReleaseSpec, ReleaseStatus, Rollback, RolloutPlan, RolloutProgress, State};
use sluice_crds::rollout::RolloutStatus;

use crate::canary::{canary_replicas, handover_patch, replica_set, sets, take_back_patch};
use crate::check::{canary_id, rollout_id, service_id};
use crate::effective::{Desired, Effective, is_settled};
use crate::foreign::{has_foreign_content, reclaimed};
use crate::id::{APPS, CORE, GATEWAY, Id};
use crate::motion::twins;
use crate::view::{annotation, integer, owns, resource_version, set, uid};
use crate::world::{Template, World};

/// One guarded write. Whoever carries it out makes no choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Server-side apply as the tenant. With uid and resourceVersion of the object that the decision rests on; without: create.
    Apply { id: Id, object: Value, digest: String, uid: Option<String>, resource_version: Option<String> },
    /// A second manager applies the live number of replicas, so that the first one can give the field up.
    CoOwnReplicas { id: Id, object: Value, uid: String },
    /// Makes fields that others added ours, as the tenant, so that the next apply removes them.
    Reclaim { id: Id, managed_fields: Value, uid: String, resource_version: String },
    /// Create as the tenant; a name that is taken is a failure.
    Create { id: Id, object: Value },
    /// Merge patch as the tenant, with uid and resourceVersion.
    Patch { id: Id, patch: Value, uid: String, resource_version: String },
    /// Delete as the tenant, with uid, in the background.
    Delete { id: Id, uid: String, resource_version: Option<String> },
    /// The GitSync's finalizer, as the controller.
    Finalizer { present: bool, resource_version: String },
    /// Removes a command's annotation, as the controller.
    ClearAnnotation { id: Id, annotation: String, uid: String, resource_version: String },
    /// Lifts our finalizer from a Rollout that goes away and is not applied any more.
    LiftFinalizer { id: Id, uid: String, resource_version: String },
    /// What people see of a Rollout, as the controller.
    Show { id: Id, status: Box<RolloutStatus>, uid: String, resource_version: String },
}

impl Effect {
    /// The object that is written; `None` for the GitSync itself.
    #[must_use]
    pub fn id(&self) -> Option<&Id> {
        match self {
            Self::Apply { id, .. }
            | Self::CoOwnReplicas { id, .. }
            | Self::Reclaim { id, .. }
            | Self::Create { id, .. }
            | Self::Patch { id, .. }
            | Self::Delete { id, .. }
            | Self::ClearAnnotation { id, .. }
            | Self::LiftFinalizer { id, .. }
            | Self::Show { id, .. } => Some(id),
            Self::Finalizer { .. } => None,
        }
    }
}

/// Whether an effect writes the GitSync itself.
#[must_use]
pub fn is_of_sync(effect: &Effect) -> bool {
    effect.id().is_none_or(|id| id.is(sluice_crds::names::GROUP, "GitSync"))
}

/// The applies that a set of desired objects needs, in safe order.
#[must_use]
pub fn applies(world: &World, effective: &Effective) -> Vec<Effect> {
    let mut unsettled: Vec<(&Id, &Desired)> = effective.unsettled(world).collect();
    unsettled.sort_by_key(|(id, desired)| (order(id), desired.stage, (*id).clone()));
    unsettled.into_iter().filter_map(|(id, desired)| apply(world, id, desired)).collect()
}

fn order(id: &Id) -> u8 {
    match (id.group.as_str(), id.kind.as_str()) {
        ("apiextensions.k8s.io", "CustomResourceDefinition") | (CORE, "Namespace") => 0,
        (CORE, "Service") => 1,
        (sluice_crds::names::GROUP, _) => 2,
        (GATEWAY, _) => 3,
        (APPS, _) => 5,
        _ => 4,
    }
}

fn apply(world: &World, id: &Id, desired: &Desired) -> Option<Effect> {
    let live = world.object(id);
    if let Some(live) = live
        && id.is(APPS, "Deployment")
        && desired.object.pointer("/spec/replicas").is_none()
        && owns(live, FIELD_MANAGER, &["f:spec", "f:replicas"])
        && !owns(live, FIELD_MANAGER_REPLICAS, &["f:spec", "f:replicas"])
    {
        let mut object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": id.name, "namespace": id.namespace}});
        set(&mut object, &["spec", "replicas"], live.pointer("/spec/replicas").cloned().unwrap_or(json!(1)));
        return Some(Effect::CoOwnReplicas { id: id.clone(), object, uid: uid(live).to_owned() });
    }
    // An object on its way out takes no changes; what is wanted of it comes back when it is gone. Except our finalizer,
    // which has to be lifted for it to go.
    if live.is_some_and(crate::view::is_deleting) {
        return None;
    }
    if let Some(live) = live
        && has_foreign_content(id, &desired.object, live)
    {
        return Some(Effect::Reclaim {
            id: id.clone(),
            managed_fields: reclaimed(&desired.object, live),
            uid: uid(live).to_owned(),
            resource_version: resource_version(live).to_owned(),
        });
    }
    Some(Effect::Apply {
        id: id.clone(),
        object: desired.object.clone(),
        digest: desired.digest.clone(),
        uid: live.map(|live| uid(live).to_owned()),
        resource_version: live.map(|live| resource_version(live).to_owned()),
    })
}

/// All writes that a release in motion needs in its recorded state.
#[must_use]
pub fn of_motion(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus, effective: &Effective, held_ms: i64) -> Vec<Effect> {
    let mut effects = Vec::new();
    if matches!(status.state, State::RollingBack { .. }) {
        effects.extend(take_back(world, spec));
    }
    let applies = applies(world, effective);
    let (traffic, rest): (Vec<_>, Vec<_>) = applies.into_iter().partition(|effect| effect.id().is_some_and(|id| order(id) <= 2));
    let (routes, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|effect| effect.id().is_some_and(|id| order(id) == 3));
    // Forward, pods are kept from users before a weight may reach them; back, the weight goes first.
    let goes_back = matches!(status.state, State::RollingBack { .. });
    let (first, routes) = if goes_back { (routes, traffic) } else { (traffic, routes) };
    effects.extend(first);
    for (plan, progress) in spec.rollouts.iter().zip(&status.rollouts) {
        effects.extend(of_canary(world, plan, progress, status, effective, held_ms));
    }
    effects.extend(routes);
    effects.extend(rest);
    effects.extend(lift_finalizers(world, spec, status));
    effects.extend(deletions(world, effective));
    effects
}

/// Deletes what shall not be, with the uid that was seen, where it is ours.
#[must_use]
pub fn deletions(world: &World, effective: &Effective) -> Vec<Effect> {
    effective
        .absent
        .iter()
        .filter_map(|id| Some((id, world.object(id)?)))
        .filter(|(_, object)| !crate::view::is_deleting(object) && crate::inventory::is_ours(world, object))
        .map(|(id, object)| delete(id, object))
        .collect()
}

/// A deletion with what the decision rests on.
#[must_use]
pub fn delete(id: &Id, object: &Value) -> Effect {
    Effect::Delete { id: id.clone(), uid: uid(object).to_owned(), resource_version: None }
}

/// A ReplicaSet that was handed to the Deployment and not taken over goes back to its Rollout before anything else is undone.
fn take_back(world: &World, spec: &ReleaseSpec) -> Vec<Effect> {
    spec.rollouts
        .iter()
        .filter_map(|plan| {
            let sets = sets(world, plan);
            let (canary, rollout) = (sets.canary?, world.object(&rollout_id(plan))?);
            sets.is_handed_over().then(|| patch(&canary_id(plan), canary, take_back_patch(rollout)))
        })
        .collect()
}

fn patch(id: &Id, object: &Value, mut patch: Value) -> Effect {
    set(&mut patch, &["metadata", "uid"], json!(uid(object)));
    set(&mut patch, &["metadata", "resourceVersion"], json!(resource_version(object)));
    Effect::Patch { id: id.clone(), patch, uid: uid(object).to_owned(), resource_version: resource_version(object).to_owned() }
}

fn of_canary(
    world: &World,
    plan: &RolloutPlan,
    progress: &RolloutProgress,
    status: &ReleaseStatus,
    effective: &Effective,
    held_ms: i64,
) -> Vec<Effect> {
    let sets = sets(world, plan);
    let id = canary_id(plan);
    let Some(canary) = sets.canary else { return create(world, plan, status, effective).into_iter().collect() };
    if crate::view::is_deleting(canary) {
        return Vec::new();
    }
    if matches!(status.state, State::Preparing {}) && uid(canary) != progress.canary_uid && sets.is_handed_over() {
        // The name is taken by a ReplicaSet of the Deployment's history: the same content was out before.
        let pods = integer(canary, &["spec", "replicas"]).unwrap_or(0).max(integer(canary, &["status", "replicas"]).unwrap_or(0));
        return (pods == 0).then(|| delete_exactly(&id, canary)).into_iter().collect();
    }
    match &status.state {
        State::HandingOver { stage: Handover::RemoveTwins } => twins(world, &sets)
            .filter(|set| {
                integer(set, &["spec", "replicas"]) == Some(0) && integer(set, &["status", "replicas"]).unwrap_or(0) == 0
            })
            .filter_map(|set| Some(delete_exactly(&Id::of(set)?, set)))
            .collect(),
        State::HandingOver { stage: Handover::ChangeOwner } if !sets.is_handed_over() => {
            sets.deployment.map(|deployment| patch(&id, canary, handover_patch(deployment, sets.wanted()))).into_iter().collect()
        }
        // After a native rollout the judged set has served its time, once the Services have let go of it for a while.
        State::HandingOver { stage: Handover::Unpin } if !sets.is_handed_over() => {
            let root = service_id(plan, &plan.service);
            let is_unpinned = crate::motion::is_ready_in(world, effective, &root);
            let is_drained = (world.now - status.state_since).num_seconds() > crate::motion::DRAIN_S;
            if is_unpinned && is_drained { vec![delete_exactly(&id, canary)] } else { Vec::new() }
        }
        State::RollingBack { stage } if *stage >= Rollback::RemoveCanary && !sets.is_handed_over() => {
            vec![delete_exactly(&id, canary)]
        }
        _ if sets.is_handed_over() => Vec::new(),
        state => {
            let wanted = canary_replicas(plan, state, sets.wanted(), held_ms, is_gate_open(status, plan));
            // Pods that were started early stay when the step is held after all.
            let now = integer(canary, &["spec", "replicas"]).unwrap_or(0);
            let keeps = matches!(state, State::Judging { .. }) && now <= sets.wanted();
            let wanted = wanted.map(|wanted| if keeps { wanted.max(now) } else { wanted });
            let mut change = json!({});
            if wanted.is_some_and(|wanted| integer(canary, &["spec", "replicas"]) != Some(wanted)) {
                set(&mut change, &["spec", "replicas"], json!(wanted));
            }
            if annotation(canary, LABEL_EPOCH) != status.epoch.to_string() {
                set(&mut change, &["metadata", "annotations", LABEL_EPOCH], json!(status.epoch.to_string()));
            }
            if change == json!({}) { Vec::new() } else { vec![patch(&id, canary, change)] }
        }
    }
}

/// Whether the next step would follow if the present one's time were over.
fn is_gate_open(status: &ReleaseStatus, plan: &RolloutPlan) -> bool {
    let State::Judging { step } = status.state else { return false };
    let approved = status.approved_through >= step || !crate::effective::step_of(plan, step).is_some_and(|step| step.approval);
    approved && status.wait.as_ref().is_none_or(|wait| wait.reason == "HoldTime")
}

fn delete_exactly(id: &Id, object: &Value) -> Effect {
    Effect::Delete { id: id.clone(), uid: uid(object).to_owned(), resource_version: Some(resource_version(object).to_owned()) }
}

/// Creates the canary, once every Service that would select its pods is pinned away from them.
fn create(world: &World, plan: &RolloutPlan, status: &ReleaseStatus, effective: &Effective) -> Option<Effect> {
    if !matches!(status.state, State::Preparing {}) {
        return None;
    }
    let pinned =
        effective.objects.iter().filter(|(id, _)| id.is(CORE, "Service")).all(|(id, desired)| is_settled(world, id, desired));
    let guarded = crate::motion::is_ready_in(world, effective, &service_id(plan, &plan.canary_service));
    let (Some(Template::Deployment(deployment)), Some(rollout)) =
        (world.templates.get(&plan.name), world.object(&rollout_id(plan)))
    else {
        return None;
    };
    if !pinned || !guarded || crate::view::is_deleting(rollout) {
        return None;
    }
    let wanted = sets(world, plan).wanted();
    let replicas = canary_replicas(plan, &status.state, wanted, 0, false).unwrap_or(0);
    Some(Effect::Create { id: canary_id(plan), object: replica_set(plan, deployment, rollout, replicas, status.epoch) })
}

/// A Rollout that somebody deletes in motion goes when the canary is gone.
fn lift_finalizers(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> Vec<Effect> {
    if !matches!(status.state, State::RollingBack { stage: Rollback::Unpin } | State::HandingOver { stage: Handover::Unpin }) {
        return Vec::new();
    }
    spec.rollouts.iter().filter_map(|plan| lift_finalizer(world, &rollout_id(plan))).collect()
}

/// Lifts our finalizer from an object that is being deleted.
#[must_use]
pub fn lift_finalizer(world: &World, id: &Id) -> Option<Effect> {
    let object = world.object(id)?;
    let ours = json!(sluice_crds::names::FINALIZER_IN_MOTION);
    let has = crate::view::list(object, &["metadata", "finalizers"]).contains(&ours);
    (has && crate::view::is_deleting(object)).then(|| Effect::LiftFinalizer {
        id: id.clone(),
        uid: uid(object).to_owned(),
        resource_version: resource_version(object).to_owned(),
    })
}
