//! The ReplicaSets of a Deployment: which are its own, which one has its template, revisions, the limit of the history.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{DESIRED, MAX, REVISION, USER, max_surge, replicas};
use crate::controllers::{hash, is_deleting, owner_reference, owner_uid, uid};
use crate::json::{at, integer, list, remove, set, text};
use crate::key::Key;
use crate::selector::{Selector, labels_at};
use crate::state::State;
use crate::trace::Verb;

const HASH_LABEL: &str = "pod-template-hash";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotations of a Deployment that its sets do not get.
const NOT_COPIED: [&str; 6] =
    ["kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAX, "deprecated.deployment.rollback.to"];

/// The sets of one Deployment.
pub struct Children {
    /// Oldest first.
    pub old: Vec<Arc<Value>>,
    pub new: Option<Arc<Value>>,
}

impl Children {
    pub fn read(state: &State, deployment: &Value) -> Self {
        let mut sets = state.of_kind("apps", "ReplicaSet", text(deployment, &["metadata", "namespace"]));
        sets.retain(|set| owner_uid(set) == Some(uid(deployment)));
        let age =
            |set: &Value| (text(set, &["metadata", "creationTimestamp"]).to_owned(), text(set, &["metadata", "name"]).to_owned());
        sets.sort_by_key(|set| age(set));
        let wanted = bare(&deployment["spec"]["template"]);
        // the oldest equal one wins
        let new = sets.iter().position(|set| bare(&set["spec"]["template"]) == wanted).map(|index| sets.remove(index));
        Self { old: sets, new }
    }

    /// Reads, and keeps the revision of the new set ahead of all others. `create`: the new set is made if it is not there.
    pub fn with_revisions(state: &mut State, deployment: &Value, create: bool) -> Self {
        let children = Self::read(state, deployment);
        let revision = children.old.iter().map(|set| revision_of(set)).max().unwrap_or(0) + 1;
        match &children.new {
            Some(new) => keep_notes(state, deployment, new, revision),
            None if create => make(state, deployment, &children, revision),
            None => {}
        }
        match state.get(&Key::of(deployment)).cloned() {
            Some(deployment) => Self::read(state, &deployment),
            None => children,
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.old.iter().chain(&self.new)
    }

    pub fn total(&self) -> i64 {
        self.all().map(|set| replicas(set)).sum()
    }
}

fn bare(template: &Value) -> Value {
    let mut template = template.clone();
    remove(&mut template, &["metadata", "labels", HASH_LABEL]);
    remove(&mut template, &["metadata", "creationTimestamp"]);
    template
}

fn revision_of(set: &Value) -> i64 {
    text(set, &["metadata", "annotations", REVISION]).parse().unwrap_or(0)
}

/// Takes matching sets without a controller, and gives up own ones that do not match.
pub fn adopt_and_release(state: &mut State, deployment: &Value) {
    let Some(selector) = Selector::of(at(deployment, &["spec", "selector"])) else { return };
    for candidate in state.of_kind("apps", "ReplicaSet", text(deployment, &["metadata", "namespace"])) {
        let matches = selector.matches(&candidate);
        match owner_uid(&candidate) {
            Some(owner) if owner == uid(deployment) && !matches => {
                state.edit(USER, &Key::of(&candidate), "", |object| {
                    let owners = list(object, &["metadata", "ownerReferences"]);
                    let kept: Vec<Value> =
                        owners.iter().filter(|owner| text(owner, &["uid"]) != uid(deployment)).cloned().collect();
                    set(object, &["metadata", "ownerReferences"], kept);
                });
            }
            None if matches && !is_deleting(&candidate) && !is_deleting(deployment) => {
                let owner = owner_reference(deployment);
                state.edit(USER, &Key::of(&candidate), "", |object| {
                    let mut owners = list(object, &["metadata", "ownerReferences"]).to_vec();
                    owners.push(owner);
                    set(object, &["metadata", "ownerReferences"], owners);
                });
            }
            _ => {}
        }
    }
}

fn copied_annotations(deployment: &Value) -> Map<String, Value> {
    let all = at(deployment, &["metadata", "annotations"]).and_then(Value::as_object).cloned().unwrap_or_default();
    all.into_iter().filter(|(name, _)| !NOT_COPIED.contains(&name.as_str())).collect()
}

fn keep_notes(state: &mut State, deployment: &Value, new: &Value, revision: i64) {
    let annotations = copied_annotations(deployment);
    let min_ready = at(deployment, &["spec", "minReadySeconds"]).cloned();
    state.edit(USER, &Key::of(new), "", |object| {
        for (name, value) in annotations {
            set(object, &["metadata", "annotations", &name], value);
        }
        let old = revision_of(object);
        if old < revision {
            set(object, &["metadata", "annotations", REVISION], revision.to_string());
            if old > 0 {
                let history = text(object, &["metadata", "annotations", HISTORY]).to_owned();
                let history = if history.is_empty() { old.to_string() } else { format!("{history},{old}") };
                set(object, &["metadata", "annotations", HISTORY], history);
            }
        }
        let own = integer(object, &["spec", "minReadySeconds"]).unwrap_or(0);
        if own != min_ready.as_ref().and_then(Value::as_i64).unwrap_or(0) {
            set(object, &["spec", "minReadySeconds"], min_ready.unwrap_or(json!(0)));
        }
    });
    let revision = state.get(&Key::of(new)).map_or(revision, |set| revision_of(set));
    note_revision(state, deployment, revision);
}

fn note_revision(state: &mut State, deployment: &Value, revision: i64) {
    state.edit(USER, &Key::of(deployment), "status", |object| {
        set(object, &["metadata", "annotations", REVISION], revision.to_string());
    });
}

fn make(state: &mut State, deployment: &Value, children: &Children, revision: i64) {
    let mut template = deployment["spec"]["template"].clone();
    let collisions = integer(deployment, &["status", "collisionCount"]).unwrap_or(0);
    let hash = hash::of_template(&template, collisions);
    set(&mut template, &["metadata", "labels", HASH_LABEL], hash.clone());
    let mut selector = deployment["spec"]["selector"].clone();
    set(&mut selector, &["matchLabels", HASH_LABEL], hash.clone());
    let mut annotations = copied_annotations(deployment);
    for (note, value) in
        [(REVISION, revision), (DESIRED, replicas(deployment)), (MAX, replicas(deployment) + max_surge(deployment))]
    {
        annotations.insert(note.to_owned(), json!(value.to_string()));
    }
    let name = format!("{}-{hash}", text(deployment, &["metadata", "name"]));
    let object = json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {
            "name": name, "namespace": deployment["metadata"]["namespace"],
            "labels": labels_at(&template, &["metadata", "labels"]), "annotations": annotations,
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {
            "replicas": super::roll::new_size(deployment, children, 0),
            "minReadySeconds": integer(deployment, &["spec", "minReadySeconds"]).unwrap_or(0),
            "selector": selector, "template": template,
        },
    });
    let key = Key::of(&object);
    if state.control(USER, Verb::Create, key, "", object).is_some() {
        note_revision(state, deployment, revision);
        return;
    }
    // the name is taken by a set that is not ours or not equal: the next hash is another one
    state.edit(USER, &Key::of(deployment), "status", |object| set(object, &["status", "collisionCount"], collisions + 1));
}

/// Old sets beyond the limit of the history.
pub fn clean_up(state: &mut State, deployment: &Value) {
    let children = Children::read(state, deployment);
    let limit = usize::try_from(integer(deployment, &["spec", "revisionHistoryLimit"]).unwrap_or(10)).unwrap_or(0);
    let mut old: Vec<&Arc<Value>> = children.old.iter().filter(|set| !is_deleting(set)).collect();
    old.sort_by_key(|set| revision_of(set));
    let surplus = old.len().saturating_sub(limit);
    for set in old.into_iter().take(surplus) {
        let is_seen = integer(set, &["status", "observedGeneration"]) >= integer(set, &["metadata", "generation"]);
        if replicas(set) == 0 && integer(set, &["status", "replicas"]).unwrap_or(0) == 0 && is_seen {
            state.discard(USER, set, json!({"propagationPolicy": "Background"}));
        }
    }
}
