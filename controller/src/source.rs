//! From Git to a checked snapshot: look, fetch, render, check, store. Runs beside the worker and never in its way: with Git gone
//! the cluster is kept, and rolled back, from snapshots.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use sluice_cluster::object::{ObjectKey, Objects};
use sluice_crds::gitsync::{self, GitSync, Refused, Revision};
use sluice_plan::check::{bounded, compile, named};
use sluice_plan::world::Candidate;
use sluice_plan::{Id, Render};
use sluice_source::git::{Credentials, GitCache, Reference, Remote, RemoteUrl, UrlPolicy};
use sluice_source::render::{Mode, Renderer};
use sluice_source::{Category, Secret};
use tokio::sync::{Notify, Semaphore};

use crate::preflight;
use crate::snapshot::Snapshots;
use crate::tenant::{Identities, target_namespace};

/// Renders and fetches at once, over all GitSyncs: each may take a core.
const CONCURRENT: usize = 2;
/// The first pause after a failure; doubled up to the GitSync's interval.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// A failed check of the whole revision is looked at again after this time though Git is unchanged: quota and rights change too.
const RECHECK: Duration = Duration::from_secs(60);
/// Twelve digits name a commit to people.
const SHORT_SHA: usize = 12;

/// What all sources share.
pub struct Shop {
    pub cache: GitCache,
    pub renderer: Renderer,
    pub policy: UrlPolicy,
    pub slots: Semaphore,
}

impl Shop {
    /// A shop over a cache and a renderer.
    #[must_use]
    pub fn new(cache: GitCache, renderer: Renderer, policy: UrlPolicy) -> Self {
        Self { cache, renderer, policy, slots: Semaphore::new(CONCURRENT) }
    }
}

/// What a source knows, for its worker.
#[derive(Default)]
pub struct Shelf {
    state: Mutex<ShelfState>,
}

#[derive(Default)]
struct ShelfState {
    candidate: Option<Candidate>,
    /// The rendered candidate, so that the worker need not read its snapshot back.
    render: Option<Arc<Render>>,
}

impl Shelf {
    /// What Git shows, as far as it is known.
    #[must_use]
    pub fn candidate(&self) -> (Candidate, Option<Arc<Render>>) {
        self.state.lock().map_or((Candidate::Unknown {}, None), |state| {
            (state.candidate.clone().unwrap_or(Candidate::Unknown {}), state.render.clone())
        })
    }

    fn put(&self, candidate: Candidate, render: Option<Arc<Render>>) -> bool {
        let Ok(mut state) = self.state.lock() else { return false };
        let changed = state.candidate.as_ref() != Some(&candidate);
        state.candidate = Some(candidate);
        state.render = render;
        changed
    }
}

/// What was done last, so that an unchanged world costs one question to the remote.
#[derive(Default)]
struct Memory {
    inputs: String,
    sha: String,
    tree_key: String,
    render: Option<Arc<Render>>,
    /// A commit that was refused, and when: the same commit is not rendered at every look.
    refused: Option<(String, Refused, tokio::time::Instant)>,
}

/// One GitSync's source.
pub struct Source {
    pub identities: Identities,
    pub snapshots: Snapshots,
    pub shop: Arc<Shop>,
    pub shelf: Arc<Shelf>,
    /// Wakes the worker.
    pub wake_worker: Arc<Notify>,
    /// Wakes this source: a webhook, a changed spec.
    pub wake: Arc<Notify>,
    pub key: ObjectKey,
}

/// Why nothing came of a look.
enum Failure {
    /// Of the content or the configuration: the next look may be slow in coming.
    Refused(Refused),
    /// Of the moment.
    Transient(Refused),
}

fn refused(sha: &str, reason: &str, message: &str) -> Refused {
    Refused { sha: sha.to_owned(), reason: reason.to_owned(), message: bounded(message) }
}

