//! Which lists are maps or sets, and which objects are one value: by path for built-in kinds, by schema for custom ones.

use serde_json::{Map, Value, json};

use super::Step;
use crate::kinds::Kind;

/// How a list is merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListShape {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// The layout of a part of an object.
#[derive(Clone, Copy, Debug)]
pub enum Layout<'a> {
    /// By the names on the path.
    Named,
    /// By a structural schema, below the fields that every object has.
    Schema(&'a Value),
    /// Nothing is known: lists are one value, objects are not.
    Unknown,
}

impl<'a> Layout<'a> {
    #[must_use]
    pub fn of(kind: &'a Kind) -> Self {
        match (&kind.schema, kind.is_custom) {
            (Some(schema), _) => Self::Schema(schema),
            (None, true) => Self::Unknown,
            (None, false) => Self::Named,
        }
    }

    /// The layout of what a step leads to.
    #[must_use]
    pub fn below(self, path: &[Step]) -> Self {
        // metadata is laid out alike in every kind
        if matches!(path, [Step::Field(first)] if first == "metadata") {
            return Self::Named;
        }
        match (self, path.last()) {
            (Self::Schema(schema), Some(Step::Field(name))) => match schema
                .pointer("/properties")
                .and_then(|known| known.get(name))
            {
                Some(below) => Self::Schema(below),
                None => schema.get("additionalProperties").filter(|below| below.is_object()).map_or(Self::Unknown, Self::Schema),
            },
            (Self::Schema(schema), _) => schema.get("items").map_or(Self::Unknown, Self::Schema),
            (layout, _) => layout,
        }
    }

    #[must_use]
    pub fn list(self, path: &[Step]) -> ListShape {
        match self {
            Self::Named => named_list(path),
            Self::Unknown => ListShape::Atomic,
            Self::Schema(schema) => match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("set") => ListShape::Set,
                Some("map") => {
                    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                    let keys = keys.into_iter().flatten().filter_map(|key| Some(key.as_str()?.to_owned()));
                    ListShape::Map(keys.collect())
                }
                _ => ListShape::Atomic,
            },
        }
    }

    #[must_use]
    pub fn is_atomic_object(self, path: &[Step]) -> bool {
        match self {
            Self::Named => is_named_atomic(path),
            Self::Unknown => false,
            Self::Schema(schema) => schema.get("x-kubernetes-map-type").and_then(Value::as_str) == Some("atomic"),
        }
    }
}

/// The last two field names, nearest first.
fn names(path: &[Step]) -> (&str, &str) {
    let mut fields = path.iter().rev().filter_map(|step| match step {
        Step::Field(name) => Some(name.as_str()),
        _ => None,
    });
    (fields.next().unwrap_or(""), fields.next().unwrap_or(""))
}

fn named_list(path: &[Step]) -> ListShape {
    let keys: &[&str] = match names(path) {
        ("finalizers", "metadata") => return ListShape::Set,
        ("ownerReferences", "metadata") => &["uid"],
        ("conditions", "status") => &["type"],
        ("containers" | "initContainers" | "ephemeralContainers" | "volumes", _) => &["name"],
        ("env", "containers" | "initContainers" | "ephemeralContainers") => &["name"],
        ("imagePullSecrets", "spec") => &["name"],
        ("volumeMounts", _) => &["mountPath"],
        ("volumeDevices", _) => &["devicePath"],
        ("ports", "containers" | "initContainers" | "ephemeralContainers") => &["containerPort", "protocol"],
        ("ports", "spec") => &["port", "protocol"],
        ("hostAliases", _) | ("podIPs" | "hostIPs", "status") => &["ip"],
        ("topologySpreadConstraints", _) => &["topologyKey", "whenUnsatisfiable"],
        _ => return ListShape::Atomic,
    };
    ListShape::Map(keys.iter().map(|key| (*key).to_owned()).collect())
}

fn is_named_atomic(path: &[Step]) -> bool {
    if matches!(path.last(), Some(Step::Key(_))) {
        return names(path).0 == "ownerReferences";
    }
    matches!(
        names(path),
        ("selector", "spec")
            | (
                "nodeSelector"
                    | "labelSelector"
                    | "podSelector"
                    | "namespaceSelector"
                    | "configMapKeyRef"
                    | "secretKeyRef"
                    | "fieldRef"
                    | "resourceFieldRef"
                    | "scaleTargetRef"
                    | "roleRef"
                    | "regarding"
                    | "involvedObject",
                _
            )
    )
}

/// The step that leads to an element of a list, if the list is a map or a set.
#[must_use]
pub fn element(shape: &ListShape, item: &Value) -> Option<Step> {
    match shape {
        ListShape::Atomic => None,
        ListShape::Set => Some(Step::Element(item.to_string())),
        ListShape::Map(keys) => {
            let mut found = Map::new();
            for key in keys {
                // the one key that the schemas default
                let value = item.get(key).cloned().or_else(|| (key == "protocol").then(|| json!("TCP")))?;
                found.insert(key.clone(), value);
            }
            Some(Step::Key(Value::Object(found).to_string()))
        }
    }
}
