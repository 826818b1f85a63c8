//! A connection over HTTP/1.1, during its requests and between them: only a head that does not end is given up, nothing else that
//! looks like one.

use crate::harness::raw::{Raw, statuses};
use crate::harness::scripted::{Heard, Reply, Scripted};
use crate::harness::{Protocol, Setup, World};
use serde_json::json;

/// Answers a call when it is told to.
fn patient(_: &Heard) -> Reply {
    Reply::Open(String::new())
}

async fn desk(service: &Scripted) -> World {
    let service =
        format!("[[service]]\nname = \"desk\"\nupstream = [\"mcp+http://{}/mcp\"]\n", service.address);
    let world =
        Setup::new().tables(&format!("{service}[proxy.limits]\nheader_timeout = \"1s\"\n")).start().await;
    world.grant("desk:tools/call:put{*}").await;
    world.grant("orders:GET:/**").await;
    world
}

/// Lets the time pass in which a head must come: heads that began before are given up. Twice, as each worker looks at its own.
async fn a_head_times_out(world: &World) {
    for _ in 0..2 {
        let mut raw = world.raw(Protocol::H1).await;
        raw.send("GET /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\n").await;
        raw.read_to_end().await;
    }
}

/// Sends a call whose body comes when its head has been read.
async fn call(raw: &mut Raw, tool: &str) {
    let params = json!({"name": tool, "arguments": {}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    raw.send(format!(
        "POST /mcp HTTP/1.1\r\nHost: desk.localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
         Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2025-11-25\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    raw.read_until("100 Continue\r\n\r\n").await;
    raw.send(body).await;
}

#[tokio::test]
async fn a_call_whose_body_comes_after_its_head_may_last() {
    let service = Scripted::start(patient).await;
    let world = desk(&service).await;
    let mut raw = world.raw(Protocol::H1).await;
    call(&mut raw, "put").await;
    service.hears("tools/call").await;
    a_head_times_out(&world).await;
    service.tell(&format!("data: {}\n\n", json!({"jsonrpc": "2.0", "id": 1, "result": {"content": []}})));
    raw.read_until("\"content\":[]").await;
}

#[tokio::test]
async fn a_connection_waits_for_its_next_request_after_a_body_that_came_late() {
    let service = Scripted::start(patient).await;
    let world = desk(&service).await;
    // It is read, and refused for what it says.
    let mut raw = world.raw(Protocol::H1).await;
    call(&mut raw, "drop_database").await;
    raw.read_until("out_of_scope").await;
    a_head_times_out(&world).await;
    raw.send("GET /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\nConnection: close\r\n\r\n").await;
    let answer = raw.read_to_end().await;
    assert_eq!(statuses(&answer), [200], "{answer}");
}

#[tokio::test]
async fn a_second_head_that_never_ends_is_given_up() {
    let service = Scripted::start(patient).await;
    let world = desk(&service).await;
    let mut raw = world.raw(Protocol::H1).await;
    raw.send("GET /v1/orders HTTP/1.1\r\nHost: orders.localhost\r\n\r\n").await;
    raw.read_until("hello").await;
    raw.send("GET /v1/orders HTTP/1.1\r\n").await;
    raw.read_to_end().await;
}
