//! The cluster as tests see it: fresh reads of typed and untyped objects, writes as a person makes them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_crds::gitsync::GitSync;
use sluice_crds::release::Release;
use sluice_crds::rollout::Rollout;

/// The field manager of hand edits that tests make.
const FIELD_MANAGER: &str = "sluice-tests";
/// No request of a test may hang longer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Kinds that tests touch without types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Deployment,
    ReplicaSet,
    Service,
    HttpRoute,
    ConfigMap,
    Secret,
    Hpa,
    Rollout,
    GitSync,
    Release,
    Role,
    RoleBinding,
    ServiceAccount,
    ResourceQuota,
    Event,
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, version, kind, plural) = match self {
            Self::Deployment => ("apps", "v1", "Deployment", "deployments"),
            Self::ReplicaSet => ("apps", "v1", "ReplicaSet", "replicasets"),
            Self::Service => ("", "v1", "Service", "services"),
            Self::HttpRoute => ("gateway.networking.k8s.io", "v1", "HTTPRoute", "httproutes"),
            Self::ConfigMap => ("", "v1", "ConfigMap", "configmaps"),
            Self::Secret => ("", "v1", "Secret", "secrets"),
            Self::Hpa => ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
            Self::Rollout => ("sluice.dev", "v1alpha1", "Rollout", "rollouts"),
            Self::GitSync => ("sluice.dev", "v1alpha1", "GitSync", "gitsyncs"),
            Self::Release => ("sluice.dev", "v1alpha1", "Release", "releases"),
            Self::Role => ("rbac.authorization.k8s.io", "v1", "Role", "roles"),
            Self::RoleBinding => ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
            Self::ServiceAccount => ("", "v1", "ServiceAccount", "serviceaccounts"),
            Self::ResourceQuota => ("", "v1", "ResourceQuota", "resourcequotas"),
            Self::Event => ("events.k8s.io", "v1", "Event", "events"),
        };
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
    }

    /// The name that kubectl takes.
    #[must_use]
    pub fn kubectl_name(self) -> String {
        let resource = self.resource();
        if resource.group.is_empty() { resource.plural } else { format!("{}.{}", resource.plural, resource.group) }
    }
}

