//! A server on loopback that gives one prepared answer and remembers what it was asked. It ends with the test's runtime.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use sluice_analysis::{Answer, FailureKind, QueryFailure};
use sluice_prometheus::{PrometheusClient, PrometheusConfig};

/// The instant that the tests ask for.
pub const AT_S: i64 = 1_750_000_000;

pub fn at() -> DateTime<Utc> {
    DateTime::from_timestamp(AT_S, 250_000_000).unwrap()
}

/// What a request held.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub uri: String,
    pub headers: axum::http::HeaderMap,
    pub body: String,
}

type Answering = Arc<dyn Fn(&Asked) -> Response + Send + Sync>;

#[derive(Clone)]
struct Shared {
    answering: Answering,
    asked: Arc<Mutex<Vec<Asked>>>,
}

pub struct Server {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub async fn start(answering: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Shared { answering: Arc::new(answering), asked: asked.clone() };
        let router = Router::new().fallback(handle).with_state(shared);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn handle(State(shared): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let asked = Asked {
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    shared.asked.lock().unwrap().push(asked.clone());
    (shared.answering)(&asked)
}

pub fn response(status: u16, content_type: &str, body: impl Into<Bytes>) -> Response {
    Response::builder().status(status).header("content-type", content_type).body(Body::from(body.into())).unwrap()
}

pub fn json(status: u16, body: &str) -> Response {
    response(status, "application/json", body.to_owned())
}

/// Success with this `data`, and further members of the frame such as `,"warnings":[]`.
pub fn success(data: &str, further: &str) -> String {
    format!(r#"{{"status":"success","data":{data}{further}}}"#)
}

/// A vector with one series for each number, as text.
pub fn vector(numbers: &[&str]) -> String {
    let series: Vec<String> = numbers
        .iter()
        .enumerate()
        .map(|(i, number)| format!(r#"{{"metric":{{"pod":"p{i}"}},"value":[{AT_S}.25,"{number}"]}}"#))
        .collect();
    format!(r#"{{"resultType":"vector","result":[{}]}}"#, series.join(","))
}

pub fn error(kind: &str, words: &str) -> String {
    format!(r#"{{"status":"error","errorType":"{kind}","error":"{words}"}}"#)
}

pub async fn ask(config: PrometheusConfig) -> Answer {
    PrometheusClient::new(config).unwrap().query("up", at()).await
}

/// What is answered to a server that answers so.
pub async fn ask_one(answering: impl Fn(&Asked) -> Response + Send + Sync + 'static) -> Answer {
    let server = Server::start(answering).await;
    ask(PrometheusConfig::new(&server.url)).await
}

/// The failure in it, with the server's changing address taken out.
#[track_caller]
pub fn failure(answer: Answer) -> (FailureKind, String) {
    let failure = whole_failure(answer);
    let (_, words) = failure.message.split_once(": ").unwrap();
    (failure.kind, words.to_owned())
}

#[track_caller]
pub fn whole_failure(answer: Answer) -> QueryFailure {
    match answer {
        Answer::Failed(failure) => failure,
        other => panic!("not a failure: {other:?}"),
    }
}
