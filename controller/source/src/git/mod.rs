//! One commit of one remote: looked up, fetched incrementally into a bare repository, never checked out.
//!
//! libgit2 does packs and objects. HTTP, TLS, time-outs and caps are ours ([`http`], [`transport`]): libgit2's own client has
//! process-wide time-outs only, no total deadline, no cap on the ref list, and CA certificates that all remotes would share.

mod advertisement;
mod cache;
mod error;
mod http;
mod objects;
mod pack_meter;
mod revision;
mod tls;
mod transport;
mod url;
mod wire;

use std::time::Duration;

pub use cache::GitCache;
pub use error::FetchError;
pub use revision::Revision;
pub use url::{RemoteUrl, UrlPolicy};

use crate::Secret;

/// What to fetch, and with what.
#[derive(Debug, Clone)]
pub struct Remote {
    pub url: RemoteUrl,
    pub reference: Reference,
    pub credentials: Option<Credentials>,
    /// When set, the only certificate authorities this remote is trusted with; a self-signed server certificate may be in it.
    pub ca_bundle_pem: Option<Vec<u8>>,
}

/// Which commit is wanted. The kind is explicit, so that a tag can never stand in for a branch of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reference {
    Branch(String),
    Tag(String),
    /// A full commit id. A server may refuse to hand out a bare id; then the history of `branch`, or of all branches, is
    /// fetched under the same caps and searched for it.
    Commit {
        sha: String,
        branch: Option<String>,
    },
}

impl std::fmt::Display for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Branch(name) => write!(f, "branch {}", crate::error::quoted(name)),
            Self::Tag(name) => write!(f, "tag {}", crate::error::quoted(name)),
            Self::Commit { sha, .. } => write!(f, "commit {}", crate::error::quoted(sha)),
        }
    }
}

impl Reference {
    /// Refuses names that Git itself would refuse, so that nothing odd reaches a refspec.
    pub fn validate(&self) -> Result<(), FetchError> {
        let full = match self {
            Self::Branch(name) => format!("refs/heads/{name}"),
            Self::Tag(name) => format!("refs/tags/{name}"),
            Self::Commit { sha, branch } => {
                if sha.len() != SHA_HEX_CHARS || !sha.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
                    return Err(FetchError::ReferenceInvalid {
                        why: "a commit must be given by its full 40-digit lower-case id",
                    });
                }
                format!("refs/heads/{}", branch.as_deref().unwrap_or("none"))
            }
        };
        if full.len() > MAX_REFERENCE_BYTES || !git2::Reference::is_valid_name(&full) {
            return Err(FetchError::ReferenceInvalid { why: "it is not a name Git allows for a branch or tag" });
        }
        Ok(())
    }
}

/// Hexadecimal digits of a SHA-1 id; SHA-256 repositories are not supported by libgit2 in a stable way.
const SHA_HEX_CHARS: usize = 40;
/// The longest full name of a ref: file systems of servers stop at 255 bytes per component, so real ones are far shorter.
const MAX_REFERENCE_BYTES: usize = 512;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    Basic {
        username: String,
        password: Secret,
    },
    /// An access token, sent as the password of the user `x-access-token`, which GitHub, GitLab, Gitea and Azure DevOps accept.
    Token(Secret),
}

/// Bounds of one look or fetch.
#[derive(Debug, Clone)]
pub struct GitLimits {
    /// To resolve the name and open the connection.
    pub connect_timeout: Duration,
    /// Longest silence, and the window in which a minimum must have arrived.
    pub idle_timeout: Duration,
    /// For the whole operation, including the wait for another fetch of the same repository.
    pub total_timeout: Duration,
    pub max_advertisement_bytes: u64,
    pub max_pack_bytes: u64,
    pub max_pack_objects: usize,
    /// Of all objects of a pack together, decompressed.
    pub max_unpacked_bytes: u64,
    /// Of an object that libgit2 holds in memory as a whole: commits, trees, and what deltas start from and result in.
    pub max_held_object_bytes: u64,
    /// Each fetch leaves a pack behind and libgit2 cannot repack, so a repository with this many is fetched anew.
    pub max_packs: usize,
    pub tree: crate::tree::TreeLimits,
}

impl Default for GitLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_secs(60),
            // 60 bytes a ref: about a million refs
            max_advertisement_bytes: 64 << 20,
            max_pack_bytes: 1 << 30,
            max_pack_objects: 5_000_000,
            max_unpacked_bytes: 4 << 30,
            max_held_object_bytes: 32 << 20,
            max_packs: 50,
            tree: crate::tree::TreeLimits::default(),
        }
    }
}

/// Sets what libgit2 keeps per process, and registers our transport. Call once, first thing in `main`; later calls do nothing.
pub fn init_process() -> Result<(), FetchError> {
    transport::init_process()
}
