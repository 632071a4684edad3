//! An object as the values of its paths.

use std::collections::BTreeMap;

use serde_json::Value;

use super::layout::{Layout, element};
use super::{FieldSet, Path, Step};

/// Every path that can be owned, with its value; members of lists have none of their own.
pub type Leaves = BTreeMap<Path, Value>;

#[must_use]
pub fn leaves(object: &Value, layout: Layout<'_>) -> Leaves {
    let mut leaves = Leaves::new();
    walk(object, layout, &mut Path::new(), &mut leaves);
    leaves
}

fn walk(value: &Value, layout: Layout<'_>, path: &mut Path, leaves: &mut Leaves) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !layout.is_atomic_object(path) => {
            for (name, value) in fields {
                path.push(Step::Field(name.clone()));
                walk(value, layout.below(path), path, leaves);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() => {
            let shape = layout.list(path);
            let steps: Option<Vec<Step>> = items.iter().map(|item| element(&shape, item)).collect();
            let Some(steps) = steps else {
                leaves.insert(path.clone(), value.clone());
                return;
            };
            for (step, item) in steps.into_iter().zip(items) {
                path.push(step);
                leaves.insert(path.clone(), Value::Null);
                if item.is_object() {
                    walk(item, layout.below(path), path, leaves);
                }
                path.pop();
            }
        }
        // an object that is the root owns nothing by itself
        _ if path.is_empty() => {}
        _ => {
            leaves.insert(path.clone(), value.clone());
        }
    }
}

/// What changed between two objects.
#[derive(Debug, Default)]
pub struct Changes {
    pub set: FieldSet,
    pub removed: FieldSet,
}

#[must_use]
pub fn changes(old: &Value, new: &Value, layout: Layout<'_>) -> Changes {
    let (old, new) = (leaves(old, layout), leaves(new, layout));
    Changes {
        set: new.iter().filter(|(path, value)| old.get(*path) != Some(value)).map(|(path, _)| path.clone()).collect(),
        removed: old.keys().filter(|path| !new.contains_key(*path)).cloned().collect(),
    }
}

/// Removes what a path leads to, and containers that become empty by it.
pub fn remove(value: &mut Value, path: &[Step], layout: Layout<'_>) {
    remove_below(value, path, &mut Path::new(), layout);
}

fn remove_below(value: &mut Value, path: &[Step], walked: &mut Path, layout: Layout<'_>) {
    let Some((step, rest)) = path.split_first() else { return };
    walked.push(step.clone());
    match (value, step) {
        (Value::Object(fields), Step::Field(name)) => {
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(below) = fields.get_mut(name) {
                remove_below(below, rest, walked, layout.below(walked));
                if is_empty(below) {
                    fields.remove(name);
                }
            }
        }
        (Value::Array(items), Step::Key(_) | Step::Element(_)) => {
            let shape = layout.list(&walked[..walked.len() - 1]);
            let index = items.iter().position(|item| element(&shape, item).as_ref() == Some(step));
            if let Some(index) = index {
                if rest.is_empty() {
                    items.remove(index);
                } else {
                    remove_below(&mut items[index], rest, walked, layout.below(walked));
                }
            }
        }
        _ => {}
    }
    walked.pop();
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
