//! Looking and fetching, against a real Git server.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use git2::Oid;
use sluice_source::git::{self, Credentials, FetchError, GitCache, GitLimits, Reference, Remote, RemoteUrl, UrlPolicy};
use sluice_source::render::Mode;
use sluice_source::{Category, Secret};
use support::repository::Origin;
use support::server::{Server, Tls};
use tempfile::TempDir;

const OPEN: UrlPolicy =
    UrlPolicy { allow_http: true, allow_http_credentials: true, allow_file: true, allow_local_addresses: true };

fn cache() -> (TempDir, GitCache) {
    cache_with(GitLimits { total_timeout: Duration::from_secs(20), ..GitLimits::default() })
}

fn cache_with(limits: GitLimits) -> (TempDir, GitCache) {
    git::init_process().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = GitCache::new(dir.path().to_owned(), limits).unwrap();
    (dir, cache)
}

fn remote(url: &str, reference: Reference) -> Remote {
    Remote { url: RemoteUrl::parse(url, &OPEN).unwrap(), reference, credentials: None, ca_bundle_pem: None }
}

fn branch(name: &str) -> Reference {
    Reference::Branch(name.into())
}

fn commit(sha: &str, on: Option<&str>) -> Reference {
    Reference::Commit { sha: sha.into(), branch: on.map(Into::into) }
}

