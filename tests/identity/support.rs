//! A listener and callers in memory.

use crate::pki::{Ca, Identity};
use jitgate::config::IdentityFiles;
use jitgate::identity::own::OwnPair;
use jitgate::identity::trust::TimeSource;
use jitgate::identity::{Accepted, Acceptor, OwnIdentity, Refusal, Refused, TlsOptions, Trust, TrustSet};
use jitgate::model::Time;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion,
};
use std::sync::Arc;
use tokio::io::DuplexStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const AGENT: &str = "spiffe://jitgate.local/agent/demo";
pub(crate) const PROXY: &str = "spiffe://jitgate.local/proxy/edge";

pub(crate) fn now() -> Time {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

pub(crate) fn at(now: Time) -> TimeSource {
    Arc::new(move || now)
}

pub(crate) fn trusted(cas: &[&Ca], crls: &[&str]) -> TrustSet {
    let bundle: String = cas.iter().map(|ca| ca.pem()).collect();
    TrustSet::parse([("jitgate.local", bundle.as_bytes())], crls.iter().map(|crl| crl.as_bytes())).unwrap()
}

pub(crate) fn own(identity: &Identity) -> Arc<OwnIdentity> {
    own_loaded(identity, now())
}

/// Loaded at another time: so one comes to show a certificate that has expired since.
pub(crate) fn own_loaded(identity: &Identity, now: Time) -> Arc<OwnIdentity> {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = identity.write(folder.path());
    OwnIdentity::new(OwnPair::load(&IdentityFiles { certificate, key }, now).unwrap())
}

/// A listener that believes `trust`.
pub(crate) fn listener(trust: Arc<Trust>, options: TlsOptions) -> Acceptor {
    Acceptor::new(own(&Ca::root("server").issue(PROXY)), trust, options).unwrap()
}

/// One that believes `ca` and has no lists.
pub(crate) fn plain(ca: &Ca) -> Acceptor {
    listener(Trust::new(trusted(&[ca], &[]), at(now())), TlsOptions::default())
}

/// A caller that shows `identity` and accepts any server.
pub(crate) fn caller(identity: &Identity) -> ClientConfig {
    caller_speaking(identity, &rustls::version::TLS13)
}

/// The same in a given TLS version.
pub(crate) fn caller_speaking(
    identity: &Identity,
    version: &'static SupportedProtocolVersion,
) -> ClientConfig {
    let signer = aws_lc_rs::sign::any_supported_type(&identity.key_der()).unwrap();
    let certified = CertifiedKey::new(identity.chain.clone(), signer);
    let mut config = trusting(version).with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A caller that shows nothing.
pub(crate) fn anonymous() -> ClientConfig {
    trusting(&rustls::version::TLS13).with_no_client_auth()
}

fn trusting(version: &'static SupportedProtocolVersion) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer))
}

pub(crate) type Both = (Result<Accepted<DuplexStream>, Refused>, std::io::Result<TlsStream<DuplexStream>>);

/// One handshake; both ends' view of it.
pub(crate) async fn meet(listener: &Acceptor, caller: impl Into<Arc<ClientConfig>>) -> Both {
    let (server_end, client_end) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let connector = TlsConnector::from(caller.into());
    tokio::join!(listener.accept(server_end), connector.connect(name, client_end))
}

/// How the listener refuses.
pub(crate) async fn refusal(listener: &Acceptor, caller: impl Into<Arc<ClientConfig>>) -> Refusal {
    meet(listener, caller).await.0.expect_err("the handshake must be refused").reason
}

#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
