//! Containment of scopes, syntactically: what is not shown to be narrower is not narrower.
//!
//! A permission of the narrow scope is split into its service and path pairs. For each pair the methods of all wide permissions
//! that name the service, cover the path and cover the query are collected; they must make up all methods asked for. Unions of
//! paths or of queries are not considered: `/a/*` is not shown to be within `/a/x` and `/a/y`, whatever else is there.

use super::grpc::GrpcPermission;
use super::http::HttpPermission;
use super::mcp::McpPermission;
use super::path::PathPattern;
use super::{Permission, Scope};
use crate::model::ServiceName;

/// Comparisons after which the answer is "not shown": scopes come from callers, and the work grows with the product of both.
const BUDGET: usize = 10_000_000;

/// Counts down to "not shown".
struct Budget(usize);

impl Budget {
    fn spend(&mut self, comparisons: usize) -> Option<()> {
        self.0 = self.0.checked_sub(comparisons)?;
        Some(())
    }
}

impl Scope {
    /// Whether it is shown that everything that `other` permits is permitted here too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        let mut budget = Budget(BUDGET);
        other.permissions().iter().all(|narrow| match narrow {
            Permission::Http(narrow) => holds_http(self, narrow, &mut budget),
            Permission::Grpc(narrow) => holds_grpc(self, narrow, &mut budget),
            Permission::Mcp(narrow) => holds_mcp(self, narrow, &mut budget),
        })
    }

    fn http(&self) -> impl Iterator<Item = &HttpPermission> {
        self.permissions().iter().filter_map(|permission| match permission {
            Permission::Http(http) => Some(http),
            Permission::Grpc(_) | Permission::Mcp(_) => None,
        })
    }

    fn grpc(&self) -> impl Iterator<Item = &GrpcPermission> {
        self.permissions().iter().filter_map(|permission| match permission {
            Permission::Grpc(grpc) => Some(grpc),
            Permission::Http(_) | Permission::Mcp(_) => None,
        })
    }

    fn mcp(&self) -> impl Iterator<Item = &McpPermission> {
        self.permissions().iter().filter_map(|permission| match permission {
            Permission::Mcp(mcp) => Some(mcp),
            Permission::Http(_) | Permission::Grpc(_) => None,
        })
    }
}

fn holds_http(wide: &Scope, narrow: &HttpPermission, budget: &mut Budget) -> bool {
    let pairs = || narrow.locations().iter().flat_map(|at| narrow.paths().iter().map(move |path| (at, path)));
    pairs().all(|(location, path)| holds_pair(wide, narrow, location, path, budget).unwrap_or(false))
}

/// None when the budget is spent.
fn holds_pair(
    wide: &Scope,
    narrow: &HttpPermission,
    location: &ServiceName,
    path: &PathPattern,
    budget: &mut Budget,
) -> Option<bool> {
    let mut missing = narrow.methods().clone();
    for wide in wide.http() {
        budget.spend(1)?;
        let query_covered = match (wide.query(), narrow.query()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(wide), Some(narrow)) => {
                budget.spend(narrow.parameters().len())?;
                wide.covers(narrow)
            }
        };
        if !query_covered || !wide.locations.has(location) {
            continue;
        }
        budget.spend(wide.paths().len())?;
        if wide.paths().iter().any(|pattern| pattern.covers(path)) {
            match wide.methods().lacking(&missing) {
                None => return Some(true),
                Some(left) => missing = left,
            }
        }
    }
    Some(false)
}

fn holds_grpc(wide: &Scope, narrow: &GrpcPermission, budget: &mut Budget) -> bool {
    narrow.locations().iter().all(|location| {
        wide.grpc().any(|wide| {
            let work = 1 + wide.actions().texts().count() * narrow.actions().texts().count();
            wide.locations.has(location)
                && budget.spend(work).is_some()
                && wide.actions().covers(narrow.actions())
        })
    })
}

/// One wide permission must cover it, for each service: unions are not considered.
fn holds_mcp(wide: &Scope, narrow: &McpPermission, budget: &mut Budget) -> bool {
    narrow.locations().iter().all(|location| {
        wide.mcp().any(|wide| {
            let work = 1 + wide.size().saturating_mul(narrow.size());
            wide.locations.has(location) && budget.spend(work).is_some() && wide.covers(narrow)
        })
    })
}
