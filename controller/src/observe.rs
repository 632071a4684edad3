//! Reads the world of one GitSync, fresh, by GET and LIST: no decision rests on a cache. Watches only say when to look.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use futures::StreamExt;
use serde_json::Value;
use sluice_cluster::object::{ApplyOptions, ObjectKey, ReadError};
use sluice_crds::gitsync::GitSync;
use sluice_crds::names::FIELD_MANAGER;
use sluice_crds::release::{Release, ReleaseSpec, ReleaseStatus, RolloutPlan, State};
use sluice_plan::canary::sets;
use sluice_plan::check::{canary_id, deployment_id, named, service_id};
use sluice_plan::effective::{self, Effective};
use sluice_plan::plan::is_final;
use sluice_plan::view::texts;
use sluice_plan::world::{Candidate, Live, MetricSample, Template, World};
use sluice_plan::{Id, Render};

use crate::settled::Settled;
use crate::snapshot::{SnapshotError, Snapshots};
use crate::tenant::{Identities, key, own_key};

/// Reads under way at once for one GitSync.
const CONCURRENT: usize = 16;
/// ReplicaSets and pods that are read of one workload.
const CHILDREN_MAX: usize = 5000;

/// Why the world cannot be read now.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    #[error("the world cannot be read; nothing is decided until it can")]
    Read(#[from] ReadError),
    #[error("{object} does not decode: {message}; correct it, or bring CRDs and controller to one version")]
    Undecodable { object: String, message: String },
}

impl ObserveError {
    /// One word, stable for ever.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read(error) => error.reason(),
            Self::Undecodable { .. } => "Undecodable",
        }
    }

    /// Whether the same read may do better without anyone doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Read(error) if error.is_transient())
    }
}

/// What is read for one GitSync, and with what.
pub struct Observer {
    pub identities: Identities,
    pub snapshots: Snapshots,
    pub settled: Settled,
    pub commands_stamped: bool,
    pub tidied: crate::housekeeping::Tidied,
    /// Renders that the sync names now; others are dropped.
    pub renders: BTreeMap<String, Arc<Render>>,
}

/// What the worker brings besides.
pub struct Brought {
    pub now: DateTime<Utc>,
    pub epoch: i64,
    pub candidate: Candidate,
    pub candidate_render: Option<Arc<Render>>,
    pub samples: Vec<MetricSample>,
    pub delivered: Vec<String>,
    pub refused: BTreeMap<Id, String>,
}

impl Observer {
    /// Reads the world of a GitSync.
    ///
    /// # Errors
    /// [`ObserveError`]: then nothing may be decided.
    pub async fn observe(&mut self, sync: GitSync, brought: Brought) -> Result<World, ObserveError> {
        let status = sync.status.clone().unwrap_or_default();
        let namespace = sync.metadata.namespace.clone().unwrap_or_default();
        let release = self.release(&sync, &namespace, status.release).await?;
        let open = release.as_ref().filter(|release| release.status.as_ref().is_none_or(|status| !is_final(&status.state)));
        let mut digests: Vec<String> = status.applied.clone();
        digests.extend(status.good.iter().map(|revision| revision.digest.clone()));
        digests.extend(
            status.attempted.iter().filter(|_| open.is_some() || release.is_none()).map(|revision| revision.digest.clone()),
        );
        if let Some(release) = open {
            digests.push(release.spec.revision.digest.clone());
            digests.extend(release.spec.previous.iter().map(|revision| revision.digest.clone()));
            digests.extend(release.status.iter().map(|status| status.target.digest.clone()));
        }
        if let (Candidate::Ready(revision), Some(render)) = (&brought.candidate, &brought.candidate_render) {
            self.renders.insert(revision.digest.clone(), render.clone());
            digests.push(revision.digest.clone());
        }
        self.load(digests).await;

        let mut objects: BTreeMap<Id, Value> = BTreeMap::new();
        for render in self.renders.values() {
            objects.extend(named(Some(render)));
        }
        let mut ids: BTreeMap<Id, ObjectKey> = objects.iter().map(|(id, object)| (id.clone(), key(id, Some(object)))).collect();
        for plan in open.iter().flat_map(|release| &release.spec.rollouts) {
            let id = service_id(plan, &plan.canary_service);
            ids.insert(id.clone(), key(&id, None));
        }
        let live = self.read_all(ids).await?;
        // Templates that cannot be read are not templates that are gone: until they can be, nothing of the candidate is judged.
        let (templates, candidate) = match crate::source::cluster_templates(&self.identities.own, &objects).await {
            Ok(templates) => (templates, brought.candidate),
            Err(message) => {
                tracing::warn!(message, "ClusterAnalysisTemplates cannot be read");
                (BTreeMap::new(), Candidate::Unknown {})
            }
        };
        let mut world = World {
            now: brought.now,
            epoch: brought.epoch,
            sync,
            release,
            candidate,
            renders: self.renders.iter().map(|(digest, render)| (digest.clone(), render.as_ref().clone())).collect(),
            live,
            replica_sets: Vec::new(),
            pods: Vec::new(),
            templates: BTreeMap::new(),
            cluster_templates: templates,
            commands_are_stamped: self.commands_stamped,
            samples: brought.samples,
            delivered: brought.delivered,
        };
        for (id, message) in brought.refused {
            if let Some(live) = world.live.get_mut(&id) {
                live.refused = Some(message);
            }
        }
        self.children(&mut world).await?;
        self.prove(&mut world).await;
        self.try_templates(&mut world).await;
        Ok(world)
    }

