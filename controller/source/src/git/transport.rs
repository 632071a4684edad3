//! The bridge by which libgit2 talks over our HTTP client.
//!
//! libgit2 creates a transport for a URL scheme registered once per process; which remote is meant is handed over in a
//! thread-local, because libgit2 works on the calling thread and only the scheme of our made-up URL matters to it.

use std::cell::RefCell;
use std::io::{self, Cursor, Read, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use git2::transport::{Service, SmartSubtransport, SmartSubtransportStream, Transport};

use super::advertisement::{Advertised, Unreadable, Wanted, search};
use super::http::{self, Body, Request};
use super::pack_meter::{PackLimits, PackMeter, Refusal};
use super::wire::Clock;
use super::{Credentials, FetchError, GitLimits, RemoteUrl};

const SCHEME: &str = "sluice-http";
/// What libgit2 is told to fetch from.
pub(super) const PLACEHOLDER_URL: &str = "sluice-http://remote/";
/// The only reference libgit2 is shown.
pub(super) const WANTED_REF: &str = "refs/sluice/wanted";

/// Pages of packs that libgit2 maps at a time, and in all: its defaults (1 GiB and 8 GiB) are for a desktop.
const PACK_WINDOW_BYTES: usize = 16 << 20;
const PACK_WINDOWS_BYTES: usize = 256 << 20;
/// Objects kept by libgit2 per open repository; each is read once, so a large cache has no use.
const OBJECT_CACHE_BYTES: isize = 8 << 20;
/// Only reached by `file://` remotes and libgit2's own code paths; ours have deadlines of their own.
const FALLBACK_TIMEOUT_MS: i32 = 10_000;

/// Everything one fetch needs, and where the real cause of a failure is kept while libgit2 unwinds with a code.
pub(super) struct Session {
    pub(super) url: RemoteUrl,
    pub(super) credentials: Option<Credentials>,
    pub(super) ca_bundle_pem: Option<Vec<u8>>,
    pub(super) clock: Clock,
    pub(super) max_advertisement_bytes: u64,
    pub(super) max_pack_bytes: u64,
    pack_limits: PackLimits,
    failure: Mutex<Option<FetchError>>,
}

thread_local! {
    static CURRENT: RefCell<Option<(Arc<Session>, Advertised)>> = const { RefCell::new(None) };
}

impl Session {
    pub(super) fn new(remote: &super::Remote, limits: &GitLimits, clock: Clock) -> Self {
        Self {
            url: remote.url.clone(),
            credentials: remote.credentials.clone(),
            ca_bundle_pem: remote.ca_bundle_pem.clone(),
            clock,
            max_advertisement_bytes: limits.max_advertisement_bytes,
            max_pack_bytes: limits.max_pack_bytes,
            pack_limits: PackLimits {
                max_held_bytes: limits.max_held_object_bytes,
                max_unpacked_bytes: limits.max_unpacked_bytes,
            },
            failure: Mutex::new(None),
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            url: &self.url,
            credentials: self.credentials.as_ref(),
            ca_bundle_pem: self.ca_bundle_pem.as_deref(),
            clock: self.clock,
        }
    }

    /// Asks the remote for one reference.
    pub(super) fn search(&self, wanted: Wanted<'_>) -> Result<Option<Advertised>, FetchError> {
        let mut body = io::BufReader::new(self.request().advertisement(self.max_advertisement_bytes)?);
        search(&mut body, wanted).map_err(|why| match why {
            Unreadable::Format(why) => FetchError::NotGit { host: self.url.host.clone(), why },
            Unreadable::Io(error) => {
                body.get_ref().too_large().unwrap_or_else(|| self.broken(&error, "reading the list of references"))
            }
        })
    }

    fn broken(&self, error: &io::Error, phase: &'static str) -> FetchError {
        match error.kind() {
            io::ErrorKind::InvalidData => {
                FetchError::NotGit { host: self.url.host.clone(), why: "the framing of its answer is malformed" }
            }
            _ => http::lost(&self.url, error, phase),
        }
    }

    /// Runs `work` with libgit2's next connection on this thread going to this remote, which is shown as having one reference.
    pub(super) fn serve<T>(
        self: &Arc<Self>,
        shown: &Advertised,
        work: impl FnOnce() -> Result<T, git2::Error>,
    ) -> Result<T, FetchError> {
        struct Clear;
        impl Drop for Clear {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|current| *current = None);
            }
        }
        CURRENT.with_borrow_mut(|current| *current = Some((self.clone(), shown.clone())));
        let _clear = Clear;
        work().map_err(|error| {
            let recorded = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            recorded.unwrap_or_else(|| self.refusal(&error))
        })
    }

    /// What libgit2's own errors mean: local trouble, or a pack that it would not take.
    fn refusal(&self, error: &git2::Error) -> FetchError {
        use git2::ErrorClass as C;
        match error.class() {
            C::Os | C::Filesystem | C::NoMemory => {
                FetchError::Cache { action: "store the pack", source: io::Error::last_os_error() }
            }
            class => FetchError::PackRefused { host: self.url.host.clone(), class, code: error.code() },
        }
    }

    fn refused_pack(&self, refusal: Refusal) -> FetchError {
        let PackLimits { max_held_bytes, max_unpacked_bytes } = self.pack_limits;
        match refusal {
            Refusal::Malformed => {
                FetchError::NotGit { host: self.url.host.clone(), why: "its pack is malformed, or not sent in side bands" }
            }
            Refusal::HeldTooLarge => FetchError::TooLarge { what: "an object in the pack", limit: max_held_bytes },
            Refusal::UnpackedTooLarge => FetchError::TooLarge { what: "the unpacked content", limit: max_unpacked_bytes },
        }
    }

    pub(super) fn fail(&self, error: FetchError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        // the first cause is the true one
        failure.get_or_insert(error);
    }
}