impl Source {
    /// Looks at Git until it is dropped.
    pub async fn run(self) {
        let mut memory = Memory::default();
        let mut failures = 0_u32;
        loop {
            let sync = match self.identities.own.get(&self.key).await {
                Ok(Some(object)) => serde_json::from_value::<GitSync>(object).ok(),
                Ok(None) => return,
                Err(_) => None,
            };
            let interval = sync
                .as_ref()
                .and_then(|sync| sync.spec.interval.seconds().ok())
                .map_or(RETRY_FIRST, |s| Duration::from_secs(u64::try_from(s).unwrap_or(60).max(1)));
            let mut pause = interval;
            if let Some(sync) = sync {
                let (candidate, render, failed) = match self.look(&sync, &mut memory).await {
                    Ok((revision, render)) => (Candidate::Ready(revision), Some(render), false),
                    Err(Failure::Refused(refused)) => {
                        pause = pause.min(RECHECK);
                        (Candidate::Refused(refused), None, false)
                    }
                    Err(Failure::Transient(refused)) => {
                        memory.sha.clear();
                        (Candidate::Refused(refused), None, true)
                    }
                };
                failures = if failed { failures.saturating_add(1) } else { 0 };
                if failed {
                    pause = interval.min(RETRY_FIRST * 2_u32.saturating_pow(failures.min(6)));
                }
                if self.shelf.put(candidate, render) {
                    self.wake_worker.notify_one();
                }
            }
            let () = tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            };
        }
    }

    async fn look(&self, sync: &GitSync, memory: &mut Memory) -> Result<(Revision, Arc<Render>), Failure> {
        let inputs = format!("{:?} {:?} {} {:?}", sync.spec.source, sync.spec.render, sync.spec.path, sync.spec.target);
        if memory.inputs != inputs {
            *memory = Memory { inputs, ..Memory::default() };
        }
        let result = self.look_with(sync, memory).await;
        if let Err(Failure::Refused(refused)) = &result
            && !refused.sha.is_empty()
            && memory.refused.as_ref().is_none_or(|(sha, _, _)| *sha != refused.sha)
        {
            memory.refused = Some((refused.sha.clone(), refused.clone(), tokio::time::Instant::now()));
        }
        result
    }

    async fn look_with(&self, sync: &GitSync, memory: &mut Memory) -> Result<(Revision, Arc<Render>), Failure> {
        let remote = self.remote(sync).await?;
        let mode = match sync.spec.render {
            None => Mode::Auto,
            Some(gitsync::Render::Plain {}) => Mode::Plain,
            Some(gitsync::Render::Kustomize {}) => Mode::Kustomize,
        };
        memory.refused = memory.refused.take().filter(|(_, _, at)| at.elapsed() < RECHECK);
        let slot = self.shop.slots.acquire().await;
        let shop = self.shop.clone();
        let (asked, known) = (remote.clone(), memory.refused.as_ref().map_or(memory.sha.clone(), |(sha, _, _)| sha.clone()));
        let path = sync.spec.path.clone();
        let known_tree = (memory.tree_key.clone(), memory.render.clone());
        let found = tokio::task::spawn_blocking(move || fetch(&shop, &asked, &known, &path, mode, known_tree)).await.map_err(
            |_| Failure::Transient(refused("", "SourceFailed", "reading the repository failed unexpectedly; it is tried again")),
        )??;
        drop(slot);
        let Some(fetched) = found else {
            if let Some((_, refused, _)) = &memory.refused {
                return Err(Failure::Refused(refused.clone()));
            }
            // Unchanged: what is on the shelf stays.
            if let (Candidate::Ready(revision), Some(render)) = self.shelf.candidate() {
                return Ok((revision, render));
            }
            memory.sha.clear();
            return Err(Failure::Transient(refused("", "SourceFailed", "the last look was not finished; it is tried again")));
        };
        let sha = fetched.revision.sha.clone();
        let render = match fetched.content {
            Content::Known(render) => render,
            Content::New(objects) => Arc::new(self.normalise(sync, objects, &sha).await?),
        };
        let revision = Revision {
            short: sha.chars().take(SHORT_SHA).collect(),
            sha: sha.clone(),
            digest: render.digest.clone(),
            author: fetched.revision.author,
            subject: fetched.revision.subject,
        };
        self.check(sync, &render, &sha).await?;
        self.snapshots
            .store(&render)
            .await
            .map_err(|error| Failure::Transient(refused(&sha, "SnapshotFailed", &chain(&error))))?;
        memory.sha = sha;
        memory.tree_key = fetched.tree_key;
        memory.render = Some(render.clone());
        memory.refused = None;
        Ok((revision, render))
    }

    async fn check(&self, sync: &GitSync, render: &Render, sha: &str) -> Result<(), Failure> {
        let status = sync.status.clone().unwrap_or_default();
        let is_known = status.good.as_ref().is_some_and(|good| good.digest == render.digest)
            || status.quarantine.iter().any(|entry| entry.digest == render.digest);
        if is_known {
            return Ok(());
        }
        let objects = named(Some(render));
        let templates = cluster_templates(&self.identities.own, &objects)
            .await
            .map_err(|message| Failure::Transient(refused(sha, "TemplatesUnreadable", &message)))?;
        compile(&objects, &templates, 1).map_err(|error| Failure::Refused(refused(sha, error.reason(), &error.to_string())))?;
        match preflight::check(&self.identities, sync, render, sha).await {
            Ok(None) => Ok(()),
            Ok(Some(refused)) => Err(Failure::Refused(refused)),
            Err(error) => Err(Failure::Transient(refused(sha, error.reason(), &chain(&error)))),
        }
    }

    /// Gives every object of a namespaced kind its namespace.
    async fn normalise(&self, sync: &GitSync, objects: Vec<Value>, sha: &str) -> Result<Render, Failure> {
        let own_kinds: Vec<(String, String, bool)> = objects
            .iter()
            .filter(|object| object.get("kind").and_then(Value::as_str) == Some("CustomResourceDefinition"))
            .map(|crd| {
                let text = |path: &str| crd.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                (text("/spec/group"), text("/spec/names/kind"), text("/spec/scope") == "Namespaced")
            })
            .collect();
        let mut placed = Vec::with_capacity(objects.len());
        for mut object in objects {
            let Some(id) = Id::of(&object) else {
                return Err(Failure::Refused(refused(sha, "NoIdentity", "an object has no apiVersion, kind or metadata.name")));
            };
            let key = crate::tenant::key(&id, Some(&object));
            let own = own_kinds.iter().find(|(group, kind, _)| *group == id.group && *kind == id.kind);
            let namespaced = match own {
                Some((_, _, namespaced)) => *namespaced,
                None => match self.identities.own.kinds().resolve(&key.group, &key.version, &key.kind).await {
                    Ok(served) => served.namespaced,
                    Err(error) if error.is_transient() => {
                        return Err(Failure::Transient(refused(sha, error.reason(), &error.to_string())));
                    }
                    Err(error) => return Err(Failure::Refused(refused(sha, error.reason(), &format!("{id}: {error}")))),
                },
            };
            if namespaced && id.namespace.is_none() {
                sluice_plan::view::set(&mut object, &["metadata", "namespace"], serde_json::json!(target_namespace(sync)));
            } else if !namespaced {
                sluice_plan::view::remove(&mut object, &["metadata", "namespace"]);
            }
            placed.push(object);
        }
        Render::from_objects(placed).map_err(|error| Failure::Refused(refused(sha, "DuplicateObject", &error.to_string())))
    }

    async fn remote(&self, sync: &GitSync) -> Result<Remote, Failure> {
        let fail =
            |error: &sluice_source::git::FetchError| of_error(error.category(), refused("", error.reason(), &chain(error)));
        let source = &sync.spec.source;
        let url = RemoteUrl::parse(&source.url, &self.shop.policy).map_err(|error| fail(&error))?;
        let reference = match &source.reference {
            gitsync::Reference::Branch(name) => Reference::Branch(name.clone()),
            gitsync::Reference::Tag(name) => Reference::Tag(name.clone()),
            gitsync::Reference::Commit(sha) => Reference::Commit { sha: sha.clone(), branch: None },
        };
        reference.validate().map_err(|error| fail(&error))?;
        let (mut credentials, mut ca_bundle_pem) = (None, None);
        if let Some(named) = &source.credentials {
            let name = &named.secret_ref.name;
            let namespace = sync.metadata.namespace.as_deref().unwrap_or("default");
            let key = ObjectKey::new("", "v1", "Secret", Some(namespace), name);
            let secret = self.identities.tenant.get(&key).await.map_err(|error| {
                let message =
                    format!("Secret {name} with the Git credentials cannot be read as the target's ServiceAccount: {error}");
                Failure::Transient(refused("", "CredentialsUnreadable", &message))
            })?;
            let secret = secret.ok_or_else(|| {
                Failure::Transient(refused(
                    "",
                    "CredentialsMissing",
                    &format!("Secret {name} with the Git credentials does not exist; create it"),
                ))
            })?;
            let field = |field: &str| -> Option<String> {
                let value = secret.get("data")?.get(field)?.clone();
                let bytes = serde_json::from_value::<k8s_openapi::ByteString>(value).ok()?.0;
                String::from_utf8(bytes).ok().map(|text| text.trim_end_matches('\n').to_owned())
            };
            ca_bundle_pem = field("ca.crt").map(String::into_bytes);
            credentials = match (field("token"), field("username"), field("password")) {
                (Some(token), _, _) => Some(Credentials::Token(Secret::new(token))),
                (None, Some(username), Some(password)) => Some(Credentials::Basic { username, password: Secret::new(password) }),
                _ if ca_bundle_pem.is_some() => None,
                _ => {
                    let message = format!("Secret {name} needs username and password, or token");
                    return Err(Failure::Refused(refused("", "CredentialsIncomplete", &message)));
                }
            };
        }
        Ok(Remote { url, reference, credentials, ca_bundle_pem })
    }
}

