//! Scopes that a grant was narrowed from: each of them must permit as well, so that nothing rests on a comparison of scopes.
//!
//! Compiled like the grants of a principal, so that a wide parent costs a request no more than a narrow one.

use super::probe::Probe;
use super::rules::{Rules, Seed};
use crate::model::Scope;

/// What a narrowed grant must stay within; empty for one that was not narrowed.
#[derive(Default)]
pub(in crate::access) struct Within(Box<[Bound]>);

struct Bound {
    scope: Scope,
    rules: Rules,
}

impl Within {
    /// Compiles the scopes for probes of the same seed.
    pub(in crate::access) fn compile(scopes: &[Scope], seed: &Seed) -> Self {
        let bound = |scope: &Scope| Bound {
            scope: scope.clone(),
            rules: Rules::compile(std::iter::once(scope), seed),
        };
        Self(scopes.iter().map(bound).collect())
    }

    /// Whether each of the scopes permits.
    pub(in crate::access) fn permits(&self, service: &str, probe: &Probe<'_>) -> bool {
        self.0.iter().all(|bound| bound.permits(service, probe))
    }

    /// Whether each of the scopes has an `mcp` permission for a service.
    pub(in crate::access) fn attends(&self, service: &str) -> bool {
        let attends = |bound: &Bound| {
            bound.rules.service(service).is_some_and(|shapes| shapes.attended().next().is_some())
        };
        self.0.iter().all(attends)
    }

    /// Whether it was compiled from exactly these.
    pub(in crate::access) fn is_of(&self, scopes: &[Scope]) -> bool {
        self.0.iter().map(|bound| &bound.scope).eq(scopes)
    }
}

impl Bound {
    fn permits(&self, service: &str, probe: &Probe<'_>) -> bool {
        let Some(shapes) = self.rules.service(service) else { return false };
        shapes.candidates(probe).any(|mut candidates| candidates.any(|rule| rule.matches(&self.scope, probe)))
    }
}
