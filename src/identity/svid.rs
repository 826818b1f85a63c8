//! The X.509-SVID rules (SPIFFE X509-SVID.md sections 2 to 5; RFC 5280): what a presented chain says about itself, before any
//! signature is looked at.
//!
//! Refuses to know trust bundles, revocation and rustls: those are `trust` and `verifier`. Invariant: whatever is not plainly
//! allowed here is refused; a chain that passes says nothing yet about who issued it.

use super::refusal::Refusal;
use crate::model::{SpiffeId, Time};
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, KeyUsage, ParsedExtension};
use x509_parser::oid_registry as oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::{PublicKey, RSAPublicKey};
use x509_parser::x509::SubjectPublicKeyInfo;

/// Longest chain that is looked at, the leaf included.
const MAX_CHAIN: usize = 8;

/// Bits of an RSA modulus that are neither weak nor a denial of service.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a certificate is to be used for: decides the extended key usage that it needs, where it has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// The peer opened the connection.
    Client,
    /// The peer accepted it.
    Server,
}

/// What was read from a chain. From [`super::Trust::verify`] it is also what was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    principal: SpiffeId,
    not_after: Time,
}

impl Svid {
    /// The workload.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.principal
    }

    /// The earliest end of validity in the chain (after verification: with the trust anchor).
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The same with an end that is not later than `bound`.
    pub(super) fn until(self, bound: Time) -> Self {
        Self { not_after: self.not_after.min(bound), ..self }
    }

    #[cfg(test)]
    pub(super) fn for_tests(principal: SpiffeId, not_after: Time) -> Self {
        Self { principal, not_after }
    }

    /// Reads `chain` (leaf first) by all rules that need no trust bundle.
    pub(super) fn read(chain: &[CertificateDer<'_>], usage: Usage, now: Time) -> Result<Self, Refusal> {
        let (leaf, not_after) = check_chain(chain, now)?;
        let principal = workload(&leaf, usage)?;
        Ok(Self { principal, not_after })
    }
}

/// The rules for every certificate of a presented chain, used or not: well formed, in its time, with strong keys and signatures,
/// and CAs behind the leaf. Returns the leaf and the earliest end.
pub(super) fn check_chain<'a>(
    chain: &'a [CertificateDer<'_>],
    now: Time,
) -> Result<(X509Certificate<'a>, Time), Refusal> {
    let (leaf, behind) = chain.split_first().ok_or(Refusal::NoCertificate)?;
    if chain.len() > MAX_CHAIN {
        return Err(Refusal::Chain);
    }
    let (leaf, mut earliest) = check_certificate(leaf, now)?;
    for der in behind {
        let (certificate, not_after) = check_certificate(der, now)?;
        check_intermediate(&certificate)?;
        earliest = earliest.min(not_after);
    }
    Ok((leaf, earliest))
}

fn check_certificate<'a>(
    der: &'a CertificateDer<'_>,
    now: Time,
) -> Result<(X509Certificate<'a>, Time), Refusal> {
    let certificate = parse(der)?;
    let (not_before, not_after) = validity(&certificate);
    check_period(not_before, not_after, now)?;
    check_signature(&certificate)?;
    check_key(certificate.public_key())?;
    Ok((certificate, not_after))
}

/// Inclusive on both sides (RFC 5280 section 4.1.2.5).
pub(super) fn check_period(not_before: Time, not_after: Time, now: Time) -> Result<(), Refusal> {
    if now < not_before {
        Err(Refusal::NotYetValid)
    } else if now > not_after {
        Err(Refusal::Expired)
    } else {
        Ok(())
    }
}

/// Parses one certificate: DER to the last byte, no extension twice.
pub(super) fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Refusal> {
    let (rest, certificate) =
        X509Certificate::from_der(der.as_ref()).map_err(|_| Refusal::MalformedCertificate)?;
    if !rest.is_empty() || certificate.extensions_map().is_err() {
        return Err(Refusal::MalformedCertificate);
    }
    Ok(certificate)
}

/// First and last second of validity.
pub(super) fn validity(certificate: &X509Certificate<'_>) -> (Time, Time) {
    let at = |seconds: i64| Time::from_micros(seconds.saturating_mul(1_000_000));
    (at(certificate.validity().not_before.timestamp()), at(certificate.validity().not_after.timestamp()))
}

/// The SPIFFE ID of a leaf that keeps all rules for leaves.
pub(super) fn workload(leaf: &X509Certificate<'_>, usage: Usage) -> Result<SpiffeId, Refusal> {
    let basic = leaf.basic_constraints().map_err(|_| Refusal::MalformedCertificate)?;
    if basic.is_some_and(|constraints| constraints.value.ca) {
        return Err(Refusal::CaAsLeaf);
    }
    check_critical(leaf)?;
    let principal = spiffe_id(leaf)?;
    check_leaf_usage(leaf, usage)?;
    Ok(principal)
}

