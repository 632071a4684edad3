//! Who owns which field. Lists are owned whole, maps field by field, as server-side apply has it for the kinds used here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The names of the fields from an object's root to one of its fields.
pub type Path = Vec<String>;

/// One manager's entry: its name, `Apply` or `Update`, and the subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    pub name: String,
    pub operation: &'static str,
    pub subresource: &'static str,
}

/// What one manager owns, and since when it is so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed {
    pub fields: BTreeSet<Path>,
    pub time: String,
}

pub type Managers = BTreeMap<Manager, Managed>;

/// Fields that nobody owns: identity, and what the API server keeps itself.
const UNOWNED: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// The owned fields of an object, without its status.
pub fn leaves(object: &Value) -> BTreeSet<Path> {
    let mut found = BTreeSet::new();
    let Some(fields) = object.as_object() else { return found };
    for (name, value) in fields.iter().filter(|(name, _)| !matches!(name.as_str(), "apiVersion" | "kind" | "status")) {
        collect(vec![name.clone()], value, &mut found);
    }
    found
}

fn collect(path: Path, value: &Value, found: &mut BTreeSet<Path>) {
    if path.len() == 2 && path[0] == "metadata" && UNOWNED.contains(&path[1].as_str()) {
        return;
    }
    match value {
        // A label selector is owned whole, whatever its shape.
        Value::Object(fields) if !fields.is_empty() && path != ["spec", "selector"] => {
            for (name, value) in fields {
                let mut path = path.clone();
                path.push(name.clone());
                collect(path, value, found);
            }
        }
        _ => {
            found.insert(path);
        }
    }
}

pub fn get<'a>(object: &'a Value, path: &Path) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

pub fn set(object: &mut Value, path: &Path, new: Value) {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    sluice_plan::view::set(object, &names, new);
}

/// Removes a field, and the maps that are empty without it.
pub fn remove(object: &mut Value, path: &Path) {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    sluice_plan::view::remove(object, &names);
    for length in (1..path.len()).rev() {
        if get(object, &path[..length].to_vec()) != Some(&json!({})) {
            return;
        }
        sluice_plan::view::remove(object, &names[..length]);
    }
}

/// The managers as an object shows them.
pub fn shown(managers: &Managers) -> Value {
    managers
        .iter()
        .map(|(manager, managed)| {
            let mut entry = json!({
                "manager": manager.name, "operation": manager.operation, "time": managed.time,
                "fieldsType": "FieldsV1", "fieldsV1": tree(&managed.fields),
            });
            if !manager.subresource.is_empty() {
                entry["subresource"] = json!(manager.subresource);
            }
            entry
        })
        .collect()
}

fn tree(fields: &BTreeSet<Path>) -> Value {
    let mut root = Value::Object(Map::new());
    for path in fields {
        let mut here = &mut root;
        for name in path {
            here = here.as_object_mut().unwrap().entry(format!("f:{name}")).or_insert_with(|| json!({}));
        }
    }
    root
}

/// The managers that an object shows, read back.
pub fn read(shown: &Value) -> Managers {
    let mut managers = Managers::new();
    for entry in shown.as_array().into_iter().flatten() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        let subresource = ["status", "scale"].into_iter().find(|name| *name == text("subresource")).unwrap_or("");
        let operation = if text("operation") == "Apply" { "Apply" } else { "Update" };
        let mut fields = BTreeSet::new();
        paths(Vec::new(), &entry["fieldsV1"], &mut fields);
        let manager = Manager { name: text("manager"), operation, subresource };
        managers.insert(manager, Managed { fields, time: text("time") });
    }
    managers
}

fn paths(path: Path, tree: &Value, found: &mut BTreeSet<Path>) {
    let children = tree.as_object().into_iter().flatten().filter_map(|(name, child)| Some((name.strip_prefix("f:")?, child)));
    let mut is_leaf = true;
    for (name, child) in children {
        is_leaf = false;
        let mut path = path.clone();
        path.push(name.to_owned());
        paths(path, child, found);
    }
    if is_leaf && !path.is_empty() {
        found.insert(path);
    }
}
