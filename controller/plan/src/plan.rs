//! How a plan is made: answers to people, then reasons to go back, then the way forward, then the writes that are missing.

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use sluice_crds::gitsync::{GitSyncStatus, OnFailure, Quarantined, Revision};
use sluice_crds::release::{
    Alert, Cause, Handover, Held, ReleaseSpec, ReleaseStatus, Rollback, RolloutProgress, State, TimelineEntry,
};

use crate::canary::sets;
use crate::check::{bounded, compile, named, on_trial, same_trial};
use crate::command::{self, Decision};
use crate::effective::{self, Effective, canary_weight, step_of};
pub use crate::effects::Effect;
use crate::effects::{self};
use crate::evidence::ready_count;
use crate::inventory;
use crate::judge;
use crate::motion::{Motion, Next, SETTLE_S, deadline, step_count};
use crate::rest;
use crate::retreat;
use crate::wait::Blocked;
use crate::world::{Candidate, World};

/// How often a release in motion is looked at when nothing wakes it.
const LOOK_AGAIN_MS: i64 = 1000;
/// The same for waits of a second or two.
const LOOK_SOON_MS: i64 = 150;
/// Healthy time is recorded at least this often in a step; a gap counts at most as this much, so that no restart and no jump of a
/// clock makes a hold shorter.
const CHECKPOINT_MS_MAX: i64 = 5000;
/// Lines of a Release's history.
const TIMELINE_MAX: usize = 64;
/// Alerts of a Release.
const ALERTS_MAX: usize = 16;
/// Quarantined revisions of a GitSync.
const QUARANTINE_MAX: usize = 32;

/// What is recorded before anything is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// The GitSync's status, by compare-and-swap.
    RecordSync(Box<GitSyncStatus>),
    /// The newest Release's status, by compare-and-swap.
    RecordRelease(Box<ReleaseStatus>),
    /// A new Release.
    CreateRelease(Box<ReleaseSpec>),
}

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// One PascalCase word.
    pub reason: String,
    pub message: String,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[must_use = "a plan carries the reasons for waiting; dropping it hides them"]
pub struct Plan {
    /// First, in order; when one fails nothing else is done.
    pub records: Vec<Action>,
    /// Then, in order; when one fails the rest waits for the next plan.
    pub effects: Vec<Effect>,
    /// At any time; never in the way.
    pub notes: Vec<Note>,
    /// Why there is not more to do.
    pub blocked: Option<Blocked>,
    /// When to look again though nothing happens.
    pub look_at: Option<DateTime<Utc>>,
}

/// Whether a state is an end.
#[must_use]
pub fn is_final(state: &State) -> bool {
    matches!(state, State::Promoted {} | State::RolledBack {} | State::Superseded {} | State::Failed {})
}

/// Decides. See the module and the crate.
pub fn plan(world: &World) -> Plan {
    let sync_before = world.sync.status.clone().unwrap_or_default();
    let mut draft = Draft { world, sync: sync_before.clone(), plan: Plan::default() };
    draft.sync.epoch = world.epoch;
    draft.sync.observed_generation = world.sync.metadata.generation.unwrap_or_default();
    let open = world
        .release
        .as_ref()
        .filter(|release| release.spec.number == sync_before.release)
        .filter(|release| !release.status.as_ref().is_some_and(|status| is_final(&status.state)));
    let (spec, status) = match open {
        Some(release) => {
            let before = release.status.clone();
            let mut status = before.clone().unwrap_or_else(|| initial(world, &release.spec));
            status.epoch = world.epoch;
            draft.motion(&release.spec, &mut status);
            crate::show::release(&mut status, &release.spec, world.now);
            if before.as_ref() != Some(&status) {
                draft.plan.records.push(Action::RecordRelease(Box::new(status.clone())));
            }
            (Some(&release.spec), Some(status))
        }
        None => (world.release.as_ref().map(|release| &release.spec), rest::plan(&mut draft)),
    };
    crate::show::sync(&mut draft, spec, status.as_ref());
    let shown = crate::show::rollouts(world, &draft.sync, spec, status.as_ref());
    draft.plan.effects.extend(shown);
    if draft.sync != sync_before {
        // The GitSync's record comes first: it holds what must survive the Release. What else is written to the GitSync waits
        // for the next pass, since this record gives it a new version.
        draft.plan.effects.retain(|effect| !effects::is_of_sync(effect));
        draft.plan.records.insert(0, Action::RecordSync(Box::new(draft.sync.clone())));
    }
    draft.plan
}

