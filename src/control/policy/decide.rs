//! The decision: every question of a scope is put to the policies, and the strictest answer to all of them counts.
//!
//! - An error anywhere denies, also in a policy that would not have mattered: Cedar skips a policy that errs, and a `forbid` that is
//!   skipped is access that nobody meant to give.
//! - A `forbid` that matches anywhere denies.
//! - A question that no `permit` answers denies, except for an operator's direct grant, whose permit is the operator.
//! - Otherwise all terms of all permits that matched hold together.

use super::annotation::Rule;
use super::asked::{self, Asked, Questions};
use super::cedar::{Fault, World};
use super::compile::Compiled;
use super::facts::Facts;
use super::question::PolicyAction;
use super::strictest::{Conflict, strictest};
use crate::model::{PolicyOutcome, Terms};
use cedar_policy::{Authorizer, Decision, PolicySet as CedarSet, Request, Response};
use std::collections::{BTreeMap, BTreeSet};

/// Most reasons in one denial.
const MAX_REASONS: usize = 16;
/// Most characters of an evaluator's message in a denial.
const MAX_MESSAGE: usize = 240;

/// What was decided, and the policies that made it so.
pub(super) type Decided = (PolicyOutcome, Vec<String>);

/// Decides.
pub(super) fn decide(policies: &Compiled, facts: &Facts) -> Decided {
    if let Some(denied) = unknown_services(facts) {
        return denied;
    }
    let Ok(questions) = asked::questions(&facts.request.scope, &policies.spelt, &facts.services) else {
        let limit = asked::MAX_QUESTIONS;
        let text = format!(
            "the scope stands for more than {limit} actions at services: ask for less, or in several requests"
        );
        return denied([text], []);
    };
    match ask(policies, facts, &questions) {
        Ok(answers) => answers.decided(policies, facts.action),
        Err(fault) => {
            denied([format!("the facts cannot be put to the policies: {}", short(&fault.to_string()))], [])
        }
    }
}

/// A denial because the scope names services that nobody knows; none if all are known.
pub(super) fn unknown_services(facts: &Facts) -> Option<Decided> {
    let named: BTreeSet<_> =
        facts.request.scope.permissions().iter().flat_map(|permission| permission.locations()).collect();
    let mut unknown = named.into_iter().filter(|name| !facts.services.contains_key(*name)).peekable();
    unknown.peek()?;
    Some(denied(unknown.map(|name| format!("nothing is known about the service `{name}`")), []))
}

/// A denial with these reasons, as many as fit.
pub(super) fn denied(
    because: impl IntoIterator<Item = String>,
    determining: impl IntoIterator<Item = String>,
) -> Decided {
    let all: Vec<String> = because.into_iter().collect();
    let more = all.len().saturating_sub(MAX_REASONS);
    let mut because: Vec<String> = all.into_iter().take(MAX_REASONS).collect();
    if more > 0 {
        because.push(format!("and {more} more reasons"));
    }
    (PolicyOutcome::Denied { because }, determining.into_iter().collect())
}

/// What the policies answered to all questions of a scope.
#[derive(Debug, Default)]
struct Answers {
    errors: BTreeMap<String, String>,
    forbids: BTreeSet<String>,
    permits: BTreeSet<String>,
    unanswered: Vec<String>,
}

