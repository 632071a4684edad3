//! Objects of any kind by key: read fresh, listed one by one, written with preconditions, every answer classified.
//!
//! Values are plain JSON: what this version does not know it neither drops nor fails on.

mod classify;
mod key;
mod kinds;
mod prune;
mod read;
mod read_error;
#[cfg(test)]
mod read_tests;
pub(crate) mod request;
mod status;
mod write;
mod write_error;
#[cfg(test)]
mod write_tests;

pub use key::ObjectKey;
pub use kinds::{KindError, Kinds, ServedKind};
pub use read::{Listing, Unreadable};
pub use read_error::ReadError;
pub use status::{Cause, MESSAGE_MAX_BYTES};
pub use write::{ApplyOptions, Propagation};
pub use write_error::{HeldField, RefusedBy, WriteError};

use key::encode;
pub(crate) use key::is_segment;

/// Reads and writes as one identity. Cheap to clone.
#[derive(Clone)]
pub struct Objects {
    client: kube::Client,
    kinds: Kinds,
}

/// Why a key has no address.
enum NoAddress {
    Kind(KindError),
    Invalid(String),
}

impl Objects {
    #[must_use]
    pub fn new(client: kube::Client, kinds: Kinds) -> Self {
        Self { client, kinds }
    }

    #[must_use]
    pub fn kinds(&self) -> &Kinds {
        &self.kinds
    }

    /// The address of the collection that the key's object is in.
    async fn collection(&self, key: &ObjectKey) -> Result<String, NoAddress> {
        let served = self.kinds.resolve(&key.group, &key.version, &key.kind).await.map_err(NoAddress::Kind)?;
        match (&key.namespace, served.namespaced) {
            (Some(namespace), true) => collection_path(&served, Some(namespace)),
            (None, false) => collection_path(&served, None),
            (None, true) => Err(NoAddress::Invalid(format!("{} is namespaced, but no namespace is given", key.kind))),
            (Some(_), false) => Err(NoAddress::Invalid(format!("{} is cluster-scoped, but a namespace is given", key.kind))),
        }
    }

    async fn address(&self, key: &ObjectKey, subresource: Option<&str>) -> Result<String, NoAddress> {
        let mut path = self.collection(key).await?;
        for segment in [Some(key.name.as_str()), subresource].into_iter().flatten() {
            if !is_segment(segment) {
                return Err(NoAddress::Invalid(format!("{segment:?} is no valid name")));
            }
            path.push('/');
            encode(segment, &mut path);
        }
        Ok(path)
    }
}

fn collection_path(served: &ServedKind, namespace: Option<&str>) -> Result<String, NoAddress> {
    let mut path = if served.group.is_empty() { "/api/".to_owned() } else { format!("/apis/{}/", served.group) };
    path.push_str(&served.version);
    if let Some(namespace) = namespace {
        if !is_segment(namespace) {
            return Err(NoAddress::Invalid(format!("{namespace:?} is no valid namespace")));
        }
        path.push_str("/namespaces/");
        encode(namespace, &mut path);
    }
    path.push('/');
    path.push_str(&served.plural);
    Ok(path)
}
