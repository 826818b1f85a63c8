//! How long does a revoked caller still get through: from the operator's call to the first refusal, under load. See `README.md`.
//!
//! Environment: `ROUNDS` (100), `CONNECTIONS` (16).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench measures with the clock and stops at the first thing that goes wrong"
)]

mod disk;
mod gate;

use bytes::Bytes;
use gate::{Gate, HOST, figures, setting};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(run());
}

async fn run() {
    disk::say(&std::env::temp_dir());
    let gate = Gate::start("http").await;
    let mut operator = gate.operator().await;
    operator.grant("/v1/items/*").await;
    println!(
        "| load | requests/s beside | call to first refusal ms, p50 | p99 | most | call to receipt ms, p50 | p99 | most |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for connections in [0, setting("CONNECTIONS", 16)] {
        let served = Arc::new(AtomicU64::new(0));
        let mut load = Vec::new();
        for _ in 0..connections {
            load.push(tokio::spawn(keep_busy(connect(&gate).await, Arc::clone(&served))));
        }
        let (mut refusals, mut receipts) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        for round in 0..setting("ROUNDS", 100) {
            let path = format!("/v1/probe/{connections}-{round}");
            let grant = operator.grant(&path).await;
            let mut probe = connect(&gate).await;
            while get(&mut probe, &path).await != 200 {}
            let probing = tokio::spawn(async move {
                while get(&mut probe, &path).await == 200 {}
                Instant::now()
            });
            // The probe is in its stride.
            tokio::time::sleep(Duration::from_millis(5)).await;
            let called = Instant::now();
            operator.revoke(&grant).await;
            receipts.push(called.elapsed());
            refusals.push(probing.await.unwrap().duration_since(called));
        }
        let rate = served.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        load.iter().for_each(tokio::task::JoinHandle::abort);
        let ([a, b, c], [d, e, f]) = (figures(refusals), figures(receipts));
        println!(
            "| {connections} connections | {rate:.0} | {a:.2} | {b:.2} | {c:.2} | {d:.2} | {e:.2} | {f:.2} |"
        );
    }
}

async fn connect(gate: &Gate) -> SendRequest<Empty<Bytes>> {
    let (sender, connection) = http1::handshake(gate.agent(b"http/1.1").await).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn keep_busy(mut sender: SendRequest<Empty<Bytes>>, served: Arc<AtomicU64>) {
    loop {
        assert_eq!(get(&mut sender, "/v1/items/42").await, 200);
        served.fetch_add(1, Ordering::Relaxed);
    }
}

async fn get(sender: &mut SendRequest<Empty<Bytes>>, path: &str) -> u16 {
    let request = Request::get(path).header("host", HOST).body(Empty::new()).unwrap();
    sender.ready().await.unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    answer.into_body().collect().await.unwrap();
    status
}
