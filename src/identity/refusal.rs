//! Why a handshake, or a certificate that was accepted earlier, is refused: one closed list, used as metric label, as audit
//! reason, and as the error inside rustls.

use std::io;

/// Why a peer is refused. Closed: a new cause is a new variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refusal {
    /// The client sent no certificate.
    NoCertificate,
    /// No chain of valid signatures leads to a certificate of the trust bundle.
    WrongCa,
    /// A certificate of the chain has expired.
    Expired,
    /// A certificate of the chain is not valid yet.
    NotYetValid,
    /// The leaf is a CA certificate.
    CaAsLeaf,
    /// The leaf has no URI among its subject alternative names.
    NoUriSan,
    /// The leaf has more than one.
    SeveralUriSans,
    /// The URI is not a SPIFFE ID of a workload.
    MalformedSpiffeId,
    /// No bundle is configured for the trust domain of the SPIFFE ID.
    ForeignTrustDomain,
    /// There is an extended key usage, without the one needed here.
    ExtendedKeyUsage,
    /// Key usage is missing, not critical, without `digitalSignature`, or with `keyCertSign` or `cRLSign` (on a leaf).
    KeyUsage,
    /// A critical extension that we do not know.
    CriticalExtension,
    /// A key other than RSA of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519.
    WeakKey,
    /// A signature other than with SHA-256, SHA-384, SHA-512 or Ed25519.
    WeakSignature,
    /// A CA's name constraints do not allow this leaf.
    NameConstraints,
    /// The chain is too long, passes a path length limit, or an intermediate is not a CA.
    Chain,
    /// A certificate that cannot be parsed, or has an extension twice.
    MalformedCertificate,
    /// On a CRL.
    Revoked,
    /// The CRL that would tell is past its next update.
    CrlExpired,
    /// CRLs are configured, but none that tells about this certificate.
    CrlUnknown,
    /// The server is a workload, but not the one that was expected.
    WrongIdentity,
    /// The server's certificate is not for the name that was dialled.
    WrongName,
    /// The peer did not prove that it holds the certificate's key.
    BadProof,
    /// The peer ended the handshake with a TLS alert.
    Alert,
    /// No TLS version, cipher suite, group or application protocol in common.
    Incompatible,
    /// Anything else that is not TLS as it should be.
    Protocol,
    /// The handshake took too long.
    Timeout,
    /// The connection broke before the handshake was complete.
    Reset,
    /// As many connections as there may be, in all or of one principal.
    TooManyConnections,
}

impl Refusal {
    /// All of them, for whoever registers a counter for each.
    pub const ALL: [Self; 29] = [
        Self::NoCertificate,
        Self::WrongCa,
        Self::Expired,
        Self::NotYetValid,
        Self::CaAsLeaf,
        Self::NoUriSan,
        Self::SeveralUriSans,
        Self::MalformedSpiffeId,
        Self::ForeignTrustDomain,
        Self::ExtendedKeyUsage,
        Self::KeyUsage,
        Self::CriticalExtension,
        Self::WeakKey,
        Self::WeakSignature,
        Self::NameConstraints,
        Self::Chain,
        Self::MalformedCertificate,
        Self::Revoked,
        Self::CrlExpired,
        Self::CrlUnknown,
        Self::WrongIdentity,
        Self::WrongName,
        Self::BadProof,
        Self::Alert,
        Self::Incompatible,
        Self::Protocol,
        Self::Timeout,
        Self::Reset,
        Self::TooManyConnections,
    ];

