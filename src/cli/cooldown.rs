//! `jitgate cooldown`: letting somebody ask again before a denial or a revocation has been slept over.

use super::Failure;
use super::client::{segment, with_client};
use super::connection::Connection;
use super::grants::text;
use super::output::{self, Output};
use crate::model::SpiffeId;
use serde_json::{Value, json};

/// Let somebody ask again before a cool-down is over
#[derive(Debug, clap::Subcommand)]
pub(super) enum Cooldown {
    /// Lift every cool-down of a principal, and of all identities of the same person
    #[command(after_help = "Example:\n  \
jitgate cooldown lift spiffe://jitgate.local/agent/demo --reason 'the freeze is over'\n\n\
Needs the role `approver`, and is logged. Whatever is asked for again still has to be decided.")]
    Lift {
        /// Who: a SPIFFE ID
        principal: SpiffeId,
        /// Why, for those who read the trail
        #[arg(long)]
        reason: String,
    },
}

impl Cooldown {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let Self::Lift { principal, reason } = self;
        let path = format!("/v1/principals/{}/cooldowns/lift", segment(principal.as_str()));
        let body = json!({"reason": reason});
        let known: Value = with_client(connection, async |client| Ok(client.post(&path, &body).await?))?;
        match output {
            Output::Json => output::json(&known),
            Output::Table => output::line(&format!("{} may ask again", text(&known, "id"))),
        }
    }
}
