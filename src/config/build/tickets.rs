//! `[tickets]`.

use super::{duration, path};
use crate::config::TicketConfig;
use crate::config::raw::{RawTickets, split};
use crate::config::source::Source;

pub(super) fn tickets(source: &mut Source<'_>, raw: RawTickets) -> Option<TicketConfig> {
    let url = match raw.url.map(split) {
        Some((url, span)) => {
            let safe = url.url().is_encrypted() || url.url().is_loopback() || raw.insecure == Some(true);
            if !safe {
                source.at(&span, "expected `https`; or say `insecure = true` if everybody on the way may read and change the answers");
            }
            Some(url)
        }
        None => {
            source.missing("tickets.url", "for instance `https://tickets.example/api/{ticket}`");
            None
        }
    };
    let pointer = match raw.pointer {
        Some(pointer) if !pointer.get_ref().starts_with('/') => {
            source.at(&pointer.span(), "expected a JSON pointer such as `/fields/status/name`");
            None
        }
        Some(pointer) => Some(pointer.into_inner()),
        None => {
            source.missing(
                "tickets.pointer",
                "where the state is in the answer, for instance `/fields/status/name`",
            );
            None
        }
    };
    let open = match raw.open {
        Some(open) => {
            if open.get_ref().is_empty() {
                source
                    .empty_list(&open.span(), "no ticket would ever be open: name the states that mean open");
            }
            Some(open.into_inner().into_iter().collect())
        }
        None => {
            source.missing(
                "tickets.open",
                "the states that mean open, for instance `[\"Open\", \"In Progress\"]`",
            );
            None
        }
    };
    let secret = path(source, raw.secret_file);
    let header = match (raw.header, secret) {
        (Some(name), None) => {
            source.at(&name.span(), "needs `secret_file`, the file with its value");
            None
        }
        (Some(name), Some(file)) => {
            let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            if name.get_ref().is_empty() || !name.get_ref().bytes().all(token) {
                source.at(&name.span(), "expected the name of a header such as `authorization`");
            }
            Some((name.into_inner().to_ascii_lowercase(), file))
        }
        (None, file) => file.map(|file| (TicketConfig::HEADER.to_owned(), file)),
    };
    Some(TicketConfig {
        url: url?,
        header,
        pointer: pointer?,
        open: open?,
        ca: path(source, raw.ca),
        timeout: duration(raw.timeout, TicketConfig::TIMEOUT),
    })
}
