//! What a proxy puts up with from callers, and what no grant passes. The defaults are here and nowhere else.

use crate::model::Ttl;
use std::time::Duration;

/// Limits on connections and messages: what protects the proxy from its callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Connections of one principal at once.
    pub connections_per_principal: usize,
    /// From accept to a finished TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// Bytes of a request head.
    pub header_bytes: usize,
    /// Header fields of a request.
    pub headers: usize,
    /// A connection without a request for this long is closed.
    pub idle_timeout: Duration,
    /// A request body that brings nothing for this long is aborted.
    pub body_stall_timeout: Duration,
    /// A caller that takes nothing for this long (also: a zero HTTP/2 window) is cut.
    pub write_stall_timeout: Duration,
    /// Concurrent streams of one HTTP/2 connection.
    pub h2_streams: u32,
    /// Streams of one HTTP/2 connection that the caller may reset in a second.
    pub h2_resets_per_second: u32,
    /// SETTINGS, PING, PRIORITY and empty frames that one HTTP/2 connection may send in a second.
    pub h2_control_frames_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_principal: 2_000,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            header_bytes: 32 * 1024,
            headers: 100,
            idle_timeout: Duration::from_secs(300),
            body_stall_timeout: Duration::from_secs(60),
            write_stall_timeout: Duration::from_secs(60),
            h2_streams: 256,
            h2_resets_per_second: 200,
            h2_control_frames_per_second: 200,
        }
    }
}

/// What no grant passes at this proxy, whatever the control plane says (law 8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings {
    /// The longest window of a grant; one with a longer window permits nothing here.
    pub max_ttl: Ttl,
    /// Trust domains whose principals may pass; absent: those of the trust bundles. Never empty.
    pub trust_domains: Option<Box<[Box<str>]>>,
    /// Methods of HTTP and MCP that may pass; absent: whatever a grant permits. Never empty.
    pub methods: Option<Box<[Box<str>]>>,
    /// Tools that may be called; absent: whatever a grant permits. Never empty.
    pub tools: Option<Box<[Box<str>]>>,
}

impl Ceilings {
    /// The `max_ttl` of the contract.
    pub const MAX_TTL: Ttl = Ttl::EIGHT_HOURS;
}
