//! What a proxy keeps of MCP between requests: whose a session is, whose a task is, and how much of bodies is in memory. All of it is
//! bounded, and what is forgotten is refused.

use super::cancel;
use super::whole::Room;
use crate::access::{Cell, GrantSet};
use crate::mcp::session::{Bounds, Owner};
use crate::mcp::{SessionId, Sessions};
use crate::model::{GrantId, ServiceName, SpiffeId, Time};
use crate::proxy::worker::Worker;
use crate::runtime::clock::Mono;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Handles of tasks that are remembered; of one principal a sixteenth. One that finds no room cannot be fetched.
const TASKS: usize = 16_384;
const TASKS_OF_ONE: usize = TASKS / 16;
/// How often sessions and tasks are compared with the grants that they live under. Requests compare before that.
const EVERY: Duration = Duration::from_millis(500);

/// What is kept of MCP.
pub(crate) struct Shelf {
    sessions: Mutex<Sessions<Arc<Cell>>>,
    tasks: Mutex<Tasks>,
    pub(super) room: Arc<Room>,
    swept: AtomicU64,
}

/// A session and its owner.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub(super) id: SessionId,
    pub(super) owner: Owner,
}

/// The handles of long-running calls.
#[derive(Default)]
pub(super) struct Tasks(HashMap<(SpiffeId, ServiceName, Box<str>), Task>);

struct Task {
    cell: Arc<Cell>,
    session: Option<Owned>,
    version: crate::mcp::Version,
}

/// A task whose grant has ended.
pub(super) struct Orphan {
    pub(super) service: ServiceName,
    pub(super) handle: Box<str>,
    pub(super) session: Option<Owned>,
    pub(super) version: crate::mcp::Version,
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            sessions: Mutex::new(Sessions::new(Bounds::default())),
            tasks: Mutex::default(),
            room: Arc::default(),
            swept: AtomicU64::new(0),
        }
    }
}

impl Shelf {
    pub(super) fn sessions(&self) -> MutexGuard<'_, Sessions<Arc<Cell>>> {
        self.sessions.lock()
    }

    pub(super) fn tasks(&self) -> MutexGuard<'_, Tasks> {
        self.tasks.lock()
    }

    /// Whether any grant that a session lived under is still live; it lives under all that are live now from then on.
    pub(super) fn renew(&self, under: &mut Vec<Arc<Cell>>, set: &GrantSet, service: &ServiceName) -> bool {
        let lives = under.iter().any(|cell| set.holds(cell));
        *under = if lives { Self::under(set, service) } else { Vec::new() };
        lives
    }

    /// What a session at a service lives under: every live grant that names the service.
    pub(super) fn under(set: &GrantSet, service: &ServiceName) -> Vec<Arc<Cell>> {
        set.live().filter(|cell| cell.scope().names(service)).cloned().collect()
    }
}

impl Tasks {
    /// A call was answered with a task.
    pub(super) fn made(
        &mut self,
        of: (&SpiffeId, &ServiceName),
        handle: Box<str>,
        under: (Arc<Cell>, Option<Owned>, crate::mcp::Version),
    ) -> bool {
        let (principal, service) = of;
        let key = (principal.clone(), service.clone(), handle);
        let of_one = self.0.keys().filter(|(owner, _, _)| owner == principal).count();
        let known = self.0.contains_key(&key);
        if !known && (self.0.len() >= TASKS || of_one >= TASKS_OF_ONE) {
            return false;
        }
        let (cell, session, version) = under;
        // The same handle again is the task of the newer call.
        self.0.insert(key, Task { cell, session, version });
        true
    }

    /// The grant of the call that made a task.
    pub(super) fn grant_of(
        &self,
        principal: &SpiffeId,
        service: &ServiceName,
        handle: &str,
    ) -> Option<GrantId> {
        let task = self.0.get(&(principal.clone(), service.clone(), handle.into()))?;
        Some(task.cell.id())
    }

    /// Forgets the tasks whose grant has ended.
    fn orphans(&mut self, mut lives: impl FnMut(&SpiffeId, &Arc<Cell>) -> bool) -> Vec<Orphan> {
        let over: Vec<_> = self
            .0
            .iter()
            .filter(|((principal, _, _), task)| !lives(principal, &task.cell))
            .map(|(key, _)| key.clone())
            .collect();
        over.into_iter()
            .filter_map(|key| {
                let Task { session, version, .. } = self.0.remove(&key)?;
                let (_, service, handle) = key;
                Some(Orphan { service, handle, session, version })
            })
            .collect()
    }
}

/// Ends what has no access any more, also at the services. Called by each worker; one of them does it.
pub(crate) fn sweep(worker: &Arc<Worker>, now: Mono) {
    let shared = &worker.shared;
    let shelf = &shared.mcp;
    let last = shelf.swept.load(Ordering::Relaxed);
    let due = now.as_nanos().saturating_sub(last) >= EVERY.as_nanos() as u64;
    let mine = due
        && shelf.swept.compare_exchange(last, now.as_nanos(), Ordering::AcqRel, Ordering::Relaxed).is_ok();
    if !mine {
        return;
    }
    let table = shared.gate.table();
    let lives = |principal: &SpiffeId, cell: &Arc<Cell>| table.slot(principal).load().holds(cell);
    let orphans = shelf.tasks().orphans(lives);
    let mut sessions = shelf.sessions();
    if sessions.is_empty() && orphans.is_empty() {
        return;
    }
    let mut over = sessions.end_where(|owner, under| {
        let set = table.slot(&owner.principal).load();
        !shelf.renew(under, &set, &owner.service)
    });
    let time: Option<Time> = shared.gate.lease().now(now).ok();
    over.extend(time.map(|time| sessions.sweep(time)).unwrap_or_default());
    // A call knows its grant, not its principal; the grant's principal is the same.
    sessions.end_calls(|cell| !lives(cell.principal(), cell));
    drop(sessions);
    for orphan in orphans {
        cancel::task(worker, orphan);
    }
    for (id, owner) in over {
        cancel::session(worker, Owned { id, owner });
    }
}
