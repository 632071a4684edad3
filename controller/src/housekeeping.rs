//! Collects what nothing names any more: snapshots of forgotten revisions, Releases beyond the history.

use std::sync::atomic::{AtomicI64, Ordering};

use sluice_cluster::object::Propagation;
use sluice_plan::World;

use crate::observe::{Observer, release_name};
use crate::tenant::own_key;

/// Releases that are kept of one GitSync.
const HISTORY_MAX: i64 = 10;

/// The last release number that was tidied up after, for this process: once for each release is enough.
#[derive(Default)]
pub struct Tidied(AtomicI64);

impl Tidied {
    fn is_new(&self, number: i64) -> bool {
        self.0.swap(number, Ordering::Relaxed) != number
    }
}

/// Collects at rest, once after each release. What fails is tried after the next one.
pub async fn collect(observer: &Observer, world: &World) {
    let Some(status) = &world.sync.status else { return };
    if status.release == 0 || !observer.tidied.is_new(status.release) {
        return;
    }
    let mut keep: Vec<String> = status.applied.clone();
    keep.extend(status.good.iter().chain(&status.attempted).map(|revision| revision.digest.clone()));
    if let sluice_plan::world::Candidate::Ready(revision) = &world.candidate {
        keep.push(revision.digest.clone());
    }
    if let Err(error) = observer.snapshots.collect(&keep).await {
        tracing::warn!(error = %crate::source::chain(&error), "snapshots could not be collected");
    }
    let last = status.release - HISTORY_MAX;
    if last < 1 {
        return;
    }
    let key = own_key("Release", world.namespace(), &release_name(&world.sync, last));
    if let Ok(Some(old)) = observer.identities.own.get(&key).await
        && let Err(error) =
            observer.identities.own.delete(&key, sluice_plan::view::uid(&old), None, Propagation::Background).await
    {
        tracing::warn!(reason = error.reason(), "an old Release could not be deleted");
    }
    observer.settled.retain(|id| world.live.contains_key(id));
}
