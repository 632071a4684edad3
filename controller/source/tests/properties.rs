//! What must hold for any input at all.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use proptest::prelude::*;
use sluice_source::git::{RemoteUrl, UrlPolicy};
use sluice_source::render::Mode;
use sluice_source::tree::{SourceTree, TreeLimits};

const OPEN: UrlPolicy =
    UrlPolicy { allow_http: true, allow_http_credentials: true, allow_file: true, allow_local_addresses: true };

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_accepted_url_prints_as_one_that_is_accepted_and_means_the_same(text in "(https|http|file|ssh)://[a-z@:./\\-\\[\\]0-9?#%]{0,40}") {
        if let Ok(url) = RemoteUrl::parse(&text, &OPEN) {
            let printed = url.to_string();
            prop_assert_eq!(RemoteUrl::parse(&printed, &OPEN).unwrap(), url);
            let authority = printed.split("://").nth(1).and_then(|rest| rest.split('/').next());
            prop_assert!(authority.is_some_and(|authority| !authority.contains('@')));
        }
    }

    #[test]
    fn no_kustomization_makes_the_reader_panic_or_look_outside(entry in "[a-z./:~ '\"\\-\\\\]{0,20}", field in "(resources|bases|components|crds|transformers|patchesStrategicMerge|nonsense)") {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("repository");
        std::fs::create_dir_all(root.join("app")).unwrap();
        std::fs::write(outer.path().join("outside.yaml"), "secret: 1").unwrap();
        let text = serde_json::json!({ (field.as_str()): [entry] }).to_string();
        std::fs::write(root.join("app/kustomization.yaml"), text).unwrap();
        match SourceTree::from_directory(&root, "app", Mode::Kustomize, &TreeLimits::default()) {
            Ok(tree) => prop_assert!(tree.files.values().all(|content| content != b"secret: 1")),
            Err(error) => prop_assert!(!error.reason().is_empty() && error.to_string().len() <= 1024),
        }
    }

    #[test]
    fn any_path_is_refused_or_stays_inside(path in "[a-z./\\\\:~\\x00-\\x20]{0,20}") {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("repository");
        std::fs::create_dir_all(root.join("a")).unwrap();
        std::fs::write(outer.path().join("outside.yaml"), "a: 1").unwrap();
        std::fs::write(root.join("a/inside.yaml"), "a: 1").unwrap();
        if let Ok(tree) = SourceTree::from_directory(&root, &path, Mode::Plain, &TreeLimits::default()) {
            prop_assert!(tree.files.keys().all(|file| file == "a/inside.yaml"));
        }
    }
}
