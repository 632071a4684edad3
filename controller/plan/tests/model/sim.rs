//! The clock and the loop: what happens by itself happens at its time, a pass runs when it is woken, and every pass is judged.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sluice_analysis::{Answer, FailureKind, QueryFailure, Sample};
use sluice_crds::gitsync::{GitSyncStatus, Refused, Revision};
use sluice_crds::release::{Release, ReleaseStatus};
use sluice_plan::check::{compile, named};
use sluice_plan::plan::is_final;
use sluice_plan::world::{Candidate, MetricSample};
use sluice_plan::{Plan, Render, World, judge, lint, plan};

use super::app::{Git, NAMESPACE, id, sha};
use super::controllers;
use super::execute::{Outcome, execute};
use super::gateway::Gateway;
use super::invariants::{self, Watch};
use super::observe::{Brought, Memory, SYNC, observe};
use super::pods::{self, Fates};
use super::store::{Store, WriteError};
use super::tell::Teller;

/// The Deployment controller and its like answer a change after this time.
const LAG_MS: i64 = 100;
/// A pass that met a conflict is repeated after this time.
const CONFLICT_MS: i64 = 20;
const BACKOFF_MS: i64 = 250;
const BACKOFF_MS_MAX: i64 = 2000;
/// A process that ended is back after this time.
const RESTART_MS: i64 = 300;
const RESYNC_MS: i64 = 60_000;
/// Passes that may write at one instant; more is a loop without an end.
const PASSES_MAX: usize = 80;

/// What Prometheus says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Value(f64),
    Empty,
    NotANumber,
    Error,
}

/// See the module.
pub struct Sim {
    pub store: Store,
    pub memory: Memory,
    pub snapshots: BTreeMap<String, Render>,
    pub git: Git,
    pub candidate: Candidate,
    /// Milliseconds of a clock that nobody sets.
    pub mono_ms: i64,
    /// How far the controller's clock is from it.
    pub skew_ms: i64,
    pub epoch: i64,
    pub fates: Fates,
    pub gateway: Gateway,
    /// By rollout; what is not named is well.
    pub replies: BTreeMap<String, Reply>,
    samples: Vec<MetricSample>,
    /// The process ends before the write after so many, once.
    pub crash_after: Option<usize>,
    /// The process ends before this write, counted from now over all passes, once.
    pub crash_at_write: Option<usize>,
    /// The process ends after so many writes of every pass.
    pub dies_after: Option<usize>,
    pub is_gone: bool,
    /// Whether every world is planned again: after JSON, and as a process without a memory sees it.
    pub is_thorough: bool,
    pub watch: Watch,
    pub teller: Teller,
    pub passes: usize,
    controllers_at: Option<i64>,
    controllers_seen: u64,
    wake_at: i64,
    burst: usize,
    failures: u32,
}