fn ask(policies: &Compiled, facts: &Facts, questions: &Questions<'_>) -> Result<Answers, Fault> {
    let mut answers = Answers::default();
    let heads = policies.policies(facts.action);
    if heads.is_empty() && facts.action == PolicyAction::Grant {
        return Ok(answers);
    }
    let world = World::new(&policies.names, facts, questions)?;
    let authorizer = Authorizer::new();
    // Sorted by service and protocol: questions that differ in the method alone stand together, and what never reads the method
    // answers them alike.
    let questions: Vec<_> = questions.iter().collect();
    for alike in questions.chunk_by(|(a, extent), (b, other)| {
        (a.service, a.protocol, a.tool) == (b.service, b.protocol, b.tool) && extent == other
    }) {
        let Some((first, extent)) = alike.first() else { continue };
        let sets = world.matching(heads, first);
        let mut request = world.request(first, extent, policies.reads_paths)?;
        let mut put = |request: &Request, set: &CedarSet| {
            !set.is_empty() && answers.note(&authorizer.is_authorized(request, set, &world.entities))
        };
        let mut any_method = false;
        for set in &sets {
            any_method |= put(&request, &set.any_method);
        }
        let by_method = sets.iter().any(|set| !set.by_method.is_empty());
        let mut unanswered = Vec::new();
        for (asked, extent) in alike {
            let mut answered = any_method;
            if by_method {
                if asked != first {
                    request = world.request(asked, extent, policies.reads_paths)?;
                }
                for set in &sets {
                    answered |= put(&request, &set.by_method);
                }
            }
            if !answered {
                unanswered.push(shown(asked));
            }
        }
        answers.unanswered.extend(unanswered);
    }
    Ok(answers)
}

impl Answers {
    /// Notes what some policies answered to a question; whether any of them applied.
    fn note(&mut self, response: &Response) -> bool {
        let diagnostics = response.diagnostics();
        for error in diagnostics.errors() {
            let cedar_policy::AuthorizationError::PolicyEvaluationError(failed) = error;
            let id: &str = failed.policy_id().as_ref();
            self.errors.entry(id.to_owned()).or_insert_with(|| short(&error.to_string()));
        }
        let applied = match response.decision() {
            Decision::Allow => &mut self.permits,
            Decision::Deny => &mut self.forbids,
        };
        let mut any = false;
        for id in diagnostics.reason() {
            let id: &str = id.as_ref();
            any = true;
            if !applied.contains(id) {
                applied.insert(id.to_owned());
            }
        }
        any
    }

    fn decided(self, policies: &Compiled, action: PolicyAction) -> Decided {
        let Self { errors, forbids, permits, unanswered } = self;
        if !errors.is_empty() || !forbids.is_empty() {
            let failed = errors.values().cloned();
            let forbidden = forbids.iter().map(|id| because(policies, id));
            let ids: BTreeSet<String> = errors.keys().cloned().chain(forbids.iter().cloned()).collect();
            return denied(forbidden.chain(failed).collect::<Vec<_>>(), ids);
        }
        if action == PolicyAction::Grant {
            return (PolicyOutcome::Permitted(Box::default()), Vec::new());
        }
        if !unanswered.is_empty() || permits.is_empty() {
            return denied(unanswered, []);
        }
        let terms: Option<Vec<&Terms>> = permits.iter().map(|id| terms(policies, id)).collect();
        match terms.map(|terms| strictest(terms.into_iter())) {
            Some(Ok(terms)) => (PolicyOutcome::Permitted(Box::new(terms)), permits.into_iter().collect()),
            Some(Err(Conflict)) => {
                let text =
                    "the policies that permit it demand authentication classes that exclude each other";
                denied([text.to_owned()], permits)
            }
            None => denied(["a policy that permits it has no terms".to_owned()], permits),
        }
    }
}

fn because(policies: &Compiled, id: &str) -> String {
    match policies.rules.get(id) {
        Some(Rule::Forbid { because: Some(text) }) => text.clone(),
        Some(Rule::Forbid { because: None } | Rule::Permit(_)) | None => {
            format!("forbidden by the policy `{id}`")
        }
    }
}

fn terms<'p>(policies: &'p Compiled, id: &str) -> Option<&'p Terms> {
    match policies.rules.get(id) {
        Some(Rule::Permit(terms)) => Some(terms),
        Some(Rule::Forbid { .. }) | None => None,
    }
}

fn shown(asked: &Asked<'_>) -> String {
    let method = short(asked.method);
    match asked.tool {
        Some(tool) => format!("no policy permits `{method}` of `{}` at `{}`", short(tool), asked.service),
        None => format!("no policy permits `{method}` at `{}`", asked.service),
    }
}

fn short(message: &str) -> String {
    message.chars().take(MAX_MESSAGE).collect()
}

#[cfg(test)]
mod tests;
