//! A connection that can be ended from outside, whoever owns it.

use super::connect::Io;
use crate::access::stream::{Killer, Wanted};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Fails each read and write once its [`Killer`] wants it dead. Keeps its place among the connections until it is dropped.
pub(super) struct Mortal {
    io: Io,
    killer: Arc<Killer>,
    /// Told when the other side has said something.
    heard: Option<oneshot::Sender<()>>,
    _room: OwnedSemaphorePermit,
}

impl Mortal {
    /// The connection, and who is told that something was read from it; the end of it ends the wait as well.
    pub(super) fn new(
        io: Io,
        killer: Arc<Killer>,
        room: OwnedSemaphorePermit,
    ) -> (Self, oneshot::Receiver<()>) {
        let (heard, hears) = oneshot::channel();
        (Self { io, killer, heard: Some(heard), _room: room }, hears)
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
        Pin::new(&mut this.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.lives(cx)?;
        Pin::new(&mut this.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lives(cx)?;
        Pin::new(&mut this.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.lives(cx)?;
        Pin::new(&mut this.io).poll_shutdown(cx)
    }
}
