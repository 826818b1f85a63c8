//! What a token of a grant says.

use super::Tokens;
use crate::identity::token::{ACCESS_TOKEN, MAX_TOKEN, thumbprint};
use crate::model::{Grant, GrantId, Scope, SpiffeId, TaskId, Time};
use jsonwebtoken::{Algorithm, Header};
use serde::Serialize;
use std::time::Duration;

/// A token. Never shown.
pub struct Minted {
    /// The compact form.
    pub token: String,
    /// How long it runs, in whole seconds.
    pub expires_in: Duration,
}

impl std::fmt::Debug for Minted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minted").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The grant does not run now, or not for another second.
    #[error("the grant is not live")]
    NotLive,
    /// It would not fit into a header.
    #[error("the grant's scope is too large for a token of at most 16 KiB: ask for a narrower one")]
    TooLarge,
    /// The library refused.
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
    /// There is no key.
    #[error("there is no key to sign with")]
    NoKey,
}

/// RFC 9068 section 2.2, with RFC 8705 (`cnf`), RFC 9396 (`authorization_details`), RFC 8693 (`act`) and RFC 9493 (`sub_id`).
#[derive(Serialize)]
struct Body<'a> {
    iss: &'a str,
    aud: &'a str,
    /// The human where there is one, else the workload.
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_id: Option<SubjectId<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Acting<'a>>,
    client_id: &'a SpiffeId,
    iat: i64,
    exp: i64,
    jti: GrantId,
    task: &'a TaskId,
    authorization_details: &'a Scope,
    cnf: Confirmation,
}

/// `sub` is a name at that issuer, not here.
#[derive(Serialize)]
struct SubjectId<'a> {
    format: &'static str,
    iss: &'a str,
    sub: &'a str,
}

#[derive(Serialize)]
struct Acting<'a> {
    sub: &'a SpiffeId,
}

#[derive(Serialize)]
struct Confirmation {
    #[serde(rename = "x5t#S256")]
    certificate: String,
}

impl Tokens {
    /// A token of a grant that is live at `now`; it ends with it, counts with the certificate that asked alone, and names the human
    /// whom the grant is for.
    ///
    /// # Errors
    /// [`MintError`].
    pub fn mint(&self, grant: &Grant, certificate_sha256: &[u8; 32], now: Time) -> Result<Minted, MintError> {
        let seconds = |time: Time| time.as_micros().div_euclid(1_000_000);
        // Whole seconds, rounded down: never longer than the grant.
        let (iat, exp) = (seconds(now), seconds(grant.expires_at));
        let ends = Time::from_micros(exp.saturating_mul(1_000_000));
        if !grant.covers(now) || ends <= now {
            return Err(MintError::NotLive);
        }
        let user = grant.on_behalf_of();
        let body = Body {
            iss: &self.0.issuer,
            aud: &self.0.audience,
            sub: user.map_or(grant.principal.as_str(), |user| &user.subject),
            sub_id: user.map(|user| SubjectId { format: "iss_sub", iss: &user.issuer, sub: &user.subject }),
            act: user.map(|_| Acting { sub: &grant.principal }),
            client_id: &grant.principal,
            iat,
            exp,
            jti: grant.id,
            task: &grant.task,
            authorization_details: &grant.scope,
            cnf: Confirmation { certificate: thumbprint(certificate_sha256) },
        };
        let ring = self.0.ring.lock();
        let (kid, key) = ring.signer(now).ok_or(MintError::NoKey)?;
        let mut header = Header::new(Algorithm::ES256);
        header.typ = Some(ACCESS_TOKEN.to_owned());
        header.kid = Some(kid.to_owned());
        let token = jsonwebtoken::encode(&header, &body, key).map_err(MintError::Sign)?;
        if token.len() > MAX_TOKEN {
            return Err(MintError::TooLarge);
        }
        Ok(Minted { token, expires_in: Duration::from_secs(ends.since(now).as_secs()) })
    }
}
