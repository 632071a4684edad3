//! Why a release does not go on: every wait is a value with a reason, so that status, events, metrics and people are told one story.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sluice_analysis::Verdict;
use sluice_crds::release::Wait;

/// A wait. `Display` is the sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Blocked {
    #[error("{0} is not as planned yet")]
    NotApplied(String),
    #[error("{object} was refused: {message}")]
    WriteRefused { object: String, message: String },
    #[error("{object} is not healthy yet: {message}")]
    NotHealthy { object: String, message: String },
    #[error("Deployment {0} is in the middle of a rollout of its own; a release starts from settled stable pods")]
    StableNotSettled(String),
    #[error("{0} has not been told apart from the other pods yet: its canary is being made")]
    CanaryMissing(String),
    #[error("{rollout}: {ready} of {needed} canary pods are ready")]
    PodsNotReady { rollout: String, ready: i64, needed: i64 },
    #[error("{route}: the gateway has not accepted the route's present form yet")]
    RouteNotAccepted { route: String },
    #[error("waiting until the proxies have the new weights")]
    DataPlane,
    #[error("the step has been healthy for {} of {} s", .held_ms / 1000, .hold_ms / 1000)]
    HoldTime { held_ms: i64, hold_ms: i64 },
    #[error("{rollout}: {message}")]
    Metric { rollout: String, verdict: Verdict, message: String },
    #[error(
        "step {step} at {weight_percent} % waits for a person: kubectl annotate --overwrite rollouts.sluice.dev/{rollout} -n {namespace} sluice.dev/promote={sha}"
    )]
    WaitingForApproval { rollout: String, namespace: String, step: i32, weight_percent: i32, sha: String },
    #[error("paused by annotation sluice.dev/pause on {0}")]
    Paused(String),
    #[error("the GitSync is suspended")]
    Suspended,
    #[error("{0}")]
    Handover(String),
    #[error(
        "{count} objects would be deleted: kubectl annotate --overwrite gitsyncs.sluice.dev/{sync} -n {namespace} sluice.dev/approve-prune={digest}"
    )]
    PruneBlocked { count: usize, sync: String, namespace: String, digest: String },
    #[error("waiting for the deletion of {0}")]
    Deleting(String),
    #[error("there is no earlier good revision to go back to; push a fix, or retry: {0}")]
    NothingToGoBackTo(String),
    #[error("held by onFailure: Hold with all requests at the stable pods; abort to put everything back, or push a fix: {0}")]
    HeldByChoice(String),
    #[error("the snapshot of revision {0} is missing or does not match its digest; traffic stays where it is")]
    SnapshotMissing(String),
    #[error("requests in flight end before the canary is removed")]
    Draining,
}

impl Blocked {
    /// One word, stable for ever: a condition's reason and a metric's label.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotApplied(_) => "NotApplied",
            Self::WriteRefused { .. } => "WriteRefused",
            Self::NotHealthy { .. } => "NotHealthy",
            Self::StableNotSettled(_) => "StableNotSettled",
            Self::CanaryMissing(_) => "CanaryMissing",
            Self::PodsNotReady { .. } => "PodsNotReady",
            Self::RouteNotAccepted { .. } => "RouteNotAccepted",
            Self::DataPlane => "DataPlane",
            Self::HoldTime { .. } => "HoldTime",
            Self::Metric { verdict, .. } => verdict.as_str(),
            Self::WaitingForApproval { .. } => "WaitingForApproval",
            Self::Paused(_) => "Paused",
            Self::Suspended => "Suspended",
            Self::Handover(_) => "Handover",
            Self::PruneBlocked { .. } => "PruneBlocked",
            Self::Deleting(_) => "Deleting",
            Self::NothingToGoBackTo(_) => "NothingToGoBackTo",
            Self::HeldByChoice(_) => "HeldByChoice",
            Self::SnapshotMissing(_) => "SnapshotMissing",
            Self::Draining => "Draining",
        }
    }

    /// The wait as it is recorded: a wait of the same reason keeps its beginning.
    #[must_use]
    pub fn record(&self, before: Option<&Wait>, now: DateTime<Utc>, deadline: Option<DateTime<Utc>>) -> Wait {
        let same = before.filter(|wait| wait.reason == self.reason());
        // The hold's countdown is not worth a write for each second: the sentence changes only with the reason.
        let message = match (self, same) {
            (Self::HoldTime { .. }, Some(wait)) => wait.message.clone(),
            _ => crate::check::bounded(&self.to_string()),
        };
        Wait { reason: self.reason().to_owned(), message, since: same.map_or(now, |wait| wait.since), deadline }
    }
}
