//! A TCP connection on which no single operation, nor all of them together, can wait for ever.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{FetchError, GitLimits, RemoteUrl};

/// When to give up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub(super) deadline: Instant,
    pub(super) idle: Duration,
    pub(super) connect: Duration,
}

impl Clock {
    pub(super) fn starting_now(limits: &GitLimits) -> Self {
        Self { deadline: Instant::now() + limits.total_timeout, idle: limits.idle_timeout, connect: limits.connect_timeout }
    }

    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// A window of [`Clock::idle`] in which fewer bytes than this arrived counts as silence. A slow link carries a hundred times
/// more; the keep-alive packets of a server that is busy counting objects carry less, but Git servers count faster than that.
const MIN_BYTES_PER_WINDOW: u64 = 16;

pub(super) struct Wire {
    tcp: TcpStream,
    clock: Clock,
    window_start: Instant,
    window_bytes: u64,
}

impl Wire {
    /// The time-out for the next system call; an error when there is none left.
    fn slice(&self) -> io::Result<Duration> {
        let slice = self.clock.remaining().min(self.clock.idle);
        if slice.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(slice) }
    }

    fn count(&mut self, bytes: usize) -> io::Result<()> {
        self.window_bytes += bytes as u64;
        if self.window_start.elapsed() >= self.clock.idle {
            if self.window_bytes < MIN_BYTES_PER_WINDOW {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.window_start = Instant::now();
            self.window_bytes = 0;
        }
        Ok(())
    }
}

/// A socket time-out shows as `WouldBlock` on Linux; callers want one kind.
fn as_time_out(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.slice()?))?;
        let read = self.tcp.read(buffer).map_err(as_time_out)?;
        self.count(read)?;
        Ok(read)
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.slice()?))?;
        let written = self.tcp.write(buffer).map_err(as_time_out)?;
        self.count(written)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

pub(super) fn connect(url: &RemoteUrl, clock: Clock) -> Result<Wire, FetchError> {
    let addresses = resolve(url, clock)?;
    let mut last = None;
    for address in addresses {
        let budget = clock.connect.min(clock.remaining());
        if budget.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&address, budget) {
            Ok(tcp) => {
                // requests are written whole, so waiting to merge them only costs time; failure to set it costs only that
                let _ = tcp.set_nodelay(true);
                return Ok(Wire { tcp, clock, window_start: Instant::now(), window_bytes: 0 });
            }
            Err(error) => last = Some(as_time_out(error).kind()),
        }
    }
    Err(match last {
        None | Some(io::ErrorKind::TimedOut) => FetchError::TimedOut { host: url.host.clone(), phase: "connecting" },
        Some(error_kind) => FetchError::ConnectFailed { host: url.host.clone(), error_kind },
    })
}

/// More addresses than this are not tried.
const MAX_ADDRESSES: usize = 8;

/// The addresses that will be connected to: they are checked here and used as they are, so a second answer of the name server
/// cannot slip in between.
fn resolve(url: &RemoteUrl, clock: Clock) -> Result<Vec<SocketAddr>, FetchError> {
    // The system's resolver has no deadline of its own choosing, so it works on a thread that can be left behind; it gives up
    // by itself within the resolver's own time-outs.
    let (sender, receiver) = mpsc::sync_channel(1);
    let (host, port) = (url.host.clone(), url.port);
    let spawned = std::thread::Builder::new().name("resolve".into()).spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs().map(|found| found.take(MAX_ADDRESSES).collect::<Vec<_>>());
        // nobody listens any more after a time-out
        let _ = sender.send(found);
    });
    if let Err(error) = spawned {
        return Err(FetchError::ConnectFailed { host: url.host.clone(), error_kind: error.kind() });
    }
    let found = receiver
        .recv_timeout(clock.connect.min(clock.remaining()))
        .map_err(|_| FetchError::TimedOut { host: url.host.clone(), phase: "resolving the host name" })?
        .unwrap_or_default();
    if found.is_empty() {
        return Err(FetchError::HostNotFound { host: url.host.clone() });
    }
    let allowed: Vec<_> = found.into_iter().filter(|address| url.local_addresses_allowed || !is_local(address.ip())).collect();
    if allowed.is_empty() {
        return Err(FetchError::AddressRefused { host: url.host.clone() });
    }
    Ok(allowed)
}

/// Loopback, link-local (with it, the metadata services of clouds), unspecified and multicast. Private ranges are not in it:
/// that is where a company's own Git server lives.
fn is_local(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]
    use super::is_local;

    #[test]
    fn metadata_and_loopback_addresses_are_local_in_every_spelling() {
        for text in ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "0.0.0.0", "fe80::1"] {
            assert!(is_local(text.parse().unwrap()), "{text}");
        }
        for text in ["10.0.0.1", "192.168.1.1", "140.82.121.4", "2001:db8::1"] {
            assert!(!is_local(text.parse().unwrap()), "{text}");
        }
    }
}