/// A plan in the making.
pub struct Draft<'a> {
    pub world: &'a World,
    pub sync: GitSyncStatus,
    pub plan: Plan,
}

/// The state of a release that has just been created.
fn initial(world: &World, spec: &ReleaseSpec) -> ReleaseStatus {
    ReleaseStatus {
        epoch: world.epoch,
        state: State::Applying { stage: 0 },
        state_since: world.now,
        target: spec.revision.clone(),
        held: Held { ms: 0, at: world.now },
        approved_through: -1,
        rollouts: vec![RolloutProgress::default(); spec.rollouts.len()],
        cause: None,
        wait: None,
        commands: Vec::new(),
        timeline: vec![TimelineEntry {
            at: world.now,
            what: "Started".to_owned(),
            message: bounded(&format!("commit {} by {}: {}", spec.revision.short, spec.revision.author, spec.revision.subject)),
        }],
        alerts: Vec::new(),
        phase: String::new(),
        step: String::new(),
        weight_percent: 0,
        message: String::new(),
        conditions: Vec::new(),
    }
}

impl Draft<'_> {
    /// Tells people.
    pub fn note(&mut self, warning: bool, reason: &str, message: &str) {
        self.plan.notes.push(Note { warning, reason: reason.to_owned(), message: bounded(message) });
    }

    fn motion(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus) {
        let world = self.world;
        delivered(status, world);
        self.plan.look_at = Some(world.now + Duration::milliseconds(LOOK_AGAIN_MS));
        let commanded = self.answer(spec, status);
        let folded = judge::fold(spec, status, &world.samples, world.now);
        watch_canaries(world, spec, status);
        let held_ms = checkpoint(world, spec, status, folded);
        self.absorb(spec, status);

        let effective = match effective::in_motion(world, spec, status) {
            Ok(effective) => effective,
            Err(blocked) => {
                status.wait = Some(blocked.record(status.wait.as_ref(), world.now, None));
                self.plan.blocked = Some(blocked);
                return;
            }
        };
        let hold = command::paused(world).or_else(|| world.sync.spec.suspend.then_some(Blocked::Suspended));
        let next = Motion { world, spec, status, effective: &effective, held_ms, hold }.next();
        let waits: Vec<Blocked> = match &next {
            Next::Stay(blocked) => vec![blocked.clone()],
            Next::Go(_) => Vec::new(),
        };
        let back = commanded.or_else(|| {
            retreat::is_reversible(world, spec, status)
                .then(|| retreat::reason(world, spec, status, &effective, &waits))
                .flatten()
        });
        match (back, next) {
            (Some(cause), _) => self.go_back(spec, status, cause),
            (None, _) if matches!(status.state, State::Holding {}) => self.holding(spec, status, &effective),
            (None, _) if matches!(status.state, State::Pruning {}) => self.prune(status),
            (None, Next::Go(state)) => self.enter(spec, status, state),
            (None, Next::Stay(blocked)) => self.stay(spec, status, blocked),
        }
        if is_final(&status.state) {
            return;
        }
        match effective::in_motion(world, spec, status) {
            Ok(effective) => {
                let mut writes = effects::of_motion(world, spec, status, &effective, held_ms);
                writes.extend(finalizer(world, !spec.rollouts.is_empty()));
                self.plan.effects.splice(0..0, writes);
            }
            Err(blocked) => self.plan.blocked = Some(blocked),
        }
    }

    /// Answers commands, and returns the cause of an abort.
    fn answer(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus) -> Option<Cause> {
        let (answered, decisions) = command::answer(self.world, Some((spec, status)), &self.sync);
        for record in answered {
            let reason = if record.accepted { "CommandAccepted" } else { "CommandRefused" };
            let message = format!("{}={} on {} by {}: {}", record.annotation, record.value, record.on, record.by, record.answer);
            self.note(!record.accepted, reason, &message);
            timeline(status, self.world.now, reason, &message);
        }
        self.plan.effects.extend(command::clear(self.world));
        self.retries(&decisions);
        decisions.into_iter().find_map(|decision| match decision {
            Decision::Abort { by } => Some(retreat::aborted(&by, self.world.now)),
            Decision::Retry { .. } if matches!(status.state, State::Holding {}) => {
                let mut cause = retreat::aborted("retry", self.world.now);
                cause.kind = "Superseded".to_owned();
                cause.quarantine = false;
                Some(cause)
            }
            Decision::Retry { .. } | Decision::Pass { .. } | Decision::ApprovePrune => None,
        })
    }

    /// Lifts quarantines that people asked to be lifted.
    pub fn retries(&mut self, decisions: &[Decision]) {
        for decision in decisions {
            if let Decision::Retry { sha } = decision {
                let digests: Vec<String> =
                    self.sync.quarantine.iter().filter(|entry| entry.sha == *sha).map(|entry| entry.digest.clone()).collect();
                self.sync.quarantine.retain(|entry| entry.sha != *sha && !digests.contains(&entry.digest));
            }
        }
    }

    /// A newer commit that changes nothing on trial joins the running release, which keeps its step and its clock.
    fn absorb(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus) {
        let Candidate::Ready(candidate) = &self.world.candidate else { return };
        let rolling = matches!(
            status.state,
            State::Applying { .. }
                | State::Preparing {}
                | State::Scaling { .. }
                | State::Warming { .. }
                | State::Shifting { .. }
                | State::Judging { .. }
        );
        if !rolling
            || candidate == &status.target
            || spec.previous.as_ref().is_some_and(|previous| previous.digest == candidate.digest)
        {
            return;
        }
        let same_content = candidate.digest == status.target.digest;
        if !same_content && !is_absorbed(self.world, spec, candidate) {
            return;
        }
        record_applied(&mut self.sync, &candidate.digest);
        self.sync.attempted = Some(candidate.clone());
        let message = format!("commit {} changes nothing that is on trial and joins the release", candidate.short);
        self.note(false, "Absorbed", &message);
        timeline(status, self.world.now, "Absorbed", &message);
        status.target = candidate.clone();
        if !same_content && spec.rollouts.is_empty() {
            status.state = State::Applying { stage: 0 };
            status.state_since = self.world.now;
        }
    }

    fn stay(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, blocked: Blocked) {
        let now = self.world.now;
        let before = status.wait.as_ref().map(|wait| wait.reason.clone());
        // What is put back in the middle of a wait does not end the wait.
        if !(matches!(blocked, Blocked::NotApplied(_)) && status.wait.is_some()) {
            status.wait = Some(blocked.record(status.wait.as_ref(), now, deadline(self.world, spec, status)));
        }
        if before.as_deref() != Some(blocked.reason()) && is_worth_telling(&blocked) {
            self.note(false, blocked.reason(), &blocked.to_string());
            timeline(status, now, blocked.reason(), &blocked.to_string());
        }
        let step = match status.state {
            State::Judging { step } => step,
            _ => -1,
        };
        match &blocked {
            Blocked::WaitingForApproval { .. } => alert(status, spec, "WaitingForApproval", &step.to_string(), now),
            Blocked::Metric { verdict: sluice_analysis::Verdict::Inconclusive, .. } => {
                alert(status, spec, "Inconclusive", &step.to_string(), now)
            }
            _ => {}
        }
        self.plan.look_at = Some(now + look_again(&blocked));
        self.plan.blocked = Some(blocked);
    }

    fn enter(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, state: State) {
        let world = self.world;
        status.state = state;
        status.state_since = world.now;
        status.wait = None;
        let message = match &status.state {
            State::Preparing {} => {
                for (plan, progress) in spec.rollouts.iter().zip(&mut status.rollouts) {
                    progress.stable_hash = sets(world, plan).settled_stable_hash(world).unwrap_or_default().to_owned();
                }
                "Services are pinned to the stable pods; canary pods are made".to_owned()
            }
            State::Judging { step } => {
                status.held = Held { ms: 0, at: world.now };
                for (plan, progress) in spec.rollouts.iter().zip(&mut status.rollouts) {
                    // The weight is accepted; proxies have it a moment later, and only then do answers belong to this step.
                    progress.metrics = judge::start(plan, world.now + Duration::seconds(SETTLE_S));
                }
                format!(
                    "step {} of {} is judged at {} %",
                    step + 1,
                    step_count(spec),
                    retreat::weight_percent(spec, &status.state)
                )
            }
            State::Shifting { step } => {
                format!("step {} of {}: weight {} %", step + 1, step_count(spec), retreat::weight_percent(spec, &status.state))
            }
            State::HandingOver { stage: Handover::RepointServices } => {
                "all checks passed: the judged pods are handed over".to_owned()
            }
            State::Promoted {} => format!("commit {} is good", status.target.short),
            State::RolledBack {} => format!(
                "back at {}: {}",
                spec.previous.as_ref().map_or("nothing", |previous| previous.short.as_str()),
                status.cause.as_ref().map_or("", |cause| cause.message.as_str())
            ),
            State::Superseded {} => status.cause.as_ref().map(|cause| cause.message.clone()).unwrap_or_default(),
            _ => String::new(),
        };
        let what = crate::show::word(&status.state);
        if !message.is_empty() {
            timeline(status, world.now, what, &message);
            self.note(matches!(status.state, State::RolledBack {} | State::Failed {}), what, &message);
        }
        match &status.state {
            State::RolledBack {} => alert(status, spec, "RolledBack", "", world.now),
            State::Pruning {} => self.prune(status),
            _ => {}
        }
        self.quarantine(spec, status);
    }

    fn go_back(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, cause: Cause) {
        let now = self.world.now;
        let message = format!("{}: {}", cause.kind, cause.message);
        let started = status.rollouts.iter().any(|progress| !progress.stable_hash.is_empty());
        let is_failure = cause.quarantine;
        let holds = is_failure && cause.kind != "Aborted" && self.world.sync.spec.on_failure == OnFailure::Hold;
        let next = match (&spec.previous, cause.kind.as_str()) {
            (None, "SyncDeleted") => State::Failed {},
            (None, "Superseded") => State::Superseded {},
            (None, _) => State::Holding {},
            (Some(_), _) if matches!(status.state, State::Holding {}) => State::RollingBack { stage: Rollback::Restore },
            (Some(_), _) if started => State::RollingBack { stage: Rollback::Traffic },
            (Some(_), _) if holds => State::Holding {},
            (Some(_), _) => State::RollingBack { stage: Rollback::Restore },
        };
        status.cause = Some(cause);
        status.state = next;
        status.state_since = now;
        status.wait = None;
        let what = crate::show::word(&status.state);
        timeline(status, now, what, &message);
        self.note(is_failure, what, &message);
        if matches!(status.state, State::Holding {}) {
            alert(status, spec, "Holding", "", now);
        }
        self.quarantine(spec, status);
    }

    /// A revision that failed is recorded with the decision to go back, not after it.
    fn quarantine(&mut self, spec: &ReleaseSpec, status: &ReleaseStatus) {
        let Some(cause) = status.cause.as_ref().filter(|cause| cause.quarantine) else { return };
        if spec.previous.is_none() || self.sync.quarantine.iter().any(|entry| entry.sha == status.target.sha) {
            return;
        }
        self.sync.quarantine.push(Quarantined {
            sha: status.target.sha.clone(),
            digest: status.target.digest.clone(),
            release: self.world.release.as_ref().and_then(|release| release.metadata.name.clone()).unwrap_or_default(),
            reason: cause.kind.clone(),
            at: self.world.now,
        });
        let surplus = self.sync.quarantine.len().saturating_sub(QUARANTINE_MAX);
        self.sync.quarantine.drain(..surplus);
    }

    /// Held at the failed revision: by choice, or because there is nothing to go back to.
    fn holding(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, effective: &Effective) {
        let world = self.world;
        if world.sync.metadata.deletion_timestamp.is_some() {
            let cause = status.cause.clone().unwrap_or_else(|| retreat::aborted("deletion of the GitSync", world.now));
            let kind = if spec.previous.is_none() { "SyncDeleted" } else { cause.kind.as_str() }.to_owned();
            return self.go_back(spec, status, Cause { kind, ..cause });
        }
        if let Candidate::Ready(candidate) = &world.candidate
            && candidate.digest != status.target.digest
        {
            let mut cause = retreat::aborted(&format!("commit {}", candidate.short), world.now);
            cause.kind = "Superseded".to_owned();
            cause.message = format!("Git moved on to commit {}", candidate.short);
            cause.quarantine = false;
            return self.go_back(spec, status, cause);
        }
        // A first install that gets well after its deadline is well.
        if spec.previous.is_none() && effective.unsettled(world).next().is_none() {
            let applying = ReleaseStatus { state: State::Applying { stage: effective::STAGE_LAST }, ..status.clone() };
            let motion = Motion { world, spec, status: &applying, effective, held_ms: 0, hold: None };
            if let Next::Go(state) = motion.next() {
                return self.enter(spec, status, state);
            }
        }
        let why = status.cause.as_ref().map(|cause| cause.message.clone()).unwrap_or_default();
        self.stay(spec, status, Blocked::NothingToGoBackTo(why));
    }

    /// The revision is good from here on; what only older ones had goes, through the brake.
    fn prune(&mut self, status: &mut ReleaseStatus) {
        let world = self.world;
        if self.sync.good.as_ref() != Some(&status.target) {
            self.sync.good = Some(status.target.clone());
            self.sync.refused = None;
        }
        let Some(leftovers) = inventory::leftovers(world, &status.target.digest) else {
            let blocked = Blocked::SnapshotMissing(status.target.sha.clone());
            status.wait = Some(blocked.record(status.wait.as_ref(), world.now, None));
            self.plan.blocked = Some(blocked);
            return;
        };
        let moved_on = matches!(&world.candidate, Candidate::Ready(candidate) if candidate.digest != status.target.digest);
        let goes_away = world.sync.metadata.deletion_timestamp.is_some();
        if leftovers.is_empty() || !world.sync.spec.prune.enabled || goes_away {
            return self.promote(status);
        }
        let before = named(world.release.as_ref().and_then(|release| world.render_of(release.spec.previous.as_ref())));
        let braked = inventory::brake(world, &leftovers, &before);
        let approved = |digest: &str| {
            status
                .commands
                .iter()
                .any(|record| record.accepted && record.annotation == sluice_crds::names::APPROVE_PRUNE && record.value == digest)
        };
        // Once approved it goes on to the end, though what is left of it has another digest by then.
        let going_on = matches!(&self.sync.prune_blocked, Some(blocked) if approved(&blocked.digest));
        if let Some(blocked) = braked.filter(|_| !going_on) {
            if moved_on {
                // What is left stays in the inventory and meets the brake again after the newer commit.
                self.sync.prune_blocked = None;
                return self.promote(status);
            }
            let wait = Blocked::PruneBlocked {
                count: leftovers.len(),
                sync: world.sync.metadata.name.clone().unwrap_or_default(),
                namespace: world.namespace().to_owned(),
                digest: blocked.digest.clone(),
            };
            if self.sync.prune_blocked.as_ref() != Some(&blocked) {
                self.note(true, "PruneBlocked", &wait.to_string());
                timeline(status, world.now, "PruneBlocked", &wait.to_string());
            }
            self.sync.prune_blocked = Some(blocked);
            status.wait = Some(wait.record(status.wait.as_ref(), world.now, None));
            self.plan.blocked = Some(wait);
            return;
        }
        let mut deletions: Vec<&crate::id::Id> = leftovers.iter().collect();
        deletions.sort_by_key(|id| (std::cmp::Reverse(effective::stage(id)), (*id).clone()));
        for id in deletions {
            if let Some(object) = world.object(id).filter(|object| !crate::view::is_deleting(object)) {
                self.plan.effects.push(effects::delete(id, object));
            }
        }
        let wait = Blocked::Deleting(format!("{} objects that left Git", leftovers.len()));
        status.wait = Some(wait.record(status.wait.as_ref(), world.now, None));
        self.plan.blocked = Some(wait);
    }

    fn promote(&mut self, status: &mut ReleaseStatus) {
        status.state = State::Promoted {};
        status.state_since = self.world.now;
        status.wait = None;
        self.sync.prune_blocked = None;
        let message = format!("commit {} is good", status.target.short);
        timeline(status, self.world.now, "Promoted", &message);
        self.note(false, "Promoted", &message);
    }
}

