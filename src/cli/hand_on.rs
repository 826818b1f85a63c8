//! `jitgate extend` and `jitgate delegate`: going on from a grant of one's own, each with a decision of its own.

use super::ask::Proof;
use super::client::{Call, with_agent_client};
use super::connection::Connection;
use super::output::Output;
use super::{Failure, request};
use crate::model::{GrantId, Scope, SpiffeId, Ttl};
use serde_json::{Value, json};

/// Ask for more time for a grant, as the agent
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  jitgate extend gr_01k2abcdefghjkmnpqrstvwxyz --ttl 15m --reason 'the import is slow' --wait\n\n\
A new decision, and a new grant that goes on where the old one ends."
)]
pub(super) struct Extend {
    /// Which grant
    grant: GrantId,
    /// How much longer, from its end
    #[arg(long)]
    ttl: Ttl,
    /// Why, anew, for those who decide
    #[arg(long)]
    reason: String,
    /// The ticket that it belongs to
    #[arg(long)]
    ticket: Option<String>,
    /// Wait for the decision, at most this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    wait: Option<Ttl>,
    #[command(flatten)]
    proof: Proof,
}

impl Extend {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let mut body = json!({"ttl": self.ttl, "reason": self.reason});
        if let (Some(members), Some(ticket)) = (body.as_object_mut(), &self.ticket) {
            members.insert("ticket".to_owned(), json!(ticket));
        }
        let call = Call::post(format!("/v1/grants/{}/extend", self.grant), &body)?;
        ask(connection, output, self.proof.add_to(call)?, self.wait)
    }
}

/// Hand a part of a grant to another principal, for the same task, as the agent
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  jitgate delegate gr_01k2abcdefghjkmnpqrstvwxyz \\\n    \
--principal spiffe://jitgate.local/agent/helper --scope 'orders:GET:/v1/orders/1001' --reason 'reads this one for me'\n\n\
The part and the grant must both permit, and the part ends with the grant.")]
pub(super) struct Delegate {
    /// Which grant
    grant: GrantId,
    /// For whom: a SPIFFE ID
    #[arg(long)]
    principal: SpiffeId,
    /// What, in text or JSON form; repeatable
    #[arg(long, required = true)]
    scope: Vec<String>,
    /// How long [default: as long as the grant]
    #[arg(long)]
    ttl: Option<Ttl>,
    /// Why, for those who decide
    #[arg(long)]
    reason: String,
    /// Wait for the decision, at most this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "1h")]
    wait: Option<Ttl>,
}

impl Delegate {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let scope = Scope::parse_all(&self.scope).map_err(Failure::usage)?;
        let mut body = json!({"principal": self.principal, "scope": scope, "reason": self.reason});
        if let (Some(members), Some(ttl)) = (body.as_object_mut(), self.ttl) {
            members.insert("ttl".to_owned(), json!(ttl));
        }
        let call = Call::post(format!("/v1/grants/{}/delegate", self.grant), &body)?;
        ask(connection, output, call, self.wait)
    }
}

fn ask(connection: &Connection, output: Output, call: Call, wait: Option<Ttl>) -> Result<(), Failure> {
    with_agent_client(connection, async |client| {
        let asked: Value = client.send(call).await?;
        request::finish(client, asked, wait, output).await
    })
}
