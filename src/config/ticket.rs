//! Where the control plane asks whether a ticket is open: `[tickets]`.

use crate::config::WebhookUrl;
use crate::config::url::UrlError;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A ticket system, asked over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketConfig {
    /// Where a ticket is.
    pub url: TicketUrl,
    /// A header that proves who asks, and the file of mode 0600 with its value.
    pub header: Option<(String, PathBuf)>,
    /// Where in the answer the ticket's state is (RFC 6901).
    pub pointer: String,
    /// The states that mean open; never empty.
    pub open: BTreeSet<String>,
    /// The CA certificates that its certificate must come from; absent: those of the system.
    pub ca: Option<PathBuf>,
    /// How long one question may take.
    pub timeout: Duration,
}

impl TicketConfig {
    /// How long one question may take by default.
    pub const TIMEOUT: Duration = Duration::from_secs(3);
    /// The header by default.
    pub const HEADER: &'static str = "authorization";
}

/// What stands for the ticket.
const HOLE: &str = "{ticket}";

/// A URL with `{ticket}` once in its path, as a whole segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TicketUrl {
    before: String,
    after: String,
    whole: WebhookUrl,
}

impl TicketUrl {
    /// The URL of a ticket, whose name has been percent-encoded.
    #[must_use]
    pub fn of(&self, encoded: &str) -> String {
        format!("{}{encoded}{}", self.before, self.after)
    }

    /// What it has in common with any URL.
    #[must_use]
    pub fn url(&self) -> &WebhookUrl {
        &self.whole
    }
}

impl FromStr for TicketUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (before, after) = text.split_once(HOLE).ok_or(UrlError::Ticket)?;
        let whole: WebhookUrl = format!("{before}ticket{after}").parse()?;
        let in_path =
            before.split("://").nth(1).is_some_and(|rest| rest.contains('/') && !rest.contains('?'));
        let segment = before.ends_with('/') && (after.is_empty() || after.starts_with(['/', '?']));
        if !in_path || !segment || after.contains(HOLE) {
            return Err(UrlError::Ticket);
        }
        Ok(Self { before: before.to_owned(), after: after.to_owned(), whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ticket_is_one_segment_of_the_path() {
        let url: TicketUrl = "https://tickets.example/api/{ticket}?fields=status".parse().unwrap();
        assert_eq!(url.of("INC-1"), "https://tickets.example/api/INC-1?fields=status");
        for wrong in [
            "https://tickets.example/api/",
            "https://{ticket}.example/",
            "https://tickets.example/?id={ticket}",
            "https://tickets.example/x{ticket}",
            "https://tickets.example/{ticket}x",
            "https://tickets.example/{ticket}/{ticket}",
            "ftp://tickets.example/{ticket}",
        ] {
            assert!(wrong.parse::<TicketUrl>().is_err(), "{wrong}");
        }
    }
}
