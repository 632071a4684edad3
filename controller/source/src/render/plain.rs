//! Plain manifests: rendered by kustomize as well, so that types come from one reader, in slices.

use std::collections::BTreeMap;

use serde_json::Value;

use super::workspace::Build;
use super::{Mode, RenderError, RenderLimits};
use crate::error::quoted;
use crate::tree::SourceTree;
use crate::yaml::{YamlLimits, documents};

/// Two files are what a duplicate takes.
const MAX_NAMED_FILES: usize = 2;

/// The builds that make up a plain tree. `counts` has the number of documents of each file; empty ones are left out.
pub(super) fn builds(tree: &SourceTree, counts: &BTreeMap<String, usize>, limits: &RenderLimits) -> Vec<Build> {
    let mut builds = Vec::new();
    let mut resources = Vec::new();
    let (mut slice_documents, mut slice_bytes) = (0, 0);
    let mut finish = |resources: &mut Vec<String>| {
        if !resources.is_empty() {
            builds.push(Build::Generated { directory: tree.root.clone(), resources: std::mem::take(resources) });
        }
    };
    let within_nested = |path: &str| {
        tree.nested.iter().any(|nested| path.strip_prefix(nested.as_str()).is_some_and(|rest| rest.starts_with('/')))
    };
    let below_root =
        |path: &str| tree.root.is_empty() || path.strip_prefix(tree.root.as_str()).is_some_and(|rest| rest.starts_with('/'));
    for (file, count) in counts {
        // what a nested kustomization brought in is rendered by it, wherever in the repository it is
        if *count == 0 || within_nested(file) || !below_root(file) {
            continue;
        }
        let bytes = tree.files.get(file).map_or(0, Vec::len);
        if slice_documents + count > limits.slice_documents || slice_bytes + bytes > limits.slice_bytes {
            finish(&mut resources);
            (slice_documents, slice_bytes) = (0, 0);
        }
        slice_documents += count;
        slice_bytes += bytes;
        resources.push(file.clone());
    }
    finish(&mut resources);
    builds.extend(tree.nested.iter().cloned().map(Build::Existing));
    builds
}

/// Adds to the report of a duplicate the files that define the object. Only of a plain tree: in an overlay, a patch looks like
/// its target, and names change on the way.
pub(super) fn explain(error: RenderError, tree: &SourceTree) -> RenderError {
    let RenderError::DuplicateObject { object, files } = error else { return error };
    if tree.mode == Mode::Kustomize {
        return RenderError::DuplicateObject { object, files };
    }
    let defining = tree.yaml.iter().filter(|file| tree.files.get(*file).is_some_and(|content| defines(file, content, &object)));
    RenderError::DuplicateObject { files: defining.map(|file| quoted(file)).take(MAX_NAMED_FILES).collect(), object }
}

fn defines(file: &str, content: &[u8], object: &str) -> bool {
    let Ok(text) = std::str::from_utf8(content) else { return false };
    documents(file, text, &YamlLimits::default())
        .is_ok_and(|all| all.iter().any(|document| identity(document).as_deref() == Some(object)))
}

/// An object as errors name it: `Kind namespace/name`, or `Kind name` without a namespace.
pub(super) fn identity(object: &Value) -> Option<String> {
    let kind = object.get("kind")?.as_str()?;
    let name = object.pointer("/metadata/name")?.as_str()?;
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).filter(|namespace| !namespace.is_empty());
    Some(quoted(&namespace.map_or_else(|| format!("{kind} {name}"), |namespace| format!("{kind} {namespace}/{name}"))))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn slices(sizes: &[(usize, usize)], limits: &RenderLimits) -> Vec<usize> {
        let name = |at: usize| format!("app/{at:02}.yaml");
        let files = sizes.iter().enumerate().map(|(at, (bytes, _))| (name(at), vec![b'x'; *bytes])).collect();
        let counts = sizes.iter().enumerate().map(|(at, (_, documents))| (name(at), *documents)).collect();
        let tree = SourceTree::new(files, "app".into(), Mode::Plain, BTreeSet::new(), Vec::new());
        let count = |build: &Build| match build {
            Build::Generated { resources, .. } => resources.len(),
            Build::Existing(_) => 0,
        };
        builds(&tree, &counts, limits).iter().map(count).collect()
    }

    #[test]
    fn slices_end_before_too_many_documents_or_bytes_and_no_file_is_lost() {
        let limits = RenderLimits { slice_documents: 10, slice_bytes: 100, ..RenderLimits::default() };
        assert_eq!(slices(&[(1, 4), (1, 4), (1, 4), (1, 0), (1, 6)], &limits), [2, 2]);
        assert_eq!(slices(&[(60, 1), (60, 1), (500, 1), (10, 1), (10, 1)], &limits), [1, 1, 1, 2]);
        assert_eq!(slices(&[(1, 25)], &limits), [1]);
        assert!(slices(&[], &limits).is_empty());
    }
}
