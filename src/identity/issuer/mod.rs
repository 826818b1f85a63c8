//! An outside issuer of tokens, and what holds of each of its tokens wherever it is shown.
//!
//! Reads them with the strict parser of [`crate::identity::token`]. Refuses to know what a user may do, or which person they are.
//! Invariants: a token counts only for the audience that is asked for, by a key that its issuer has published for an algorithm that
//! is allowed; one that is bound to a key counts with that key alone, wherever it is shown; without fresh keys no token holds.

mod keys;

pub use keys::SetupError;

use crate::config::IssuerConfig;
use crate::identity::token::{Claims, Jws, KeySet, TokenFault, thumbprint};
use crate::model::{Time, UserId};
use crate::runtime::clock::Mono;
use keys::Keys;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// How far an issuer's clock may be ahead of ours. Nothing makes a token live longer than its `exp`.
pub const AHEAD: Duration = Duration::from_secs(10);
/// Longest text that is taken from a token.
const MAX_TEXT: usize = 256;
/// The kinds of tokens (`typ`) that say who somebody is: ID tokens, which often have none, and access tokens.
const KINDS: [&str; 2] = ["jwt", "at+jwt"];

/// Why a token of an outside issuer proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IssuerFault {
    /// There is nobody to believe.
    #[error("no issuer is configured")]
    None,
    /// Its keys could not be had, or are too old.
    #[error("the keys of the token's issuer cannot be had now: try again")]
    Unavailable,
    /// The token does not hold.
    #[error(transparent)]
    Token(#[from] TokenFault),
}

/// One that is believed.
#[derive(Debug)]
pub struct Issuer {
    config: IssuerConfig,
    keys: Keys,
}

impl Issuer {
    /// From the configuration. A file is read now; keys on the web are fetched by [`Self::keep`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: &IssuerConfig) -> Result<Self, SetupError> {
        Ok(Self { config: config.clone(), keys: Keys::new(config)? })
    }

    /// What is configured.
    #[must_use]
    pub fn config(&self) -> &IssuerConfig {
        &self.config
    }

    /// The keys that are believed at `mono`, if any; the same ones as long as their issuer does not change them.
    #[must_use]
    pub fn keys(&self, mono: Mono) -> Option<Arc<KeySet>> {
        self.keys.current(mono)
    }

    /// Keeps the keys fresh; never returns.
    pub async fn keep(&self) {
        self.keys.keep().await;
    }

    /// What a token of this issuer says, if it holds for `audience` at `now` and with the certificate of whoever brings it. An
    /// unknown key is a reason to look for newer ones, which is waited for: a few seconds at most.
    ///
    /// # Errors
    /// [`IssuerFault::Unavailable`], [`IssuerFault::Token`].
    pub async fn verify(
        &self,
        jws: Jws<'_>,
        (audience, certificate_sha256): (&str, &[u8; 32]),
        now: Time,
        mono: Mono,
    ) -> Result<Claims, IssuerFault> {
        if jws.kind().is_some_and(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(TokenFault::Kind.into());
        }
        let keys = self.keys(mono).ok_or(IssuerFault::Unavailable)?;
        let claims = match jws.clone().verify(&keys) {
            // The issuer may have replaced its keys since they were looked at.
            Err(TokenFault::UnknownKey) => {
                let newer = self.keys.newer().await.ok_or(TokenFault::UnknownKey)?;
                jws.verify(&newer)?
            }
            verified => verified?,
        };
        if claims.text("iss")? != Some(&self.config.issuer) {
            return Err(TokenFault::Issuer.into());
        }
        claims.is_for(audience)?;
        claims.window(now, AHEAD)?;
        is_bound_to(&claims, certificate_sha256)?;
        Ok(claims)
    }

    /// Whom verified claims of this issuer name.
    ///
    /// # Errors
    /// [`TokenFault::Claims`] without a subject that may be kept and shown.
    pub fn subject(&self, claims: &Claims) -> Result<UserId, TokenFault> {
        let subject = short(claims.text("sub")?)?.ok_or(TokenFault::Claims)?;
        Ok(UserId { issuer: self.config.issuer.clone(), subject })
    }
}

/// A token that is bound to a key counts with that key alone (RFC 7800); of such bonds, only that to the certificate of the
/// connection can be checked (RFC 8705), and what cannot be checked does not hold.
fn is_bound_to(claims: &Claims, certificate_sha256: &[u8; 32]) -> Result<(), TokenFault> {
    let Some(bond) = claims.get("cnf") else { return Ok(()) };
    match bond.as_object().map(|bond| (bond.len(), bond.get("x5t#S256").and_then(Value::as_str))) {
        Some((1, Some(bound))) if bound == thumbprint(certificate_sha256) => Ok(()),
        Some(_) | None => Err(TokenFault::Certificate),
    }
}

/// A text that may be kept and shown.
///
/// # Errors
/// [`TokenFault::Claims`] if it is empty, too long or holds control characters.
pub fn short(text: Option<&str>) -> Result<Option<String>, TokenFault> {
    match text {
        None => Ok(None),
        Some(text) if (1..=MAX_TEXT).contains(&text.len()) && !text.contains(char::is_control) => {
            Ok(Some(text.to_owned()))
        }
        Some(_) => Err(TokenFault::Claims),
    }
}
