//! Watches say when to look, and nothing else: metadata of labelled objects, no store, no decision. What they miss, the resync finds.

use futures::StreamExt;
use kube::Api;
use kube::core::{ApiResource, DynamicObject, GroupVersionKind, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use sluice_crds::names::{GROUP, LABEL_GITSYNC, LABEL_GITSYNC_NAMESPACE, VERSION};
use tokio::sync::mpsc;

/// Wake-ups that wait at most; a full queue loses none, since the watch then waits.
const QUEUE_MAX: usize = 1024;

/// A GitSync that something happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The GitSync itself: it may be new.
    Sync { namespace: String, name: String },
    /// One of its objects.
    Object { namespace: String, name: String },
}

/// Kinds whose changes wake a worker at once. Others are found by the resync.
fn kinds() -> Vec<ApiResource> {
    [
        ("apps", "v1", "Deployment", "deployments"),
        ("apps", "v1", "ReplicaSet", "replicasets"),
        ("apps", "v1", "StatefulSet", "statefulsets"),
        ("apps", "v1", "DaemonSet", "daemonsets"),
        ("", "v1", "Service", "services"),
        ("", "v1", "ConfigMap", "configmaps"),
        ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
        ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
        (GROUP, VERSION, "Rollout", "rollouts"),
    ]
    .into_iter()
    .map(|(group, version, kind, plural)| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural))
    .collect()
}

/// Starts all watches; they end with the receiver.
#[must_use]
pub fn start(client: &kube::Client) -> mpsc::Receiver<Sign> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    for resource in kinds() {
        let config = watcher::Config::default().labels(LABEL_GITSYNC);
        tokio::spawn(objects(client.clone(), resource, config, sender.clone()));
    }
    tokio::spawn(syncs(client.clone(), sender));
    receiver
}

async fn objects(client: kube::Client, resource: ApiResource, config: watcher::Config, sender: mpsc::Sender<Sign>) {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    // A kind that is not installed is asked for again, with the watcher's own back-off.
    let mut stream = watcher::watcher(api, config).default_backoff().boxed();
    while let Some(event) = stream.next().await {
        let Ok(Event::Apply(object) | Event::Delete(object)) = event else { continue };
        let labels = object.metadata.labels.unwrap_or_default();
        let (Some(name), Some(namespace)) = (labels.get(LABEL_GITSYNC), labels.get(LABEL_GITSYNC_NAMESPACE)) else { continue };
        if sender.send(Sign::Object { namespace: namespace.clone(), name: name.clone() }).await.is_err() {
            return;
        }
    }
}

async fn syncs(client: kube::Client, sender: mpsc::Sender<Sign>) {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, VERSION, "GitSync"), "gitsyncs");
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &resource);
    let mut stream = watcher::watcher(api, watcher::Config::default()).default_backoff().boxed();
    while let Some(event) = stream.next().await {
        let Ok(Event::Apply(object) | Event::InitApply(object) | Event::Delete(object)) = event else { continue };
        let (Some(name), Some(namespace)) = (object.metadata.name, object.metadata.namespace) else { continue };
        if sender.send(Sign::Sync { namespace, name }).await.is_err() {
            return;
        }
    }
}
