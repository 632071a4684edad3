//! The end of a release that got in: its revision is good, and what only older ones had goes, through the brake.

use sluice_crds::release::{ReleaseStatus, State};

use crate::check::named;
use crate::effective;
use crate::effects;
use crate::inventory;
use crate::plan::Draft;
use crate::record::timeline;
use crate::wait::Blocked;
use crate::world::Candidate;

impl Draft<'_> {
    /// The revision is good from here on; what only older ones had goes, through the brake.
    pub(crate) fn prune(&mut self, status: &mut ReleaseStatus) {
        let world = self.world;
        if self.sync.good.as_ref() != Some(&status.target) {
            self.sync.good = Some(status.target.clone());
            self.sync.refused = None;
        }
        let Some(leftovers) = inventory::leftovers(world, &status.target.digest) else {
            let blocked = Blocked::SnapshotMissing(status.target.sha.clone());
            status.wait = Some(blocked.record(status.wait.as_ref(), world.now, None));
            self.plan.blocked = Some(blocked);
            return;
        };
        let moved_on = matches!(&world.candidate, Candidate::Ready(candidate) if candidate.digest != status.target.digest);
        let goes_away = world.sync.metadata.deletion_timestamp.is_some();
        if leftovers.is_empty() || !world.sync.spec.prune.enabled || goes_away {
            return self.promote(status);
        }
        let before = named(world.release.as_ref().and_then(|release| world.render_of(release.spec.previous.as_ref())));
        let braked = inventory::brake(world, &leftovers, &before);
        let approved = |digest: &str| {
            status
                .commands
                .iter()
                .any(|record| record.accepted && record.annotation == sluice_crds::names::APPROVE_PRUNE && record.value == digest)
        };
        // Once approved it goes on to the end, though what is left of it has another digest by then.
        let going_on = matches!(&self.sync.prune_blocked, Some(blocked) if approved(&blocked.digest));
        if let Some(blocked) = braked.filter(|_| !going_on) {
            if moved_on {
                // What is left stays in the inventory and meets the brake again after the newer commit.
                self.sync.prune_blocked = None;
                return self.promote(status);
            }
            let wait = Blocked::PruneBlocked {
                count: leftovers.len(),
                sync: world.sync.metadata.name.clone().unwrap_or_default(),
                namespace: world.namespace().to_owned(),
                digest: blocked.digest.clone(),
            };
            if self.sync.prune_blocked.as_ref() != Some(&blocked) {
                self.note(true, "PruneBlocked", &wait.to_string());
                timeline(status, world.now, "PruneBlocked", &wait.to_string());
            }
            self.sync.prune_blocked = Some(blocked);
            status.wait = Some(wait.record(status.wait.as_ref(), world.now, None));
            self.plan.blocked = Some(wait);
            return;
        }
        let mut deletions: Vec<&crate::id::Id> = leftovers.iter().collect();
        deletions.sort_by_key(|id| (std::cmp::Reverse(effective::stage(id)), (*id).clone()));
        for id in deletions {
            if let Some(object) = world.object(id).filter(|object| !crate::view::is_deleting(object)) {
                self.plan.effects.push(effects::delete(id, object));
            }
        }
        let wait = Blocked::Deleting(format!("{} objects that left Git", leftovers.len()));
        status.wait = Some(wait.record(status.wait.as_ref(), world.now, None));
        self.plan.blocked = Some(wait);
    }

    pub(crate) fn promote(&mut self, status: &mut ReleaseStatus) {
        status.state = State::Promoted {};
        status.state_since = self.world.now;
        status.wait = None;
        self.sync.prune_blocked = None;
        let message = format!("commit {} is good", status.target.short);
        timeline(status, self.world.now, "Promoted", &message);
        self.note(false, "Promoted", &message);
    }
}
