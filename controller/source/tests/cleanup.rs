//! What a render leaves on disk. Alone in its program, because it watches a directory that all renders of a process use.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use sluice_source::render::{Mode, Renderer};
use sluice_source::tree::{SourceTree, TreeLimits};
use support::kustomize::renderer;

fn left() -> usize {
    let prefix = format!("sluice-render-{}-", std::process::id());
    std::fs::read_dir(std::env::temp_dir())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .count()
}

#[test]
fn nothing_is_left_in_the_temporary_directory_after_success_or_failure() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.yaml"), "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n").unwrap();
    let tree = SourceTree::from_directory(dir.path(), ".", Mode::Auto, &TreeLimits::default()).unwrap();
    renderer().render(&tree).unwrap();
    Renderer { kustomize: "/bin/false".into(), ..renderer() }.render(&tree).unwrap_err();
    Renderer { kustomize: "/nonexistent".into(), ..renderer() }.render(&tree).unwrap_err();
    assert_eq!(left(), 0);
}
