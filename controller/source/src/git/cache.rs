//! Bare repositories on local disk, one per remote and reference, each of them disposable.
//!
//! A fetch goes into the repository of its remote when that is sound and not worn, else into a new one that takes its place
//! only when complete. Whatever goes wrong, what was there before stays or is thrown away as a whole.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use git2::Repository;
use sha2::{Digest as _, Sha256};

use super::advertisement::{Advertised, Wanted};
use super::error::{cache_damaged, is_full_sha};
use super::transport::{self, PLACEHOLDER_URL, Session, WANTED_REF};
use super::wire::Clock;
use super::{Credentials, FetchError, GitLimits, Reference, Remote, Revision};
use crate::render::Mode;
use crate::tree::{SourceTree, TreeError};

/// Where a fetched reference is kept inside its repository.
const HEAD_REF: &str = "refs/sluice/head";
/// Prefix of repositories that are not complete; those found at the start are left from a crash.
const STAGING_PREFIX: &str = "new-";
const SALT_FILE: &str = "salt";
const SALT_BYTES: usize = 32;

pub struct GitCache {
    dir: PathBuf,
    limits: GitLimits,
    /// Makes the digest of credentials in directory names useless to whoever reads those names.
    salt: Vec<u8>,
    busy: Mutex<HashSet<String>>,
    freed: Condvar,
}

/// How much history to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum History {
    None,
    Full,
}

