//! The connections to one address.

use super::http1::Http1;
use super::http2::{Http2, Place};
use super::{Connector, Guarded, UpstreamError};
use crate::config::Upstream as Address;
use crate::proxy::upstream::connect::Io;
use crate::runtime::clock::Mono;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// An idle HTTP/1.1 connection is not used after this: common servers close theirs after 5 s.
const IDLE: Duration = Duration::from_secs(4);
/// An address that failed is passed over for this long, unless all of them failed.
const COOL_OFF: Duration = Duration::from_secs(5);

/// What one request is sent on.
pub(super) enum Channel {
    Http1(Http1),
    Http2(Place),
}

struct Idle {
    channel: Http1,
    since: Mono,
}

/// The connections to one address.
pub(super) struct Target {
    place: usize,
    address: Address,
    connector: Connector,
    room: Arc<Semaphore>,
    idle: Guarded<Vec<Idle>>,
    /// The first one with a place is taken, so that there are as few as the load needs.
    http2: Guarded<Vec<Http2>>,
    /// Only one connection is opened for HTTP/2 at a time; the others wait for it.
    opening: tokio::sync::Mutex<()>,
    failing_until: Guarded<Option<Mono>>,
}

impl Target {
    pub(super) fn new(place: usize, address: &Address, connector: Connector, most: usize) -> Self {
        Self {
            place,
            address: address.clone(),
            connector,
            room: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            idle: Guarded::default(),
            http2: Guarded::default(),
            opening: tokio::sync::Mutex::default(),
            failing_until: Guarded::default(),
        }
    }

    /// Its place among the addresses of the service.
    pub(super) fn place(&self) -> usize {
        self.place
    }

    /// A connection that is open already.
    pub(super) fn take(&self, now: Mono) -> Option<Channel> {
        if self.connector.speaks_http2(self.address.transport) {
            let mut open = self.http2.lock();
            open.retain(|http2| !http2.is_closed());
            return open.iter().find_map(Http2::place).map(Channel::Http2);
        }
        let mut idle = self.idle.lock();
        // The most recent one first: it is the least likely to be closed by the service.
        let usable = |idle: &Idle| idle.channel.is_ready() && now.since(idle.since) < IDLE;
        let found = idle.iter().rposition(usable)?;
        Some(Channel::Http1(idle.remove(found).channel))
    }

    pub(super) fn put(&self, mut channel: Http1, now: Mono) {
        channel.forget_task();
        if channel.is_ready() || channel.is_usable() {
            self.idle.lock().push(Idle { channel, since: now });
        }
    }

    pub(super) fn is_failing(&self, now: Mono) -> bool {
        self.failing_until.lock().is_some_and(|until| now < until)
    }

    /// Learns from how opening a connection went. That all are in use says nothing about the address.
    fn judged<T>(&self, opened: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
        match &opened {
            Ok(_) => *self.failing_until.lock() = None,
            Err(UpstreamError::Exhausted | UpstreamError::Protocol) => {}
            Err(UpstreamError::Connect(_) | UpstreamError::Tls(_) | UpstreamError::Broken(_)) => {
                *self.failing_until.lock() = Some(Mono::now().plus(COOL_OFF));
            }
        }
        opened
    }

    /// Drops what the service has closed or will soon close. Nobody polls an idle connection: so it is looked at here.
    pub(super) fn sweep(&self, now: Mono) {
        self.idle.lock().retain_mut(|idle| now.since(idle.since) < IDLE && idle.channel.is_usable());
        let mut first = true;
        self.http2.lock().retain_mut(|http2| {
            // One is kept for whoever comes next; it looks after itself.
            !http2.is_closed() && (std::mem::take(&mut first) || http2.idle_for(now) < IDLE)
        });
    }

    /// Opens a connection, within `patience` in all.
    pub(super) async fn open(&self, patience: Duration) -> Result<Channel, UpstreamError> {
        self.judged(timeout(patience, self.open_untimed()).await.unwrap_or_else(|_| Err(timed_out())))
    }

    async fn open_untimed(&self) -> Result<Channel, UpstreamError> {
        if !self.connector.speaks_http2(self.address.transport) {
            let (io, room) = self.connect().await?;
            return Ok(Channel::Http1(Http1::handshake(io, room).await?));
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(channel) = self.take(Mono::now()) {
            return Ok(channel);
        }
        let room = Arc::clone(&self.room).try_acquire_owned().map_err(|_| UpstreamError::Exhausted)?;
        let http2 = Http2::handshake(self.connector.connect(&self.address).await?, room).await?;
        let place = http2.place().ok_or(UpstreamError::Exhausted)?;
        self.http2.lock().push(http2);
        Ok(Channel::Http2(place))
    }

    /// A connection for one upgrade.
    pub(super) async fn open_for_upgrade(&self, patience: Duration) -> Result<Http1, UpstreamError> {
        if self.connector.speaks_http2(self.address.transport) {
            return Err(UpstreamError::Protocol);
        }
        let open = async {
            let (io, room) = self.connect().await?;
            let mut channel = Http1::handshake(io, room).await?;
            channel.run_by_itself();
            Ok(channel)
        };
        self.judged(timeout(patience, open).await.unwrap_or_else(|_| Err(timed_out())))
    }

    async fn connect(&self) -> Result<(Io, OwnedSemaphorePermit), UpstreamError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| UpstreamError::Exhausted)?;
        let io = self.connector.connect(&self.address).await?;
        Ok((io, room))
    }
}

fn timed_out() -> UpstreamError {
    UpstreamError::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut))
}
