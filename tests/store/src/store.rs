//! The store as tests hold it: a handle that is cheap to clone, and the synchronous API.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::controllers::Settings;
use crate::faults::{Attempt, Chooser, Fault};
use crate::http::service::StoreService;
use crate::key::Key;
use crate::refusal::Refusal;
use crate::state::State;
use crate::state::write::{Request, Validation};
use crate::trace::{Line, Verb};

/// Whose requests through the REST service come without impersonation.
pub const OWN_USER: &str = "system:serviceaccount:sluice-system:sluice";

/// An API server's storage with everything in front of it.
#[derive(Clone)]
pub struct Store {
    state: Arc<Mutex<State>>,
    chooser: Arc<Mutex<Option<Chooser>>>,
    version: Arc<watch::Sender<u64>>,
    clock: Clock,
}

impl Default for Store {
    fn default() -> Self {
        Self::new(Clock::default())
    }
}

impl Store {
    /// An empty cluster with the namespace `default`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let store = Self {
            state: Arc::new(Mutex::new(State::new(clock.clone()))),
            chooser: Arc::default(),
            version: Arc::new(watch::Sender::new(0)),
            clock,
        };
        store.add_namespace("default");
        store
    }

    /// A cluster of its own that is as this one is now: objects, history, trace, time and settings. Faults and watches are not taken.
    #[must_use]
    pub fn fork(&self) -> Self {
        let clock = self.clock.fork();
        let mut state = self.state().clone();
        state.clock = clock.clone();
        Self { state: Arc::new(Mutex::new(state)), chooser: Arc::default(), version: Arc::new(watch::Sender::new(0)), clock }
    }

    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The REST API.
    #[must_use]
    pub fn service(&self) -> StoreService {
        StoreService::new(self.clone())
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells watches.
    pub(crate) fn announce(&self) {
        let version = self.state().version;
        self.version.send_replace(version);
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    pub fn add_namespace(&self, name: &str) {
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        // one that exists is as good
        let _ = self.actor("admin", "kubectl").create(object);
    }

    /// Somebody who reads and writes directly: no faults, but the same rules and the same trace.
    #[must_use]
    pub fn actor(&self, user: &str, manager: &str) -> Actor {
        Actor { store: self.clone(), user: user.to_owned(), manager: manager.to_owned() }
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<Value> {
        self.state().get(key).map(|object| object.as_ref().clone())
    }

    /// All objects of a kind in one namespace, or in all (empty), by name.
    #[must_use]
    pub fn list(&self, group: &str, kind: &str, namespace: &str) -> Vec<Value> {
        self.state().of_kind(group, kind, namespace).iter().map(|object| object.as_ref().clone()).collect()
    }

    /// The version of the last change: equal before and after means that nothing changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.state().version
    }

    /// Forgets changes up to here: older watches get 410.
    pub fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.changes.clear();
    }

    #[must_use]
    pub fn trace(&self) -> Vec<Line> {
        self.state().trace.clone()
    }

    pub fn clear_trace(&self) {
        self.state().trace.clear();
    }

    /// Write requests through the REST service since the trace was cleared, accepted or not.
    #[must_use]
    pub fn rest_writes(&self) -> Vec<Line> {
        self.state().trace.iter().filter(|line| line.is_rest && line.is_write()).cloned().collect()
    }

    /// Changes how the world beside the API server behaves.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        let mut state = self.state();
        change(&mut state.settings);
        state.quiet = None;
    }

    /// One round of the modelled controllers. Returns whether anything changed.
    pub fn step(&self) -> bool {
        let changed = self.state().step();
        self.announce();
        changed
    }

    /// Lets the modelled controllers work until nothing changes at this instant. Returns whether they came to rest.
    pub fn settle(&self) -> bool {
        let rested = self.state().settle();
        self.announce();
        rested
    }

    /// When a modelled controller will do something by itself next.
    #[must_use]
    pub fn next_due_ms(&self) -> Option<i64> {
        self.state().next_due_ms()
    }

    /// Moves virtual time on, and settles at each instant at which something is due.
    pub fn run_for(&self, duration: Duration) {
        let end_ms = self.clock.now_ms() + i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2);
        self.settle();
        while let Some(due_ms) = self.next_due_ms().filter(|due_ms| *due_ms <= end_ms) {
            self.clock.advance_to_ms(due_ms);
            self.settle();
        }
        self.clock.advance_to_ms(end_ms);
        self.settle();
    }

    /// Chooses the fault of each request through the REST service from now on.
    pub fn set_faults(&self, chooser: impl FnMut(&Attempt) -> Option<Fault> + Send + 'static) {
        *self.chooser.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(chooser));
    }

    pub fn clear_faults(&self) {
        *self.chooser.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The n-th write from now on (from 0) meets this fault, once. Dry-runs do not count.
    pub fn fail_write(&self, n: usize, fault: Fault) {
        let mut seen = 0;
        self.set_faults(move |attempt| {
            let is_it = attempt.is_write() && seen == n;
            seen += usize::from(attempt.is_write());
            is_it.then_some(fault)
        });
    }

    pub(crate) fn fault_of(&self, attempt: &Attempt) -> Option<Fault> {
        self.chooser.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(|chooser| chooser(attempt))
    }
}

