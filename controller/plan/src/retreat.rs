//! Why a release goes back. Checked before any forward motion, and never starved by it: each reason stands for itself.

use chrono::{DateTime, Duration, Utc};
use sluice_crds::release::{Cause, Handover, ReleaseSpec, ReleaseStatus, State};

use crate::canary::sets;
use crate::check::{bounded, rollout_id};
use crate::effective::{Effective, canary_weight, step_of};
use crate::evidence;
use crate::health::{Health, health};
use crate::judge;
use crate::view::{is_deleting, uid};
use crate::wait::Blocked;
use crate::world::{Candidate, World};

/// A canary that carries traffic may lack ready pods for this long (`judge.md` section 9).
const SHORT_S_MAX: i64 = 30;
/// A write that a gateway does not accept, or a Service that does not settle, is given up after this time.
pub const WRITE_DEADLINE_S: i64 = 120;

/// A cause before it is dressed with step and weight.
fn cause(kind: &str, message: String, now: DateTime<Utc>, quarantine: bool) -> Cause {
    Cause {
        kind: kind.to_owned(),
        message: bounded(&message),
        at: now,
        rollout: None,
        metric: None,
        value: None,
        bound: None,
        verdict: None,
        step: None,
        weight_percent: 0,
        quarantine,
    }
}

/// An abort that a person asked for.
#[must_use]
pub fn aborted(by: &str, now: DateTime<Utc>) -> Cause {
    cause("Aborted", format!("aborted by {by}"), now, true)
}

