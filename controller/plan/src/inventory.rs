//! What exists because of us and is wanted no more, and the brake before it goes.
//!
//! The inventory is the union of the objects of all applied digests: a digest is recorded before its first write and dropped
//! after the prune, so nothing that was ever written is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sluice_crds::gitsync::PruneBlocked;
use sluice_crds::names::{LABEL_COPY_OF, LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE};

use crate::check::named;
use crate::digest::{digest_text, short};
use crate::id::Id;
use crate::view::label;
use crate::world::World;

/// Names that a status lists of a braked prune.
const NAMES_MAX: usize = 20;
/// Characters of a prune's digest: what a person has to type.
const DIGEST_LENGTH: usize = 12;

/// Objects of the inventory that a revision lacks, that exist, and that carry our labels. `None`: a snapshot of the inventory is
/// missing, so nothing may be concluded from it.
#[must_use]
pub fn leftovers(world: &World, keep_digest: &str) -> Option<BTreeSet<Id>> {
    let status = world.sync.status.clone().unwrap_or_default();
    let keep = named(Some(world.renders.get(keep_digest)?));
    let mut leftovers = BTreeSet::new();
    for applied in &status.applied {
        let objects = named(Some(world.renders.get(applied)?));
        leftovers.extend(objects.into_keys().filter(|id| !keep.contains_key(id)));
    }
    leftovers.retain(|id| world.object(id).is_some_and(|object| is_ours(world, object)));
    Some(leftovers)
}

/// Whether an object carries the labels of this GitSync.
#[must_use]
pub fn is_ours(world: &World, object: &Value) -> bool {
    Some(label(object, LABEL_GITSYNC)) == world.sync.metadata.name.as_deref()
        && Some(label(object, LABEL_GITSYNC_NAMESPACE)) == world.sync.metadata.namespace.as_deref()
}

/// The brake's word on a deletion: `None` lets it go on.
#[must_use]
pub fn brake(world: &World, leftovers: &BTreeSet<Id>, before: &BTreeMap<Id, Value>) -> Option<PruneBlocked> {
    let brake = &world.sync.spec.prune.brake;
    // Copies of config come and go with every release; they are counted by nobody.
    let counted: Vec<&Id> =
        leftovers.iter().filter(|id| world.object(id).is_some_and(|object| label(object, LABEL_COPY_OF).is_empty())).collect();
    let percent = before.len() * usize::try_from(brake.max_percent).unwrap_or(0) / 100;
    let bound = percent.max(usize::try_from(brake.max_objects).unwrap_or(0));
    let dear = counted
        .iter()
        .any(|id| matches!(id.kind.as_str(), "Namespace" | "CustomResourceDefinition" | "PersistentVolumeClaim" | "StatefulSet"));
    if counted.len() <= bound && !dear {
        return None;
    }
    let text: String = leftovers.iter().map(|id| format!("{id}\n")).collect();
    Some(PruneBlocked {
        digest: short(&digest_text(&text), DIGEST_LENGTH),
        objects: i32::try_from(counted.len()).unwrap_or(i32::MAX),
        names: counted.iter().take(NAMES_MAX).map(ToString::to_string).collect(),
    })
}
