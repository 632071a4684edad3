//! Carries out a plan: records first, then effects in order, and stops at the first answer that is not success. It makes no choice.

use serde_json::{Value, json};
use sluice_cluster::object::{ApplyOptions, ObjectKey, Propagation, WriteError};
use sluice_crds::names::{BY_SUFFIX, FIELD_MANAGER, FIELD_MANAGER_REPLICAS, FINALIZER_IN_MOTION, GROUP, VERSION};
use sluice_crds::release::ReleaseSpec;
use sluice_plan::plan::Action;
use sluice_plan::view::{list, set};
use sluice_plan::{Effect, Id, Plan, World};

use crate::observe::release_name;
use crate::settled::Settled;
use crate::tenant::{Identities, key, own_key, sync_key};

/// What came of a plan.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Writes that the API server accepted.
    pub written: usize,
    /// The first answer that was not success, and the object.
    pub failed: Option<(Option<Id>, WriteError)>,
}

/// Carries out plans of one GitSync.
pub struct Executor<'a> {
    pub identities: &'a Identities,
    pub settled: &'a Settled,
}

impl Executor<'_> {
    /// See the module.
    pub async fn execute(&self, world: &World, plan: &Plan) -> Outcome {
        let mut outcome = Outcome::default();
        for record in &plan.records {
            if let Err(error) = self.record(world, record).await {
                outcome.failed = Some((None, error));
                return outcome;
            }
            outcome.written += 1;
        }
        // The status of a Rollout for people may fail without harm: it is tried apart, after everything that counts.
        let (shows, effects): (Vec<&Effect>, Vec<&Effect>) =
            plan.effects.iter().partition(|effect| matches!(effect, Effect::Show { .. }));
        for effect in effects {
            if let Err(error) = self.effect(world, effect).await {
                outcome.failed = Some((effect.id().cloned(), error));
                return outcome;
            }
            outcome.written += 1;
        }
        for show in shows {
            match self.effect(world, show).await {
                Ok(()) => outcome.written += 1,
                Err(error) => tracing::debug!(reason = error.reason(), "a Rollout's status could not be written"),
            }
        }
        outcome
    }

    async fn record(&self, world: &World, record: &Action) -> Result<(), WriteError> {
        let own = &self.identities.own;
        match record {
            Action::RecordSync(status) => {
                let mut object = serde_json::to_value(&world.sync).unwrap_or_default();
                set(&mut object, &["status"], serde_json::to_value(status).unwrap_or_default());
                let name = world.sync.metadata.name.as_deref().unwrap_or_default();
                own.replace_status(&sync_key(world.namespace(), name), &object).await.map(drop)
            }
            Action::RecordRelease(status) => {
                let Some(release) = &world.release else { return Ok(()) };
                let mut object = serde_json::to_value(release).unwrap_or_default();
                set(&mut object, &["status"], serde_json::to_value(status).unwrap_or_default());
                let name = release.metadata.name.as_deref().unwrap_or_default();
                own.replace_status(&own_key("Release", world.namespace(), name), &object).await.map(drop)
            }
            Action::CreateRelease(spec) => {
                let (key, object) = new_release(world, spec);
                match own.create(&key, &object, FIELD_MANAGER).await {
                    // A name is a number of this GitSync: whoever made it, made this one.
                    Err(WriteError::AlreadyExists { .. }) => Ok(()),
                    other => other.map(drop),
                }
            }
        }
    }

    async fn effect(&self, world: &World, effect: &Effect) -> Result<(), WriteError> {
        let tenant = &self.identities.tenant;
        match effect {
            Effect::Apply { id, object, digest, uid, resource_version } => {
                let options = ApplyOptions {
                    manager: FIELD_MANAGER,
                    force: true,
                    dry_run: false,
                    uid: uid.as_deref(),
                    resource_version: resource_version.as_deref(),
                };
                let answer = tenant.apply(&key(id, Some(object)), object, options).await?;
                self.settled.proven(id, digest, &answer);
                tracing::info!(object = %id, "applied");
                Ok(())
            }
            Effect::CoOwnReplicas { id, object, uid } => {
                let options = ApplyOptions {
                    manager: FIELD_MANAGER_REPLICAS,
                    force: true,
                    dry_run: false,
                    uid: Some(uid),
                    resource_version: None,
                };
                tenant.apply(&key(id, Some(object)), object, options).await.map(drop)
            }
            Effect::Reclaim { id, managed_fields, uid, resource_version } => {
                tracing::info!(object = %id, "fields of others are reclaimed");
                let patch =
                    json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "managedFields": managed_fields}});
                let answer = tenant.merge_patch(&key(id, world.object(id)), &patch, None, FIELD_MANAGER).await?;
                if sluice_plan::view::resource_version(&answer) == resource_version {
                    // Accepted and without effect: to be treated as a failure, or it would be sent again at once.
                    let message = "the API server kept the fields of others as they were".to_owned();
                    return Err(WriteError::Unknown { object: id.to_string(), status: None, message });
                }
                Ok(())
            }
            Effect::Create { id, object } => {
                tracing::info!(object = %id, "created");
                tenant.create(&key(id, Some(object)), object, FIELD_MANAGER).await.map(drop)
            }
            Effect::Patch { id, patch, .. } => {
                tracing::info!(object = %id, "patched");
                tenant.merge_patch(&key(id, None), patch, None, FIELD_MANAGER).await.map(drop)
            }
            Effect::Delete { id, uid, resource_version } => {
                tracing::info!(object = %id, "deleted");
                let key = key(id, world.object(id));
                tenant.delete(&key, uid, resource_version.as_deref(), Propagation::Background).await
            }
            Effect::Finalizer { present, resource_version } => self.finalizer(world, *present, resource_version).await,
            Effect::ClearAnnotation { id, annotation, uid, resource_version } => {
                let patch = json!({"metadata": {
                    "uid": uid, "resourceVersion": resource_version,
                    "annotations": {annotation: null, format!("{annotation}{BY_SUFFIX}"): null},
                }});
                self.identities.own.merge_patch(&key(id, None), &patch, None, FIELD_MANAGER).await.map(drop)
            }
            Effect::LiftFinalizer { id, uid, resource_version } => {
                let finalizers: Vec<Value> = world
                    .object(id)
                    .map(|object| list(object, &["metadata", "finalizers"]).to_vec())
                    .unwrap_or_default()
                    .into_iter()
                    .filter(|name| name != FINALIZER_IN_MOTION)
                    .collect();
                let patch = json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "finalizers": finalizers}});
                self.identities.own.merge_patch(&key(id, None), &patch, None, FIELD_MANAGER).await.map(drop)
            }
            Effect::Show { id, status, uid, .. } => {
                let patch = json!({"metadata": {"uid": uid}, "status": status});
                self.identities.own.merge_patch(&key(id, None), &patch, Some("status"), FIELD_MANAGER).await.map(drop)
            }
        }
    }

    async fn finalizer(&self, world: &World, present: bool, resource_version: &str) -> Result<(), WriteError> {
        let name = world.sync.metadata.name.as_deref().unwrap_or_default();
        let key = sync_key(world.namespace(), name);
        let mut finalizers = world.sync.metadata.finalizers.clone().unwrap_or_default();
        finalizers.retain(|name| name != FINALIZER_IN_MOTION);
        if present {
            finalizers.push(FINALIZER_IN_MOTION.to_owned());
        }
        let uid = world.sync.metadata.uid.clone().unwrap_or_default();
        let patch = json!({"metadata": {"uid": uid, "resourceVersion": resource_version, "finalizers": finalizers}});
        self.identities.own.merge_patch(&key, &patch, None, FIELD_MANAGER).await.map(drop)
    }
}

fn new_release(world: &World, spec: &ReleaseSpec) -> (ObjectKey, Value) {
    let name = release_name(&world.sync, spec.number);
    let object = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Release",
        "metadata": {
            "name": name,
            "namespace": world.namespace(),
            "labels": {sluice_crds::names::LABEL_GITSYNC: world.sync.metadata.name, sluice_crds::names::LABEL_GITSYNC_NAMESPACE: world.namespace()},
            "ownerReferences": [{
                "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "GitSync",
                "name": world.sync.metadata.name, "uid": world.sync.metadata.uid,
                "controller": true, "blockOwnerDeletion": false,
            }],
        },
        "spec": spec,
    });
    (own_key("Release", world.namespace(), &name), object)
}
