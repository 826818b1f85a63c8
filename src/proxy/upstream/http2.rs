//! An HTTP/2 connection to a service, which many requests share.
//!
//! hyper makes several tasks of it: one owns the socket, one takes requests, and each request body that has to wait gets one more.
//! Ending one of them ends none of the others, and a body whose frame waits for the service's window is not asked for the next one.
//! So what law 5 needs is added around them. Invariants:
//! - The task of a cut exchange ends at once, with whatever it holds, and with that its stream; the others on the connection go on.
//! - Whatever hyper and h2 still hold of an exchange holds the exchange: it is not gone before its last byte is written to the socket.
//! - What cannot leave that way ends with the socket, which [`Killer`] closes.
//! - Never more requests at a time than the service permits: hyper would put them into a queue without a bound.

use super::UpstreamError;
use super::connect::Io;
use super::http1::RESPONSE_HEAD;
use super::mortal::{Leaving, Mortal};
use crate::access::stream::{Direction, Killer, Stream};
use crate::proxy::body::{Broken, Exchange, Upload};
use crate::runtime::clock::Mono;
use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use std::future::{Future, poll_fn};
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

const WINDOW: u32 = 1024 * 1024;

/// A connection that is open. It ends when it is dropped and nothing runs on it any more.
pub(super) struct Http2 {
    line: Line,
    connection: Arc<Mutex<Option<Connection>>>,
    taken: Arc<AtomicUsize>,
    idle_since: Option<Mono>,
}

/// What is needed to send on it.
#[derive(Clone)]
struct Line {
    sender: http2::SendRequest<Sent>,
    killer: Arc<Killer>,
    announced: Announced,
    leaving: Arc<Leaving<Left>>,
}

type Connection = http2::Connection<TokioIo<Mortal>, Sent, Tasks>;

/// A place for one request on a connection.
pub(super) struct Place {
    line: Line,
    seat: Arc<Seat>,
}

/// One request of those that the service permits at a time; taken until both directions are over.
pub(super) struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http2 {
    /// Over a byte stream that was just connected; waits until the service has said what it permits, which is the first that it
    /// has to say (RFC 9113 section 3.4). `room` is given back when the socket is closed.
    pub(super) async fn handshake(io: Io, room: OwnedSemaphorePermit) -> Result<Self, UpstreamError> {
        let killer = Arc::<Killer>::default();
        let announced = Announced::default();
        let leaving = Leaving::new(Arc::clone(&killer));
        let begun = Arc::default();
        let tasks = Tasks { announced: announced.clone(), leaving: Arc::clone(&leaving), begun };
        let (io, heard) = Mortal::new(io, (Arc::clone(&killer), Arc::clone(&leaving) as _), room);
        let (sender, connection) = http2::Builder::new(tasks)
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(4 * WINDOW)
            .max_header_list_size(RESPONSE_HEAD as u32)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            .handshake(TokioIo::new(io))
            .await
            .map_err(UpstreamError::Broken)?;
        let connection = Arc::new(Mutex::new(Some(connection)));
        let working = Arc::clone(&connection);
        tokio::spawn(poll_fn(move |cx| {
            let mut connection = working.lock();
            let polled = connection.as_mut().map_or(Poll::Ready(Ok(())), |open| Pin::new(open).poll(cx));
            polled.map(|_over| *connection = None)
        }));
        heard.await.map_err(|_closed| UpstreamError::Connect(std::io::ErrorKind::ConnectionReset.into()))?;
        let line = Line { sender, killer, announced, leaving };
        Ok(Self { line, connection, taken: Arc::default(), idle_since: None })
    }

    /// Whether it takes no more requests.
    pub(super) fn is_closed(&self) -> bool {
        self.line.sender.is_closed()
    }

    /// A place on it, if it is open and the service permits one more request at a time.
    pub(super) fn place(&self) -> Option<Place> {
        let most = self.connection.lock().as_ref()?.current_max_send_streams();
        let one_more = |taken: usize| (taken < most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Place { line: self.line.clone(), seat: Arc::new(Seat(Arc::clone(&self.taken))) })
    }

    /// For how long nothing has run on it, as seen from one look to the next.
    pub(super) fn idle_for(&mut self, now: Mono) -> Duration {
        if self.taken.load(Ordering::Relaxed) > 0 {
            self.idle_since = None;
            return Duration::ZERO;
        }
        now.since(*self.idle_since.get_or_insert(now))
    }
}

