//! Writing: each call sends one request, once, and says what its answer means.

use http::Method;
use serde_json::{Map, Value, json};

use super::classify::{Verb, refusal, unanswered};
use super::key::ObjectKey;
use super::prune::dropped;
use super::request::{Answer, Call};
use super::status::{ApiStatus, clip};
use super::write_error::{RefusedBy, WriteError};
use super::{KindError, NoAddress, Objects};

const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
/// Unknown and doubled fields are errors: otherwise the server drops them and says 200.
const STRICT: (&str, &str) = ("fieldValidation", "Strict");

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default)]
pub struct ApplyOptions<'a> {
    pub manager: &'static str,
    /// Take fields from other managers. Only for those the ownership table lists.
    pub force: bool,
    pub dry_run: bool,
    /// For every object that must exist: without it, apply brings a deleted one back.
    pub uid: Option<&'a str>,
    pub resource_version: Option<&'a str>,
}

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

impl Objects {
    /// Server-side apply. What the options say about uid and resourceVersion goes over what the object says.
    pub async fn apply(&self, key: &ObjectKey, object: &Value, options: ApplyOptions<'_>) -> Result<Value, WriteError> {
        let mut object = addressed(key, object)?;
        if let Some(metadata) = metadata_of(&mut object) {
            // the server refuses an apply that carries them
            metadata.remove("managedFields");
            for (field, value) in [("uid", options.uid), ("resourceVersion", options.resource_version)] {
                if let Some(value) = value {
                    metadata.insert(field.to_owned(), value.into());
                }
            }
        }
        let call = Call::new(Method::PATCH, self.place(key, None).await?)
            .query("fieldManager", options.manager)
            .query("force", if options.force { "true" } else { "false" })
            .query(STRICT.0, STRICT.1)
            .maybe_query("dryRun", options.dry_run.then_some("All"))
            .body(APPLY, &object);
        self.write(key, Verb::Apply, call).await
    }

    pub async fn create(&self, key: &ObjectKey, object: &Value, manager: &str) -> Result<Value, WriteError> {
        let object = addressed(key, object)?;
        let collection = self.collection(key).await.map_err(|error| no_address(key, error))?;
        let call = Call::new(Method::POST, collection).query("fieldManager", manager).query(STRICT.0, STRICT.1).json(&object);
        self.write(key, Verb::Create, call).await
    }

    /// The caller puts uid, and resourceVersion where the decision rests on other fields, into the metadata of the patch.
    pub async fn merge_patch(
        &self,
        key: &ObjectKey,
        patch: &Value,
        subresource: Option<&str>,
        manager: &str,
    ) -> Result<Value, WriteError> {
        let call = Call::new(Method::PATCH, self.place(key, subresource).await?)
            .query("fieldManager", manager)
            .query(STRICT.0, STRICT.1)
            .body(MERGE, patch);
        self.write(key, Verb::MergePatch, call).await
    }

    /// `operations` is a JSON patch that begins with its `test`s. A failed one is a [`WriteError::Precondition`], and so is a
    /// path that does not exist: the server does not tell them apart.
    pub async fn json_patch(
        &self,
        key: &ObjectKey,
        operations: &Value,
        subresource: Option<&str>,
        manager: &str,
    ) -> Result<Value, WriteError> {
        let call = Call::new(Method::PATCH, self.place(key, subresource).await?)
            .query("fieldManager", manager)
            .query(STRICT.0, STRICT.1)
            .body(JSON_PATCH, operations);
        self.write(key, Verb::JsonPatch, call).await
    }

    /// Compare-and-swap of the status by the resourceVersion of `object`, and proof that the server kept all of it.
    pub async fn replace_status(&self, key: &ObjectKey, object: &Value) -> Result<Value, WriteError> {
        let object = addressed(key, object)?;
        if object["metadata"]["resourceVersion"].as_str().unwrap_or_default().is_empty() {
            let message = "a status is replaced only with the resourceVersion it was read at".to_owned();
            return Err(WriteError::InvalidKey { object: key.to_string(), message });
        }
        let call = Call::new(Method::PUT, self.place(key, Some("status")).await?).query(STRICT.0, STRICT.1).json(&object);
        let reply = match self.write(key, Verb::ReplaceStatus, call).await {
            Err(WriteError::Refused { by: RefusedBy::Schema, message, .. }) if message.contains("unknown field") => {
                return Err(WriteError::Pruned { object: key.to_string(), fields: unknown_fields(&message) });
            }
            answer => answer?,
        };
        let fields = dropped(&object["status"], &reply["status"], "status");
        if fields.is_empty() { Ok(reply) } else { Err(WriteError::Pruned { object: key.to_string(), fields }) }
    }

