//! The authority of a request, and the service that it stands for.

use super::Unclear;
use http::header::HOST;
use http::request::Parts;

/// The one authority of a request: `Host`, `:authority` or an absolute target; where there are two of them they agree.
pub(super) fn authority(parts: &Parts) -> Result<&str, Unclear> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = match hosts.next().map(http::HeaderValue::to_str) {
        None => None,
        Some(Ok(host)) => Some(host),
        Some(Err(_)) => return Err(Unclear::malformed("the host is not ASCII")),
    };
    if hosts.next().is_some() {
        return Err(Unclear::ambiguous("the request has several hosts"));
    }
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return Err(Unclear::malformed("the scheme is neither `http` nor `https`"));
    }
    let target = parts.uri.authority().map(http::uri::Authority::as_str);
    let authority = match (target, host) {
        (None, None) => return Err(Unclear::malformed("the request has no host")),
        (Some(one), None) | (None, Some(one)) => one,
        (Some(target), Some(host)) if target.eq_ignore_ascii_case(host) => target,
        (Some(_), Some(_)) => return Err(Unclear::ambiguous("the host and the target's authority disagree")),
    };
    check(authority).map(|()| authority)
}

/// A host name, an IPv4 address or a bracketed IPv6 address, and an optional port; no user, no escapes.
fn check(authority: &str) -> Result<(), Unclear> {
    if is_plain(authority.as_bytes()) { Ok(()) } else { check_whole(authority) }
}

fn check_whole(authority: &str) -> Result<(), Unclear> {
    if authority.contains('@') {
        return Err(Unclear::ambiguous("the host has a user part"));
    }
    let (host, port) = split_port(authority);
    if port.is_some_and(|port| port.is_empty() || port.parse::<u16>().is_err() || port.starts_with('+')) {
        return Err(Unclear::malformed("the port is not a number from 0 to 65535"));
    }
    let name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let address = |b: u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let valid = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => !inside.is_empty() && inside.bytes().all(address),
        None => !host.is_empty() && host.bytes().all(name),
    };
    if !valid || host.len() > 253 {
        return Err(Unclear::malformed("the host is neither a name nor an address"));
    }
    if host.starts_with('.') || host.ends_with('.') || host.contains("..") {
        return Err(Unclear::ambiguous("the host name has an empty label"));
    }
    Ok(())
}

/// Whether it is a host name or IPv4 address as nearly all are, with a port of at most four digits: one pass, and every such one
/// passes the whole check as well.
fn is_plain(authority: &[u8]) -> bool {
    let mut before = b'.';
    for (at, byte) in authority.iter().enumerate() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'.' if before != b'.' => {}
            b':' => {
                let port = authority.get(at + 1..).unwrap_or_default();
                return before != b'.'
                    && at <= 253
                    && matches!(port.len(), 1..=4)
                    && port.iter().all(u8::is_ascii_digit);
            }
            _ => return false,
        }
        before = *byte;
    }
    before != b'.' && authority.len() <= 253
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    let colon = authority.as_bytes().iter().rposition(|byte| *byte == b':');
    match colon.and_then(|at| Some((authority.get(..at)?, authority.get(at + 1..)?))) {
        // The colons inside of `[::1]` are no port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

/// Room for a lower-cased host name.
pub type HostBuffer = [u8; 253];

/// The service that a host name stands for when no configuration says so (law 11): `NAME` of `NAME.<domain>` for the first of the
/// `domains` (lower case) that fits, otherwise the host itself; without the port, in lower case. `buffer` is written only where
/// the host was not in lower case.
#[must_use]
pub fn host_label<'a>(authority: &'a str, domains: &[String], buffer: &'a mut HostBuffer) -> &'a str {
    let (host, _) = split_port(authority);
    let name = domains.iter().find_map(|domain| strip_domain(host, domain)).unwrap_or(host);
    if !name.bytes().any(|b| b.is_ascii_uppercase()) {
        return name;
    }
    match buffer.get_mut(..name.len()) {
        Some(lower) => {
            lower.copy_from_slice(name.as_bytes());
            lower.make_ascii_lowercase();
            std::str::from_utf8(lower).unwrap_or_default()
        }
        // No service has a name that long.
        None => name,
    }
}

fn strip_domain<'a>(host: &'a str, domain: &str) -> Option<&'a str> {
    let at = host.len().checked_sub(domain.len())?;
    let (name, tail) = host.split_at_checked(at)?;
    let name = name.strip_suffix('.')?;
    (!name.is_empty() && tail.eq_ignore_ascii_case(domain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_passes_the_short_check_is_what_is_common() {
        for plain in ["orders.localhost", "Orders.localhost:8443", "127.0.0.1:80", "a_b-c", "a"] {
            assert!(is_plain(plain.as_bytes()), "{plain}");
        }
        for other in [
            "", ".", "a.", ".a", "a..b", "a:", ":1", "a.:1", "a:+1", "a:65536", "[::1]", "a@b", "a:1:2",
            "a b",
        ] {
            assert!(!is_plain(other.as_bytes()), "{other}");
        }
        assert!(is_plain(&[b'a'; 253]) && !is_plain(&[b'a'; 254]));
    }

    proptest! {
        #[test]
        fn the_short_check_lets_nothing_pass_that_the_whole_one_refuses(text in "[a-zA-Z0-9._:@+\\[\\] -]{0,12}") {
            prop_assert!(!is_plain(text.as_bytes()) || check_whole(&text).is_ok());
        }
    }
}
