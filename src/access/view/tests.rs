//! The canonical view against a table of readings: what passes, and what must not.

use super::*;
use proptest::prelude::*;

/// A request with `host: h` and these headers.
fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut builder = http::Request::builder().method(method).uri(target);
    if !headers.iter().any(|(name, _)| *name == "host") {
        builder = builder.header("host", "h");
    }
    for (name, value) in headers.iter().filter(|(_, value)| *value != "absent") {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn refusal(method: &str, target: &str, headers: &[(&str, &str)]) -> Option<DenyReason> {
    View::of(&request(method, target, headers)).err().map(|unclear| unclear.reason)
}

fn path_refusal(path: &str) -> Option<DenyReason> {
    path::check(path).err().map(|unclear| unclear.reason)
}

#[test]
fn what_was_sent_is_what_is_seen() {
    let parts = request(
        "GET",
        "/v1/o%20r/%7Ea/?q=%2F..&x",
        &[("host", "Orders.localhost:8443"), ("jitgate-task", "T-1")],
    );
    let view = View::of(&parts).unwrap();
    assert_eq!((view.method(), view.action(), view.form()), ("GET", "GET", Form::Http));
    assert_eq!((view.path(), view.query()), ("/v1/o%20r/%7Ea/", Some("q=%2F..&x")));
    assert_eq!(view.segments().collect::<Vec<_>>(), ["v1", "o%20r", "%7Ea", ""]);
    assert_eq!((view.authority(), view.task()), ("Orders.localhost:8443", Some("T-1")));
    assert_eq!(View::of(&request("GET", "/", &[])).unwrap().segments().collect::<Vec<_>>(), [""]);
}

#[test]
fn plain_paths_are_clear() {
    for path in [
        "/",
        "/a",
        "/a/",
        "/a.b/c..d/...",
        "/a%20b",
        "/%C3%A9",
        "/%c3%a9",
        "/%F0%9F%92%A9",
        "/100%25",
        "/%25zz",
        "/a%3Fb%23c",
        "/a:b@c!$&'()*+,=",
        "/%7Eme/~me",
        "/[1]|^",
        "/%2525",
        "/%25ab",
    ] {
        assert_eq!(path_refusal(path), None, "{path}");
    }
}

#[test]
fn paths_with_two_readings_are_ambiguous() {
    for path in [
        "//",
        "//a",
        "/a//b",
        "/a//",
        "/.",
        "/..",
        "/./a",
        "/a/../b",
        "/a/..",
        "/a\\b",
        "/a;x=1/b",
        "/;/a",
        "/..;/a",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/%2e%2e/a",
        "/%2E/a",
        "/a%2Etxt",
        "/.%2e/a",
        "/a%3bx",
        "/a%00",
        "/a%0a",
        "/a%7f",
        "/a%1F",
        "/%",
        "/%2",
        "/%zz",
        "/%u002f",
        "/% 2f",
        "/%+2f",
        // decoded twice, three times, many times
        "/%252f",
        "/%252F",
        "/%252e%252e/",
        "/%255c",
        "/%2500",
        "/%253b",
        "/%25252f",
        "/%2525252e",
        "/%250a",
        // a percent sign and digits that are themselves encoded
        "/%25%32%66",
        "/%%32%66",
        "/%2532f",
        // letters and digits that need no encoding
        "/%61dmin",
        "/%41",
        "/%30",
        "/%2D",
        "/%5F",
        // overlong, surrogate, truncated, beyond Unicode, stray continuation, C1 control
        "/%c0%af",
        "/%C0%AE",
        "/%e0%80%af",
        "/%f0%80%80%af",
        "/%ed%a0%80",
        "/%c3",
        "/%c3/%a9",
        "/%c3a9",
        "/%f4%90%80%80",
        "/%80",
        "/%ff",
        "/%fe",
        "/%c2%85",
        "/%C3%28",
        // bytes that no path has
        "/\u{e9}",
        "/a b",
        "/a\0",
        "/a\n",
        "/a\"",
        "/<a>",
        "/{a}",
        "/`",
        "*",
    ] {
        // `%2532f` decodes to `%32f`, and that to `2f`: one reading less, but no path of ours.
        let expected = if path == "/%2532f" { None } else { Some(DenyReason::Ambiguous) };
        assert_eq!(path_refusal(path), expected, "{path:?}");
    }
    assert_eq!(path_refusal("a"), Some(DenyReason::Malformed));
    assert_eq!(path_refusal(""), Some(DenyReason::Malformed));
}

#[test]
fn paths_have_a_size() {
    let long = format!("/{}", "a".repeat(MAX_PATH - 1));
    assert_eq!(path_refusal(&long), None);
    assert_eq!(path_refusal(&format!("{long}a")), Some(DenyReason::TooLarge));
    assert_eq!(path_refusal(&"/a".repeat(MAX_SEGMENTS)), None);
    assert_eq!(path_refusal(&"/a".repeat(MAX_SEGMENTS + 1)), Some(DenyReason::TooLarge));
    assert_eq!(path_refusal(&format!("{}/", "/a".repeat(MAX_SEGMENTS))), Some(DenyReason::TooLarge));
}

#[test]
fn queries_are_whole() {
    assert_eq!(refusal("GET", "/a?x=%2F%0A&y=;\\", &[]), None);
    for query in ["/a?%", "/a?x=%2", "/a?%zz", "/a?x=%00"] {
        assert_eq!(refusal("GET", query, &[]), Some(DenyReason::Ambiguous), "{query}");
    }
    for query in ["\n", " ", "\u{e9}", "\u{7f}"] {
        assert!(path::check_query(query).is_err(), "{query:?}");
    }
}

#[test]
fn a_request_has_one_authority() {
    const AMBIGUOUS: Option<DenyReason> = Some(DenyReason::Ambiguous);
    const MALFORMED: Option<DenyReason> = Some(DenyReason::Malformed);
    for (target, hosts, expected) in [
        ("/", &[("host", "a")][..], None),
        ("/", &[("host", "A_b.c:1")], None),
        ("/", &[("host", "[::1]:8443")], None),
        ("https://a:1/", &[("host", "A:1")], None),
        ("https://a/", &[("host", "absent")], None),
        ("https://a:1/", &[("host", "a:2")], AMBIGUOUS),
        ("https://a/", &[("host", "b")], AMBIGUOUS),
        ("/", &[("host", "a"), ("host", "a")], AMBIGUOUS),
        ("/", &[("host", "a"), ("host", "b")], AMBIGUOUS),
        ("/", &[("host", "u@a")], AMBIGUOUS),
        ("https://u:p@a/", &[("host", "absent")], AMBIGUOUS),
        ("/", &[("host", "a.")], AMBIGUOUS),
        ("/", &[("host", "a..b")], AMBIGUOUS),
        ("/", &[("host", "absent")], MALFORMED),
        ("ftp://a/", &[("host", "absent")], MALFORMED),
        ("/", &[("host", "")], MALFORMED),
        ("/", &[("host", ":1")], MALFORMED),
        ("/", &[("host", "a:")], MALFORMED),
        ("/", &[("host", "a:+1")], MALFORMED),
        ("/", &[("host", "a:65536")], MALFORMED),
        ("/", &[("host", "a,b")], MALFORMED),
        ("/", &[("host", "a b")], MALFORMED),
        ("/", &[("host", "a/b")], MALFORMED),
        ("/", &[("host", "%61")], MALFORMED),
        ("/", &[("host", "::1")], MALFORMED),
        ("/", &[("host", "[]")], MALFORMED),
    ] {
        assert_eq!(refusal("GET", target, hosts), expected, "{target} {hosts:?}");
    }
}

#[test]
fn some_methods_and_forms_are_not_forwarded() {
    assert_eq!(refusal("UPGRADE", "/", &[]), Some(DenyReason::Malformed));
    assert_eq!(refusal("CONNECT", "h:1", &[]), Some(DenyReason::Malformed));
    assert_eq!(refusal("OPTIONS", "*", &[]), Some(DenyReason::Ambiguous));
    assert_eq!(refusal("BREW", "/", &[]), None);
}

#[test]
fn the_form_is_chosen_by_content_type() {
    let form = |method: &str, content_type: &str| {
        View::of(&request(method, "/p.S/M", &[("content-type", content_type)])).map(|view| view.form())
    };
    for grpc in ["application/grpc", "application/grpc+proto", "Application/GRPC; x=y", "application/grpc ;a"]
    {
        assert_eq!(form("POST", grpc), Ok(Form::Grpc), "{grpc}");
        assert_eq!(form("GET", grpc).map_err(|e| e.reason), Err(DenyReason::Malformed));
    }
    for other in
        ["application/grpc-web", "application/grpcx", "text/plain", "application/json", "", "a; b=\"c,d\""]
    {
        assert_eq!(form("POST", other), Ok(Form::Http), "{other}");
    }
    assert_eq!(
        form("POST", "application/grpc, text/plain").map_err(|e| e.reason),
        Err(DenyReason::Ambiguous)
    );
    let twice = [("content-type", "text/plain"), ("content-type", "application/grpc")];
    assert_eq!(refusal("POST", "/", &twice), Some(DenyReason::Ambiguous));
}

#[test]
fn only_a_websocket_is_an_upgrade() {
    let good = [("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")];
    let parts = request("GET", "/chat", &good);
    let view = View::of(&parts).unwrap();
    assert_eq!((view.form(), view.action(), view.method()), (Form::Upgrade, "UPGRADE", "GET"));

    assert_eq!(refusal("POST", "/", &good), Some(DenyReason::Ambiguous));
    assert_eq!(refusal("GET", "/", &[("upgrade", "websocket")]), Some(DenyReason::Ambiguous));
    for more in
        [("content-length", "1"), ("transfer-encoding", "chunked"), ("content-type", "application/grpc")]
    {
        let refused = refusal("GET", "/", &[good[0], good[1], more]);
        assert_eq!(refused, Some(DenyReason::Ambiguous), "{more:?}");
    }
    for other in ["h2c", "websocket, h2c", "TLS/1.0", ""] {
        assert!(refusal("GET", "/", &[("upgrade", other), ("connection", "upgrade")]).is_some(), "{other}");
    }
    let mut http2 = request("GET", "/", &good);
    http2.version = http::Version::HTTP_2;
    assert_eq!(View::of(&http2).unwrap_err().reason, DenyReason::Ambiguous);
}

#[test]
fn a_body_is_framed_in_one_way() {
    let coded = |codings: &[&str]| {
        let headers: Vec<_> = codings.iter().map(|coding| ("transfer-encoding", *coding)).collect();
        let mut all = vec![("host", "a")];
        all.extend(headers);
        refusal("POST", "/", &all)
    };
    assert_eq!(coded(&["chunked"]), None);
    assert_eq!(coded(&["Chunked"]), None);
    for bad in [&["chunked", "chunked"][..], &["gzip, chunked"], &["chunked, chunked"], &["identity"], &[""]]
    {
        assert_eq!(coded(bad), Some(DenyReason::Ambiguous), "{bad:?}");
    }
}

#[test]
fn the_task_header_is_there_once() {
    let tasks = |values: &[(&str, &str)]| refusal("GET", "/", values);
    assert_eq!(tasks(&[("jitgate-task", "a"), ("jitgate-task", "a")]), Some(DenyReason::Ambiguous));
    assert_eq!(tasks(&[("jitgate-task", "a, b")]), Some(DenyReason::Ambiguous));
    let empty = request("GET", "/", &[("jitgate-task", "")]);
    assert_eq!(View::of(&empty).unwrap().task(), Some(""), "an empty task is a task that no grant has");
}

#[test]
fn twins_of_headers_that_others_believe_are_ambiguous() {
    for name in [
        "x_jitgate_principal",
        "x-jitgate_principal",
        "jitgate_task",
        "x_forwarded_for",
        "x-forwarded_for",
        "x_real_ip",
        "content_length",
        "transfer_encoding",
        "forwarded_",
        "x.forwarded.for",
        "x_http_method_override",
        "x_original_url",
        "remote_user",
        "x_auth_request_user",
        "ssl_client_s_dn",
    ] {
        // `forwarded_` is another name altogether.
        let expected = if name == "forwarded_" { None } else { Some(DenyReason::Ambiguous) };
        assert_eq!(refusal("GET", "/", &[(name, "x")]), expected, "{name}");
    }
    for name in ["x-forwarded-for", "my_header", "x-jitgate-principal", "forwarded"] {
        assert_eq!(refusal("GET", "/", &[(name, "x")]), None, "{name}");
    }
}

#[test]
fn hosts_stand_for_services() {
    let domains = ["localhost".to_owned(), "gate.example".to_owned()];
    for (authority, service) in [
        ("orders.localhost", "orders"),
        ("orders.localhost:8443", "orders"),
        ("ORDERS.LocalHost", "orders"),
        ("a.b.gate.example", "a.b"),
        ("localhost", "localhost"),
        ("localhost:1", "localhost"),
        ("xlocalhost", "xlocalhost"),
        ("127.0.0.1:8443", "127.0.0.1"),
        ("[::1]:8443", "[::1]"),
        ("[::1]", "[::1]"),
        ("Other.Example", "other.example"),
    ] {
        assert_eq!(host_label(authority, &domains, &mut [0; 253]), service, "{authority}");
    }
}

/// Decodes percent-escapes once; none if there is a broken one.
fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'%' => (u8::from_str_radix(std::str::from_utf8(tail.get(..2)?).ok()?, 16).ok()?, &tail[2..]),
            byte => (*byte, tail),
        };
        out.push(byte);
        rest = tail;
    }
    Some(out)
}

