//! One exchange with Prometheus, under a deadline and a bound on what is read.

use std::fmt;
use std::io::Read;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::CONTENT_ENCODING;
use reqwest::{Response, StatusCode, Url};
use sluice_analysis::{Answer, FailureKind, QueryFailure, one_line};

use crate::classify::{kind_of_status, may_be_json, media_type, redirect_host, reqwest_words, retry_after_s, transport_words};
use crate::config::{ConfigError, PrometheusConfig};
use crate::envelope::{decode, error_words, seconds};
use crate::redact::Redactor;

/// Queries longer than this, in bytes, are posted: escaped they may triple, and proxies refuse addresses over 8 KiB.
const QUERY_IN_ADDRESS_BYTES_MAX: usize = 2048;

/// Bound on a query, in bytes. Prometheus takes 10 MiB forms; nobody writes such a query.
const QUERY_BYTES_MAX: usize = 64 << 10;

/// Bound on how much of an error page is read, in bytes: enough for the API's error and a proxy's line.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;

/// Bound on words of a server in a message, in bytes.
const DETAIL_BYTES_MAX: usize = 256;

/// Bound on a whole message, in bytes.
const FAILURE_BYTES_MAX: usize = 400;

/// Asks one Prometheus (or what speaks its API). Cheap to clone; connections are shared.
#[derive(Clone)]
pub struct PrometheusClient {
    api: prometheus_http_query::Client,
    base_url: Url,
    redactor: Redactor,
    timeout_ms: u64,
    body_max_bytes: usize,
}

impl fmt::Debug for PrometheusClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusClient").field("base_url", &self.base_url.as_str()).finish_non_exhaustive()
    }
}

impl PrometheusClient {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// When the configuration contradicts itself or TLS cannot be set up.
    pub fn new(config: PrometheusConfig) -> Result<Self, ConfigError> {
        config.check_limits()?;
        let base_url = config.url()?;
        let http = config.http_client(&base_url)?;
        // the crate joins paths behind a slash of its own
        let address = base_url.as_str().trim_end_matches('/');
        let api = prometheus_http_query::Client::from(http, address).map_err(|_| ConfigError::Address)?;
        Ok(Self {
            api,
            base_url,
            redactor: config.redactor(),
            timeout_ms: config.timeout_ms,
            body_max_bytes: config.body_max_bytes,
        })
    }

    /// The result of `promql` at the instant `at`, to the millisecond. Takes no longer than the configured time-out.
    pub async fn query(&self, promql: &str, at: DateTime<Utc>) -> Answer {
        let deadline = Duration::from_millis(self.timeout_ms);
        let answer = match tokio::time::timeout(deadline, self.exchange(promql, at)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => Answer::Failed(failure),
            Err(_) => Answer::Failed(transient(format!("no answer within {} ms", self.timeout_ms))),
        };
        self.without_secrets(answer)
    }

    async fn exchange(&self, promql: &str, at: DateTime<Utc>) -> Result<Answer, QueryFailure> {
        if promql.trim().is_empty() || promql.len() > QUERY_BYTES_MAX {
            return Err(permanent(format!("the query is empty or longer than {QUERY_BYTES_MAX} bytes")));
        }
        let timeout_ms = i64::try_from(self.timeout_ms).unwrap_or(i64::MAX);
        // `at` of the builder takes whole seconds only
        let request = self.api.query(promql).query("time", format!("{:.3}", seconds(at))).timeout(timeout_ms);
        let sent = if promql.len() > QUERY_IN_ADDRESS_BYTES_MAX { request.post_raw().await } else { request.get_raw().await };
        let response = sent.map_err(|error| {
            let (kind, words) = transport_words(&error);
            QueryFailure::new(kind, words)
        })?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let media_type = media_type(response.headers());
        if !may_be_json(&media_type) {
            let words = format!("200 with {media_type} instead of JSON: a login page or another server's?");
            return Err(transient(words));
        }
        let packed = response.headers().get(CONTENT_ENCODING).map(|v| v.as_bytes().to_ascii_lowercase());
        let body = read_body(response, self.body_max_bytes).await.map_err(BodyError::into_failure)?;
        let body = unpack(body, packed.as_deref(), self.body_max_bytes)?;
        Ok(decode(&body, at))
    }

