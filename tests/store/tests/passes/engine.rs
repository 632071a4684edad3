//! One GitSync, driven pass by pass. The worker's own loop has the wall clock; this one has the store's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sluice::execute::Executor;
use sluice::observe::{Brought, Observer};
use sluice::settled::Settled;
use sluice::snapshot::Snapshots;
use sluice::tenant::{Identities, sync_key};
use sluice_analysis::{Answer, Sample};
use sluice_cluster::gate::Gate;
use sluice_cluster::object::{Kinds, Objects, WriteError};
use sluice_cluster::stack::{Cluster, ServiceAccountRef, StackOptions};
use sluice_crds::gitsync::{GitSync, Revision};
use sluice_crds::names::GROUP;
use sluice_crds::release::{Release, State};
use sluice_plan::judge::DueQuery;
use sluice_plan::world::{Candidate, MetricSample};
use sluice_plan::{Id, Plan, Render, World, lint, plan};
use sluice_store::{Actor, Key, Store, json::text};

use crate::app::{BAD_IMAGE, Commit, SHOP};
use crate::traffic;

/// More passes than any of these releases needs.
const PASSES_MAX: usize = 3000;
/// The worker looks again after this time though nothing happens.
const RESYNC: Duration = Duration::from_secs(60);
/// Between two passes that write: an API server and a planner take a few milliseconds.
const PASS_MS: u64 = 5;
const BACKOFF: Duration = Duration::from_millis(250);

pub struct Engine {
    pub store: Store,
    pub epoch: i64,
    observer: Observer,
    candidate: Candidate,
    render: Option<Arc<Render>>,
    samples: Vec<MetricSample>,
    refused: BTreeMap<Id, String>,
    /// What users met at some instant; empty in every good run.
    pub holes: Vec<String>,
    /// States of releases in the order in which they were first seen.
    pub states: Vec<String>,
    /// Refused writes: reason and message.
    pub failures: Vec<String>,
    /// The store's version at the last look.
    seen: u64,
    /// Pods with a bad image answer with errors.
    pub metric: fn(&Store, &DueQuery) -> Answer,
}

/// What one pass came to.
struct Pass {
    written: usize,
    failed: bool,
    plan: Plan,
    world: World,
}

