//! How much grants are used, as proxies report it. Volatile: nothing of it is logged; what follows from it (an end for idleness or
//! for a spent limit) is.
//!
//! Reports are totals, so that a lost one costs nothing.

use crate::control::state::{LiveGrant, State};
use crate::model::{EndCause, GrantId, ProxyName, TaskId, Time};
use std::collections::{BTreeMap, HashMap};

/// What one proxy says about one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantUsage {
    /// Which grant.
    pub grant: GrantId,
    /// Body bytes under it since that proxy process started.
    pub bytes_total: u64,
    /// When something was last admitted or moved under it, as control time; now, while something is in flight.
    pub last_used: Time,
}

#[derive(Debug, Default)]
struct Use {
    by_proxy: BTreeMap<ProxyName, Bytes>,
    last_used: Option<Time>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Bytes {
    before_restarts: u64,
    last_total: u64,
}

/// The use of all grants that were used, and the signs of life of tasks.
#[derive(Debug, Default)]
pub struct Usage(HashMap<GrantId, Use>, HashMap<TaskId, Time>);

impl Usage {
    /// Takes a proxy's report. A total that is lower than the last means that the proxy was restarted.
    pub fn report(&mut self, state: &State, proxy: &ProxyName, now: Time, report: &[GrantUsage]) {
        for entry in report {
            if state.live_grant(entry.grant).is_none() {
                continue;
            }
            let known = self.0.entry(entry.grant).or_default();
            // A proxy's clock must not keep a grant alive: nothing is used in the future.
            known.last_used = known.last_used.max(Some(entry.last_used.min(now)));
            let bytes = known.by_proxy.entry(proxy.clone()).or_default();
            if entry.bytes_total < bytes.last_total {
                bytes.before_restarts = bytes.before_restarts.saturating_add(bytes.last_total);
            }
            bytes.last_total = entry.bytes_total;
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

    /// The live grants that are over by use at `now`: idle for their idle timeout, or with their bytes spent. `since`: when this
    /// process began to hear of use. Forgets grants that have ended.
    #[must_use]
    pub fn over(&mut self, state: &State, now: Time, since: Time) -> Vec<(GrantId, EndCause)> {
        self.0.retain(|id, _| state.live_grant(*id).is_some());
        self.1.retain(|task, _| state.task(task).is_some_and(|task| task.ended.is_none()));
        state
            .limited_by_use()
            .filter_map(|live| Some((live.grant.id, self.end_of(live, now, since)?)))
            .collect()
    }

    fn end_of(&self, live: &LiveGrant, now: Time, since: Time) -> Option<EndCause> {
        let known = self.0.get(&live.grant.id);
        if live.grant.limits.bytes.is_some_and(|max| known.map_or(0, Use::bytes) >= max.get()) {
            return Some(EndCause::Limit);
        }
        let timeout = live.grant.limits.idle_timeout?.get();
        let last_used = known.and_then(|known| known.last_used).unwrap_or(since);
        let idle_since = live.grant.not_before.max(since).max(last_used);
        (now >= idle_since.plus(timeout)).then_some(EndCause::Idle)
    }
}

impl Use {
    fn bytes(&self) -> u64 {
        self.by_proxy
            .values()
            .fold(0, |sum, bytes| sum.saturating_add(bytes.before_restarts).saturating_add(bytes.last_total))
    }
}
