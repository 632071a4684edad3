//! Clients that send steady traffic and keep every answer: when it came, which version gave it, or what went wrong.
//!
//! No library between us and the connection retries anything behind our back: what is counted is what a user would have seen.

mod connection;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::Utc;
use tokio::task::JoinHandle;

use connection::Connection;
pub use record::{Outcome, Record, Sample, Tally};

/// One request, from sending to the last byte of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests of one client that may be under way at once.
const WORKERS: u32 = 8;

/// Where the requests go, and how.
#[derive(Clone, Debug)]
pub struct Target {
    /// `HOST:PORT` to connect to.
    pub address: String,
    /// The Host header.
    pub host: String,
    /// Whether connections are kept; else each request has its own.
    pub keeps_connections: bool,
    /// Requests per second.
    pub rps: u32,
}

/// Steady traffic until it is stopped, or until its time is over.
pub struct Traffic {
    pub name: &'static str,
    record: Arc<Record>,
    stopped: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts a client. It ends by itself after `limit`, whatever happens to its owner.
    #[must_use]
    pub fn start(name: &'static str, target: &Target, limit: Duration) -> Self {
        let record = Arc::new(Record::new());
        let stopped = Arc::new(AtomicBool::new(false));
        let workers_count = WORKERS.min(target.rps.max(1));
        let period = Duration::from_secs(1) * workers_count / target.rps.max(1);
        let workers = (0..workers_count)
            .map(|index| {
                let offset = period * index / workers_count;
                let worker = Worker {
                    target: target.clone(),
                    record: record.clone(),
                    stopped: stopped.clone(),
                    period,
                    end: Instant::now() + limit,
                };
                tokio::spawn(worker.run(offset))
            })
            .collect();
        Self { name, record, stopped, workers }
    }

    /// What was seen so far.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Stops and waits for the last answers.
    ///
    /// # Errors
    /// A worker panicked.
    pub async fn stop(mut self) -> Result<Arc<Record>> {
        self.stopped.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.await?;
        }
        Ok(self.record.clone())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

struct Worker {
    target: Target,
    record: Arc<Record>,
    stopped: Arc<AtomicBool>,
    period: Duration,
    end: Instant,
}

impl Worker {
    async fn run(self, offset: Duration) {
        tokio::time::sleep(offset).await;
        let mut ticks = tokio::time::interval(self.period);
        // a slow answer delays the next request; it must not be followed by a burst that no user would send
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut kept: Option<Connection> = None;
        while !self.stopped.load(Ordering::Relaxed) && Instant::now() < self.end {
            ticks.tick().await;
            let at = Utc::now();
            let began = Instant::now();
            let outcome = match tokio::time::timeout(REQUEST_TIMEOUT, self.request(&mut kept)).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(error)) => {
                    kept = None;
                    Outcome::Broken(format!("{error:#}"))
                }
                Err(_) => {
                    kept = None;
                    Outcome::Broken("timeout".to_owned())
                }
            };
            self.record.add(at, began.elapsed(), outcome);
        }
    }

    async fn request(&self, kept: &mut Option<Connection>) -> Result<Outcome> {
        if let Some(mut connection) = kept.take() {
            match connection.get(&self.target.host).await {
                Ok(outcome) => {
                    *kept = Some(connection);
                    return Ok(outcome);
                }
                // closed by the other side before the request was sent: every client opens another one then
                Err(error) if connection::is_unsent(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let mut connection = Connection::open(&self.target.address).await?;
        let outcome = connection.get(&self.target.host).await?;
        if self.target.keeps_connections {
            *kept = Some(connection);
        }
        Ok(outcome)
    }
}