/// Exactly one URI (X509-SVID section 2), and it names a workload: a path that is not the root (section 4.1 and SPIFFE-ID
/// section 2). DNS names and addresses may stand beside it.
fn spiffe_id(leaf: &X509Certificate<'_>) -> Result<SpiffeId, Refusal> {
    let names = leaf
        .subject_alternative_name()
        .map_err(|_| Refusal::MalformedCertificate)?
        .ok_or(Refusal::NoUriSan)?;
    let mut found = None;
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) if found.is_none() => found = Some(*uri),
            GeneralName::URI(_) => return Err(Refusal::SeveralUriSans),
            GeneralName::Invalid(..) => return Err(Refusal::MalformedCertificate),
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::DNSName(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_) => {}
        }
    }
    found.ok_or(Refusal::NoUriSan)?.parse().map_err(|_| Refusal::MalformedSpiffeId)
}

/// X509-SVID sections 4.3 and 4.4.
fn check_leaf_usage(leaf: &X509Certificate<'_>, usage: Usage) -> Result<(), Refusal> {
    let key = leaf.key_usage().map_err(|_| Refusal::MalformedCertificate)?.ok_or(Refusal::KeyUsage)?;
    let signs = |usage: &KeyUsage| usage.key_cert_sign() || usage.crl_sign();
    if !key.critical || !key.value.digital_signature() || signs(key.value) {
        return Err(Refusal::KeyUsage);
    }
    let extended = leaf.extended_key_usage().map_err(|_| Refusal::MalformedCertificate)?;
    let allowed = extended.is_none_or(|extended| match usage {
        Usage::Client => extended.value.client_auth,
        Usage::Server => extended.value.server_auth,
    });
    if allowed { Ok(()) } else { Err(Refusal::ExtendedKeyUsage) }
}

/// An extension that we do not evaluate must not be critical (RFC 5280 section 4.2). `webpki` holds the same for CAs.
fn check_critical(leaf: &X509Certificate<'_>) -> Result<(), Refusal> {
    for extension in leaf.iter_extensions().filter(|extension| extension.critical) {
        let known = matches!(
            extension.parsed_extension(),
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::SubjectAlternativeName(_)
        );
        if !known {
            return Err(Refusal::CriticalExtension);
        }
    }
    Ok(())
}

/// What stands behind the leaf must be a CA that may sign certificates.
fn check_intermediate(certificate: &X509Certificate<'_>) -> Result<(), Refusal> {
    let basic = certificate.basic_constraints().map_err(|_| Refusal::MalformedCertificate)?;
    if !basic.is_some_and(|constraints| constraints.value.ca) {
        return Err(Refusal::Chain);
    }
    let usage = certificate.key_usage().map_err(|_| Refusal::MalformedCertificate)?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(Refusal::KeyUsage);
    }
    Ok(())
}

/// RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519.
pub(super) fn check_key(key: &SubjectPublicKeyInfo<'_>) -> Result<(), Refusal> {
    let algorithm = &key.algorithm.algorithm;
    let strong = if *algorithm == oid::OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = key.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        curve.is_some_and(|curve| {
            [oid::OID_EC_P256, oid::OID_NIST_EC_P384, oid::OID_NIST_EC_P521].contains(&curve)
        })
    } else if *algorithm == oid::OID_PKCS1_RSAENCRYPTION {
        matches!(key.parsed(), Ok(PublicKey::RSA(rsa)) if RSA_BITS.contains(&modulus_bits(&rsa)))
    } else {
        *algorithm == oid::OID_SIG_ED25519
    };
    if strong { Ok(()) } else { Err(Refusal::WeakKey) }
}

/// The bits of the modulus as a number, without leading zeros.
fn modulus_bits(key: &RSAPublicKey<'_>) -> usize {
    let mut significant = key.modulus.iter().skip_while(|byte| **byte == 0);
    let Some(first) = significant.next() else { return 0 };
    let top = usize::try_from(8 - first.leading_zeros()).unwrap_or(0);
    top + 8 * significant.count()
}

/// By algorithm name; `webpki` accepts RSASSA-PSS only with the parameters for SHA-256, SHA-384 and SHA-512.
fn check_signature(certificate: &X509Certificate<'_>) -> Result<(), Refusal> {
    let strong = [
        oid::OID_SIG_ECDSA_WITH_SHA256,
        oid::OID_SIG_ECDSA_WITH_SHA384,
        oid::OID_SIG_ECDSA_WITH_SHA512,
        oid::OID_SIG_ED25519,
        oid::OID_PKCS1_SHA256WITHRSA,
        oid::OID_PKCS1_SHA384WITHRSA,
        oid::OID_PKCS1_SHA512WITHRSA,
        oid::OID_PKCS1_RSASSAPSS,
    ];
    if strong.contains(&certificate.signature_algorithm.algorithm) {
        Ok(())
    } else {
        Err(Refusal::WeakSignature)
    }
}
