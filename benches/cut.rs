//! How long does it take to cut 10,000 streams of one grant: until the proxy has confirmed it, and until the callers have seen the last
//! of them end. See `README.md`.
//!
//! Environment: `ROUNDS` (5), `STREAMS` (10000).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench measures with the clock and stops at the first thing that goes wrong"
)]

mod gate;

use bytes::Bytes;
use gate::{Gate, HOST, figures, setting};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::TokioExecutor;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Streams of one connection: fewer than a caller may have.
const EACH: u64 = 250;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    let gate = Gate::start("h2c").await;
    let mut operator = gate.operator().await;
    // Callers shaking hands while streams are cut would measure handshakes.
    let mut connections = Vec::new();
    let streams = setting("STREAMS", 10_000);
    for _ in 0..streams.div_ceil(EACH) {
        let io = gate.agent(b"h2").await;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        connections.push(sender);
    }
    let (mut confirmed, mut seen) = (Vec::new(), Vec::new());
    for round in 0..setting("ROUNDS", 5) {
        let path = format!("/v1/stream/{round}");
        let grant = operator.grant(&path).await;
        while !is_permitted(&mut connections[0], &path).await {}
        let mut running = Vec::new();
        for number in 0..streams {
            let sender = &mut connections[(number / EACH) as usize];
            sender.ready().await.unwrap();
            let request = Request::get(format!("https://{HOST}{path}")).body(Empty::new()).unwrap();
            let answer = sender.send_request(request);
            running.push(tokio::spawn(async move {
                let answer = answer.await.unwrap();
                assert_eq!(answer.status(), 200);
                let mut body = answer.into_body();
                assert!(body.frame().await.is_some_and(|frame| frame.is_ok()));
                body
            }));
        }
        let mut ends = Vec::new();
        for body in running {
            let mut body = body.await.unwrap();
            ends.push(tokio::spawn(async move {
                let end = body.frame().await;
                assert!(end.is_some_and(|end| end.is_err()), "a cut stream ended as if it were whole");
                Instant::now()
            }));
        }
        let called = Instant::now();
        let receipt = operator.revoke(&grant).await;
        confirmed.push(called.elapsed());
        let mut last = called;
        for end in ends {
            last = last.max(end.await.unwrap());
        }
        seen.push(last.duration_since(called));
        assert!(receipt["proxies"][0]["streams_cut"].as_u64() >= Some(streams), "{receipt}");
    }
    let ([a, _, b], [c, _, d]) = (figures(confirmed), figures(seen));
    println!("| streams | call to receipt ms, p50 | most | call to the last end seen ms, p50 | most |");
    println!("|---|---|---|---|---|");
    println!("| {streams} | {a:.1} | {b:.1} | {c:.1} | {d:.1} |");
}

/// Asks once, and gives the stream up.
async fn is_permitted(sender: &mut http2::SendRequest<Empty<Bytes>>, path: &str) -> bool {
    sender.ready().await.unwrap();
    let request = Request::get(format!("https://{HOST}{path}")).body(Empty::new()).unwrap();
    sender.send_request(request).await.unwrap().status() == 200
}
