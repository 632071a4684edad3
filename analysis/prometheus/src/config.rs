//! How Prometheus is reached, checked where it enters.

use std::time::Duration;

use reqwest::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Url, redirect};

use crate::redact::Redactor;
use crate::secret::Secret;

/// Time for a whole exchange, in milliseconds: name, connection, query and body.
pub const TIMEOUT_MS_DEFAULT: u64 = 30_000;

/// Bound on an answer's body, in bytes. One number a metric is wanted; 4 MiB are some ten thousand series.
pub const BODY_BYTES_MAX_DEFAULT: usize = 4 << 20;

/// More than this is not a time-out any more: a step waits for its measurement.
const TIMEOUT_MS_MAX: u64 = 300_000;

/// Bodies are read into memory, one for each query that is under way.
const BODY_BYTES_MAX_MAX: usize = 64 << 20;

/// A redirect that adds a slash or a prefix takes one or two.
const REDIRECTS_MAX: usize = 3;

/// Idle connections to one server; a burst of due metrics shares them.
const IDLE_CONNECTIONS_MAX: usize = 4;

/// How Prometheus is reached.
#[derive(Clone, Debug)]
pub struct PrometheusConfig {
    /// Such as `http://prometheus.monitoring:9090` or `https://metrics.example/tenant-a`; no credentials in it.
    pub base_url: String,
    /// Sent as `Authorization: Bearer`; excludes `basic`.
    pub bearer_token: Option<Secret>,
    /// User and password; excludes `bearer_token`.
    pub basic: Option<(String, Secret)>,
    /// Further headers, such as a tenant's. Their values are kept out of messages.
    pub headers: Vec<(String, Secret)>,
    /// The only authorities trusted for an https address; none: the system's.
    pub ca_bundle_pem: Option<String>,
    /// Time for a whole exchange, in milliseconds.
    pub timeout_ms: u64,
    /// Bound on an answer's body, in bytes, also after unpacking.
    pub body_max_bytes: usize,
}

/// Why a client cannot be made from a configuration. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Not an address that can be asked.
    #[error("the Prometheus address is not an http or https address with a host, or carries credentials, a query or a fragment")]
    Address,
    /// Two ways to say who we are.
    #[error("Prometheus is given both a bearer token and a user with password: keep one")]
    TwoCredentials,
    /// A credential that no header can carry.
    #[error("the credentials for Prometheus hold characters that a header cannot carry")]
    Credentials,
    /// A header that cannot be sent.
    #[error(
        "the header {name:?} for Prometheus cannot be sent: its name is reserved or invalid, it is given twice, or its value is invalid"
    )]
    Header {
        /// Its name.
        name: String,
    },
    /// No certificate in the bundle.
    #[error("the CA bundle for Prometheus holds no certificate in PEM form")]
    CaBundle,
    /// A limit outside its range.
    #[error("the limit {field} for Prometheus is {value}, allowed is 1 to {greatest}")]
    Limit {
        /// The limit.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The greatest allowed.
        greatest: u64,
    },
    /// TLS could not be set up.
    #[error("failed to set up the client for Prometheus")]
    Setup(#[source] reqwest::Error),
}

