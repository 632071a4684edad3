//! HTTP servers on loopback: `git http-backend` behind a few lines of HTTP, and ones that misbehave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;

use super::repository::{NAME, Origin};

#[derive(Debug, Clone)]
pub struct Exchange {
    pub line: String,
    pub authorization: Option<String>,
    pub answer_bytes: usize,
}

/// Publishes a repository until it is dropped.
pub struct Server {
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<Exchange>>>,
    stopped: Arc<AtomicBool>,
    scheme: &'static str,
}

pub struct Tls(pub Arc<rustls::ServerConfig>);

trait Connection: Read + Write + Send {}
impl<T: Read + Write + Send> Connection for T {}

impl Server {
    pub fn publish(origin: &Origin) -> Self {
        Self::start(origin, None, None)
    }

    pub fn publish_with_password(origin: &Origin, user: &str, password: &str) -> Self {
        Self::start(origin, Some(format!("{user}:{password}")), None)
    }

    pub fn publish_over_tls(origin: &Origin, tls: Tls) -> Self {
        Self::start(origin, None, Some(tls))
    }

    fn start(origin: &Origin, pair: Option<String>, tls: Option<Tls>) -> Self {
        let root = origin.dir.path().to_owned();
        let expected = pair.map(|pair| format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)));
        let log = Arc::new(Mutex::new(Vec::new()));
        let seen = log.clone();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (address, stopped) = listen(move |tcp| {
            let connection: Box<dyn Connection> = match &tls {
                Some(Tls(config)) => {
                    Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(config.clone()).unwrap(), tcp))
                }
                None => Box::new(tcp),
            };
            // a client that hangs up is what some of the tests are about
            let _ = serve(connection, &root, expected.as_deref(), &seen);
        });
        Self { address, log, stopped, scheme }
    }

    pub fn url(&self) -> String {
        format!("{}://localhost:{}/{NAME}", self.scheme, self.address.port())
    }

    pub fn exchanges(&self) -> Vec<Exchange> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(self.address);
    }
}

/// A server that runs `act` on every connection, for as long as the process lives.
pub fn misbehave(act: impl Fn(TcpStream) + Send + Sync + 'static) -> String {
    let (address, _) = listen(act);
    format!("http://localhost:{}/{NAME}", address.port())
}

/// A server that sends the same bytes to everyone who has finished a request header.
pub fn answer(bytes: &'static [u8]) -> String {
    misbehave(move |mut tcp| {
        let _ = header(&mut BufReader::new(tcp.try_clone().unwrap()));
        let _ = tcp.write_all(bytes);
    })
}

fn listen(act: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = stopped.clone();
    let act = Arc::new(act);
    std::thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            if stop.load(Ordering::Acquire) {
                break;
            }
            let act = act.clone();
            std::thread::spawn(move || act(tcp));
        }
    });
    (address, stopped)
}

fn header(reader: &mut impl BufRead) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            return Ok(lines);
        }
        lines.push(line.trim().to_owned());
    }
}

fn serve(
    connection: Box<dyn Connection>,
    root: &PathBuf,
    expected: Option<&str>,
    log: &Mutex<Vec<Exchange>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection);
    let lines = header(&mut reader)?;
    let field = |name: &str| {
        lines.iter().find_map(|line| {
            line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
        })
    };
    let line = lines.first().cloned().unwrap_or_default();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
    let mut body = vec![0; field("content-length").and_then(|text| text.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let authorization = field("authorization");
    let (status, fields, content) = if expected.is_some() && authorization.as_deref() != expected {
        ("401 Unauthorized".to_owned(), "WWW-Authenticate: Basic realm=\"test\"\r\n".to_owned(), b"secret details".to_vec())
    } else {
        backend(root, &method, &target, field("content-type").as_deref(), &body)?
    };
    log.lock().unwrap().push(Exchange { line, authorization, answer_bytes: content.len() });
    let out = reader.get_mut();
    // in chunks, as real servers send it
    write!(out, "HTTP/1.1 {status}\r\n{fields}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n")?;
    for chunk in content.chunks(1000) {
        write!(out, "{:x}\r\n", chunk.len())?;
        out.write_all(chunk)?;
        out.write_all(b"\r\n")?;
    }
    out.write_all(b"0\r\n\r\n")?;
    out.flush()
}

fn backend(
    root: &PathBuf,
    method: &str,
    target: &str,
    content_type: Option<&str>,
    body: &[u8],
) -> std::io::Result<(String, String, Vec<u8>)> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", content_type.unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1")
        // the repository may belong to another user than the one who runs the tests
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    child.stdin.take().unwrap().write_all(body)?;
    let output = child.wait_with_output()?.stdout;
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(output.len(), |at| at + 4);
    let (head, content) = output.split_at(end);
    let mut status = "200 OK".to_owned();
    let mut fields = String::new();
    for line in String::from_utf8_lossy(head).lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("Status: ") {
            Some(text) => text.clone_into(&mut status),
            None => fields.push_str(&format!("{line}\r\n")),
        }
    }
    Ok((status, fields, content.to_vec()))
}
