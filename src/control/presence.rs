//! What this process knows of proxies beyond the log: who is connected, how far they are, and until when their lease may run.
//!
//! Volatile on purpose. A proxy of which nothing is known since the start of this process may still hold a lease that an earlier
//! one gave: it is taken to run for the longest lease ever handed out, from the start.

use crate::model::{ProxyName, Revision, Time};
use crate::runtime::clock::Mono;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is known of one proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Open control channels.
    pub connections: u32,
    /// When it was last heard of, control time.
    pub last_seen: Option<Time>,
    /// The revision that it last said it enforces.
    pub applied: Revision,
    /// When the lease that it was last given runs out at the latest; `None` before the first.
    pub lease_until: Option<Mono>,
}

/// What is known of all proxies. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Presence(Arc<Mutex<BTreeMap<ProxyName, Seen>>>);

impl Presence {
    /// A proxy's control channel opened. To be called after its `Join` was accepted: so the map holds known proxies only.
    #[must_use]
    pub fn connected(&self, proxy: ProxyName, now: Time) -> Connected {
        let connected = Connected { proxy, all: self.clone() };
        connected.with(|seen| {
            seen.connections = seen.connections.saturating_add(1);
            seen.last_seen = Some(now);
        });
        connected
    }

    /// What is known of one.
    #[must_use]
    pub fn of(&self, proxy: &ProxyName) -> Seen {
        self.0.lock().get(proxy).copied().unwrap_or_default()
    }
}

/// One open control channel; dropping it closes it.
#[derive(Debug)]
pub struct Connected {
    proxy: ProxyName,
    all: Presence,
}

impl Connected {
    /// The proxy said that it enforces a revision.
    pub fn applied(&self, revision: Revision, now: Time) {
        self.with(|seen| {
            seen.applied = seen.applied.max(revision);
            seen.last_seen = Some(now);
        });
    }

    /// A lease is about to be handed out that runs out at `until` at the latest. To be called *before* the pong is sent: otherwise
    /// a receipt could be ahead of the truth.
    pub fn leased(&self, until: Mono, now: Time) {
        self.with(|seen| {
            seen.lease_until = seen.lease_until.max(Some(until));
            seen.last_seen = Some(now);
        });
    }

    fn with(&self, change: impl FnOnce(&mut Seen)) {
        change(self.all.0.lock().entry(self.proxy.clone()).or_default());
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.with(|seen| seen.connections = seen.connections.saturating_sub(1));
    }
}
