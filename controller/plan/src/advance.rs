//! A release in motion, one pass: what people asked, what was measured, then back or forward by one state.

use chrono::Duration;
use sluice_crds::gitsync::{OnFailure, Quarantined, Revision};
use sluice_crds::release::{Cause, Handover, Held, ReleaseSpec, ReleaseStatus, Rollback, RolloutProgress, State, TimelineEntry};

use crate::canary::sets;
use crate::check::{bounded, compile, named, on_trial, same_trial};
use crate::command::{self, Decision};
use crate::effective::{self, Effective};
use crate::effects;
use crate::judge;
use crate::motion::{Motion, Next, SETTLE_S, deadline, step_count};
use crate::plan::{Draft, is_final};
use crate::record::{alert, checkpoint, delivered, finalizer, record_applied, timeline, watch_canaries};
use crate::retreat;
use crate::wait::Blocked;
use crate::world::{Candidate, World};

/// How often a release in motion is looked at when nothing wakes it.
pub(crate) const LOOK_AGAIN_MS: i64 = 1000;
/// The same for waits of a second or two.
const LOOK_SOON_MS: i64 = 150;
/// Quarantined revisions of a GitSync.
const QUARANTINE_MAX: usize = 32;

impl Draft<'_> {
    pub(crate) fn motion(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus) {
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
    pub(crate) fn answer(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus) -> Option<Cause> {
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
    pub(crate) fn absorb(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus) {
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

    pub(crate) fn stay(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, blocked: Blocked) {
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

    pub(crate) fn enter(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, state: State) {
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
            State::Holding {} => alert(status, spec, "Holding", "", world.now),
            State::Pruning {} => self.prune(status),
            _ => {}
        }
        self.quarantine(spec, status);
    }

    pub(crate) fn go_back(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, cause: Cause) {
        let now = self.world.now;
        // Before the first weight there is no traffic to take back, and no gateway to wait for.
        let unweighted = matches!(status.state, State::Applying { .. } | State::Preparing {} | State::Scaling { step: 0 });
        let started = !unweighted && status.rollouts.iter().any(|progress| !progress.stable_hash.is_empty());
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
        status.state = next;
        status.state_since = now;
        status.wait = None;
        let what = crate::show::word(&status.state);
        let message = if what == cause.kind { cause.message.clone() } else { format!("{}: {}", cause.kind, cause.message) };
        status.cause = Some(cause);
        timeline(status, now, what, &message);
        self.note(is_failure, what, &message);
        if matches!(status.state, State::Holding {}) {
            alert(status, spec, "Holding", "", now);
        }
        self.quarantine(spec, status);
    }

    /// A revision that failed is recorded with the decision to go back, not after it.
    pub(crate) fn quarantine(&mut self, spec: &ReleaseSpec, status: &ReleaseStatus) {
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
    pub(crate) fn holding(&mut self, spec: &ReleaseSpec, status: &mut ReleaseStatus, effective: &Effective) {
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
        let blocked = if spec.previous.is_some() { Blocked::HeldByChoice(why) } else { Blocked::NothingToGoBackTo(why) };
        self.stay(spec, status, blocked);
    }
}

/// The state of a release that has just been created.
pub(crate) fn initial(world: &World, spec: &ReleaseSpec) -> ReleaseStatus {
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
            | Blocked::HeldByChoice(_)
            | Blocked::PruneBlocked { .. }
            | Blocked::SnapshotMissing(_)
    )
}
