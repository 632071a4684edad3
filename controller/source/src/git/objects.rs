//! Files of a commit, straight from the object store.

use git2::{ObjectType, Oid, Repository, Tree};

use super::error::is_full_sha;
use crate::error::quoted;
use crate::render::Mode;
use crate::tree::{Entries, Kind, SourceTree, TreeError, TreeLimits, collect};

/// File modes as Git stores them.
const MODE_LINK: i32 = 0o120_000;
const MODE_SUBMODULE: i32 = 0o160_000;

pub(super) fn read(
    repository: &Repository,
    sha: &str,
    path: &str,
    mode: Mode,
    limits: &TreeLimits,
) -> Result<SourceTree, TreeError> {
    let missing = || TreeError::CommitMissing { sha: quoted(sha) };
    if !is_full_sha(sha) {
        return Err(missing());
    }
    let id = Oid::from_str(sha).map_err(|_| missing())?;
    let commit = repository.find_commit(id).map_err(|error| match error.code() {
        git2::ErrorCode::NotFound => missing(),
        _ => damaged(&error),
    })?;
    let root = commit.tree().map_err(|error| damaged(&error))?;
    collect(&Commit { repository, root }, path, mode, limits)
}

struct Commit<'r> {
    repository: &'r Repository,
    root: Tree<'r>,
}

fn damaged(error: &git2::Error) -> TreeError {
    TreeError::Damaged { class: error.class(), code: error.code() }
}

fn kind_of(entry: &git2::TreeEntry<'_>) -> Kind {
    match (entry.filemode_raw(), entry.kind()) {
        (MODE_LINK, _) => Kind::Link,
        (MODE_SUBMODULE, _) => Kind::Submodule,
        (_, Some(ObjectType::Tree)) => Kind::Directory,
        (_, Some(ObjectType::Blob)) => Kind::File,
        _ => Kind::Submodule,
    }
}

impl<'r> Commit<'r> {
    /// What is at a path, and its id.
    fn find(&self, path: &str) -> Result<Option<(Kind, Oid)>, TreeError> {
        let mut found = (Kind::Directory, self.root.id());
        let mut walked = String::new();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            match found.0 {
                Kind::Directory => {}
                Kind::File => return Ok(None),
                Kind::Link => return Err(TreeError::SymlinkRefused { path: quoted(&walked) }),
                Kind::Submodule => return Err(TreeError::SubmoduleRefused { path: quoted(&walked) }),
            }
            let tree = self.tree(found.1)?;
            let Some(entry) = tree.get_name_bytes(part.as_bytes()) else { return Ok(None) };
            found = (kind_of(&entry), entry.id());
            walked = crate::tree::join(&walked, part);
        }
        Ok(Some(found))
    }

    fn tree(&self, id: Oid) -> Result<Tree<'r>, TreeError> {
        if id == self.root.id() { Ok(self.root.clone()) } else { self.repository.find_tree(id).map_err(|error| damaged(&error)) }
    }

    fn expect(&self, path: &str, wanted: Kind) -> Result<Oid, TreeError> {
        match self.find(path)? {
            Some((kind, id)) if kind == wanted => Ok(id),
            _ => Err(TreeError::PathMissing { path: quoted(path) }),
        }
    }
}

impl Entries for Commit<'_> {
    fn kind(&self, path: &str) -> Result<Option<Kind>, TreeError> {
        Ok(self.find(path)?.map(|(kind, _)| kind))
    }

    fn list(&self, directory: &str, max_entries: usize) -> Result<Vec<(String, Kind)>, TreeError> {
        let tree = self.tree(self.expect(directory, Kind::Directory)?)?;
        if tree.len() > max_entries {
            return Err(TreeError::TooManyFiles { limit: max_entries });
        }
        let mut out: Vec<_> =
            tree.iter().map(|entry| (String::from_utf8_lossy(entry.name_bytes()).into_owned(), kind_of(&entry))).collect();
        out.sort();
        Ok(out)
    }

    fn content(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, TreeError> {
        let id = self.expect(path, Kind::File)?;
        let store = self.repository.odb().map_err(|error| damaged(&error))?;
        // the header tells the size before a huge object is unpacked
        let (size, kind) = store.read_header(id).map_err(|error| damaged(&error))?;
        if kind != ObjectType::Blob {
            return Err(TreeError::PathMissing { path: quoted(path) });
        }
        if size as u64 > max_bytes {
            return Err(TreeError::FileTooLarge { path: quoted(path), limit: max_bytes });
        }
        Ok(store.read(id).map_err(|error| damaged(&error))?.data().to_vec())
    }
}
