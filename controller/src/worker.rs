//! The loop of one GitSync: observe, plan, lint, carry out, and again until there is nothing to do; then wait to be woken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use futures::FutureExt;
use sluice_cluster::gate::Gate;
use sluice_cluster::object::{ObjectKey, WriteError};
use sluice_crds::gitsync::GitSync;
use sluice_crds::release::Release;
use sluice_plan::plan::Note;
use sluice_plan::{Effect, Id, Plan, World, lint, plan};
use tokio::sync::Notify;

use crate::events::{self, Regarding};
use crate::execute::{Executor, Outcome};
use crate::housekeeping;
use crate::notify::Outbox;
use crate::observe::{Brought, ObserveError, Observer};
use crate::query::Queries;
use crate::serve::Figures;
use crate::source::Shelf;
use crate::trouble;

/// Passes in a row without a pause: a release needs some dozens of writes, a loop without an end needs to be slowed.
const PASSES_MAX: u32 = 64;
/// The first pause after a failure, doubled up to the last: a broken application costs little, and heals soon after its cause is gone.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_LAST: Duration = Duration::from_secs(30);
/// The longest pause while a release is in motion: holding and going back may not wait for a back-off.
const BACKOFF_MOTION: Duration = Duration::from_secs(2);
/// Everything is looked at again after this time though nothing woke the worker: watches miss what happened while they were down.
const RESYNC: Duration = Duration::from_secs(60);
/// Passes in a row that could not read the world, after which it is said: fewer heal by themselves.
const BLIND_PASSES_MAX: u32 = 4;
/// Failures in a row from which on events do not hurry the worker any more: it may have caused them itself.
const HURRIED_MAX: u32 = 5;
/// Passes at rest that put something back, within [`FIGHT_WINDOW`], before the worker backs off: two writers who disagree must not
/// fill the API server.
const FIGHT_MAX: usize = 5;
const FIGHT_WINDOW: Duration = Duration::from_secs(60);

/// Everything one GitSync's worker needs.
pub struct Worker {
    pub key: ObjectKey,
    pub observer: Observer,
    pub gate: Gate,
    pub shelf: Arc<Shelf>,
    pub queries: Queries,
    pub outbox: Outbox,
    pub wake: Arc<Notify>,
    pub wake_source: Arc<Notify>,
    pub figures: Arc<Figures>,
    pub instance: String,
    /// Why writes were refused, until they are accepted or the world changes.
    pub refused: BTreeMap<Id, String>,
    generation_seen: Option<i64>,
    /// Passes in a row that could not read the world.
    blind_passes: u32,
    /// When something was put back at rest, lately.
    reverts: VecDeque<tokio::time::Instant>,
}

/// What one pass came to.
pub enum Pass {
    /// The GitSync is gone.
    Gone,
    /// Something was written: look again at once.
    Wrote,
    /// Nothing to do before this time, unless woken.
    Wait(Duration),
    /// It failed: look again after a back-off.
    Failed { in_motion: bool },
}

impl Worker {
    #[allow(clippy::too_many_arguments, reason = "the parts are made in one place, and each is used by name")]
    #[must_use]
    pub fn new(
        key: ObjectKey,
        observer: Observer,
        gate: Gate,
        shelf: Arc<Shelf>,
        queries: Queries,
        outbox: Outbox,
        wake: Arc<Notify>,
        wake_source: Arc<Notify>,
        figures: Arc<Figures>,
        instance: String,
    ) -> Self {
        Self {
            key,
            observer,
            gate,
            shelf,
            queries,
            outbox,
            wake,
            wake_source,
            figures,
            instance,
            refused: BTreeMap::new(),
            generation_seen: None,
            blind_passes: 0,
            reverts: VecDeque::new(),
        }
    }

