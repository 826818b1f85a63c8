//! What a case expects, and how what was decided differs from it.

use super::raw::{Outcome, RawExpect};
use crate::config::Source;
use crate::control::policy::annotation::{self, Rule};
use crate::model::{Evaluation, PolicyOutcome, Terms};
use cedar_policy::Effect;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use toml::Spanned;

/// See the module. What is `None` may be anything.
#[derive(Debug)]
pub(super) struct Expected {
    outcome: Outcome,
    policies: Option<BTreeSet<String>>,
    terms: Option<Terms>,
    because: Option<String>,
}

/// What an evaluation comes to, in one word.
pub(super) fn outcome(evaluation: &Evaluation) -> Outcome {
    match &evaluation.outcome {
        PolicyOutcome::Denied { .. } => Outcome::Denied,
        PolicyOutcome::Permitted(terms) if terms.stages.is_empty() => Outcome::Granted,
        PolicyOutcome::Permitted(_) => Outcome::Approval,
    }
}

impl Expected {
    /// What a case expects; what is missing or contradicts itself is noted, and nothing is returned.
    pub(super) fn of(source: &mut Source<'_>, raw: RawExpect, key: &str) -> Option<Self> {
        let Some(outcome) = raw.outcome else {
            source.missing(&format!("{key}.outcome"), "`granted`, `approval` or `denied`");
            return None;
        };
        let outcome = outcome.into_inner();
        let because = match (raw.because, outcome) {
            (Some(text), Outcome::Granted | Outcome::Approval) => {
                source.at(&text.span(), "only what is denied has a `because`: remove it");
                return None;
            }
            (text, _) => text.map(Spanned::into_inner),
        };
        let terms = match raw.terms {
            Some(raw) => Some(terms(source, raw, outcome)?),
            None => None,
        };
        Some(Self { outcome, policies: raw.policies.map(|ids| ids.into_iter().collect()), terms, because })
    }

    /// How an evaluation differs from it; nothing if it does not.
    pub(super) fn differences(&self, evaluation: &Evaluation) -> Vec<String> {
        let mut found = Vec::new();
        let actual = outcome(evaluation);
        if actual != self.outcome {
            found.push(format!("expected {}, was {}", self.outcome.as_str(), shown(evaluation)));
        }
        let policies: BTreeSet<String> = evaluation.determining.iter().cloned().collect();
        if let Some(expected) = &self.policies
            && *expected != policies
        {
            let list = |ids: &BTreeSet<String>| match ids.is_empty() {
                true => "none".to_owned(),
                false => ids.iter().cloned().collect::<Vec<_>>().join(", "),
            };
            found.push(format!("expected the policies {}, was {}", list(expected), list(&policies)));
        }
        if let (Some(expected), Some(terms)) = (&self.terms, evaluation.outcome.terms())
            && expected != terms
        {
            found.push(format!("expected the terms {}, was {}", json(expected), json(terms)));
        }
        if let (Some(expected), PolicyOutcome::Denied { because }) = (&self.because, &evaluation.outcome)
            && !because.iter().any(|reason| reason.contains(expected))
        {
            found.push(format!("expected because of `{expected}`, was {}", because.join("; ")));
        }
        found
    }
}

fn shown(evaluation: &Evaluation) -> String {
    let word = outcome(evaluation).as_str();
    match &evaluation.outcome {
        PolicyOutcome::Denied { because } => format!("{word}: {}", because.join("; ")),
        PolicyOutcome::Permitted(_) => format!("{word} by {}", evaluation.determining.join(", ")),
    }
}

/// Terms as annotations say them: `max_uses` and `pin_source` may also be a number and `true`.
fn terms(
    source: &mut Source<'_>,
    raw: Spanned<BTreeMap<String, Spanned<toml::Value>>>,
    outcome: Outcome,
) -> Option<Terms> {
    let place = raw.span();
    let mut texts: Vec<(String, String, Range<usize>)> = Vec::new();
    for (name, value) in raw.into_inner() {
        let at = value.span();
        let text = match value.into_inner() {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            toml::Value::Boolean(true) => String::new(),
            toml::Value::Boolean(false)
            | toml::Value::Float(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => {
                source.at(&at, "expected what the annotation says, a number, or `true`");
                return None;
            }
        };
        texts.push((name, text, at));
    }
    // One by one for the place of each error, then together.
    for (name, text, at) in &texts {
        if let Err(errors) = annotation::rule(Effect::Permit, [(name.as_str(), text.as_str())].into_iter()) {
            source.at(at, errors.join("; "));
            return None;
        }
    }
    let all = texts.iter().map(|(name, text, _)| (name.as_str(), text.as_str()));
    let terms = match annotation::rule(Effect::Permit, all) {
        Ok(Rule::Permit(terms)) => *terms,
        Ok(Rule::Forbid { .. }) | Err(_) => return None,
    };
    let wrong = match (outcome, terms.stages.is_empty()) {
        (Outcome::Denied, _) => "what is denied has no terms: remove them",
        (Outcome::Granted, false) => "what is granted at once has no `approvers`: expect `approval`",
        (Outcome::Approval, true) => "an approval has `approvers`: say which, or leave `terms` out",
        (Outcome::Granted, true) | (Outcome::Approval, false) => return Some(terms),
    };
    source.at(&place, wrong);
    None
}

fn json(terms: &Terms) -> String {
    serde_json::to_string(terms).unwrap_or_default()
}