impl Engine {
    /// A cluster with the shop's namespace, and a GitSync that has not looked at Git yet.
    pub async fn new() -> Self {
        let store = Store::default();
        store.add_namespace(SHOP);
        let sync = json!({
            "apiVersion": "sluice.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": SHOP, "namespace": SHOP},
            "spec": {
                "source": {"url": "https://git.example/shop.git", "ref": {"branch": "main"}},
                "target": {"serviceAccountName": "deployer"},
            },
        });
        let sync = store.actor("ann", "kubectl").create(sync).unwrap();
        let observer = observer(&store, text(&sync, &["metadata", "uid"]));
        Self {
            store,
            epoch: 1,
            observer,
            candidate: Candidate::Unknown {},
            render: None,
            samples: Vec::new(),
            refused: BTreeMap::new(),
            holes: Vec::new(),
            states: Vec::new(),
            failures: Vec::new(),
            seen: 0,
            metric: by_image,
        }
    }

    /// With a first commit that is good.
    pub async fn installed() -> Self {
        Self::installed_with(&Commit::new(1, "shop:1")).await
    }

    pub async fn installed_with(commit: &Commit) -> Self {
        let mut engine = Self::new().await;
        engine.push(commit).await;
        engine.run().await;
        assert_eq!(engine.phase(), "Promoted", "{:?} {:?}", engine.states, engine.failures);
        engine.holes.clear();
        engine.states.clear();
        engine
    }

    /// A new process over a copy of the cluster.
    pub fn fork(&self) -> Self {
        let store = self.store.fork();
        let sync = store.get(&Key::new(GROUP, "GitSync", SHOP, SHOP)).unwrap();
        Self {
            observer: observer(&store, text(&sync, &["metadata", "uid"])),
            store,
            epoch: self.epoch,
            candidate: self.candidate.clone(),
            render: self.render.clone(),
            samples: self.samples.clone(),
            refused: self.refused.clone(),
            holes: self.holes.clone(),
            states: self.states.clone(),
            failures: self.failures.clone(),
            seen: self.seen,
            metric: self.metric,
        }
    }

    pub fn person(&self) -> Actor {
        self.store.actor("jane", "kubectl-annotate")
    }

    /// A new process: all memory is gone, and the term is the next one.
    pub fn restart(&mut self) {
        let sync = self.store.get(&Key::new(GROUP, "GitSync", SHOP, SHOP)).unwrap();
        self.observer = observer(&self.store, text(&sync, &["metadata", "uid"]));
        self.samples.clear();
        self.refused.clear();
        self.epoch += 1;
    }

    /// What the source does with a new commit: render, store, show.
    pub async fn push(&mut self, commit: &Commit) {
        let render = Render::from_objects(commit.objects.clone()).unwrap();
        self.observer.snapshots.store(&render).await.unwrap();
        self.candidate = Candidate::Ready(Revision {
            sha: commit.sha.clone(),
            short: commit.sha.chars().skip(28).collect(),
            digest: render.digest.clone(),
            author: "Ann".to_owned(),
            subject: "a change".to_owned(),
        });
        self.render = Some(Arc::new(render));
    }

    /// Git is gone: only what is in the cluster is known.
    pub fn lose_git(&mut self) {
        self.candidate = Candidate::Unknown {};
        self.render = None;
    }

    async fn pass(&mut self) -> Option<Pass> {
        let key = sync_key(SHOP, SHOP);
        let object = self.observer.identities.own.get(&key).await.unwrap()?;
        let sync: GitSync = serde_json::from_value(object).unwrap();
        let brought = Brought {
            now: self.store.clock().now(),
            epoch: self.epoch,
            candidate: self.candidate.clone(),
            candidate_render: self.render.clone(),
            samples: std::mem::take(&mut self.samples),
            delivered: Vec::new(),
            refused: self.refused.clone(),
        };
        let world = self.observer.observe(sync, brought).await.unwrap();
        let plan = plan(&world);
        lint::lint(&world, &plan).unwrap();
        let executor = Executor { identities: &self.observer.identities, settled: &self.observer.settled };
        let outcome = executor.execute(&world, &plan).await;
        let failed = outcome.failed.is_some();
        match outcome.failed {
            Some((id, error)) => self.note_failure(id, &error),
            None => self.refused.clear(),
        }
        Some(Pass { written: outcome.written, failed, plan, world })
    }

    fn note_failure(&mut self, id: Option<Id>, error: &WriteError) {
        self.failures.push(format!("{} {:?}: {error:?}", error.reason(), id.as_ref().map(ToString::to_string)));
        if let (Some(id), false) = (id, matches!(error, WriteError::Precondition { .. } | WriteError::Unknown { .. })) {
            self.refused.insert(id, error.message());
        }
    }

    /// One pass, its follow-ups, and the time until the next one. `None`: at rest, nothing will happen by itself.
    pub async fn turn(&mut self) -> Option<()> {
        let pass = self.pass().await?;
        self.look();
        let release = self.release();
        let now = self.store.clock().now();
        let mut due = None;
        if let Some(Release { spec, status: Some(status), .. }) = &release {
            for query in sluice_plan::judge::due(spec, status, now) {
                let answer = (self.metric)(&self.store, &query);
                let sample = Sample { due: query.at, answer };
                self.samples.push(MetricSample { rollout: query.rollout, metric: query.metric, sample });
            }
            due = sluice_plan::judge::next_due(spec, status);
        }
        if pass.failed {
            self.advance(BACKOFF);
        } else if pass.written > 0 || !self.samples.is_empty() {
            self.advance(Duration::from_millis(PASS_MS));
        } else {
            let in_motion = pass.plan.look_at.is_some();
            if !in_motion {
                sluice::housekeeping::collect(&self.observer, &pass.world).await;
            }
            let looks = [pass.plan.look_at, due.filter(|_| in_motion)];
            let wait = looks.into_iter().flatten().min().map_or(RESYNC, |at| (at - now).to_std().unwrap_or_default());
            let event =
                self.store.next_due_ms().map(|at| Duration::from_millis(u64::try_from(at - now.timestamp_millis()).unwrap()));
            if !in_motion && event.is_none() && pass.plan.look_at.is_none() {
                return None;
            }
            self.advance(event.unwrap_or(RESYNC).min(wait).max(Duration::from_millis(1)));
        }
        Some(())
    }

    fn advance(&mut self, by: Duration) {
        self.store.run_for(by);
        self.look();
    }

    /// Turns until rest.
    pub async fn run(&mut self) {
        let rests = self.run_until(|_| false).await;
        let writes: Vec<String> = self.store.trace().iter().filter(|line| line.is_write()).map(ToString::to_string).collect();
        let last = writes[writes.len().saturating_sub(12)..].join("\n");
        assert!(rests, "no rest: {:?} {:?}\n{last}", self.states, self.failures.last());
    }

    /// Turns until rest or until something holds. Returns whether one of them came.
    pub async fn run_until(&mut self, mut holds: impl FnMut(&Self) -> bool) -> bool {
        for _ in 0..PASSES_MAX {
            if holds(self) || self.turn().await.is_none() {
                return true;
            }
        }
        false
    }

    /// Notes what can be seen now.
    fn look(&mut self) {
        if std::mem::replace(&mut self.seen, self.store.version()) == self.store.version() {
            return;
        }
        let holes = traffic::holes(&self.store);
        // before the first release is good nobody is served
        if self.release().is_some_and(|release| release.spec.number > 1) {
            self.holes
                .extend(holes.into_iter().map(|hole| format!("{}: {hole}", self.states.last().cloned().unwrap_or_default())));
        }
        if let Some(state) = self.state() {
            let state = format!("{state:?}");
            if self.states.last() != Some(&state) {
                self.states.push(state);
            }
        }
    }

    pub fn sync(&self) -> GitSync {
        serde_json::from_value(self.store.get(&Key::new(GROUP, "GitSync", SHOP, SHOP)).unwrap()).unwrap()
    }

    pub fn release(&self) -> Option<Release> {
        let number = self.sync().status?.release;
        let object = self.store.get(&Key::new(GROUP, "Release", SHOP, &format!("{SHOP}-{number}")))?;
        Some(serde_json::from_value(object).unwrap())
    }

    pub fn state(&self) -> Option<State> {
        self.release()?.status.map(|status| status.state)
    }

    /// The state in one word.
    pub fn phase(&self) -> String {
        let state = format!("{:?}", self.state());
        state.trim_start_matches("Some(").chars().take_while(char::is_ascii_alphabetic).collect()
    }

    pub fn live(&self, kind: &str, name: &str) -> Option<Value> {
        let group = match kind {
            "Deployment" | "ReplicaSet" => "apps",
            "HTTPRoute" => "gateway.networking.k8s.io",
            "Rollout" | "GitSync" | "Release" => GROUP,
            _ => "",
        };
        self.store.get(&Key::new(group, kind, SHOP, name))
    }

    /// uid and image of every pod that is there.
    pub fn pods(&self) -> BTreeMap<String, String> {
        let pods = self.store.list("", "Pod", SHOP);
        pods.iter().map(|pod| (text(pod, &["metadata", "uid"]).to_owned(), image_of(pod).to_owned())).collect()
    }

    /// Everything that people write or see of the application, without what each run numbers anew.
    pub fn end_state(&self) -> Value {
        let mut objects = Vec::new();
        for (group, kind) in [
            ("", "ConfigMap"),
            ("", "Service"),
            ("apps", "Deployment"),
            ("apps", "ReplicaSet"),
            ("gateway.networking.k8s.io", "HTTPRoute"),
            (GROUP, "Rollout"),
        ] {
            for mut object in self.store.list(group, kind, SHOP) {
                if kind == "ReplicaSet" && object["spec"]["replicas"] == 0 {
                    continue;
                }
                object.as_object_mut().unwrap().remove("status");
                for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "ownerReferences"] {
                    object["metadata"].as_object_mut().unwrap().remove(field);
                }
                if let Some(spec) = object["spec"].as_object_mut() {
                    spec.remove("clusterIP");
                    spec.remove("clusterIPs");
                }
                objects.push(object);
            }
        }
        let mut images: Vec<String> = self.pods().into_values().collect();
        images.sort();
        let status = self.sync().status.unwrap();
        json!({
            "objects": objects, "pods": images, "good": status.good.map(|good| good.sha), "release": status.release,
            "quarantine": status.quarantine.iter().map(|entry| entry.sha.clone()).collect::<Vec<_>>(), "phase": self.phase(),
        })
    }
}

