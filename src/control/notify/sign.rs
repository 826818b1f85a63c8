//! Standard Webhooks 1.0.0 signatures: `webhook-signature` over `ID.TIMESTAMP.BODY`.
//!
//! Secrets come from a file that only its owner can read, one a line: `whsec_…` (HMAC-SHA256, `v1`) or `whsk_…` (Ed25519, `v1a`).
//! While secrets are rotated there are several, and each message carries a signature by each. They are never shown.

use crate::identity::keyfile::{self, FileError, Secrecy};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;
use std::path::Path;

/// Most secrets in one file.
const MOST: usize = 8;
/// Bytes of a shared secret (Standard Webhooks: 24 to 64).
const SHARED: std::ops::RangeInclusive<usize> = 24..=64;

/// Why the secrets of a webhook cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read, or others can read it.
    #[error("the secrets of a webhook cannot be read: {0}")]
    File(#[source] FileError),
    /// There is none.
    #[error("`{path}` holds no secret: write one a line, `whsec_` and the base64 of 24 to 64 random bytes")]
    Empty {
        /// The file.
        path: String,
    },
    /// There are too many.
    #[error("`{path}` holds more than 8 secrets: remove those that no receiver uses any more")]
    TooMany {
        /// The file.
        path: String,
    },
    /// A line is none.
    #[error(
        "line {line} of `{path}` is no secret: expected `whsec_` and the base64 of 24 to 64 bytes, or `whsk_` and that of an Ed25519 key"
    )]
    Line {
        /// The file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
}

/// The secrets that a webhook's messages are signed with.
pub struct Secrets(Vec<Secret>);

enum Secret {
    Shared(Box<hmac::Key>),
    Private(Ed25519KeyPair),
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

impl Secrets {
    /// Reads them from a file of mode 0600 or stricter.
    ///
    /// # Errors
    /// [`SecretError`], which shows nothing of the content.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let bytes = keyfile::read(path, Secrecy::Private).map_err(SecretError::File)?;
        let shown = || path.display().to_string();
        let text = String::from_utf8(bytes).map_err(|_| SecretError::Line { path: shown(), line: 1 })?;
        let mut secrets = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || SecretError::Line { path: shown(), line: index.saturating_add(1) };
            secrets.push(Secret::parse(line).ok_or_else(wrong)?);
        }
        match secrets.len() {
            0 => Err(SecretError::Empty { path: shown() }),
            1..=MOST => Ok(Self(secrets)),
            _ => Err(SecretError::TooMany { path: shown() }),
        }
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signatures = self.0.iter().map(|secret| secret.sign(signed.as_bytes()));
        signatures.collect::<Vec<_>>().join(" ")
    }
}

impl Secret {
    fn parse(text: &str) -> Option<Self> {
        if let Some(encoded) = text.strip_prefix("whsec_") {
            let bytes = STANDARD.decode(encoded).ok().filter(|bytes| SHARED.contains(&bytes.len()))?;
            return Some(Self::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))));
        }
        let bytes = STANDARD.decode(text.strip_prefix("whsk_")?).ok()?;
        // The seed, or the seed and the public key behind it.
        let (seed, public) = bytes.split_at_checked(32)?;
        let pair = if public.is_empty() {
            Ed25519KeyPair::from_seed_unchecked(seed)
        } else {
            Ed25519KeyPair::from_seed_and_public_key(seed, public)
        };
        pair.ok().map(Self::Private)
    }

    fn sign(&self, message: &[u8]) -> String {
        match self {
            Self::Shared(key) => format!("v1,{}", STANDARD.encode(hmac::sign(key, message))),
            Self::Private(pair) => format!("v1a,{}", STANDARD.encode(pair.sign(message))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ED25519, KeyPair as _, UnparsedPublicKey};
    use std::os::unix::fs::PermissionsExt as _;

    fn load(text: &str, mode: u32) -> Result<Secrets, SecretError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        Secrets::load(&path)
    }

    /// The published vector of Standard Webhooks' reference libraries.
    const VECTOR: (&str, &str, u64, &str, &str) = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    );

    #[test]
    fn signs_as_the_standard_says() {
        let (secret, id, timestamp, body, signature) = VECTOR;
        assert_eq!(load(secret, 0o600).unwrap().sign(id, timestamp, body), signature);
        assert_ne!(load(secret, 0o600).unwrap().sign(id, timestamp + 1, body), signature);
    }

    #[test]
    fn signs_with_each_secret_while_they_are_rotated() {
        let (secret, id, timestamp, body, signature) = VECTOR;
        let seed = [7_u8; 32];
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let file = format!("# new\nwhsk_{}\n\n{secret}\n", STANDARD.encode(seed));
        let signed = load(&file, 0o600).unwrap().sign(id, timestamp, body);
        let (new, old) = signed.split_once(' ').unwrap();
        assert_eq!(old, signature);
        let new = STANDARD.decode(new.strip_prefix("v1a,").unwrap()).unwrap();
        let public = UnparsedPublicKey::new(&ED25519, pair.public_key().as_ref());
        public.verify(format!("{id}.{timestamp}.{body}").as_bytes(), &new).unwrap();
    }

    #[test]
    fn refuses_what_is_no_secret_and_what_others_can_read() {
        for text in ["", "# none", "whsec_", "whsec_c2hvcnQ=", "whsec_!", "whsk_c2hvcnQ=", "hunter2"] {
            let error = load(text, 0o600).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(matches!(
            load(&format!("{}\n", VECTOR.0).repeat(9), 0o600),
            Err(SecretError::TooMany { .. })
        ));
        assert!(matches!(load(VECTOR.0, 0o640), Err(SecretError::File(FileError::LooseMode { .. }))));
        assert!(!format!("{:?}", load(VECTOR.0, 0o600).unwrap()).contains("Mf"));
    }
}
