//! Reading the files of an application out of a commit, and what is refused there.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use git2::FileMode;
use sluice_source::git::{self, GitCache, GitLimits, Reference, Remote, RemoteUrl, UrlPolicy};
use sluice_source::render::Mode;
use sluice_source::tree::{SourceTree, TreeError, TreeLimits};
use support::repository::Origin;

const FILE: UrlPolicy =
    UrlPolicy { allow_http: false, allow_http_credentials: false, allow_file: true, allow_local_addresses: false };

type Entry<'a> = (&'a str, FileMode, &'a [u8]);

fn read_with(entries: &[Entry<'_>], path: &str, mode: Mode, tree: TreeLimits) -> Result<SourceTree, TreeError> {
    git::init_process().unwrap();
    let origin = Origin::new();
    let sha = origin.commit_onto("main", None, entries, "files");
    let dir = tempfile::tempdir().unwrap();
    let cache = GitCache::new(dir.path().to_owned(), GitLimits { tree, ..GitLimits::default() }).unwrap();
    let remote = Remote {
        url: RemoteUrl::parse(&origin.file_url(), &FILE).unwrap(),
        reference: Reference::Branch("main".into()),
        credentials: None,
        ca_bundle_pem: None,
    };
    assert_eq!(cache.fetch(&remote).unwrap().sha, sha);
    let result = cache.read(&remote, &sha, path, mode);
    if let Err(error) = &result {
        let text = error.to_string();
        assert!(text.len() <= 1024 && !text.contains(dir.path().to_str().unwrap()) && !text.contains("hunter2"), "{text}");
    }
    result
}

fn read(entries: &[Entry<'_>], path: &str) -> Result<SourceTree, TreeError> {
    read_with(entries, path, Mode::Auto, TreeLimits::default())
}

fn files(tree: &SourceTree) -> Vec<&str> {
    tree.files.keys().map(String::as_str).collect()
}

const F: FileMode = FileMode::Blob;

#[test]
fn a_plain_directory_gives_its_manifests_and_nothing_else() {
    let tree = read(
        &[
            ("app/b.yml", F, b"b"),
            ("app/sub/a.yaml", F, b"a"),
            ("app/c.json", F, b"{}"),
            ("app/notes.md", F, b"x"),
            ("app/.ci/x.yaml", F, b"x"),
            ("other.yaml", F, b"x"),
        ],
        "app",
    )
    .unwrap();
    assert_eq!(files(&tree), ["app/b.yml", "app/c.json", "app/sub/a.yaml"]);
    assert_eq!((tree.mode, tree.root.as_str()), (Mode::Plain, "app"));
}

#[test]
fn a_kustomization_gives_exactly_what_it_refers_to_also_outside_the_path() {
    let tree = read(
        &[
            (
                "apps/prod/kustomization.yaml",
                F,
                b"resources: [../base]\npatches: [{path: p.yaml}]\nconfigMapGenerator: [{name: c, files: [x.txt]}]",
            ),
            ("apps/prod/p.yaml", F, b"p: 1"),
            ("apps/prod/x.txt", F, b"\xff\xfe data"),
            ("apps/prod/unrelated.yaml", F, b"u: 1"),
            ("apps/base/kustomization.yml", F, b"resources: [d.yaml]"),
            ("apps/base/d.yaml", F, b"d: 1"),
            ("apps/link", FileMode::Link, b"/etc"),
        ],
        "apps/prod",
    )
    .unwrap();
    assert_eq!(
        files(&tree),
        [
            "apps/base/d.yaml",
            "apps/base/kustomization.yml",
            "apps/prod/kustomization.yaml",
            "apps/prod/p.yaml",
            "apps/prod/x.txt"
        ]
    );
    assert_eq!(tree.mode, Mode::Kustomize);
}

#[test]
fn the_key_changes_with_content_and_not_with_the_rest_of_the_repository() {
    let key = |content: &[u8], other: &[u8]| read(&[("a/x.yaml", F, content), ("b/y.yaml", F, other)], "a").unwrap().key;
    assert_eq!(key(b"1", b"1"), key(b"1", b"2"));
    assert_ne!(key(b"1", b"1"), key(b"2", b"1"));
}

#[test]
fn symbolic_links_are_refused_by_their_own_name_only() {
    for (target, path, name) in [
        (&b"/etc/passwd"[..], "app", "app/link.yaml"),
        (b"../../../../etc/passwd", "app", "app/link.yaml"),
        (b"real.yaml", "app", "app/link.yaml"),
    ] {
        let error = read(&[("app/link.yaml", FileMode::Link, target), ("app/real.yaml", F, b"a: 1")], path).unwrap_err();
        assert_eq!(error.reason(), "SymlinkRefused");
        assert!(error.to_string().contains(name) && !error.to_string().contains("passwd"));
    }
    let as_directory = [("link", FileMode::Link, &b"app"[..]), ("app/a.yaml", F, b"a: 1")];
    for path in ["link", "link/sub"] {
        assert_eq!(read(&as_directory, path).unwrap_err().reason(), "SymlinkRefused");
    }
    let below = [("app/sub", FileMode::Link, &b"/"[..]), ("app/a.yaml", F, b"a: 1")];
    assert_eq!(read(&below, "app").unwrap_err().reason(), "SymlinkRefused");
    let referred = [("app/kustomization.yaml", F, &b"resources: [l/x.yaml]"[..]), ("app/l", FileMode::Link, b"/etc")];
    assert_eq!(read(&referred, "app").unwrap_err().reason(), "SymlinkRefused");
    let kustomization = [("app/kustomization.yaml", FileMode::Link, &b"/etc/passwd"[..])];
    assert_eq!(read(&kustomization, "app").unwrap_err().reason(), "SymlinkRefused");
}

#[test]
fn submodules_and_lfs_pointers_are_named() {
    let error = read(&[("app/module", FileMode::Commit, b""), ("app/a.yaml", F, b"a: 1")], "app").unwrap_err();
    assert_eq!(error.reason(), "SubmoduleRefused");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 12345\n";
    let error = read(&[("app/big.yaml", F, pointer)], "app").unwrap_err();
    assert_eq!(error.reason(), "LfsPointerRefused");
    assert!(error.to_string().contains("app/big.yaml"));
}

#[test]
fn paths_that_leave_the_repository_or_do_not_exist_are_refused() {
    let entries = [("app/a.yaml", F, &b"a: 1"[..])];
    for (path, reason) in [
        ("../x", "PathRefused"),
        ("/etc", "PathRefused"),
        ("app/../../x", "PathRefused"),
        ("C:\\x", "PathRefused"),
        ("a\0b", "PathRefused"),
        ("nope", "PathMissing"),
        ("app/nope", "PathMissing"),
        ("app/a.yaml/x", "PathMissing"),
        ("app/a.yaml", "NotADirectory"),
    ] {
        assert_eq!(read(&entries, path).unwrap_err().reason(), reason, "{path:?}");
    }
}

#[test]
fn references_of_a_kustomization_stay_in_the_repository() {
    for (resource, reason) in [
        ("https://github.com/x/y//base?ref=main", "RemoteBaseRefused"),
        ("https://user:hunter2@host/x.yaml", "RemoteBaseRefused"),
        ("github.com/x/y", "RemoteBaseRefused"),
        ("../../../x", "ReferenceEscapes"),
        ("/etc/passwd", "ReferenceEscapes"),
        ("../other.yaml", "ReferenceEscapes"),
        ("nope.yaml", "ReferenceMissing"),
        ("../empty", "KustomizationMissing"),
    ] {
        let text = format!("resources: [\"{resource}\"]");
        let entries = [("app/kustomization.yaml", F, text.as_bytes()), ("other.yaml", F, b"a: 1"), ("empty/readme", F, b"x")];
        assert_eq!(read(&entries, "app").unwrap_err().reason(), reason, "{resource}");
    }
}

#[test]
fn a_remote_base_behind_a_local_one_is_refused_too() {
    let entries = [
        ("app/kustomization.yaml", F, &b"resources: [../base]"[..]),
        ("base/kustomization.yaml", F, b"components: [../component]"),
        ("component/kustomization.yaml", F, b"resources: [https://example.org/x.yaml]"),
    ];
    let error = read(&entries, "app").unwrap_err();
    assert_eq!(error.reason(), "RemoteBaseRefused");
    assert!(error.to_string().contains("component/kustomization.yaml") && error.to_string().contains("resources[0]"), "{error}");
}

#[test]
fn caps_on_size_number_and_depth_name_what_is_too_large() {
    let limits = TreeLimits { max_file_bytes: 100, max_bytes: 150, max_files: 3, max_depth: 3, ..TreeLimits::default() };
    let try_read = |entries: &[Entry<'_>]| read_with(entries, "app", Mode::Auto, limits.clone()).unwrap_err();
    let large = [b'a'; 101];
    let error = try_read(&[("app/large.yaml", F, &large)]);
    assert!(error.reason() == "TooLarge" && error.to_string().contains("app/large.yaml"));
    let half = [b'a'; 80];
    assert_eq!(try_read(&[("app/a.yaml", F, &half), ("app/b.yaml", F, &half)]).reason(), "TooLarge");
    let four = ["app/1.yaml", "app/2.yaml", "app/3.yaml", "app/4.yaml"].map(|name| (name, F, &b"a"[..]));
    assert_eq!(try_read(&four).reason(), "TooLarge");
    assert_eq!(try_read(&[("app/1/2/3/4/5/a.yaml", F, b"a")]).reason(), "TooLarge");
    // what is not a manifest is not read, so it may be as large as it likes
    read_with(&[("app/large.bin", F, &large), ("app/a.yaml", F, b"a: 1")], "app", Mode::Auto, limits.clone()).unwrap();
}

#[test]
fn modes_decide_what_a_kustomization_file_means() {
    let entries = [
        ("app/kustomization.yaml", F, &b"resources: [a.yaml]"[..]),
        ("app/a.yaml", F, b"a: 1"),
        ("app/b.yaml", F, b"b: 1"),
        ("plain/a.yaml", F, b"a: 1"),
    ];
    let names = |mode| read_with(&entries, "app", mode, TreeLimits::default()).unwrap().files.len();
    assert_eq!((names(Mode::Auto), names(Mode::Kustomize), names(Mode::Plain)), (2, 2, 2));
    assert!(read_with(&entries, "app", Mode::Plain, TreeLimits::default()).unwrap().files.contains_key("app/b.yaml"));
    assert_eq!(
        read_with(&entries, "plain", Mode::Kustomize, TreeLimits::default()).unwrap_err().reason(),
        "KustomizationMissing"
    );
    let two = [("app/kustomization.yaml", F, &b"{}"[..]), ("app/Kustomization", F, b"{}")];
    assert_eq!(read(&two, "app").unwrap_err().reason(), "KustomizationInvalid");
}

#[test]
fn names_with_control_characters_or_odd_bytes_are_refused() {
    let error = read(&[("app/a\nb.yaml", F, b"a: 1")], "app").unwrap_err();
    assert_eq!(error.reason(), "NameRefused");
}

#[test]
fn a_working_copy_is_read_by_the_same_rules() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("app/a.yaml"), "a: 1").unwrap();
    let read = |path: &str| SourceTree::from_directory(dir.path(), path, Mode::Auto, &TreeLimits::default());
    assert_eq!(files(&read("app").unwrap()), ["app/a.yaml"]);
    assert_eq!(read("..").unwrap_err().reason(), "PathRefused");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("app/l.yaml")).unwrap();
    assert_eq!(read("app").unwrap_err().reason(), "SymlinkRefused");
}
