//! The two HTTP requests of a Git fetch, over connections with a total deadline and exact caps.
//!
//! Each request opens a connection of its own: there are at most two per fetch, and nothing of one remote is ever reused for
//! another. Bodies of error answers are never read, so they cannot be repeated anywhere.

use std::io::{self, BufRead, BufReader, Read, Write};

use base64::Engine as _;
use rustls::StreamOwned;

use super::url::Scheme;
use super::wire::{self, Clock, Wire};
use super::{Credentials, FetchError, RemoteUrl, tls};

pub(super) struct Request<'a> {
    pub(super) url: &'a RemoteUrl,
    pub(super) credentials: Option<&'a Credentials>,
    pub(super) ca_bundle_pem: Option<&'a [u8]>,
    pub(super) clock: Clock,
}

/// A `git/` prefix is what some servers tell Git clients from browsers by.
const USER_AGENT: &str = concat!("git/2.0 (sluice/", env!("CARGO_PKG_VERSION"), ")");
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 32 << 10;
/// Interim answers (1xx) before the real one.
const MAX_INTERIM_ANSWERS: usize = 4;
const TOKEN_USER: &str = "x-access-token";

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

impl Request<'_> {
    /// The list of references.
    pub(super) fn advertisement(&self, max_bytes: u64) -> Result<Body, FetchError> {
        let head =
            self.head("GET", "/info/refs?service=git-upload-pack", "Accept: application/x-git-upload-pack-advertisement\r\n");
        self.exchange(&head, &[], "application/x-git-upload-pack-advertisement", max_bytes, "the list of references")
    }

    /// The negotiation and the pack.
    pub(super) fn upload_pack(&self, wants: &[u8], max_bytes: u64) -> Result<Body, FetchError> {
        let fields = format!(
            "Accept: application/x-git-upload-pack-result\r\nContent-Type: application/x-git-upload-pack-request\r\nContent-Length: {}\r\n",
            wants.len()
        );
        let head = self.head("POST", "/git-upload-pack", &fields);
        self.exchange(&head, wants, "application/x-git-upload-pack-result", max_bytes, "the pack")
    }

    fn head(&self, method: &str, suffix: &str, fields: &str) -> String {
        let authorization = self.credentials.map_or_else(String::new, |credentials| {
            let pair = match credentials {
                Credentials::Basic { username, password } => format!("{username}:{}", password.expose()),
                Credentials::Token(token) => format!("{TOKEN_USER}:{}", token.expose()),
            };
            format!("Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        let (path, host) = (&self.url.path, self.url.host_header());
        format!(
            "{method} {path}{suffix} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {USER_AGENT}\r\nConnection: close\r\n{fields}{authorization}\r\n"
        )
    }

    fn exchange(
        &self,
        head: &str,
        body: &[u8],
        content_type: &str,
        max_bytes: u64,
        what: &'static str,
    ) -> Result<Body, FetchError> {
        let wire = wire::connect(self.url, self.clock)?;
        let mut connection: Box<dyn Connection> =
            if self.url.scheme == Scheme::Https { Box::new(self.handshake(wire)?) } else { Box::new(wire) };
        let lost = |error| self.lost(&error, "sending the request");
        connection.write_all(head.as_bytes()).map_err(lost)?;
        connection.write_all(body).map_err(lost)?;
        connection.flush().map_err(lost)?;
        let mut reader = BufReader::with_capacity(MAX_HEADER_BYTES, connection);
        let answer = self.read_head(&mut reader)?;
        self.check_status(&answer)?;
        if answer.content_type.as_deref() != Some(content_type) {
            return Err(self.not_git("the content type of its answer is another"));
        }
        if answer.encoded {
            return Err(self.not_git("its answer is compressed, which was not asked for"));
        }
        let framing = match (answer.chunked, answer.content_length) {
            (true, _) => Framing::Chunked { left: 0, first: true, done: false },
            (false, Some(left)) => Framing::Length { left },
            (false, None) => Framing::UntilClose,
        };
        Ok(Body { reader, framing, left_of_cap: max_bytes, max_bytes, what, over_cap: false })
    }

    fn handshake(&self, mut wire: Wire) -> Result<StreamOwned<rustls::ClientConnection, Wire>, FetchError> {
        let mut session = tls::client(self.url, self.ca_bundle_pem)?;
        while session.is_handshaking() {
            if let Err(error) = session.complete_io(&mut wire) {
                let refused = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).and_then(tls::refusal);
                return Err(match refused {
                    Some(why) => FetchError::CertificateRefused { host: self.url.host.clone(), why },
                    None => self.lost(&error, "TLS handshake"),
                });
            }
        }
        Ok(StreamOwned::new(session, wire))
    }

    fn read_head(&self, reader: &mut BufReader<Box<dyn Connection>>) -> Result<Head, FetchError> {
        for _ in 0..=MAX_INTERIM_ANSWERS {
            let mut bytes = Vec::new();
            loop {
                let line_from = bytes.len();
                let room = (MAX_HEADER_BYTES - bytes.len()) as u64;
                reader.take(room).read_until(b'\n', &mut bytes).map_err(|error| self.lost(&error, "waiting for the answer"))?;
                match bytes.get(line_from..) {
                    Some(b"\r\n" | b"\n") if line_from > 0 => break,
                    Some(line) if line.ends_with(b"\n") => {}
                    _ if bytes.len() >= MAX_HEADER_BYTES => return Err(self.not_git("the header of its answer is too long")),
                    _ => return Err(self.lost(&io::ErrorKind::UnexpectedEof.into(), "waiting for the answer")),
                }
            }
            let head = Head::parse(&bytes).ok_or_else(|| self.not_git("its answer is not HTTP/1.1"))?;
            if !(100..200).contains(&head.status) {
                return Ok(head);
            }
        }
        Err(self.not_git("it sends interim answers only"))
    }

    fn check_status(&self, answer: &Head) -> Result<(), FetchError> {
        let host = self.url.host.clone();
        Err(match answer.status {
            200 => return Ok(()),
            300..=399 => FetchError::Redirected { host },
            401 if self.credentials.is_none() => FetchError::CredentialsMissing { host },
            401 => FetchError::AuthenticationFailed { host },
            403 => FetchError::AccessDenied { host },
            404 | 410 => FetchError::RepositoryNotFound { host, status: answer.status },
            429 => FetchError::RateLimited { host, retry_after_s: answer.retry_after_s },
            408 | 500.. => FetchError::ServerFailed { host, status: answer.status },
            _ => FetchError::NotGit { host, why: "it refuses the request" },
        })
    }

    fn not_git(&self, why: &'static str) -> FetchError {
        FetchError::NotGit { host: self.url.host.clone(), why }
    }

    pub(super) fn lost(&self, error: &io::Error, phase: &'static str) -> FetchError {
        lost(self.url, error, phase)
    }
}

pub(super) fn lost(url: &RemoteUrl, error: &io::Error, phase: &'static str) -> FetchError {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => FetchError::TimedOut { host: url.host.clone(), phase },
        error_kind => FetchError::ConnectionLost { host: url.host.clone(), error_kind },
    }
}

