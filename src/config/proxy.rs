//! The proxy's half of a configuration.

use crate::config::url::{self, UrlError};
use crate::config::{
    Ceilings, ExportConfig, IdentityFiles, IssuerConfig, Limits, RecordingConfig, RetentionConfig,
    ServiceConfig, TrustFiles, WitnessConfig,
};
use crate::model::{ProxyName, SpiffeId};
use serde::Serialize;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Everything that a proxy is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Its name in audit lines and receipts; absent: the last part of its SPIFFE ID.
    pub name: Option<ProxyName>,
    /// Where callers connect; never empty. Beside these, services may have listeners of their own.
    pub listen: Box<[SocketAddr]>,
    /// Where metrics and health are served.
    pub admin_listen: SocketAddr,
    /// Threads; absent: one for each core.
    pub workers: Option<NonZeroUsize>,
    /// How long a drain may take before what is left is cut.
    pub drain_timeout: Duration,
    /// `NAME.<domain>` selects service NAME; lower case.
    pub domains: Box<[String]>,
    /// Where refused callers are sent to ask for access; absent: they are not told.
    pub access_request: Option<AccessUrl>,
    /// Who it is.
    pub identity: IdentityFiles,
    /// Whom it trusts.
    pub trust: TrustFiles,
    /// What it allows in TLS.
    pub tls: TlsConfig,
    /// Where its grants come from.
    pub control: ControlLink,
    /// Where its audit trail goes.
    pub audit: AuditConfig,
    /// What it puts up with.
    pub limits: Limits,
    /// What no grant passes.
    pub ceilings: Ceilings,
    /// What it protects; never empty, names and hosts unique.
    pub services: Box<[ServiceConfig]>,
    /// Whose tokens name the users of these services; those that a service demands.
    pub issuers: Box<[IssuerConfig]>,
}

impl ProxyConfig {
    /// Where callers connect by default.
    pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
    /// Where metrics and health are served by default.
    pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
    /// `orders.localhost` selects `orders` by default.
    pub const DOMAIN: &str = "localhost";
    /// How long a drain may take by default.
    pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
    /// Threads; 0 is one for each core.
    pub const WORKERS: std::ops::RangeInclusive<usize> = 0..=1_024;
}

/// What is allowed in TLS beyond the strict default (TLS 1.3 only, every connection a full handshake).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TlsConfig {
    /// Also TLS 1.2.
    pub tls12: bool,
    /// Session resumption by tickets.
    pub resumption: bool,
}

/// Where a proxy's grants come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlLink {
    /// The control plane's addresses, tried in turn; never empty.
    pub endpoints: Box<[Endpoint]>,
    /// The one identity that a control plane must prove.
    pub identity: SpiffeId,
}

/// An address of the control plane: `https://HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Host name or IP address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}:{}", url::bracketed(&self.host), self.port)
    }
}

impl FromStr for Endpoint {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("https://").ok_or(UrlError::Endpoint)?;
        let (host, port) = url::authority(rest)?;
        Ok(Self { host, port: port.unwrap_or(443) })
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

/// The same listener, by an address that can be called.
#[must_use]
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port()),
        IpAddr::V4(_) | IpAddr::V6(_) => address,
    }
}

/// Where access is asked for, as callers reach it: an absolute `https` URL without credentials and fragment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct AccessUrl(Box<str>);

impl AccessUrl {
    /// Where the control plane at this address takes access requests.
    #[must_use]
    pub fn at(control: &Endpoint) -> Self {
        Self(format!("{control}/v1/requests").into())
    }
}

impl fmt::Display for AccessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AccessUrl {
    type Err = UrlError;
    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix("https://").ok_or(UrlError::Access)?;
        url::web(rest).map_err(|error| if error == UrlError::Web { UrlError::Access } else { error })?;
        Ok(Self(text.into()))
    }
}

/// Where the audit trail goes, and how much may wait to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditConfig {
    /// Where.
    pub target: AuditTarget,
    /// A file is rotated when it has grown beyond this.
    pub rotate_bytes: u64,
    /// A file is rotated when it is older than this.
    pub rotate_every: Duration,
    /// Whether rotated files are compressed.
    pub compress: bool,
    /// Lines that may wait to be written; further requests are refused.
    pub queue_lines: usize,
    /// Lines for refused handshakes and denials, above which they are summarised.
    pub denials: DenialBudget,
    /// How bodies are recorded; absent: requests whose grant demands it are refused.
    pub recording: Option<RecordingConfig>,
    /// Where else its lines are sent, from the files of the trail.
    pub exports: Vec<ExportConfig>,
    /// How long its files are kept, and what they may take.
    pub retention: RetentionConfig,
    /// Who else vouches for it.
    pub witnesses: Vec<WitnessConfig>,
}

impl AuditConfig {
    /// The default: to `target`, rotated at 256 MiB and daily, 65,536 lines waiting at most.
    #[must_use]
    pub fn to(target: AuditTarget) -> Self {
        Self {
            target,
            rotate_bytes: 256 * 1024 * 1024,
            rotate_every: Duration::from_secs(24 * 3600),
            compress: true,
            queue_lines: 65_536,
            denials: DenialBudget::default(),
            recording: None,
            exports: Vec::new(),
            retention: RetentionConfig::default(),
            witnesses: Vec::new(),
        }
    }
}

/// Where the audit trail goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuditTarget {
    /// To a file that is rotated.
    File(PathBuf),
    /// To standard output, for a collector.
    Stdout,
}

/// How many lines a source may cause with denials and refused handshakes (law 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DenialBudget {
    /// Sustained lines a second of all sources together.
    pub lines_per_second: u32,
    /// On top, at once.
    pub burst: u32,
}

impl Default for DenialBudget {
    fn default() -> Self {
        Self { lines_per_second: 1_000, burst: 10_000 }
    }
}
