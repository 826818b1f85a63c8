//! Law 3: what has two readings is refused, and what is matched is what is forwarded.

use crate::harness::raw::statuses;
use crate::harness::{Protocol, World};

/// Targets that some server, somewhere, would read as another path than they seem to name.
const AMBIGUOUS: [&str; 36] = [
    "/v1%2Forders",
    "/v1%2forders",
    "/v1%5Corders",
    "/v1%5corders",
    "/v1\\orders",
    "/./v1/orders",
    "/v1/./orders",
    "/v1/orders/.",
    "/../v1/orders",
    "/v1/../orders",
    "/v1/orders/..",
    "/v1/%2e%2e/orders",
    "/v1/%2E%2E/orders",
    "/v1/.%2e/orders",
    "/v1/%2e/orders",
    "//v1/orders",
    "/v1//orders",
    "/v1/orders//",
    "/v1;x=1/orders",
    "/v1/orders;x",
    "/v1/..;/orders",
    "/v1%3Bx/orders",
    "/v1/orders%00",
    "/v1/orders%0d%0a",
    "/v1/orders%09",
    "/v1/orders%7f",
    "/v1/orders%",
    "/v1/orders%4",
    "/v1/orders%zz",
    "/v1/%c0%af/orders",
    "/v1/%e0%80%af/orders",
    "/v1/%ff",
    "/v1/%ed%a0%80",
    "/v1%252Forders",
    "/v1/%252e%252e/orders",
    "/v1/orders%2500",
];

#[tokio::test]
async fn a_path_with_two_readings_is_refused_whatever_is_granted() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    for target in AMBIGUOUS {
        let mut raw = world.raw(Protocol::H1).await;
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: orders.localhost\r\nConnection: close\r\n\r\n"))
            .await;
        let answer = raw.read_to_end().await;
        assert_eq!(statuses(&answer), [400], "{target}: {answer}");
    }
    let mut connection = world.client(Protocol::H2).connect().await;
    for target in AMBIGUOUS.iter().filter(|target| target.parse::<http::Uri>().is_ok()) {
        let answer = connection.get(target).await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (400, "ambiguous"), "{target}");
    }
    assert!(world.upstream.received().is_empty(), "{:?}", world.upstream.received());
}

#[tokio::test]
async fn what_is_matched_is_forwarded_byte_for_byte() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let targets = [
        "/",
        "/v1/orders/",
        "/v1/a%20b/%C3%A9",
        "/v1/a%c3%a9",
        "/v1/@me/a:b/c,d/(e)/f!g/$h/i&j/k=l/m+n/~o/p*q",
        "/v1/orders?",
        "/v1/orders?q=%2F..%2f;//&&==?",
        "/v1/orders?next=https://example.org/../x",
        "/...",
        "/v1/.hidden/a..b",
    ];
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        for target in targets.iter().filter(|target| target.parse::<http::Uri>().is_ok()) {
            let answer = connection.get(target).await;
            assert_eq!(answer.status, 200, "{protocol:?} {target}: {answer:?}");
            assert_eq!(world.upstream.only().target, *target, "{protocol:?}");
            world.upstream.forget();
        }
    }
}

#[tokio::test]
async fn a_host_with_two_readings_is_refused() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let heads = [
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nHost: orders.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nHost: other.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost, other.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: user@orders.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost/x\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.1\r\n",
        "GET https://other.localhost/ HTTP/1.1\r\nHost: orders.localhost\r\n",
        "GET https://user@orders.localhost/ HTTP/1.1\r\nHost: orders.localhost\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nX_Jitgate_Principal: spiffe://jitgate.local/agent/root\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\njitgate_task: t-1\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nJitgate-Task: t-1\r\nJitgate-Task: t-2\r\n",
    ];
    for head in heads {
        let mut raw = world.raw(Protocol::H1).await;
        raw.send(format!("{head}Connection: close\r\n\r\n")).await;
        let answer = raw.read_to_end().await;
        assert_eq!(statuses(&answer), [400], "{head}: {answer}");
    }
    assert!(world.upstream.received().is_empty(), "{:?}", world.upstream.received());
}

#[tokio::test]
async fn a_message_with_two_framings_reaches_the_upstream_as_one_or_not_at_all() {
    let world = World::start().await;
    world.grant("orders:*:/v1/**").await;
    let smuggled = "GET /secret HTTP/1.1\r\nHost: orders.localhost\r\n\r\n";
    let messages = [
        format!(
            "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}",
            smuggled.len() + 5
        ),
        format!("Content-Length: 0\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
        format!("Content-Length: +0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n{smuggled}"),
        "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n".to_owned(),
    ];
    for message in &messages {
        let mut raw = world.raw(Protocol::H1).await;
        raw.send(format!(
            "POST /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\nConnection: close\r\n{message}"
        ))
        .await;
        raw.read_to_end().await;
    }
    let old =
        "POST /v1/orders HTTP/1.0\r\nHost: orders.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let mut raw = world.raw(Protocol::H1).await;
    raw.send(format!("{old}{smuggled}")).await;
    raw.read_to_end().await;
    for received in world.upstream.received() {
        assert_eq!(received.target, "/v1/orders", "{received:?}");
        assert!(!String::from_utf8_lossy(&received.body).contains("secret"), "{received:?}");
        let (length, encoding) = (
            received.headers.contains_key("content-length"),
            received.headers.contains_key("transfer-encoding"),
        );
        assert!(!(length && encoding), "{received:?}");
    }
}
