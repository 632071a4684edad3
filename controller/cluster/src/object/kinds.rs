//! Which kinds the cluster serves, under which address: looked up group by group, so that a broken group hides no other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;

use super::key::is_segment;
use super::request::Call;
use super::status::{ApiStatus, clip};

/// A kind that is missing is looked for again after this long at the earliest: a commit may install the CRD it uses.
const REFRESH_MIN: Duration = Duration::from_secs(3);
/// Groups remembered. A cluster has some dozens; the rest are misspellings from Git.
const GROUPS_MAX: usize = 512;

/// Where a kind is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedKind {
    pub group: String,
    pub version: String,
    pub kind: String,
    /// The plural in the address.
    pub plural: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    /// Subresources by name: `status`, `scale`.
    pub subresources: Vec<String>,
    /// What the server prefers for the group.
    pub preferred_version: String,
}

impl ServedKind {
    /// For kube's own APIs (watchers).
    #[must_use]
    pub fn api_resource(&self) -> kube::core::ApiResource {
        let gvk = kube::core::GroupVersionKind::gvk(&self.group, &self.version, &self.kind);
        kube::core::ApiResource::from_gvk_with_plural(&gvk, &self.plural)
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum KindError {
    #[error("the cluster serves no kind {kind} in {group_version}; install its CRD, or correct apiVersion and kind")]
    Unknown { group_version: String, kind: String },
    #[error("{kind} is served as {served}, not as {version}; use one of those")]
    Version { kind: String, version: String, served: String },
    #[error("{text:?} is no API group, version or kind")]
    Malformed { text: String },
    #[error("looking up the API group {group:?} failed: {message}")]
    Discovery { group: String, message: String },
}

impl KindError {
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "UnknownKind",
            Self::Version { .. } => "UnknownVersion",
            Self::Malformed { .. } => "InvalidName",
            Self::Discovery { .. } => "DiscoveryFailed",
        }
    }

    /// Only a failed look-up: a missing kind stays missing until somebody installs it.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Discovery { .. })
    }
}

#[derive(Default)]
struct Group {
    /// By version, in the server's order.
    versions: Vec<(String, Vec<ServedKind>)>,
    looked_up: Option<Instant>,
    /// Of the last look-up; kinds known from before stay known.
    failure: Option<String>,
}

/// Shared by all clones.
#[derive(Clone)]
pub struct Kinds {
    client: kube::Client,
    groups: Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Group>>>>>,
}

impl Kinds {
    /// The client's own account needs no more than what every account may do: read discovery.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client, groups: Arc::default() }
    }

    /// An empty version asks for the one that the server prefers.
    pub async fn resolve(&self, group: &str, version: &str, kind: &str) -> Result<ServedKind, KindError> {
        for text in [group, version, kind] {
            if !text.is_empty() && !is_segment(text) {
                return Err(KindError::Malformed { text: clip(text) });
            }
        }
        if kind.is_empty() {
            return Err(KindError::Malformed { text: String::new() });
        }
        let entry = self.entry(group);
        let mut entry = entry.lock().await;
        if let Ok(found) = entry.find(group, version, kind) {
            return Ok(found);
        }
        if entry.looked_up.is_none_or(|at| at.elapsed() >= REFRESH_MIN) {
            entry.refresh(&self.client, group).await;
        }
        entry.find(group, version, kind)
    }

    /// The server no longer serves it under this address: ask again.
    pub(crate) async fn forget(&self, group: &str) {
        let entry = self.entry(group);
        let mut entry = entry.lock().await;
        entry.versions.clear();
    }

    fn entry(&self, group: &str) -> Arc<tokio::sync::Mutex<Group>> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= GROUPS_MAX && !groups.contains_key(group) {
            groups.clear();
        }
        groups.entry(group.to_owned()).or_default().clone()
    }
}

