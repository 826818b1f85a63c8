//! Who may speak for a proxy's name. No I/O; `now` is passed in.
//!
//! One name is one process: the process that said hello last. The one before it is retired: its stream is closed and it is not let
//! in again. But it may hold a lease, and enforce by it from an old table; so until that lease is over, nothing that the new
//! process acknowledges may be believed to hold for the *name*: its acknowledgements are held back. Reconnects of one process are
//! told by the random `instance` of its hello and hold nothing back.

use crate::model::ProxyName;
use crate::runtime::clock::Mono;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Retired processes that are remembered for each name.
const MAX_RETIRED: usize = 8;

/// Who speaks for which name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Followers(Arc<Mutex<HashMap<ProxyName, Follower>>>);

#[derive(Debug)]
struct Follower {
    instance: u64,
    replaced: CancellationToken,
    lease_until: Mono,
    believe_from: Mono,
    retired: VecDeque<u64>,
}

/// The right to speak for a name, until somebody newer does.
#[derive(Debug)]
pub struct Follows {
    proxy: ProxyName,
    instance: u64,
    replaced: CancellationToken,
    all: Followers,
}

/// Another process with this identity has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another process with this identity has taken over: give each proxy an identity of its own")]
pub struct Retired;

impl Followers {
    /// A process says hello. `unknown_until`: until when a process of this name that this control plane has never heard of may
    /// hold a lease (an earlier control plane may have given it).
    ///
    /// # Errors
    /// [`Retired`] if a later process has taken over.
    pub fn enter(&self, proxy: &ProxyName, instance: u64, unknown_until: Mono) -> Result<Follows, Retired> {
        let replaced = CancellationToken::new();
        let mut all = self.0.lock();
        let follower = all.entry(proxy.clone()).or_insert_with(|| Follower {
            instance,
            replaced: replaced.clone(),
            lease_until: Mono::default(),
            believe_from: unknown_until,
            retired: VecDeque::new(),
        });
        if follower.retired.contains(&instance) {
            return Err(Retired);
        }
        if follower.instance != instance {
            if follower.retired.len() >= MAX_RETIRED {
                follower.retired.pop_front();
            }
            follower.retired.push_back(follower.instance);
            follower.instance = instance;
            follower.believe_from = follower.believe_from.max(follower.lease_until);
        }
        std::mem::replace(&mut follower.replaced, replaced.clone()).cancel();
        Ok(Follows { proxy: proxy.clone(), instance, replaced, all: self.clone() })
    }
}

impl Follows {
    /// Which proxy.
    #[must_use]
    pub fn proxy(&self) -> &ProxyName {
        &self.proxy
    }

    /// Cancelled when a newer stream of this name has come.
    #[must_use]
    pub fn replaced(&self) -> &CancellationToken {
        &self.replaced
    }

    /// Notes that a lease is about to be handed out. `false` if the process was retired: it gets none.
    #[must_use]
    pub fn lease(&self, until: Mono) -> bool {
        let mut all = self.all.0.lock();
        match all.get_mut(&self.proxy) {
            Some(follower) if follower.instance == self.instance => {
                follower.lease_until = follower.lease_until.max(until);
                true
            }
            Some(_) | None => false,
        }
    }

    /// From when on this process's acknowledgements hold for the name; `None` if it was retired.
    #[must_use]
    pub fn believe_from(&self) -> Option<Mono> {
        let all = self.all.0.lock();
        all.get(&self.proxy)
            .filter(|follower| follower.instance == self.instance)
            .map(|follower| follower.believe_from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_reconnect_replaces_the_stream_and_holds_nothing_back() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let first = followers.enter(&edge, 1, at(0)).unwrap();
        assert!(first.lease(at(20)));
        let again = followers.enter(&edge, 1, at(0)).unwrap();
        assert!(first.replaced().is_cancelled() && !again.replaced().is_cancelled());
        assert_eq!(again.believe_from(), Some(at(0)));
    }

    #[test]
    fn a_second_process_retires_the_first_and_is_believed_when_its_lease_is_over() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let old = followers.enter(&edge, 1, at(0)).unwrap();
        assert!(old.lease(at(20)));
        let new = followers.enter(&edge, 2, at(0)).unwrap();
        assert!(old.replaced().is_cancelled());
        assert_eq!(new.believe_from(), Some(at(20)));
        assert!(!old.lease(at(25)) && old.believe_from().is_none());
        assert_eq!(followers.enter(&edge, 1, at(0)).unwrap_err(), Retired);
        assert!(!new.replaced().is_cancelled());
        assert_eq!(followers.enter(&edge, 2, at(0)).unwrap().believe_from(), Some(at(20)));
    }

    #[test]
    fn nobody_is_believed_while_an_unknown_process_may_hold_a_lease() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let first = followers.enter(&edge, 1, at(15)).unwrap();
        assert_eq!(first.believe_from(), Some(at(15)));
        let other = followers.enter(&"other".parse().unwrap(), 1, at(0)).unwrap();
        assert!(!first.replaced().is_cancelled() && !other.replaced().is_cancelled());
    }
}
