//! TLS towards whoever takes what we send out (exports): verified by name, and shown a certificate of ours where one is configured.
//!
//! Invariant: without a root that verifies the receiver nothing is sent. Our pair is read again for each handshake, because such
//! connections live for weeks and certificates for hours; what cannot be used leaves the one before in use.

use super::own::{OwnError, OwnIdentity, OwnPair};
use super::tls::{UpstreamError, system_roots, upstream_config};
use crate::config::{IdentityFiles, ReceiverTls};
use crate::runtime::clock::wall;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a receiver cannot be called over TLS.
#[derive(Debug, thiserror::Error)]
pub enum ReceiverError {
    /// Its CA file.
    #[error("cannot read `{path}`, the `ca` of a receiver: {source}")]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is no system root store.
    #[error(
        "this system has no CA certificates to verify a receiver with: install `ca-certificates` or set `ca`"
    )]
    NoSystemRoots,
    /// The roots are of no use.
    #[error("the CA certificates for a receiver cannot be used: {0}")]
    Roots(#[from] UpstreamError),
    /// The certificate that it would be shown.
    #[error(transparent)]
    Own(#[from] OwnError),
}

/// For calls to a receiver, verified by name under the CA certificates of `tls`, or of the system, and no others.
///
/// # Errors
/// [`ReceiverError`].
pub fn receiver_config(tls: &ReceiverTls, alpn: &[&[u8]]) -> Result<ClientConfig, ReceiverError> {
    let roots = match &tls.ca {
        Some(path) => {
            std::fs::read(path).map_err(|source| ReceiverError::Ca { path: path.clone(), source })?
        }
        None => system_roots().ok_or(ReceiverError::NoSystemRoots)?,
    };
    let mut config = (*upstream_config(&roots, alpn)?).clone();
    if let Some(files) = &tls.client {
        let own = OwnIdentity::new(OwnPair::load(files, wall())?);
        config.client_auth_cert_resolver = Arc::new(Reread { files: files.clone(), own });
    }
    Ok(config)
}

#[derive(Debug)]
struct Reread {
    files: IdentityFiles,
    own: Arc<OwnIdentity>,
}

impl ResolvesClientCert for Reread {
    fn resolve(&self, hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        match OwnPair::load(&self.files, wall()) {
            Ok(pair) => self.own.replace(pair),
            Err(error) => {
                tracing::warn!(%error, "a client certificate is not read again; the one before is shown")
            }
        }
        self.own.resolve(hints, schemes)
    }

    fn has_certs(&self) -> bool {
        true
    }
}
