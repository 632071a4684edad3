//! The API server: objects, versions, preconditions, field ownership, finalizers. The answers are those of the table in the
//! architecture's reliability document.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use sluice_plan::Id;
use sluice_plan::view::{integer, list, remove, resource_version, set, text, uid};

use super::fields::{self, Managed, Manager, Managers, leaves};

/// Why a write is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteError {
    Conflict(String),
    Invalid(String),
    NotFound,
    AlreadyExists,
    Forbidden(String),
}

#[derive(Clone, Debug)]
struct Stored {
    value: Value,
    managers: Managers,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Store {
    objects: BTreeMap<Id, Stored>,
    /// The API server's clock.
    pub now: DateTime<Utc>,
    pub revision: u64,
    uids: u64,
    /// An admission webhook that annotates the pod template of every Deployment that is written.
    pub annotates_templates: Option<String>,
    /// Writes of these objects are refused, with these words.
    pub refuses: BTreeMap<Id, String>,
    /// How often each object was created and deleted.
    pub births: BTreeMap<Id, (u32, u32)>,
}

type Answer = Result<Value, WriteError>;

impl Store {
    /// An empty cluster.
    pub fn at(now: DateTime<Utc>) -> Self {
        Self { now, ..Self::default() }
    }

    pub fn get(&self, id: &Id) -> Option<Value> {
        self.objects.get(id).map(shown)
    }

    pub fn of_kind<'a>(&'a self, group: &'a str, kind: &'a str) -> impl Iterator<Item = (&'a Id, &'a Value)> {
        self.objects.iter().filter(move |(id, _)| id.is(group, kind)).map(|(id, stored)| (id, &stored.value))
    }

    pub fn all(&self) -> impl Iterator<Item = (&Id, &Value)> {
        self.objects.iter().map(|(id, stored)| (id, &stored.value))
    }

    /// Server-side apply, forced.
    pub fn apply(&mut self, id: &Id, object: &Value, manager: &str, uid: Option<&str>, version: Option<&str>) -> Answer {
        let next = self.applied(id, object, manager, uid, version)?;
        Ok(self.keep(id, next))
    }

    /// What an apply would answer.
    pub fn dry_run(&self, id: &Id, object: &Value, manager: &str) -> Answer {
        let mut copy = Self { now: self.now, annotates_templates: self.annotates_templates.clone(), ..Self::default() };
        copy.refuses.clone_from(&self.refuses);
        if let Some(stored) = self.objects.get(id) {
            copy.objects.insert(id.clone(), stored.clone());
        }
        copy.apply(id, object, manager, None, None)
    }

    fn applied(
        &self,
        id: &Id,
        object: &Value,
        manager: &str,
        uid_wanted: Option<&str>,
        version: Option<&str>,
    ) -> Result<Stored, WriteError> {
        self.admit(id)?;
        let entry = Manager { name: manager.to_owned(), operation: "Apply", subresource: "" };
        let wanted = leaves(object);
        let time = self.time();
        let Some(live) = self.objects.get(id) else {
            if uid_wanted.is_some() {
                return Err(WriteError::Conflict(format!("{id} does not exist")));
            }
            let managers = BTreeMap::from([(entry, Managed { fields: wanted, time })]);
            let mut value = object.clone();
            remove(&mut value, &["status"]);
            return Ok(Stored { value, managers });
        };
        if uid_wanted.is_some_and(|wanted| wanted != uid(&live.value)) {
            return Err(WriteError::Invalid(format!("{id}: metadata.uid is immutable")));
        }
        if version.is_some_and(|version| version != resource_version(&live.value)) {
            return Err(WriteError::Conflict(format!("{id} was changed meanwhile")));
        }
        let mut next = live.clone();
        let had = live.managers.get(&entry).cloned().unwrap_or_default();
        for path in had.fields.difference(&wanted) {
            let is_shared = live.managers.iter().any(|(other, managed)| *other != entry && managed.fields.contains(path));
            if !is_shared {
                fields::remove(&mut next.value, path);
            }
        }
        for path in &wanted {
            let new = fields::get(object, path).cloned().unwrap_or_default();
            if fields::get(&live.value, path) != Some(&new) {
                for (_, managed) in next.managers.iter_mut().filter(|(other, _)| **other != entry) {
                    managed.fields.remove(path);
                }
                fields::set(&mut next.value, path, new);
            }
        }
        next.managers.retain(|_, managed| !managed.fields.is_empty());
        let is_same = had.fields == wanted && next.value == live.value;
        let time = if is_same { had.time } else { time };
        next.managers.insert(entry, Managed { fields: wanted, time });
        Ok(next)
    }

