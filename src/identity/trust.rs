//! Whom we believe: a bundle of CA certificates for each trust domain, and the CRLs; replaced as one when files change.
//!
//! Invariants: the bundle is chosen by the trust domain of the leaf's SPIFFE ID, so that no CA can speak for another domain;
//! a verification sees one whole [`TrustSet`], never half of an old and half of a new one; every replacement is announced, and
//! whoever takes [`Trust::changes`] before a handshake hears of each replacement that the handshake may have missed.

use super::crl::{self, CrlError, Crls};
use super::peer::Peer;
use super::refusal::{Refusal, from_webpki};
use super::svid::{self, Svid, Usage};
use super::verifier::provider;
use crate::model::{SpiffeId, Time};
use arc_swap::ArcSwap;

use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Where "now" comes from when a certificate is checked.
pub type TimeSource = Arc<dyn Fn() -> Time + Send + Sync>;

/// Why files are no trust.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// There is no bundle at all.
    #[error("no trust bundle is configured: name at least one trust domain and its CA file")]
    NoBundle,
    /// The key of the bundle is not a trust domain.
    #[error("`{0}` is not a trust domain: lower-case letters, digits, `.`, `-` and `_`")]
    TrustDomain(String),
    /// Not PEM, or PEM without a certificate.
    #[error("the bundle of `{0}` holds no certificate: expected PEM with `CERTIFICATE` blocks")]
    Empty(String),
    /// A certificate that cannot be a trust anchor.
    #[error("certificate {position} in the bundle of `{domain}` cannot be trusted: {why}")]
    Anchor {
        /// The trust domain.
        domain: String,
        /// Counted from 1.
        position: usize,
        /// What is wrong with it.
        why: AnchorError,
    },
    /// A revocation list.
    #[error("revocation list {position}")]
    Crl {
        /// Counted from 1, in the order of configuration.
        position: usize,
        /// What is wrong with it.
        source: CrlError,
    },
}

/// Why a certificate cannot be a trust anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnchorError {
    /// Not a certificate.
    #[error("it cannot be parsed")]
    Malformed,
    /// `cA` is not set.
    #[error("it is not a CA certificate")]
    NotCa,
    /// Key usage without `keyCertSign`.
    #[error("its key usage does not allow signing certificates")]
    KeyUsage,
    /// A key that is too weak, or of a kind that is not supported.
    #[error("its key is weak: use RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519")]
    WeakKey,
}

/// Bundles and CRLs as parsed from their files.
#[derive(Debug)]
pub struct TrustSet {
    bundles: BTreeMap<Box<str>, Bundle>,
    crls: Crls,
}

#[derive(Debug)]
struct Bundle {
    anchors: Vec<TrustAnchor<'static>>,
    /// Validity of the anchor at the same position: `webpki` does not look at it.
    periods: Vec<(Time, Time)>,
}

/// The current [`TrustSet`], shared by every listener and client that believes it.
pub struct Trust {
    current: ArcSwap<TrustSet>,
    generation: watch::Sender<u64>,
    now: TimeSource,
}

impl TrustSet {
    /// Parses bundles (trust domain and PEM) and CRLs (PEM or DER).
    ///
    /// # Errors
    /// [`TrustError`] for the first thing that cannot be used; nothing is ever left out silently.
    pub fn parse<'a>(
        bundles: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        crls: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, TrustError> {
        let mut set = Self { bundles: BTreeMap::new(), crls: Crls::default() };
        for (domain, pem) in bundles {
            if format!("spiffe://{domain}/x").parse::<SpiffeId>().is_err() || domain.contains('/') {
                return Err(TrustError::TrustDomain(domain.to_owned()));
            }
            set.bundles.insert(domain.into(), Bundle::parse(domain, pem)?);
        }
        if set.bundles.is_empty() {
            return Err(TrustError::NoBundle);
        }
        for (index, file) in crls.into_iter().enumerate() {
            set.crls.add(file).map_err(|source| TrustError::Crl { position: index + 1, source })?;
        }
        Ok(set)
    }

