//! Who may speak for a proxy's name. No I/O; `now` is passed in.
//!
//! One name is one process: the process that said hello last. The one before it is retired: its stream is closed and it is not let
//! in again, unless its successor is gone and the successor's lease is over. But it may hold a lease, and enforce by it from an old table; so until that lease is over, nothing that the new
//! process acknowledges may be believed to hold for the *name*: its acknowledgements are held back. Reconnects of one process are
//! told by the random `instance` of its hello and hold nothing back.
//!
//! What is held back is kept here, not with the stream: the stream may break meanwhile, and the proxy has done its part.

use crate::model::ProxyName;
use crate::runtime::clock::Mono;
use crate::wire::message::Ack;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Retired processes that are remembered for each name.
const MAX_RETIRED: usize = 8;

/// Who speaks for which name. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Followers(Arc<Mutex<HashMap<ProxyName, Follower>>>);

#[derive(Debug)]
struct Follower {
    instance: u64,
    /// Open streams of this instance: two while one replaces the other.
    streams: u32,
    replaced: CancellationToken,
    lease_until: Mono,
    believe_from: Mono,
    retired: VecDeque<u64>,
    /// Heard, and not logged yet.
    heard: Option<Ack>,
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
    pub fn enter(
        &self,
        proxy: &ProxyName,
        instance: u64,
        unknown_until: Mono,
        now: Mono,
    ) -> Result<Follows, Retired> {
        let replaced = CancellationToken::new();
        let mut all = self.0.lock();
        let follower = all.entry(proxy.clone()).or_insert_with(|| Follower {
            instance,
            streams: 0,
            replaced: CancellationToken::new(),
            lease_until: Mono::default(),
            believe_from: unknown_until,
            retired: VecDeque::new(),
            heard: None,
        });
        let vacant = follower.streams == 0 && follower.lease_until <= now;
        if follower.retired.contains(&instance) && !vacant {
            return Err(Retired);
        }
        if follower.instance != instance {
            if follower.retired.len() >= MAX_RETIRED {
                follower.retired.pop_front();
            }
            follower.retired.retain(|retired| *retired != instance);
            follower.retired.push_back(follower.instance);
            follower.instance = instance;
            follower.streams = 0;
            follower.heard = None;
            follower.believe_from = follower.believe_from.max(follower.lease_until);
        }
        follower.streams = follower.streams.saturating_add(1);
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

    /// Which process of it, by the random number of its hello.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Cancelled when a newer stream of this name has come.
    #[must_use]
    pub fn replaced(&self) -> &CancellationToken {
        &self.replaced
    }

    /// Notes that a lease is about to be handed out.
    ///
    /// # Errors
    /// [`Retired`]: the process gets none.
    pub fn lease(&self, until: Mono) -> Result<(), Retired> {
        self.with(|follower| follower.lease_until = follower.lease_until.max(until))
    }

    /// Takes an acknowledgement in. One that is sent again after a reconnect counts once.
    ///
    /// # Errors
    /// [`Retired`].
    pub fn hear(&self, ack: Ack) -> Result<(), Retired> {
        self.with(|follower| match &mut follower.heard {
            Some(heard) if heard.revision >= ack.revision => {}
            Some(heard) => {
                heard.revision = ack.revision;
                heard.streams_cut = heard.streams_cut.saturating_add(ack.streams_cut);
            }
            None => follower.heard = Some(ack),
        })
    }

    /// What was heard and not settled, and how long until it holds for the name.
    ///
    /// # Errors
    /// [`Retired`].
    pub fn heard(&self, now: Mono) -> Result<Option<(Ack, Duration)>, Retired> {
        self.with(|follower| follower.heard.map(|ack| (ack, follower.believe_from.since(now))))
    }

    /// An acknowledgement is logged.
    ///
    /// # Errors
    /// [`Retired`].
    pub fn settled(&self, ack: Ack) -> Result<(), Retired> {
        self.with(|follower| follower.heard = follower.heard.filter(|heard| *heard != ack))
    }

    fn with<T>(&self, look: impl FnOnce(&mut Follower) -> T) -> Result<T, Retired> {
        let mut all = self.all.0.lock();
        all.get_mut(&self.proxy)
            .filter(|follower| follower.instance == self.instance)
            .map(look)
            .ok_or(Retired)
    }
}

impl Drop for Follows {
    fn drop(&mut self) {
        // A retired process has no stream to be counted.
        let _ = self.with(|follower| follower.streams = follower.streams.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::from_nanos(seconds * 1_000_000_000)
    }

    fn ack(revision: u64, streams_cut: u64) -> Ack {
        Ack { revision: crate::model::Revision(revision), streams_cut }
    }

    fn wait(follows: &Follows, now: Mono) -> Option<u64> {
        follows.heard(now).unwrap().map(|(_, wait)| wait.as_secs())
    }

    #[test]
    fn a_reconnect_replaces_the_stream_and_holds_nothing_back() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let first = followers.enter(&edge, 1, at(0), at(1)).unwrap();
        first.lease(at(20)).unwrap();
        first.hear(ack(5, 1)).unwrap();
        let again = followers.enter(&edge, 1, at(0), at(1)).unwrap();
        assert!(first.replaced().is_cancelled() && !again.replaced().is_cancelled());
        again.hear(ack(5, 1)).unwrap();
        again.hear(ack(6, 1)).unwrap();
        assert_eq!(again.heard(at(1)), Ok(Some((ack(6, 2), Duration::ZERO))));
        again.settled(ack(6, 2)).unwrap();
        assert_eq!(again.heard(at(1)), Ok(None));
    }

