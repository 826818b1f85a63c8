//! `jitgate task`: who takes part in a task, whether somebody works on it, and its end.

use super::Failure;
use super::client::{segment, with_agent_client};
use super::connection::Connection;
use super::grants::text;
use super::output::{self, Output};
use crate::model::{SpiffeId, TaskId};
use serde_json::{Value, json};

/// End a task with everything that was granted for it, look at it, or let others join
#[derive(Debug, clap::Subcommand)]
pub(super) enum Task {
    /// The task is done: everything that was granted for it ends
    #[command(after_help = "Example:\n  jitgate task done INC-4711")]
    Done(End),
    /// The task failed: everything that was granted for it ends
    #[command(after_help = "Example:\n  jitgate task failed INC-4711 --reason 'the import broke off'")]
    Failed(End),
    /// Show a task: who takes part, its live grants, its requests
    #[command(after_help = "Example:\n  jitgate task show INC-4711 --output json")]
    Show {
        /// Which
        task: TaskId,
    },
    /// Say that somebody works on it, so that it does not end for idleness
    #[command(after_help = "Example:\n  jitgate task alive INC-4711")]
    Alive {
        /// Which
        task: TaskId,
    },
    /// Let another principal ask for access under it
    #[command(after_help = "Example:\n  \
jitgate task join INC-4711 --principal spiffe://jitgate.local/agent/helper --reason 'works on it too'")]
    Join {
        /// Which
        task: TaskId,
        /// Who
        #[arg(long)]
        principal: SpiffeId,
        /// Why, for those who read the trail
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct End {
    /// Which
    task: TaskId,
    /// Why
    #[arg(long, default_value = "")]
    reason: String,
}

impl Task {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let path = |task: &TaskId, what: &str| format!("/v1/tasks/{}{what}", segment(task.as_str()));
        let (path, body) = match &self {
            Self::Done(end) => (path(&end.task, "/done"), Some(json!({"reason": end.reason}))),
            Self::Failed(end) => (path(&end.task, "/failed"), Some(json!({"reason": end.reason}))),
            Self::Show { task } => (path(task, ""), None),
            Self::Alive { task } => (path(task, "/alive"), Some(json!({}))),
            Self::Join { task, principal, reason } => {
                (path(task, "/members"), Some(json!({"principal": principal, "reason": reason})))
            }
        };
        let task: Value = with_agent_client(connection, async |client| match body {
            Some(body) => Ok(client.post(&path, &body).await?),
            None => Ok(client.get(&path).await?),
        })?;
        match output {
            Output::Json => output::json(&task),
            Output::Table => show(&task),
        }
    }
}

fn show(task: &Value) -> Result<(), Failure> {
    let list = |key: &str| {
        let list = task.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
    };
    output::fields([
        ("task", text(task, "task")),
        ("state", text(task, "state")),
        ("owner", text(task, "owner")),
        ("members", list("members")),
        ("opened at", text(task, "opened_at")),
        ("deadline", text(task, "deadline")),
        ("ended at", text(task, "ended_at")),
        ("live grants", list("grants")),
        ("requests", list("requests")),
    ])
}
