//! Counts of what was really sent, to prove that a cluster at rest is left alone.

use std::sync::atomic::{AtomicU64, Ordering};

use super::class::RequestClass;

/// Requests handed to the transport. The elector's own are apart: a leader at rest still renews its lease.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    pub reads: u64,
    pub watches: u64,
    pub dry_runs: u64,
    /// Mutating and not dry-run.
    pub writes: u64,
    pub lease: u64,
    /// Writes that the gate did not let through.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    watches: AtomicU64,
    dry_runs: AtomicU64,
    writes: AtomicU64,
    lease: AtomicU64,
    refused: AtomicU64,
}

impl Counters {
    pub(crate) fn sent(&self, class: RequestClass) {
        let counter = match class {
            RequestClass::Read => &self.reads,
            RequestClass::Watch => &self.watches,
            RequestClass::DryRun => &self.dry_runs,
            RequestClass::Write => &self.writes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lease_sent(&self) {
        self.lease.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            reads: read(&self.reads),
            watches: read(&self.watches),
            dry_runs: read(&self.dry_runs),
            writes: read(&self.writes),
            lease: read(&self.lease),
            refused: read(&self.refused),
        }
    }
}
