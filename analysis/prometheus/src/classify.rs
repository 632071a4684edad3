//! What a status, a header or a broken transport means, decided before a body is decoded.

use std::error::Error;

use chrono::DateTime;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use sluice_analysis::FailureKind;

/// Sources of a transport error that are worth showing; below lie repetitions.
const CAUSES_MAX: usize = 4;

/// Whether asking again soon may help, by the status of an answer that is not 200. `error_type` is Prometheus' own word
/// from the body, if there was one.
pub(crate) fn kind_of_status(status: StatusCode, error_type: Option<&str>) -> FailureKind {
    match status.as_u16() {
        // the query ran into something: its type says whether that passes
        422 => kind_of_error_type(error_type),
        // 499 is what Prometheus says when a query was cancelled under it
        408 | 425 | 429 | 499 | 500..=599 => FailureKind::Transient,
        // wrong query, credentials, path or address
        300..=499 => FailureKind::Permanent,
        _ => FailureKind::Transient,
    }
}

/// By the `errorType` of the API.
pub(crate) fn kind_of_error_type(error_type: Option<&str>) -> FailureKind {
    match error_type {
        Some("timeout" | "canceled" | "unavailable") => FailureKind::Transient,
        _ => FailureKind::Permanent,
    }
}

/// The media type without parameters, in lower case; empty when none is named.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a body of this media type may be JSON; one that names none is tried.
pub(crate) fn may_be_json(media_type: &str) -> bool {
    media_type.is_empty() || matches!(media_type, "application/json" | "text/json") || media_type.ends_with("+json")
}

/// How long the server wants to be left alone, in seconds. A date is held against the server's own clock.
pub(crate) fn retry_after_s(headers: &HeaderMap) -> Option<i64> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(str::trim);
    let wish = text(RETRY_AFTER)?;
    if let Ok(seconds) = wish.parse::<u32>() {
        return Some(i64::from(seconds));
    }
    let until = DateTime::parse_from_rfc2822(wish).ok()?;
    let now = DateTime::parse_from_rfc2822(text(DATE)?).ok()?;
    Some((until - now).num_seconds().max(0))
}

/// Where a redirect that was not followed leads: the host alone, since the rest may hold a ticket.
pub(crate) fn redirect_host(headers: &HeaderMap, base: &Url) -> Option<String> {
    let target = base.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    target.host_str().map(str::to_owned)
}

/// Why nothing came back, from the causes of a transport error. The error itself is left out: it quotes the query.
pub(crate) fn transport_words(error: &prometheus_http_query::Error) -> (FailureKind, String) {
    let prometheus_http_query::Error::Client(client_error) = error else {
        return (FailureKind::Permanent, "the request could not be made".to_owned());
    };
    let Some(source) = client_error.inner() else {
        return (FailureKind::Transient, "the request failed".to_owned());
    };
    reqwest_words(source)
}

pub(crate) fn reqwest_words(error: &reqwest::Error) -> (FailureKind, String) {
    let kind = if error.is_builder() { FailureKind::Permanent } else { FailureKind::Transient };
    if error.is_timeout() {
        return (kind, "no answer in time".to_owned());
    }
    let causes = std::iter::successors(error.source(), |&cause| cause.source()).take(CAUSES_MAX);
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    (kind, if words.is_empty() { "the request failed".to_owned() } else { words.join(": ") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    fn headers(pairs: &[(reqwest::header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wish_to_be_left_alone_is_read_in_both_forms() {
        assert_eq!(retry_after_s(&headers(&[(RETRY_AFTER, "120")])), Some(120));
        let date = (DATE, "Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(retry_after_s(&headers(&[(RETRY_AFTER, "Wed, 21 Oct 2015 07:28:30 GMT"), date.clone()])), Some(30));
        assert_eq!(retry_after_s(&headers(&[(RETRY_AFTER, "Wed, 21 Oct 2015 07:27:30 GMT"), date])), Some(0));
        assert_eq!(retry_after_s(&headers(&[(RETRY_AFTER, "Wed, 21 Oct 2015 07:28:30 GMT")])), None);
        assert_eq!(retry_after_s(&headers(&[(RETRY_AFTER, "soon")])), None);
        assert_eq!(retry_after_s(&headers(&[])), None);
    }

    #[test]
    fn only_json_and_the_unnamed_may_be_json() {
        for (value, expected) in [
            ("application/json; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/problem+json", true),
            ("text/html; charset=utf-8", false),
            ("text/plain", false),
        ] {
            assert_eq!(may_be_json(&media_type(&headers(&[(CONTENT_TYPE, value)]))), expected, "{value}");
        }
        assert!(may_be_json(&media_type(&headers(&[]))));
    }
}
