//! The stored objects, their versions and history.

pub mod delete;
pub mod prepare;
pub mod read;
pub mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::clock::{Clock, stamp};
use crate::controllers::Settings;
use crate::json::{at, list, set, text};
use crate::key::Key;
use crate::kinds::{Kind, served};
use crate::refusal::{Cause, Refusal};
use crate::trace::Line;

/// One change, for watches and for lists at an older version.
#[derive(Clone, Debug)]
pub struct Change {
    pub version: u64,
    pub key: Key,
    pub old: Option<Arc<Value>>,
    pub new: Option<Arc<Value>>,
}

/// What the modelled controllers know of an object more exactly than its fields say: times in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub created_ms: i64,
    pub deleted_ms: Option<i64>,
    /// When the present generation was written.
    pub generation_ms: i64,
    /// When a pod became ready.
    pub ready_ms: Option<i64>,
    /// When a Deployment last made progress.
    pub progress_ms: Option<i64>,
}

#[derive(Clone)]
pub struct State {
    pub clock: Clock,
    pub kinds: Vec<Kind>,
    pub objects: BTreeMap<Key, Arc<Value>>,
    pub version: u64,
    pub changes: Vec<Change>,
    /// Changes up to here are forgotten.
    pub compacted: u64,
    pub times: BTreeMap<String, Times>,
    pub trace: Vec<Line>,
    /// Write requests through the REST service so far.
    pub rest_writes: usize,
    pub settings: Settings,
    /// The controllers rest at this version until this time.
    pub quiet: Option<(u64, i64)>,
    uids: u64,
    names: u64,
    addresses: u64,
}

