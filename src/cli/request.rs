//! `jitgate request`: ask for access, and where wanted wait for the decision.

use super::ask::{Outcome, Progress, Wanted, decided};
use super::client::{Call, Client, with_agent_client};
use super::connection::Connection;
use super::grants::text;
use super::output::{self, Output};
use super::{Failure, grants, requests, scopes};
use crate::model::grant::Limits;
use crate::model::{Entry, Scope, SpiffeId, Time, Ttl};
use crate::runtime::clock::Mono;
use http::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

/// How long `--wait` waits unless told: as long as a request is pending unless configured otherwise.
const WAIT: &str = "1h";

/// Ask for access
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("asked").required(true).multiple(false).args(["scope", "role", "plan", "envelope"]),
    after_help = "Examples:\n  \
jitgate request --task INC-4711 --scope 'orders:GET,HEAD:/v1/orders/*' --ttl 15m --reason 'look at one order' --wait\n  \
jitgate request --task INC-4711 --scope 'ops:tools/call:restart_service{server=\"srv-7\"}' --ttl 5m --reason 'it hangs'\n  \
jitgate request --task INC-4711 --role order-reader --ttl 1h --reason 'night shift' --ticket OPS-7\n  \
jitgate request --task REL-9 --plan plan.json --ttl 30m --reason 'release 9' --wait=10m --output json\n  \
jitgate request --task INC-4711 --envelope envelope.json --ttl 1h --reason 'clean up' --wait\n\n\
PLAN is a JSON array of steps: {\"scope\": …, \"max_uses\": N, \"reassess\": true}, the scope in text or JSON form; the\n\
first step opens with the grant, `jitgate requests advance` opens the next.\n\
An envelope is a JSON array of entries: {\"scope\": …, \"limits\": {\"max_uses\": N, …}}; one decision makes a grant of each at once.\n\
It ends with 0 when the request is granted, or pending and --wait was not given; with 1 when it is refused or nobody\n\
decided in time."
)]
pub(super) struct Request {
    #[command(flatten)]
    wanted: Wanted,
    /// Ordered steps, each with a scope of its own
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["scope", "role"])]
    plan: Option<PathBuf>,
    /// Several scopes with limits of their own, decided at once
    #[arg(long, value_name = "FILE.json", conflicts_with_all = ["scope", "role", "plan"])]
    envelope: Option<PathBuf>,
    /// Why, for those who decide
    #[arg(long)]
    reason: String,
    /// For another principal; needs the role `broker`
    #[arg(long, value_name = "SPIFFE_ID")]
    principal: Option<SpiffeId>,
    /// From when, RFC 3339 [default: from approval]
    #[arg(long, value_name = "TIME")]
    not_before: Option<Time>,
    /// When the task ends, RFC 3339
    #[arg(long, value_name = "TIME")]
    task_deadline: Option<Time>,
    /// The task ends when it has seen no traffic and no sign of life for this long
    #[arg(long, value_name = "DURATION")]
    task_idle_timeout: Option<Ttl>,
    /// A token that is bound to this certificate is wanted with the grant
    #[arg(long)]
    token: bool,
    /// The same key asks the same request once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<HeaderValue>,
    /// Wait for the decision, at most this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = WAIT)]
    wait: Option<Ttl>,
}

impl Request {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let call = keyed(self.wanted.call(&self.body()?)?, self.idempotency_key.as_ref());
        with_agent_client(connection, async |client| {
            let asked = client.send(call).await?;
            finish(client, asked, self.wait, output).await
        })
    }

    fn body(&self) -> Result<serde_json::Map<String, Value>, Failure> {
        let mut body = self.wanted.body(&self.reason)?;
        let plan = self.plan.as_deref().map(plan).transpose()?;
        let envelope = self.envelope.as_deref().map(envelope).transpose()?;
        let optional = [
            ("plan", plan.map(|plan| json!(plan))),
            ("envelope", envelope.map(|envelope| json!(envelope))),
            ("principal", self.principal.as_ref().map(|principal| json!(principal))),
            ("not_before", self.not_before.map(|at| json!(at))),
            ("task_deadline", self.task_deadline.map(|at| json!(at))),
            ("task_idle_timeout", self.task_idle_timeout.map(|length| json!(length))),
            ("token", self.token.then_some(json!(true))),
        ];
        body.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(body)
    }
}

/// The same call under a key, if there is one.
pub(super) fn keyed(call: Call, key: Option<&HeaderValue>) -> Call {
    match key {
        Some(key) => call.header(HeaderName::from_static("idempotency-key"), key.clone()),
        None => call,
    }
}

