//! Frames that break the protocol: each ends its stream or its connection, and nothing else.

use super::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, assert_serves, bare_world, http2, settles, with,
};
use crate::harness::raw::{block, frame, headers_frame};

#[tokio::test]
async fn frames_that_break_the_protocol_end_their_connection() {
    let (world, recorder) = bare_world("").await;
    let head = |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&GET));
    let open = frame(HEADERS, END_HEADERS, 1, &block(&with(":method", "POST")));
    let setting =
        |id: u16, value: u32| frame(SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    let hpack = |bytes: &[u8]| frame(HEADERS, END_STREAM | END_HEADERS, 1, bytes);
    let window = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let cases = [
        ("a window that overflows", [window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)].concat()),
        ("a window that grows by nothing", window(0, 0)),
        ("DATA on an idle stream", frame(DATA, END_STREAM, 1, b"x")),
        ("DATA on no stream", frame(DATA, END_STREAM, 0, b"x")),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("WINDOW_UPDATE on an idle stream", window(1, 1)),
        ("HEADERS on an even stream", head(2)),
        ("HEADERS on no stream", head(0)),
        ("a stream below one that was used", [head(5), head(3)].concat()),
        (
            "HEADERS without their end, then DATA",
            [frame(HEADERS, 0, 1, &block(&GET)), frame(DATA, 1, 1, b"")].concat(),
        ),
        (
            "HEADERS without their end, then another's CONTINUATION",
            [frame(HEADERS, 0, 1, &block(&GET)), frame(CONTINUATION, 4, 3, b"")].concat(),
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, &block(&GET))),
        (
            "PUSH_PROMISE from a caller",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[&2_u32.to_be_bytes()[..], &block(&GET)].concat()),
        ),
        ("an initial window that is too large", setting(4, 0x8000_0000)),
        ("a largest frame that is too small", setting(5, 1)),
        ("a push that is neither on nor off", setting(2, 2)),
        ("SETTINGS of no whole number of settings", frame(SETTINGS, 0, 0, &[0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, &[])),
        ("SETTINGS acknowledged with a payload", frame(SETTINGS, 1, 0, &[0; 6])),
        ("PING of 7 bytes", frame(PING, 0, 0, &[0; 7])),
        ("PING on a stream", frame(PING, 0, 1, &[0; 8])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("a frame that is too large", [open.clone(), frame(DATA, 0, 1, &vec![0; 16_385])].concat()),
        ("HPACK: index 0", hpack(&[0x80])),
        ("HPACK: an index beyond the table", hpack(&[0xff, 0x00])),
        ("HPACK: a number without end", hpack(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
        ("HPACK: a table larger than offered", hpack(&[0x3f, 0xe1, 0xff, 0xff, 0x7f])),
        ("HPACK: a string that breaks off", hpack(&[0x00, 0x05, b'a'])),
        ("HPACK: a string of 2 GiB", hpack(&[0x00, 0x7f, 0x80, 0xff, 0xff, 0xff, 0x07, b'a'])),
        ("HPACK: Huffman padding that is none", hpack(&[0x00, 0x81, 0x00, 0x01, b'a'])),
    ];
    for (name, frames) in cases {
        let mut raw = http2(&world).await;
        raw.send(&frames).await;
        let (seen, ended) = raw.frames(name, |frame| frame.kind == GOAWAY).await;
        let code = seen.last().filter(|frame| frame.kind == GOAWAY).map(|frame| frame.payload[7]);
        // 0 would be a farewell without fault.
        assert!(ended && code.is_none() || code.is_some_and(|code| code != 0), "{name}: {seen:?}");
        raw.read_to_end().await;
    }
    assert!(recorder.take().violations.is_empty());
    assert_serves(&world).await;
}

#[tokio::test]
async fn frames_that_break_one_stream_end_that_stream_at_least() {
    let (world, _recorder) = bare_world("").await;
    let open = headers_frame(1, "/slow");
    let window = |by: u32| frame(WINDOW_UPDATE, 0, 1, &by.to_be_bytes());
    let on_itself = [&1_u32.to_be_bytes()[..], &[0]].concat();
    let cases = [
        ("HEADERS behind the end", [open.clone(), headers_frame(1, "/slow")].concat()),
        ("DATA behind the end", [open.clone(), frame(DATA, END_STREAM, 1, b"x")].concat()),
        ("a window of a stream that overflows", [open.clone(), window(0x7fff_ffff), window(1)].concat()),
        ("a window of a stream that grows by nothing", [open.clone(), window(0)].concat()),
    ];
    for (name, frames) in cases {
        let mut raw = http2(&world).await;
        raw.send(&frames).await;
        let (seen, ended) = raw.frames(name, settles).await;
        assert!(ended || seen.last().is_some_and(|last| last.kind != HEADERS), "{name}: {seen:?}");
        drop(raw);
        world.upstream.running(0).await;
    }
    // A stream that depends on itself, and a ring of such: no tree is kept, so there is nothing to loop in.
    let ring = (0..50_u32).flat_map(|number| {
        let on = 1 + 2 * ((number + 1) % 50);
        frame(PRIORITY, 0, 1 + 2 * number, &[&on.to_be_bytes()[..], &[255]].concat())
    });
    let mut raw = http2(&world).await;
    raw.send([frame(PRIORITY, 0, 1, &on_itself), ring.collect()].concat()).await;
    drop(raw);
    assert_serves(&world).await;
}