    #[test]
    fn a_second_process_retires_the_first_and_is_believed_when_its_lease_is_over() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let old = followers.enter(&edge, 1, at(0), at(1)).unwrap();
        old.lease(at(20)).unwrap();
        old.hear(ack(9, 9)).unwrap();
        let new = followers.enter(&edge, 2, at(0), at(1)).unwrap();
        assert!(old.replaced().is_cancelled());
        assert_eq!(wait(&new, at(10)), None, "what the old process said is not the new one's word");
        new.hear(ack(5, 0)).unwrap();
        assert_eq!((wait(&new, at(12)), wait(&new, at(20))), (Some(8), Some(0)));
        assert!(old.lease(at(25)).is_err() && old.hear(ack(10, 0)).is_err() && old.heard(at(1)).is_err());
        assert_eq!(followers.enter(&edge, 1, at(0), at(1)).unwrap_err(), Retired);
        assert!(!new.replaced().is_cancelled());
        assert_eq!(wait(&followers.enter(&edge, 2, at(0), at(1)).unwrap(), at(12)), Some(8));
    }

    #[test]
    fn nobody_is_believed_while_an_unknown_process_may_hold_a_lease() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let first = followers.enter(&edge, 1, at(15), at(1)).unwrap();
        first.hear(ack(1, 0)).unwrap();
        assert_eq!(wait(&first, at(5)), Some(10));
        followers.enter(&"other".parse().unwrap(), 1, at(0), at(1)).unwrap();
        assert!(!first.replaced().is_cancelled());
    }

    #[test]
    fn a_retired_process_comes_back_once_its_successor_is_gone_for_good() {
        let (followers, edge) = (Followers::default(), "edge".parse().unwrap());
        let old = followers.enter(&edge, 1, at(0), at(1)).unwrap();
        let new = followers.enter(&edge, 2, at(0), at(1)).unwrap();
        new.lease(at(20)).unwrap();
        drop(old);
        assert!(followers.enter(&edge, 1, at(0), at(30)).is_err(), "the successor is connected");
        drop(new);
        assert!(followers.enter(&edge, 1, at(0), at(19)).is_err(), "the successor may still enforce");
        let back = followers.enter(&edge, 1, at(0), at(20)).unwrap();
        back.hear(ack(3, 0)).unwrap();
        assert_eq!(wait(&back, at(20)), Some(0));
        assert!(followers.enter(&edge, 2, at(0), at(21)).is_err(), "now the other is retired");
    }
}
