//! What costs the attacker little and would cost the gate much: each is bounded in memory and time, and others are served.

use super::{
    END_HEADERS, END_STREAM, GET, GOAWAY, HEADERS, OK, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE,
    assert_serves, bare_world, http2, settles,
};
use crate::harness::raw::{block, frame, headers_frame};
use crate::harness::world::AGENT;
use crate::harness::{Protocol, eventually, within};

#[tokio::test]
async fn streams_that_make_the_gate_reset_them_end_the_connection() {
    let (world, _recorder) = bare_world("").await;
    let mut raw = http2(&world).await;
    // The caller breaks each stream so that the gate is the one who resets it (CVE-2025-8671).
    for number in 0..3_000_u32 {
        let stream = 1 + 2 * number;
        let broken = frame(WINDOW_UPDATE, 0, stream, &[0; 4]);
        raw.send([headers_frame(stream, "/slow"), broken].concat()).await;
    }
    let (seen, ended) = raw.frames("the end of the flood", |frame| frame.kind == GOAWAY).await;
    assert!(ended || seen.last().is_some_and(|last| last.payload[7] != 0), "{} frames", seen.len());
    drop(raw);
    world.upstream.running(0).await;
    assert_serves(&world).await;
}

#[tokio::test]
async fn a_small_head_cannot_become_a_large_one() {
    let (mut world, recorder) = bare_world("").await;
    let before = world.proxy().resident_kib();
    let large = "y".repeat(100);
    // One entry into the table, then one byte for each of 16,000 copies of it.
    let mut entry = vec![0x40, 1, b'x', 100];
    entry.extend_from_slice(large.as_bytes());
    let bomb = [block(&GET), entry, vec![0xbe; 15_000]].concat();
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut raw = http2(&world).await;
        raw.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb)).await;
        let (seen, _) = raw.frames("an answer to the bomb", settles).await;
        let ok = seen.iter().any(|frame| frame.kind == HEADERS && frame.payload.first() == Some(&OK));
        assert!(!ok, "{seen:?}");
        held.push(raw);
    }
    let after = world.proxy().resident_kib();
    assert!(after < before + 48 * 1024, "{before} KiB became {after} KiB");
    assert!(recorder.take().whole.is_empty());
    assert_serves(&world).await;
}

#[tokio::test]
async fn answers_that_nobody_takes_do_not_pile_up() {
    let (mut world, _recorder) = bare_world("").await;
    let before = world.proxy().resident_kib();
    // A window of nothing, for 200 downloads without end.
    let nothing = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut raw = http2(&world).await;
    raw.send(nothing).await;
    let mut heads = 0;
    for number in 0..200 {
        raw.send(headers_frame(1 + 2 * number, "/download")).await;
    }
    raw.frames("200 heads", |frame| {
        heads += usize::from(frame.kind == HEADERS);
        heads == 200
    })
    .await;
    world.upstream.running(200).await;
    let after = world.proxy().resident_kib();
    assert!(after < before + 96 * 1024, "{before} KiB became {after} KiB");
    assert_serves(&world).await;
    drop(raw);
    world.upstream.running(0).await;
}

#[tokio::test]
async fn resets_in_the_middle_of_a_cut_leave_one_line_each() {
    let (world, _recorder) = bare_world("").await;
    let fixed = ["grant", "--principal", AGENT, "--task", "t-9", "--scope", "orders:GET:/download"];
    let grant = world.cli(&[&fixed[..], &["--ttl", "10m", "--reason", "a test"]].concat()).await;
    world.applied(&grant["revision"]).await;
    let mut raw = http2(&world).await;
    let narrowed = |stream| {
        let fields = [
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "orders.localhost"),
            (":path", "/download"),
            ("jitgate-task", "t-9"),
        ];
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&fields))
    };
    const STREAMS: u32 = 20;
    for number in 0..STREAMS {
        raw.send(narrowed(1 + 2 * number)).await;
    }
    world.upstream.running(STREAMS as usize).await;
    let resets = async {
        for number in 0..STREAMS {
            raw.send(frame(RST_STREAM, 0, 1 + 2 * number, &8_u32.to_be_bytes())).await;
        }
    };
    let (receipt, ()) = tokio::join!(world.revoke(grant["id"].as_str().unwrap()), resets);
    assert_eq!(receipt["effective"], true, "{receipt}");
    world.upstream.running(0).await;
    let lines =
        || world.audit().into_iter().filter(|line| line["kind"] == "end" && line["path"] == "/download");
    eventually("a line for each stream", || async { (lines().count() >= STREAMS as usize).then_some(()) })
        .await;
    assert_eq!(lines().count(), STREAMS as usize);
    let known = |line: &serde_json::Value| line["end"] == "cut" || line["end"] == "client_gone";
    assert!(lines().all(|line| known(&line)), "{:?}", lines().collect::<Vec<_>>());
    assert_serves(&world).await;
}

#[tokio::test]
async fn streams_behind_a_farewell_hold_nothing() {
    let (world, _recorder) = bare_world("").await;
    let mut raw = http2(&world).await;
    raw.send(headers_frame(1, "/slow")).await;
    world.upstream.running(1).await;
    raw.send([frame(GOAWAY, 0, 0, &[0; 8]), headers_frame(3, "/slow"), headers_frame(5, "/slow")].concat())
        .await;
    drop(raw);
    world.upstream.running(0).await;
    assert_serves(&world).await;
}

#[tokio::test]
async fn while_one_connection_floods_others_are_served() {
    let (mut world, _recorder) = bare_world("").await;
    let before = world.proxy().resident_kib();
    let flood = {
        let ping = frame(PING, 0, 0, &[0; 8]).repeat(20_000);
        let window = frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes()).repeat(100_000);
        let resets: Vec<u8> = (0..20_000_u32)
            .flat_map(|number| {
                let stream = 1 + 2 * number;
                [headers_frame(stream, "/v1/orders"), frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())]
                    .concat()
            })
            .collect();
        [ping, window, resets]
    };
    let attacks = async {
        for bytes in &flood {
            let mut raw = http2(&world).await;
            raw.send(bytes).await;
        }
    };
    let others = async {
        let mut connection = world.client(Protocol::H1).connect().await;
        for _ in 0..200 {
            assert_eq!(connection.get("/v1/orders").await.status, 200);
        }
    };
    within("service during floods", async { tokio::join!(attacks, others) }).await;
    world.upstream.running(0).await;
    let after = world.proxy().resident_kib();
    assert!(after < before + 64 * 1024, "{before} KiB became {after} KiB");
}
