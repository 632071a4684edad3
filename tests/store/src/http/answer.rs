//! Answers as HTTP.

use bytes::Bytes;
use http::Response;
use http::header::CONTENT_TYPE;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;
use tower::BoxError;

use crate::refusal::Refusal;

pub type Body = UnsyncBoxBody<Bytes, BoxError>;

#[must_use]
pub fn json(code: u16, value: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(value.to_string())).map_err(|never| match never {}).boxed_unsync();
    whole(code, body)
}

#[must_use]
pub fn refused(refusal: &Refusal) -> Response<Body> {
    json(refusal.code, &refusal.to_status())
}

#[must_use]
pub fn whole(code: u16, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    if let Ok(code) = code.try_into() {
        *answer.status_mut() = code;
    }
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}