    /// The name in metrics and audit lines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::WrongCa => "wrong_ca",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::CaAsLeaf => "ca_as_leaf",
            Self::NoUriSan => "no_uri_san",
            Self::SeveralUriSans => "several_uri_sans",
            Self::MalformedSpiffeId => "malformed_spiffe_id",
            Self::ForeignTrustDomain => "foreign_trust_domain",
            Self::ExtendedKeyUsage => "extended_key_usage",
            Self::KeyUsage => "key_usage",
            Self::CriticalExtension => "critical_extension",
            Self::WeakKey => "weak_key",
            Self::WeakSignature => "weak_signature",
            Self::NameConstraints => "name_constraints",
            Self::Chain => "chain",
            Self::MalformedCertificate => "malformed_certificate",
            Self::Revoked => "revoked",
            Self::CrlExpired => "crl_expired",
            Self::CrlUnknown => "crl_unknown",
            Self::WrongIdentity => "wrong_identity",
            Self::WrongName => "wrong_name",
            Self::BadProof => "bad_proof",
            Self::Alert => "alert",
            Self::Incompatible => "incompatible",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::TooManyConnections => "too_many_connections",
        }
    }

    /// Why a handshake failed, from the error that tokio-rustls (or anything around it) returned. Walks the chain of sources,
    /// so that it also works on the errors of HTTP clients.
    #[must_use]
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "not our enum, and open: what it may gain is refused as well"
    )]
    pub fn from_io(error: &io::Error) -> Self {
        if let Some(inner) = error.get_ref() {
            let mut next: Option<&(dyn std::error::Error + 'static)> = Some(inner);
            while let Some(current) = next {
                if let Some(tls) = current.downcast_ref::<rustls::Error>() {
                    return Self::from_tls(tls);
                }
                if let Some(io) = current.downcast_ref::<io::Error>() {
                    return Self::from_io(io);
                }
                next = current.source();
            }
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected => Self::Reset,
            _ => Self::Protocol,
        }
    }

    /// Why a handshake failed, from rustls' own error.
    #[must_use]
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "not our enum, and open: what it may gain is refused as well"
    )]
    pub fn from_tls(error: &rustls::Error) -> Self {
        use rustls::{CertificateError, Error};
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.downcast_ref::<Self>().copied().unwrap_or(Self::Protocol)
            }
            Error::InvalidCertificate(CertificateError::BadSignature) => Self::BadProof,
            Error::InvalidCertificate(_) => Self::MalformedCertificate,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(_) => Self::Alert,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Protocol,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for rustls::Error {
    /// The peer learns no more than that its certificate is not accepted.
    fn from(refusal: Refusal) -> Self {
        if refusal == Refusal::NoCertificate {
            return Self::NoCertificatesPresented;
        }
        let inner = rustls::OtherError(std::sync::Arc::new(refusal));
        Self::InvalidCertificate(rustls::CertificateError::Other(inner))
    }
}

/// Why `webpki` found no chain.
#[allow(
    clippy::wildcard_enum_match_arm,
    reason = "not our enum, and open: what it may gain is refused as well"
)]
pub(super) fn from_webpki(error: &webpki::Error) -> Refusal {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } => Refusal::Expired,
        Error::CertNotValidYet { .. } => Refusal::NotYetValid,
        Error::CaUsedAsEndEntity => Refusal::CaAsLeaf,
        Error::CertRevoked => Refusal::Revoked,
        Error::CrlExpired { .. } => Refusal::CrlExpired,
        // A list that is there but cannot be relied on tells as little as one that is missing.
        Error::UnknownRevocationStatus
        | Error::InvalidCrlSignatureForPublicKey
        | Error::IssuerNotCrlSigner
        | Error::UnsupportedCrlSignatureAlgorithmContext(_)
        | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => Refusal::CrlUnknown,
        Error::RequiredEkuNotFoundContext(_) | Error::EmptyEkuExtension => Refusal::ExtendedKeyUsage,
        Error::UnsupportedCriticalExtension => Refusal::CriticalExtension,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | Error::SignatureAlgorithmMismatch => Refusal::WeakSignature,
        Error::NameConstraintViolation
        | Error::MalformedNameConstraint
        | Error::InvalidNetworkMaskConstraint
        | Error::MaximumNameConstraintComparisonsExceeded => Refusal::NameConstraints,
        Error::PathLenConstraintViolated
        | Error::EndEntityUsedAsCa
        | Error::MaximumPathBuildCallsExceeded
        | Error::MaximumPathDepthExceeded
        | Error::MaximumSignatureChecksExceeded => Refusal::Chain,
        Error::UnknownIssuer | Error::InvalidSignatureForPublicKey | Error::CertDistrusted => {
            Refusal::WrongCa
        }
        Error::CertNotValidForName(_) => Refusal::WrongName,
        _ => Refusal::MalformedCertificate,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_labels() {
        let names: std::collections::BTreeSet<&str> = Refusal::ALL.iter().map(|r| r.as_str()).collect();
        assert_eq!(names.len(), Refusal::ALL.len());
        assert!(names.iter().all(|n| n.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }

    #[test]
    fn survives_the_way_through_rustls_and_io() {
        for refusal in Refusal::ALL {
            let tls = rustls::Error::from(refusal);
            assert_eq!(Refusal::from_tls(&tls), refusal);
            let io = io::Error::new(io::ErrorKind::InvalidData, tls);
            assert_eq!(Refusal::from_io(&io::Error::other(io)), refusal);
        }
    }

    #[test]
    fn what_the_network_does() {
        let of = |kind: io::ErrorKind| Refusal::from_io(&io::Error::from(kind));
        assert_eq!(of(io::ErrorKind::UnexpectedEof), Refusal::Reset);
        assert_eq!(of(io::ErrorKind::TimedOut), Refusal::Timeout);
        assert_eq!(of(io::ErrorKind::InvalidData), Refusal::Protocol);
    }
}