impl GitCache {
    /// Uses `dir`, which must be for this alone, and clears what a crash left in it.
    pub fn new(dir: PathBuf, limits: GitLimits) -> Result<Self, FetchError> {
        let failed = |action| move |source| FetchError::Cache { action, source };
        fs::create_dir_all(&dir).map_err(failed("create its directory"))?;
        for entry in fs::read_dir(&dir).map_err(failed("list its directory"))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(STAGING_PREFIX) {
                remove(&entry.path()).map_err(failed("remove an unfinished repository"))?;
            }
        }
        let salt = salt(&dir.join(SALT_FILE)).map_err(failed("keep its salt"))?;
        Ok(Self { dir, limits, salt, busy: Mutex::default(), freed: Condvar::new() })
    }

    /// Asks the remote which commit the wanted reference is at, and fetches nothing. A commit needs no asking.
    pub fn look(&self, remote: &Remote) -> Result<String, FetchError> {
        let clock = self.admit(remote)?;
        if let Reference::Commit { sha, .. } = &remote.reference {
            return Ok(sha.clone());
        }
        if let Some(path) = remote.url.file_path() {
            return local_commit(&path, &remote.reference);
        }
        let session = Session::new(remote, &self.limits, clock);
        Ok(find(&session, &remote.reference)?.commit().to_owned())
    }

    /// Fetches the wanted reference, incrementally where there is something to build on, and returns its commit.
    pub fn fetch(&self, remote: &Remote) -> Result<Revision, FetchError> {
        let clock = self.admit(remote)?;
        let key = self.key(remote);
        let _held = self.hold(&key, clock)?;
        let dir = self.dir.join(&key);
        if let Reference::Commit { sha, .. } = &remote.reference
            && let Ok(revision) = open(&dir).and_then(|repository| revision(&repository, sha))
        {
            return Ok(revision);
        }
        if let Some(path) = remote.url.file_path() {
            return self.fetch_local(&path, remote, &dir);
        }
        let session = Arc::new(Session::new(remote, &self.limits, clock));
        let found = find(&session, &remote.reference)?;
        let attempt = self.fetch_found(&session, &found, &dir);
        match (attempt, &remote.reference) {
            (Err(FetchError::PackRefused { .. } | FetchError::CommitMissing { .. }), Reference::Commit { sha, branch }) => {
                self.search_history(&session, sha, branch.as_deref(), &dir)
            }
            (Err(FetchError::CommitMissing { .. }), reference) => {
                Err(FetchError::NotACommit { reference: reference.to_string() })
            }
            (outcome, _) => outcome,
        }
    }

    /// Reads what `path` needs from a commit that was fetched before. Nothing is written and the network is not used.
    pub fn read(&self, remote: &Remote, sha: &str, path: &str, mode: Mode) -> Result<SourceTree, TreeError> {
        let missing = || TreeError::CommitMissing { sha: crate::error::quoted(sha) };
        if !is_full_sha(sha) {
            return Err(missing());
        }
        let key = self.key(remote);
        let _held = self.hold(&key, Clock::starting_now(&self.limits)).map_err(|_| TreeError::Busy)?;
        let repository = open(&self.dir.join(&key)).map_err(|_| missing())?;
        super::objects::read(&repository, sha, path, mode, &self.limits.tree)
    }

    /// Deletes every repository that belongs to none of `wanted`, so that the disk does not keep what no GitSync asks for.
    pub fn retain(&self, wanted: &[Remote]) -> Result<(), FetchError> {
        let failed = |action| move |source| FetchError::Cache { action, source };
        let wanted: HashSet<String> = wanted.iter().map(|remote| self.key(remote)).collect();
        for entry in fs::read_dir(&self.dir).map_err(failed("list its directory"))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.len() != KEY_HEX_CHARS || wanted.contains(&name) {
                continue;
            }
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.insert(name.clone()) {
                drop(busy);
                let _held = Held { cache: self, key: name };
                remove(&entry.path()).map_err(failed("remove a repository"))?;
            }
        }
        Ok(())
    }

    fn admit(&self, remote: &Remote) -> Result<Clock, FetchError> {
        if !transport::is_initialised() {
            return Err(FetchError::NotInitialised);
        }
        remote.reference.validate()?;
        if let Some(credentials) = &remote.credentials {
            if !remote.url.credentials_allowed {
                return Err(FetchError::CredentialsRefused {
                    why: "they would be sent unencrypted; use https, or ask the operator of the controller",
                });
            }
            let (user, password) = match credentials {
                Credentials::Basic { username, password } => (username.as_str(), password.expose()),
                Credentials::Token(token) => ("", token.expose()),
            };
            if password.is_empty() {
                return Err(FetchError::CredentialsRefused { why: "the password or token is empty" });
            }
            if user.contains(':') || [user, password].iter().any(|text| text.chars().any(char::is_control)) {
                return Err(FetchError::CredentialsRefused {
                    why: "they hold a line break or another character that HTTP cannot carry; look for a trailing newline",
                });
            }
        }
        Ok(Clock::starting_now(&self.limits))
    }

    /// Equal for equal remotes. Credentials are part of it: what one set of them could fetch is no other's to read.
    fn key(&self, remote: &Remote) -> String {
        let mut hash = Sha256::new();
        let (user, secret) = match &remote.credentials {
            None => ("", ""),
            Some(Credentials::Basic { username, password }) => (username.as_str(), password.expose()),
            Some(Credentials::Token(token)) => ("\0token", token.expose()),
        };
        let parts = [
            &self.salt,
            remote.url.to_string().as_bytes(),
            format!("{:?}", remote.reference).as_bytes(),
            user.as_bytes(),
            secret.as_bytes(),
        ]
        .map(<[u8]>::to_vec);
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut key = hex::encode(hash.finalize());
        key.truncate(KEY_HEX_CHARS);
        key
    }

    /// Waits until no other thread works on the repository.
    fn hold(&self, key: &str, clock: Clock) -> Result<Held<'_>, FetchError> {
        let busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut busy, wait) = self
            .freed
            .wait_timeout_while(busy, clock.remaining(), |busy| busy.contains(key))
            .unwrap_or_else(PoisonError::into_inner);
        if wait.timed_out() && busy.contains(key) {
            return Err(FetchError::Busy);
        }
        busy.insert(key.to_owned());
        Ok(Held { cache: self, key: key.to_owned() })
    }

    /// One commit without history, into the repository at `dir` or a new one in its place.
    fn fetch_found(&self, session: &Arc<Session>, found: &Advertised, dir: &Path) -> Result<Revision, FetchError> {
        if let Ok(repository) = open(dir) {
            if let Ok(revision) = revision(&repository, found.commit()) {
                return Ok(revision);
            }
            if !self.is_worn(dir) {
                match self
                    .download(session, found, &repository, History::None)
                    .and_then(|()| revision(&repository, found.commit()))
                {
                    // a repository that cannot take the pack may itself be the reason: the next lines try without it
                    Err(FetchError::PackRefused { .. } | FetchError::CacheDamaged { .. } | FetchError::CommitMissing { .. }) => {}
                    outcome => return outcome,
                }
            }
        }
        self.replace(dir, |repository| {
            self.download(session, found, repository, History::None)?;
            revision(repository, found.commit())
        })
    }

    /// For servers that do not hand out bare commits: the history of one branch, or of every branch, until the commit shows up.
    fn search_history(
        &self,
        session: &Arc<Session>,
        sha: &str,
        branch: Option<&str>,
        dir: &Path,
    ) -> Result<Revision, FetchError> {
        let Some(branch) = branch else { return Err(FetchError::CommitMissing { sha: sha.to_owned() }) };
        let found = find(session, &Reference::Branch(branch.to_owned()))?;
        self.replace(dir, |repository| {
            self.download(session, &found, repository, History::Full)?;
            revision(repository, sha)
        })
    }

    fn download(
        &self,
        session: &Arc<Session>,
        shown: &Advertised,
        repository: &Repository,
        history: History,
    ) -> Result<(), FetchError> {
        let mut callbacks = git2::RemoteCallbacks::new();
        let limit = self.limits.max_pack_objects;
        let watcher = session.clone();
        callbacks.transfer_progress(move |progress| {
            if progress.total_objects() > limit {
                watcher.fail(FetchError::TooLarge { what: "the number of objects in the pack", limit: limit as u64 });
                return false;
            }
            let in_time = !watcher.clock.remaining().is_zero();
            if !in_time {
                watcher.fail(FetchError::TimedOut { host: watcher.url.host.clone(), phase: "storing the pack" });
            }
            in_time
        });
        let watcher = session.clone();
        callbacks.sideband_progress(move |_| !watcher.clock.remaining().is_zero());
        let mut options = git2::FetchOptions::new();
        options
            .remote_callbacks(callbacks)
            .download_tags(git2::AutotagOption::None)
            .update_fetchhead(false)
            .follow_redirects(git2::RemoteRedirect::None);
        if history == History::None {
            options.depth(1);
        }
        session.serve(shown, || {
            let mut remote = repository.remote_anonymous(PLACEHOLDER_URL)?;
            remote.fetch(&[format!("+{WANTED_REF}:{HEAD_REF}")], Some(&mut options), None)
        })
    }

    /// Fills a new repository and puts it in the place of `dir` when that worked.
    fn replace(
        &self,
        dir: &Path,
        fill: impl FnOnce(&Repository) -> Result<Revision, FetchError>,
    ) -> Result<Revision, FetchError> {
        let failed = |action| move |source| FetchError::Cache { action, source };
        let staging =
            tempfile::Builder::new().prefix(STAGING_PREFIX).tempdir_in(&self.dir).map_err(failed("create a repository"))?;
        let repository = Repository::init_bare(staging.path()).map_err(|error| cache_damaged(&error))?;
        let revision = fill(&repository)?;
        drop(repository);
        remove(dir).map_err(failed("remove the repository that is replaced"))?;
        fs::rename(staging.path(), dir).map_err(failed("put the new repository into its place"))?;
        // its directory has moved away, so there is nothing left for the guard to delete
        let _ = staging.keep();
        Ok(revision)
    }

    fn fetch_local(&self, source: &Path, remote: &Remote, dir: &Path) -> Result<Revision, FetchError> {
        let sha = local_commit(source, &remote.reference)?;
        if let Ok(found) = open(dir).and_then(|repository| revision(&repository, &sha)) {
            return Ok(found);
        }
        let url = remote.url.to_string();
        let specs: Vec<String> = match &remote.reference {
            Reference::Branch(name) => vec![format!("+refs/heads/{name}:{HEAD_REF}")],
            Reference::Tag(name) => vec![format!("+refs/tags/{name}:{HEAD_REF}")],
            Reference::Commit { .. } => vec!["+refs/heads/*:refs/sluice/heads/*".to_owned()],
        };
        self.replace(dir, |repository| {
            let mut options = git2::FetchOptions::new();
            options.download_tags(git2::AutotagOption::None).update_fetchhead(false);
            repository.remote_anonymous(&url).and_then(|mut remote| remote.fetch(&specs, Some(&mut options), None)).map_err(
                |error| FetchError::PackRefused { host: "the local repository".into(), class: error.class(), code: error.code() },
            )?;
            revision(repository, &sha)
        })
    }

    fn is_worn(&self, dir: &Path) -> bool {
        let packs = fs::read_dir(dir.join("objects/pack")).map_or(usize::MAX, |entries| {
            entries.flatten().filter(|entry| entry.path().extension().is_some_and(|kind| kind == "pack")).count()
        });
        packs >= self.limits.max_packs
    }
}

