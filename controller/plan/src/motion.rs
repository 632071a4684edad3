//! The next state of a release that goes forward, or what it waits for. One arm for each state.

use chrono::{DateTime, Duration, Utc};
use sluice_crds::gitsync::OnFailure;
use sluice_crds::names::FIELD_MANAGER;
use sluice_crds::release::{Handover, ReleaseSpec, ReleaseStatus, Rollback, RolloutPlan, RolloutProgress, State};

use crate::canary::{Sets, is_recognised, needed, sets};
use crate::check::{deployment_id, route_id};
use crate::effective::{Effective, STAGE_LAST, is_settled, step_of};
use crate::evidence::ready_count;
use crate::health::{Health, health, route_accepted};
use crate::id::Id;
use crate::judge;
use crate::view::{integer, managed_at, templates_equal, uid};
use crate::wait::Blocked;
use crate::world::World;

/// A backend that had no weight answers 503 until the proxy has learnt it: routes and clusters reach it on separate streams.
/// Measured with Contour and Envoy: accepted after 0.1-0.2 s, at the proxy within the next; kept connections and endpoints
/// follow a changed selector in the same time.
pub const WARM_S: i64 = 1;
/// A weight that the gateway has accepted is at its proxies within this time.
pub const SETTLE_S: i64 = 1;
/// Requests in flight end within this time after their backend lost its weight, before its pods may go.
pub const DRAIN_S: i64 = 3;

/// What follows.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    Stay(Blocked),
    Go(State),
}

/// One release as it stands: what all arms look at.
pub struct Motion<'a> {
    pub world: &'a World,
    pub spec: &'a ReleaseSpec,
    pub status: &'a ReleaseStatus,
    pub effective: &'a Effective,
    /// Healthy time in the step, up to now.
    pub held_ms: i64,
    /// What holds all forward motion: a person, or a suspended GitSync.
    pub hold: Option<Blocked>,
}

impl<'a> Motion<'a> {
    /// See the module.
    #[must_use]
    pub fn next(&self) -> Next {
        if let Some(blocked) = self.unsettled() {
            return Next::Stay(blocked);
        }
        match &self.status.state {
            State::Applying { stage } => self.applying(*stage),
            State::Preparing {} => self.preparing(),
            State::Scaling { step } => self.scaling(*step),
            State::Warming { step } => self.held_or(self.after_route(WARM_S, State::Shifting { step: *step })),
            State::Shifting { step } => self.after_route(0, State::Judging { step: *step }),
            State::Judging { step } => self.judging(*step),
            State::HandingOver { stage } => self.handing_over(*stage),
            State::RollingBack { stage } => self.rolling_back(*stage),
            State::Holding {} => Next::Stay(Blocked::NothingToGoBackTo(
                self.status.cause.as_ref().map(|cause| cause.message.clone()).unwrap_or_default(),
            )),
            // The brake and the end of a release are decided where deletions are: in the inventory.
            State::Pruning {} | State::Promoted {} | State::RolledBack {} | State::Superseded {} | State::Failed {} => {
                Next::Go(State::Promoted {})
            }
        }
    }

    /// The first object that is not as the state prescribes. On the way back only what carries traffic is waited for without an
    /// end: an object that the API server refuses must not keep the rest from going back.
    fn unsettled(&self) -> Option<Blocked> {
        let going_back = matches!(self.status.state, State::RollingBack { .. });
        let carriers = self.carriers();
        let carries = |id: &Id| carriers.contains(id);
        let needs_all =
            !going_back || !matches!(self.status.state, State::RollingBack { stage: Rollback::Traffic | Rollback::Drain });
        let is_over = going_back && self.is_past(crate::retreat::WRITE_DEADLINE_S);
        let (id, _) = self.effective.unsettled(self.world).find(|(id, _)| carries(id) || (needs_all && !is_over))?;
        let refused = self.world.live.get(id).and_then(|live| live.refused.clone());
        Some(match refused {
            Some(message) => Blocked::WriteRefused { object: id.to_string(), message },
            None => Blocked::NotApplied(id.to_string()),
        })
    }

