//! Table tests beside the policies: what is given, and what is to be decided. docs/policies.md explains the format.
//!
//! A test that is not understood is an error, and so is a folder without tests: nothing passes because nobody looked.

mod expected;
mod given;
mod raw;

pub use raw::Outcome;

use super::folder::{self, PolicyFile};
use super::{PolicyErrors, PolicySet};
use crate::config::{ConfigErrors, Problem, Source, split};
use crate::model::Evaluation;
use expected::Expected;
use given::Given;
use jiff::tz::TimeZone;
use raw::RawTests;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The tests of a folder of policies; never none.
#[derive(Debug)]
pub struct PolicyTests {
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    file: PathBuf,
    line: usize,
    name: String,
    /// Instead of that of the policies.
    zone: Option<TimeZone>,
    given: Given,
    expected: Expected,
}

/// What came of one test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestResult {
    /// The file that it is in.
    pub file: PathBuf,
    /// Where in it.
    pub line: usize,
    /// What it is called.
    pub name: String,
    /// What was decided.
    pub evaluation: Evaluation,
    /// How that differs from what was expected; it passed if there is nothing.
    pub differences: Vec<String>,
}

impl TestResult {
    /// What was decided, in one word.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        expected::outcome(&self.evaluation)
    }
}

impl PolicyTests {
    /// Reads `tests/*.toml` of a folder of policies.
    ///
    /// # Errors
    /// Everything that is wrong, each with file, line and key; and a folder without a test.
    pub fn load(policies: &Path) -> Result<Self, PolicyErrors> {
        let files = folder::tests(policies).map_err(|problems| PolicyErrors { problems })?;
        Self::of(&files).map_err(|problems| PolicyErrors { problems })
    }

    pub(super) fn of(files: &[PolicyFile]) -> Result<Self, Vec<Problem>> {
        let (mut cases, mut problems) = (Vec::new(), Vec::new());
        for file in files {
            match parse(file) {
                Ok(more) => cases.extend(more),
                Err(ConfigErrors { problems: more }) => problems.extend(more),
            }
        }
        if problems.is_empty() { Ok(Self { cases }) } else { Err(problems) }
    }

    /// Asks a policy set about every case, in the order of the files.
    #[must_use]
    pub fn run(&self, policies: &PolicySet) -> Vec<TestResult> {
        let result = |case: &Case| {
            let elsewhere = case.zone.clone().map(|zone| policies.in_zone(zone));
            let evaluation = elsewhere.as_ref().unwrap_or(policies).evaluate(&case.given.question());
            let differences = case.expected.differences(&evaluation);
            let (file, name) = (case.file.clone(), case.name.clone());
            TestResult { file, line: case.line, name, evaluation, differences }
        };
        self.cases.iter().map(result).collect()
    }
}

fn parse(file: &PolicyFile) -> Result<Vec<Case>, ConfigErrors> {
    let (mut source, raw) = Source::read::<RawTests>(&file.path, &file.text);
    let zone = raw.zone.and_then(|zone| TimeZone::get(&split(zone).0.0).ok());
    let (mut cases, mut names) = (Vec::new(), BTreeSet::new());
    if raw.case.is_empty() {
        source.missing("case", "write `[[case]]`, once for each test");
    }
    for (index, case) in raw.case.into_iter().enumerate() {
        let place = case.span();
        let case = case.into_inner();
        let name = case.name.map(|name| (name.span(), name.into_inner()));
        match &name {
            None => source.missing(&format!("case[{index}].name"), "what it shows, in a few words"),
            Some((at, text)) if text.trim().is_empty() => source.at(at, "say in a few words what it shows"),
            Some((at, text)) if !names.insert(text.clone()) => {
                source.at(at, "is the name of a test before it: give each its own");
            }
            Some(_) => {}
        }
        let mut given = raw.given.with(case.given);
        for fact in case.without {
            if !given.take_out(fact.get_ref()) {
                source.at(
                    &fact.span(),
                    "is not given, so it cannot be left out; what can be: `source`, `ticket`, `role`, \
                     `on_behalf_of`, `authenticated`, `principal`, `requester.risk` and the like, \
                     `services.NAME`, `services.NAME.environment`",
                );
            }
        }
        let key = format!("case[{index}]");
        let given = Given::of(&mut source, given, (&key, &place));
        let Some(expect) = case.expect else {
            source.missing(&format!("{key}.expect"), "for instance `{ outcome = \"denied\" }`");
            continue;
        };
        let expected = Expected::of(&mut source, expect, &format!("{key}.expect"));
        if let (Some((_, name)), Some(given), Some(expected)) = (name, given, expected) {
            let line = source.line(&place);
            cases.push(Case { file: file.path.clone(), line, name, zone: zone.clone(), given, expected });
        }
    }
    source.finish(Some(cases))
}

#[cfg(test)]
mod tests;
