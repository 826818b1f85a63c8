//! What happens to header fields on the way: which never reach a service, and which we set.
//!
//! Removed from requests (and request trailers): hop-by-hop fields (RFC 9110 section 7.6.1) and what `Connection` names; every
//! `x-jitgate-*` and `jitgate-*`; every field by which applications learn an identity, an original address or another method.
//! Removed from responses: hop-by-hop fields. Which names these are says `access::view::names`.

use crate::access::Cell;
use crate::access::view::names::{is_claim, is_hop_by_hop, is_safe_trailer};
use crate::model::GrantId;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use parking_lot::Mutex;

/// Names listed in `Connection` that are fields of the message for us; these are removed too.
fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Whoever lists Host or Content-Length here wants two readings; they stay.
        .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
        .collect()
}

fn remove_where(headers: &mut HeaderMap, unwanted: impl Fn(&str) -> bool) {
    // Nearly always empty: the common request has nothing to remove, and then nothing is allocated.
    let names: Vec<HeaderName> = headers.keys().filter(|name| unwanted(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// What `te: trailers` becomes towards an HTTP/2 service; every other `te` ends here.
fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("trailers")))
    })
}

/// Removes from a request what must not reach a service. Says whether its sender takes trailers.
pub(crate) fn clean_request(headers: &mut HeaderMap) -> bool {
    // `connection`, `te` and `trailer` are among these names.
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str()) || is_claim(name.as_str())) {
        return false;
    }
    let takes_trailers = wants_trailers(headers);
    if headers.contains_key(header::CONNECTION) {
        for name in connection_names(headers) {
            headers.remove(name);
        }
    }
    let trailers = announced_trailers(headers);
    remove_where(headers, |name| is_hop_by_hop(name) || is_claim(name));
    if let Some(trailers) = trailers {
        headers.insert(header::TRAILER, trailers);
    }
    takes_trailers
}

/// Joins what HTTP/2 callers send in pieces: outside of HTTP/2 there is one field of cookies (RFC 9113 section 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    // Mostly no field is repeated at all.
    if headers.len() == headers.keys_len() || headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    // Of values that are valid, the joined one is.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(pieces.join(&b"; "[..]))) {
        headers.insert(header::COOKIE, joined);
    }
}

/// The names in `Trailer` that may be forwarded: over HTTP/1.1 hyper sends no trailer that is not announced.
fn announced_trailers(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut safe = Vec::new();
    for value in headers.get_all(header::TRAILER) {
        let names = value.to_str().ok()?.split(',').filter_map(|name| name.trim().parse::<HeaderName>().ok());
        safe.extend(names.filter(|name| is_safe_trailer(name.as_str())));
    }
    let names: Vec<&str> = safe.iter().map(HeaderName::as_str).collect();
    (!names.is_empty()).then(|| HeaderValue::from_str(&names.join(", ")).ok()).flatten()
}

/// Removes from request trailers what must not reach a service.
pub(crate) fn clean_trailers(trailers: &mut HeaderMap) {
    remove_where(trailers, |name| !is_safe_trailer(name));
}

/// Removes from a response what belongs to the connection to the service.
pub(crate) fn clean_response(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| is_hop_by_hop(name.as_str())) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        for name in connection_names(headers) {
            headers.remove(name);
        }
    }
    remove_where(headers, |name| is_hop_by_hop(name) && name != "trailer");
}

/// The length of an id as text: two letters, `_`, 26 digits.
const ID: usize = 29;

/// What `write` writes, an id as a rule, as the value of a field.
pub(crate) fn value(write: impl FnOnce(&mut Vec<u8>)) -> Option<HeaderValue> {
    // Exactly: a buffer with room left costs `Bytes` a second allocation.
    let mut text = Vec::with_capacity(ID);
    write(&mut text);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

/// What services are told of the grant that was used last on a connection: mostly it is used again.
#[derive(Default)]
pub(crate) struct Told(Mutex<Option<(GrantId, HeaderValue, HeaderValue)>>);

impl Told {
    /// The values of `x-jitgate-grant` and `x-jitgate-task`.
    pub(crate) fn of(&self, cell: &Cell) -> Option<(HeaderValue, HeaderValue)> {
        let mut last = self.0.lock();
        match &*last {
            Some((id, grant, task)) if *id == cell.id() => Some((grant.clone(), task.clone())),
            Some(_) | None => {
                let grant = value(|out| cell.id().write_to(out))?;
                let task = HeaderValue::from_str(cell.task().as_str()).ok()?;
                *last = Some((cell.id(), grant.clone(), task.clone()));
                Some((grant, task))
            }
        }
    }
}

/// The fields that we set.
pub(crate) mod ours {
    use super::{HeaderName, HeaderValue};

    pub(crate) const PRINCIPAL: HeaderName = HeaderName::from_static("x-jitgate-principal");
    pub(crate) const GRANT: HeaderName = HeaderName::from_static("x-jitgate-grant");
    pub(crate) const TASK: HeaderName = HeaderName::from_static("x-jitgate-task");
    pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
    pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
    pub(crate) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
    pub(crate) const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
    pub(crate) const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
    pub(crate) const HTTPS: HeaderValue = HeaderValue::from_static("https");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn claims_and_hop_by_hop_fields_do_not_pass() {
        let mut headers = map(&[
            ("connection", "close, x-secret, host, content-length"),
            ("x-secret", "1"),
            ("host", "a"),
            ("content-length", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("http2-settings", "x"),
            ("x-jitgate-principal", "spiffe://d/root"),
            ("jitgate-task", "t"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-client-cert", "x"),
            ("forwarded", "for=x"),
            ("x-http-method-override", "DELETE"),
            ("x-original-url", "/admin"),
            ("x-rewrite-url", "/admin"),
            ("expect", "100-continue"),
            ("trailer", "X-Checksum, x-jitgate-task, Content-Length, not a name"),
            ("accept", "*/*"),
            ("authorization", "Bearer x"),
        ]);
        assert!(clean_request(&mut headers), "`te: trailers`");
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "authorization", "content-length", "host", "trailer"]);
        assert_eq!(headers["trailer"], "x-checksum");
    }

    #[test]
    fn cookies_in_pieces_become_one_field() {
        let pieces =
            [("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2; c=3"), ("x-a", "1"), ("x-a", "2")];
        let mut headers = map(&pieces);
        join_cookies(&mut headers);
        assert_eq!(
            headers,
            map(&[("cookie", "a=1; b=2; c=3"), ("accept", "*/*"), ("x-a", "1"), ("x-a", "2")])
        );
    }

    #[test]
    fn trailers_cannot_bring_back_what_headers_may_not() {
        let mut trailers = map(&[
            ("x-jitgate-grant", "gr"),
            ("x_jitgate_principal", "spiffe://d/root"),
            ("x.remote.user", "root"),
            ("grpc-status", "0"),
            ("content-length", "1"),
            ("x-checksum", "1"),
        ]);
        clean_trailers(&mut trailers);
        assert_eq!(trailers, map(&[("grpc-status", "0"), ("x-checksum", "1")]));
    }
}