    fn held_or(&self, next: Next) -> Next {
        match (&self.hold, next) {
            (Some(hold), Next::Go(_)) => Next::Stay(hold.clone()),
            (_, next) => next,
        }
    }

    fn plans(&self) -> impl Iterator<Item = (&'a RolloutPlan, &'a RolloutProgress, Sets<'a>)> {
        let world = self.world;
        self.spec.rollouts.iter().zip(&self.status.rollouts).map(move |(plan, progress)| (plan, progress, sets(world, plan)))
    }

    fn applying(&self, stage: i32) -> Next {
        if let Some(blocked) = self.unhealthy() {
            return Next::Stay(blocked);
        }
        if stage < STAGE_LAST {
            return Next::Go(State::Applying { stage: stage + 1 });
        }
        if self.spec.rollouts.is_empty() {
            return self.held_or(Next::Go(State::Pruning {}));
        }
        match self.plans().find(|(_, _, sets)| sets.settled_stable_hash(self.world).is_none()) {
            Some((plan, _, _)) => Next::Stay(Blocked::StableNotSettled(plan.deployment.clone())),
            None => self.held_or(Next::Go(State::Preparing {})),
        }
    }

    fn unhealthy(&self) -> Option<Blocked> {
        self.effective.objects.keys().find_map(|id| {
            let object = self.world.object(id)?;
            match health(id, object) {
                Health::Current => None,
                Health::InProgress(message) | Health::Failed(message) => {
                    Some(Blocked::NotHealthy { object: id.to_string(), message })
                }
            }
        })
    }

    fn preparing(&self) -> Next {
        match self.plans().find(|(_, progress, sets)| sets.canary.is_none() || progress.canary_uid != sets.canary_uid()) {
            Some((plan, _, _)) => Next::Stay(Blocked::CanaryMissing(plan.name.clone())),
            None => Next::Go(State::Scaling { step: 0 }),
        }
    }

    /// A canary that is ready for a share of the traffic, or why it is not.
    fn short_of(&self, step: i32) -> Option<Blocked> {
        self.plans().find_map(|(plan, _, sets)| {
            let needed = needed(sets.wanted(), step_of(plan, step)?.weight_percent);
            let ready = sets.canary_ready(self.world);
            (ready < needed).then(|| Blocked::PodsNotReady { rollout: plan.name.clone(), ready, needed })
        })
    }

    fn scaling(&self, step: i32) -> Next {
        if let Some(blocked) = self.short_of(step) {
            return Next::Stay(blocked);
        }
        let next = if step == 0 { State::Warming { step } } else { State::Shifting { step } };
        self.held_or(Next::Go(next))
    }

    /// Goes on when every route's present form is accepted and has been out for a while.
    fn after_route(&self, wait_s: i64, next: State) -> Next {
        for (plan, _, _) in self.plans() {
            for name in &plan.routes {
                let id = route_id(plan, name);
                if !self.world.object(&id).is_some_and(route_accepted) {
                    return Next::Stay(Blocked::RouteNotAccepted { route: id.to_string() });
                }
            }
        }
        self.after_writes(wait_s, next)
    }

    /// Goes on when a while has passed since the state began and since our last write to what carries traffic. The time of a
    /// write is the API server's, in the object: no restart between record and write shortens the wait.
    fn after_writes(&self, wait_s: i64, next: State) -> Next {
        // It has whole seconds, rounded down: a write of a later second than the state's may be up to a second younger.
        let since = self.status.state_since;
        let written = self
            .carriers()
            .into_iter()
            .filter_map(|id| managed_at(self.world.object(&id)?, FIELD_MANAGER))
            .filter(|written| *written > since)
            .max()
            .map(|written| written + Duration::seconds(1));
        let begun = written.unwrap_or(since);
        // A clock of the API server ahead of ours must not stop the release for ever.
        let begun = begun.min(self.world.now.max(since));
        if self.world.now - begun < Duration::seconds(wait_s) { Next::Stay(Blocked::DataPlane) } else { Next::Go(next) }
    }

