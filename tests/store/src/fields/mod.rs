//! Field ownership: paths of fields, how lists and maps are merged, who manages what.
//!
//! The rules are those of structured merge: a set of paths for each manager, written as `fieldsV1`.

pub mod layout;
pub mod merge;
pub mod ownership;
pub mod walk;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// One part of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    Field(String),
    /// An element of a list that is a map, by its keys as canonical JSON.
    Key(String),
    /// An element of a list that is a set, as JSON.
    Element(String),
}

pub type Path = Vec<Step>;
pub type FieldSet = BTreeSet<Path>;

impl Step {
    fn encode(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(keys) => format!("k:{keys}"),
            Self::Element(value) => format!("v:{value}"),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        Some(match kind {
            "f" => Self::Field(rest.to_owned()),
            "k" => Self::Key(rest.to_owned()),
            "v" => Self::Element(rest.to_owned()),
            _ => return None,
        })
    }
}

/// `fieldsV1`.
#[must_use]
pub fn encode(set: &FieldSet) -> Value {
    let mut root = Map::new();
    for path in set {
        let node = path.iter().fold(&mut root, |here, step| below(here, step));
        // a member that has members below it says so
        if set.range(path.clone()..).nth(1).is_some_and(|next| next.starts_with(path)) {
            node.insert(".".to_owned(), Value::Object(Map::new()));
        }
    }
    Value::Object(root)
}

/// The node of a step, made if it is not there. No node is anything but an object.
fn below<'a>(here: &'a mut Map<String, Value>, step: &Step) -> &'a mut Map<String, Value> {
    match here.entry(step.encode()).or_insert_with(|| Value::Object(Map::new())) {
        Value::Object(fields) => fields,
        _ => unreachable!("only objects are put in"),
    }
}

/// The paths of a `fieldsV1`.
#[must_use]
pub fn decode(fields: &Value) -> FieldSet {
    fn walk(fields: &Value, path: &mut Path, set: &mut FieldSet) {
        let Some(fields) = fields.as_object() else { return };
        if fields.is_empty() || fields.contains_key(".") {
            set.insert(path.clone());
        }
        for (name, below) in fields {
            if let Some(step) = Step::decode(name) {
                path.push(step);
                walk(below, path, set);
                path.pop();
            }
        }
    }
    let mut set = FieldSet::new();
    if fields.as_object().is_some_and(|fields| !fields.is_empty()) {
        walk(fields, &mut Path::new(), &mut set);
    }
    set
}

/// As error messages name it: `.spec.containers[name="app"].image`.
#[must_use]
pub fn spell(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Element(value) => format!("[={value}]"),
            Step::Key(keys) => {
                let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
                let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("[{}]", keys.join(","))
            }
        })
        .collect()
}
