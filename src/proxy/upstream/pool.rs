//! The connections to one address.

use super::http1::Http1;
use super::http2::{Http2, Place};
use super::room::{Got, Room};
use super::{Connector, Guarded, UpstreamError};
use crate::config::Upstream as Address;
use crate::runtime::clock::Mono;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
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

/// What a connection is for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    /// Requests, one after the other or at the same time.
    Request,
    /// One upgrade: a connection of its own.
    Upgrade,
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
    room: Room<Http1>,
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
            room: Room::new(most),
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
        if !channel.is_ready() && !channel.is_usable() {
            return;
        }
        if let Some(channel) = self.room.give(channel) {
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

    /// A connection that is open, or a new one where there is room for it, within `patience`.
    pub(super) async fn open(&self, purpose: Purpose, patience: Duration) -> Result<Channel, UpstreamError> {
        if self.connector.speaks_http2(self.address.transport) {
            return match purpose {
                Purpose::Request => self.judged(within(patience, self.open_http2()).await),
                Purpose::Upgrade => Err(UpstreamError::Protocol),
            };
        }
        if let Purpose::Request = purpose
            && let Some(channel) = self.take(Mono::now())
        {
            return Ok(channel);
        }
        let place = self.free_place().or_else(|| match purpose {
            Purpose::Request => None,
            Purpose::Upgrade => self.place_of_idle(),
        });
        self.open_http1(place.ok_or(UpstreamError::Exhausted)?, purpose, patience).await
    }

    /// Where there is no room: a connection that is given back, or a new one in the place of one that ended, each within `patience`.
    pub(super) async fn wait(&self, purpose: Purpose, patience: Duration) -> Result<Channel, UpstreamError> {
        if self.connector.speaks_http2(self.address.transport) {
            // Streams are not queued for.
            return Err(UpstreamError::Exhausted);
        }
        if let Purpose::Request = purpose
            && let Some(channel) = self.take(Mono::now())
        {
            // While others were tried.
            return Ok(channel);
        }
        if let Purpose::Upgrade = purpose
            && let Some(place) = self.free_place().or_else(|| self.place_of_idle())
        {
            return self.open_http1(place, purpose, patience).await;
        }
        // That nothing became free says nothing about the address.
        let got = timeout(patience, self.room.wait()).await.ok().flatten().ok_or(UpstreamError::Exhausted)?;
        match (got, purpose) {
            (Got::Connection(channel), Purpose::Request) => Ok(Channel::Http1(channel)),
            (Got::Connection(channel), Purpose::Upgrade) => {
                self.open_http1(channel.into_place(), purpose, patience).await
            }
            (Got::Place(place), Purpose::Request | Purpose::Upgrade) => {
                self.open_http1(place, purpose, patience).await
            }
        }
    }

    async fn open_http1(
        &self,
        place: OwnedSemaphorePermit,
        purpose: Purpose,
        patience: Duration,
    ) -> Result<Channel, UpstreamError> {
        let open = async { Http1::handshake(self.connector.connect(&self.address).await?, place).await };
        let mut channel = self.judged(within(patience, open).await)?;
        match purpose {
            Purpose::Request => {}
            Purpose::Upgrade => channel.run_by_itself(),
        }
        Ok(Channel::Http1(channel))
    }

    /// A place for a connection, also that of one that can be used no more.
    fn free_place(&self) -> Option<OwnedSemaphorePermit> {
        self.room.place().or_else(|| {
            self.sweep(Mono::now());
            self.room.place()
        })
    }

    async fn open_http2(&self) -> Result<Channel, UpstreamError> {
        let _one_at_a_time = self.opening.lock().await;
        if let Some(channel) = self.take(Mono::now()) {
            return Ok(channel);
        }
        let room = self.room.place().ok_or(UpstreamError::Exhausted)?;
        let http2 = Http2::handshake(self.connector.connect(&self.address).await?, room).await?;
        let place = http2.place().ok_or(UpstreamError::Exhausted)?;
        self.http2.lock().push(http2);
        Ok(Channel::Http2(place))
    }

    /// The place of the connection that has been idle longest, which ends.
    fn place_of_idle(&self) -> Option<OwnedSemaphorePermit> {
        let mut idle = self.idle.lock();
        (!idle.is_empty()).then(|| idle.remove(0).channel.into_place())
    }
}

async fn within<T>(
    patience: Duration,
    open: impl Future<Output = Result<T, UpstreamError>>,
) -> Result<T, UpstreamError> {
    let late = || UpstreamError::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut));
    timeout(patience, open).await.unwrap_or_else(|_| Err(late()))
}