/// A connection to the API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Connects as KUBECONFIG says.
    ///
    /// # Errors
    /// There is no usable KUBECONFIG.
    pub async fn connect() -> Result<Self> {
        // two of our dependencies bring a provider each; without a choice the first handshake would fail
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = Config::infer().await.context("KUBECONFIG cannot be used")?;
        config.connect_timeout = Some(REQUEST_TIMEOUT);
        config.read_timeout = Some(REQUEST_TIMEOUT);
        Ok(Self { client: Client::try_from(config).context("no client can be made from KUBECONFIG")? })
    }

    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        Api::namespaced_with(self.client.clone(), namespace, &kind.resource())
    }

    /// An object as JSON, if it is there.
    ///
    /// # Errors
    /// The API server's.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Value>> {
        let object = self.api(kind, namespace).get_opt(name).await.with_context(|| format!("{kind:?} {namespace}/{name}"))?;
        object.map(|object| serde_json::to_value(object).context("an object is no JSON")).transpose()
    }

    /// An object that must be there.
    ///
    /// # Errors
    /// It is not, or the API server's.
    pub async fn expect(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value> {
        self.get(kind, namespace, name).await?.with_context(|| format!("{kind:?} {namespace}/{name} is not there"))
    }

    /// All objects of a kind in a namespace.
    ///
    /// # Errors
    /// The API server's.
    pub async fn list(&self, kind: Kind, namespace: &str, selector: &str) -> Result<Vec<Value>> {
        let params = ListParams::default().labels(selector);
        let list = self.api(kind, namespace).list(&params).await.with_context(|| format!("list of {kind:?} in {namespace}"))?;
        list.items.into_iter().map(|object| serde_json::to_value(object).context("an object is no JSON")).collect()
    }

    /// Pods by labels, as JSON.
    ///
    /// # Errors
    /// The API server's.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Result<Vec<Pod>> {
        let list = Api::<Pod>::namespaced(self.client.clone(), namespace).list(&ListParams::default().labels(selector)).await?;
        Ok(list.items)
    }

    /// A GitSync.
    ///
    /// # Errors
    /// The API server's, or it does not decode.
    pub async fn sync(&self, namespace: &str, name: &str) -> Result<GitSync> {
        self.typed(Kind::GitSync, namespace, name).await
    }

    /// A Rollout.
    ///
    /// # Errors
    /// The API server's, or it does not decode.
    pub async fn rollout(&self, namespace: &str, name: &str) -> Result<Rollout> {
        self.typed(Kind::Rollout, namespace, name).await
    }

    async fn typed<T: DeserializeOwned>(&self, kind: Kind, namespace: &str, name: &str) -> Result<T> {
        let object = self.expect(kind, namespace, name).await?;
        serde_json::from_value(object).with_context(|| format!("{kind:?} {namespace}/{name} does not decode"))
    }

    /// The Releases of a GitSync, oldest first.
    ///
    /// # Errors
    /// The API server's.
    pub async fn releases(&self, namespace: &str, sync: &str) -> Result<Vec<Release>> {
        let list = Api::<Release>::namespaced(self.client.clone(), namespace).list(&ListParams::default()).await?;
        let mut releases: Vec<Release> = list.items.into_iter().filter(|release| release.spec.git_sync == sync).collect();
        releases.sort_by_key(|release| release.spec.number);
        Ok(releases)
    }

    /// The last exit of a container of some pods, in whole seconds, rounded down.
    ///
    /// # Errors
    /// The API server's.
    pub async fn last_exit(&self, namespace: &str, selector: &str) -> Result<Option<DateTime<Utc>>> {
        let statuses =
            self.pods(namespace, selector).await?.into_iter().filter_map(|pod| pod.status?.container_statuses).flatten();
        let states = statuses.flat_map(|status| [status.state, status.last_state]).flatten();
        let exits = states.filter_map(|state| state.terminated?.finished_at);
        Ok(exits.filter_map(|time| time.0.to_string().parse().ok()).max())
    }

    /// Creates an object or brings it to what is given, as a person with `kubectl apply` would.
    ///
    /// # Errors
    /// The API server's.
    pub async fn apply(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value> {
        let name = object.pointer("/metadata/name").and_then(Value::as_str).context("an object has no name")?;
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.api(kind, namespace).patch(name, &params, &Patch::Apply(object)).await;
        Ok(serde_json::to_value(applied.with_context(|| format!("apply of {kind:?} {namespace}/{name}"))?)?)
    }

    /// A merge patch, as a hand edit.
    ///
    /// # Errors
    /// The API server's.
    pub async fn edit(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value> {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let edited = self.api(kind, namespace).patch(name, &params, &Patch::Merge(patch)).await;
        Ok(serde_json::to_value(edited.with_context(|| format!("edit of {kind:?} {namespace}/{name}"))?)?)
    }

    /// Deletes an object, in the background; one that is not there is fine.
    ///
    /// # Errors
    /// The API server's.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        match self.api(kind, namespace).delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("deletion of {kind:?} {namespace}/{name}")),
        }
    }

    /// Deletes a pod at once, as a machine that dies does.
    ///
    /// # Errors
    /// The API server's.
    pub async fn kill_pod(&self, namespace: &str, name: &str) -> Result<()> {
        let params = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        Api::<Pod>::namespaced(self.client.clone(), namespace).delete(name, &params).await?;
        Ok(())
    }

    /// Makes a namespace; one that is there is fine.
    ///
    /// # Errors
    /// The API server's.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        match Api::<Namespace>::all(self.client.clone()).create(&PostParams::default(), &namespace).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("namespace {name}")),
        }
    }

    /// Deletes a namespace without waiting for its end.
    ///
    /// # Errors
    /// The API server's.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        match Api::<Namespace>::all(self.client.clone()).delete(name, &DeleteParams::background()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("namespace {name}")),
        }
    }

    /// Whether a namespace is there.
    ///
    /// # Errors
    /// The API server's.
    pub async fn has_namespace(&self, name: &str) -> Result<bool> {
        Ok(self.namespace_labels(name).await?.is_some())
    }

    /// A namespace's labels, if it is there.
    ///
    /// # Errors
    /// The API server's.
    pub async fn namespace_labels(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let namespace = Api::<Namespace>::all(self.client.clone()).get_opt(name).await?;
        Ok(namespace.map(|namespace| namespace.metadata.labels.unwrap_or_default()))
    }

    /// Sets an annotation with plain kubectl, as people do.
    ///
    /// # Errors
    /// kubectl's.
    pub fn annotate(&self, kind: Kind, namespace: &str, name: &str, annotation: &str) -> Result<()> {
        kubectl(&["annotate", "--overwrite", "-n", namespace, &kind.kubectl_name(), name, annotation]).map(|_| ())
    }
}

/// Runs kubectl.
///
/// # Errors
/// It fails; the error has its last words.
pub fn kubectl(args: &[&str]) -> Result<String> {
    crate::env::run(Command::new("kubectl").arg("--request-timeout=20s").args(args))
}

/// Text at a JSON pointer, empty when there is none.
#[must_use]
pub fn text_at<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A whole number at a JSON pointer, 0 when there is none.
#[must_use]
pub fn number_at(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default()
}
