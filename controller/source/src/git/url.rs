//! Repository URLs: a short list of schemes, and nothing in them that could mean two things to two readers.

use std::fmt;
use std::path::PathBuf;

use super::FetchError;

/// What the operator of the controller allows beyond https.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UrlPolicy {
    pub allow_http: bool,
    /// Credentials over plain http can be read by anyone on the way.
    pub allow_http_credentials: bool,
    /// `file:///…`, for tests and for repositories on a volume of the controller.
    pub allow_file: bool,
    /// Hosts on loopback and link-local addresses (which include cloud metadata services).
    pub allow_local_addresses: bool,
}

/// A repository URL that passed [`RemoteUrl::parse`]. It holds no credentials, so printing it is safe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RemoteUrl {
    pub(super) scheme: Scheme,
    /// As written, IPv6 addresses without their brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Begins with a slash and does not end with one.
    pub(super) path: String,
    pub(super) credentials_allowed: bool,
    pub(super) local_addresses_allowed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Https,
    Http,
    File,
}

/// Far above real URLs; it only bounds what is copied around.
const MAX_URL_BYTES: usize = 2048;

impl RemoteUrl {
    pub fn parse(text: &str, policy: &UrlPolicy) -> Result<Self, FetchError> {
        let refuse = |why| Err(FetchError::UrlRefused { why });
        if text.len() > MAX_URL_BYTES {
            return refuse("it is too long");
        }
        if text
            .bytes()
            .any(|b| !b.is_ascii_graphic() || matches!(b, b'\\' | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'^'))
        {
            return refuse("it holds spaces, control characters or characters that must be percent-encoded");
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) if policy.allow_http => (Scheme::Http, rest),
            Some(("http", _)) => return refuse("plain http is not allowed here; use https"),
            Some(("file", rest)) if policy.allow_file => (Scheme::File, rest),
            _ => return refuse("only https URLs are supported"),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return refuse("it holds a user name or password; put them into spec.source.credentials");
        }
        let path = path.trim_end_matches('/');
        if path.is_empty() {
            return refuse("it names no repository");
        }
        if path.contains(['?', '#']) {
            return refuse("it holds a query or fragment");
        }
        if path.split('/').any(|part| part == ".." || part == "." || part.starts_with('-')) {
            return refuse("a part of its path is '.', '..' or begins with '-'");
        }
        let (host, port) = if scheme == Scheme::File {
            if !authority.is_empty() {
                return refuse("a file URL has three slashes and no host");
            }
            (String::new(), 0)
        } else {
            split_authority(authority, if scheme == Scheme::Https { HTTPS_PORT } else { HTTP_PORT })?
        };
        Ok(Self {
            scheme,
            host,
            port,
            path: path.to_owned(),
            credentials_allowed: scheme == Scheme::Https || (scheme == Scheme::Http && policy.allow_http_credentials),
            local_addresses_allowed: policy.allow_local_addresses,
        })
    }

    /// The host as error messages show it; empty for files.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Value of the Host header: the port only where it is not the scheme's own.
    pub(super) fn host_header(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Https, HTTPS_PORT) | (Scheme::Http, HTTP_PORT) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    pub(super) fn file_path(&self) -> Option<PathBuf> {
        (self.scheme == Scheme::File).then(|| PathBuf::from(&self.path))
    }
}

const HTTPS_PORT: u16 = 443;
const HTTP_PORT: u16 = 80;

fn split_authority(authority: &str, default_port: u16) -> Result<(String, u16), FetchError> {
    let refuse = |why| Err(FetchError::UrlRefused { why });
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else { return refuse("its IPv6 address has no closing bracket") };
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return refuse("its IPv6 address is not valid");
        }
        (address, port)
    } else {
        let at = authority.find(':').unwrap_or(authority.len());
        let (host, port) = authority.split_at(at);
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if host.is_empty() || host.starts_with(['-', '.']) || !host.bytes().all(allowed) {
            return refuse("its host name is not valid");
        }
        (host, port)
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => return refuse("its port is not valid"),
        },
        _ => return refuse("its port is not valid"),
    };
    Ok((host.to_ascii_lowercase(), port))
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Https => write!(f, "https://{}{}", self.host_header(), self.path),
            Scheme::Http => write!(f, "http://{}{}", self.host_header(), self.path),
            Scheme::File => write!(f, "file://{}", self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::*;

    const OPEN: UrlPolicy =
        UrlPolicy { allow_http: true, allow_http_credentials: true, allow_file: true, allow_local_addresses: true };

    #[test]
    fn ordinary_urls_are_accepted_and_printed_back() {
        for text in [
            "https://git.example/shop/deploy.git",
            "https://git.example:8443/x",
            "https://[::1]:3000/a/b",
            "file:///srv/repo.git",
        ] {
            assert_eq!(RemoteUrl::parse(text, &OPEN).unwrap().to_string(), text);
        }
        assert_eq!(RemoteUrl::parse("https://Git.Example:443/x/", &OPEN).unwrap().to_string(), "https://git.example/x");
    }

    #[test]
    fn hostile_urls_are_refused_whatever_the_policy_allows() {
        for text in [
            "ext::sh -c id",
            "git://h/x",
            "ssh://-oProxyCommand=x/",
            "-oProxyCommand=x",
            "https://user:pw@h/x",
            "https://u@h/x",
            "https://-h/x",
            "https://h",
            "https://h/",
            "https://h/../x",
            "https://h/x?y",
            "https://h/x#y",
            "https://h/a b",
            "https://h/x\n",
            "https://h:0/x",
            "https://h:99999/x",
            "https://h:+1/x",
            "https://[::1/x",
            "https://[zz]/x",
            "file://host/x",
            "HTTPS://h/x",
            "",
            "https://h\0/x",
            "https:///x",
            "https://h/-x",
        ] {
            assert!(RemoteUrl::parse(text, &OPEN).is_err(), "{text}");
        }
    }

    #[test]
    fn http_and_file_need_the_operators_permission() {
        let closed = UrlPolicy::default();
        assert!(RemoteUrl::parse("http://h/x", &closed).is_err());
        assert!(RemoteUrl::parse("file:///x", &closed).is_err());
        let http = RemoteUrl::parse("http://h/x", &UrlPolicy { allow_http: true, ..closed }).unwrap();
        assert!(!http.credentials_allowed);
    }

    #[test]
    fn a_refused_url_with_a_password_is_not_repeated_in_the_message() {
        let error = RemoteUrl::parse("https://user:hunter2@h/x", &OPEN).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}
