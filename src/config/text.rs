//! Values that are written as a string: each with what it expects, so that every error says what to write instead.

use crate::config::service::Address;
use crate::config::{AccessUrl, Endpoint, Role, Store, TicketUrl, WebhookEvent, WebhookUrl};
use crate::config::{JsonPointer, KeyName, Pattern};
use crate::mcp;
use crate::mcp::rules::{EndpointPath, Origin};
use crate::model::AgeRecipient;
use crate::model::{
    ExportName, GroupName, JwsAlgorithm, Owner, Permission, ProxyName, RoleName, Scope, ServiceName,
    SpiffeId, Ttl, WebhookName, WitnessName,
};
use crate::tlog::WitnessKey;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use toml::Spanned;

/// A string in the file that was read as a `T`, with its place.
pub(crate) type Text<T> = Spanned<Parsed<T>>;

/// A `T` that was written as a string.
#[derive(Debug, Clone)]
pub(crate) struct Parsed<T>(pub(crate) T);

/// What can be written as a string in the configuration.
pub(crate) trait FromText: Sized {
    /// What to write, for instance `an address such as …`.
    const EXPECTED: &'static str;

    /// Reads it; the error is a lowercase fragment that says what to do.
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<'de, T: FromText> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: FromText> Visitor<'_> for Reader<T> {
            type Value = Parsed<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Parsed<T>, E> {
                T::from_text(text).map(Parsed).map_err(|error| E::custom(format_args!("`{text}`: {error}")))
            }
        }
        from.deserialize_str(Reader(PhantomData))
    }
}

/// For types whose parse errors already say what to do.
macro_rules! by_from_str {
    ($($type:ty: $expected:literal),* $(,)?) => {$(
        impl FromText for $type {
            const EXPECTED: &'static str = $expected;
            fn from_text(text: &str) -> Result<Self, String> {
                text.parse::<Self>().map_err(|error| error.to_string())
            }
        }
    )*};
}

by_from_str! {
    Ttl: "a duration such as `30s` or `8h`",
    SpiffeId: "a SPIFFE ID such as `spiffe://jitgate.local/control/local`",
    ServiceName: "a service name such as `orders`",
    ProxyName: "a proxy name such as `edge-1`",
    Role: "a role such as `viewer`",
    JwsAlgorithm: "a signature algorithm such as `ES256`",
    GroupName: "a group such as `payments`",
    RoleName: "the name of a scope template such as `orders-reader`",
    Scope: "a permission such as `orders:GET:/v1/orders/*`",
    Address: "an upstream URL such as `http://127.0.0.1:8080`",
    EndpointPath: "the path of an MCP endpoint such as `/mcp`",
    mcp::Version: "a version of MCP such as `2026-07-28`",
    Origin: "an origin such as `https://app.example`",
    ExportName: "the name of an export such as `siem`",
    WitnessName: "the name of a witness such as `city-archive`",
    WitnessKey: "the verifier key of a witness such as `witness.example/w1+1a2b3c4d+BASE64`",
    WebhookName: "a webhook name such as `approvals`",
    WebhookUrl: "a URL such as `https://hooks.example/jitgate`",
    TicketUrl: "a URL such as `https://tickets.example/api/{ticket}`",
    AccessUrl: "the URL for access requests such as `https://control.example:8444/v1/requests`",
    AgeRecipient: "a public key of age such as `age1…`",
    Permission: "a permission such as `ops:tools/call:restart_service{*}` (docs/scope.md)",
    Endpoint: "a control plane address such as `https://127.0.0.1:8444`",
}

impl FromText for SocketAddr {
    const EXPECTED: &'static str = "an address with port such as `127.0.0.1:8443`";
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("expected {}; names are not resolved here", Self::EXPECTED))
    }
}

impl FromText for PathBuf {
    const EXPECTED: &'static str = "a path, relative to this file's folder or absolute";
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err(format!("expected {}", Self::EXPECTED));
        }
        Ok(Self::from(text))
    }
}

impl FromText for Store {
    const EXPECTED: &'static str = "a store such as `sqlite:control.db`";
    fn from_text(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(PathBuf::from(path))),
            Some(_) | None => Err(format!("expected {}; no other kind is supported", Self::EXPECTED)),
        }
    }
}

/// A host name without port, lower case.
#[derive(Debug, Clone)]
pub(super) struct HostName(pub(super) String);

impl FromText for HostName {
    const EXPECTED: &'static str = "a lower-case host name without port, such as `orders.example`";
    fn from_text(text: &str) -> Result<Self, String> {
        // The alphabet of a service name is that of host names.
        text.parse::<ServiceName>()
            .map(|_| Self(text.to_owned()))
            .map_err(|_| format!("expected {}", Self::EXPECTED))
    }
}

/// A SPIFFE trust domain.
#[derive(Debug, Clone)]
pub(super) struct TrustDomain(pub(super) String);

impl FromText for TrustDomain {
    const EXPECTED: &'static str = "a trust domain such as `jitgate.local`";
    fn from_text(text: &str) -> Result<Self, String> {
        if format!("spiffe://{text}/x").parse::<SpiffeId>().is_ok_and(|id| id.trust_domain() == text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}", Self::EXPECTED))
        }
    }
}

/// A method as it is sent: of HTTP in capitals, of MCP with a slash.
#[derive(Debug, Clone)]
pub(super) struct Method(pub(super) Box<str>);

