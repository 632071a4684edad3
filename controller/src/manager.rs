//! One worker and one source for each GitSync, for as long as this process leads.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluice_cluster::gate::Gate;
use sluice_cluster::object::{Kinds, Objects};
use sluice_cluster::stack::{Cluster, ServiceAccountRef};
use sluice_crds::gitsync::GitSync;
use sluice_prometheus::PrometheusClient;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

use crate::config::Options;
use crate::housekeeping::Tidied;
use crate::notify::{Notifier, Outbox};
use crate::observe::Observer;
use crate::query::Queries;
use crate::serve::Figures;
use crate::settled::Settled;
use crate::snapshot::Snapshots;
use crate::source::{Shelf, Shop, Source};
use crate::tenant::{Identities, sync_key};
use crate::watch::Sign;
use crate::worker::Worker;

/// GitSyncs that one controller works on.
const GITSYNCS_MAX: usize = 5000;
/// A GitSync that could not be set up is tried again at its next sign, and at the latest after this time.
const RELIST: Duration = Duration::from_secs(30);

/// Wakes of the sources of all GitSyncs, by namespace and name.
pub type Wakes = Arc<Mutex<BTreeMap<(String, String), Arc<Notify>>>>;

/// What all workers share.
pub struct Manager {
    pub cluster: Cluster,
    pub own: Objects,
    pub kinds: Kinds,
    pub gate: Gate,
    pub shop: Arc<Shop>,
    pub prometheus: Arc<PrometheusClient>,
    pub notifier: Option<Arc<Notifier>>,
    pub figures: Arc<Figures>,
    pub options: Options,
    pub instance: String,
    /// Wakes of all sources, for webhooks.
    pub sources: Wakes,
}

struct Handle {
    uid: String,
    account: String,
    wake: Arc<Notify>,
    wake_source: Arc<Notify>,
    tasks: JoinSet<()>,
}

impl Manager {
    /// Works until the signs end.
    pub async fn run(self, mut signs: mpsc::Receiver<Sign>) {
        let mut handles: BTreeMap<(String, String), Handle> = BTreeMap::new();
        let mut relist = tokio::time::interval(RELIST);
        self.collect_orphans().await;
        loop {
            let sign = tokio::select! {
                biased;
                sign = signs.recv() => match sign {
                    Some(sign) => sign,
                    None => return,
                },
                _ = relist.tick() => {
                    self.relist(&mut handles).await;
                    continue;
                }
            };
            match sign {
                Sign::Object { namespace, name } => {
                    if let Some(handle) = handles.get(&(namespace, name)) {
                        handle.wake.notify_one();
                    }
                }
                Sign::Sync { namespace, name } => self.ensure(&mut handles, &namespace, &name).await,
            }
        }
    }

    async fn collect_orphans(&self) {
        let listing =
            self.own.list(sluice_crds::names::GROUP, sluice_crds::names::VERSION, "GitSync", None, None, GITSYNCS_MAX).await;
        let Some(listing) = listing.ok().filter(sluice_cluster::object::Listing::is_complete) else { return };
        let living: Vec<String> = listing.items.iter().map(|item| sluice_plan::view::uid(item).to_owned()).collect();
        if let Err(error) = crate::snapshot::collect_orphans(&self.own, &self.options.namespace, &living).await {
            tracing::warn!(error = %crate::source::chain(&error), "snapshots of deleted GitSyncs could not be collected");
        }
    }

    async fn relist(&self, handles: &mut BTreeMap<(String, String), Handle>) {
        let listing =
            self.own.list(sluice_crds::names::GROUP, sluice_crds::names::VERSION, "GitSync", None, None, GITSYNCS_MAX).await;
        let Ok(listing) = listing else { return };
        for item in &listing.items {
            let namespace = sluice_plan::view::text(item, &["metadata", "namespace"]);
            let name = sluice_plan::view::text(item, &["metadata", "name"]);
            if !handles.contains_key(&(namespace.to_owned(), name.to_owned())) {
                self.ensure(handles, namespace, name).await;
            }
        }
    }

    async fn ensure(&self, handles: &mut BTreeMap<(String, String), Handle>, namespace: &str, name: &str) {
        let slot = (namespace.to_owned(), name.to_owned());
        let object = match self.own.get(&sync_key(namespace, name)).await {
            Ok(Some(object)) => object,
            Ok(None) => {
                if let Some(mut handle) = handles.remove(&slot) {
                    // Worker and source end by themselves when they see that the GitSync is gone, and the worker tidies up.
                    handle.wake.notify_one();
                    handle.wake_source.notify_one();
                    std::mem::take(&mut handle.tasks).detach_all();
                }
                if let Ok(mut sources) = self.sources.lock() {
                    sources.remove(&slot);
                }
                return;
            }
            Err(error) => {
                tracing::warn!(gitsync = %format!("{namespace}/{name}"), %error, "a GitSync cannot be read");
                return;
            }
        };
        let uid = sluice_plan::view::uid(&object).to_owned();
        let account = sluice_plan::view::text(&object, &["spec", "target", "serviceAccountName"]).to_owned();
        if let Some(handle) = handles.get(&slot)
            && handle.uid == uid
            && handle.account == account
        {
            handle.wake.notify_one();
            return;
        }
        if handles.len() >= GITSYNCS_MAX {
            tracing::error!(limit = GITSYNCS_MAX, "there are more GitSyncs than one controller works on");
            return;
        }
        if let Err(error) = serde_json::from_value::<GitSync>(object) {
            tracing::error!(gitsync = %format!("{namespace}/{name}"), %error, "a GitSync does not decode; the others go on");
        }
        handles.remove(&slot);
        if let Some(handle) = self.start(namespace, name, uid, account) {
            if let Ok(mut sources) = self.sources.lock() {
                sources.insert(slot.clone(), handle.wake_source.clone());
            }
            handles.insert(slot, handle);
        }
    }

    fn start(&self, namespace: &str, name: &str, uid: String, account: String) -> Option<Handle> {
        let reference = match ServiceAccountRef::new(namespace, &account) {
            Ok(reference) => reference,
            Err(error) => {
                tracing::error!(gitsync = %format!("{namespace}/{name}"), %error, "the target's ServiceAccount has no possible name");
                return None;
            }
        };
        let tenant = Objects::new(self.cluster.impersonating(&reference), self.kinds.clone());
        let identities = Identities { own: self.own.clone(), tenant };
        let snapshots = Snapshots::new(self.own.clone(), &self.options.namespace, &uid);
        let (wake, wake_source) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let shelf = Arc::new(Shelf::default());
        let key = sync_key(namespace, name);
        let source = Source {
            identities: identities.clone(),
            snapshots: snapshots.clone(),
            shop: self.shop.clone(),
            shelf: shelf.clone(),
            wake_worker: wake.clone(),
            wake: wake_source.clone(),
            key: key.clone(),
        };
        let observer = Observer {
            identities,
            snapshots,
            settled: Settled::default(),
            commands_stamped: self.options.commands_stamped,
            tidied: Tidied::default(),
            renders: BTreeMap::new(),
        };
        let worker = Worker::new(
            key,
            observer,
            self.gate.clone(),
            shelf,
            Queries::new(self.prometheus.clone(), wake.clone()),
            Outbox::new(self.notifier.clone(), wake.clone()),
            wake.clone(),
            wake_source.clone(),
            self.figures.clone(),
            self.instance.clone(),
        );
        let mut tasks = JoinSet::new();
        tasks.spawn(source.run());
        tasks.spawn(worker.run());
        Some(Handle { uid, account, wake, wake_source, tasks })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}
