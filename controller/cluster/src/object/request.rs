//! One request to the API server and its whole answer, without judging it.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use kube::client::Body;

use super::key::encode;
use super::status::clip;
use crate::stack::StackFault;

/// A page of 500 objects of 100 KiB. One object is at most 3 MiB.
pub(crate) const ANSWER_MAX_BYTES: usize = 64 << 20;
/// A server that asks for more is asked again all the same: no answer may stall a release for long.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

const JSON: &str = "application/json";

pub(crate) struct Call {
    method: Method,
    address: String,
    queried: bool,
    content_type: Option<&'static str>,
    body: Vec<u8>,
}

impl Call {
    pub(crate) fn new(method: Method, path: String) -> Self {
        Self { method, address: path, queried: false, content_type: None, body: Vec::new() }
    }

    pub(crate) fn query(mut self, key: &'static str, value: &str) -> Self {
        self.address.push(if self.queried { '&' } else { '?' });
        self.queried = true;
        self.address.push_str(key);
        self.address.push('=');
        encode(value, &mut self.address);
        self
    }

    pub(crate) fn maybe_query(self, key: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: &serde_json::Value) -> Self {
        self.content_type = Some(content_type);
        self.body = body.to_string().into_bytes();
        self
    }

    pub(crate) fn json(self, body: &serde_json::Value) -> Self {
        self.body(JSON, body)
    }

    pub(crate) async fn send(self, client: &kube::Client) -> Result<Answer, Unanswered> {
        let mut request = Request::builder().method(self.method).uri(&self.address).header(ACCEPT, JSON);
        if let Some(content_type) = self.content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(self.body))
            .map_err(|error| Unanswered { cause: Cause::Unsendable, message: format!("the address is not valid: {error}") })?;
        let answer = client.send(request).await.map_err(|error| Unanswered::of(&error))?;
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await.map_err(|error| {
            if error.downcast_ref::<LengthLimitError>().is_some() {
                let message = format!("the answer is larger than {ANSWER_MAX_BYTES} bytes");
                Unanswered { cause: Cause::TooLarge, message }
            } else {
                Unanswered::of(error.as_ref())
            }
        })?;
        Ok(Answer { status, retry_after, body: body.to_bytes() })
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Bytes,
}

/// There is no whole answer. What that says about the request is in the cause.
#[derive(Debug)]
pub(crate) struct Unanswered {
    pub(crate) cause: Cause,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The gate was closed: nothing was sent.
    NotLeader,
    /// Our own request is at fault: nothing was sent.
    Unsendable,
    TooLarge,
    /// Perhaps sent, perhaps carried out.
    Unknown,
}

impl Unanswered {
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let fault = StackFault::within(error);
        let cause = match fault {
            Some(StackFault::NotLeader) => Cause::NotLeader,
            Some(StackFault::WatchClientWrite) => Cause::Unsendable,
            _ => Cause::Unknown,
        };
        let message = match fault {
            Some(fault) => fault.to_string(),
            None => innermost(error),
        };
        Self { cause, message: clip(&message) }
    }
}

/// The last error of the chain says what happened; those around it say only where.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
