//! `jitgate grants`: what is live, or was.

use super::client::{Client, query, with_client};
use super::connection::Connection;
use super::output::{self, Output};
use super::{Failure, scopes};
use crate::model::{GrantId, ServiceName, SpiffeId, TaskId};
use serde_json::Value;

/// List grants, or show one
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  jitgate grants\n  jitgate grants --principal spiffe://jitgate.local/agent/demo --state all\n  \
jitgate grants show gr_01k2abcdefghjkmnpqrstvwxyz --output json"
)]
pub(super) struct Grants {
    #[command(subcommand)]
    verb: Option<GrantsVerb>,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Debug, clap::Subcommand)]
enum GrantsVerb {
    /// Show one grant
    #[command(after_help = "Example:\n  jitgate grants show gr_01k2abcdefghjkmnpqrstvwxyz")]
    Show {
        /// Which
        id: GrantId,
    },
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only of this principal
    #[arg(long)]
    principal: Option<SpiffeId>,
    /// Only for this task
    #[arg(long)]
    task: Option<TaskId>,
    /// Only with a permission at this service
    #[arg(long)]
    service: Option<ServiceName>,
    /// Only in this state
    #[arg(long, value_enum, default_value_t)]
    state: GrantState,
}

/// Which grants are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum GrantState {
    /// Live and upcoming
    #[default]
    Current,
    /// Permits now
    Live,
    /// Permits later
    Upcoming,
    /// Expired, was revoked, or ended in another way
    Ended,
    /// Every grant that is still known
    All,
}

impl GrantState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Live => "live",
            Self::Upcoming => "upcoming",
            Self::Ended => "ended",
            Self::All => "all",
        }
    }
}

impl Grants {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        match self.verb {
            Some(GrantsVerb::Show { id }) => with_client(connection, async |client| {
                let grant: Value = client.get(&format!("/v1/grants/{id}")).await?;
                match output {
                    Output::Json => output::json(&grant),
                    Output::Table => one(&grant),
                }
            }),
            None => with_client(connection, async |client| {
                let found = list(client, &self.filter).await?;
                match output {
                    Output::Json => output::json(&found),
                    Output::Table => many(&found),
                }
            }),
        }
    }
}

/// Grants in one answer.
const PAGE: usize = 10_000;

async fn list(client: &mut Client, filter: &Filter) -> Result<Vec<Value>, Failure> {
    let filters = [
        ("principal", filter.principal.as_ref().map(ToString::to_string)),
        ("task", filter.task.as_ref().map(ToString::to_string)),
        ("service", filter.service.as_ref().map(ToString::to_string)),
        ("state", Some(filter.state.as_str().to_owned())),
    ];
    pages(client, &query("/v1/grants", filters)).await
}

/// All pages of a list of grants; `path` has a query already.
pub(super) async fn pages(client: &mut Client, path: &str) -> Result<Vec<Value>, Failure> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let after = all.last().map(|grant| format!("&after={}", text(grant, "id"))).unwrap_or_default();
        let page: Vec<Value> = client.get(&format!("{path}&limit={PAGE}{after}")).await?;
        let full = page.len() == PAGE;
        all.extend(page);
        if !full {
            return Ok(all);
        }
    }
}

/// One grant for people.
pub(super) fn one(grant: &Value) -> Result<(), Failure> {
    let json = |key: &str| grant.get(key).map(ToString::to_string).unwrap_or_default();
    output::fields([
        ("id", text(grant, "id")),
        ("principal", text(grant, "principal")),
        ("task", text(grant, "task")),
        ("scope", scopes::shown(grant, " ")),
        ("and only", within(grant)),
        ("not before", text(grant, "not_before")),
        ("expires at", text(grant, "expires_at")),
        ("state", text(grant, "state")),
        ("conditions", json("conditions")),
        ("limits", json("limits")),
        ("recording", text(grant, "recording")),
        ("reason", text(grant, "reason")),
        ("granted by", actor(grant, "issued_by")),
        ("granted at", text(grant, "issued_at")),
        ("ended", grant.get("ended").map(ended).unwrap_or_default()),
        ("revision", json("revision")),
    ])
}

fn many(grants: &[Value]) -> Result<(), Failure> {
    if grants.is_empty() {
        return output::line("no grants");
    }
    let row = |grant: &Value| {
        [
            text(grant, "id"),
            text(grant, "principal"),
            text(grant, "task"),
            scopes::brief(grant),
            text(grant, "state"),
            text(grant, "expires_at"),
        ]
    };
    output::table(["ID", "PRINCIPAL", "TASK", "SCOPE", "STATE", "EXPIRES AT"], grants.iter().map(row))
}

/// The scopes that must permit as well, where the grant was narrowed.
fn within(grant: &Value) -> String {
    let scopes = grant.get("lineage").and_then(|lineage| lineage.get("within")).and_then(Value::as_array);
    let shown = |scope: &Value| scopes::shown(&serde_json::json!({ "scope": scope }), " ");
    scopes.map(|scopes| scopes.iter().map(shown).collect::<Vec<_>>().join("; ")).unwrap_or_default()
}

/// Who did something.
pub(super) fn actor(value: &Value, key: &str) -> String {
    let actor = value.get(key);
    let identity = actor.and_then(|actor| actor.get("identity")).and_then(Value::as_str);
    identity.map_or_else(|| text(value, key), str::to_owned)
}

fn ended(end: &Value) -> String {
    format!("{} at {} by {}", text(end, "cause"), text(end, "at"), actor(end, "by"))
}

/// The value of a member as it is shown; empty where there is none.
pub(super) fn text(value: &Value, key: &str) -> String {
    match value.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
