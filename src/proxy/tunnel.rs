//! WebSockets: the only upgrade there is. A tunnel opens when the service has answered 101, and each chunk is checked like a frame
//! of a body.

use crate::access::stream::{CutCause, Direction, Turn, Wanted};
use crate::audit::record::{End, Protocol, Record};
use crate::audit::recording::Tape;
use crate::proxy::body::{Download, Exchange, Upload, note_long_life, poll_cut};
use crate::proxy::connection::Connected;
use crate::proxy::forward::{
    Admitted, Failure, address, ask_for_readable, await_first_byte, failed, patience, set_headers, wait,
};
use crate::proxy::headers;
use crate::proxy::router::Route;
use crate::proxy::upstream::{Answered, UpstreamError};
use crate::runtime::clock::Mono;
use bytes::Bytes;
use http::header::{CONNECTION, TE, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};

const CHUNK: usize = 16 * 1024;
/// From the service's 101 to both sides having switched.
const SWITCH: Duration = Duration::from_secs(10);

/// Opens a tunnel, or passes on the service's refusal to do so.
pub(crate) async fn open(
    connected: &Connected,
    admitted: Admitted,
    mut parts: Parts,
    body: Incoming,
) -> Response<Download> {
    let Admitted { live, mut record, route, request_id, trace, shape, .. } = admitted;
    let ours = parts.extensions.remove::<OnUpgrade>();
    record.request_head(&parts.headers, parts.uri.query());
    set_headers(&mut parts, connected, &live, &route, request_id, trace);
    ask_for_readable(&mut parts, &record);
    // A handshake is answered without trailers, and `connection` is to name the upgrade.
    parts.headers.remove(TE);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let exchange = Exchange::new(live, patience(connected, &route));
    // A WebSocket handshake has no body (RFC 6455 section 4.1); the view refused one.
    drop(body);
    let mut request = Request::from_parts(parts, Upload::Empty);
    let (Some(ours), true, Some(upstream)) =
        (ours, address(&mut request, &route, false), connected.worker.upstreams.get(route.index))
    else {
        return failed(&exchange, record, &shape, request_id, &Failure::Unaddressable);
    };
    exchange.request_sent(Mono::now());
    await_first_byte(&exchange);
    let (answered, now) = wait(&exchange, &mut record, pin!(upstream.send_upgrade(request))).await;
    match answered {
        Ok(answered) if is_websocket(&answered.response) => {
            record.status(101);
            record.protocol(Protocol::WebSocket);
            record.switched();
            switch(connected, exchange, record, route, ours, answered)
        }
        // Another protocol than the one that was asked for and checked.
        Ok(Answered { response, .. }) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            failed(&exchange, record, &shape, request_id, &Failure::Upstream(UpstreamError::Protocol))
        }
        Ok(Answered { response, channel, .. }) => {
            let (mut parts, body) = response.into_parts();
            headers::clean_response(&mut parts.headers);
            record.status(parts.status.as_u16());
            record.response_head(&parts.headers);
            parts.extensions.clear();
            Response::from_parts(parts, Download::of(body, exchange, record, channel, route, now))
        }
        Err(failure) => failed(&exchange, record, &shape, request_id, &failure),
    }
}

