//! At rest: the cluster is kept as the good revision says, and a new commit starts a release.

use sluice_crds::gitsync::{Drift, GitSync, Refused, Revision};
use sluice_crds::names::GROUP;
use sluice_crds::release::{ReleaseSpec, ReleaseStatus};

use crate::check::{CheckError, compile, named, on_trial};
use crate::command;
use crate::effective::at_rest;
use crate::effects::{applies, lift_finalizer};
use crate::inventory::leftovers;
use crate::plan::{Action, Draft};
use crate::record::{delivered, finalizer, record_applied, timeline};
use crate::wait::Blocked;
use crate::world::{Candidate, World};

/// Snapshots whose objects may exist, at most: more open ends than this are for a person to tie.
const APPLIED_MAX: usize = 12;

/// Whether a revision failed before, under this commit or another with the same content.
#[must_use]
pub fn is_quarantined(sync: &GitSync, revision: &Revision) -> bool {
    sync.status
        .as_ref()
        .is_some_and(|status| status.quarantine.iter().any(|entry| entry.sha == revision.sha || entry.digest == revision.digest))
}

/// Plans at rest. Returns the status of the last release, as far as it is known.
pub fn plan(draft: &mut Draft<'_>) -> Option<ReleaseStatus> {
    let world = draft.world;
    let mut last = world.release.as_ref().and_then(|release| release.status.clone());
    answer(draft, last.as_mut());
    if let Some(status) = &mut last {
        delivered(status, world);
        if world.release.as_ref().and_then(|release| release.status.as_ref()) != Some(status) {
            status.epoch = world.epoch;
            draft.plan.records.push(Action::RecordRelease(Box::new(status.clone())));
        }
    }
    draft.plan.effects.extend(finalizer(world, false));
    if world.sync.metadata.deletion_timestamp.is_some() {
        return last;
    }
    // A command on the GitSync is cleared before a release starts: its annotation and its answer would part otherwise.
    let sync_id = command::sync_id(world);
    let is_commanded = command::found(world).iter().any(|command| command.on == sync_id);
    if is_commanded || !start(draft) {
        keep(draft);
    }
    last
}

fn answer(draft: &mut Draft<'_>, last: Option<&mut ReleaseStatus>) {
    let world = draft.world;
    let spec = world.release.as_ref().map(|release| &release.spec);
    let (answered, decisions) = match (spec, last) {
        (Some(spec), Some(status)) => {
            let (answered, decisions) = command::answer(world, Some((spec, status)), &draft.sync);
            for record in &answered {
                let word = if record.accepted { "CommandAccepted" } else { "CommandRefused" };
                timeline(
                    status,
                    world.now,
                    word,
                    &format!("{}={} by {}: {}", record.annotation, record.value, record.by, record.answer),
                );
            }
            (answered, decisions)
        }
        _ => command::answer(world, None, &draft.sync),
    };
    for record in &answered {
        let word = if record.accepted { "CommandAccepted" } else { "CommandRefused" };
        draft.note(
            !record.accepted,
            word,
            &format!("{}={} on {} by {}: {}", record.annotation, record.value, record.on, record.by, record.answer),
        );
    }
    draft.retries(&decisions);
    draft.plan.effects.extend(command::clear(world));
}