    async fn release(&self, sync: &GitSync, namespace: &str, number: i64) -> Result<Option<Release>, ObserveError> {
        if number == 0 {
            return Ok(None);
        }
        let key = own_key("Release", namespace, &release_name(sync, number));
        let Some(object) = self.identities.own.get(&key).await? else { return Ok(None) };
        let release = serde_json::from_value::<Release>(object)
            .map_err(|error| ObserveError::Undecodable { object: key.to_string(), message: error.to_string() })?;
        Ok(Some(release))
    }

    /// Loads the renders of these digests, and forgets all others. One that cannot be had is left out: the planner says so.
    async fn load(&mut self, digests: Vec<String>) {
        self.renders.retain(|digest, _| digests.contains(digest));
        for digest in digests {
            if self.renders.contains_key(&digest) {
                continue;
            }
            match self.snapshots.load(&digest).await {
                Ok(Some(render)) => {
                    self.renders.insert(digest, Arc::new(render));
                }
                Ok(None) => tracing::warn!(digest, "a snapshot is missing"),
                Err(error @ (SnapshotError::Damaged { .. } | SnapshotError::TooLarge { .. })) => {
                    tracing::error!(%error, "a snapshot is of no use")
                }
                Err(error) => tracing::warn!(error = %crate::source::chain(&error), "a snapshot could not be read"),
            }
        }
    }

    async fn read_all(&self, ids: BTreeMap<Id, ObjectKey>) -> Result<BTreeMap<Id, Live>, ObserveError> {
        let tenant = &self.identities.tenant;
        let reads = futures::stream::iter(ids.into_iter().map(|(id, key)| async move {
            let object = match tenant.get(&key).await {
                // A kind that is not served yet has no objects: its CRD may be in the same commit.
                Err(ReadError::Kind { source, .. }) if !source.is_transient() => None,
                other => other?,
            };
            Ok::<_, ReadError>((id, object))
        }))
        .buffer_unordered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
        let mut live = BTreeMap::new();
        for read in reads {
            let (id, object) = read?;
            let settled = object.as_ref().and_then(|object| self.settled.of(&id, object));
            live.insert(id, Live { object, settled, refused: None });
        }
        Ok(live)
    }

