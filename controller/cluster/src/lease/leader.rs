//! Holding the lease: renewing it, noticing at once when it is gone, giving it back.

use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::Reply;
use super::record::Record;
use super::{ElectionEnd, Elector, Leadership, LossReason, asked};
use crate::gate::Gate;

/// After a renewal that failed.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Term {
    pub(super) epoch: i64,
    /// As last read or written: the renewal swaps against it.
    pub(super) record: Record,
    /// On the monotonic clock: the beginning of the last successful renewal, plus the tenure.
    pub(super) deadline: Instant,
    pub(super) next_renewal: Instant,
}

enum Renewal {
    Done,
    /// Not renewed; perhaps next time.
    Failed(String),
    Lost(LossReason),
}

impl Elector {
    pub(super) async fn lead(
        &self,
        mut term: Term,
        gate: &Gate,
        leadership: &watch::Sender<Leadership>,
        shutdown: &mut watch::Receiver<bool>,
    ) -> ElectionEnd {
        gate.open_until(term.deadline, term.epoch);
        leadership.send_replace(Leadership::Leading { epoch: term.epoch });
        tracing::info!(lease = %self.config.name, epoch = term.epoch, "leading");
        let reason = tokio::select! {
            biased;
            () = asked(shutdown) => {
                self.give_back(term, gate).await;
                return ElectionEnd::Released;
            }
            reason = self.hold(&mut term, gate) => reason,
        };
        gate.close();
        tracing::error!(lease = %self.config.name, %reason, "the leadership is lost");
        ElectionEnd::Lost(reason)
    }

    async fn hold(&self, term: &mut Term, gate: &Gate) -> LossReason {
        let mut last_error = "the process was not running".to_owned();
        let mut outcome_unknown = false;
        loop {
            tokio::time::sleep_until(term.next_renewal.min(term.deadline)).await;
            if Instant::now() >= term.deadline {
                return LossReason::Expired { last_error };
            }
            let attempt = async {
                if outcome_unknown && let Some(end) = self.catch_up(term).await {
                    return end;
                }
                self.renew(term).await
            };
            match attempt.await {
                Renewal::Done => {
                    outcome_unknown = false;
                    if !gate.open_until(term.deadline, term.epoch) {
                        return LossReason::Expired { last_error: "the renewal came too late".to_owned() };
                    }
                }
                Renewal::Failed(message) => {
                    tracing::warn!(lease = %self.config.name, %message, "the lease was not renewed");
                    last_error = message;
                    outcome_unknown = true;
                    term.next_renewal = Instant::now() + RETRY_PAUSE.min(self.config.renew_every);
                }
                Renewal::Lost(reason) => return reason,
            }
        }
    }

    /// What one call may take: no longer than the lease.
    fn within(&self, term: &Term) -> Duration {
        self.call_timeout().min(term.deadline.saturating_duration_since(Instant::now()))
    }

    async fn renew(&self, term: &mut Term) -> Renewal {
        let started = Instant::now();
        match self.api.replace(&term.record.renewed(Utc::now()), self.within(term)).await {
            Reply::Record(record) => {
                if let Some(reason) = self.contradiction(term, &record, true) {
                    return Renewal::Lost(reason);
                }
                term.record = record;
                term.deadline = started + self.config.tenure();
                term.next_renewal = started + self.config.renew_every;
                Renewal::Done
            }
            Reply::Missing => Renewal::Lost(LossReason::Deleted),
            Reply::Conflict => {
                self.catch_up(term).await.unwrap_or_else(|| Renewal::Failed("the Lease was changed by somebody".to_owned()))
            }
            Reply::Failed(message) => Renewal::Failed(message),
        }
    }

    /// Reads the Lease after a conflict or an unknown outcome. `None`: it is still ours, and the next renewal swaps against it.
    async fn catch_up(&self, term: &mut Term) -> Option<Renewal> {
        match self.api.read(self.within(term)).await {
            Reply::Record(record) => {
                if let Some(reason) = self.contradiction(term, &record, false) {
                    return Some(Renewal::Lost(reason));
                }
                term.record = record;
                None
            }
            Reply::Missing => Some(Renewal::Lost(LossReason::Deleted)),
            Reply::Conflict => Some(Renewal::Failed("the Lease cannot be read".to_owned())),
            Reply::Failed(message) => Some(Renewal::Failed(message)),
        }
    }

    /// Versions only rise: ours with every renewal, the Lease's with every write of anybody.
    fn contradiction(&self, term: &Term, record: &Record, written: bool) -> Option<LossReason> {
        if let (Some(known), Some(seen)) = (term.record.version(), record.version())
            && (seen < known || (written && seen == known))
        {
            return Some(LossReason::TimeWentBack { known, seen });
        }
        if record.is_held_by(&self.config.identity, term.epoch) {
            return None;
        }
        Some(LossReason::TakenOver { holder: record.holder().map(str::to_owned) })
    }

    /// The writes under way finish first, within the lease: whoever takes it must not meet them.
    async fn give_back(&self, mut term: Term, gate: &Gate) {
        gate.drain();
        if tokio::time::timeout_at(term.deadline, gate.drained()).await.is_err() {
            // the lease has run out by itself
            return;
        }
        gate.close();
        // a renewal may have been under way: its outcome decides what to swap against
        for _ in 0..2 {
            match self.api.replace(&term.record.released(Utc::now()), self.within(&term)).await {
                Reply::Conflict => {
                    if self.catch_up(&mut term).await.is_some() {
                        return;
                    }
                }
                Reply::Record(_) => {
                    tracing::info!(lease = %self.config.name, epoch = term.epoch, "the lease was given back");
                    return;
                }
                Reply::Missing => return,
                Reply::Failed(message) => {
                    tracing::warn!(lease = %self.config.name, %message, "the lease could not be given back; it runs out by itself");
                    return;
                }
            }
        }
    }
}
