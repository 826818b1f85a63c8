//! The control plane: who may do what with it, and that nothing which it acknowledged is ever lost.

use crate::harness::world::AGENT;
use crate::harness::{Answer, Protocol, Setup, World, client, eventually};
use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use std::sync::Arc;

fn grant_body(principal: &str) -> Value {
    json!({
        "principal": principal,
        "task": "t-1",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["*"], "paths": ["/**"]}],
        "ttl": "10m",
        "reason": "I want it",
    })
}

async fn post(world: &World, leaf: &crate::harness::pki::Leaf, path: &str, body: &Value) -> Answer {
    let mut connection = world.api_as(leaf).connect().await;
    let request = connection.request("POST", path).header("content-type", "application/json");
    Answer::of(connection.send(request.body(client::full(body.to_string())).unwrap()).await).await
}

#[tokio::test]
async fn an_agent_can_neither_grant_nor_revoke_nor_look_around() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    let other = world.ca.svid("agent/other");
    for leaf in [&world.agent, &other, &world.ca.svid("proxy/edge-2"), &world.ca.svid("operator/unknown")] {
        let refused = post(&world, leaf, "/v1/grants", &grant_body(AGENT)).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        let refused = post(&world, leaf, "/v1/revocations", &json!({"all": true, "reason": "chaos"})).await;
        assert_eq!(refused.status, 403, "{refused:?}");
        for path in ["/v1/proxies", "/v1/proxies/edge-1", "/v1/events"] {
            let answer = world.api_as(leaf).connect().await.open(path).await;
            assert!(matches!(answer.status().as_u16(), 403 | 404), "{path}: {answer:?}");
        }
    }
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200, "{grant} still lives");
}

#[tokio::test]
async fn an_agent_can_not_follow_the_control_channel() {
    let world = World::start().await;
    for leaf in [world.ca.svid("agent/demo"), world.ca.svid("operator/local"), world.ca.svid("proxy/edge-2")]
    {
        let tls = Arc::new(client::tls(&world.ca, Some(&leaf), &[Protocol::H2]));
        let stream = client::open((world.address, 8444).into(), tls).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("https://localhost/jitgate.sync.v1.Sync/Follow")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            // An empty `hello`, so that a subscriber who is let in would be answered.
            .body(client::full(&[0, 0, 0, 0, 2, 0x0a, 0x00][..]))
            .unwrap();
        let answer = Answer::of(sender.send_request(request).await.unwrap()).await;
        let status = answer.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        let status = status.or_else(|| answer.headers.get("grpc-status"));
        let refused = answer.status.is_client_error() || status.is_some_and(|status| status == "7");
        assert!(refused, "{answer:?}");
        assert!(!answer.status.is_success() || answer.body.is_empty(), "{answer:?}");
    }
}

#[tokio::test]
async fn an_operator_grants_nothing_to_itself_or_beyond_the_longest_ttl() {
    let world = World::start().await;
    let fixed = ["grant", "--task", "t-1", "--scope", "orders:GET:/**", "--reason", "a test"];
    for more in [
        ["--principal", "spiffe://jitgate.local/operator/local", "--ttl", "1m"],
        ["--principal", AGENT, "--ttl", "9h"],
    ] {
        let output = world.try_cli(&[&fixed[..], &more].concat()).await;
        assert_eq!(output.status.code(), Some(1), "{more:?}: {output:?}");
    }
    for more in [["--principal", "demo", "--ttl", "1m"], ["--principal", AGENT, "--ttl", "0s"]] {
        let output = world.try_cli(&[&fixed[..], &more].concat()).await;
        assert!(matches!(output.status.code(), Some(1 | 2)), "{more:?}: {output:?}");
    }
    assert_eq!(world.cli(&["grants"]).await, json!([]));
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let mut world = World::start().await;
    let kept = world.grant("orders:GET:/kept").await;
    let revoked = world.grant("orders:GET:/revoked").await;
    world.revoke(&revoked).await;
    world.control().kill();
    // Within the lease a restart of the control plane disturbs nobody.
    assert_eq!(world.client(Protocol::H1).get("/kept").await.status, 200);
    world.start_control().await;
    let grants = world.cli(&["grants"]).await;
    let ids: Vec<_> = grants.as_array().unwrap().iter().map(|grant| &grant["id"]).collect();
    assert_eq!(ids, [&json!(kept)]);
    assert_eq!(world.client(Protocol::H1).get("/kept").await.status, 200);
    assert_eq!(world.client(Protocol::H1).get("/revoked").await.reason(), "revoked");
    let again = world.grant("orders:GET:/again").await;
    assert_eq!(world.client(Protocol::H1).get("/again").await.status, 200, "{again}");
}