impl Place {
    /// Sends a request and waits for the head of the response. The seat is taken until it and the request are gone.
    pub(super) async fn send(
        self,
        request: Request<Upload>,
        exchange: Option<&Arc<Exchange>>,
    ) -> Result<(Response<Incoming>, Arc<Seat>), NotSent> {
        let Self { line: Line { mut sender, killer, announced, leaving }, seat } = self;
        let held = Arc::new(Held::new(exchange, &killer, (Arc::clone(&seat), leaving)));
        // Its head may still be about to leave, also where no body follows it.
        let head = Arc::clone(&held);
        let request = request.map(|upload| Sent { upload, held, announced: Some(announced) });
        match sender.try_send_request(request).await {
            Ok(response) => {
                head.answered.store(true, Ordering::Release);
                Ok((response, seat))
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) => Err(NotSent::Unsent(Box::new(unsent.map(|sent| sent.upload)))),
                None => Err(NotSent::Broken(error.into_error())),
            },
        }
    }
}

/// Why there is no response.
pub(super) enum NotSent {
    /// Not one byte of the request was sent.
    Unsent(Box<Request<Upload>>),
    /// Some of it may have reached the service.
    Broken(hyper::Error),
}

/// What the connection holds of one exchange; the exchange is not over before. Short pieces are copied once more before they leave: so
/// when hyper and h2 have dropped it, it waits until what was copied is written.
struct Held {
    left: Option<Left>,
    leaving: Arc<Leaving<Left>>,
    /// So its head has left the queues, and whatever of its body was dropped as well.
    answered: AtomicBool,
}

/// See [`Held`]; everything of it is written when it is dropped.
struct Left {
    exchange: Option<Arc<Exchange>>,
    killer: Arc<Killer>,
    _seat: Arc<Seat>,
}

impl Held {
    fn new(
        exchange: Option<&Arc<Exchange>>,
        killer: &Arc<Killer>,
        (seat, leaving): (Arc<Seat>, Arc<Leaving<Left>>),
    ) -> Self {
        if let Some(exchange) = exchange {
            exchange.live.stream().held_by(killer);
        }
        let left = Left { exchange: exchange.cloned(), killer: Arc::clone(killer), _seat: seat };
        Self { left: Some(left), leaving, answered: AtomicBool::new(false) }
    }

    fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.left.as_ref()?.exchange.as_ref()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            self.leaving.push(left, !self.answered.load(Ordering::Acquire));
        }
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            exchange.live.stream().let_go(&self.killer);
        }
    }
}

/// A request body on its way.
pub(super) struct Sent {
    upload: Upload,
    held: Arc<Held>,
    /// Where to say whose body it is, at the first poll.
    announced: Option<Announced>,
}

impl Body for Sent {
    type Data = Parcel;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Parcel>, Broken>>> {
        let this = self.get_mut();
        if let (Some(announced), Some(exchange)) = (this.announced.take(), this.held.exchange()) {
            announced.put(exchange.live.stream());
        }
        let held = &this.held;
        let parcel = |bytes| Parcel { bytes, _held: Arc::clone(held) };
        Pin::new(&mut this.upload).poll_frame(cx).map_ok(|frame| frame.map_data(parcel))
    }

    fn is_end_stream(&self) -> bool {
        self.upload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.size_hint()
    }
}

/// Bytes of a request body until they are written to the socket.
pub(super) struct Parcel {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl Buf for Parcel {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn chunks_vectored<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        self.bytes.chunks_vectored(out)
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// Whose body was polled for the first time just now. hyper polls a body once where it takes the request; only if the body has to
/// wait does it make a task of it, which is the next thing that it does. What comes next otherwise is the task that waits for the
/// same request's response. So each announcement is taken at once, by a task of that exchange.
#[derive(Clone, Default)]
struct Announced(Arc<Mutex<Option<Arc<Stream>>>>);

impl Announced {
    fn put(&self, stream: &Arc<Stream>) {
        *self.0.lock() = Some(Arc::clone(stream));
    }

    fn take(&self) -> Option<Arc<Stream>> {
        self.0.lock().take()
    }
}

/// Runs hyper's tasks, and ends that of an exchange which is cut.
#[derive(Clone)]
struct Tasks {
    announced: Announced,
    leaving: Arc<Leaving<Left>>,
    /// The first task is the one that owns the socket.
    begun: Arc<AtomicBool>,
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        if !self.begun.swap(true, Ordering::Relaxed) {
            tokio::spawn(in_turns(Arc::clone(&self.leaving), work));
            return;
        }
        match self.announced.take() {
            Some(stream) => tokio::spawn(until_cut(stream, work)),
            None => tokio::spawn(work),
        };
    }
}

async fn in_turns(leaving: Arc<Leaving<Left>>, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        leaving.had_its_turn();
        polled
    })
    .await;
}

async fn until_cut(stream: Arc<Stream>, work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    poll_fn(|cx| {
        stream.register(Direction::Up, cx.waker());
        // Polled all the same: a body that is asked ends its stream by itself.
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() && stream.cut_cause().is_some() {
            return Poll::Ready(());
        }
        polled
    })
    .await;
}
