//! `jitgate reviews`: what a second person has to look at afterwards.

use super::Failure;
use super::client::{query, with_client};
use super::connection::Connection;
use super::grants::{actor, text};
use super::output::{self, Output};
use crate::model::ReviewId;
use serde_json::{Value, json};

/// List reviews, or close one
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  jitgate reviews\n  jitgate reviews --state closed --output json\n  \
jitgate reviews close rw_01k2abcdefghjkmnpqrstvwxyz --justified true --findings 'restarted billing, as said'"
)]
pub(super) struct Reviews {
    #[command(subcommand)]
    verb: Option<ReviewsVerb>,
    /// Only in this state
    #[arg(long, value_enum, default_value_t)]
    state: ReviewState,
}

#[derive(Debug, clap::Subcommand)]
enum ReviewsVerb {
    /// Close a review: somebody who had no part in the request
    #[command(after_help = "Example:\n  \
jitgate reviews close rw_01k2abcdefghjkmnpqrstvwxyz --justified true --findings 'restarted billing, as said'")]
    Close {
        /// Which
        id: ReviewId,
        /// What happened
        #[arg(long)]
        findings: String,
        /// Whether the access was right
        #[arg(long, action = clap::ArgAction::Set)]
        justified: bool,
    },
}

/// Which reviews are listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum ReviewState {
    /// Somebody has to look
    #[default]
    Open,
    /// Somebody has looked
    Closed,
    /// Every review
    All,
}

impl ReviewState {
    fn filter(self) -> Option<String> {
        match self {
            Self::Open => Some("open".to_owned()),
            Self::Closed => Some("closed".to_owned()),
            Self::All => None,
        }
    }
}

impl Reviews {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        match self.verb {
            Some(ReviewsVerb::Close { id, findings, justified }) => {
                let body = json!({"findings": findings, "justified": justified});
                let path = format!("/v1/reviews/{id}/close");
                let closed: Value =
                    with_client(connection, async |client| Ok(client.post(&path, &body).await?))?;
                match output {
                    Output::Json => output::json(&closed),
                    Output::Table => one(&closed),
                }
            }
            None => {
                let path = query("/v1/reviews", [("state", self.state.filter())]);
                let found: Vec<Value> =
                    with_client(connection, async |client| Ok(client.get(&path).await?))?;
                match output {
                    Output::Json => output::json(&found),
                    Output::Table => many(&found),
                }
            }
        }
    }
}

fn one(review: &Value) -> Result<(), Failure> {
    output::fields([
        ("id", text(review, "id")),
        ("state", text(review, "state")),
        ("request", text(review, "request")),
        ("grant", text(review, "grant")),
        ("requester", text(review, "requester")),
        ("emergency", text(review, "emergency")),
        ("opened at", text(review, "opened_at")),
        ("due", text(review, "due")),
        ("closed by", actor(review, "closed_by")),
        ("closed at", text(review, "closed_at")),
        ("findings", text(review, "findings")),
        ("justified", text(review, "justified")),
    ])
}

fn many(reviews: &[Value]) -> Result<(), Failure> {
    if reviews.is_empty() {
        return output::line("no reviews");
    }
    let due = |review: &Value| {
        let overdue = review.get("overdue").and_then(Value::as_bool) == Some(true);
        format!("{}{}", text(review, "due"), if overdue { " (overdue)" } else { "" })
    };
    let row = |review: &Value| {
        [
            text(review, "id"),
            text(review, "state"),
            text(review, "requester"),
            text(review, "request"),
            text(review, "grant"),
            due(review),
        ]
    };
    output::table(["ID", "STATE", "REQUESTER", "REQUEST", "GRANT", "DUE"], reviews.iter().map(row))
}
