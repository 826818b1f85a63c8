//! Law 5, revoked means stopped: what was admitted under a grant ends with it, in both directions, and never as if it were complete.

use crate::harness::client::{Body, empty};
use crate::harness::world::AGENT;
use crate::harness::{Protocol, World, within};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::Value;
use std::convert::Infallible;
use std::time::Duration;

/// Reads until the body ends; whether it ended as if it were complete, and how many bytes came.
async fn drain(mut body: Incoming) -> (bool, usize) {
    let mut bytes = 0;
    let reading = async {
        loop {
            match body.frame().await {
                None => break true,
                Some(Ok(frame)) => bytes += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => break false,
            }
        }
    };
    let clean = within("the end of a body", reading).await;
    (clean, bytes)
}

/// Whatever was permitted was cut, for this cause.
fn assert_cut(lines: &[Value], cause: &str) {
    let permitted: Vec<_> = lines.iter().filter(|line| line["decision"] == "permit").collect();
    assert!(!permitted.is_empty(), "{lines:?}");
    for line in permitted {
        assert_eq!(line["end"], "cut", "{line}");
        assert_eq!(line["cause"], cause, "{line}");
    }
}

#[tokio::test]
async fn a_revocation_cuts_answers_that_are_running() {
    for protocol in Protocol::BOTH {
        for path in ["/sse", "/download"] {
            let world = World::start().await;
            let grant = world.grant("orders:GET:/**").await;
            let mut connection = world.client(protocol).connect().await;
            let mut answer = connection.open(path).await;
            within("the first bytes", answer.frame()).await.unwrap().unwrap();
            let reading = tokio::spawn(drain(answer.into_body()));

            let receipt = world.revoke(&grant).await;
            assert_eq!(receipt["effective"], true, "{receipt}");
            let (clean, _) = reading.await.unwrap();
            assert!(!clean, "{protocol:?} {path}: the cut looks like a complete answer");
            world.upstream.running(0).await;
            assert_cut(&world.ends(path).await, "revoked");
            assert!(world.metric(r#"jitgate_streams_cut_total{cause="revoked"}"#).await >= 1.0);
            assert_eq!(world.metric("jitgate_streams_in_flight").await, 0.0);
            assert_eq!(world.client(protocol).get(path).await.reason(), "revoked");
        }
    }
}

#[tokio::test]
async fn a_revocation_cuts_a_caller_that_does_not_read() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        // Held and never read: the proxy's sending stalls on flow control.
        let _held = connection.open("/download").await;
        if protocol == Protocol::H2 {
            let receipt = world.revoke(&grant).await;
            assert_eq!(receipt["effective"], true, "{receipt}");
        }
    }
    world.upstream.running(0).await;
}

#[tokio::test]
async fn a_revocation_cuts_an_upload() {
    let world = World::start().await;
    let grant = world.grant("orders:PUT:/**").await;
    for protocol in [Protocol::H1] {
        let mut connection = world.client(protocol).connect().await;
        let frames = stream::unfold((), |()| async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1024]))), ()))
        });
        let body: Body = StreamBody::new(frames).boxed_unsync();
        let request = connection.request("PUT", "/upload").body(body).unwrap();
        let sending = tokio::spawn(async move { connection.try_send(request).await });
        world.upstream.running(1).await;
        world.revoke(&grant).await;
        world.upstream.running(0).await;
        if let Ok(answer) = sending.await.unwrap() {
            assert!(!answer.status().is_success(), "{answer:?}");
        }
    }
    assert_cut(&world.ends("/upload").await, "revoked");
}

#[tokio::test]
async fn only_what_ran_under_the_revoked_grant_is_cut() {
    let world = World::start().await;
    let one = world.grant("orders:GET:/sse").await;
    world.grant("orders:GET:/download").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let events = connection.open("/sse").await.into_body();
    let mut download = connection.open("/download").await.into_body();
    world.revoke(&one).await;
    assert!(!drain(events).await.0);
    for _ in 0..100 {
        within("the next bytes", download.frame()).await.unwrap().unwrap();
    }
    assert_eq!(connection.get("/download/other").await.reason(), "out_of_scope");
}

#[tokio::test]
async fn a_stream_ends_when_its_grant_expires() {
    let world = World::start().await;
    for protocol in Protocol::BOTH {
        world.grant_with("orders:GET:/**", &["--ttl", "2s"]).await;
        let answer = world.client(protocol).connect().await.open("/sse").await;
        assert!(!drain(answer.into_body()).await.0, "{protocol:?}");
        assert_eq!(world.client(protocol).get("/sse").await.reason(), "expired");
    }
    world.upstream.running(0).await;
    assert_cut(&world.ends("/sse").await, "expired");
}

#[tokio::test]
async fn every_way_to_revoke_reaches_the_grant() {
    let world = World::start().await;
    let ways: [&[&str]; 4] =
        [&["--task", "t-1"], &["--principal", AGENT], &["--service", "orders"], &["--all"]];
    for way in ways {
        world.grant("orders:GET:/**").await;
        assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
        world.cli(&[&["revoke", "--reason", "a test", "--wait"], way].concat()).await;
        assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.reason(), "revoked", "{way:?}");
    }
}

#[tokio::test]
async fn a_request_that_waits_for_its_answer_is_cut_as_well() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let request = connection.request("GET", "/slow").body(empty()).unwrap();
    let waiting = tokio::spawn(async move { connection.try_send(request).await });
    world.upstream.running(1).await;
    world.revoke(&grant).await;
    world.upstream.running(0).await;
    if let Ok(answer) = waiting.await.unwrap() {
        assert!(!answer.status().is_success(), "{answer:?}");
    }
    assert_cut(&world.ends("/slow").await, "revoked");
}