    /// What an answer other than 200 says.
    async fn refusal(&self, response: Response) -> QueryFailure {
        let status = response.status();
        let headers = response.headers().clone();
        let media_type = media_type(&headers);
        // an error page that is too long or breaks off changes nothing about what the status says
        let body = read_body(response, ERROR_BODY_BYTES_MAX).await.unwrap_or_default();
        let words = may_be_json(&media_type).then(|| error_words(&body)).flatten();
        let error_type = words.as_ref().and_then(|words| words.error_type.as_deref());
        let kind = kind_of_status(status, error_type);
        let detail = match &words {
            Some(words) => self.detail(&words.message),
            None if status.is_redirection() => match redirect_host(&headers, &self.base_url) {
                Some(host) => format!("redirect to {}, which is not followed", one_line(&host, DETAIL_BYTES_MAX)),
                None => "redirect to nowhere".to_owned(),
            },
            None if media_type == "text/plain" => self.detail(&String::from_utf8_lossy(&body)),
            None => String::new(),
        };
        let separator = if detail.is_empty() { "" } else { ": " };
        let retry_after_s = if kind == FailureKind::Transient { retry_after_s(&headers) } else { None };
        QueryFailure { retry_after_s, ..QueryFailure::new(kind, format!("HTTP {status}{separator}{detail}")) }
    }

    /// Words of a server. Secrets go first: cut in the middle, one would not be found any more.
    fn detail(&self, text: &str) -> String {
        one_line(&self.redactor.clean(text), DETAIL_BYTES_MAX)
    }

    fn without_secrets(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Failed(failure) => {
                let place = self.base_url.origin().ascii_serialization();
                let message = one_line(&format!("{place}: {}", self.redactor.clean(&failure.message)), FAILURE_BYTES_MAX);
                Answer::Failed(QueryFailure { message, ..failure })
            }
            Answer::Partial { values, message } => Answer::Partial { values, message: self.detail(&message) },
            Answer::Values(_) | Answer::Empty => answer,
        }
    }
}

enum BodyError {
    TooLong { limit: usize },
    BrokeOff { words: String },
}

impl BodyError {
    fn into_failure(self) -> QueryFailure {
        match self {
            Self::TooLong { limit } => transient(format!("the answer is longer than {limit} bytes: aggregate in the query")),
            Self::BrokeOff { words } => transient(format!("the answer broke off: {words}")),
        }
    }
}

/// The body, as long as it is at most `limit` bytes. What the server announces is not believed, only used to stop early.
async fn read_body(mut response: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    if response.content_length().is_some_and(|length| usize::try_from(length).map_or(true, |length| length > limit)) {
        return Err(BodyError::TooLong { limit });
    }
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > limit => return Err(BodyError::TooLong { limit }),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(BodyError::BrokeOff { words: reqwest_words(&error).1 }),
        }
    }
}

/// Packed bodies are not asked for; proxies that pack all the same are put up with.
fn unpack(body: Vec<u8>, encoding: Option<&[u8]>, limit: usize) -> Result<Vec<u8>, QueryFailure> {
    match encoding {
        None | Some(b"identity" | b"") => Ok(body),
        Some(b"gzip" | b"x-gzip") => {
            let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            let mut plain = Vec::new();
            flate2::read::GzDecoder::new(body.as_slice())
                .take(bound)
                .read_to_end(&mut plain)
                .map_err(|error| transient(format!("the packed answer cannot be read: {error}")))?;
            if plain.len() > limit { Err(BodyError::TooLong { limit }.into_failure()) } else { Ok(plain) }
        }
        Some(_) => Err(transient("the answer is packed in a way that was not asked for".to_owned())),
    }
}

fn transient(message: String) -> QueryFailure {
    QueryFailure::new(FailureKind::Transient, message)
}

fn permanent(message: String) -> QueryFailure {
    QueryFailure::new(FailureKind::Permanent, message)
}
