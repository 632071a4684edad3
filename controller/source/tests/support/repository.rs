//! A bare repository whose commits are made without a working copy.

use std::path::PathBuf;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Oid, Repository, RepositoryInitOptions, Signature, Time};
use tempfile::TempDir;

pub struct Origin {
    pub dir: TempDir,
    pub repository: Repository,
}

/// Name of the repository below the directory that servers publish.
pub const NAME: &str = "deploy.git";

impl Origin {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let repository =
            Repository::init_opts(dir.path().join(NAME), RepositoryInitOptions::new().bare(true).initial_head("main")).unwrap();
        Self { dir, repository }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join(NAME)
    }

    pub fn file_url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    /// A commit that changes these files of `branch`'s last one, and moves the branch.
    pub fn commit(&self, branch: &str, files: &[(&str, &str)]) -> String {
        let entries: Vec<_> = files.iter().map(|(path, content)| (*path, FileMode::Blob, content.as_bytes())).collect();
        let parent =
            self.repository.find_reference(&format!("refs/heads/{branch}")).ok().map(|head| head.peel_to_commit().unwrap().id());
        self.commit_onto(branch, parent, &entries, "change the manifests\n\nmore text")
    }

    /// A commit with the given parent; the branch is moved to it by force.
    pub fn commit_onto(&self, branch: &str, parent: Option<Oid>, entries: &[(&str, FileMode, &[u8])], message: &str) -> String {
        let parent = parent.map(|id| self.repository.find_commit(id).unwrap());
        let empty = self.repository.find_tree(self.repository.treebuilder(None).unwrap().write().unwrap()).unwrap();
        let base = parent.as_ref().map_or(empty, |commit| commit.tree().unwrap());
        let mut update = TreeUpdateBuilder::new();
        for (path, mode, content) in entries {
            let id = if *mode == FileMode::Commit {
                Oid::from_str(&"1".repeat(40)).unwrap()
            } else {
                self.repository.blob(content).unwrap()
            };
            update.upsert(*path, id, *mode);
        }
        let tree = self.repository.find_tree(update.create_updated(&self.repository, &base).unwrap()).unwrap();
        let who = Signature::new("An\u{1b}[31mAuthor", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        let parents: Vec<_> = parent.iter().collect();
        let id = self.repository.commit(None, &who, &who, message, &tree, &parents).unwrap();
        self.repository.reference(&format!("refs/heads/{branch}"), id, true, "test").unwrap();
        id.to_string()
    }

    pub fn tag(&self, name: &str, sha: &str, annotated: bool) {
        let commit = self.repository.find_object(Oid::from_str(sha).unwrap(), None).unwrap();
        let who = Signature::new("a", "a@example.org", &Time::new(1_700_000_000, 0)).unwrap();
        if annotated {
            self.repository.tag(name, &commit, &who, "release", true).unwrap();
        } else {
            self.repository.tag_lightweight(name, &commit, true).unwrap();
        }
    }
}
