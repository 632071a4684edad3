//! The real transport against a small server on loopback: nothing is replayed, and nothing goes out after the lease.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io::{Read as _, Write as _};
use std::sync::{Mutex, mpsc};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

type Requests = Arc<Mutex<Vec<String>>>;

/// Reads one request with its body; `None` if the peer closed before it was whole.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await.ok()?;
        if count == 0 {
            return None;
        }
        text.extend_from_slice(&buffer[..count]);
        let whole = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = whole.split_once("\r\n\r\n") {
            let length =
                head.to_lowercase().split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(whole);
            }
        }
    }
}

/// Answers so many requests on each connection, then reads one more and closes without an answer.
async fn server(answers: usize) -> (kube::Config, Requests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}/prefix", listener.local_addr().unwrap());
    let requests = Requests::default();
    let seen = requests.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                for _ in 0..answers {
                    let Some(text) = request(&mut stream).await else { return };
                    seen.lock().unwrap().push(text);
                    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await.unwrap();
                }
                if let Some(text) = request(&mut stream).await {
                    seen.lock().unwrap().push(text);
                }
            });
        }
    });
    (kube::Config::new(uri.parse().unwrap()), requests)
}

fn configmap() -> ConfigMap {
    ConfigMap::default()
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_not_replayed_on_another() {
    for answers in [0, 1] {
        let (config, requests) = server(answers).await;
        let cluster = Cluster::connect(config, Gate::always_open(), StackOptions::default()).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "shop");
        for _ in 0..answers {
            maps.create(&PostParams::default(), &configmap()).await.unwrap();
        }
        maps.create(&PostParams::default(), &configmap()).await.unwrap_err();
        let requests = requests.lock().unwrap();
        assert_eq!(requests.len(), answers + 1);
        assert!(requests[0].starts_with("POST /prefix/api/v1/namespaces/shop/configmaps"), "{}", requests[0]);
    }
}

#[tokio::test]
async fn headers_of_the_configuration_and_its_token_are_sent_and_impersonation_replaces_its_own() {
    let (mut config, requests) = server(9).await;
    config.headers.push(("x-extra".parse().unwrap(), "1".parse().unwrap()));
    config.auth_info.token = Some("planted-token".to_owned().into());
    config.auth_info.impersonate = Some("alice".to_owned());
    config.auth_info.impersonate_groups = Some(vec!["staff".to_owned()]);
    let cluster = Cluster::connect(config, Gate::always_open(), StackOptions::default()).await.unwrap();
    let account = ServiceAccountRef::new("shop", "deployer").unwrap();
    for client in [cluster.client(), cluster.impersonating(&account)] {
        Api::<ConfigMap>::namespaced(client, "shop").create(&PostParams::default(), &configmap()).await.unwrap();
    }
    let requests = requests.lock().unwrap();
    for text in requests.iter() {
        assert!(text.contains("x-extra: 1") && text.contains("Bearer planted-token"), "{text}");
    }
    assert!(requests[0].contains("impersonate-user: alice") && requests[0].contains("impersonate-group: staff"));
    assert!(!requests[1].contains("alice") && !requests[1].contains("staff"));
    assert!(requests[1].contains("impersonate-user: system:serviceaccount:shop:deployer"));
}

#[tokio::test]
async fn a_proxy_is_refused_without_naming_its_password() {
    let mut config = kube::Config::new("https://localhost:1".parse().unwrap());
    config.proxy_url = Some("http://user:hunter2@proxy.example:3128".parse().unwrap());
    let error = Cluster::connect(config, Gate::closed(), StackOptions::default()).await.err().unwrap().to_string();
    assert!(error.contains("proxy.example") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_body_is_cut_off_when_the_lease_ended_before_the_connection_took_it() {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Body as _;

    let gate = Gate::closed();
    gate.open_until(tokio::time::Instant::now() + Duration::from_secs(60), 1);
    let permit = gate.admit().unwrap();
    let mut held = guard::GatedBody::new(Body::from(vec![1]), Some(permit.witness()));
    let mut late = guard::GatedBody::new(Body::from(vec![1]), Some(permit.witness()));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(matches!(Pin::new(&mut held).poll_frame(&mut context), Poll::Ready(Some(Ok(_)))));
    gate.close();
    assert_eq!(late.size_hint().exact(), Some(1), "the length is announced, so that the server sees that it is missing");
    assert!(matches!(Pin::new(&mut late).poll_frame(&mut context), Poll::Ready(Some(Err(_)))));
}

struct CloseBeforeSecond {
    close: Mutex<mpsc::Sender<()>>,
    closed: Mutex<mpsc::Receiver<()>>,
}

impl RequestHook for CloseBeforeSecond {
    fn before_send(&self, line: &RequestLine) {
        if line.sequence == 1 {
            self.close.lock().unwrap().send(()).unwrap();
            self.closed.lock().unwrap().recv().unwrap();
            // runs before the connection does, and the event loop is asked in between
            drop(tokio::spawn(std::future::ready(())));
        }
    }
}

/// Writes twice; the server closes the connection just before the second time. The error of the second write.
fn write_over_a_closing_connection() -> Option<kube::Error> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = kube::Config::new(format!("http://{}", listener.local_addr().unwrap()).parse().unwrap());
    let (close, asked) = mpsc::channel();
    let (done, closed) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            if stream.read(&mut [0; 8192]).unwrap_or(0) > 0 {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").unwrap();
            }
            if asked.recv().is_err() {
                return;
            }
            drop(stream);
            done.send(()).unwrap();
        }
    });
    // the event loop is asked after every task, so that the connection learns of its end right after it was handed the request
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().event_interval(1).build().unwrap();
    runtime.block_on(async {
        let hook = Arc::new(CloseBeforeSecond { close: Mutex::new(close), closed: Mutex::new(closed) });
        let options = StackOptions { hook: Some(hook), ..StackOptions::default() };
        let cluster = Cluster::connect(config, Gate::always_open(), options).await.unwrap();
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client(), "shop");
        maps.create(&PostParams::default(), &configmap()).await.unwrap();
        // the connection returns to the pool
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        maps.create(&PostParams::default(), &configmap()).await.err()
    })
}

fn is_cancelled(error: &kube::Error) -> bool {
    let mut current: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = current {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return true;
        }
        current = error.source();
    }
    false
}

/// The connection dies between being chosen and being used: just what hyper would by default send again on another. When the
/// connection was not back in the pool in time a new one is used, which proves nothing: then the next round tries again.
#[test]
fn a_write_cancelled_on_a_reused_connection_is_reported_and_not_sent_on_another() {
    const ROUNDS: usize = 100;
    let reported = (0..ROUNDS).filter_map(|_| write_over_a_closing_connection()).any(|error| is_cancelled(&error));
    assert!(reported, "no cancelled write was reported: they are replayed");
}
