//! Certificates made for one test: a CA, and leaves that are right unless a test bends one.

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason, RevokedCertParams, SanType,
    SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The trust domain of every test.
pub(crate) const DOMAIN: &str = "jitgate.local";

/// A certificate authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
pub(crate) struct Leaf {
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
}

/// Where a leaf was written to.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A revocation list that names these serial numbers and is good until a year.
    pub(crate) fn crl(&self, number: u64, serials: &[u64], until: i32) -> String {
        self.bent_crl(number, serials, |params| params.next_update = rcgen::date_time_ymd(until, 1, 1))
    }

    /// The same after `bend` did something to it.
    pub(crate) fn bent_crl(
        &self,
        number: u64,
        serials: &[u64],
        bend: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2021, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let mut list = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2020, 1, 1),
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        bend(&mut list);
        list.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// A proper X.509-SVID for a path of the trust domain (`agent/demo`).
    pub(crate) fn svid(&self, path: &str) -> Leaf {
        self.bent(path, |_| {})
    }

    /// An SVID that also answers to `localhost`, `NAME.localhost` and an address.
    pub(crate) fn server(&self, path: &str, address: IpAddr) -> Leaf {
        self.bent(path, |params| {
            for name in ["localhost", "orders.localhost", "stock.localhost"] {
                params.subject_alt_names.push(SanType::DnsName(ia5(name)));
            }
            params.subject_alt_names.push(SanType::IpAddress(address));
        })
    }

    /// An SVID after `bend` did something to it.
    pub(crate) fn bent(&self, path: &str, bend: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri(&format!("spiffe://{DOMAIN}/{path}"))];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        bend(&mut params);
        let key = KeyPair::generate().unwrap();
        Leaf { cert_pem: params.signed_by(&key, &self.issuer).unwrap().pem(), key_pem: key.serialize_pem() }
    }
}

impl Leaf {
    /// Writes it as `DIR/cert.pem` and `DIR/key.pem`, the key for the owner alone; an existing pair is replaced, each file at once.
    pub(crate) fn write(&self, dir: &Path) -> Files {
        fs::create_dir_all(dir).unwrap();
        let files = Files { cert: dir.join("cert.pem"), key: dir.join("key.pem") };
        for (path, text, mode) in [(&files.key, &self.key_pem, 0o600), (&files.cert, &self.cert_pem, 0o644)] {
            let fresh = path.with_extension("new");
            fs::write(&fresh, text).unwrap();
            fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
            fs::rename(&fresh, path).unwrap();
        }
        files
    }

    /// The `x5t#S256` by which a token is bound to it (RFC 8705).
    pub(crate) fn thumbprint(&self) -> String {
        let chain = self.chain();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, chain.first().unwrap());
        super::idp::b64(digest.as_ref())
    }

    pub(crate) fn chain(&self) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(self.cert_pem.as_bytes()).map(Result::unwrap).collect()
    }

    pub(crate) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).unwrap()
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(ia5(text))
}

fn ia5(text: &str) -> Ia5String {
    Ia5String::try_from(text).unwrap()
}
