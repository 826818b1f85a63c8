//! What waits for the writer: commands that come first, and all others.
//!
//! Both queues are bounded. Those who are named in the configuration, each with few commands under way, are trusted not to fill theirs;
//! of the other one everybody else has a part (`control::places`).

use crate::control::authz::{Need, Roles};
use crate::control::plane::Job;
use crate::control::state::Command;
use crate::model::event::Actor;
use std::collections::VecDeque;
use tokio::sync::mpsc;

/// Commands that may wait for the writer, of those that come first and of all others.
pub(super) const QUEUE: usize = 1024;
/// Of the others, by callers without a role: all of them together, and one.
pub(super) const STRANGERS: usize = QUEUE / 4 * 3;
pub(super) const STRANGER: usize = QUEUE / 8;

/// Whether a command comes before all others: what the control plane itself has to do, what proxies say on their control channels, by
/// which they have their leases, and revocations. Who sends these is named in the configuration, and each of them has few under way.
pub(super) fn is_urgent(roles: &Roles, actor: &Actor, command: &Command) -> bool {
    let id = match actor {
        Actor::System => return true,
        Actor::Identity(id) => id,
    };
    let needs = match command {
        Command::Revoke { .. } => Need::Revoke,
        Command::Join { .. }
        | Command::Acknowledge { .. }
        | Command::ReportAudit { .. }
        | Command::ReportDispute { .. }
        | Command::KeepCheckpoint { .. }
        | Command::ReserveUses { .. } => Need::Enforce,
        Command::Grant(_)
        | Command::BeginEpoch
        | Command::End { .. }
        | Command::Expire
        | Command::RecordTrails
        | Command::NoteUses(_)
        | Command::RaiseLease { .. }
        | Command::Access(_) => return false,
    };
    roles.may(id, needs)
}

/// What waits to be decided on.
pub(super) struct Queues {
    /// Before anything else, also what was taken already.
    pub(super) urgent: mpsc::Receiver<Job>,
    pub(super) commands: mpsc::Receiver<Job>,
}

/// What was taken from the queues, in the order in which it came to each.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) urgent: VecDeque<Job>,
    pub(super) commands: VecDeque<Job>,
    /// So many groups have gone before the first of the others, which is decided on alone.
    passed: usize,
}

/// After so many it has its turn: what comes first comes again and again.
const PASSED: usize = 8;

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.front().is_none()
    }

    /// Before each group: `alone` says whether a command is decided on alone.
    pub(super) fn begin_group(&mut self, alone: impl Fn(&Job) -> bool) {
        let waits = !self.urgent.is_empty() && self.commands.front().is_some_and(alone);
        self.passed = if waits { self.passed + 1 } else { 0 };
    }

    fn others_first(&self) -> bool {
        self.passed > PASSED
    }

    pub(super) fn front(&self) -> Option<&Job> {
        match self.others_first() {
            true => self.commands.front().or_else(|| self.urgent.front()),
            false => self.urgent.front().or_else(|| self.commands.front()),
        }
    }

    pub(super) fn pop_front(&mut self) -> Option<Job> {
        match std::mem::take(&mut self.passed) {
            passed if passed > PASSED => self.commands.pop_front().or_else(|| self.urgent.pop_front()),
            passed => {
                self.passed = passed;
                self.urgent.pop_front().or_else(|| self.commands.pop_front())
            }
        }
    }

    /// What was decided on already is the first to be decided on again.
    pub(super) fn put_back(&mut self, jobs: Vec<Job>) {
        jobs.into_iter().rev().for_each(|job| self.urgent.push_front(job));
    }

    pub(super) fn all(self) -> impl Iterator<Item = Job> {
        self.urgent.into_iter().chain(self.commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(command: Command) -> Job {
        Job { actor: Actor::System, command, answer: tokio::sync::oneshot::channel().0, _place: None }
    }

    #[test]
    fn what_is_decided_on_alone_has_its_turn_though_what_comes_first_comes_again_and_again() {
        let alone = |job: &Job| matches!(job.command, Command::BeginEpoch);
        let mut taken = Taken::default();
        taken.commands.push_back(job(Command::BeginEpoch));
        taken.commands.push_back(job(Command::RecordTrails));
        let mut groups = 0;
        loop {
            taken.urgent.push_back(job(Command::Expire));
            taken.begin_group(alone);
            let first_is_it = taken.front().is_some_and(alone);
            let first = taken.pop_front().unwrap();
            assert_eq!(alone(&first), first_is_it, "what was looked at is what comes");
            if first_is_it {
                break;
            }
            groups += 1;
            assert!(groups < 100, "never");
        }
        assert_eq!(groups, PASSED);
        // Then what comes first is first again.
        assert!(matches!(taken.pop_front().unwrap().command, Command::Expire));
        assert!(matches!(taken.pop_front().unwrap().command, Command::RecordTrails));
    }
}
