//! `jitgate policy test`: runs the table tests beside the policies.

use super::{PolicyErrors, Which};
use crate::cli::Failure;
use crate::cli::output::{self, Output};
use crate::control::policy::{PolicySet, PolicyTests, TestResult};
use crate::model::PolicyOutcome;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Run the tests beside the policies (`tests/*.toml`): who asks for what, and what is to be decided
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate policy test config/policies\n  \
jitgate policy test --config /etc/jitgate/control.toml --output json\n\n\
It ends with 1 if a test fails, with 2 if policies or tests are not understood. docs/policies.md explains the format.")]
pub(in crate::cli) struct Test {
    #[command(flatten)]
    which: Which,
}

impl Test {
    pub(in crate::cli) fn run(self, output: Output) -> Result<(), Failure> {
        let (folder, set) = self.which.load()?;
        let tests = PolicyTests::load(&folder).map_err(|errors: PolicyErrors| Failure::usage(errors))?;
        let results = tests.run(&set);
        let failed: Vec<&TestResult> =
            results.iter().filter(|result| !result.differences.is_empty()).collect();
        match output {
            Output::Json => output::json(&results.iter().map(shown).collect::<Vec<_>>())?,
            Output::Table => show(&set, &results, &failed)?,
        }
        match failed.len() {
            0 => Ok(()),
            number => Err(Failure::failed(format!("{number} of {} tests failed", results.len()))),
        }
    }
}

fn show(set: &PolicySet, results: &[TestResult], failed: &[&TestResult]) -> Result<(), Failure> {
    let rows = failed.iter().flat_map(|result| {
        let place = format!("{}:{}", result.file.display(), result.line);
        let row = move |difference: &String| [place.clone(), result.name.clone(), difference.clone()];
        result.differences.iter().map(row)
    });
    if !failed.is_empty() {
        return output::table(["TEST", "NAME", "DIFFERENCE"], rows);
    }
    output::line(&format!("{} tests passed", results.len()))?;
    let seen: BTreeSet<&String> = results.iter().flat_map(|result| &result.evaluation.determining).collect();
    let unseen: Vec<String> = set.ids().into_iter().filter(|id| !seen.contains(id)).collect();
    match unseen.is_empty() {
        true => Ok(()),
        false => output::line(&format!("no test is decided by: {}", unseen.join(", "))),
    }
}

fn shown(result: &TestResult) -> Value {
    let mut shown = json!({
        "file": result.file,
        "line": result.line,
        "name": result.name,
        "passed": result.differences.is_empty(),
        "outcome": result.outcome(),
        "policies": result.evaluation.determining,
        "differences": result.differences,
    });
    let (name, value) = match &result.evaluation.outcome {
        PolicyOutcome::Denied { because } => ("because", json!(because)),
        PolicyOutcome::Permitted(terms) => ("terms", json!(terms)),
    };
    if let Some(members) = shown.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
    shown
}
