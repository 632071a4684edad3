//! Who manages which field, and what applying and updating do to that.

use serde_json::{Value, json};

use super::layout::Layout;
use super::merge::merge;
use super::walk::{changes, leaves, remove};
use super::{FieldSet, Path, Step, decode, encode};
use crate::json::{list, text};

/// Kept by the API server itself: nobody owns them.
const UNOWNED_METADATA: [&str; 10] = [
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "managedFields",
    "selfLink",
];

/// Who, how and through which subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    pub name: String,
    pub is_apply: bool,
    pub api_version: String,
    pub subresource: String,
}

/// One entry of `metadata.managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    pub manager: Manager,
    pub time: String,
    pub fields: FieldSet,
}

/// Fields that another manager holds with another value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub manager: Manager,
    pub fields: FieldSet,
}

#[must_use]
pub fn read(object: &Value) -> Vec<Managed> {
    list(object, &["metadata", "managedFields"])
        .iter()
        .map(|entry| Managed {
            manager: Manager {
                name: text(entry, &["manager"]).to_owned(),
                is_apply: text(entry, &["operation"]) == "Apply",
                api_version: text(entry, &["apiVersion"]).to_owned(),
                subresource: text(entry, &["subresource"]).to_owned(),
            },
            time: text(entry, &["time"]).to_owned(),
            fields: entry.get("fieldsV1").map(decode).unwrap_or_default(),
        })
        .collect()
}

/// The managers from which an update starts: those that it gives itself, which is how a client moves ownership, or else those
/// of the live object. One empty entry means: none.
#[must_use]
pub fn given_or_live(live: &Value, new: &Value, subresource: &str) -> Vec<Managed> {
    let given = list(new, &["metadata", "managedFields"]);
    match given {
        _ if !subresource.is_empty() => read(live),
        [] => read(live),
        [only] if only.as_object().is_some_and(serde_json::Map::is_empty) => Vec::new(),
        _ => read(new),
    }
}

/// `metadata.managedFields`, in the server's order.
#[must_use]
pub fn write(mut managed: Vec<Managed>) -> Value {
    managed.retain(|entry| !entry.fields.is_empty());
    managed.sort_by(|a, b| {
        let order = |entry: &Managed| (!entry.manager.is_apply, entry.time.clone(), entry.manager.clone());
        order(a).cmp(&order(b))
    });
    let entries = managed.iter().map(|entry| {
        let mut object = json!({
            "manager": entry.manager.name,
            "operation": if entry.manager.is_apply { "Apply" } else { "Update" },
            "apiVersion": entry.manager.api_version,
            "time": entry.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encode(&entry.fields),
        });
        if !entry.manager.subresource.is_empty() {
            object["subresource"] = json!(entry.manager.subresource);
        }
        object
    });
    Value::Array(entries.collect())
}

/// Without what nobody owns.
#[must_use]
pub fn owned(mut set: FieldSet) -> FieldSet {
    set.retain(|path| match path.as_slice() {
        [Step::Field(only)] => !matches!(only.as_str(), "apiVersion" | "kind" | "metadata"),
        [Step::Field(first), Step::Field(second), ..] => first != "metadata" || !UNOWNED_METADATA.contains(&second.as_str()),
        _ => true,
    });
    set
}

/// What an apply makes of the live object and its managers.
pub struct Applied {
    pub object: Value,
    pub managed: Vec<Managed>,
}

/// Server-side apply. `Err` names the fields that others hold.
pub fn apply(
    live: &Value,
    config: &Value,
    layout: Layout<'_>,
    me: &Manager,
    force: bool,
    now: &str,
) -> Result<Applied, Vec<Held>> {
    let mut managed = read(live);
    let mine = owned(leaves(config, layout).into_keys().collect());
    let last: FieldSet = managed.iter().find(|entry| entry.manager == *me).map(|entry| entry.fields.clone()).unwrap_or_default();
    let mut object = merge(live, config, layout);
    let kept: FieldSet = managed
        .iter()
        .filter(|entry| entry.manager != *me)
        .flat_map(|entry| entry.fields.iter().cloned())
        .chain(mine.iter().cloned())
        .collect();
    for path in last.iter().filter(|path| !kept.contains(*path)) {
        // a list element stays while somebody owns a part of it
        let is_held_below = kept.range::<Path, _>((*path).clone()..).next().is_some_and(|next| next.starts_with(path));
        if !is_held_below {
            remove(&mut object, path, layout);
        }
    }
    let changed = changes(live, &object, layout);
    let mut held = Vec::new();
    for entry in managed.iter_mut().filter(|entry| entry.manager != *me) {
        let taken: FieldSet = entry.fields.intersection(&changed.set).cloned().collect();
        if !taken.is_empty() {
            entry.fields.retain(|path| !taken.contains(path));
            held.push(Held { manager: entry.manager.clone(), fields: taken });
        }
        entry.fields.retain(|path| !changed.removed.contains(path));
    }
    if !held.is_empty() && !force {
        return Err(held);
    }
    let is_same = changed.set.is_empty() && changed.removed.is_empty();
    match managed.iter_mut().find(|entry| entry.manager == *me) {
        Some(entry) => {
            entry.fields = mine;
            if !is_same {
                now.clone_into(&mut entry.time);
            }
        }
        None => managed.push(Managed { manager: me.clone(), time: now.to_owned(), fields: mine }),
    }
    Ok(Applied { object, managed })
}

/// What an update, a merge or a JSON patch does to the managers: who changes a field owns it.
#[must_use]
pub fn update(
    mut managed: Vec<Managed>,
    live: &Value,
    object: &Value,
    layout: Layout<'_>,
    me: &Manager,
    now: &str,
) -> Vec<Managed> {
    let mut changed = changes(live, object, layout);
    changed.set = owned(changed.set);
    for entry in managed.iter_mut() {
        if entry.manager != *me {
            entry.fields.retain(|path| !changed.set.contains(path));
        }
        entry.fields.retain(|path| !changed.removed.contains(path));
    }
    if changed.set.is_empty() {
        return managed;
    }
    match managed.iter_mut().find(|entry| entry.manager == *me) {
        Some(entry) => {
            entry.fields.extend(changed.set);
            now.clone_into(&mut entry.time);
        }
        None => managed.push(Managed { manager: me.clone(), time: now.to_owned(), fields: changed.set }),
    }
    managed
}
