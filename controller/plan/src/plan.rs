//! How a plan is made: answers to people, then reasons to go back, then the way forward, then the writes that are missing.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sluice_crds::gitsync::GitSyncStatus;
use sluice_crds::release::{ReleaseSpec, ReleaseStatus, State};

use crate::advance::initial;
use crate::check::bounded;
pub use crate::effects::Effect;
use crate::effects::is_of_sync;
use crate::rest;
use crate::wait::Blocked;
use crate::world::World;

/// What is recorded before anything is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    /// The GitSync's status, by compare-and-swap.
    RecordSync(Box<GitSyncStatus>),
    /// The newest Release's status, by compare-and-swap.
    RecordRelease(Box<ReleaseStatus>),
    /// A new Release.
    CreateRelease(Box<ReleaseSpec>),
}

/// Something to tell people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Whether it is a warning.
    pub warning: bool,
    /// One PascalCase word.
    pub reason: String,
    pub message: String,
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[must_use = "a plan carries the reasons for waiting; dropping it hides them"]
pub struct Plan {
    /// First, in order; when one fails nothing else is done.
    pub records: Vec<Action>,
    /// Then, in order; when one fails the rest waits for the next plan.
    pub effects: Vec<Effect>,
    /// At any time; never in the way.
    pub notes: Vec<Note>,
    /// Why there is not more to do.
    pub blocked: Option<Blocked>,
    /// When to look again though nothing happens.
    pub look_at: Option<DateTime<Utc>>,
}

/// Whether a state is an end.
#[must_use]
pub fn is_final(state: &State) -> bool {
    matches!(state, State::Promoted {} | State::RolledBack {} | State::Superseded {} | State::Failed {})
}

/// Decides. See the module and the crate.
pub fn plan(world: &World) -> Plan {
    let sync_before = world.sync.status.clone().unwrap_or_default();
    let mut draft = Draft { world, sync: sync_before.clone(), plan: Plan::default() };
    draft.sync.epoch = world.epoch;
    draft.sync.observed_generation = world.sync.metadata.generation.unwrap_or_default();
    let open = world
        .release
        .as_ref()
        .filter(|release| release.spec.number == sync_before.release)
        .filter(|release| !release.status.as_ref().is_some_and(|status| is_final(&status.state)));
    let (spec, status) = match open {
        Some(release) => {
            let before = release.status.clone();
            let mut status = before.clone().unwrap_or_else(|| initial(world, &release.spec));
            status.epoch = world.epoch;
            draft.motion(&release.spec, &mut status);
            crate::show::release(&mut status, &release.spec, world.now);
            if before.as_ref() != Some(&status) {
                draft.plan.records.push(Action::RecordRelease(Box::new(status.clone())));
            }
            (Some(&release.spec), Some(status))
        }
        None => (world.release.as_ref().map(|release| &release.spec), rest::plan(&mut draft)),
    };
    crate::show::sync(&mut draft, spec, status.as_ref());
    let shown = crate::show::rollouts(world, &draft.sync, spec, status.as_ref());
    draft.plan.effects.extend(shown);
    if draft.sync != sync_before {
        // The GitSync's record comes first: it holds what must survive the Release. What else is written to the GitSync waits
        // for the next pass, since this record gives it a new version.
        draft.plan.effects.retain(|effect| !is_of_sync(effect));
        draft.plan.records.insert(0, Action::RecordSync(Box::new(draft.sync.clone())));
    }
    // One write of the GitSync for each plan: the next would carry a version that is over.
    let mut of_sync = 0;
    draft.plan.effects.retain(|effect| {
        of_sync += usize::from(is_of_sync(effect));
        !is_of_sync(effect) || of_sync == 1
    });
    draft.plan
}

/// A plan in the making.
pub struct Draft<'a> {
    pub world: &'a World,
    pub sync: GitSyncStatus,
    pub plan: Plan,
}

impl Draft<'_> {
    /// Tells people.
    pub fn note(&mut self, warning: bool, reason: &str, message: &str) {
        self.plan.notes.push(Note { warning, reason: reason.to_owned(), message: bounded(message) });
    }
}
