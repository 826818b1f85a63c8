//! Which requests on the loopback interface are from whom the secret was given to, and what they become before they go on.
//!
//! Any process of this machine can connect, and any web page can make a browser connect. So a request passes only with the secret,
//! only if its `Host` is this listener (DNS rebinding), and only if no other origin's page made it (CSRF). Pure.
//!
//! Invariant: what is admitted carries the secret no longer: not in its target and not in its header fields.

use super::secret::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN, REFERER};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Uri};

/// The field that can carry the secret, for clients that cannot have it in their URL.
pub(super) const SECRET: HeaderName = HeaderName::from_static("jitgate-secret");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Why a request goes no further. One answer does not tell whether another part was right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Another host, or none, or several.
    #[error("the host is not this listener: call it as `127.0.0.1` with its port")]
    Host,
    /// A page of another origin.
    #[error("the request comes from another origin")]
    Origin,
    /// No secret, or a wrong one.
    #[error(
        "the secret of this run is missing: use the URL in `JITGATE_URL`, or send it as `jitgate-secret` or as the password"
    )]
    Secret,
    /// The secret where the service would see it.
    #[error(
        "the secret of this run is in the query or in a header field, where the service would see it: take it out"
    )]
    Leak,
    /// Not a request to a server.
    #[error("`CONNECT` is for proxies: send requests to the URL in `JITGATE_URL`")]
    Connect,
}

/// Where the secret was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// First segment of the path: links of the service that begin with `/` lack it.
    InPath,
    /// In a header field.
    InHeader,
}

/// Admits a request, and takes the secret out of it. `names` are the hosts, with port, by which this listener may be called.
pub(super) fn admit(parts: &mut Parts, secret: &Secret, names: &[String]) -> Result<Carried, Refused> {
    if parts.method == Method::CONNECT {
        return Err(Refused::Connect);
    }
    let host = host(parts).ok_or(Refused::Host)?;
    if !names.iter().any(|name| name.eq_ignore_ascii_case(host)) {
        return Err(Refused::Host);
    }
    if !same_origin(&parts.headers, host) {
        return Err(Refused::Origin);
    }
    let in_path = without_secret(&parts.uri, secret);
    let in_header = take_from_headers(&mut parts.headers, secret);
    let carried = match (&in_path, in_header) {
        (Some(_), _) => Carried::InPath,
        (None, true) => Carried::InHeader,
        (None, false) => return Err(Refused::Secret),
    };
    let target = in_path.or_else(|| parts.uri.path_and_query().cloned());
    parts.uri = target.map(Uri::from).unwrap_or_default();
    // Browsers and some libraries name the page before, secret and all.
    if parts.headers.get_all(REFERER).iter().any(|value| secret.is_in(value.as_bytes())) {
        parts.headers.remove(REFERER);
    }
    let in_fields = parts.headers.values().any(|value| secret.is_in(value.as_bytes()));
    if in_fields || secret.is_in(parts.uri.to_string().as_bytes()) {
        return Err(Refused::Leak);
    }
    Ok(carried)
}

/// The one host of a request; where target and field name one, they agree.
fn host(parts: &Parts) -> Option<&str> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = match fields.next() {
        Some(value) => Some(value.to_str().ok()?),
        None => None,
    };
    if fields.next().is_some() {
        return None;
    }
    match (parts.uri.authority().map(http::uri::Authority::as_str), field) {
        (Some(target), Some(field)) => target.eq_ignore_ascii_case(field).then_some(field),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}

/// Whether no page of another origin made this request, as far as browsers tell.
fn same_origin(headers: &HeaderMap, host: &str) -> bool {
    let own = |origin: &HeaderValue| {
        let host_of = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        host_of.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    };
    let site = |site: &HeaderValue| matches!(site.as_bytes(), b"same-origin" | b"none");
    headers.get_all(ORIGIN).iter().all(own) && headers.get_all(SEC_FETCH_SITE).iter().all(site)
}

/// The target without its first segment, if that is the secret; the rest stays byte for byte.
fn without_secret(uri: &Uri, secret: &Secret) -> Option<PathAndQuery> {
    let target = uri.path_and_query()?.as_str();
    let inside = target.strip_prefix('/')?;
    let end = inside.find(['/', '?']).unwrap_or(inside.len());
    let (first, rest) = inside.split_at_checked(end)?;
    if !secret.is(first.as_bytes()) {
        return None;
    }
    if rest.starts_with('/') { rest.parse().ok() } else { format!("/{rest}").parse().ok() }
}

