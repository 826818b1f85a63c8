//! What was admitted under one grant, and the end of it: where the admission race is settled.
//!
//! # The race
//!
//! A request is admitted while a revocation arrives. Both take the grant's lock: [`Entry::admit`] looks at `ended` and puts its
//! stream into the list in one critical section; [`Entry::end`] sets `ended` and reads the list in one critical section.
//! Whoever comes second sees the other: a later admission sees `ended` and is refused; a later end sees the stream and cuts it.
//! There is no third order. An entry that has ended stays ended, also when it was empty, and whoever still holds an old table
//! that lists the grant reaches the same entry. `tests/race.rs` runs this file under every schedule that shuttle finds.
//!
//! # Counting down
//!
//! [`Entry::end`] adds the streams that it found to a [`Countdown`]; [`Entry::leave`] takes each off, under the same lock. The
//! countdown reaches zero exactly when nothing that was admitted under the grant is left.

use super::stream::{CutCause, Stream};
use super::sync::{Arc, AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::model::{EndCause, Limits};
use crate::runtime::clock::Mono;
use futures_util::task::AtomicWaker;
use slab::Slab;
use std::task::Waker;
/// Counts what is still running of what was ended together.
#[derive(Default)]
pub struct Countdown {
    remaining: AtomicUsize,
    waker: AtomicWaker,
}

impl Countdown {
    fn add(&self, streams: usize) {
        self.remaining.fetch_add(streams, Ordering::AcqRel);
    }

    fn take(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake();
        }
    }

    /// How many still run.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.remaining.load(Ordering::Acquire)
    }

    /// Whether nothing runs any more; if something does, `waker` is woken when it no longer does.
    pub fn poll_done(&self, waker: &Waker) -> bool {
        if self.remaining() == 0 {
            return true;
        }
        self.waker.register(waker);
        self.remaining() == 0
    }
}

/// Why an admission was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The grant has ended.
    Ended(EndCause),
    /// As many streams as the grant allows are running.
    ConcurrentStreams,
    /// The grant's rate is used up for now.
    Rate,
    /// The grant's bytes are used up.
    Bytes,
    /// No use is set aside here: one must be reserved at the control plane first.
    NeedsUse,
    /// The control plane has no use left to give.
    NoUseLeft,
}

/// What was used under a grant at this proxy, cumulative since the entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests admitted.
    pub requests: u64,
    /// Body bytes, both directions.
    pub bytes: u64,
    /// Streams that run now, without attendances.
    pub running: u64,
}

#[derive(Default)]
struct Inner {
    streams: Slab<Arc<Stream>>,
    /// How many of them are attendances.
    attending: usize,
    countdowns: Vec<Arc<Countdown>>,
    requests: u64,
    uses_left: u64,
    uses_exhausted: bool,
    rate: Bucket,
}

impl Inner {
    /// Streams that are activity.
    fn running(&self) -> usize {
        self.streams.len().saturating_sub(self.attending)
    }
}

/// A token bucket in nanoseconds: `level` is how much of the burst is used up; it drains with time.
#[derive(Default)]
struct Bucket {
    full_until: u64,
}

impl Bucket {
    /// Generic cell rate algorithm: at most `requests` at once, then one per `per / requests`.
    fn take(&mut self, limits: &Limits, now: Mono) -> bool {
        let Some(rate) = limits.rate else { return true };
        let window = u64::try_from(rate.per.get().as_nanos()).unwrap_or(u64::MAX);
        let interval = (window / u64::from(rate.requests.get())).max(1);
        let next = self.full_until.max(now.as_nanos()).saturating_add(interval);
        if next > now.as_nanos().saturating_add(window) {
            return false;
        }
        self.full_until = next;
        true
    }
}

/// All that was admitted under one grant. 32 bytes until it is first used.
#[derive(Default)]
pub struct Entry {
    ended: AtomicU8,
    touched: AtomicBool,
    inner: Mutex<Option<Box<Inner>>>,
    bytes: AtomicU64,
}

/// The place of a stream in its entry; given back by [`Entry::leave`].
#[derive(Debug)]
pub struct Place {
    key: usize,
    attendance: bool,
}

impl Place {
    /// Whether it is that of an attendance.
    #[must_use]
    pub fn is_attendance(&self) -> bool {
        self.attendance
    }
}

