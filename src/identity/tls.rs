//! TLS as jitgate speaks it: accepting callers, and calling control planes and upstreams.
//!
//! Invariants: a listener cannot be built without mandatory, verified client certificates; TLS 1.3 alone unless 1.2 is asked
//! for; no early data ever; no resumption unless asked for, and a resumed session's certificate is verified anew.

use super::own::OwnIdentity;
use super::peer::Peer;
use super::refusal::Refusal;
use super::svid::Usage;
use super::trust::Trust;
pub use super::verifier::ServerRule;
use super::verifier::{OneClient, Servers, Verified, provider};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::server::{NoServerSessionStorage, ServerSessionMemoryCache, StoresServerSessions};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const TLS13: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
const TLS13_AND_12: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Sessions kept where resumption is on.
const SESSIONS: usize = 4096;

/// HTTP/2 first, then HTTP/1.1.
pub const ALPN_HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];

/// What a listener offers.
#[derive(Debug, Clone, Copy)]
pub struct TlsOptions {
    /// Also TLS 1.2 (with extended master secret only).
    pub tls12: bool,
    /// Session resumption. Off by default: it lets a client skip showing its certificate.
    pub resumption: bool,
    /// Application protocols, most wanted first.
    pub alpn: &'static [&'static [u8]],
}

impl Default for TlsOptions {
    fn default() -> Self {
        Self { tls12: false, resumption: false, alpn: ALPN_HTTP }
    }
}

/// Turns accepted sockets into connections with a verified [`Peer`]; the only way to get one.
#[derive(Debug)]
pub struct Acceptor {
    own: Arc<OwnIdentity>,
    trust: Arc<Trust>,
    options: TlsOptions,
    sessions: Arc<dyn StoresServerSessions>,
}

/// A completed handshake.
#[derive(Debug)]
#[non_exhaustive]
pub struct Accepted<Io> {
    /// The connection.
    pub stream: TlsStream<Io>,
    /// Who is at the other end.
    pub peer: Peer,
    /// Ticks at each change of trust since before the handshake: then ask [`Trust::recheck`]; when the sender is gone, close.
    pub changes: watch::Receiver<u64>,
}

/// A handshake that was refused; the peer has been sent an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// Digest of the certificate that was shown, if one was. It names nobody: anyone can show any certificate.
    pub certificate_sha256: Option<[u8; 32]>,
}

impl Acceptor {
    /// Shows `own`, believes `trust`. Both may change while this lives.
    ///
    /// # Errors
    /// When the options cannot be served at all.
    pub fn new(own: Arc<OwnIdentity>, trust: Arc<Trust>, options: TlsOptions) -> Result<Self, rustls::Error> {
        let sessions: Arc<dyn StoresServerSessions> = if options.resumption {
            ServerSessionMemoryCache::new(SESSIONS)
        } else {
            Arc::new(NoServerSessionStorage {})
        };
        let acceptor = Self { own, trust, options, sessions };
        acceptor.config(Arc::new(OneClient::new(acceptor.trust.clone())))?;
        Ok(acceptor)
    }

    /// The handshake. Has no time limit of its own: wrap it, and count [`Refusal::Timeout`].
    ///
    /// # Errors
    /// Why the peer is refused.
    pub async fn accept<Io>(&self, io: Io) -> Result<Accepted<Io>, Refused>
    where
        Io: AsyncRead + AsyncWrite + Unpin,
    {
        let changes = self.trust.changes();
        let verifier = Arc::new(OneClient::new(self.trust.clone()));
        let handshake = async {
            let config = self.config(verifier.clone()).map_err(|error| Refusal::from_tls(&error))?;
            let acceptor = TlsAcceptor::from(Arc::new(config));
            let stream = acceptor.accept(io).await.map_err(|error| Refusal::from_io(&error))?;
            let verified = self.verified(&verifier, stream.get_ref().1)?;
            Ok((stream, Peer::new(&verified.svid, verified.chain)))
        };
        match handshake.await {
            Ok((stream, peer)) => Ok(Accepted { stream, peer, changes }),
            Err(reason) => Err(Refused { reason, certificate_sha256: verifier.shown() }),
        }
    }

    /// One configuration for one connection, so that the verifier's findings belong to that connection and to no other.
    fn config(&self, verifier: Arc<OneClient>) -> Result<ServerConfig, rustls::Error> {
        let versions = if self.options.tls12 { TLS13_AND_12 } else { TLS13 };
        let mut config = ServerConfig::builder_with_provider(provider().clone())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(self.own.clone());
        config.alpn_protocols = self.options.alpn.iter().map(|name| name.to_vec()).collect();
        config.session_storage = self.sessions.clone();
        config.send_tls13_tickets = if self.options.resumption { 1 } else { 0 };
        config.max_early_data_size = 0;
        config.require_ems = true;
        Ok(config)
    }

    /// What the verifier accepted. It is not asked when a session is resumed: rustls restores the certificate of the first
    /// handshake, which may have expired or been revoked since, and so is verified here.
    fn verified(&self, verifier: &OneClient, connection: &ServerConnection) -> Result<Verified, Refusal> {
        if let Some(verified) = verifier.verified() {
            return Ok(verified.clone());
        }
        if connection.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Err(Refusal::NoCertificate);
        }
        let presented = connection.peer_certificates().ok_or(Refusal::NoCertificate)?;
        let chain: Arc<[CertificateDer<'static>]> =
            presented.iter().map(|der| der.clone().into_owned()).collect();
        let svid = self.trust.verify(&chain, Usage::Client, self.trust.now())?;
        Ok(Verified { svid, chain })
    }
}

/// For calls to a server that is a workload: the control plane. Shows `own`, accepts only what `rule` says, never resumes.
///
/// # Errors
/// When rustls cannot build it.
pub fn client_config(
    own: Arc<OwnIdentity>,
    trust: Arc<Trust>,
    rule: ServerRule,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(TLS13)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Servers::new(trust, rule)))
        .with_client_cert_resolver(own as Arc<dyn ResolvesClientCert>);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

/// Why upstreams cannot be verified.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No certificate that can be a root.
    #[error("holds no CA certificate that can be used: expected PEM with `CERTIFICATE` blocks")]
    NoRoots,
    /// rustls refuses.
    #[error("the upstream's TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// For calls to an `https` upstream, verified by name (web PKI) under the CA certificates in `roots` (PEM) and no others.
/// TLS 1.2 is allowed: these servers are not ours. No client certificate is shown.
///
/// # Errors
/// [`UpstreamError`].
pub fn upstream_config(roots: &[u8], alpn: &[&[u8]]) -> Result<Arc<ClientConfig>, UpstreamError> {
    let mut store = RootCertStore::empty();
    // System bundles hold the odd certificate that rustls cannot use; it is left out, which trusts less.
    store.add_parsable_certificates(CertificateDer::pem_slice_iter(roots).filter_map(Result::ok));
    if store.is_empty() {
        return Err(UpstreamError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(TLS13_AND_12)?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Where systems keep their CA certificates, for [`upstream_config`]; the first that exists.
#[must_use]
pub fn system_roots() -> Option<Vec<u8>> {
    [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ]
    .iter()
    .find_map(|path| std::fs::read(path).ok())
}

/// For URLs without TLS, where no root is needed: it trusts nobody.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, rustls::Error> {
    Ok(ClientConfig::builder_with_provider(provider().clone())
        .with_protocol_versions(TLS13_AND_12)?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}