/// Whether a commit changes nothing that a running release tries.
#[must_use]
pub fn is_absorbed(world: &World, spec: &ReleaseSpec, candidate: &Revision) -> bool {
    let (Some(render), Some(previous)) = (world.render_of(Some(candidate)), world.render_of(spec.previous.as_ref())) else {
        return false;
    };
    compile(&named(Some(render)), &world.cluster_templates, spec.number)
        .is_ok_and(|plans| same_trial(&on_trial(plans, &named(Some(previous))), &spec.rollouts))
        && !spec.rollouts.is_empty()
}

/// Enters a digest into the inventory before its first write.
pub fn record_applied(sync: &mut GitSyncStatus, digest: &str) {
    if !sync.applied.iter().any(|applied| applied == digest) {
        sync.applied.push(digest.to_owned());
    }
}

/// When a wait is looked at again though nothing wakes it: short waits for proxies precisely, holds at their end.
fn look_again(blocked: &Blocked) -> Duration {
    match blocked {
        Blocked::DataPlane | Blocked::Draining => Duration::milliseconds(LOOK_SOON_MS),
        Blocked::HoldTime { held_ms, hold_ms } => Duration::milliseconds((hold_ms - held_ms).clamp(1, LOOK_AGAIN_MS)),
        _ => Duration::milliseconds(LOOK_AGAIN_MS),
    }
}

