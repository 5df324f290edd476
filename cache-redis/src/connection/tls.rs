//! TLS: whom to trust.

use std::sync::Arc;

use cache_core::{CacheError, ErrorKind};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::config::Pem;

/// What opens TLS connections that trust `ca`, or the public authorities without one.
pub(crate) fn connector(ca: Option<&Pem>) -> Result<TlsConnector, CacheError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(&pem.0) {
                let certificate = certificate.map_err(|error| bad("is not PEM", error))?;
                roots.add(certificate).map_err(|error| bad("cannot be used", error))?;
            }
            if roots.is_empty() {
                return Err(bad("holds no certificate", "expected BEGIN CERTIFICATE"));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| CacheError::new(ErrorKind::Config, "TLS").with_source(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// redis-rs's cluster client takes the process's provider; without one it would panic where more
/// than one is compiled in.
pub(crate) fn ensure_process_provider() {
    if CryptoProvider::get_default().is_none() {
        // An error says that another thread was first.
        let _ = ring::default_provider().install_default();
    }
}

fn bad(what: &str, why: impl std::fmt::Display) -> CacheError {
    CacheError::new(ErrorKind::Config, format!("the CA certificate {what}: {why}"))
}