const KEY_HEX_CHARS: usize = 40;

struct Held<'a> {
    cache: &'a GitCache,
    key: String,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.cache.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.cache.freed.notify_all();
    }
}

fn find(session: &Session, reference: &Reference) -> Result<Advertised, FetchError> {
    let found = match reference {
        Reference::Branch(name) => session.search(Wanted::Name(&format!("refs/heads/{name}"))),
        Reference::Tag(name) => session.search(Wanted::Name(&format!("refs/tags/{name}"))),
        Reference::Commit { sha, .. } => session.search(Wanted::Commit(sha)),
    }?;
    found.ok_or_else(|| FetchError::RefMissing { reference: reference.to_string() })
}

fn open(dir: &Path) -> Result<Repository, FetchError> {
    Repository::open_bare(dir).map_err(|error| cache_damaged(&error))
}

/// The commit, if it and its top tree are really there.
fn revision(repository: &Repository, sha: &str) -> Result<Revision, FetchError> {
    let missing = |error: git2::Error| match error.code() {
        git2::ErrorCode::NotFound => FetchError::CommitMissing { sha: sha.to_owned() },
        _ => cache_damaged(&error),
    };
    let commit = git2::Oid::from_str(sha).and_then(|id| repository.find_commit(id)).map_err(missing)?;
    commit.tree().map_err(missing)?;
    Ok(Revision::of(&commit))
}

