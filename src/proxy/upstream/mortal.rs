//! A connection that can be ended from outside, whoever owns it.

use super::connect::Io;
use crate::access::stream::{Killer, Wanted};
use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// What nobody but the socket holds any more: it is gone when all of it is written, or with the socket.
pub(super) struct Leaving<T> {
    /// `None` once the socket is gone.
    waiting: Mutex<Option<Waiting<T>>>,
    /// Everything that was handed to the socket is written.
    clean: AtomicBool,
    killer: Arc<Killer>,
}

struct Waiting<T> {
    /// It may still be queued: written after a turn of the connection that left nothing unwritten.
    queued: Vec<T>,
    /// It was handed to the socket's buffer: written with the next flush that empties that.
    buffered: Vec<T>,
    /// It is written; dropped after the turn, outside of the connection's locks.
    written: Vec<T>,
}

impl<T> Leaving<T> {
    pub(super) fn new(killer: Arc<Killer>) -> Arc<Self> {
        let waiting = Waiting { queued: Vec::new(), buffered: Vec::new(), written: Vec::new() };
        Arc::new(Self { waiting: Mutex::new(Some(waiting)), clean: AtomicBool::new(false), killer })
    }

    /// Nothing of it is asked for any more. `queued`: some may not have been handed to the socket's buffer yet.
    pub(super) fn push(&self, one: T, queued: bool) {
        let mut waiting = self.waiting.lock();
        match &mut *waiting {
            Some(waiting) if queued => waiting.queued.push(one),
            Some(waiting) => waiting.buffered.push(one),
            // Dropped here, after the lock.
            None => {
                drop(waiting);
                return drop(one);
            }
        }
        drop(waiting);
        // So that there is a next turn, also where nothing is to be written any more.
        self.killer.wake();
    }

    /// The connection has had its turn: all that was queued has been handed to the socket.
    pub(super) fn had_its_turn(&self) {
        let clean = self.clean.load(Ordering::Acquire);
        let left = self.waiting.lock().as_mut().map(|waiting| {
            let queued = if clean { std::mem::take(&mut waiting.queued) } else { Vec::new() };
            (std::mem::take(&mut waiting.written), queued)
        });
        drop(left);
    }
}

/// Told by the socket.
pub(super) trait Flushed: Send + Sync {
    /// Whether everything that was handed to it is written.
    fn is_clean(&self, clean: bool);
    /// The socket is gone.
    fn closed(&self);
}

impl<T: Send> Flushed for Leaving<T> {
    fn is_clean(&self, clean: bool) {
        self.clean.store(clean, Ordering::Release);
        if clean && let Some(waiting) = &mut *self.waiting.lock() {
            let Waiting { buffered, written, .. } = waiting;
            written.append(buffered);
        }
    }

    fn closed(&self) {
        let left = self.waiting.lock().take();
        drop(left);
    }
}

/// Fails each read and write once its [`Killer`] wants it dead. Keeps its place among the connections until it is dropped.
pub(super) struct Mortal {
    io: Io,
    killer: Arc<Killer>,
    leaving: Arc<dyn Flushed>,
    /// Told when the other side has said something.
    heard: Option<oneshot::Sender<()>>,
    _room: OwnedSemaphorePermit,
}

impl Mortal {
    /// The connection, and who is told that something was read from it; the end of it ends the wait as well.
    pub(super) fn new(
        io: Io,
        (killer, leaving): (Arc<Killer>, Arc<dyn Flushed>),
        room: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<()>) {
        let (heard, hears) = oneshot::channel();
        (Self { io, killer, leaving, heard: Some(heard), _room: room }, hears)
    }

    /// In every poll that may have to wait, so that its task is woken.
    fn lives(&self, cx: &Context<'_>) -> io::Result<()> {
        match self.killer.poll_wanted(cx.waker()) {
            Wanted::Die => Err(ErrorKind::ConnectionAborted.into()),
            Wanted::Run | Wanted::Retire => Ok(()),
        }
    }
}

impl AsyncRead for Mortal {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lives(cx)?;
        let before = buf.filled().len();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if buf.filled().len() > before
            && let Some(heard) = this.heard.take()
        {
            // Nobody waits any more if opening took too long.
            let _ = heard.send(());
        }
        polled
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.lives(cx)?;
        this.leaving.is_clean(false);
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.lives(cx)?;
        this.leaving.is_clean(false);
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lives(cx)?;
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        // Asked for only once all that was buffered has been written.
        if matches!(flushed, Poll::Ready(Ok(()))) {
            this.leaving.is_clean(true);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lives(cx)?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        self.leaving.closed();
    }
}
