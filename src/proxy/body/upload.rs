//! The body of a request on its way to the service.

use super::{Broken, Exchange, end, exact, tape};
use crate::access::stream::Turn;
use crate::audit::record::Record;
use crate::audit::recording::Tape;
use crate::proxy::headers;
use crate::runtime::clock::Mono;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

/// The body of a request on its way to the service.
pub(crate) enum Upload {
    /// There is none.
    Empty,
    /// It streams.
    Streaming(Box<Uploading>),
    /// It was read before it was decided on.
    Whole(Box<Whole>),
    /// Our own words to a service: that a call is cancelled, that a session is over.
    Ours(Option<Bytes>),
}

/// A body that was read before it was decided on; `Held` is its place among those that may be in memory.
pub(crate) struct Whole {
    bytes: Option<Bytes>,
    exchange: Arc<Exchange>,
    handed_on: Arc<AtomicU64>,
    tape: Option<Arc<Tape>>,
    _held: Box<dyn Send + Sync>,
}

pub(crate) struct Uploading {
    inner: Incoming,
    exchange: Arc<Exchange>,
    /// What was handed on, for the audit line.
    bytes: Arc<AtomicU64>,
    /// Where it is recorded.
    tape: Option<Arc<Tape>>,
    over: bool,
}

impl Upload {
    /// The body of a request that runs as `exchange` and is counted in `record`.
    pub(crate) fn of(inner: Incoming, exchange: &Arc<Exchange>, record: &mut Record, now: Mono) -> Self {
        if inner.is_end_stream() {
            exchange.request_sent(now);
            return Self::Empty;
        }
        // Until the connection asks for it.
        exchange.await_first_byte(now);
        let bytes = Arc::<AtomicU64>::default();
        record.count_bytes_in(Arc::clone(&bytes));
        let (exchange, tape) = (Arc::clone(exchange), record.request_tape());
        Self::Streaming(Box::new(Uploading { inner, exchange, bytes, tape, over: false }))
    }

    /// A body that was read already. `held` is dropped when it has been handed on.
    pub(crate) fn whole(
        bytes: Bytes,
        held: Box<dyn Send + Sync>,
        exchange: &Arc<Exchange>,
        record: &mut Record,
        now: Mono,
    ) -> Self {
        if bytes.is_empty() {
            exchange.request_sent(now);
            return Self::Empty;
        }
        exchange.await_first_byte(now);
        let handed_on = Arc::<AtomicU64>::default();
        record.count_bytes_in(Arc::clone(&handed_on));
        let (exchange, tape) = (Arc::clone(exchange), record.request_tape());
        Self::Whole(Box::new(Whole { bytes: Some(bytes), exchange, handed_on, tape, _held: held }))
    }
}

impl Whole {
    fn take(&mut self) -> Option<Result<Frame<Bytes>, Broken>> {
        let bytes = self.bytes.take()?;
        let now = Mono::now();
        if let Err(cause) = self.exchange.live.check_frame(bytes.len(), now) {
            return Some(Err(Broken::Cut(cause)));
        }
        self.handed_on.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if let Some(tape) = &self.tape {
            tape.push(&bytes);
            tape.end();
        }
        self.exchange.request_sent(now);
        Some(Ok(Frame::data(bytes)))
    }
}

impl Uploading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let exchange = &self.exchange;
        let (live, stream) = (&exchange.live, exchange.live.stream());
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        let now = Mono::now();
        match polled {
            Poll::Pending => {
                stream.set_deadline(Turn::ServiceSends, None);
                match live.wait(Turn::CallerSends, cx.waker(), exchange.patience_with_caller(), now) {
                    Ok(()) => Poll::Pending,
                    Err(cause) => self.broken(Broken::Cut(cause)),
                }
            }
            Poll::Ready(Some(Ok(mut frame))) => {
                stream.set_deadline(Turn::CallerSends, None);
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                if let Err(cause) = live.check_frame(bytes, now) {
                    return self.broken(Broken::Cut(cause));
                }
                if let Some(trailers) = frame.trailers_mut() {
                    headers::clean_trailers(trailers);
                }
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                tape(self.tape.as_deref(), &frame);
                // Now the service is to take it.
                stream.set_deadline(Turn::ServiceSends, Some(now.plus(exchange.patience.service_idle)));
                if self.inner.is_end_stream() {
                    exchange.request_sent(now);
                }
                // Nobody asks for the end of a body whose length is known.
                if self.inner.is_end_stream() || self.inner.size_hint().exact() == Some(0) {
                    end(self.tape.as_deref());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                exchange.caller_broke_off.store(true, Ordering::Release);
                self.broken(Broken::Peer(error))
            }
            Poll::Ready(None) => {
                if let Err(cause) = live.check(now) {
                    return self.broken(Broken::Cut(cause));
                }
                exchange.request_sent(now);
                end(self.tape.as_deref());
                self.over = true;
                Poll::Ready(None)
            }
        }
    }

    fn broken(&mut self, broken: Broken) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.over = true;
        Poll::Ready(Some(Err(broken)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Streaming(uploading) => uploading.poll(cx),
            Self::Whole(whole) => Poll::Ready(whole.take()),
            Self::Ours(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Streaming(uploading) => uploading.over || uploading.inner.is_end_stream(),
            Self::Whole(whole) => whole.bytes.is_none(),
            Self::Ours(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Streaming(uploading) => uploading.inner.size_hint(),
            Self::Whole(whole) => exact(whole.bytes.as_ref()),
            Self::Ours(bytes) => exact(bytes.as_ref()),
        }
    }
}
