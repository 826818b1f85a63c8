//! The messages of the control channel as the rest of the program sees them: typed, within limits, nothing left to check.
//! Knows no protobuf and no network.

use crate::identity::token::TokenKeys;
use crate::model::{AuditHealth, Digest, EndCause, Epoch, Grant, GrantId, LogId, Revision, Time};
use crate::notary::SignedCheckpoint;
use std::sync::Arc;
use std::time::Duration;

/// How long a proxy may enforce from its table after asking for the head of the log: 1 s to 60 s. Shorter would cut at each
/// hiccup; longer would make a revocation's bound worthless.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseLength(Duration);

/// Why a length of time cannot be a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts 1 s to 60 s, not `{0:?}`")]
pub struct LeaseError(Duration);

impl LeaseLength {
    /// What is assumed until the control plane has said otherwise.
    pub const DEFAULT: Self = Self(Duration::from_secs(15));
    /// The shortest.
    pub const MIN: Duration = Duration::from_secs(1);
    /// The longest.
    pub const MAX: Duration = Duration::from_secs(60);

    /// The length.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl TryFrom<Duration> for LeaseLength {
    type Error = LeaseError;
    fn try_from(length: Duration) -> Result<Self, LeaseError> {
        if (Self::MIN..=Self::MAX).contains(&length) { Ok(Self(length)) } else { Err(LeaseError(length)) }
    }
}

/// Where a table stands: in which log, after which restore, at which revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The log.
    pub log: LogId,
    /// Its epoch.
    pub epoch: Epoch,
    /// The last revision applied.
    pub revision: Revision,
}

/// What a proxy sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Up {
    /// Always the first message.
    Hello(Hello),
    /// Asks for the head of the log.
    Ping {
        /// Rises by one with each ping.
        n: u64,
        /// How the proxy's audit trail is; an older one does not say.
        audit: Option<AuditHealth>,
        /// How often an external witness has signed for other lines, since the process started.
        witness_disputes: u32,
    },
    /// Confirms that what was ended is gone.
    Ack(Ack),
    /// Grants that were used since the last report.
    Usage(Vec<GrantUsage>),
    /// Asks to set uses aside.
    ReserveUses {
        /// Of which grant.
        grant: GrantId,
        /// How many.
        want: u64,
        /// Names the answer.
        nonce: u64,
    },
    /// Hands over a checkpoint of the audit trail.
    Checkpoint(SignedCheckpoint),
    /// The size of the last checkpoint of the event log that the proxy has kept; 0: none.
    LogKept(u64),
}

/// Who follows, from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// What the proxy has; `None` asks for a snapshot.
    pub position: Option<Position>,
    /// The proxy's software version, for people.
    pub version: String,
    /// Random, made when the process starts: tells a reconnect from a second process with the same identity.
    pub instance: u64,
}

/// Nothing runs any more under what was ended up to and including `revision`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Up to and including this revision.
    pub revision: Revision,
    /// How many streams were cut for it.
    pub streams_cut: u64,
}

/// What was used under one grant at this proxy: totals of this process, which only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantUsage {
    /// Which grant.
    pub grant: GrantId,
    /// Requests admitted.
    pub requests: u64,
    /// Body bytes, both directions together.
    pub bytes: u64,
    /// Streams that run now.
    pub running: u64,
}

/// What a control plane sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Down {
    /// Always the first message.
    Welcome {
        /// The log that is followed.
        log: LogId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// A part of the whole table.
    Snapshot(SnapshotPart),
    /// A part of what changed.
    Delta(DeltaPart),
    /// Answers a ping.
    Pong(Pong),
    /// By what tokens are verified from now on.
    TokenKeys(Arc<TokenKeys>),
    /// The size of the proxy's last checkpoint that is kept; 0: none.
    TrailKept(u64),
    /// A checkpoint of the event log.
    LogCheckpoint(SignedCheckpoint),
    /// Answers a reservation.
    UsesReserved {
        /// Which.
        nonce: u64,
        /// How many; may be less than wanted, and zero if none are left. `None`: it cannot be said now.
        granted: Option<u64>,
    },
}

/// A grant as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It is understood in full.
    Readable(Arc<Grant>),
    /// It holds a permission or constraint that this version does not know: rejected whole (law 1), so it permits nothing. It is
    /// remembered for the digest.
    Unreadable {
        /// Which.
        id: GrantId,
        /// The revision of the event that issued it.
        revision: Revision,
    },
}

/// A part of the whole table at `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPart {
    /// The table's revision.
    pub revision: Revision,
    /// Some of its grants.
    pub grants: Vec<Received>,
    /// Whether the table is complete with this part.
    pub last: bool,
}

/// A part of the changes in `(after, revision]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaPart {
    /// The revision that the table must have for the change to apply.
    pub after: Revision,
    /// The revision that the table has afterwards.
    pub revision: Revision,
    /// Some of the changes, in log order.
    pub changes: Vec<ReceivedChange>,
    /// Whether the change is complete with this part.
    pub last: bool,
}

/// A change as it came over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReceivedChange {
    /// A grant was issued.
    Issued(Received),
    /// A grant ended before its window closed.
    Ended {
        /// Which.
        grant: GrantId,
        /// Why.
        cause: EndCause,
        /// When, control time.
        at: Time,
    },
}

/// Answers ping `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pong {
    /// Which ping.
    pub n: u64,
    /// The head of the log, read after the ping had arrived.
    pub head: Revision,
    /// The last revision up to `head` that takes something away: the lease counts once the table has reached it.
    pub needed: Revision,
    /// The control plane's time.
    pub control_time: Time,
    /// How long the proxy may enforce, from its time of asking.
    pub lease: LeaseLength,
    /// The revision that `digest` is for.
    pub digest_revision: Revision,
    /// What the table must be at that revision.
    pub digest: Digest,
}
