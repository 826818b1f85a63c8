//! How much grants were used, as far as the log knows: the totals that each process of each proxy counted.
//!
//! A view of `GrantUsed`; kept as long as its grant is, so bounded by the grants that are kept. What proxies have reported since the
//! last such event is not here but in [`crate::control::usage`].

use crate::control::state::State;
use crate::model::{GrantId, ProxyName, Time};
use std::collections::{BTreeMap, HashMap};

/// One process of a proxy: its name, and the random number of its hello. Totals only grow within one process.
pub type Process = (ProxyName, u64);

/// What one process had counted under one grant when it was logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedUse {
    /// Requests admitted.
    pub requests: u64,
    /// Body bytes, both directions.
    pub bytes: u64,
    /// When it was logged.
    pub at: Time,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Uses(HashMap<GrantId, BTreeMap<Process, LoggedUse>>);

impl Uses {
    pub(super) fn note(&mut self, grant: GrantId, process: Process, noted: LoggedUse) {
        let known = self.0.entry(grant).or_default().entry(process).or_insert(noted);
        known.requests = known.requests.max(noted.requests);
        known.bytes = known.bytes.max(noted.bytes);
        known.at = noted.at;
    }

    pub(super) fn forget(&mut self, grant: GrantId) {
        self.0.remove(&grant);
    }
}

impl State {
    /// What is logged about the use of a grant, by process.
    pub fn logged_use(&self, grant: GrantId) -> impl Iterator<Item = (&Process, LoggedUse)> {
        self.uses.0.get(&grant).into_iter().flatten().map(|(process, noted)| (process, *noted))
    }

    /// What is logged about the use of a grant by one process.
    #[must_use]
    pub fn logged_use_of(&self, grant: GrantId, process: &Process) -> Option<LoggedUse> {
        self.uses.0.get(&grant)?.get(process).copied()
    }
}
