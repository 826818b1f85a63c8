//! A service over HTTP/2 in the clear that decides what it reads: some calls are echoed, some never read, and it can go deaf.

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{Request, Response};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What it has seen so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Seen {
    /// Connections that were opened, and of those the ones that have ended.
    pub(crate) connections: usize,
    pub(crate) ended: usize,
    /// Bytes that came for `/unread`.
    pub(crate) unread: usize,
    /// The paths of the requests that came.
    pub(crate) paths: Vec<String>,
    /// Requests that broke off: by a reset with this reason, or with the connection.
    pub(crate) broken: Vec<Option<Reason>>,
}

/// See the head of this file. It stops with the test's runtime.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    deaf: watch::Sender<bool>,
}

impl Shared {
    /// Permits so many calls at a time on one connection, each with so many bytes that are not read yet.
    pub(crate) async fn start(calls: u32, window: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Self { address, seen: Arc::default(), deaf: watch::Sender::new(false) };
        let service = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    service.seen.lock().connections += 1;
                    service.serve(stream, calls, window).await;
                    service.seen.lock().ended += 1;
                });
            }
        });
        shared
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// Whether it lets everything lie that comes from now on, on every connection.
    pub(crate) fn deaf(&self, deaf: bool) {
        self.deaf.send_replace(deaf);
    }

    async fn serve(&self, stream: TcpStream, calls: u32, window: u32) {
        let mut builder = Builder::new();
        builder.max_concurrent_streams(calls).initial_window_size(window);
        builder.initial_connection_window_size(window.saturating_mul(8).min(1 << 30));
        let Ok(mut connection) = builder.handshake(stream).await else { return };
        let mut deaf = self.deaf.subscribe();
        loop {
            deaf.wait_for(|deaf| !deaf).await.unwrap();
            tokio::select! {
                accepted = connection.accept() => match accepted {
                    Some(Ok((request, respond))) => _ = tokio::spawn(self.clone().answer(request, respond)),
                    Some(Err(_)) | None => return,
                },
                _ = deaf.changed() => {}
            }
        }
    }

    async fn answer(self, request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        let unread = request.uri().path() == "/unread";
        self.seen.lock().paths.push(request.uri().path().to_owned());
        let mut body = request.into_body();
        let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
        while let Some(data) = body.data().await {
            match data {
                Ok(data) if unread => self.seen.lock().unread += data.len(),
                Ok(data) => {
                    let _gone = body.flow_control().release_capacity(data.len());
                    let _gone = out.send_data(data, false);
                }
                Err(error) => {
                    self.seen.lock().broken.push(error.reason());
                    return;
                }
            }
        }
        let _gone = out.send_data(Bytes::new(), true);
    }
}
