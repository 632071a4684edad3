//! Lays an applied configuration over the live object.

use serde_json::Value;

use super::layout::{Layout, ListShape, element};
use super::{Path, Step};

/// The live object with everything that the configuration says.
#[must_use]
pub fn merge(live: &Value, config: &Value, layout: Layout<'_>) -> Value {
    let mut merged = live.clone();
    lay(&mut merged, config, layout, &mut Path::new());
    merged
}

fn lay(live: &mut Value, config: &Value, layout: Layout<'_>, path: &mut Path) {
    match (&mut *live, config) {
        (Value::Object(fields), Value::Object(wanted)) if !layout.is_atomic_object(path) => {
            for (name, value) in wanted {
                path.push(Step::Field(name.clone()));
                match fields.get_mut(name) {
                    Some(below) => lay(below, value, layout.below(path), path),
                    None => {
                        fields.insert(name.clone(), value.clone());
                    }
                }
                path.pop();
            }
        }
        (Value::Array(items), Value::Array(wanted)) => match layout.list(path) {
            ListShape::Atomic => *live = config.clone(),
            shape => *items = lay_list(items, wanted, &shape, layout, path),
        },
        _ => *live = config.clone(),
    }
}

/// Elements in the order of the configuration; others stay behind those that they followed.
fn lay_list(live: &[Value], wanted: &[Value], shape: &ListShape, layout: Layout<'_>, path: &mut Path) -> Vec<Value> {
    let steps = |items: &[Value]| items.iter().map(|item| element(shape, item)).collect::<Option<Vec<Step>>>();
    let (Some(live_steps), Some(wanted_steps)) = (steps(live), steps(wanted)) else { return wanted.to_vec() };
    let mut merged = Vec::with_capacity(live.len() + wanted.len());
    let mut next = 0;
    for (step, item) in wanted_steps.iter().zip(wanted) {
        let position = live_steps.iter().position(|live| live == step);
        if let Some(position) = position {
            while next <= position {
                if !wanted_steps.contains(&live_steps[next]) {
                    merged.push(live[next].clone());
                }
                next += 1;
            }
            let mut below = live[position].clone();
            path.push(step.clone());
            lay(&mut below, item, layout.below(path), path);
            path.pop();
            merged.push(below);
        } else {
            merged.push(item.clone());
        }
    }
    merged
        .extend((next..live.len()).filter(|index| !wanted_steps.contains(&live_steps[*index])).map(|index| live[index].clone()));
    merged
}
