//! Sizes of the sets when the wanted number changed, or while the Deployment is paused.

use std::sync::Arc;

use serde_json::Value;

use super::children::Children;
use super::{DESIRED, MAX, available, is_rolling, max_surge, replicas, resize};
use crate::json::{integer, text};
use crate::state::State;

pub fn scale(state: &mut State, deployment: &Value, children: &Children) {
    if let Some(only) = active_or_latest(children) {
        if replicas(only) != replicas(deployment) {
            resize(state, deployment, only, replicas(deployment));
        }
        return;
    }
    if is_saturated(deployment, children.new.as_deref()) {
        for old in children.old.iter().filter(|set| replicas(set) > 0) {
            resize(state, deployment, old, 0);
        }
        return;
    }
    if is_rolling(deployment) {
        proportionally(state, deployment, children);
    }
}

/// The only set with pods; without any, the new one or else the youngest.
fn active_or_latest(children: &Children) -> Option<&Arc<Value>> {
    let active: Vec<&Arc<Value>> = children.all().filter(|set| replicas(set) > 0).collect();
    match active.as_slice() {
        [] => children.new.as_ref().or(children.old.last()),
        [only] => Some(only),
        _ => None,
    }
}

fn is_saturated(deployment: &Value, new: Option<&Value>) -> bool {
    new.is_some_and(|new| {
        let desired = text(new, &["metadata", "annotations", DESIRED]).parse::<i64>().ok();
        let wanted = replicas(deployment);
        replicas(new) == wanted && desired == Some(wanted) && available(new) == wanted
    })
}

fn proportionally(state: &mut State, deployment: &Value, children: &Children) {
    let mut sets: Vec<Arc<Value>> = children.all().filter(|set| replicas(set) > 0).cloned().collect();
    let total: i64 = sets.iter().map(|set| replicas(set)).sum();
    let wanted = replicas(deployment);
    let allowed = if wanted > 0 { wanted + max_surge(deployment) } else { 0 };
    let to_add = allowed - total;
    let age = |set: &Value| text(set, &["metadata", "creationTimestamp"]).to_owned();
    // the largest first; of equal ones the youngest when growing, the oldest when shrinking
    sets.sort_by(|a, b| {
        replicas(b).cmp(&replicas(a)).then_with(|| if to_add > 0 { age(b).cmp(&age(a)) } else { age(a).cmp(&age(b)) })
    });
    let mut added = 0;
    let mut sizes: Vec<i64> = Vec::new();
    for set in &sets {
        let share = if to_add == 0 || to_add == added { 0 } else { share(deployment, set, to_add, added) };
        sizes.push(replicas(set) + share);
        added += share;
    }
    if let Some(first) = sizes.first_mut().filter(|_| to_add != 0) {
        *first = (*first + to_add - added).max(0);
    }
    for (set, size) in sets.iter().zip(sizes) {
        resize(state, deployment, set, size);
    }
}

fn share(deployment: &Value, set: &Value, to_add: i64, added: i64) -> i64 {
    let fraction = fraction(deployment, set);
    let left = to_add - added;
    if to_add > 0 { fraction.min(left) } else { fraction.max(left) }
}

fn fraction(deployment: &Value, set: &Value) -> i64 {
    let wanted = replicas(deployment);
    if wanted == 0 {
        return -replicas(set);
    }
    let noted = text(set, &["metadata", "annotations", MAX]).parse::<i64>().ok();
    let before = noted.or_else(|| integer(deployment, &["status", "replicas"])).unwrap_or(0);
    if before == 0 {
        return 0;
    }
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "numbers of pods")]
    let size = (replicas(set) as f64 * (wanted + max_surge(deployment)) as f64 / before as f64).round() as i64;
    size - replicas(set)
}
