//! The contract with the test cluster (`tests/cluster/README.md`): environment variables, read once, with clear errors.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the cluster gives to programs inside.
#[derive(Clone, Debug)]
pub struct Env {
    /// The controller's image in the node.
    pub image: String,
    /// The application's image in the node.
    pub podinfo_image: String,
    /// The Helm chart.
    pub chart: PathBuf,
    /// The `helm` program.
    pub helm: PathBuf,
    /// The gateway; routes are chosen by the host name.
    pub gateway_url: String,
    /// Prometheus, from here.
    pub prometheus_url: String,
    /// Prometheus, from pods.
    pub prometheus_svc_url: String,
    /// The Git server, from here.
    pub git_url: String,
    /// The Git server, from pods.
    pub git_svc_url: String,
    /// User and password of the Git server's private door.
    pub git_user: Option<(String, String)>,
    /// One JSON line for each write to the API server; none on clusters that keep no such log where we can read it.
    pub audit_log: Option<PathBuf>,
    /// The program that makes outages and repositories; none on other clusters.
    pub cluster: Option<PathBuf>,
    /// An address of this machine that pods reach.
    pub own_host: String,
}

impl Env {
    /// Reads the contract.
    ///
    /// # Errors
    /// A variable that must be there is missing.
    pub fn read() -> Result<Self> {
        text("KUBECONFIG")?;
        let gateway_url = text("SLUICE_GATEWAY_URL")?;
        let gateway_host = gateway_url.strip_prefix("http://").and_then(|rest| rest.split([':', '/']).next());
        let gateway_host = gateway_host.with_context(|| format!("SLUICE_GATEWAY_URL is not http://HOST:PORT: {gateway_url}"))?;
        let own_host = std::env::var("SLUICE_TEST_HOST").unwrap_or_else(|_| gateway_host.to_owned());
        Ok(Self {
            image: std::env::var("SLUICE_IMAGE").unwrap_or_else(|_| "registry.local/sluice:dev".to_owned()),
            podinfo_image: text("SLUICE_PODINFO_IMAGE")?,
            chart: text("SLUICE_CHART")?.into(),
            helm: text("SLUICE_HELM")?.into(),
            prometheus_url: text("SLUICE_PROMETHEUS_URL")?,
            prometheus_svc_url: text("SLUICE_PROMETHEUS_SVC_URL")?,
            git_url: text("SLUICE_GIT_URL")?,
            git_svc_url: text("SLUICE_GIT_SVC_URL")?,
            git_user: text("SLUICE_GIT_USER").ok().zip(text("SLUICE_GIT_PASSWORD").ok()),
            audit_log: text("SLUICE_AUDIT_LOG").ok().map(PathBuf::from).filter(|path| path.exists()),
            cluster: text("SLUICE_CLUSTER").ok().map(PathBuf::from),
            gateway_url,
            own_host,
        })
    }

    /// `HOST:PORT` of the gateway.
    ///
    /// # Errors
    /// The URL is not `http://HOST:PORT`.
    pub fn gateway_address(&self) -> Result<String> {
        address(&self.gateway_url)
    }

    /// Runs the test cluster's own program.
    ///
    /// # Errors
    /// There is none, or it fails.
    pub fn cluster_command(&self, args: &[&str]) -> Result<String> {
        let Some(program) = &self.cluster else {
            bail!("SLUICE_CLUSTER is not set: this cluster has no program that can {}", args.join(" "));
        };
        run(Command::new(program).args(args))
    }
}

/// `HOST:PORT` of an `http://` URL.
///
/// # Errors
/// It is none.
pub fn address(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").with_context(|| format!("{url} does not begin with http://"))?;
    let address = rest.split('/').next().unwrap_or(rest);
    Ok(if address.contains(':') { address.to_owned() } else { format!("{address}:80") })
}

fn text(name: &str) -> Result<String> {
    let value = std::env::var(name).unwrap_or_default();
    if value.is_empty() {
        bail!("{name} is not set: run this by `make demo` or `make test`, or with `tests/cluster/cluster exec`");
    }
    Ok(value)
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// It cannot be started or does not succeed; the error has its last words.
pub fn run(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let output = command.output().with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        bail!("{name} {}: {}: {}", args.join(" "), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
