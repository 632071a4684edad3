//! An in-process API server for tests: discovery of a few kinds, and whatever else the test answers.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use crate::gate::Gate;
use crate::stack::{Cluster, StackOptions};

/// One request as the transport saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

pub(crate) enum Reaction {
    Json(u16, Value),
    Text(u16, String),
    WithHeader(u16, &'static str, &'static str, Value),
    /// Never answers.
    Hang,
    /// Answers the head, then nothing.
    SilentBody,
    /// One byte at a time, for ever.
    Trickle(Duration),
    Broken,
}

type Answering = Arc<dyn Fn(&Seen) -> Reaction + Send + Sync>;
type ServiceFuture = Pin<Box<dyn Future<Output = Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>> + Send>>;

#[derive(Clone)]
pub(crate) struct FakeApi {
    seen: Arc<Mutex<Vec<Seen>>>,
    answering: Answering,
}

impl FakeApi {
    pub(crate) fn new(answering: impl Fn(&Seen) -> Reaction + Send + Sync + 'static) -> Self {
        Self { seen: Arc::default(), answering: Arc::new(answering) }
    }

    /// Everything but discovery.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| discovery(&seen.path).is_none()).cloned().collect()
    }

    pub(crate) fn discoveries(&self) -> usize {
        self.seen.lock().unwrap().iter().filter(|seen| discovery(&seen.path).is_some()).count()
    }

    pub(crate) fn cluster(&self, gate: Gate) -> Cluster {
        Cluster::over(self.clone(), "default", gate, StackOptions::default())
    }

    async fn answer(self, request: Request<Body>) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await?;
        let seen = Seen {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        self.seen.lock().unwrap().push(seen.clone());
        match (self.answering)(&seen) {
            Reaction::Json(status, value) => Ok(whole(status, value.to_string())),
            Reaction::Text(status, text) => Ok(whole(status, text)),
            Reaction::WithHeader(status, name, value, body) => {
                let mut answer = whole(status, body.to_string());
                answer.headers_mut().insert(name, value.parse().unwrap());
                Ok(answer)
            }
            Reaction::Hang => std::future::pending().await,
            Reaction::SilentBody => Ok(Response::new(StreamBody::new(stream::pending()).boxed_unsync())),
            Reaction::Trickle(pause) => {
                let bytes = stream::unfold((), move |()| async move {
                    tokio::time::sleep(pause).await;
                    Some((Ok(Frame::data(Bytes::from_static(b" "))), ()))
                });
                Ok(Response::new(StreamBody::new(bytes).boxed_unsync()))
            }
            Reaction::Broken => Err("connection reset by peer".into()),
        }
    }
}

impl tower::Service<Request<Body>> for FakeApi {
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = ServiceFuture;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}

fn whole(status: u16, text: String) -> Response<UnsyncBoxBody<Bytes, BoxError>> {
    let body = http_body_util::Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync();
    let mut answer = Response::new(body);
    *answer.status_mut() = status.try_into().unwrap();
    answer
}

/// A refusal as the API server words it.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: Value) -> Reaction {
    Reaction::Json(code, status_value(code, reason, message, details))
}

pub(crate) fn status_value(code: u16, reason: &str, message: &str, details: Value) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message, "details": details})
}

/// The kinds of a small cluster; `None` for every address that is no discovery.
pub(crate) fn discovery(path: &str) -> Option<Value> {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list"]});
    let group = |name: &str, versions: &[&str]| {
        let versions: Vec<Value> =
            versions.iter().map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version})).collect();
        json!({"kind": "APIGroup", "name": name, "versions": versions, "preferredVersion": versions[0]})
    };
    Some(match path {
        "/api/v1" => json!({"resources": [
            resource("configmaps", "ConfigMap", true), resource("secrets", "Secret", true),
            resource("namespaces", "Namespace", false), resource("pods", "Pod", true),
        ]}),
        "/apis/apps" => group("apps", &["v1"]),
        "/apis/apps/v1" => json!({"resources": [
            resource("deployments", "Deployment", true), resource("deployments/status", "Deployment", true), resource("deployments/scale", "Scale", true),
        ]}),
        "/apis/sluice.dev" => group("sluice.dev", &["v1alpha1"]),
        "/apis/sluice.dev/v1alpha1" => json!({"resources": [
            resource("releases", "Release", true), resource("releases/status", "Release", true),
        ]}),
        _ => return None,
    })
}

/// Answers discovery, and hands the rest to the test.
pub(crate) fn with_discovery(answering: impl Fn(&Seen) -> Reaction + Send + Sync + 'static) -> FakeApi {
    FakeApi::new(move |seen| match discovery(&seen.path) {
        Some(value) => Reaction::Json(200, value),
        None => answering(seen),
    })
}