impl Group {
    fn find(&self, group: &str, version: &str, kind: &str) -> Result<ServedKind, KindError> {
        let serving: Vec<&ServedKind> =
            self.versions.iter().flat_map(|(_, kinds)| kinds).filter(|served| served.kind == kind).collect();
        let found = if version.is_empty() {
            serving.iter().find(|served| served.version == served.preferred_version).or(serving.first())
        } else {
            serving.iter().find(|served| served.version == version)
        };
        if let Some(found) = found {
            return Ok((*found).clone());
        }
        if let Some(message) = &self.failure {
            return Err(KindError::Discovery { group: group.to_owned(), message: message.clone() });
        }
        if serving.is_empty() {
            let group_version = [group, version].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
            return Err(KindError::Unknown { group_version, kind: kind.to_owned() });
        }
        let served = serving.iter().map(|served| served.version.as_str()).collect::<Vec<_>>().join(", ");
        Err(KindError::Version { kind: kind.to_owned(), version: version.to_owned(), served })
    }

    async fn refresh(&mut self, client: &kube::Client, group: &str) {
        match look_up(client, group).await {
            Ok((versions, failure)) => {
                // a version that could not be read keeps what was known of it
                let mut fresh = Vec::new();
                for (version, kinds) in versions {
                    let known = || self.versions.iter().find(|(known, _)| *known == version).map(|(_, kinds)| kinds.clone());
                    let kinds = kinds.or_else(known).unwrap_or_default();
                    fresh.push((version, kinds));
                }
                self.versions = fresh;
                self.failure = failure;
            }
            Err(message) => self.failure = Some(message),
        }
        self.looked_up = Some(Instant::now());
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroup {
    #[serde(default)]
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    #[serde(default)]
    namespaced: bool,
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
}

type Versions = Vec<(String, Option<Vec<ServedKind>>)>;

/// Fails only if the group as a whole cannot be read; a version that cannot be read is `None` and named beside.
async fn look_up(client: &kube::Client, group: &str) -> Result<(Versions, Option<String>), String> {
    let (prefix, described) = if group.is_empty() {
        let core = || GroupVersion { version: "v1".to_owned() };
        ("/api".to_owned(), ApiGroup { versions: vec![core()], preferred_version: Some(core()) })
    } else {
        let path = format!("/apis/{group}");
        match fetch::<ApiGroup>(client, &path).await? {
            Some(described) => (path, described),
            None => return Ok((Vec::new(), None)),
        }
    };
    let preferred = described
        .preferred_version
        .or_else(|| described.versions.first().map(|first| GroupVersion { version: first.version.clone() }));
    let preferred = preferred.map(|preferred| preferred.version).unwrap_or_default();
    let mut versions = Vec::new();
    let mut failure = None;
    for GroupVersion { version } in described.versions {
        if !is_segment(&version) {
            continue;
        }
        let kinds = match fetch::<ResourceList>(client, &format!("{prefix}/{version}")).await {
            Ok(list) => Some(list.map(|list| served_kinds(group, &version, &preferred, list.resources)).unwrap_or_default()),
            Err(message) => {
                failure = Some(message);
                None
            }
        };
        versions.push((version, kinds));
    }
    Ok((versions, failure))
}

fn served_kinds(group: &str, version: &str, preferred: &str, resources: Vec<Resource>) -> Vec<ServedKind> {
    let mut subresources: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for resource in &resources {
        if let Some((parent, subresource)) = resource.name.split_once('/') {
            subresources.entry(parent.to_owned()).or_default().push(subresource.to_owned());
        }
    }
    let whole = resources.into_iter().filter(|resource| !resource.name.contains('/') && is_segment(&resource.name));
    whole
        .map(|resource| ServedKind {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: resource.kind,
            subresources: subresources.remove(&resource.name).unwrap_or_default(),
            plural: resource.name,
            namespaced: resource.namespaced,
            verbs: resource.verbs,
            preferred_version: preferred.to_owned(),
        })
        .collect()
}

/// `None` if the server knows no such group or version.
async fn fetch<T: serde::de::DeserializeOwned>(client: &kube::Client, path: &str) -> Result<Option<T>, String> {
    let answer = Call::new(Method::GET, path.to_owned()).send(client).await.map_err(|unanswered| unanswered.message)?;
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map(Some).map_err(|error| clip(&format!("{path}: {error}"))),
        StatusCode::NOT_FOUND => Ok(None),
        other => Err(clip(&format!("{path} answers {}: {}", other.as_u16(), ApiStatus::parse(&answer.body).message))),
    }
}
