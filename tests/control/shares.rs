//! One caller that takes all it can get leaves the others theirs.

use crate::world::{AGENT, Client, World, grant};
use serde_json::json;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// As in `src/control/listener.rs`.
const CONNECTIONS: usize = 4_096;
const EACH: usize = 256;
const CALLS: usize = 128;
/// Then the test has failed.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connected(world: &World, connections: usize) -> Vec<Client> {
    let mut all = Vec::with_capacity(connections);
    for _ in 0..connections {
        all.push(world.agent("demo").await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identity_does_not_take_every_connection() {
    let world = World::start().await;
    let mut all = connected(&world, EACH).await;
    for client in &mut all {
        assert_eq!(client.get("/v1/whoami").await.status, 200);
    }
    assert!(world.agent("demo").await.is_closed().await, "one too many");
    // A proxy and the others are as before, and so is what it has.
    assert_eq!(world.proxy("edge").await.get("/v1/whoami").await.status, 200);
    assert_eq!(world.agent("other").await.get("/v1/whoami").await.status, 200);
    assert_eq!(all[0].get("/v1/whoami").await.status, 200);
    drop(all);
    // Its places are free when the control plane has seen the connections end.
    let free = async { while world.agent("demo").await.is_refused().await {} };
    tokio::time::timeout(PATIENCE, free).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identity_does_not_take_every_call() {
    let world = World::start().await;
    let ask = json!({"task": "t", "reason": "a test", "ttl": "15m",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]}]});
    let id =
        world.agent("demo").await.post("/v1/requests", &ask).await.json()["id"].as_str().unwrap().to_owned();
    let wait = format!("/v1/requests/{id}?wait=60s");
    let mut waiting = tokio::task::JoinSet::new();
    for mut client in connected(&world, CALLS).await {
        let wait = wait.clone();
        waiting.spawn(async move { client.get(&wait).await.status });
    }
    let mut probe = world.agent("demo").await;
    let refused = async {
        loop {
            let answer = probe.get("/v1/whoami").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.unwrap();
    refused.is_problem(429, "limit");
    // Others are answered, and an end of the wait makes room.
    assert_eq!(world.agent("other").await.get("/v1/whoami").await.status, 200);
    let mut admin = world.operator("admin").await;
    assert_eq!(admin.post("/v1/grants", &grant(AGENT, "u")).await.status, 201);
    let denied = json!({"reason": "no"});
    let denied = world.operator("approver").await.post(&format!("/v1/requests/{id}/deny"), &denied).await;
    assert_eq!(denied.status, 200, "{denied:?}");
    while let Some(status) = waiting.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(probe.get("/v1/whoami").await.status, 200);
}

/// A connection from this address that says nothing.
async fn silent(world: &World, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(from.parse().unwrap()).unwrap();
    socket.connect(world.app().address()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_shows_no_certificate_keeps_nobody_out() {
    // This process has both ends.
    jitgate::runtime::files::raise_open_files();
    let world = World::start().await;
    let mut all = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS + 100 {
        all.push(silent(&world, "127.0.0.2:0").await);
    }
    // At once, not when the others are given up.
    let others = async {
        assert_eq!(world.operator("admin").await.get("/v1/whoami").await.status, 200);
        assert_eq!(world.proxy("edge").await.get("/v1/whoami").await.status, 200);
        assert_eq!(world.agent("demo").await.get("/v1/whoami").await.status, 200);
    };
    tokio::time::timeout(Duration::from_secs(8), others).await.unwrap();
    // Most were dropped when they came, the rest when their time was over.
    let closed = async {
        for socket in &mut all {
            let mut byte = [0];
            let read = tokio::io::AsyncReadExt::read(socket, &mut byte).await;
            assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
        }
    };
    tokio::time::timeout(PATIENCE, closed).await.unwrap();
}
