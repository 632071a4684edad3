//! From the files of an application to its objects, by the real kustomize.

mod error;
mod message;
mod output;
mod plain;
mod process;
mod workspace;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use error::RenderError;
pub use process::Isolation;

use crate::tree::SourceTree;
use crate::yaml::YamlLimits;

/// How to read a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// As kustomization where there is one, else as plain manifests.
    #[default]
    Auto,
    /// As manifests, whatever kustomization files lie between them.
    Plain,
    /// As kustomization; an error where there is none.
    Kustomize,
}

/// Bounds of one render.
#[derive(Debug, Clone)]
pub struct RenderLimits {
    pub yaml: YamlLimits,
    /// Memory the renderer may write to.
    pub memory_bytes: u64,
    pub cpu: Duration,
    /// From start to end, over all slices of a plain directory.
    pub wall_clock: Duration,
    pub output_bytes: u64,
    pub stderr_bytes: u64,
    pub max_objects: usize,
    pub max_object_bytes: usize,
    /// kustomize takes time by the square of the number of objects, so plain directories are rendered in slices of this many documents.
    pub slice_documents: usize,
    /// The same for bytes: each megabyte of dense YAML takes kustomize some 40 megabytes of memory.
    pub slice_bytes: usize,
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self {
            yaml: YamlLimits::default(),
            memory_bytes: 256 << 20,
            cpu: Duration::from_secs(30),
            wall_clock: Duration::from_secs(60),
            output_bytes: 20 << 20,
            stderr_bytes: 64 << 10,
            max_objects: 5_000,
            max_object_bytes: 1 << 20,
            slice_documents: 500,
            slice_bytes: 1 << 20,
        }
    }
}

/// Renders trees; one for the process is enough.
#[derive(Debug, Clone)]
pub struct Renderer {
    /// The kustomize binary.
    pub kustomize: PathBuf,
    pub limits: RenderLimits,
    /// How to start the jail, such as the path of this program and `jail`.
    pub jail: Vec<OsString>,
}

/// The objects of a revision.
#[derive(Debug, Clone, PartialEq)]
pub struct Render {
    /// Sorted by group, kind, namespace and name; no two are the same object; fields that only a server sets are gone.
    pub objects: Vec<serde_json::Value>,
    /// What was left out or is deprecated.
    pub warnings: Vec<String>,
}

impl Renderer {
    /// Renders a tree as it was read (its mode was decided then). The same tree gives the same objects in the same order.
    pub fn render(&self, tree: &SourceTree) -> Result<Render, RenderError> {
        let mut documents = std::collections::BTreeMap::new();
        for file in &tree.yaml {
            let content = tree.files.get(file).map(Vec::as_slice).unwrap_or_default();
            documents.insert(file.clone(), crate::yaml::prescan(file, content, &self.limits.yaml)?.documents);
        }
        let deadline = std::time::Instant::now() + self.limits.wall_clock;
        let builds = match tree.mode {
            Mode::Kustomize => vec![workspace::Build::Existing(tree.root.clone())],
            Mode::Auto | Mode::Plain => plain::builds(tree, &documents, &self.limits),
        };
        let workspace = workspace::Workspace::create(tree)?;
        let mut set = output::ObjectSet::new(&self.limits);
        let mut output_left = self.limits.output_bytes;
        for build in &builds {
            let directory = workspace.prepare(build)?;
            let output = process::kustomize(self, workspace.path(), &directory, deadline, output_left)
                .map_err(|error| plain::explain(error, tree))?;
            output_left = output_left.saturating_sub(output.stdout.len() as u64);
            set.warn(message::warnings(&output.stderr, workspace.path()));
            set.add(&output.stdout).map_err(|error| plain::explain(error, tree))?;
        }
        set.finish()
    }

    /// The version of kustomize, which belongs to what a render depends on.
    pub fn version(&self) -> Result<String, RenderError> {
        process::version(self)
    }

    /// Starts the jail with nothing in it, to learn which of its walls stand on this machine. For the log at start-up.
    pub fn probe_isolation(&self) -> Result<Isolation, RenderError> {
        process::probe(self)
    }
}
