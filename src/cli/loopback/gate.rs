//! The way to the gate: one HTTP/2 connection over mutual TLS for all requests, and one HTTP/1.1 connection for each upgrade.
//!
//! A connection that is gone is opened anew, with the certificate that is in the files then. A request is sent twice only if none
//! of it had left.

use crate::cli::client::{ClientError, connect};
use crate::cli::connection::Target;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::time::Duration;
use tokio::sync::Mutex;

/// What is sent to the gate.
pub(in crate::cli) type Outgoing = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Of one stream, and of the whole connection: enough for a fast network, little enough for many streams.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// A gate that does not answer a ping in this time is gone.
const PING: Duration = Duration::from_secs(20);

/// A gate that is spoken to as one identity.
pub(in crate::cli) struct Gate {
    target: Target,
    shared: Mutex<Option<http2::SendRequest<Outgoing>>>,
}

/// Why the gate gives no answer.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum GateError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The connection broke.
    #[error("the connection to the gate broke before it answered")]
    Broken(#[source] hyper::Error),
}

impl Gate {
    /// Connects with the first request.
    pub(in crate::cli) fn new(target: Target) -> Self {
        Self { target, shared: Mutex::new(None) }
    }

    /// The head of the answer.
    pub(in crate::cli) async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, GateError> {
        let mut tries = 0;
        loop {
            let mut sender = self.sender().await?;
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    // It went to a connection that was about to close.
                    Some(unsent) if tries == 0 => {
                        tries = 1;
                        request = unsent;
                        self.shared.lock().await.take();
                    }
                    Some(_) | None => return Err(GateError::Broken(error.into_error())),
                },
            }
        }
    }

    /// Where it is, and as whom it is spoken to.
    pub(in crate::cli) fn target(&self) -> &Target {
        &self.target
    }

    /// What comes from now on goes over a new connection, with the certificate that is in the files then.
    pub(in crate::cli) async fn renew(&self) {
        self.shared.lock().await.take();
    }

    /// The head of the answer to a request that wants to switch protocols.
    pub(super) async fn upgrade(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, GateError> {
        let stream = connect(&self.target, &[b"http/1.1"]).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(GateError::Broken)?;
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(GateError::Broken)
    }

    async fn sender(&self) -> Result<http2::SendRequest<Outgoing>, GateError> {
        // Held while connecting: those who come meanwhile get the same connection.
        let mut shared = self.shared.lock().await;
        if let Some(sender) = shared.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let stream = connect(&self.target, &[b"h2"]).await?;
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(GateError::Broken)?;
        // It ends with the last sender.
        tokio::spawn(connection);
        Ok(shared.insert(sender).clone())
    }
}