    fn carriers(&self) -> Vec<Id> {
        self.spec
            .rollouts
            .iter()
            .flat_map(|plan| {
                plan.routes.iter().map(|name| route_id(plan, name)).chain([crate::check::service_id(plan, &plan.service)])
            })
            .collect()
    }

    fn judging(&self, step: i32) -> Next {
        let hold_s = self.spec.rollouts.iter().filter_map(|plan| step_of(plan, step)).map(|step| step.hold_s).max().unwrap_or(0);
        if self.held_ms < hold_s * 1000 {
            return Next::Stay(match judge::unproven(self.spec, self.status, self.world.now) {
                Some((rollout, judgement)) if judgement.verdict == sluice_analysis::Verdict::QueryError => {
                    Blocked::Metric { rollout, verdict: judgement.verdict, message: judgement.message }
                }
                _ => Blocked::HoldTime { held_ms: self.held_ms, hold_ms: hold_s * 1000 },
            });
        }
        let passed_by_person = self.status.approved_through >= step;
        if let Some((rollout, judgement)) = judge::unproven(self.spec, self.status, self.world.now)
            && !passed_by_person
        {
            return Next::Stay(Blocked::Metric { rollout, verdict: judgement.verdict, message: judgement.message });
        }
        if let Some(blocked) = self.gate(step).filter(|_| !passed_by_person) {
            return Next::Stay(blocked);
        }
        if let Some(blocked) = self.short_of(step) {
            return Next::Stay(blocked);
        }
        let last = step + 1 >= step_count(self.spec);
        self.held_or(Next::Go(if last {
            State::HandingOver { stage: Handover::RepointServices }
        } else {
            State::Scaling { step: step + 1 }
        }))
    }

    fn gate(&self, step: i32) -> Option<Blocked> {
        self.spec.rollouts.iter().find_map(|plan| {
            let here = step_of(plan, step).filter(|here| here.approval && is_own_step(plan, step))?;
            Some(Blocked::WaitingForApproval {
                rollout: plan.name.clone(),
                namespace: plan.namespace.clone(),
                step: step + 1,
                weight_percent: here.weight_percent,
                sha: self.status.target.sha.clone(),
            })
        })
    }

    fn handing_over(&self, stage: Handover) -> Next {
        let go = |stage| Next::Go(State::HandingOver { stage });
        match stage {
            Handover::RepointServices => match self.short_of(i32::MAX) {
                Some(blocked) => Next::Stay(blocked),
                None => self.after_route(WARM_S, State::HandingOver { stage: Handover::ShiftToRoot }),
            },
            Handover::ShiftToRoot => self.after_route(WARM_S, State::HandingOver { stage: Handover::RouteAsGit }),
            Handover::RouteAsGit => self.after_route(0, State::HandingOver { stage: Handover::RemoveTwins }),
            Handover::RemoveTwins => match self.plans().find(|(_, _, sets)| twins(self.world, sets).next().is_some()) {
                Some((plan, _, _)) => {
                    Next::Stay(Blocked::Deleting(format!("a ReplicaSet of {} with the canary's template", plan.deployment)))
                }
                None => go(Handover::PauseDeployment),
            },
            Handover::PauseDeployment => self.paused(),
            Handover::ChangeOwner => {
                match self.plans().find_map(|(plan, progress, sets)| self.not_taken_over(plan, progress, &sets)) {
                    Some(blocked) => Next::Stay(blocked),
                    None => go(Handover::ReleaseDeployment),
                }
            }
            Handover::ReleaseDeployment | Handover::NativeRollout => {
                match self.plans().find_map(|(plan, _, _)| self.unhealthy_deployment(plan)) {
                    Some(blocked) => Next::Stay(blocked),
                    None => go(Handover::Unpin),
                }
            }
            Handover::Unpin => match self.still_there().or_else(|| self.judged_set_left()) {
                Some(blocked) => Next::Stay(blocked),
                None => Next::Go(State::Pruning {}),
            },
        }
    }

