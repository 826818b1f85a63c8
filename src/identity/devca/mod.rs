//! The development CA: certificates for one machine or a trial, without any other tool.
//!
//! Owns a folder with `ca.pem` and `ca.key.pem`. Not for production: its key lies on a disk. Invariants: no file is
//! overwritten, save a certificate that [`DevCa::ensure`] renews for the *same* key, in one step; keys have mode 0600 from the
//! first moment; whatever moment the program is killed at, the next start goes on from there.

mod leaf;

pub use leaf::Leaf;

use super::keyfile::{self, Existing, FileError, Secrecy, make_folder};
use super::refusal::Refusal;
use super::svid::{self, Usage};
use super::trust::{TrustError, TrustSet};
use crate::config::IdentityFiles;
use crate::model::Time;
use crate::model::principal::SpiffeIdError;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The trust domain of everything issued here.
pub const TRUST_DOMAIN: &str = "jitgate.local";

const DAY: Duration = Duration::from_hours(24);
/// How long a CA lives: ten years.
pub const CA_LIFE: Duration = DAY.saturating_mul(3650);
/// How long a certificate lives unless something else is asked for: one year.
pub const LEAF_LIFE: Duration = DAY.saturating_mul(365);
/// Clocks of other machines may be a little behind.
const BACKDATE: Duration = Duration::from_mins(5);