impl PrometheusConfig {
    /// Without credentials and with the default limits.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            bearer_token: None,
            basic: None,
            headers: Vec::new(),
            ca_bundle_pem: None,
            timeout_ms: TIMEOUT_MS_DEFAULT,
            body_max_bytes: BODY_BYTES_MAX_DEFAULT,
        }
    }

    pub(crate) fn check_limits(&self) -> Result<(), ConfigError> {
        let body = u64::try_from(self.body_max_bytes).unwrap_or(u64::MAX);
        for (field, value, greatest) in
            [("timeout_ms", self.timeout_ms, TIMEOUT_MS_MAX), ("body_max_bytes", body, BODY_BYTES_MAX_MAX as u64)]
        {
            if value == 0 || value > greatest {
                return Err(ConfigError::Limit { field, value, greatest });
            }
        }
        Ok(())
    }

    /// Scheme, host, port and path. The parse error is left out, since it may quote credentials.
    pub(crate) fn url(&self) -> Result<Url, ConfigError> {
        let url = Url::parse(&self.base_url).map_err(|_| ConfigError::Address)?;
        let plain = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        if plain { Ok(url) } else { Err(ConfigError::Address) }
    }

    fn credentials(&self) -> Result<Option<HeaderValue>, ConfigError> {
        let text = match (&self.bearer_token, &self.basic) {
            (Some(_), Some(_)) => return Err(ConfigError::TwoCredentials),
            (Some(token), None) => format!("Bearer {}", token.expose()),
            (None, Some((user, password))) => format!("Basic {}", base64(format!("{user}:{}", password.expose()).as_bytes())),
            (None, None) => return Ok(None),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| ConfigError::Credentials)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn header_map(&self) -> Result<HeaderMap, ConfigError> {
        let mut map = HeaderMap::new();
        map.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // a packed body is accepted and never asked for: unpacking only adds a way to be flooded
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(credentials) = self.credentials()? {
            map.insert(AUTHORIZATION, credentials);
        }
        for (name, value) in &self.headers {
            let invalid = || ConfigError::Header { name: name.clone() };
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| invalid())?;
            value.set_sensitive(true);
            if is_reserved(&header) || map.insert(header, value).is_some() {
                return Err(invalid());
            }
        }
        Ok(map)
    }

    pub(crate) fn redactor(&self) -> Redactor {
        let token = self.bearer_token.iter().map(|token| token.expose().to_owned());
        let basic = self.basic.iter().flat_map(|(user, password)| {
            [password.expose().to_owned(), base64(format!("{user}:{}", password.expose()).as_bytes())]
        });
        Redactor::new(token.chain(basic), self.headers.iter().map(|(_, value)| value))
    }

    pub(crate) fn http_client(&self, url: &Url) -> Result<reqwest::Client, ConfigError> {
        let builder = reqwest::Client::builder()
            .default_headers(self.header_map()?)
            .user_agent(concat!("sluice/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::custom(same_origin_only))
            // the judge decides when to ask again; a hidden second attempt would hide an overload
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            // the deadline of the exchange is kept around it; this one lets an abandoned connection end
            .timeout(Duration::from_millis(self.timeout_ms));
        let builder = match &self.ca_bundle_pem {
            Some(pem) => match Certificate::from_pem_bundle(pem.as_bytes()) {
                Ok(certificates) if !certificates.is_empty() => builder.tls_certs_only(certificates),
                Ok(_) | Err(_) => return Err(ConfigError::CaBundle),
            },
            // an image without system certificates must still be able to ask over http
            None if url.scheme() == "http" => builder.tls_certs_only([]),
            None => builder,
        };
        builder.build().map_err(ConfigError::Setup)
    }
}

/// Headers that belong to the transport.
fn is_reserved(header: &HeaderName) -> bool {
    ["connection", "content-encoding", "content-length", "content-type", "te", "transfer-encoding", "upgrade"]
        .contains(&header.as_str())
}

/// Credentials and queries never leave the server that they were meant for; a redirect elsewhere ends as its status.
fn same_origin_only(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if same && attempt.previous().len() <= REDIRECTS_MAX { attempt.follow() } else { attempt.stop() }
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().enumerate().fold(0_u32, |word, (i, &byte)| word | u32::from(byte) << (16 - 8 * i));
        for i in 0..4 {
            let letter = ALPHABET[(word >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_matches_the_vectors_of_rfc_4648() {
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_configuration_prints_without_its_secrets() {
        let config = PrometheusConfig {
            bearer_token: Some(Secret::new("s3cr3t-1")),
            basic: Some(("user".into(), Secret::new("s3cr3t-2"))),
            headers: vec![("X-Key".into(), Secret::new("s3cr3t-3"))],
            ..PrometheusConfig::new("http://localhost:9090")
        };
        assert!(!format!("{config:?}").contains("s3cr3t"));
    }
}
