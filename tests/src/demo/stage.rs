//! What all points of the demo use: the installed controller, the example as a repository, the clients, and the questions that
//! are asked of the cluster again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use sluice_crds::release::{Release, State};

use crate::audit::Audit;
use crate::case::short;
use crate::cluster::{Cluster, Kind, kubectl, text_at};
use crate::env::Env;
use crate::git::Repository;
use crate::manifests::{Manifests, documents};
use crate::report::progress;
use crate::sink::{Received, Sink};
use crate::traffic::{Target, Traffic};
use crate::wait::{Look, wait_until};
use crate::weights::RouteWatch;
use crate::{install, webhook};

/// Requests per second through the gateway, over kept connections.
const GATEWAY_RPS: u32 = 150;
/// Requests per second through the ClusterIP, each over a connection of its own.
const CLUSTER_IP_RPS: u32 = 50;
/// The clients end by themselves after this time.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long any one thing may take. A rollout through all steps is the longest.
pub const LIMIT: Duration = Duration::from_secs(150);
/// The hold of each step, and the bake.
const HOLD: &str = "10s";
const BAKE: &str = "5s";
/// How often Git is asked when no webhook comes.
const INTERVAL: &str = "10s";
/// Everything of the example is in this folder of the repository.
const FOLDER: &str = "deploy";
/// The namespace of the example, as its files say.
const NAMESPACE: &str = "quickstart";
/// On the namespace: what a demo made, a demo may remove.
const MADE_BY_LABEL: &str = "sluice.dev/made-by";
const MADE_BY: &str = "demo";

/// See the module.
pub struct Stage {
    pub env: Env,
    pub cluster: Cluster,
    pub sink: Sink,
    pub audit: Option<Audit>,
    pub namespace: String,
    pub sync: String,
    /// The Deployment, and by the example's habit also Service, route and Rollout.
    pub app: String,
    pub manifests: Manifests,
    pub repository: Repository,
    pub host: String,
    pub gateway: Option<Traffic>,
    pub cluster_ip: Option<Traffic>,
    pub routes: Option<RouteWatch>,
    /// The commits that became good, oldest first.
    pub good: Vec<String>,
    /// A commit that was taken back.
    pub bad: Option<String>,
    /// When a canary that fails on purpose had traffic through the gateway.
    pub excused: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// Whether the controller was there before us and stays.
    pub was_installed: bool,
}

impl Stage {
    /// Installs the controller and makes the repository; the application is the first point's.
    pub async fn set() -> Result<Self> {
        let env = Env::read()?;
        let cluster = Cluster::connect().await?;
        let sink = Sink::start(&env.own_host).await?;
        let audit = env.audit_log.as_deref().map(Audit::from_now_on).transpose()?;
        let example = env.chart.join("../../examples/quickstart");
        let mut manifests = Manifests::read(&example.join(FOLDER))?;
        manifests
            .at("Deployment", "/spec/template/spec/containers/0/image")
            .map(|image| *image = env.podinfo_image.clone().into())?;
        let host = manifests.text("HTTPRoute", "/spec/hostnames/0")?;
        let app = manifests.text("Deployment", "/metadata/name")?;
        let repository = Repository::create(&env, &format!("demo-{}", Utc::now().timestamp()))?;
        let mut stage = Self {
            sync: String::new(),
            namespace: NAMESPACE.to_owned(),
            env,
            cluster,
            sink,
            audit,
            app,
            manifests,
            repository,
            host,
            gateway: None,
            cluster_ip: None,
            routes: None,
            good: Vec::new(),
            bad: None,
            excused: Vec::new(),
            was_installed: false,
        };
        stage.steps(&[(5, false), (25, false), (50, false)])?;
        stage.clear_namespace().await?;
        Ok(stage)
    }

    /// Sets the Rollout's steps in Git's manifests: weight, approval.
    pub fn steps(&mut self, steps: &[(i64, bool)]) -> Result<()> {
        let steps =
            steps.iter().map(|(weight, approval)| serde_json::json!({"weight": weight, "hold": HOLD, "approval": approval}));
        let steps: Vec<Value> = steps.collect();
        let canary = self.manifests.at("Rollout", "/spec/strategy/canary")?;
        canary["steps"] = steps.into();
        canary["bake"] = BAKE.into();
        for metric in self.manifests.at("Rollout", "/spec/analysis/metrics")?.as_array_mut().into_iter().flatten() {
            metric["interval"] = "1s".into();
        }
        Ok(())
    }

    async fn clear_namespace(&self) -> Result<()> {
        let Some(labels) = self.cluster.namespace_labels(&self.namespace).await? else { return Ok(()) };
        ensure!(
            labels.get(MADE_BY_LABEL).is_some_and(|value| value == MADE_BY),
            "the namespace {} is there and no demo made it; remove it, or use another cluster",
            self.namespace
        );
        self.cluster.delete_namespace(&self.namespace).await?;
        wait_until("the namespace of an earlier demo to go", LIMIT, async || {
            Ok(Look::at(!self.cluster.has_namespace(&self.namespace).await?, "it is still there"))
        })
        .await
    }

