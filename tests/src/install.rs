//! The controller in the cluster: installed with Helm as a user does it, found again, and its memory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::cluster::{Cluster, Kind, kubectl};
use crate::env::{Env, run};
use crate::wait::{Look, wait_until};

/// Where the controller lives.
pub const NAMESPACE: &str = "sluice-system";
/// The Helm release, and with it the Deployment.
pub const RELEASE: &str = "sluice";
/// Labels of the controller's pods.
pub const SELECTOR: &str = "app.kubernetes.io/name=sluice,app.kubernetes.io/instance=sluice";
/// The shared secret of Git webhooks.
pub const WEBHOOK_SECRET: &str = "a-secret-of-tests";
const ALERT_SECRET_NAME: &str = "alert-webhook";
const WEBHOOK_SECRET_NAME: &str = "git-webhook";
const READY_LIMIT: Duration = Duration::from_secs(90);

/// Installs the chart, or brings an installation to it, and waits until the controller leads.
///
/// # Errors
/// Helm's, or the controller does not become ready.
pub async fn install(cluster: &Cluster, env: &Env, alert_url: &str) -> Result<()> {
    cluster.create_namespace(NAMESPACE).await?;
    for (name, key, value) in [(ALERT_SECRET_NAME, "url", alert_url), (WEBHOOK_SECRET_NAME, "secret", WEBHOOK_SECRET)] {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {key: value}});
        cluster.apply(Kind::Secret, NAMESPACE, &secret).await?;
    }
    let (repository, tag) = env.image.rsplit_once(':').context("SLUICE_IMAGE has no tag")?;
    let values = json!({
        "image": {"repository": repository, "tag": tag},
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
    let limit = format!("{}s", READY_LIMIT.as_secs());
    let mut helm = Command::new(&env.helm);
    helm.args(["upgrade", "--install", RELEASE]).arg(&env.chart).args([
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        &limit,
        "--values",
    ]);
    if let Err(error) = run(helm.arg(file.path())) {
        let log = kubectl(&["-n", NAMESPACE, "logs", "-l", SELECTOR, "--tail=10", "--prefix"]).unwrap_or_default();
        return Err(error.context(format!("the controller cannot be installed; its last words: {log}")));
    }
    wait_until("a leader", READY_LIMIT, async || match leader(cluster).await? {
        Some(_) => Ok(Look::Done(())),
        None => Ok(Look::NotYet("no pod holds the Lease".to_owned())),
    })
    .await
}

/// Whether the controller is installed.
///
/// # Errors
/// Helm's.
pub fn is_installed(env: &Env) -> Result<bool> {
    let found = run(Command::new(&env.helm).args([
        "list",
        "--namespace",
        NAMESPACE,
        "--all",
        "--short",
        "--filter",
        &format!("^{RELEASE}$"),
    ]))?;
    Ok(!found.is_empty())
}

/// Removes the controller. Its kinds stay, as the chart keeps them.
///
/// # Errors
/// Helm's.
pub fn uninstall(env: &Env) -> Result<()> {
    run(Command::new(&env.helm).args(["uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait"]))
        .map(|_| ())
}

/// Removes the controller and its namespace, where snapshots are.
///
/// # Errors
/// Helm's or the API server's.
pub async fn remove(cluster: &Cluster, env: &Env) -> Result<()> {
    uninstall(env)?;
    cluster.delete_namespace(NAMESPACE).await?;
    wait_until("the controller's namespace to go", READY_LIMIT, async || {
        Ok(Look::at(!cluster.has_namespace(NAMESPACE).await?, "it is still there"))
    })
    .await
}

/// The controller's pods.
///
/// # Errors
/// The API server's.
pub async fn pods(cluster: &Cluster) -> Result<Vec<Pod>> {
    let pods = cluster.pods(NAMESPACE, SELECTOR).await?;
    Ok(pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect())
}

/// The pod that holds the Lease, if it is there and running.
///
/// # Errors
/// The API server's.
pub async fn leader(cluster: &Cluster) -> Result<Option<String>> {
    let holder = kubectl(&["-n", NAMESPACE, "get", "leases", "-o", "jsonpath={.items[*].spec.holderIdentity}"])?;
    let names = pods(cluster).await?.into_iter().filter_map(|pod| pod.metadata.name);
    Ok(names.into_iter().find(|name| holder.starts_with(name.as_str())))
}

/// Kills the leading pod at once; the other replica has to take over.
///
/// # Errors
/// There is no leader for long.
pub async fn kill_leader(cluster: &Cluster) -> Result<String> {
    let name = wait_until("a leader to kill", READY_LIMIT, async || {
        Ok(leader(cluster).await?.map_or_else(|| Look::NotYet("no pod holds the Lease".to_owned()), Look::Done))
    })
    .await?;
    cluster.kill_pod(NAMESPACE, &name).await?;
    Ok(name)
}
