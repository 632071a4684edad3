//! What stands in the repository cannot be read or rendered: the whole revision is refused, and the good one runs on.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::json;
use sluice_tests::case::{Case, Tree};

use crate::refusal::{Wrong, each};
use crate::support::{Test, ensure_that, test};

/// Above the limit of a file.
const HUGE_BYTES: usize = 6 << 20;

pub fn all() -> Vec<Test> {
    vec![
        test("YAML that is invalid, or has a key twice, is refused with file and line", |case| each(case, yaml())),
        test("two documents for one object, a nameless object and an empty render are refused", |case| each(case, objects())),
        test("an alias bomb and a huge file are refused", |case| each(case, bombs())),
        test("a kustomization that leaves the repository, or asks for a remote base, is refused", |case| each(case, kustomize())),
        test("a symbolic link is refused", symlink),
        test("a path that does not exist in the commit is refused", missing_path),
    ]
}

fn file(reason: &'static str, name: &'static str, text: String) -> Wrong {
    let change = move |tree: &mut Tree| -> Result<()> {
        tree.file(name, &text);
        Ok(())
    };
    Wrong { reason, names: name, change: Box::new(change) }
}

fn yaml() -> Vec<Wrong> {
    vec![
        file("YamlInvalid", "tab.yaml", "a: 1\n\tb: [\n".to_owned()),
        file("YamlInvalid", "open.yaml", "kind: \"ConfigMap\n".to_owned()),
        file(
            "DuplicateKey",
            "twice.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: \"1\", x: \"2\"}\n".to_owned(),
        ),
        file(
            "YamlInvalid",
            "template.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.name }}\n".to_owned(),
        ),
    ]
}

fn objects() -> Vec<Wrong> {
    let twice = |tree: &mut Tree| -> Result<()> {
        let one = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "same"}, "data": {"a": "1"}});
        tree.file("same-1.yaml", &one.to_string());
        tree.file("same-2.yaml", &one.to_string());
        Ok(())
    };
    let empty = |tree: &mut Tree| -> Result<()> {
        tree.apps.clear();
        tree.file("README.md", "nothing here");
        Ok(())
    };
    vec![
        Wrong { reason: "DuplicateObject", names: "same", change: Box::new(twice) },
        file("ObjectInvalid", "nameless.yaml", "apiVersion: v1\nkind: ConfigMap\n".to_owned()),
        Wrong { reason: "EmptyRender", names: "", change: Box::new(empty) },
    ]
}

fn bombs() -> Vec<Wrong> {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..9 {
        let before = level - 1;
        // writing to a String cannot fail
        let _ = writeln!(
            bomb,
            "a{level}: &a{level} [*a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}, *a{before}]"
        );
    }
    let huge = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: huge}}\ndata:\n  x: {}\n", "y".repeat(HUGE_BYTES));
    vec![file("AliasExpansion|TooLarge", "bomb.yaml", bomb), file("TooLarge", "huge.yaml", huge)]
}

fn kustomize() -> Vec<Wrong> {
    vec![
        file("ReferenceEscapes", "kustomization.yaml", "resources: [shop.yaml, ../../etc/passwd]\n".to_owned()),
        file("RemoteBaseRefused", "kustomization.yaml", "resources: [shop.yaml, https://example.com/base?ref=v1]\n".to_owned()),
        file("ReferenceMissing", "kustomization.yaml", "resources: [shop.yaml, not-there.yaml]\n".to_owned()),
        file("KustomizationInvalid", "kustomization.yaml", "resources: {shop.yaml: true}\n".to_owned()),
    ]
}

async fn symlink(mut case: Case) -> Result<()> {
    let one = case.install().await?;
    std::os::unix::fs::symlink("/etc/passwd", case.repository.path().join("link.yaml")).context("a symbolic link")?;
    case.repository.commit_as_is("a link")?;
    let message = case.wait_refused("SymlinkRefused").await?;
    ensure_that!(message.contains("link.yaml"), "the file is not named: {message}");
    case.wait_event("SymlinkRefused", "link.yaml").await?;
    let good = case.sync().await?.status.unwrap_or_default().good;
    ensure_that!(good.is_some_and(|good| good.sha == one), "another revision is good");
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}

async fn missing_path(mut case: Case) -> Result<()> {
    case.install().await?;
    case.edit_sync(json!({"path": "deploy/nowhere"})).await?;
    let message = case.wait_refused("PathMissing").await?;
    ensure_that!(message.contains("deploy/nowhere"), "the path is not named: {message}");
    case.edit_sync(json!({"path": "."})).await?;
    let two = case.commit_message("two")?;
    case.wait_good(&two).await
}
