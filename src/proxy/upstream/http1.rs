//! An HTTP/1.1 connection to a service, and who does its work.
//!
//! hyper makes two halves of it: a sender, and a future that reads and writes. That future is no task here: whoever waits for the
//! response polls it, in the caller's own task, which saves each request two switches between tasks. It becomes a task where both
//! directions have to go on by themselves: when the response begins before the request was sent to its end, and for upgrades.
//!
//! Invariant: a connection that nobody waits on wakes nobody, and holds on to no task.

use super::UpstreamError;
use super::answer_first::AnswerFirst;
use super::connect::Io;
use crate::proxy::body::Upload;
use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::AbortHandle;

/// The largest head of a response.
pub(super) const RESPONSE_HEAD: usize = 64 * 1024;

/// One request at a time. Dropping it ends the connection at once, with whatever is on it: a request that was cut must not linger
/// in a buffer.
pub(super) struct Http1 {
    sender: http1::SendRequest<Upload>,
    work: Work,
    /// Also while what it was upgraded to goes on.
    place: OwnedSemaphorePermit,
}

enum Work {
    /// Done by whoever polls.
    Here(Box<Here>),
    /// Done by a task.
    Task(#[expect(dead_code, reason = "held for its drop")] AbortOnDrop),
    /// The connection has ended.
    Over,
}

struct Here {
    connection: http1::Connection<TokioIo<AnswerFirst<Io>>, Upload>,
    /// Wakes `relay`. One for all polls, so that hyper and tokio find the waker that they have already.
    waker: Waker,
    relay: Arc<Relay>,
}

/// Passes a wake-up on to the task that polled last.
#[derive(Default)]
struct Relay(AtomicWaker);

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

/// Ends a task when dropped.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http1 {
    /// Over a byte stream that was just connected. `place` is free again when it is dropped.
    pub(super) async fn handshake(io: Io, place: OwnedSemaphorePermit) -> Result<Self, UpstreamError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(RESPONSE_HEAD)
            .max_header_size(RESPONSE_HEAD)
            .handshake(TokioIo::new(AnswerFirst(io)))
            .await
            .map_err(UpstreamError::Broken)?;
        let relay = Arc::<Relay>::default();
        let waker = Waker::from(Arc::clone(&relay));
        Ok(Self { sender, work: Work::Here(Box::new(Here { connection, waker, relay })), place })
    }

    /// Sends a request and waits for the head of the response.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let mut response = pin!(self.sender.try_send_request(request));
        poll_fn(|cx| self.work.poll_with(cx, |cx| response.as_mut().poll(cx))).await
    }

    /// Does what the connection has to do, then polls for what comes of it.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.work.poll_with(cx, outcome)
    }

    /// Has a task do the work from now on.
    pub(super) fn run_by_itself(&mut self) {
        self.work = match std::mem::replace(&mut self.work, Work::Over) {
            Work::Here(here) => {
                let Here { connection, .. } = *here;
                let task = tokio::spawn(async move {
                    // An error here is told to whoever waits for the response.
                    let _ = connection.with_upgrades().await;
                });
                Work::Task(AbortOnDrop(task.abort_handle()))
            }
            other @ (Work::Task(_) | Work::Over) => other,
        };
    }

    /// Whether it looked usable when it was last polled.
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether it is usable, after a look at the socket. Whoever polled it before is forgotten.
    pub(super) fn is_usable(&mut self) -> bool {
        let _ = self.poll_with(&mut Context::from_waker(Waker::noop()), |_| Poll::<()>::Pending);
        self.is_ready()
    }

    /// Ends it; its place is free for another.
    pub(super) fn into_place(self) -> OwnedSemaphorePermit {
        self.place
    }

    /// Forgets who polled it last.
    pub(super) fn forget_task(&self) {
        if let Work::Here(here) = &self.work {
            drop(here.relay.0.take());
        }
    }
}

impl Work {
    fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match self {
            Self::Here(here) => {
                // Before the poll: what wakes during it wakes us.
                here.relay.0.register(cx.waker());
                let polled = Pin::new(&mut here.connection).poll(&mut Context::from_waker(&here.waker));
                if polled.is_ready() {
                    *self = Self::Over;
                }
                // Whatever comes, comes by the poll above, which need not wake us for it.
                outcome(&mut Context::from_waker(Waker::noop()))
            }
            Self::Task(_) | Self::Over => outcome(cx),
        }
    }
}
