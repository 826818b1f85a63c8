//! What goes into a replica and what comes out of it.

use crate::identity::token::TokenKeys;
use crate::model::{Delta, Digest, Epoch, Grant, GrantId, LogId, Revision, Time};
use crate::notary::SignedCheckpoint;
use crate::runtime::clock::Mono;
use crate::sync::Fault;
use crate::sync::outbox::CutTicket;
use crate::wire::message::{Down, GrantUsage, Up};
use std::num::NonZeroUsize;
use std::sync::Arc;

/// What a replica is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How many endpoints there are; effects name them by index.
    pub endpoints: NonZeroUsize,
    /// This software's version, for people.
    pub version: String,
    /// Most grants in a snapshot, most changes in a delta.
    pub max_grants: usize,
    /// Random, one for each process: names it to the control plane, and spreads the waits of many proxies.
    pub instance: u64,
}

/// The whole set of live grants at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Which log.
    pub log: LogId,
    /// Which epoch of it.
    pub epoch: Epoch,
    /// The revision that the set belongs to.
    pub revision: Revision,
    /// Every grant that has not ended.
    pub grants: Vec<Arc<Grant>>,
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Time has passed; due at [`next_wake`](super::Replica::next_wake).
    Tick,
    /// The connection that was asked for is there.
    Connected,
    /// The connection failed or ended.
    Disconnected,
    /// A message came, while the table had this digest.
    Received(Down, Digest),
    /// A message came that does not convert.
    Unreadable(Fault),
    /// The table refused an `Apply` or `Replace`; the effects that came after it were dropped.
    TableRefused(CutTicket),
    /// Nothing runs any more under what a change ended.
    Cut {
        /// The change.
        ticket: CutTicket,
        /// How many streams were cut for it.
        streams_cut: u64,
    },
    /// What was used since the last [`Effect::CollectUsage`].
    Used(Vec<GrantUsage>),
    /// Uses of a grant are wanted.
    WantUses {
        /// Names the answer.
        ticket: u64,
        /// Of which grant.
        grant: GrantId,
        /// How many.
        want: u64,
    },
}

/// What is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to this endpoint; answered by [`Input::Connected`] or [`Input::Disconnected`].
    Connect {
        /// Index of the endpoint.
        endpoint: usize,
    },
    /// Drop the connection, or the attempt; answered by nothing.
    Disconnect(Fault),
    /// Send a message.
    Send(Up),
    /// Change the table.
    Apply(Delta, CutTicket),
    /// Replace the table.
    Replace(Snapshot, CutTicket),
    /// The table may be believed until then.
    SetLease {
        /// The control plane's time when it was asked, or a little later.
        control_time: Time,
        /// When it was asked.
        asked: Mono,
        /// The end of the lease.
        until: Mono,
    },
    /// Tokens are verified by these keys from now on.
    SetTokenKeys(Arc<TokenKeys>),
    /// The control plane has kept the audit trail's checkpoint of this size: the next is proved against it.
    TrailKept(u64),
    /// This log is followed on this connection.
    Follows(LogId, Epoch),
    /// What the control plane says of its log.
    LogSaid(SignedCheckpoint),
    /// Give [`Input::Used`], if there is anything to tell.
    CollectUsage,
    /// The answer to [`Input::WantUses`]; `None` if the control plane cannot be asked now.
    Uses {
        /// Which.
        ticket: u64,
        /// How many were set aside for this proxy.
        granted: Option<u64>,
    },
}
