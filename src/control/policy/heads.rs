//! Policies by their heads, so that a question is put only to those that it can concern.
//!
//! A policy is looked at for a question if its head could match: the principal or a group of it, the action, the service. Where the
//! head does not match, Cedar neither applies the policy nor looks at its conditions, so it cannot err either: leaving it out changes
//! no answer. A head that says more than is told apart here is kept for every question; Cedar decides.
//!
//! Policies that never read which action is asked about answer every action at a service alike, so they stand apart from the rest.

use cedar_policy::{EntityUid, Policy, PolicySet as CedarSet, PrincipalConstraint, ResourceConstraint};
use std::collections::HashMap;

/// Whom or what a head is for; `None`: everybody, everything.
type Part = Option<EntityUid>;

/// The policies for one action of the schema.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads(HashMap<Part, HashMap<Part, Alike>>);

/// Policies whose heads are alike.
#[derive(Debug, Clone, Default)]
pub(super) struct Alike {
    /// Those that never read `context.method`.
    pub(super) any_method: CedarSet,
    /// Those that may.
    pub(super) by_method: CedarSet,
}

/// A policy and what was found out about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'p> {
    pub(super) policy: &'p Policy,
    /// Whether it may read `context.method`.
    pub(super) reads_method: bool,
}

impl Heads {
    /// Sorts policies.
    pub(super) fn new<'p>(policies: impl Iterator<Item = Known<'p>>) -> Result<Self, String> {
        let mut heads = Self::default();
        for Known { policy, reads_method } in policies {
            let alike = heads.0.entry(principal(policy)).or_default().entry(resource(policy)).or_default();
            let set = if reads_method { &mut alike.by_method } else { &mut alike.any_method };
            set.add(policy.clone()).map_err(|error| error.to_string())?;
        }
        Ok(heads)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The policies whose head can match somebody and something, each given with all that it is in.
    pub(super) fn matching(&self, who: &[EntityUid], what: &[EntityUid]) -> Vec<&Alike> {
        let of = |all: &[EntityUid]| [None].into_iter().chain(all.iter().cloned().map(Some)).collect();
        let (who, what): (Vec<Part>, Vec<Part>) = (of(who), of(what));
        let by_service = who.iter().filter_map(|who| self.0.get(who));
        by_service.flat_map(|by_service| what.iter().filter_map(|what| by_service.get(what))).collect()
    }
}

/// `==` is kept under the same key as `in`: that is one question too many at most.
fn principal(policy: &Policy) -> Part {
    match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
        PrincipalConstraint::In(id) | PrincipalConstraint::Eq(id) | PrincipalConstraint::IsIn(_, id) => {
            Some(id)
        }
    }
}

fn resource(policy: &Policy) -> Part {
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
        ResourceConstraint::In(id) | ResourceConstraint::Eq(id) | ResourceConstraint::IsIn(_, id) => Some(id),
    }
}
