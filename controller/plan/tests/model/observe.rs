//! The World, read from the modelled API server in the way the controller reads it from a real one.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::Value;
use sluice_crds::gitsync::GitSync;
use sluice_crds::names::FIELD_MANAGER;
use sluice_crds::release::{Release, ReleaseSpec, ReleaseStatus, State};
use sluice_plan::canary::sets;
use sluice_plan::check::{deployment_id, named, service_id};
use sluice_plan::effective::{self, Effective};
use sluice_plan::id::{APPS, CORE};
use sluice_plan::plan::is_final;
use sluice_plan::view::{contains_all, proof_digest, texts};
use sluice_plan::world::{Candidate, Live, MetricSample, Template, World};
use sluice_plan::{Id, Render};

use super::app::id;
use super::store::Store;

/// The name of the one GitSync.
pub const SYNC: &str = "shop";

/// What the controller's process remembers. Losing it may cost reads, never another decision.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Identity → digest of the desired object, and of the live one that it was proven against.
    pub proven: BTreeMap<Id, (String, String)>,
    pub renders: BTreeMap<String, Render>,
    pub refused: BTreeMap<Id, String>,
}

impl Memory {
    pub fn proven(&mut self, id: &Id, digest: &str, answer: &Value) {
        self.proven.insert(id.clone(), (digest.to_owned(), proof_digest(answer)));
    }

    fn settled(&self, id: &Id, live: &Value) -> Option<String> {
        let (desired, intent) = self.proven.get(id)?;
        (*intent == proof_digest(live)).then(|| desired.clone())
    }
}

/// What a pass is given besides the cluster.
pub struct Brought {
    pub now: DateTime<Utc>,
    pub epoch: i64,
    pub candidate: Candidate,
    pub candidate_render: Option<Render>,
    pub samples: Vec<MetricSample>,
    pub delivered: Vec<String>,
}

/// Reads the world; `None` when the GitSync is gone.
pub fn observe(store: &Store, memory: &mut Memory, snapshots: &BTreeMap<String, Render>, brought: Brought) -> Option<World> {
    let sync: GitSync = serde_json::from_value(store.get(&id("GitSync", SYNC))?).unwrap();
    let status = sync.status.clone().unwrap_or_default();
    let release: Option<Release> = (status.release > 0)
        .then(|| store.get(&id("Release", &format!("{SYNC}-{}", status.release))))
        .flatten()
        .map(|object| serde_json::from_value(object).unwrap());
    let open = release.as_ref().filter(|release| release.status.as_ref().is_none_or(|status| !is_final(&status.state)));
    let mut digests: Vec<String> = status.applied.clone();
    digests.extend(status.good.iter().map(|revision| revision.digest.clone()));
    digests
        .extend(status.attempted.iter().filter(|_| open.is_some() || release.is_none()).map(|revision| revision.digest.clone()));
    if let Some(release) = open {
        digests.push(release.spec.revision.digest.clone());
        digests.extend(release.spec.previous.iter().map(|revision| revision.digest.clone()));
        digests.extend(release.status.iter().map(|status| status.target.digest.clone()));
    }
    if let (Candidate::Ready(revision), Some(render)) = (&brought.candidate, brought.candidate_render) {
        memory.renders.insert(revision.digest.clone(), render);
        digests.push(revision.digest.clone());
    }
    memory.renders.retain(|digest, _| digests.contains(digest));
    for digest in digests {
        if let Some(render) = snapshots.get(&digest) {
            memory.renders.entry(digest).or_insert_with(|| render.clone());
        }
    }
    let mut ids: Vec<Id> = memory.renders.values().flat_map(|render| named(Some(render)).into_keys()).collect();
    ids.extend(open.iter().flat_map(|release| &release.spec.rollouts).map(|plan| service_id(plan, &plan.canary_service)));
    let live = ids
        .into_iter()
        .map(|id| {
            let object = store.get(&id);
            let settled = object.as_ref().and_then(|object| memory.settled(&id, object));
            let refused = memory.refused.get(&id).cloned();
            (id, Live { object, settled, refused })
        })
        .collect();
    let mut world = World {
        now: brought.now,
        epoch: brought.epoch,
        sync,
        release,
        candidate: brought.candidate,
        renders: memory.renders.clone(),
        live,
        replica_sets: Vec::new(),
        pods: Vec::new(),
        templates: BTreeMap::new(),
        cluster_templates: BTreeMap::new(),
        commands_are_stamped: false,
        samples: brought.samples,
        delivered: brought.delivered,
    };
    children(store, &mut world);
    prove(store, memory, &mut world);
    try_templates(store, &mut world);
    Some(world)
}

