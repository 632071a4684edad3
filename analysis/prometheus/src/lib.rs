//! Asks Prometheus, and turns whatever comes back into an [`Answer`](sluice_analysis::Answer).
//!
//! There is no error beside the answer: an unreachable server, a login page and an incomplete result are things a judge
//! has a verdict for. Nothing here decides about a rollout. Read `client` (one exchange), then `classify` (what a status
//! means), then `envelope` (what a body means).
//! The HTTP calls go through prometheus-http-query; its typed results are not used, because they drop warnings, and read
//! bodies of any size and HTML as JSON.
//! Absent on purpose: retries and schedules (the judge's), caches.

mod classify;
mod client;
mod config;
mod envelope;
#[cfg(test)]
mod envelope_properties;
mod redact;
mod secret;

pub use client::PrometheusClient;
pub use config::{BODY_BYTES_MAX_DEFAULT, ConfigError, PrometheusConfig, TIMEOUT_MS_DEFAULT};
pub use secret::Secret;
