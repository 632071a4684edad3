//! Why a tree could not be rendered.

use std::io;

use crate::error::Category;
use crate::yaml::YamlError;

#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Yaml(#[from] YamlError),
    #[error("the render is empty; an empty commit is not taken for a wish to delete everything")]
    EmptyRender,
    #[error("{object} is defined twice{}", places(files))]
    DuplicateObject { object: String, files: Vec<String> },
    #[error("{object}: {field} {problem}")]
    ObjectInvalid { object: String, field: &'static str, problem: &'static str },
    #[error("{what} is beyond the limit of {limit}")]
    TooLarge { what: String, limit: usize },
    #[error("the kustomization asks for something outside this repository, which is never fetched")]
    RemoteBaseRefused,
    #[error("the kustomization asks for a plugin, a function or a Helm chart, which are not run")]
    PluginRefused,
    #[error("the kustomization has an unknown or misplaced field{}", field.as_deref().map(|name| format!(": {name}")).unwrap_or_default())]
    KustomizationInvalid { field: Option<String> },
    #[error("a patch or replacement finds no object to change{}", target.as_deref().map(|id| format!(": {id}")).unwrap_or_default())]
    PatchTargetMissing { target: Option<String> },
    #[error("the kustomizations include each other in a circle")]
    KustomizationCycle,
    #[error("kustomize refuses the input: {message}")]
    RendererFailed { message: String },
    #[error("kustomize went beyond its limit of {limit}; make the application smaller, or ask the operator of the controller")]
    RendererLimit { limit: &'static str },
    #[error("kustomize wrote something that is not YAML")]
    OutputUnreadable { source: YamlError },
    #[error("the renderer's jail cannot be started or set up: {problem}; this is for the operator of the controller")]
    JailFailed { problem: String },
    #[error("the private directory of the render failed to {action}: {error_kind}")]
    Workspace { action: &'static str, error_kind: io::ErrorKind },
}

fn places(files: &[String]) -> String {
    if files.is_empty() { String::new() } else { format!(": in {}", files.join(" and ")) }
}

impl RenderError {
    /// A stable word for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Yaml(error) => error.reason(),
            Self::EmptyRender => "EmptyRender",
            Self::DuplicateObject { .. } => "DuplicateObject",
            Self::ObjectInvalid { .. } => "ObjectInvalid",
            Self::TooLarge { .. } => "TooLarge",
            Self::RemoteBaseRefused => "RemoteBaseRefused",
            Self::PluginRefused => "PluginRefused",
            Self::KustomizationInvalid { .. } | Self::KustomizationCycle => "KustomizationInvalid",
            Self::PatchTargetMissing { .. } => "PatchTargetMissing",
            Self::RendererFailed { .. } => "RendererFailed",
            Self::RendererLimit { .. } => "RendererLimit",
            Self::OutputUnreadable { .. } => "RendererFailed",
            Self::JailFailed { .. } => "JailFailed",
            Self::Workspace { .. } => "WorkspaceFailed",
        }
    }

    pub fn category(&self) -> Category {
        match self {
            Self::JailFailed { .. } | Self::Workspace { .. } => Category::Transient,
            _ => Category::UserMustFix,
        }
    }
}
