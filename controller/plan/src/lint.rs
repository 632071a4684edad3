//! What no plan may do, checked on every plan before it is carried out, in production too. A violation stops that GitSync, not
//! the process. The numbers are those of the invariants in the architecture document.

use sluice_crds::release::{ReleaseStatus, State};

use crate::effects::Effect;
use crate::id::GATEWAY;
use crate::plan::{Action, Plan};
use crate::view::{integer, list};
use crate::world::World;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {message}; this GitSync is stopped until its state changes, please report it")]
pub struct Violation {
    /// Its number.
    pub invariant: &'static str,
    pub message: String,
}

/// Checks a plan against the world that it was made for.
///
/// # Errors
/// The first [`Violation`].
pub fn lint(world: &World, plan: &Plan) -> Result<(), Violation> {
    let before = world.release.as_ref().and_then(|release| release.status.as_ref());
    for record in &plan.records {
        match record {
            Action::RecordRelease(after) => release(before, after)?,
            Action::RecordSync(after) => {
                let sync = world.sync.status.clone().unwrap_or_default();
                check("I21", after.release >= sync.release, || "the number of the release falls".to_owned())?;
                check("I24", after.epoch >= sync.epoch, || "the epoch falls".to_owned())?;
                check("I17", sync.good.is_none() || after.good.is_some(), || "the good revision is forgotten".to_owned())?;
                let good_is_kept = after.good.as_ref().is_none_or(|good| after.applied.contains(&good.digest));
                check("I18", good_is_kept, || "the good revision leaves the inventory".to_owned())?;
            }
            Action::CreateRelease(spec) => {
                let open = before.is_some_and(|status| !crate::plan::is_final(&status.state));
                let same = world.release.as_ref().is_some_and(|release| release.spec.number == spec.number);
                check("I21", !open && !same, || "a second release would be open".to_owned())?;
            }
        }
    }
    plan.effects.iter().try_for_each(|effect| guarded(world, effect))
}

fn check(invariant: &'static str, holds: bool, message: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(Violation { invariant, message: message() }) }
}

fn step(state: &State) -> Option<i32> {
    match state {
        State::Scaling { step } | State::Warming { step } | State::Shifting { step } | State::Judging { step } => Some(*step),
        _ => None,
    }
}

fn release(before: Option<&ReleaseStatus>, after: &ReleaseStatus) -> Result<(), Violation> {
    let Some(before) = before else { return Ok(()) };
    check("I24", after.epoch >= before.epoch, || "the epoch falls".to_owned())?;
    if let (Some(from), Some(to)) = (step(&before.state), step(&after.state)) {
        check("I11", to == from || to == from + 1, || format!("step {from} is followed by {to}"))?;
        if to > from {
            check("I12", matches!(before.state, State::Judging { .. }), || "a step is left that was not judged".to_owned())?;
        }
    }
    let ended = crate::plan::is_final(&before.state);
    check("I43", !ended || before.state == after.state, || "an ended release goes on".to_owned())?;
    let back = matches!(before.state, State::RollingBack { .. });
    let forward = step(&after.state).is_some() || matches!(after.state, State::HandingOver { .. } | State::Promoted {});
    check("I16", !(back && forward), || "a release that goes back goes forward".to_owned())
}

fn guarded(world: &World, effect: &Effect) -> Result<(), Violation> {
    match effect {
        Effect::Apply { id, object, uid, resource_version, .. } => {
            let exists = world.object(id).is_some();
            check("I26", !exists || (uid.is_some() && resource_version.is_some()), || {
                format!("{id} is written without a guard")
            })?;
            if id.group == GATEWAY {
                let weights_ok = list(object, &["spec", "rules"]).iter().all(|rule| {
                    let backends = list(rule, &["backendRefs"]);
                    backends.is_empty()
                        || backends.iter().map(|backend| integer(backend, &["weight"]).unwrap_or(1)).sum::<i64>() > 0
                });
                check("I5", weights_ok, || format!("{id} would have no backend with a weight"))?;
            }
            Ok(())
        }
        Effect::Patch { id, uid, resource_version, .. }
        | Effect::Reclaim { id, uid, resource_version, .. }
        | Effect::ClearAnnotation { id, uid, resource_version, .. } => {
            check("I26", !uid.is_empty() && !resource_version.is_empty(), || format!("{id} is patched without a guard"))
        }
        Effect::Delete { id, uid, .. }
        | Effect::CoOwnReplicas { id, uid, .. }
        | Effect::LiftFinalizer { id, uid, .. }
        | Effect::Show { id, uid, .. } => check("I26", !uid.is_empty(), || format!("{id} is written without its uid")),
        Effect::Create { .. } | Effect::Finalizer { .. } => Ok(()),
    }
}
