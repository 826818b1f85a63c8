//! Policy as code: decides, from facts, whether access is granted at once, needs people, or is denied.
//!
//! Pure: a policy set is loaded once and then asked; it reads no clock, no file and no state. Whatever goes wrong while it is
//! asked denies.

pub mod question;

pub use question::{History, PolicyAction, Question};

use crate::model::{ApproverRule, Evaluation, PolicyOutcome, Stage, Terms};
use std::collections::BTreeSet;
use std::num::NonZeroU8;

/// A set of policies. Immutable.
#[derive(Debug, Clone)]
pub struct PolicySet {
    hash: String,
}

impl PolicySet {
    /// What decides where no policies are configured: every request needs one operator.
    #[must_use]
    pub fn builtin() -> Self {
        Self { hash: "builtin".into() }
    }

    /// Identifies it: `builtin`, or `sha256:` and 64 hexadecimal digits over its files.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The ids of its policies, sorted.
    #[must_use]
    pub fn ids(&self) -> Vec<String> {
        Vec::new()
    }

    /// Decides.
    #[must_use]
    pub fn evaluate(&self, question: &Question<'_>) -> Evaluation {
        let one = Stage { approvals: NonZeroU8::MIN, from: BTreeSet::from([ApproverRule::Approvers]) };
        let stages = match question.action {
            PolicyAction::Grant => Vec::new(),
            PolicyAction::Request | PolicyAction::Extend | PolicyAction::Delegate => vec![one],
        };
        Evaluation {
            policy: self.hash.clone(),
            facts: serde_json::json!({}),
            determining: vec!["builtin".into()],
            outcome: PolicyOutcome::Permitted(Box::new(Terms { stages, ..Terms::default() })),
        }
    }
}