fn is_worth_telling(blocked: &Blocked) -> bool {
    matches!(
        blocked,
        Blocked::WaitingForApproval { .. }
            | Blocked::Metric { .. }
            | Blocked::WriteRefused { .. }
            | Blocked::Paused(_)
            | Blocked::Suspended
            | Blocked::StableNotSettled(_)
            | Blocked::NothingToGoBackTo(_)
            | Blocked::PruneBlocked { .. }
            | Blocked::SnapshotMissing(_)
    )
}

/// One line of the history.
pub fn timeline(status: &mut ReleaseStatus, now: DateTime<Utc>, what: &str, message: &str) {
    status.timeline.push(TimelineEntry { at: now, what: what.to_owned(), message: bounded(message) });
    let surplus = status.timeline.len().saturating_sub(TIMELINE_MAX);
    status.timeline.drain(..surplus);
}

/// One alert for each release and transition: the id makes a second raising the same alert.
fn alert(status: &mut ReleaseStatus, spec: &ReleaseSpec, kind: &str, detail: &str, now: DateTime<Utc>) {
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
fn watch_canaries(world: &World, spec: &ReleaseSpec, status: &mut ReleaseStatus) {
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
fn checkpoint(world: &World, spec: &ReleaseSpec, status: &mut ReleaseStatus, folded: bool) -> i64 {
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