fn start() -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Sim {
    pub fn new(git: Git) -> Self {
        let mut sim = Self {
            store: Store::at(start()),
            memory: Memory::default(),
            snapshots: BTreeMap::new(),
            git,
            candidate: Candidate::Unknown {},
            mono_ms: 0,
            skew_ms: 0,
            epoch: 1,
            fates: Fates::new(),
            gateway: Gateway::default(),
            replies: BTreeMap::new(),
            samples: Vec::new(),
            crash_after: None,
            crash_at_write: None,
            dies_after: None,
            is_gone: false,
            is_thorough: false,
            watch: Watch::default(),
            teller: Teller::default(),
            passes: 0,
            controllers_at: None,
            controllers_seen: 0,
            wake_at: 0,
            burst: 0,
            failures: 0,
        };
        let sync = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": SYNC, "namespace": NAMESPACE},
            "spec": {
                "source": {"url": "https://git.example/shop.git", "ref": {"branch": "main"}},
                "target": {"serviceAccountName": "deployer"},
            },
        });
        sim.store.create(&id("GitSync", SYNC), &sync, "kubectl").unwrap();
        sim
    }

    /// An application whose first commit is good already.
    pub fn installed(git: Git, commit: &str) -> Self {
        let mut sim = Self::new(git);
        sim.push(commit);
        sim.run(600_000);
        assert_eq!(sim.good(), Some(sha(commit)), "the first commit is not good:\n{}", sim.teller.lines.join("\n"));
        sim
    }

    pub fn now(&self) -> DateTime<Utc> {
        start() + TimeDelta::milliseconds(self.mono_ms + self.skew_ms)
    }

    /// Commits the tree as it is.
    pub fn push(&mut self, commit: &str) {
        let render = self.git.render();
        let sha = sha(commit);
        self.candidate = match compile(&named(Some(&render)), &BTreeMap::new(), 1) {
            Ok(_) => Candidate::Ready(Revision {
                short: sha.chars().take(12).collect(),
                sha,
                digest: render.digest.clone(),
                author: "dev".to_owned(),
                subject: format!("commit {commit}"),
            }),
            Err(error) => Candidate::Refused(Refused { sha, reason: error.reason().to_owned(), message: error.to_string() }),
        };
        self.snapshots.insert(render.digest.clone(), render);
        self.wake();
    }

    /// The process ends and starts again: what it remembered is gone.
    pub fn restart(&mut self) {
        self.memory = Memory::default();
        self.samples.clear();
        self.wake();
    }

    pub fn wake(&mut self) {
        self.wake_at = self.mono_ms;
    }

    pub fn sync_status(&self) -> GitSyncStatus {
        self.store
            .get(&id("GitSync", SYNC))
            .and_then(|sync| sync.get("status").cloned())
            .map(|status| serde_json::from_value(status).unwrap())
            .unwrap_or_default()
    }

    pub fn good(&self) -> Option<String> {
        self.sync_status().good.map(|good| good.sha)
    }

    pub fn release(&self) -> Option<Release> {
        let number = self.sync_status().release;
        let object = self.store.get(&id("Release", &format!("{SYNC}-{number}")))?;
        Some(serde_json::from_value(object).unwrap())
    }

    pub fn status(&self) -> Option<ReleaseStatus> {
        self.release()?.status
    }

    /// Whether no release is in motion and nothing new is in Git.
    pub fn is_at_rest(&self) -> bool {
        let ended = self.status().is_some_and(|status| is_final(&status.state));
        let known = match &self.candidate {
            Candidate::Ready(revision) => {
                let status = self.sync_status();
                [status.attempted.map(|attempted| attempted.sha), status.refused.map(|refused| refused.sha)]
                    .contains(&Some(revision.sha.clone()))
            }
            Candidate::Refused(_) | Candidate::Unknown {} => true,
        };
        ended && known && self.controllers_at.is_none()
    }

    /// Lets time pass until nothing is in motion, at most so long.
    pub fn run(&mut self, limit_ms: i64) {
        self.advance(limit_ms, |sim| sim.is_at_rest());
    }

    /// Lets time pass until a condition holds after a pass, at most so long.
    pub fn advance(&mut self, limit_ms: i64, until: impl Fn(&Self) -> bool) {
        let end_ms = self.mono_ms + limit_ms;
        loop {
            self.environment();
            if self.mono_ms >= self.wake_at && !self.is_gone {
                let wrote = self.pass();
                if !self.samples.is_empty() {
                    self.wake();
                }
                if wrote {
                    continue;
                }
            }
            if until(self) && self.samples.is_empty() {
                return;
            }
            let next = [
                self.controllers_at,
                pods::next_change(&self.store, &self.fates, self.mono_ms),
                self.gateway.next_change(self.mono_ms),
            ];
            let own = if self.is_gone { None } else { Some(self.wake_at) };
            let next_ms = next.into_iter().chain([own]).flatten().min().unwrap_or(end_ms).max(self.mono_ms);
            if next_ms > end_ms || (next_ms == self.mono_ms && self.mono_ms == end_ms) {
                self.mono_ms = end_ms;
                self.environment();
                return;
            }
            if next_ms > self.mono_ms {
                self.burst = 0;
            }
            self.mono_ms = next_ms;
        }
    }

    /// Everything that is not Sluice, up to now.
    fn environment(&mut self) {
        self.store.now = start() + TimeDelta::milliseconds(self.mono_ms);
        let before = self.store.revision;
        pods::live(&mut self.store, &self.fates, self.mono_ms);
        self.gateway.accept(&mut self.store, self.mono_ms);
        if self.store.revision != self.controllers_seen && self.controllers_at.is_none() {
            self.controllers_at = Some(self.mono_ms + LAG_MS);
        }
        if self.controllers_at.is_some_and(|at| at <= self.mono_ms) {
            self.controllers_at = None;
            controllers::settle(&mut self.store, &self.fates, self.mono_ms);
            self.gateway.accept(&mut self.store, self.mono_ms);
            self.controllers_seen = self.store.revision;
        }
        if self.store.revision != before {
            self.wake();
        }
        self.watch.now_ms = self.mono_ms;
        self.watch.state(&self.store);
    }

    /// The world as it is now.
    pub fn world(&mut self) -> Option<World> {
        let mut memory = std::mem::take(&mut self.memory);
        let world = self.seen_with(&mut memory);
        self.memory = memory;
        world
    }

    /// The world as a process with this memory sees it.
    fn seen_with(&self, memory: &mut Memory) -> Option<World> {
        let candidate_render = match &self.candidate {
            Candidate::Ready(revision) => self.snapshots.get(&revision.digest).cloned(),
            Candidate::Refused(_) | Candidate::Unknown {} => None,
        };
        let delivered = self.status().map(|status| status.alerts).unwrap_or_default();
        let brought = Brought {
            now: self.now(),
            epoch: self.epoch,
            candidate: self.candidate.clone(),
            candidate_render,
            samples: self.samples.clone(),
            delivered: delivered.into_iter().filter(|alert| alert.delivered_at.is_none()).map(|alert| alert.id).collect(),
        };
        observe(&self.store, memory, &self.snapshots, brought)
    }

    /// One pass; whether it wrote.
    pub fn pass(&mut self) -> bool {
        self.passes += 1;
        let Some(world) = self.world() else {
            self.is_gone = true;
            return false;
        };
        let made = plan(&world);
        if self.is_thorough {
            let mut fresh = Memory { refused: self.memory.refused.clone(), ..Memory::default() };
            invariants::one_plan(&world, self.seen_with(&mut fresh).as_ref(), &made);
        }
        self.samples.clear();
        if let Err(violation) = lint::lint(&world, &made) {
            panic!("{violation}\n{:?}", world.release.as_ref().and_then(|release| release.status.as_ref()));
        }
        self.watch.now_ms = self.mono_ms;
        let writes_left = self.dies_after.or(self.crash_after).or(self.crash_at_write);
        let mut witness = (&mut self.watch, &mut self.teller);
        witness.1.now_ms = self.mono_ms;
        let outcome = execute(&mut self.store, &mut self.memory, &world, &made, writes_left, &mut witness);
        self.after(&world, &made, &outcome)
    }

    fn after(&mut self, world: &World, made: &Plan, outcome: &Outcome) -> bool {
        self.crash_at_write = self.crash_at_write.map(|left| left - outcome.written.min(left)).filter(|_| !outcome.crashed);
        if outcome.crashed {
            self.crash_after = None;
            self.teller.crashed();
            self.restart();
            self.wake_at = self.mono_ms + RESTART_MS;
            return false;
        }
        if outcome.written > 0 || made.records.is_empty() {
            self.teller.notes(made);
        }
        self.teller.blocked(made.blocked.as_ref());
        if let Some((object, error)) = &outcome.failed {
            self.teller.failed(object.as_ref(), error);
            let is_conflict = matches!(error, WriteError::Conflict(_) | WriteError::Invalid(_));
            self.failures += 1;
            let backoff_ms = (BACKOFF_MS << self.failures.min(8)).min(BACKOFF_MS_MAX);
            self.wake_at = self.mono_ms + if is_conflict { CONFLICT_MS } else { backoff_ms };
            if let (false, Some(object), WriteError::Forbidden(message)) = (is_conflict, object, error) {
                self.memory.refused.insert(object.clone(), message.clone());
            }
            return false;
        }
        self.memory.refused.clear();
        self.failures = 0;
        if self.dies_after.is_some_and(|most| outcome.written >= most) {
            self.teller.crashed();
            self.restart();
            self.wake_at = self.mono_ms + RESTART_MS;
            return false;
        }
        self.ask();
        if outcome.written > 0 {
            return self.wrote();
        }
        let next_due = self.release().and_then(|release| judge::next_due(&release.spec, release.status.as_ref()?));
        let look_at = [made.look_at, next_due.filter(|_| made.look_at.is_some())].into_iter().flatten().min();
        let wait_ms = look_at.map_or(RESYNC_MS, |at| (at - world.now).num_milliseconds().clamp(20, RESYNC_MS));
        self.wake_at = self.mono_ms + wait_ms;
        false
    }

    fn wrote(&mut self) -> bool {
        self.burst += 1;
        assert!(self.burst < PASSES_MAX, "writes without an end:\n{}", self.teller.tail());
        self.wake();
        true
    }

    /// Asks Prometheus what is due; it answers at once.
    fn ask(&mut self) {
        let Some(release) = self.release() else { return };
        let Some(status) = &release.status else { return };
        for due in judge::due(&release.spec, status, self.now()) {
            let answer = match self.replies.get(&due.rollout).unwrap_or(&Reply::Value(0.0)) {
                Reply::Value(value) => Answer::Values(vec![*value]),
                Reply::Empty => Answer::Empty,
                Reply::NotANumber => Answer::Values(vec![f64::NAN]),
                Reply::Error => Answer::Failed(QueryFailure::new(FailureKind::Transient, "connection refused")),
            };
            self.samples.push(MetricSample { rollout: due.rollout, metric: due.metric, sample: Sample { due: due.at, answer } });
        }
    }

    /// Changes the GitSync's spec as a person would.
    pub fn configure(&mut self, change: impl FnOnce(&mut Value)) {
        self.store.update(&id("GitSync", SYNC), "kubectl-edit", "", |sync| change(&mut sync["spec"])).unwrap();
        self.wake();
    }
}