    /// The account and the GitSync, from the example's own files.
    pub async fn apply_tenant_and_sync(&mut self) -> Result<()> {
        let example = self.env.chart.join("../../examples/quickstart");
        kubectl(&["apply", "-f", &example.join("tenant.yaml").to_string_lossy()])?;
        kubectl(&["label", "namespace", &self.namespace, &format!("{MADE_BY_LABEL}={MADE_BY}")])?;
        let text = std::fs::read_to_string(example.join("gitsync.yaml")).context("examples/quickstart/gitsync.yaml")?;
        let mut sync = documents(&text)?.into_iter().next().context("gitsync.yaml is empty")?;
        sync["spec"]["source"]["url"] = self.repository.svc_url(&self.env, "open").into();
        sync["spec"]["interval"] = INTERVAL.into();
        self.sync = text_at(&sync, "/metadata/name").to_owned();
        // what it was made from is the user's; nothing of it is needed to apply it again
        self.cluster.apply(Kind::GitSync, &self.namespace, &sync).await?;
        Ok(())
    }

    /// Commits the manifests as they are now. Returns the commit and the moment it was pushed.
    ///
    /// A webhook follows it, as from every forge; the GitSync also looks by itself.
    pub async fn commit(&self, message: &str) -> Result<(String, DateTime<Utc>)> {
        let files: BTreeMap<String, Vec<u8>> =
            self.manifests.to_files()?.into_iter().map(|(path, content)| (format!("{FOLDER}/{path}"), content)).collect();
        let sha = self.repository.commit_all(&files, message)?;
        let pushed_at = Utc::now();
        // a hint and no more: without it the GitSync finds the commit at its next look
        if !self.sync.is_empty()
            && let Err(error) = webhook::look_now(&self.cluster).await
        {
            progress(&format!("  {error:#}"));
        }
        progress(&format!("  pushed {}: {message}", short(&sha)));
        Ok((sha, pushed_at))
    }

    /// Starts both clients, which then run until the end.
    pub async fn start_clients(&mut self) -> Result<()> {
        let service = self.object(Kind::Service).await?;
        let address = format!("{}:80", text_at(&service, "/spec/clusterIP"));
        let gateway =
            Target { address: self.env.gateway_address()?, host: self.host.clone(), keeps_connections: true, rps: GATEWAY_RPS };
        let cluster_ip = Target { address, host: self.host.clone(), keeps_connections: false, rps: CLUSTER_IP_RPS };
        wait_until("the gateway to answer", LIMIT, async || {
            let probe = Traffic::start("probe", &Target { rps: 20, ..gateway.clone() }, LIMIT);
            tokio::time::sleep(Duration::from_millis(500)).await;
            let tally = probe.stop().await?.since(DateTime::UNIX_EPOCH);
            Ok(Look::at(tally.good() > 0 && tally.bad() == 0, tally.to_string()))
        })
        .await?;
        self.gateway = Some(Traffic::start("gateway", &gateway, TRAFFIC_LIMIT));
        self.cluster_ip = Some(Traffic::start("ClusterIP", &cluster_ip, TRAFFIC_LIMIT));
        self.routes = Some(RouteWatch::start(&self.cluster, &self.namespace, &self.app));
        Ok(())
    }

    /// Both clients.
    pub fn clients(&self) -> Result<(&Traffic, &Traffic)> {
        Ok((self.gateway.as_ref().context("no client runs")?, self.cluster_ip.as_ref().context("no client runs")?))
    }

    /// The route's watch.
    pub fn routes(&self) -> Result<&RouteWatch> {
        self.routes.as_ref().context("the route is not watched")
    }

    /// An object of the application that has its name.
    pub async fn object(&self, kind: Kind) -> Result<Value> {
        self.cluster.expect(kind, &self.namespace, &self.app).await
    }

    /// Waits for a look at the newest Release of a commit.
    pub async fn release_until(&self, sha: &str, what: &str, mut look: impl FnMut(&Release, &State) -> bool) -> Result<Release> {
        let mut told = String::new();
        let seen = wait_until(what, LIMIT, async || {
            let mut releases = self.cluster.releases(&self.namespace, &self.sync).await?;
            releases.retain(|release| release.spec.revision.sha == sha);
            let Some(release) = releases.pop() else { return Ok(Look::NotYet("no Release yet".to_owned())) };
            let Some(status) = &release.status else { return Ok(Look::NotYet("no status yet".to_owned())) };
            let wait = status.wait.as_ref().map(|wait| wait.reason.clone()).unwrap_or_default();
            let now = format!("{} {} {} % {wait}", status.phase, status.step, status.weight_percent);
            if now != told {
                progress(&format!("       {now}"));
                told.clone_from(&now);
            }
            let state = status.state.clone();
            Ok(if look(&release, &state) { Look::Done(release) } else { Look::NotYet(now) })
        });
        seen.await
    }

