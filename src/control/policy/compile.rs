//! From the text of policies to what is asked at run time; everything that is wrong at once, with file, line, policy and remedy.
//!
//! Invariants: every policy is static, has an id of its own, says nothing in annotations that is not understood, and is valid for
//! the schema in Cedar's strict mode; a warning of the validator (a policy that can never apply, look-alike characters) is an error.
//!
//! Policies are sorted by what their heads allow ([`Heads`]).

use super::annotation::{self, Rule};
use super::asked::Spelt;
use super::cedar::{Names, SCHEMA};
use super::folder::PolicyFile;
use super::heads::{Heads, Known};
use super::question::PolicyAction;
use crate::config::Problem;
use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet as CedarSet, Schema, ValidationMode,
    Validator,
};
use miette::Diagnostic;
use std::collections::BTreeMap;
use std::path::Path;

/// Policies, ready to be asked.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) names: Names,
    /// What each policy does, by id.
    pub(super) rules: BTreeMap<String, Rule>,
    request: Heads,
    extend: Heads,
    delegate: Heads,
    grant: Heads,
    /// Actions that policies spell out.
    pub(super) spelt: Spelt,
    /// Whether any policy looks at the paths asked for.
    pub(super) reads_paths: bool,
}

impl Compiled {
    /// The policies that can apply to an action. For a grant: those that forbid, because permitting is the operator's.
    pub(super) fn policies(&self, action: PolicyAction) -> &Heads {
        match action {
            PolicyAction::Request => &self.request,
            PolicyAction::Extend => &self.extend,
            PolicyAction::Delegate => &self.delegate,
            PolicyAction::Grant => &self.grant,
        }
    }
}

/// A policy of a file.
struct Found<'f> {
    file: &'f PolicyFile,
    line: usize,
    policy: Policy,
    id: String,
}

/// Compiles files.
pub(super) fn compile(files: &[PolicyFile]) -> Result<Compiled, Vec<Problem>> {
    let mut wrong = Vec::new();
    let found: Vec<Found<'_>> = files.iter().flat_map(|file| parse(file, &mut wrong)).collect();
    let mut rules = BTreeMap::new();
    let mut places: BTreeMap<&str, &Found<'_>> = BTreeMap::new();
    for policy in &found {
        if let Some(first) = places.get(policy.id.as_str()) {
            let message =
                format!("is the id of a policy at {}:{} already", first.file.path.display(), first.line);
            wrong.push(policy.problem(message));
            continue;
        }
        places.insert(&policy.id, policy);
        match annotation::rule(policy.policy.effect(), policy.policy.annotations()) {
            Ok(rule) => {
                rules.insert(policy.id.clone(), rule);
            }
            Err(errors) => wrong.extend(errors.into_iter().map(|error| policy.problem(error))),
        }
    }
    let built_in = |error: String| vec![whole(format!("the schema of this version cannot be used: {error}"))];
    let names = Names::new().map_err(|error| built_in(error.to_string()))?;
    let schema: Schema = SCHEMA.parse().map_err(|error| built_in(format!("{error}")))?;
    let all = CedarSet::from_policies(places.values().map(|found| found.policy.clone()));
    let all = all.map_err(|error| vec![whole(error.to_string())])?;
    validate(&Validator::new(schema), &all, &places, &mut wrong);
    if found.is_empty() && wrong.is_empty() {
        wrong.push(whole("there is no policy in it: write one, or remove `folder`".to_owned()));
    }
    if !wrong.is_empty() {
        wrong.sort_by(|a, b| (&a.file, a.line, &a.message).cmp(&(&b.file, b.line, &b.message)));
        return Err(wrong);
    }
    assemble(names, rules, &found).map_err(|error| vec![whole(error)])
}

/// The policies of a file; what cannot be one is noted.
fn parse<'f>(file: &'f PolicyFile, wrong: &mut Vec<Problem>) -> Vec<Found<'f>> {
    let at = |offset: Option<usize>| offset.map(|offset| line(&file.text, offset));
    let set: CedarSet = match file.text.parse::<CedarSet>() {
        Ok(set) => set,
        Err(errors) => {
            for error in errors.iter() {
                wrong.push(problem(&file.path, at(offset(error)), "", format!("not Cedar: {error}")));
            }
            return Vec::new();
        }
    };
    for template in set.templates() {
        let id = template.annotation("id").unwrap_or_default();
        let message =
            "has slots (`?principal`, `?resource`): templates are not used here, write the policy out";
        wrong.push(problem(&file.path, at(file.text.find(&template.to_cedar())), id, message.to_owned()));
    }
    let mut found = Vec::new();
    // `policy0`, `policy1`, … in the order of the file.
    let mut policies: Vec<&Policy> = set.policies().collect();
    policies.sort_by_key(|policy| policy.id().to_string().trim_start_matches("policy").parse::<usize>().ok());
    let mut from = 0;
    for policy in policies {
        let text = policy.to_cedar().unwrap_or_default();
        let start = file.text.get(from..).and_then(|rest| rest.find(&text)).map_or(from, |at| from + at);
        from = start + text.len();
        let line = line(&file.text, start);
        match policy.annotation("id") {
            Some(id) if is_id(id) => {
                let policy = policy.new_id(PolicyId::new(id));
                found.push(Found { file, line, policy, id: id.to_owned() });
            }
            Some(id) => {
                let message = "is no id: expected 1 to 128 letters, digits, `-`, `_` or `.`";
                wrong.push(problem(&file.path, Some(line), id, message.to_owned()));
            }
            None => {
                let message =
                    "has no id: write `@id(\"NAME\")` before it, under which decisions will name it";
                wrong.push(problem(&file.path, Some(line), "", message.to_owned()));
            }
        }
    }
    found
}

