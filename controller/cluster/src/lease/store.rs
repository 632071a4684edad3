//! An API server with one Lease, for tests: versions, compare-and-swap, and per process a network that can fail.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower::BoxError;

/// What happens to the requests of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    Up,
    /// Requests do not arrive.
    Cut,
    /// Requests arrive, answers do not.
    OneWay,
}

#[derive(Default)]
pub(super) struct World {
    version: u64,
    pub(super) lease: Option<Value>,
    /// Epoch and author of each accepted write to anything but the Lease, in order.
    pub(super) accepted: Vec<(i64, &'static str)>,
    pub(super) puts: usize,
}

impl World {
    fn store(&mut self, mut lease: Value) -> Value {
        self.version += 1;
        lease["metadata"]["resourceVersion"] = self.version.to_string().into();
        if lease["metadata"]["uid"].is_null() {
            lease["metadata"]["uid"] = format!("uid-{}", self.version).into();
        }
        self.lease = Some(lease.clone());
        lease
    }

    /// As somebody with kubectl would.
    pub(super) fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut lease = self.lease.clone().unwrap();
        edit(&mut lease);
        self.store(lease);
    }

    /// As a restore from a backup would.
    pub(super) fn restore(&mut self, lease: Option<Value>, version: u64) {
        self.lease = lease;
        self.version = version;
    }

    pub(super) fn spec(&self) -> Value {
        self.lease.as_ref().map(|lease| lease["spec"].clone()).unwrap_or_default()
    }

    fn answer(&mut self, method: &Method, body: Value) -> (u16, Value) {
        match (method, self.lease.clone()) {
            (&Method::GET, Some(lease)) => (200, lease),
            (&Method::POST, None) => (201, self.store(body)),
            (&Method::POST, Some(_)) => (409, json!({"kind": "Status", "reason": "AlreadyExists"})),
            (_, None) => (404, json!({"kind": "Status", "reason": "NotFound", "details": {"name": "leader"}})),
            (_, Some(lease)) => {
                self.puts += 1;
                if body["metadata"]["resourceVersion"] == lease["metadata"]["resourceVersion"] {
                    (200, self.store(body))
                } else {
                    (409, json!({"kind": "Status", "reason": "Conflict"}))
                }
            }
        }
    }
}

/// The API server as one process reaches it.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) world: Arc<Mutex<World>>,
    pub(super) name: &'static str,
    pub(super) network: watch::Sender<Network>,
}

impl Line {
    pub(super) fn new(world: &Arc<Mutex<World>>, name: &'static str) -> Self {
        Self { world: world.clone(), name, network: watch::Sender::new(Network::Up) }
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<Full<Bytes>>, BoxError> {
        let (parts, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect_bytes().await?).unwrap_or_default();
        if *self.network.borrow() == Network::Cut {
            std::future::pending::<()>().await;
        }
        let (status, reply) = if parts.uri.path().contains("/leases") {
            self.world.lock().unwrap().answer(&parts.method, body)
        } else {
            self.world.lock().unwrap().accepted.push((body["epoch"].as_i64().unwrap(), self.name));
            (200, json!({}))
        };
        if *self.network.borrow() != Network::Up {
            std::future::pending::<()>().await;
        }
        let mut answer = Response::new(Full::new(Bytes::from(reply.to_string())));
        *answer.status_mut() = status.try_into().unwrap();
        Ok(answer)
    }
}

impl tower::Service<Request<Body>> for Line {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Full<Bytes>>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}
