//! Public keys by which tokens are verified: a JWK set (RFC 7517), each key with the one algorithm that it is for.

use crate::model::JwsAlgorithm;
use crate::model::strict::Unique;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};
use std::fmt;

/// Keys of one set.
const MAX_KEYS: usize = 64;

/// Why a text is no set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or not `{"keys":[…]}`, or a name is there twice.
    #[error("not a JWK set: expected `{{\"keys\": […]}}`")]
    Form,
    /// More keys than an issuer has.
    #[error("more than 64 keys")]
    TooMany,
    /// A private or a secret key.
    #[error("holds a private or a shared key: publish the public half alone")]
    Private,
    /// Two keys of one name.
    #[error("two keys have one `kid`")]
    Twice,
    /// Nothing to verify with.
    #[error("holds no key with a `kid` for a signature algorithm that is allowed")]
    Empty,
}

/// A public key with its name and its algorithm.
#[derive(Clone)]
pub struct Key {
    kid: String,
    algorithm: JwsAlgorithm,
    key: DecodingKey,
}

/// The keys of one issuer; never empty.
#[derive(Clone)]
pub struct KeySet(Box<[Key]>);

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| (&key.kid, key.algorithm))).finish()
    }
}

impl Key {
    /// What its signatures are made with.
    #[must_use]
    pub fn algorithm(&self) -> JwsAlgorithm {
        self.algorithm
    }

    /// Whether this key made this signature (base64url) of this message.
    #[must_use]
    pub fn signed(&self, message: &[u8], signature: &str) -> bool {
        jsonwebtoken::crypto::verify(signature, message, &self.key, library(self.algorithm)).unwrap_or(false)
    }
}

impl KeySet {
    /// Reads a JWK set. Keys without a name, for encryption, of another kind or for an algorithm that is not allowed are left out;
    /// what makes the whole set doubtful is an error.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub fn parse(json: &[u8], allowed: &[JwsAlgorithm]) -> Result<Self, KeySetError> {
        let Ok(Unique(Value::Object(set))) = serde_json::from_slice(json) else {
            return Err(KeySetError::Form);
        };
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::Form)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut found: Vec<Key> = Vec::with_capacity(keys.len());
        for jwk in keys {
            let jwk = jwk.as_object().ok_or(KeySetError::Form)?;
            if jwk.contains_key("d") || jwk.contains_key("k") {
                return Err(KeySetError::Private);
            }
            if let Some(key) = usable(jwk).filter(|key| allowed.contains(&key.algorithm)) {
                if found.iter().any(|other| other.kid == key.kid) {
                    return Err(KeySetError::Twice);
                }
                found.push(key);
            }
        }
        if found.is_empty() { Err(KeySetError::Empty) } else { Ok(Self(found.into())) }
    }

    /// The key of this name.
    #[must_use]
    pub fn find(&self, kid: &str) -> Option<&Key> {
        self.0.iter().find(|key| key.kid == kid)
    }
}

/// The key of a JWK that is for signatures.
fn usable(jwk: &Map<String, Value>) -> Option<Key> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if jwk.contains_key("use") && text("use") != Some("sig") {
        return None;
    }
    if let Some(operations) = jwk.get("key_ops")
        && !operations.as_array()?.iter().any(|operation| operation == "verify")
    {
        return None;
    }
    let stated: Option<JwsAlgorithm> = match jwk.get("alg") {
        None => None,
        Some(alg) => Some(alg.as_str()?.parse().ok()?),
    };
    use JwsAlgorithm::{EdDsa, Es256, Es384, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512};
    let (possible, key): (&[JwsAlgorithm], _) = match (text("kty")?, text("crv")) {
        ("EC", Some("P-256")) => (&[Es256], DecodingKey::from_ec_components(text("x")?, text("y")?)),
        ("EC", Some("P-384")) => (&[Es384], DecodingKey::from_ec_components(text("x")?, text("y")?)),
        ("OKP", Some("Ed25519")) => (&[EdDsa], DecodingKey::from_ed_components(text("x")?)),
        ("RSA", None) => (
            &[Rs256, Rs384, Rs512, Ps256, Ps384, Ps512],
            DecodingKey::from_rsa_components(text("n")?, text("e")?),
        ),
        _ => return None,
    };
    // A key without `alg` has the first algorithm of its kind: never a choice that the token makes.
    let algorithm = stated.or(possible.first().copied()).filter(|algorithm| possible.contains(algorithm))?;
    Some(Key { kid: text("kid").filter(|kid| !kid.is_empty())?.to_owned(), algorithm, key: key.ok()? })
}

fn library(algorithm: JwsAlgorithm) -> Algorithm {
    match algorithm {
        JwsAlgorithm::Es256 => Algorithm::ES256,
        JwsAlgorithm::Es384 => Algorithm::ES384,
        JwsAlgorithm::EdDsa => Algorithm::EdDSA,
        JwsAlgorithm::Rs256 => Algorithm::RS256,
        JwsAlgorithm::Rs384 => Algorithm::RS384,
        JwsAlgorithm::Rs512 => Algorithm::RS512,
        JwsAlgorithm::Ps256 => Algorithm::PS256,
        JwsAlgorithm::Ps384 => Algorithm::PS384,
        JwsAlgorithm::Ps512 => Algorithm::PS512,
    }
}
