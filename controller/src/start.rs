//! The process: limits, clients, election, and work for as long as it leads. A lost lease ends the process, without a drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::FutureExt;
use sluice_cluster::gate::Gate;
use sluice_cluster::lease::{ElectionEnd, Elector, EpochFloor, Leadership, LeaseConfig};
use sluice_cluster::object::{Kinds, Objects};
use sluice_cluster::stack::{Cluster, StackOptions};
use sluice_prometheus::{PrometheusClient, PrometheusConfig};
use sluice_source::git::{GitCache, GitLimits, UrlPolicy};
use sluice_source::render::{RenderLimits, Renderer};
use tokio::sync::watch;

use crate::config::Options;
use crate::manager::Manager;
use crate::notify::Notifier;
use crate::serve::{Figures, Served, router};
use crate::source::Shop;

/// The Lease of all replicas.
const LEASE_NAME: &str = "sluice-controller";
/// Renewals within one lease: several may fail before it is lost.
const RENEWALS_PER_LEASE: u32 = 6;
/// GitSyncs and Releases that are read to find the highest epoch after a Lease was deleted.
const FLOOR_LIST_MAX: usize = 100_000;

/// How long a standby waits for the leader to take a webhook; forges give up after 10 s.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the controller until it is asked to stop.
///
/// # Errors
/// What kept it from starting, or the loss of the lease.
pub async fn run(options: Options) -> anyhow::Result<()> {
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    sluice_source::git::init_process().context("libgit2 cannot be set up")?;
    let instance = options.identity.clone().unwrap_or_else(|| identity(&options));
    let config = kube::Config::infer().await.context("there is no cluster to connect to: set KUBECONFIG or run in a pod")?;
    let gate = Gate::closed();
    let cluster =
        Cluster::connect(config, gate.clone(), StackOptions::default()).await.context("the connection cannot be prepared")?;
    let client = cluster.client();
    let kinds = Kinds::new(client.clone());
    let own = Objects::new(client, kinds.clone());

    let (leadership_sender, mut leadership) = watch::channel(Leadership::Standby { holder: None });
    let figures = Arc::new(Figures::default());
    let sources = crate::manager::Wakes::default();
    let served = Served {
        figures: figures.clone(),
        cluster: cluster.clone(),
        gate: gate.clone(),
        webhook_secret: options.webhook_secret.clone().map(Arc::new),
        leadership: leadership.clone(),
        forwarder: reqwest::Client::builder().timeout(FORWARD_TIMEOUT).build().context("the HTTP client cannot be made")?,
        sources: Arc::clone(&sources),
    };
    let listener = tokio::net::TcpListener::bind(options.listen)
        .await
        .with_context(|| format!("{} cannot be listened on", options.listen))?;
    tokio::spawn(async move { axum::serve(listener, router(served)).await });

    let manager = Manager {
        cluster: cluster.clone(),
        own: own.clone(),
        kinds,
        gate: gate.clone(),
        shop: Arc::new(shop(&options)?),
        prometheus: Arc::new(prometheus(&options)?),
        notifier: options.alert_url.as_deref().map(Notifier::new).transpose()?.map(Arc::new),
        figures,
        options: options.clone(),
        instance: instance.clone(),
        sources,
    };

    let (shutdown_sender, shutdown) = watch::channel(false);
    tokio::spawn(async move {
        stopped().await;
        shutdown_sender.send(true).ok();
    });
    let mut lease = LeaseConfig::new(&options.namespace, LEASE_NAME, &instance, epoch_floor(own));
    lease.duration_s = options.lease_s;
    lease.renew_every = Duration::from_secs(options.lease_s.into()) / RENEWALS_PER_LEASE;
    lease.poll_every = lease.renew_every;
    let elector = Elector::new(&cluster, lease).context("the lease is not configured well")?;
    let watch_client = cluster.watch_client();
    tokio::spawn(async move {
        let led = leadership.wait_for(|leadership| matches!(leadership, Leadership::Leading { .. })).await.is_ok();
        if led {
            tracing::info!("this process leads");
            let signs = crate::watch::start(&watch_client);
            manager.run(signs).await;
        }
    });
    tracing::info!(instance, "started");
    match elector.run(gate, leadership_sender, shutdown).await {
        ElectionEnd::Lost(reason) => anyhow::bail!("the lease was lost: {reason}"),
        ElectionEnd::Released | ElectionEnd::NeverLed => Ok(()),
    }
}

fn shop(options: &Options) -> anyhow::Result<Shop> {
    let cache = GitCache::new(options.cache_dir.clone(), GitLimits::default()).context("the Git cache cannot be used")?;
    let program = std::env::current_exe().context("the path of this program is unknown")?;
    let renderer = Renderer {
        kustomize: options.kustomize.clone(),
        limits: RenderLimits::default(),
        jail: vec![program.into_os_string(), "jail".into()],
    };
    match renderer.probe_isolation() {
        Ok(isolation) => tracing::info!(?isolation, "the renderer's jail"),
        Err(error) => tracing::warn!(error = %crate::source::chain(&error), "the renderer's jail cannot be tried"),
    }
    let policy = UrlPolicy {
        allow_http: options.allow_http,
        allow_http_credentials: options.allow_http_credentials,
        allow_file: false,
        allow_local_addresses: false,
    };
    Ok(Shop::new(cache, renderer, policy))
}

fn prometheus(options: &Options) -> anyhow::Result<PrometheusClient> {
    let mut config = PrometheusConfig::new(options.prometheus_url.clone());
    config.bearer_token = options.prometheus_token.as_deref().map(sluice_prometheus::Secret::new);
    PrometheusClient::new(config).context("the Prometheus client cannot be made")
}

/// A name that no other process ever had, since a pod's name survives a restart of its container; with the address at which
/// this process listens, for standbys that pass webhooks on: `host_address:port_number`.
fn identity(options: &Options) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "sluice".to_owned());
    let address = options.pod_ip.map_or(options.listen, |ip| SocketAddr::new(ip, options.listen.port()));
    format!("{host}_{address}_{:x}", chrono::Utc::now().timestamp_micros())
}

/// The highest epoch that any record carries.
fn epoch_floor(own: Objects) -> EpochFloor {
    Arc::new(move || {
        let own = own.clone();
        async move {
            let mut floor = 0;
            for kind in ["GitSync", "Release"] {
                let listing =
                    own.list(sluice_crds::names::GROUP, sluice_crds::names::VERSION, kind, None, None, FLOOR_LIST_MAX).await?;
                let epochs = listing.items.iter().filter_map(|item| sluice_plan::view::integer(item, &["status", "epoch"]));
                floor = epochs.fold(floor, i64::max);
            }
            Ok(floor)
        }
        .boxed()
    })
}

/// Resolves when the process is asked to stop.
async fn stopped() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    let () = tokio::select! {
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    };
}
