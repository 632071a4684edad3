//! Leader election on a Lease, with the epoch that fences.
//!
//! The local monotonic clock measures only how long ago our last successful renewal *began*; wall clocks are written but never
//! read. The epoch is the Lease's `leaseTransitions`, raised in the compare-and-swap that wins the term. A lost lease is final:
//! the gate is closed and the process should exit without finishing anything.

mod api;
mod candidate;
#[cfg(test)]
mod exclusion_tests;
mod leader;
mod record;
#[cfg(test)]
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tower::BoxError;

use crate::gate::Gate;
use crate::object::ObjectKey;
use crate::stack::Cluster;
use api::LeaseApi;
use candidate::Candidacy;

/// Two clocks may differ by this much in rate; a real one is a hundred times better.
const CLOCK_RATE_ERROR_PERCENT: u32 = 1;
/// Longest Lease duration honoured: one written by hand must not lock everybody out.
const DURATION_MAX_S: u32 = 300;
/// A renewal that fails must be repeated a few times within the lease.
const RENEWALS_PER_LEASE_MIN: u32 = 3;
/// Longest wait for one answer: with 15 s it leaves room for a second attempt.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The highest epoch that any GitSync or Release status records, by quorum read; 0 if there is none. A term begins above it, so
/// that a deleted or re-created Lease cannot lock us out of our own objects.
pub type EpochFloor = Arc<dyn Fn() -> BoxFuture<'static, Result<i64, BoxError>> + Send + Sync>;

#[derive(Clone)]
pub struct LeaseConfig {
    pub namespace: String,
    pub name: String,
    /// Of this process, never used again: the pod's name is not enough, since a container that restarts keeps it.
    pub identity: String,
    pub duration_s: u32,
    pub renew_every: Duration,
    /// How often a standby looks.
    pub poll_every: Duration,
    pub epoch_floor: EpochFloor,
}

impl LeaseConfig {
    /// A takeover takes at most the duration plus two polls.
    #[must_use]
    pub fn new(namespace: &str, name: &str, identity: &str, epoch_floor: EpochFloor) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            duration_s: 15,
            renew_every: Duration::from_secs(2),
            poll_every: Duration::from_secs(2),
            epoch_floor,
        }
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.duration_s.into())
    }

    /// How long after the beginning of a successful renewal the leader may still write: shorter than what others wait.
    fn tenure(&self) -> Duration {
        self.duration() * (100 - 2 * CLOCK_RATE_ERROR_PERCENT) / 100
    }

    fn check(&self) -> Result<(), LeaseConfigError> {
        let key = ObjectKey::new("coordination.k8s.io", "v1", "Lease", Some(&self.namespace), &self.name);
        if !crate::object::is_segment(&self.namespace) || !crate::object::is_segment(&self.name) {
            return Err(LeaseConfigError::Name { lease: key.to_string() });
        }
        if self.identity.is_empty() {
            return Err(LeaseConfigError::Identity);
        }
        if self.duration_s == 0 || self.duration_s > DURATION_MAX_S {
            return Err(LeaseConfigError::Duration { duration_s: self.duration_s });
        }
        if self.renew_every.is_zero() || self.poll_every.is_zero() || self.renew_every * RENEWALS_PER_LEASE_MIN > self.duration()
        {
            return Err(LeaseConfigError::Renewal { renew_ms: self.renew_every.as_millis(), duration_s: self.duration_s });
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LeaseConfigError {
    #[error("{lease} has a name or namespace that no Lease can have")]
    Name { lease: String },
    #[error("the identity of the elector is empty; give each process one of its own")]
    Identity,
    #[error("a lease of {duration_s} s is not possible; choose 1 to {DURATION_MAX_S} s")]
    Duration { duration_s: u32 },
    #[error(
        "renewing every {renew_ms} ms is too rare for a lease of {duration_s} s; renew at least {RENEWALS_PER_LEASE_MIN} times within it"
    )]
    Renewal { renew_ms: u128, duration_s: u32 },
}

/// What the rest of the process may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Another process leads, as far as we know.
    Standby {
        holder: Option<String>,
    },
    Leading {
        epoch: i64,
    },
    /// Final.
    Over,
}

/// Why a term ended against our will. The process should exit: what it holds in memory may be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LossReason {
    #[error("the lease could not be renewed in time: {last_error}")]
    Expired { last_error: String },
    #[error("{holder:?} took the lease")]
    TakenOver { holder: Option<String> },
    #[error("the Lease was deleted")]
    Deleted,
    /// The store was restored from a backup: every cache and every memory of ours is of a world that is no more.
    #[error("the Lease went back in time, from version {known} to {seen}: the store was restored")]
    TimeWentBack { known: u64, seen: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElectionEnd {
    Lost(LossReason),
    /// Gave the lease back on request.
    Released,
    /// Asked to stop before it ever led.
    NeverLed,
}

pub struct Elector {
    api: LeaseApi,
    config: LeaseConfig,
}

impl Elector {
    pub fn new(cluster: &Cluster, config: LeaseConfig) -> Result<Self, LeaseConfigError> {
        config.check()?;
        let api = LeaseApi::new(cluster.lease_client(), &config.namespace, &config.name);
        Ok(Self { api, config })
    }

    /// Waits for the lease, holds it, and ends with it. Opens the gate only while the lease holds by the local clock; on a loss
    /// the gate is closed before anything else. On `shutdown` (stop the workers first) the writes under way may finish, then the
    /// lease is given back. Dropping the future closes the gate.
    pub async fn run(
        self,
        gate: Gate,
        leadership: watch::Sender<Leadership>,
        mut shutdown: watch::Receiver<bool>,
    ) -> ElectionEnd {
        let guard = CloseOnDrop { gate: &gate, leadership: &leadership };
        let end = match self.stand(&leadership, &mut shutdown).await {
            Candidacy::Withdrawn => ElectionEnd::NeverLed,
            Candidacy::Won(term) => self.lead(term, &gate, &leadership, &mut shutdown).await,
        };
        drop(guard);
        end
    }
}

struct CloseOnDrop<'a> {
    gate: &'a Gate,
    leadership: &'a watch::Sender<Leadership>,
}

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.gate.close();
        self.leadership.send_replace(Leadership::Over);
    }
}

/// Ends when a shutdown was asked for; a sender that is gone asks for nothing.
async fn asked(shutdown: &mut watch::Receiver<bool>) {
    if shutdown.wait_for(|asked| *asked).await.is_err() {
        std::future::pending::<()>().await;
    }
}
