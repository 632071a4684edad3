//! A `coordination.k8s.io/v1` Lease as the elector reads and writes it. Fields it does not know are kept.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

/// A version as the API server counts it since 1.35: comparable as an integer within one kind.
pub(super) type Version = u64;

/// What a released Lease says: as client-go leaves it behind.
pub(super) const RELEASED_DURATION_S: i64 = 1;

/// One reading of the Lease.
#[derive(Clone, Debug)]
pub(super) struct Record {
    object: Value,
}

impl Record {
    pub(super) fn new(object: Value) -> Self {
        Self { object }
    }

    /// A Lease that does not exist yet.
    pub(super) fn absent(namespace: &str, name: &str) -> Self {
        Self::new(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"namespace": namespace, "name": name},
            "spec": {},
        }))
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.object["spec"][field].as_str().filter(|text| !text.is_empty())
    }

    pub(super) fn holder(&self) -> Option<&str> {
        self.text("holderIdentity")
    }

    pub(super) fn transitions(&self) -> i64 {
        self.object["spec"]["leaseTransitions"].as_i64().unwrap_or(0)
    }

    pub(super) fn duration_s(&self) -> i64 {
        self.object["spec"]["leaseDurationSeconds"].as_i64().unwrap_or(0)
    }

    /// `None` if the server counts in some other way: then nothing can be said about time.
    pub(super) fn version(&self) -> Option<Version> {
        self.object["metadata"]["resourceVersion"].as_str()?.parse().ok()
    }

    /// Was it given back in good order? Only then is nobody writing any more: a name removed by hand says nothing about that.
    pub(super) fn is_released(&self) -> bool {
        self.holder().is_none() && self.duration_s() <= RELEASED_DURATION_S
    }

    /// Changes exactly when somebody takes, renews or releases.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        Heartbeat {
            uid: self.object["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
            holder: self.holder().unwrap_or_default().to_owned(),
            transitions: self.transitions(),
            renewed: self.text("renewTime").unwrap_or_default().to_owned(),
            duration_s: self.duration_s(),
        }
    }

    /// The Lease as the winner of a term writes it.
    pub(super) fn taken(&self, identity: &str, epoch: i64, duration: Duration, now: DateTime<Utc>) -> Self {
        let mut next = self.renewed(now);
        let at = next.object["spec"]["renewTime"].clone();
        next.object["spec"]["holderIdentity"] = identity.into();
        next.object["spec"]["leaseTransitions"] = epoch.into();
        next.object["spec"]["leaseDurationSeconds"] = duration.as_secs().into();
        next.object["spec"]["acquireTime"] = at;
        next
    }

    /// With a later renewal time, even if the wall clock went back: a write that changes nothing gets no new version.
    pub(super) fn renewed(&self, now: DateTime<Utc>) -> Self {
        let mut next = self.clone();
        if !next.object["spec"].is_object() {
            next.object["spec"] = json!({});
        }
        let last = self.text("renewTime").and_then(|text| DateTime::parse_from_rfc3339(text).ok());
        let next_microsecond = last.and_then(|last| last.to_utc().checked_add_signed(TimeDelta::microseconds(1)));
        let at = next_microsecond.map_or(now, |least| least.max(now));
        next.object["spec"]["renewTime"] = at.to_rfc3339_opts(SecondsFormat::Micros, true).into();
        next
    }

    pub(super) fn released(&self, now: DateTime<Utc>) -> Self {
        let mut next = self.renewed(now);
        next.object["spec"]["holderIdentity"] = "".into();
        next.object["spec"]["leaseDurationSeconds"] = RELEASED_DURATION_S.into();
        next
    }

    pub(super) fn is_held_by(&self, identity: &str, epoch: i64) -> bool {
        self.holder() == Some(identity) && self.transitions() == epoch
    }

    pub(super) fn object(&self) -> &Value {
        &self.object
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Heartbeat {
    uid: String,
    holder: String,
    transitions: i64,
    renewed: String,
    duration_s: i64,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn a_renewal_always_changes_the_record_even_when_the_wall_clock_goes_back() {
        let first = Record::absent("sluice", "leader").taken("a", 1, Duration::from_secs(15), at("2026-01-01T10:00:00Z"));
        let second = first.renewed(at("2026-01-01T09:00:00Z"));
        assert_eq!(second.text("renewTime"), Some("2026-01-01T10:00:00.000001Z"));
        assert_ne!(first.heartbeat(), second.heartbeat());
    }

    #[test]
    fn fields_of_others_are_kept() {
        let mut record = Record::absent("sluice", "leader");
        record.object["metadata"]["labels"] = json!({"a": "b"});
        record.object["spec"]["strategy"] = "OldestEmulationVersion".into();
        let taken = record.taken("a", 1, Duration::from_secs(15), Utc::now()).released(Utc::now());
        assert_eq!(taken.object["metadata"]["labels"]["a"], "b");
        assert_eq!(taken.object["spec"]["strategy"], "OldestEmulationVersion");
        assert!(taken.is_released());
    }

    #[test]
    fn a_holder_removed_by_hand_is_no_release() {
        let mut record = Record::absent("sluice", "leader").taken("a", 1, Duration::from_secs(15), Utc::now());
        record.object["spec"]["holderIdentity"] = Value::Null;
        assert!(!record.is_released());
    }
}