/// Starts a release when Git shows something new. Returns whether one is being started.
fn start(draft: &mut Draft<'_>) -> bool {
    let world = draft.world;
    let sync_before = world.sync.status.clone().unwrap_or_default();
    // A number that was given and has no Release: the controller stopped between the two writes, or somebody deleted it.
    if sync_before.release > 0
        && world.release.is_none()
        && let Some(attempted) = &sync_before.attempted
        && sync_before.good.as_ref().map(|good| &good.digest) != Some(&attempted.digest)
        && !is_quarantined(&world.sync, attempted)
        && sync_before.applied.contains(&attempted.digest)
    {
        return create(draft, attempted, sync_before.release);
    }
    let candidate = match &world.candidate {
        Candidate::Ready(candidate) => candidate,
        Candidate::Refused(refused) => {
            refuse(draft, refused.clone());
            return false;
        }
        Candidate::Unknown {} => return false,
    };
    if let Some(good) = draft.sync.good.clone().filter(|good| good.digest == candidate.digest) {
        draft.sync.refused = None;
        draft.sync.attempted = Some(candidate.clone());
        if good != *candidate {
            draft.note(false, "AlreadyThere", &format!("commit {} renders to what is good already", candidate.short));
            draft.sync.good = Some(candidate.clone());
        }
        return false;
    }
    let quarantine =
        draft.sync.quarantine.iter().find(|entry| entry.sha == candidate.sha || entry.digest == candidate.digest).cloned();
    if let Some(entry) = quarantine {
        let message = format!(
            "commit {} is quarantined: Release {} went back ({}). Push a fix, or: kubectl annotate --overwrite gitsyncs.sluice.dev/{} -n {} sluice.dev/retry={}",
            candidate.short,
            entry.release,
            entry.reason,
            world.sync.metadata.name.as_deref().unwrap_or(""),
            world.namespace(),
            entry.sha
        );
        refuse(draft, Refused { sha: candidate.sha.clone(), reason: "Quarantined".to_owned(), message });
        return false;
    }
    if world.sync.spec.suspend {
        draft.plan.blocked = Some(Blocked::Suspended);
        return false;
    }
    if draft.sync.applied.len() >= APPLIED_MAX {
        let message = format!("{APPLIED_MAX} revisions have objects left that wait for a prune; approve it, or switch prune off");
        refuse(draft, Refused { sha: candidate.sha.clone(), reason: "TooManyLeftovers".to_owned(), message });
        return false;
    }
    if let Err(error) = release_spec(world, candidate, draft.sync.release + 1) {
        refuse(draft, Refused { sha: candidate.sha.clone(), reason: error.reason().to_owned(), message: error.to_string() });
        return false;
    }
    record_applied(&mut draft.sync, &candidate.digest);
    draft.sync.release += 1;
    draft.sync.attempted = Some(candidate.clone());
    draft.sync.refused = None;
    create(draft, candidate, draft.sync.release)
}

fn create(draft: &mut Draft<'_>, revision: &Revision, number: i64) -> bool {
    match release_spec(draft.world, revision, number) {
        Ok(spec) => {
            draft.plan.records.push(Action::CreateRelease(Box::new(spec)));
            true
        }
        Err(error) => {
            refuse(draft, Refused { sha: revision.sha.clone(), reason: error.reason().to_owned(), message: error.to_string() });
            false
        }
    }
}

fn refuse(draft: &mut Draft<'_>, refused: Refused) {
    // One Event for each commit and reason; where no commit is known, for each message.
    let is_told = draft.sync.refused.as_ref().is_some_and(|before| {
        before.sha == refused.sha
            && before.reason == refused.reason
            && (!refused.sha.is_empty() || before.message == refused.message)
    });
    if !is_told {
        draft.note(true, &refused.reason, &refused.message);
    }
    draft.sync.refused = Some(refused);
}

fn release_spec(world: &World, revision: &Revision, number: i64) -> Result<ReleaseSpec, CheckError> {
    let good = world.sync.status.as_ref().and_then(|status| status.good.clone());
    let target = named(world.render_of(Some(revision)));
    let plans = compile(&target, &world.cluster_templates, number)?;
    let rollouts = match world.render_of(good.as_ref()) {
        Some(render) => on_trial(plans, &named(Some(render))),
        None => Vec::new(),
    };
    Ok(ReleaseSpec {
        git_sync: world.sync.metadata.name.clone().unwrap_or_default(),
        number,
        revision: revision.clone(),
        previous: good,
        rollouts,
    })
}

/// Puts back what somebody else changed, and lets go of inventories that are empty.
fn keep(draft: &mut Draft<'_>) {
    let world = draft.world;
    let Some(good) = world.sync.status.as_ref().and_then(|status| status.good.clone()) else { return };
    let Some(render) = world.renders.get(&good.digest) else {
        draft.plan.blocked = Some(Blocked::SnapshotMissing(good.sha));
        return;
    };
    if leftovers(world, &good.digest).is_some_and(|leftovers| leftovers.is_empty()) && draft.sync.applied != [good.digest.clone()]
    {
        draft.sync.applied = vec![good.digest.clone()];
    }
    let effective = at_rest(world, render);
    let drifted: Vec<String> = effective.unsettled(world).map(|(id, _)| id.to_string()).collect();
    if world.sync.spec.drift == Drift::Report {
        if !drifted.is_empty() {
            draft.plan.blocked = Some(Blocked::NotApplied(drifted.join(", ")));
        }
        return;
    }
    let writes = applies(world, &effective);
    let is_reported = draft.plan.records.is_empty() && !drifted.is_empty();
    if is_reported {
        draft.note(true, "DriftReverted", &format!("put back as Git says: {}", drifted.join(", ")));
    }
    draft.plan.effects.splice(0..0, writes);
    let rollouts = world.live.keys().filter(|id| id.is(GROUP, "Rollout"));
    draft.plan.effects.extend(rollouts.filter_map(|id| lift_finalizer(world, id)));
}
