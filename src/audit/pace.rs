//! When the writer's thread looks at what is queued, and when it puts it on the disk.
//!
//! Lines that nobody waits for wait for [`FLUSH_EVERY`] or until there are many. Lines that a request waits for are looked at once no
//! thread that added one has anything left to do, and [`MOST`] later at the latest: a sync takes processor time whatever it carries,
//! so that one that begins with the first line leaves the others to the next, and a core that is full syncs more than it serves. A
//! thread that has nothing left to do adds nothing more, so that where there are few requests nobody waits for others. Invariant: it
//! decides only when lines are looked at, never whether.

use crate::runtime::clock::Mono;
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Duration;

/// Lines wait at most this long for their batch; the contract says 100 ms.
const FLUSH_EVERY: Duration = Duration::from_millis(50);
/// So long a line that is waited for waits for others where threads always have something to do.
const MOST: Duration = Duration::from_millis(1);

/// See the module's comment.
#[derive(Debug, Default)]
pub(super) struct Pace {
    writer: OnceLock<Thread>,
    woken: AtomicBool,
    /// How many threads added a line that is waited for, and have had something to do since.
    adding: AtomicU32,
}

impl Pace {
    /// This thread writes.
    pub(super) fn sets(&self, writer: &Thread) {
        // There is one.
        let _ = self.writer.set(writer.clone());
    }

    /// Whether a thread writes.
    pub(super) fn has_writer(&self) -> bool {
        self.writer.get().is_some()
    }

    /// Lets the writer look soon.
    pub(super) fn wake(&self) {
        if !self.woken.load(Ordering::Relaxed) && !self.woken.swap(true, Ordering::AcqRel) {
            self.unpark();
        }
    }

    fn unpark(&self) {
        self.writer.get().inspect(|writer| writer.unpark());
    }

    /// Whether nobody is expected to add more at once to what is waited for.
    pub(super) fn is_quiet(&self) -> bool {
        self.adding.load(Ordering::Acquire) == 0
    }

    /// In the writer's thread: waits until it is time to look.
    pub(super) fn wait(&self) {
        std::thread::park_timeout(FLUSH_EVERY);
        let until = Mono::now().plus(MOST);
        while !self.is_quiet() {
            let left = until.since(Mono::now());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        // Before the look: what is queued after it wakes us again.
        self.woken.store(false, Ordering::Release);
    }
}

thread_local! {
    /// What this thread adds to.
    static HERE: RefCell<Option<Adds>> = const { RefCell::new(None) };
}

struct Adds {
    to: Arc<Pace>,
    since_it_rested: bool,
}

impl Adds {
    fn rests(&mut self) {
        if std::mem::take(&mut self.since_it_rested) && self.to.adding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.to.unpark();
        }
    }
}

impl Drop for Adds {
    fn drop(&mut self) {
        self.rests();
    }
}

/// While it is there, this thread says when it rests.
pub(super) struct SaysWhenItRests(());

impl SaysWhenItRests {
    pub(super) fn begin(to: Arc<Pace>) -> Self {
        let _ = HERE.try_with(|here| here.replace(Some(Adds { to, since_it_rested: false })));
        Self(())
    }
}

impl Drop for SaysWhenItRests {
    fn drop(&mut self) {
        // Not there any more while the thread ends, which has dropped what was.
        let _ = HERE.try_with(RefCell::take);
    }
}

/// This thread added a line that is waited for.
pub(super) fn added() {
    let _ = HERE.try_with(|here| {
        if let Some(here) = &mut *here.borrow_mut()
            && !std::mem::replace(&mut here.since_it_rested, true)
        {
            here.to.adding.fetch_add(1, Ordering::AcqRel);
        }
    });
}

/// This thread has nothing left to do: what its runtime calls before it waits for events.
pub(crate) fn thread_rests() {
    let _ = HERE.try_with(|here| here.borrow_mut().as_mut().map(Adds::rests));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_quiet_once_each_thread_that_added_has_rested() {
        let pace = Arc::<Pace>::default();
        let says = SaysWhenItRests::begin(Arc::clone(&pace));
        assert!(pace.is_quiet());
        thread_rests();
        assert!(pace.is_quiet(), "it had added nothing");
        added();
        added();
        assert!(!pace.is_quiet());
        let other = Arc::clone(&pace);
        let ended = std::thread::spawn(move || {
            let _says = SaysWhenItRests::begin(Arc::clone(&other));
            added();
            // It ends without having rested.
        });
        ended.join().unwrap();
        assert!(!pace.is_quiet(), "this one has not rested");
        thread_rests();
        assert!(pace.is_quiet());
        added();
        drop(says);
        assert!(pace.is_quiet(), "who is gone adds nothing more");
        added();
        assert!(pace.is_quiet(), "who never says when it rests is not waited for");
    }

    #[test]
    fn a_thread_that_never_rests_is_not_waited_for_for_ever() {
        let pace = Arc::<Pace>::default();
        let _says = SaysWhenItRests::begin(Arc::clone(&pace));
        added();
        pace.wake();
        pace.wait();
        assert!(!pace.is_quiet());
        assert!(!pace.woken.load(Ordering::Relaxed), "it can be woken again");
    }

    #[test]
    fn the_last_to_rest_wakes_the_writer() {
        let pace = Arc::<Pace>::default();
        let writer = std::thread::spawn(std::thread::park);
        pace.sets(writer.thread());
        let _says = SaysWhenItRests::begin(Arc::clone(&pace));
        added();
        thread_rests();
        writer.join().unwrap();
    }
}
