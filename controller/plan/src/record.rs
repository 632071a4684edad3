//! What a pass writes into the records besides the state: history, alerts, healthy time, lost pods, the inventory.

use chrono::{DateTime, Utc};
use sluice_crds::gitsync::GitSyncStatus;
use sluice_crds::release::{Alert, Held, ReleaseSpec, ReleaseStatus, State, TimelineEntry};

use crate::advance::LOOK_AGAIN_MS;
use crate::canary::sets;
use crate::check::bounded;
use crate::effective::{canary_weight, step_of};
use crate::effects::Effect;
use crate::evidence::ready_count;
use crate::judge;
use crate::world::World;

/// Healthy time is recorded at least this often in a step; a gap counts at most as this much, so that no restart and no jump of a
/// clock makes a hold shorter.
const CHECKPOINT_MS_MAX: i64 = 5000;
/// Lines of a Release's history.
const TIMELINE_MAX: usize = 64;
/// Alerts of a Release.
const ALERTS_MAX: usize = 16;

/// Enters a digest into the inventory before its first write.
pub fn record_applied(sync: &mut GitSyncStatus, digest: &str) {
    if !sync.applied.iter().any(|applied| applied == digest) {
        sync.applied.push(digest.to_owned());
    }
}

/// One line of the history.
pub fn timeline(status: &mut ReleaseStatus, now: DateTime<Utc>, what: &str, message: &str) {
    status.timeline.push(TimelineEntry { at: now, what: what.to_owned(), message: bounded(message) });
    let surplus = status.timeline.len().saturating_sub(TIMELINE_MAX);
    status.timeline.drain(..surplus);
}

/// One alert for each release and transition: the id makes a second raising the same alert.
pub fn alert(status: &mut ReleaseStatus, spec: &ReleaseSpec, kind: &str, detail: &str, now: DateTime<Utc>) {
    let id = format!("{}-{}-{kind}{}{detail}", spec.git_sync, spec.number, if detail.is_empty() { "" } else { "-" });
    if status.alerts.iter().any(|alert| alert.id == id) || status.alerts.len() >= ALERTS_MAX {
        return;
    }
    status.alerts.push(Alert { id, kind: kind.to_owned(), at: now, delivered_at: None });
}

/// Marks alerts that a receiver took.
pub fn delivered(status: &mut ReleaseStatus, world: &World) {
    for alert in &mut status.alerts {
        if alert.delivered_at.is_none() && world.delivered.contains(&alert.id) {
            alert.delivered_at = Some(world.now);
        }
    }
}

/// What the canaries show: their sets' uids, and since when they lack pods for the weight that they carry.
pub fn watch_canaries(world: &World, spec: &ReleaseSpec, status: &mut ReleaseStatus) {
    for (plan, progress) in spec.rollouts.iter().zip(&mut status.rollouts) {
        let sets = sets(world, plan);
        if matches!(status.state, State::Preparing {}) && !sets.is_handed_over() {
            progress.canary_uid = sets.canary_uid().to_owned();
        }
        let carries = matches!(status.state, State::Shifting { .. } | State::Judging { .. })
            || matches!(status.state, State::Scaling { step } if step > 0);
        let weight = canary_weight(plan, &status.state).unwrap_or(0);
        let percent = i32::try_from(weight / 10).unwrap_or(0);
        let ready = ready_count(&world.pods, sets.canary_uid());
        let is_short = carries && weight > 0 && (ready == 0 || ready < crate::canary::needed(sets.wanted(), percent));
        progress.short_since = is_short.then(|| progress.short_since.unwrap_or(world.now));
    }
}

/// Healthy time in the step up to now. It is recorded with every answer and at checkpoints, not at every pass.
pub fn checkpoint(world: &World, spec: &ReleaseSpec, status: &mut ReleaseStatus, folded: bool) -> i64 {
    let State::Judging { step } = status.state else { return 0 };
    let gap_ms = (world.now - status.held.at).num_milliseconds().clamp(0, CHECKPOINT_MS_MAX);
    let counts = judge::time_counts(spec, status) && status.rollouts.iter().all(|progress| progress.short_since.is_none());
    let held_ms = status.held.ms + if counts { gap_ms } else { 0 };
    let hold_ms = spec.rollouts.iter().filter_map(|plan| step_of(plan, step)).map(|step| step.hold_s * 1000).max().unwrap_or(0);
    let is_due = gap_ms >= CHECKPOINT_MS_MAX - LOOK_AGAIN_MS && status.held.ms < hold_ms;
    if folded || is_due {
        status.held = Held { ms: held_ms.min(hold_ms.max(status.held.ms)), at: world.now };
    }
    held_ms
}

/// The GitSync's finalizer is there while traffic has to be put back before it may go, and only then.
#[must_use]
pub fn finalizer(world: &World, wanted: bool) -> Option<Effect> {
    let finalizers = world.sync.metadata.finalizers.clone().unwrap_or_default();
    let present = finalizers.iter().any(|name| name == sluice_crds::names::FINALIZER_IN_MOTION);
    let may_add = world.sync.metadata.deletion_timestamp.is_none();
    (present != wanted && (!wanted || may_add)).then(|| Effect::Finalizer {
        present: wanted,
        resource_version: world.sync.metadata.resource_version.clone().unwrap_or_default(),
    })
}