    /// When each bundle's last CA, and the first CRL, run out; for metrics. Names are `bundle:<trust domain>` and `crl`.
    pub fn ends(&self) -> impl Iterator<Item = (String, Time)> {
        let crl = self.crls.next_update().map(|next| ("crl".to_owned(), next));
        let bundles = self.bundles.iter().filter_map(|(domain, bundle)| {
            let last = bundle.periods.iter().map(|(_, not_after)| *not_after).max()?;
            Some((format!("bundle:{domain}"), last))
        });
        bundles.chain(crl)
    }

    pub(super) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        now: Time,
    ) -> Result<Svid, Refusal> {
        let svid = Svid::read(chain, usage, now)?;
        let bundle = self.bundles.get(svid.principal().trust_domain()).ok_or(Refusal::ForeignTrustDomain)?;
        let anchor_end = bundle.verify(chain, usage, &self.crls, now)?;
        Ok(svid.until(anchor_end))
    }

    fn verify_name(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: Time,
    ) -> Result<(), Refusal> {
        svid::check_chain(chain, now)?;
        let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
        let named = webpki::EndEntityCert::try_from(leaf).map_err(|error| from_webpki(&error))?;
        named.verify_is_valid_for_subject_name(name).map_err(|error| from_webpki(&error))?;
        let mut last = Refusal::WrongCa;
        for bundle in self.bundles.values() {
            match bundle.verify(chain, Usage::Server, &self.crls, now) {
                Ok(_) => return Ok(()),
                Err(refusal) => last = refusal,
            }
        }
        Err(last)
    }
}

impl Bundle {
    fn parse(domain: &str, pem: &[u8]) -> Result<Self, TrustError> {
        let empty = || TrustError::Empty(domain.to_owned());
        let ders: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| empty())?;
        if ders.is_empty() {
            return Err(empty());
        }
        let mut bundle = Self { anchors: Vec::new(), periods: Vec::new() };
        for (index, der) in ders.iter().enumerate() {
            let (anchor, period) = anchor(der).map_err(|why| TrustError::Anchor {
                domain: domain.to_owned(),
                position: index + 1,
                why,
            })?;
            bundle.anchors.push(anchor);
            bundle.periods.push(period);
        }
        Ok(bundle)
    }

    /// Signatures, path, name constraints, revocation. Returns when the anchor at the end of the path expires.
    fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        usage: Usage,
        crls: &Crls,
        now: Time,
    ) -> Result<Time, Refusal> {
        let (leaf, intermediates) = chain.split_first().ok_or(Refusal::NoCertificate)?;
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| from_webpki(&error))?;
        let at = UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis()));
        let in_time = |path: &webpki::VerifiedPath<'_>| self.anchor_end(path.anchor(), now).map(|_| ());
        let lists = crls.refs();
        let path = leaf
            .verify_for_usage(
                provider().signature_verification_algorithms.all,
                &self.anchors,
                intermediates,
                at,
                match usage {
                    Usage::Client => webpki::KeyUsage::client_auth(),
                    Usage::Server => webpki::KeyUsage::server_auth(),
                },
                crl::options(&lists),
                Some(&in_time),
            )
            .map_err(|error| from_webpki(&error))?;
        self.anchor_end(path.anchor(), now).map_err(|error| from_webpki(&error))
    }

    /// When this anchor expires. Of certificates that share name and key (a renewed root), the one that lasts longest counts.
    fn anchor_end(&self, anchor: &TrustAnchor<'_>, now: Time) -> Result<Time, webpki::Error> {
        let seconds = |time: Time| UnixTime::since_unix_epoch(Duration::from_millis(time.as_millis()));
        let same = self.anchors.iter().zip(&self.periods).filter(|(ours, _)| *ours == anchor);
        let (not_before, not_after) = same
            .map(|(_, period)| *period)
            .max_by_key(|(_, not_after)| *not_after)
            .ok_or(webpki::Error::UnknownIssuer)?;
        match svid::check_period(not_before, not_after, now) {
            Ok(()) => Ok(not_after),
            Err(Refusal::NotYetValid) => {
                Err(webpki::Error::CertNotValidYet { time: seconds(now), not_before: seconds(not_before) })
            }
            Err(_) => Err(webpki::Error::CertExpired { time: seconds(now), not_after: seconds(not_after) }),
        }
    }
}

