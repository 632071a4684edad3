//! Alerts, from the outbox in the Release to one webhook: at least once, one id for each transition, never in the way of one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sluice_crds::release::Release;
use tokio::sync::Notify;

/// One delivery, from connecting to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a delivery that failed; the outbox is in the Release, so nothing is lost meanwhile.
const RETRY: Duration = Duration::from_secs(5);

/// Why there is no notifier.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("the alert webhook's URL is not a URL; correct the Secret that the chart names")]
    Url,
    #[error("the HTTP client for alerts cannot be made")]
    Client(#[source] reqwest::Error),
}

/// The receiver of alerts.
pub struct Notifier {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl Notifier {
    /// A notifier for a URL, which may hold a secret and is never printed.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn new(url: &str) -> Result<Self, NotifyError> {
        let client = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(NotifyError::Client)?;
        Ok(Self { client, url: reqwest::Url::parse(url).map_err(|_| NotifyError::Url)? })
    }

    async fn deliver(&self, body: &Value) -> bool {
        match self.client.post(self.url.clone()).json(body).send().await {
            Ok(answer) => answer.status().is_success(),
            // The error may quote the URL.
            Err(_) => false,
        }
    }
}

/// The outbox of one GitSync, as far as this process works on it.
pub struct Outbox {
    notifier: Option<Arc<Notifier>>,
    wake: Arc<Notify>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    in_flight: BTreeSet<String>,
    delivered: Vec<String>,
}

impl Outbox {
    #[must_use]
    pub fn new(notifier: Option<Arc<Notifier>>, wake: Arc<Notify>) -> Self {
        Self { notifier, wake, inner: Arc::default() }
    }

    /// Sends what the Release records as not delivered.
    pub fn send(&self, release: Option<&Release>) {
        let (Some(notifier), Some(release)) = (&self.notifier, release) else { return };
        let Some(status) = &release.status else { return };
        for alert in status.alerts.iter().filter(|alert| alert.delivered_at.is_none()) {
            let is_new = self
                .inner
                .lock()
                .is_ok_and(|mut inner| !inner.delivered.contains(&alert.id) && inner.in_flight.insert(alert.id.clone()));
            if !is_new {
                continue;
            }
            let body = payload(release, &alert.id, &alert.kind);
            let (notifier, wake, inner, id) = (notifier.clone(), self.wake.clone(), self.inner.clone(), alert.id.clone());
            tokio::spawn(async move {
                let taken = notifier.deliver(&body).await;
                if !taken {
                    tokio::time::sleep(RETRY).await;
                }
                if let Ok(mut inner) = inner.lock() {
                    inner.in_flight.remove(&id);
                    if taken {
                        inner.delivered.push(id);
                    }
                }
                wake.notify_one();
            });
        }
    }

    /// Ids that a receiver took and that are not recorded yet.
    #[must_use]
    pub fn delivered(&self) -> Vec<String> {
        self.inner.lock().map(|inner| inner.delivered.clone()).unwrap_or_default()
    }

    /// Forgets ids that the Release records as delivered.
    pub fn recorded(&self, release: Option<&Release>) {
        let Some(status) = release.and_then(|release| release.status.as_ref()) else { return };
        if let Ok(mut inner) = self.inner.lock() {
            inner.delivered.retain(|id| status.alerts.iter().any(|alert| alert.id == *id && alert.delivered_at.is_none()));
        }
    }
}

/// What a receiver gets. No content of Secrets, no query results beyond the number that decided.
fn payload(release: &Release, id: &str, kind: &str) -> Value {
    let namespace = release.metadata.namespace.as_deref().unwrap_or("");
    let Some(status) = &release.status else { return json!({"id": id, "kind": kind}) };
    let cause = status.cause.as_ref();
    let rollout =
        cause.and_then(|cause| cause.rollout.clone()).or_else(|| release.spec.rollouts.first().map(|plan| plan.name.clone()));
    let command = match kind {
        "WaitingForApproval" | "Inconclusive" => rollout.as_ref().map(|rollout| {
            format!(
                "kubectl annotate --overwrite rollouts.sluice.dev/{rollout} -n {namespace} {}={}",
                sluice_crds::names::PROMOTE,
                status.target.sha
            )
        }),
        _ => Some(format!(
            "kubectl annotate --overwrite gitsyncs.sluice.dev/{} -n {namespace} {}={}",
            release.spec.git_sync,
            sluice_crds::names::RETRY,
            status.target.sha
        )),
    };
    json!({
        "id": id,
        "kind": kind,
        "namespace": namespace,
        "gitSync": release.spec.git_sync,
        "release": release.metadata.name,
        "revision": status.target,
        "previous": release.spec.previous,
        "rollout": rollout,
        "phase": status.phase,
        "step": status.step,
        "weightPercent": cause.map_or(status.weight_percent, |cause| cause.weight_percent),
        "cause": cause.map(|cause| cause.kind.clone()),
        "metric": cause.and_then(|cause| cause.metric.clone()),
        "value": cause.and_then(|cause| cause.value),
        "bound": cause.and_then(|cause| cause.bound.clone()),
        "verdict": cause.and_then(|cause| cause.verdict),
        "message": status.message,
        "command": command,
    })
}
