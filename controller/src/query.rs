//! Asks Prometheus beside the worker. Answers wait in a mailbox for the next pass; nothing of a rollback waits for them.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use sluice_analysis::Sample;
use sluice_plan::judge::DueQuery;
use sluice_plan::world::MetricSample;
use sluice_prometheus::PrometheusClient;
use tokio::sync::Notify;

/// Answers that wait at most: one for each metric of each rollout of a release is far fewer.
const WAITING_MAX: usize = 2048;

/// Queries of one GitSync.
pub struct Queries {
    client: Arc<PrometheusClient>,
    wake: Arc<Notify>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    in_flight: BTreeSet<(String, String)>,
    answered: Vec<MetricSample>,
}

impl Queries {
    #[must_use]
    pub fn new(client: Arc<PrometheusClient>, wake: Arc<Notify>) -> Self {
        Self { client, wake, inner: Arc::default() }
    }

    /// Sends queries that are due and not under way.
    pub fn send(&self, due: Vec<DueQuery>) {
        for query in due {
            let slot = (query.rollout.clone(), query.metric.clone());
            let is_new = self.inner.lock().is_ok_and(|mut inner| inner.in_flight.insert(slot.clone()));
            if !is_new {
                continue;
            }
            let (client, wake, inner) = (self.client.clone(), self.wake.clone(), self.inner.clone());
            tokio::spawn(async move {
                let answer = client.query(&query.query, query.at).await;
                if let Ok(mut inner) = inner.lock() {
                    inner.in_flight.remove(&slot);
                    if inner.answered.len() < WAITING_MAX {
                        let sample = Sample { due: query.at, answer };
                        inner.answered.push(MetricSample { rollout: slot.0, metric: slot.1, sample });
                    }
                }
                wake.notify_one();
            });
        }
    }

    /// Takes what was answered.
    #[must_use]
    pub fn take(&self) -> Vec<MetricSample> {
        self.inner.lock().map(|mut inner| std::mem::take(&mut inner.answered)).unwrap_or_default()
    }
}
