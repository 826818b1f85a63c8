//! Tokens of outside issuers: what they prove about a human, beside the certificate.
//!
//! Reads them with the strict parser of [`crate::identity::token`]. Invariants: a token counts only for the one audience that is
//! configured, by a key that its issuer has published for an algorithm that is allowed; without fresh keys no token holds; which
//! person a user is, is said by the configuration and never by the token.

mod keys;

pub use keys::SetupError;

use crate::config::{IssuerConfig, Person};
use crate::identity::token::{Claims, Jws, TokenFault};
use crate::model::{GroupName, Time, User};
use crate::runtime::clock::Mono;
use keys::Keys;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How far an issuer's clock may be ahead of ours. Nothing makes a token live longer than its `exp`.
const AHEAD: Duration = Duration::from_secs(10);
/// Longest text that is taken from a token.
const MAX_TEXT: usize = 256;
/// Most authentication methods.
const MAX_METHODS: usize = 16;
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

/// Everybody whose tokens are believed. Cheap to clone; the default is nobody.
#[derive(Debug, Clone, Default)]
pub struct Issuers(Arc<BTreeMap<String, Issuer>>);

#[derive(Debug)]
struct Issuer {
    config: IssuerConfig,
    keys: Keys,
    groups: BTreeMap<String, Vec<GroupName>>,
}

impl Issuers {
    /// From the configuration. Files are read now; keys on the web are fetched by [`Self::run`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(configured: &[IssuerConfig], people: &[Person]) -> Result<Self, SetupError> {
        let groups: BTreeMap<_, Vec<GroupName>> = people
            .iter()
            .map(|person| (person.name.clone(), person.groups.iter().cloned().collect()))
            .collect();
        let mut issuers = BTreeMap::new();
        for config in configured {
            let keys = Keys::new(config)?;
            let issuer = Issuer { config: config.clone(), keys, groups: groups.clone() };
            issuers.insert(config.issuer.clone(), issuer);
        }
        Ok(Self(Arc::new(issuers)))
    }

    /// Keeps keys fresh until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let all = self.0.values().map(|issuer| issuer.keys.keep());
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = futures_util::future::join_all(all) => {}
        }
    }

    /// Who a token says that somebody is, if it holds at `now`.
    ///
    /// # Errors
    /// [`IssuerFault`].
    pub async fn verify(&self, token: &str, now: Time, mono: Mono) -> Result<User, IssuerFault> {
        if self.0.is_empty() {
            return Err(IssuerFault::None);
        }
        let jws = Jws::parse(token)?;
        let issuer = jws.claimed_issuer().and_then(|name| self.0.get(name)).ok_or(TokenFault::Issuer)?;
        if jws.kind().is_some_and(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(TokenFault::Kind.into());
        }
        let keys = issuer.keys.current(mono).ok_or(IssuerFault::Unavailable)?;
        let claims = match jws.clone().verify(&keys) {
            // The issuer may have replaced its keys since they were looked at.
            Err(TokenFault::UnknownKey) => {
                let newer = issuer.keys.newer().await.ok_or(TokenFault::UnknownKey)?;
                jws.verify(&newer)?
            }
            verified => verified?,
        };
        Ok(issuer.user(&claims, now)?)
    }
}

impl Issuer {
    fn user(&self, claims: &Claims, now: Time) -> Result<User, TokenFault> {
        let config = &self.config;
        if claims.text("iss")? != Some(&config.issuer) {
            return Err(TokenFault::Issuer);
        }
        claims.is_for(&config.audience)?;
        claims.window(now, AHEAD)?;
        let subject = short(claims.text("sub")?)?.ok_or(TokenFault::Claims)?;
        let person = self.person(claims)?;
        let methods = claims.texts("amr")?;
        if methods.len() > MAX_METHODS {
            return Err(TokenFault::Claims);
        }
        let amr: Option<Vec<String>> =
            methods.into_iter().map(|method| short(Some(method)).ok().flatten()).collect();
        Ok(User {
            issuer: config.issuer.clone(),
            subject,
            groups: person.and_then(|name| self.groups.get(name)).cloned().unwrap_or_default(),
            person: person.cloned(),
            acr: short(claims.text("acr")?)?,
            amr: amr.ok_or(TokenFault::Claims)?,
            // Somebody who authenticated within the last moments, by a clock that is a little ahead.
            auth_time: claims
                .time("auth_time")?
                .map(|at| if at <= now.plus(AHEAD) { at.min(now) } else { at }),
        })
    }

    /// The person of the configuration that the user is. An address that the issuer has not verified is anybody's.
    fn person(&self, claims: &Claims) -> Result<Option<&String>, TokenFault> {
        let claim = self.config.person_claim.as_str();
        if claim == "email" && claims.get("email_verified") != Some(&serde_json::Value::Bool(true)) {
            return Ok(None);
        }
        Ok(claims.text(claim)?.and_then(|value| self.config.people.get(value)))
    }
}

/// A text that may be kept and shown.
fn short(text: Option<&str>) -> Result<Option<String>, TokenFault> {
    match text {
        None => Ok(None),
        Some(text) if (1..=MAX_TEXT).contains(&text.len()) && !text.contains(char::is_control) => {
            Ok(Some(text.to_owned()))
        }
        Some(_) => Err(TokenFault::Claims),
    }
}