/// One trust anchor with its validity. Its own signature is not looked at: it is trusted because the operator says so.
fn anchor(der: &CertificateDer<'static>) -> Result<(TrustAnchor<'static>, (Time, Time)), AnchorError> {
    let certificate = svid::parse(der).map_err(|_| AnchorError::Malformed)?;
    let basic = certificate.basic_constraints().map_err(|_| AnchorError::Malformed)?;
    if !basic.is_some_and(|constraints| constraints.value.ca) {
        return Err(AnchorError::NotCa);
    }
    let usage = certificate.key_usage().map_err(|_| AnchorError::Malformed)?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(AnchorError::KeyUsage);
    }
    svid::check_key(certificate.public_key()).map_err(|_| AnchorError::WeakKey)?;
    let anchor = webpki::anchor_from_trusted_cert(der).map_err(|_| AnchorError::Malformed)?;
    Ok((anchor.to_owned(), svid::validity(&certificate)))
}

impl Trust {
    /// Trust in `set`, with certificates checked at the time that `now` tells.
    #[must_use]
    pub fn new(set: TrustSet, now: TimeSource) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::from_pointee(set), generation: watch::Sender::new(0), now })
    }

    /// Verifies a chain (leaf first) at `now`: the SVID rules, then signatures, path and revocation within the bundle of the
    /// leaf's trust domain.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn verify(&self, chain: &[CertificateDer<'_>], usage: Usage, now: Time) -> Result<Svid, Refusal> {
        self.current.load().verify(chain, usage, now)
    }

    /// Whether a client that was accepted earlier would be accepted now. To be asked after each of [`Trust::changes`], and when
    /// [`Trust::ran_out`] since it was asked last.
    ///
    /// # Errors
    /// Why not; the connection must end.
    pub fn recheck(&self, peer: &Peer, now: Time) -> Result<(), Refusal> {
        let svid = self.verify(peer.chain(), Usage::Client, now)?;
        if svid.principal() == peer.principal() { Ok(()) } else { Err(Refusal::WrongIdentity) }
    }

    /// Whether a list of revocations has run out after `from` and by `to`: what it said of its issuer's certificates holds no longer.
    #[must_use]
    pub fn ran_out(&self, from: Time, to: Time) -> bool {
        self.current.load().crls.ran_out(from, to)
    }

    /// Ticks at each replacement. Take it *before* a handshake (as [`super::Acceptor`] does): then a replacement during the
    /// handshake is heard afterwards. When the sender is gone, close.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    /// What is believed now.
    #[must_use]
    pub fn current(&self) -> Arc<TrustSet> {
        self.current.load_full()
    }

    /// The time at which certificates are checked.
    #[must_use]
    pub fn now(&self) -> Time {
        (self.now)()
    }

    /// Believes `set` from now on and announces it.
    pub fn replace(&self, set: TrustSet) {
        self.current.store(Arc::new(set));
        self.generation.send_modify(|generation| *generation = generation.wrapping_add(1));
    }

    /// As [`Trust::verify`] for a server, by the name that was dialled instead of a SPIFFE ID, under any of the bundles.
    pub(super) fn verify_name(
        &self,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: Time,
    ) -> Result<(), Refusal> {
        self.current.load().verify_name(chain, name, now)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("generation", &*self.generation.borrow()).finish_non_exhaustive()
    }
}
