//! `jitgate requests`: what was asked for and how it stands; the whole story of one; the next step of a plan.

mod facts;
mod follow;
mod words;

pub(super) use facts::facts;
pub(super) use words::whom;

use super::ask::Outcome;
use super::client::{Call, Client, query, with_agent_client, with_client};
use super::connection::Connection;
use super::grants::{actor, text};
use super::output::{self, Output};
use super::{Failure, request, scopes};
use crate::model::{AccessRequestId, SpiffeId, TaskId, Ttl};
use http::HeaderValue;
use serde_json::{Value, json};
use std::time::Duration;

/// Requests in one answer.
const PAGE: usize = 1_000;

/// List access requests, show the story of one, or open the next step of a plan
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  jitgate requests --state pending\n  jitgate requests --task INC-4711 --output json\n  \
jitgate requests --follow\n  jitgate requests show rq_01k2abcdefghjkmnpqrstvwxyz\n\n\
With --follow, JSON is one object a line, printed when a request is new or stands otherwise than before."
)]
pub(super) struct Requests {
    #[command(subcommand)]
    verb: Option<RequestsVerb>,
    #[command(flatten)]
    filter: Filter,
    /// Go on with requests as they come and change
    #[arg(short, long)]
    follow: bool,
}

#[derive(Debug, clap::Subcommand)]
enum RequestsVerb {
    /// Show a request and its story, in order: asked, evaluated, approved, granted, used, extended, ended
    #[command(after_help = "Example:\n  jitgate requests show rq_01k2abcdefghjkmnpqrstvwxyz\n\n\
Below the story: for each evaluation the policies that determined it, and the facts that they saw.")]
    Show {
        /// Which
        id: AccessRequestId,
    },
    /// Leave the open step of a plan and open the next, as the agent
    #[command(after_help = "Example:\n  jitgate requests advance rq_01k2abcdefghjkmnpqrstvwxyz --wait=10m")]
    Advance {
        /// Which request has the plan
        id: AccessRequestId,
        /// The same key opens one step, however often it is sent
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<HeaderValue>,
        /// Wait for the decision on a step that is decided anew, at most this long
        #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
        wait: Option<Ttl>,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct Filter {
    /// Only in this state
    #[arg(long, value_parser = ["pending", "approved", "denied", "expired", "cancelled"])]
    state: Option<String>,
    /// Only for this task
    #[arg(long)]
    task: Option<TaskId>,
    /// Only for this principal
    #[arg(long)]
    principal: Option<SpiffeId>,
    /// Only of this requester
    #[arg(long)]
    requester: Option<SpiffeId>,
}

impl Filter {
    /// All that fit, oldest first.
    async fn list(&self, client: &mut Client) -> Result<Vec<Value>, Failure> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let path = query(
                "/v1/requests",
                [
                    ("state", self.state.clone()),
                    ("task", self.task.as_ref().map(ToString::to_string)),
                    ("principal", self.principal.as_ref().map(ToString::to_string)),
                    ("requester", self.requester.as_ref().map(ToString::to_string)),
                    ("after", all.last().map(|last| text(last, "id"))),
                    ("limit", Some(PAGE.to_string())),
                ],
            );
            let page: Vec<Value> = client.get(&path).await?;
            let full = page.len() == PAGE;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }

    /// Whether a request is one of those.
    fn takes(&self, request: &Value) -> bool {
        let is = |key: &str, wanted: Option<String>| wanted.is_none_or(|wanted| text(request, key) == wanted);
        is("state", self.state.clone())
            && is("task", self.task.as_ref().map(ToString::to_string))
            && is("principal", self.principal.as_ref().map(ToString::to_string))
            && is("requester", self.requester.as_ref().map(ToString::to_string))
    }
}

impl Requests {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        match self.verb {
            Some(RequestsVerb::Show { id }) => {
                with_client(connection, async |client| show(client, id, output).await)
            }
            Some(RequestsVerb::Advance { id, idempotency_key, wait }) => {
                let call = Call::post(format!("/v1/requests/{id}/advance"), &json!({}))?;
                let call = request::keyed(call, idempotency_key.as_ref());
                with_agent_client(connection, async |client| {
                    let asked = client.send(call).await?;
                    request::finish(client, asked, wait, output).await
                })
            }
            None if self.follow => {
                with_client(connection, async |client| follow::follow(client, &self.filter, output).await)
            }
            None => with_client(connection, async |client| {
                let found = self.filter.list(client).await?;
                match output {
                    Output::Json => output::json(&found),
                    Output::Table => many(&found),
                }
            }),
        }
    }
}

