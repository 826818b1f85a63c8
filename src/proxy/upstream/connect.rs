//! From an address to a connected byte stream: name look-up, TCP, TLS.

use super::UpstreamError;
use crate::config::{Transport, Upstream as Address};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How a service's addresses are connected to.
#[derive(Clone)]
pub(crate) struct Connector {
    tls: Option<Arc<ClientConfig>>,
    http2: bool,
}

impl Connector {
    /// `tls` is needed where an address is `https`; `http2` says that TLS was set up to negotiate only HTTP/2.
    pub(crate) fn new(tls: Option<Arc<ClientConfig>>, http2: bool) -> Self {
        Self { tls, http2 }
    }

    pub(super) fn speaks_http2(&self, transport: Transport) -> bool {
        match transport {
            Transport::Http => false,
            Transport::Https => self.http2,
            Transport::H2c => true,
        }
    }

    pub(super) async fn connect(&self, address: &Address) -> Result<Io, UpstreamError> {
        let tcp = connect_tcp(address).await.map_err(UpstreamError::Connect)?;
        tcp.set_nodelay(true).map_err(UpstreamError::Connect)?;
        match address.transport {
            Transport::Http | Transport::H2c => Ok(Io::Plain(tcp)),
            Transport::Https => self.verify(address, tcp).await.map_err(UpstreamError::Tls),
        }
    }

    async fn verify(&self, address: &Address, tcp: TcpStream) -> io::Result<Io> {
        let config = self.tls.clone().ok_or_else(|| io::Error::other("TLS is not set up"))?;
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let tls = TlsConnector::from(config).connect(name, tcp).await?;
        if self.http2 && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the service does not speak HTTP/2"));
        }
        Ok(Io::Tls(Box::new(tls)))
    }
}

async fn connect_tcp(address: &Address) -> io::Result<TcpStream> {
    if let Ok(ip) = address.host.parse::<IpAddr>() {
        return TcpStream::connect(SocketAddr::new(ip, address.port)).await;
    }
    TcpStream::connect((address.host.as_str(), address.port)).await
}

/// A connection to a service.
pub(super) enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, buf),
            Self::Tls(io) => Pin::new(io).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Self::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
