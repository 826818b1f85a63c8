//! An outside issuer of tokens: a key, its JWK set, and tokens signed with it, honest and not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// The `iss` of its tokens.
pub(crate) const IDP: &str = "https://idp.example";

pub(crate) struct Idp {
    pair: EcdsaKeyPair,
    kid: &'static str,
}

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

impl Idp {
    pub(crate) fn new(kid: &'static str) -> Self {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        Self { pair, kid }
    }

    /// Its public key.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid,
            "x": b64(&point[1..33]), "y": b64(&point[33..]),
        })
    }

    pub(crate) fn jwks(&self) -> String {
        json!({"keys": [self.jwk()]}).to_string()
    }

    pub(crate) fn public_point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": "ES256", "kid": self.kid, "typ": "JWT"})
    }

    /// What it says of a user, for an audience, for five minutes.
    pub(crate) fn claims(subject: &str, audience: &str) -> Value {
        let now = seconds();
        json!({"iss": IDP, "aud": audience, "sub": subject, "iat": now, "exp": now + 300})
    }

    pub(crate) fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature.as_ref()))
    }

    /// A token of a user for an audience, after `change`.
    pub(crate) fn token(&self, subject: &str, audience: &str, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = Self::claims(subject, audience);
        change(&mut claims);
        self.sign(self.header().to_string(), claims.to_string())
    }
}
