//! The command while it runs: signals are passed on to it, its access is watched, and it is stopped when that is over.
//!
//! It has a process group of its own, so that signals reach what it has started too; at a terminal that group is the foreground.

use super::access::Access;
use super::command::CommandLine;
use super::environment::Environment;
use super::say;
use super::signals::Signals;
use super::terminal::Terminal;
use super::token::Tokens;
use crate::cli::Failure;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_current_process_group, kill_process_group, waitid,
};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::process::Child;
use tokio::signal::unix::{self, SignalKind};

/// How long a stop of this very process may take to come.
const STOPPING: Duration = Duration::from_millis(500);

/// How the command ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// There was none.
    NeverStarted,
    /// By itself, by a signal, or because its access was over (why).
    Exited(ExitStatus, Option<String>),
    /// The system does not say.
    Unknown(std::io::Error),
}

impl Ended {
    /// Whether the task is done.
    pub(super) fn is_success(&self) -> bool {
        match self {
            Self::Exited(status, over) => status.success() && over.is_none(),
            Self::NeverStarted | Self::Unknown(_) => false,
        }
    }

    /// The exit code of `run`.
    pub(super) fn code(&self) -> u8 {
        let low = |code: i32| u8::try_from(code & 0xff).unwrap_or(1);
        match self {
            Self::Exited(status, _) => match (status.code(), status.signal()) {
                (Some(code), _) => low(code),
                (None, Some(signal)) => low(signal.saturating_add(128)),
                (None, None) => 1,
            },
            Self::NeverStarted => 125,
            Self::Unknown(_) => 1,
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeverStarted => write!(f, "the command did not start"),
            Self::Exited(status, None) => write!(f, "the command ended: {status}"),
            Self::Exited(status, Some(why)) => {
                write!(f, "the access was over ({why}), the command ended: {status}")
            }
            Self::Unknown(error) => write!(f, "it is unknown how the command ended: {error}"),
        }
    }
}

/// A command that runs.
pub(super) struct Supervised {
    child: Child,
    group: Pid,
    terminal: Option<Terminal>,
    changes: unix::Signal,
    resumed: unix::Signal,
}

impl Supervised {
    /// Starts it.
    pub(super) fn spawn(command: &CommandLine, environment: &Environment) -> Result<Self, Failure> {
        let changes = unix::signal(SignalKind::child()).map_err(Failure::failed)?;
        let resumed = unix::signal(SignalKind::from_raw(Signal::CONT.as_raw())).map_err(Failure::failed)?;
        let terminal = Terminal::held();
        let mut line = command.build();
        environment.apply(&mut line);
        let child = line.process_group(0).kill_on_drop(true).spawn().map_err(Failure::failed)?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = id.ok_or_else(|| Failure::failed("the command was gone at once"))?;
        let mut supervised = Self { child, group, terminal, changes, resumed };
        supervised.hand_over();
        Ok(supervised)
    }

    /// Runs it to its end. After the signal that stops it, it has `grace`.
    pub(super) async fn until_end(
        mut self,
        (access, tokens): (&mut Access, &mut Tokens),
        signals: &mut Signals,
        grace: Duration,
    ) -> Ended {
        let mut over = None;
        let mut deadline: Option<tokio::time::Instant> = None;
        let status = {
            let watching = access.until_over(tokens);
            tokio::pin!(watching);
            loop {
                let stopping = deadline.is_some();
                tokio::select! {
                    biased;
                    status = self.child.wait() => break status,
                    asked = signals.next() => {
                        self.signal(asked.signal());
                        deadline = deadline.or_else(|| after(grace));
                    }
                    why = &mut watching, if over.is_none() => {
                        say(&format!("the access is {why}; ending the command"));
                        self.end();
                        over = Some(why);
                        deadline = deadline.or_else(|| after(grace));
                    }
                    () = until(deadline), if stopping => {
                        self.signal(Signal::KILL);
                        // Once is enough: nothing survives it.
                        deadline = None;
                    }
                    Some(()) = self.changes.recv(), if self.terminal.is_some() => self.look_for_stop().await,
                }
            }
        };
        if over.is_some() || deadline.is_some() {
            // What it had started and left behind.
            self.signal(Signal::KILL);
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.take();
        }
        status.map_or_else(Ended::Unknown, |status| Ended::Exited(status, over))
    }

    /// Asks it to end. A shell at a terminal does not hear SIGTERM; it knows SIGHUP.
    fn end(&self) {
        self.signal(Signal::TERM);
        if self.terminal.is_some() {
            self.signal(Signal::HUP);
        }
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        // It may be gone already.
        let _ = kill_process_group(self.group, signal);
    }

    /// Makes it the foreground. If it has asked for the terminal before it had it, it was stopped for that.
    fn hand_over(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.give(self.group);
            self.signal(Signal::CONT);
        }
    }

    /// When the command is stopped (Ctrl-Z), so are we, for the shell to see; and when the shell goes on with us, it goes on.
    async fn look_for_stop(&mut self) {
        let stopped = waitid(WaitId::Pid(self.group), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG);
        let Some(terminal) = &mut self.terminal else { return };
        if !matches!(stopped, Ok(Some(status)) if status.stopped()) {
            return;
        }
        if !terminal.is_ours() {
            terminal.take();
            let _ = kill_current_process_group(Signal::TSTP);
            // Stopped here; if nobody could ever wake us, the system did not stop us.
            let _ = tokio::time::timeout(STOPPING, self.resumed.recv()).await;
        }
        terminal.give(self.group);
        self.signal(Signal::CONT);
    }
}

fn after(length: Duration) -> Option<tokio::time::Instant> {
    tokio::time::Instant::now().checked_add(length)
}

async fn until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_the_commands() {
        let exited = |raw: i32| Ended::Exited(ExitStatus::from_raw(raw), None);
        assert_eq!((exited(0).code(), exited(0).is_success()), (0, true));
        assert_eq!((exited(3 << 8).code(), exited(3 << 8).is_success()), (3, false));
        assert_eq!((exited(9).code(), exited(9).is_success()), (137, false));
        assert_eq!((exited(15).code(), exited(0x8b).code()), (143, 139));
        assert_eq!(Ended::NeverStarted.code(), 125);
        // Whoever lost its access was not done, whatever it says.
        assert!(!Ended::Exited(ExitStatus::from_raw(0), Some("revoked".to_owned())).is_success());
    }
}
