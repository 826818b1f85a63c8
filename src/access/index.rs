//! The grants of one principal, compiled so that the cost of a decision hardly depends on how many there are ([`super::rules`]).
//!
//! # Order
//!
//! Members stand in the order of preference ([`Rank`]), ended ones last; rules of equal hash in the order of their members. The
//! first candidate that permits is the best of its shape.

use super::cell::{Cell, Rank};
use super::decide::Request;
use super::probe::{Probe, Question};
use super::rules::{Rules, Seed, Shapes};
use crate::config::Ceilings;
use crate::model::EndCause;
use crate::model::scope::McpTarget;
use std::sync::Arc;

/// The grants of one principal at one revision: immutable, compiled for the decision.
#[derive(Default)]
pub struct GrantSet {
    members: Box<[Arc<Cell>]>,
    /// Why the last so many members ended; those before them are live.
    ends: Box<[EndCause]>,
    /// Of the live ones, the one that was issued last.
    newest: Option<Arc<Cell>>,
    rules: Rules,
    context: Context,
}

/// What all sets of a table share.
#[derive(Clone, Default)]
pub(in crate::access) struct Context {
    pub(in crate::access) ceilings: Option<Arc<Ceilings>>,
    pub(in crate::access) seed: Seed,
}

impl GrantSet {
    /// Whether it lists no grant, live or ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The grants that have not ended, in the order of preference.
    pub fn live(&self) -> impl Iterator<Item = &Arc<Cell>> {
        self.members.iter().take(self.live_count())
    }

    /// The live grant that was issued last: each that was live with it and is still was issued no later.
    #[must_use]
    pub fn newest(&self) -> Option<&Arc<Cell>> {
        self.newest.as_ref()
    }

    /// Whether this very cell is listed and has not ended: what admission asks again after it has registered.
    #[must_use]
    pub fn holds(&self, cell: &Cell) -> bool {
        let live = self.members.get(..self.live_count()).unwrap_or_default();
        let rank = cell.rank();
        let found = live.binary_search_by(|member| member.rank().cmp(&rank)).ok();
        found.and_then(|at| live.get(at)).is_some_and(|member| std::ptr::eq(Arc::as_ptr(member), cell))
    }

    /// Every grant, and why it ended if it did.
    pub(in crate::access) fn members(&self) -> impl Iterator<Item = (&Arc<Cell>, Option<EndCause>)> {
        (0..).map_while(|at| self.member(at))
    }

    pub(in crate::access) fn member(&self, at: u32) -> Option<(&Arc<Cell>, Option<EndCause>)> {
        let at = at as usize;
        let cell = self.members.get(at)?;
        let end = at.checked_sub(self.live_count()).and_then(|at| self.ends.get(at));
        Some((cell, end.copied()))
    }

    /// The place of the first live member after `rank` in the order of preference.
    pub(in crate::access) fn after(&self, rank: Rank) -> u32 {
        let live = self.members.get(..self.live_count()).unwrap_or_default();
        u32::try_from(live.partition_point(|member| member.rank() <= rank)).unwrap_or(u32::MAX)
    }

    /// Whether the proxy's own configuration lets this request pass.
    pub(in crate::access) fn may_pass(&self, request: &Request<'_>) -> bool {
        let Some(ceilings) = &self.context.ceilings else { return true };
        let listed = |list: &Option<Box<[Box<str>]>>, text: &str| {
            list.as_ref().is_none_or(|list| list.iter().any(|known| **known == *text))
        };
        match request.call {
            None => listed(&ceilings.methods, request.view.action()),
            Some(call) => {
                let is_tool = McpTarget::of(call.method) == McpTarget::Tool;
                listed(&ceilings.methods, call.method)
                    && (!is_tool || listed(&ceilings.tools, call.name.unwrap_or_default()))
            }
        }
    }

    fn live_count(&self) -> usize {
        self.members.len().saturating_sub(self.ends.len())
    }

    /// Whether any grant, live or ended, names a service.
    #[must_use]
    pub fn names(&self, service: &str) -> bool {
        self.service(service).is_some()
    }

    /// The shapes of the rules that name a service; none if no rule does.
    pub(in crate::access) fn service(&self, name: &str) -> Option<Shapes<'_>> {
        self.rules.service(name)
    }

    /// The request, hashed as the rules of this set are.
    pub(in crate::access) fn probe<'a>(&'a self, request: &Request<'a>) -> Probe<'a> {
        let question = request.call.map_or(Question::View, Question::Call);
        Probe::of(request.view, question, &self.context.seed)
    }

    /// The call of a request whatever its arguments are; none if there is no call.
    pub(in crate::access) fn probe_shown<'a>(&'a self, request: &Request<'a>) -> Option<Probe<'a>> {
        let call = request.call?;
        Some(Probe::of(request.view, Question::Show(call), &self.context.seed))
    }

    /// Compiles the grants of one principal.
    pub(in crate::access) fn compile(
        mut grants: Vec<(Arc<Cell>, Option<EndCause>)>,
        context: &Context,
    ) -> Self {
        grants.sort_by_key(|(cell, end)| (end.is_some(), cell.rank()));
        let ends = grants.iter().filter_map(|(_, end)| *end).collect();
        let live = grants.iter().filter(|(_, end)| end.is_none()).map(|(cell, _)| cell);
        let newest = live.max_by_key(|cell| cell.revision()).cloned();
        let members: Box<[_]> = grants.into_iter().map(|(cell, _)| cell).collect();
        let rules = Rules::compile(members.iter().map(|cell| cell.scope()), &context.seed);
        Self { ends, newest, rules, members, context: context.clone() }
    }
}