/// Whether a state can be left backwards. After the Deployment's controller has scaled the old pods away only forward is safe.
#[must_use]
pub fn is_reversible(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> bool {
    match &status.state {
        State::Applying { .. }
        | State::Preparing {}
        | State::Scaling { .. }
        | State::Warming { .. }
        | State::Shifting { .. }
        | State::Judging { .. } => true,
        State::HandingOver { stage } if *stage < Handover::ChangeOwner => true,
        State::HandingOver { stage: Handover::ChangeOwner } => {
            spec.rollouts.iter().zip(&status.rollouts).all(|(plan, progress)| {
                let sets = sets(world, plan);
                let stable = sets.with_hash(world, &progress.stable_hash);
                let pods = stable.and_then(|set| crate::view::integer(set, &["spec", "replicas"])).unwrap_or(0);
                pods >= sets.wanted()
            })
        }
        _ => false,
    }
}

/// The first reason to go back, if there is any.
#[must_use]
pub fn reason(
    world: &World,
    spec: &ReleaseSpec,
    status: &ReleaseStatus,
    effective: &Effective,
    waits: &[Blocked],
) -> Option<Cause> {
    let now = world.now;
    if world.sync.metadata.deletion_timestamp.is_some() {
        return Some(cause("SyncDeleted", "the GitSync is being deleted".to_owned(), now, false));
    }
    decided_before(world)
        .or_else(|| pods(world, spec, status))
        .or_else(|| judge::against(spec, status, now))
        .or_else(|| deleted_rollout(world, spec, now))
        .or_else(|| short_of_pods(spec, status, now))
        .or_else(|| failed_object(world, status, effective))
        .or_else(|| past_deadline(world, spec, status, waits))
        .or_else(|| superseded(world, spec, status))
        .map(|mut cause| {
            let step = match &status.state {
                State::Scaling { step } | State::Warming { step } | State::Shifting { step } | State::Judging { step } => {
                    Some(*step)
                }
                _ => None,
            };
            let weight = spec.rollouts.iter().filter_map(|plan| canary_weight(plan, &status.state)).max().unwrap_or(0);
            cause.step = step;
            cause.weight_percent = i32::try_from(weight / 10).unwrap_or(0);
            cause
        })
}

/// A decision to go back of which only the first of its two records was written: the evidence may be gone, the decision stands.
fn decided_before(world: &World) -> Option<Cause> {
    let name = world.release.as_ref()?.metadata.name.as_ref()?;
    let entry = world.sync.status.as_ref()?.quarantine.iter().find(|entry| entry.release == *name)?;
    Some(cause(&entry.reason, "decided before the controller was interrupted".to_owned(), world.now, true))
}

fn pods(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> Option<Cause> {
    spec.rollouts.iter().zip(&status.rollouts).find_map(|(plan, progress)| {
        let sets = sets(world, plan);
        let stable = sets.with_hash(world, &progress.stable_hash).map_or("", uid);
        let since =
            world.release.as_ref().and_then(|release| release.metadata.creation_timestamp.as_ref()).and_then(created_at)?;
        let found = evidence::against(&world.pods, sets.canary_uid(), &[stable], since, world.now)?;
        let mut cause = cause(found.kind, found.message, world.now, true);
        cause.rollout = Some(plan.name.clone());
        Some(cause)
    })
}

/// Kubernetes' timestamps come in another library's type; text is what both agree on.
fn created_at(time: &k8s_time::Time) -> Option<DateTime<Utc>> {
    time.0.to_string().parse().ok()
}

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as k8s_time;

fn deleted_rollout(world: &World, spec: &ReleaseSpec, now: DateTime<Utc>) -> Option<Cause> {
    spec.rollouts.iter().find_map(|plan| {
        let object = world.object(&rollout_id(plan))?;
        is_deleting(object).then(|| {
            let mut cause = cause("RolloutDeleted", format!("Rollout {} is being deleted", plan.name), now, true);
            cause.rollout = Some(plan.name.clone());
            cause
        })
    })
}

fn short_of_pods(spec: &ReleaseSpec, status: &ReleaseStatus, now: DateTime<Utc>) -> Option<Cause> {
    spec.rollouts.iter().zip(&status.rollouts).find_map(|(plan, progress)| {
        let since = progress.short_since?;
        (now - since >= Duration::seconds(SHORT_S_MAX)).then(|| {
            let message = format!("Rollout {}: canary pods that carried traffic were not ready for {SHORT_S_MAX} s", plan.name);
            let mut cause = cause("CapacityLost", message, now, true);
            cause.rollout = Some(plan.name.clone());
            cause
        })
    })
}

fn failed_object(world: &World, status: &ReleaseStatus, effective: &Effective) -> Option<Cause> {
    if !matches!(status.state, State::Applying { .. }) {
        return None;
    }
    effective.objects.iter().find_map(|(id, desired)| {
        if !crate::effective::is_settled(world, id, desired) {
            return None;
        }
        match health(id, world.object(id)?) {
            Health::Failed(message) => Some(cause("ObjectFailed", format!("{id}: {message}"), world.now, true)),
            Health::Current | Health::InProgress(_) => None,
        }
    })
}

/// How long a state may last, in seconds. `None`: as long as it takes.
#[must_use]
pub fn deadline_s(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> Option<i64> {
    let pods = spec.rollouts.iter().map(|plan| plan.progress_deadline_s).max().unwrap_or(WRITE_DEADLINE_S);
    match status.state {
        State::Applying { .. } => Some(world.sync.spec.progress_deadline.seconds().unwrap_or(600)),
        State::Preparing {} | State::Scaling { .. } => Some(pods),
        State::Warming { .. } | State::Shifting { .. } | State::HandingOver { .. } => Some(WRITE_DEADLINE_S),
        _ => None,
    }
}

fn past_deadline(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus, waits: &[Blocked]) -> Option<Cause> {
    let limit_s = deadline_s(world, spec, status)?;
    let wait = waits.first()?;
    // A hold of a person is no failure of the revision.
    if matches!(wait, Blocked::Paused(_) | Blocked::Suspended) {
        return None;
    }
    (world.now - status.state_since >= Duration::seconds(limit_s))
        .then(|| cause("ProgressDeadlineExceeded", format!("{wait}; the deadline was {limit_s} s"), world.now, true))
}

fn superseded(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> Option<Cause> {
    let Candidate::Ready(candidate) = &world.candidate else { return None };
    if candidate.digest == status.target.digest {
        return None;
    }
    let previous = spec.previous.as_ref()?;
    if previous.digest == candidate.digest {
        return Some(cause(
            "Reverted",
            format!("Git is back at the good revision with commit {}", candidate.short),
            world.now,
            false,
        ));
    }
    // What was judged through all steps is seconds from its end: that end is safer than the way back.
    if matches!(status.state, State::HandingOver { .. }) {
        return None;
    }
    if crate::rest::is_quarantined(&world.sync, candidate) || crate::advance::is_absorbed(world, spec, candidate) {
        return None;
    }
    Some(cause("Superseded", format!("Git moved on to commit {}", candidate.short), world.now, false))
}

/// The weight of the step that a state is in, for people.
#[must_use]
pub fn weight_percent(spec: &ReleaseSpec, state: &State) -> i32 {
    spec.rollouts
        .iter()
        .filter_map(|plan| match state {
            State::HandingOver { .. } => step_of(plan, i32::MAX).map(|step| step.weight_percent),
            _ => canary_weight(plan, state).and_then(|weight| i32::try_from(weight / 10).ok()),
        })
        .max()
        .unwrap_or(0)
}