async fn show(client: &mut Client, id: AccessRequestId, output: Output) -> Result<(), Failure> {
    let mut request: Value = client.get(&format!("/v1/requests/{id}")).await?;
    let story: Vec<Value> = client.get(&format!("/v1/requests/{id}/story")).await?;
    if output == Output::Json {
        if let Some(members) = request.as_object_mut() {
            members.insert("story".to_owned(), json!(story));
        }
        return output::json(&request);
    }
    one(&request)?;
    output::line("")?;
    let row = |chapter: &Value| [text(chapter, "time"), actor(chapter, "actor"), text(chapter, "text")];
    output::table(["TIME", "BY", "WHAT HAPPENED"], story.iter().map(row))?;
    facts::show(&story)
}

/// One request for people.
pub(super) fn one(request: &Value) -> Result<(), Failure> {
    let json = |key: &str| request.get(key).map(ToString::to_string).unwrap_or_default();
    let list = |key: &str| request.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let texts = |key: &str| list(key).iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ");
    output::fields([
        ("id", text(request, "id")),
        ("state", text(request, "state")),
        ("requester", text(request, "requester")),
        ("principal", text(request, "principal")),
        ("on behalf of", json("on_behalf_of")),
        ("task", text(request, "task")),
        ("role", text(request, "role")),
        ("scope", scopes::shown(request, " ")),
        ("for", length(request, "ttl_seconds")),
        ("not before", text(request, "not_before")),
        ("reason", text(request, "reason")),
        ("ticket", text(request, "ticket")),
        ("emergency", text(request, "emergency")),
        ("kind", words::kind(request)),
        ("uses", words::uses(request)),
        ("waits for", list("waiting_for").iter().map(words::stage).collect::<Vec<_>>().join(", then ")),
        ("approvals", list("approvals").iter().map(words::approval).collect::<Vec<_>>().join("; ")),
        ("refused", texts("because")),
        ("decided by", actor(request, "decided_by")),
        ("decided at", text(request, "decided_at")),
        ("grant", text(request, "grant")),
        ("steps", words::steps(request)),
        ("envelope", words::envelope(request)),
        ("token", text(request, "token")),
        ("asked at", text(request, "requested_at")),
        ("decide by", pending_until(request)),
        ("decide at", text(request, "approval_url")),
        ("hash", text(request, "hash")),
    ])
}

fn many(requests: &[Value]) -> Result<(), Failure> {
    if requests.is_empty() {
        return output::line("no requests");
    }
    output::table(HEADER, requests.iter().map(row))
}

const HEADER: [&str; 7] = ["ID", "STATE", "PRINCIPAL", "TASK", "SCOPE", "FOR", "REASON"];

fn row(request: &Value) -> [String; 7] {
    let reason = text(request, "reason");
    let short: String = reason.chars().take(60).collect();
    [
        text(request, "id"),
        text(request, "state"),
        text(request, "principal"),
        text(request, "task"),
        scopes::brief(request),
        length(request, "ttl_seconds"),
        if short.len() < reason.len() { format!("{short}…") } else { reason },
    ]
}

/// Until when somebody can decide.
fn pending_until(request: &Value) -> String {
    let is_pending = Outcome::of(request) == Outcome::Pending;
    if is_pending { text(request, "expires_at") } else { String::new() }
}

/// Seconds as people write a length of time.
fn length(of: &Value, key: &str) -> String {
    let seconds = of.get(key).and_then(Value::as_f64).filter(|seconds| *seconds > 0.0);
    let length = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    length.and_then(|length| Ttl::new(length).ok()).map(|ttl| ttl.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_take_what_they_name() {
        let request = json!({"state": "pending", "task": "t", "principal": "spiffe://d/a", "requester": "spiffe://d/b"});
        let none = || Filter { state: None, task: None, principal: None, requester: None };
        assert!(none().takes(&request));
        assert!(Filter { task: Some("t".parse().unwrap()), ..none() }.takes(&request));
        assert!(!Filter { state: Some("denied".to_owned()), ..none() }.takes(&request));
        assert!(!Filter { requester: Some("spiffe://d/a".parse().unwrap()), ..none() }.takes(&request));
    }
}