impl State {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            kinds: served(),
            objects: BTreeMap::new(),
            // no cluster begins at 0, and 0 has a meaning of its own in requests
            version: 1,
            changes: Vec::new(),
            compacted: 0,
            times: BTreeMap::new(),
            trace: Vec::new(),
            rest_writes: 0,
            settings: Settings::default(),
            quiet: None,
            uids: 0,
            names: 0,
            addresses: 0,
        }
    }

    pub fn kind(&self, group: &str, kind: &str) -> Result<Kind, Refusal> {
        self.kinds
            .iter()
            .find(|served| served.group == group && served.kind == kind)
            .cloned()
            .ok_or_else(Refusal::no_such_resource)
    }

    pub fn get(&self, key: &Key) -> Option<&Arc<Value>> {
        self.objects.get(key)
    }

    /// All objects of a kind, in one namespace or in all (empty).
    pub fn of_kind(&self, group: &str, kind: &str, namespace: &str) -> Vec<Arc<Value>> {
        let first = Key::new(group, kind, namespace, "");
        let same = |key: &Key| key.group == group && key.kind == kind && (namespace.is_empty() || key.namespace == namespace);
        self.objects.range(first..).take_while(|(key, _)| same(key)).map(|(_, object)| object.clone()).collect()
    }

    pub fn times_of(&self, object: &Value) -> Times {
        self.times.get(text(object, &["metadata", "uid"])).copied().unwrap_or_default()
    }

    pub fn now_ms(&self) -> i64 {
        self.clock.now_ms()
    }

    /// Deterministic, and spread over all digits: some programs shorten uids.
    pub fn next_uid(&mut self) -> String {
        self.uids += 1;
        let (a, b) = (scatter(self.uids), scatter(self.uids ^ u64::MAX));
        format!("{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}", a >> 32, (a >> 16) & 0xffff, a & 0xfff, b >> 52, b & 0xffff_ffff_ffff)
    }

    pub fn next_suffix(&mut self) -> String {
        self.names += 1;
        crate::controllers::hash::safe(scatter(self.names)).chars().take(5).collect()
    }

    fn next_address(&mut self, is_dry_run: bool) -> String {
        let next = self.addresses + 1;
        if !is_dry_run {
            self.addresses = next;
        }
        format!("10.96.{}.{}", next / 250, next % 250 + 1)
    }

    pub fn note(&mut self, line: Line) {
        self.rest_writes += usize::from(line.is_rest && line.is_write());
        self.trace.push(line);
    }

    /// Stores an object under the next version, or removes it.
    pub fn commit(&mut self, key: &Key, new: Option<Value>) -> Arc<Value> {
        self.version += 1;
        let new = new.map(|mut object| {
            set(&mut object, &["metadata", "resourceVersion"], self.version.to_string());
            Arc::new(object)
        });
        let old = match &new {
            Some(object) => self.objects.insert(key.clone(), object.clone()),
            None => self.objects.remove(key),
        };
        self.keep_times(old.as_deref(), new.as_deref());
        self.follow_definitions(key, old.as_deref(), new.as_deref());
        self.changes.push(Change { version: self.version, key: key.clone(), old: old.clone(), new: new.clone() });
        new.or(old).unwrap_or_else(|| Arc::new(Value::Null))
    }

    fn keep_times(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let now_ms = self.now_ms();
        let Some(new) = new else {
            if let Some(old) = old {
                self.times.remove(text(old, &["metadata", "uid"]));
            }
            return;
        };
        let times = self.times.entry(text(new, &["metadata", "uid"]).to_owned()).or_insert(Times {
            created_ms: now_ms,
            generation_ms: now_ms,
            ..Times::default()
        });
        if old.is_some_and(|old| at(old, &["metadata", "generation"]) != at(new, &["metadata", "generation"])) {
            times.generation_ms = now_ms;
        }
        if at(new, &["metadata", "deletionTimestamp"]).is_some() {
            times.deleted_ms = times.deleted_ms.or(Some(now_ms));
        }
    }

    /// A stored CustomResourceDefinition is served at once.
    fn follow_definitions(&mut self, key: &Key, old: Option<&Value>, new: Option<&Value>) {
        if key.kind != "CustomResourceDefinition" {
            return;
        }
        if let Some(gone) = old.and_then(Kind::of_crd) {
            self.kinds.retain(|kind| (&kind.group, &kind.kind) != (&gone.group, &gone.kind));
        }
        self.kinds.extend(new.and_then(Kind::of_crd));
    }

    /// New objects need a namespace that exists and stays.
    fn check_namespace(&self, kind: &Kind, key: &Key) -> Result<(), Refusal> {
        if !kind.namespaced {
            return Ok(());
        }
        let Some(namespace) = self.get(&Key::new("", "Namespace", "", &key.namespace)) else {
            return Err(Refusal::not_found("namespaces", &key.namespace));
        };
        if at(namespace, &["metadata", "deletionTimestamp"]).is_none() {
            return Ok(());
        }
        let why = format!("namespace {} is being terminated", key.namespace);
        let message = format!(
            "{} \"{}\" is forbidden: unable to create new content in namespace {} because it is being terminated",
            kind.resource(),
            key.name,
            key.namespace
        );
        let cause = Cause::new("NamespaceTerminating", "metadata.namespace", why);
        Err(Refusal::new(403, "Forbidden", message).about(&kind.resource(), &key.name).because(vec![cause]))
    }

    /// Of an update that leaves a deleted object without finalizers, nothing remains.
    fn is_finished(object: &Value) -> bool {
        let grace = at(object, &["metadata", "deletionGracePeriodSeconds"]).and_then(Value::as_i64).unwrap_or(0);
        let kept = !list(object, &["metadata", "finalizers"]).is_empty() || !list(object, &["spec", "finalizers"]).is_empty();
        at(object, &["metadata", "deletionTimestamp"]).is_some() && !kept && grace == 0
    }

    fn new_metadata(&mut self, kind: &Kind, object: &mut Value) {
        let (uid, created) = (self.next_uid(), stamp(self.now_ms()));
        set(object, &["metadata", "uid"], uid);
        set(object, &["metadata", "creationTimestamp"], created);
        if kind.generation != crate::kinds::Generation::None {
            set(object, &["metadata", "generation"], json!(1));
        }
    }
}

/// A fixed permutation of 64 bits (splitmix64): numbers that look unlike each other.
fn scatter(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
