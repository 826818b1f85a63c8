//! `jitgate connect`: the way through the gate for MCP clients that cannot do mutual TLS.
//!
//! A client starts it like any server on standard input and output, or calls it on the loopback interface with a secret of this run; it calls
//! the gate with the workload's certificate. It decides nothing: the gate does. Beside the service's tools it offers those of the control
//! plane, so that the agent can ask for the access that it lacks.
//!
//! This process holds a key. Others of the same user can neither trace it nor read its memory or descriptors. Standard output carries
//! messages alone; what is to be told goes to standard error.

mod asking;
mod bridge;
mod fault;
mod lines;
mod link;
mod listen;
mod messages;
mod out;
mod parts;
mod request;
mod session;
mod snippet;
mod stdio;
mod watch;

use super::Failure;
use super::connection::{Connection, GateFlags};
use super::loopback::Gate;
use super::output::Output;
use crate::mcp::rules::EndpointPath;
use crate::model::{ServiceName, TaskId};
use parts::Parts;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use snippet::Client;
use std::net::SocketAddr;
use std::sync::Arc;

/// Let an MCP client that cannot do mTLS use a service, and ask for access to it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
jitgate connect --service ops\n  \
jitgate connect --service ops --print-config claude-desktop\n  \
jitgate connect --service ops --listen 127.0.0.1:0\n  \
jitgate connect --service ops --task INC-4711 --control https://control.example:8444 --proxy https://gate.example:8443 \\\n    \
--cert svid.pem --key key.pem --ca bundle.pem\n\n\
The first speaks MCP on standard input and output, as clients start servers; the second prints what goes into the client's\n\
configuration; the third takes streamable HTTP on this machine, and prints the URL with its secret.\n\
Beside the service's tools, the client finds request_access, access_status, my_access, task_done and task_failed (--no-asking\n\
leaves them out). It ends with its input: calls that run are finished, and the exit code is 0. See docs/connect.md.")]
pub(super) struct Connect {
    /// The service, as the gate calls it
    #[arg(long, value_name = "NAME")]
    service: ServiceName,
    /// The task that every call is under: only grants of this task count
    #[arg(long, value_name = "TASK")]
    task: Option<TaskId>,
    /// The path of the service's MCP endpoint
    #[arg(long, value_name = "PATH", default_value = "/mcp")]
    path: EndpointPath,
    /// Take HTTP on this loopback address instead of standard input; port 0 takes a free one
    #[arg(long, value_name = "ADDR", value_parser = listen::loopback, conflicts_with = "print_config")]
    listen: Option<SocketAddr>,
    /// Do not offer the control plane's tools
    #[arg(long)]
    no_asking: bool,
    /// Print what a client's configuration needs, and end
    #[arg(long, value_name = "CLIENT", value_enum, num_args = 0..=1, default_missing_value = "generic")]
    print_config: Option<Client>,
    #[command(flatten)]
    gate: GateFlags,
}

impl Connect {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        if let Some(client) = self.print_config {
            return snippet::print(client, &self, connection);
        }
        // Best effort: where that is not possible, the files are what protects a key from its user.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::failed)?;
        let ended = runtime.block_on(self.go(connection, output));
        // Not to wait for a read of standard input that nobody needs any more.
        runtime.shutdown_background();
        ended
    }

    async fn go(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let gate = Arc::new(Gate::new(connection.gate(&self.gate)?));
        let control = match self.no_asking {
            true => None,
            false => Some(Arc::new(Gate::new(connection.agent_target()?))),
        };
        let parts = Parts { service: self.service, path: self.path, task: self.task, gate, control };
        let parts = parts.checked()?;
        match self.listen {
            Some(address) => listen::serve(parts, address, output).await,
            None => stdio::serve(parts).await,
        }
    }
}
