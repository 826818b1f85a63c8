//! What crosses and what does not, without a gate; with one, in `tests/e2e/run.rs`.

use super::denial::may_turn;
use super::*;

#[test]
fn only_a_denial_of_the_gate_that_a_new_grant_could_turn_is_asked_again() {
    let problem = |kind: &str, reason: &str| {
        serde_json::json!({"type": kind, "reason": reason, "status": 403}).to_string().into_bytes()
    };
    for reason in ["no_grant", "out_of_scope", "revoked", "expired", "not_yet_valid"] {
        assert!(may_turn(&problem(&format!("urn:jitgate:problem:{reason}"), reason)), "{reason}");
        assert!(!may_turn(&problem("https://api.example/denied", reason)), "{reason} of a service");
    }
    for reason in ["condition", "limit", "locked_down", "ambiguous", "unheard_of"] {
        assert!(!may_turn(&problem(&format!("urn:jitgate:problem:{reason}"), reason)), "{reason}");
    }
    assert!(!may_turn(b"<html>"));
}

#[test]
fn fields_of_the_hop_stay_on_the_hop() {
    let mut headers: HeaderMap = [
        ("connection", "keep-alive, x-hop, content-length"),
        ("keep-alive", "timeout=5"),
        ("x-hop", "1"),
        ("te", "trailers, deflate"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("proxy-authorization", "Basic c2VjcmV0"),
        ("content-length", "3"),
        ("authorization", "Bearer of-the-service"),
    ]
    .into_iter()
    .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap()))
    .collect();
    clean(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["authorization", "content-length", "te"]);
    assert_eq!(headers["te"], "trailers");
}
