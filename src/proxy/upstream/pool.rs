//! The connections to one address.

use super::{Connector, Guarded, UpstreamError};
use crate::config::{Transport, Upstream as Address};
use crate::proxy::body::Upload;
use crate::proxy::upstream::connect::Io;
use crate::runtime::clock::Mono;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// An idle HTTP/1.1 connection is not used after this: common servers close theirs after 5 s.
const IDLE: Duration = Duration::from_secs(4);
/// The largest head of a response.
const RESPONSE_HEAD: usize = 64 * 1024;
const WINDOW: u32 = 1024 * 1024;

/// A connection to send one request on.
pub(super) enum Channel {
    Http1(Http1),
    Http2(http2::SendRequest<Upload>),
}

/// An HTTP/1.1 connection: one request at a time.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<Upload>,
}

struct Idle {
    channel: Http1,
    since: Mono,
}

/// The connections to one address.
pub(super) struct Target {
    address: Address,
    connector: Connector,
    room: Arc<Semaphore>,
    idle: Guarded<Vec<Idle>>,
    http2: Guarded<Option<http2::SendRequest<Upload>>>,
    /// Only one connection is opened for HTTP/2 at a time; the others wait for it.
    opening: tokio::sync::Mutex<()>,
    failing_until: Guarded<Option<Mono>>,
}

impl Target {
    pub(super) fn new(address: &Address, connector: Connector, most: usize) -> Self {
        Self {
            address: address.clone(),
            connector,
            room: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            idle: Guarded::default(),
            http2: Guarded::default(),
            opening: tokio::sync::Mutex::default(),
            failing_until: Guarded::default(),
        }
    }

    pub(super) fn transport(&self) -> Transport {
        self.address.transport
    }

    /// A connection that is open already.
    pub(super) fn take(&self, now: Mono) -> Option<Channel> {
        if self.connector.speaks_http2(self.address.transport) {
            let mut http2 = self.http2.lock();
            if http2.as_ref().is_some_and(http2::SendRequest::is_closed) {
                *http2 = None;
            }
            return http2.clone().map(Channel::Http2);
        }
        let mut idle = self.idle.lock();
        while let Some(Idle { channel, since }) = idle.pop() {
            if channel.sender.is_ready() && now.since(since) < IDLE {
                return Some(Channel::Http1(channel));
            }
            // The most recent one is gone or too old for use; the ones below it are older still, but may be ready.
        }
        None
    }

    pub(super) fn put(&self, channel: Http1, now: Mono) {
        if !channel.sender.is_closed() {
            self.idle.lock().push(Idle { channel, since: now });
        }
    }

    pub(super) fn forget_http2(&self) {
        *self.http2.lock() = None;
    }

    pub(super) fn is_failing(&self, now: Mono) -> bool {
        self.failing_until.lock().is_some_and(|until| now < until)
    }

    pub(super) fn failed(&self, until: Mono) {
        *self.failing_until.lock() = Some(until);
    }

    pub(super) fn works(&self) {
        *self.failing_until.lock() = None;
    }

    pub(super) fn sweep(&self, now: Mono) {
        self.idle.lock().retain(|idle| now.since(idle.since) < IDLE && !idle.channel.sender.is_closed());
    }

    /// Opens a connection, within `patience` in all.
    pub(super) async fn open(&self, patience: Duration) -> Result<Channel, UpstreamError> {
        timeout(patience, self.open_untimed()).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn open_untimed(&self) -> Result<Channel, UpstreamError> {
        if !self.connector.speaks_http2(self.address.transport) {
            let (io, room) = self.connect().await?;
            return Ok(Channel::Http1(Http1 { sender: handshake_http1(io, room).await? }));
        }
        let _one_at_a_time = self.opening.lock().await;
        if let Some(channel) = self.take(Mono::now()) {
            return Ok(channel);
        }
        let (io, room) = self.connect().await?;
        let sender = handshake_http2(io, room).await?;
        *self.http2.lock() = Some(sender.clone());
        Ok(Channel::Http2(sender))
    }

    /// A connection for one upgrade.
    pub(super) async fn open_for_upgrade(
        &self,
        patience: Duration,
    ) -> Result<http1::SendRequest<Upload>, UpstreamError> {
        let open = async {
            let (io, room) = self.connect().await?;
            handshake_http1(io, room).await
        };
        timeout(patience, open).await.unwrap_or_else(|_| Err(timed_out()))
    }

    async fn connect(&self) -> Result<(Io, OwnedSemaphorePermit), UpstreamError> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| UpstreamError::Exhausted)?;
        let io = self.connector.connect(&self.address).await.map_err(UpstreamError::Connect)?;
        Ok((io, room))
    }
}

fn timed_out() -> UpstreamError {
    UpstreamError::Connect(std::io::Error::from(std::io::ErrorKind::TimedOut))
}

async fn handshake_http1(
    io: Io,
    room: OwnedSemaphorePermit,
) -> Result<http1::SendRequest<Upload>, UpstreamError> {
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(256 * 1024)
        .max_header_size(RESPONSE_HEAD)
        .handshake(TokioIo::new(io))
        .await
        .map_err(UpstreamError::Broken)?;
    tokio::spawn(async move {
        // An error here is told to whoever waits for the response.
        let _ = connection.with_upgrades().await;
        drop(room);
    });
    Ok(sender)
}

async fn handshake_http2(
    io: Io,
    room: OwnedSemaphorePermit,
) -> Result<http2::SendRequest<Upload>, UpstreamError> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .max_header_list_size(RESPONSE_HEAD as u32)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .handshake(TokioIo::new(io))
        .await
        .map_err(UpstreamError::Broken)?;
    tokio::spawn(async move {
        let _ = connection.await;
        drop(room);
    });
    Ok(sender)
}
