//! What a proxy keeps of MCP between requests: whose a session is, whose a task is, which headers repeat which arguments of a tool, and
//! how much of bodies is in memory. All of it is bounded, and what is forgotten is refused; of headers that are forgotten each must
//! repeat some argument.

use super::cancel;
use super::whole::Room;
use crate::access::{Cell, GrantSet};
use crate::mcp::mirror::{self, Declared, Listed};
use crate::mcp::session::{Bounds, Owner};
use crate::mcp::{Refused, Request, SessionId, Sessions, Version};
use crate::model::{ServiceName, SpiffeId, Time};
use crate::proxy::worker::Worker;
use crate::runtime::clock::Mono;
use arc_swap::ArcSwap;
use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Handles of tasks that are remembered; of one principal a sixteenth. One that finds no room cannot be fetched.
const TASKS: usize = 16_384;
const TASKS_OF_ONE: usize = TASKS / 16;
/// So many grants a session remembers to live under: those that live longest, and the one that was issued last.
const UNDER: usize = 8;
/// Bytes of bodies that are in memory, of all requests and of all answers that are no stream. What is read of them as values takes several
/// times that.
const ROOM: usize = 256 << 20;
/// The same of callers without a grant.
const WAITING_ROOM: usize = 8 << 20;
/// How often sessions and tasks are compared with the grants that they live under. Requests compare before that.
const EVERY: Duration = Duration::from_millis(500);

/// What is kept of MCP.
pub(crate) struct Shelf {
    sessions: Mutex<Sessions<Arc<Cell>>>,
    tasks: Mutex<Tasks>,
    /// By service what its tools declare: read by calls, written when a list says something new.
    declared: ArcSwap<HashMap<ServiceName, Arc<Declared>>>,
    /// For bodies of callers with a grant.
    pub(super) room: Arc<Room>,
    /// For bodies of strangers, who take nothing from the others.
    pub(super) waiting_room: Arc<Room>,
    /// What the services are being told of tasks, by the session that has to wait for that.
    told: Mutex<HashMap<(ServiceName, SessionId), Vec<cancel::Told>>>,
    swept: AtomicU64,
}

/// A session and its owner.
#[derive(Debug, Clone)]
pub(super) struct Owned {
    pub(super) id: SessionId,
    pub(super) owner: Owner,
}

/// The handles of long-running calls, by principal.
#[derive(Default)]
pub(super) struct Tasks {
    of: HashMap<SpiffeId, OfOne>,
    /// How many there are, and how many there ever were.
    count: usize,
    made: u64,
    /// Those that had to make room, or that nobody was told of: to be cancelled with the next sweep.
    displaced: Vec<Orphan>,
}

/// The tasks of one principal by service and handle, numbered as they were made.
type OfOne = HashMap<(ServiceName, Box<str>), (u64, Task)>;

/// A task, and what it belongs to.
pub(super) struct Task {
    /// The grant of the call that made it.
    pub(super) cell: Arc<Cell>,
    pub(super) session: Option<Owned>,
    pub(super) version: Version,
    /// Which of the service's addresses runs it.
    pub(super) place: Option<usize>,
}

/// A task that nobody can fetch any more.
pub(super) struct Orphan {
    pub(super) service: ServiceName,
    pub(super) handle: Box<str>,
    pub(super) session: Option<Owned>,
    pub(super) version: Version,
    pub(super) place: Option<usize>,
}

impl Orphan {
    fn of((service, handle): (ServiceName, Box<str>), task: Task) -> Self {
        let Task { session, version, place, .. } = task;
        Self { service, handle, session, version, place }
    }
}