    /// Deletes that very object: one of the same name with another uid stays, as [`WriteError::Precondition`]. An object that is
    /// gone already is a success.
    pub async fn delete(
        &self,
        key: &ObjectKey,
        uid: &str,
        resource_version: Option<&str>,
        propagation: Propagation,
    ) -> Result<(), WriteError> {
        if uid.is_empty() {
            let message = "an object is deleted only by its uid".to_owned();
            return Err(WriteError::InvalidKey { object: key.to_string(), message });
        }
        let mut preconditions = Map::new();
        preconditions.insert("uid".to_owned(), uid.into());
        if let Some(version) = resource_version {
            preconditions.insert("resourceVersion".to_owned(), version.into());
        }
        let policy = match propagation {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        let options = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": preconditions,
            "propagationPolicy": policy,
        });
        let call = Call::new(Method::DELETE, self.place(key, None).await?).json(&options);
        match self.answer(key, Verb::Delete, call).await {
            Ok(_) | Err(WriteError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn place(&self, key: &ObjectKey, subresource: Option<&str>) -> Result<String, WriteError> {
        self.address(key, subresource).await.map_err(|error| no_address(key, error))
    }

    async fn write(&self, key: &ObjectKey, verb: Verb, call: Call) -> Result<Value, WriteError> {
        let answer = self.answer(key, verb, call).await?;
        serde_json::from_slice(&answer.body).map_err(|error| WriteError::Unknown {
            object: key.to_string(),
            status: Some(answer.status.as_u16()),
            message: clip(&format!("the answer cannot be decoded: {error}")),
        })
    }

    async fn answer(&self, key: &ObjectKey, verb: Verb, call: Call) -> Result<Answer, WriteError> {
        let answer = call.send(&self.client).await.map_err(|error| unanswered(key, error))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        if answer.status == http::StatusCode::NOT_FOUND && ApiStatus::parse(&answer.body).names_no_object() {
            self.kinds.forget(&key.group).await;
            let source = KindError::Unknown { group_version: key.api_version(), kind: key.kind.clone() };
            return Err(WriteError::Kind { object: key.to_string(), source });
        }
        Err(refusal(key, verb, &answer))
    }
}

fn no_address(key: &ObjectKey, error: NoAddress) -> WriteError {
    let object = key.to_string();
    match error {
        NoAddress::Kind(source) => WriteError::Kind { object, source },
        NoAddress::Invalid(message) => WriteError::InvalidKey { object, message },
    }
}

fn metadata_of(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object.get_mut("metadata")?.as_object_mut()
}

/// The object with the identity of its key, whatever it said itself.
fn addressed(key: &ObjectKey, object: &Value) -> Result<Value, WriteError> {
    let invalid = |message: &str| WriteError::InvalidKey { object: key.to_string(), message: message.to_owned() };
    if key.version.is_empty() {
        return Err(invalid("its API version is not given"));
    }
    let mut object = object.clone();
    let fields = object.as_object_mut().ok_or_else(|| invalid("its content is no object"))?;
    fields.insert("apiVersion".to_owned(), key.api_version().into());
    fields.insert("kind".to_owned(), key.kind.as_str().into());
    let metadata = fields.entry("metadata").or_insert_with(|| json!({}));
    let metadata = metadata.as_object_mut().ok_or_else(|| invalid("its metadata is no object"))?;
    metadata.insert("name".to_owned(), key.name.as_str().into());
    metadata.remove("generateName");
    match &key.namespace {
        Some(namespace) => metadata.insert("namespace".to_owned(), namespace.as_str().into()),
        None => metadata.remove("namespace"),
    };
    Ok(object)
}

/// From `strict decoding error: unknown field "status.a", unknown field "status.b"`.
fn unknown_fields(message: &str) -> Vec<String> {
    message.split("unknown field \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}
