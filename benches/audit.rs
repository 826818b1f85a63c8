//! What does the audit trail cost a request? From the first fact to the queued `end` line, with the writer at work: on one thread, and
//! on all of them. Refusals above their budget are measured apart: a flood must be cheaper than what it stands for.
//!
//! `cargo bench --bench audit [-- REQUESTS]`; with few requests it is fit for callgrind, which counts instructions.

use http::Method;
use jitgate::audit::record::{Caller, Draft, End, Protocol, TraceId};
use jitgate::audit::sink::{AuditConfig, AuditSink, Target};
use jitgate::model::{DenyReason, GrantId, RequestId, Revision, ServiceName, TaskId};
use jitgate::runtime::clock::Mono;
use jitgate::runtime::metrics::Metrics;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Far fewer than places in the queue, and no more than there is room for at once.
const PORTION: u64 = 4_000;

struct Facts {
    caller: Arc<Caller>,
    service: ServiceName,
    task: TaskId,
}

fn permitted(sink: &Arc<AuditSink>, facts: &Facts, n: u64) -> bool {
    let mut draft = draft(sink, facts, n);
    draft.grant(GrantId::from_bits(u128::from(n)), &facts.task);
    draft.decided(Revision(n), Duration::from_nanos(120));
    let Ok(mut record) = draft.admit() else { return false };
    record.status(200);
    record.add_bytes_out(1_024);
    record.finish(End::Complete);
    true
}

fn draft(sink: &Arc<AuditSink>, facts: &Facts, n: u64) -> Draft {
    let mut draft = Draft::begin(sink, &facts.caller, RequestId::from_bits(u128::from(n) << 40), Mono::now());
    draft.trace(TraceId([7; 16]));
    draft.head(&Method::GET, "/v1/orders/8f14e45f-ceea-467f-a83d-8bd3c1b1a2c4", Protocol::Http11);
    draft.service(&facts.service);
    draft
}

fn main() -> Result<(), Box<dyn Error>> {
    let requests: u64 = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(500_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("audit.jsonl");
    let metrics = Metrics::new(&[])?;
    let mut config = AuditConfig::new("edge-1".parse()?, Target::File(path.clone()));
    config.rotate_bytes = u64::MAX;
    let sink = AuditSink::open(config, Arc::clone(&metrics))?;
    let facts = Facts {
        caller: Caller::new(
            &"spiffe://jitgate.local/agent/demo".parse()?,
            &[0xab; 32],
            "127.0.0.1:51234".parse()?,
        ),
        service: "orders".parse()?,
        task: "INC-4711".parse()?,
    };

    println!("{:<34} {:>12} {:>14} {:>10}", "", "ns each", "lines/s", "refused");
    let cores = std::thread::available_parallelism()?.get();
    let (mut refused_before, mut written_before) = (0, 0);
    for threads in [1, cores] {
        // In portions that fit into the queue, each begun when it is empty: what is asked is what a line costs its request, not how
        // fast a disk is. What is refused all the same is shown.
        let (mut took, mut refused, mut done) = (Duration::ZERO, 0, 0);
        while done < requests {
            let each = PORTION / threads as u64;
            let begun = Mono::now();
            refused += std::thread::scope(|scope| {
                let work = || (0..each).filter(|n| !permitted(&sink, &facts, *n)).count() as u64;
                let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
                workers.into_iter().filter_map(|worker| worker.join().ok()).sum::<u64>()
            });
            took += Mono::now().since(begun);
            done += PORTION;
            while metrics.audit_lines.end.get() + refused_before + refused < written_before + done {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        (refused_before, written_before) = (refused_before + refused, written_before + done);
        report(&format!("permitted, {threads} thread(s)"), done, threads, took, refused);
    }
    let begun = Mono::now();
    for n in 0..requests {
        draft(&sink, &facts, n).deny(DenyReason::NoGrant, 403, 300);
    }
    report("refused, above the budget", requests, 1, Mono::now().since(begun), 0);
    sink.close(Duration::from_secs(60))?;
    let lines = metrics.audit_lines.end.get();
    println!("{lines} end lines written, {} bytes each", std::fs::metadata(&path)?.len() / lines.max(1));
    Ok(())
}

fn report(what: &str, requests: u64, threads: usize, took: Duration, refused: u64) {
    let seconds = took.as_secs_f64();
    let (requests, threads) = (requests as f64, threads as f64);
    println!(
        "{what:<34} {:>12.0} {:>14.0} {refused:>10}",
        seconds * 1e9 * threads / requests,
        requests / seconds
    );
}
