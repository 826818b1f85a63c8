//! `jitgate policy diff`: what another set would have decided about the requests that the log has.

use crate::cli::Failure;
use crate::cli::client::{Client, with_client};
use crate::cli::connection::Connection;
use crate::cli::grants::text;
use crate::cli::output::{self, Output};
use crate::config::PolicyConfig;
use crate::control::policy::PolicySet;
use crate::control::workflow::in_emergency;
use crate::model::{AccessRequestId, Evaluation, PolicyOutcome, Terms};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Requests in one answer.
const PAGE: usize = 1_000;

/// Show which recorded requests another set of policies would decide otherwise
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate policy diff new-policies/\n  \
jitgate policy diff new-policies/ --output json | jq '.[] | select(.after.outcome == \"granted\")'\n\n\
Each request is decided again from the facts that are recorded with its last decision; nothing is changed.")]
pub(in crate::cli) struct Diff {
    /// The folder of the other policies
    new: PathBuf,
}

/// A request that is decided otherwise.
struct Difference {
    request: Value,
    before: Evaluation,
    after: Evaluation,
}

impl Diff {
    pub(in crate::cli) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        // The facts have their time in the zone of then.
        let set = PolicySet::load(&self.new, &PolicyConfig::default().zone).map_err(Failure::usage)?;
        let (found, looked_at) = with_client(connection, async |client| differences(client, &set).await)?;
        match output {
            Output::Json => output::json(&found.iter().map(shown).collect::<Vec<_>>()),
            Output::Table if found.is_empty() => {
                output::line(&format!("{looked_at} requests, all decided as before"))
            }
            Output::Table => {
                output::table(["REQUEST", "REQUESTER", "TASK", "BEFORE", "AFTER"], found.iter().map(row))?;
                output::line(&format!("{} of {looked_at} requests decided otherwise", found.len()))
            }
        }
    }
}

async fn differences(client: &mut Client, set: &PolicySet) -> Result<(Vec<Difference>, usize), Failure> {
    let (mut found, mut looked_at) = (Vec::new(), 0_usize);
    let mut after: Option<AccessRequestId> = None;
    loop {
        let from = after.map_or_else(String::new, |id| format!("&after={id}"));
        let page: Vec<Value> = client.get(&format!("/v1/requests?limit={PAGE}{from}")).await?;
        let Some(last) = page.last() else { return Ok((found, looked_at)) };
        after = Some(text(last, "id").parse().map_err(Failure::failed)?);
        for request in page {
            let story: Vec<Value> =
                client.get(&format!("/v1/requests/{}/story", text(&request, "id"))).await?;
            let Some(before) = last_evaluation(&story) else { continue };
            looked_at = looked_at.saturating_add(1);
            let after = again(set, &before);
            if differs(&before, &after) {
                found.push(Difference { request, before, after });
            }
        }
    }
}

/// What was decided last, with its facts.
fn last_evaluation(story: &[Value]) -> Option<Evaluation> {
    let events = story.iter().rev().filter_map(|chapter| chapter.get("event"));
    let evaluated = events.filter_map(|event| event.get("evaluation")).next()?;
    serde_json::from_value(evaluated.clone()).ok()
}

/// What the set decides from the same facts, with what our own rules add in an emergency.
fn again(set: &PolicySet, before: &Evaluation) -> Evaluation {
    let mut after = set.replay(&before.facts);
    let emergency = before.facts.pointer("/request/emergency").and_then(Value::as_bool) == Some(true);
    if emergency && let PolicyOutcome::Permitted(terms) = &after.outcome {
        after.outcome = PolicyOutcome::Permitted(Box::new(in_emergency(terms)));
    }
    after
}

/// Another outcome, or other terms. That the same is denied for another reason is no difference.
fn differs(before: &Evaluation, after: &Evaluation) -> bool {
    before.outcome.terms() != after.outcome.terms()
}

fn words(evaluation: &Evaluation) -> String {
    let by = match evaluation.determining.is_empty() {
        true => String::new(),
        false => format!(" by {}", evaluation.determining.join(", ")),
    };
    match &evaluation.outcome {
        PolicyOutcome::Denied { because } => format!("denied{by}: {}", because.join("; ")),
        PolicyOutcome::Permitted(terms) => {
            let what = if terms.stages.is_empty() { "granted" } else { "approval" };
            format!("{what}{by} {}", brief(terms))
        }
    }
}

fn brief(terms: &Terms) -> String {
    serde_json::to_string(terms).unwrap_or_default()
}

fn row(difference: &Difference) -> [String; 5] {
    let of = |key: &str| text(&difference.request, key);
    [of("id"), of("requester"), of("task"), words(&difference.before), words(&difference.after)]
}

fn shown(difference: &Difference) -> Value {
    let of = |key: &str| text(&difference.request, key);
    json!({
        "id": of("id"),
        "requester": of("requester"),
        "principal": of("principal"),
        "task": of("task"),
        "before": side(&difference.before),
        "after": side(&difference.after),
    })
}

fn side(evaluation: &Evaluation) -> Value {
    let (outcome, name, value) = match &evaluation.outcome {
        PolicyOutcome::Denied { because } => ("denied", "because", json!(because)),
        PolicyOutcome::Permitted(terms) if terms.stages.is_empty() => ("granted", "terms", json!(terms)),
        PolicyOutcome::Permitted(terms) => ("approval", "terms", json!(terms)),
    };
    json!({"policy": evaluation.policy, "outcome": outcome, "policies": evaluation.determining, name: value})
}
