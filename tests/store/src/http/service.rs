//! The service itself: one request, its faults, its answer.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request as HttpRequest, Response};
use serde_json::{Value, json};
use tower::BoxError;

use super::address::{Address, Query, parse};
use super::answer::{self, Body};
use super::{discovery, watch};
use crate::faults::{Attempt, Fault};
use crate::json::text;
use crate::key::Key;
use crate::kinds::Kind;
use crate::refusal::Refusal;
use crate::selector::Selector;
use crate::state::read::Filter;
use crate::state::write::{Request, Validation};
use crate::store::{OWN_USER, Store};
use crate::trace::{Line, Verb};

/// A [`tower::Service`] for [`kube::Client`] and everything built on it.
#[derive(Clone)]
pub struct StoreService {
    store: Store,
}

/// A request that was understood.
struct Call {
    user: String,
    verb: Verb,
    kind: Kind,
    namespace: String,
    name: String,
    subresource: String,
    query: Query,
    body: Value,
}

impl StoreService {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    async fn answer(self, request: HttpRequest<kube::client::Body>) -> Result<Response<Body>, BoxError> {
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await?;
        let user = parts.headers.get("impersonate-user").and_then(|user| user.to_str().ok()).unwrap_or(OWN_USER).to_owned();
        let address = parse(&self.store.state().kinds, parts.uri.path());
        let (kind, namespace, name, subresource) = match address {
            Err(refusal) => return Ok(answer::refused(&refusal)),
            Ok(Address::Discovery(segments)) => {
                let found = discovery::answer(&self.store.state().kinds, &segments);
                return Ok(found.map_or_else(|refusal| answer::refused(&refusal), |value| answer::json(200, &value)));
            }
            Ok(Address::Resource { kind, namespace, name, subresource }) => (*kind, namespace, name, subresource),
        };
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        let content_type = parts.headers.get(http::header::CONTENT_TYPE).and_then(|text| text.to_str().ok()).unwrap_or_default();
        let verb = match verb(&parts.method, content_type, &name, &query) {
            Ok(verb) => verb,
            Err(refusal) => return Ok(answer::refused(&refusal)),
        };
        let body = match decode(&bytes) {
            Ok(body) => body,
            Err(refusal) => return Ok(answer::refused(&refusal)),
        };
        self.carry_out(Call { user, verb, kind, namespace, name, subresource, query, body }).await
    }

    async fn carry_out(self, call: Call) -> Result<Response<Body>, BoxError> {
        let fault = self.store.fault_of(&self.attempt(&call));
        match fault {
            Some(Fault::BreakBefore) => {
                self.note_unanswered(&call);
                return Err("connection reset by peer".into());
            }
            Some(Fault::HangBefore) => {
                self.note_unanswered(&call);
                return std::future::pending().await;
            }
            Some(Fault::Answer(code)) => return Ok(self.note_refused(&call, &injected(code))),
            Some(Fault::Conflict) => {
                let refusal = Refusal::stale(&call.kind.resource(), &call.name);
                return Ok(self.note_refused(&call, &refusal));
            }
            _ => {}
        }
        let answer = self.perform(&call);
        self.store.announce();
        match fault {
            Some(Fault::BreakAfter) => Err("connection reset by peer".into()),
            Some(Fault::HangAfter) => std::future::pending().await,
            Some(Fault::AnswerAfter(code)) => Ok(answer::refused(&injected(code))),
            _ => Ok(answer),
        }
    }

    fn perform(&self, call: &Call) -> Response<Body> {
        let result = match call.verb {
            Verb::Get => self.get(call),
            Verb::List => self.list(call),
            Verb::Watch => return self.watch(call),
            _ => self.write(call),
        };
        match result {
            Ok((code, value)) => answer::json(code, &value),
            Err(refusal) => answer::refused(&refusal),
        }
    }

    fn get(&self, call: &Call) -> Result<(u16, Value), Refusal> {
        let found = self.store.get(&call.key());
        self.note(call, if found.is_some() { 200 } else { 404 });
        let object = found.ok_or_else(|| Refusal::not_found(&call.kind.resource(), &call.name))?;
        if call.subresource == "scale" {
            let replicas = object["spec"]["replicas"].clone();
            let metadata = json!({"name": call.name, "namespace": call.namespace, "uid": object["metadata"]["uid"], "resourceVersion": object["metadata"]["resourceVersion"]});
            return Ok((
                200,
                json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": {"replicas": replicas}, "status": {"replicas": object["status"]["replicas"]}}),
            ));
        }
        Ok((200, object))
    }

    fn list(&self, call: &Call) -> Result<(u16, Value), Refusal> {
        self.note(call, 200);
        let state = self.store.state();
        state.check_freshness(call.query.get("resourceVersion"))?;
        let limit = call.query.get("limit").parse().unwrap_or(0);
        let page = state.page(&call.kind, &call.filter()?, limit, call.query.get("continue"))?;
        let items: Vec<&Value> = page.items.iter().map(AsRef::as_ref).collect();
        let mut metadata = json!({"resourceVersion": page.version.to_string()});
        if !page.token.is_empty() {
            metadata["continue"] = json!(page.token);
            metadata["remainingItemCount"] = json!(page.remaining);
        }
        let list = json!({"kind": format!("{}List", call.kind.kind), "apiVersion": call.kind.api_version(), "metadata": metadata, "items": items});
        Ok((200, list))
    }