impl Default for Shelf {
    fn default() -> Self {
        Self {
            sessions: Mutex::new(Sessions::new(Bounds::default())),
            tasks: Mutex::default(),
            declared: ArcSwap::from_pointee(HashMap::new()),
            room: Arc::new(Room::new(ROOM)),
            waiting_room: Arc::new(Room::new(WAITING_ROOM)),
            told: Mutex::default(),
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

    /// A call was answered with a task.
    pub(super) fn made(&self, service: &ServiceName, handle: Box<str>, task: Task) {
        self.tasks().made(service, handle, task);
    }

    /// A service has answered `tools/list` with this result. Nothing that a caller says changes what is known.
    pub(super) fn listed(&self, service: &ServiceName, result: &[u8]) {
        let Some(listed) = Listed::read(result) else { return };
        if self.declared.load().get(service).is_some_and(|known| known.says(&listed)) {
            return;
        }
        self.declared.rcu(|all| {
            let mut all = (**all).clone();
            let known = all.get(service).map(|known| known.with(&listed));
            let known = known.unwrap_or_else(|| Declared::default().with(&listed));
            all.insert(service.clone(), Arc::new(known));
            all
        });
    }

    /// Why the headers of a call are not what its tool declares; none where that is not known.
    pub(super) fn mismatch(
        &self,
        service: &ServiceName,
        headers: &HeaderMap,
        request: &Request,
    ) -> Option<Box<Refused>> {
        let call = request.call();
        let tool = call.name.filter(|_| call.method == "tools/call")?;
        let declared = self.declared.load();
        let params = declared.get(service)?.of(tool)?;
        mirror::check_declared(headers, request, params).err().map(Box::new)
    }

    /// Whether any grant that a session lived under is still live; it lives under all that are live now from then on. There may have been
    /// more than are remembered: what lives now and was issued no later than the newest of then was there then. What came later is not
    /// the same access.
    pub(super) fn renew(&self, under: &mut Vec<Arc<Cell>>, set: &GrantSet, service: &ServiceName) -> bool {
        let names = |cell: &Arc<Cell>| cell.scope().names(service);
        let newest = under.iter().max_by_key(|cell| cell.revision());
        let was_there = |cell: &Arc<Cell>| newest.is_some_and(|newest| !cell.is_issued_after(newest));
        let lives = under.iter().any(|cell| names(cell) && set.holds(cell))
            || set.live().any(|cell| names(cell) && was_there(cell));
        *under = if lives { Self::under(set, service) } else { Vec::new() };
        lives
    }

    /// What a session at a service lives under: the live grants that name the service, those that live longest first; with the newest of
    /// all services, which tells those that are not remembered from later ones.
    pub(super) fn under(set: &GrantSet, service: &ServiceName) -> Vec<Arc<Cell>> {
        let named = set.live().filter(|cell| cell.scope().names(service));
        let mut under: Vec<_> = named.take(UNDER - 1).cloned().collect();
        if let Some(newest) = set.newest()
            && !under.iter().any(|cell| Arc::ptr_eq(cell, newest))
        {
            under.push(Arc::clone(newest));
        }
        under
    }
}

impl Tasks {
    fn made(&mut self, service: &ServiceName, handle: Box<str>, task: Task) {
        let own = self.of.entry(task.cell.principal().clone()).or_default();
        let key = (service.clone(), handle);
        if !own.contains_key(&key) {
            if own.len() >= TASKS_OF_ONE || self.count >= TASKS {
                // The oldest of the same principal makes room, or this one finds none: both cannot be fetched then.
                let oldest = own.iter().min_by_key(|(_, (number, _))| *number).map(|(key, _)| key.clone());
                let Some((oldest, (_, task))) = oldest.and_then(|key| own.remove_entry(&key)) else {
                    displace(&mut self.displaced, Orphan::of(key, task));
                    return;
                };
                displace(&mut self.displaced, Orphan::of(oldest, task));
                self.count -= 1;
            }
            self.count += 1;
        }
        self.made += 1;
        // The same handle again is the task of the newer call.
        own.insert(key, (self.made, task));
    }

    /// A task that the service has begun in an answer to this principal which is not passed on: it is cancelled. One that is known
    /// already ends with its grant.
    pub(super) fn forsake(&mut self, principal: &SpiffeId, orphan: Orphan) {
        if self.cell_of(principal, &orphan.service, &orphan.handle).is_none() {
            displace(&mut self.displaced, orphan);
        }
    }

    /// The grant of the call that made a task.
    pub(super) fn cell_of(
        &self,
        principal: &SpiffeId,
        service: &ServiceName,
        handle: &str,
    ) -> Option<Arc<Cell>> {
        let (_, task) = self.of.get(principal)?.get(&(service.clone(), handle.into()))?;
        Some(Arc::clone(&task.cell))
    }

    /// Forgets the tasks whose grant has ended; with those that made room.
    fn orphans(&mut self, mut lives: impl FnMut(&SpiffeId, &Arc<Cell>) -> bool) -> Vec<Orphan> {
        let mut orphans = std::mem::take(&mut self.displaced);
        for (principal, own) in &mut self.of {
            let over = own.iter().filter(|(_, (_, task))| !lives(principal, &task.cell));
            let over: Vec<_> = over.map(|(key, _)| key.clone()).collect();
            for key in over {
                orphans.extend(own.remove(&key).map(|(_, task)| Orphan::of(key, task)));
                self.count -= 1;
            }
        }
        self.of.retain(|_, own| !own.is_empty());
        orphans
    }
}

fn displace(displaced: &mut Vec<Orphan>, orphan: Orphan) {
    match displaced.len() < TASKS {
        true => displaced.push(orphan),
        false => {
            tracing::warn!(service = %orphan.service, "too many tasks are to be cancelled: one is left out")
        }
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
    let mut sessions = shelf.sessions();
    let mut over = sessions.end_where(|owner, under| {
        let set = table.slot(&owner.principal).load();
        !shelf.renew(under, &set, &owner.service)
    });
    let time: Option<Time> = shared.gate.lease().now(now).ok();
    over.extend(time.map(|time| sessions.sweep(time)).unwrap_or_default());
    // A call knows its grant, not its principal; the grant's principal is the same.
    let calls = sessions.end_calls(|cell| !lives(cell.principal(), cell));
    drop(sessions);
    // Only now: where a session is over for want of access, the grants of its tasks have ended, so that each of them is among these.
    let orphans = shelf.tasks().orphans(lives);
    for (session, owner, version, id) in calls {
        cancel::call(worker, &Owned { id: session, owner }, version, &id);
    }
    let mut told = shelf.told.lock();
    told.retain(|_, sent| {
        sent.retain(|sent| !sent.is_finished());
        !sent.is_empty()
    });
    for orphan in orphans {
        let session = orphan.session.as_ref().map(|owned| (orphan.service.clone(), owned.id.clone()));
        if let (Some(sent), Some(session)) = (cancel::task(worker, orphan), session) {
            told.entry(session).or_default().push(sent);
        }
    }
    for (id, owner) in over {
        let first = told.remove(&(owner.service.clone(), id.clone())).unwrap_or_default();
        cancel::session(worker, Owned { id, owner }, first);
    }
}