/// Waits if that is wanted, prints how the request stands, and says whether that is a success.
pub(super) async fn finish(
    client: &mut Client,
    asked: Value,
    wait: Option<Ttl>,
    output: Output,
) -> Result<(), Failure> {
    let request = match wait {
        Some(limit) => {
            let until = Mono::now().plus(limit.get());
            decided(client, asked, Some(until), &mut Progress::new()).await?
        }
        None => asked,
    };
    match output {
        Output::Json => output::json(&request)?,
        Output::Table => requests::one(&request)?,
    }
    match (Outcome::of(&request), wait) {
        (Outcome::Granted, _) => {
            if output == Output::Table {
                granted(client, &request).await?;
            }
            Ok(())
        }
        (Outcome::Pending, None) => {
            if output == Output::Table {
                let id = text(&request, "id");
                let page = text(&request, "approval_url");
                output::line(&format!(
                    "\nsomebody who may decides with `jitgate approve {id} --reason …` or at {page}"
                ))?;
            }
            Ok(())
        }
        (Outcome::Pending, Some(limit)) => {
            let id = text(&request, "id");
            Err(Failure::failed(format!("nobody decided within {limit}; see `jitgate requests show {id}`")))
        }
        (Outcome::Refused, _) => Err(refused(&request)),
    }
}

/// Shows the grant: approvers may have given less than was asked for.
async fn granted(client: &mut Client, request: &Value) -> Result<(), Failure> {
    output::line("")?;
    let path = format!("/v1/grants/{}", text(request, "grant"));
    match client.get::<Value>(&path).await {
        Ok(grant) => grants::one(&grant),
        // A broker may ask for others and not see what they have.
        Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Why there is no access.
pub(super) fn refused(request: &Value) -> Failure {
    let list = request.get("because").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let because: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
    let why = if because.is_empty() { String::new() } else { format!(": {}", because.join("; ")) };
    Failure::failed(format!("{} is {}{why}", text(request, "id"), text(request, "state")))
}

/// A step as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    scope: Box<RawValue>,
    #[serde(default)]
    max_uses: Option<NonZeroU64>,
    #[serde(default)]
    reassess: bool,
}

/// A step as it is sent.
#[derive(Debug, Serialize)]
struct Step {
    scope: Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_uses: Option<NonZeroU64>,
    reassess: bool,
}

/// An entry of an envelope as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    scope: Box<RawValue>,
    #[serde(default)]
    limits: Limits,
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    let fail = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
    let text = std::fs::read_to_string(file).map_err(|error| fail(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| fail(error.to_string()))
}

fn envelope(file: &Path) -> Result<Vec<Entry>, Failure> {
    let written: Vec<WrittenEntry> = read(file)?;
    let entry = |(number, entry): (usize, WrittenEntry)| {
        let scope = scopes::written(&entry.scope)
            .map_err(|why| Failure::usage(format!("`{}`: entry {number}: {why}", file.display())))?;
        Ok(Entry { scope, limits: entry.limits })
    };
    written.into_iter().enumerate().map(entry).collect()
}

fn plan(file: &Path) -> Result<Vec<Step>, Failure> {
    let fail = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
    let written: Vec<WrittenStep> = read(file)?;
    let step = |(number, step): (usize, WrittenStep)| {
        let scope = scopes::written(&step.scope).map_err(|why| fail(format!("step {number}: {why}")))?;
        Ok(Step { scope, max_uses: step.max_uses, reassess: step.reassess })
    };
    written.into_iter().enumerate().map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_strictly_and_its_scopes_in_either_form() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("plan.json");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            plan(&file).map(|plan| json!(plan))
        };
        let plan = read(
            r#"[{"scope": "orders:GET:/v1/orders", "max_uses": 2},
                {"scope": [{"type":"http","locations":["orders"],"actions":["POST"],"paths":["/v1/orders"]}], "reassess": true}]"#,
        )
        .unwrap();
        assert_eq!(plan[0]["scope"][0]["paths"], json!(["/v1/orders"]));
        assert_eq!((&plan[0]["max_uses"], &plan[1]["reassess"]), (&json!(2), &json!(true)));
        for bad in [
            "{}",
            r#"[{"scope": "orders:GET"}]"#,
            r#"[{"scope": "orders:GET:/a", "scope": "orders:GET:/b"}]"#,
            r#"[{"scope": "orders:GET:/a", "reasses": true}]"#,
            r#"[{"scope": "orders:GET:/a", "max_uses": 0}]"#,
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refusal_says_why() {
        let request = json!({"id": "rq_1", "state": "denied", "because": ["out of hours", "no ticket"]});
        assert_eq!(refused(&request).text(), "rq_1 is denied: out of hours; no ticket");
    }
}
