//! What callers may not do to the gate: hold it, flood it, or make it remember without bound. Each ends the offender's connection and
//! nobody else's.

use crate::harness::pki::Leaf;
use crate::harness::raw::{Raw, frame, headers_frame, preface, statuses};
use crate::harness::{Protocol, Setup, World, client, within};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// HTTP/2 frame types and flags (RFC 9113, section 6).
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;

async fn limited(lines: &str) -> World {
    let world = Setup::new().tables(&format!("[proxy.limits]\n{lines}")).start().await;
    world.grant("orders:*:/**").await;
    world
}

/// Others are served as before.
async fn assert_serves(world: &World) {
    for protocol in Protocol::BOTH {
        assert_eq!(world.client(protocol).get("/v1/orders").await.status, 200);
    }
}

fn hex_sha256(leaf: &Leaf) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &leaf.chain()[0]);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn http2(world: &World) -> Raw {
    let mut raw = world.raw(Protocol::H2).await;
    raw.send(preface()).await;
    raw
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let world = limited("header_timeout = \"1s\"\n").await;
    let mut raw = world.raw(Protocol::H1).await;
    raw.send("GET /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\n").await;
    raw.read_to_end().await;
    assert!(world.upstream.received().is_empty());
    assert_serves(&world).await;
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let world = limited("handshake_timeout = \"1s\"\n").await;
    let mut stream = tokio::net::TcpStream::connect(world.listener()).await.unwrap();
    let mut byte = [0];
    let read = within("the end of a silent connection", stream.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    crate::harness::eventually("a count of the timeout", || async {
        (world.metric("jitgate_tls_handshakes_total{result=\"timeout\"}").await >= 1.0).then_some(())
    })
    .await;
    assert_serves(&world).await;
}

#[tokio::test]
async fn a_connection_without_requests_is_closed() {
    let world = limited("idle_timeout = \"1s\"\n").await;
    let mut raw = world.raw(Protocol::H1).await;
    raw.read_to_end().await;
    let mut raw = http2(&world).await;
    raw.read_to_end().await;
    assert_serves(&world).await;
}

#[tokio::test]
async fn a_body_that_stalls_is_given_up() {
    let world = limited("body_stall_timeout = \"1s\"\n").await;
    let mut raw = world.raw(Protocol::H1).await;
    raw.send("PUT /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\nContent-Length: 10\r\n\r\nhalf").await;
    raw.read_to_end().await;
    world.upstream.running(0).await;
    assert_eq!(world.ends("/v1/orders").await.len(), 1);
}

#[tokio::test]
async fn a_caller_that_stops_reading_is_cut() {
    let world = limited("write_stall_timeout = \"1s\"\n").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    // Its flow-control window fills and is never opened again.
    let _held = connection.open("/download").await;
    world.upstream.running(0).await;
    let line = &world.ends("/download").await[0];
    assert_eq!(line["end"], "cut", "{line}");
    assert_serves(&world).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let world = limited("header_bytes = 8192\nheaders = 50\n").await;
    let large = format!("X-Large: {}\r\n", "x".repeat(16 * 1024));
    let many: String = (0..100).map(|number| format!("X-{number}: 1\r\n")).collect();
    for more in [&large, &many] {
        let mut raw = world.raw(Protocol::H1).await;
        raw.send(format!(
            "GET /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\nConnection: close\r\n{more}\r\n"
        ))
        .await;
        let answer = raw.read_to_end().await;
        assert!(matches!(statuses(&answer)[..], [] | [400 | 413 | 431]), "{answer}");
    }
    let mut connection = world.client(Protocol::H2).connect().await;
    let request = connection.request("GET", "/v1/orders").header("x-large", "x".repeat(16 * 1024));
    if let Ok(answer) = connection.try_send(request.body(client::empty()).unwrap()).await {
        assert!(answer.status().is_client_error(), "{answer:?}");
    }
    assert!(world.upstream.received().is_empty());
    assert_serves(&world).await;
}

#[tokio::test]
async fn there_are_so_many_connections_and_no_more() {
    let world = limited("connections = 20\nconnections_per_principal = 3\n").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = world.client(Protocol::H1).connect().await;
        assert_eq!(connection.get("/v1/orders").await.status, 200);
        held.push(connection);
    }
    let fourth = async {
        let mut connection = world.client(Protocol::H1).try_connect().await.ok()?;
        let request = connection.request("GET", "/v1/orders").body(client::empty()).unwrap();
        connection.try_send(request).await.ok()
    };
    assert!(fourth.await.is_none_or(|answer| !answer.status().is_success()));
    // Whoever was turned away is counted and in the trail, by certificate.
    let series = "jitgate_tls_handshakes_total{result=\"too_many_connections\"}";
    assert_eq!(world.metric(series).await, 1.0);
    let line = crate::harness::eventually("a line for the refused connection", || async {
        world.audit().into_iter().find(|line| line["kind"] == "handshake")
    })
    .await;
    assert_eq!(line["reason"], "too_many_connections", "{line}");
    assert_eq!(line["certificate_sha256"], hex_sha256(&world.agent), "{line}");
    // Another principal is not concerned, and a place that is free again can be taken.
    let other = world.ca.svid("agent/other");
    assert_eq!(world.client_as(Some(&other), Protocol::H1).get("/v1/orders").await.status, 403);
    drop(held);
    crate::harness::eventually("a free place", || async {
        let mut connection = world.client(Protocol::H1).try_connect().await.ok()?;
        let request = connection.request("GET", "/v1/orders").body(client::empty()).unwrap();
        connection.try_send(request).await.ok().filter(|answer| answer.status() == 200)
    })
    .await;
}

