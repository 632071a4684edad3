//! The two identities of a worker: the controller's own for its records, the tenant's ServiceAccount for the application.

use serde_json::Value;
use sluice_cluster::object::{ObjectKey, Objects};
use sluice_crds::gitsync::GitSync;
use sluice_plan::Id;

/// The version through which an object is read and written: the one that Git gives, else the preferred one of a known group.
#[must_use]
pub fn key(id: &Id, object: Option<&Value>) -> ObjectKey {
    let version = object
        .and_then(|object| object.get("apiVersion"))
        .and_then(Value::as_str)
        .map(|api_version| api_version.rsplit('/').next().unwrap_or(api_version))
        .unwrap_or_else(|| known_version(&id.group));
    ObjectKey::new(&id.group, version, &id.kind, id.namespace.as_deref(), &id.name)
}

fn known_version(group: &str) -> &'static str {
    match group {
        sluice_crds::names::GROUP => sluice_crds::names::VERSION,
        "autoscaling" => "v2",
        _ => "v1",
    }
}

/// A GitSync's own key.
#[must_use]
pub fn sync_key(namespace: &str, name: &str) -> ObjectKey {
    own_key("GitSync", namespace, name)
}

/// The key of one of our own kinds.
#[must_use]
pub fn own_key(kind: &str, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::new(sluice_crds::names::GROUP, sluice_crds::names::VERSION, kind, Some(namespace), name)
}

/// Who acts on one GitSync's behalf.
#[derive(Clone)]
pub struct Identities {
    /// The controller: its own kinds, snapshots, events.
    pub own: Objects,
    /// The tenant: everything of the application, and its Secrets.
    pub tenant: Objects,
}

/// The namespace that objects of a GitSync go to when they name none.
#[must_use]
pub fn target_namespace(sync: &GitSync) -> &str {
    sync.spec.target.namespace.as_deref().or(sync.metadata.namespace.as_deref()).unwrap_or("default")
}
