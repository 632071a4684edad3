//! Servers that are broken or malicious: each costs a bounded time and gets a stable reason.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use sluice_source::Category;
use sluice_source::git::{self, FetchError, GitCache, GitLimits, Reference, Remote, RemoteUrl, UrlPolicy};
use support::server::{answer, misbehave};

const OPEN: UrlPolicy =
    UrlPolicy { allow_http: true, allow_http_credentials: true, allow_file: true, allow_local_addresses: true };

fn limits() -> GitLimits {
    let second = Duration::from_secs(1);
    GitLimits { connect_timeout: second, idle_timeout: second, total_timeout: Duration::from_secs(2), ..GitLimits::default() }
}

/// What a fetch of `main` comes to, and how long that took.
fn attempt(url: &str, limits: GitLimits) -> (FetchError, Duration) {
    git::init_process().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = GitCache::new(dir.path().to_owned(), limits).unwrap();
    let url = RemoteUrl::parse(url, &OPEN).unwrap();
    let remote = Remote { url, reference: Reference::Branch("main".into()), credentials: None, ca_bundle_pem: None };
    let start = Instant::now();
    let error = cache.fetch(&remote).unwrap_err();
    assert!(error.to_string().len() <= 1024);
    (error, start.elapsed())
}

#[test]
fn a_server_that_never_answers_is_given_up_on() {
    let url = misbehave(|mut tcp| {
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    let (error, took) = attempt(&url, limits());
    assert_eq!((error.reason(), error.category()), ("TimedOut", Category::Transient));
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_server_that_accepts_no_connection_is_given_up_on() {
    // a full backlog: the kernel neither accepts nor refuses
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(tcp) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        waiting.push(tcp);
    }
    let (error, took) = attempt(&format!("http://127.0.0.1:{}/x", address.port()), limits());
    assert_eq!(error.reason(), "TimedOut");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_server_that_trickles_meets_the_total_deadline() {
    for prelude in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n001e# service=git-upload-pack\n0000",
    ] {
        let url = misbehave(move |mut tcp| {
            let _ = tcp.write_all(prelude.as_bytes());
            // fast enough to look alive, too slow to be of use
            let tick = std::sync::mpsc::channel::<()>();
            while tcp.write_all(b"1").is_ok()
                && tick
                    .1
                    .recv_timeout(Duration::from_millis(20))
                    .is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout)
            {}
        });
        let (error, took) = attempt(&url, limits());
        assert_eq!(error.reason(), "TimedOut", "{error}");
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[test]
fn an_endless_list_of_references_stops_at_its_cap() {
    let url = misbehave(|mut tcp| {
        let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\n\r\n001e# service=git-upload-pack\n0000");
        let line = format!("003d{} refs/heads/aaaaaa\n", "a".repeat(40));
        let block = line.repeat(1000);
        let _ = tcp.write_all(format!("0045{} refs/heads/aaaaaa\0shallow\n", "a".repeat(40)).as_bytes());
        while tcp.write_all(block.as_bytes()).is_ok() {}
    });
    let (error, _) =
        attempt(&url, GitLimits { max_advertisement_bytes: 1 << 20, total_timeout: Duration::from_secs(20), ..limits() });
    assert!(matches!(error.reason(), "TooLarge" | "NotGit"), "{error}");
}

#[test]
fn unknown_hosts_and_closed_ports_are_named() {
    let (error, _) = attempt("https://no-such-host.invalid/x.git", limits());
    assert!(matches!(error.reason(), "HostNotFound" | "TimedOut"), "{error}");
    assert!(error.to_string().contains("no-such-host.invalid"));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (error, _) = attempt(&format!("http://127.0.0.1:{closed}/x"), limits());
    assert_eq!((error.reason(), error.category()), ("ConnectFailed", Category::Transient));
}

#[test]
fn local_addresses_are_refused_unless_allowed() {
    git::init_process().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cache = GitCache::new(dir.path().to_owned(), limits()).unwrap();
    let policy = UrlPolicy { allow_local_addresses: false, ..OPEN };
    for host in ["localhost", "127.0.0.1", "[::1]", "169.254.169.254", "0.0.0.0"] {
        let url = RemoteUrl::parse(&format!("http://{host}:1/x"), &policy).unwrap();
        let remote = Remote { url, reference: Reference::Branch("main".into()), credentials: None, ca_bundle_pem: None };
        assert_eq!(cache.look(&remote).unwrap_err().reason(), "AddressRefused", "{host}");
    }
}

#[test]
fn answers_that_are_not_git_are_refused_by_what_they_are() {
    for (bytes, reason) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>"[..], "NotGit"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n", "Redirected"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\nsecret", "AccessDenied"),
        (b"HTTP/1.1 429 Too Many\r\nRetry-After: 17\r\n\r\n", "RateLimited"),
        (b"HTTP/1.1 503 Busy\r\n\r\n", "ServerFailed"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "NotGit"),
        (b"\r\n\r\n", "NotGit"),
        (b"", "ConnectionLost"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 4\r\n\r\nzzzz", "NotGit"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "NotGit"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-advertisement\r\nContent-Length: 900\r\n\r\n001e", "ConnectionLost"),
    ] {
        let (error, _) = attempt(&answer(bytes), limits());
        assert_eq!(error.reason(), reason, "{}", String::from_utf8_lossy(bytes));
        assert!(!format!("{error}").contains("secret"));
        if reason == "RateLimited" {
            assert_eq!(error.retry_after_s(), Some(17));
        }
    }
}

#[test]
fn a_garbled_pack_is_refused() {
    let id = "a".repeat(40);
    let url = misbehave(move |mut tcp| {
        let mut request = [0; 4096];
        let got = tcp.read(&mut request).unwrap_or_default();
        let (kind, body) = if request[..got].starts_with(b"GET") {
            let entry = format!("{id} refs/heads/main\0shallow side-band-64k agent=git/2\n");
            ("advertisement", format!("001e# service=git-upload-pack\n0000{:04x}{entry}0000", entry.len() + 4).into_bytes())
        } else {
            let mut body = format!("0034shallow {id}0000").into_bytes();
            body.extend_from_slice(b"0008NAK\n0021\x01PACK\0\0\0\x02\xff\xff\xff\xffgarbage garbage!0000");
            ("result", body)
        };
        let _ = tcp.write_all(
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        let _ = tcp.write_all(&body);
        let _ = tcp.shutdown(std::net::Shutdown::Write);
        let _ = tcp.read_to_end(&mut Vec::new());
    });
    let (error, _) = attempt(&url, limits());
    assert_eq!(error.reason(), "NotGit", "{error}");
}
