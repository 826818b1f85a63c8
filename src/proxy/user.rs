//! The human behind a request, where its service demands to know: a token of an outside issuer beside the certificate.
//!
//! Invariants: such a token narrows and permits nothing; it counts for the service whose audience and claims it has, and where it is
//! bound to a certificate, with that one alone. Its keys are fetched beside the requests; without fresh ones it does not hold. Each
//! connection remembers a few that held, by their digest; time and keys are looked at again each time.

use crate::access::UserProof;
use crate::audit::record::Named;
use crate::config::{ClaimValue, IssuerConfig, UserTokenRule};
use crate::identity::Peer;
use crate::identity::issuer::{AHEAD, Issuer, IssuerFault, SetupError};
use crate::identity::token::{Jws, KeySet, TokenFault};
use crate::model::{Time, UserId};
use crate::proxy::bearer::{Bearer, Fingerprint, fingerprint, token_of};
use crate::runtime::clock::Mono;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use parking_lot::Mutex;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;

/// Tokens that a connection remembers.
const REMEMBERED: usize = 4;

/// Why a user's token does not hold. The words are safe to show: nothing of the token is in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UserFault {
    #[error("the user's token is there more than once, or under two spellings of its header")]
    Repeated,
    #[error("the user's token is refused: {0}")]
    Issuer(#[from] IssuerFault),
    #[error("the user's token lacks a claim that this service demands")]
    Claim,
    #[error("the user's token names another user than the grant was given for")]
    OtherUser,
}

impl From<TokenFault> for UserFault {
    fn from(fault: TokenFault) -> Self {
        Self::Issuer(fault.into())
    }
}

/// The issuers that the services of this proxy demand tokens of.
pub(crate) struct Issuers(Box<[Arc<Issuer>]>);

impl Issuers {
    /// Files are read now; keys on the web are fetched by [`Self::keep`].
    pub(crate) fn new(configured: &[IssuerConfig]) -> Result<Self, SetupError> {
        configured.iter().map(|config| Issuer::new(config).map(Arc::new)).collect::<Result<_, _>>().map(Self)
    }

    /// What a service demands; none if nobody knows its issuer.
    pub(crate) fn demand(&self, rule: &UserTokenRule) -> Option<Demand> {
        let issuer = self.0.iter().find(|issuer| issuer.config().issuer == rule.issuer)?;
        let header = HeaderName::try_from(&rule.header).ok()?;
        let needed = format!(
            "token=\"user\", header=\"{header}\", issuer={}, audience={}",
            quoted(&rule.issuer),
            quoted(&rule.audience)
        );
        let challenge =
            |error: &str| HeaderValue::try_from(format!("Bearer realm=\"jitgate\", {error}{needed}")).ok();
        Some(Demand {
            issuer: Arc::clone(issuer),
            required: challenge("")?,
            invalid: challenge("error=\"invalid_token\", ")?,
            rule: rule.clone(),
            header,
        })
    }

    /// Keeps their keys fresh; never returns.
    pub(crate) async fn keep(&self) {
        futures_util::future::join_all(self.0.iter().map(|issuer| issuer.keep())).await;
        // There is none.
        std::future::pending().await
    }
}

/// A `quoted-string` (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('"');
    quoted
}

/// What one service demands.
pub(crate) struct Demand {
    issuer: Arc<Issuer>,
    rule: UserTokenRule,
    header: HeaderName,
    required: HeaderValue,
    invalid: HeaderValue,
}

/// The text that is to be a user's token.
pub(crate) enum Carried<'a> {
    Nothing,
    Unclear(UserFault),
    Token(&'a str),
}

impl Demand {
    /// The header field that must not reach the service.
    pub(crate) fn kept_back(&self) -> Option<&HeaderName> {
        (!self.rule.forward).then_some(&self.header)
    }

    /// The header field that carries the token.
    pub(crate) fn header(&self) -> &HeaderName {
        &self.header
    }

    /// What a request without such a token is told (RFC 6750 section 3).
    pub(crate) fn challenge(&self, sent: bool) -> &HeaderValue {
        if sent { &self.invalid } else { &self.required }
    }

    /// The same in words.
    pub(crate) fn explanation(&self) -> String {
        let UserTokenRule { issuer, audience, claims, header, .. } = &self.rule;
        let mut text = format!(
            "this service demands to know the user behind a request: send a token of `{issuer}` for the audience `{audience}` in `{header}`"
        );
        for (at, claim) in claims.keys().enumerate() {
            let _infallible = write!(text, "{} `{claim}`", if at == 0 { ", with the right" } else { "," });
        }
        text
    }

