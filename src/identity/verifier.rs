//! Our rules inside rustls: the verifiers for clients and for servers. Everything that decides is in `trust`; here is only the
//! shape that rustls wants.
//!
//! Invariant: no verifier skips the proof of possession (CertificateVerify), and none accepts raw public keys.

use super::peer::fingerprint;
use super::refusal::Refusal;
use super::svid::{Svid, Usage};
use super::trust::Trust;
use crate::model::SpiffeId;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::sync::{Arc, LazyLock, OnceLock};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// The one provider: aws-lc-rs, with X25519MLKEM768 first (feature `prefer-post-quantum`).
pub(super) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// What the verifier of one connection found.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) svid: Svid,
    pub(super) chain: Arc<[CertificateDer<'static>]>,
}

/// Checks the client of *one* connection, and keeps what it accepted for the [`super::Peer`].
#[derive(Debug)]
pub(super) struct OneClient {
    trust: Arc<Trust>,
    shown: OnceLock<[u8; 32]>,
    verified: OnceLock<Verified>,
}

impl OneClient {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, shown: OnceLock::new(), verified: OnceLock::new() }
    }

    /// Digest of the certificate that the client showed, accepted or not.
    pub(super) fn shown(&self) -> Option<[u8; 32]> {
        self.shown.get().copied()
    }

    /// What was accepted; nothing on a resumed session.
    pub(super) fn verified(&self) -> Option<&Verified> {
        self.verified.get()
    }
}

impl ClientCertVerifier for OneClient {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: strangers need not learn whom we trust, and the bundles may change at any time.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let twice = || rustls::Error::General("a verifier serves one handshake".to_owned());
        self.shown.set(fingerprint(leaf)).map_err(|_| twice())?;
        let chain = whole(leaf, intermediates);
        let svid = self.trust.verify(&chain, Usage::Client, self.trust.now())?;
        self.verified.set(Verified { svid, chain }).map_err(|_| twice())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Which server a client of ours accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerRule {
    /// Exactly this workload, whatever name was dialled.
    Identity(SpiffeId),
    /// Whatever the trust bundles vouch for under the name that was dialled.
    Name,
}

/// Checks servers by a [`ServerRule`].
#[derive(Debug)]
pub(super) struct Servers {
    trust: Arc<Trust>,
    rule: ServerRule,
}

impl Servers {
    pub(super) fn new(trust: Arc<Trust>, rule: ServerRule) -> Self {
        Self { trust, rule }
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = whole(leaf, intermediates);
        let now = self.trust.now();
        match &self.rule {
            ServerRule::Identity(expected) => {
                let svid = self.trust.verify(&chain, Usage::Server, now)?;
                if svid.principal() != expected {
                    return Err(Refusal::WrongIdentity.into());
                }
            }
            ServerRule::Name => self.trust.verify_name(&chain, name, now)?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, leaf, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

fn whole(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Arc<[CertificateDer<'static>]> {
    std::iter::once(leaf).chain(intermediates).map(|der| der.clone().into_owned()).collect()
}
