//! One test's own corner of the cluster: namespace, account, repository, GitSync, and what it runs. Waits that fail say what stands
//! in the cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sluice_crds::gitsync::GitSync;
use sluice_crds::release::{Release, State};

use crate::app::App;
use crate::cluster::{Cluster, Kind, text_at};
use crate::describe::describe;
use crate::env::Env;
use crate::git::Repository;
use crate::manifests::stream;
use crate::sink::{Received, Sink};
use crate::tenant;
use crate::traffic::{Target, Traffic};
use crate::wait::{Look, wait_until};

/// How long anything that a test waits for may take. Several tests share two cores, and a takeover is in it.
pub const LIMIT: Duration = Duration::from_secs(90);
/// The name of every test's GitSync; their namespaces keep them apart.
pub const SYNC: &str = "app";
/// Traffic ends by itself after this time.
const TRAFFIC_LIMIT: Duration = Duration::from_secs(600);

/// What the repository holds.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub apps: Vec<App>,
    /// Files as they are, beside those of the apps.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Tree {
    /// The first app.
    ///
    /// # Errors
    /// There is none.
    pub fn app(&mut self) -> Result<&mut App> {
        self.apps.first_mut().context("the tree has no app")
    }

    /// Puts a file beside the apps.
    pub fn file(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), text.as_bytes().to_vec());
    }

    /// Puts a ConfigMap that no workload reads.
    pub fn config_map(&mut self, name: &str, value: &str) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}});
        self.file(&format!("{name}.yaml"), &object.to_string());
    }

    fn to_files(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut files = self.files.clone();
        for app in &self.apps {
            files.insert(format!("{}.yaml", app.name), stream(&app.objects())?.into_bytes());
        }
        Ok(files)
    }
}

/// One test's corner.
pub struct Case {
    pub env: Env,
    pub cluster: Cluster,
    pub namespace: String,
    pub repository: Repository,
    pub tree: Tree,
    sink: Arc<Sink>,
}

