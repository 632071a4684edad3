//! Health, the controller's own figures, and Git webhooks, which only ever mean "look now".

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use hmac::{Hmac, KeyInit, Mac};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sha2::Sha256;
use sluice_cluster::gate::Gate;
use sluice_cluster::lease::Leadership;
use sluice_cluster::object::ObjectKey;
use sluice_cluster::stack::Cluster;
use sluice_plan::{Plan, World};
use tokio::sync::watch;

use crate::manager::Wakes;

/// A webhook's body: forges send up to 25 MB for large pushes, but nothing of it is read beyond the signature.
const WEBHOOK_BYTES_MAX: usize = 5 << 20;

/// Marks a webhook that a standby passed on.
const FORWARDED: &str = "x-sluice-forwarded";
/// Headers that prove who sent a webhook.
const SIGNATURES: [&str; 3] = ["x-hub-signature-256", "x-gitea-signature", "x-gitlab-token"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SyncLabels {
    namespace: String,
    gitsync: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    namespace: String,
    gitsync: String,
    phase: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// The controller's own figures. Labels are names of GitSyncs and words of ours, never free text.
pub struct Figures {
    registry: Registry,
    ready: Family<SyncLabels, Gauge>,
    weight: Family<SyncLabels, Gauge>,
    phase: Family<PhaseLabels, Gauge>,
    shown: Mutex<BTreeMap<(String, String), PhaseLabels>>,
    passes: Counter,
    violations: Counter,
    requests: Family<KindLabels, Gauge>,
    leading: Gauge,
}

impl Default for Figures {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("sluice");
        let (ready, weight, phase) = (Family::default(), Family::default(), Family::default());
        let (passes, violations, requests, leading) =
            (Counter::default(), Counter::default(), Family::default(), Gauge::default());
        registry.register("gitsync_ready", "1 when the cluster is what Git says", Family::clone(&ready));
        registry.register("release_weight_percent", "Percent of requests that the canary gets", Family::clone(&weight));
        registry.register("release_phase", "1 for the present phase and what it waits for", Family::clone(&phase));
        registry.register("passes", "Passes over all GitSyncs", Counter::clone(&passes));
        registry.register(
            "plan_violations",
            "Plans that broke an invariant and were not carried out",
            Counter::clone(&violations),
        );
        registry.register("api_requests", "Requests to the API server so far", Family::clone(&requests));
        registry.register("leading", "1 while this process leads", Gauge::clone(&leading));
        Self { registry, ready, weight, phase, shown: Mutex::default(), passes, violations, requests, leading }
    }
}

impl Figures {
    /// Counts a pass and shows what it found.
    pub fn pass(&self, world: &World, plan: &Plan) {
        self.passes.inc();
        let (namespace, gitsync) = (world.namespace().to_owned(), world.sync.metadata.name.clone().unwrap_or_default());
        let labels = SyncLabels { namespace: namespace.clone(), gitsync: gitsync.clone() };
        let is_ready = plan.blocked.is_none()
            && plan.look_at.is_none()
            && world.sync.status.as_ref().is_some_and(|status| status.refused.is_none());
        self.ready.get_or_create(&labels).set(i64::from(is_ready));
        let status = world.release.as_ref().and_then(|release| release.status.as_ref());
        self.weight.get_or_create(&labels).set(status.map_or(0, |status| i64::from(status.weight_percent)));
        let phase = PhaseLabels {
            namespace: namespace.clone(),
            gitsync: gitsync.clone(),
            phase: status.map(|status| status.phase.clone()).unwrap_or_default(),
            reason: plan.blocked.as_ref().map_or("", |blocked| blocked.reason()).to_owned(),
        };
        if let Ok(mut shown) = self.shown.lock() {
            if let Some(before) = shown.insert((namespace, gitsync), phase.clone()) {
                self.phase.remove(&before);
            }
            self.phase.get_or_create(&phase).set(1);
        }
    }

    /// Counts a plan that was not carried out.
    pub fn violation(&self) {
        self.violations.inc();
    }

    /// Says whether this process leads.
    pub fn leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Removes the series of a GitSync that is gone.
    pub fn forget(&self, key: &ObjectKey) {
        let (namespace, gitsync) = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        let labels = SyncLabels { namespace: namespace.clone(), gitsync: gitsync.clone() };
        self.ready.remove(&labels);
        self.weight.remove(&labels);
        if let Ok(mut shown) = self.shown.lock()
            && let Some(before) = shown.remove(&(namespace, gitsync))
        {
            self.phase.remove(&before);
        }
    }
}

/// What the server needs.
#[derive(Clone)]
pub struct Served {
    pub figures: Arc<Figures>,
    pub cluster: Cluster,
    pub gate: Gate,
    pub webhook_secret: Option<Arc<String>>,
    /// Who leads: a standby passes webhooks on.
    pub leadership: watch::Receiver<Leadership>,
    pub forwarder: reqwest::Client,
    pub sources: Wakes,
}

/// All routes.
pub fn router(served: Served) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        // A standby is ready: it takes over at any moment.
        .route("/readyz", get(|| async { "ok" }))
        .route("/metrics", get(metrics))
        .route("/webhook", post(webhook))
        .layer(DefaultBodyLimit::max(WEBHOOK_BYTES_MAX))
        .with_state(served)
}

