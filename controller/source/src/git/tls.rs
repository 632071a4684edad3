//! Which certificates are trusted: those of the system, or of one remote's bundle and no others.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{FetchError, RemoteUrl};

/// A bundle is a handful of certificates; a larger one is a mistake.
const MAX_BUNDLE_BYTES: usize = 1 << 20;

pub(super) fn client(url: &RemoteUrl, ca_bundle_pem: Option<&[u8]>) -> Result<ClientConnection, FetchError> {
    let config = match ca_bundle_pem {
        Some(pem) => Arc::new(config(bundle_roots(pem)?)?),
        None => system_config()?,
    };
    let name = ServerName::try_from(url.host.clone())
        .map_err(|_| FetchError::UrlRefused { why: "its host name cannot be in a certificate" })?;
    ClientConnection::new(config, name).map_err(|_| FetchError::UrlRefused { why: "its host name cannot be used with TLS" })
}

fn bundle_roots(pem: &[u8]) -> Result<RootCertStore, FetchError> {
    let mut roots = RootCertStore::empty();
    if pem.len() > MAX_BUNDLE_BYTES {
        return Err(FetchError::CaBundleInvalid);
    }
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| FetchError::CaBundleInvalid)?;
        roots.add(certificate).map_err(|_| FetchError::CaBundleInvalid)?;
    }
    if roots.is_empty() { Err(FetchError::CaBundleInvalid) } else { Ok(roots) }
}

/// One configuration for all remotes without a bundle: loading the system's certificates takes milliseconds, and sharing it
/// lets connections resume sessions.
fn system_config() -> Result<Arc<ClientConfig>, FetchError> {
    static SYSTEM: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = SYSTEM.get() {
        return Ok(config.clone());
    }
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(%error, "some certificate authorities of the system could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    let config = Arc::new(config(roots)?);
    Ok(SYSTEM.get_or_init(|| config).clone())
}

fn config(roots: RootCertStore) -> Result<ClientConfig, FetchError> {
    // named, because a process may link several providers and then has no default one
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| FetchError::NotInitialised)?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// Why a certificate was refused, from the library's own closed list of words.
pub(super) fn refusal(error: &rustls::Error) -> Option<String> {
    use rustls::CertificateError as C;
    let rustls::Error::InvalidCertificate(error) = error else { return None };
    Some(match error {
        C::Expired | C::ExpiredContext { .. } => "it has expired".into(),
        C::NotValidYet | C::NotValidYetContext { .. } => "it is not valid yet".into(),
        C::UnknownIssuer => "it is signed by an unknown authority".into(),
        C::NotValidForName | C::NotValidForNameContext { .. } => "it is for another host name".into(),
        C::Revoked => "it was revoked".into(),
        C::Other(_) => "it is not acceptable as a server certificate; a CA certificate cannot be one".into(),
        _ => "it is not valid".into(),
    })
}
