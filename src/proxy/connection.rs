//! One caller's connection: handshake, then HTTP/1.1 or HTTP/2 until it ends or is ended.

use crate::access::stream::Wanted;
use crate::audit::record::{self, Draft, Handshake};
use crate::config::Limits;
use crate::identity::{Accepted, Refusal};
use crate::model::DenyReason;
use crate::proxy::bearer::Remembered;
use crate::proxy::headers::Told;
use crate::proxy::meter::Metered;
use crate::proxy::router::Route;
use crate::proxy::user;
use crate::proxy::worker::{Shared, Worker};
use crate::proxy::{body::Download, ids};
use crate::proxy::{reply, request};
use crate::runtime::clock::{Mono, wall};
use crate::runtime::drain::Hold;
use crate::runtime::newcomers::Newcomer;
use crate::session::Caller;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// The largest part of a body that waits in memory for a caller to take it, for each stream.
const SEND_BUFFER: usize = 64 * 1024;

/// How many header fields hyper takes unless it is told otherwise.
const HYPER_HEADERS: usize = 100;

/// What all requests of one connection share.
pub(crate) struct Connected {
    pub(crate) worker: Arc<Worker>,
    pub(crate) caller: Arc<Caller>,
    /// The part of each audit line that is the same.
    pub(crate) audited: Arc<record::Caller>,
    /// Set where the listener belongs to one service.
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) principal: HeaderValue,
    pub(crate) source: HeaderValue,
    /// The tokens that were seen on it.
    pub(crate) tokens: Remembered,
    /// The users' tokens that held on it.
    pub(crate) users: user::Remembered,
    pub(crate) told: Told,
    /// Its place among the connections that may exist.
    pub(crate) held: Arc<Held>,
}

/// One of the connections that may exist; gives its place back when dropped.
struct Counted {
    shared: Arc<Shared>,
    connections: Arc<AtomicUsize>,
    _hold: Hold,
}

impl Counted {
    /// A place, if there is one left.
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let connections = Arc::clone(&shared.connections);
        let before = connections.fetch_add(1, Ordering::AcqRel);
        shared.metrics.connections.inc();
        let counted = Self { shared: Arc::clone(shared), connections, _hold: shared.drain.hold() };
        (before < shared.limits.connections).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::AcqRel);
        self.shared.metrics.connections.dec();
    }
}

/// A place among all connections and among those of one principal.
pub(crate) struct Held {
    counted: Counted,
    principal: crate::model::SpiffeId,
}

