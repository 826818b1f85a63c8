//! Grants on the wire. A grant with a scope or a constraint that this version cannot read, or with more of them than it takes,
//! becomes [`Received::Unreadable`]: it permits nothing (law 1), and one new-fashioned grant does not cut a whole proxy off.
//!
//! Protobuf passes over fields that it does not know, which would lose a constraint and so widen the grant. Therefore the sender
//! lists the constraining fields that it has set (`constraints`, a bit each), and the reader wants to see exactly these.

use super::{WireError, grant_id, id_bytes};
use crate::model::grant::{Conditions, Lineage};
use crate::model::{Grant, Limits, Recording, Revision, Scope, SpiffeId, TaskId, Time, UserId};
use crate::wire::generated as raw;
use crate::wire::message::Received;
use bytes::Bytes;
use std::sync::Arc;

/// Most bytes of a grant's scopes together, so that a message always holds one.
const MAX_SCOPE_BYTES: usize = 3 << 20;

const CONDITIONS: u64 = 1 << 7;
const LIMITS: u64 = 1 << 8;
const WITHIN: u64 = 1 << 10;
const RECORDING: u64 = 1 << 11;
const ON_BEHALF_OF: u64 = 1 << 13;

/// Longest name of a user or of an issuer.
const MAX_USER: usize = 512;

impl TryFrom<raw::Grant> for Received {
    type Error = WireError;

    fn try_from(grant: raw::Grant) -> Result<Self, WireError> {
        let id = grant_id(&grant.id)?;
        let principal: SpiffeId = grant.principal.parse().map_err(|_| WireError::Malformed("principal"))?;
        let task: TaskId = grant.task.parse().map_err(|_| WireError::Malformed("task"))?;
        let (not_before, expires_at) =
            (Time::from_micros(grant.not_before), Time::from_micros(grant.expires_at));
        if not_before >= expires_at {
            return Err(WireError::Malformed("expires_at"));
        }
        let revision = Revision(grant.revision);
        let Some(terms) = terms(&grant) else { return Ok(Self::Unreadable { id, revision }) };
        let Terms { scope, conditions, limits, recording, within, on_behalf_of } = terms;
        let plain = within.is_empty() && on_behalf_of.is_none();
        let lineage = (!plain).then(|| Arc::new(Lineage { within, on_behalf_of, ..Lineage::default() }));
        Ok(Self::Readable(Arc::new(Grant {
            id,
            principal,
            task,
            scope,
            not_before,
            expires_at,
            conditions,
            limits,
            recording,
            lineage,
            revision,
        })))
    }
}

/// What a grant permits, and what constrains it.
struct Terms {
    scope: Scope,
    conditions: Conditions,
    limits: Limits,
    recording: Recording,
    within: Vec<Scope>,
    on_behalf_of: Option<UserId>,
}

/// None if any of it cannot be read.
fn terms(grant: &raw::Grant) -> Option<Terms> {
    if constraints(grant) != grant.constraints || grant.within.len() > Lineage::MAX_WITHIN {
        return None;
    }
    let within = grant.within.iter().map(|json| scope(json)).collect::<Option<Vec<_>>>()?;
    if !Lineage::is_bounded(&within) {
        return None;
    }
    Some(Terms {
        scope: scope(&grant.scope)?,
        conditions: optional(&grant.conditions)?,
        limits: optional(&grant.limits)?,
        recording: match raw::Recording::try_from(grant.recording).ok()? {
            raw::Recording::Metadata => Recording::Metadata,
            raw::Recording::Arguments => Recording::Arguments,
            raw::Recording::Full => Recording::Full,
        },
        within,
        on_behalf_of: grant.on_behalf_of.as_ref().map(user).transpose().ok()?,
    })
}

/// An error if it is nobody.
fn user(user: &raw::UserId) -> Result<UserId, Unreadable> {
    let is_name = |text: &str| (1..=MAX_USER).contains(&text.len());
    let raw::UserId { issuer, subject } = user.clone();
    if is_name(&issuer) && is_name(&subject) { Ok(UserId { issuer, subject }) } else { Err(Unreadable) }
}

struct Unreadable;

/// The constraining fields that are set and that this version knows.
fn constraints(grant: &raw::Grant) -> u64 {
    let bit = |set: bool, bit: u64| if set { bit } else { 0 };
    bit(!grant.conditions.is_empty(), CONDITIONS)
        | bit(!grant.limits.is_empty(), LIMITS)
        | bit(!grant.within.is_empty(), WITHIN)
        | bit(grant.recording != 0, RECORDING)
        | bit(grant.on_behalf_of.is_some(), ON_BEHALF_OF)
}

fn scope(json: &[u8]) -> Option<Scope> {
    serde_json::from_slice(json).ok()
}

/// An absent constraint constrains nothing; one that cannot be read is `None`.
fn optional<T: Default + serde::de::DeserializeOwned>(json: &[u8]) -> Option<T> {
    if json.is_empty() { Some(T::default()) } else { serde_json::from_slice(json).ok() }
}

impl From<&Grant> for raw::Grant {
    fn from(grant: &Grant) -> Self {
        let mut message = Self {
            id: id_bytes(grant.id),
            principal: grant.principal.as_str().to_owned(),
            task: grant.task.as_str().to_owned(),
            scope: json(&grant.scope),
            not_before: grant.not_before.as_micros(),
            expires_at: grant.expires_at.as_micros(),
            conditions: if grant.conditions.is_unconditional() {
                Bytes::new()
            } else {
                json(&grant.conditions)
            },
            limits: if grant.limits.is_unlimited() { Bytes::new() } else { json(&grant.limits) },
            revision: grant.revision.0,
            within: grant.within().iter().map(json).collect(),
            recording: match grant.recording {
                Recording::Metadata => raw::Recording::Metadata,
                Recording::Arguments => raw::Recording::Arguments,
                Recording::Full => raw::Recording::Full,
            }
            .into(),
            constraints: 0,
            on_behalf_of: grant
                .on_behalf_of()
                .map(|user| raw::UserId { issuer: user.issuer.clone(), subject: user.subject.clone() }),
        };
        message.constraints = constraints(&message);
        let bytes = message.scope.len() + message.within.iter().map(Bytes::len).sum::<usize>();
        if bytes > MAX_SCOPE_BYTES {
            (message.scope, message.within) = (UNREADABLE.into(), Vec::new());
        }
        message
    }
}

const UNREADABLE: &[u8] = b"!";

/// What cannot be written becomes what cannot be read: the proxy then rejects the grant whole.
fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_else(|_| UNREADABLE.to_vec()).into()
}
