//! From the old sets to the new one.

use serde_json::Value;

use super::children::{Children, clean_up};
use super::{available, max_surge, max_unavailable, progress, replicas, resize};
use crate::controllers::replica_set::pods_of;
use crate::key::Key;
use crate::state::State;

/// The size that the new set may have now.
pub fn new_size(deployment: &Value, children: &Children, present: i64) -> i64 {
    let wanted = replicas(deployment);
    if !super::is_rolling(deployment) {
        return wanted;
    }
    let room = wanted + max_surge(deployment) - children.total();
    if room <= 0 { present } else { present + room.min(wanted - present) }
}

pub fn rolling(state: &mut State, deployment: &Value) {
    let children = Children::with_revisions(state, deployment, true);
    let Some(new) = children.new.clone() else { return };
    let wanted = replicas(deployment);
    let size = if replicas(&new) > wanted { wanted } else { new_size(deployment, &children, replicas(&new)) };
    if size != replicas(&new) {
        resize(state, deployment, &new, size);
        return;
    }
    if shrink_old(state, deployment, &children, &new) {
        return;
    }
    finish(state, deployment);
}

fn finish(state: &mut State, deployment: &Value) {
    let Some(live) = state.get(&Key::of(deployment)).cloned() else { return };
    if progress::is_complete(&live) {
        clean_up(state, &live);
    }
}

fn shrink_old(state: &mut State, deployment: &Value, children: &Children, new: &Value) -> bool {
    let old_total: i64 = children.old.iter().map(|set| replicas(set)).sum();
    let floor = replicas(deployment) - max_unavailable(deployment);
    let new_unavailable = replicas(new) - available(new);
    let room = children.total() - floor - new_unavailable;
    if old_total == 0 || room <= 0 {
        return false;
    }
    // pods that do not serve go first
    let mut cleaned = 0;
    for old in children.old.iter().filter(|set| replicas(set) > available(set)) {
        let count = (room - cleaned).min(replicas(old) - available(old));
        if count > 0 {
            resize(state, deployment, old, replicas(old) - count);
            cleaned += count;
        }
    }
    let children = Children::read(state, deployment);
    let serving: i64 = children.all().map(|set| available(set)).sum();
    let mut surplus = serving - floor;
    let mut shrunk = 0;
    for old in children.old.iter().filter(|set| replicas(set) > 0) {
        let count = surplus.min(replicas(old));
        if count > 0 {
            resize(state, deployment, old, replicas(old) - count);
            surplus -= count;
            shrunk += count;
        }
    }
    cleaned + shrunk > 0
}

pub fn recreate(state: &mut State, deployment: &Value) {
    let children = Children::with_revisions(state, deployment, false);
    let active: Vec<_> = children.old.iter().filter(|set| replicas(set) > 0).cloned().collect();
    if !active.is_empty() {
        for old in active {
            resize(state, deployment, &old, 0);
        }
        return;
    }
    if children.old.iter().any(|set| !pods_of(state, set).is_empty()) {
        return;
    }
    let children = Children::with_revisions(state, deployment, true);
    if let Some(new) = &children.new
        && replicas(new) != replicas(deployment)
    {
        resize(state, deployment, new, replicas(deployment));
        return;
    }
    finish(state, deployment);
}