fn local_commit(path: &Path, reference: &Reference) -> Result<String, FetchError> {
    let repository = Repository::open_ext(path, git2::RepositoryOpenFlags::NO_SEARCH, &[] as &[&std::ffi::OsStr])
        .map_err(|_| FetchError::RepositoryNotFound { host: "the local file system".into(), status: 404 })?;
    let full = match reference {
        Reference::Branch(name) => format!("refs/heads/{name}"),
        Reference::Tag(name) => format!("refs/tags/{name}"),
        Reference::Commit { sha, .. } => return Ok(sha.clone()),
    };
    let found = repository.find_reference(&full).map_err(|_| FetchError::RefMissing { reference: reference.to_string() })?;
    let commit = found.peel_to_commit().map_err(|_| FetchError::NotACommit { reference: reference.to_string() })?;
    Ok(commit.id().to_string())
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(dir),
        outcome => outcome,
    }
}

fn salt(file: &Path) -> io::Result<Vec<u8>> {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::OpenOptionsExt as _;
    match fs::read(file) {
        Ok(salt) if salt.len() == SALT_BYTES => return Ok(salt),
        Ok(_) => fs::remove_file(file)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut salt = vec![0; SALT_BYTES];
    fs::File::open("/dev/urandom")?.read_exact(&mut salt)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?.write_all(&salt)?;
    Ok(salt)
}
