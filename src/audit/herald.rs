//! Tells the requests of one thread that their lines are on disk: the writer wakes the thread once for a whole batch, not once for
//! each line, and never waits for it.
//!
//! Invariant: nobody is told who was not told by the writer. What a herald was handed and did not tell is dropped with it, and so
//! refused.

use super::pace::{Pace, SaysWhenItRests};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use tokio::sync::oneshot;

thread_local! {
    /// That of this thread.
    static HERE: RefCell<Option<Arc<Herald>>> = const { RefCell::new(None) };
}

/// See the module's comment.
#[derive(Debug, Default)]
pub(super) struct Herald {
    /// To be told; `None` once nobody tells them any more.
    inbox: Mutex<Option<Vec<oneshot::Sender<()>>>>,
    waker: AtomicWaker,
}

/// Told when a line is on disk; dropped when it will not be.
#[derive(Debug)]
pub(super) struct Waiting {
    told: oneshot::Sender<()>,
    herald: Option<Arc<Herald>>,
}

impl Waiting {
    /// Somebody who waits on this thread.
    pub(super) fn here(told: oneshot::Sender<()>) -> Self {
        // Not there any more while the thread ends.
        let herald = HERE.try_with(|here| here.borrow().clone()).ok().flatten();
        let herald = herald.filter(|herald| herald.inbox.lock().is_some());
        Self { told, herald }
    }
}

/// The lines of all of these are on disk.
pub(super) fn tell(waiting: impl Iterator<Item = Waiting>) {
    let mut heralds: Vec<Arc<Herald>> = Vec::new();
    for Waiting { told, herald } in waiting {
        let Some(herald) = herald else {
            // Whoever has gone needs not to know.
            let _ = told.send(());
            continue;
        };
        if let Some(inbox) = &mut *herald.inbox.lock() {
            inbox.push(told);
        }
        if !heralds.iter().any(|known| Arc::ptr_eq(known, &herald)) {
            heralds.push(herald);
        }
    }
    heralds.iter().for_each(|herald| herald.waker.wake());
}

/// The same for whoever sets this pace: the thread says when it rests.
pub(super) async fn run_for(pace: Arc<Pace>) -> Infallible {
    let _says = SaysWhenItRests::begin(pace);
    run().await
}

/// Takes the word from the writer for whoever waits on this thread from now on, as long as it is polled. One for each thread.
pub(super) async fn run() -> Infallible {
    let stays = Stays::begin();
    let mut batch = Vec::new();
    poll_fn(|cx| {
        // Before the look: what comes after it wakes us.
        stays.0.waker.register(cx.waker());
        if let Some(inbox) = &mut *stays.0.inbox.lock() {
            std::mem::swap(inbox, &mut batch);
        }
        for told in batch.drain(..) {
            let _ = told.send(());
        }
        Poll::Pending
    })
    .await
}

/// While it is there, whoever waits on this thread is told by this herald.
struct Stays(Arc<Herald>);

impl Stays {
    fn begin() -> Self {
        let herald = Arc::new(Herald { inbox: Mutex::new(Some(Vec::new())), waker: AtomicWaker::new() });
        let _ = HERE.try_with(|here| here.replace(Some(Arc::clone(&herald))));
        Self(herald)
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        let _ = HERE.try_with(|here| {
            here.borrow_mut().take_if(|here| Arc::ptr_eq(here, &self.0));
        });
        let left = self.0.inbox.lock().take();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake, Waker};
    use tokio::sync::oneshot::error::TryRecvError;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn three() -> ([oneshot::Receiver<()>; 3], Vec<Waiting>) {
        let (told, on_disk): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        (on_disk.try_into().unwrap(), told.into_iter().map(Waiting::here).collect())
    }

    #[test]
    fn a_batch_wakes_its_thread_once_and_reaches_everybody() {
        let count = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&count));
        let mut herald = Box::pin(run());
        assert!(herald.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        let (mut on_disk, waiting) = three();
        std::thread::spawn(move || tell(waiting.into_iter())).join().unwrap();
        assert!(on_disk.iter_mut().all(|waits| waits.try_recv() == Err(TryRecvError::Empty)), "not yet");
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(herald.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(on_disk.iter_mut().all(|waits| waits.try_recv() == Ok(())));
    }

    #[test]
    fn who_is_not_told_before_the_herald_goes_is_refused_and_who_comes_later_is_told_without_one() {
        let mut context = Context::from_waker(Waker::noop());
        let (mut told, (mut late, unhanded)) = {
            let mut herald = pin!(run());
            assert!(herald.as_mut().poll(&mut context).is_pending());
            let (told, handed) = three();
            tell(handed.into_iter());
            (told, three())
        };
        assert!(told.iter_mut().all(|waits| waits.try_recv() == Err(TryRecvError::Closed)));
        tell(unhanded.into_iter());
        assert!(late.iter_mut().all(|waits| waits.try_recv() == Err(TryRecvError::Closed)));
        let (mut on_disk, waiting) = three();
        tell(waiting.into_iter());
        assert!(on_disk.iter_mut().all(|waits| waits.try_recv() == Ok(())));
    }

    #[test]
    fn a_sync_that_fails_drops_those_who_wait_for_it() {
        let mut herald = pin!(run());
        assert!(herald.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let (mut on_disk, waiting) = three();
        drop(waiting);
        assert!(on_disk.iter_mut().all(|waits| waits.try_recv() == Err(TryRecvError::Closed)));
    }
}
