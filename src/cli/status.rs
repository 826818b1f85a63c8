//! `jitgate status`: proxies, how far they are, how much is granted, and what needs attention.

use super::Failure;
use super::client::with_client;
use super::connection::Connection;
use super::grants::text;
use super::output::{self, Output};
use serde_json::Value;

/// Show proxies, counts, and what needs attention
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  jitgate status\n  jitgate status --output json | jq '.proxies[].state'\n\n\
It ends with 0 also where something needs attention."
)]
pub(super) struct Status {}

impl Status {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let status: Value = with_client(connection, async |client| Ok(client.get("/v1/status").await?))?;
        match output {
            Output::Json => output::json(&status),
            Output::Table => show(&status),
        }
    }
}

fn show(status: &Value) -> Result<(), Failure> {
    let count = |of: &str, key: &str| status.get(of).map(|counts| text(counts, key)).unwrap_or_default();
    output::fields([
        ("control plane", text(status, "version")),
        ("revision", text(status, "revision")),
        ("lease", millis(status, "lease_ms")),
        ("live grants", count("grants", "live")),
        ("upcoming grants", count("grants", "upcoming")),
        ("pending requests", count("requests", "pending")),
        ("open reviews", count("reviews", "open")),
        ("up since", text(status, "started_at")),
    ])?;
    let list = |key: &str| status.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let proxies = list("proxies");
    if !proxies.is_empty() {
        output::line("")?;
        let row = |proxy: &Value| {
            [
                text(proxy, "name"),
                text(proxy, "state"),
                text(proxy, "revision"),
                text(proxy, "lag"),
                millis(proxy, "lease_remaining_ms"),
                text(proxy, "last_seen"),
            ]
        };
        output::table(
            ["PROXY", "STATE", "REVISION", "LAG", "LEASE LEFT", "LAST SEEN"],
            proxies.iter().map(row),
        )?;
    }
    let webhooks = list("webhooks");
    if !webhooks.is_empty() {
        output::line("")?;
        let row = |webhook: &Value| {
            let dead = webhook.get("dead_letters").and_then(Value::as_array).map_or(0, Vec::len);
            [
                text(webhook, "name"),
                text(webhook, "waiting"),
                dead.to_string(),
                text(webhook, "last_delivered"),
            ]
        };
        output::table(["WEBHOOK", "WAITING", "DEAD LETTERS", "LAST DELIVERED"], webhooks.iter().map(row))?;
    }
    output::line("")?;
    let attention = list("attention");
    if attention.is_empty() {
        return output::line("nothing needs attention");
    }
    let notes = attention.iter().map(|note| [note.as_str().unwrap_or_default().to_owned()]);
    output::table(["NEEDS ATTENTION"], notes)
}

fn millis(value: &Value, key: &str) -> String {
    let millis = value.get(key).and_then(Value::as_u64);
    millis.map(|millis| format!("{}.{} s", millis / 1_000, millis % 1_000 / 100)).unwrap_or_default()
}