#[tokio::test]
async fn silent_connections_lock_nobody_out() {
    let world = limited("connections = 5\n").await;
    let mut silent = Vec::new();
    // More than there are places, and more than may shake hands from one address.
    for _ in 0..1_100 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.3:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(world.listener()).await.unwrap());
    }
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
}

#[tokio::test]
async fn floods_of_http2_frames_end_the_connection() {
    let world = limited("h2_resets_per_second = 20\nh2_control_frames_per_second = 20\n").await;
    let resets = (0..500_u32).flat_map(|number| {
        let stream = 1 + 2 * number;
        [headers_frame(stream, "/v1/orders"), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    let pings = (0..5_000).flat_map(|_| frame(PING, 0, 0, &[0; 8]));
    let settings = (0..5_000).flat_map(|_| frame(SETTINGS, 0, 0, &[]));
    let continuations =
        frame(HEADERS, 0, 1, &[]).into_iter().chain((0..60_000).flat_map(|_| frame(CONTINUATION, 0, 1, &[])));
    let floods: [(&str, Vec<u8>); 4] = [
        ("resets", resets.collect()),
        ("pings", pings.collect()),
        ("settings", settings.collect()),
        ("continuations", continuations.collect()),
    ];
    for (name, flood) in floods {
        let mut raw = http2(&world).await;
        raw.send(&flood).await;
        // Ends only if the peer closes.
        within(name, raw.read_to_end()).await;
    }
    world.upstream.running(0).await;
    assert_serves(&world).await;
}

#[tokio::test]
async fn streams_of_one_connection_have_a_bound() {
    let world = limited("h2_streams = 10\n").await;
    let mut raw = http2(&world).await;
    for number in 0..30 {
        raw.send(headers_frame(1 + 2 * number, "/slow")).await;
    }
    world.upstream.running(10).await;
    drop(raw);
    world.upstream.running(0).await;
}

#[tokio::test]
async fn a_chunk_extension_has_a_bound() {
    let world = limited("").await;
    let mut raw = world.raw(Protocol::H1).await;
    raw.send("PUT /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        .await;
    let mut sent = 0;
    let piece = vec![b'x'; 64 * 1024];
    while sent < 8 * 1024 * 1024 && raw.try_send(&piece).await {
        sent += piece.len();
    }
    assert!(sent < 8 * 1024 * 1024, "it took {sent} bytes of one chunk extension");
    world.upstream.running(0).await;
    assert_serves(&world).await;
}

#[tokio::test]
async fn plain_http_at_the_tls_port_gets_nowhere() {
    let world = limited("").await;
    let mut stream = tokio::net::TcpStream::connect(world.listener()).await.unwrap();
    stream.write_all(b"GET /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _reset_is_fine = within("the end", stream.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
    // ALPN offers nothing that we speak: refused as TLS says, not guessed.
    let mut tls = client::tls(&world.ca, Some(&world.agent), &[]);
    tls.alpn_protocols = vec![b"spdy/3".to_vec()];
    assert!(client::open(world.listener(), Arc::new(tls)).await.is_err());
}
