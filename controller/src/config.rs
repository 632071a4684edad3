//! What the operator of the controller decides, from flags and environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// Flags of `sluice controller`.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// The namespace of the controller: its Lease and its snapshots live here.
    #[arg(long, env = "SLUICE_NAMESPACE", default_value = "sluice-system")]
    pub namespace: String,
    /// Where Prometheus answers.
    #[arg(long, env = "SLUICE_PROMETHEUS_URL", default_value = "http://prometheus.monitoring.svc:9090")]
    pub prometheus_url: String,
    /// Where alerts are posted; none: alerts stay in the Releases. May hold a secret, so it is read from the environment only.
    #[arg(long, env = "SLUICE_ALERT_URL", hide_env_values = true)]
    pub alert_url: Option<String>,
    /// The shared secret of Git webhooks; none: webhooks are refused.
    #[arg(long, env = "SLUICE_WEBHOOK_SECRET", hide_env_values = true)]
    pub webhook_secret: Option<String>,
    /// The bearer token for Prometheus.
    #[arg(long, env = "SLUICE_PROMETHEUS_TOKEN", hide_env_values = true)]
    pub prometheus_token: Option<String>,
    /// Whether the chart's admission policy stamps user names on commands.
    #[arg(long, env = "SLUICE_COMMANDS_STAMPED", default_value_t = false, action = clap::ArgAction::Set)]
    pub commands_stamped: bool,
    /// Whether repositories may be reached over plain http.
    #[arg(long, env = "SLUICE_ALLOW_HTTP", default_value_t = false, action = clap::ArgAction::Set)]
    pub allow_http: bool,
    /// Whether credentials may be sent over plain http.
    #[arg(long, env = "SLUICE_ALLOW_HTTP_CREDENTIALS", default_value_t = false, action = clap::ArgAction::Set)]
    pub allow_http_credentials: bool,
    /// A directory for bare repositories; may be lost at any time.
    #[arg(long, env = "SLUICE_CACHE_DIR", default_value = "/tmp/sluice-git")]
    pub cache_dir: PathBuf,
    /// The kustomize binary.
    #[arg(long, env = "SLUICE_KUSTOMIZE", default_value = "/usr/local/bin/kustomize")]
    pub kustomize: PathBuf,
    /// Where health, metrics and webhooks are served.
    #[arg(long, env = "SLUICE_LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// The address of this pod, for standbys that pass webhooks on to the leader.
    #[arg(long, env = "SLUICE_POD_IP")]
    pub pod_ip: Option<std::net::IpAddr>,
    /// The lease's duration in seconds: how long a takeover takes at most.
    #[arg(long, env = "SLUICE_LEASE_S", default_value_t = 15)]
    pub lease_s: u32,
    /// The identity in the Lease; by default the host's name and a number that is never used again.
    #[arg(long, env = "SLUICE_IDENTITY")]
    pub identity: Option<String>,
}