impl FromText for Method {
    const EXPECTED: &'static str =
        "an HTTP method in capitals such as `GET`, or an MCP method such as `tools/call`";
    fn from_text(text: &str) -> Result<Self, String> {
        let http = !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-');
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"/_-.$".contains(&b);
        let mcp = text.contains('/') && !text.starts_with('/') && text.bytes().all(plain);
        match http || mcp {
            true => Ok(Self(text.into())),
            false => Err(format!("expected {}", Self::EXPECTED)),
        }
    }
}

/// The name of a tool.
#[derive(Debug, Clone)]
pub(super) struct ToolName(pub(super) Box<str>);

impl FromText for ToolName {
    const EXPECTED: &'static str = "the name of a tool, without `*`";
    fn from_text(text: &str) -> Result<Self, String> {
        match !text.is_empty() && !text.contains(|c: char| c == '*' || c.is_control()) {
            true => Ok(Self(text.into())),
            false => Err(format!("expected {}", Self::EXPECTED)),
        }
    }
}

/// What a webhook is told of: one event, or `*`.
#[derive(Debug, Clone, Copy)]
pub(super) enum EventName {
    /// All of them.
    Every,
    /// This one.
    One(WebhookEvent),
}

impl FromText for EventName {
    const EXPECTED: &'static str = "`request.pending`, `request.granted`, `request.denied`, `grant.revoked`, `break_glass`, `review.due`, `audit.trouble`, or `*` for all";
    fn from_text(text: &str) -> Result<Self, String> {
        let one = WebhookEvent::ALL.into_iter().find(|event| event.as_str() == text).map(Self::One);
        let found = if text == "*" { Some(Self::Every) } else { one };
        found.ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }
}

/// A time to wait; none is written `0s`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait(pub(super) std::time::Duration);

impl FromText for Wait {
    const EXPECTED: &'static str = "a duration such as `5m`, or `0s`";
    fn from_text(text: &str) -> Result<Self, String> {
        if text == "0s" {
            return Ok(Self(std::time::Duration::ZERO));
        }
        text.parse::<Ttl>().map(|ttl| Self(ttl.get())).map_err(|_| format!("expected {}", Self::EXPECTED))
    }
}

/// Who makes a token or whom it is for (RFC 7519 `StringOrURI`).
#[derive(Debug, Clone)]
pub(super) struct TokenParty(pub(super) String);

impl FromText for TokenParty {
    const EXPECTED: &'static str =
        "a name or URI of 1 to 512 visible ASCII characters such as `https://idp.example`";
    fn from_text(text: &str) -> Result<Self, String> {
        if (1..=512).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}", Self::EXPECTED))
        }
    }
}

/// The name of a header field, lower case.
#[derive(Debug, Clone)]
pub(super) struct FieldName(pub(super) String);

impl FromText for FieldName {
    const EXPECTED: &'static str = "the name of a header field in lower case such as `x-user-token`";
    fn from_text(text: &str) -> Result<Self, String> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}", Self::EXPECTED))
        }
    }
}

impl FromText for JsonPointer {
    const EXPECTED: &'static str = "a JSON pointer such as `/user/password` or `/items/*/pin`";
    fn from_text(text: &str) -> Result<Self, String> {
        Self::new(text).ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }
}

impl FromText for KeyName {
    const EXPECTED: &'static str = "a name with letters or digits such as `iban`";
    fn from_text(text: &str) -> Result<Self, String> {
        Self::new(text).ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }
}

impl FromText for Pattern {
    const EXPECTED: &'static str =
        "a regular expression without look-around and back-references such as `sk-[a-z0-9]{16,}`";
    fn from_text(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(|error| format!("{error}; expected {}", Self::EXPECTED))
    }
}

impl FromText for Owner {
    const EXPECTED: &'static str = "an owner such as `person:Ada`, `group:payments` or a SPIFFE ID";
    fn from_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {}", Self::EXPECTED);
        match text.split_once(':') {
            Some(("person", name)) => PersonName::from_text(name).map(|PersonName(name)| Self::Person(name)),
            Some(("group", name)) => name.parse().map(Self::Group).map_err(|_| wrong()),
            Some(_) | None => text.parse().map(Self::Identity).map_err(|_| wrong()),
        }
    }
}

/// The IANA name of a time zone, in its own spelling.
#[derive(Debug, Clone)]
pub(crate) struct ZoneName(pub(crate) String);

impl FromText for ZoneName {
    const EXPECTED: &'static str = "an IANA time zone such as `Europe/Berlin` or `UTC`";
    fn from_text(text: &str) -> Result<Self, String> {
        // The look-up folds case; we want one spelling.
        match jiff::tz::TimeZone::get(text) {
            Ok(zone) if zone.iana_name() == Some(text) && !zone.is_unknown() => Ok(Self(text.to_owned())),
            Ok(_) | Err(_) => Err(format!("expected {}", Self::EXPECTED)),
        }
    }
}

/// What a person is called: any visible text.
#[derive(Debug, Clone)]
pub(super) struct PersonName(pub(super) String);

impl FromText for PersonName {
    const EXPECTED: &'static str = "a name of 1 to 128 visible characters";
    fn from_text(text: &str) -> Result<Self, String> {
        let visible = text.chars().all(|c| !c.is_control()) && !text.trim().is_empty();
        if visible && text.chars().count() <= 128 {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("expected {}", Self::EXPECTED))
        }
    }
}
