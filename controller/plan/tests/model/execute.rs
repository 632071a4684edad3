//! Carries out plans on the modelled API server as the executor does on a real one, and stops where it is told to crash.

use serde_json::{Value, json};
use sluice_crds::names::{BY_SUFFIX, FIELD_MANAGER, FIELD_MANAGER_REPLICAS, FINALIZER_IN_MOTION};
use sluice_crds::release::ReleaseSpec;
use sluice_plan::plan::Action;
use sluice_plan::view::{list, set, uid};
use sluice_plan::{Effect, Id, Plan, World};

use super::app::id;
use super::observe::{Memory, SYNC};
use super::store::{Store, WriteError};

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Writes that were accepted.
    pub written: usize,
    pub failed: Option<(Option<Id>, WriteError)>,
    /// The process ended before the plan did.
    pub crashed: bool,
}

/// Who looks at every write before and after it was made.
pub trait Witness {
    fn recorded(&mut self, world: &World, record: &Action, store: &Store);
    fn before(&mut self, world: &World, effect: &Effect, store: &Store);
    fn written(&mut self, world: &World, effect: &Effect, store: &Store);
}

/// Carries out a plan. `writes_left`: the process ends before the write after so many.
pub fn execute(
    store: &mut Store,
    memory: &mut Memory,
    world: &World,
    plan: &Plan,
    writes_left: Option<usize>,
    witness: &mut impl Witness,
) -> Outcome {
    let mut outcome = Outcome::default();
    for action in &plan.records {
        if writes_left == Some(outcome.written) {
            outcome.crashed = true;
            return outcome;
        }
        if let Err(error) = record(store, world, action) {
            outcome.failed = Some((None, error));
            return outcome;
        }
        outcome.written += 1;
        witness.recorded(world, action, store);
    }
    let (shows, effects): (Vec<&Effect>, Vec<&Effect>) =
        plan.effects.iter().partition(|effect| matches!(effect, Effect::Show { .. }));
    for effect in effects.into_iter().chain(shows) {
        if writes_left == Some(outcome.written) {
            outcome.crashed = true;
            return outcome;
        }
        witness.before(world, effect, store);
        match carry_out(store, memory, world, effect) {
            Ok(()) => {
                outcome.written += 1;
                witness.written(world, effect, store);
            }
            Err(_) if matches!(effect, Effect::Show { .. }) => {}
            Err(error) => {
                outcome.failed = Some((effect.id().cloned(), error));
                return outcome;
            }
        }
    }
    outcome
}

fn record(store: &mut Store, world: &World, action: &Action) -> Result<(), WriteError> {
    match action {
        Action::RecordSync(status) => {
            let mut object = serde_json::to_value(&world.sync).unwrap();
            object["status"] = serde_json::to_value(status).unwrap();
            store.replace_status(&id("GitSync", SYNC), &object).map(drop)
        }
        Action::RecordRelease(status) => {
            let release = world.release.as_ref().unwrap();
            let mut object = serde_json::to_value(release).unwrap();
            object["status"] = serde_json::to_value(status).unwrap();
            store.replace_status(&id("Release", release.metadata.name.as_deref().unwrap()), &object).map(drop)
        }
        Action::CreateRelease(spec) => {
            match store.create(&id("Release", &format!("{SYNC}-{}", spec.number)), &new_release(world, spec), FIELD_MANAGER) {
                Err(WriteError::AlreadyExists) => Ok(()),
                other => other.map(drop),
            }
        }
    }
}

fn new_release(world: &World, spec: &ReleaseSpec) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "Release",
        "metadata": {
            "name": format!("{SYNC}-{}", spec.number), "namespace": world.namespace(),
            "ownerReferences": [{
                "apiVersion": "sluice.dev/v1alpha1", "kind": "GitSync", "name": SYNC, "uid": world.sync.metadata.uid, "controller": true,
            }],
        },
        "spec": spec,
    })
}

fn carry_out(store: &mut Store, memory: &mut Memory, world: &World, effect: &Effect) -> Result<(), WriteError> {
    match effect {
        Effect::Apply { id, object, digest, uid, resource_version } => {
            let answer = store.apply(id, object, FIELD_MANAGER, uid.as_deref(), resource_version.as_deref())?;
            memory.proven(id, digest, &answer);
            Ok(())
        }
        Effect::CoOwnReplicas { id, object, uid } => store.apply(id, object, FIELD_MANAGER_REPLICAS, Some(uid), None).map(drop),
        Effect::Reclaim { id, managed_fields, uid, resource_version } => {
            let patch = json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "managedFields": managed_fields}});
            store.merge_patch(id, &patch, FIELD_MANAGER, "").map(drop)
        }
        Effect::Create { id, object } => store.create(id, object, FIELD_MANAGER).map(drop),
        Effect::Patch { id, patch, .. } => store.merge_patch(id, patch, FIELD_MANAGER, "").map(drop),
        Effect::Delete { id, uid, resource_version } => match store.delete(id, uid, resource_version.as_deref()) {
            Err(WriteError::NotFound) => Ok(()),
            other => other,
        },
        Effect::Finalizer { present, resource_version } => {
            let mut finalizers = world.sync.metadata.finalizers.clone().unwrap_or_default();
            finalizers.retain(|name| name != FINALIZER_IN_MOTION);
            if *present {
                finalizers.push(FINALIZER_IN_MOTION.to_owned());
            }
            let patch = json!({"metadata": {"uid": world.sync.metadata.uid, "resourceVersion": resource_version, "finalizers": finalizers}});
            store.merge_patch(&id("GitSync", SYNC), &patch, FIELD_MANAGER, "").map(drop)
        }
        Effect::ClearAnnotation { id, annotation, uid, resource_version } => {
            let patch = json!({"metadata": {
                "uid": uid, "resourceVersion": resource_version,
                "annotations": {annotation: null, format!("{annotation}{BY_SUFFIX}"): null},
            }});
            store.merge_patch(id, &patch, FIELD_MANAGER, "").map(drop)
        }
        Effect::LiftFinalizer { id, uid, resource_version } => {
            let finalizers: Vec<Value> = world
                .object(id)
                .map(|object| {
                    list(object, &["metadata", "finalizers"])
                        .iter()
                        .filter(|name| *name != FINALIZER_IN_MOTION)
                        .cloned()
                        .collect()
                })
                .unwrap_or_default();
            let patch = json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "finalizers": finalizers}});
            store.merge_patch(id, &patch, FIELD_MANAGER, "").map(drop)
        }
        Effect::Show { id, status, uid, .. } => {
            let patch = json!({"metadata": {"uid": uid}, "status": status});
            store.merge_patch(id, &patch, FIELD_MANAGER, "status").map(drop)
        }
    }
}

/// Deletes an object as a person would.
pub fn delete_by_hand(store: &mut Store, id: &Id) {
    if let Some(object) = store.get(id) {
        store.delete(id, uid(&object), None).unwrap();
    }
}

/// Annotates an object as a person would.
pub fn annotate(store: &mut Store, id: &Id, name: &str, value: &str) {
    let _ = store.update(id, "kubectl-annotate", "", |object| set(object, &["metadata", "annotations", name], json!(value)));
}
