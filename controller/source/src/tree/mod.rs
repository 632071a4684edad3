//! The files of one application: found in a commit (or a directory), checked, bounded, and held in memory.
//!
//! Nothing is ever written under a name that a repository chose before it went through here.

mod collect;
mod directory;
mod error;
mod kustomization;
mod path;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sha2::{Digest as _, Sha256};

pub(crate) use collect::collect;
pub use error::TreeError;
pub(crate) use path::{join, parent};

use crate::render::Mode;

/// Bounds of what is read for one application.
#[derive(Debug, Clone)]
pub struct TreeLimits {
    pub max_files: usize,
    pub max_file_bytes: u64,
    pub max_bytes: u64,
    pub max_depth: usize,
    pub max_path_bytes: usize,
    /// Entries looked at, wanted or not.
    pub max_entries: usize,
    pub yaml: crate::yaml::YamlLimits,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            max_files: 10_000,
            max_file_bytes: 5 << 20,
            max_bytes: 10 << 20,
            max_depth: 64,
            max_path_bytes: 1024,
            max_entries: 100_000,
            yaml: crate::yaml::YamlLimits::default(),
        }
    }
}

/// What the renderer gets. Paths are relative to the root of the repository.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SourceTree {
    pub files: BTreeMap<String, Vec<u8>>,
    /// The application's directory; empty for the root of the repository.
    pub root: String,
    /// Equal for equal content, so that an unchanged application of a changed repository is recognised.
    pub key: String,
    /// How it was read: never [`Mode::Auto`].
    pub mode: Mode,
    /// Files that are read as YAML, as opposed to carried as data.
    pub(crate) yaml: BTreeSet<String>,
    /// Of a plain tree: directories below the root that hold a kustomization and are rendered by it.
    pub(crate) nested: Vec<String>,
}

impl SourceTree {
    /// Reads a directory as if it were the root of a repository: for the command line, where the working copy is the source.
    /// Symbolic links are refused as they are in a commit.
    pub fn from_directory(root: &Path, path: &str, mode: Mode, limits: &TreeLimits) -> Result<Self, TreeError> {
        collect(&directory::Directory::new(root), path, mode, limits)
    }

    pub(crate) fn new(
        files: BTreeMap<String, Vec<u8>>,
        root: String,
        mode: Mode,
        yaml: BTreeSet<String>,
        nested: Vec<String>,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update([KEY_VERSION, u8::from(mode == Mode::Kustomize)]);
        for (name, content) in std::iter::once((&root, &Vec::new())).chain(&files) {
            for part in [name.as_bytes(), content] {
                hash.update((part.len() as u64).to_be_bytes());
                hash.update(part);
            }
        }
        Self { key: hex::encode(hash.finalize()), files, root, mode, yaml, nested }
    }
}

/// Raised when the same files would be rendered differently.
const KEY_VERSION: u8 = 1;

/// Names kustomize looks for.
pub(crate) const KUSTOMIZATION_NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// One entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
    Submodule,
}

/// A tree of files somewhere. Paths have been normalised: no empty, `.` or `..` parts.
pub(crate) trait Entries {
    /// What is at the path; `None` when nothing is. A link on the way there is an error, a link at the end is a [`Kind::Link`].
    fn kind(&self, path: &str) -> Result<Option<Kind>, TreeError>;
    /// Names in a directory with what they are. Names that are not UTF-8 are replaced lossily and end in the same suffix.
    fn list(&self, directory: &str, max_entries: usize) -> Result<Vec<(String, Kind)>, TreeError>;
    /// Content of a file of at most so many bytes; the size is known before the content is loaded.
    fn content(&self, path: &str, max_bytes: u64) -> Result<Vec<u8>, TreeError>;
}
