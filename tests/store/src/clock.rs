//! Virtual time: it moves only when somebody moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Where virtual time begins: 2026-01-01T00:00:00Z. Any fixed instant would do.
const START_MS: i64 = 1_767_225_600_000;

/// A clock that all who hold a clone of it share.
#[derive(Clone, Debug)]
pub struct Clock(Arc<AtomicI64>);

impl Default for Clock {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(START_MS)))
    }
}

impl Clock {
    /// Another clock that shows the same time now.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(AtomicI64::new(self.now_ms())))
    }

    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        instant(self.now_ms())
    }

    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Moves on to an instant; one that has passed changes nothing.
    pub fn advance_to_ms(&self, at_ms: i64) {
        self.0.fetch_max(at_ms, Ordering::SeqCst);
    }
}

/// Milliseconds since 1970 as a time.
#[must_use]
pub fn instant(at_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at_ms).unwrap_or_default()
}

/// As the API server writes times: whole seconds.
#[must_use]
pub fn stamp(at_ms: i64) -> String {
    instant(at_ms).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
