//! HTTP on the loopback interface for programs on this machine that cannot do mutual TLS: what carries the secret of this run goes
//! on to the gate, as this identity and under this task; everything else is refused here.
//!
//! One port for each service, so that a program needs nothing but a base URL and two services are two origins. HTTP/1.1 and HTTP/2
//! with prior knowledge (h2c); bodies are streamed both ways with trailers; of upgrades `websocket`.
//!
//! Knows nothing of grants: the gate decides on every request, and its denials pass through. Bounded: 256 connections a port, 30 s
//! for a request's head, and for the secret to come: whoever does not know it holds no place for long. When it is stopped, everything that it carries ends.

mod admit;
mod bearer;
mod forward;
mod gate;
mod reply;
mod secret;

pub(super) use bearer::Bearer;
pub(super) use gate::{Gate, GateError, Outgoing};
pub(super) use secret::Secret;

use crate::mcp::rules::EndpointPath;
use crate::model::{ServiceName, TaskId};
use crate::runtime::clock::Mono;
use forward::Port;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections of one port at once; more wait.
const CONNECTIONS: usize = 256;
/// From connecting, or from the answer before, to the head of a request.
const HEAD: Duration = Duration::from_secs(30);
/// After a failed accept: no file descriptors, for instance.
const AGAIN: Duration = Duration::from_millis(100);

/// Listeners that are bound and do not answer yet.
#[derive(Debug)]
pub(super) struct Loopback {
    secret: Secret,
    listeners: Vec<(ServiceName, TcpListener, SocketAddr)>,
}

/// What requests become.
pub(super) struct Passage {
    /// The gate.
    pub(super) gate: Arc<Gate>,
    /// The token of the grant, for services that demand one.
    pub(super) bearer: Arc<Bearer>,
    /// Whether it is sent before anybody has demanded one.
    pub(super) always_bears: bool,
    /// The task that they are under.
    pub(super) task: Option<TaskId>,
    /// What is called, where that is not the service of the port.
    pub(super) authority: Option<String>,
    /// The only path that there is.
    pub(super) only: Option<EndpointPath>,
    /// Until then a denial may only mean that the gate has not heard of a new grant: what can be repeated is.
    pub(super) settles: Mono,
    /// The gate has permitted something: a denial means what it says.
    pub(super) heard: AtomicBool,
}

impl Loopback {
    /// One port for each service, on 127.0.0.1.
    pub(super) async fn bind(services: &[ServiceName]) -> std::io::Result<Self> {
        let secret = Secret::generate().map_err(std::io::Error::other)?;
        let mut listeners = Vec::new();
        for service in services {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            listeners.push((service.clone(), listener, address));
        }
        Ok(Self { secret, listeners })
    }

    /// One port for one service, on this address, which is a loopback address.
    pub(super) async fn bind_at(service: ServiceName, address: SocketAddr) -> std::io::Result<Self> {
        let secret = Secret::generate().map_err(std::io::Error::other)?;
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { secret, listeners: vec![(service, listener, address)] })
    }

    /// Who knows it may use the listeners.
    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The services and where they are.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&ServiceName, SocketAddr)> {
        self.listeners.iter().map(|(service, _, address)| (service, *address))
    }

    /// Answers until `stop`.
    pub(super) fn start(self, passage: Passage, stop: &CancellationToken) {
        let passage = Arc::new(passage);
        for (service, listener, address) in self.listeners {
            let passage = Arc::clone(&passage);
            let port = Port::new(service, address, self.secret.clone(), passage, stop.clone());
            tokio::spawn(stop.clone().run_until_cancelled_owned(accept(listener, Arc::new(port))));
        }
    }
}

/// Dropped as a whole: with it every connection ends.
async fn accept(listener: TcpListener, port: Arc<Port>) {
    let mut connections = JoinSet::new();
    loop {
        let room = connections.len() < CONNECTIONS;
        tokio::select! {
            biased;
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if room => match accepted {
                Ok((stream, _)) => {
                    // Many small messages; a failure costs time alone.
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(TokioIo::new(stream), Arc::clone(&port)));
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            },
        }
    }
}

async fn serve(io: TokioIo<tokio::net::TcpStream>, port: Arc<Port>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD).max_concurrent_streams(256);
    let known = Arc::new(AtomicBool::new(false));
    let shows = Arc::clone(&known);
    let service = service_fn(move |request| {
        let (port, shows) = (Arc::clone(&port), Arc::clone(&shows));
        async move { Ok::<_, std::convert::Infallible>(port.answer(request, &shows).await) }
    });
    // A client that goes away in the middle is its own affair.
    let connection = async move { _ = builder.serve_connection_with_upgrades(io, service).await };
    while_known(Box::pin(connection) as Pin<Box<dyn Future<Output = ()> + Send>>, &known).await;
}

/// Serves a connection; one that has not shown the secret in time ends. It could be anybody's on this machine, and pings alone keep one of
/// HTTP/2 open.
async fn while_known(connection: impl Future<Output = ()>, known: &AtomicBool) {
    let mut connection = pin!(connection);
    let in_time = tokio::time::timeout(HEAD, &mut connection).await;
    if in_time.is_err() && known.load(Ordering::Relaxed) {
        connection.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_show_the_secret_holds_no_place_for_long() {
        let known = AtomicBool::new(false);
        let open = |known| tokio::time::timeout(HEAD.saturating_mul(2), while_known(pending::<()>(), known));
        assert!(open(&known).await.is_ok(), "it ends");
        known.store(true, Ordering::Relaxed);
        assert!(open(&known).await.is_err(), "it goes on");
    }
}
