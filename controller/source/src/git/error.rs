//! Why a look or fetch failed, in words that are safe to put into a condition.

use std::io;

use super::SHA_HEX_CHARS;
use crate::error::Category;

#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("the repository URL is refused: {why}")]
    UrlRefused { why: &'static str },
    #[error("the reference is refused: {why}")]
    ReferenceInvalid { why: &'static str },
    #[error("the credentials are refused: {why}")]
    CredentialsRefused { why: &'static str },
    #[error("the CA bundle holds no usable PEM certificate; give one or more CERTIFICATE blocks")]
    CaBundleInvalid,
    #[error("host {host} is not known to DNS; check spec.source.url")]
    HostNotFound { host: String },
    #[error("host {host} resolves only to loopback or link-local addresses, which the operator of the controller does not allow")]
    AddressRefused { host: String },
    #[error("cannot connect to {host}: {error_kind}")]
    ConnectFailed { host: String, error_kind: io::ErrorKind },
    #[error("the connection to {host} broke: {error_kind}")]
    ConnectionLost { host: String, error_kind: io::ErrorKind },
    #[error("the TLS certificate of {host} is not trusted ({why}); give the right CA bundle, or fix the server")]
    CertificateRefused { host: String, why: String },
    #[error("{host} did not answer in time ({phase})")]
    TimedOut { host: String, phase: &'static str },
    #[error("{host} refused the credentials (HTTP 401); update the Secret that spec.source.credentials names")]
    AuthenticationFailed { host: String },
    #[error("{host} asks for credentials (HTTP 401) and none are configured; set spec.source.credentials")]
    CredentialsMissing { host: String },
    #[error("{host} denies access to this repository (HTTP 403); give the credentials read access")]
    AccessDenied { host: String },
    #[error("{host} has no such repository, or hides it from these credentials (HTTP {status})")]
    RepositoryNotFound { host: String, status: u16 },
    #[error("{host} limits our requests (HTTP 429)")]
    RateLimited { host: String, retry_after_s: Option<u64> },
    #[error("{host} failed (HTTP {status})")]
    ServerFailed { host: String, status: u16 },
    #[error(
        "{host} redirects to another address, which is not followed; put the final URL into spec.source.url (often it ends in .git)"
    )]
    Redirected { host: String },
    #[error("{host} does not answer as a Git server at this URL: {why}")]
    NotGit { host: String, why: &'static str },
    #[error("{reference} does not exist in the repository")]
    RefMissing { reference: String },
    #[error("commit {sha} is not in the repository, or not on the branch that was named")]
    CommitMissing { sha: String },
    #[error("{reference} does not name a commit")]
    NotACommit { reference: String },
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge { what: &'static str, limit: u64 },
    #[error("an earlier fetch of this repository is still running")]
    Busy,
    #[error("the pack from {host} is damaged or not acceptable (libgit2 {class:?}/{code:?})")]
    PackRefused { host: String, class: git2::ErrorClass, code: git2::ErrorCode },
    #[error("the local repository cache failed to {action}")]
    Cache { action: &'static str, source: io::Error },
    #[error("the local repository is damaged (libgit2 {class:?}/{code:?}); it is thrown away and fetched again")]
    CacheDamaged { class: git2::ErrorClass, code: git2::ErrorCode },
    #[error("git::init_process was not called, or failed")]
    NotInitialised,
}

impl FetchError {
    /// A stable word for conditions, events and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::UrlRefused { .. } => "UrlRefused",
            Self::ReferenceInvalid { .. } => "ReferenceInvalid",
            Self::CredentialsRefused { .. } => "CredentialsRefused",
            Self::CaBundleInvalid => "CaBundleInvalid",
            Self::HostNotFound { .. } => "HostNotFound",
            Self::AddressRefused { .. } => "AddressRefused",
            Self::ConnectFailed { .. } => "ConnectFailed",
            Self::ConnectionLost { .. } => "ConnectionLost",
            Self::CertificateRefused { .. } => "CertificateRefused",
            Self::TimedOut { .. } => "TimedOut",
            Self::AuthenticationFailed { .. } => "AuthenticationFailed",
            Self::CredentialsMissing { .. } => "CredentialsMissing",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::RepositoryNotFound { .. } => "RepositoryNotFound",
            Self::RateLimited { .. } => "RateLimited",
            Self::ServerFailed { .. } => "ServerFailed",
            Self::Redirected { .. } => "Redirected",
            Self::NotGit { .. } => "NotGit",
            Self::RefMissing { .. } => "RefMissing",
            Self::CommitMissing { .. } => "CommitMissing",
            Self::NotACommit { .. } => "NotACommit",
            Self::TooLarge { .. } => "TooLarge",
            Self::Busy => "Busy",
            Self::PackRefused { .. } => "PackRefused",
            Self::Cache { .. } => "CacheFailed",
            Self::CacheDamaged { .. } => "CacheDamaged",
            Self::NotInitialised => "NotInitialised",
        }
    }

    pub fn category(&self) -> Category {
        match self {
            Self::HostNotFound { .. }
            | Self::ConnectFailed { .. }
            | Self::ConnectionLost { .. }
            | Self::TimedOut { .. }
            | Self::RateLimited { .. }
            | Self::ServerFailed { .. }
            | Self::Busy
            | Self::PackRefused { .. }
            | Self::Cache { .. }
            | Self::CacheDamaged { .. } => Category::Transient,
            Self::UrlRefused { .. }
            | Self::ReferenceInvalid { .. }
            | Self::CredentialsRefused { .. }
            | Self::CaBundleInvalid
            | Self::AddressRefused { .. }
            | Self::CertificateRefused { .. }
            | Self::AuthenticationFailed { .. }
            | Self::CredentialsMissing { .. }
            | Self::AccessDenied { .. }
            | Self::RepositoryNotFound { .. }
            | Self::Redirected { .. }
            | Self::NotGit { .. }
            | Self::RefMissing { .. }
            | Self::CommitMissing { .. }
            | Self::NotACommit { .. }
            | Self::TooLarge { .. }
            | Self::NotInitialised => Category::UserMustFix,
        }
    }

    /// Seconds the server asked us to wait, bounded by the caller.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_s, .. } => *retry_after_s,
            _ => None,
        }
    }
}

/// Only ids and counts of libgit2's errors are kept: their texts can repeat what the server sent.
pub(super) fn cache_damaged(error: &git2::Error) -> FetchError {
    FetchError::CacheDamaged { class: error.class(), code: error.code() }
}

pub(super) fn is_full_sha(text: &str) -> bool {
    text.len() == SHA_HEX_CHARS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
