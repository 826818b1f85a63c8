//! A well-behaved client: hyper over rustls with a client certificate, HTTP/1.1 or HTTP/2.

use super::pki::{Authority, Leaf};
use super::wait::within;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    H1,
    H2,
}

impl Protocol {
    pub(crate) const BOTH: [Self; 2] = [Self::H1, Self::H2];

    fn alpn(self) -> Vec<u8> {
        match self {
            Self::H1 => b"http/1.1".to_vec(),
            Self::H2 => b"h2".to_vec(),
        }
    }
}

/// A client with an identity, for one server.
#[derive(Clone)]
pub(crate) struct Client {
    tls: Arc<ClientConfig>,
    to: SocketAddr,
    host: String,
    protocol: Protocol,
    from: Option<IpAddr>,
}

/// One connection of a client.
pub(crate) struct Connection {
    sender: Sender,
    host: String,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Client {
    pub(crate) fn new(
        ca: &Authority,
        leaf: Option<&Leaf>,
        to: SocketAddr,
        host: &str,
        protocol: Protocol,
    ) -> Self {
        Self { tls: Arc::new(tls(ca, leaf, &[protocol])), to, host: host.to_owned(), protocol, from: None }
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    /// The same client at another address of this machine.
    pub(crate) fn from(mut self, address: [u8; 4]) -> Self {
        self.from = Some(address.into());
        self
    }

    /// Opens a connection, or tells why TLS (or the first byte after it) failed.
    pub(crate) async fn try_connect(&self) -> std::io::Result<Connection> {
        let stream = open_from(self.from, self.to, Arc::clone(&self.tls)).await?;
        let io = TokioIo::new(stream);
        let sender = match self.protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await.map_err(std::io::Error::other)?;
                tokio::spawn(connection.with_upgrades());
                Sender::H1(sender)
            }
            Protocol::H2 => {
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), io).await.map_err(std::io::Error::other)?;
                tokio::spawn(connection);
                Sender::H2(sender)
            }
        };
        Ok(Connection { sender, host: self.host.clone() })
    }

    pub(crate) async fn connect(&self) -> Connection {
        within("connecting", self.try_connect()).await.unwrap()
    }

    /// One request on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.connect().await.get(path).await
    }
}

impl Connection {
    /// The same connection, for one more call at the same time (HTTP/2).
    pub(crate) fn again(&self) -> Self {
        match &self.sender {
            Sender::H1(_) => panic!("one call at a time"),
            Sender::H2(sender) => Self { sender: Sender::H2(sender.clone()), host: self.host.clone() },
        }
    }

    /// A request for `path` of the service, to be added to.
    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        let builder = Request::builder().method(method);
        match self.sender {
            Sender::H1(_) => builder.uri(path).header("host", &self.host),
            Sender::H2(_) => builder.uri(format!("https://{}{path}", self.host)),
        }
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        let sending = async {
            match &mut self.sender {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        within("the head of an answer", sending).await
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = self.request("GET", path).body(empty()).unwrap();
        Answer::of(self.send(request).await).await
    }

    pub(crate) async fn call(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let request = self.request(method, path).body(full(body.to_owned())).unwrap();
        Answer::of(self.send(request).await).await
    }

    /// An answer that goes on: its head was read.
    pub(crate) async fn open(&mut self, path: &str) -> Response<Incoming> {
        let request = self.request("GET", path).body(empty()).unwrap();
        self.send(request).await
    }
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Self {
        let (head, body) = response.into_parts();
        let collected = within("the body of an answer", body.collect()).await.unwrap();
        let trailers = collected.trailers().cloned();
        Self { status: head.status, headers: head.headers, body: collected.to_bytes(), trailers }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The `reason` of a denial.
    pub(crate) fn reason(&self) -> String {
        let problem = self.json();
        problem["reason"].as_str().unwrap_or_else(|| panic!("no reason in {problem}")).to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) fn empty() -> Body {
    Empty::new().boxed_unsync()
}

pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

/// The TLS side of any client here: trusts one CA, shows a leaf if it has one, offers these protocols.
pub(crate) fn tls(ca: &Authority, leaf: Option<&Leaf>, protocols: &[Protocol]) -> ClientConfig {
    use rustls::pki_types::pem::PemObject;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in rustls::pki_types::CertificateDer::pem_slice_iter(ca.pem().as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match leaf {
        Some(leaf) => builder.with_client_auth_cert(leaf.chain(), leaf.key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.alpn()).collect();
    config
}

/// A TLS connection to `localhost` at an address.
pub(crate) async fn open(to: SocketAddr, tls: Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    open_from(None, to, tls).await
}

async fn open_from(
    from: Option<IpAddr>,
    to: SocketAddr,
    tls: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = match from {
        Some(address) => {
            let socket = TcpSocket::new_v4()?;
            socket.bind((address, 0).into())?;
            socket.connect(to).await?
        }
        None => TcpStream::connect(to).await?,
    };
    stream.set_nodelay(true)?;
    TlsConnector::from(tls).connect(ServerName::try_from("localhost").unwrap(), stream).await
}
