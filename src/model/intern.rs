//! Sharing of equal values between grants: a million grants name a handful of services and, often, the same few scopes.

use crate::model::{Grant, Scope, ServiceName, SpiffeId, TaskId};
use std::collections::HashSet;
use std::hash::Hash;

/// Replaces equal service names, scopes, principals and tasks by one shared copy. Bounded: it forgets all when full, which costs
/// memory, never correctness.
#[derive(Debug, Default)]
pub struct Interner {
    services: Known<ServiceName>,
    scopes: Known<Scope>,
    principals: Known<SpiffeId>,
    tasks: Known<TaskId>,
}

const CAPACITY: usize = 1 << 17;

#[derive(Debug)]
struct Known<T>(HashSet<T, foldhash::quality::RandomState>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(HashSet::default())
    }
}

impl<T: Clone + Eq + Hash> Known<T> {
    /// Makes `value` the copy that is known, or known if none is; `fresh` prepares one that was not known.
    fn share(&mut self, value: &mut T, fresh: impl FnOnce(&mut T)) {
        if let Some(known) = self.0.get(value) {
            *value = known.clone();
            return;
        }
        fresh(value);
        if self.0.len() >= CAPACITY {
            self.0.clear();
        }
        self.0.insert(value.clone());
    }
}

impl Interner {
    /// The same grant, with its parts shared.
    #[must_use]
    pub fn grant(&mut self, mut grant: Grant) -> Grant {
        self.share(&mut grant);
        grant
    }

    /// Shares the parts of a grant where it is.
    pub fn share(&mut self, grant: &mut Grant) {
        self.principals.share(&mut grant.principal, |_| {});
        self.tasks.share(&mut grant.task, |_| {});
        self.share_scope(&mut grant.scope);
    }

    /// The same scope, shared, or at least with shared service names.
    #[must_use]
    pub fn scope(&mut self, mut scope: Scope) -> Scope {
        self.share_scope(&mut scope);
        scope
    }

    fn share_scope(&mut self, scope: &mut Scope) {
        let services = &mut self.services;
        self.scopes.share(scope, |scope| scope.share_names(|name| services.share(name, |_| {})));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scopes_and_names_are_stored_once() {
        let mut interner = Interner::default();
        let mut scope = |text: &str| interner.scope(text.parse().unwrap());
        let (a, same, b) = (scope("orders:GET:/a"), scope("orders:GET:/a"), scope("orders:GET:/b"));
        assert!(std::ptr::eq(a.permissions(), same.permissions()));
        let name = |scope: &Scope| scope.permissions()[0].locations()[0].as_str().as_ptr();
        assert_eq!(name(&a), name(&b));
        assert_eq!(b, "orders:GET:/b".parse().unwrap());
    }

    #[test]
    fn it_forgets_rather_than_grows() {
        let mut known = Known::<usize>::default();
        for number in 0..=CAPACITY {
            known.share(&mut number.clone(), |_| {});
        }
        assert_eq!(known.0.len(), 1);
    }
}