/// How something is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deletion {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    /// `Background` without it.
    pub propagation: Option<&'static str>,
    pub grace_s: Option<i64>,
}

impl Deletion {
    /// The body of the request.
    #[must_use]
    pub fn options(&self) -> Value {
        let mut options =
            json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": self.propagation.unwrap_or("Background")});
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(value) = value {
                options["preconditions"][field] = json!(value);
            }
        }
        if let Some(grace_s) = self.grace_s {
            options["gracePeriodSeconds"] = json!(grace_s);
        }
        options
    }
}

/// See [`Store::actor`].
#[derive(Clone)]
pub struct Actor {
    store: Store,
    user: String,
    manager: String,
}

impl Actor {
    fn send(&self, verb: Verb, key: Key, subresource: &str, force: bool, body: Value) -> Result<Value, Refusal> {
        let request = Request {
            user: self.user.clone(),
            manager: self.manager.clone(),
            verb,
            key,
            subresource: subresource.to_owned(),
            force,
            is_dry_run: false,
            validation: Validation::Warn,
            body,
        };
        let result = self.store.state().execute(&request, false).map(|written| written.object);
        self.store.announce();
        result
    }

    pub fn create(&self, object: Value) -> Result<Value, Refusal> {
        self.send(Verb::Create, Key::of(&object), "", false, object)
    }

    pub fn replace(&self, object: Value, subresource: &str) -> Result<Value, Refusal> {
        self.send(Verb::Update, Key::of(&object), subresource, false, object)
    }

    pub fn apply(&self, object: Value) -> Result<Value, Refusal> {
        self.send(Verb::Apply, Key::of(&object), "", false, object)
    }

    pub fn force_apply(&self, object: Value) -> Result<Value, Refusal> {
        self.send(Verb::Apply, Key::of(&object), "", true, object)
    }

    pub fn apply_status(&self, object: Value) -> Result<Value, Refusal> {
        self.send(Verb::Apply, Key::of(&object), "status", false, object)
    }

    pub fn merge(&self, key: &Key, subresource: &str, patch: Value) -> Result<Value, Refusal> {
        self.send(Verb::MergePatch, key.clone(), subresource, false, patch)
    }

    pub fn json_patch(&self, key: &Key, operations: Value) -> Result<Value, Refusal> {
        self.send(Verb::JsonPatch, key.clone(), "", false, operations)
    }

    /// As `kubectl scale` and autoscalers do it.
    pub fn scale(&self, key: &Key, replicas: i64) -> Result<Value, Refusal> {
        self.send(Verb::Update, key.clone(), "scale", false, json!({"spec": {"replicas": replicas}}))
    }

    pub fn delete(&self, key: &Key, deletion: &Deletion) -> Result<Value, Refusal> {
        self.send(Verb::Delete, key.clone(), "", false, deletion.options())
    }
}
