//! What a service that speaks MCP lets in, as it is configured.

use super::list::Hint;
use super::version::Versions;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What a service lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Its only path.
    pub path: EndpointPath,
    /// The versions that may be spoken with it.
    pub versions: Versions,
    /// The web pages whose scripts may call it; usually none.
    pub origins: Box<[Origin]>,
    /// How much of a message is read.
    pub limits: Limits,
    /// What its lists say beside their items.
    pub hint: Option<Arc<Hint>>,
}

impl Rules {
    /// Every version, no web page, 1 MiB, 64 levels, no hints.
    #[must_use]
    pub fn new(path: EndpointPath) -> Self {
        Self { path, versions: Versions::ALL, origins: Box::default(), limits: Limits::default(), hint: None }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self::new(EndpointPath::default())
    }
}

/// How much of a message is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body, and of an event of a stream.
    pub body_bytes: usize,
    /// How many objects and lists may be inside of each other; at most 128.
    pub depth: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self { body_bytes: 1 << 20, depth: 64 }
    }
}

/// The path of an MCP endpoint: `/mcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointPath(Box<str>);

impl EndpointPath {
    /// The path, beginning with `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `/mcp`.
impl Default for EndpointPath {
    fn default() -> Self {
        Self("/mcp".into())
    }
}

impl fmt::Display for EndpointPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text is no path of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the path of the MCP endpoint, such as `/mcp`: letters, digits and `-._~/`, no dot segments, no query"
)]
pub struct PathError;

impl FromStr for EndpointPath {
    type Err = PathError;
    fn from_str(text: &str) -> Result<Self, PathError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
        let segments = text.strip_prefix('/').ok_or(PathError)?;
        let dots = segments.split('/').any(|segment| matches!(segment, "." | ".."));
        match text.bytes().all(plain) && !dots && !text.contains("//") {
            true => Ok(Self(text.into())),
            false => Err(PathError),
        }
    }
}

/// Scheme, host and perhaps port of a web page (RFC 6454): `https://app.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(Box<str>);

impl Origin {
    /// As a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is no origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected an origin as browsers send it, such as `https://app.example` or `http://localhost:6274`: lower case, no path"
)]
pub struct OriginError;

impl FromStr for Origin {
    type Err = OriginError;
    fn from_str(text: &str) -> Result<Self, OriginError> {
        let rest =
            text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).ok_or(OriginError)?;
        let (host, port) =
            rest.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')).unwrap_or((rest, "1"));
        let name = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).map_or_else(
            || {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
            },
            |address| address.parse::<std::net::Ipv6Addr>().is_ok(),
        );
        match name && port.parse::<u16>().is_ok_and(|port| port > 0) {
            true => Ok(Self(text.into())),
            false => Err(OriginError),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_origins() {
        for good in ["/", "/mcp", "/v1/mcp-2/x.y/"] {
            assert_eq!(good.parse::<EndpointPath>().unwrap().as_str(), good);
        }
        for bad in ["", "mcp", "//mcp", "/a//b", "/a/../b", "/.", "/mcp?x", "/m%63p", "/mcp#", "/m p", "/é"]
        {
            assert!(bad.parse::<EndpointPath>().is_err(), "{bad}");
        }
        for good in [
            "https://app.example",
            "http://localhost:6274",
            "http://[::1]:80",
            "http://[::1]",
            "http://127.0.0.1",
        ] {
            assert_eq!(good.parse::<Origin>().unwrap().as_str(), good);
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example",
            "https://",
            "https://App.example",
            "https://a/",
            "https://a:0",
            "https://a:b",
            "ftp://a",
            "https://a, https://b",
            "http://[::1",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
