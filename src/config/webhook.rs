//! Whom the control plane tells of what happens: `[[webhooks]]`.

use crate::config::url::{self, UrlError};
use crate::model::WebhookName;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookConfig {
    /// What it is called.
    pub name: WebhookName,
    /// Where it is.
    pub url: WebhookUrl,
    /// The secrets that each message is signed with, one a line; mode 0600. Only a chat may have none.
    pub secret_file: Option<PathBuf>,
    /// What it is told of; never empty.
    pub events: BTreeSet<WebhookEvent>,
    /// In which form.
    pub format: WebhookFormat,
    /// The CA certificates that its certificate must come from; absent: those of the system.
    pub ca: Option<PathBuf>,
    /// How long one attempt may take.
    pub timeout: Duration,
}

impl WebhookConfig {
    /// How long one attempt may take by default.
    pub const TIMEOUT: Duration = Duration::from_secs(10);
}

/// What a receiver can be told of. Closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WebhookEvent {
    /// A request waits for people.
    RequestPending,
    /// A request led to a grant.
    RequestGranted,
    /// A request was denied, or nobody decided in time.
    RequestDenied,
    /// Grants were revoked.
    GrantRevoked,
    /// Somebody broke glass.
    BreakGlass,
    /// A review is still open at the time at which it was due.
    ReviewDue,
    /// A proxy's audit trail cannot be written, is about to, or is well again.
    AuditTrouble,
}

impl WebhookEvent {
    /// Every event: what `*` stands for.
    pub const ALL: [Self; 7] = [
        Self::RequestPending,
        Self::RequestGranted,
        Self::RequestDenied,
        Self::GrantRevoked,
        Self::BreakGlass,
        Self::ReviewDue,
        Self::AuditTrouble,
    ];

    /// The name in the configuration, and the `type` of its messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestPending => "request.pending",
            Self::RequestGranted => "request.granted",
            Self::RequestDenied => "request.denied",
            Self::GrantRevoked => "grant.revoked",
            Self::BreakGlass => "break_glass",
            Self::ReviewDue => "review.due",
            Self::AuditTrouble => "audit.trouble",
        }
    }
}

/// In which form a receiver is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Standard Webhooks 1.0.0: `{"type", "timestamp", "data"}`.
    Standard,
    /// `{"text"}`, as incoming webhooks of chats take it.
    Chat,
}

/// An absolute `http` or `https` URL without credentials and fragment.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl {
    text: String,
    encrypted: bool,
    loopback: bool,
}

impl WebhookUrl {
    /// The URL. Its path may be a secret (chats): not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is `https`.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    /// Whether it never leaves this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookUrl(..)")
    }
}

impl FromStr for WebhookUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Web)?;
        let encrypted = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(UrlError::Web),
        };
        let host = url::web(rest)?;
        let loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        Ok(Self { text: text.to_owned(), encrypted, loopback })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (text, encrypted, loopback) in [
            ("https://hooks.example/services/T0/B0?x=1", true, false),
            ("http://127.0.0.1:9000/", false, true),
            ("http://[::1]:9000/hook", false, true),
            ("http://localhost", false, true),
            ("http://127.0.0.1.example/", false, false),
        ] {
            let url: WebhookUrl = text.parse().unwrap();
            assert_eq!((url.is_encrypted(), url.is_loopback()), (encrypted, loopback), "{text}");
            assert!(!format!("{url:?}").contains("services"), "its path may be a secret");
        }
        for text in
            ["ftp://a/", "https://", "https://u:p@a/", "https://a/#f", "https://a/ b", "a/b", "https:///x"]
        {
            assert!(text.parse::<WebhookUrl>().is_err(), "{text}");
        }
    }
}
