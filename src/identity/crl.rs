//! Certificate revocation lists (RFC 5280 section 5): parsed once when they are loaded, consulted for each chain.
//!
//! Invariant: as soon as one list is configured, every certificate of every chain needs a current list of its issuer; a list
//! that is missing, expired or not signed by that issuer denies. Lists are files; nothing is fetched.

use crate::model::Time;
use rustls::pki_types::{CertificateRevocationListDer, pem::PemObject};
use webpki::{CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationOptions};
use webpki::{RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

/// Why a file is no list of revocations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CrlError {
    /// Neither PEM with an `X509 CRL` block nor DER.
    #[error("holds no CRL: expected PEM with `X509 CRL` blocks, or DER")]
    Empty,
    /// A list that cannot be parsed, or of a kind that is not supported.
    #[error("cannot be used as a CRL: {0}")]
    Unusable(String),
}

/// All configured lists, newest first, so that of two lists of one issuer the newer one is found.
#[derive(Debug, Default)]
pub(super) struct Crls {
    lists: Vec<Listed>,
}

#[derive(Debug)]
struct Listed {
    list: CertRevocationList<'static>,
    this_update: Time,
    next_update: Option<Time>,
}

impl Crls {
    /// Adds the lists of one file (PEM or DER).
    pub(super) fn add(&mut self, file: &[u8]) -> Result<(), CrlError> {
        let ders: Vec<CertificateRevocationListDer<'static>> = if file.starts_with(&[0x30]) {
            vec![CertificateRevocationListDer::from(file.to_vec())]
        } else {
            CertificateRevocationListDer::pem_slice_iter(file)
                .collect::<Result<_, _>>()
                .map_err(|error| CrlError::Unusable(error.to_string()))?
        };
        if ders.is_empty() {
            return Err(CrlError::Empty);
        }
        for der in ders {
            self.lists.push(Listed::parse(&der)?);
        }
        self.lists.sort_by_key(|listed| std::cmp::Reverse(listed.this_update));
        Ok(())
    }

    /// The lists in the form that path building wants; empty where none is configured.
    pub(super) fn refs(&self) -> Vec<&CertRevocationList<'static>> {
        self.lists.iter().map(|listed| &listed.list).collect()
    }

    /// When the first list runs out, after which its issuer's certificates are denied.
    pub(super) fn next_update(&self) -> Option<Time> {
        self.lists.iter().filter_map(|listed| listed.next_update).min()
    }

    /// Whether a list has run out after `from` and by `to`.
    pub(super) fn ran_out(&self, from: Time, to: Time) -> bool {
        self.lists.iter().filter_map(|listed| listed.next_update).any(|end| from < end && end <= to)
    }
}

/// How `webpki` is to use the lists: the whole chain, unknown denies, expired denies. `None` where no list is configured.
pub(super) fn options<'a>(lists: &'a [&'a CertRevocationList<'a>]) -> Option<RevocationOptions<'a>> {
    RevocationOptionsBuilder::new(lists).ok().map(|builder| {
        builder
            .with_depth(RevocationCheckDepth::Chain)
            .with_status_policy(UnknownStatusPolicy::Deny)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build()
    })
}

impl Listed {
    fn parse(der: &CertificateRevocationListDer<'_>) -> Result<Self, CrlError> {
        let unusable = |error: &dyn std::fmt::Display| CrlError::Unusable(error.to_string());
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| unusable(&error))?;
        let (_, dates) =
            CertificateRevocationList::from_der(der.as_ref()).map_err(|error| unusable(&error))?;
        let at = |seconds: i64| Time::from_micros(seconds.saturating_mul(1_000_000));
        Ok(Self {
            list: list.into(),
            this_update: at(dates.last_update().timestamp()),
            next_update: dates.next_update().map(|next| at(next.timestamp())),
        })
    }
}
