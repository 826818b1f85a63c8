//! Reads what callers send, strictly: who they are, bodies, and queries. Whatever has two readings is refused, and nothing is done.

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::authz::Need;
use crate::control::listener::Source;
use crate::identity::peer::Peer;
use crate::model::event::Actor;
use crate::model::scope::sha256;
use crate::model::strict::Object;
use crate::model::{IdempotencyKey, SpiffeId};
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, Method, header, request::Parts};
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Largest body of a call about one thing.
pub(super) const MAX_BODY: usize = 256 << 10;

/// The caller: whoever holds the key of the certificate of this connection, and nobody else.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    peer: Arc<Peer>,
    method: Method,
    source: Option<std::net::IpAddr>,
}

impl Caller {
    pub(super) fn id(&self) -> &SpiffeId {
        self.peer.principal()
    }

    /// The address of the connection.
    pub(super) fn source(&self) -> Option<std::net::IpAddr> {
        self.source
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    pub(super) fn actor(&self) -> Actor {
        Actor::Identity(self.id().clone())
    }

    /// Refuses a caller without a role for this, before anything of its request is looked at.
    pub(super) fn needs(&self, api: &Api, need: Need) -> Result<(), Problem> {
        let rules = api.plane.rules();
        if rules.roles.may(self.id(), need) {
            return Ok(());
        }
        // Operators are told which role they lack; a stranger learns nothing.
        if rules.roles.may(self.id(), Need::Read) {
            return Err(crate::control::state::Refusal::Role { need }.into());
        }
        Err(Problem::stranger(&self.method))
    }

    /// Whether the caller may see what does not name it.
    pub(super) fn sees_all(&self, api: &Api) -> bool {
        api.plane.rules().roles.may(self.id(), Need::Read)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only the accept loop puts a peer here, from a completed handshake. Without one nobody is let in.
        let peer = parts.extensions.get::<Arc<Peer>>().cloned().ok_or_else(Problem::internal)?;
        let source = parts.extensions.get::<Source>().map(|Source(address)| *address);
        Ok(Self { peer, method: parts.method.clone(), source })
    }
}

/// The content type without parameters, lower case.
pub(super) fn content_type(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let (kind, parameters) = value.split_once(';').unwrap_or((value, ""));
    let parameters = parameters.trim().to_ascii_lowercase();
    matches!(parameters.as_str(), "" | "charset=utf-8" | "charset=\"utf-8\"")
        .then(|| kind.trim().to_ascii_lowercase())
}

/// A whole body of at most `max` bytes.
pub(super) async fn bytes(body: Body, max: usize) -> Result<Bytes, Problem> {
    to_bytes(body, max).await.map_err(|error| {
        let source = std::error::Error::source(&error);
        if source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            Problem::too_large(max)
        } else {
            Problem::malformed("the body ended early")
        }
    })
}

/// One JSON value; unknown and duplicate members are refused by the types that are read.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| Problem::malformed(error.to_string()))
}

/// The body of a call about one thing.
pub(super) async fn json_body<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, Problem> {
    if content_type(headers).as_deref() != Some("application/json") {
        return Err(Problem::content_type("application/json"));
    }
    // An object, never its members by position.
    let Object(value) = json(&bytes(body, MAX_BODY).await?)?;
    Ok(value)
}

/// The body of a call that makes a request, and the key under which it is made once (`idempotency-key`), if there is one.
/// `path` is part of what the key stands for.
pub(super) async fn keyed_body<T: DeserializeOwned>(
    headers: &HeaderMap,
    path: &str,
    body: Body,
) -> Result<(T, Option<IdempotencyKey>), Problem> {
    if content_type(headers).as_deref() != Some("application/json") {
        return Err(Problem::content_type("application/json"));
    }
    let bytes = bytes(body, MAX_BODY).await?;
    let Object(value) = json(&bytes)?;
    let mut values = headers.get_all("idempotency-key").iter();
    let key = match (values.next(), values.next()) {
        (None, _) => return Ok((value, None)),
        (Some(key), None) => key.to_str().ok().and_then(IdempotencyKey::read),
        (Some(_), Some(_)) => None,
    };
    let Some(key) = key else {
        return Err(Problem::malformed(
            "expected one `idempotency-key` of 1 to 255 visible ASCII characters, quoted or not",
        ));
    };
    let fingerprint = sha256(&[path.as_bytes(), b"\0", &bytes].concat());
    let fingerprint = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((value, Some(IdempotencyKey { key: key.to_owned(), fingerprint })))
}

/// A form of at most `max` bytes, and never more than fits into a URI (64 KiB); a member that is there twice is refused.
pub(super) async fn form<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
    max: usize,
) -> Result<T, Problem> {
    const FORM: &str = "application/x-www-form-urlencoded";
    if content_type(headers).as_deref() != Some(FORM) {
        return Err(Problem::content_type(FORM));
    }
    let bytes = bytes(body, max).await?;
    let query = std::str::from_utf8(&bytes).map_err(|_| Problem::malformed("the form is not UTF-8"))?;
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let uri = uri.map_err(|_| Problem::malformed("the form cannot be read"))?;
    axum::extract::Query::try_from_uri(&uri)
        .map(|axum::extract::Query(form)| form)
        .map_err(|error| Problem::malformed(format!("form: {}", deepest(&error))))
}

/// The query as `T`; unknown and repeated members are refused by `T`.
#[derive(Debug, Clone)]
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| Problem::malformed(format!("query: {}", deepest(&error))))
    }
}

fn deepest(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), deepest)
}