    /// The guards before the owner changes, all from the fresh reads of this pass.
    fn paused(&self) -> Next {
        for (plan, _, sets) in self.plans() {
            let (Some(deployment), Some(canary)) = (sets.deployment, sets.canary) else {
                return Next::Stay(Blocked::CanaryMissing(plan.name.clone()));
            };
            let stay = |why: String| Next::Stay(Blocked::Handover(format!("Rollout {}: {why}", plan.name)));
            if integer(deployment, &["metadata", "generation"]) != integer(deployment, &["status", "observedGeneration"]) {
                return stay("the Deployment controller has not seen that it is paused".to_owned());
            }
            let (Some(own), Some(theirs)) = (canary.pointer("/spec/template"), deployment.pointer("/spec/template")) else {
                return stay("a pod template is missing".to_owned());
            };
            if !templates_equal(own, theirs) {
                // An admission webhook that acts on updates only: the judged pods cannot be taken over, the Deployment rolls
                // by itself while the Services stay with the judged ones.
                return Next::Go(State::HandingOver { stage: Handover::NativeRollout });
            }
            let wanted = sets.wanted();
            let (spec, ready) = (integer(canary, &["spec", "replicas"]).unwrap_or(0), ready_count(&self.world.pods, uid(canary)));
            if spec != wanted || ready < wanted {
                return stay(format!("{ready} ready of {spec} pods, {wanted} are wanted"));
            }
        }
        Next::Go(State::HandingOver { stage: Handover::ChangeOwner })
    }

    fn not_taken_over(&self, plan: &RolloutPlan, progress: &RolloutProgress, sets: &Sets<'_>) -> Option<Blocked> {
        let wait = |why: &str| Some(Blocked::Handover(format!("Rollout {}: {why}", plan.name)));
        let (Some(deployment), Some(canary)) = (sets.deployment, sets.canary) else {
            return wait("the canary's ReplicaSet is gone");
        };
        if !sets.is_handed_over() {
            return wait("the ReplicaSet's owner has not changed yet");
        }
        if !is_recognised(canary, deployment) {
            return wait("the Deployment controller has not taken the ReplicaSet over yet");
        }
        let stable = sets.with_hash(self.world, &progress.stable_hash);
        if stable.is_some_and(|set| integer(set, &["spec", "replicas"]).unwrap_or(0) > 0) {
            return wait("the old ReplicaSet has not been scaled down yet");
        }
        (sets.canary_ready(self.world) < sets.wanted())
            .then(|| Blocked::Handover(format!("Rollout {}: too few pods are ready", plan.name)))
    }

    fn unhealthy_deployment(&self, plan: &RolloutPlan) -> Option<Blocked> {
        let id = deployment_id(plan);
        match health(&id, self.world.object(&id)?) {
            Health::Current => None,
            Health::InProgress(message) | Health::Failed(message) => {
                Some(Blocked::NotHealthy { object: id.to_string(), message })
            }
        }
    }

    /// After a native rollout: the judged set, which serves until the Services have let go of it.
    fn judged_set_left(&self) -> Option<Blocked> {
        self.plans()
            .find(|(_, _, sets)| sets.canary.is_some() && !sets.is_handed_over())
            .map(|(plan, _, _)| Blocked::Deleting(format!("the judged ReplicaSet of {}", plan.deployment)))
    }

    fn still_there(&self) -> Option<Blocked> {
        self.effective.absent.iter().find(|id| self.world.object(id).is_some()).map(|id| Blocked::Deleting(id.to_string()))
    }

