//! What lives longer than ten seconds is in the audit trail before it ends: it gets its `admit` line whatever it does meanwhile.

use crate::harness::client::full;
use crate::harness::scripted::{Heard, Reply, Scripted};
use crate::harness::{Protocol, Setup, World, client, within};
use futures_util::SinkExt;
use http_body_util::BodyExt;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

/// Answers a call with more events than a slow reader takes in a minute.
fn talkative(_: &Heard) -> Reply {
    let note = json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x".repeat(1000)}});
    Reply::Events(format!("data: {note}\n\n").repeat(50_000))
}

const PATHS: [&str; 6] = ["/slow", "/sse", "/download", "/mcp", "/drip", "/ws"];

/// Begins to answer calls with a message, and never comes to its end.
async fn dripping() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.readable().await.unwrap();
            let begun = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{";
            stream.write_all(begun).await.unwrap();
            held.push(stream);
        }
    });
    address
}

/// What runs and has no `admit` line yet.
fn missing(world: &World) -> Vec<&'static str> {
    let lines = world.audit();
    let there =
        |kind: &str, path: &str| lines.iter().any(|line| line["kind"] == kind && line["path"] == path);
    assert!(PATHS.iter().all(|path| !there("end", path)), "it ended: {lines:?}");
    PATHS.into_iter().filter(|path| !there("admit", path)).collect()
}

#[tokio::test]
async fn whatever_lives_for_long_is_in_the_trail_before_it_ends() {
    let service = Scripted::start(talkative).await;
    let desk = format!("[[service]]\nname = \"desk\"\nupstream = [\"mcp+http://{}/mcp\"]\n", service.address);
    let tap = format!("[[service]]\nname = \"tap\"\nupstream = [\"mcp+http://{}/drip\"]\n", dripping().await);
    let world = Setup::new().tables(&desk).tables(&tap).start().await;
    world.grant("tap:tools/call:put{*}").await;
    world.grant("orders:GET,UPGRADE:/**").await;
    world.grant("desk:tools/call:put{*}").await;

    let mut slow = world.client(Protocol::H1).connect().await;
    let waiting = slow.request("GET", "/slow").body(client::empty()).unwrap();
    let waiting = tokio::spawn(async move { slow.try_send(waiting).await.map(drop) });
    let mut events = world.client(Protocol::H2).connect().await.open("/sse").await;
    // Readers that take less than there is: something is always there to be handed on.
    let mut download = world.client(Protocol::H2).connect().await.open("/download").await;
    let mut call = world.client(Protocol::H2).host("desk.localhost").connect().await;
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "put", "arguments": {}}});
    let asks = |connection: &client::Connection, path: &str| {
        let request = connection.request("POST", path).header("content-type", "application/json");
        let request = request.header("accept", "application/json, text/event-stream");
        request.header("mcp-protocol-version", "2025-11-25").body(full(message.to_string())).unwrap()
    };
    let mut told = call.send(asks(&call, "/mcp")).await;
    assert_eq!(told.status(), 200);
    let mut drip = world.client(Protocol::H2).host("tap.localhost").connect().await;
    let dripping = asks(&drip, "/drip");
    let dripping = tokio::spawn(async move { drip.try_send(dripping).await.map(drop) });
    // A tunnel in which nothing moves.
    let tls = Arc::new(client::tls(&world.ca, Some(&world.agent), &[Protocol::H1]));
    let stream = client::open(world.listener(), tls).await.unwrap();
    let opening = tokio_tungstenite::client_async("wss://orders.localhost/ws", stream);
    let (mut socket, _) = within("a tunnel", opening).await.unwrap();

    // An event comes each 20 ms, so that the others are read slowly.
    for _ in 0..800 {
        if missing(&world).is_empty() {
            break;
        }
        for frame in [events.frame().await, download.frame().await, told.frame().await] {
            frame.expect("the end of a stream").unwrap();
        }
    }
    assert_eq!(missing(&world), [""; 0]);
    socket.send(Message::text("still there")).await.unwrap();
    waiting.abort();
    dripping.abort();
}
