//! The names of header fields that mean something to services, to the gate, or to whoever frames a message: the one list of what never
//! reaches a service, and of what no other spelling may stand for.
//!
//! CGI, WSGI, Rack and their kin read `x_forwarded_for` as `x-forwarded-for`: such a twin would pass by whoever removes the header itself.

/// No name here is longer.
const LONGEST: usize = 32;

/// Fields of one connection, not of the message (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2).
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Fields that would name an identity, an address, a host, a path or a method in place of what was checked.
pub(crate) fn is_claim(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => {
            name.starts_with("x-jitgate-")
                || name.starts_with("x-forwarded-")
                || name.starts_with("x-original-")
                || name.starts_with("x-rewrite-")
                || name.starts_with("x-auth-request-")
                || name.starts_with("x-ssl-")
                || name.starts_with("x-envoy-")
                || matches!(
                    name,
                    "x-real-ip"
                        | "x-client-ip"
                        | "x-cluster-client-ip"
                        | "x-client-cert"
                        | "x-client-dn"
                        | "x-remote-addr"
                        | "x-remote-user"
                        | "x-user"
                        | "x-host"
                        | "x-http-method"
                        | "x-http-method-override"
                        | "x-method-override"
                        | "x-request-id"
                        | "x-spiffe-id"
                )
        }
        Some(b'j') => name.starts_with("jitgate-"),
        Some(b'f') => name == "forwarded",
        Some(b's') => name.starts_with("ssl-client-"),
        Some(b'r') => matches!(name, "remote-user" | "remote-addr"),
        Some(b't') => matches!(name, "true-client-ip" | "traceparent"),
        Some(b'c') => matches!(name, "cf-connecting-ip" | "client-ip" | "client-cert" | "client-cert-chain"),
        Some(b'e') => name == "expect",
        // CGI programs find it as `HTTP_PROXY`, and send their own requests there (CVE-2016-5385).
        Some(b'p') => name == "proxy",
        Some(_) | None => false,
    }
}

/// Fields that are forwarded as they are, and that frame, route or authorise a message.
fn is_believed(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "content-length"
            | "content-type"
            | "content-encoding"
            | "authorization"
            | "cookie"
            | "tracestate"
    )
}

fn has_a_meaning(name: &str) -> bool {
    is_hop_by_hop(name) || is_claim(name) || is_believed(name)
}

/// Whether a name is another spelling of one that has a meaning: `_` (or any other punctuation) in place of `-`.
pub(super) fn is_twin(name: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
    name.bytes().any(odd) && has_a_meaning(fold(name, &mut [0; LONGEST]))
}

/// Whether a request trailer may be forwarded: it has no meaning of its own, in any spelling.
pub(crate) fn is_safe_trailer(name: &str) -> bool {
    !has_a_meaning(fold(name, &mut [0; LONGEST]))
}

/// A name as CGI and its kin read it; of one that is too long to be listed here, the beginning.
fn fold<'f>(name: &str, room: &'f mut [u8; LONGEST]) -> &'f str {
    let length = name.len().min(room.len());
    for (to, from) in room.iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() { from } else { b'-' };
    }
    room.get(..length).and_then(|folded| std::str::from_utf8(folded).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each name, and each prefix with something behind it.
    const NAMES: &str = "keep-alive proxy-connection proxy-authenticate proxy-authorization transfer-encoding http2-settings \
        x-jitgate-principal x-forwarded-for x-original-url x-rewrite-url x-auth-request-user x-ssl-client-cn \
        x-envoy-external-address x-real-ip x-client-ip x-cluster-client-ip x-client-cert x-client-dn x-remote-addr x-remote-user \
        x-user x-host x-http-method x-http-method-override x-method-override x-request-id x-spiffe-id jitgate-task \
        ssl-client-s-dn remote-user remote-addr true-client-ip cf-connecting-ip client-ip client-cert client-cert-chain \
        content-length content-type content-encoding";

    #[test]
    fn every_name_with_a_meaning_is_known_in_every_spelling() {
        for name in NAMES.split_whitespace() {
            assert!(has_a_meaning(name) && !is_twin(name) && name.len() < LONGEST, "{name}");
            for mark in ["_", ".", "!", "~", "'"] {
                for twin in [name.replace('-', mark), name.replacen('-', mark, 1)] {
                    assert!(is_twin(&twin), "{twin}");
                    assert!(!is_safe_trailer(&twin), "{twin}");
                }
            }
        }
        let long = format!("x_forwarded_{}", "x".repeat(100));
        assert!(is_twin(&long) && !is_safe_trailer(&long));
    }

    #[test]
    fn names_of_no_meaning_may_have_any_punctuation() {
        for name in
            ["x_custom", "api_key", "x_userinfo", "x.remote.username", "client_certificate", "content_md5"]
        {
            assert!(!is_twin(name) && is_safe_trailer(name), "{name}");
        }
        assert!(is_safe_trailer("grpc-status") && is_safe_trailer("x-checksum"));
    }
}
