//! A protected service: its name, how it is selected, and where it is.

use crate::model::ServiceName;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A protected service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceConfig {
    /// Its name in scopes, audit lines and metrics. `NAME.<domain>` selects it.
    pub name: ServiceName,
    /// Its addresses, used in turn; never empty, all of one transport.
    pub upstreams: Box<[Upstream]>,
    /// Further host names that select it; lower case, without port.
    pub hosts: Box<[String]>,
    /// A listener of its own, on which every request is for this service.
    pub listen: Option<SocketAddr>,
    /// What is spoken with it.
    pub protocol: Protocol,
    /// The `Host` that it gets to see.
    pub host_header: HostHeader,
    /// To reach it.
    pub connect_timeout: Duration,
    /// From the end of the request to the head of the response.
    pub first_byte_timeout: Duration,
    /// Without a byte in either direction of a response.
    pub idle_timeout: Duration,
    /// Connections to each of its addresses at once.
    pub max_connections: usize,
    /// CA certificates (PEM) to verify it with, instead of the system's.
    pub upstream_ca: Option<PathBuf>,
}

/// What is spoken with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP; denials are problem documents.
    Http,
    /// gRPC over HTTP/2; denials are gRPC statuses.
    Grpc,
}

/// Which `Host` (`:authority`) an upstream gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostHeader {
    /// Its own, from its URL.
    Upstream,
    /// The caller's.
    Preserve,
}

/// How an upstream is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `http://`: HTTP/1.1 in the clear.
    Http,
    /// `https://`: TLS, HTTP/1.1 or HTTP/2 by ALPN.
    Https,
    /// `h2c://`: HTTP/2 in the clear, with prior knowledge.
    H2c,
}

impl Transport {
    /// The scheme in the URL.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::H2c => "h2c",
        }
    }
}

/// One address of a service.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Upstream {
    /// How.
    pub transport: Transport,
    /// Host name or IP address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Upstream {
    /// The value of `Host` that names it: without the port where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        let default_port = match self.transport {
            Transport::Http | Transport::H2c => 80,
            Transport::Https => 443,
        };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        if self.port == default_port {
            format!("{open}{}{close}", self.host)
        } else {
            format!("{open}{}{close}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.scheme(), self.authority())
    }
}