#[test]
fn a_branch_is_looked_up_fetched_and_read() {
    let origin = Origin::new();
    let sha = origin.commit("main", &[("app/a.yaml", "a: 1"), ("README.md", "hello")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let remote = remote(&server.url(), branch("main"));
    assert_eq!(cache.look(&remote).unwrap(), sha);
    let revision = cache.fetch(&remote).unwrap();
    assert_eq!(revision.sha, sha);
    assert_eq!(revision.subject, "change the manifests");
    assert_eq!(revision.author, "An\\u{1b}[31mAuthor");
    assert_eq!(revision.committed_at.timestamp(), 1_700_000_000);
    let tree = cache.read(&remote, &sha, "app", Mode::Auto).unwrap();
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["app/a.yaml"]);
    assert_eq!(tree.mode, Mode::Plain);
}

#[test]
fn a_look_costs_one_request_and_a_fetch_of_what_is_there_already_no_more() {
    let origin = Origin::new();
    origin.commit("main", &[("a.yaml", "a: 1")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let remote = remote(&server.url(), branch("main"));
    cache.look(&remote).unwrap();
    assert_eq!(server.exchanges().len(), 1);
    cache.fetch(&remote).unwrap();
    // the list, the depth, the pack: libgit2 asks for the depth in a round of its own
    assert_eq!(server.exchanges().len(), 3);
    cache.fetch(&remote).unwrap();
    assert_eq!(server.exchanges().len(), 1);
}

#[test]
fn a_second_fetch_transfers_only_what_changed() {
    let origin = Origin::new();
    // text that does not compress away
    let large: String = (0..40_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    origin.commit("main", &[("large.txt", &large), ("a.yaml", "a: 1")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let remote = remote(&server.url(), branch("main"));
    cache.fetch(&remote).unwrap();
    let first: usize = server.exchanges().iter().map(|exchange| exchange.answer_bytes).sum();
    let sha = origin.commit("main", &[("a.yaml", "a: 2")]);
    assert_eq!(cache.fetch(&remote).unwrap().sha, sha);
    let second: usize = server.exchanges().iter().map(|exchange| exchange.answer_bytes).sum();
    assert!(first > 100_000 && second < 5_000, "{first} then {second} bytes");
    assert_eq!(cache.read(&remote, &sha, ".", Mode::Auto).unwrap().files["a.yaml"], b"a: 2");
}

#[test]
fn a_force_push_is_followed_and_a_commit_that_is_gone_is_named() {
    let origin = Origin::new();
    let first = origin.commit("main", &[("a.yaml", "a: 1")]);
    let dropped = origin.commit("main", &[("a.yaml", "a: 2")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let remote = remote(&server.url(), branch("main"));
    assert_eq!(cache.fetch(&remote).unwrap().sha, dropped);
    let other = origin.commit_onto(
        "main",
        Some(Oid::from_str(&first).unwrap()),
        &[("a.yaml", git2::FileMode::Blob, b"a: 3")],
        "rewritten",
    );
    assert_eq!(cache.look(&remote).unwrap(), other);
    assert_eq!(cache.fetch(&remote).unwrap().sha, other);
    let unrelated = origin.commit_onto("main", None, &[("a.yaml", git2::FileMode::Blob, b"a: 4")], "unrelated history");
    assert_eq!(cache.fetch(&remote).unwrap().sha, unrelated);
    let error = cache.read(&remote, &"d".repeat(40), ".", Mode::Auto).unwrap_err();
    assert_eq!(error.reason(), "CommitMissing");
}

#[test]
fn tags_are_followed_to_their_commit_also_when_moved() {
    let origin = Origin::new();
    let first = origin.commit("main", &[("a.yaml", "a: 1")]);
    let second = origin.commit("main", &[("a.yaml", "a: 2")]);
    origin.tag("light", &first, false);
    origin.tag("v1", &first, true);
    // a branch of the same name must not be taken for the tag
    origin.commit("v1", &[("a.yaml", "branch")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let light = remote(&server.url(), Reference::Tag("light".into()));
    let annotated = remote(&server.url(), Reference::Tag("v1".into()));
    assert_eq!(cache.fetch(&light).unwrap().sha, first);
    assert_eq!(cache.look(&annotated).unwrap(), first);
    assert_eq!(cache.fetch(&annotated).unwrap().sha, first);
    origin.tag("v1", &second, true);
    assert_eq!(cache.look(&annotated).unwrap(), second);
    assert_eq!(cache.fetch(&annotated).unwrap().sha, second);
}

#[test]
fn an_old_commit_is_fetched_by_its_id() {
    let origin = Origin::new();
    let first = origin.commit("main", &[("a.yaml", "a: 1")]);
    origin.commit("main", &[("a.yaml", "a: 2")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    for reference in [commit(&first, None), commit(&first, Some("main"))] {
        let remote = remote(&server.url(), reference);
        assert_eq!(cache.look(&remote).unwrap(), first);
        assert_eq!(cache.fetch(&remote).unwrap().sha, first);
        assert_eq!(cache.read(&remote, &first, ".", Mode::Auto).unwrap().files["a.yaml"], b"a: 1");
        server.exchanges();
        cache.fetch(&remote).unwrap();
        assert!(server.exchanges().is_empty(), "a commit never changes, so there is nothing to ask for");
    }
}

#[test]
fn missing_refs_commits_and_repositories_are_told_apart() {
    let origin = Origin::new();
    origin.commit("main", &[("a.yaml", "a: 1")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let reason = |reference| cache.fetch(&remote(&server.url(), reference)).unwrap_err().reason();
    assert_eq!(reason(branch("nope")), "RefMissing");
    assert_eq!(reason(Reference::Tag("main".into())), "RefMissing");
    assert_eq!(reason(commit(&"e".repeat(40), None)), "CommitMissing");
    assert_eq!(reason(commit(&"e".repeat(40), Some("main"))), "CommitMissing");
    let elsewhere = server.url().replace("deploy", "other");
    let error = cache.fetch(&remote(&elsewhere, branch("main"))).unwrap_err();
    assert_eq!((error.reason(), error.category()), ("RepositoryNotFound", Category::UserMustFix));
    let empty = Origin::new();
    let server = Server::publish(&empty);
    assert_eq!(cache.look(&remote(&server.url(), branch("main"))).unwrap_err().reason(), "RefMissing");
}

#[test]
fn credentials_are_sent_and_wrong_ones_are_reported_without_being_shown() {
    let origin = Origin::new();
    let sha = origin.commit("main", &[("a.yaml", "a: 1")]);
    let server = Server::publish_with_password(&origin, "robot", "hunter2");
    let (_dir, cache) = cache();
    let with = |credentials| Remote { credentials, ..remote(&server.url(), branch("main")) };
    let basic = |password: &str| Some(Credentials::Basic { username: "robot".into(), password: Secret::new(password) });
    assert_eq!(cache.fetch(&with(basic("hunter2"))).unwrap().sha, sha);
    assert!(matches!(cache.look(&with(None)), Err(FetchError::CredentialsMissing { .. })));
    let wrong = cache.fetch(&with(basic("hunter3"))).unwrap_err();
    assert_eq!(wrong.reason(), "AuthenticationFailed");
    for text in ["hunter", "secret details", "robot"] {
        assert!(!format!("{wrong} {wrong:?}").contains(text));
    }
    let newline = cache.look(&with(basic("hunter2\n"))).unwrap_err();
    assert_eq!(newline.reason(), "CredentialsRefused");
    let token_server = Server::publish_with_password(&origin, "x-access-token", "t0ken");
    let token =
        Remote { credentials: Some(Credentials::Token(Secret::new("t0ken"))), ..remote(&token_server.url(), branch("main")) };
    assert_eq!(cache.fetch(&token).unwrap().sha, sha);
}

#[test]
fn what_one_set_of_credentials_fetched_cannot_be_read_by_another() {
    let origin = Origin::new();
    let sha = origin.commit("main", &[("a.yaml", "a: 1")]);
    let server = Server::publish_with_password(&origin, "robot", "hunter2");
    let (_dir, cache) = cache();
    let with = |password: &str| Remote {
        credentials: Some(Credentials::Basic { username: "robot".into(), password: Secret::new(password) }),
        ..remote(&server.url(), commit(&sha, None))
    };
    cache.fetch(&with("hunter2")).unwrap();
    assert_eq!(cache.fetch(&with("guess")).unwrap_err().reason(), "AuthenticationFailed");
    assert_eq!(cache.read(&with("guess"), &sha, ".", Mode::Auto).unwrap_err().reason(), "CommitMissing");
}

#[test]
fn credentials_never_go_over_plain_http_unless_the_operator_allows_it() {
    let (_dir, cache) = cache();
    let policy = UrlPolicy { allow_http_credentials: false, ..OPEN };
    let remote = Remote {
        url: RemoteUrl::parse("http://localhost:1/x", &policy).unwrap(),
        reference: branch("main"),
        credentials: Some(Credentials::Token(Secret::new("t"))),
        ca_bundle_pem: None,
    };
    assert_eq!(cache.look(&remote).unwrap_err().reason(), "CredentialsRefused");
}

#[test]
fn a_damaged_cache_is_thrown_away_and_fetched_again() {
    let origin = Origin::new();
    let sha = origin.commit("main", &[("a.yaml", "a: 1")]);
    let server = Server::publish(&origin);
    let (dir, cache) = cache();
    let remote = remote(&server.url(), branch("main"));
    cache.fetch(&remote).unwrap();
    let repository = std::fs::read_dir(dir.path()).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap().path();
    for damage in ["objects/pack", "HEAD", "refs"] {
        let target = repository.join(damage);
        if target.is_dir() {
            std::fs::remove_dir_all(&target).unwrap()
        } else {
            std::fs::write(&target, "garbage").unwrap()
        }
        assert_eq!(cache.fetch(&remote).unwrap().sha, sha, "{damage}");
        assert_eq!(cache.read(&remote, &sha, ".", Mode::Auto).unwrap().files.len(), 1, "{damage}");
    }
    for pack in std::fs::read_dir(repository.join("objects/pack"))
        .unwrap()
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "pack"))
    {
        std::fs::remove_file(pack.path()).unwrap();
        std::fs::write(pack.path(), vec![0; 4096]).unwrap();
    }
    let next = origin.commit("main", &[("a.yaml", "a: 2")]);
    assert_eq!(cache.fetch(&remote).unwrap().sha, next);
    assert_eq!(cache.read(&remote, &next, ".", Mode::Auto).unwrap().files["a.yaml"], b"a: 2");
}

#[test]
fn a_worn_repository_is_replaced_by_a_fresh_one() {
    let origin = Origin::new();
    origin.commit("main", &[("a.yaml", "a: 0")]);
    let server = Server::publish(&origin);
    let (dir, cache) = cache_with(GitLimits { max_packs: 3, ..GitLimits::default() });
    let remote = remote(&server.url(), branch("main"));
    let mut most = 0;
    for round in 0..8 {
        let sha = origin.commit("main", &[("a.yaml", &format!("a: {round}"))]);
        assert_eq!(cache.fetch(&remote).unwrap().sha, sha);
        let repository = std::fs::read_dir(dir.path()).unwrap().flatten().find(|entry| entry.path().is_dir()).unwrap().path();
        let packs = std::fs::read_dir(repository.join("objects/pack"))
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|kind| kind == "pack"))
            .count();
        most = most.max(packs);
    }
    assert!((1..=3).contains(&most), "{most} packs");
}

#[test]
fn a_pack_beyond_the_cap_is_refused_and_leaves_nothing_behind() {
    let origin = Origin::new();
    let large: String = (0..100_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    origin.commit("main", &[("large.txt", &large)]);
    let server = Server::publish(&origin);
    let (dir, cache) = cache_with(GitLimits { max_pack_bytes: 50_000, ..GitLimits::default() });
    let error = cache.fetch(&remote(&server.url(), branch("main"))).unwrap_err();
    assert_eq!((error.reason(), error.category()), ("TooLarge", Category::UserMustFix));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()).count(), 0);
    let (_dir, cache) = cache_with(GitLimits { max_pack_objects: 1, ..GitLimits::default() });
    assert_eq!(cache.fetch(&remote(&server.url(), branch("main"))).unwrap_err().reason(), "TooLarge");
}

#[test]
fn a_pack_that_would_grow_in_memory_is_refused_while_it_arrives() {
    let origin = Origin::new();
    let large: String = (0..20_000_u32).map(|n| format!("{:x}", n.wrapping_mul(2_654_435_761))).collect();
    // so alike that Git sends the second as a delta
    origin.commit("main", &[("a/large.txt", &large), ("b/large.txt", &format!("{large}!"))]);
    let server = Server::publish(&origin);
    for limits in [
        GitLimits { max_held_object_bytes: 10_000, ..GitLimits::default() },
        GitLimits { max_unpacked_bytes: 10_000, ..GitLimits::default() },
    ] {
        let (_dir, cache) = cache_with(limits);
        assert_eq!(cache.fetch(&remote(&server.url(), branch("main"))).unwrap_err().reason(), "TooLarge");
    }
    let (_dir, cache) = cache();
    cache.fetch(&remote(&server.url(), branch("main"))).unwrap();
}

#[test]
fn callers_on_one_repository_take_turns_and_all_succeed() {
    let origin = Origin::new();
    let sha = origin.commit("main", &[("a.yaml", "a: 1")]);
    let server = Server::publish(&origin);
    let (_dir, cache) = cache();
    let cache = Arc::new(cache);
    let remote = remote(&server.url(), branch("main"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert_eq!(cache.fetch(&remote).unwrap().sha, sha);
                cache.read(&remote, &sha, ".", Mode::Auto).unwrap();
            });
        }
    });
    let rounds = server.exchanges().iter().filter(|exchange| exchange.line.starts_with("POST")).count();
    assert_eq!(rounds, 2, "one fetch takes two rounds");
}

#[test]
fn repositories_nobody_wants_any_more_are_deleted() {
    let origin = Origin::new();
    origin.commit("main", &[("a.yaml", "a: 1")]);
    origin.commit("next", &[("a.yaml", "a: 1")]);
    let (dir, cache) = cache();
    let (kept, dropped) = (remote(&origin.file_url(), branch("main")), remote(&origin.file_url(), branch("next")));
    for remote in [&kept, &dropped] {
        cache.fetch(remote).unwrap();
    }
    cache.retain(std::slice::from_ref(&kept)).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()).count(), 1);
    let sha = cache.look(&kept).unwrap();
    cache.read(&kept, &sha, ".", Mode::Auto).unwrap();
}

#[test]
fn a_local_repository_serves_as_remote_where_allowed() {
    let origin = Origin::new();
    let first = origin.commit("main", &[("a.yaml", "a: 1")]);
    let second = origin.commit("main", &[("a.yaml", "a: 2")]);
    let (_dir, cache) = cache();
    assert_eq!(cache.fetch(&remote(&origin.file_url(), branch("main"))).unwrap().sha, second);
    assert_eq!(cache.fetch(&remote(&origin.file_url(), commit(&first, None))).unwrap().sha, first);
    assert_eq!(cache.fetch(&remote(&origin.file_url(), branch("nope"))).unwrap_err().reason(), "RefMissing");
}

#[test]
fn references_that_git_would_not_allow_never_reach_the_network() {
    let (_dir, cache) = cache();
    for reference in [
        branch("-x"),
        branch("a..b"),
        branch("a b"),
        branch(""),
        branch("a:b"),
        branch("x\n"),
        branch("*"),
        commit("abc", None),
        commit(&"A".repeat(40), None),
    ] {
        let reason = cache.look(&remote("http://localhost:1/x", reference.clone())).unwrap_err().reason();
        assert!(matches!(reason, "ReferenceInvalid" | "ConnectFailed"), "{reference:?} {reason}");
        assert!(reason == "ReferenceInvalid" || reference == branch("-x"), "{reference:?} {reason}");
    }
}

fn certificate(name: &str, expired: bool) -> (String, Tls) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let mut leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        leaf.not_after = rcgen::date_time_ymd(2020, 1, 1);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    (ca_pem, Tls(Arc::new(config)))
}

#[test]
fn https_works_with_the_right_ca_bundle_and_no_other_way() {
    let origin = Origin::new();
    let sha = origin.commit("main", &[("a.yaml", "a: 1")]);
    let (_dir, cache) = cache();
    let (ca, tls) = certificate("localhost", false);
    let server = Server::publish_over_tls(&origin, tls);
    let with = |bundle: Option<&str>, server: &Server| Remote {
        ca_bundle_pem: bundle.map(|pem| pem.as_bytes().to_vec()),
        ..remote(&server.url(), branch("main"))
    };
    assert_eq!(cache.fetch(&with(Some(&ca), &server)).unwrap().sha, sha);
    let (other_ca, expired) = certificate("localhost", true);
    for bundle in [None, Some(other_ca.as_str())] {
        let error = cache.look(&with(bundle, &server)).unwrap_err();
        assert_eq!(error.reason(), "CertificateRefused", "{error}");
    }
    assert_eq!(cache.look(&with(Some("no certificate"), &server)).unwrap_err().reason(), "CaBundleInvalid");
    let server = Server::publish_over_tls(&origin, expired);
    assert!(cache.look(&with(Some(&other_ca), &server)).unwrap_err().to_string().contains("expired"));
    let (ca, wrong_name) = certificate("git.example", false);
    let server = Server::publish_over_tls(&origin, wrong_name);
    assert!(cache.look(&with(Some(&ca), &server)).unwrap_err().to_string().contains("another host name"));
}
