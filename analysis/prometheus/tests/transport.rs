//! What goes out, and what happens when nothing, or only a part, comes back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod support;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use chrono::DateTime;
use futures::StreamExt;
use sluice_analysis::{Answer, FailureKind, MESSAGE_BYTES_MAX};
use sluice_prometheus::{ConfigError, PrometheusClient, PrometheusConfig, Secret};
use support::{Server, ask, at, error, failure, json, response, success, vector, whole_failure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use FailureKind::{Permanent, Transient};

const TOKEN: &str = "tok3n-of-the-tenant";

fn good(_: &support::Asked) -> Response {
    json(200, &success(&vector(&["0.5"]), ""))
}

#[tokio::test]
async fn a_query_is_sent_with_its_instant_to_the_millisecond() {
    let server = Server::start(good).await;
    let client = PrometheusClient::new(PrometheusConfig::new(format!("{}/tenant/", server.url))).unwrap();
    assert_eq!(client.query("sum(rate(x{a=\"b c\"}[1m]))", at()).await, Answer::Values(vec![0.5]));
    let asked = server.asked().remove(0);
    assert_eq!(asked.method, "GET");
    let expected =
        "/tenant/api/v1/query?query=sum%28rate%28x%7Ba%3D%22b+c%22%7D%5B1m%5D%29%29&time=1750000000.250&timeout=30000ms";
    assert_eq!(asked.uri, expected);
    assert_eq!(asked.headers["accept-encoding"], "identity");
    client.query("up", DateTime::from_timestamp_millis(-1_500).unwrap()).await;
    assert!(server.asked()[1].uri.contains("time=-1.500&"));
}

#[tokio::test]
async fn a_long_query_is_posted() {
    let server = Server::start(good).await;
    let client = PrometheusClient::new(PrometheusConfig::new(&server.url)).unwrap();
    let query = format!("up{{pod=~\"{}\"}}", "x".repeat(3000));
    assert_eq!(client.query(&query, at()).await, Answer::Values(vec![0.5]));
    let asked = server.asked().remove(0);
    assert_eq!((asked.method.as_str(), asked.uri.as_str()), ("POST", "/api/v1/query"));
    assert_eq!(asked.headers["content-type"], "application/x-www-form-urlencoded");
    assert!(asked.body.starts_with("query=up%7Bpod%3D%7E%22xxx") && asked.body.contains("&time=1750000000.250&"));
}

#[tokio::test]
async fn a_query_that_cannot_be_meant_is_not_sent() {
    let server = Server::start(good).await;
    let client = PrometheusClient::new(PrometheusConfig::new(&server.url)).unwrap();
    for query in [String::new(), " \n".to_owned(), "x".repeat(100_000)] {
        assert_eq!(failure(client.query(&query, at()).await).0, Permanent);
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn credentials_are_sent_and_an_echo_of_them_is_not_shown() {
    let echo = |asked: &support::Asked| {
        let credentials = asked.headers["authorization"].to_str().unwrap().to_owned();
        let tenant = asked.headers["x-tenant-key"].to_str().unwrap().to_owned();
        response(401, "text/plain", format!("{} no such user: {credentials} of {tenant}", ".".repeat(230)))
    };
    let server = Server::start(echo).await;
    let headers = vec![("X-Tenant-Key".to_owned(), Secret::new("t3nant-key\n"))];
    let base = PrometheusConfig { headers, ..PrometheusConfig::new(&server.url) };
    let bearer = PrometheusConfig { bearer_token: Some(Secret::new(TOKEN)), ..base.clone() };
    let basic = PrometheusConfig { basic: Some(("shop".into(), Secret::new("pa55word"))), ..base };
    for (config, sent) in [(bearer, format!("Bearer {TOKEN}")), (basic, "Basic c2hvcDpwYTU1d29yZA==".to_owned())] {
        let failure = whole_failure(ask(config).await);
        assert_eq!(failure.kind, Permanent);
        for part in ["tok3n", "c2hvc", "pa55", "t3nant"] {
            assert!(!failure.message.contains(part), "{}", failure.message);
        }
        assert!(failure.message.len() <= MESSAGE_BYTES_MAX);
        let asked = server.asked().pop().unwrap();
        assert_eq!(
            (asked.headers["authorization"].to_str().unwrap(), &asked.headers["x-tenant-key"]),
            (sent.as_str(), &"t3nant-key".parse().unwrap())
        );
    }
}

#[tokio::test]
async fn echoes_in_errors_and_warnings_of_the_api_are_not_shown_either() {
    let echo = Server::start(|_| json(400, &error("bad_data", &format!("token {TOKEN} at 1:5")))).await;
    let config = |url: &str| PrometheusConfig { bearer_token: Some(Secret::new(TOKEN)), ..PrometheusConfig::new(url) };
    assert_eq!(failure(ask(config(&echo.url)).await).1, "HTTP 400 Bad Request: bad_data: token [redacted] at 1:5");
    let ok = Server::start(|_| json(200, &error("bad_data", TOKEN))).await;
    assert_eq!(failure(ask(config(&ok.url)).await).1, "bad_data: [redacted]");
    let warning = Server::start(|_| json(200, &success(&vector(&["1"]), &format!(r#","warnings":["{TOKEN}"]"#)))).await;
    let expected = Answer::Partial { values: vec![1.0], message: "[redacted]".into() };
    assert_eq!(ask(config(&warning.url)).await, expected);
}

#[tokio::test]
async fn a_redirect_on_the_same_server_is_followed_and_one_elsewhere_is_not() {
    let elsewhere = Server::start(good).await;
    let away = elsewhere.url.clone();
    let server = Server::start(move |asked| match asked.uri.as_str() {
        uri if uri.starts_with("/old") => redirect(307, &uri.replacen("/old", "/new", 1)),
        uri if uri.starts_with("/new") => good(asked),
        uri if uri.starts_with("/loop") => redirect(302, uri),
        _ => redirect(302, &format!("{away}/login?ticket=s3cr3t")),
    })
    .await;
    let config = |path: &str| PrometheusConfig {
        bearer_token: Some(Secret::new(TOKEN)),
        ..PrometheusConfig::new(format!("{}{path}", server.url))
    };
    assert_eq!(ask(config("/old")).await, Answer::Values(vec![0.5]));
    let (kind, words) = failure(ask(config("/other")).await);
    assert_eq!((kind, words.as_str()), (Permanent, "HTTP 302 Found: redirect to 127.0.0.1, which is not followed"));
    assert!(elsewhere.asked().is_empty());
    let before = server.asked().len();
    assert_eq!(failure(ask(config("/loop")).await).0, Permanent);
    assert!(server.asked().len() - before <= 5);
}

fn redirect(status: u16, to: &str) -> Response {
    Response::builder().status(status).header("location", to).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_a_passing_failure_that_says_so() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = whole_failure(ask(PrometheusConfig::new(&url)).await);
    assert_eq!(failure.kind, Transient);
    assert!(failure.message.starts_with(&format!("{url}: ")) && failure.message.contains("refused"), "{}", failure.message);
    assert!(!failure.message.contains("query="), "{}", failure.message);
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_a_passing_failure() {
    let (kind, words) =
        failure(ask(PrometheusConfig { timeout_ms: 2_000, ..PrometheusConfig::new("http://prometheus.invalid:9090") }).await);
    assert_eq!(kind, Transient, "{words}");
}

#[tokio::test]
async fn a_server_that_is_not_tls_is_a_passing_failure_over_https() {
    let server = Server::start(good).await;
    let config = PrometheusConfig { timeout_ms: 5_000, ..PrometheusConfig::new(server.url.replace("http:", "https:")) };
    // an image may lack the system's authorities; then the client says so when it is made
    match PrometheusClient::new(config) {
        Ok(client) => assert_eq!(failure(client.query("up", at()).await).0, Transient),
        Err(error) => assert!(matches!(error, ConfigError::Setup(_)), "{error}"),
    }
    assert!(server.asked().is_empty());
}

/// Long enough to be told from a deadline that was missed, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_server_that_never_answers_is_left_at_the_deadline() {
    // accepts, and says nothing
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let began = Instant::now();
    let answer = ask(PrometheusConfig { timeout_ms: 200, ..PrometheusConfig::new(&url) }).await;
    assert!(began.elapsed() < PATIENCE);
    let (kind, words) = failure(answer);
    assert_eq!(kind, Transient);
    assert!(words.starts_with("no answer"), "{words}");
    drop(listener);
}

#[tokio::test]
async fn a_body_that_drips_is_left_at_the_same_deadline() {
    let server = Server::start(|_| {
        let start = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"{\"status\":\"success\","))]);
        let body = Body::from_stream(start.chain(futures::stream::pending()));
        Response::builder().header("content-type", "application/json").body(body).unwrap()
    })
    .await;
    let began = Instant::now();
    let (kind, words) = failure(ask(PrometheusConfig { timeout_ms: 200, ..PrometheusConfig::new(&server.url) }).await);
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(kind, Transient);
    assert!(words.contains("no answer"), "{words}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_passing_failure() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        assert!(connection.read(&mut request).await.unwrap() > 0);
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"status\":";
        connection.write_all(answer.as_bytes()).await.unwrap();
    });
    let (kind, words) = failure(ask(PrometheusConfig::new(&url)).await);
    assert_eq!(kind, Transient);
    assert!(words.starts_with("the answer broke off: "), "{words}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_without_its_secrets() {
    let base = || PrometheusConfig::new("http://127.0.0.1:9090");
    let header = |name: &str, value: &str| vec![(name.to_owned(), Secret::new(value))];
    let cases = [
        PrometheusConfig::new("prometheus:9090"),
        PrometheusConfig::new("ftp://prometheus"),
        PrometheusConfig::new("http://user@prometheus"),
        PrometheusConfig::new("http://:s3cr3t@prometheus"),
        PrometheusConfig::new("http://prometheus/?token=s3cr3t"),
        PrometheusConfig {
            bearer_token: Some(Secret::new("s3cr3t")),
            basic: Some(("u".into(), Secret::new("s3cr3t"))),
            ..base()
        },
        PrometheusConfig { bearer_token: Some(Secret::new("s3cr3t\nx")), ..base() },
        PrometheusConfig { headers: header("X Key", "s3cr3t"), ..base() },
        PrometheusConfig { headers: header("X-Key", "s3cr3t\r\nHost: x"), ..base() },
        PrometheusConfig { headers: header("Content-Length", "5"), ..base() },
        PrometheusConfig { bearer_token: Some(Secret::new("s3cr3t")), headers: header("Authorization", "s3cr3t"), ..base() },
        PrometheusConfig { ca_bundle_pem: Some("no certificate".into()), ..base() },
        PrometheusConfig { timeout_ms: 0, ..base() },
        PrometheusConfig { body_max_bytes: usize::MAX, ..base() },
    ];
    for config in cases {
        let shown = format!("{config:?}");
        let message = PrometheusClient::new(config).expect_err(&shown).to_string();
        assert!(!message.contains("s3cr3t"), "{message}");
    }
}