fn is_websocket(response: &Response<Incoming>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        && response
            .headers()
            .get(UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Answers 101 and runs the tunnel in a task of its own, on this worker.
fn switch(
    connected: &Connected,
    exchange: Arc<Exchange>,
    record: Record,
    route: Arc<Route>,
    ours: OnUpgrade,
    answered: Answered,
) -> Response<Download> {
    let Answered { mut response, channel, .. } = answered;
    let theirs = hyper::upgrade::on(&mut response);
    let (mut parts, _) = response.into_parts();
    headers::clean_response(&mut parts.headers);
    parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    parts.extensions.clear();
    // hyper gives the connection back to us after the switch; the sweep has to see it still.
    let joined = connected.worker.callers.join(Arc::clone(&connected.caller));
    let held = connected.held.clone();
    tokio::spawn(async move {
        let switched = tokio::time::timeout(SWITCH, async { tokio::try_join!(ours, theirs) }).await;
        match switched {
            Ok(Ok((caller, service))) => run(exchange, record, &route, caller, service).await,
            Ok(Err(_)) | Err(_) => record.finish(End::UpstreamError("upgrade")),
        }
        drop((joined, held, channel));
    });
    Response::from_parts(parts, Download::ours(Bytes::new()))
}

async fn run(
    exchange: Arc<Exchange>,
    mut record: Record,
    route: &Route,
    caller: Upgraded,
    service: Upgraded,
) {
    exchange.live.stream().set_deadline(Turn::ServiceSends, None);
    let (caller_read, caller_write) = split(TokioIo::new(caller));
    let (service_read, service_write) = split(TokioIo::new(service));
    let bytes_in = Arc::<AtomicU64>::default();
    record.count_bytes_in(Arc::clone(&bytes_in));
    let tapes = (record.request_tape(), record.response_tape());
    let mut out = 0;
    let end = {
        let up = copy(&exchange, Direction::Up, caller_read, service_write, |bytes| {
            bytes_in.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            tape(&tapes.0, bytes);
        });
        let down = copy(&exchange, Direction::Down, service_read, caller_write, |bytes| {
            out += bytes.len() as u64;
            tape(&tapes.1, bytes);
        });
        // Looked at whenever the tunnel is woken, and it is woken for this.
        let unaudited = poll_fn(|_| match note_long_life(&exchange.live, Some(&mut record)) {
            Ok(()) => Poll::Pending,
            Err(cause) => Poll::Ready(cause),
        });
        tokio::select! {
            biased;
            cause = unaudited => Stopped::Cut(cause),
            () = killed(&exchange) => Stopped::Cut(exchange.live.cut(CutCause::Identity)),
            end = both(up, down) => end,
        }
    };
    record.add_bytes_out(out);
    match end {
        Stopped::Cut(cause) => {
            exchange.live.count_cut(cause);
            record.finish(End::Cut(cause.as_str()));
        }
        Stopped::Closed => record.finish(End::Complete),
        Stopped::Broken(Direction::Up) => record.finish(End::ClientGone),
        Stopped::Broken(Direction::Down) => record.finish(End::UpstreamError("broken")),
    }
    let took = Mono::now().since(exchange.live.stream().admitted());
    route.metrics.request_seconds.observe(took.as_secs_f64());
}

fn tape(tape: &Option<Arc<Tape>>, bytes: &[u8]) {
    if let Some(tape) = tape {
        tape.push(bytes);
    }
}

/// Why a direction stopped.
enum Stopped {
    Cut(CutCause),
    Closed,
    Broken(Direction),
}

/// Both directions; what is cut or broken ends the other at once, a clean close waits for it.
async fn both(up: impl Future<Output = Stopped>, down: impl Future<Output = Stopped>) -> Stopped {
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    tokio::select! {
        biased;
        stopped = &mut up => match stopped {
            Stopped::Closed => down.await,
            Stopped::Cut(_) | Stopped::Broken(_) => stopped,
        },
        stopped = &mut down => match stopped {
            // The service has said its last; what the caller still sends has nobody to read it.
            Stopped::Closed | Stopped::Cut(_) | Stopped::Broken(_) => stopped,
        },
    }
}

async fn killed(exchange: &Exchange) {
    poll_fn(|cx| match exchange.live.caller().killer().poll_wanted(cx.waker()) {
        Wanted::Die => Poll::Ready(()),
        Wanted::Run | Wanted::Retire => Poll::Pending,
    })
    .await;
}

async fn copy(
    exchange: &Exchange,
    direction: Direction,
    mut from: ReadHalf<TokioIo<Upgraded>>,
    mut to: WriteHalf<TokioIo<Upgraded>>,
    mut handed_on: impl FnMut(&[u8]),
) -> Stopped {
    let other = match direction {
        Direction::Up => Direction::Down,
        Direction::Down => Direction::Up,
    };
    let Exchange { live, patience, .. } = exchange;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = tokio::select! {
            biased;
            cause = poll_fn(|cx| poll_cut(live, direction, cx)) => return Stopped::Cut(cause),
            read = from.read(&mut chunk) => read,
        };
        let now = Mono::now();
        if direction == Direction::Down {
            live.stream().renew_deadline(Turn::ServiceSends, now.plus(patience.service_idle));
        }
        let bytes = match read {
            Ok(0) => break,
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(_) => return Stopped::Broken(direction),
        };
        if let Err(cause) = live.check_frame(bytes.len(), now) {
            return Stopped::Cut(cause);
        }
        let writing = async {
            to.write_all(bytes).await?;
            to.flush().await
        };
        match taken(exchange, direction, now, writing).await {
            Ok(Ok(())) => handed_on(bytes),
            Ok(Err(_)) => return Stopped::Broken(other),
            Err(cause) => return Stopped::Cut(cause),
        }
    }
    let now = Mono::now();
    if let Err(cause) = taken(exchange, direction, now, to.shutdown()).await {
        return Stopped::Cut(cause);
    }
    if direction == Direction::Up {
        // The caller has said its last: what the service still says may not be waited for without end.
        live.stream().set_deadline(Turn::ServiceSends, Some(now.plus(patience.service_idle)));
    }
    Stopped::Closed
}

/// Writes to the other side, which has to take it in time.
async fn taken<T>(
    exchange: &Exchange,
    direction: Direction,
    now: Mono,
    writing: impl Future<Output = T>,
) -> Result<T, CutCause> {
    let Exchange { live, patience, .. } = exchange;
    let (turn, within) = match direction {
        Direction::Up => (Turn::ServiceSends, patience.service_idle),
        Direction::Down => (Turn::CallerTakes, patience.caller_takes),
    };
    live.stream().set_deadline(turn, Some(now.plus(within)));
    let written = tokio::select! {
        biased;
        cause = poll_fn(|cx| poll_cut(live, direction, cx)) => return Err(cause),
        written = writing => written,
    };
    live.stream().set_deadline(turn, None);
    Ok(written)
}