    pub fn create(&mut self, id: &Id, object: &Value, manager: &str) -> Answer {
        self.admit(id)?;
        if self.objects.contains_key(id) {
            return Err(WriteError::AlreadyExists);
        }
        let mut value = object.clone();
        remove(&mut value, &["status"]);
        let entry = Manager { name: manager.to_owned(), operation: "Update", subresource: "" };
        let managers = BTreeMap::from([(entry, Managed { fields: leaves(&value), time: self.time() })]);
        Ok(self.keep(id, Stored { value, managers }))
    }

    /// A merge patch; uid and version in it are preconditions.
    pub fn merge_patch(&mut self, id: &Id, patch: &Value, manager: &str, subresource: &'static str) -> Answer {
        self.admit(id)?;
        let live = self.objects.get(id).ok_or(WriteError::NotFound)?;
        let (uid_wanted, version) = (text(patch, &["metadata", "uid"]), text(patch, &["metadata", "resourceVersion"]));
        if !uid_wanted.is_empty() && uid_wanted != uid(&live.value) {
            return Err(WriteError::Invalid(format!("{id}: metadata.uid is immutable")));
        }
        if !version.is_empty() && version != resource_version(&live.value) {
            return Err(WriteError::Conflict(format!("{id} was changed meanwhile")));
        }
        let mut patched = live.value.clone();
        let mut patch = patch.clone();
        // Who owns what can be written too: it is how fields change hands without changing.
        let managers = patch.pointer("/metadata/managedFields").map(fields::read);
        remove(&mut patch, &["metadata", "managedFields"]);
        merge(&mut patched, &patch);
        if let (Some(managers), Some(live)) = (managers, self.objects.get_mut(id)) {
            let changed = live.managers != managers;
            live.managers = managers;
            if changed {
                self.revision += 1;
                set(&mut live.value, &["metadata", "resourceVersion"], json!(self.revision.to_string()));
                set(&mut patched, &["metadata", "resourceVersion"], json!(self.revision.to_string()));
            }
        }
        self.update(id, manager, subresource, |value| {
            let status = value.get("status").cloned();
            if subresource == "status" {
                if let Some(status) = patched.get("status") {
                    value["status"] = status.clone();
                }
            } else {
                *value = patched;
                match status {
                    Some(status) => value["status"] = status,
                    None => remove(value, &["status"]),
                }
            }
        })
    }

    /// A replacement of the status, by compare-and-swap. The kinds' own rule: the epoch never falls.
    pub fn replace_status(&mut self, id: &Id, object: &Value) -> Answer {
        let live = self.objects.get(id).ok_or(WriteError::NotFound)?;
        if resource_version(object) != resource_version(&live.value) {
            return Err(WriteError::Conflict(format!("{id} was changed meanwhile")));
        }
        let epoch = |value: &Value| integer(value, &["status", "epoch"]);
        if epoch(&live.value).is_some_and(|before| epoch(object).is_none_or(|after| after < before)) {
            return Err(WriteError::Invalid(format!("{id}: the epoch never falls")));
        }
        let status = object.get("status").cloned().unwrap_or_default();
        self.update(id, "sluice", "status", |value| value["status"] = status)
    }

    /// Anybody else's write: it takes what it changes.
    pub fn update(&mut self, id: &Id, manager: &str, subresource: &'static str, change: impl FnOnce(&mut Value)) -> Answer {
        let live = self.objects.get(id).ok_or(WriteError::NotFound)?;
        let mut next = live.clone();
        change(&mut next.value);
        let changed: Vec<_> = leaves(&next.value)
            .into_iter()
            .chain(leaves(&live.value))
            .filter(|path| fields::get(&next.value, path) != fields::get(&live.value, path))
            .collect();
        for managed in next.managers.values_mut() {
            managed.fields.retain(|path| !changed.contains(path));
        }
        next.managers.retain(|_, managed| !managed.fields.is_empty());
        if !changed.is_empty() {
            let entry = Manager { name: manager.to_owned(), operation: "Update", subresource };
            let managed = next.managers.entry(entry).or_default();
            managed.time = self.time();
            managed.fields.extend(changed.into_iter().filter(|path| fields::get(&next.value, path).is_some()));
        }
        Ok(self.keep(id, next))
    }

