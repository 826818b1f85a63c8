//! The one port of the control plane: mTLS, HTTP/1.1 and HTTP/2, the REST API and the control channel behind it.
//!
//! Owns the accept loop and the life of connections. Invariants: a request gets its [`Peer`] from the handshake of the connection
//! that it came on and from nowhere else; a connection ends when its peer's certificate expires, is revoked or is no longer
//! trusted, and so does everything that runs on it; whoever is no proxy learns nothing of the control channel; only who has shown
//! a certificate takes a place among the connections.

use crate::control::api::Problem;
use crate::control::authz::{Need, Roles};
use crate::control::places::{Place, Places};
use crate::control::plane::Plane;
use crate::identity::peer::Peer;
use crate::identity::refusal::Refusal;
use crate::identity::tls::{Accepted, Acceptor};
use crate::identity::trust::Trust;
use crate::model::SpiffeId;
use crate::runtime::accepted;
use crate::runtime::clock::Mono;
use crate::runtime::drain::{Drain, Hold};
use crate::runtime::newcomers::{Newcomer, Newcomers};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::util::ServiceExt as _;

/// Connections at once, of callers that have shown who they are.
const CONNECTIONS: usize = 4_096;
/// Of these, by callers without a role: proxies and operators find room whatever those do.
const STRANGERS: usize = 3_072;
/// By one identity, unless it is a proxy's.
const EACH: usize = 256;
/// Calls at once by one identity without a role: a long poll is one.
const CALLS: usize = 128;
/// Handshakes at once, in all and from one address. What is over is accepted and dropped: it would wait in the kernel's queue, in
/// front of everybody else.
const HANDSHAKES: usize = 2_048;
const HANDSHAKES_EACH: usize = 256;
/// How long one may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
const HEADERS: Duration = Duration::from_secs(10);
const HEADER_BYTES: usize = 32 << 10;
const STREAMS: u32 = 128;
/// A peer is checked at least so often, also when nobody announces a change: its certificate may expire.
const RECHECK: Duration = Duration::from_secs(10);
/// After an error of the listening socket (out of file descriptors), not to spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Called with the result of each handshake: for metrics.
pub type Handshakes = Arc<dyn Fn(Result<(), Refusal>) + Send + Sync>;

/// What all connections share.
pub struct Server {
    /// Decides who may call the control channel.
    pub plane: Plane,
    /// Makes connections of sockets.
    pub acceptor: Acceptor,
    /// Whom to believe; the acceptor's.
    pub trust: Arc<Trust>,
    /// The REST API.
    pub api: Router,
    /// The control channel.
    pub channel: Router,
    /// How the program stops.
    pub drain: Drain,
    /// Hears of handshakes.
    pub handshakes: Handshakes,
    /// Who has how much.
    pub shares: Shares,
}

/// What each caller has of what there is.
#[derive(Debug)]
pub struct Shares {
    newcomers: Arc<Newcomers>,
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    connections: Arc<Places>,
    calls: Arc<Places>,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            newcomers: Newcomers::new(HANDSHAKES, HANDSHAKES_EACH),
            all: Arc::new(Semaphore::new(CONNECTIONS)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
            connections: Places::new(EACH),
            calls: Places::new(CALLS),
        }
    }
}

/// Room for one connection, until it ends.
#[derive(Debug)]
struct Room {
    _one: OwnedSemaphorePermit,
    _strangers: Option<OwnedSemaphorePermit>,
    _own: Option<Place>,
}

impl Shares {
    /// Room for one more connection of this identity; none if it, or all without a role, or all there are, have theirs already.
    fn enter(&self, who: &SpiffeId, roles: &Roles) -> Option<Room> {
        let one = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_owned().ok();
        if roles.may(who, Need::Enforce) {
            return Some(Room { _one: one(&self.all)?, _strangers: None, _own: None });
        }
        let own = Some(self.connections.enter(who)?);
        let strangers = match roles.of(who).next() {
            Some(_) => None,
            None => Some(one(&self.strangers)?),
        };
        Some(Room { _one: one(&self.all)?, _strangers: strangers, _own: own })
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("plane", &self.plane).finish_non_exhaustive()
    }
}

/// The address that a connection comes from, in the extensions of each of its requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub std::net::IpAddr);

