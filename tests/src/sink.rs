//! A receiver of alerts that keeps what it gets.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Alerts that are kept; a controller that repeats itself without end must not fill our memory.
const ALERTS_MAX: usize = 10_000;

/// An alert and when it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: DateTime<Utc>,
    pub body: Value,
}

impl Received {
    /// A text of the alert.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        crate::cluster::text_at(&self.body, pointer)
    }
}

type Store = Arc<Mutex<Vec<Received>>>;

/// The receiver; it ends with this value.
pub struct Sink {
    pub address: SocketAddr,
    store: Store,
    server: JoinHandle<()>,
}

impl Sink {
    /// Listens on a free port of an address that pods reach.
    ///
    /// # Errors
    /// The address is not this machine's.
    pub async fn start(host: &str) -> Result<Self> {
        let listener = TcpListener::bind((host, 0)).await.with_context(|| {
            format!(
                "no receiver of alerts can listen on {host}; name an address of this machine that pods reach in SLUICE_TEST_HOST"
            )
        })?;
        let address = listener.local_addr()?;
        let store = Store::default();
        let router = Router::new().route("/alerts", post(take)).with_state(store.clone());
        let server = tokio::spawn(async move {
            // it serves until its task is aborted
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, store, server })
    }

    /// Where alerts are to be posted.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/alerts", self.address)
    }

    /// The alerts of one namespace so far.
    #[must_use]
    pub fn of(&self, namespace: &str) -> Vec<Received> {
        let all = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|received| received.text("/namespace") == namespace).cloned().collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(State(store): State<Store>, Json(body): Json<Value>) -> StatusCode {
    let mut all = store.lock().unwrap_or_else(PoisonError::into_inner);
    if all.len() < ALERTS_MAX {
        all.push(Received { at: Utc::now(), body });
    }
    StatusCode::NO_CONTENT
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[tokio::test]
    async fn alerts_are_kept_by_namespace() {
        let sink = Sink::start("127.0.0.1").await.unwrap();
        for namespace in ["a", "b"] {
            let sent = reqwest::Client::new().post(sink.url()).json(&serde_json::json!({"namespace": namespace})).send().await;
            assert_eq!(sent.unwrap().status(), 204);
        }
        assert_eq!(sink.of("a").len(), 1);
    }
}
