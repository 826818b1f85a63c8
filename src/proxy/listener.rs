//! A worker thread: its listeners, its callers, its sweep.

use crate::access::stream::CutCause;
use crate::identity::Refusal;
use crate::model::Time;
use crate::proxy::connection;
use crate::proxy::mcp;
use crate::proxy::router::Route;
use crate::proxy::worker::Worker;
use crate::runtime::accepted;
use crate::runtime::clock::{Mono, wall};
use crate::session::sweep;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BACKLOG: i32 = 4_096;

/// Binds an address once for each worker. The kernel spreads connections over them (SO_REUSEPORT), and so would share the port
/// with another program that asks for it: so it is first asked for alone.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    let alone = socket(address, false)?;
    let address = alone.local_addr()?;
    if workers <= 1 {
        return Ok(vec![alone]);
    }
    drop(alone);
    (0..workers).map(|_| socket(address, true)).collect()
}

fn socket(address: SocketAddr, shared: bool) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listener, and the service that it belongs to if it belongs to one.
pub(crate) type Bound = (StdListener, Option<Arc<Route>>);

/// Runs a worker until `stop`; while draining it takes no new connection.
pub(crate) async fn run(
    worker: Arc<Worker>,
    listeners: Vec<Bound>,
    stop: CancellationToken,
) -> io::Result<()> {
    // Ends with the runtime, as the requests do that it tells.
    tokio::spawn(worker.shared.audit.herald());
    for (listener, route) in listeners {
        let listener = TcpListener::from_std(listener)?;
        let worker = Arc::clone(&worker);
        tokio::spawn(async move {
            tokio::select! {
                () = worker.shared.drain.draining() => {}
                () = accept(&worker, &listener, route) => {}
            }
        });
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = sweep_forever(&worker) => {}
    }
    Ok(())
}

async fn accept(worker: &Arc<Worker>, listener: &TcpListener, route: Option<Arc<Route>>) {
    loop {
        let (tcp, source) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or the caller was gone already: the listener itself goes on.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        accepted::set_up(&tcp);
        // Whoever has shown no certificate takes no place that callers with one need.
        let Some(newcomer) = worker.shared.newcomers.enter(source.ip(), Mono::now()) else {
            connection::refuse(&worker.shared, source, Refusal::TooManyConnections, None);
            continue;
        };
        let hold = worker.shared.drain.hold();
        let served = connection::serve(Arc::clone(worker), tcp, source, route.clone(), newcomer);
        tokio::spawn(async move {
            let _hold = hold;
            served.await;
        });
    }
}

async fn sweep_forever(worker: &Arc<Worker>) {
    let shared = &worker.shared;
    let mut trust = shared.trust.changes();
    let mut before = wall();
    loop {
        tokio::time::sleep(sweep::EVERY).await;
        let (now, wall) = (Mono::now(), wall());
        if trust.has_changed().unwrap_or(true) || shared.trust.ran_out(before, wall) {
            trust.mark_unchanged();
            recheck(worker, wall);
        }
        before = wall;
        let held = sweep::sweep(&worker.callers, &shared.gate, &shared.limits, now, wall);
        if !held.is_empty() {
            tokio::spawn(async move {
                tokio::time::sleep(sweep::SHORTLY).await;
                held.iter().for_each(|stream| stream.kill_holder());
            });
        }
        mcp::sweep(worker, now);
        worker.upstreams.iter().for_each(|upstream| upstream.sweep(now));
        // Connections that were shaking hands when the drain began come in later: so again each time.
        if shared.drain.is_closing() {
            worker.callers.for_each(|caller| caller.end(CutCause::Drain));
        } else if shared.drain.is_draining() {
            worker.callers.for_each(|caller| caller.killer().retire());
        }
    }
}

/// Ends the connections whose certificates no longer hold. Beside the worker: with many callers it takes a while, and their
/// requests must not wait for it.
fn recheck(worker: &Arc<Worker>, wall: Time) {
    let worker = Arc::clone(worker);
    tokio::task::spawn_blocking(move || {
        worker.callers.for_each(|caller| {
            if worker.shared.trust.recheck(caller.peer(), wall).is_err() {
                caller.end(CutCause::Identity);
            }
        });
    });
}
