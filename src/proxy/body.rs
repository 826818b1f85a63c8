//! The two bodies of an exchange, each frame checked just before it is handed on (law 5).
//!
//! An [`Exchange`] is shared by both directions and is gone when both are. A cut body ends in an error, never cleanly: over
//! HTTP/1.1 the connection breaks off, over HTTP/2 the stream is reset.

use crate::access::stream::{CutCause, Direction, Turn};
use crate::audit::record::{End, Record};
use crate::audit::recording::Tape;
use crate::proxy::router::Route;
use crate::proxy::upstream::Reusable;
use crate::runtime::clock::Mono;
use crate::session::Live;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

mod upload;

pub(crate) use upload::Upload;

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// It was cut.
    #[error("cut: {}", .0.as_str())]
    Cut(CutCause),
    /// The other side broke it off.
    #[error("the other side broke off")]
    Peer(#[source] hyper::Error),
}

/// How long each turn may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    pub(crate) caller_sends: Duration,
    pub(crate) caller_takes: Duration,
    pub(crate) first_byte: Duration,
    pub(crate) service_idle: Duration,
}

/// What both directions share.
pub(crate) struct Exchange {
    pub(crate) live: Live,
    pub(crate) patience: Patience,
    sent_whole: AtomicBool,
    /// The service has begun to answer.
    answered: AtomicBool,
    caller_broke_off: AtomicBool,
}

impl Exchange {
    pub(crate) fn new(live: Live, patience: Patience) -> Arc<Self> {
        let [sent_whole, answered, caller_broke_off] = [const { AtomicBool::new(false) }; 3];
        Arc::new(Self { live, patience, sent_whole, answered, caller_broke_off })
    }

    /// The request has been handed on to its end: from now on the service is to answer.
    pub(crate) fn request_sent(&self, now: Mono) {
        self.sent_whole.store(true, Ordering::Release);
        self.live.stream().set_deadline(Turn::CallerSends, None);
        self.await_first_byte(now);
    }

    /// From now on the service is to do something: to take the request or to answer it.
    fn await_first_byte(&self, now: Mono) {
        self.live.stream().set_deadline(Turn::ServiceSends, Some(now.plus(self.patience.first_byte)));
    }

    /// A part of the response has come. While the service talks the caller may be silent (gRPC in both directions), and from now on
    /// as long as the service may: the exchange ends when neither moves.
    fn answer_moves(&self, now: Mono) {
        if !self.is_request_sent() {
            self.answered.store(true, Ordering::Release);
            self.live.stream().renew_deadline(Turn::CallerSends, now.plus(self.patience.service_idle));
        }
    }

    /// How long the caller may take to send the next part of its request.
    fn patience_with_caller(&self) -> Duration {
        match self.answered.load(Ordering::Acquire) {
            true => self.patience.service_idle,
            false => self.patience.caller_sends,
        }
    }

    /// Whether the caller broke its request off, or sent a body that cannot be read: then it is not the service's fault.
    pub(crate) fn caller_broke_off(&self) -> bool {
        self.caller_broke_off.load(Ordering::Acquire)
    }

    /// It is over: its line is written, and how long it took is counted.
    pub(crate) fn settle(&self, record: Record, route: &Route, end: End, now: Mono) {
        record.finish_at(end, now);
        let took = now.since(self.live.stream().admitted());
        route.metrics.request_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn is_request_sent(&self) -> bool {
        self.sent_whole.load(Ordering::Acquire)
    }
}

fn exact(bytes: Option<&Bytes>) -> SizeHint {
    SizeHint::with_exact(bytes.map_or(0, |bytes| bytes.len() as u64))
}

/// The body of a response on its way to the caller.
pub(crate) enum Download {
    /// Our own words.
    Ours(Option<Bytes>),
    /// It streams from the service.
    Streaming(Box<Downloading>),
    /// It is looked at, message by message, before it is passed on.
    Looked(Box<dyn Body<Data = Bytes, Error = Broken> + Send + Unpin>),
}

pub(crate) struct Downloading {
    inner: Incoming,
    exchange: Arc<Exchange>,
    record: Option<Record>,
    channel: Option<Reusable>,
    route: Arc<Route>,
    /// Where it is recorded.
    tape: Option<Arc<Tape>>,
    /// When the head or the last frame was handed on.
    moved: Mono,
}

impl Download {
    /// Our own words.
    pub(crate) fn ours(bytes: Bytes) -> Self {
        Self::Ours((!bytes.is_empty()).then_some(bytes))
    }