impl Entry {
    /// Admits a stream, or says why not. Limits are taken only if everything holds.
    ///
    /// # Errors
    /// [`Refused`]; nothing was taken.
    pub fn admit(&self, stream: &Arc<Stream>, limits: &Limits, now: Mono) -> Result<Place, Refused> {
        let mut guard = self.lock();
        if let Some(cause) = self.ended() {
            return Err(Refused::Ended(cause));
        }
        let inner = guard.get_or_insert_default();
        if limits.concurrent_streams.is_some_and(|most| inner.running() >= most.get() as usize) {
            return Err(Refused::ConcurrentStreams);
        }
        if limits.bytes.is_some_and(|most| self.bytes() >= most.get()) {
            return Err(Refused::Bytes);
        }
        if limits.max_uses.is_some() && inner.uses_left == 0 {
            return Err(if inner.uses_exhausted { Refused::NoUseLeft } else { Refused::NeedsUse });
        }
        if !inner.rate.take(limits, now) {
            return Err(Refused::Rate);
        }
        if limits.max_uses.is_some() {
            inner.uses_left -= 1;
        }
        inner.requests += 1;
        Ok(Place { key: inner.streams.insert(Arc::clone(stream)), attendance: false })
    }

    /// Admits a stream that takes nothing of the limits and is no activity; it is cut with the grant like any other.
    ///
    /// # Errors
    /// [`Refused::Ended`].
    pub fn attend(&self, stream: &Arc<Stream>) -> Result<Place, Refused> {
        let mut guard = self.lock();
        if let Some(cause) = self.ended() {
            return Err(Refused::Ended(cause));
        }
        let inner = guard.get_or_insert_default();
        inner.attending += 1;
        Ok(Place { key: inner.streams.insert(Arc::clone(stream)), attendance: true })
    }

    /// Takes a stream out again: it is gone.
    pub fn leave(&self, place: &Place) {
        let mut guard = self.lock();
        let Some(inner) = guard.as_mut() else { return };
        if inner.streams.try_remove(place.key).is_some() {
            inner.attending -= usize::from(place.attendance);
            inner.countdowns.iter().for_each(|countdown| countdown.take());
        }
    }

    /// Ends the grant for good and cuts what runs under it; what it found is added to `countdown` and returned. At a second end
    /// the first cause stays, and what is still left is counted again.
    pub fn end(&self, cause: EndCause, countdown: &Arc<Countdown>) -> Vec<Arc<Stream>> {
        let streams: Vec<_> = {
            let mut guard = self.lock();
            let _ = self.ended.compare_exchange(0, cause as u8, Ordering::AcqRel, Ordering::Acquire);
            let Some(inner) = guard.as_mut() else { return Vec::new() };
            countdown.add(inner.streams.len());
            inner.countdowns.push(Arc::clone(countdown));
            inner.streams.iter().map(|(_, stream)| Arc::clone(stream)).collect()
        };
        // Outside the lock: whoever is woken takes the lock to leave.
        for stream in &streams {
            stream.cut(CutCause::Grant(cause));
        }
        streams
    }

    /// Whether anything runs under it, or has been cut and is not gone yet.
    pub(super) fn is_occupied(&self) -> bool {
        self.lock().as_ref().is_some_and(|inner| !inner.streams.is_empty())
    }

    /// Why the grant ended, if it did.
    #[must_use]
    pub fn ended(&self) -> Option<EndCause> {
        EndCause::from_u8(self.ended.load(Ordering::Acquire))
    }

    /// Books uses that the control plane set aside; none means that it has none left.
    pub fn add_uses(&self, granted: u64) {
        let mut guard = self.lock();
        let inner = guard.get_or_insert_default();
        inner.uses_left = inner.uses_left.saturating_add(granted);
        inner.uses_exhausted = granted == 0;
    }

    /// Whether no use is left, as far as is known here: all were taken here, or the control plane had none to give.
    #[must_use]
    pub fn is_used_up(&self, limits: &Limits) -> bool {
        let Some(most) = limits.max_uses else { return false };
        self.lock().as_ref().is_some_and(|inner| {
            inner.uses_left == 0 && (inner.uses_exhausted || inner.requests >= most.get())
        })
    }

    /// Counts body bytes; returns the new total.
    pub fn add_bytes(&self, bytes: u64) -> u64 {
        self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    /// Body bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Marks it as used since the last report; returns whether this is the first time since.
    pub fn touch(&self) -> bool {
        !self.touched.load(Ordering::Relaxed) && !self.touched.swap(true, Ordering::AcqRel)
    }

    /// What was used, and clears the mark of [`Self::touch`].
    pub fn report(&self) -> Used {
        self.touched.store(false, Ordering::Release);
        let guard = self.lock();
        let (requests, running) = guard.as_ref().map_or((0, 0), |inner| (inner.requests, inner.running()));
        Used { requests, bytes: self.bytes(), running: running as u64 }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Inner>>> {
        // A panic elsewhere cannot leave the list half-changed: each change is one call.
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
