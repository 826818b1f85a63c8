//! `apply(state, event)`: what an event does to the state. Never refuses what is in the log, except a log that contradicts itself.

use crate::control::state::ended::EndedGrant;
use crate::control::state::{
    Confirmation, Issue, KnownProxy, LiveGrant, Purpose, Revocation, State, is_limited_by_use,
};
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{EndCause, Grant, GrantId, Permission, Revision, RevocationId, Time};
use std::sync::Arc;
use std::time::Duration;

/// The log contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// Not the next revision.
    #[error("revision {found} follows revision {applied}: the log has a gap")]
    Gap {
        /// The last that was applied.
        applied: Revision,
        /// What came.
        found: Revision,
    },
    /// Earlier than the event before.
    #[error("the event at revision {revision} is older than the one before it")]
    TimeRunsBack {
        /// Which.
        revision: Revision,
    },
    /// About a request that is not there, or is there twice.
    #[error(
        "the event at revision {revision} is about an access request that is not there, or is there twice"
    )]
    Request {
        /// Which.
        revision: Revision,
    },
    /// A grant that carries another revision than the event that issues it.
    #[error("the grant `{grant}` at revision {revision} claims another revision or is there twice")]
    Grant {
        /// Which grant.
        grant: GrantId,
        /// Which event.
        revision: Revision,
    },
}

/// The event that ends grants.
struct Ending<'a> {
    at: Time,
    by: &'a Actor,
    revision: Revision,
    cause: EndCause,
    revocation: Option<RevocationId>,
}

impl State {
    /// Applies the next event of the log.
    ///
    /// # Errors
    /// [`ApplyError`] if it cannot be the next one; the state is as before.
    pub fn apply(&mut self, revision: Revision, event: &Event) -> Result<(), ApplyError> {
        if revision != self.revision.next() {
            return Err(ApplyError::Gap { applied: self.revision, found: revision });
        }
        if event.time < self.time {
            return Err(ApplyError::TimeRunsBack { revision });
        }
        match &event.body {
            EventBody::GrantsIssued { grants, reason } => {
                for grant in grants {
                    if grant.revision != revision || self.live.contains_key(&grant.id) {
                        return Err(ApplyError::Grant { grant: grant.id, revision });
                    }
                }
                let issue = Issue { by: event.actor.clone(), at: event.time, reason: reason.clone() };
                let issue = Arc::new(issue);
                for grant in grants {
                    self.insert(grant, &issue);
                    self.granted(grant, event, revision);
                }
            }
            EventBody::GrantsRevoked { revocation, selector, grants, reason } => {
                let ending = Ending {
                    at: event.time,
                    by: &event.actor,
                    revision,
                    cause: EndCause::Revoked,
                    revocation: Some(*revocation),
                };
                self.end(grants, &ending);
                self.revocations.insert(Revocation {
                    id: *revocation,
                    revision,
                    by: event.actor.clone(),
                    at: event.time,
                    selector: selector.clone(),
                    reason: reason.clone(),
                    grants: grants.clone(),
                    confirmed: std::collections::BTreeMap::new(),
                });
            }
            EventBody::GrantsEnded { grants, cause } => {
                let ending =
                    Ending { at: event.time, by: &event.actor, revision, cause: *cause, revocation: None };
                self.end(grants, &ending);
            }
            EventBody::UsesReserved { grant, proxy: _, uses } => {
                if let Some(live) = self.live.get_mut(grant) {
                    live.uses_reserved = live.uses_reserved.saturating_add(*uses);
                }
            }
            EventBody::ProxyJoined { proxy, identity } => {
                let joined = KnownProxy {
                    identity: identity.clone(),
                    joined_at: event.time,
                    joined: revision,
                    acknowledged: revision,
                    audit: None,
                    trail: None,
                    witness_disputed: None,
                };
                self.proxies.insert(proxy.clone(), joined);
            }
            EventBody::Acknowledged { proxy, revision: up_to, streams_cut } => {
                if let Some(known) = self.proxies.get_mut(proxy) {
                    let confirmation = Confirmation { at: event.time, streams_cut: *streams_cut };
                    self.revocations.confirm(proxy, (known.acknowledged, *up_to), confirmation);
                    known.acknowledged = known.acknowledged.max(*up_to);
                }
            }
            EventBody::AuditReported { proxy, health } => {
                if let Some(known) = self.proxies.get_mut(proxy) {
                    known.audit = Some((*health, event.time));
                }
            }
            EventBody::WitnessDisputed { proxy } => {
                if let Some(known) = self.proxies.get_mut(proxy) {
                    known.witness_disputed = Some(event.time);
                }
            }
            EventBody::TrailRecorded { proxy, head } => {
                self.trail_logged(proxy, head, None, (revision, event.time));
            }
            EventBody::TrailDisputed { proxy, head, fault } => {
                self.trail_logged(proxy, head, Some(*fault), (revision, event.time));
            }
            EventBody::AccessRequested { .. }
            | EventBody::AccessEvaluated { .. }
            | EventBody::AccessApproved { .. }
            | EventBody::AccessDenied { .. }
            | EventBody::AccessCancelled { .. }
            | EventBody::AccessLapsed { .. }
            | EventBody::AccessSatisfied { .. }
            | EventBody::StepOpened { .. }
            | EventBody::RequestKeyed { .. }
            | EventBody::TaskJoined { .. }
            | EventBody::TaskEnded { .. }
            | EventBody::AttributesSet { .. }
            | EventBody::CooldownLifted { .. }
            | EventBody::ReviewOpened { .. }
            | EventBody::ReviewClosed { .. }
            | EventBody::PoliciesLoaded { .. }
            | EventBody::GrantUsed { .. } => {
                if !self.apply_access(revision, event) {
                    return Err(ApplyError::Request { revision });
                }
            }
            EventBody::LeaseRaised { lease_ms } => {
                self.longest_lease = self.longest_lease.max(Duration::from_millis(*lease_ms));
            }
        }
        if event.body.takes_away() {
            self.taken_away = revision;
        }
        let uses = &mut self.uses;
        self.ended.forget(event.time, |id| uses.forget(id));
        self.cooldowns.forget(event.time);
        self.keys.forget(event.time);
        let (live, by_task) = (&self.live, &self.by_task);
        self.requests.forget(event.time, |id| live.contains_key(&id));
        self.tasks.forget(event.time, |task| by_task.get(task).next().is_some());
        self.revision = revision;
        self.time = event.time;
        Ok(())
    }

