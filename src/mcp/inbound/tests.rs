//! Which heads and bodies agree, in each version.

use super::*;
use crate::mcp::refused::{
    HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, UNSUPPORTED_VERSION,
};
use crate::mcp::version::Versions;
use crate::model::DenyReason;
use http::{HeaderName, HeaderValue, StatusCode};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn ask(
    rules: &Rules,
    method: &Method,
    pairs: Pairs<'_>,
    body: &str,
    known: Option<Version>,
) -> Result<Received, Refused> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers
            .append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    Head::read(rules, method, &headers)?.with_body(Bytes::copy_from_slice(body.as_bytes()), known)
}

fn post(pairs: Pairs<'_>, body: &str) -> Result<Received, Refused> {
    let with_type = [&[("content-type", "application/json")], pairs].concat();
    ask(&Rules::default(), &Method::POST, &with_type, body, None)
}

fn call(method: &str, params: &str, version: Option<&str>) -> String {
    let meta = version.map(|version| {
        format!(r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#)
    });
    let members: Vec<String> =
        [(!params.is_empty()).then(|| params.to_owned()), meta].into_iter().flatten().collect();
    format!(r#"{{"method":"{method}","params":{{{}}},"jsonrpc":"2.0","id":"q"}}"#, members.join(","))
}

const NEW: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");
const RESTART: &str = r#""name":"restart","arguments":{"region":"us-west1","n":42,"deep":{"on":true},"text":"Hello, 世界","list":["x"]}"#;

#[test]
fn a_request_that_stands_alone() {
    let body = call("tools/call", RESTART, Some("2026-07-28"));
    let headers = [
        NEW,
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "restart"),
        ("Mcp-Param-Region", "us-west1"),
        ("Mcp-Param-N", "42.0"),
        ("Mcp-Param-On", "true"),
        ("Mcp-Param-Greeting", "=?base64?SGVsbG8sIOS4lueVjA==?="),
    ];
    let received = post(&headers, &body).unwrap();
    assert_eq!((received.version, &received.session), (Version::V20260728, &None));
    assert_eq!(received.body, body.as_bytes());
    let Inbound::Call(request) = &received.inbound else { panic!() };
    assert_eq!((request.call().method, request.call().name), ("tools/call", Some("restart")));
    let encoded = [NEW, ("mcp-method", "tools/call"), ("mcp-name", "=?base64?cmVzdGFydA==?=")];
    assert!(post(&encoded, &body).is_ok());
    let probe = call("server/discover", "", Some("2026-07-28"));
    assert!(post(&[NEW, ("Mcp-Method", "server/discover")], &probe).is_ok());
}

fn mismatch(headers: Pairs<'_>, body: &str) {
    let refused = post(headers, body).expect_err(body);
    let id =
        refused.id.is_some() || !body.contains("\"id\"") || body.starts_with('[') || body.contains("result");
    assert_eq!(
        (refused.code, refused.status, id),
        (HEADER_MISMATCH, StatusCode::BAD_REQUEST, true),
        "{headers:?} {refused}"
    );
}

#[test]
fn headers_that_do_not_say_what_the_body_says() {
    let body = call("tools/call", RESTART, Some("2026-07-28"));
    let (method, name) = (("Mcp-Method", "tools/call"), ("Mcp-Name", "restart"));
    for headers in [
        &[NEW] as Pairs<'_>,
        &[NEW, method],
        &[NEW, name],
        &[method, name],
        &[("MCP-Protocol-Version", "2025-11-25"), method, name],
        &[("MCP-Protocol-Version", "2025-11-25")],
        &[],
        &[NEW, ("Mcp-Method", "tools/list"), name],
        &[NEW, ("Mcp-Method", "Tools/call"), name],
        &[NEW, method, ("Mcp-Name", "other")],
        &[NEW, method, ("Mcp-Name", "=?base64?!?=")],
        &[NEW, method, ("Mcp-Name", "=?base64?b3RoZXI=?=")],
        &[NEW, method, name, ("Mcp-Param-Region", "eu")],
        &[NEW, method, name, ("Mcp-Param-Region", "x")],
        &[NEW, method, name, ("Mcp-Param-Region", "null")],
        &[NEW, method, name, ("Mcp-Session-Id", "s")],
        &[NEW, method, method, name],
        &[NEW, method, name, ("Mcp-Param-N", "42"), ("Mcp-Param-N", "42")],
    ] {
        mismatch(headers, &body);
    }
    let bare = post(&[NEW, method, name], &call("tools/call", RESTART, None)).unwrap_err();
    assert_eq!((bare.status, bare.code), (StatusCode::BAD_REQUEST, INVALID_PARAMS));
    mismatch(&[NEW, method, name], &call("tools/call", RESTART, Some("2025-11-25")));
    mismatch(&[NEW, ("Mcp-Method", "ping"), ("Mcp-Name", "x")], &call("ping", "", Some("2026-07-28")));
    mismatch(&[NEW, ("Mcp-Method", "ping"), ("Mcp-Param-A", "x")], &call("ping", "", Some("2026-07-28")));
    mismatch(&[NEW], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    mismatch(&[NEW], &format!("[{}]", call("ping", "", Some("2026-07-28"))));
    // Older versions do not have these headers.
    for version in ["2025-03-26", "2025-06-18", "2025-11-25"] {
        mismatch(&[("MCP-Protocol-Version", version), ("Mcp-Method", "ping")], &call("ping", "", None));
        mismatch(&[("MCP-Protocol-Version", version), ("Mcp-Param-A", "b")], &call("ping", "", None));
        mismatch(&[("MCP-Protocol-Version", version)], &call("ping", "", Some(version)));
    }
}

#[test]
fn versions_with_sessions() {
    let session = ("Mcp-Session-Id", "5c0e!~");
    for version in [Version::V20250326, Version::V20250618, Version::V20251125] {
        let header = ("MCP-Protocol-Version", version.as_str());
        let received = post(&[header, session], &call("tools/list", "", None)).unwrap();
        assert_eq!((received.version, received.session.unwrap().as_str()), (version, "5c0e!~"));
        let batch = post(&[header], &format!("[{}]", call("ping", "", None)));
        assert_eq!(batch.is_ok(), version == Version::V20250326);
        assert!(post(&[header], r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).is_ok());
    }
    let ping = call("ping", "", None);
    assert_eq!(post(&[], &ping).unwrap().version, Version::V20250326);
    assert_eq!(post(&[], &call("initialize", "", None)).unwrap().version, Version::V20251125);
    let json = [("content-type", "application/json"), session];
    let known = |pairs: Pairs<'_>, version| {
        ask(&Rules::default(), &Method::POST, &[&json, pairs].concat(), &ping, Some(version))
    };
    assert_eq!(known(&[], Version::V20250618).unwrap().version, Version::V20250618);
    assert!(known(&[("MCP-Protocol-Version", "2025-06-18")], Version::V20250618).is_ok());
    assert_eq!(
        known(&[("MCP-Protocol-Version", "2025-03-26")], Version::V20251125).unwrap_err().code,
        INVALID_REQUEST
    );
    assert!(post(&[session], &call("initialize", "", None)).is_err());
}

#[test]
fn only_what_is_known_is_listened_to() {
    let listen = |wanted: &str| {
        let params = format!("\"notifications\":{wanted}");
        let body = call("subscriptions/listen", &params, Some("2026-07-28"));
        post(&[NEW, ("Mcp-Method", "subscriptions/listen")], &body)
    };
    for good in [
        "{}",
        r#"{"toolsListChanged":true,"promptsListChanged":false,"resourcesListChanged":true}"#,
        r#"{"resourceSubscriptions":["log://a/b","log://c"]}"#,
    ] {
        assert!(listen(good).is_ok(), "{good}");
    }
    for bad in [
        "null",
        "[]",
        r#"{"tasksStatus":["x"]}"#,
        r#"{"ResourceSubscriptions":["log://a"]}"#,
        r#"{"resourceSubscriptions":"log://a"}"#,
        r#"{"resourceSubscriptions":[{"uri":"log://a"}]}"#,
        r#"{"resourceSubscriptions":["log://a/../b"]}"#,
        r#"{"resourceSubscriptions":[""]}"#,
        r#"{"toolsListChanged":"yes"}"#,
    ] {
        assert!(listen(bad).is_err(), "{bad}");
    }
    let nothing = call("subscriptions/listen", "", Some("2026-07-28"));
    assert!(post(&[NEW, ("Mcp-Method", "subscriptions/listen")], &nothing).is_err());
}

#[test]
fn a_completion_says_what_kind_of_thing_it_names() {
    let complete = |reference: &str| {
        let params = format!("\"ref\":{reference},\"argument\":{{\"name\":\"a\",\"value\":\"b\"}}");
        post(
            &[NEW, ("Mcp-Method", "completion/complete")],
            &call("completion/complete", &params, Some("2026-07-28")),
        )
    };
    assert!(complete(r#"{"type":"ref/prompt","name":"p"}"#).is_ok());
    assert!(complete(r#"{"type":"ref/resource","uri":"log://a"}"#).is_ok());
    for bad in [
        r#"{"type":"ref/prompt","uri":"log://a"}"#,
        r#"{"type":"ref/resource","name":"p"}"#,
        r#"{"name":"p"}"#,
        r#"{"type":"ref/prompt","name":"p","uri":"log://a"}"#,
        r#"{"type":"ref/prompt"}"#,
    ] {
        assert!(complete(bad).is_err(), "{bad}");
    }
}

#[test]
fn methods_that_a_version_removed() {
    for method in ["ping", "initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"] {
        let refused =
            post(&[NEW, ("Mcp-Method", method)], &call(method, "", Some("2026-07-28"))).unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::NOT_FOUND, METHOD_NOT_FOUND), "{method}");
    }
}

#[test]
fn versions_that_are_not_spoken() {
    let rules = |list: &[Version]| Rules {
        versions: Versions::of(list.iter().copied()).unwrap(),
        ..Rules::default()
    };
    let json = ("content-type", "application/json");
    let old = rules(&[Version::V20251125]);
    let discover = call("server/discover", "", Some("2026-07-28"));
    let probe = ask(&old, &Method::POST, &[json, NEW, ("Mcp-Method", "server/discover")], &discover, None)
        .unwrap_err();
    assert_eq!(
        (probe.status, probe.code, probe.id),
        (StatusCode::NOT_FOUND, METHOD_NOT_FOUND, Some(crate::mcp::Id::Text("q".into())))
    );
    for version in ["2024-11-05", "2027-01-01", "2026-07-28", "2025-03-26", "x"] {
        let refused = ask(
            &old,
            &Method::POST,
            &[json, ("MCP-Protocol-Version", version)],
            &call("ping", "", None),
            None,
        )
        .unwrap_err();
        assert_eq!((refused.status, refused.code), (StatusCode::BAD_REQUEST, UNSUPPORTED_VERSION));
        assert_eq!(refused.versions, Some((old.versions, version.into())));
    }
    assert!(
        ask(&old, &Method::POST, &[json], &call("ping", "", None), None).is_err(),
        "no version means 2025-03-26"
    );
    assert!(ask(&old, &Method::POST, &[json], &call("initialize", "", None), None).is_ok());
    let new = rules(&[Version::V20260728]);
    assert!(ask(&new, &Method::POST, &[json], &call("initialize", "", None), None).is_err());
    assert_eq!(ask(&new, &Method::GET, &[], "", None).unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
}

#[test]
fn streams_and_ends() {
    let rules = Rules::default();
    let get = |pairs: Pairs<'_>, body: &str| {
        ask(&rules, &Method::GET, pairs, body, None).map(|received| received.inbound)
    };
    let delete =
        |pairs: Pairs<'_>| ask(&rules, &Method::DELETE, pairs, "", None).map(|received| received.inbound);
    assert_eq!(get(&[], ""), Ok(Inbound::OpenStream { last_event_id: None }));
    let event = "a_1 x".parse().ok();
    let resume = [
        ("Last-Event-ID", "a_1 x"),
        ("Mcp-Session-Id", "s"),
        ("MCP-Protocol-Version", "2025-11-25"),
        ("content-length", "0"),
    ];
    assert_eq!(get(&resume, ""), Ok(Inbound::OpenStream { last_event_id: event }));
    assert_eq!(
        delete(&[("Mcp-Session-Id", "s"), ("content-type", "application/json")]),
        Ok(Inbound::EndSession)
    );
    assert!(delete(&[]).is_err() && get(&[], "x").is_err());
    assert!(delete(&[("Mcp-Session-Id", "s"), ("Last-Event-ID", "1")]).is_err());
    for wrong in [
        ("content-length", "1"),
        ("transfer-encoding", "chunked"),
        ("Mcp-Method", "ping"),
        ("Last-Event-ID", "a,b"),
        NEW,
        ("MCP-Protocol-Version", "x"),
    ] {
        assert!(get(&[wrong], "").is_err(), "{wrong:?}");
    }
    assert_eq!(get(&[NEW], "").unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
    for method in [Method::PUT, Method::HEAD, Method::OPTIONS, Method::PATCH] {
        assert_eq!(ask(&rules, &method, &[], "", None).unwrap_err().status, StatusCode::METHOD_NOT_ALLOWED);
    }
}

#[test]
fn heads_that_are_refused_before_the_body() {
    let json = ("content-type", "application/json");
    let ping = call("ping", "", None);
    let ask = |pairs: Pairs<'_>| ask(&Rules::default(), &Method::POST, pairs, &ping, None).map(|_| ());
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json; charset=\"utf-8\"",
    ] {
        assert_eq!(ask(&[("content-type", good)]), Ok(()), "{good}");
    }
    for bad in [
        "Application/json",
        "application/json; charset=utf-16",
        "application/jsonx",
        "application/json-patch+json",
        "text/plain",
        "application/json, text/plain",
        "application/json; a=b",
        "application/json;charset=utf-8;charset=utf-16",
        "application/json;",
        "",
    ] {
        assert!(ask(&[("content-type", bad)]).is_err(), "{bad}");
    }
    assert!(ask(&[]).is_err() && ask(&[json, json]).is_err());
    for bad in [
        ("content-encoding", "gzip"),
        ("content-encoding", "identity"),
        ("last-event-id", "1"),
        ("mcp_session_id", "s"),
        ("mcp-session.id", "s"),
        ("mcp-whatever", "s"),
        ("mcp_param_x", "s"),
        ("last_event_id", "1"),
        ("content_type", "application/json"),
        ("mcp-session-id", ""),
        ("mcp-session-id", "a b"),
        ("mcp-session-id", "a,b"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        assert!(ask(&[json, bad]).is_err(), "{bad:?}");
    }
    for twice in
        [("mcp-session-id", "s"), ("mcp-protocol-version", "2025-11-25"), ("origin", "https://a.example")]
    {
        assert_eq!(ask(&[json, twice, twice]).unwrap_err().fault.reason, DenyReason::Ambiguous, "{twice:?}");
    }
    let named = Rules { origins: ["https://app.example".parse().unwrap()].into(), ..Rules::default() };
    let from = |origin| {
        super::tests::ask(&named, &Method::POST, &[json, ("origin", origin)], &ping, None).map(|_| ())
    };
    assert_eq!(from("https://app.example"), Ok(()));
    for other in
        ["https://app.example:444", "http://app.example", "https://APP.example", "https://app.example.evil"]
    {
        let refused = from(other).unwrap_err();
        assert_eq!(
            (refused.status, refused.fault.reason),
            (StatusCode::FORBIDDEN, DenyReason::Condition),
            "{other}"
        );
    }
}
