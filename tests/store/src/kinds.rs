//! The kinds that the store serves: the built-in ones, Gateway API routes, and what CustomResourceDefinitions add.

use std::sync::Arc;

use serde_json::Value;

use crate::json::{at, flag, list, text};

/// When `metadata.generation` grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// Never: the kind has none.
    None,
    /// With `spec`.
    Spec,
    /// With `spec` and with annotations, as Deployments do it.
    SpecAndAnnotations,
    /// With everything but metadata and status.
    AllButStatus,
}

#[derive(Clone, Debug)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
    pub has_status: bool,
    pub has_scale: bool,
    pub generation: Generation,
    /// Defined by a CustomResourceDefinition: an update must carry a resourceVersion, a wrong PUT is no overwrite.
    pub is_custom: bool,
    /// The structural schema; `None`: the store does not know it, and every field passes.
    pub schema: Option<Arc<Value>>,
}

impl Kind {
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `deployments.apps`, as messages name it.
    #[must_use]
    pub fn resource(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    /// `Deployment.apps`, as messages about invalid objects name it.
    #[must_use]
    pub fn qualified(&self) -> String {
        if self.group.is_empty() { self.kind.clone() } else { format!("{}.{}", self.kind, self.group) }
    }

    /// The kind that a CustomResourceDefinition adds: its storage version.
    #[must_use]
    pub fn of_crd(crd: &Value) -> Option<Self> {
        let versions = list(crd, &["spec", "versions"]);
        let version = versions.iter().find(|version| flag(version, &["storage"])).or(versions.first())?;
        Some(Self {
            group: text(crd, &["spec", "group"]).to_owned(),
            version: text(version, &["name"]).to_owned(),
            kind: text(crd, &["spec", "names", "kind"]).to_owned(),
            plural: text(crd, &["spec", "names", "plural"]).to_owned(),
            namespaced: text(crd, &["spec", "scope"]) == "Namespaced",
            has_status: at(version, &["subresources", "status"]).is_some(),
            has_scale: at(version, &["subresources", "scale"]).is_some(),
            generation: Generation::AllButStatus,
            is_custom: true,
            schema: at(version, &["schema", "openAPIV3Schema"]).cloned().map(Arc::new),
        })
    }
}

/// What the table gives of a kind, in letters: `n` namespaced, `s` status, `c` scale, `g` generation with spec.
const BUILT_IN: &[(&str, &str, &str, &str, &str)] = &[
    ("", "v1", "Namespace", "namespaces", "s"),
    ("", "v1", "Node", "nodes", "s"),
    ("", "v1", "Pod", "pods", "nsg"),
    ("", "v1", "Service", "services", "ns"),
    ("", "v1", "ConfigMap", "configmaps", "n"),
    ("", "v1", "Secret", "secrets", "n"),
    ("", "v1", "ServiceAccount", "serviceaccounts", "n"),
    ("", "v1", "Event", "events", "n"),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "ns"),
    ("apps", "v1", "Deployment", "deployments", "nscg"),
    ("apps", "v1", "ReplicaSet", "replicasets", "nscg"),
    ("apps", "v1", "StatefulSet", "statefulsets", "nscg"),
    ("apps", "v1", "DaemonSet", "daemonsets", "nsg"),
    ("batch", "v1", "Job", "jobs", "nsg"),
    ("batch", "v1", "CronJob", "cronjobs", "nsg"),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "ns"),
    ("coordination.k8s.io", "v1", "Lease", "leases", "n"),
    ("events.k8s.io", "v1", "Event", "events", "n"),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "ng"),
    ("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "ng"),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "nsg"),
    ("rbac.authorization.k8s.io", "v1", "Role", "roles", "n"),
    ("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", "n"),
    ("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", ""),
    ("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", ""),
    ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "sg"),
];

/// Served without a schema: the store defaults them as the real definitions do, and knows their status.
const GATEWAY: &[(&str, &str)] = &[("HTTPRoute", "httproutes"), ("GRPCRoute", "grpcroutes"), ("Gateway", "gateways")];
pub const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// All kinds of an empty cluster with the Gateway API and Sluice's definitions.
#[must_use]
pub fn served() -> Vec<Kind> {
    let mut kinds: Vec<Kind> = BUILT_IN
        .iter()
        .map(|(group, version, kind, plural, letters)| Kind {
            group: (*group).to_owned(),
            version: (*version).to_owned(),
            kind: (*kind).to_owned(),
            plural: (*plural).to_owned(),
            namespaced: letters.contains('n'),
            has_status: letters.contains('s'),
            has_scale: letters.contains('c'),
            generation: match (*kind, letters.contains('g')) {
                ("Deployment", _) => Generation::SpecAndAnnotations,
                (_, true) => Generation::Spec,
                (_, false) => Generation::None,
            },
            is_custom: false,
            schema: None,
        })
        .collect();
    kinds.extend(GATEWAY.iter().map(|(kind, plural)| Kind {
        group: GATEWAY_GROUP.to_owned(),
        version: "v1".to_owned(),
        kind: (*kind).to_owned(),
        plural: (*plural).to_owned(),
        namespaced: true,
        has_status: true,
        has_scale: false,
        generation: Generation::AllButStatus,
        is_custom: true,
        schema: None,
    }));
    let crds = sluice_crds::crds();
    kinds.extend(crds.iter().filter_map(|crd| Kind::of_crd(&serde_json::to_value(crd).ok()?)));
    kinds
}
