//! Creating and changing objects: create, replace, patches, server-side apply.

use serde_json::{Value, json};

use super::State;
use super::prepare::{is_same, preconditions, scoped};
use crate::clock::stamp;
use crate::fields::layout::Layout;
use crate::fields::ownership::{self, Held, Manager};
use crate::fields::spell;
use crate::json::{at, default, drop_nulls, integer, list, merge, remove, set, text};
use crate::key::Key;
use crate::kinds::Kind;
use crate::refusal::{Cause, Refusal};
use crate::schema;
use crate::trace::{Line, Verb};

/// What happens to fields that the kind does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    #[default]
    Warn,
    Strict,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Request {
    pub user: String,
    pub manager: String,
    pub verb: Verb,
    pub key: Key,
    pub subresource: String,
    pub force: bool,
    pub is_dry_run: bool,
    pub validation: Validation,
    pub body: Value,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    pub code: u16,
    pub object: Value,
    pub changed: bool,
}

impl Written {
    fn unchanged(object: &Value) -> Self {
        Self { code: 200, object: object.clone(), changed: false }
    }
}

impl State {
    /// Carries a write out and notes it in the trace.
    pub fn execute(&mut self, request: &Request, is_rest: bool) -> Result<Written, Refusal> {
        let result = if request.verb == Verb::Delete { self.delete(request) } else { self.write(request) };
        let (code, changed) =
            result.as_ref().map_or_else(|refusal| (refusal.code, false), |written| (written.code, written.changed));
        self.note(Line {
            at_ms: self.now_ms(),
            user: request.user.clone(),
            verb: request.verb,
            key: request.key.clone(),
            subresource: request.subresource.clone(),
            manager: request.manager.clone(),
            is_dry_run: request.is_dry_run,
            is_rest,
            code,
            changed,
            version: self.version,
        });
        result
    }

    fn write(&mut self, request: &Request) -> Result<Written, Refusal> {
        let kind = self.kind(&request.key.group, &request.key.kind)?;
        if !matches!(request.subresource.as_str(), "" | "status" | "scale")
            || (request.subresource == "status" && !kind.has_status)
            || (request.subresource == "scale" && !kind.has_scale)
        {
            return Err(Refusal::no_such_resource());
        }
        match request.verb {
            Verb::Create => self.create(&kind, request),
            Verb::Apply => self.apply(&kind, request),
            _ => self.change(&kind, request),
        }
    }

    fn manager(kind: &Kind, request: &Request) -> Manager {
        Manager {
            name: request.manager.clone(),
            is_apply: request.verb == Verb::Apply,
            api_version: kind.api_version(),
            subresource: request.subresource.clone(),
        }
    }

    fn create(&mut self, kind: &Kind, request: &Request) -> Result<Written, Refusal> {
        let mut key = request.key.clone();
        let mut new = request.body.clone();
        if text(&new, &["metadata", "name"]).is_empty() {
            let stem = text(&new, &["metadata", "generateName"]).to_owned();
            if stem.is_empty() {
                let cause = Cause::new("FieldValueRequired", "metadata.name", "Required value: name or generateName is required");
                return Err(Refusal::invalid(&kind.qualified(), "", vec![cause]));
            }
            let name = format!("{stem}{}", self.next_suffix());
            set(&mut new, &["metadata", "name"], name.clone());
            key.name = name;
        }
        if !text(&new, &["metadata", "resourceVersion"]).is_empty() {
            return Err(Refusal::bad_request("resourceVersion should not be set on objects to be created"));
        }
        if kind.has_status && kind.kind != "Namespace" {
            remove(&mut new, &["status"]);
        }
        let manager = Self::manager(kind, request);
        self.insert(kind, &key, new, request, |state, new| {
            let empty = json!({});
            ownership::update(Vec::new(), &empty, new, Layout::of(kind), &manager, &stamp(state.now_ms()))
        })
    }