/// Why the development CA cannot do something.
#[derive(Debug, thiserror::Error)]
pub enum DevCaError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder has a CA certificate or key that does not work.
    #[error("the development CA in `{}` cannot be used: {why}; move the folder away to start anew", folder.display())]
    Broken {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The CA certificate has run out, or is not valid yet.
    #[error("the development CA in `{}` is out of its time ({not_before} to {not_after}): move the folder away to start anew, or set the clock", folder.display())]
    OutOfTime {
        /// The folder.
        folder: PathBuf,
        /// First moment.
        not_before: Time,
        /// Last moment.
        not_after: Time,
    },
    /// There is a certificate that is not ours to renew.
    #[error("`{}` is not what this CA would issue there ({refusal}) and is left alone: move it away to have a new one", path.display())]
    NotOurs {
        /// The certificate file.
        path: PathBuf,
        /// Why it is not.
        refusal: Refusal,
    },
    /// A name that cannot be part of a SPIFFE ID.
    #[error("`{name}` cannot name a workload")]
    Name {
        /// What was asked for.
        name: String,
        /// The rule that it breaks.
        source: SpiffeIdError,
    },
    /// A host name that cannot be in a certificate.
    #[error("`{0}` is neither a host name nor an IP address")]
    Host(String),
    /// The certificate library refuses.
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The CA's own certificate is no trust bundle.
    #[error("the CA certificate cannot be trusted")]
    Trust(#[from] TrustError),
    /// No randomness.
    #[error("the system has no randomness: {0}")]
    Random(getrandom::Error),
}

/// A development CA that is ready to issue.
pub struct DevCa {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    trust: TrustSet,
    not_before: Time,
    not_after: Time,
}

impl DevCa {
    /// Makes a CA in `folder` (made as well where it is missing).
    ///
    /// # Errors
    /// [`DevCaError`]; in particular [`FileError::Exists`] where there is one.
    pub fn init(folder: &Path, life: Duration, now: Time) -> Result<Self, DevCaError> {
        make_folder(folder)?;
        let bundle = folder.join("ca.pem");
        if bundle.exists() {
            return Err(FileError::Exists { path: bundle }.into());
        }
        // A key without certificate is what a killed `init` leaves: it is as good as new.
        let key = new_or_unused_key(&folder.join("ca.key.pem"))?;
        let mut params = CertificateParams::default();
        let [a, b, c, d, ..] = random::<16>()?;
        params.distinguished_name =
            common_name(&format!("jitgate development CA {a:02x}{b:02x}{c:02x}{d:02x}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_terms(&mut params, now.minus(BACKDATE), now.plus(life))?;
        let certificate = params.self_signed(&key)?;
        keyfile::write(&bundle, certificate.pem().as_bytes(), Secrecy::Public, Existing::Keep)?;
        Self::open(folder, now)
    }

    /// The CA that is in `folder`.
    ///
    /// # Errors
    /// [`DevCaError`].
    pub fn open(folder: &Path, now: Time) -> Result<Self, DevCaError> {
        let broken = |why| DevCaError::Broken { folder: folder.to_owned(), why };
        let pem = keyfile::read(&folder.join("ca.pem"), Secrecy::Public)?;
        let key = read_key(&folder.join("ca.key.pem"))?.ok_or_else(|| broken("`ca.key.pem` is no key"))?;
        let trust = TrustSet::parse([(TRUST_DOMAIN, pem.as_slice())], [])?;
        let der = CertificateDer::from_pem_slice(&pem).map_err(|_| broken("`ca.pem` is no certificate"))?;
        let certificate = svid::parse(&der).map_err(|_| broken("`ca.pem` is no certificate"))?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(broken("`ca.key.pem` is not the key of `ca.pem`"));
        }
        let (not_before, not_after) = svid::validity(&certificate);
        if svid::check_period(not_before, not_after, now).is_err() {
            return Err(DevCaError::OutOfTime { folder: folder.to_owned(), not_before, not_after });
        }
        let issuer = Issuer::from_ca_cert_der(&der, key)?;
        Ok(Self { folder: folder.to_owned(), issuer, trust, not_before, not_after })
    }

    /// [`DevCa::open`] where there is one, else [`DevCa::init`].
    ///
    /// # Errors
    /// [`DevCaError`].
    pub fn open_or_init(folder: &Path, now: Time) -> Result<Self, DevCaError> {
        if folder.join("ca.pem").exists() {
            Self::open(folder, now)
        } else {
            Self::init(folder, CA_LIFE, now)
        }
    }

    /// The trust bundle: the CA's certificate.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// Issues `cert.pem` and `key.pem` into `folder` (made where it is missing). The end is never later than the CA's own.
    ///
    /// # Errors
    /// [`DevCaError`]; in particular [`FileError::Exists`] where there is a certificate.
    pub fn issue(
        &self,
        leaf: &Leaf,
        folder: &Path,
        life: Duration,
        now: Time,
    ) -> Result<IdentityFiles, DevCaError> {
        let files = files_in(folder);
        if files.certificate.exists() {
            return Err(FileError::Exists { path: files.certificate }.into());
        }
        make_folder(folder)?;
        let key = new_or_unused_key(&files.key)?;
        self.write(leaf, &key, &files, Existing::Keep, life, now)?;
        Ok(files)
    }

    /// Sees to it that `folder` has a certificate for `leaf`: issues it where it is missing; issues it anew, for the key that is
    /// there, when two thirds of its life are over or its host names are not those of `leaf`; otherwise leaves it alone.
    ///
    /// # Errors
    /// [`DevCaError`]; in particular [`DevCaError::NotOurs`] for a certificate of another CA or workload.
    pub fn ensure(
        &self,
        leaf: &Leaf,
        folder: &Path,
        life: Duration,
        now: Time,
    ) -> Result<IdentityFiles, DevCaError> {
        let files = files_in(folder);
        if !files.certificate.exists() {
            return self.issue(leaf, folder, life, now);
        }
        let broken = |why| DevCaError::Broken { folder: folder.to_owned(), why };
        let key = read_key(&files.key)?.ok_or_else(|| broken("`key.pem` is no key"))?;
        let pem = keyfile::read(&files.certificate, Secrecy::Public)?;
        if self.is_stale(leaf, &key, &files, &pem, now)? {
            self.write(leaf, &key, &files, Existing::Replace, life, now)?;
        }
        Ok(files)
    }

    /// Whether the certificate in `pem` is to be renewed; an error where it is none of ours.
    fn is_stale(
        &self,
        leaf: &Leaf,
        key: &KeyPair,
        files: &IdentityFiles,
        pem: &[u8],
        now: Time,
    ) -> Result<bool, DevCaError> {
        let not_ours = |refusal| DevCaError::NotOurs { path: files.certificate.clone(), refusal };
        let der = CertificateDer::from_pem_slice(pem).map_err(|_| not_ours(Refusal::MalformedCertificate))?;
        let certificate = svid::parse(&der).map_err(not_ours)?;
        let (not_before, not_after) = svid::validity(&certificate);
        // Whose it is does not depend on whether it has expired: ask for a moment at which it had not.
        let then = now.min(not_after).max(not_before).max(self.not_before);
        let usage = leaf.usages().first().copied().unwrap_or(Usage::Client);
        let svid = self.trust.verify(std::slice::from_ref(&der), usage, then).map_err(not_ours)?;
        if svid.principal() != leaf.id() {
            return Err(not_ours(Refusal::WrongIdentity));
        }
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(not_ours(Refusal::BadProof));
        }
        let left = not_after.since(now);
        Ok(left < not_after.since(not_before) / 3 || now < not_before || !leaf.has_names_of(&certificate))
    }

    fn write(
        &self,
        leaf: &Leaf,
        key: &KeyPair,
        files: &IdentityFiles,
        existing: Existing,
        life: Duration,
        now: Time,
    ) -> Result<(), DevCaError> {
        let not_before = now.minus(BACKDATE).max(self.not_before);
        let params = leaf.params(not_before, now.plus(life).min(self.not_after))?;
        let certificate = params.signed_by(key, &self.issuer)?;
        keyfile::write(&files.certificate, certificate.pem().as_bytes(), Secrecy::Public, existing)?;
        Ok(())
    }
}

impl std::fmt::Debug for DevCa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevCa").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The names of the files in an identity's folder.
#[must_use]
pub fn files_in(folder: &Path) -> IdentityFiles {
    IdentityFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
}

/// The key in `path`, or a new one that is written there.
fn new_or_unused_key(path: &Path) -> Result<KeyPair, DevCaError> {
    if path.exists() {
        let folder = path.parent().unwrap_or(path).to_owned();
        return read_key(path)?
            .ok_or(DevCaError::Broken { folder, why: "there is a key file without a key" });
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    keyfile::write(path, key.serialize_pem().as_bytes(), Secrecy::Private, Existing::Keep)?;
    Ok(key)
}

fn read_key(path: &Path) -> Result<Option<KeyPair>, FileError> {
    let pem = keyfile::read(path, Secrecy::Private)?;
    Ok(std::str::from_utf8(&pem).ok().and_then(|pem| KeyPair::from_pem(pem).ok()))
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    // At most 64 characters (RFC 5280, ub-common-name); it identifies nobody.
    distinguished.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    distinguished
}

/// Validity and a random serial number: positive and of at most 20 bytes (RFC 5280 section 4.1.2.2), new at each renewal.
fn set_terms(params: &mut CertificateParams, not_before: Time, not_after: Time) -> Result<(), DevCaError> {
    let at = |time: Time| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(time.as_millis() / 1000);
    params.not_before = at(not_before);
    params.not_after = at(not_after);
    let mut serial = random::<16>()?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], DevCaError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(DevCaError::Random)?;
    Ok(bytes)
}