struct Fetched {
    revision: sluice_source::git::Revision,
    tree_key: String,
    content: Content,
}

enum Content {
    /// The tree is the one that was rendered last.
    Known(Arc<Render>),
    New(Vec<Value>),
}

/// The blocking part. `None`: the remote shows the commit that is known.
fn fetch(
    shop: &Shop,
    remote: &Remote,
    known_sha: &str,
    path: &str,
    mode: Mode,
    known_tree: (String, Option<Arc<Render>>),
) -> Result<Option<Fetched>, Failure> {
    let of_fetch =
        |error: sluice_source::git::FetchError| of_error(error.category(), refused("", error.reason(), &chain(&error)));
    let sha = shop.cache.look(remote).map_err(of_fetch)?;
    if known_sha == sha {
        return Ok(None);
    }
    let revision = shop.cache.fetch(remote).map_err(of_fetch)?;
    let tree = shop
        .cache
        .read(remote, &revision.sha, path, mode)
        .map_err(|error| of_error(error.category(), refused(&revision.sha, error.reason(), &chain(&error))))?;
    if let (key, Some(render)) = known_tree
        && key == tree.key
    {
        return Ok(Some(Fetched { revision, tree_key: key, content: Content::Known(render) }));
    }
    let render = shop
        .renderer
        .render(&tree)
        .map_err(|error| of_error(error.category(), refused(&revision.sha, error.reason(), &chain(&error))))?;
    Ok(Some(Fetched { revision, tree_key: tree.key, content: Content::New(render.objects) }))
}