impl Case {
    /// Makes namespace, account and repository, with one app that is not pushed yet.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn create(env: &Env, cluster: &Cluster, sink: Arc<Sink>, namespace: &str) -> Result<Self> {
        tenant::create(cluster, namespace).await?;
        let app = App::new("shop", namespace, &env.podinfo_image);
        Ok(Self {
            env: env.clone(),
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
            repository: Repository::create(env, namespace)?,
            tree: Tree { apps: vec![app], files: BTreeMap::new() },
            sink,
        })
    }

    /// Commits the tree as it is.
    ///
    /// # Errors
    /// git's.
    pub fn push(&self, message: &str) -> Result<String> {
        self.repository.commit_all(&self.tree.to_files()?, message)
    }

    /// Changes the tree and commits it; returns the commit.
    ///
    /// # Errors
    /// git's, or the change's own.
    pub fn commit(&mut self, message: &str, change: impl FnOnce(&mut Tree) -> Result<()>) -> Result<String> {
        change(&mut self.tree)?;
        self.push(message)
    }

    /// A commit that changes what clients see.
    ///
    /// # Errors
    /// git's.
    pub fn commit_message(&mut self, message: &str) -> Result<String> {
        self.commit(message, |tree| {
            tree.app()?.message = message.to_owned();
            Ok(())
        })
    }

    /// Creates the GitSync, with changes over its plain form.
    ///
    /// # Errors
    /// The API server's.
    pub async fn start_sync(&self, changes: Value) -> Result<()> {
        let mut sync = tenant::git_sync(SYNC, &self.repository.svc_url(&self.env, "open"));
        merge(&mut sync["spec"], changes);
        self.cluster.apply(Kind::GitSync, &self.namespace, &sync).await.map(|_| ())
    }

    /// Changes the GitSync's spec.
    ///
    /// # Errors
    /// The API server's.
    pub async fn edit_sync(&self, spec: Value) -> Result<()> {
        self.cluster.edit(Kind::GitSync, &self.namespace, SYNC, &json!({"spec": spec})).await.map(|_| ())
    }

    /// Installs the tree from Git alone and waits until it is good; returns the commit.
    ///
    /// # Errors
    /// It does not become good.
    pub async fn install(&mut self) -> Result<String> {
        let sha = self.push("one")?;
        self.start_sync(json!({})).await?;
        self.wait_good(&sha).await?;
        Ok(sha)
    }

    /// Waits; a failure says what stands in the cluster.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait<T>(&self, what: &str, look: impl AsyncFnMut() -> Result<Look<T>>) -> Result<T> {
        match wait_until(what, LIMIT, look).await {
            Ok(value) => Ok(value),
            Err(error) => bail!("{error:#}\n{}", describe(&self.cluster, &self.namespace).await),
        }
    }

    /// The GitSync.
    ///
    /// # Errors
    /// The API server's.
    pub async fn sync(&self) -> Result<GitSync> {
        self.cluster.sync(&self.namespace, SYNC).await
    }

    /// The newest Release.
    ///
    /// # Errors
    /// The API server's, or there is none.
    pub async fn release(&self) -> Result<Release> {
        self.cluster.releases(&self.namespace, SYNC).await?.pop().context("there is no Release")
    }

    /// The newest Release for a commit.
    ///
    /// # Errors
    /// The API server's, or there is none.
    pub async fn release_of(&self, sha: &str) -> Result<Release> {
        let releases = self.cluster.releases(&self.namespace, SYNC).await?;
        let found = releases.into_iter().rfind(|release| {
            release.spec.revision.sha == sha || release.status.as_ref().is_some_and(|status| status.target.sha == sha)
        });
        found.with_context(|| format!("there is no Release for {sha}"))
    }

    /// Waits until a commit is good and nothing is in motion.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait_good(&self, sha: &str) -> Result<()> {
        self.wait(&format!("commit {} to be good", short(sha)), async || {
            let status = self.sync().await?.status.unwrap_or_default();
            let good = status.good.as_ref().is_some_and(|good| good.sha == sha);
            let ready = status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True");
            let seen = status
                .good
                .map_or_else(|| "nothing is good".to_owned(), |good| format!("{} is good, ready: {ready}", good.short));
            Ok(Look::at(good && ready, seen))
        })
        .await
    }

    /// Waits until the Release of a commit is in a state; returns it.
    ///
    /// # Errors
    /// The time is over, or it ended in another state.
    pub async fn wait_state(&self, sha: &str, what: &str, is_wanted: impl Fn(&State) -> bool) -> Result<Release> {
        self.wait(&format!("the release of {} to be {what}", short(sha)), async || {
            let release = self.release_of(sha).await?;
            match &release.status {
                Some(status) if is_wanted(&status.state) => Ok(Look::Done(release)),
                Some(status) => Ok(Look::NotYet(format!("{:?}", status.state))),
                None => Ok(Look::NotYet("no status".to_owned())),
            }
        })
        .await
    }

    /// Waits until a commit was taken back; returns its Release.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait_rolled_back(&self, sha: &str) -> Result<Release> {
        self.wait_state(sha, "rolled back", |state| matches!(state, State::RolledBack {})).await
    }

    /// Waits until the Release of a commit is judged in a step, from 0.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait_judging(&self, sha: &str, step: i32) -> Result<Release> {
        self.wait_state(
            sha,
            &format!("judged in step {step}"),
            |state| matches!(state, State::Judging { step: now } if *now >= step),
        )
        .await
    }

    /// Waits until what Git shows is refused for a reason; returns the message.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait_refused(&self, reason: &str) -> Result<String> {
        self.wait(&format!("a refusal as {reason}"), async || {
            let refused = self.sync().await?.status.unwrap_or_default().refused;
            Ok(match refused {
                Some(refused) if reason.is_empty() || reason.split('|').any(|one| one == refused.reason) => {
                    Look::Done(refused.message)
                }
                other => Look::NotYet(format!("{other:?}")),
            })
        })
        .await
    }

    /// Waits for an Event with a reason and a part of its note.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait_event(&self, reason: &str, part: &str) -> Result<()> {
        self.wait(&format!("an Event {reason} with {part:?}"), async || {
            let events = self.cluster.list(Kind::Event, &self.namespace, "").await?;
            let found = events.iter().any(|event| text_at(event, "/reason") == reason && text_at(event, "/note").contains(part));
            Ok(Look::at(found, format!("{} other Events", events.len())))
        })
        .await
    }

    /// Waits for an alert of a kind.
    ///
    /// # Errors
    /// The time is over.
    pub async fn wait_alert(&self, kind: &str) -> Result<Received> {
        self.wait(&format!("an alert {kind}"), async || {
            let alerts = self.sink.of(&self.namespace);
            Ok(match alerts.iter().find(|alert| alert.text("/kind") == kind) {
                Some(alert) => Look::Done(alert.clone()),
                None => Look::NotYet(format!("{} other alerts", alerts.len())),
            })
        })
        .await
    }

    /// All alerts of this namespace.
    #[must_use]
    pub fn alerts(&self) -> Vec<Received> {
        self.sink.of(&self.namespace)
    }

    /// Pods of an app, that are not going away, by uid.
    ///
    /// # Errors
    /// The API server's.
    pub async fn pod_uids(&self, app: &str) -> Result<BTreeSet<String>> {
        let pods = self.cluster.pods(&self.namespace, &format!("app={app}")).await?;
        let live = pods.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        Ok(live.filter_map(|pod| pod.metadata.uid).collect())
    }

    /// An object of this namespace that must be there.
    ///
    /// # Errors
    /// The API server's.
    pub async fn object(&self, kind: Kind, name: &str) -> Result<Value> {
        self.cluster.expect(kind, &self.namespace, name).await
    }

    /// Steady traffic to an app through the gateway.
    ///
    /// # Errors
    /// The gateway's address is not known.
    pub fn traffic(&self, app: &App, rps: u32) -> Result<Traffic> {
        let target = Target { address: self.env.gateway_address()?, host: app.host.clone(), keeps_connections: true, rps };
        Ok(Traffic::start("gateway", &target, TRAFFIC_LIMIT))
    }

    /// Steady traffic to the first app, once it answers.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn steady_traffic(&self, rps: u32) -> Result<Traffic> {
        let app = self.tree.apps.first().context("the tree has no app")?;
        self.wait("the gateway to answer", async || {
            let probe = self.traffic(app, 20)?;
            tokio::time::sleep(Duration::from_millis(300)).await;
            let tally = probe.stop().await?.since(chrono::DateTime::UNIX_EPOCH);
            Ok(Look::at(tally.good() > 0 && tally.bad() == 0, tally.to_string()))
        })
        .await?;
        self.traffic(app, rps)
    }

    /// At rest nothing of a release lies over the app: Service, route and Deployment as in Git, no canary left.
    ///
    /// # Errors
    /// Something is left.
    pub async fn expect_at_rest(&self, app: &str) -> Result<()> {
        self.wait(&format!("{app} to be at rest without traces"), async || {
            let service = self.object(Kind::Service, app).await?;
            if service.pointer("/spec/selector/pod-template-hash").is_some() {
                return Ok(Look::NotYet("the Service is pinned".to_owned()));
            }
            let route = self.object(Kind::HttpRoute, app).await?;
            let shares = crate::weights::shares(&route);
            if shares.len() != 1 || !shares.contains_key(app) {
                return Ok(Look::NotYet(format!("the route has {shares:?}")));
            }
            let deployment = self.object(Kind::Deployment, app).await?;
            if deployment.pointer("/spec/paused").and_then(Value::as_bool) == Some(true) {
                return Ok(Look::NotYet("the Deployment is paused".to_owned()));
            }
            let services = self.cluster.list(Kind::Service, &self.namespace, "").await?;
            if let Some(canary) =
                services.iter().find(|service| text_at(service, "/metadata/name").starts_with(&format!("{app}-canary-")))
            {
                return Ok(Look::NotYet(format!("Service {} is left", text_at(canary, "/metadata/name"))));
            }
            let sets = self.cluster.list(Kind::ReplicaSet, &self.namespace, &format!("app={app}")).await?;
            let strange = sets.iter().find(|set| text_at(set, "/metadata/ownerReferences/0/kind") != "Deployment");
            Ok(Look::at(
                strange.is_none(),
                format!("ReplicaSet {:?}", strange.map(|set| text_at(set, "/metadata/name").to_owned())),
            ))
        })
        .await
    }

    /// Removes everything of this test but what the cluster collects by itself.
    ///
    /// # Errors
    /// The API server's.
    pub async fn remove(&self) -> Result<()> {
        self.cluster.delete(Kind::GitSync, &self.namespace, SYNC).await?;
        self.cluster.delete_namespace(&self.namespace).await
    }
}

/// The first digits of a commit.
#[must_use]
pub fn short(sha: &str) -> &str {
    sha.get(..12).unwrap_or(sha)
}

/// Lays one value over another, as a merge patch does.
pub fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, value) in changes {
                if value.is_null() {
                    into.remove(&key);
                } else {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (into, changes) => *into = changes,
    }
}
