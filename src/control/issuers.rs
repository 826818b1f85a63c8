//! Tokens of outside issuers: what they prove about a human, beside the certificate.
//!
//! [`crate::identity::issuer`] says whether a token holds. Invariants: a token counts only for the one audience that is configured,
//! and where it is bound to a certificate, with that of the caller alone, whoever it names; which person a user is, is said by the configuration and never by the token.

pub use crate::identity::issuer::{IssuerFault, SetupError};

use crate::config::{IssuerConfig, Person};
use crate::identity::issuer::{AHEAD, Issuer, short};
use crate::identity::token::{Claims, Jws, TokenFault};
use crate::model::{GroupName, Time, User, UserId};
use crate::runtime::clock::Mono;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Most authentication methods.
const MAX_METHODS: usize = 16;

/// Everybody whose tokens are believed. Cheap to clone; the default is nobody.
#[derive(Debug, Clone, Default)]
pub struct Issuers(Arc<Known>);

#[derive(Debug, Default)]
struct Known {
    issuers: BTreeMap<String, Issuer>,
    groups: BTreeMap<String, Vec<GroupName>>,
}

impl Issuers {
    /// From the configuration. Files are read now; keys on the web are fetched by [`Self::run`].
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(configured: &[IssuerConfig], people: &[Person]) -> Result<Self, SetupError> {
        let groups = people
            .iter()
            .map(|person| (person.name.clone(), person.groups.iter().cloned().collect()))
            .collect();
        let mut issuers = BTreeMap::new();
        for config in configured {
            issuers.insert(config.issuer.clone(), Issuer::new(config)?);
        }
        Ok(Self(Arc::new(Known { issuers, groups })))
    }

    /// Keeps keys fresh until stopped.
    pub async fn run(self, stop: CancellationToken) {
        let all = self.0.issuers.values().map(Issuer::keep);
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            _ = futures_util::future::join_all(all) => {}
        }
    }

    /// Who a token says that somebody is, if it holds at `now` with the certificate of the caller who brings it.
    ///
    /// # Errors
    /// [`IssuerFault`].
    pub async fn verify(
        &self,
        (token, certificate_sha256): (&str, &[u8; 32]),
        now: Time,
        mono: Mono,
    ) -> Result<User, IssuerFault> {
        let Known { issuers, groups } = &*self.0;
        if issuers.is_empty() {
            return Err(IssuerFault::None);
        }
        let jws = Jws::parse(token)?;
        let issuer = jws.claimed_issuer().and_then(|name| issuers.get(name)).ok_or(TokenFault::Issuer)?;
        let shown = (&*issuer.config().audience, certificate_sha256);
        let claims = issuer.verify(jws, shown, now, mono).await?;
        Ok(user(issuer, groups, &claims, now)?)
    }
}

fn user(
    issuer: &Issuer,
    groups: &BTreeMap<String, Vec<GroupName>>,
    claims: &Claims,
    now: Time,
) -> Result<User, TokenFault> {
    let UserId { issuer: name, subject } = issuer.subject(claims)?;
    let person = person(issuer.config(), claims)?;
    let methods = claims.texts("amr")?;
    if methods.len() > MAX_METHODS {
        return Err(TokenFault::Claims);
    }
    let amr: Option<Vec<String>> =
        methods.into_iter().map(|method| short(Some(method)).ok().flatten()).collect();
    Ok(User {
        issuer: name,
        subject,
        groups: person.and_then(|name| groups.get(name)).cloned().unwrap_or_default(),
        person: person.cloned(),
        acr: short(claims.text("acr")?)?,
        amr: amr.ok_or(TokenFault::Claims)?,
        // Somebody who authenticated within the last moments, by a clock that is a little ahead.
        auth_time: claims.time("auth_time")?.map(|at| if at <= now.plus(AHEAD) { at.min(now) } else { at }),
    })
}

/// The person of the configuration that the user is. An address that the issuer has not verified is anybody's.
fn person<'a>(config: &'a IssuerConfig, claims: &Claims) -> Result<Option<&'a String>, TokenFault> {
    let claim = config.person_claim.as_str();
    if claim == "email" && claims.get("email_verified") != Some(&serde_json::Value::Bool(true)) {
        return Ok(None);
    }
    Ok(claims.text(claim)?.and_then(|value| config.people.get(value)))
}
