//! Policy as code: decides, from facts, whether access is granted at once, needs people, or is denied.
//!
//! `question -> facts -> asked (the actions at services that a scope stands for) -> cedar -> decide -> strictest`
//!
//! A policy set is loaded once ([`PolicySet::load`], the only place here that opens files) and then asked; asking is pure: it reads
//! no clock, no file and no state. Whatever goes wrong while it is asked denies. docs/policies.md explains it to those who write
//! policies.

mod annotation;
mod asked;
pub mod cases;
mod cedar;
mod compile;
mod decide;
mod facts;
mod folder;
mod heads;
pub mod question;
mod strictest;
#[cfg(test)]
mod tests;

pub use cases::{Outcome, PolicyTests, TestResult};
pub use question::{History, PolicyAction, Question};

use crate::config::{PolicyConfig, Problem};
use crate::model::{ApproverRule, Evaluation, PolicyOutcome, Stage, Terms};
use compile::Compiled;
use decide::Decided;
use facts::Facts;
use folder::PolicyFile;
use jiff::tz::TimeZone;
use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU8;
use std::path::Path;
use std::sync::Arc;

/// The schema that policies are validated against, in Cedar's notation.
pub const SCHEMA: &str = cedar::SCHEMA;

/// A set of policies. Immutable; cloning is cheap.
#[derive(Debug, Clone)]
pub struct PolicySet {
    hash: Arc<str>,
    zone: TimeZone,
    /// None: the built-in rule.
    policies: Option<Arc<Compiled>>,
}

/// Everything that is wrong with a folder of policies; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct PolicyErrors {
    /// By file and line; `key` is the id of the policy.
    pub problems: Vec<Problem>,
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.problems.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl PolicySet {
    /// What decides where no policies are configured: every request needs one operator.
    #[must_use]
    pub fn builtin() -> Self {
        Self { hash: "builtin".into(), zone: TimeZone::UTC, policies: None }
    }

    /// What a configuration names.
    ///
    /// # Errors
    /// As [`PolicySet::load`].
    pub fn from_config(config: &PolicyConfig) -> Result<Self, PolicyErrors> {
        match &config.folder {
            Some(folder) => Self::load(folder, &config.zone),
            None => {
                let zone = zone(&config.zone).map_err(|problem| PolicyErrors { problems: vec![problem] })?;
                Ok(Self { zone, ..Self::builtin() })
            }
        }
    }

    /// Reads a folder; `zone` is the IANA name of the zone of hours and weekdays.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line, policy and remedy.
    pub fn load(folder: &Path, zone: &str) -> Result<Self, PolicyErrors> {
        let zone = self::zone(zone).map_err(|problem| PolicyErrors { problems: vec![problem] })?;
        let files = folder::read(folder).map_err(|problems| PolicyErrors { problems })?;
        Self::of(&files, zone).map_err(|problems| PolicyErrors { problems })
    }

    fn of(files: &[PolicyFile], zone: TimeZone) -> Result<Self, Vec<Problem>> {
        let policies = compile::compile(files)?;
        Ok(Self { hash: hash(files).into(), zone, policies: Some(Arc::new(policies)) })
    }

    /// Identifies it: `builtin`, or `sha256:` and 64 hexadecimal digits over the schema and its files.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Whether this is the built-in rule.
    #[must_use]
    pub fn is_builtin(&self) -> bool {
        self.policies.is_none()
    }

    /// The ids of its policies, sorted.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        self.policies.as_ref().map_or_else(Vec::new, |policies| policies.rules.keys().cloned().collect())
    }

    /// The zone of hours and weekdays.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The same policies where clocks show the time of another zone.
    fn in_zone(&self, zone: TimeZone) -> Self {
        Self { zone, ..self.clone() }
    }

    /// Decides.
    #[must_use]
    pub fn evaluate(&self, question: &Question<'_>) -> Evaluation {
        let recorded = Facts::of(question, &self.zone)
            .and_then(|facts| Some((serde_json::to_value(&facts).ok()?, facts)));
        match recorded {
            Some((value, facts)) => self.evaluation(value, self.decide(&facts)),
            None => {
                let text = "the facts of this request cannot be recorded".to_owned();
                self.evaluation(serde_json::json!({}), decide::denied([text], []))
            }
        }
    }

    /// Decides again, from the facts of an evaluation: its own or that of another set. Facts that cannot be read deny.
    #[must_use]
    pub fn replay(&self, facts: &serde_json::Value) -> Evaluation {
        let decided = match serde::Deserialize::deserialize(facts) {
            Ok(facts) => self.decide(&facts),
            Err(_) => decide::denied(["the recorded facts cannot be read".to_owned()], []),
        };
        self.evaluation(facts.clone(), decided)
    }

    fn evaluation(&self, facts: serde_json::Value, (outcome, determining): Decided) -> Evaluation {
        Evaluation { policy: self.hash.to_string(), facts, determining, outcome }
    }

    fn decide(&self, facts: &Facts) -> Decided {
        match &self.policies {
            Some(policies) => decide::decide(policies, facts),
            None => builtin(facts),
        }
    }
}

/// One operator; none where an operator decides already.
fn builtin(facts: &Facts) -> Decided {
    let permitted = |stages| {
        let terms = Terms { stages, ..Terms::default() };
        (PolicyOutcome::Permitted(Box::new(terms)), vec!["builtin".to_owned()])
    };
    match facts.action {
        PolicyAction::Grant => permitted(Vec::new()),
        PolicyAction::Request | PolicyAction::Extend | PolicyAction::Delegate => {
            let one = Stage { approvals: NonZeroU8::MIN, from: BTreeSet::from([ApproverRule::Approvers]) };
            decide::unknown_services(facts).unwrap_or_else(|| permitted(vec![one]))
        }
    }
}

fn zone(name: &str) -> Result<TimeZone, Problem> {
    // The look-up folds case; we want one spelling.
    match TimeZone::get(name) {
        Ok(zone) if zone.iana_name() == Some(name) && !zone.is_unknown() => Ok(zone),
        Ok(_) | Err(_) => Err(Problem {
            file: "policies".into(),
            line: None,
            key: "zone".into(),
            message: format!("`{name}` is no IANA time zone: expected for instance `Europe/Berlin` or `UTC`"),
        }),
    }
}

/// Names and contents with their lengths, so that no two sets of files read the same.
fn hash(files: &[PolicyFile]) -> String {
    let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let parts = files.iter().flat_map(|file| [file.name.as_str(), file.text.as_str()]);
    for part in ["jitgate.cedarschema", SCHEMA].into_iter().chain(parts) {
        digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part.as_bytes());
    }
    let hex: String = digest.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