    fn rolling_back(&self, stage: Rollback) -> Next {
        let go = |stage| Next::Go(State::RollingBack { stage });
        match stage {
            // Until the gateway has accepted weight 0 its proxies may still send requests to the canary: its pods stay.
            Rollback::Traffic => self.after_route(0, State::RollingBack { stage: Rollback::Drain }),
            Rollback::Drain => match self.after_writes(DRAIN_S, State::RollingBack { stage: Rollback::Restore }) {
                Next::Stay(_) => Next::Stay(Blocked::Draining),
                Next::Go(_) if self.holds_after_failure() => Next::Go(State::Holding {}),
                next @ Next::Go(_) => next,
            },
            Rollback::Restore => go(Rollback::RemoveCanary),
            Rollback::RemoveCanary => {
                match self.plans().find(|(plan, _, sets)| sets.canary.is_some() && !is_stable(plan, self.status)) {
                    Some((plan, _, _)) => Next::Stay(Blocked::Deleting(format!("the canary of {}", plan.name))),
                    None => self.still_there().map_or_else(|| go(Rollback::Unpin), Next::Stay),
                }
            }
            Rollback::Unpin => match self.still_there() {
                Some(blocked) => Next::Stay(blocked),
                None => Next::Go(ended(self.status)),
            },
        }
    }

    /// `onFailure: Hold`: traffic goes back, the rest waits for a person.
    fn holds_after_failure(&self) -> bool {
        let failed = self.status.cause.as_ref().is_some_and(|cause| cause.quarantine && cause.kind != "Aborted");
        failed && self.world.sync.spec.on_failure == OnFailure::Hold
    }

    fn is_past(&self, limit_s: i64) -> bool {
        self.world.now - self.status.state_since >= Duration::seconds(limit_s)
    }
}

/// A canary with the stable pods' own hash would be the stable set itself: never to be deleted.
fn is_stable(plan: &RolloutPlan, status: &ReleaseStatus) -> bool {
    status.rollouts.iter().any(|progress| progress.stable_hash == plan.canary_hash)
}

/// How a release that went back ends.
#[must_use]
pub fn ended(status: &ReleaseStatus) -> State {
    match &status.cause {
        Some(cause) if matches!(cause.kind.as_str(), "Superseded" | "Reverted") => State::Superseded {},
        _ => State::RolledBack {},
    }
}

/// ReplicaSets of the history with the canary's template: the Deployment controller would adopt the oldest of them.
pub fn twins<'a>(world: &'a World, sets: &Sets<'a>) -> impl Iterator<Item = &'a serde_json::Value> + use<'a> {
    let template = sets.canary.and_then(|canary| canary.pointer("/spec/template"));
    sets.history(world).filter(move |set| {
        template.is_some_and(|template| set.pointer("/spec/template").is_some_and(|own| templates_equal(own, template)))
    })
}

/// How many steps a release has: those of its longest rollout.
#[must_use]
pub fn step_count(spec: &ReleaseSpec) -> i32 {
    spec.rollouts.iter().map(|plan| i32::try_from(plan.steps.len()).unwrap_or(i32::MAX)).max().unwrap_or(0)
}

/// Whether a release's step is one of a rollout's own, and not its last one prolonged for the others.
fn is_own_step(plan: &RolloutPlan, step: i32) -> bool {
    usize::try_from(step).is_ok_and(|step| step < plan.steps.len())
}

/// Whether a settled object of this identity is wanted in the set.
#[must_use]
pub fn is_ready_in(world: &World, effective: &Effective, id: &Id) -> bool {
    effective.objects.get(id).is_some_and(|desired| is_settled(world, id, desired))
}

/// When a state's deadline is, for people.
#[must_use]
pub fn deadline(world: &World, spec: &ReleaseSpec, status: &ReleaseStatus) -> Option<DateTime<Utc>> {
    crate::retreat::deadline_s(world, spec, status).map(|limit_s| status.state_since + Duration::seconds(limit_s))
}
