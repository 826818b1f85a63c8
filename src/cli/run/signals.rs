//! The signals by which this process is asked to stop: they are for the command.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

/// The four of them.
pub(in crate::cli) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hang_up: unix::Signal,
    quit: unix::Signal,
}

/// One that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Asked {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP.
    HangUp,
    /// SIGQUIT.
    Quit,
}

impl Asked {
    /// What is passed on.
    pub(super) fn signal(self) -> Signal {
        match self {
            Self::Interrupt => Signal::INT,
            Self::Terminate => Signal::TERM,
            Self::HangUp => Signal::HUP,
            Self::Quit => Signal::QUIT,
        }
    }

    /// Its name.
    pub(in crate::cli) fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::HangUp => "SIGHUP",
            Self::Quit => "SIGQUIT",
        }
    }
}

impl Signals {
    /// From now on they no longer end this process.
    pub(in crate::cli) fn catch() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            hang_up: unix::signal(SignalKind::hangup())?,
            quit: unix::signal(SignalKind::quit())?,
        })
    }

    /// The next one. Dropping the future loses none.
    pub(in crate::cli) async fn next(&mut self) -> Asked {
        tokio::select! {
            Some(()) = self.interrupt.recv() => Asked::Interrupt,
            Some(()) = self.terminate.recv() => Asked::Terminate,
            Some(()) = self.hang_up.recv() => Asked::HangUp,
            Some(()) = self.quit.recv() => Asked::Quit,
            // No signal can come any more, which tokio does not let happen.
            else => std::future::pending().await,
        }
    }
}
