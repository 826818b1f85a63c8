//! Between the messages of the schema and the typed ones. The only way in is `TryFrom`; each refuses what is malformed, unknown
//! or beyond a limit. One thing is not an error of the message: a grant that this version cannot read whole (see `grant`).

mod grant;
mod trail;

use crate::identity::token::TokenKeys;
use crate::model::{AuditHealth, Change, Digest, EndCause, Epoch, GrantId, LogId, Revision, Time};
use crate::notary::SignedCheckpoint;
use crate::wire::generated as raw;
use crate::wire::message::{
    Ack, DeltaPart, Down, GrantUsage, Hello, LeaseError, Pong, Position, Received, ReceivedChange,
    SnapshotPart, Up,
};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Most grants, changes or usage entries in one message.
pub const MAX_ITEMS: usize = 65_536;
/// Longest version text of a hello.
const MAX_VERSION: usize = 128;
/// Longest issuer and audience of tokens, and longest set of their keys.
const MAX_NAME: usize = 2_048;
const MAX_JWKS: usize = 64 << 10;

/// Why a message is refused. Always the peer's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A message or change without a body, or with one from a later version.
    #[error("a message of a kind that this version does not know")]
    UnknownKind,
    /// An enumeration value that this version does not know.
    #[error("`{field}` has the unknown value `{value}`")]
    UnknownValue {
        /// Which field.
        field: &'static str,
        /// The value.
        value: i32,
    },
    /// A field that cannot be what it says.
    #[error("`{0}` is malformed")]
    Malformed(&'static str),
    /// More than a message may hold.
    #[error("`{0}` holds more than is allowed")]
    TooMany(&'static str),
    /// A lease outside its bounds.
    #[error(transparent)]
    Lease(#[from] LeaseError),
}

fn sixteen(bytes: &Bytes, field: &'static str) -> Result<[u8; 16], WireError> {
    <[u8; 16]>::try_from(bytes.as_ref()).map_err(|_| WireError::Malformed(field))
}

fn grant_id(bytes: &Bytes) -> Result<GrantId, WireError> {
    Ok(GrantId::from_bits(u128::from_be_bytes(sixteen(bytes, "grant")?)))
}

fn id_bytes(id: GrantId) -> Bytes {
    Bytes::copy_from_slice(&id.to_bits().to_be_bytes())
}

fn counted<T>(items: Vec<T>, field: &'static str) -> Result<Vec<T>, WireError> {
    if items.len() > MAX_ITEMS { Err(WireError::TooMany(field)) } else { Ok(items) }
}

impl TryFrom<raw::Up> for Up {
    type Error = WireError;

    fn try_from(message: raw::Up) -> Result<Self, WireError> {
        use raw::up::Body;
        Ok(match message.body.ok_or(WireError::UnknownKind)? {
            Body::Hello(hello) => Self::Hello(hello.try_into()?),
            Body::Ping(raw::Ping { n, audit, witness_disputes }) => {
                Self::Ping { n, audit: audit_health(audit), witness_disputes }
            }
            Body::Ack(ack) => {
                Self::Ack(Ack { revision: Revision(ack.revision), streams_cut: ack.streams_cut })
            }
            Body::Usage(usage) => Self::Usage(
                counted(usage.grants, "usage")?
                    .into_iter()
                    .map(GrantUsage::try_from)
                    .collect::<Result<_, _>>()?,
            ),
            Body::ReserveUses(ask) => {
                Self::ReserveUses { grant: grant_id(&ask.grant)?, want: ask.want, nonce: ask.nonce }
            }
            Body::Checkpoint(checkpoint) => Self::Checkpoint(checkpoint.try_into()?),
            Body::LogKept(kept) => Self::LogKept(kept.size),
        })
    }
}

/// What a later version says of its trail in words that this one does not know must not cost that proxy its lease.
fn audit_health(value: i32) -> Option<AuditHealth> {
    match raw::AuditHealth::try_from(value).unwrap_or(raw::AuditHealth::Unspecified) {
        raw::AuditHealth::Unspecified => None,
        raw::AuditHealth::Good => Some(AuditHealth::Good),
        raw::AuditHealth::LowSpace => Some(AuditHealth::LowSpace),
        raw::AuditHealth::Unwritable => Some(AuditHealth::Unwritable),
    }
}

impl TryFrom<raw::Hello> for Hello {
    type Error = WireError;

    fn try_from(hello: raw::Hello) -> Result<Self, WireError> {
        let visible = |byte: u8| (b' '..=b'~').contains(&byte);
        if hello.version.len() > MAX_VERSION || !hello.version.bytes().all(visible) {
            return Err(WireError::Malformed("version"));
        }
        let position = hello.position.map(Position::try_from).transpose()?;
        Ok(Self { position, version: hello.version, instance: hello.instance })
    }
}

impl TryFrom<raw::Position> for Position {
    type Error = WireError;

    fn try_from(position: raw::Position) -> Result<Self, WireError> {
        Ok(Self {
            log: LogId(sixteen(&position.log_id, "log_id")?),
            epoch: Epoch(position.epoch),
            revision: Revision(position.revision),
        })
    }
}

impl TryFrom<raw::GrantUsage> for GrantUsage {
    type Error = WireError;

    fn try_from(usage: raw::GrantUsage) -> Result<Self, WireError> {
        Ok(Self {
            grant: grant_id(&usage.grant)?,
            requests: usage.requests,
            bytes: usage.bytes,
            running: usage.running,
        })
    }
}

impl TryFrom<raw::Down> for Down {
    type Error = WireError;

    fn try_from(message: raw::Down) -> Result<Self, WireError> {
        use raw::down::Body;
        Ok(match message.body.ok_or(WireError::UnknownKind)? {
            Body::Welcome(welcome) => {
                Self::Welcome { log: LogId(sixteen(&welcome.log_id, "log_id")?), epoch: Epoch(welcome.epoch) }
            }
            Body::Snapshot(part) => Self::Snapshot(part.try_into()?),
            Body::Delta(part) => Self::Delta(part.try_into()?),
            Body::Pong(pong) => Self::Pong(pong.try_into()?),
            Body::TokenKeys(keys) => Self::TokenKeys(Arc::new(keys.try_into()?)),
            Body::TrailKept(kept) => Self::TrailKept(kept.size),
            Body::LogCheckpoint(checkpoint) => Self::LogCheckpoint(checkpoint.try_into()?),
            Body::UsesReserved(answer) => Self::UsesReserved { nonce: answer.nonce, granted: answer.granted },
        })
    }
}

impl TryFrom<raw::SnapshotChunk> for SnapshotPart {
    type Error = WireError;

    fn try_from(part: raw::SnapshotChunk) -> Result<Self, WireError> {
        let grants = counted(part.grants, "grants")?;
        let grants = grants.into_iter().map(Received::try_from).collect::<Result<_, _>>()?;
        Ok(Self { revision: Revision(part.revision), grants, last: part.last })
    }
}

impl TryFrom<raw::DeltaChunk> for DeltaPart {
    type Error = WireError;

    fn try_from(part: raw::DeltaChunk) -> Result<Self, WireError> {
        let changes = counted(part.changes, "changes")?;
        let changes = changes.into_iter().map(ReceivedChange::try_from).collect::<Result<_, _>>()?;
        if part.revision < part.after {
            return Err(WireError::Malformed("revision"));
        }
        Ok(Self { after: Revision(part.after), revision: Revision(part.revision), changes, last: part.last })
    }
}

impl TryFrom<raw::Change> for ReceivedChange {
    type Error = WireError;

    fn try_from(change: raw::Change) -> Result<Self, WireError> {
        use raw::change::Body;
        Ok(match change.body.ok_or(WireError::UnknownKind)? {
            Body::Issued(grant) => Self::Issued(grant.try_into()?),
            Body::Ended(ended) => Self::Ended {
                grant: grant_id(&ended.grant)?,
                cause: end_cause(ended.cause)?,
                at: Time::from_micros(ended.at),
            },
        })
    }
}

fn end_cause(value: i32) -> Result<EndCause, WireError> {
    u8::try_from(value)
        .ok()
        .and_then(EndCause::from_u8)
        .ok_or(WireError::UnknownValue { field: "cause", value })
}

impl TryFrom<raw::Pong> for Pong {
    type Error = WireError;

    fn try_from(pong: raw::Pong) -> Result<Self, WireError> {
        Ok(Self {
            n: pong.n,
            head: Revision(pong.head),
            // An older control plane names none: then all of it is needed.
            needed: Revision(pong.needed.unwrap_or(pong.head)),
            control_time: Time::from_micros(pong.control_time),
            lease: Duration::from_millis(pong.lease_ms).try_into()?,
            digest_revision: Revision(pong.digest_revision),
            digest: Digest::from_bits(pong.digest),
        })
    }
}

impl TryFrom<raw::TokenKeys> for TokenKeys {
    type Error = WireError;

    fn try_from(keys: raw::TokenKeys) -> Result<Self, WireError> {
        let raw::TokenKeys { issuer, audience, jwks } = keys;
        if issuer.is_empty() || audience.is_empty() {
            return Err(WireError::Malformed("token_keys"));
        }
        if issuer.len() > MAX_NAME || audience.len() > MAX_NAME || jwks.len() > MAX_JWKS {
            return Err(WireError::TooMany("token_keys"));
        }
        Ok(Self { issuer, audience, jwks })
    }
}

impl From<Up> for raw::Up {
    fn from(message: Up) -> Self {
        use raw::up::Body;
        let body = match message {
            Up::Hello(hello) => Body::Hello(raw::Hello {
                position: hello.position.map(raw::Position::from),
                version: hello.version,
                instance: hello.instance,
            }),
            Up::Ping { n, audit, witness_disputes } => {
                let audit = match audit {
                    None => raw::AuditHealth::Unspecified,
                    Some(AuditHealth::Good) => raw::AuditHealth::Good,
                    Some(AuditHealth::LowSpace) => raw::AuditHealth::LowSpace,
                    Some(AuditHealth::Unwritable) => raw::AuditHealth::Unwritable,
                };
                Body::Ping(raw::Ping { n, audit: audit.into(), witness_disputes })
            }
            Up::Ack(ack) => Body::Ack(raw::Ack { revision: ack.revision.0, streams_cut: ack.streams_cut }),
            Up::Usage(grants) => {
                Body::Usage(raw::Usage { grants: grants.into_iter().map(raw::GrantUsage::from).collect() })
            }
            Up::ReserveUses { grant, want, nonce } => {
                Body::ReserveUses(raw::ReserveUses { grant: id_bytes(grant), want, nonce })
            }
            Up::Checkpoint(checkpoint) => Body::Checkpoint(checkpoint.into()),
            Up::LogKept(size) => Body::LogKept(raw::LogKept { size }),
        };
        Self { body: Some(body) }
    }
}

impl From<Position> for raw::Position {
    fn from(position: Position) -> Self {
        Self {
            log_id: Bytes::copy_from_slice(&position.log.0),
            epoch: position.epoch.0,
            revision: position.revision.0,
        }
    }
}

impl From<GrantUsage> for raw::GrantUsage {
    fn from(usage: GrantUsage) -> Self {
        Self {
            grant: id_bytes(usage.grant),
            requests: usage.requests,
            bytes: usage.bytes,
            running: usage.running,
        }
    }
}

/// The first message down.
#[must_use]
pub fn welcome(log: LogId, epoch: Epoch) -> raw::Down {
    let welcome = raw::Welcome { log_id: Bytes::copy_from_slice(&log.0), epoch: epoch.0 };
    raw::Down { body: Some(raw::down::Body::Welcome(welcome)) }
}

/// The answer to a ping.
#[must_use]
pub fn pong(pong: Pong) -> raw::Down {
    let pong = raw::Pong {
        n: pong.n,
        head: pong.head.0,
        needed: Some(pong.needed.0),
        control_time: pong.control_time.as_micros(),
        lease_ms: u64::try_from(pong.lease.get().as_millis()).unwrap_or(0),
        digest_revision: pong.digest_revision.0,
        digest: pong.digest.to_bits(),
    };
    raw::Down { body: Some(raw::down::Body::Pong(pong)) }
}

/// How much of the proxy's trail is known.
#[must_use]
pub fn trail_kept(size: u64) -> raw::Down {
    raw::Down { body: Some(raw::down::Body::TrailKept(raw::TrailKept { size })) }
}

/// A checkpoint of the event log.
#[must_use]
pub fn log_checkpoint(checkpoint: SignedCheckpoint) -> raw::Down {
    raw::Down { body: Some(raw::down::Body::LogCheckpoint(checkpoint.into())) }
}

/// By what tokens are verified.
#[must_use]
pub fn token_keys(keys: &TokenKeys) -> raw::Down {
    let TokenKeys { issuer, audience, jwks } = keys.clone();
    raw::Down { body: Some(raw::down::Body::TokenKeys(raw::TokenKeys { issuer, audience, jwks })) }
}

/// The answer to a reservation.
#[must_use]
pub fn uses_reserved(nonce: u64, granted: Option<u64>) -> raw::Down {
    raw::Down { body: Some(raw::down::Body::UsesReserved(raw::UsesReserved { nonce, granted })) }
}

impl From<&Change> for raw::Change {
    fn from(change: &Change) -> Self {
        use raw::change::Body;
        let body = match change {
            Change::Issued(grant) => Body::Issued(grant.as_ref().into()),
            Change::Ended { grant, cause, at } => Body::Ended(raw::Ended {
                grant: id_bytes(*grant),
                cause: i32::from(*cause as u8),
                at: at.as_micros(),
            }),
        };
        Self { body: Some(body) }
    }
}

#[cfg(test)]
mod tests;
