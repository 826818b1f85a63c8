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
/// Changes after which a delta is closed: a proxy takes a delta in at once, and hears nothing meanwhile.
const CHANGES: usize = 1_000;

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
        "the proxy is at revision {followed}, the log at {head}: if the store was restored from a backup, start the control plane \
         once with --restored"
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
    /// a proxy reports as cut for it are those of this revocation, and where it has grown large.
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
            let is_full = changes.len() >= CHANGES && next.is_none();
            if ends || is_full || events.peek().is_none() {
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
    if let EventBody::GrantsRevoked { revocation, .. } = body { Some(*revocation) } else { None }
}

fn add_changes(recorded: &Recorded, changes: &mut Vec<Change>) {
    let (at, body) = (recorded.event.time, &recorded.event.body);
    changes.extend(body.issued().iter().cloned().map(Change::Issued));
    let (grants, cause) = body.ended().unwrap_or((&[], EndCause::Expired));
    changes.extend(grants.iter().map(|grant| Change::Ended { grant: *grant, cause, at }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{Actor, Event, Everything, Selector};
    use crate::model::{GrantId, Time};
    use crate::wire::message::Position;
    use std::sync::Arc;

    const SERVED: Identity = Identity { log: LogId([1; 16]), epoch: Epoch(2) };

    fn hello(log: u8, epoch: u64, revision: u64) -> Hello {
        let position = Position { log: LogId([log; 16]), epoch: Epoch(epoch), revision: Revision(revision) };
        Hello { position: Some(position), version: String::new(), instance: 1 }
    }

    fn recorded(revision: u64, body: EventBody) -> Recorded {
        let event = Event { time: Time::from_micros(1), actor: Actor::System, body };
        Recorded { revision: Revision(revision), event: Arc::new(event) }
    }

    fn revoked(revocation: u128, grant: u128) -> EventBody {
        EventBody::GrantsRevoked {
            revocation: RevocationId::from_bits(revocation),
            selector: Selector::All(Everything),
            grants: vec![GrantId::from_bits(grant)],
            reason: "test".into(),
        }
    }

    fn raised() -> EventBody {
        EventBody::LeaseRaised { lease_ms: 15_000 }
    }

    #[test]
    fn starts_where_the_proxy_stands_or_with_a_snapshot_or_not_at_all() {
        let begin = |hello: Hello| Feed::begin(&hello, SERVED, Revision(10)).map(|feed| feed.sent());
        assert_eq!(begin(Hello { position: None, ..hello(1, 2, 0) }), Ok(None));
        assert_eq!(begin(hello(1, 2, 10)), Ok(Some(Revision(10))));
        assert_eq!(begin(hello(1, 1, 99)), Ok(None), "an earlier epoch, whatever its revision");
        let (followed, served) = (LogId([9; 16]), SERVED.log);
        assert_eq!(begin(hello(9, 2, 1)), Err(Unfit::OtherLog { followed, served }));
        let later = Unfit::LaterEpoch { followed: Epoch(3), served: Epoch(2) };
        assert_eq!(begin(hello(1, 3, 1)), Err(later));
        let ahead = Unfit::Ahead { followed: Revision(11), head: Revision(10) };
        assert_eq!(begin(hello(1, 2, 11)), Err(ahead));
    }

    #[test]
    fn reads_on_until_the_head_and_takes_a_snapshot_when_too_far_behind() {
        let mut feed = Feed { sent: None };
        assert_eq!(feed.step(Revision(0)), Step::Snapshot);
        feed.snapshot(Revision(5));
        assert_eq!(feed.step(Revision(5)), Step::Wait);
        assert_eq!(feed.step(Revision(6)), Step::Read { after: Revision(5), limit: PAGE });
        let limit = Revision(5 + MAX_BACKLOG);
        assert_eq!(feed.step(limit), Step::Read { after: Revision(5), limit: PAGE });
        assert_eq!(feed.step(limit.next()), Step::Snapshot);
    }

    #[test]
    fn a_delta_ends_with_each_revocation_and_with_the_page() {
        let mut feed = Feed { sent: Some(Revision(4)) };
        let page = [
            recorded(5, raised()),
            recorded(6, revoked(1, 10)),
            // One revocation in two events: one delta.
            recorded(7, revoked(2, 11)),
            recorded(8, revoked(2, 12)),
            recorded(9, raised()),
        ];
        let deltas = feed.page(&page).unwrap();
        let shape: Vec<_> =
            deltas.iter().map(|(after, delta)| (after.0, delta.revision.0, delta.changes.len())).collect();
        assert_eq!(shape, [(4, 6, 1), (6, 8, 2), (8, 9, 0)]);
        assert_eq!(feed.sent(), Some(Revision(9)));
    }

    #[test]
    fn a_large_delta_is_closed_but_never_within_a_revocation() {
        let grants: Vec<_> = (0..CHANGES as u128).map(GrantId::from_bits).collect();
        let expired = EventBody::GrantsEnded { grants: grants.clone(), cause: EndCause::Expired };
        let ended = |revocation| EventBody::GrantsRevoked {
            revocation: RevocationId::from_bits(revocation),
            selector: Selector::All(Everything),
            grants: grants.clone(),
            reason: "test".into(),
        };
        let mut feed = Feed { sent: Some(Revision(4)) };
        let page = [
            recorded(5, expired.clone()),
            recorded(6, expired),
            recorded(7, raised()),
            recorded(8, ended(1)),
            recorded(9, ended(1)),
        ];
        let deltas = feed.page(&page).unwrap();
        let shape: Vec<_> = deltas.iter().map(|(after, delta)| (after.0, delta.revision.0)).collect();
        assert_eq!(shape, [(4, 5), (5, 6), (6, 9)]);
    }

    #[test]
    fn a_hole_in_the_log_is_not_passed_over() {
        for page in [vec![], vec![recorded(6, raised())], vec![recorded(5, raised()), recorded(7, raised())]]
        {
            let mut feed = Feed { sent: Some(Revision(4)) };
            assert!(feed.page(&page).is_err());
            assert_eq!(feed.sent(), Some(Revision(4)));
        }
    }
}
