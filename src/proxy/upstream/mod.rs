//! A service's addresses and the connections to them, one set for each worker thread.
//!
//! Owns: which address is next, which is failing, which connection is reused. Refuses to know grants and callers. Invariants:
//! a connection is reused only after a response was read to its end and the request was sent to its end; a request is sent
//! again only if not one byte of it was sent; the number of connections to an address is bounded, and of requests on each; what was
//! cut leaves a connection that others share at once, or ends it.

mod answer_first;
mod connect;
mod http1;
mod http2;
mod mortal;
mod pool;
mod room;
mod tls;

pub(crate) use connect::Connector;
pub(crate) use tls::{TlsSetupError, check};

use crate::config::ServiceConfig;
use crate::proxy::body::{Exchange, Upload};
use crate::runtime::clock::Mono;
use futures_util::future::select_ok;
use http2::{NotSent, Seat};
use hyper::body::Incoming;
use hyper::{Request, Response};
use parking_lot::Mutex;
use pool::{Channel, Purpose, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// How often a request may find that a pooled connection had died before anything was sent on it.
const STALE_TRIES: usize = 8;

/// Why a service did not answer. The name is the cause in the audit line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// No address could be connected to.
    #[error("cannot connect to the service")]
    Connect(#[source] std::io::Error),
    /// It does not prove who it is, or cannot agree on TLS.
    #[error("the service cannot be verified over TLS")]
    Tls(#[source] std::io::Error),
    /// The addresses' connections are all in use.
    #[error("all connections to the service are in use")]
    Exhausted,
    /// The connection failed before the head of the response.
    #[error("the service broke the connection off")]
    Broken(#[source] hyper::Error),
    /// The service answered with something that was not asked for.
    #[error("the service switched to a protocol that was not asked for")]
    Protocol,
}

impl UpstreamError {
    /// The cause in the audit line, and the status towards the caller.
    pub(crate) fn cause(&self) -> (&'static str, u16) {
        match self {
            Self::Connect(_) => ("connect", 503),
            Self::Tls(_) => ("tls", 502),
            Self::Exhausted => ("connections_exhausted", 503),
            Self::Broken(_) => ("broken", 502),
            Self::Protocol => ("protocol", 502),
        }
    }
}

/// The addresses of one service, as one worker sees them.
pub(crate) struct Upstream {
    targets: Box<[Arc<Target>]>,
    next: AtomicUsize,
    connect_timeout: Duration,
}

/// A response, and what it comes on.
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    /// Which of the service's addresses answered.
    pub(crate) place: usize,
    pub(crate) channel: Option<Reusable>,
}

/// What may be used again once the response has been read to its end; until then, or until it is dropped, it is taken.
pub(crate) struct Reusable(Taken);

enum Taken {
    /// A whole connection.
    Http1 { channel: http1::Http1, target: Arc<Target> },
    /// A place on a connection that others use at the same time.
    Http2 { _seat: Arc<Seat> },
}

impl Reusable {
    /// Does what the connection has to do, then polls for what comes of it.
    pub(crate) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        match &mut self.0 {
            Taken::Http1 { channel, .. } => channel.poll_with(cx, outcome),
            Taken::Http2 { .. } => outcome(cx),
        }
    }

    /// The request goes on while nobody may be waiting for the response.
    pub(crate) fn run_by_itself(&mut self) {
        match &mut self.0 {
            Taken::Http1 { channel, .. } => channel.run_by_itself(),
            Taken::Http2 { .. } => {}
        }
    }

    /// Gives the connection back. Only after the whole request was sent and the whole response was read.
    pub(crate) fn give_back(self, now: Mono) {
        match self.0 {
            Taken::Http1 { channel, target } => target.put(channel, now),
            Taken::Http2 { .. } => {}
        }
    }
}

impl Upstream {
    /// The addresses of `service`, with at most this worker's share of its connections.
    pub(crate) fn new(service: &ServiceConfig, connector: &Connector, workers: usize) -> Self {
        let share = service.max_connections.div_ceil(workers.max(1));
        let targets = service
            .upstreams
            .iter()
            .enumerate()
            .map(|(place, address)| Arc::new(Target::new(place, address, connector.clone(), share)))
            .collect();
        Self { targets, next: AtomicUsize::new(0), connect_timeout: service.connect_timeout }
    }

    /// Sends a request to the next address that works and waits for the head of the response.
    ///
    /// # Errors
    /// [`UpstreamError`]; the request may have reached the service unless it is `Connect`, `Tls` or `Exhausted`.
    pub(crate) async fn send(
        &self,
        request: Request<Upload>,
        exchange: &Arc<Exchange>,
        now: Mono,
    ) -> Result<Answered, UpstreamError> {
        self.send_to(None, request, Some(exchange), now).await
    }

    /// The same, to one address alone where one is given: a session lives at one of them. What is our own has no exchange.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub(crate) async fn send_to(
        &self,
        only: Option<usize>,
        mut request: Request<Upload>,
        exchange: Option<&Arc<Exchange>>,
        mut now: Mono,
    ) -> Result<Answered, UpstreamError> {
        for _ in 0..STALE_TRIES {
            let (target, channel) = self.channel(only, now).await?;
            let place = target.place();
            let unsent = match channel {
                Channel::Http1(mut channel) => match channel.send(request).await {
                    Ok(response) => {
                        let channel = Some(Reusable(Taken::Http1 { channel, target }));
                        return Ok(Answered { response, place, channel });
                    }
                    Err(mut error) => {
                        error.take_message().ok_or_else(|| UpstreamError::Broken(error.into_error()))?
                    }
                },
                Channel::Http2(at) => match at.send(request, exchange).await {
                    Ok((response, seat)) => {
                        let channel = Some(Reusable(Taken::Http2 { _seat: seat }));
                        return Ok(Answered { response, place, channel });
                    }
                    Err(NotSent::Unsent(unsent)) => *unsent,
                    Err(NotSent::Broken(error)) => return Err(UpstreamError::Broken(error)),
                },
            };
            // Where one has died, others may have.
            now = Mono::now();
            target.sweep(now);
            request = unsent;
        }
        Err(UpstreamError::Connect(std::io::Error::from(std::io::ErrorKind::ConnectionReset)))
    }

    /// Sends an upgrade request on a connection of its own; it lives as long as the channel in the answer.
    ///
    /// # Errors
    /// [`UpstreamError`]; HTTP/2 addresses cannot be upgraded.
    pub(crate) async fn send_upgrade(&self, request: Request<Upload>) -> Result<Answered, UpstreamError> {
        let (target, mut channel) = self.channel_for_upgrade(Mono::now()).await?;
        let response =
            channel.send(request).await.map_err(|error| UpstreamError::Broken(error.into_error()))?;
        let place = target.place();
        Ok(Answered { response, place, channel: Some(Reusable(Taken::Http1 { channel, target })) })
    }

    /// A connection to the next address that works.
    async fn channel(&self, only: Option<usize>, now: Mono) -> Result<(Arc<Target>, Channel), UpstreamError> {
        let start = self.turn();
        let wanted = |target: &&Arc<Target>| only.is_none_or(|place| target.place() == place);
        let next = self.in_turn(start).find(|target| wanted(target) && !target.is_failing(now));
        if let Some(target) = next
            && let Some(channel) = target.take(now)
        {
            return Ok((Arc::clone(target), channel));
        }
        // Boxed: nearly every request finds an open connection above.
        Box::pin(self.open(self.in_turn(start).filter(wanted), Purpose::Request, now)).await
    }

    /// A connection of its own to the next address that works.
    async fn channel_for_upgrade(&self, now: Mono) -> Result<(Arc<Target>, http1::Http1), UpstreamError> {
        match self.open(self.in_turn(self.turn()), Purpose::Upgrade, now).await? {
            (target, Channel::Http1(channel)) => Ok((target, channel)),
            (_, Channel::Http2(_)) => Err(UpstreamError::Protocol),
        }
    }

    /// Of those that work the first with a connection or room for one, then of those that are full whichever has one first, then the
    /// same of those that failed.
    async fn open(
        &self,
        targets: impl Iterator<Item = &Arc<Target>>,
        purpose: Purpose,
        now: Mono,
    ) -> Result<(Arc<Target>, Channel), UpstreamError> {
        // Before any is tried: one that fails now is not tried again.
        let (failing, working): (Vec<_>, Vec<_>) = targets.partition(|target| target.is_failing(now));
        let mut last = UpstreamError::Exhausted;
        for targets in [working, failing] {
            let mut full = Vec::new();
            for target in targets {
                match target.open(purpose, self.connect_timeout).await {
                    Ok(channel) => return Ok((Arc::clone(target), channel)),
                    Err(UpstreamError::Exhausted) => full.push(target),
                    Err(error) => last = error,
                }
            }
            if full.is_empty() {
                continue;
            }
            let wait = |target: &Arc<Target>| {
                let (target, patience) = (Arc::clone(target), self.connect_timeout);
                Box::pin(async move { target.wait(purpose, patience).await.map(|channel| (target, channel)) })
            };
            match select_ok(full.into_iter().map(wait)).await {
                Ok((found, _)) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Whose turn it is.
    fn turn(&self) -> usize {
        if self.targets.len() > 1 { self.next.fetch_add(1, Ordering::Relaxed) } else { 0 }
    }

    /// All addresses, beginning with this one.
    fn in_turn(&self, start: usize) -> impl Iterator<Item = &Arc<Target>> {
        let all = self.targets.len();
        (0..all).filter_map(move |index| self.targets.get(start.wrapping_add(index) % all))
    }

    /// Drops pooled connections that have been idle for too long.
    pub(crate) fn sweep(&self, now: Mono) {
        self.targets.iter().for_each(|target| target.sweep(now));
    }
}

/// Something that is looked up or made under a lock held for a moment only.
type Guarded<T> = Mutex<T>;
