//! `jitgate policy show` and `reload`: the policies of a running control plane.

use crate::cli::Failure;
use crate::cli::client::with_client;
use crate::cli::connection::Connection;
use crate::cli::grants::text;
use crate::cli::output::{self, Output};
use serde_json::{Value, json};

/// Show which policies decide
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  jitgate policy show\n  jitgate policy show --output json | jq -r .policy"
)]
pub(in crate::cli) struct Show {}

/// Read the folder of policies again; grants that they no longer allow are revoked
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  jitgate policy reload --dry-run\n  jitgate policy reload\n\n\
A set that cannot be used changes nothing. Whether a grant is still allowed is decided from the facts of its own decision.")]
pub(in crate::cli) struct Reload {
    /// Only show which grants would be revoked
    #[arg(long)]
    dry_run: bool,
}

impl Show {
    pub(in crate::cli) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let shown: Value = with_client(connection, async |client| {
            let shown: Value = client.get("/v1/policies").await?;
            Ok(shown)
        })?;
        match output {
            Output::Json => output::json(&shown),
            Output::Table => output::fields([
                ("policy", text(&shown, "policy")),
                ("zone", text(&shown, "zone")),
                ("loaded at", text(&shown, "loaded_at")),
                ("policies", list(&shown, "policies")),
            ]),
        }
    }
}

impl Reload {
    pub(in crate::cli) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let body = json!({"dry_run": self.dry_run});
        let done: Value = with_client(connection, async |client| {
            let done: Value = client.post("/v1/policies/reload", &body).await?;
            Ok(done)
        })?;
        if output == Output::Json {
            return output::json(&done);
        }
        let changed = done.get("changed").and_then(Value::as_bool) == Some(true);
        let (policy, revoked) = (text(&done, "policy"), text(&done, "revoked"));
        output::line(&match (changed, self.dry_run) {
            (false, _) => format!("{policy}: these policies decide already"),
            (true, true) => format!("{policy}: would revoke {revoked} grants"),
            (true, false) => format!("{policy}: loaded, {revoked} grants revoked"),
        })?;
        let disallowed = done.get("disallowed").and_then(Value::as_array).cloned().unwrap_or_default();
        if disallowed.is_empty() {
            return Ok(());
        }
        let row = |one: &Value| [text(one, "grant"), text(one, "request"), text(one, "reason")];
        output::table(["GRANT", "REQUEST", "REASON"], disallowed.iter().map(row))
    }
}

fn list(value: &Value, key: &str) -> String {
    let items = value.get(key).and_then(Value::as_array);
    let items = items.into_iter().flatten().filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(", ")
}
