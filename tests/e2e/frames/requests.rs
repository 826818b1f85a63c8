//! Requests that the protocol or the gate forbids: heads, bodies and trailers.

use super::{
    DATA, END_HEADERS, END_STREAM, GET, HEADERS, OK, assert_serves, bare_world, http2, settles, with,
};
use crate::harness::raw::{block, frame};
use crate::harness::recorder::Recorder;
use crate::harness::{World, eventually};

fn and(more: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    GET.into_iter().chain(more.iter().copied()).collect()
}

/// Sends frames that begin a request on stream 1; it must be refused, and nothing whole may reach the service.
async fn assert_refused(world: &World, recorder: &Recorder, name: &str, frames: &[u8]) {
    let lines = world.audit().len();
    let mut raw = http2(world).await;
    raw.send(frames).await;
    let (seen, ended) = raw.frames(name, settles).await;
    drop(raw);
    recorder.quiet().await;
    let at_the_service = recorder.take();
    assert!(at_the_service.whole.is_empty(), "{name}: {at_the_service:?}");
    assert!(at_the_service.violations.is_empty(), "{name}: {at_the_service:?}");
    assert!(ended || seen.iter().any(settles), "{name}: {seen:?}");
    let ok = seen.iter().find(|frame| frame.kind == HEADERS && frame.payload.first() == Some(&OK));
    assert!(ok.is_none(), "{name}: {seen:?}");
    // A head that the protocol forbids is reset, or ends its connection; what was read as a request has its line.
    if seen.iter().any(|frame| frame.kind == HEADERS && frame.stream == 1) {
        eventually(&format!("a line in the trail for: {name}"), || async {
            (world.audit().len() > lines).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn heads_that_are_no_request() {
    let (world, recorder) = bare_world("").await;
    let cases = [
        ("two paths", and(&[(":path", "/v1/orders")])),
        ("two methods", and(&[(":method", "POST")])),
        ("two authorities", and(&[(":authority", "orders.localhost")])),
        ("a pseudo-header behind a header", [vec![("x", "y")], GET.to_vec()].concat()),
        ("upper case", and(&[("X-Upper", "y")])),
        ("connection", and(&[("connection", "close")])),
        ("keep-alive", and(&[("keep-alive", "timeout=5")])),
        ("proxy-connection", and(&[("proxy-connection", "close")])),
        ("transfer-encoding", and(&[("transfer-encoding", "chunked")])),
        ("upgrade", and(&[("upgrade", "websocket")])),
        ("te: gzip", and(&[("te", "gzip")])),
        ("te: two", and(&[("te", "trailers, gzip")])),
        ("an empty path", with(":path", "")),
        ("no path", with(":path", "\0away")),
        ("no method", with(":method", "\0away")),
        ("no scheme", with(":scheme", "\0away")),
        ("a path without slash", with(":path", "v1/orders")),
        ("a whole URL as path", with(":path", "https://bare.localhost/v1/orders")),
        ("an asterisk as path", with(":path", "*")),
        ("a path as authority", with(":path", "//bare.localhost/v1/orders")),
        ("a space in the path", with(":path", "/v1/orders HTTP/1.1")),
        ("line ends in the path", with(":path", "/v1/orders\r\nX: y")),
        ("an empty authority", with(":authority", "")),
        ("a user in the authority", with(":authority", "user@bare.localhost")),
        ("a path in the authority", with(":authority", "bare.localhost/x")),
        ("another host", and(&[("host", "orders.localhost")])),
        ("two hosts", and(&[("host", "bare.localhost"), ("host", "bare.localhost")])),
        ("an unknown pseudo-header", and(&[(":secret", "y")])),
        ("a pseudo-header of answers", and(&[(":status", "200")])),
        ("a protocol that was not agreed on", and(&[(":protocol", "websocket")])),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "bare.localhost:443")]),
        ("CONNECT with a path", with(":method", "CONNECT")),
        ("an empty method", with(":method", "")),
        ("a method with a space", with(":method", "GET /secret")),
        ("line ends in a value", and(&[("x", "y\r\nhost: orders.localhost")])),
        ("NUL in a value", and(&[("x", "a\0b")])),
        ("an empty name", and(&[("", "y")])),
        ("a name with a colon", and(&[("x:y", "z")])),
        ("a name with line ends", and(&[("x\r\ny", "z")])),
        ("two lengths", and(&[("content-length", "0"), ("content-length", "5")])),
        ("a length with a sign", and(&[("content-length", "+0")])),
        ("a length without a body", and(&[("content-length", "5")])),
    ];
    for (name, fields) in cases {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&fields));
        assert_refused(&world, &recorder, name, &head).await;
    }
    assert_serves(&world).await;
}

#[tokio::test]
async fn bodies_that_are_not_what_the_head_says() {
    let (world, recorder) = bare_world("").await;
    let post = |more: &[(&'static str, &'static str)]| {
        let fields = [&with(":method", "POST"), more].concat();
        frame(HEADERS, END_HEADERS, 1, &block(&fields))
    };
    let data = |flags, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let trailers = |fields: &[(&str, &str)]| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields));
    let cases = [
        ("shorter", [post(&[("content-length", "5")]), data(END_STREAM, b"abc")].concat()),
        ("longer", [post(&[("content-length", "2")]), data(END_STREAM, b"abc")].concat()),
        ("not none", [post(&[("content-length", "0")]), data(END_STREAM, b"abc")].concat()),
        ("trailers instead", [post(&[("content-length", "5")]), trailers(&[("x", "y")])].concat()),
        ("trailers in upper case", [post(&[]), data(0, b"abc"), trailers(&[("X-Y", "z")])].concat()),
        (
            "trailers without end",
            [post(&[]), data(0, b"abc"), frame(HEADERS, END_HEADERS, 1, &block(&[("x", "y")]))].concat(),
        ),
        (
            "padding beyond the frame",
            [post(&[]), frame(DATA, END_STREAM | 0x8, 1, &[9, b'a', b'b'])].concat(),
        ),
    ];
    for (name, frames) in cases {
        assert_refused(&world, &recorder, name, &frames).await;
    }
    assert_serves(&world).await;
}

/// Fragments, and pseudo-headers in trailers, are dropped by the HTTP library before we see them: that reading counts, and it alone
/// arrives.
#[tokio::test]
async fn what_the_library_drops_is_not_forwarded() {
    let (world, recorder) = bare_world("").await;
    let whole = |path| frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&with(":path", path)));
    let trailers = block(&[(":path", "/secret"), (":authority", "orders.localhost")]);
    let with_trailers = [
        frame(HEADERS, END_HEADERS, 1, &block(&with(":method", "POST"))),
        frame(DATA, 0, 1, b"abc"),
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &trailers),
    ];
    let cases = [
        ("a fragment", whole("/v1/orders#/../../secret")),
        ("an empty fragment", whole("/v1/orders#")),
        ("a path in trailers", with_trailers.concat()),
    ];
    for (name, frames) in cases {
        let mut raw = http2(&world).await;
        raw.send(frames).await;
        raw.frames(name, settles).await;
        drop(raw);
        recorder.quiet().await;
        let seen = recorder.take();
        assert!(seen.violations.is_empty(), "{name}: {seen:?}");
        assert!(seen.whole.len() <= 1, "{name}: {seen:?}");
        assert!(seen.whole.iter().all(|whole| whole.target == "/v1/orders"), "{name}: {seen:?}");
    }
}