fn motion(world: &World) -> Option<(ReleaseSpec, ReleaseStatus)> {
    let release = world.release.as_ref()?;
    let status = release.status.clone()?;
    (!is_final(&status.state)).then(|| (release.spec.clone(), status))
}

fn children(store: &Store, world: &mut World) {
    let Some((spec, _)) = motion(world) else { return };
    let mut selectors = Vec::new();
    for plan in &spec.rollouts {
        if let Some(deployment) = world.object(&deployment_id(plan)) {
            selectors.push((plan.namespace.clone(), texts(deployment, &["spec", "selector", "matchLabels"])));
        }
    }
    selectors.sort();
    selectors.dedup();
    let selected = |group, kind| -> Vec<Value> {
        let is_selected = |id: &Id, object: &Value| {
            let labels = texts(object, &["metadata", "labels"]);
            selectors.iter().any(|(namespace, selector)| id.namespace_text() == namespace && contains_all(&labels, selector))
        };
        store.of_kind(group, kind).filter(|(id, object)| is_selected(id, object)).map(|(_, object)| object.clone()).collect()
    };
    world.replica_sets = selected(APPS, "ReplicaSet");
    world.pods = selected(CORE, "Pod");
}

fn wanted(world: &World) -> Option<Effective> {
    if let Some((spec, status)) = motion(world) {
        return effective::in_motion(world, &spec, &status).ok();
    }
    let good = world.sync.status.as_ref()?.good.as_ref()?;
    Some(effective::at_rest(world, world.renders.get(&good.digest)?))
}

fn prove(store: &Store, memory: &mut Memory, world: &mut World) {
    let Some(effective) = wanted(world) else { return };
    let open: Vec<(Id, Value, String, Value)> = effective
        .unsettled(world)
        .filter_map(|(id, desired)| Some((id.clone(), desired.object.clone(), desired.digest.clone(), world.object(id)?.clone())))
        .collect();
    for (id, object, digest, live) in open {
        if let Ok(answer) = store.dry_run(&id, &object, FIELD_MANAGER)
            && proof_digest(&answer) == proof_digest(&live)
        {
            memory.proven(&id, &digest, &answer);
            if let Some(live) = world.live.get_mut(&id) {
                live.settled = Some(digest);
            }
        }
    }
}

fn try_templates(store: &Store, world: &mut World) {
    let Some((spec, status)) = motion(world) else { return };
    if !matches!(status.state, State::Applying { .. } | State::Preparing {}) {
        return;
    }
    let Some(render) = world.renders.get(&status.target.digest) else { return };
    let desired: BTreeMap<Id, Value> = effective::desired_of(&world.sync, render).into_iter().collect();
    for plan in &spec.rollouts {
        let id = deployment_id(plan);
        let is_made = sets(world, plan).canary.is_some() && !sets(world, plan).is_handed_over();
        if let Some(object) = desired.get(&id).filter(|_| !is_made) {
            let template = match store.dry_run(&id, object, FIELD_MANAGER) {
                Ok(answer) => Template::Deployment(answer),
                Err(error) => Template::Refused(format!("{error:?}")),
            };
            world.templates.insert(plan.name.clone(), template);
        }
    }
}
