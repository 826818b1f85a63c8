//! `jitgate approve`, `deny`, `cancel`: what becomes of a request.
//!
//! An approval is of what was shown: the request is read anew and its hash is sent along, so that another one is not approved.

use super::ask::{Outcome, Proof};
use super::client::{Call, with_agent_client, with_client};
use super::connection::Connection;
use super::grants::text;
use super::output::{self, Output};
use super::{Failure, request, requests};
use crate::model::{AccessRequestId, Scope, Ttl};
use serde_json::{Value, json};

/// Approve a request, or less of it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  jitgate approve rq_01k2abcdefghjkmnpqrstvwxyz --reason 'agreed with on-call'\n  \
jitgate approve rq_01k2abcdefghjkmnpqrstvwxyz --scope 'orders:GET:/v1/orders/1001' --ttl 5m --reason 'one order is enough'\n\n\
The request is shown as it is approved. With --scope, what was asked for and this must both permit: nothing gets wider.\n\
It ends with 0 when the approval counts, also where others have to approve as well; with 1 when policies no longer allow it."
)]
pub(super) struct Approve {
    /// Which request
    id: AccessRequestId,
    /// Only this, in text or JSON form; repeatable
    #[arg(long)]
    scope: Vec<String>,
    /// Only for this long
    #[arg(long)]
    ttl: Option<Ttl>,
    /// Why, for those who read the trail
    #[arg(long)]
    reason: String,
    /// The hash that was seen before (`requests show`): anything else is not approved
    #[arg(long, value_name = "SHA256")]
    hash: Option<String>,
    #[command(flatten)]
    proof: Proof,
}

impl Approve {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let scope = if self.scope.is_empty() {
            None
        } else {
            Some(Scope::parse_all(&self.scope).map_err(Failure::usage)?)
        };
        with_client(connection, async |client| {
            let path = format!("/v1/requests/{}", self.id);
            let seen: Value = client.get(&path).await?;
            let hash = text(&seen, "hash");
            if self.hash.as_ref().is_some_and(|wanted| *wanted != hash) {
                let why = format!("{} has the hash {hash}: look at it anew", self.id);
                return Err(Failure::failed(why));
            }
            if output == Output::Table {
                requests::one(&seen)?;
                output::line("")?;
            }
            let mut body = json!({"reason": self.reason, "hash": hash});
            if let Some(members) = body.as_object_mut() {
                members.extend(scope.map(|scope| ("scope".to_owned(), json!(scope))));
                members.extend(self.ttl.map(|ttl| ("ttl".to_owned(), json!(ttl))));
            }
            let call = self.proof.add_to(Call::post(format!("{path}/approve"), &body)?)?;
            let now: Value = client.send(call).await?;
            match output {
                Output::Json => output::json(&now)?,
                Output::Table => told(&now)?,
            }
            match Outcome::of(&now) {
                Outcome::Granted | Outcome::Pending => Ok(()),
                // The policies of now refuse what they let wait before.
                Outcome::Refused => Err(request::refused(&now)),
            }
        })
    }
}

/// What the approval led to.
fn told(request: &Value) -> Result<(), Failure> {
    match Outcome::of(request) {
        Outcome::Granted => output::line(&format!("approved: {}", text(request, "grant"))),
        Outcome::Pending => output::line("approved; others have to approve as well"),
        Outcome::Refused => output::line(&format!("the request is {}", text(request, "state"))),
    }
}

/// Refuse a request
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  jitgate deny rq_01k2abcdefghjkmnpqrstvwxyz --reason 'not during the freeze'\n\n\
A denial ends the request, whoever has approved it before."
)]
pub(super) struct Deny {
    /// Which request
    id: AccessRequestId,
    /// Why: the requester gets to see it
    #[arg(long)]
    reason: String,
}

impl Deny {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let body = json!({"reason": self.reason});
        let path = format!("/v1/requests/{}/deny", self.id);
        with_client(connection, async |client| print(&client.post(&path, &body).await?, output))
    }
}

/// Withdraw a request, as the agent
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  jitgate cancel rq_01k2abcdefghjkmnpqrstvwxyz --reason 'no longer needed'\n\n\
Requester and principal may withdraw a request; with --as another certificate than the agent's."
)]
pub(super) struct Cancel {
    /// Which request
    id: AccessRequestId,
    /// Why
    #[arg(long, default_value = "withdrawn")]
    reason: String,
}

impl Cancel {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let body = json!({"reason": self.reason});
        let path = format!("/v1/requests/{}/cancel", self.id);
        with_agent_client(connection, async |client| print(&client.post(&path, &body).await?, output))
    }
}

fn print(request: &Value, output: Output) -> Result<(), Failure> {
    match output {
        Output::Json => output::json(request),
        Output::Table => requests::one(request),
    }
}