    /// Stores a new object. `managed` says who owns its fields.
    fn insert(
        &mut self,
        kind: &Kind,
        key: &Key,
        mut new: Value,
        request: &Request,
        managed: impl FnOnce(&State, &Value) -> Vec<ownership::Managed>,
    ) -> Result<Written, Refusal> {
        self.check_namespace(kind, key)?;
        if let Some(live) = self.get(key) {
            let deleting = at(live, &["metadata", "deletionTimestamp"]).is_some();
            return Err(Refusal::already_exists(&kind.resource(), &key.name, deleting));
        }
        set(&mut new, &["apiVersion"], kind.api_version());
        set(&mut new, &["kind"], kind.kind.clone());
        if kind.namespaced {
            set(&mut new, &["metadata", "namespace"], key.namespace.clone());
        }
        for field in ["uid", "creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion"] {
            remove(&mut new, &["metadata", field]);
        }
        self.admit(kind, None, &mut new, request)?;
        let managed = managed(self, &new);
        if kind.kind == "Service" && kind.group.is_empty() && text(&new, &["spec", "type"]) != "ExternalName" {
            let address = self.next_address(request.is_dry_run);
            default(&mut new, &["spec", "clusterIP"], address);
            let address = new["spec"]["clusterIP"].clone();
            default(&mut new, &["spec", "clusterIPs"], json!([address]));
        }
        self.new_metadata(kind, &mut new);
        set(&mut new, &["metadata", "managedFields"], ownership::write(managed));
        if request.is_dry_run {
            return Ok(Written { code: 201, object: new, changed: false });
        }
        let object = self.commit(key, Some(new));
        Ok(Written { code: 201, object: object.as_ref().clone(), changed: true })
    }

    fn change(&mut self, kind: &Kind, request: &Request) -> Result<Written, Refusal> {
        let key = &request.key;
        let live = self.get(key).cloned().ok_or_else(|| Refusal::not_found(&kind.resource(), &key.name))?;
        let mut new = match request.verb {
            _ if request.subresource == "scale" => scaled(&live, &request.body),
            Verb::MergePatch => {
                let mut new = live.as_ref().clone();
                merge(&mut new, &request.body);
                new
            }
            Verb::JsonPatch => patched(kind, &live, &request.body)?,
            _ => request.body.clone(),
        };
        if !text(&new, &["metadata", "name"]).is_empty() && text(&new, &["metadata", "name"]) != key.name {
            return Err(Refusal::bad_request("the name of the object does not match the name on the URL"));
        }
        preconditions(kind, &live, &new, request.verb)?;
        let managed = ownership::given_or_live(&live, &new, &request.subresource);
        new = scoped(kind, &live, new, &request.subresource);
        self.admit(kind, Some(&live), &mut new, request)?;
        let managed =
            ownership::update(managed, &live, &new, Layout::of(kind), &Self::manager(kind, request), &stamp(self.now_ms()));
        self.replace(kind, key, &live, new, managed, request.is_dry_run)
    }

    fn replace(
        &mut self,
        kind: &Kind,
        key: &Key,
        live: &Value,
        mut new: Value,
        managed: Vec<ownership::Managed>,
        is_dry_run: bool,
    ) -> Result<Written, Refusal> {
        set(&mut new, &["apiVersion"], kind.api_version());
        set(&mut new, &["kind"], kind.kind.clone());
        set(&mut new, &["metadata", "managedFields"], ownership::write(managed));
        Self::generation(kind, live, &mut new);
        if is_same(live, &new) {
            return Ok(Written::unchanged(live));
        }
        if is_dry_run {
            return Ok(Written { code: 200, object: new, changed: false });
        }
        let is_finished = Self::is_finished(&new);
        let object = if is_finished {
            self.commit(key, None);
            new
        } else {
            self.commit(key, Some(new)).as_ref().clone()
        };
        Ok(Written { code: 200, object, changed: true })
    }

