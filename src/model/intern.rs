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
struct Known<T>(HashSet<T>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Clone + Eq + Hash> Known<T> {
    fn share(&mut self, value: T) -> T {
        if let Some(known) = self.0.get(&value) {
            return known.clone();
        }
        if self.0.len() >= CAPACITY {
            self.0.clear();
        }
        self.0.insert(value.clone());
        value
    }
}

impl Interner {
    /// The same grant, with its parts shared.
    #[must_use]
    pub fn grant(&mut self, grant: Grant) -> Grant {
        Grant {
            principal: self.principals.share(grant.principal),
            task: self.tasks.share(grant.task),
            scope: self.scope(grant.scope),
            ..grant
        }
    }

    /// The same scope, shared, or at least with shared service names.
    #[must_use]
    pub fn scope(&mut self, scope: Scope) -> Scope {
        let services = &mut self.services;
        self.scopes.share(scope.with_names(|name| *name = services.share(name.clone())))
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
        let mut known = Known::default();
        for number in 0..=CAPACITY {
            known.share(number);
        }
        assert_eq!(known.0.len(), 1);
    }
}