impl Held {
    fn take(counted: Counted, principal: &crate::model::SpiffeId) -> Option<Arc<Self>> {
        let most = counted.shared.limits.connections_per_principal;
        let count = {
            let mut count = counted.shared.by_principal.entry(principal.clone()).or_default();
            *count += 1;
            *count
        };
        let held = Arc::new(Self { counted, principal: principal.clone() });
        (count <= most).then_some(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let by_principal = &self.counted.shared.by_principal;
        if let Some(mut count) = by_principal.get_mut(&self.principal) {
            *count = count.saturating_sub(1);
        }
        by_principal.remove_if(&self.principal, |_, count| *count == 0);
    }
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn serve(
    worker: Arc<Worker>,
    tcp: TcpStream,
    source: SocketAddr,
    route: Option<Arc<Route>>,
    newcomer: Newcomer,
) {
    let shared = Arc::clone(&worker.shared);
    let began = wall();
    let handshake = tokio::time::timeout(shared.limits.handshake_timeout, shared.acceptor.accept(tcp));
    let shaken = tokio::select! {
        biased;
        shaken = handshake => shaken.ok(),
        // It has to make room.
        () = newcomer.ended() => None,
    };
    let accepted = match shaken {
        Some(Ok(accepted)) => accepted,
        Some(Err(refused)) => return refuse(&shared, source, refused.reason, refused.certificate_sha256),
        None => return refuse(&shared, source, Refusal::Timeout, None),
    };
    drop(newcomer);
    let Accepted { stream, peer, mut changes, .. } = accepted;
    let counted = Counted::take(&shared);
    let Some(held) = counted.and_then(|counted| Held::take(counted, peer.principal())) else {
        let shown = Some(*peer.certificate_sha256());
        return refuse(&shared, source, Refusal::TooManyConnections, shown);
    };
    shared.metrics.tls_handshakes("ok").inc();
    let (Ok(principal), Ok(shown)) = (
        HeaderValue::from_str(peer.principal().as_str()),
        HeaderValue::from_str(&source.ip().to_canonical().to_string()),
    ) else {
        return;
    };
    let audited = record::Caller::new(peer.principal(), peer.certificate_sha256(), source);
    let slot = shared.gate.table().slot(peer.principal());
    let caller = Arc::new(Caller::new(peer, slot, source, Mono::now()));
    let _joined = worker.callers.join(Arc::clone(&caller));
    // Trust may have changed while the handshake ran, before the sweep could see this caller.
    let now = wall();
    if changes.has_changed().unwrap_or(true) || shared.trust.ran_out(began, now) {
        changes.mark_unchanged();
        if shared.trust.recheck(caller.peer(), now).is_err() {
            return;
        }
    }
    let connected = Arc::new(Connected {
        worker,
        caller,
        audited,
        route,
        principal,
        source: shown,
        tokens: Remembered::default(),
        users: user::Remembered::default(),
        told: Told::default(),
        held,
    });
    serve_http(&shared, stream, connected).await;
}

pub(crate) fn refuse(
    shared: &Shared,
    source: SocketAddr,
    reason: Refusal,
    certificate_sha256: Option<[u8; 32]>,
) {
    let reason = reason.as_str();
    shared.metrics.tls_handshakes(reason).inc();
    tracing::debug!(%source, reason, "handshake refused");
    shared.audit.handshake(&Handshake { source, reason, certificate_sha256 });
}

async fn serve_http(shared: &Arc<Shared>, stream: TlsStream<TcpStream>, connected: Arc<Connected>) {
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let caller = Arc::clone(&connected.caller);
    let io = TokioIo::new(Metered::new(stream, Arc::clone(&caller), is_http2.then_some(&shared.limits)));
    let serving = Arc::clone(&connected);
    let service = service_fn(move |request: Request<Incoming>| {
        let connected = Arc::clone(&serving);
        let is_head = request.method() == Method::HEAD;
        async move {
            let response = request::serve(&connected, request).await;
            Ok::<Response<Download>, Infallible>(if is_head {
                reply::without_body(response)
            } else {
                response
            })
        }
    });
    let ended = if is_http2 {
        let connection = http2_builder(&shared.limits).serve_connection(io, service);
        until_ended(&caller, pin!(connection), |connection| connection.graceful_shutdown()).await
    } else {
        let connection = http1_builder(&shared.limits).serve_connection(io, service).with_upgrades();
        until_ended(&caller, pin!(connection), |connection| connection.graceful_shutdown()).await
    };
    if let Err(error) = ended {
        audit_malformed(shared, &connected, &error, is_http2);
    }
}

fn http1_builder(limits: &Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // The sweep watches heads and idle connections; hyper's own timer cannot tell the two apart.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(SEND_BUFFER));
    // hyper reads heads of this many fields, its own limit, without allocating for each.
    if limits.headers != HYPER_HEADERS {
        builder.max_headers(limits.headers);
    }
    builder
}

fn http2_builder(limits: &Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(Some(20))
        .keep_alive_interval(Some(Duration::from_secs(30)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Runs a connection until it ends or is to die; tells it to retire when that is wanted.
async fn until_ended<C, E>(
    caller: &Caller,
    mut connection: Pin<&mut C>,
    retire: impl Fn(Pin<&mut C>),
) -> Result<(), E>
where
    C: Future<Output = Result<(), E>>,
{
    let mut retired = false;
    poll_fn(|cx: &mut Context<'_>| {
        match caller.killer().poll_wanted(cx.waker()) {
            Wanted::Die => return Poll::Ready(Ok(())),
            Wanted::Retire if !retired => {
                retired = true;
                retire(connection.as_mut());
            }
            Wanted::Retire | Wanted::Run => {}
        }
        connection.as_mut().poll(cx)
    })
    .await
}

/// A head that hyper refused never became a request; it gets its line all the same.
fn audit_malformed(shared: &Shared, connected: &Connected, error: &hyper::Error, is_http2: bool) {
    let fault_of_theirs = error.is_parse() || is_http2 && breaks_protocol(error);
    tracing::debug!(error = error as &dyn std::error::Error, "connection ended");
    if !fault_of_theirs {
        return;
    }
    shared.unknown_service.deny(DenyReason::Malformed).inc();
    let draft = Draft::begin(&shared.audit, &connected.audited, ids::request(wall()), Mono::now());
    draft.deny(DenyReason::Malformed, DenyReason::Malformed.status(), 0);
}

/// Whether an HTTP/2 connection ended because of what the caller sent, not because the network did.
fn breaks_protocol(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    cause.is_some_and(|cause| {
        let flood = cause.get_io().is_some_and(|io| io.kind() == std::io::ErrorKind::Other);
        flood || cause.is_library() && cause.is_go_away()
    })
}
