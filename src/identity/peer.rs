//! The proof that a handshake was completed with a verified workload.
//!
//! Owns what the rest of the program may know of the caller. Invariant: the only constructor is called by
//! [`super::Acceptor::accept`] with what the verifier of that very connection accepted; nothing else in the crate, and nothing
//! outside it, can make one:
//!
//! ```compile_fail,E0451
//! fn forged(peer: jitgate::identity::Peer) -> jitgate::identity::Peer {
//!     jitgate::identity::Peer { ..peer }
//! }
//! ```
//!
//! ```compile_fail,E0624
//! fn forged(svid: &jitgate::identity::Svid) -> jitgate::identity::Peer {
//!     jitgate::identity::Peer::new(svid, std::sync::Arc::new([]))
//! }
//! ```
//!
//! ```compile_fail,E0308
//! fn doubled(peer: &jitgate::identity::Peer) -> jitgate::identity::Peer {
//!     peer.clone()
//! }
//! ```

use super::svid::Svid;
use crate::model::{SpiffeId, Time};
use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;

/// A workload that proved on this connection that it holds the key of its X.509-SVID. Not `Clone`: one connection, one peer.
#[derive(Debug)]
pub struct Peer {
    principal: SpiffeId,
    certificate_sha256: [u8; 32],
    certificate_sha256_hex: Box<str>,
    not_after: Time,
    chain: Arc<[CertificateDer<'static>]>,
}

impl Peer {
    /// From what was verified; see the module's invariant.
    pub(super) fn new(svid: &Svid, chain: Arc<[CertificateDer<'static>]>) -> Self {
        let certificate_sha256 = fingerprint(chain.first().map_or(&[][..], |leaf| leaf.as_ref()));
        Self {
            principal: svid.principal().clone(),
            certificate_sha256,
            certificate_sha256_hex: hex(&certificate_sha256),
            not_after: svid.not_after(),
            chain,
        }
    }

    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &SpiffeId {
        &self.principal
    }

    /// SHA-256 of the leaf certificate's DER (the `x5t#S256` of RFC 8705, undecorated).
    #[must_use]
    pub fn certificate_sha256(&self) -> &[u8; 32] {
        &self.certificate_sha256
    }

    /// The same, as 64 lower-case hexadecimal digits.
    #[must_use]
    pub fn certificate_sha256_hex(&self) -> &str {
        &self.certificate_sha256_hex
    }

    /// The earliest end of validity in the verified chain, trust anchor included. The connection must not outlive it.
    #[must_use]
    pub fn not_after(&self) -> Time {
        self.not_after
    }

    /// The presented chain, leaf first, for [`super::Trust::recheck`].
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// A peer for the unit tests of other modules, which are not about certificates.
    #[cfg(test)]
    pub(crate) fn for_tests(principal: &str, not_after: Time) -> Self {
        let svid = Svid::for_tests(principal.parse().unwrap(), not_after);
        Self::new(&svid, Arc::new([CertificateDer::from(principal.as_bytes().to_vec())]))
    }
}

fn hex(digest: &[u8; 32]) -> Box<str> {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

/// SHA-256 of a certificate's DER.
pub(super) fn fingerprint(der: &[u8]) -> [u8; 32] {
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    fingerprint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_the_digest_in_lower_case() {
        let peer = Peer::for_tests("spiffe://d/a", Time::MAX);
        assert_eq!(peer.certificate_sha256_hex().len(), 64);
        let first = u8::from_str_radix(&peer.certificate_sha256_hex()[..2], 16).unwrap();
        assert_eq!(first, peer.certificate_sha256()[0]);
        assert_eq!(peer.certificate_sha256_hex(), peer.certificate_sha256_hex().to_lowercase());
    }
}