    /// ReplicaSets and pods of the workloads in motion.
    async fn children(&self, world: &mut World) -> Result<(), ObserveError> {
        let Some((spec, _)) = motion(world) else { return Ok(()) };
        let mut selectors: Vec<(String, String)> = Vec::new();
        for plan in &spec.rollouts {
            let Some(deployment) = world.object(&deployment_id(plan)) else { continue };
            let labels = texts(deployment, &["spec", "selector", "matchLabels"]);
            let selector = labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(",");
            selectors.push((plan.namespace.clone(), selector));
        }
        selectors.sort();
        selectors.dedup();
        let tenant = &self.identities.tenant;
        for (namespace, selector) in selectors {
            let (sets, pods) = tokio::try_join!(
                tenant.list("apps", "v1", "ReplicaSet", Some(&namespace), Some(&selector), CHILDREN_MAX),
                tenant.list("", "v1", "Pod", Some(&namespace), Some(&selector), CHILDREN_MAX),
            )?;
            for (kind, listing) in [("ReplicaSets", &sets), ("pods", &pods)] {
                if !listing.is_complete() {
                    let message = "the list is not whole: an item does not decode, or there are too many".to_owned();
                    let object = format!("{kind} of {namespace} with {selector}");
                    return Err(ReadError::Unavailable { object, message }.into());
                }
            }
            world.replica_sets.extend(sets.items);
            world.pods.extend(pods.items);
        }
        Ok(())
    }

    /// Proves by dry-run, where it is not known, whether objects are as desired: applying them would change nothing.
    async fn prove(&self, world: &mut World) {
        let Some(effective) = wanted(world) else { return };
        let open: Vec<(Id, Value, String, Value)> = effective
            .unsettled(world)
            .filter_map(|(id, desired)| {
                Some((id.clone(), desired.object.clone(), desired.digest.clone(), world.object(id)?.clone()))
            })
            .collect();
        let tenant = &self.identities.tenant;
        let proofs = futures::stream::iter(open.into_iter().map(|(id, object, digest, live)| async move {
            let options = ApplyOptions { manager: FIELD_MANAGER, force: true, dry_run: true, uid: None, resource_version: None };
            (tenant.apply(&key(&id, Some(&object)), &object, options).await, id, digest, live)
        }))
        .buffer_unordered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
        for (answer, id, digest, live) in proofs {
            // A dry-run that fails proves nothing; the write itself will say why.
            if let Ok(answer) = answer
                && sluice_plan::view::proof_digest(&answer) == sluice_plan::view::proof_digest(&live)
            {
                self.settled.proven(&id, &digest, &answer);
                if let Some(live) = world.live.get_mut(&id) {
                    live.settled = Some(digest);
                }
            }
        }
    }

    /// The pod templates of canaries that have to be made, as the API server would store them.
    async fn try_templates(&self, world: &mut World) {
        let Some((spec, status)) = motion(world) else { return };
        if !matches!(status.state, State::Applying { .. } | State::Preparing {}) {
            return;
        }
        let wanted: Vec<RolloutPlan> = spec.rollouts.iter().filter(|plan| is_unmade(world, plan)).cloned().collect();
        let Some(render) = world.renders.get(&status.target.digest) else { return };
        let desired: BTreeMap<Id, Value> = effective::desired_of(&world.sync, render).into_iter().collect();
        for plan in wanted {
            let id = deployment_id(&plan);
            let Some(object) = desired.get(&id) else { continue };
            let options = ApplyOptions { manager: FIELD_MANAGER, force: true, dry_run: true, uid: None, resource_version: None };
            let template = match self.identities.tenant.apply(&key(&id, Some(object)), object, options).await {
                Ok(answer) => Template::Deployment(answer),
                Err(error) => Template::Refused(error.message()),
            };
            world.templates.insert(plan.name.clone(), template);
        }
    }
}

fn is_unmade(world: &World, plan: &RolloutPlan) -> bool {
    sets(world, plan)
        .canary
        .is_none_or(|canary| Id::of(canary).as_ref() == Some(&canary_id(plan)) && sets(world, plan).is_handed_over())
}

/// The release in motion.
fn motion(world: &World) -> Option<(ReleaseSpec, ReleaseStatus)> {
    let release = world.release.as_ref()?;
    let status = release.status.clone()?;
    (!is_final(&status.state)).then(|| (release.spec.clone(), status))
}

/// What the cluster shall be in the recorded state.
fn wanted(world: &World) -> Option<Effective> {
    if let Some((spec, status)) = motion(world) {
        return effective::in_motion(world, &spec, &status).ok();
    }
    let good = world.sync.status.as_ref()?.good.as_ref()?;
    Some(effective::at_rest(world, world.renders.get(&good.digest)?))
}

/// A Release's name.
#[must_use]
pub fn release_name(sync: &GitSync, number: i64) -> String {
    format!("{}-{number}", sync.metadata.name.as_deref().unwrap_or_default())
}
