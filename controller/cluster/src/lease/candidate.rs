//! Standing by, and taking the lease when nobody holds it any more.

use std::time::Duration;

use chrono::Utc;
use tokio::sync::watch;
use tokio::time::Instant;

use super::api::Reply;
use super::leader::Term;
use super::record::{Heartbeat, Record};
use super::{CALL_TIMEOUT, DURATION_MAX_S, Elector, Leadership, asked};

/// `leaseTransitions` is a 32-bit integer.
const EPOCH_MAX: i64 = i32::MAX as i64;
/// The floor is a list of our own objects: longer than one call, shorter than a lease.
const FLOOR_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) enum Candidacy {
    Won(Term),
    Withdrawn,
}

/// What is known of the present holder, by our own clock.
struct Sighting {
    /// `None`: there is no Lease.
    heartbeat: Option<Heartbeat>,
    since: Instant,
    /// How long it must not change before the lease counts as free.
    patience: Duration,
}

impl Elector {
    pub(super) async fn stand(&self, leadership: &watch::Sender<Leadership>, shutdown: &mut watch::Receiver<bool>) -> Candidacy {
        let mut sighting: Option<Sighting> = None;
        loop {
            let attempt = tokio::select! {
                biased;
                () = asked(shutdown) => return Candidacy::Withdrawn,
                attempt = self.look(&mut sighting, leadership) => attempt,
            };
            if let Some(term) = attempt {
                return Candidacy::Won(term);
            }
            let free_at = sighting.as_ref().map(|sighting| sighting.since + sighting.patience).filter(|at| *at > Instant::now());
            let poll_at = Instant::now() + self.config.poll_every;
            tokio::select! {
                biased;
                () = asked(shutdown) => return Candidacy::Withdrawn,
                () = tokio::time::sleep_until(free_at.map_or(poll_at, |at| at.min(poll_at))) => {}
            }
        }
    }

    /// One look at the Lease; a term if it was free and we got it.
    async fn look(&self, sighting: &mut Option<Sighting>, leadership: &watch::Sender<Leadership>) -> Option<Term> {
        let record = match self.api.read(self.call_timeout()).await {
            Reply::Record(record) => Some(record),
            Reply::Missing => None,
            Reply::Conflict => return None,
            Reply::Failed(message) => {
                tracing::warn!(lease = %self.config.name, %message, "the Lease cannot be read; standing by");
                return None;
            }
        };
        let holder = record.as_ref().and_then(|record| record.holder().map(str::to_owned));
        leadership.send_if_modified(|known| {
            let now = Leadership::Standby { holder };
            let changed = *known != now;
            *known = now;
            changed
        });
        let heartbeat = record.as_ref().map(Record::heartbeat);
        if sighting.as_ref().is_none_or(|sighting| sighting.heartbeat != heartbeat) {
            // from the arrival of the answer: the holder counts from before its request
            let patience = self.patience(record.as_ref(), sighting.as_ref());
            *sighting = Some(Sighting { heartbeat, since: Instant::now(), patience });
        }
        let waited = sighting.as_ref().is_some_and(|sighting| sighting.since.elapsed() >= sighting.patience);
        let first_ever = record.is_none() && sighting.as_ref().is_some_and(|sighting| sighting.patience.is_zero());
        if !(waited || first_ever) {
            return None;
        }
        let floor = self.floor().await?;
        if record.is_none() && floor > 0 && sighting.as_ref().is_some_and(|sighting| sighting.patience.is_zero()) {
            // Somebody led before: the Lease was deleted, and its holder may not have noticed yet.
            *sighting = Some(Sighting { heartbeat: None, since: Instant::now(), patience: self.config.duration() });
            return None;
        }
        self.take(record.as_ref(), floor).await
    }

    /// How long this must stay as it is before the lease is free.
    fn patience(&self, record: Option<&Record>, before: Option<&Sighting>) -> Duration {
        let Some(record) = record else {
            // A Lease that was never there needs no waiting, one that vanished does: its holder may still be writing.
            return before.map_or(Duration::ZERO, |before| before.patience.max(self.config.duration()));
        };
        if record.is_released() {
            return Duration::ZERO;
        }
        // what the holder goes by may differ from our own setting: the longer one is safe
        let stated = u32::try_from(record.duration_s().max(0)).unwrap_or(DURATION_MAX_S).min(DURATION_MAX_S);
        Duration::from_secs(stated.into()).max(self.config.duration())
    }

    async fn floor(&self) -> Option<i64> {
        let message = match tokio::time::timeout(FLOOR_TIMEOUT, (self.config.epoch_floor)()).await {
            Ok(Ok(floor)) => return Some(floor),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", FLOOR_TIMEOUT.as_secs()),
        };
        tracing::warn!(lease = %self.config.name, %message, "the highest recorded epoch cannot be found out; standing by");
        None
    }

    async fn take(&self, record: Option<&Record>, floor: i64) -> Option<Term> {
        let epoch = record.map_or(0, Record::transitions).max(floor).max(0).saturating_add(1);
        if epoch > EPOCH_MAX {
            tracing::error!(lease = %self.config.name, epoch, "no epoch is left; a status or the Lease holds a number nobody counted to: correct it");
            return None;
        }
        let started = Instant::now();
        let config = &self.config;
        let reply = match record {
            Some(record) => {
                let wanted = record.taken(&config.identity, epoch, config.duration(), Utc::now());
                self.api.replace(&wanted, self.call_timeout()).await
            }
            None => {
                let wanted =
                    Record::absent(&config.namespace, &config.name).taken(&config.identity, epoch, config.duration(), Utc::now());
                self.api.create(&wanted, self.call_timeout()).await
            }
        };
        let won = match reply {
            Reply::Record(record) => record,
            // an unknown outcome: what the Lease says now decides
            Reply::Failed(message) => {
                tracing::warn!(lease = %config.name, %message, "taking the lease got no clear answer; reading it");
                match self.api.read(self.call_timeout()).await {
                    Reply::Record(record) => record,
                    Reply::Missing | Reply::Conflict | Reply::Failed(_) => return None,
                }
            }
            Reply::Conflict | Reply::Missing => return None,
        };
        // The identity is used by no other process, and this one tries an epoch once: it is that very write.
        if !won.is_held_by(&config.identity, epoch) {
            return None;
        }
        let deadline = started + config.tenure();
        (Instant::now() < deadline).then_some(Term { epoch, record: won, deadline, next_renewal: started + config.renew_every })
    }

    pub(super) fn call_timeout(&self) -> Duration {
        CALL_TIMEOUT.min(self.config.duration() / 3)
    }
}
