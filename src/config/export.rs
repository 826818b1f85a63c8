//! Where the audit trail and the event log are sent: `[[proxy.audit.export]]`, `[[control.export]]`.

use crate::config::url::{self, UrlError};
use crate::config::{IdentityFiles, WebhookUrl};
use crate::model::ExportName;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One export: what it is called, in which form and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportConfig {
    /// Names its cursor, its metrics and its log lines.
    pub name: ExportName,
    /// In which form, and where to.
    pub target: ExportTarget,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl ExportConfig {
    /// How long one attempt may take by default.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
    /// The header that proves who sends, by default.
    pub const HEADER: &'static str = "authorization";
}

/// In which form, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportTarget {
    /// OCSF 1.8, one JSON object a line, to an HTTP receiver.
    OcsfHttp(HttpReceiver),
    /// OCSF 1.8, one JSON object a line, to a file.
    OcsfFile(PathBuf),
    /// OTLP logs over HTTP, as protobuf.
    Otlp(HttpReceiver),
    /// RFC 5424 over TLS (RFC 5425).
    Syslog(SyslogReceiver),
}

/// Who takes messages over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpReceiver {
    /// Where; `https`, or `http` to this machine alone.
    pub url: WebhookUrl,
    /// Whom it trusts and who it is.
    pub tls: ReceiverTls,
    /// A header that proves who sends, and the file of mode 0600 with its value.
    pub header: Option<(String, PathBuf)>,
}

/// Who takes messages over syslog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogReceiver {
    /// Where.
    pub url: SyslogUrl,
    /// Whom it trusts and who it is.
    pub tls: ReceiverTls,
    /// Whether only TLS's `close_notify` says that the receiver has read everything, or the end of the connection as well.
    pub close_notify: bool,
}

/// How a receiver is verified, and what it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReceiverTls {
    /// The CA certificates that its certificate must come from; absent: those of the system.
    pub ca: Option<PathBuf>,
    /// The certificate and key that it is shown.
    pub client: Option<IdentityFiles>,
}

/// `tls://HOST[:PORT]`, or `tcp://` to this machine alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogUrl {
    /// A name, or an address without brackets.
    pub host: String,
    /// Of TLS by default 6514 (RFC 5425).
    pub port: u16,
    /// Whether it is TLS.
    pub encrypted: bool,
}

impl SyslogUrl {
    const PORT: u16 = 6514;

    /// Whether it never leaves this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl fmt::Display for SyslogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.encrypted { "tls" } else { "tcp" };
        write!(f, "{scheme}://{}:{}", url::bracketed(&self.host), self.port)
    }
}

impl FromStr for SyslogUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (encrypted, rest) = match text.split_once("://") {
            Some(("tls", rest)) => (true, rest),
            Some(("tcp", rest)) => (false, rest),
            Some(_) | None => return Err(UrlError::Syslog),
        };
        let (host, port) = url::authority(rest)?;
        Ok(Self { host, port: port.unwrap_or(Self::PORT), encrypted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_syslog_receivers() {
        for (text, shown, loopback) in [
            ("tls://logs.example.internal", "tls://logs.example.internal:6514", false),
            ("tls://[::1]:10514", "tls://[::1]:10514", true),
            ("tcp://127.0.0.1:514", "tcp://127.0.0.1:514", true),
        ] {
            let url: SyslogUrl = text.parse().unwrap();
            assert_eq!((url.to_string().as_str(), url.is_loopback()), (shown, loopback), "{text}");
        }
        for text in ["udp://a:514", "a:514", "tls://", "tls://a/b", "tls://u@a", "tls://a:0"] {
            assert!(text.parse::<SyslogUrl>().is_err(), "{text}");
        }
    }
}