    fn insert(&mut self, grant: &Arc<Grant>, issue: &Arc<Issue>) {
        let like = Purpose::of(grant).hash(&self.hasher);
        self.by_principal.insert(&grant.principal, grant.id);
        self.by_task.insert(&grant.task, grant.id);
        for service in grant.scope.permissions().iter().flat_map(Permission::locations) {
            self.by_service.insert(service, grant.id);
        }
        self.by_expiry.insert((grant.expires_at, grant.id));
        self.by_likeness.insert((like, grant.id));
        if is_limited_by_use(grant) {
            self.limited_by_use.insert(grant.id);
        }
        let extended = grant.lineage.as_ref().and_then(|lineage| self.live.get(&lineage.extends?));
        let since = extended.map_or(grant.not_before, |extended| extended.since);
        let live =
            LiveGrant { grant: Arc::clone(grant), issue: Arc::clone(issue), uses_reserved: 0, since, like };
        self.live.insert(grant.id, live);
        self.digest.add(grant.id, grant.revision);
    }

    fn end(&mut self, grants: &[GrantId], ending: &Ending<'_>) {
        for id in grants {
            let Some(live) = self.live.remove(id) else { continue };
            let grant = live.grant;
            self.digest.remove(grant.id, grant.revision);
            self.by_principal.remove(&grant.principal, *id);
            self.by_task.remove(&grant.task, *id);
            for service in grant.scope.permissions().iter().flat_map(Permission::locations) {
                self.by_service.remove(service, *id);
            }
            self.by_expiry.remove(&(grant.expires_at, *id));
            self.by_likeness.remove(&(live.like, *id));
            self.limited_by_use.remove(id);
            self.access_ended(&grant, (ending.at, ending.cause), ending.revision);
            self.ended.insert(EndedGrant {
                grant,
                issue: live.issue,
                cause: ending.cause,
                at: ending.at,
                by: ending.by.clone(),
                revision: ending.revision,
                revocation: ending.revocation,
            });
        }
    }
}
