//! The terminal: whose keys it takes. What runs in the foreground of a shell hands it to the command, as a shell does, and takes it
//! back.
//!
//! Only where standard input and output are that terminal and this process is in its foreground; a member of a pipeline leaves it
//! to the others.

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, getpgrp};
use rustix::termios::{tcgetpgrp, tcsetpgrp};
use std::fs::File;
use std::io::IsTerminal;

/// The controlling terminal, which we had when this was made.
#[derive(Debug)]
pub(super) struct Terminal {
    tty: File,
    handed_on: bool,
}

impl Terminal {
    /// If it is ours to hand on.
    pub(super) fn held() -> Option<Self> {
        if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
            return None;
        }
        let tty = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let terminal = Self { tty, handed_on: false };
        terminal.is_ours().then_some(terminal)
    }

    /// Whether we are in its foreground.
    pub(super) fn is_ours(&self) -> bool {
        tcgetpgrp(&self.tty).is_ok_and(|group| group == getpgrp())
    }

    /// Hands it to a process group, if we have it.
    pub(super) fn give(&mut self, group: Pid) {
        if self.is_ours() {
            self.set(group);
            self.handed_on = true;
        }
    }

    /// Takes back what we handed on, also from those to whom it was handed on from there. In the background of a shell there is
    /// nothing to take back.
    pub(super) fn take(&mut self) {
        if std::mem::take(&mut self.handed_on) {
            self.set(getpgrp());
        }
    }

    /// Whoever is not in the foreground gets SIGTTOU for this, which stops, unless it is blocked: it is, in a thread of its own,
    /// from which nothing is ever spawned that would inherit that.
    fn set(&self, group: Pid) {
        std::thread::scope(|scope| {
            let setting = scope.spawn(|| {
                let mut stops = SigSet::empty();
                stops.add(Signal::SIGTTOU);
                if stops.thread_block().is_ok() {
                    // The terminal may be gone, or the group: there is nothing to hand on then.
                    let _ = tcsetpgrp(&self.tty, group);
                }
            });
            let _ = setting.join();
        });
    }
}