impl Found<'_> {
    fn problem(&self, message: String) -> Problem {
        problem(&self.file.path, Some(self.line), &self.id, message)
    }
}

fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn validate(
    validator: &Validator,
    all: &CedarSet,
    places: &BTreeMap<&str, &Found<'_>>,
    wrong: &mut Vec<Problem>,
) {
    let result = validator.validate(all, ValidationMode::Strict);
    let errors = result.validation_errors().map(|error| (error.policy_id(), error as &dyn Diagnostic));
    let warnings = result.validation_warnings().map(|error| (error.policy_id(), error as &dyn Diagnostic));
    for (id, error) in errors.chain(warnings) {
        let help = error.help().map_or_else(String::new, |help| format!(": {help}"));
        let Some(found) = places.get(AsRef::<str>::as_ref(id)) else {
            wrong.push(whole(format!("{error}{help}")));
            continue;
        };
        let line = offset(error).map_or(found.line, |offset| line(&found.file.text, offset));
        let text = format!("{}{help}", plain(&error.to_string(), &found.id));
        let problem = problem(&found.file.path, Some(line), &found.id, text);
        if !wrong.contains(&problem) {
            wrong.push(problem);
        }
    }
}

/// Cedar's message without the policy, which stands before it already, and without the action: each is tried in turn.
fn plain(message: &str, id: &str) -> String {
    let start = format!("for policy `{id}`");
    let message =
        message.strip_prefix(&start).map_or(message, |rest| rest.trim_start_matches([',', ':', ' ']));
    match message.split_once(" for Action::\"") {
        Some((before, rest)) => format!("{before}{}", rest.split_once('"').map_or("", |(_, rest)| rest)),
        None => message.to_owned(),
    }
}

fn assemble(names: Names, rules: BTreeMap<String, Rule>, found: &[Found<'_>]) -> Result<Compiled, String> {
    let mut spelt = Spelt::default();
    let mut reads_paths = false;
    let mut known = Vec::with_capacity(found.len());
    for Found { policy, .. } in found {
        let json = policy.to_json().map_err(|error| error.to_string())?;
        let mut reads_method = false;
        // An attribute cannot be read without being named.
        each_text(&json, &mut |text| {
            spelt.note(text);
            reads_paths |= text == "paths";
            reads_method |= text == "method";
            spelt.reads_names |= text == "name";
        });
        known.push(Known { policy, reads_method });
    }
    let of = |action: PolicyAction, wanted: &dyn Fn(&Policy) -> bool| {
        let action = names.action(action.as_str());
        let chosen = known.iter().copied();
        Heads::new(chosen.filter(|known| applies(known.policy, &action) && wanted(known.policy)))
    };
    Ok(Compiled {
        request: of(PolicyAction::Request, &|_| true)?,
        extend: of(PolicyAction::Extend, &|_| true)?,
        delegate: of(PolicyAction::Delegate, &|_| true)?,
        grant: of(PolicyAction::Grant, &|policy| policy.effect() == Effect::Forbid)?,
        names,
        rules,
        spelt,
        reads_paths,
    })
}

/// Whether the head of a policy allows an action. The schema has no groups of actions.
fn applies(policy: &Policy, action: &EntityUid) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => true,
        ActionConstraint::In(actions) => actions.contains(action),
        ActionConstraint::Eq(only) => only == *action,
    }
}

fn each_text(json: &serde_json::Value, note: &mut impl FnMut(&str)) {
    match json {
        serde_json::Value::String(text) => note(text),
        serde_json::Value::Array(items) => {
            // A pattern of `like` also as the text that it matches without its wildcards.
            let literals = || items.iter().filter_map(|item| item.get("Literal")?.as_str());
            if literals().next().is_some() {
                note(&literals().collect::<String>());
            }
            items.iter().for_each(|item| each_text(item, note));
        }
        // The attributes of a record that is written out are members.
        serde_json::Value::Object(members) => members.iter().for_each(|(name, member)| {
            note(name);
            each_text(member, note);
        }),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
    }
}

fn offset(error: &(impl Diagnostic + ?Sized)) -> Option<usize> {
    error.labels()?.map(|label| label.offset()).next()
}

fn line(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn problem(file: &Path, line: Option<usize>, id: &str, message: String) -> Problem {
    Problem { file: file.to_path_buf(), line, key: id.to_owned(), message }
}

fn whole(message: String) -> Problem {
    problem(Path::new("policies"), None, "", message)
}
