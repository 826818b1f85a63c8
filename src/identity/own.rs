//! Our own certificate and key, shown to clients and servers; replaced as one when the files change.
//!
//! Invariant: a pair in use always fits together, was valid when it was loaded, and its key came from a file that only its
//! owner can open.

use super::keyfile::{self, FileError, Secrecy};
use super::refusal::Refusal;
use super::svid::{self, Usage};
use super::verifier::provider;
use crate::config::IdentityFiles;
use crate::model::{SpiffeId, Time};
use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, sign};
use std::sync::Arc;

/// Why a certificate and key cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// A file cannot be read, or the key's is open to others.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not PEM, or without a certificate.
    #[error("`{0}` holds no certificate: expected PEM with `CERTIFICATE` blocks, leaf first")]
    NoCertificate(String),
    /// Not PEM, or without an unencrypted private key.
    #[error("`{0}` holds no private key: expected PEM with an unencrypted `PRIVATE KEY` block")]
    NoKey(String),
    /// A kind of key that cannot sign here.
    #[error("the key in `{0}` cannot be used: use P-256, P-384, P-521, Ed25519 or RSA of 2048 bits and more")]
    UnusableKey(String),
    /// Key and certificate belong to different pairs.
    #[error("the key does not belong to the certificate in `{0}`")]
    Mismatch(String),
    /// A chain that a peer would refuse.
    #[error("the certificate in `{file}` cannot be used: {refusal}")]
    Certificate {
        /// Which file.
        file: String,
        /// Why a peer would refuse it.
        refusal: Refusal,
    },
}

/// A certificate chain with its key, ready to sign.
#[derive(Debug)]
pub struct OwnPair {
    certified: Arc<CertifiedKey>,
    principal: Option<SpiffeId>,
    not_after: Time,
}

impl OwnPair {
    /// Reads and checks both files.
    ///
    /// # Errors
    /// [`OwnError`].
    pub fn load(files: &IdentityFiles, now: Time) -> Result<Self, OwnError> {
        let certificate = keyfile::read(&files.certificate, Secrecy::Public)?;
        let key = keyfile::read(&files.key, Secrecy::Private)?;
        Self::parse(files, &certificate, &key, now)
    }

    /// Checks what was read from the files (whose names are for messages).
    pub(super) fn parse(
        files: &IdentityFiles,
        certificate: &[u8],
        key: &[u8],
        now: Time,
    ) -> Result<Self, OwnError> {
        let certificate_file = files.certificate.display().to_string();
        let key_file = files.key.display().to_string();
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| OwnError::NoCertificate(certificate_file.clone()))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| OwnError::NoKey(key_file.clone()))?;
        let refused = |refusal| OwnError::Certificate { file: certificate_file.clone(), refusal };
        let leaf = chain.first().ok_or_else(|| OwnError::NoCertificate(certificate_file.clone()))?;
        let (_, not_after) = svid::check_chain(&chain, now).map_err(refused)?;
        let leaf = svid::parse(leaf).map_err(refused)?;
        // A proxy may show a certificate of the web PKI: then it has no principal.
        let principal =
            svid::workload(&leaf, Usage::Server).or_else(|_| svid::workload(&leaf, Usage::Client)).ok();
        let signing: Arc<dyn sign::SigningKey> =
            provider().key_provider.load_private_key(key).map_err(|_| OwnError::UnusableKey(key_file))?;
        let certified = CertifiedKey::new(chain, signing);
        certified.keys_match().map_err(|_| OwnError::Mismatch(certificate_file))?;
        Ok(Self { certified: Arc::new(certified), principal, not_after })
    }

    /// The SPIFFE ID, where the certificate is an X.509-SVID.
    #[must_use]
    pub fn principal(&self) -> Option<&SpiffeId> {
        self.principal.as_ref()
    }

    /// Whether the certificate is for this host name or address: whoever reached us by another name did not check it.
    #[must_use]
    pub fn is_for(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        let leaf = self.certified.cert.first().map(webpki::EndEntityCert::try_from);
        leaf.is_some_and(|leaf| leaf.is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&name).is_ok()))
    }

    /// The earliest end of validity in the chain.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }
}

/// The pair in use: what listeners and clients show. Shared; a replacement is seen by the next handshake.
#[derive(Debug)]
pub struct OwnIdentity {
    current: ArcSwap<OwnPair>,
}

impl OwnIdentity {
    /// Shows `pair`.
    #[must_use]
    pub fn new(pair: OwnPair) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(pair) })
    }

    /// What is shown now.
    #[must_use]
    pub fn current(&self) -> Arc<OwnPair> {
        self.current.load_full()
    }

    /// Shows `pair` from now on; connections that are open go on.
    pub fn replace(&self, pair: OwnPair) {
        self.current.store(Arc::new(pair));
    }
}

impl ResolvesServerCert for OwnIdentity {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().certified.clone())
    }
}

impl ResolvesClientCert for OwnIdentity {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
