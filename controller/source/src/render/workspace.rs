//! A private directory with the files of one render: regular files only, under names that were checked when they were read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::RenderError;
use crate::tree::{SourceTree, join, parent};

/// What kustomize is asked to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Build {
    /// The kustomization in this directory.
    Existing(String),
    /// A kustomization made by us in `directory`, over these files and directories (relative to the repository).
    Generated { directory: String, resources: Vec<String> },
}

pub(super) struct Workspace {
    dir: tempfile::TempDir,
}

/// Where the repository's files are, below the workspace; it also keeps any path from beginning with a dash.
const FILES: &str = "files";
/// Home and temporary directory of the renderer.
pub(super) const HOME: &str = "home";

impl Workspace {
    pub(super) fn create(tree: &SourceTree) -> Result<Self, RenderError> {
        let failed = |action| move |error: io::Error| RenderError::Workspace { action, error_kind: error.kind() };
        let dir = tempfile::Builder::new()
            .prefix(&format!("sluice-render-{}-", std::process::id()))
            .tempdir()
            .map_err(failed("be created"))?;
        fs::create_dir(dir.path().join(HOME)).map_err(failed("be created"))?;
        let files = dir.path().join(FILES);
        fs::create_dir_all(files.join(&tree.root)).map_err(failed("be created"))?;
        let mut made = String::new();
        for (path, content) in &tree.files {
            // the type allows any text as key; what does not come from our reader is not trusted to be a plain path
            if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return Err(RenderError::Workspace { action: "take a file name", error_kind: io::ErrorKind::InvalidFilename });
            }
            if parent(path) != made {
                parent(path).clone_into(&mut made);
                fs::create_dir_all(files.join(&made)).map_err(failed("take a directory"))?;
            }
            fs::write(files.join(path), content).map_err(failed("take a file"))?;
        }
        Ok(Self { dir })
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Makes the build possible and returns its directory, relative to the workspace.
    pub(super) fn prepare(&self, build: &Build) -> Result<PathBuf, RenderError> {
        let directory = match build {
            Build::Existing(directory) => directory,
            Build::Generated { directory, resources } => {
                let below = |path: &String| {
                    let relative = if directory.is_empty() {
                        path
                    } else {
                        path.strip_prefix(directory.as_str()).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path)
                    };
                    // the dot keeps kustomize from taking a directory called github.com for the site
                    format!("./{relative}")
                };
                // JSON is YAML, and escapes whatever a file name holds
                let text = serde_json::json!({
                    "apiVersion": "kustomize.config.k8s.io/v1beta1",
                    "kind": "Kustomization",
                    "resources": resources.iter().map(below).collect::<Vec<_>>(),
                });
                let file = self.dir.path().join(FILES).join(join(directory, "kustomization.yaml"));
                fs::write(file, text.to_string())
                    .map_err(|error| RenderError::Workspace { action: "take the kustomization", error_kind: error.kind() })?;
                directory
            }
        };
        Ok(Path::new(FILES).join(directory))
    }
}
