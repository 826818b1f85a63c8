//! How much grants are used, as proxies report it, and what of it is due to be logged.
//!
//! Reports are totals of one process of a proxy, so that a lost one costs nothing. They are volatile; the log has them at the first
//! use, then now and then, and when the grant has ended (`GrantUsed`), so that a restart loses at most what was used since: of a
//! grant whose bytes are limited that is little.

use crate::control::state::{Command, Found, LiveGrant, LoggedUse, Process, State, UseToLog};
use crate::model::{EndCause, Grant, GrantId, TaskId, Time};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// How long a grant that ended is listened to: the last report comes after the end.
const LISTEN: Duration = Duration::from_secs(120);
/// How often the use of a live grant is logged.
const LOG_EVERY: Duration = Duration::from_secs(300);
/// The same where use decides about the end.
const LOG_BYTES_EVERY: Duration = Duration::from_secs(10);
/// Most entries that are logged at once; the reconciler comes again.
const AT_ONCE: usize = 500;

/// What one process of a proxy says about one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantUsage {
    /// Which grant.
    pub grant: GrantId,
    /// Requests admitted under it by that process.
    pub requests_total: u64,
    /// Body bytes under it by that process.
    pub bytes_total: u64,
    /// When something was last admitted or moved under it, as control time; now, while something is in flight.
    pub last_used: Time,
}

/// What the control plane can have heard of use: what was not reported yet may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// When this process began to hear of it.
    pub since: Time,
    /// How long after the use its report may come.
    pub late: Duration,
}

#[derive(Debug, Default)]
struct Use {
    by_process: BTreeMap<Process, Counted>,
    last_used: Option<Time>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counted {
    requests: u64,
    bytes: u64,
}

/// The use of all grants that were used, and the signs of life of tasks.
#[derive(Debug, Default)]
pub struct Usage(HashMap<GrantId, Use>, HashMap<TaskId, Time>);

impl Usage {
    /// Takes a process' report. Totals never fall within one process; one that says so is not believed.
    pub fn report(&mut self, state: &State, process: &Process, now: Time, report: &[GrantUsage]) {
        for entry in report {
            if !state.find(entry.grant).is_some_and(|found| is_listened_to(&found, now)) {
                continue;
            }
            let known = self.0.entry(entry.grant).or_default();
            // A proxy's clock must not keep a grant alive: nothing is used in the future.
            known.last_used = known.last_used.max(Some(entry.last_used.min(now)));
            let counted = known.by_process.entry(process.clone()).or_default();
            counted.requests = counted.requests.max(entry.requests_total);
            counted.bytes = counted.bytes.max(entry.bytes_total);
        }
    }

    /// When a grant was last used, as far as this process has heard.
    #[must_use]
    pub fn last_used(&self, grant: GrantId) -> Option<Time> {
        self.0.get(&grant)?.last_used
    }

    /// Takes note of a task's sign of life. The caller has made sure that the task exists, which bounds what is kept.
    pub fn alive(&mut self, task: &TaskId, now: Time) {
        self.1.insert(task.clone(), now);
    }

    /// A task's last sign of life.
    #[must_use]
    pub fn sign_of_life(&self, task: &TaskId) -> Option<Time> {
        self.1.get(task).copied()
    }

    /// The live grants that are over by use at `now`: idle for their idle timeout, or with their bytes spent. Forgets grants that
    /// ended some time ago.
    #[must_use]
    pub fn over(&mut self, state: &State, now: Time, heard: Heard) -> Vec<(GrantId, EndCause)> {
        self.0.retain(|id, _| state.find(*id).is_some_and(|found| is_listened_to(&found, now)));
        self.1.retain(|task, _| state.task(task).is_some_and(|task| task.ended.is_none()));
        state
            .limited_by_use()
            .filter_map(|live| Some((live.grant.id, self.end_of(state, live, now, heard)?)))
            .collect()
    }

    /// What is to be logged at `now` about the use of grants, if anything is.
    #[must_use]
    pub fn to_log(&self, state: &State, now: Time) -> Option<Command> {
        let due = self.0.iter().filter_map(|(id, used)| Some((state.find(*id)?, used))).flat_map(
            |(found, used)| {
                let id = found.grant().id;
                used.by_process.iter().filter_map(move |(process, counted)| {
                    let logged = state.logged_use_of(id, process);
                    is_due(&found, *counted, logged, now).then(|| UseToLog {
                        grant: id,
                        process: process.clone(),
                        requests: counted.requests,
                        bytes: counted.bytes,
                    })
                })
            },
        );
        let uses: Vec<UseToLog> = due.take(AT_ONCE).collect();
        (!uses.is_empty()).then_some(Command::NoteUses(uses))
    }

    fn end_of(&self, state: &State, live: &LiveGrant, now: Time, heard: Heard) -> Option<EndCause> {
        let known = self.0.get(&live.grant.id);
        if live.grant.limits.bytes.is_some_and(|max| self.bytes(state, live.grant.id) >= max.get()) {
            return Some(EndCause::Limit);
        }
        let timeout = live.grant.limits.idle_timeout?.get();
        let last_used = known.and_then(|known| known.last_used).unwrap_or(heard.since);
        let idle_since = live.grant.not_before.max(heard.since).max(last_used);
        (now >= idle_since.plus(heard.late).plus(timeout)).then_some(EndCause::Idle)
    }

    /// Body bytes of all processes: what they said, or what is logged of those that have not been heard since.
    fn bytes(&self, state: &State, grant: GrantId) -> u64 {
        let mut bytes: BTreeMap<&Process, u64> =
            state.logged_use(grant).map(|(process, logged)| (process, logged.bytes)).collect();
        for (process, counted) in self.0.get(&grant).into_iter().flat_map(|known| &known.by_process) {
            let known = bytes.entry(process).or_default();
            *known = counted.bytes.max(*known);
        }
        bytes.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

fn is_listened_to(found: &Found<'_>, now: Time) -> bool {
    match found {
        Found::Live(_) => true,
        Found::Ended(ended) => now < ended.at.plus(LISTEN),
    }
}

/// Whose use is logged: what was asked for has a story, and what is limited by bytes must not begin anew after a restart.
#[must_use]
pub fn is_logged(grant: &Grant) -> bool {
    grant.limits.bytes.is_some() || grant.lineage.as_ref().is_some_and(|lineage| lineage.request.is_some())
}

fn is_due(found: &Found<'_>, counted: Counted, logged: Option<LoggedUse>, now: Time) -> bool {
    let grant = found.grant();
    let Some(logged) = logged else { return is_logged(grant) && counted != Counted::default() };
    if counted.requests <= logged.requests && counted.bytes <= logged.bytes {
        return false;
    }
    let every = if grant.limits.bytes.is_some() { LOG_BYTES_EVERY } else { LOG_EVERY };
    matches!(found, Found::Ended(_)) || now >= logged.at.plus(every)
}