fn of_error(category: Category, refused: Refused) -> Failure {
    match category {
        Category::Transient => Failure::Transient(refused),
        _ => Failure::Refused(refused),
    }
}

/// The ClusterAnalysisTemplates that a revision's Rollouts name.
///
/// # Errors
/// A sentence, when one cannot be read.
pub async fn cluster_templates(
    own: &Objects,
    objects: &std::collections::BTreeMap<Id, Value>,
) -> Result<std::collections::BTreeMap<String, Value>, String> {
    let mut templates = std::collections::BTreeMap::new();
    for (_, rollout) in objects.iter().filter(|(id, _)| id.is(sluice_crds::names::GROUP, "Rollout")) {
        for reference in sluice_plan::view::list(rollout, &["spec", "analysis", "templates"]) {
            let name = sluice_plan::view::text(reference, &["name"]);
            if sluice_plan::view::text(reference, &["kind"]) != "ClusterAnalysisTemplate" || templates.contains_key(name) {
                continue;
            }
            let id = Id::new(sluice_crds::names::GROUP, "ClusterAnalysisTemplate", "", name);
            if let Some(template) = own.get(&crate::tenant::key(&id, None)).await.map_err(|error| error.to_string())? {
                templates.insert(name.to_owned(), template);
            }
        }
    }
    Ok(templates)
}

/// An error with its causes, on one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
