//! What happens to a new form of an object on its way into the store, whatever verb brought it.

use serde_json::Value;

use super::State;
use super::write::{Request, Validation};
use crate::json::{at, drop_nulls, integer, remove, set, text};
use crate::kinds::{Generation, Kind};
use crate::refusal::{Cause, Refusal};
use crate::schema;
use crate::trace::Verb;

/// Kept by the server: what a request says of them is ignored.
const SERVER_METADATA: [&str; 6] =
    ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "managedFields"];

/// Checks what a request says of uid and resourceVersion against the object that is there.
pub fn preconditions(kind: &Kind, live: &Value, new: &Value, verb: Verb) -> Result<(), Refusal> {
    let (plural, name) = (kind.resource(), text(live, &["metadata", "name"]));
    let (uid, wanted) = (text(live, &["metadata", "uid"]), text(new, &["metadata", "uid"]));
    if !wanted.is_empty() && wanted != uid {
        if verb == Verb::Update {
            let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}");
            return Err(Refusal::conflict(&plural, name, &why));
        }
        let cause = Cause::new("FieldValueInvalid", "metadata.uid", format!("Invalid value: \"{wanted}\": field is immutable"));
        return Err(Refusal::invalid(&kind.qualified(), name, vec![cause]));
    }
    let version = text(new, &["metadata", "resourceVersion"]);
    if version.is_empty() && verb == Verb::Update && kind.is_custom {
        let cause =
            Cause::new("FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update");
        return Err(Refusal::invalid(&kind.qualified(), name, vec![cause]));
    }
    if !version.is_empty() && version != text(live, &["metadata", "resourceVersion"]) {
        return Err(Refusal::stale(&plural, name));
    }
    Ok(())
}

/// The part of a new form that the request may change.
#[must_use]
pub fn scoped(kind: &Kind, live: &Value, mut new: Value, subresource: &str) -> Value {
    if subresource == "status" {
        let mut object = live.clone();
        match remove(&mut new, &["status"]).filter(|status| !status.is_null()) {
            Some(status) => set(&mut object, &["status"], status),
            None => {
                remove(&mut object, &["status"]);
            }
        }
        // the one kind whose status strategy lets annotations through: its controller notes the revision that way
        if kind.kind == "Deployment"
            && let Some(annotations) = at(&new, &["metadata", "annotations"])
        {
            set(&mut object, &["metadata", "annotations"], annotations.clone());
        }
        return object;
    }
    if kind.has_status {
        remove(&mut new, &["status"]);
        if let Some(status) = at(live, &["status"]) {
            set(&mut new, &["status"], status.clone());
        }
    }
    for field in SERVER_METADATA {
        remove(&mut new, &["metadata", field]);
        if let Some(value) = at(live, &["metadata", field]) {
            set(&mut new, &["metadata", field], value.clone());
        }
    }
    set(&mut new, &["metadata", "resourceVersion"], text(live, &["metadata", "resourceVersion"]));
    // an update that leaves the address out keeps it
    if kind.kind == "Service" {
        for field in ["clusterIP", "clusterIPs"] {
            if let (Some(kept), None) = (live.pointer(&format!("/spec/{field}")), new.pointer(&format!("/spec/{field}"))) {
                set(&mut new, &["spec", field], kept.clone());
            }
        }
    }
    new
}

impl State {
    /// Unknown fields, defaults, validation.
    pub(super) fn admit(&self, kind: &Kind, live: Option<&Value>, new: &mut Value, request: &Request) -> Result<(), Refusal> {
        let name = text(new, &["metadata", "name"]).to_owned();
        drop_nulls(new);
        let unknown = schema::unknown(kind, new).map_err(|message| {
            let message =
                format!("{} in version \"{}\" cannot be handled as a {}: {message}", kind.kind, kind.version, kind.kind);
            Refusal::bad_request(message)
        })?;
        if !unknown.is_empty() && request.validation == Validation::Strict {
            return Err(strict(kind, &name, &unknown, request.verb));
        }
        schema::prune(new, &unknown);
        schema::default(kind, new);
        let causes = schema::validate(kind, live, new);
        if causes.is_empty() { Ok(()) } else { Err(Refusal::invalid(&kind.qualified(), &name, causes)) }
    }

    /// Raises the generation when what the kind counts has changed.
    pub(super) fn generation(kind: &Kind, live: &Value, new: &mut Value) {
        let differs = |path: &[&str]| at(live, path) != at(new, path);
        let changed = match kind.generation {
            Generation::None => return,
            Generation::Spec => differs(&["spec"]),
            Generation::SpecAndAnnotations => differs(&["spec"]) || differs(&["metadata", "annotations"]),
            Generation::AllButStatus => {
                let content = |object: &Value| {
                    let mut object = object.clone();
                    for field in ["metadata", "status", "apiVersion", "kind"] {
                        remove(&mut object, &[field]);
                    }
                    object
                };
                content(live) != content(new)
            }
        };
        let generation = integer(live, &["metadata", "generation"]).unwrap_or(1);
        set(new, &["metadata", "generation"], generation + i64::from(changed));
    }
}

fn strict(kind: &Kind, name: &str, unknown: &[String], verb: Verb) -> Refusal {
    let fields: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
    let message = format!("strict decoding error: {}", fields.join(", "));
    match verb {
        Verb::MergePatch | Verb::JsonPatch => Refusal::invalid(
            &kind.qualified(),
            name,
            vec![Cause::new("FieldValueInvalid", "patch", format!("Invalid value: {message}"))],
        ),
        _ => Refusal::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: {message}",
            kind.kind, kind.version, kind.kind
        )),
    }
}

/// Equal but for the times of managed fields: then a write is none.
#[must_use]
pub fn is_same(a: &Value, b: &Value) -> bool {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        if let Some(entries) = object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut) {
            entries.iter_mut().for_each(|entry| {
                remove(entry, &["time"]);
            });
            entries.sort_by_key(ToString::to_string);
            if entries.is_empty() {
                remove(&mut object, &["metadata", "managedFields"]);
            }
        }
        object
    };
    timeless(a) == timeless(b)
}
