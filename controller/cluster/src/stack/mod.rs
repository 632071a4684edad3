//! The client stack, outer to inner: total deadline, request budget, trace hook, identity, credentials, lease gate, transport.
//!
//! Nothing in it retries. A write whose outcome is unknown is the caller's to find out by reading.

mod class;
mod counts;
mod fault;
mod front;
pub(crate) mod guard;
mod identity;
#[cfg(test)]
mod tests;
mod timed;
mod transport;
#[cfg(test)]
mod wire_tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::client::Body;
use tokio::sync::Semaphore;
use tower::{BoxError, Service, ServiceExt as _};

pub use class::RequestClass;
pub use counts::RequestCounts;
pub use fault::{StackError, StackFault};
pub use identity::ServiceAccountRef;

use crate::gate::Gate;
use counts::Counters;
use front::{Front, Purpose, Shared};
use guard::{Guarded, RawService};
use identity::Identity;

/// Seen by a [`RequestHook`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestLine {
    /// Rises with each request of this process.
    pub sequence: u64,
    pub class: RequestClass,
    pub method: Method,
    pub path_and_query: String,
    /// The impersonated user; `None` for the controller itself.
    pub user: Option<String>,
}

/// Where traces and crash points hang. Called on the task that makes the request: it must not block.
pub trait RequestHook: Send + Sync {
    fn before_send(&self, line: &RequestLine) {
        let _ = line;
    }
    /// The status of the answer; `None` if there was none.
    fn after_reply(&self, line: &RequestLine, status: Option<u16>) {
        let _ = (line, status);
    }
}

/// Limits of the stack. The defaults suit the controller.
#[derive(Clone)]
pub struct StackOptions {
    /// For a read, its answer included.
    pub read_timeout: Duration,
    /// For a write, its answer included; shortened to what is left of the lease.
    pub write_timeout: Duration,
    /// For the first byte of a watch, or of a list made by the watch client.
    pub watch_head_timeout: Duration,
    /// For silence on a watch.
    pub watch_idle: Duration,
    /// Calls under way at once; watches and the elector do not count.
    pub in_flight_max: usize,
    pub hook: Option<Arc<dyn RequestHook>>,
}

impl Default for StackOptions {
    fn default() -> Self {
        Self {
            // a list of 10,000 objects on a busy server takes a few seconds
            read_timeout: Duration::from_secs(15),
            // within a lease of 15 s that was renewed in the last 4 s, so that the lease rarely shortens it
            write_timeout: Duration::from_secs(10),
            watch_head_timeout: Duration::from_secs(60),
            // a server ends a watch of its own accord within 295 s (kube asks for that); a longer silence is a dead peer
            watch_idle: Duration::from_secs(300),
            // each takes a connection of its own (HTTP/1.1)
            in_flight_max: 64,
            hook: None,
        }
    }
}

/// One cluster, as the controller reaches it. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    base: RawService,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    own: Arc<Identity>,
    default_namespace: Arc<str>,
}

impl Cluster {
    /// Prepares the connection; nothing is sent yet, so that the API server may come up later.
    /// Time-outs and `default_retry` of the configuration are not used.
    pub async fn connect(config: kube::Config, gate: Gate, options: StackOptions) -> Result<Self, StackError> {
        let own = Identity::of_config(&config.auth_info)?;
        let (guarded, counters) = guard(transport::wire(&config)?, &gate);
        let base = transport::with_credentials(&config, guarded)?;
        Ok(Self::assemble(base, counters, own, &config.default_namespace, gate, options))
    }

    /// Over any in-process service: a simulator or a test. Needs a running tokio runtime only once a client is made.
    pub fn over<S, B>(service: S, default_namespace: &str, gate: Gate, options: StackOptions) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let transport = service
            .map_response(|answer: Response<B>| answer.map(|body| body.map_err(Into::into).boxed_unsync()))
            .map_err(Into::into);
        let (base, counters) = guard(RawService::new(transport), &gate);
        Self::assemble(base, counters, Identity::default(), default_namespace, gate, options)
    }

    fn assemble(
        base: RawService,
        counters: Arc<Counters>,
        own: Identity,
        namespace: &str,
        gate: Gate,
        options: StackOptions,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(options.in_flight_max.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared { options, gate, slots, sequence: AtomicU64::new(0) });
        Self { base, shared, counters, own: Arc::new(own), default_namespace: namespace.into() }
    }

    /// Acts as the controller itself. Each client runs a small task until its last clone is dropped: make one, clone it.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.make(self.own.clone(), Purpose::Calls)
    }

    /// Acts as a tenant's service account, with the groups it would have itself.
    #[must_use]
    pub fn impersonating(&self, account: &ServiceAccountRef) -> kube::Client {
        self.make(Arc::new(Identity::of_service_account(account)), Purpose::Calls)
    }

    /// For watches: no total deadline, but a limit on silence. It refuses every mutating verb, dry-runs included.
    #[must_use]
    pub fn watch_client(&self) -> kube::Client {
        self.make(self.own.clone(), Purpose::Watches)
    }

    /// For the elector, whose writes to its Lease are what opens the gate.
    pub(crate) fn lease_client(&self) -> kube::Client {
        self.make(self.own.clone(), Purpose::Election)
    }

    fn make(&self, identity: Arc<Identity>, purpose: Purpose) -> kube::Client {
        let front = Front { base: self.base.clone(), shared: self.shared.clone(), identity, purpose };
        kube::Client::new(front, self.default_namespace.as_ref())
    }

    #[must_use]
    pub fn gate(&self) -> &Gate {
        &self.shared.gate
    }

    #[must_use]
    pub fn default_namespace(&self) -> &str {
        &self.default_namespace
    }

    /// What was sent so far by all clients of this cluster.
    #[must_use]
    pub fn counts(&self) -> RequestCounts {
        self.counters.snapshot()
    }
}

fn guard(transport: RawService, gate: &Gate) -> (RawService, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    (RawService::new(Guarded { transport, gate: gate.clone(), counters: counters.clone() }), counters)
}
