//! The lease gate: mutating requests pass only while the leader lease holds, by the local monotonic clock.
//!
//! It is the innermost layer of the client, checked again on every step of a request, so that neither a slow connection
//! nor a paused process sends a write after the lease has ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Shared by the elector, which opens and closes it, and by every client, which asks it.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<watch::Sender<State>>,
    in_flight: Arc<watch::Sender<usize>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    epoch: i64,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing passes, and what is under way is cut off.
    Closed,
    /// `None` never ends: tools and tests, which hold no lease.
    Open { until: Option<Instant> },
    /// Nothing new passes; what is under way may finish.
    Draining { until: Option<Instant> },
}

impl State {
    /// May a request that was let through in `epoch` still be under way?
    fn carries(&self, epoch: i64) -> bool {
        if self.epoch != epoch {
            return false;
        }
        match self.phase {
            Phase::Closed => false,
            Phase::Open { until } | Phase::Draining { until } => until.is_none_or(|until| Instant::now() < until),
        }
    }

    fn admits(&self) -> bool {
        matches!(self.phase, Phase::Open { .. }) && self.carries(self.epoch)
    }

    fn until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Closed => None,
            Phase::Open { until } | Phase::Draining { until } => until,
        }
    }
}

impl Gate {
    /// A gate that lets no write through until a lease has been won.
    #[must_use]
    pub fn closed() -> Self {
        Self::in_state(State { epoch: 0, phase: Phase::Closed })
    }

    /// For tools that a person runs and for tests: no lease, no fencing.
    #[must_use]
    pub fn always_open() -> Self {
        Self::in_state(State { epoch: 0, phase: Phase::Open { until: None } })
    }

    fn in_state(state: State) -> Self {
        Self { state: Arc::new(watch::Sender::new(state)), in_flight: Arc::new(watch::Sender::new(0)) }
    }

    /// Opens the gate for a term, or extends the term that is open. A term that was closed or drained is not opened again:
    /// a renewal that was under way when the leadership was given up must not bring it back. Returns whether it took effect.
    pub fn open_until(&self, deadline: Instant, epoch: i64) -> bool {
        self.state.send_if_modified(|state| {
            let extends = match state.phase {
                Phase::Open { until: Some(until) } => epoch > state.epoch || (epoch == state.epoch && deadline > until),
                Phase::Open { until: None } => false,
                Phase::Closed | Phase::Draining { .. } => epoch > state.epoch,
            };
            if extends {
                *state = State { epoch, phase: Phase::Open { until: Some(deadline) } };
            }
            extends
        })
    }

    /// Lets nothing new through, and cuts off what is under way.
    pub fn close(&self) {
        self.state.send_modify(|state| state.phase = Phase::Closed);
    }

    /// Lets nothing new through; what is under way may finish within the lease.
    pub fn drain(&self) {
        self.state.send_modify(|state| {
            if let Phase::Open { until } = state.phase {
                state.phase = Phase::Draining { until };
            }
        });
    }

    /// Ends when no write is under way.
    pub async fn drained(&self) {
        // the sender lives in self, so the wait cannot fail
        let _ = self.in_flight.subscribe().wait_for(|count| *count == 0).await;
    }

    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state.borrow().admits()
    }

    /// What is left of the lease; `None` while the gate is closed, the largest duration where no lease limits it.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        let state = *self.state.borrow();
        state.admits().then(|| state.until().map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now())))
    }

    /// The epoch of the term that is open; 0 where no lease is needed.
    #[must_use]
    pub fn epoch(&self) -> Option<i64> {
        let state = *self.state.borrow();
        state.admits().then_some(state.epoch)
    }

    /// Lets one write through, or not.
    pub(crate) fn admit(&self) -> Option<Permit> {
        let state = *self.state.borrow();
        state.admits().then(|| {
            self.in_flight.send_modify(|count| *count += 1);
            Permit { witness: Witness { gate: self.clone(), epoch: state.epoch } }
        })
    }
}

/// Says whether the term a write was let through in still holds.
#[derive(Clone, Debug)]
pub(crate) struct Witness {
    gate: Gate,
    epoch: i64,
}

impl Witness {
    pub(crate) fn holds(&self) -> bool {
        self.gate.state.borrow().carries(self.epoch)
    }

    /// Ends when the term ends, however often it is extended before.
    pub(crate) async fn ended(self) {
        let mut changes = self.gate.state.subscribe();
        loop {
            let state = *changes.borrow_and_update();
            if !state.carries(self.epoch) {
                return;
            }
            match state.until() {
                Some(until) => {
                    tokio::select! {
                        biased;
                        () = tokio::time::sleep_until(until) => {}
                        // the sender lives in self, so a change is all that can be reported
                        _ = changes.changed() => {}
                    }
                }
                None => {
                    let _ = changes.changed().await;
                }
            }
        }
    }
}

/// A write under way; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Permit {
    witness: Witness,
}

impl Permit {
    pub(crate) fn witness(&self) -> Witness {
        self.witness.clone()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.witness.gate.in_flight.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn a_term_ends_by_itself_at_its_deadline() {
        let gate = Gate::closed();
        assert!(!gate.is_open());
        assert_eq!(gate.epoch(), None);
        assert!(gate.open_until(Instant::now() + LEASE, 3));
        assert_eq!((gate.epoch(), gate.remaining()), (Some(3), Some(LEASE)));
        tokio::time::advance(LEASE).await;
        assert!(!gate.is_open());
        assert_eq!((gate.epoch(), gate.remaining()), (None, None));
        assert!(gate.admit().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_term_is_not_opened_again_but_a_later_one_is() {
        let gate = Gate::closed();
        gate.open_until(Instant::now() + LEASE, 3);
        gate.close();
        assert!(!gate.open_until(Instant::now() + LEASE, 3), "a late renewal");
        assert!(!gate.open_until(Instant::now() + LEASE, 2), "an older epoch");
        assert!(!gate.is_open());
        assert!(gate.open_until(Instant::now() + LEASE, 4));
        assert!(gate.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_never_moves_back() {
        let gate = Gate::closed();
        gate.open_until(Instant::now() + LEASE, 1);
        assert!(!gate.open_until(Instant::now() + LEASE / 2, 1));
        assert_eq!(gate.remaining(), Some(LEASE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_permit_outlives_extensions_and_ends_with_the_term() {
        let gate = Gate::closed();
        let start = Instant::now();
        gate.open_until(start + LEASE, 1);
        let permit = gate.admit().unwrap();
        let ended = tokio::spawn(permit.witness().ended());
        tokio::time::advance(LEASE / 2).await;
        gate.open_until(start + LEASE * 2, 1);
        ended.await.unwrap();
        assert_eq!(start.elapsed(), LEASE * 2);
        assert!(!permit.witness().holds());
    }

    #[tokio::test(start_paused = true)]
    async fn draining_refuses_what_is_new_and_waits_for_what_is_under_way() {
        let gate = Gate::closed();
        gate.open_until(Instant::now() + LEASE, 1);
        let permit = gate.admit().unwrap();
        gate.drain();
        assert!(gate.admit().is_none());
        assert!(permit.witness().holds());
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.drained().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(permit);
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn an_always_open_gate_stays_open_whatever_an_elector_says() {
        let gate = Gate::always_open();
        assert!(!gate.open_until(Instant::now(), 7));
        assert_eq!((gate.epoch(), gate.remaining()), (Some(0), Some(Duration::MAX)));
    }
}
