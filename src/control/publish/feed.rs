//! Where one proxy stands in the log, and what it is sent next. No I/O: the caller reads the log and sends.
//!
//! Invariants: what is sent is contiguous, from a snapshot or from the revision that the proxy named; a proxy that is too far
//! behind gets a snapshot, so that no backlog is kept for anybody.

use crate::control::log::{Identity, Recorded};
use crate::model::event::EventBody;
use crate::model::{Change, Delta, EndCause, Epoch, LogId, Revision, RevocationId};
use crate::wire::message::Hello;

/// Events behind the head from which on a snapshot is sent instead.
const MAX_BACKLOG: u64 = 20_000;
/// Events read at once; each names at most 1,000 grants.
const PAGE: usize = 64;

/// The position of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feed {
    /// The last revision that was sent; `None`: nothing but a snapshot helps.
    sent: Option<Revision>,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The proxy has been sent everything.
    Wait,
    /// Send the whole table and say so by [`Feed::snapshot`].
    Snapshot,
    /// Read this page of the log and give it to [`Feed::page`].
    Read {
        /// Events after this revision.
        after: Revision,
        /// How many.
        limit: usize,
    },
}

/// Why a proxy cannot be fed. It is welcomed all the same, so that it learns from the welcome what is wrong, and then let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It followed another log.
    #[error("the proxy follows the log {followed}, this is {served}: restart the proxy if that is meant")]
    OtherLog {
        /// The proxy's.
        followed: LogId,
        /// Ours.
        served: LogId,
    },
    /// It followed a later epoch.
    #[error("the proxy follows epoch {}, this is {}: an old replica of the control plane still runs", followed.0, served.0)]
    LaterEpoch {
        /// The proxy's.
        followed: Epoch,
        /// Ours.
        served: Epoch,
    },
    /// It has applied what this log does not have.
    #[error(
        "the proxy is at revision {followed}, the log at {head}: after restoring a backup, begin a new epoch"
    )]
    Ahead {
        /// The proxy's.
        followed: Revision,
        /// Ours.
        head: Revision,
    },
}

/// The log has no contiguous page where one was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the event log has no event after revision {0}")]
pub struct Hole(pub Revision);

impl Feed {
    /// Starts where the proxy says it stands. `head` has been read from the log after its hello came.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn begin(hello: &Hello, served: Identity, head: Revision) -> Result<Self, Unfit> {
        let Some(position) = hello.position else { return Ok(Self { sent: None }) };
        if position.log != served.log {
            return Err(Unfit::OtherLog { followed: position.log, served: served.log });
        }
        if position.epoch > served.epoch {
            return Err(Unfit::LaterEpoch { followed: position.epoch, served: served.epoch });
        }
        if position.epoch < served.epoch {
            return Ok(Self { sent: None });
        }
        if position.revision > head {
            return Err(Unfit::Ahead { followed: position.revision, head });
        }
        Ok(Self { sent: Some(position.revision) })
    }

    /// The last revision that was sent.
    #[must_use]
    pub fn sent(&self) -> Option<Revision> {
        self.sent
    }

    /// What to do while everything up to `head` can be read.
    #[must_use]
    pub fn step(&self, head: Revision) -> Step {
        match self.sent {
            None => Step::Snapshot,
            Some(sent) if sent >= head => Step::Wait,
            Some(sent) if head.0 - sent.0 > MAX_BACKLOG => Step::Snapshot,
            Some(after) => Step::Read { after, limit: PAGE },
        }
    }

    /// The whole table at `revision` is sent.
    pub fn snapshot(&mut self, revision: Revision) {
        self.sent = Some(revision);
    }

    /// The deltas of a page, each with the revision that it follows. A delta ends with each revocation, so that the streams which
    /// a proxy reports as cut for it are those of this revocation.
    ///
    /// # Errors
    /// [`Hole`] if the page does not follow what was sent.
    pub fn page(&mut self, page: &[Recorded]) -> Result<Vec<(Revision, Delta)>, Hole> {
        let mut after = self.sent.unwrap_or_default();
        let mut reached = after;
        let mut deltas = Vec::new();
        let mut changes = Vec::new();
        let mut events = page.iter().peekable();
        if page.is_empty() {
            return Err(Hole(after));
        }
        while let Some(recorded) = events.next() {
            if recorded.revision != reached.next() {
                return Err(Hole(reached));
            }
            reached = recorded.revision;
            add_changes(recorded, &mut changes);
            let next = events.peek().and_then(|next| revocation(&next.event.body));
            let ends = revocation(&recorded.event.body).is_some_and(|this| next != Some(this));
            if ends || events.peek().is_none() {
                let delta = Delta { revision: reached, changes: std::mem::take(&mut changes) };
                deltas.push((after, delta));
                after = reached;
            }
        }
        self.sent = Some(reached);
        Ok(deltas)
    }
}

fn revocation(body: &EventBody) -> Option<RevocationId> {
    match body {
        EventBody::GrantsRevoked { revocation, .. } => Some(*revocation),
        EventBody::GrantsIssued { .. }
        | EventBody::GrantsEnded { .. }
        | EventBody::UsesReserved { .. }
        | EventBody::ProxyJoined { .. }
        | EventBody::Acknowledged { .. }
        | EventBody::LeaseRaised { .. } => None,
    }
}

fn add_changes(recorded: &Recorded, changes: &mut Vec<Change>) {
    let at = recorded.event.time;
    let mut end = |grants: &[crate::model::GrantId], cause: EndCause| {
        changes.extend(grants.iter().map(|grant| Change::Ended { grant: *grant, cause, at }));
    };
    match &recorded.event.body {
        EventBody::GrantsIssued { grants, .. } => changes.extend(grants.iter().cloned().map(Change::Issued)),
        EventBody::GrantsRevoked { grants, .. } => end(grants, EndCause::Revoked),
        EventBody::GrantsEnded { grants, cause } => end(grants, *cause),
        EventBody::UsesReserved { .. }
        | EventBody::ProxyJoined { .. }
        | EventBody::Acknowledged { .. }
        | EventBody::LeaseRaised { .. } => {}
    }
}
