//! What does a whole request cost, against a proxy that does nothing but pass through?
//!
//! `cargo bench --bench request`: throughput and latency, ours and the floor in turn, in one run; quote the ratios.
//! `cargo bench --bench request -- tools`: tool calls of MCP against plain HTTP with the same bytes, both through the gate.
//!
//! Repeatable on a busy machine, as they count instead of measuring time:
//!
//! `cargo bench --bench request -- instructions [tools|grants]`: user-space instructions a request (needs valgrind): against the floor;
//! of tool calls against plain HTTP with the same bytes; with 10,000 grants in the table against 10. `KEEP=FOLDER` keeps the profiles.
//! `cargo bench --bench request -- syscalls`: system calls of a GET, a POST and a tool call with the same bytes (needs strace).
//! `RUSTFLAGS="--cfg jitgate_bench_unaudited" cargo bench --bench request -- audit`: throughput and CPU time with the trail off, `buffered` and `durable`.
//! `cargo bench --bench request -- connections`: instructions for a new connection with one request on it.
//!
//! The real binary runs as a user would run it (`jitgate up`, one grant, audit on) on one core; the floor is `floor.rs`. Service and
//! load share the other core, in one thread that never sleeps. Rounds are short and many, as a shared core has been
//! seen to change its speed by 1.7 within seconds. Environment: `ROUNDS` (20), `MILLIS` of each (500), `CONNECTIONS` (32), `JITGATE` (the
//! program to measure).
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
use peers::{Audit, Costs, Counts, Lab, SHA256, Under};
use std::collections::BTreeSet;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match args.get(1).map(String::as_str) {
        Some("floor") => floor::main(&args[2], &args[3], &args[4]),
        Some("instructions") => match args.get(2).map(String::as_str) {
            Some("tools") => tool_instructions(),
            Some("grants") => grant_instructions(),
            _ => instructions(),
        },
        Some("syscalls") => syscalls(),
        Some("connections") => connections(),
        Some("tools") => tools(),
        Some("audit") => audit(),
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

/// So that nothing of the load runs where the proxies do.
fn stay_on_the_load_core() {
    let pid = std::process::id().to_string();
    let done = std::process::Command::new("taskset").args(["-c", "-p", "1", &pid]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// One of each, beginning with another one each round.
fn in_turn<T, const N: usize>(round: u64, mut run: impl FnMut(usize) -> T) -> [T; N] {
    let mut ran: [Option<T>; N] = std::array::from_fn(|_| None);
    for nth in 0..N {
        let at = (usize::try_from(round).unwrap() + nth) % N;
        ran[at] = Some(run(at));
    }
    ran.map(Option::unwrap)
}

/// Runs each of them round by round, and prints the medians, with the ratios to the first of the same round.
fn compare<const N: usize>(
    protocol: Protocol,
    names: [&str; N],
    mut run: impl FnMut(usize, Duration) -> Costs,
) {
    let (rounds, time) = (setting("ROUNDS", 20), Duration::from_millis(setting("MILLIS", 500)));
    let rows: Vec<[Costs; N]> = (0..rounds).map(|round| in_turn(round, |at| run(at, time))).collect();
    for (at, name) in names.iter().enumerate() {
        let of = |value: &dyn Fn(&Costs) -> f64| {
            median(&mut rows.iter().map(|row| value(&row[at])).collect::<Vec<_>>())
        };
        let to = |value: &dyn Fn(&Costs) -> f64| {
            median(&mut rows.iter().map(|row| value(&row[at]) / value(&row[0])).collect::<Vec<_>>())
        };
        let pair = |value: &dyn Fn(&Costs) -> f64| (of(value), to(value));
        let ((rate, rates), (p99, p99s), (cpu, cpus)) =
            (pair(&|c| c.rate), pair(&|c| c.p99_us), pair(&|c| c.cpu));
        let busy = of(&|costs| costs.busy);
        println!(
            "| {protocol:?} | {name} | {rate:.0} | {rates:.2}x | {p99:.0} | {p99s:.2}x | {cpu:.2} | {cpus:.2}x | {busy:.2} |"
        );
    }
}

fn head() {
    println!(
        "| protocol | what | requests/s | to the first | p99 µs | to the first | CPU s / 100,000 | to the first | core busy |\n|---|---|---|---|---|---|---|---|---|"
    );
}

/// Ours and the floor in turn.
fn throughput() {
    stay_on_the_load_core();
    let lab = Lab::start(Under::Itself, 0);
    head();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let load = |port| Load::new(port, protocol, setting("CONNECTIONS", 32), &lab);
        let loads = [load(lab.floor.port), load(lab.ours.port)];
        compare(protocol, ["floor", "jitgate"], |at, time| {
            [&lab.floor, &lab.ours][at].costs(&loads[at], time)
        });
    }
}

/// Tool calls and plain HTTP in turn, both through the gate.
fn tools() {
    stay_on_the_load_core();
    let lab = Lab::start(Under::Itself, 0);
    head();
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let load = |ask| Load::new(lab.ours.port, protocol, setting("CONNECTIONS", 32), &lab).asks(ask);
        let loads = [load(Ask::post()), load(Ask::tool())];
        compare(protocol, ["plain HTTP", "tool calls"], |at, time| lab.ours.costs(&loads[at], time));
    }
}

/// Three proxies in turn, whose trails are off, `buffered` and `durable`.
fn audit() {
    if !cfg!(jitgate_bench_unaudited) {
        eprintln!(
            "this needs a build that can leave the trail out: RUSTFLAGS=\"--cfg jitgate_bench_unaudited\" cargo bench --bench request -- audit"
        );
        std::process::exit(2);
    }
    let kinds = [Audit::Off, Audit::Buffered, Audit::Durable];
    stay_on_the_load_core();
    let labs = kinds.map(|audit| Lab::start_audited(Under::Itself, 0, audit));
    for (protocol, connections) in [(Protocol::Http1, 32), (Protocol::Http1, 256), (Protocol::Http2, 32)] {
        println!("\n{connections} connections\n");
        head();
        let loads = labs.each_ref().map(|lab| Load::new(lab.ours.port, protocol, connections, lab));
        compare(protocol, ["off", "buffered", "durable"], |at, time| labs[at].ours.costs(&loads[at], time));
    }
}

fn instructions() {
    println!(
        "| protocol | floor instr/request | jitgate instr/request | ratio | SHA-256 beside |\n|---|---|---|---|---|"
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        count(protocol, 8, [2_000, 6_000], Load::run_requests);
    }
}

fn connections() {
    println!(
        "| protocol | floor instr/connection | jitgate instr/connection | ratio | SHA-256 beside |\n|---|---|---|---|---|"
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        count(protocol, 1, [100, 400], Load::run_connections);
    }
}

/// The difference between two runs of different length, divided by what was done in between: start and end cancel out.
fn count(protocol: Protocol, connections: u64, [few, many]: [u64; 2], run: impl Fn(&Load, u64)) {
    let count = |times: u64| {
        let lab = Lab::start(Under::Callgrind, 0);
        for port in [lab.floor.port, lab.ours.port] {
            run(&Load::new(port, protocol, connections, &lab), times);
        }
        lab.stop_and_count()
    };
    let (short, long) = (count(few), count(many));
    let per = |short: u64, long: u64| (long as f64 - short as f64) / (many - few) as f64;
    let of = |counts: &Counts, name: &str| counts.get(name).copied().unwrap_or_default();
    let others = |short: &Counts, long: &Counts| per(of(short, "others"), of(long, "others"));
    let (floor, ours) = (others(&short.0, &long.0), others(&short.1, &long.1));
    let hash = per(of(&short.1, SHA256), of(&long.1, SHA256));
    println!("| {protocol:?} | {floor:.0} | {ours:.0} | {:.3}x | {hash:.0} |", ours / floor);
}

const FEW: u64 = 1_000;
const MANY: u64 = 5_000;

/// What one of each does at our proxy. One run has few of each, and for each one run has many of it: start and end cancel out.
fn each(under: Under, others: usize, protocol: Protocol, asks: &[Ask]) -> Vec<Vec<(String, f64)>> {
    let run = |many: Option<usize>| {
        let lab = Lab::start(under, others);
        for (at, ask) in asks.iter().enumerate() {
            let times = if many == Some(at) { MANY } else { FEW };
            Load::new(lab.ours.port, protocol, 8, &lab).asks(ask.clone()).run_requests(times);
        }
        lab.stop_and_count().1
    };
    let base = run(None);
    let of = |at: usize| {
        let counts = run(Some(at));
        let names: BTreeSet<&String> = base.keys().chain(counts.keys()).collect();
        let count = |counts: &Counts, name: &String| counts.get(name).copied().unwrap_or_default() as f64;
        let per = |name: &String| (count(&counts, name) - count(&base, name)) / (MANY - FEW) as f64;
        names.into_iter().map(|name| (name.clone(), per(name))).collect()
    };
    (0..asks.len()).map(of).collect()
}

fn sum(counts: &[(String, f64)]) -> f64 {
    counts.iter().map(|(_, count)| count).sum()
}

/// Tool calls and plain HTTP with the same bytes.
fn tool_instructions() {
    println!(
        "| protocol | plain HTTP instr/request | tool call instr/request | more | SHA-256 beside: plain HTTP | tool call |\n|---|---|---|---|---|---|"
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let counts = each(Under::Callgrind, 0, protocol, &[Ask::post(), Ask::tool()]);
        let ((plain, plain_hash), (tool, tool_hash)) = (apart(&counts[0]), apart(&counts[1]));
        println!(
            "| {protocol:?} | {plain:.0} | {tool:.0} | {:.0} | {plain_hash:.0} | {tool_hash:.0} |",
            tool - plain
        );
    }
}

/// A table of 10 grants and one of 10,000.
fn grant_instructions() {
    println!(
        "| protocol | 10 grants instr/request | 10,000 grants instr/request | ratio |\n|---|---|---|---|"
    );
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let with = |grants| apart(&each(Under::Callgrind, grants, protocol, &[Ask::get()])[0]).0;
        let (few, many) = (with(9), with(9_999));
        println!("| {protocol:?} | {few:.0} | {many:.0} | {:.3}x |", many / few);
    }
}

/// Instructions, and those of SHA-256 beside them.
fn apart(counts: &[(String, f64)]) -> (f64, f64) {
    let hash: f64 = counts.iter().filter(|(name, _)| name == SHA256).map(|(_, count)| count).sum();
    (sum(counts) - hash, hash)
}

/// System calls that at least one request in a hundred makes.
fn syscalls() {
    println!("| protocol | GET | POST | tool call |\n|---|---|---|---|");
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let counts = each(Under::Strace, 0, protocol, &[Ask::get(), Ask::post(), Ask::tool()]);
        let shown = |counts: &Vec<(String, f64)>| {
            let some = counts.iter().filter(|(_, count)| count.abs() >= 0.01);
            let names: Vec<String> = some.map(|(name, count)| format!("{name} {count:.2}")).collect();
            format!("{:.2}: {}", sum(counts), names.join(", "))
        };
        let cells: Vec<String> = counts.iter().map(shown).collect();
        println!("| {protocol:?} | {} |", cells.join(" | "));
    }
}
