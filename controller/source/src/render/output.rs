//! kustomize's output as a set of objects: each one complete, none twice, without what only a server may set.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::plain::identity;
use super::{Render, RenderError, RenderLimits};
use crate::yaml::{Problem, YamlError, YamlLimits, documents};

/// Identity without the version: two versions of one object are the same object to a cluster.
type Key = (String, String, String, String);

pub(super) struct ObjectSet<'l> {
    limits: &'l RenderLimits,
    objects: BTreeMap<Key, Value>,
    warnings: Vec<String>,
}

/// Lists of lists deeper than this are not a mistake any more.
const MAX_LIST_DEPTH: usize = 4;
const MAX_WARNINGS: usize = 50;
/// Set by a server; in Git they are left-overs of an export.
const SERVER_METADATA: [&str; 8] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];

impl<'l> ObjectSet<'l> {
    pub(super) fn new(limits: &'l RenderLimits) -> Self {
        Self { limits, objects: BTreeMap::new(), warnings: Vec::new() }
    }

    pub(super) fn warn(&mut self, warnings: impl IntoIterator<Item = String>) {
        for warning in warnings {
            if self.warnings.len() < MAX_WARNINGS && !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }

    pub(super) fn add(&mut self, output: &[u8]) -> Result<(), RenderError> {
        let unreadable = |source: YamlError| match source.problem {
            Problem::Budget => {
                RenderError::TooLarge { what: "the number of values in all objects".into(), limit: self.limits.yaml.max_nodes }
            }
            _ => RenderError::OutputUnreadable { source },
        };
        let text = std::str::from_utf8(output)
            .map_err(|_| unreadable(YamlError { file: "output".into(), line: 1, problem: Problem::NotUtf8 }))?;
        let limits = YamlLimits {
            // objects are counted below; the size of the output bounds its documents
            max_documents: usize::MAX,
            // a List adds two levels
            max_depth: self.limits.yaml.max_depth + 2,
            ..self.limits.yaml.clone()
        };
        for document in documents("output", text, &limits).map_err(unreadable)? {
            self.add_object(document, 0)?;
        }
        Ok(())
    }

    fn add_object(&mut self, object: Value, depth: usize) -> Result<(), RenderError> {
        let invalid =
            |object: &str, field, problem| Err(RenderError::ObjectInvalid { object: object.to_owned(), field, problem });
        let mut fields = match object {
            Value::Null => return Ok(()),
            Value::Object(fields) => fields,
            _ => return invalid("a document", "the document", "is not a mapping"),
        };
        let unnamed = "an object";
        let Some(kind) = text(&fields, "kind") else { return invalid(unnamed, "kind", "is missing, empty or not a string") };
        if kind.ends_with("List") && fields.get("items").is_some_and(Value::is_array) && !fields.contains_key("spec") {
            if depth >= MAX_LIST_DEPTH {
                return Err(RenderError::TooLarge { what: "the nesting of lists".into(), limit: MAX_LIST_DEPTH });
            }
            let Some(Value::Array(items)) = fields.remove("items") else { return Ok(()) };
            return items.into_iter().try_for_each(|item| self.add_object(item, depth + 1));
        }
        let kind_name = crate::error::quoted(&kind);
        let Some(api_version) = text(&fields, "apiVersion") else {
            return invalid(&kind_name, "apiVersion", "is missing, empty or not a string");
        };
        let Some(Value::Object(metadata)) = fields.get_mut("metadata") else {
            return invalid(&kind_name, "metadata", "is missing or not a mapping");
        };
        let Some(name) = text(metadata, "name") else {
            let problem = if metadata.contains_key("generateName") {
                "is missing; generateName cannot be synced, as each sync would create another object"
            } else {
                "is missing, empty or not a string"
            };
            return invalid(&kind_name, "metadata.name", problem);
        };
        let namespace = match metadata.get("namespace") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(namespace)) => namespace.clone(),
            Some(_) => {
                return invalid(&format!("{kind_name} {}", crate::error::quoted(&name)), "metadata.namespace", "is not a string");
            }
        };
        let owned = metadata.get("ownerReferences").is_some_and(|owners| owners.as_array().is_none_or(|all| !all.is_empty()));
        metadata.remove("ownerReferences");
        for field in SERVER_METADATA {
            metadata.remove(field);
        }
        if metadata.get("namespace").is_some_and(Value::is_null) {
            metadata.remove("namespace");
        }
        let stripped = fields.remove("status").is_some_and(|status| !status.is_null());
        let value = Value::Object(fields);
        let called = identity(&value).unwrap_or_else(|| kind_name.clone());
        if owned {
            return invalid(
                &called,
                "metadata.ownerReferences",
                "cannot be set in Git, as an owner's id differs in each cluster",
            );
        }
        if stripped {
            self.warn([format!("{called}: status is set by controllers and was left out")]);
        }
        if value_bytes(&value) > self.limits.max_object_bytes {
            return Err(RenderError::TooLarge {
                what: format!("the size in bytes of {called}"),
                limit: self.limits.max_object_bytes,
            });
        }
        let group = api_version.split_once('/').map_or("", |(group, _)| group).to_owned();
        if self.objects.insert((group, kind, namespace, name), value).is_some() {
            return Err(RenderError::DuplicateObject { object: called, files: Vec::new() });
        }
        if self.objects.len() > self.limits.max_objects {
            return Err(RenderError::TooLarge { what: "the number of objects".into(), limit: self.limits.max_objects });
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Render, RenderError> {
        if self.objects.is_empty() {
            return Err(RenderError::EmptyRender);
        }
        Ok(Render { objects: self.objects.into_values().collect(), warnings: self.warnings })
    }
}

fn text(fields: &Map<String, Value>, name: &str) -> Option<String> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Size as JSON, counted and not built.
fn value_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // a value that cannot be written counts as too large
    if serde_json::to_writer(&mut count, value).is_ok() { count.0 } else { usize::MAX }
}
