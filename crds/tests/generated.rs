//! What is committed is what the types generate, and the examples are of the types.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sluice_crds::{analysis, gitsync, rollout};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn the_committed_reference_is_what_the_types_say() {
    let committed = std::fs::read_to_string(root().join("docs/reference/kinds.md")).unwrap();
    assert!(
        committed == sluice_crds::reference::reference(),
        "docs/reference/kinds.md is not what the types say: run make generate"
    );
}

#[test]
fn the_charts_crds_are_what_the_types_say() {
    let committed = std::fs::read_to_string(root().join("charts/sluice/files/crds.yaml")).unwrap();
    let generated: String =
        sluice_crds::crds().iter().map(|crd| format!("---\n{}\n", serde_saphyr::to_string(crd).unwrap().trim_end())).collect();
    assert!(committed == generated, "charts/sluice/files/crds.yaml is not what the types say: run make generate");
}

/// Decodes into the type and back: a field that the type does not know is lost on the way.
fn there_and_back<T: DeserializeOwned + Serialize>(object: &Value) -> Value {
    serde_json::to_value(serde_json::from_value::<T>(object.clone()).unwrap()).unwrap()
}

fn survives(object: &Value) {
    let back = match object["kind"].as_str().unwrap() {
        "GitSync" => there_and_back::<gitsync::GitSync>(object),
        "Rollout" => there_and_back::<rollout::Rollout>(object),
        "AnalysisTemplate" => there_and_back::<analysis::AnalysisTemplate>(object),
        "ClusterAnalysisTemplate" => there_and_back::<analysis::ClusterAnalysisTemplate>(object),
        other => panic!("{other} is not for people to write"),
    };
    assert_contains(&back, object, "");
}

fn assert_contains(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (name, value) in part {
                let here = format!("{path}.{name}");
                assert_contains(whole.get(name).unwrap_or_else(|| panic!("{here} is not known to the type")), value, &here);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            whole.iter().zip(part).for_each(|(whole, part)| assert_contains(whole, part, path));
        }
        (Value::Number(whole), Value::Number(part)) => {
            assert!((whole.as_f64().unwrap() - part.as_f64().unwrap()).abs() < 1e-9, "{path}")
        }
        (whole, part) => assert_eq!(whole, part, "{path}"),
    }
}

fn manifests(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            manifests(&entry.path(), found);
        } else if entry.path().extension().is_some_and(|extension| extension == "yaml") {
            found.push(entry.path());
        }
    }
}

#[test]
fn every_example_of_our_kinds_is_of_its_type_to_the_last_field() {
    let mut files = Vec::new();
    manifests(&root().join("examples"), &mut files);
    let mut ours = 0;
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for document in text.split("\n---") {
            let object: Value = serde_saphyr::from_str(document).unwrap();
            if object["apiVersion"].as_str().is_some_and(|version| version.starts_with("sluice.dev/")) {
                survives(&object);
                ours += 1;
            }
        }
    }
    assert!(ours >= 2, "only {ours} objects of our kinds were found");
}

#[test]
#[should_panic(expected = ".spec.strategy.canary.stpes is not known to the type")]
fn a_misspelt_field_of_an_example_is_found() {
    let mut rollout: Value =
        serde_saphyr::from_str(&std::fs::read_to_string(root().join("examples/quickstart/deploy/rollout.yaml")).unwrap())
            .unwrap();
    rollout["spec"]["strategy"]["canary"]["stpes"] = json!([]);
    survives(&rollout);
}
