//! Waiting for a condition: looked at often, bounded, and honest about what was seen last.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at: often enough that times in reports are good to a tenth of a second.
pub const POLL: Duration = Duration::from_millis(100);

/// One look at a condition.
#[derive(Debug)]
pub enum Look<T> {
    Done(T),
    /// What is seen instead.
    NotYet(String),
}

impl Look<()> {
    /// Done if it holds.
    pub fn at(holds: bool, seen: impl Into<String>) -> Self {
        if holds { Self::Done(()) } else { Self::NotYet(seen.into()) }
    }
}

/// Waits until a look is done. A look that fails counts as not yet: clusters have moments.
///
/// # Errors
/// The time is over; the error has what was seen last.
pub async fn wait_until<T>(what: &str, limit: Duration, mut look: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
    let began = Instant::now();
    loop {
        let seen = match look().await {
            Ok(Look::Done(value)) => return Ok(value),
            Ok(Look::NotYet(seen)) => seen,
            Err(error) => format!("{error:#}"),
        };
        if began.elapsed() >= limit {
            bail!("waited {} s for {what}; seen last: {seen}", limit.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Checks for a while that something stays so.
///
/// # Errors
/// It did not, or it cannot be looked at.
pub async fn stays_so(what: &str, time: Duration, mut look: impl AsyncFnMut() -> Result<Look<()>>) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        if let Look::NotYet(seen) = look().await? {
            bail!("{what} did not stay so: {seen} after {:.1} s", began.elapsed().as_secs_f64());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
