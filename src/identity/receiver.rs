//! TLS towards whoever takes what we send out (exports): verified by name, and shown a certificate of ours where one is configured.
//!
//! Invariant: without a root that verifies the receiver nothing is sent. Our pair is read again for each handshake, because such
//! connections live for weeks and certificates for hours; what cannot be used leaves the one before in use.

use super::own::{OwnError, OwnIdentity, OwnPair};
use super::tls::{UpstreamError, system_roots, trusting_nobody, upstream_config};
use crate::config::{IdentityFiles, ReceiverTls, WebhookUrl};
use crate::runtime::clock::wall;
use reqwest::Client;
use reqwest::redirect::Policy;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection is kept that nothing is sent on.
const IDLE: Duration = Duration::from_secs(4);

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
    /// The HTTP client.
    #[error("no HTTP client can be made for it")]
    Client,
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

/// For posts to a receiver over HTTP/1.1: verified as [`receiver_config`] says, or in the clear to this machine; no redirect is followed.
///
/// # Errors
/// [`ReceiverError`].
pub fn http_client(url: &WebhookUrl, tls: &ReceiverTls, timeout: Duration) -> Result<Client, ReceiverError> {
    let builder = Client::builder()
        .no_proxy()
        .redirect(Policy::none())
        .referer(false)
        .http1_only()
        .pool_max_idle_per_host(1)
        // Less than after what servers close it: a request that meets the end of a connection is lost.
        .pool_idle_timeout(IDLE)
        .timeout(timeout);
    let builder = if url.is_encrypted() {
        builder.https_only(true).tls_backend_preconfigured(receiver_config(tls, &[b"http/1.1"])?)
    } else {
        builder.tls_backend_preconfigured(trusting_nobody().map_err(|_| ReceiverError::Client)?)
    };
    builder.build().map_err(|_| ReceiverError::Client)
}

/// Why there was no answer, without the URL, whose path may be a secret.
#[must_use]
pub fn no_answer(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "it did not answer in time"
    } else if error.is_connect() {
        "it cannot be reached, or its certificate is not accepted"
    } else {
        "the connection broke"
    }
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
