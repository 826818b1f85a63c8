//! The control plane's own access tokens (RFC 9068): what is published to verify them by, and the verification that a proxy does.
//!
//! A token names a grant and nothing more: it narrows a request of its principal to that grant, and the table decides (law 2).

use crate::identity::Peer;
use crate::identity::token::jws::named_key;
use crate::identity::token::{Claims, Jws, KeySet, KeySetError, TokenFault};
use crate::model::{GrantId, JwsAlgorithm, Time};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::time::Duration;

/// The `typ` of our tokens, exactly.
pub const ACCESS_TOKEN: &str = "at+jwt";

/// What a control plane publishes about its tokens, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenKeys {
    /// The `iss` of each token.
    pub issuer: String,
    /// The `aud` of each token.
    pub audience: String,
    /// The public keys, a JWK set.
    pub jwks: String,
}

/// The same, ready to verify with.
#[derive(Debug)]
pub struct GateKeys {
    issuer: String,
    audience: String,
    keys: KeySet,
}

/// A verified token: which grant alone counts, and when it is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantToken {
    grant: GrantId,
    not_before: Option<Time>,
    expires_at: Time,
}

impl GrantToken {
    /// The grant that it names.
    #[must_use]
    pub fn grant(self) -> GrantId {
        self.grant
    }

    /// Whether it is still valid: for one that was verified earlier.
    ///
    /// # Errors
    /// [`TokenFault::Expired`], [`TokenFault::NotYetValid`].
    pub fn at(self, now: Time) -> Result<Self, TokenFault> {
        if now >= self.expires_at {
            return Err(TokenFault::Expired);
        }
        if self.not_before.is_some_and(|from| now < from) {
            return Err(TokenFault::NotYetValid);
        }
        Ok(self)
    }
}

impl GateKeys {
    /// Reads what was published.
    ///
    /// # Errors
    /// [`KeySetError`]: no token can be verified then.
    pub fn new(published: &TokenKeys) -> Result<Self, KeySetError> {
        let algorithms = [JwsAlgorithm::Es256, JwsAlgorithm::EdDsa];
        Ok(Self {
            issuer: published.issuer.clone(),
            audience: published.audience.clone(),
            keys: KeySet::parse(published.jwks.as_bytes(), &algorithms)?,
        })
    }

    /// Whether a bearer token means to be one of ours: it names one of our keys, or us as its issuer. Such a token holds or the
    /// request is refused; each token that we made is recognised.
    #[must_use]
    pub fn is_ours(&self, token: &str) -> bool {
        named_key(token).is_some_and(|kid| self.keys.find(&kid).is_some())
            || claims_issuer(token, &self.issuer)
    }

    /// Verifies a token of ours as far as it goes without knowing who brings it.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn inspect(&self, token: &str, now: Time) -> Result<Claims, TokenFault> {
        let jws = Jws::parse(token)?;
        if jws.exact_kind() != Some(ACCESS_TOKEN) {
            return Err(TokenFault::Kind);
        }
        let claims = jws.verify(&self.keys)?;
        if claims.text("iss")? != Some(&self.issuer) {
            return Err(TokenFault::Issuer);
        }
        claims.is_for(&self.audience)?;
        claims.window(now, Duration::ZERO)?;
        Ok(claims)
    }

    /// Verifies a token that came on a connection: it must be bound to that very certificate.
    ///
    /// # Errors
    /// [`TokenFault`].
    pub fn verify(&self, token: &str, peer: &Peer, now: Time) -> Result<GrantToken, TokenFault> {
        let claims = self.inspect(token, now)?;
        let (not_before, expires_at) = claims.window(now, Duration::ZERO)?;
        if claims.text("client_id")? != Some(peer.principal().as_str()) {
            return Err(TokenFault::Principal);
        }
        let bound = claims.get("cnf").and_then(|cnf| cnf.get("x5t#S256")).and_then(serde_json::Value::as_str);
        if bound != Some(&*thumbprint(peer.certificate_sha256())) {
            return Err(TokenFault::Certificate);
        }
        let grant = claims.text("jti")?.and_then(|id| id.parse().ok()).ok_or(TokenFault::Claims)?;
        Ok(GrantToken { grant, not_before, expires_at })
    }
}

/// The `x5t#S256` of a certificate (RFC 8705 section 3.1).
#[must_use]
pub fn thumbprint(certificate_sha256: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(certificate_sha256)
}

/// Whether the second part of a text, taken for claims however loosely, names an issuer: so that a token of ours that somebody
/// broke on purpose is refused as one of ours, and not passed on as a stranger's.
fn claims_issuer(token: &str, issuer: &str) -> bool {
    let Some(payload) = token.split('.').nth(1).filter(|part| part.len() <= super::MAX_TOKEN) else {
        return false;
    };
    let Ok(bytes) = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')) else { return false };
    serde_json::from_slice::<serde_json::Value>(&bytes)
        .is_ok_and(|claims| claims.get("iss").and_then(serde_json::Value::as_str) == Some(issuer))
}
