//! What does a whole request cost, against a proxy that does nothing but pass through?
//!
//! `cargo bench --bench request`: throughput and latency, ours and the floor in turn, in one run; quote the ratios.
//! `cargo bench --bench request -- instructions`: user-space instructions a request (needs valgrind), repeatable.
//! `cargo bench --bench request -- tools`: tool calls of MCP against plain HTTP with the same bytes, both through the gate.
//! `cargo bench --bench request -- connections`: the same for a new connection with one request on it.
//!
//! The real binary runs as a user would run it (`jitgate up`, one grant, audit on) on one core; the floor is `floor.rs`. Upstream and
//! load share the other core. Environment: `ROUNDS` (5), `SECONDS` (2), `CONNECTIONS` (32).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a bench measures with the clock and stops at the first thing that goes wrong"
)]

mod floor;
mod load;
mod peers;

use load::{Ask, Load, Protocol};
use peers::Lab;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("floor") => floor::main(&args[2], &args[3], &args[4]),
        Some("upstream") => load::upstream(&args[2]),
        Some("instructions") => instructions(),
        Some("connections") => connections(),
        Some("tools") => tools(),
        _ => throughput(),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Ours and the floor in turn, round by round.
fn throughput() {
    let lab = Lab::start(None);
    let (rounds, seconds) = (setting("ROUNDS", 5), setting("SECONDS", 2));
    println!("| protocol | figure | floor | jitgate | ratio (median of rounds) |\n|---|---|---|---|---|");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let load = |port| Load::new(port, protocol, setting("CONNECTIONS", 32), &lab.data);
        let (floor, ours) = (load(lab.floor.port), load(lab.ours.port));
        let mut rows: Vec<[f64; 6]> = Vec::new();
        for _ in 0..rounds {
            let (floor_cpu, ours_cpu) = (lab.floor.cpu_seconds(), lab.ours.cpu_seconds());
            let first = floor.run(seconds);
            let floor_cpu = (lab.floor.cpu_seconds() - floor_cpu) / first.requests as f64 * 1e5;
            let second = ours.run(seconds);
            let ours_cpu = (lab.ours.cpu_seconds() - ours_cpu) / second.requests as f64 * 1e5;
            rows.push([first.rate, second.rate, first.p99_us, second.p99_us, floor_cpu, ours_cpu]);
        }
        for (name, at) in [("requests/s", 0), ("p99 µs", 2), ("CPU s / 100,000 requests", 4)] {
            let mut floor: Vec<f64> = rows.iter().map(|row| row[at]).collect();
            let mut ours: Vec<f64> = rows.iter().map(|row| row[at + 1]).collect();
            let mut ratio: Vec<f64> = rows.iter().map(|row| row[at + 1] / row[at]).collect();
            let (floor, ours) = (median(&mut floor), median(&mut ours));
            println!("| {protocol:?} | {name} | {floor:.1} | {ours:.1} | {:.2}x |", median(&mut ratio));
        }
    }
}

/// Tool calls and plain HTTP in turn, both through the gate.
fn tools() {
    let lab = Lab::start(None);
    let (rounds, seconds) = (setting("ROUNDS", 5), setting("SECONDS", 2));
    println!(
        "| protocol | plain HTTP requests/s | tool calls/s | ratio (median of rounds) |\n|---|---|---|---|"
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let load = |ask| Load::new(lab.ours.port, protocol, setting("CONNECTIONS", 32), &lab.data).asks(ask);
        let (plain, tool) = (load(Ask::post()), load(Ask::tool()));
        let (mut plains, mut calls, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            let (first, second) = (plain.run(seconds).rate, tool.run(seconds).rate);
            plains.push(first);
            calls.push(second);
            ratios.push(second / first);
        }
        let (plain, call, ratio) = (median(&mut plains), median(&mut calls), median(&mut ratios));
        println!("| {protocol:?} | {plain:.0} | {call:.0} | {ratio:.2}x |");
    }
}

fn instructions() {
    println!("| protocol | floor instr/request | jitgate instr/request | ratio |\n|---|---|---|---|");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        count(protocol, 8, [2_000, 6_000], Load::run_requests);
    }
}

fn connections() {
    println!("| protocol | floor instr/connection | jitgate instr/connection | ratio |\n|---|---|---|---|");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        count(protocol, 1, [100, 400], Load::run_connections);
    }
}

/// The difference between two runs of different length, divided by what was done in between: start and end cancel out.
fn count(protocol: Protocol, connections: u64, [few, many]: [u64; 2], run: impl Fn(&Load, u64)) {
    let count = |times: u64| {
        let lab = Lab::start(Some("callgrind"));
        for port in [lab.floor.port, lab.ours.port] {
            run(&Load::new(port, protocol, connections, &lab.data), times);
        }
        lab.stop_and_count()
    };
    let (short, long) = (count(few), count(many));
    let per = |short: u64, long: u64| (long as f64 - short as f64) / (many - few) as f64;
    let (floor, ours) = (per(short.0, long.0), per(short.1, long.1));
    println!("| {protocol:?} | {floor:.0} | {ours:.0} | {:.3}x |", ours / floor);
}
