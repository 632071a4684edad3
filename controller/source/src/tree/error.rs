//! Why the files of an application could not be taken from a commit.

use std::io;

use crate::error::{Category, quoted};
use crate::yaml::YamlError;

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("commit {sha} is not in the local repository; fetch it again, or it is gone from the remote")]
    CommitMissing { sha: String },
    #[error("another operation on this repository is still running")]
    Busy,
    #[error("the local repository is damaged (libgit2 {class:?}/{code:?}); it is fetched again")]
    Damaged { class: git2::ErrorClass, code: git2::ErrorCode },
    #[error("a file cannot be read: {0}")]
    Io(io::ErrorKind),
    #[error("spec.path is refused: {why}")]
    PathRefused { why: &'static str },
    #[error("the path {path} does not exist in this commit")]
    PathMissing { path: String },
    #[error("the path {path} is not a directory")]
    NotADirectory { path: String },
    #[error("{path} is a symbolic link, which is not followed; put the file itself there")]
    SymlinkRefused { path: String },
    #[error("{path} is a submodule, which is not fetched; put the files into this repository")]
    SubmoduleRefused { path: String },
    #[error("{path} is a pointer to Git LFS, which is not followed; commit the file itself")]
    LfsPointerRefused { path: String },
    #[error("a file name in {directory} is not UTF-8 or holds control characters; rename it")]
    NameRefused { directory: String },
    #[error("{path} is larger than the limit of {limit} bytes for a file")]
    FileTooLarge { path: String, limit: u64 },
    #[error("the files of this path are larger than the limit of {limit} bytes in all")]
    TooLarge { limit: u64 },
    #[error("more than the limit of {limit} files")]
    TooManyFiles { limit: usize },
    #[error("{path} is nested too deep, or its path is too long")]
    TooDeep { path: String },
    #[error("{directory} has no kustomization.yaml, which spec.render asks for")]
    KustomizationMissing { directory: String },
    #[error("{directory} has several kustomization files; keep one")]
    KustomizationAmbiguous { directory: String },
    #[error("{file}: the field {field} is not what kustomize expects there")]
    KustomizationInvalid { file: String, field: String },
    #[error("{file}: {field} names something outside this repository, which is never fetched; vendor it into the repository")]
    RemoteBaseRefused { file: String, field: String },
    #[error("{file}: {field} leaves the repository")]
    ReferenceEscapes { file: String, field: String },
    #[error("{file}: {field} names {target}, which does not exist")]
    ReferenceMissing { file: String, field: String, target: String },
    #[error("{file}: {field} asks for a plugin, a function or a Helm chart, which are not run")]
    PluginRefused { file: String, field: String },
    #[error(transparent)]
    Yaml(#[from] YamlError),
}

impl TreeError {
    /// A stable word for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::CommitMissing { .. } => "CommitMissing",
            Self::Busy => "Busy",
            Self::Damaged { .. } => "CacheDamaged",
            Self::Io(_) => "ReadFailed",
            Self::PathRefused { .. } => "PathRefused",
            Self::PathMissing { .. } => "PathMissing",
            Self::NotADirectory { .. } => "NotADirectory",
            Self::SymlinkRefused { .. } => "SymlinkRefused",
            Self::SubmoduleRefused { .. } => "SubmoduleRefused",
            Self::LfsPointerRefused { .. } => "LfsPointerRefused",
            Self::NameRefused { .. } => "NameRefused",
            Self::FileTooLarge { .. } | Self::TooLarge { .. } | Self::TooManyFiles { .. } | Self::TooDeep { .. } => "TooLarge",
            Self::KustomizationMissing { .. } => "KustomizationMissing",
            Self::KustomizationAmbiguous { .. } | Self::KustomizationInvalid { .. } => "KustomizationInvalid",
            Self::RemoteBaseRefused { .. } => "RemoteBaseRefused",
            Self::ReferenceEscapes { .. } => "ReferenceEscapes",
            Self::ReferenceMissing { .. } => "ReferenceMissing",
            Self::PluginRefused { .. } => "PluginRefused",
            Self::Yaml(error) => error.reason(),
        }
    }

    pub fn category(&self) -> Category {
        match self {
            Self::CommitMissing { .. } | Self::Busy | Self::Damaged { .. } | Self::Io(_) => Category::Transient,
            _ => Category::UserMustFix,
        }
    }
}

/// A directory as messages name it.
pub(super) fn directory_name(path: &str) -> String {
    if path.is_empty() { "the root of the repository".to_owned() } else { quoted(path) }
}