struct Subtransport {
    session: Arc<Session>,
    shown: Advertised,
}

impl SmartSubtransport for Subtransport {
    fn action(&self, _url: &str, action: Service) -> Result<Box<dyn SmartSubtransportStream>, git2::Error> {
        match action {
            Service::UploadPackLs => Ok(Box::new(Cursor::new(self.shown.rewritten(WANTED_REF)))),
            Service::UploadPack => {
                let meter = PackMeter::new(self.session.pack_limits);
                Ok(Box::new(Exchange { session: self.session.clone(), wants: Vec::new(), answer: None, meter }))
            }
            Service::ReceivePackLs | Service::ReceivePack => Err(git2::Error::from_str("this transport only reads")),
        }
    }

    fn close(&self) -> Result<(), git2::Error> {
        Ok(())
    }
}

/// One stateless round: what libgit2 writes is sent when it first reads.
struct Exchange {
    session: Arc<Session>,
    wants: Vec<u8>,
    answer: Option<Body>,
    meter: PackMeter,
}

/// Far above what a fetch of one reference has to say.
const MAX_WANTS_BYTES: usize = 1 << 20;

impl Exchange {
    /// The text reaches libgit2, and must hold neither NUL bytes nor anything from outside.
    fn recorded(&self, error: FetchError) -> io::Error {
        self.session.fail(error);
        io::Error::other("the transfer failed")
    }
}

impl Read for Exchange {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let answer = match &mut self.answer {
            Some(answer) => answer,
            None => match self.session.request().upload_pack(&self.wants, self.session.max_pack_bytes) {
                Ok(body) => self.answer.insert(body),
                Err(error) => return Err(self.recorded(error)),
            },
        };
        let read = match answer.read(buffer) {
            Ok(read) => read,
            Err(error) => {
                let cause = answer.too_large().unwrap_or_else(|| self.session.broken(&error, "receiving the pack"));
                return Err(self.recorded(cause));
            }
        };
        let metered = self.meter.feed(buffer.get(..read).unwrap_or_default());
        metered.map(|()| read).map_err(|refusal| self.recorded(self.session.refused_pack(refusal)))
    }
}

impl Write for Exchange {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.wants.len() + bytes.len() > MAX_WANTS_BYTES {
            return Err(io::Error::other("the request is too large"));
        }
        self.wants.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn create(remote: &git2::Remote<'_>) -> Result<Transport, git2::Error> {
    let Some((session, shown)) = CURRENT.with_borrow(Clone::clone) else {
        return Err(git2::Error::from_str("no fetch is under way on this thread"));
    };
    Transport::smart(remote, true, Subtransport { session, shown })
}

pub(super) fn init_process() -> Result<(), FetchError> {
    static DONE: OnceLock<bool> = OnceLock::new();
    if *DONE.get_or_init(|| configure().inspect_err(|error| tracing::error!(%error, "libgit2 cannot be configured")).is_ok()) {
        Ok(())
    } else {
        Err(FetchError::NotInitialised)
    }
}

pub(super) fn is_initialised() -> bool {
    INITIALISED.load(std::sync::atomic::Ordering::Acquire)
}

static INITIALISED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[allow(
    unsafe_code,
    reason = "libgit2 keeps these settings and the list of transports per process without locks; this runs once, under OnceLock, \
              and GitCache refuses to work before it has, so no other libgit2 call of this crate can be under way"
)]
fn configure() -> Result<(), git2::Error> {
    use git2::{ConfigLevel, opts};
    unsafe {
        // a gitconfig of the machine (proxies, URL rewriting, credential helpers) must not change what is fetched
        for level in [ConfigLevel::ProgramData, ConfigLevel::System, ConfigLevel::XDG, ConfigLevel::Global] {
            opts::set_search_path(level, "")?;
        }
        opts::set_server_connect_timeout_in_milliseconds(FALLBACK_TIMEOUT_MS)?;
        opts::set_server_timeout_in_milliseconds(FALLBACK_TIMEOUT_MS)?;
        opts::set_mwindow_size(PACK_WINDOW_BYTES)?;
        opts::set_mwindow_mapped_limit(PACK_WINDOWS_BYTES)?;
        opts::set_cache_max_size(OBJECT_CACHE_BYTES)?;
        git2::transport::register(SCHEME, create)?;
    }
    opts::strict_hash_verification(true);
    INITIALISED.store(true, std::sync::atomic::Ordering::Release);
    Ok(())
}
