//! A protected service: its name, how it is selected, and where it is.

use crate::config::UserTokenRule;
use crate::config::url::{self, UrlError};
use crate::mcp;
use crate::model::ServiceName;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
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
    /// What it lets in, where it speaks MCP: there exactly if `protocol` is [`Protocol::Mcp`].
    pub mcp: Option<Arc<mcp::Rules>>,
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
    /// Whether each request needs a token of the control plane beside the certificate.
    pub token_required: bool,
    /// Whether each request needs a token of an outside issuer that names the human behind it.
    pub user_token: Option<UserTokenRule>,
    /// Whether an `authorization` that is not our token is passed on: services have authentication of their own.
    pub forward_authorization: bool,
    /// When the trail has what is said of its requests.
    pub durability: Durability,
    /// CA certificates (PEM) to verify it with, instead of the system's.
    pub upstream_ca: Option<PathBuf>,
}

impl ServiceConfig {
    /// A service with every default: protocol by its transport, its own `Host`, 5 s to connect, 60 s to the first byte, 300 s
    /// idle, 1,024 connections to each address.
    #[must_use]
    pub fn new(name: ServiceName, upstream: Upstream) -> Self {
        Self {
            name,
            protocol: upstream.transport.usual_protocol(),
            mcp: None,
            upstreams: Box::new([upstream]),
            hosts: Box::default(),
            listen: None,
            host_header: HostHeader::Upstream,
            connect_timeout: Duration::from_secs(5),
            first_byte_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(300),
            max_connections: 1_024,
            token_required: false,
            user_token: None,
            forward_authorization: true,
            durability: Durability::Buffered,
            upstream_ca: None,
        }
    }

    /// It speaks MCP under these rules.
    pub(super) fn speaks_mcp(&mut self, rules: mcp::Rules) {
        self.protocol = Protocol::Mcp;
        self.mcp = Some(Arc::new(rules));
    }
}

/// `NAME=URL[,listen=ADDR]`, the value of `--service`.
impl FromStr for ServiceConfig {
    type Err = ServiceFlagError;

    fn from_str(text: &str) -> Result<Self, ServiceFlagError> {
        let (name, rest) = text.split_once('=').ok_or(ServiceFlagError::Form)?;
        let (address, options) = rest.split_once(',').map_or((rest, None), |(url, rest)| (url, Some(rest)));
        let Address { upstream, mcp } = address.parse()?;
        let mut service = Self::new(name.parse().map_err(ServiceFlagError::Name)?, upstream);
        if let Some(path) = mcp {
            service.speaks_mcp(mcp::Rules::new(path));
        }
        if let Some(option) = options {
            let address =
                option.strip_prefix("listen=").ok_or_else(|| ServiceFlagError::Option(option.into()))?;
            let listen = address.parse().map_err(|_| ServiceFlagError::Listen(address.into()))?;
            service.listen = Some(listen);
        }
        Ok(service)
    }
}

/// Why a text is not a `--service`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceFlagError {
    /// There is no `=`.
    #[error("expected `NAME=URL[,listen=ADDR]`, for instance `orders=http://127.0.0.1:8080`")]
    Form,
    /// The name is none.
    #[error(transparent)]
    Name(crate::model::name::NameError),
    /// The URL is none, or of no kind that is supported.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// Something else than `listen=` follows.
    #[error("`{0}`: only `listen=ADDR` may follow the URL")]
    Option(String),
    /// The address to listen on is none.
    #[error("`{0}`: expected an address with port such as `127.0.0.1:9001` after `listen=`")]
    Listen(String),
}

/// What is spoken with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP; denials are problem documents.
    Http,
    /// gRPC over HTTP/2; denials are gRPC statuses.
    Grpc,
    /// MCP, streamable HTTP; denials are JSON-RPC errors.
    Mcp,
}

/// When the audit trail has what is said of a service's requests.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Written at least every 100 ms.
    #[default]
    Buffered,
    /// The `admit` line is on disk before the service sees the first byte.
    Durable,
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

    /// The port where the URL names none.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }

    /// What is spoken over it unless the configuration says otherwise.
    #[must_use]
    pub fn usual_protocol(self) -> Protocol {
        match self {
            Self::Http | Self::Https => Protocol::Http,
            Self::H2c => Protocol::Grpc,
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
        if self.port == self.transport.default_port() {
            url::bracketed(&self.host)
        } else {
            format!("{}:{}", url::bracketed(&self.host), self.port)
        }
    }
}

impl FromStr for Upstream {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Upstream)?;
        let transport = match scheme {
            "http" => Transport::Http,
            "https" => Transport::Https,
            "h2c" => Transport::H2c,
            "mcp+http" | "mcp+https" => return Err(UrlError::Mcp),
            _ => return Err(UrlError::Upstream),
        };
        let (host, port) = url::authority(rest)?;
        Ok(Self { transport, host, port: port.unwrap_or(transport.default_port()) })
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.transport.scheme(), self.authority())
    }
}

/// What is written for an upstream: `http://…`, `https://…`, `h2c://…`, or `mcp+http(s)://…/path`, which says that MCP is spoken, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// How it is reached.
    pub upstream: Upstream,
    /// The path of its endpoint, for `mcp+…`.
    pub mcp: Option<mcp::rules::EndpointPath>,
}

impl FromStr for Address {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let Some(rest) = text.strip_prefix("mcp+").filter(|rest| rest.starts_with("http")) else {
            return Ok(Self { upstream: text.parse()?, mcp: None });
        };
        let (scheme, place) = rest.split_once("://").ok_or(UrlError::Mcp)?;
        let at = place.find('/').ok_or(UrlError::Mcp)?;
        let (authority, path) = place.split_at(at);
        let upstream = format!("{scheme}://{authority}").parse()?;
        Ok(Self { upstream, mcp: Some(path.parse().map_err(|_| UrlError::Mcp)?) })
    }
}
