//! A log in memory that keeps the contract of [`EventLog`] except durability: for simulations, tests and dry runs.

use crate::control::log::{AppendError, EventLog, Identity, LogError, Recorded, encoded};
use crate::model::event::Event;
use crate::model::{Epoch, KeptTrail, LogId, ProxyName, Revision};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Events in a vector.
#[derive(Debug)]
pub struct MemoryLog {
    identity: Identity,
    events: Mutex<Vec<Arc<Event>>>,
    trails: Mutex<BTreeMap<ProxyName, KeptTrail>>,
}

impl MemoryLog {
    /// An empty log of this name.
    #[must_use]
    pub fn new(log: LogId) -> Self {
        let identity = Identity { log, epoch: Epoch(0) };
        Self { identity, events: Mutex::default(), trails: Mutex::default() }
    }

    fn revision_of(length: usize) -> Revision {
        Revision(length as u64)
    }
}

impl EventLog for MemoryLog {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn head(&self) -> BoxFuture<'_, Result<Revision, LogError>> {
        async { Ok(Self::revision_of(self.events.lock().len())) }.boxed()
    }

    fn read(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Recorded>, LogError>> {
        async move {
            let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
            let events = self.events.lock();
            let found = events.iter().enumerate().skip(skip).take(limit);
            Ok(found
                .map(|(at, event)| Recorded {
                    revision: Self::revision_of(at).next(),
                    event: Arc::clone(event),
                })
                .collect())
        }
        .boxed()
    }

    fn entries(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        async move {
            let skip = usize::try_from(after.0).unwrap_or(usize::MAX);
            let events = self.events.lock();
            let found = events.iter().skip(skip).take(limit);
            found.map(|event| encoded(event)).collect()
        }
        .boxed()
    }

    fn append(
        &self,
        expected: Revision,
        events: Vec<Arc<Event>>,
    ) -> BoxFuture<'_, Result<Revision, AppendError>> {
        async move {
            let mut log = self.events.lock();
            let head = Self::revision_of(log.len());
            if head != expected {
                return Err(AppendError::Conflict { head });
            }
            log.extend(events);
            Ok(Self::revision_of(log.len()))
        }
        .boxed()
    }

    fn keep_trails(&self, trails: Vec<KeptTrail>) -> BoxFuture<'_, Result<(), LogError>> {
        async move {
            self.trails.lock().extend(trails.into_iter().map(|trail| (trail.proxy.clone(), trail)));
            Ok(())
        }
        .boxed()
    }

    fn kept_trails(&self) -> BoxFuture<'_, Result<Vec<KeptTrail>, LogError>> {
        async { Ok(self.trails.lock().values().cloned().collect()) }.boxed()
    }
}