    /// What a request brings along. A grant's own token in `authorization` is no user's.
    pub(crate) fn carried<'a>(&self, headers: &'a HeaderMap, bearer: Bearer) -> Carried<'a> {
        let mut values = headers.get_all(&self.header).iter();
        let first = values.next();
        let twin = |name: &HeaderName| name != self.header && is_twin(name.as_str(), self.header.as_str());
        if values.next().is_some() || headers.keys().any(twin) {
            return Carried::Unclear(UserFault::Repeated);
        }
        let Some(value) = first else { return Carried::Nothing };
        if self.header == AUTHORIZATION {
            let token = token_of(value).filter(|_| bearer.grant().is_none());
            return token.map_or(Carried::Nothing, Carried::Token);
        }
        // What is not ASCII is no token.
        value.to_str().map_or(Carried::Unclear(TokenFault::Form.into()), Carried::Token)
    }

    /// Verifies a token that came on a connection of `peer`. `now` tells control time, if it is known.
    pub(crate) async fn verify(
        &self,
        token: &str,
        peer: &Peer,
        now: impl Fn() -> Option<Time>,
    ) -> Result<Proof, UserFault> {
        let jws = Jws::parse(token)?;
        if jws.claimed_issuer() != Some(&self.rule.issuer) {
            return Err(TokenFault::Issuer.into());
        }
        let at = now().ok_or(IssuerFault::Unavailable)?;
        let shown = (&*self.rule.audience, peer.certificate_sha256());
        let claims = self.issuer.verify(jws, shown, at, Mono::now()).await?;
        let claimed = |(name, wanted): (&String, &ClaimValue)| has(claims.get(name), wanted);
        if !self.rule.claims.iter().all(claimed) {
            return Err(UserFault::Claim);
        }
        let (_, expires_at) = claims.window(at, AHEAD)?;
        let user = self.issuer.subject(&claims)?;
        Ok(Proof { named: Named::new(&user.issuer, &user.subject), user, expires_at })
    }
}

/// Whether a name is the other one but for punctuation: CGI and its kin read them as the same.
fn is_twin(name: &str, other: &str) -> bool {
    let fold = |b: u8| if b.is_ascii_alphanumeric() { b } else { b'-' };
    name.len() == other.len() && name.bytes().map(fold).eq(other.bytes().map(fold))
}

/// Whether a claim has a value, or is a list with it.
fn has(claim: Option<&Value>, wanted: &ClaimValue) -> bool {
    let is = |value: &Value| match wanted {
        ClaimValue::Text(text) => value.as_str() == Some(text),
        ClaimValue::Number(number) => value.as_i64() == Some(*number),
        ClaimValue::Truth(truth) => value.as_bool() == Some(*truth),
    };
    claim.is_some_and(|claim| claim.as_array().map_or_else(|| is(claim), |list| list.iter().any(is)))
}

/// A token that held.
#[derive(Debug)]
pub(crate) struct Proof {
    user: UserId,
    expires_at: Time,
    /// For the audit line.
    named: Arc<Named>,
}

/// What a request proves about its user.
#[derive(Debug, Clone)]
pub(crate) enum Presented {
    NotDemanded,
    Missing,
    Refused(UserFault),
    Proven(Arc<Proof>),
}

impl Presented {
    /// What it proves at `now`. What has expired meanwhile is refused from then on.
    pub(crate) fn at(&mut self, now: Time) -> UserProof<'_> {
        if matches!(self, Self::Proven(proof) if now >= proof.expires_at) {
            *self = Self::Refused(TokenFault::Expired.into());
        }
        match self {
            Self::NotDemanded => UserProof::NotDemanded,
            Self::Missing => UserProof::Missing,
            Self::Refused(_) => UserProof::Refused,
            Self::Proven(proof) => UserProof::Proven(&proof.user),
        }
    }

    /// Whether the service asks and there is nothing.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Why it did not do for any grant.
    pub(crate) fn fault(&self) -> Option<UserFault> {
        match self {
            Self::NotDemanded | Self::Missing => None,
            Self::Refused(fault) => Some(*fault),
            Self::Proven(_) => Some(UserFault::OtherUser),
        }
    }

    /// Who it is, for the audit line.
    pub(crate) fn named(&self) -> Option<&Arc<Named>> {
        match self {
            Self::Proven(proof) => Some(&proof.named),
            Self::NotDemanded | Self::Missing | Self::Refused(_) => None,
        }
    }
}

/// What one connection remembers.
#[derive(Default)]
pub(crate) struct Remembered(Mutex<Vec<Seen>>);

struct Seen {
    fingerprint: Fingerprint,
    /// The service that it held for, by its index.
    service: usize,
    keys: Arc<KeySet>,
    proof: Arc<Proof>,
}

impl Remembered {
    /// What the token is known to prove for a service, by the keys of now.
    pub(crate) fn recall(&self, service: usize, demand: &Demand, token: &str) -> Option<Arc<Proof>> {
        let seen = self.0.lock();
        if seen.is_empty() {
            return None;
        }
        let keys = demand.issuer.keys(Mono::now())?;
        let fingerprint = fingerprint(token);
        let same = |seen: &&Seen| {
            seen.service == service && seen.fingerprint == fingerprint && Arc::ptr_eq(&seen.keys, &keys)
        };
        seen.iter().find(same).map(|seen| Arc::clone(&seen.proof))
    }

    /// Verifies a token and remembers it, if it holds by keys that did not change meanwhile.
    pub(crate) async fn verify(
        &self,
        service: usize,
        demand: &Demand,
        token: &str,
        (peer, now): (&Peer, impl Fn() -> Option<Time>),
    ) -> Presented {
        let before = demand.issuer.keys(Mono::now());
        let proof = match demand.verify(token, peer, now).await {
            Ok(proof) => Arc::new(proof),
            Err(fault) => return Presented::Refused(fault),
        };
        if let (Some(keys), Some(after)) = (before, demand.issuer.keys(Mono::now()))
            && Arc::ptr_eq(&keys, &after)
        {
            let mut seen = self.0.lock();
            if seen.len() >= REMEMBERED {
                seen.remove(0);
            }
            seen.push(Seen { fingerprint: fingerprint(token), service, keys, proof: Arc::clone(&proof) });
        }
        Presented::Proven(proof)
    }
}
