//! The control plane's state: what the log amounts to, with what is kept beside it of audit trails. [`decide()`] turns a command into events, [`State::apply`] turns an event into
//! state; both are pure and know neither clock nor log.
//!
//! Invariants: `live` holds exactly the grants that were issued and not ended by the log (a grant whose window has closed stays
//! until the reconciler's event); every index names exactly these; ended grants and revocations are kept for a bounded time and
//! number; time and revision never decrease.

mod apply;
mod apply_access;
pub mod command;
mod cooldowns;
pub mod decide;
mod ended;
mod history;
mod index;
mod keys;
mod list;
pub(crate) mod look;
mod purpose;
mod report;
mod requests;
mod reviews;
mod revocation;
mod tasks;
mod trail;
mod uses;
mod wall;

pub use apply::ApplyError;
pub use command::{Command, GrantSpec, Issued, MAX_BULK, MAX_REASON, Outcome, Refusal, Rules, UseToLog};
pub use cooldowns::CooldownCause;
pub use decide::{Context, Decision, decide};
pub use ended::EndedGrant;
pub use list::Among;
pub use purpose::Purpose;
pub use requests::{Approval, Evaluated, OpenedStep, RequestRecord, RequestState, Settled};
pub use reviews::{Review, ReviewResult};
pub use revocation::{Confirmation, Revocation};
pub use tasks::Task;
pub use uses::{LoggedUse, Process};

use crate::model::event::{Actor, Selector};
use crate::model::{
    Attributes, AuditHealth, Digest, EndCause, Grant, GrantId, ProxyName, Revision, RevocationId,
    ServiceName, SpiffeId, TaskId, Time, TrailFault, TrailHead,
};
use cooldowns::Cooldowns;
use ended::EndedGrants;
use history::Histories;
use index::Index;
use keys::Keys;
use requests::Requests;
use reviews::Reviews;
use revocation::Revocations;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tasks::Tasks;
use uses::Uses;

/// What the log amounts to at one revision.
#[derive(Debug, Clone, Default)]
pub struct State {
    revision: Revision,
    time: Time,
    taken_away: Revision,
    live: BTreeMap<GrantId, LiveGrant>,
    digest: Digest,
    by_principal: Index<SpiffeId>,
    by_task: Index<TaskId>,
    by_service: Index<ServiceName>,
    by_expiry: BTreeSet<(Time, GrantId)>,
    by_likeness: BTreeSet<(u64, GrantId)>,
    limited_by_use: BTreeSet<GrantId>,
    uses: Uses,
    ended: EndedGrants,
    revocations: Revocations,
    proxies: BTreeMap<ProxyName, KnownProxy>,
    longest_lease: Duration,
    requests: Requests,
    tasks: Tasks,
    reviews: Reviews,
    cooldowns: Cooldowns,
    keys: Keys,
    histories: Histories,
    attributes: HashMap<SpiffeId, Arc<Attributes>>,
    /// Grants that end with another, by that one.
    dependants: HashMap<GrantId, BTreeSet<GrantId>>,
    policy: Option<String>,
    hasher: foldhash::quality::RandomState,
}

/// By whom, when and why grants were issued; shared by all grants of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Who decided.
    pub by: Actor,
    /// When, control time.
    pub at: Time,
    /// Why, in their words.
    pub reason: String,
}

/// A grant that has not been ended by the log.
#[derive(Debug, Clone)]
pub struct LiveGrant {
    /// The grant.
    pub grant: Arc<Grant>,
    /// Where it came from.
    pub issue: Arc<Issue>,
    /// Uses that were set aside for proxies; they count as spent.
    pub uses_reserved: u64,
    /// When access began that this grant goes on with: its own start, or that of the grant that it extends.
    pub since: Time,
    like: u64,
}

/// A proxy that has ever joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownProxy {
    /// The only identity that may use this name.
    pub identity: SpiffeId,
    /// When it joined, control time.
    pub joined_at: Time,
    /// The event with which it joined: it never held anything that ended before.
    pub joined: Revision,
    /// Up to where it confirmed, by logged acknowledgements.
    pub acknowledged: Revision,
    /// How its audit trail is, and since when; none while it never said that anything was wrong.
    pub audit: Option<(AuditHealth, Time)>,
    /// How far its trail has come; none before it handed over a checkpoint.
    pub trail: Option<Box<Trail>>,
    /// When it last said that an external witness has signed for other lines than its trail has; for good.
    pub witness_disputed: Option<Time>,
}

/// What is kept of a proxy's audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// The last head.
    pub head: TrailHead,
    /// When it came, control time.
    pub at: Time,
    /// What was last found wrong, and when.
    pub disputed: Option<(TrailFault, Time)>,
    /// What the log has of it: the last head is this one, or goes on from it.
    pub logged: LoggedTrail,
}

