//! The control plane's signing key: EdDSA, made on first start, kept in a file that only the owner may read.

use crate::control::receipt::Receipt;
use crate::identity::keyfile::{self, Existing, FileError, Secrecy};
use crate::model::Time;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use std::path::Path;

/// The `typ` of a signed receipt.
const RECEIPT_TYPE: &str = "jitgate-receipt+jwt";

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file cannot be read or written.
    #[error("the key for receipts cannot be opened")]
    File(#[from] FileError),
    /// It does not hold such a key.
    #[error("`{path}` holds no Ed25519 key in PKCS#8 form: move it away, another is made then")]
    NotAKey {
        /// The file.
        path: String,
    },
    /// No random numbers.
    #[error("a signing key cannot be made")]
    Make,
    /// The library refused.
    #[error("the receipt cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Signs receipts.
pub struct Signer {
    key: EncodingKey,
    public: String,
    kid: String,
    issuer: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    iat: i64,
    jti: String,
    #[serde(rename = "receipt")]
    receipt: &'a Receipt,
}

impl Signer {
    /// Reads the key, or makes one if the file does not exist. `issuer` is the control plane's own SPIFFE ID.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn open(path: &Path, issuer: &str) -> Result<Self, SignerError> {
        let der = if path.exists() {
            keyfile::read(path, Secrecy::Private)?
        } else {
            let made = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())
                .map_err(|_| SignerError::Make)?;
            keyfile::write(path, made.as_ref(), Secrecy::Private, Existing::Keep)?;
            made.as_ref().to_vec()
        };
        let pair = Ed25519KeyPair::from_pkcs8(&der)
            .map_err(|_| SignerError::NotAKey { path: path.display().to_string() })?;
        let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        // RFC 7638, with the members of RFC 8037.
        let thumb = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{public}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, thumb.as_bytes()));
        Ok(Self { key: EncodingKey::from_ed_der(&der), public, kid, issuer: issuer.to_owned() })
    }

    /// A receipt as a compact JWS.
    ///
    /// # Errors
    /// [`SignerError::Sign`].
    pub fn sign(&self, receipt: &Receipt, now: Time) -> Result<String, SignerError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(RECEIPT_TYPE.to_owned());
        header.kid = Some(self.kid.clone());
        let iat = now.as_micros().div_euclid(1_000_000);
        let claims = Claims { iss: &self.issuer, iat, jti: receipt.id.to_string(), receipt };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(SignerError::Sign)
    }

    /// The public key as a JWK (RFC 7517, RFC 8037).
    #[must_use]
    pub fn jwk(&self) -> serde_json::Value {
        serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.kid, "x": self.public,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_key_is_made_once_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.key");
        let first = Signer::open(&path, "spiffe://d/control").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Signer::open(&path, "spiffe://d/control").unwrap();
        assert_eq!(first.jwk(), again.jwk());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Signer::open(&path, "x"), Err(SignerError::File(FileError::LooseMode { .. }))));
    }

    #[test]
    fn what_is_no_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipts.key");
        keyfile::write(&path, b"nonsense", Secrecy::Private, Existing::Keep).unwrap();
        assert!(matches!(Signer::open(&path, "x"), Err(SignerError::NotAKey { .. })));
    }
}