    /// The body of the service's response.
    pub(crate) fn of(
        inner: Incoming,
        exchange: Arc<Exchange>,
        record: Record,
        mut channel: Option<Reusable>,
        route: Arc<Route>,
        now: Mono,
    ) -> Self {
        if !exchange.is_request_sent()
            && let Some(channel) = &mut channel
        {
            // The caller may send all of its request before it takes any of the response.
            channel.run_by_itself();
        }
        exchange.live.stream().set_deadline(Turn::ServiceSends, None);
        exchange.answer_moves(now);
        let (tape, record) = (record.response_tape(), Some(record));
        Self::Streaming(Box::new(Downloading { inner, exchange, record, channel, route, tape, moved: now }))
    }
}

impl Downloading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.record.is_none() {
            return Poll::Ready(None);
        }
        let inner = Pin::new(&mut self.inner);
        let polled = match &mut self.channel {
            Some(channel) => channel.poll_with(cx, |cx| inner.poll_frame(cx)),
            None => inner.poll_frame(cx),
        };
        let now = Mono::now();
        let exchange = &self.exchange;
        let (live, stream) = (&exchange.live, exchange.live.stream());
        match polled {
            Poll::Pending => {
                stream.set_deadline(Turn::CallerTakes, None);
                let waiting = live.wait(Turn::ServiceSends, cx.waker(), exchange.patience.service_idle, now);
                match waiting.and_then(|()| note_long_life(live, self.record.as_mut())) {
                    Ok(()) => Poll::Pending,
                    Err(cause) => self.cut(cause, now),
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                // Also here: to a slow reader something is always there to be handed on.
                let admitted = note_long_life(live, self.record.as_mut());
                if let Err(cause) = admitted.and_then(|()| live.check_frame(bytes, now)) {
                    return self.cut(cause, now);
                }
                self.moved = now;
                exchange.answer_moves(now);
                stream.set_deadline(Turn::ServiceSends, None);
                stream.set_deadline(Turn::CallerTakes, Some(now.plus(exchange.patience.caller_takes)));
                if let Some(record) = &mut self.record {
                    record.add_bytes_out(bytes as u64);
                }
                tape(self.tape.as_deref(), &frame);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                match live.stream().cut_cause() {
                    Some(cause) => self.finish_cut(cause, now),
                    None if exchange.caller_broke_off() => self.finish(End::ClientGone, now),
                    None => self.finish(End::UpstreamError("broken"), now),
                }
                Poll::Ready(Some(Err(Broken::Peer(error))))
            }
            Poll::Ready(None) => match live.check(now) {
                Ok(()) => {
                    self.complete(now);
                    Poll::Ready(None)
                }
                Err(cause) => self.cut(cause, now),
            },
        }
    }

    fn cut(&mut self, cause: CutCause, now: Mono) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.finish_cut(cause, now);
        Poll::Ready(Some(Err(Broken::Cut(cause))))
    }

    fn finish_cut(&mut self, cause: CutCause, now: Mono) {
        self.exchange.live.count_cut(cause);
        self.finish(End::Cut(cause.as_str()), now);
    }

    fn complete(&mut self, now: Mono) {
        if let Some(channel) = self.channel.take()
            && self.exchange.is_request_sent()
        {
            channel.give_back(now);
        }
        self.finish(End::Complete, now);
    }

    fn finish(&mut self, end: End, now: Mono) {
        let complete = matches!(end, End::Complete);
        if let Some(record) = self.record.take() {
            self.exchange.settle(record, &self.route, end, now);
        }
        // What is left of the request has nowhere to go; what was handed on may still wait for the service to take it, which it
        // may do after its answer.
        self.channel = None;
        if !complete || !self.exchange.is_request_sent() {
            self.exchange.live.cut(CutCause::Finished);
        }
    }
}

impl Drop for Downloading {
    fn drop(&mut self) {
        if self.record.is_none() {
            return;
        }
        // hyper does not ask for the end of a body whose length it knows.
        match self.exchange.live.stream().cut_cause() {
            Some(cause) => self.finish_cut(cause, Mono::now()),
            None if self.inner.is_end_stream() => self.complete(self.moved),
            None => self.finish(End::ClientGone, Mono::now()),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Ours(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streaming(downloading) => downloading.poll(cx),
            Self::Looked(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Looked(body) => body.is_end_stream(),
            Self::Ours(bytes) => bytes.is_none(),
            Self::Streaming(downloading) => downloading.record.is_none() || downloading.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ours(bytes) => exact(bytes.as_ref()),
            Self::Streaming(downloading) => downloading.inner.size_hint(),
            Self::Looked(body) => body.size_hint(),
        }
    }
}

fn tape(tape: Option<&Tape>, frame: &Frame<Bytes>) {
    if let (Some(tape), Some(data)) = (tape, frame.data_ref()) {
        tape.push(data);
    }
}

/// All of the body was handed on.
fn end(tape: Option<&Tape>) {
    if let Some(tape) = tape {
        tape.end();
    }
}

/// What lives for long gets its `admit` line; without one it does not go on (law 7).
pub(crate) fn note_long_life(live: &Live, record: Option<&mut Record>) -> Result<(), CutCause> {
    if !live.stream().is_long_lived() {
        return Ok(());
    }
    match record.map(Record::write_admit) {
        Some(Err(_)) => Err(live.cut(CutCause::Audit)),
        Some(Ok(())) | None => Ok(()),
    }
}

/// Waits for a cut of one direction; resolves with its cause. For what is not a body: tunnels, the wait for a response.
pub(crate) fn poll_cut(live: &Live, direction: Direction, cx: &mut Context<'_>) -> Poll<CutCause> {
    live.stream().register(direction, cx.waker());
    match live.check(Mono::now()) {
        Ok(()) => Poll::Pending,
        Err(cause) => Poll::Ready(cause),
    }
}