async fn metrics(State(served): State<Served>) -> Result<String, StatusCode> {
    served.figures.leading(served.gate.is_open());
    let counts = served.cluster.counts();
    for (kind, count) in [("read", counts.reads), ("write", counts.writes), ("dry-run", counts.dry_runs)] {
        served.figures.requests.get_or_create(&KindLabels { kind }).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &served.figures.registry)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(text)
}

/// Verifies before anything is read of the body; the payload never chooses what is fetched, so a replay is harmless.
async fn webhook(State(served): State<Served>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(secret) = &served.webhook_secret else { return StatusCode::NOT_FOUND };
    if !is_authentic(secret, &headers, &body) {
        return StatusCode::UNAUTHORIZED;
    }
    let leader = leader_address(&served.leadership.borrow());
    if let Some(leader) = leader {
        return forward(&served, leader, headers, body).await;
    }
    if let Ok(sources) = served.sources.lock() {
        sources.values().for_each(|wake| wake.notify_one());
    }
    StatusCode::ACCEPTED
}

/// Where the leader listens, when this process is not it: its identity in the Lease says so (see [`crate::start::identity`]).
fn leader_address(leadership: &Leadership) -> Option<SocketAddr> {
    match leadership {
        Leadership::Standby { holder } => holder.as_ref()?.split('_').nth(1)?.parse().ok(),
        Leadership::Leading { .. } | Leadership::Over => None,
    }
}

/// Passes a webhook on to the leader, which verifies it again. Once: what was passed on is not passed on again.
async fn forward(served: &Served, leader: SocketAddr, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.contains_key(FORWARDED) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let mut request = served.forwarder.post(format!("http://{leader}/webhook")).header(FORWARDED, "1").body(body);
    for name in SIGNATURES {
        if let Some(value) = headers.get(name) {
            request = request.header(name, value);
        }
    }
    match request.send().await {
        Ok(answer) => StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY),
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}

/// GitHub, Gitea and Forgejo sign the body with HMAC-SHA-256; GitLab sends the shared secret itself.
fn is_authentic(secret: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    if let Some(token) = header("x-gitlab-token") {
        // Compared through a MAC of both, so that the time taken tells nothing.
        mac.update(secret.as_bytes());
        let Ok(mut given) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
        given.update(token.as_bytes());
        return mac.verify_slice(&given.finalize().into_bytes()).is_ok();
    }
    let signature =
        header("x-hub-signature-256").and_then(|value| value.strip_prefix("sha256=")).or_else(|| header("x-gitea-signature"));
    let Some(signature) = signature.and_then(|text| hex::decode(text).ok()) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn signed(secret: &str, body: &[u8]) -> HeaderMap {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        HeaderMap::from_iter([("x-hub-signature-256".parse().unwrap(), signature.parse().unwrap())])
    }

    #[test]
    fn a_webhook_needs_the_signature_of_its_own_body() {
        assert!(is_authentic("secret", &signed("secret", b"body"), b"body"));
        assert!(!is_authentic("secret", &signed("secret", b"body"), b"other"));
        assert!(!is_authentic("secret", &signed("guess", b"body"), b"body"));
        assert!(!is_authentic("secret", &HeaderMap::new(), b"body"));
    }

    #[test]
    fn a_standby_knows_where_the_leader_listens() {
        let standby = |holder: &str| Leadership::Standby { holder: Some(holder.to_owned()) };
        assert_eq!(leader_address(&standby("sluice-0_10.20.0.7:8080_1f")), "10.20.0.7:8080".parse().ok());
        assert_eq!(leader_address(&standby("somebody-else")), None);
        assert_eq!(leader_address(&Leadership::Leading { epoch: 1 }), None);
    }

    #[test]
    fn a_gitlab_webhook_needs_the_secret_itself() {
        let headers = |token: &str| HeaderMap::from_iter([("x-gitlab-token".parse().unwrap(), token.parse().unwrap())]);
        assert!(is_authentic("secret", &headers("secret"), b""));
        assert!(!is_authentic("secret", &headers("secreT"), b""));
    }
}