    /// Waits until a commit is good and at rest.
    pub async fn good(&self, sha: &str) -> Result<()> {
        wait_until(&format!("commit {} to be good", short(sha)), LIMIT, async || {
            let status = self.cluster.sync(&self.namespace, &self.sync).await?.status.unwrap_or_default();
            let ready = status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
            let good = status.good.as_ref().map(|good| good.sha.as_str()).unwrap_or_default();
            Ok(Look::at(good == sha && ready, format!("{} is good, ready: {ready}", short(good))))
        })
        .await
    }

    /// Pods of one ReplicaSet's hash, or of the application: uid to restarts.
    pub async fn pods(&self, hash: Option<&str>) -> Result<BTreeMap<String, i32>> {
        let selector = match hash {
            Some(hash) => format!("app={},pod-template-hash={hash}", self.app),
            None => format!("app={}", self.app),
        };
        let pods = self.cluster.pods(&self.namespace, &selector).await?;
        Ok(pods
            .into_iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter_map(|pod| {
                let statuses = pod.status.and_then(|status| status.container_statuses).unwrap_or_default();
                Some((pod.metadata.uid?, statuses.iter().map(|status| status.restart_count).sum()))
            })
            .collect())
    }

    /// What the objects of the application say, for comparison: specs and data, without what the cluster adds over time.
    pub async fn fingerprint(&self) -> Result<BTreeMap<&'static str, Value>> {
        let mut found = BTreeMap::new();
        for (kind, pointer) in [
            (Kind::ConfigMap, "/data"),
            (Kind::Deployment, "/spec"),
            (Kind::Service, "/spec/selector"),
            (Kind::HttpRoute, "/spec"),
            (Kind::Rollout, "/spec"),
        ] {
            found.insert(pointer_name(kind), self.object(kind).await?.pointer(pointer).cloned().unwrap_or_default());
        }
        Ok(found)
    }

    /// Waits for an alert of a kind since a time.
    pub async fn alert(&self, kind: &str, from: DateTime<Utc>) -> Result<Received> {
        wait_until(&format!("an alert {kind}"), LIMIT, async || {
            let alerts = self.sink.of(&self.namespace);
            Ok(match alerts.into_iter().find(|alert| alert.at >= from && alert.text("/kind") == kind) {
                Some(alert) => Look::Done(alert),
                None => Look::NotYet("none".to_owned()),
            })
        })
        .await
    }

    /// Whether an Event with this reason and text was written.
    pub async fn has_event(&self, reason: &str, part: &str) -> Result<bool> {
        let events = self.cluster.list(Kind::Event, &self.namespace, "").await?;
        Ok(events.iter().any(|event| text_at(event, "/reason") == reason && text_at(event, "/note").contains(part)))
    }

    /// Answers in all.
    pub fn totals(&self) -> String {
        let mut lines = Vec::new();
        for client in [&self.gateway, &self.cluster_ip].into_iter().flatten() {
            lines.push(format!("{}: {}", client.name, client.record().since(DateTime::UNIX_EPOCH)));
        }
        lines.join("\n")
    }

    /// Stops the clients and removes the application, so that the next run begins from nothing.
    pub async fn clear(mut self) {
        for client in [self.gateway.take(), self.cluster_ip.take()].into_iter().flatten() {
            if let Err(error) = client.stop().await {
                progress(&format!("a client ended badly: {error:#}"));
            }
        }
        if !self.sync.is_empty()
            && let Err(error) = self.cluster.delete(Kind::GitSync, &self.namespace, &self.sync).await
        {
            progress(&format!("the GitSync could not be removed: {error:#}"));
        }
        if let Err(error) = self.clear_namespace().await {
            progress(&format!("the application could not be removed: {error:#}"));
        }
        if !self.was_installed
            && let Err(error) = install::remove(&self.cluster, &self.env).await
        {
            progress(&format!("the controller could not be removed: {error:#}"));
        }
    }
}

fn pointer_name(kind: Kind) -> &'static str {
    match kind {
        Kind::ConfigMap => "ConfigMap",
        Kind::Deployment => "Deployment",
        Kind::Service => "Service",
        Kind::HttpRoute => "HTTPRoute",
        _ => "Rollout",
    }
}

/// A time as seconds.
#[must_use]
pub fn seconds(time: TimeDelta) -> f64 {
    time.as_seconds_f64()
}

/// Uids, for comparison.
#[must_use]
pub fn uids(pods: &BTreeMap<String, i32>) -> BTreeSet<&String> {
    pods.keys().collect()
}
