//! The admin listener: `/metrics`, `/healthz`, `/readyz` over plain HTTP/1, for scrapers and supervisors.
//!
//! Has a thread and a runtime of its own, so that it answers while the proxy is busy, and never takes from it: connections, head sizes
//! and times are bounded. Refuses to know what readiness depends on; it is a closure. Changes nothing, so it needs no identity, but
//! bind it to an address that strangers cannot reach.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the kernel's backlog.
const CONNECTIONS: usize = 64;
/// A head has this long, and so has a kept connection to send its next one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection lives longer, whatever it does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// Bytes of a head.
const HEADER_BYTES: usize = 16 << 10;
/// When accepting fails (out of file descriptors), it is tried again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// What `/metrics` answers: the Prometheus text format.
pub type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// `Ok` when requests can be served; otherwise why not, in a word of a closed set (`no_snapshot`, `stale`, `draining`, …).
pub type Readiness = Arc<dyn Fn() -> Result<(), &'static str> + Send + Sync>;

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken or not ours.
    #[error("cannot listen on `{address}` for metrics and health: choose another `admin_listen`")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No thread or no runtime.
    #[error("cannot start the admin listener")]
    Start(#[source] io::Error),
}

/// A bound address that nobody serves yet.
#[derive(Debug)]
pub struct AdminListener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

impl AdminListener {
    /// Binds at once, so that a port in use is told before anything else starts.
    ///
    /// # Errors
    /// [`AdminError::Bind`].
    pub fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let bound = std::net::TcpListener::bind(address).and_then(|socket| {
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok(Self { socket, address })
        });
        bound.map_err(|source| AdminError::Bind { address, source })
    }

    /// The address, with the port that was chosen for port 0.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the returned value is dropped.
    ///
    /// # Errors
    /// [`AdminError::Start`].
    pub fn serve(self, metrics: Scrape, readiness: Readiness) -> Result<AdminServer, AdminError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AdminError::Start)?;
        let stop = CancellationToken::new();
        let admin = Arc::new(Admin { metrics, readiness });
        let (address, socket, stopped) = (self.address, self.socket, stop.clone());
        let thread = std::thread::Builder::new()
            .name("admin".into())
            .spawn(move || {
                let served = runtime.block_on(stopped.run_until_cancelled(listen(socket, admin)));
                if let Some(Err(error)) = served {
                    tracing::error!(%error, "the admin listener has stopped");
                }
            })
            .map_err(AdminError::Start)?;
        Ok(AdminServer { address, stop, thread: Some(thread) })
    }
}

/// A running admin listener; dropping it stops it.
#[derive(Debug)]
#[must_use = "dropping it stops the listener"]
pub struct AdminServer {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the admin listener had panicked");
        }
    }
}

struct Admin {
    metrics: Scrape,
    readiness: Readiness,
}

async fn listen(socket: std::net::TcpListener, admin: Arc<Admin>) -> io::Result<Infallible> {
    let listener = TcpListener::from_std(socket)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        match listener.accept().await {
            Ok((stream, _)) => {
                let admin = Arc::clone(&admin);
                tokio::spawn(async move {
                    // Whatever ends it, a scraper comes back; there is nothing to tell.
                    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection(stream, admin)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept a connection");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn connection(stream: tokio::net::TcpStream, admin: Arc<Admin>) -> Result<(), hyper::Error> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = admin.answer(request.method(), request.uri().path());
        async move { Ok::<_, Infallible>(response) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

impl Admin {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let known = matches!(path, "/metrics" | "/healthz" | "/readyz");
        if known && !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match path {
            "/metrics" => {
                let mut response = text(StatusCode::OK, (self.metrics)());
                let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
            "/readyz" => match (self.readiness)() {
                Ok(()) => text(StatusCode::OK, "ready\n".to_owned()),
                Err(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")),
            },
            _ => text(StatusCode::NOT_FOUND, "try /metrics, /healthz or /readyz\n".to_owned()),
        }
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metrics::Metrics;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpStream};
    use std::sync::atomic::{AtomicBool, Ordering};

    fn serve(readiness: Readiness) -> AdminServer {
        let listener = AdminListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let metrics = Metrics::new(&[]).unwrap();
        listener.serve(Arc::new(move || metrics.render()), readiness).unwrap()
    }

    fn ask(server: &AdminServer, request: &str) -> String {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn answers_what_it_has_and_refuses_the_rest() {
        let server = serve(Arc::new(|| Ok(())));
        for (request, status, has) in [
            ("GET /metrics", "200", "jitgate_build_info{version="),
            ("GET /healthz", "200", "ok"),
            ("GET /readyz", "200", "ready"),
            ("HEAD /metrics", "200", "text/plain; version=0.0.4"),
            ("POST /metrics", "405", "allow: GET, HEAD"),
            ("DELETE /readyz", "405", "allow: GET, HEAD"),
            ("GET /", "404", "try /metrics"),
            ("GET /metrics/", "404", "try /metrics"),
            ("GET //metrics", "404", "try /metrics"),
            ("POST /other", "404", "try /metrics"),
        ] {
            let answer = ask(&server, request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(has),
                "{request}: {answer}"
            );
        }
    }

    #[test]
    fn readiness_is_asked_each_time_while_health_stays() {
        let ready = Arc::new(AtomicBool::new(false));
        let server = serve({
            let ready = Arc::clone(&ready);
            Arc::new(move || if ready.load(Ordering::SeqCst) { Ok(()) } else { Err("no_snapshot") })
        });
        let answer = ask(&server, "GET /readyz");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("not ready: no_snapshot"), "{answer}");
        assert!(ask(&server, "GET /healthz").starts_with("HTTP/1.1 200 "));
        ready.store(true, Ordering::SeqCst);
        assert!(ask(&server, "GET /readyz").starts_with("HTTP/1.1 200 "));
    }

    #[test]
    fn a_port_in_use_is_told_before_anything_is_served() {
        let first = AdminListener::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let error = AdminListener::bind(first.local_addr()).unwrap_err();
        assert!(error.to_string().contains(&first.local_addr().to_string()), "{error}");
    }

    #[test]
    fn heads_beyond_the_limit_are_refused() {
        let server = serve(Arc::new(|| Ok(())));
        let answer = ask(&server, &format!("GET /healthz?{}", "x".repeat(2 * HEADER_BYTES)));
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }

    #[test]
    fn stops_when_it_is_dropped() {
        let server = serve(Arc::new(|| Ok(())));
        let address = server.local_addr();
        drop(server);
        assert!(TcpStream::connect(address).is_err());
    }
}