fn observer(store: &Store, sync_uid: &str) -> Observer {
    let cluster = Cluster::over(store.service(), SHOP, Gate::always_open(), StackOptions::default());
    let client = cluster.client();
    let kinds = Kinds::new(client.clone());
    let own = Objects::new(client, kinds.clone());
    let account = ServiceAccountRef::new(SHOP, "deployer").unwrap();
    let tenant = Objects::new(cluster.impersonating(&account), kinds);
    Observer {
        snapshots: Snapshots::new(own.clone(), SHOP, sync_uid),
        identities: Identities { own, tenant },
        settled: Settled::default(),
        commands_stamped: false,
        tidied: sluice::housekeeping::Tidied::default(),
        renders: BTreeMap::new(),
    }
}

pub fn image_of(pod: &Value) -> &str {
    pod.pointer("/spec/containers/0/image").and_then(Value::as_str).unwrap()
}

/// The share of errors of the pods whose hash the query names.
pub fn by_image(store: &Store, query: &DueQuery) -> Answer {
    let hash = query.query.split('"').nth(1).unwrap();
    let pods = store.list("", "Pod", SHOP);
    let bad =
        pods.iter().any(|pod| text(pod, &["metadata", "labels", "pod-template-hash"]) == hash && image_of(pod) == BAD_IMAGE);
    Answer::Values(vec![if bad { 0.33 } else { 0.0 }])
}
