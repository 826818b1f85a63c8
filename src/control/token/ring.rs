//! The keys that sign tokens: made here, kept in one file that only the owner may read, replaced in time.
//!
//! A new key is published first and signs later ([`Settings::lead`]), so that every proxy with a lease knows it before the first
//! token. A key that no longer signs stays published as long as one of its tokens may run. Both follow from the times in the
//! file; there is no other state.

use crate::identity::keyfile::{self, Existing, FileError, Secrecy};
use crate::model::Time;
use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keys that may be published at once: more than rotation once an hour makes of the longest grants.
const MAX_KEYS: usize = 32;

/// Why keys for tokens cannot be used or replaced.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The file cannot be read or written.
    #[error("the keys for tokens cannot be opened")]
    File(#[from] FileError),
    /// It does not hold such keys.
    #[error("`{}` holds no keys for tokens: move it away, others are made then", path.display())]
    NotKeys {
        /// The file.
        path: PathBuf,
    },
    /// No random numbers.
    #[error("a key for tokens cannot be made")]
    Make,
    /// Too many at once.
    #[error("{MAX_KEYS} keys are published already: wait until tokens of the oldest have ended")]
    Full,
}

/// What keys are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How long a key signs.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: as long as a proxy may go without news.
    pub lead: Duration,
    /// The longest that a token runs.
    pub longest: Duration,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u8,
    /// The longest that a token of these keys was ever allowed to run.
    longest_ms: u64,
    /// Oldest first.
    keys: Vec<StoredKey>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    signs_from: Time,
    pkcs8: String,
}

/// A key pair and when it signs.
struct Pair {
    stored: StoredKey,
    kid: String,
    jwk: serde_json::Value,
    key: EncodingKey,
}

impl Pair {
    fn make(signs_from: Time) -> Result<Self, RingError> {
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| RingError::Make)?;
        let stored = StoredKey { signs_from, pkcs8: URL_SAFE_NO_PAD.encode(made.as_ref()) };
        Self::read(stored).ok_or(RingError::Make)
    }

    fn read(stored: StoredKey) -> Option<Self> {
        let der = URL_SAFE_NO_PAD.decode(&stored.pkcs8).ok()?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).ok()?;
        // An uncompressed point: 4, x, y.
        let (x, y) = pair.public_key().as_ref().get(1..65)?.split_at_checked(32)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638.
        let thumb = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, thumb.as_bytes()));
        let jwk = serde_json::json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": x, "y": y,
        });
        Some(Self { stored, kid, jwk, key: EncodingKey::from_ec_der(&der) })
    }
}

/// All keys, oldest first; never empty.
pub(super) struct Ring {
    path: PathBuf,
    settings: Settings,
    longest: Duration,
    pairs: Vec<Pair>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kids = self.pairs.iter().map(|pair| (&pair.kid, pair.stored.signs_from));
        f.debug_map().entries(kids).finish()
    }
}

impl Ring {
    /// Reads the keys, or makes the first, which signs at once: nobody has another.
    pub(super) fn open(path: &Path, settings: Settings, now: Time) -> Result<Self, RingError> {
        let mut ring = Self { path: path.to_owned(), settings, longest: settings.longest, pairs: Vec::new() };
        if path.exists() {
            let not_keys = || RingError::NotKeys { path: path.to_owned() };
            let stored: Stored = serde_json::from_slice(&keyfile::read(path, Secrecy::Private)?)
                .ok()
                .filter(|stored: &Stored| stored.version == 1 && !stored.keys.is_empty())
                .ok_or_else(not_keys)?;
            let known = Duration::from_millis(stored.longest_ms);
            ring.longest = settings.longest.max(known);
            ring.pairs =
                stored.keys.into_iter().map(Pair::read).collect::<Option<_>>().ok_or_else(not_keys)?;
            if ring.longest > known {
                ring.save(Existing::Replace)?;
            }
            ring.turn(now)?;
        } else {
            ring.pairs.push(Pair::make(now)?);
            ring.save(Existing::Keep)?;
        }
        Ok(ring)
    }

    fn save(&self, existing: Existing) -> Result<(), RingError> {
        let stored = Stored {
            version: 1,
            longest_ms: u64::try_from(self.longest.as_millis()).unwrap_or(u64::MAX),
            keys: self.pairs.iter().map(|pair| pair.stored.clone()).collect(),
        };
        let json = serde_json::to_vec(&stored).map_err(|_| RingError::Make)?;
        Ok(keyfile::write(&self.path, &json, Secrecy::Private, existing)?)
    }

    pub(super) fn jwks(&self) -> Vec<serde_json::Value> {
        self.pairs.iter().map(|pair| pair.jwk.clone()).collect()
    }

