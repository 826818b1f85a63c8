//! What is known of one request.

use super::{Called, Caller, Decision, Named, Protocol, TraceId};
use crate::audit::recording::{Reel, Stored};
use crate::model::{GrantId, RequestId, Revision, ServiceName, TaskId};
use crate::runtime::clock::Mono;
use http::Method;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// What a line says.
pub(in crate::audit) struct Facts {
    pub(in crate::audit) caller: Arc<Caller>,
    pub(in crate::audit) user: Option<Arc<Named>>,
    pub(in crate::audit) id: RequestId,
    pub(in crate::audit) started: Mono,
    pub(in crate::audit) trace: Option<TraceId>,
    pub(in crate::audit) service: Option<ServiceName>,
    pub(in crate::audit) method: Option<Method>,
    /// Escaped already; empty while unknown (a path has at least its slash).
    pub(in crate::audit) path: Vec<u8>,
    pub(in crate::audit) protocol: Option<Protocol>,
    pub(in crate::audit) called: Option<Box<Called>>,
    pub(in crate::audit) grant: Option<GrantId>,
    pub(in crate::audit) task: Option<TaskId>,
    pub(in crate::audit) revision: Option<Revision>,
    pub(in crate::audit) decision: Option<Decision>,
    pub(in crate::audit) decision_ns: Option<u64>,
    pub(in crate::audit) status: Option<u16>,
    pub(in crate::audit) bytes_in: u64,
    pub(in crate::audit) bytes_in_shared: Option<Arc<AtomicU64>>,
    pub(in crate::audit) bytes_out: u64,
    /// The number of its `admit` line, if that was written.
    pub(in crate::audit) admit: Option<u64>,
    /// Tapes, where it must be recorded.
    pub(in crate::audit) reel: Option<Box<Reel>>,
    /// What has become of them.
    pub(in crate::audit) stored: Option<Stored>,
}

impl Facts {
    /// Of a request of which nothing else is known.
    pub(super) fn new(caller: Arc<Caller>, id: RequestId, started: Mono) -> Self {
        Self {
            caller,
            user: None,
            id,
            started,
            trace: None,
            service: None,
            method: None,
            path: Vec::new(),
            protocol: None,
            called: None,
            grant: None,
            task: None,
            revision: None,
            decision: None,
            decision_ns: None,
            status: None,
            bytes_in: 0,
            bytes_in_shared: None,
            bytes_out: 0,
            admit: None,
            reel: None,
            stored: None,
        }
    }

    /// All of it; what is left behind says nothing.
    pub(super) fn take(&mut self) -> Self {
        let nothing = Self::new(Arc::clone(&self.caller), self.id, self.started);
        std::mem::replace(self, nothing)
    }
}
