//! What users saw.

use std::sync::Arc;

use anyhow::Result;
use chrono::{DateTime, Utc};
use sluice_tests::traffic::{Record, Tally, Traffic};

use super::ensure_that;

/// Stops a client; no request of it may have failed.
pub async fn expect_no_failure(traffic: Traffic) -> Result<Arc<Record>> {
    let record = traffic.stop().await?;
    let tally = all(&record);
    ensure_that!(tally.good() > 0, "the client got no answer at all");
    ensure_that!(tally.bad() == 0, "requests failed: {tally}; the first: {:?}", record.errors(5));
    Ok(record)
}

/// Everything that a client saw.
pub fn all(record: &Record) -> Tally {
    record.since(DateTime::UNIX_EPOCH)
}

/// Since a moment one version alone answered.
pub fn expect_only(record: &Record, version: &str, from: DateTime<Utc>) -> Result<()> {
    let tally = record.since(from);
    ensure_that!(tally.of(version) > 0 && tally.of(version) == tally.good(), "not only {version} answered: {tally}");
    Ok(())
}