    /// Runs until the GitSync is gone. A panic of one pass costs that pass.
    pub async fn run(mut self) {
        let (mut passes, mut failures) = (0_u32, 0_u32);
        loop {
            let pass = std::panic::AssertUnwindSafe(self.pass()).catch_unwind().await.unwrap_or_else(|_| {
                tracing::error!(gitsync = %self.key, "a pass panicked; it is tried again");
                Pass::Failed { in_motion: false }
            });
            let pause = match pass {
                Pass::Gone => {
                    self.figures.forget(&self.key);
                    // Nothing can be rolled back to any more, and snapshots hold what Secrets hold.
                    if let Err(error) = self.observer.snapshots.collect(&[]).await {
                        tracing::warn!(error = %crate::source::chain(&error), "snapshots of a deleted GitSync could not be collected");
                    }
                    return;
                }
                Pass::Wrote if passes < PASSES_MAX => {
                    (passes, failures) = (passes + 1, 0);
                    continue;
                }
                Pass::Wrote => {
                    failures = failures.saturating_add(1);
                    BACKOFF_FIRST * 2_u32.pow(failures.min(6))
                }
                Pass::Wait(pause) => {
                    failures = 0;
                    pause
                }
                Pass::Failed { in_motion } => {
                    failures = failures.saturating_add(1);
                    (BACKOFF_FIRST * 2_u32.pow(failures.min(8))).min(if in_motion { BACKOFF_MOTION } else { BACKOFF_LAST })
                }
            };
            passes = 0;
            let () = tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // A failure is not hurried by events that it may have caused itself.
                () = self.wake.notified(), if failures < HURRIED_MAX => {}
            };
        }
    }

    /// One pass.
    pub async fn pass(&mut self) -> Pass {
        let Some(epoch) = self.gate.epoch() else { return Pass::Failed { in_motion: false } };
        let sync = match self.sync().await {
            // Another GitSync of the same name is another worker's.
            Ok(Some(sync)) if !self.observer.snapshots.are_of(sync.metadata.uid.as_deref().unwrap_or_default()) => {
                return Pass::Gone;
            }
            Ok(Some(sync)) => sync,
            Ok(None) => return Pass::Gone,
            Err(error) => return self.unreadable(&error, false).await,
        };
        if self.generation_seen.replace(sync.metadata.generation.unwrap_or_default()) != sync.metadata.generation {
            self.wake_source.notify_one();
        }
        let (candidate, candidate_render) = self.shelf.candidate();
        let brought = Brought {
            now: Utc::now(),
            epoch,
            candidate,
            candidate_render,
            samples: self.queries.take(),
            delivered: self.outbox.delivered(),
            refused: self.refused.clone(),
        };
        let in_motion = sync.metadata.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty());
        let samples = brought.samples.len();
        let world = match self.observer.observe(sync, brought).await {
            Ok(world) => world,
            Err(error) => {
                if samples > 0 {
                    tracing::debug!(samples, "answers of Prometheus are asked for again");
                }
                return self.unreadable(&error, in_motion).await;
            }
        };
        self.blind_passes = 0;
        self.outbox.recorded(world.release.as_ref());
        let plan = plan(&world);
        if let Err(violation) = lint::lint(&world, &plan) {
            tracing::error!(gitsync = %self.key, %violation, "a plan was refused");
            self.figures.violation();
            return Pass::Failed { in_motion };
        }
        let outcome =
            Executor { identities: &self.observer.identities, settled: &self.observer.settled }.execute(&world, &plan).await;
        self.figures.pass(&world, &plan);
        self.after(&world, &plan, outcome).await
    }

    async fn sync(&self) -> Result<Option<GitSync>, ObserveError> {
        let Some(object) = self.observer.identities.own.get(&self.key).await? else { return Ok(None) };
        serde_json::from_value(object)
            .map(Some)
            .map_err(|error| ObserveError::Undecodable { object: self.key.to_string(), message: error.to_string() })
    }

    async fn unreadable(&mut self, error: &ObserveError, in_motion: bool) -> Pass {
        let message = crate::source::chain(error);
        tracing::warn!(gitsync = %self.key, error = message, "the world cannot be read");
        self.blind_passes += 1;
        let is_final = matches!(error, ObserveError::Undecodable { .. });
        if is_final || self.blind_passes == BLIND_PASSES_MAX {
            trouble::say(&self.observer.identities.own, &self.key, error.reason(), &message, &self.instance).await;
        }
        if !error.is_transient() {
            trouble::abandon(&self.observer.identities.own, &self.key, &self.instance).await;
        }
        Pass::Failed { in_motion }
    }

    async fn after(&mut self, world: &World, plan: &Plan, outcome: Outcome) -> Pass {
        let in_motion = plan.look_at.is_some();
        if outcome.written > 0 || plan.records.is_empty() {
            self.tell(world, plan).await;
        }
        let release = recorded(world, plan);
        self.outbox.send(release.as_ref());
        if let Some(release) = &release
            && let Some(status) = &release.status
        {
            self.queries.send(sluice_plan::judge::due(&release.spec, status, Utc::now()));
        }
        match outcome.failed {
            Some((id, error)) => self.failed(id, &error, in_motion).await,
            None if outcome.written > 0 => {
                self.refused.clear();
                if !in_motion && plan.records.is_empty() && self.is_fighting(world, plan).await {
                    return Pass::Failed { in_motion };
                }
                Pass::Wrote
            }
            None => {
                self.refused.clear();
                if !in_motion {
                    housekeeping::collect(&self.observer, world).await;
                }
                let due =
                    release.as_ref().and_then(|release| sluice_plan::judge::next_due(&release.spec, release.status.as_ref()?));
                let look_at = [plan.look_at, due.filter(|_| in_motion)].into_iter().flatten().min();
                let wait = look_at.map_or(RESYNC, |at| (at - Utc::now()).to_std().unwrap_or(Duration::from_millis(20)));
                Pass::Wait(wait.min(RESYNC))
            }
        }
    }

    /// Whether somebody keeps changing what this worker puts back.
    async fn is_fighting(&mut self, world: &World, plan: &Plan) -> bool {
        let Some(id) = plan.effects.iter().find_map(|effect| match effect {
            Effect::Apply { id, .. } => Some(id),
            _ => None,
        }) else {
            return false;
        };
        let now = tokio::time::Instant::now();
        self.reverts.retain(|at| now - *at < FIGHT_WINDOW);
        self.reverts.push_back(now);
        if self.reverts.len() == FIGHT_MAX {
            let message = format!(
                "{id} was put back {FIGHT_MAX} times within {} s; somebody else keeps changing it (see its managedFields): it is put back more slowly now",
                FIGHT_WINDOW.as_secs()
            );
            let note = Note { warning: true, reason: "DriftFight".to_owned(), message };
            self.tell(world, &Plan { notes: vec![note], ..Plan::default() }).await;
        }
        self.reverts.len() >= FIGHT_MAX
    }

    async fn failed(&mut self, id: Option<Id>, error: &WriteError, in_motion: bool) -> Pass {
        tracing::info!(gitsync = %self.key, reason = error.reason(), error = %error, "a write was not accepted");
        // Somebody else was faster, or nobody knows: the next pass reads everything again, and at once.
        if matches!(error, WriteError::Precondition { .. }) {
            return Pass::Wait(Duration::from_millis(20));
        }
        if matches!(error, WriteError::NamespaceTerminating { .. } | WriteError::Denied { .. } | WriteError::NotFound { .. }) {
            trouble::abandon(&self.observer.identities.own, &self.key, &self.instance).await;
        }
        if let Some(id) = id {
            self.refused.insert(id, error.message());
        }
        Pass::Failed { in_motion }
    }

    async fn tell(&self, world: &World, plan: &Plan) {
        for note in &plan.notes {
            tracing::info!(gitsync = %self.key, reason = note.reason, "{}", note.message);
        }
        if plan.notes.is_empty() {
            return;
        }
        let mut regarding = vec![Regarding {
            kind: "GitSync",
            namespace: world.namespace().to_owned(),
            name: self.key.name.clone(),
            uid: world.sync.metadata.uid.clone().unwrap_or_default(),
        }];
        for (id, live) in world.live.iter().filter(|(id, _)| id.is(sluice_crds::names::GROUP, "Rollout")) {
            if let Some(object) = &live.object {
                regarding.push(Regarding {
                    kind: "Rollout",
                    namespace: id.namespace_text().to_owned(),
                    name: id.name.clone(),
                    uid: sluice_plan::view::uid(object).to_owned(),
                });
            }
        }
        let (objects, notes, instance) = (self.observer.identities.own.clone(), plan.notes.clone(), self.instance.clone());
        tokio::spawn(async move { events::send(&objects, &regarding, &notes, &instance, Utc::now()).await });
    }
}

/// The release as the plan recorded it.
fn recorded(world: &World, plan: &Plan) -> Option<Release> {
    let mut release = world.release.clone()?;
    for record in &plan.records {
        if let sluice_plan::plan::Action::RecordRelease(status) = record {
            release.status = Some((**status).clone());
        }
    }
    Some(release)
}
