//! `jitgate run`: asks for access, waits for it, runs a command with it, and ends it with the command.
//!
//! The command gets a loopback address with a secret of this run; no certificate, no key, and no variable that leads to one. However
//! it ends, the task ends: `done` when it exits with 0, `failed` otherwise. When the access ends first, so does the command.
//!
//! If this process itself is killed (SIGKILL), the listener is gone with it, so that the command cannot use its access any more; and
//! the task ends by its idle rule, because nobody says any more that it is alive.
//!
//! This process holds a key. Others of the same user, the command for one, can neither trace it nor read its memory or descriptors.

mod access;
mod asking;
mod command;
mod environment;
pub(super) mod signals;
mod supervise;
mod terminal;
mod token;

use super::Failure;
use super::ask::Wanted;
use super::client::Client;
use super::connection::{Connection, GateFlags, Target};
use super::loopback::{Gate, Loopback, Passage};
use super::shown::escaped;
use crate::model::{Scope, ServiceName, Ttl};
use crate::runtime::clock::Mono;
use access::Access;
use command::CommandLine;
use environment::Environment;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use serde_json::Value;
use signals::Signals;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use supervise::{Ended, Supervised};
use token::Tokens;
use tokio_util::sync::CancellationToken;

/// For how long a denial may only mean that the gate has not heard of the new grant.
const SETTLES: Duration = Duration::from_secs(2);

/// Run a command with access that begins and ends with it
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("asked").required(true).args(["scope", "role"]),
    after_help = "Examples:\n  \
jitgate run --task REL-9 --scope 'orders:GET,POST:/v1/**' --ttl 10m --reason 'deploy 9' -- ./deploy.sh\n  \
jitgate run --task INC-4711 --scope 'orders:GET:/v1/**' --ttl 1h --reason 'on call' -- bash\n  \
jitgate run --task demo --scope 'orders:GET:/v1/**' --ttl 5m -- sh -c 'curl \"$JITGATE_URL/v1/orders\"'\n\n\
CMD finds $JITGATE_URL (one service) and $JITGATE_URL_NAME for each service of the scope; see docs/run.md for clients that\n\
cannot use a base URL with a path.\n\
It returns the exit code of CMD, 128+N if signal N ended it, and 125 if CMD never started (denied, not decided, not found)."
)]
pub(super) struct Run {
    #[command(flatten)]
    wanted: Wanted,
    /// Why, for those who decide [default: that the command is run]
    #[arg(long)]
    reason: Option<String>,
    /// Wait for the decision at most this long [default: as long as the request is pending]
    #[arg(long, value_name = "DURATION", require_equals = true)]
    wait: Option<Ttl>,
    /// An address for these services alone; repeatable [default: every service of the scope]
    #[arg(long, value_name = "NAME")]
    service: Vec<ServiceName>,
    /// The task ends when nothing is heard of this process for so long, should it be killed
    #[arg(long, value_name = "DURATION", default_value = "2m")]
    task_idle_timeout: Ttl,
    /// From the signal that ends CMD to SIGKILL
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    grace: Ttl,
    /// Send the token of the grant with each request [default: to services that demand one]
    #[arg(long)]
    token: bool,
    #[command(flatten)]
    gate: GateFlags,
    /// What to run, with its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<OsString>,
}

impl Run {
    /// The exit code of the command; an error if it never started.
    pub(super) fn run(self, connection: &Connection) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(error).never_started())?;
        let ended = runtime.block_on(self.go(connection)).map_err(Failure::never_started);
        // Not to wait for a name look-up or a read that nobody needs any more.
        runtime.shutdown_background();
        ended.map(|ended| ExitCode::from(ended.code()))
    }

    async fn go(self, connection: &Connection) -> Result<Ended, Failure> {
        // Best effort: where that is not possible, the files are what protects a key from its user.
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
        let command = CommandLine::find(&self.command)?;
        let (control, gate) = (connection.agent_target()?, connection.gate(&self.gate)?);
        let begins = self.begins(&control).await?;
        let mut signals = Signals::catch().map_err(Failure::failed)?;
        let request = self.ask(&control, &command, begins, &mut signals).await?;
        let mut access = Access::new(Client::new(control), request);
        match self.start(&command, gate, &mut access, &mut signals).await {
            Ok((supervised, mut tokens, stop)) => {
                let watched = (&mut access, &mut tokens);
                let ended = supervised.until_end(watched, &mut signals, self.grace.get()).await;
                stop.cancel();
                access.end(&ended).await;
                Ok(ended)
            }
            Err(failure) => {
                access.end(&Ended::NeverStarted).await;
                Err(failure)
            }
        }
    }

    /// Everything between the grant and the command.
    async fn start(
        &self,
        command: &CommandLine,
        gate: Target,
        access: &mut Access,
        signals: &mut Signals,
    ) -> Result<(Supervised, Tokens, CancellationToken), Failure> {
        let expires_at = tokio::select! {
            biased;
            signal = signals.next() => {
                return Err(Failure::failed(format!("interrupted ({}) before the grant began", signal.name())));
            }
            begun = access.begun() => begun?,
        };
        let loopback = Loopback::bind(&self.services(access.request())?).await.map_err(Failure::failed)?;
        let environment = Environment::new(&loopback, access, &expires_at).map_err(Failure::usage)?;
        let stop = CancellationToken::new();
        let gate = Arc::new(Gate::new(gate));
        let mut tokens = Tokens::new(Arc::clone(&gate), access.grant());
        access.bear(&mut tokens).await;
        let passage = Passage {
            gate,
            bearer: Arc::clone(tokens.bearer()),
            always_bears: self.token,
            task: Some(self.wanted.task.clone()),
            authority: None,
            only: None,
            settles: Mono::now().plus(SETTLES),
            heard: AtomicBool::new(false),
        };
        loopback.start(passage, &stop);
        say(&format!("{} until {expires_at}", access.grant()));
        Ok((Supervised::spawn(command, &environment)?, tokens, stop))
    }

    /// The services that get an address.
    fn services(&self, request: &Value) -> Result<Vec<ServiceName>, Failure> {
        let scope = request.get("scope").map(ToString::to_string).unwrap_or_default();
        let scope = Scope::from_json(&scope).map_err(Failure::failed)?;
        let named: BTreeSet<&ServiceName> =
            scope.permissions().iter().flat_map(|permission| permission.locations()).collect();
        if let Some(other) = self.service.iter().find(|wanted| !named.contains(wanted)) {
            return Err(Failure::usage(format!("the scope has no permission at the service `{other}`")));
        }
        let wanted = |service: &&&ServiceName| self.service.is_empty() || self.service.contains(service);
        Ok(named.iter().filter(wanted).map(|service| (*service).clone()).collect())
    }
}

/// Tells whoever sits in front of it, beside what the command prints.
pub(super) fn say(text: &str) {
    use std::io::Write as _;
    // Nobody reads it: nothing is lost.
    let _ = writeln!(std::io::stderr().lock(), "jitgate: {}", escaped(text));
}
