//! The controller under test: installed once, its log, its figures, and what it wrote.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sluice_tests::audit::Audit;
use sluice_tests::cluster::{Cluster, Kind, kubectl, text_at};
use sluice_tests::env::{Env, run};
use sluice_tests::install;
use sluice_tests::wait::{Look, wait_until};

/// The shared secret of Git webhooks in tests.
pub const WEBHOOK_SECRET: &str = "a-secret-of-tests";
const WEBHOOK_SECRET_NAME: &str = "git-webhook";
pub const ALERT_SECRET_NAME: &str = "alert-webhook";
/// How long a failed leader is waited for: shorter than the default, since tests kill it often.
const LEASE_S: u32 = 6;
const LEADER_LIMIT: Duration = Duration::from_secs(60);
/// Lines of a log that a failure shows.
const LOG_LINES_MAX: usize = 40;
/// The controller's own identity, for the audit log.
const OWN_USER: &str = "system:serviceaccount:sluice-system:sluice";

/// Installs the controller as users do, and waits until it leads.
pub async fn install(cluster: &Cluster, env: &Env, alert_url: &str) -> Result<()> {
    cluster.create_namespace(install::NAMESPACE).await?;
    for (name, key, value) in [(WEBHOOK_SECRET_NAME, "secret", WEBHOOK_SECRET), (ALERT_SECRET_NAME, "url", alert_url)] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
        cluster.apply(Kind::Secret, install::NAMESPACE, &secret).await?;
    }
    let (repository, tag) = env.image.rsplit_once(':').context("SLUICE_IMAGE has no tag")?;
    let values = json!({
        "image": {"repository": repository, "tag": tag},
        "leaseSeconds": LEASE_S,
        "prometheus": {"url": env.prometheus_svc_url},
        "alerts": {"webhook": {"existingSecret": {"name": ALERT_SECRET_NAME, "key": "url"}}},
        // the test cluster's Git server speaks http; nothing leaves the machine
        "git": {"allowHttp": true, "allowHttpCredentials": true, "webhook": {"existingSecret": {"name": WEBHOOK_SECRET_NAME}}},
        "admission": {"enabled": true},
        // the image has always the same name: other pods for another image
        "podAnnotations": {"sluice.dev/installed-at": chrono::Utc::now().to_rfc3339()},
    });
    let file = tempfile::NamedTempFile::with_suffix(".json").context("values need a file")?;
    std::fs::write(file.path(), serde_json::to_vec(&values)?)?;
    let mut helm = Command::new(&env.helm);
    helm.args(["upgrade", "--install", install::RELEASE]).arg(&env.chart).args(["--namespace", install::NAMESPACE]);
    let installed = run(helm.args(["--wait", "--timeout", "90s", "--values"]).arg(file.path()));
    if let Err(error) = installed {
        let log =
            kubectl(&["-n", install::NAMESPACE, "logs", "-l", install::SELECTOR, "--tail=10", "--prefix"]).unwrap_or_default();
        return Err(error.context(format!("the controller cannot be installed; its last words: {log}")));
    }
    wait_until("a leader", LEADER_LIMIT, async || {
        Ok(install::leader(cluster).await?.map_or_else(|| Look::NotYet("no pod holds the Lease".to_owned()), |_| Look::Done(())))
    })
    .await
}

/// What the controller's pods said about a namespace.
pub fn log_about(namespace: &str) -> String {
    let log =
        kubectl(&["-n", install::NAMESPACE, "logs", "-l", install::SELECTOR, "--tail=-1", "--since=15m"]).unwrap_or_default();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(namespace)).collect();
    lines.iter().skip(lines.len().saturating_sub(LOG_LINES_MAX)).map(|line| format!("{}\n", readable(line))).collect()
}

/// A line of the log without what all lines have.
fn readable(line: &str) -> String {
    let Ok(mut entry) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let message = text_at(&entry, "/fields/message").to_owned();
    let fields = entry.pointer_mut("/fields").and_then(Value::as_object_mut).map(std::mem::take).unwrap_or_default();
    let others: Vec<String> =
        fields.iter().filter(|(name, _)| *name != "message").map(|(name, value)| format!("{name}={value}")).collect();
    let time = text_at(&entry, "/timestamp").get(11..23).unwrap_or_default();
    format!("{time} {} {message} {}", text_at(&entry, "/level"), others.join(" "))
}

/// A figure of the whole controller, summed over its pods.
pub async fn figure(cluster: &Cluster, name: &str) -> Result<f64> {
    let mut sum = 0.0;
    for pod in install::pods(cluster).await? {
        let address = pod.status.and_then(|status| status.pod_ip).context("a controller pod has no address")?;
        let text = reqwest::get(format!("http://{address}:8080/metrics")).await?.text().await?;
        let values = text.lines().filter(|line| line.split([' ', '{']).next() == Some(name));
        sum += values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
    }
    Ok(sum)
}

/// What is wrong with the controller after all tests, in sentences.
pub async fn complaints(cluster: &Cluster, audit: Option<&Audit>) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for pod in install::pods(cluster).await? {
        let name = pod.metadata.name.clone().unwrap_or_default();
        for container in pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten()) {
            if container.restart_count > 0 {
                let why = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
                complaints
                    .push(format!("container {} of {name} restarted {} times: {why:?}", container.name, container.restart_count));
            }
        }
    }
    let violations = figure(cluster, "sluice_plan_violations_total").await?;
    if violations > 0.0 {
        complaints.push(format!("{violations} plans broke an invariant; the log has \"a plan was refused\""));
    }
    let log = kubectl(&["-n", install::NAMESPACE, "logs", "-l", install::SELECTOR, "--tail=-1"]).unwrap_or_default();
    complaints.extend(log.lines().filter(|line| line.contains("panicked")).take(3).map(str::to_owned));
    for write in audit.map(Audit::writes).transpose()?.unwrap_or_default() {
        if write.user() == OWN_USER
            && write.took_effect()
            && !is_own_record(&write.object_ref.resource, &write.object_ref.namespace)
        {
            complaints.push(format!("written with the controller's own rights: {}", write.sentence()));
        }
    }
    complaints.truncate(20);
    Ok(complaints)
}

/// Whether the controller may write this with its own rights: its records, events, leadership, snapshots.
fn is_own_record(resource: &str, namespace: &str) -> bool {
    match resource {
        "gitsyncs" | "rollouts" | "releases" | "events" => true,
        "leases" | "secrets" => namespace == install::NAMESPACE,
        "selfsubjectaccessreviews" => true,
        _ => false,
    }
}
