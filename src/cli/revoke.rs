//! `jitgate revoke`: end access now, and know when it has ended everywhere.

use super::Failure;
use super::client::{Client, query, with_client};
use super::connection::Connection;
use super::grants::text;
use super::output::{self, Output};
use crate::model::{GrantId, ServiceName, SpiffeId, TaskId, Ttl};
use crate::runtime::clock::Mono;
use serde_json::{Value, json};
use std::time::Duration;

/// How long `--wait` waits: longer than the longest lease and drift, after which every receipt is effective.
const WAIT: &str = "90s";
/// How long one call waits.
const STEP: Duration = Duration::from_secs(60);

/// End access now
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("which").required(true),
    after_help = "Examples:\n  jitgate revoke gr_01k2abcdefghjkmnpqrstvwxyz --reason 'task is over' --wait\n  \
jitgate revoke --principal spiffe://jitgate.local/agent/demo --reason 'misbehaves' --wait=5s\n  \
jitgate revoke --all --reason 'stop everything'\n\n\
With --wait it ends with 0 when the revocation is effective at every proxy, and with 1 if that takes too long."
)]
pub(super) struct Revoke {
    /// One grant
    #[arg(group = "which", value_name = "GRANT")]
    grant: Option<GrantId>,
    /// All grants of a task
    #[arg(long, group = "which")]
    task: Option<TaskId>,
    /// All grants of a principal
    #[arg(long, group = "which")]
    principal: Option<SpiffeId>,
    /// All grants with a permission at a service
    #[arg(long, group = "which")]
    service: Option<ServiceName>,
    /// Every grant
    #[arg(long, group = "which")]
    all: bool,
    /// Why, for those who read the trail
    #[arg(long)]
    reason: String,
    /// Wait until it is effective everywhere, at most this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = WAIT)]
    wait: Option<Ttl>,
}

impl Revoke {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let body = self.body();
        let receipt = with_client(connection, async |client| {
            let Some(limit) = self.wait else { return Ok(client.post("/v1/revocations", &body).await?) };
            let until = Mono::now().plus(limit.get());
            let receipt: Value = client.post(&waiting("/v1/revocations", until), &body).await?;
            wait(client, receipt, until).await
        })?;
        match output {
            Output::Json => output::json(&receipt)?,
            Output::Table => show(&receipt)?,
        }
        match self.wait {
            Some(limit) if !effective(&receipt) => {
                Err(Failure::failed(format!("accepted, but not effective everywhere within {limit}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    #[cfg(test)]
    pub(super) fn wait_limit(&self) -> Option<Ttl> {
        self.wait
    }

    /// What is asked for: exactly one of these, by the argument group.
    fn body(&self) -> Value {
        let mut body = json!({ "reason": self.reason });
        let selectors = [
            ("grant", self.grant.map(|id| json!(id))),
            ("task", self.task.as_ref().map(|task| json!(task))),
            ("principal", self.principal.as_ref().map(|id| json!(id))),
            ("service", self.service.as_ref().map(|name| json!(name))),
            ("all", self.all.then_some(json!(true))),
        ];
        if let Some(object) = body.as_object_mut() {
            for (key, value) in selectors {
                object.extend(value.map(|value| (key.to_owned(), value)));
            }
        }
        body
    }
}

/// Asks again while the receipt is not effective and the time is not over.
async fn wait(client: &mut Client, mut receipt: Value, until: Mono) -> Result<Value, Failure> {
    let path = format!("/v1/revocations/{}", text(&receipt, "id"));
    while !effective(&receipt) && Mono::now() < until {
        receipt = client.get(&waiting(&path, until)).await?;
    }
    Ok(receipt)
}

/// The control plane waits for us, at most [`STEP`] in one call.
fn waiting(path: &str, until: Mono) -> String {
    let left = until.since(Mono::now()).min(STEP).max(Duration::from_millis(1));
    query(path, [("wait", Some(format!("{}ms", left.as_millis())))])
}

fn effective(receipt: &Value) -> bool {
    receipt.get("effective").and_then(Value::as_bool) == Some(true)
}

fn show(receipt: &Value) -> Result<(), Failure> {
    let grants = receipt.get("grants").and_then(Value::as_array).map_or(0, Vec::len);
    let effective = if effective(receipt) { "yes, at every proxy" } else { "not yet everywhere" };
    output::fields([
        ("revocation", text(receipt, "id")),
        ("revision", text(receipt, "revision")),
        ("grants ended", grants.to_string()),
        ("effective", effective.to_owned()),
        ("at the latest by", text(receipt, "effective_by")),
    ])?;
    let Some(proxies) = receipt.get("proxies").and_then(Value::as_array) else { return Ok(()) };
    if proxies.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let row = |proxy: &Value| {
        [text(proxy, "proxy"), text(proxy, "state"), text(proxy, "at"), text(proxy, "streams_cut")]
    };
    output::table(["PROXY", "STATE", "CONFIRMED AT", "STREAMS CUT"], proxies.iter().map(row))
}