    /// The key that signs at `now`, and its name: the newest whose time has come.
    pub(super) fn signer(&self, now: Time) -> Option<(&str, &EncodingKey)> {
        let begun = self.pairs.iter().rfind(|pair| pair.stored.signs_from <= now);
        begun.or(self.pairs.first()).map(|pair| (pair.kid.as_str(), &pair.key))
    }

    /// Adds a key, which signs once its lead has passed.
    pub(super) fn rotate(&mut self, now: Time) -> Result<String, RingError> {
        if self.pairs.len() >= MAX_KEYS {
            return Err(RingError::Full);
        }
        let pair = Pair::make(now.plus(self.settings.lead))?;
        let kid = pair.kid.clone();
        self.pairs.push(pair);
        if let Err(error) = self.save(Existing::Replace) {
            self.pairs.pop();
            return Err(error);
        }
        Ok(kid)
    }

    /// Rotates if the newest key has signed for long enough, and drops keys whose tokens have all ended; whether anything changed.
    pub(super) fn turn(&mut self, now: Time) -> Result<bool, RingError> {
        // A key's last token is made just before its successor signs.
        let retired = |next: &Pair| now >= next.stored.signs_from.plus(self.longest);
        let gone = self.pairs.iter().skip(1).take_while(|next| retired(next)).count();
        let due = self.pairs.last().is_none_or(|newest| {
            now.plus(self.settings.lead) >= newest.stored.signs_from.plus(self.settings.rotate_every)
        });
        let dropped: Vec<Pair> = self.pairs.drain(..gone).collect();
        if due {
            self.rotate(now)?;
        } else if !dropped.is_empty() {
            self.save(Existing::Replace)?;
        }
        Ok(due || !dropped.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const SETTINGS: Settings = Settings {
        rotate_every: Duration::from_secs(1_000),
        lead: Duration::from_secs(20),
        longest: Duration::from_secs(300),
    };

    fn at(seconds: i64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    fn signer(ring: &Ring, now: i64) -> String {
        ring.signer(at(now)).unwrap().0.to_owned()
    }

    #[test]
    fn keys_are_made_once_and_are_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.keys.json");
        let first = Ring::open(&path, SETTINGS, at(0)).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = Ring::open(&path, SETTINGS, at(1)).unwrap();
        assert_eq!(first.jwks(), again.jwks());
        assert!(!format!("{again:?}").contains(&again.pairs[0].stored.pkcs8));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let loose = Ring::open(&path, SETTINGS, at(1)).unwrap_err();
        assert!(matches!(loose, RingError::File(FileError::LooseMode { .. })));
        for nonsense in ["", "{}", r#"{"version":2,"longest_ms":1,"keys":[]}"#] {
            let path = folder.path().join("other");
            keyfile::write(&path, nonsense.as_bytes(), Secrecy::Private, Existing::Replace).unwrap();
            assert!(matches!(Ring::open(&path, SETTINGS, at(0)), Err(RingError::NotKeys { .. })));
        }
    }

    #[test]
    fn a_new_key_is_published_before_it_signs_and_an_old_one_until_its_tokens_have_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.keys.json");
        let mut ring = Ring::open(&path, SETTINGS, at(0)).unwrap();
        let old = signer(&ring, 0);
        assert!(!ring.turn(at(979)).unwrap());
        assert!(ring.turn(at(980)).unwrap(), "due, so that it signs in time");
        assert_eq!((ring.jwks().len(), signer(&ring, 999)), (2, old.clone()));
        let new = signer(&ring, 1_000);
        assert_ne!(old, new);
        // The old key's last token may have been made just before, and may run as long as any.
        assert!(!ring.turn(at(1_299)).unwrap());
        // A restart, also with shorter tokens from now on, forgets neither.
        let shorter = Settings { longest: Duration::from_secs(1), ..SETTINGS };
        let mut ring = Ring::open(&path, shorter, at(1_299)).unwrap();
        assert_eq!((ring.jwks().len(), signer(&ring, 1_299)), (2, new.clone()));
        assert!(ring.turn(at(1_300)).unwrap());
        assert_eq!(ring.jwks()[0]["kid"], new);
        assert_eq!(Ring::open(&path, SETTINGS, at(1_301)).unwrap().jwks(), ring.jwks());
    }

    #[test]
    fn keys_that_are_published_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut ring = Ring::open(&folder.path().join("k"), SETTINGS, at(0)).unwrap();
        for _ in 1..MAX_KEYS {
            ring.rotate(at(0)).unwrap();
        }
        assert!(matches!(ring.rotate(at(0)), Err(RingError::Full)));
    }
}
