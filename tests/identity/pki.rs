//! Certificates for tests: good ones by default, each bad one by a single change. Nothing is ever committed.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A CA: a root, or one that a root (or another intermediate) signed.
pub(crate) struct Ca {
    name: DistinguishedName,
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What a leaf must present behind itself: this CA and those above it, without the root.
    above: Vec<CertificateDer<'static>>,
}

/// A certificate with its key.
pub(crate) struct Identity {
    /// Leaf first, then intermediates.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: KeyPair,
    pub(crate) serial: SerialNumber,
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// A root, changed in one respect.
    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let name = params.distinguished_name.clone();
        Self { name, issuer: CertifiedIssuer::self_signed(params, key()).unwrap(), above: Vec::new() }
    }

    pub(crate) fn intermediate(&self, name: &str) -> Self {
        self.intermediate_with(name, |_| {})
    }

    /// An intermediate, changed in one respect.
    pub(crate) fn intermediate_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = ca_params(name);
        change(&mut params);
        let name = params.distinguished_name.clone();
        let issuer = CertifiedIssuer::signed_by(params, key(), &self.issuer).unwrap();
        let mut above = vec![issuer.der().clone()];
        above.extend_from_slice(&self.above);
        Self { name, issuer, above }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.issuer.der()
    }

    /// A good X.509-SVID for client and server, with `localhost` and `127.0.0.1`.
    pub(crate) fn issue(&self, id: &str) -> Identity {
        self.issue_with(id, |_| {})
    }

    /// The same, changed in one respect.
    pub(crate) fn issue_with(&self, id: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = leaf_params(id);
        change(&mut params);
        let key = key();
        let serial = params.serial_number.clone().unwrap();
        let mut chain = vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()];
        chain.extend_from_slice(&self.above);
        Identity { chain, key, serial }
    }

    /// Of the same name and key, with a certificate (that nobody shows) by which it may sign revocation lists.
    pub(crate) fn twin_that_signs_lists(&self) -> Self {
        let key = KeyPair::from_pem(&self.key_pem()).unwrap();
        let mut params = ca_params("");
        params.distinguished_name = self.name.clone();
        Self {
            name: params.distinguished_name.clone(),
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
            above: Vec::new(),
        }
    }

    /// The CA itself as if it were a workload.
    pub(crate) fn as_leaf(&self) -> Identity {
        let key = KeyPair::from_pem(&self.key_pem()).unwrap();
        Identity { chain: vec![self.der().clone()], key, serial: serial() }
    }

    /// A revocation list (PEM), current from 2020 to 2100.
    pub(crate) fn crl(&self, revoked: &[&SerialNumber]) -> String {
        self.crl_with(revoked, |_| {})
    }

    /// The same, changed in one respect.
    pub(crate) fn crl_with(
        &self,
        revoked: &[&SerialNumber],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).clone(),
            revocation_time: date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: serial(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Identity {
    pub(crate) fn chain_pem(&self) -> String {
        let block = |der: &CertificateDer<'_>| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(der);
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
        };
        self.chain.iter().map(block).collect()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    pub(crate) fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// Writes `cert.pem` and `key.pem` (mode 0600) into `folder`, which is made if it is missing.
    pub(crate) fn write(&self, folder: &Path) -> (PathBuf, PathBuf) {
        std::fs::create_dir_all(folder).unwrap();
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        replace(&certificate, self.chain_pem().as_bytes());
        replace(&key, self.key_pem().as_bytes());
        (certificate, key)
    }
}

/// Writes a file with mode 0600 in one step, as a careful operator does.
pub(crate) fn replace(path: &Path, content: &[u8]) {
    use std::io::Write as _;
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary).unwrap();
    file.write_all(content).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

/// Key usage as an extension of its own: bit 0 (`digitalSignature`) of the first byte is `0x80`, `keyCertSign` `0x04`.
pub(crate) fn key_usage(bits: u8, critical: bool) -> CustomExtension {
    let unused = u8::try_from(bits.trailing_zeros()).unwrap();
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![3, 2, unused, bits]);
    extension.set_criticality(critical);
    extension
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.serial_number = Some(serial());
    params
}

fn leaf_params(id: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "workload");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![
        uri(id),
        SanType::DnsName("localhost".try_into().unwrap()),
        SanType::IpAddress("127.0.0.1".parse().unwrap()),
    ];
    params.use_authority_key_identifier_extension = true;
    params.serial_number = Some(serial());
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

/// Different in each call, so that lists revoke what they name.
fn serial() -> SerialNumber {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    SerialNumber::from(NEXT.fetch_add(1, Ordering::Relaxed) + 0x4000_0000)
}
