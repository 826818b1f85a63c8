//! Revocations and who confirmed them: the facts of a receipt.
//!
//! Bounded in number of revocations and of grants that they name; the oldest are forgotten first. A receipt that was handed out
//! stays valid: it is signed.

use crate::control::state::command::Outcome;
use crate::control::state::decide::{CHUNK, Context, Draft};
use crate::model::event::{Actor, EventBody, Selector};
use crate::model::{GrantId, ProxyName, Revision, RevocationId, Time};
use std::collections::BTreeMap;

const KEPT: usize = 10_000;
const KEPT_GRANTS: usize = 4_000_000;

/// Ends what a selector matches, and what hangs on it. Whether that is allowed has been decided.
pub(super) fn log(
    draft: &mut Draft<'_>,
    selector: &Selector,
    reason: &str,
    context: &mut Context<'_>,
) -> Outcome {
    let revocation = RevocationId::from_parts(context.now.as_millis(), (context.random)());
    let grants = draft.state.with_dependants(draft.state.select(selector, context.now));
    let mut parts: Vec<Vec<GrantId>> = grants.chunks(CHUNK).map(<[GrantId]>::to_vec).collect();
    if parts.is_empty() {
        // Logged all the same: it is a decision, and its receipt says that it matched nothing.
        parts.push(Vec::new());
    }
    for grants in parts {
        let (selector, reason) = (selector.clone(), reason.to_owned());
        draft.push(EventBody::GrantsRevoked { revocation, selector, grants, reason });
    }
    let revision = Revision(draft.next_revision().0.saturating_sub(1));
    Outcome::Revoked { revocation, revision }
}

/// A revocation, as logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Its identifier.
    pub id: RevocationId,
    /// The revision of its (last) event: who has applied this has applied all of it.
    pub revision: Revision,
    /// Who revoked.
    pub by: Actor,
    /// When it was accepted, control time.
    pub at: Time,
    /// What was asked for.
    pub selector: Selector,
    /// Why.
    pub reason: String,
    /// The grants that it ended, by id.
    pub grants: Vec<GrantId>,
    /// Who confirmed it.
    pub confirmed: BTreeMap<ProxyName, Confirmation>,
}

/// A proxy's word that nothing runs any more under what was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// When it was accepted, control time.
    pub at: Time,
    /// How many streams it cut.
    pub streams_cut: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Revocations {
    by_id: BTreeMap<RevocationId, Revocation>,
    by_revision: BTreeMap<Revision, RevocationId>,
    grants: usize,
}

impl Revocations {
    /// Adds one, or the next part of one whose list of grants did not fit one event.
    pub(super) fn insert(&mut self, part: Revocation) {
        self.grants = self.grants.saturating_add(part.grants.len());
        self.by_revision.insert(part.revision, part.id);
        if let Some(known) = self.by_id.get_mut(&part.id) {
            self.by_revision.remove(&known.revision);
            known.revision = part.revision;
            known.grants.extend(part.grants);
            known.confirmed.clear();
        } else {
            self.by_id.insert(part.id, part);
        }
        while self.by_revision.len() > KEPT || (self.grants > KEPT_GRANTS && self.by_revision.len() > 1) {
            let Some((_, oldest)) = self.by_revision.pop_first() else { break };
            let forgotten = self.by_id.remove(&oldest).map_or(0, |revocation| revocation.grants.len());
            self.grants = self.grants.saturating_sub(forgotten);
        }
    }

    /// Whether a proxy that goes from one acknowledged revision to a later one confirms any revocation by it.
    pub(super) fn any_between(&self, after: Revision, up_to: Revision) -> bool {
        after < up_to && self.by_revision.range(after.next()..=up_to).next().is_some()
    }

    /// Notes a confirmation for each revocation in `(after, up_to]`.
    pub(super) fn confirm(
        &mut self,
        proxy: &ProxyName,
        (after, up_to): (Revision, Revision),
        confirmation: Confirmation,
    ) {
        if after >= up_to {
            return;
        }
        for id in self.by_revision.range(after.next()..=up_to).map(|(_, id)| id) {
            if let Some(revocation) = self.by_id.get_mut(id) {
                revocation.confirmed.entry(proxy.clone()).or_insert(confirmation);
            }
        }
    }

    pub(super) fn get(&self, id: RevocationId) -> Option<&Revocation> {
        self.by_id.get(&id)
    }

    pub(super) fn all(&self) -> impl DoubleEndedIterator<Item = &Revocation> {
        self.by_revision.values().filter_map(|id| self.by_id.get(id))
    }
}