#[derive(Debug, Default)]
struct Head {
    status: u16,
    content_type: Option<String>,
    content_length: Option<u64>,
    chunked: bool,
    encoded: bool,
    retry_after_s: Option<u64>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut fields);
        if !response.parse(bytes).ok()?.is_complete() {
            return None;
        }
        let mut head = Self { status: response.code?, ..Self::default() };
        for field in response.headers.iter() {
            let value = std::str::from_utf8(field.value).ok()?.trim();
            match field.name.to_ascii_lowercase().as_str() {
                "content-type" => head.content_type = Some(value.split(';').next()?.trim().to_ascii_lowercase()),
                "content-length" => head.content_length = Some(value.parse().ok()?),
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") => head.chunked = true,
                "transfer-encoding" => return None,
                "content-encoding" => head.encoded = !value.eq_ignore_ascii_case("identity"),
                "retry-after" => head.retry_after_s = value.parse().ok(),
                _ => {}
            }
        }
        Some(head)
    }
}

enum Framing {
    Length { left: u64 },
    Chunked { left: u64, first: bool, done: bool },
    UntilClose,
}

/// The content of an answer, cut off at its cap.
pub(super) struct Body {
    reader: BufReader<Box<dyn Connection>>,
    framing: Framing,
    left_of_cap: u64,
    max_bytes: u64,
    what: &'static str,
    over_cap: bool,
}

/// Length of a chunk in hexadecimal, with room for an extension that is ignored.
const MAX_CHUNK_LINE_BYTES: u64 = 256;

impl Body {
    /// Set after a read failed because the cap was reached.
    pub(super) fn too_large(&self) -> Option<FetchError> {
        self.over_cap.then_some(FetchError::TooLarge { what: self.what, limit: self.max_bytes })
    }

    fn next_chunk(&mut self, first: bool) -> io::Result<u64> {
        if !first && self.line()? != b"\r\n" {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let line = self.line()?;
        let text = std::str::from_utf8(&line).map_err(|_| io::ErrorKind::InvalidData)?;
        let digits = text.split(';').next().unwrap_or_default().trim();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        (&mut self.reader).take(MAX_CHUNK_LINE_BYTES).read_until(b'\n', &mut line)?;
        if line.ends_with(b"\n") { Ok(line) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Framing::Chunked { left: 0, first, done: false } = self.framing {
            let left = self.next_chunk(first)?;
            self.framing = Framing::Chunked { left, first: false, done: left == 0 };
        }
        let left = match self.framing {
            Framing::Length { left } => left,
            Framing::Chunked { done: true, .. } => 0,
            Framing::Chunked { left, .. } => left,
            Framing::UntilClose => u64::MAX,
        };
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        if self.left_of_cap == 0 {
            self.over_cap = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let want = (buffer.len() as u64).min(left).min(self.left_of_cap);
        let window = usize::try_from(want).ok().and_then(|want| buffer.get_mut(..want)).unwrap_or_default();
        let read = match self.reader.read(window) {
            // many servers close without the farewell of TLS; the framing tells whether anything is missing
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && matches!(self.framing, Framing::UntilClose) => 0,
            other => other?,
        } as u64;
        match &mut self.framing {
            Framing::UntilClose => {}
            _ if read == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            Framing::Length { left } | Framing::Chunked { left, .. } => *left -= read,
        }
        self.left_of_cap -= read;
        Ok(usize::try_from(read).unwrap_or_default())
    }
}