/// The last event about a trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedTrail {
    /// Which.
    pub revision: Revision,
    /// When, control time.
    pub at: Time,
    /// How many lines its head stands for.
    pub size: u64,
}

/// A grant as the log knows it.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    /// Not ended by the log.
    Live(&'a LiveGrant),
    /// Ended.
    Ended(&'a EndedGrant),
}

impl<'a> Found<'a> {
    /// The grant.
    #[must_use]
    pub fn grant(&self) -> &'a Arc<Grant> {
        match self {
            Self::Live(live) => &live.grant,
            Self::Ended(ended) => &ended.grant,
        }
    }

    /// Where it came from.
    #[must_use]
    pub fn issue(&self) -> &'a Arc<Issue> {
        match self {
            Self::Live(live) => &live.issue,
            Self::Ended(ended) => &ended.issue,
        }
    }

    /// How it ended, or that its window has closed at `now`; `None` while it is live or still to come.
    #[must_use]
    pub fn end(&self, now: Time) -> Option<EndCause> {
        match self {
            Self::Live(live) => (live.grant.expires_at <= now).then_some(EndCause::Expired),
            Self::Ended(ended) => Some(ended.cause),
        }
    }
}

impl State {
    /// The revision of the last event that was applied.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The time of the last event that was applied.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// The revision of the last event that takes something away ([`crate::model::event::EventBody::takes_away`]).
    #[must_use]
    pub fn taken_away(&self) -> Revision {
        self.taken_away
    }

    /// The digest of [`Self::live`]: what a proxy's table must have at this revision.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// All grants that the log has not ended, by id: what a snapshot holds.
    pub fn live(&self) -> impl ExactSizeIterator<Item = &LiveGrant> {
        self.live.values()
    }

    /// A grant, live or ended not too long ago.
    #[must_use]
    pub fn find(&self, id: GrantId) -> Option<Found<'_>> {
        self.live.get(&id).map(Found::Live).or_else(|| self.ended.get(id).map(Found::Ended))
    }

    /// The grants that are not over at `now` (live or still to come) and that the selector is for.
    #[must_use]
    pub fn select(&self, selector: &Selector, now: Time) -> Vec<GrantId> {
        let not_over = |id: &GrantId| self.live.get(id).is_some_and(|live| now < live.grant.expires_at);
        match selector {
            Selector::Grant(id) => Some(*id).into_iter().filter(not_over).collect(),
            Selector::Task(task) => self.by_task.get(task).filter(not_over).collect(),
            Selector::Principal(principal) => self.by_principal.get(principal).filter(not_over).collect(),
            Selector::Service(service) => self.by_service.get(service).filter(not_over).collect(),
            Selector::All(_) => self.live.keys().copied().filter(not_over).collect(),
            // Which these are, policies say, not the state.
            Selector::Policies(_) => Vec::new(),
        }
    }

    /// The grants of one principal that the log has not ended.
    pub fn of_principal(&self, principal: &SpiffeId) -> impl Iterator<Item = &LiveGrant> {
        self.by_principal.get(principal).filter_map(|id| self.live.get(&id))
    }

    /// Up to `limit` grants whose window has closed at `now` and that the log has not ended yet, earliest first.
    #[must_use]
    pub fn expired(&self, now: Time, limit: usize) -> Vec<GrantId> {
        self.by_expiry.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).take(limit).collect()
    }

    /// When the next window closes.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Time> {
        self.by_expiry.first().map(|(at, _)| *at)
    }

    /// A grant that the log has not ended.
    #[must_use]
    pub fn live_grant(&self, id: GrantId) -> Option<&LiveGrant> {
        self.live.get(&id)
    }

    /// The grants with an idle timeout or a byte limit that the log has not ended.
    pub fn limited_by_use(&self) -> impl Iterator<Item = &LiveGrant> {
        self.limited_by_use.iter().filter_map(|id| self.live.get(id))
    }

    /// All proxies that ever joined.
    #[must_use]
    pub fn proxies(&self) -> &BTreeMap<ProxyName, KnownProxy> {
        &self.proxies
    }

    /// The longest lease that was ever handed out.
    #[must_use]
    pub fn longest_lease(&self) -> Duration {
        self.longest_lease
    }

    /// A revocation that is still kept.
    #[must_use]
    pub fn revocation(&self, id: RevocationId) -> Option<&Revocation> {
        self.revocations.get(id)
    }

    /// All revocations that are still kept, oldest first.
    pub fn revocations(&self) -> impl DoubleEndedIterator<Item = &Revocation> {
        self.revocations.all()
    }
}

/// Whether the use of a grant decides about its end.
fn is_limited_by_use(grant: &Grant) -> bool {
    grant.limits.idle_timeout.is_some() || grant.limits.bytes.is_some()
}

#[cfg(test)]
mod tests;
