//! What the development CA is asked to certify: one workload, with the profile of an X.509-SVID.
//!
//! Invariant: what is asked for is a valid SPIFFE ID of [`TRUST_DOMAIN`] and valid host names, or there is no [`Leaf`].

use super::{DevCaError, TRUST_DOMAIN, common_name, set_terms};
use crate::identity::svid::Usage;
use crate::model::{SpiffeId, Time};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use std::collections::BTreeSet;
use std::net::IpAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// What is to be certified.
#[derive(Debug, Clone)]
pub struct Leaf {
    id: SpiffeId,
    names: BTreeSet<String>,
    usages: &'static [Usage],
}

impl Leaf {
    /// `spiffe://jitgate.local/agent/NAME`: only calls.
    ///
    /// # Errors
    /// [`DevCaError::Name`].
    pub fn agent(name: &str) -> Result<Self, DevCaError> {
        Self::new("agent", name, &[], &[Usage::Client])
    }

    /// `spiffe://jitgate.local/operator/NAME`: only calls.
    ///
    /// # Errors
    /// [`DevCaError::Name`].
    pub fn operator(name: &str) -> Result<Self, DevCaError> {
        Self::new("operator", name, &[], &[Usage::Client])
    }

    /// `spiffe://jitgate.local/proxy/NAME`, reachable as `names` (host names and IP addresses).
    ///
    /// # Errors
    /// [`DevCaError::Name`], [`DevCaError::Host`].
    pub fn proxy(name: &str, names: &[&str]) -> Result<Self, DevCaError> {
        Self::new("proxy", name, names, &[Usage::Server, Usage::Client])
    }

    /// `spiffe://jitgate.local/control/NAME`, reachable as `localhost`, `127.0.0.1` and `::1`.
    ///
    /// # Errors
    /// [`DevCaError::Name`].
    pub fn control(name: &str) -> Result<Self, DevCaError> {
        Self::new("control", name, &["localhost", "127.0.0.1", "::1"], &[Usage::Server, Usage::Client])
    }

    /// The same for a server that is also called by this address; one that stands for every address adds nothing.
    #[must_use]
    pub fn also_at(mut self, address: IpAddr) -> Self {
        if !address.is_unspecified() {
            self.names.insert(address.to_string());
        }
        self
    }

    /// Whom the certificate will name.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }

    fn new(kind: &str, name: &str, names: &[&str], usages: &'static [Usage]) -> Result<Self, DevCaError> {
        let id = format!("spiffe://{TRUST_DOMAIN}/{kind}/{name}")
            .parse()
            .map_err(|source| DevCaError::Name { name: name.to_owned(), source })?;
        let mut canonical = BTreeSet::new();
        for name in names {
            canonical.insert(match name.parse::<IpAddr>() {
                Ok(address) => address.to_string(),
                Err(_) if is_host(name) => name.to_ascii_lowercase(),
                Err(_) => return Err(DevCaError::Host((*name).to_owned())),
            });
        }
        Ok(Self { id, names: canonical, usages })
    }

    /// How the certificate is to be used; never empty.
    pub(super) fn usages(&self) -> &'static [Usage] {
        self.usages
    }

    /// Whether `certificate` is for exactly the same host names and addresses.
    pub(super) fn has_names_of(&self, certificate: &X509Certificate<'_>) -> bool {
        host_names(certificate) == self.names
    }

    pub(super) fn params(&self, not_before: Time, not_after: Time) -> Result<CertificateParams, DevCaError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(self.id.path());
        params.subject_alt_names.push(SanType::URI(self.id.as_str().try_into()?));
        for name in &self.names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let purpose = |usage: &Usage| match usage {
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
        };
        params.extended_key_usages = self.usages.iter().map(purpose).collect();
        params.use_authority_key_identifier_extension = true;
        set_terms(&mut params, not_before, not_after)?;
        Ok(params)
    }
}

/// RFC 1123 labels.
fn is_host(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

fn host_names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    names
        .filter_map(|name| {
            if let GeneralName::DNSName(name) = name {
                Some((*name).to_owned())
            } else if let GeneralName::IPAddress(bytes) = name {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_it_certifies() {
        let leaf = Leaf::proxy("edge-1", &["LOCALHOST", "127.0.0.1", "orders.localhost", "::1"]).unwrap();
        assert_eq!(leaf.id().as_str(), "spiffe://jitgate.local/proxy/edge-1");
        let names: Vec<&str> = leaf.names.iter().map(String::as_str).collect();
        assert_eq!(names, ["127.0.0.1", "::1", "localhost", "orders.localhost"]);
    }

    #[test]
    fn what_names_nothing_is_refused() {
        for name in ["", "/", "..", "a/../b", "a b", "é", "a/", "a%2f", "a?b"] {
            assert!(matches!(Leaf::agent(name), Err(DevCaError::Name { .. })), "{name}");
        }
        for host in ["", ".", "a..b", "-a", "a-", "a b", "é.org", "a/b", "*.localhost", "x:80"] {
            assert!(matches!(Leaf::proxy("edge", &[host]), Err(DevCaError::Host(_))), "{host}");
        }
    }
}
