//! The few URL forms of the configuration: a scheme, a host, perhaps a port; nothing else, so that nothing is ignored.

use std::net::Ipv6Addr;

/// Why a text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// An upstream of another kind.
    #[error(
        "expected `http://HOST[:PORT]`, `https://HOST[:PORT]`, `h2c://HOST[:PORT]` (gRPC) or `mcp+http(s)://HOST[:PORT]/PATH`"
    )]
    Upstream,
    /// A control plane address of another kind.
    #[error("expected `https://HOST[:PORT]`")]
    Endpoint,
    /// A receiver of another kind.
    #[error(
        "expected `https://HOST[:PORT][/PATH]`, without fragment and with everything unusual percent-encoded"
    )]
    Web,
    /// A receiver of syslog of another kind.
    #[error("expected `tls://HOST[:PORT]`")]
    Syslog,
    /// Where access is asked for.
    #[error(
        "expected the public URL for access requests, such as `https://control.example:8444/v1/requests`"
    )]
    Access,
    /// A ticket's address of another kind.
    #[error(
        "expected `{{ticket}}` once, as a whole segment of the path: `https://tickets.example/api/{{ticket}}`"
    )]
    Ticket,
    /// An MCP server.
    #[error(
        "expected the path of the MCP endpoint after the port, such as `mcp+http://127.0.0.1:3001/mcp`: letters, digits and `-._~/`"
    )]
    Mcp,
    /// Something after the authority. The path of a request is forwarded byte for byte, so there is none to prepend.
    #[error("a path, query or fragment has no meaning here: end the URL after the port")]
    Path,
    /// A user or password.
    #[error("credentials do not belong into a URL: remove what stands before `@`")]
    Credentials,
    /// No host, or one that is neither a name nor an address.
    #[error("expected a host name or an address; an IPv6 address in brackets")]
    Host,
    /// The port is not one.
    #[error("expected a port from 1 to 65535")]
    Port,
}

/// Host and port of `HOST[:PORT][/]`; an IPv6 address comes without its brackets.
pub(super) fn authority(text: &str) -> Result<(String, Option<u16>), UrlError> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains('@') {
        return Err(UrlError::Credentials);
    }
    if text.contains(['/', '?', '#']) {
        return Err(UrlError::Path);
    }
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            address.parse::<Ipv6Addr>().map_err(|_| UrlError::Host)?;
            let port =
                if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(UrlError::Port)?) };
            (address, port)
        }
        None => {
            let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let good = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(good) {
                return Err(UrlError::Host);
            }
            (host, port)
        }
    };
    let port = port.map(|digits| digits.parse::<u16>().ok().filter(|port| *port > 0).ok_or(UrlError::Port));
    Ok((host.to_ascii_lowercase(), port.transpose()?))
}

/// The host of an absolute URL without its scheme, where nothing in it needs a second reading.
pub(super) fn web(rest: &str) -> Result<String, UrlError> {
    let visible = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte));
    if !visible {
        return Err(UrlError::Web);
    }
    Ok(authority(rest.split(['/', '?']).next().unwrap_or(rest))?.0)
}

/// The host as it stands in a URL.
pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AccessUrl, Endpoint, Protocol, ServiceConfig, Transport, Upstream};

    #[test]
    fn upstreams_that_are_understood() {
        for (text, transport, host, port, shown) in [
            ("http://127.0.0.1:8080", Transport::Http, "127.0.0.1", 8080, "http://127.0.0.1:8080"),
            ("http://Orders.Internal/", Transport::Http, "orders.internal", 80, "http://orders.internal"),
            ("https://api", Transport::Https, "api", 443, "https://api"),
            ("h2c://[::1]:50051", Transport::H2c, "::1", 50051, "h2c://[::1]:50051"),
        ] {
            let upstream: Upstream = text.parse().unwrap();
            assert_eq!((upstream.transport, upstream.host.as_str(), upstream.port), (transport, host, port));
            assert_eq!(upstream.to_string(), shown);
        }
    }

    #[test]
    fn urls_that_would_be_half_understood_are_refused() {
        for (text, error) in [
            ("http://a/b", UrlError::Path),
            ("http://a?b", UrlError::Path),
            ("http://a//", UrlError::Path),
            ("http://u:p@a", UrlError::Credentials),
            ("http://", UrlError::Host),
            ("http://a b", UrlError::Host),
            ("http://::1", UrlError::Host),
            ("http://[::1]x", UrlError::Port),
            ("http://a:0", UrlError::Port),
            ("http://a:", UrlError::Port),
            ("http://a:65536", UrlError::Port),
            ("ftp://a", UrlError::Upstream),
            ("HTTP://a", UrlError::Upstream),
            ("a:8080", UrlError::Upstream),
            ("mcp+http://127.0.0.1:9000/mcp", UrlError::Mcp),
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(error), "{text}");
        }
        assert_eq!("http://a:1".parse::<Endpoint>(), Err(UrlError::Endpoint));
    }

    #[test]
    fn where_access_is_asked_for() {
        for good in ["https://control.example:8444/v1/requests", "https://10.0.0.1/ask?from=gate"] {
            assert_eq!(good.parse::<AccessUrl>().unwrap().to_string(), good);
        }
        for (bad, error) in [
            ("http://control.example/v1/requests", UrlError::Access),
            ("https://control.example/v1 /requests", UrlError::Access),
            ("https://control.example/#requests", UrlError::Access),
            ("https://u:p@control.example/", UrlError::Credentials),
            ("https:///v1/requests", UrlError::Host),
        ] {
            assert_eq!(bad.parse::<AccessUrl>(), Err(error), "{bad}");
        }
    }

    #[test]
    fn the_service_flag() {
        let service: ServiceConfig = "stock=h2c://127.0.0.1:50051,listen=127.0.0.1:9001".parse().unwrap();
        assert_eq!((service.name.as_str(), service.protocol), ("stock", Protocol::Grpc));
        assert_eq!(service.listen, Some("127.0.0.1:9001".parse().unwrap()));
        let service: ServiceConfig = "ops=mcp+https://ops.internal/v1/mcp".parse().unwrap();
        assert_eq!((service.protocol, service.upstreams[0].transport), (Protocol::Mcp, Transport::Https));
        assert_eq!(service.mcp.unwrap().path.as_str(), "/v1/mcp");
        for (bad, says) in [
            ("orders", "NAME=URL"),
            ("Orders=http://a", "service name"),
            ("orders=127.0.0.1:80", "http://HOST"),
            ("orders=http://a,port=1", "only `listen=ADDR`"),
            ("orders=http://a,listen=9001", "address with port"),
            ("ops=mcp+http://a", "the path of the MCP endpoint"),
            ("ops=mcp+http://a/m?x", "the path of the MCP endpoint"),
            ("ops=mcp+h2c://a/mcp", "http://HOST"),
        ] {
            let error = bad.parse::<ServiceConfig>().unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
