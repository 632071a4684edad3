//! What people and waiting programs see: print columns, conditions as kstatus reads them. Derived from the records, decides nothing.

use chrono::{DateTime, Utc};
use sluice_crds::names::GROUP;
use sluice_crds::release::{ReleaseSpec, ReleaseStatus, State};
use sluice_crds::rollout::RolloutStatus;
use sluice_crds::v1alpha1::condition::{Condition, set_condition};

use crate::effects::Effect;
use crate::id::Id;
use crate::judge;
use crate::motion::step_count;
use crate::plan::{Draft, is_final};
use crate::retreat::weight_percent;
use crate::view::{resource_version, uid};
use crate::world::{Candidate, World};

/// A state's word in print columns, events and timelines.
#[must_use]
pub fn word(state: &State) -> &'static str {
    match state {
        State::Applying { .. } => "Applying",
        State::Preparing {} => "Preparing",
        State::Scaling { .. } => "Scaling",
        State::Warming { .. } => "Warming",
        State::Shifting { .. } => "Shifting",
        State::Judging { .. } => "Judging",
        State::HandingOver { .. } => "HandingOver",
        State::Pruning {} => "Pruning",
        State::RollingBack { .. } => "RollingBack",
        State::Holding {} => "Holding",
        State::Promoted {} => "Promoted",
        State::RolledBack {} => "RolledBack",
        State::Superseded {} => "Superseded",
        State::Failed {} => "Failed",
    }
}

/// The word for people: at 100 % a step is the bake.
fn phase(spec: &ReleaseSpec, state: &State) -> &'static str {
    match state {
        State::Judging { step } if step + 1 == step_count(spec) => "Baking",
        other => word(other),
    }
}

/// Fills what a Release shows.
pub fn release(status: &mut ReleaseStatus, spec: &ReleaseSpec, now: DateTime<Utc>) {
    status.phase = phase(spec, &status.state).to_owned();
    status.weight_percent = weight_percent(spec, &status.state);
    if let State::Scaling { step } | State::Warming { step } | State::Shifting { step } | State::Judging { step } = status.state {
        status.step = format!("{}/{}", step + 1, step_count(spec));
    }
    status.message = match (&status.wait, &status.cause) {
        (Some(wait), _) => wait.message.clone(),
        (None, Some(cause)) => cause.message.clone(),
        (None, None) => String::new(),
    };
    let (ready, reconciling, stalled) = flags(&status.state);
    let message = status.message.clone();
    let reason = status.phase.clone();
    for (kind, value) in [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)] {
        set_condition(&mut status.conditions, kind, value, &reason, &message, None, now);
    }
}

/// Ready, Reconciling, Stalled.
fn flags(state: &State) -> (bool, bool, bool) {
    match state {
        State::Promoted {} => (true, false, false),
        State::RolledBack {} | State::Superseded {} | State::Failed {} | State::Holding {} => (false, false, true),
        _ => (false, true, false),
    }
}

/// Fills what a GitSync shows.
pub fn sync(draft: &mut Draft<'_>, spec: Option<&ReleaseSpec>, status: Option<&ReleaseStatus>) {
    let now = draft.world.now;
    let generation = draft.world.sync.metadata.generation;
    let moving = status.filter(|status| !is_final(&status.state));
    let good = draft.sync.good.clone();
    let at_good = good.as_ref().map_or_else(|| "nothing is good yet".to_owned(), |good| format!("commit {} is good", good.short));
    let (ready, reconciling, stalled, reason, message) = match (moving, &draft.sync.refused) {
        (Some(status), _) => {
            let stalled = matches!(status.state, State::Holding {});
            let word = spec.map_or(word(&status.state), |spec| phase(spec, &status.state));
            let message =
                status.wait.as_ref().map_or_else(|| format!("commit {}", status.target.short), |wait| wait.message.clone());
            (false, !stalled, stalled, word.to_owned(), message)
        }
        (None, Some(refused)) => (false, false, true, refused.reason.clone(), refused.message.clone()),
        (None, None) if good.is_none() => (false, true, false, "Waiting".to_owned(), at_good.clone()),
        (None, None) => match &draft.plan.blocked {
            Some(blocked) => (false, false, true, blocked.reason().to_owned(), blocked.to_string()),
            None => (true, false, false, "Good".to_owned(), at_good.clone()),
        },
    };
    let conditions = &mut draft.sync.conditions;
    for (kind, value) in [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)] {
        set_condition(conditions, kind, value, &reason, &message, generation, now);
    }
    match &draft.world.candidate {
        Candidate::Refused(refused) => {
            set_condition(conditions, "SourceReady", false, &refused.reason, &refused.message, generation, now)
        }
        Candidate::Ready(revision) => {
            let message = format!("commit {} is rendered and checked", revision.short);
            set_condition(conditions, "SourceReady", true, "Checked", &message, generation, now);
        }
        Candidate::Unknown {} => {}
    }
    let proven = moving.is_none() && good.is_some() && draft.sync.refused.is_none();
    let applied =
        proven || moving.is_some_and(|status| !matches!(status.state, State::Applying { .. } | State::RollingBack { .. }));
    set_condition(conditions, "Applied", applied, if applied { "Applied" } else { "NotApplied" }, &at_good, generation, now);
    set_condition(conditions, "Proven", proven, if proven { "Proven" } else { "NotProven" }, &at_good, generation, now);
}