impl Server {
    /// Accepts connections until draining begins; those that are open then end by the drain's rules.
    pub async fn run(self, listener: TcpListener) {
        let server = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                biased;
                () = server.drain.draining() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, source)) => match server.shares.newcomers.enter(source.ip(), Mono::now()) {
                    Some(newcomer) => {
                        let hold = server.drain.hold();
                        tokio::spawn(Arc::clone(&server).connection(socket, newcomer, hold));
                    }
                    None => {
                        tracing::debug!(%source, "too many handshakes");
                        (server.handshakes)(Err(Refusal::TooManyConnections));
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, socket: TcpStream, newcomer: Newcomer, _hold: Hold) {
        accepted::set_up(&socket);
        let handshake = tokio::time::timeout(HANDSHAKE, self.acceptor.accept(socket));
        let accepted = tokio::select! {
            biased;
            () = self.drain.draining() => return,
            accepted = handshake => match accepted {
                Ok(accepted) => accepted.map_err(|refused| refused.reason),
                Err(_) => Err(Refusal::Timeout),
            },
            () = newcomer.ended() => Err(Refusal::Timeout),
        };
        drop(newcomer);
        match accepted {
            Ok(accepted) => {
                let Some(_room) = self.shares.enter(accepted.peer.principal(), &self.plane.rules().roles)
                else {
                    tracing::info!(principal = %accepted.peer.principal(), "too many connections");
                    (self.handshakes)(Err(Refusal::TooManyConnections));
                    return;
                };
                (self.handshakes)(Ok(()));
                self.serve(accepted).await;
            }
            Err(refusal) => {
                tracing::info!(reason = refusal.as_str(), "handshake refused");
                (self.handshakes)(Err(refusal));
            }
        }
    }

    async fn serve(&self, accepted: Accepted<TcpStream>) {
        let Accepted { stream, peer, mut changes } = accepted;
        let peer = Arc::new(peer);
        let source = stream.get_ref().0.peer_addr().ok().map(|address| address.ip().to_canonical());
        let (executor, _end) = Tied::new();
        let builder = builder(executor);
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&peer));
            if let Some(source) = source {
                request.extensions_mut().insert(Source(source));
            }
            self.answer(&peer, request.map(Body::new))
        });
        let io: TokioIo<TlsStream<TcpStream>> = TokioIo::new(stream);
        let mut connection = pin!(builder.serve_connection(io, service));
        let mut retiring = false;
        loop {
            let left = peer.not_after().since(self.trust.now()).min(RECHECK).max(Duration::from_millis(1));
            tokio::select! {
                biased;
                () = self.drain.closing() => return,
                changed = changes.changed() => {
                    if changed.is_err() || self.trust.recheck(&peer, self.trust.now()).is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(left) => {
                    if self.trust.recheck(&peer, self.trust.now()).is_err() {
                        return;
                    }
                }
                () = self.drain.draining(), if !retiring => {
                    retiring = true;
                    connection.as_mut().graceful_shutdown();
                }
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection ended badly");
                    }
                    return;
                }
            }
        }
    }

    fn answer(
        &self,
        peer: &Peer,
        request: Request<Body>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let is_grpc = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        let rules = self.plane.rules();
        let may = rules.roles.may(peer.principal(), Need::Enforce);
        let call = match rules.roles.of(peer.principal()).next() {
            Some(_) => Some(None),
            None => self.shares.calls.enter(peer.principal()).map(Some),
        };
        let router = match (is_grpc, may) {
            (true, true) => Some(self.channel.clone()),
            (true, false) => None,
            (false, _) => Some(self.api.clone()),
        };
        async move {
            match router {
                // Held until it is answered.
                Some(router) => match call {
                    Some(_call) => router.oneshot(request).await,
                    None => Ok(Problem::too_many_calls().into_response()),
                },
                None => Ok(denied()),
            }
        }
    }
}

/// The gRPC answer to whoever is no proxy, the same for every method, whether it exists or not.
fn denied() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("7"));
    headers.insert("grpc-message", HeaderValue::from_static("permission denied"));
    response
}

fn builder(executor: Tied) -> auto::Builder<Tied> {
    let mut builder = auto::Builder::new(executor);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(Some(20))
        .keep_alive_interval(Some(Duration::from_secs(20)))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Runs the streams of one connection, and ends them with it.
#[derive(Clone)]
struct Tied(CancellationToken);

impl Tied {
    fn new() -> (Self, DropGuard) {
        let token = CancellationToken::new();
        (Self(token.clone()), token.drop_guard())
    }
}

impl<F> hyper::rt::Executor<F> for Tied
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        let token = self.0.clone();
        tokio::spawn(async move { token.run_until_cancelled(future).await });
    }
}
