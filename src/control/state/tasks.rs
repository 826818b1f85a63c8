//! Tasks: whose each is, who takes part, whether it is over. A view of the log; a task begins with the first request or grant
//! that names it and belongs to whoever that was for.

use crate::model::event::TaskOutcome;
use crate::model::{SpiffeId, TaskId, Time, Ttl};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// A task without grants is forgotten after this.
const KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);

/// A task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Whose it is: its first requester.
    pub owner: SpiffeId,
    /// Who else takes part.
    pub members: BTreeSet<SpiffeId>,
    /// When it began, or was taken up again.
    pub opened_at: Time,
    /// When it ends, whatever happens.
    pub deadline: Option<Time>,
    /// Without traffic and sign of life for this long it ends.
    pub idle_timeout: Option<Ttl>,
    /// How it ended; `None` while it is open.
    pub ended: Option<(TaskOutcome, Time)>,
    touched: Time,
}

impl Task {
    /// Whether somebody may ask for access under it.
    #[must_use]
    pub fn has(&self, id: &SpiffeId) -> bool {
        self.owner == *id || self.members.contains(id)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tasks {
    all: HashMap<TaskId, Task>,
    deadlines: BTreeSet<(Time, TaskId)>,
    with_idle_timeout: BTreeSet<TaskId>,
    quiet: VecDeque<(Time, TaskId)>,
}

impl Tasks {
    /// Somebody asks or is granted something under the task: it is begun, taken up again, or goes on.
    pub(super) fn enter(
        &mut self,
        task: &TaskId,
        by: &SpiffeId,
        now: Time,
        (deadline, idle_timeout): (Option<Time>, Option<Ttl>),
    ) {
        match self.all.get_mut(task) {
            Some(known) if known.ended.is_none() => {
                known.touched = now;
                return;
            }
            Some(known) => {
                known.ended = None;
                known.opened_at = now;
                known.touched = now;
                known.deadline = deadline;
                known.idle_timeout = idle_timeout;
            }
            None => {
                let begun = Task {
                    owner: by.clone(),
                    members: BTreeSet::new(),
                    opened_at: now,
                    deadline,
                    idle_timeout,
                    ended: None,
                    touched: now,
                };
                self.all.insert(task.clone(), begun);
            }
        }
        self.quiet.push_back((now, task.clone()));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, task.clone()));
        }
        if idle_timeout.is_some() {
            self.with_idle_timeout.insert(task.clone());
        }
    }

    pub(super) fn join(&mut self, task: &TaskId, principal: &SpiffeId, now: Time) {
        if let Some(known) = self.all.get_mut(task) {
            known.touched = now;
            if known.owner != *principal {
                known.members.insert(principal.clone());
            }
        }
    }

    pub(super) fn end(&mut self, task: &TaskId, outcome: TaskOutcome, now: Time) {
        let Some(known) = self.all.get_mut(task) else { return };
        known.ended = Some((outcome, now));
        if let Some(deadline) = known.deadline {
            self.deadlines.remove(&(deadline, task.clone()));
        }
        self.with_idle_timeout.remove(task);
        self.is_quiet(task, now);
    }

    /// Its last grant has ended.
    pub(super) fn is_quiet(&mut self, task: &TaskId, now: Time) {
        if let Some(known) = self.all.get_mut(task) {
            known.touched = now;
            self.quiet.push_back((now, task.clone()));
        }
    }

    /// Forgets what has been quiet for long.
    pub(super) fn forget(&mut self, now: Time, is_live: impl Fn(&TaskId) -> bool) {
        let since = now.minus(KEPT_FOR);
        while self.quiet.front().is_some_and(|(at, _)| *at < since) {
            let Some((_, task)) = self.quiet.pop_front() else { return };
            // With a grant it comes back when its last one ends.
            if is_live(&task) {
                continue;
            }
            match self.all.get(&task).map(|known| known.touched) {
                // Touched later, and perhaps nowhere else in the queue.
                Some(touched) if touched >= since => self.quiet.push_back((touched, task)),
                Some(_) => self.remove(&task),
                None => {}
            }
        }
    }

    fn remove(&mut self, task: &TaskId) {
        let Some(known) = self.all.remove(task) else { return };
        self.with_idle_timeout.remove(task);
        if let Some(deadline) = known.deadline {
            self.deadlines.remove(&(deadline, task.clone()));
        }
    }

    pub(super) fn get(&self, task: &TaskId) -> Option<&Task> {
        self.all.get(task)
    }

    /// The open tasks whose deadline has passed.
    pub(super) fn past_deadline(&self, now: Time) -> impl Iterator<Item = &TaskId> {
        self.deadlines.iter().take_while(move |(at, _)| *at <= now).map(|(_, task)| task)
    }

    /// The open tasks that have an idle timeout of their own.
    pub(super) fn with_idle_timeout(&self) -> impl Iterator<Item = &TaskId> {
        self.with_idle_timeout.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_was_touched_again_but_never_granted_anything_is_forgotten_too() {
        let (task, who): (TaskId, SpiffeId) = ("T-1".parse().unwrap(), "spiffe://d/agent/a".parse().unwrap());
        let start: Time = "2026-09-25T10:00:00Z".parse().unwrap();
        let day = |n: u64| start.plus(Duration::from_secs(n * 86_400));
        let mut tasks = Tasks::default();
        tasks.enter(&task, &who, start, (Some(day(90)), None));
        tasks.enter(&task, &who, day(20), (None, None));
        tasks.forget(day(31), |_| false);
        assert!(tasks.get(&task).is_some());
        tasks.forget(day(51), |_| false);
        assert!(tasks.get(&task).is_none());
        assert_eq!((tasks.quiet.len(), tasks.deadlines.len()), (0, 0));
    }
}