/// What every Rollout of the GitSync shows, where it differs from what it shows now.
#[must_use]
pub fn rollouts(
    world: &World,
    sync: &sluice_crds::gitsync::GitSyncStatus,
    spec: Option<&ReleaseSpec>,
    status: Option<&ReleaseStatus>,
) -> Vec<Effect> {
    let moving = spec.zip(status).filter(|(_, status)| !is_final(&status.state));
    let mut effects = Vec::new();
    for (id, live) in world.live.iter().filter(|(id, _)| id.is(GROUP, "Rollout")) {
        let Some(object) = live.object.as_ref() else { continue };
        let before: Option<RolloutStatus> = object.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
        let mut shown = before.clone().unwrap_or_default();
        shown.observed_generation = crate::view::integer(object, &["metadata", "generation"]).unwrap_or(0);
        fill(&mut shown, id, world, sync, moving);
        if before.as_ref() != Some(&shown) {
            effects.push(Effect::Show {
                id: id.clone(),
                status: Box::new(shown),
                uid: uid(object).to_owned(),
                resource_version: resource_version(object).to_owned(),
            });
        }
    }
    effects
}

fn fill(
    shown: &mut RolloutStatus,
    id: &Id,
    world: &World,
    sync: &sluice_crds::gitsync::GitSyncStatus,
    moving: Option<(&ReleaseSpec, &ReleaseStatus)>,
) {
    let own = moving.and_then(|(spec, status)| {
        let index = spec.rollouts.iter().position(|plan| plan.name == id.name && plan.namespace == id.namespace_text())?;
        Some((spec, status, status.rollouts.get(index)?))
    });
    let release = world.release.as_ref().and_then(|release| release.metadata.name.clone()).unwrap_or_default();
    shown.release = release;
    let conditions: &mut Vec<Condition> = &mut shown.conditions;
    match own {
        Some((spec, status, progress)) => {
            shown.phase = phase(spec, &status.state).to_owned();
            shown.step.clone_from(&status.step);
            shown.weight_percent = status.weight_percent;
            shown.verdict = judge::worst(progress).map_or("", sluice_analysis::Verdict::as_str).to_owned();
            shown.revision.clone_from(&status.target.short);
            shown.waiting = status.wait.as_ref().map(|wait| wait.reason.clone()).unwrap_or_default();
            let (ready, reconciling, stalled) = flags(&status.state);
            let message = status.wait.as_ref().map(|wait| wait.message.clone()).unwrap_or_default();
            for (kind, value) in [("Ready", ready), ("Reconciling", reconciling), ("Stalled", stalled)] {
                set_condition(conditions, kind, value, &shown.phase, &message, Some(shown.observed_generation), world.now);
            }
        }
        None => {
            let good = sync.good.as_ref();
            shown.phase = "AtRest".to_owned();
            shown.step = String::new();
            shown.weight_percent = 0;
            shown.verdict = String::new();
            shown.revision = good.map(|good| good.short.clone()).unwrap_or_default();
            shown.waiting = String::new();
            let message = good.map_or_else(|| "nothing is good yet".to_owned(), |good| format!("commit {} is good", good.short));
            for (kind, value) in [("Ready", good.is_some()), ("Reconciling", good.is_none()), ("Stalled", false)] {
                set_condition(conditions, kind, value, "AtRest", &message, Some(shown.observed_generation), world.now);
            }
        }
    }
}
