//! What an operator gives a team: a namespace, a ServiceAccount with rights in it, and a GitSync.

use anyhow::Result;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Kind};

/// The ServiceAccount of every test application.
pub const ACCOUNT: &str = "deployer";

/// Makes a namespace with a deployer that may do in it what an application needs.
///
/// # Errors
/// The API server's.
pub async fn create(cluster: &Cluster, namespace: &str) -> Result<()> {
    cluster.create_namespace(namespace).await?;
    cluster
        .apply(
            Kind::ServiceAccount,
            namespace,
            &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}),
        )
        .await?;
    cluster.apply(Kind::Role, namespace, &role(&["*"])).await?;
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": ACCOUNT},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ACCOUNT},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    });
    cluster.apply(Kind::RoleBinding, namespace, &binding).await?;
    Ok(())
}

/// The deployer's rights, with these verbs on everything that applications of tests have.
#[must_use]
pub fn role(verbs: &[&str]) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": ACCOUNT},
        "rules": [
            {"apiGroups": [""], "resources": ["services", "configmaps", "secrets", "pods"], "verbs": verbs},
            {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": verbs},
            {"apiGroups": ["autoscaling"], "resources": ["horizontalpodautoscalers"], "verbs": verbs},
            {"apiGroups": ["gateway.networking.k8s.io"], "resources": ["httproutes"], "verbs": verbs},
            {"apiGroups": ["sluice.dev"], "resources": ["rollouts", "rollouts/finalizers", "analysistemplates"], "verbs": verbs},
        ],
    })
}

/// A GitSync for a repository.
#[must_use]
pub fn git_sync(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "sluice.dev/v1alpha1", "kind": "GitSync", "metadata": {"name": name},
        "spec": {
            "source": {"url": url, "ref": {"branch": "main"}},
            "interval": "1s",
            "target": {"serviceAccountName": ACCOUNT},
        },
    })
}