/// Decodes what can be decoded, as lenient servers do.
fn decode_leniently(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        let escape = (*byte == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|pair| std::str::from_utf8(pair).ok())
            .filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        out.push(escape.unwrap_or(*byte));
        rest = if escape.is_some() { &tail[2..] } else { tail };
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Whatever is accepted keeps its segments, however often it is decoded.
    #[test]
    fn decoding_never_changes_the_shape_of_an_accepted_path(
        pieces in prop::collection::vec(prop::sample::select(vec![
            "/", "%", "25", "2f", "2F", "5c", "2e", "3b", "00", ".", "..", "\\", ";", "a", "%25", "%C3", "%A9", "%c0", "%af",
            "0", "2", "5", "e", "%2", "%32", "%35", "7f", "~", "%0a",
        ]), 0..8)
    ) {
        let path = format!("/{}", pieces.concat());
        if path::check(&path).is_ok() {
            let slashes = |bytes: &[u8]| bytes.iter().filter(|b| **b == b'/').count();
            let once = decode(path.as_bytes());
            prop_assert!(once.as_ref().is_some_and(|once| std::str::from_utf8(once).is_ok()), "{}", path);
            let mut now = path.clone().into_bytes();
            for _ in 0..8 {
                now = decode_leniently(&now);
                prop_assert_eq!(slashes(&now), slashes(path.as_bytes()), "{}", path);
                prop_assert!(!now.iter().any(|b| matches!(b, b'\\' | b';' | 0..0x20 | 0x7f)), "{}", path);
                let dots = |segment: &[u8]| segment == b"." || segment == b"..";
                prop_assert!(!now.split(|b| *b == b'/').any(dots), "{}", path);
            }
        }
    }
}
