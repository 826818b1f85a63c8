//! What can be asked of the state about access requests, tasks and reviews.

use super::cooldowns::Cooldown;
use super::{Purpose, RequestRecord, Review, State, Task};
use crate::config::RequestRules;
use crate::control::policy::History;
use crate::model::{
    AccessRequestId, Attributes, Grant, GrantId, Permission, ReviewId, Scope, ServiceName, SpiffeId, TaskId,
    Time, Ttl,
};
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl State {
    /// A request that is still kept.
    #[must_use]
    pub fn request(&self, id: AccessRequestId) -> Option<&RequestRecord> {
        self.requests.get(id)
    }

    /// All requests with an id greater than `after`, by id.
    pub fn requests(&self, after: Option<AccessRequestId>) -> impl Iterator<Item = &RequestRecord> {
        self.requests.after(after)
    }

    /// The pending requests of one requester.
    pub fn pending_of(&self, requester: &SpiffeId) -> impl Iterator<Item = &RequestRecord> {
        self.requests.pending_of(requester)
    }

    /// All requests of a task.
    pub fn requests_of(&self, task: &TaskId) -> impl Iterator<Item = &RequestRecord> {
        self.requests.of_task(task)
    }

    /// The pending requests with the time at which each lapses, earliest first.
    pub fn pending(&self) -> impl ExactSizeIterator<Item = (Time, AccessRequestId)> {
        self.requests.pending()
    }

    /// A task that is known.
    #[must_use]
    pub fn task(&self, task: &TaskId) -> Option<&Task> {
        self.tasks.get(task)
    }

    /// The open tasks whose deadline has passed at `now`.
    pub fn past_deadline(&self, now: Time) -> impl Iterator<Item = &TaskId> {
        self.tasks.past_deadline(now)
    }

    /// The open tasks with grants that end when nobody works on them, each with its idle timeout. Those without one of their own
    /// have `default`; without a default they are not even looked at.
    pub fn idle_timeouts(&self, default: Option<Duration>) -> impl Iterator<Item = (&TaskId, Duration)> {
        let own = self.tasks.with_idle_timeout();
        let all = default.is_some().then(|| self.by_task.keys()).into_iter().flatten();
        let others =
            all.filter(|task| self.tasks.get(task).is_some_and(|known| known.idle_timeout.is_none()));
        own.chain(others).filter_map(move |task| {
            let known = self.tasks.get(task).filter(|known| known.ended.is_none())?;
            self.by_task.get(task).next()?;
            Some((task, known.idle_timeout.map(Ttl::get).or(default)?))
        })
    }

    /// The grants of a task that the log has not ended.
    pub fn grants_of(&self, task: &TaskId) -> impl Iterator<Item = &Arc<Grant>> {
        self.by_task.get(task).filter_map(|id| self.live.get(&id)).map(|live| &live.grant)
    }

    /// A review that is still kept.
    #[must_use]
    pub fn review(&self, id: ReviewId) -> Option<&Review> {
        self.reviews.get(id)
    }

    /// All reviews that are kept, oldest first.
    pub fn reviews(&self) -> impl Iterator<Item = &Review> {
        self.reviews.all()
    }

    /// The reviews that nobody has closed, oldest first.
    pub fn open_reviews(&self) -> impl Iterator<Item = &Review> {
        self.reviews.all_open()
    }

    /// What was set about a principal at run time.
    #[must_use]
    pub fn attributes(&self, principal: &SpiffeId) -> Option<&Attributes> {
        self.attributes.get(principal).map(|attributes| &**attributes)
    }

    /// About how many principals something was set at run time.
    pub(in crate::control) fn attributes_set(&self) -> usize {
        self.attributes.len()
    }

    /// The policy set that was loaded last.
    #[must_use]
    pub fn policy(&self) -> Option<&str> {
        self.policy.as_deref()
    }

    /// What was refused to or ended for somebody lately.
    pub(in crate::control) fn cooldowns_of(&self, who: &SpiffeId) -> impl Iterator<Item = &Cooldown> {
        self.cooldowns.of(who)
    }

    /// How often somebody asked in this hour of the clock.
    pub(in crate::control) fn asked_lately(&self, who: &SpiffeId, now: Time) -> u32 {
        self.histories.asked_lately(who, now)
    }

    /// How much access to a service somebody was granted on requests since `since`.
    #[must_use]
    pub fn access_since(&self, who: &SpiffeId, service: &ServiceName, since: Time) -> Duration {
        self.histories.access(who, service, since)
    }

    /// What policies are told about somebody's past, by the clock of their zone.
    #[must_use]
    pub fn history(&self, who: &SpiffeId, now: Time, rules: &RequestRules, zone: &TimeZone) -> History {
        self.histories.facts(who, now, rules.privileged_window, zone)
    }

    /// These grants and those that end with them: delegated parts, and extensions that have not begun.
    #[must_use]
    pub fn with_dependants(&self, grants: Vec<GrantId>) -> Vec<GrantId> {
        if self.dependants.is_empty() {
            return grants;
        }
        let mut all: BTreeSet<GrantId> = grants.iter().copied().collect();
        let mut found = grants;
        let mut at = 0;
        while let Some(id) = found.get(at).copied() {
            at += 1;
            for dependant in self.dependants.get(&id).into_iter().flatten() {
                if all.insert(*dependant) {
                    found.push(*dependant);
                }
            }
        }
        found
    }

    /// A grant for the same that is not over and whose window overlaps.
    #[must_use]
    pub fn same(&self, purpose: Purpose<'_>, (start, end): (Time, Time)) -> Option<&Arc<Grant>> {
        let like = purpose.hash(&self.hasher);
        let all = (like, GrantId::from_bits(0))..=(like, GrantId::from_bits(u128::MAX));
        let live = self.by_likeness.range(all).filter_map(|(_, id)| self.live.get(id));
        live.map(|live| &live.grant)
            .find(|grant| Purpose::of(grant) == purpose && start < grant.expires_at && grant.not_before < end)
    }
}

/// The services that a scope names, each once.
pub(crate) fn services_of(scope: &Scope) -> BTreeSet<ServiceName> {
    scope.permissions().iter().flat_map(Permission::locations).cloned().collect()
}