    pub fn delete(&mut self, id: &Id, uid_wanted: &str, version: Option<&str>) -> Result<(), WriteError> {
        let live = self.objects.get(id).ok_or(WriteError::NotFound)?;
        if uid(&live.value) != uid_wanted || version.is_some_and(|version| version != resource_version(&live.value)) {
            return Err(WriteError::Conflict(format!("{id} is another one, or was changed meanwhile")));
        }
        let mut next = live.clone();
        let now = json!(self.time());
        if text(&next.value, &["metadata", "deletionTimestamp"]).is_empty() {
            set(&mut next.value, &["metadata", "deletionTimestamp"], now);
        }
        self.keep(id, next);
        Ok(())
    }

    fn admit(&self, id: &Id) -> Result<(), WriteError> {
        self.refuses.get(id).map_or(Ok(()), |message| Err(WriteError::Forbidden(message.clone())))
    }

    fn time(&self) -> String {
        self.now.format("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// Stores an object: defaults, versions, and its end when it is to go and nothing holds it.
    fn keep(&mut self, id: &Id, mut next: Stored) -> Value {
        defaults(id, &mut next.value, self.annotates_templates.as_deref());
        let before = self.objects.get(id);
        if before.is_some_and(|before| before.value == next.value && before.managers == next.managers) {
            return shown(&next);
        }
        self.revision += 1;
        match before {
            None => {
                self.uids += 1;
                self.births.entry(id.clone()).or_default().0 += 1;
                set(&mut next.value, &["metadata", "uid"], json!(format!("uid-{}", self.uids)));
                set(&mut next.value, &["metadata", "creationTimestamp"], json!(self.time()));
                set(&mut next.value, &["metadata", "generation"], json!(1));
            }
            Some(before) => {
                let generation = integer(&before.value, &["metadata", "generation"]).unwrap_or(1);
                let bumps =
                    i64::from(content(&before.value) != content(&next.value) || is_going(&before.value) != is_going(&next.value));
                set(&mut next.value, &["metadata", "generation"], json!(generation + bumps));
            }
        }
        set(&mut next.value, &["metadata", "resourceVersion"], json!(self.revision.to_string()));
        let answer = shown(&next);
        if is_going(&next.value) && list(&next.value, &["metadata", "finalizers"]).is_empty() {
            self.objects.remove(id);
            self.births.entry(id.clone()).or_default().1 += 1;
        } else {
            self.objects.insert(id.clone(), next);
        }
        answer
    }
}

fn is_going(value: &Value) -> bool {
    !text(value, &["metadata", "deletionTimestamp"]).is_empty()
}

fn content(value: &Value) -> Value {
    let mut value = value.clone();
    remove(&mut value, &["metadata"]);
    remove(&mut value, &["status"]);
    value
}

fn shown(stored: &Stored) -> Value {
    let mut value = stored.value.clone();
    set(&mut value, &["metadata", "managedFields"], fields::shown(&stored.managers));
    value
}

fn merge(value: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    for (name, new) in fields {
        if new.is_null() {
            if let Some(object) = value.as_object_mut() {
                object.remove(name);
            }
        } else {
            merge(&mut value[name.as_str()], new);
        }
    }
}

/// What the API server fills in.
fn defaults(id: &Id, value: &mut Value, template_annotation: Option<&str>) {
    let put = |value: &mut Value, path: &[&str], default: Value| {
        if sluice_plan::view::at(value, path).is_none() {
            set(value, path, default);
        }
    };
    match id.kind.as_str() {
        "Deployment" => {
            put(value, &["spec", "replicas"], json!(1));
            let rolling = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}});
            put(value, &["spec", "strategy"], rolling);
            put(value, &["spec", "template", "spec", "restartPolicy"], json!("Always"));
            if let Some(annotation) = template_annotation {
                set(value, &["spec", "template", "metadata", "annotations", annotation], json!("yes"));
            }
        }
        "ReplicaSet" => put(value, &["spec", "replicas"], json!(1)),
        "Service" => put(value, &["spec", "clusterIP"], json!("10.0.0.1")),
        "HTTPRoute" => {
            for rule in value.pointer_mut("/spec/rules").and_then(Value::as_array_mut).into_iter().flatten() {
                for backend in rule.get_mut("backendRefs").and_then(Value::as_array_mut).into_iter().flatten() {
                    put(backend, &["weight"], json!(1));
                    put(backend, &["kind"], json!("Service"));
                }
            }
        }
        _ => {}
    }
}