#[tokio::test]
async fn uses_are_counted_over_a_restart_of_the_proxy() {
    let mut world = World::start().await;
    world.grant_with("orders:GET:/**", &["--max-uses", "3"]).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
    world.proxy().kill();
    world.start_proxy().await;
    let mut permitted = 1;
    for _ in 0..5 {
        let answer = world.client(Protocol::H1).get("/v1/orders").await;
        if answer.status == 200 {
            permitted += 1;
        } else {
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (429, "limit"));
        }
    }
    // What was set aside for the proxy that died counts as spent: fewer is right, more never.
    assert!(permitted <= 3, "{permitted} uses of a grant for 3");
}

#[tokio::test]
async fn bytes_are_counted_over_kill_9_of_both_halves() {
    let mut world = World::start().await;
    world.grant_with("orders:PUT:/**", &["--max-bytes", "1000000"]).await;
    let upload = || async {
        world.client(Protocol::H1).connect().await.call("PUT", "/v1/x", &"x".repeat(600_000)).await
    };
    assert_eq!(upload().await.status, 200);
    // The store is another process's, but its journal can be looked at.
    let journal = world.path("control.db-wal");
    eventually("the use in the log", || async {
        let bytes = std::fs::read(&journal).ok()?;
        bytes.windows(10).any(|window| window == b"grant_used").then_some(())
    })
    .await;
    world.control().kill();
    world.proxy().kill();
    world.start_control().await;
    world.start_proxy().await;
    let upload = || async {
        world.client(Protocol::H1).connect().await.call("PUT", "/v1/x", &"x".repeat(600_000)).await
    };
    // Neither process remembers the first 600,000; the log does.
    assert_eq!(upload().await.status, 200);
    eventually("the end of the grant", || async {
        let answer = world.client(Protocol::H1).connect().await.call("PUT", "/v1/x", "x").await;
        (answer.status == 429 && answer.reason() == "limit").then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_more_uses_than_granted() {
    let world = World::start().await;
    world.grant_with("orders:GET:/**", &["--max-uses", "3"]).await;
    let mut statuses = Vec::new();
    for protocol in [Protocol::H1, Protocol::H2, Protocol::H1, Protocol::H2, Protocol::H1] {
        statuses.push(world.client(protocol).get("/v1/orders").await.status.as_u16());
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
}

/// Grants as JSONL, each for an agent and a task of its own.
fn bulk(numbers: std::ops::Range<usize>) -> String {
    let line = |number| {
        let mut grant = grant_body(&format!("spiffe://jitgate.local/agent/n{number}"));
        grant["task"] = json!(format!("t-{number}"));
        grant.to_string() + "\n"
    };
    numbers.map(line).collect()
}

#[tokio::test]
async fn bulk_grants_one_after_the_other_let_no_lease_run_out() {
    const EACH: usize = 40_000;
    // Several times as long as an unoptimised proxy needs for what may be on its way before a pong, and much shorter than such a
    // control plane needs for one of the calls.
    let world = Setup::new().lease("3s").start().await;
    world.grant("orders:GET:/**").await;
    let files: Vec<_> = (0..2)
        .map(|call| {
            let file = format!("bulk-{call}.jsonl");
            std::fs::write(world.path(&file), bulk(call * EACH..(call + 1) * EACH)).unwrap();
            file
        })
        .collect();
    let calls = async {
        for file in &files {
            world.cli(&["grant", "--file", file, "--reason", "a test"]).await;
        }
        // Until the proxy has them all: taking them in must not cost it its lease either.
        let all = (files.len() * EACH) as f64;
        crate::harness::eventually("all grants at the proxy", || async {
            (world.metric("jitgate_grants").await >= all).then_some(())
        })
        .await;
    };
    let traffic = async {
        let mut connection = world.client(Protocol::H1).connect().await;
        loop {
            let answer = connection.get("/v1/orders").await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    };
    tokio::select! {
        () = calls => {}
        () = traffic => {}
    }
    // No moment in between either: a lease that has run out cuts, and is asked for anew.
    let log = std::fs::read_to_string(world.path("proxy.log")).unwrap();
    assert!(!log.contains("leaving the control plane"), "{log}");
}

#[tokio::test]
async fn ten_thousand_grants_in_one_call() {
    let world = Setup::new().start().await;
    std::fs::write(world.path("bulk.jsonl"), bulk(0..10_000)).unwrap();
    world.cli(&["grant", "--file", "bulk.jsonl", "--reason", "a test"]).await;
    crate::harness::eventually("10,000 grants at the proxy", || async {
        (world.metric("jitgate_grants").await >= 10_000.0).then_some(())
    })
    .await;
    let leaf = world.ca.svid("agent/n7777");
    let answer = world.client_as(Some(&leaf), Protocol::H1).get("/v1/orders").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.reason(), "no_grant");
}