    fn watch(&self, call: &Call) -> Response<Body> {
        self.note(call, 200);
        let filter = match call.filter() {
            Ok(filter) => filter,
            Err(refusal) => return answer::refused(&refusal),
        };
        let is_streaming = call.query.is("sendInitialEvents");
        let from = call.query.get("resourceVersion").parse::<u64>().ok().filter(|version| *version > 0 && !is_streaming);
        answer::whole(200, watch::watch(self.store.clone(), call.kind.clone(), filter, from, is_streaming))
    }

    fn write(&self, call: &Call) -> Result<(u16, Value), Refusal> {
        let mut key = call.key();
        if call.verb == Verb::Create {
            text(&call.body, &["metadata", "name"]).clone_into(&mut key.name);
        }
        let request = Request {
            user: call.user.clone(),
            manager: call.query.get("fieldManager").to_owned(),
            verb: call.verb,
            key,
            subresource: call.subresource.clone(),
            force: call.query.is("force"),
            is_dry_run: call.is_dry_run(),
            validation: if call.query.get("fieldValidation") == "Strict" { Validation::Strict } else { Validation::Warn },
            body: call.body.clone(),
        };
        let written = self.store.state().execute(&request, true)?;
        Ok((written.code, written.object))
    }

    fn attempt(&self, call: &Call) -> Attempt {
        let mut key = call.key();
        if call.verb == Verb::Create {
            text(&call.body, &["metadata", "name"]).clone_into(&mut key.name);
        }
        Attempt {
            user: call.user.clone(),
            verb: call.verb,
            key,
            subresource: call.subresource.clone(),
            is_dry_run: call.is_dry_run(),
            writes_before: self.store.state().rest_writes,
        }
    }

    fn note_refused(&self, call: &Call, refusal: &Refusal) -> Response<Body> {
        self.note(call, refusal.code);
        answer::refused(refusal)
    }

    fn note_unanswered(&self, call: &Call) {
        self.note(call, 0);
    }

    fn note(&self, call: &Call, code: u16) {
        let mut state = self.store.state();
        let line = Line {
            at_ms: state.now_ms(),
            user: call.user.clone(),
            verb: call.verb,
            key: call.key(),
            subresource: call.subresource.clone(),
            manager: call.query.get("fieldManager").to_owned(),
            is_dry_run: call.is_dry_run(),
            is_rest: true,
            code,
            changed: false,
            version: state.version,
        };
        state.note(line);
    }
}

impl Call {
    fn key(&self) -> Key {
        Key::new(&self.kind.group, &self.kind.kind, &self.namespace, &self.name)
    }

    fn is_dry_run(&self) -> bool {
        self.query.get("dryRun") == "All"
    }

    fn filter(&self) -> Result<Filter, Refusal> {
        let labels = Selector::parse(self.query.get("labelSelector")).map_err(Refusal::bad_request)?;
        let mut filter = Filter { namespace: self.namespace.clone(), name: None, labels };
        for term in self.query.get("fieldSelector").split(',').filter(|term| !term.is_empty()) {
            match term.split_once('=').map(|(field, value)| (field, value.trim_start_matches('='))) {
                Some(("metadata.name", value)) => filter.name = Some(value.to_owned()),
                Some(("metadata.namespace", value)) => value.clone_into(&mut filter.namespace),
                _ => return Err(Refusal::bad_request(format!("field label not supported: {term}"))),
            }
        }
        Ok(filter)
    }
}

fn verb(method: &Method, content_type: &str, name: &str, query: &Query) -> Result<Verb, Refusal> {
    let unsupported = || Refusal::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
    match (method, name.is_empty()) {
        (&Method::GET, _) if query.is("watch") => Ok(Verb::Watch),
        (&Method::GET, true) => Ok(Verb::List),
        (&Method::GET, false) => Ok(Verb::Get),
        (&Method::POST, true) => Ok(Verb::Create),
        (&Method::PUT, false) => Ok(Verb::Update),
        (&Method::DELETE, false) => Ok(Verb::Delete),
        (&Method::PATCH, false) => match content_type.split(';').next().unwrap_or_default() {
            "application/apply-patch+yaml" | "application/apply-patch+json" => Ok(Verb::Apply),
            "application/merge-patch+json" => Ok(Verb::MergePatch),
            "application/json-patch+json" => Ok(Verb::JsonPatch),
            other => Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                format!("the body of the request was in an unknown format: {other}"),
            )),
        },
        _ => Err(unsupported()),
    }
}

/// JSON; of an apply also in YAML's JSON form, which is what clients send.
fn decode(bytes: &Bytes) -> Result<Value, Refusal> {
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    serde_json::from_slice(bytes).map_err(|error| Refusal::bad_request(format!("the body of the request is no JSON: {error}")))
}

/// A refusal with this code that says nothing about the object.
fn injected(code: u16) -> Refusal {
    let (reason, message) = match code {
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "is forbidden: User \"simulated\" cannot do this"),
        404 => ("NotFound", "not found"),
        409 => ("Conflict", "the object has been modified"),
        422 => ("Invalid", "is invalid"),
        429 => ("TooManyRequests", "too many requests, please try again later"),
        503 => ("ServiceUnavailable", "apiserver not ready"),
        504 => ("Timeout", "request did not complete within the allotted time"),
        _ => ("InternalError", "an injected failure"),
    };
    Refusal::new(code, reason, message).about("simulated", "simulated")
}

impl tower::Service<HttpRequest<kube::client::Body>> for StoreService {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<kube::client::Body>) -> Self::Future {
        Box::pin(self.clone().answer(request))
    }
}