    fn apply(&mut self, kind: &Kind, request: &Request) -> Result<Written, Refusal> {
        let key = &request.key;
        let mut config = request.body.clone();
        if request.manager.is_empty() {
            return Err(Refusal::invalid(
                "PatchOptions.meta.k8s.io",
                "",
                vec![Cause::new("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")],
            ));
        }
        if !list(&config, &["metadata", "managedFields"]).is_empty() {
            return Err(Refusal::bad_request("metadata.managedFields must be nil"));
        }
        let live = self.get(key).cloned();
        if live.is_none() && !request.subresource.is_empty() {
            return Err(Refusal::not_found(&kind.resource(), &key.name));
        }
        let uid = text(&config, &["metadata", "uid"]).to_owned();
        if live.is_none() && !uid.is_empty() {
            let why = format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(Refusal::conflict(&kind.resource(), &key.name, &why));
        }
        if let Some(live) = &live {
            preconditions(kind, live, &config, Verb::Apply)?;
        }
        drop_nulls(&mut config);
        refuse_unknown(kind, &config, key)?;
        match (request.subresource.as_str(), kind.has_status) {
            ("status", _) => {
                config = json!({"apiVersion": config["apiVersion"], "kind": config["kind"], "status": config["status"]})
            }
            (_, true) => {
                remove(&mut config, &["status"]);
            }
            _ => {}
        }
        let base = live.as_deref().cloned().unwrap_or_else(|| json!({"metadata": {"name": key.name}}));
        let manager = Self::manager(kind, request);
        let now = stamp(self.now_ms());
        let applied = ownership::apply(&base, &config, Layout::of(kind), &manager, request.force, &now)
            .map_err(|held| conflicts(kind, key, &held))?;
        let mut new = applied.object;
        let Some(live) = live else {
            return self.insert(kind, key, new, request, |_, _| applied.managed);
        };
        new = scoped(kind, &live, new, &request.subresource);
        self.admit(kind, Some(&live), &mut new, request)?;
        self.replace(kind, key, &live, new, applied.managed, request.is_dry_run)
    }
}

fn refuse_unknown(kind: &Kind, config: &Value, key: &Key) -> Result<(), Refusal> {
    let failed = |what: String| {
        let place = if key.namespace.is_empty() { key.name.clone() } else { format!("{}/{}", key.namespace, key.name) };
        Refusal::internal(format!(
            "failed to create typed patch object ({place}; {}, Kind={}): {what}",
            kind.api_version(),
            kind.kind
        ))
    };
    match schema::unknown(kind, config) {
        Ok(unknown) if unknown.is_empty() => Ok(()),
        Ok(unknown) => Err(failed(format!(".{}: field not declared in schema", unknown.join(", .")))),
        Err(message) => Err(failed(message)),
    }
}

fn conflicts(kind: &Kind, key: &Key, held: &[Held]) -> Refusal {
    let causes: Vec<Cause> = held
        .iter()
        .flat_map(|held| {
            let using = if held.manager.subresource.is_empty() {
                String::new()
            } else {
                format!(" with subresource \"{}\"", held.manager.subresource)
            };
            let message = format!("conflict with \"{}\"{using} using {}", held.manager.name, held.manager.api_version);
            held.fields.iter().map(move |path| Cause::new("FieldManagerConflict", &spell(path), message.clone()))
        })
        .collect();
    let all: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.message, cause.field)).collect();
    let many = if causes.len() == 1 { "1 conflict".to_owned() } else { format!("{} conflicts", causes.len()) };
    let message = format!("Apply failed with {many}: {}", all.join("; "));
    Refusal::new(409, "Conflict", message).about(&kind.resource(), &key.name).because(causes)
}

/// A failed test and a path that does not exist are refused alike, without a cause.
fn patched(kind: &Kind, live: &Value, body: &Value) -> Result<Value, Refusal> {
    let patch: json_patch::Patch =
        serde_json::from_value(body.clone()).map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
    let mut new = live.clone();
    json_patch::patch(&mut new, &patch).map_err(|_| {
        let message = "the server rejected our request due to an error in our request";
        Refusal::new(422, "Invalid", message).about(&kind.resource(), text(live, &["metadata", "name"]))
    })?;
    Ok(new)
}

/// Writes through `scale`: the number of replicas and nothing else.
fn scaled(live: &Value, body: &Value) -> Value {
    let mut new = live.clone();
    for field in ["uid", "resourceVersion"] {
        if let Some(value) = at(body, &["metadata", field]) {
            set(&mut new, &["metadata", field], value.clone());
        }
    }
    set(&mut new, &["spec", "replicas"], integer(body, &["spec", "replicas"]).unwrap_or(0));
    new
}