/// Takes the secret out of the fields that may carry it; whether one did. A field with another secret stays: it is the service's.
fn take_from_headers(headers: &mut HeaderMap, secret: &Secret) -> bool {
    let own = headers.remove(SECRET).is_some_and(|value| secret.is(value.as_bytes()));
    // Of several fields, also one behind the first: in its encoding nothing later would find it.
    let (basic, theirs): (Vec<_>, Vec<_>) =
        headers.get_all(AUTHORIZATION).iter().cloned().partition(|value| is_password(value, secret));
    if !basic.is_empty() {
        headers.remove(AUTHORIZATION);
        theirs.into_iter().for_each(|value| _ = headers.append(AUTHORIZATION, value));
    }
    own || !basic.is_empty()
}

/// RFC 7617: the secret as password, or as user without one (`http://SECRET@127.0.0.1`).
fn is_password(value: &HeaderValue, secret: &Secret) -> bool {
    let Some((scheme, encoded)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
        return false;
    };
    let Ok(pair) = STANDARD.decode(encoded.trim()) else { return false };
    let mut parts = pair.splitn(2, |byte| *byte == b':');
    let (user, password) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let given = if password.is_empty() { user } else { password };
    scheme.eq_ignore_ascii_case("basic") && secret.is(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    const NAMES: [&str; 2] = ["127.0.0.1:7001", "orders.localhost:7001"];

    fn judge(secret: &Secret, target: &str, fields: &[(&str, &str)]) -> Result<(Carried, Parts), Refused> {
        let mut builder = Request::builder().uri(target.replace("SECRET", secret.reveal()));
        for (name, value) in fields {
            builder = builder.header(*name, value.replace("SECRET", secret.reveal()));
        }
        let (mut parts, ()) = builder.body(()).unwrap().into_parts();
        let names = NAMES.map(str::to_owned);
        admit(&mut parts, secret, &names).map(|carried| (carried, parts))
    }

    fn basic(text: &str, secret: &Secret) -> String {
        format!("Basic {}", STANDARD.encode(text.replace("SECRET", secret.reveal())))
    }

    const HERE: (&str, &str) = ("host", "127.0.0.1:7001");

    #[test]
    fn the_secret_may_come_in_three_places_and_goes_on_in_none() {
        let secret = Secret::generate().unwrap();
        let by_user = basic("SECRET:", &secret);
        let by_password = basic("any:SECRET", &secret);
        for (target, field, path, carried) in [
            ("/SECRET/v1/a?b=%2F", None, "/v1/a?b=%2F", Carried::InPath),
            ("/SECRET", None, "/", Carried::InPath),
            ("/SECRET/", None, "/", Carried::InPath),
            ("/SECRET?x", None, "/?x", Carried::InPath),
            ("/SECRET//x/", None, "//x/", Carried::InPath),
            ("/v1", Some(("jitgate-secret", "SECRET")), "/v1", Carried::InHeader),
            ("/v1", Some(("authorization", by_user.as_str())), "/v1", Carried::InHeader),
            ("/v1", Some(("authorization", by_password.as_str())), "/v1", Carried::InHeader),
            ("/SECRET/v1", Some(("authorization", by_user.as_str())), "/v1", Carried::InPath),
        ] {
            let fields: Vec<_> = std::iter::once(HERE).chain(field).collect();
            let (seen, parts) = judge(&secret, target, &fields).unwrap();
            assert_eq!((seen, parts.uri.to_string().as_str()), (carried, path), "{target} {field:?}");
            assert!(!secret.is_in(format!("{parts:?}").as_bytes()), "{parts:?}");
            assert!(!parts.headers.contains_key("authorization"));
        }
    }

    #[test]
    fn credentials_for_the_service_go_on() {
        let secret = Secret::generate().unwrap();
        for value in ["Bearer abc", "Basic dTpw"] {
            let (_, parts) = judge(&secret, "/SECRET/v1", &[HERE, ("authorization", value)]).unwrap();
            assert_eq!(parts.headers["authorization"], value);
        }
    }

    #[test]
    fn the_secret_is_taken_out_of_each_field_that_may_carry_it() {
        let secret = Secret::generate().unwrap();
        let own = basic("any:SECRET", &secret);
        let fields =
            [HERE, ("authorization", "Bearer abc"), ("authorization", &own), ("authorization", &own)];
        for target in ["/SECRET/v1", "/v1"] {
            let (_, parts) = judge(&secret, target, &fields).unwrap();
            let left: Vec<_> = parts.headers.get_all("authorization").iter().collect();
            assert_eq!(left, ["Bearer abc"], "{target}");
        }
    }

    #[test]
    fn without_the_secret_nothing_passes() {
        let secret = Secret::generate().unwrap();
        let other = Secret::generate().unwrap();
        let wrong = basic(&format!("any:{}", other.reveal()), &secret);
        for (target, field) in [
            ("/v1".to_owned(), None),
            (format!("/{}/v1", other.reveal()), None),
            ("/v1/SECRET".to_owned(), None),
            ("/SECRETx/v1".to_owned(), None),
            ("/v1?s=SECRET".to_owned(), None),
            ("/v1".to_owned(), Some(("jitgate-secret", other.reveal()))),
            ("/v1".to_owned(), Some(("authorization", wrong.as_str()))),
            ("/v1".to_owned(), Some(("authorization", "Bearer SECRET"))),
            ("/v1".to_owned(), Some(("cookie", "s=SECRET"))),
        ] {
            let fields: Vec<_> = std::iter::once(HERE).chain(field).collect();
            assert_eq!(judge(&secret, &target, &fields).unwrap_err(), Refused::Secret, "{target} {field:?}");
        }
    }

    #[test]
    fn another_host_or_origin_is_refused_with_the_right_secret_too() {
        let secret = Secret::generate().unwrap();
        for host in [
            "evil.example:7001",
            "127.0.0.1",
            "127.0.0.1:7002",
            "stock.localhost:7001",
            "localhost.evil:7001",
        ] {
            assert_eq!(judge(&secret, "/SECRET/", &[("host", host)]).unwrap_err(), Refused::Host, "{host}");
        }
        assert_eq!(judge(&secret, "/SECRET/", &[]).unwrap_err(), Refused::Host);
        assert_eq!(judge(&secret, "/SECRET/", &[HERE, HERE]).unwrap_err(), Refused::Host);
        let absolute = judge(&secret, "http://evil.example:7001/SECRET/", &[HERE]);
        assert_eq!(absolute.unwrap_err(), Refused::Host);
        assert!(judge(&secret, "http://127.0.0.1:7001/SECRET/v1", &[HERE]).is_ok());
        assert!(judge(&secret, "/SECRET/", &[("host", "ORDERS.localhost:7001")]).is_ok());
        for field in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "https://127.0.0.1:7001"),
            ("origin", "http://127.0.0.1:7002"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(judge(&secret, "/SECRET/", &[HERE, field]).unwrap_err(), Refused::Origin, "{field:?}");
        }
        for field in [("origin", "http://127.0.0.1:7001"), ("sec-fetch-site", "none")] {
            assert!(judge(&secret, "/SECRET/", &[HERE, field]).is_ok(), "{field:?}");
        }
    }

    #[test]
    fn the_secret_does_not_slip_through_elsewhere() {
        let secret = Secret::generate().unwrap();
        for (target, field) in [
            ("/SECRET/v1?back=http://127.0.0.1:7001/SECRET/", None),
            ("/SECRET/SECRET/", None),
            ("/SECRET/", Some(("x-back", "http://127.0.0.1:7001/SECRET/"))),
            ("/SECRET/", Some(("authorization", "Bearer SECRET"))),
        ] {
            let fields: Vec<_> = std::iter::once(HERE).chain(field).collect();
            assert_eq!(judge(&secret, target, &fields).unwrap_err(), Refused::Leak, "{target} {field:?}");
        }
        let (_, parts) =
            judge(&secret, "/SECRET/", &[HERE, ("referer", "http://127.0.0.1:7001/SECRET/a")]).unwrap();
        assert!(!parts.headers.contains_key("referer"));
    }
}
