//! How long does a search of ten million lines take, and how fast is a trail checked? A trail is written by the proxy's own writer,
//! rotated, compressed and indexed as in service, then searched and verified with warm files.
//!
//! `cargo bench --bench search [-- LINES]`. Ten million lines want 3 GB in `target/tmp` while it runs.

use http::Method;
use jitgate::audit::record::{Caller, Draft, End, Protocol, TraceId};
use jitgate::audit::search::{self, Conditions, Field, Order};
use jitgate::audit::sink::{AuditConfig, AuditSink, DenialBudget, Target};
use jitgate::audit::verify::{self, Trusted};
use jitgate::model::{DenyReason, GrantId, RequestId, Revision, ServiceName, TaskId, Time};
use jitgate::notary::Store;
use jitgate::runtime::clock::{Mono, wall};
use jitgate::runtime::metrics::Metrics;
use jitgate::tlog::{Checkpoint, VerifierKey};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Far fewer than places in the queue, and than there is room for on the disk while the writer waits for it.
const PORTION: u64 = 4_000;
const PRINCIPALS: u64 = 1_000;
/// Calls of a task; so many tasks run at a time.
const CALLS: u64 = 100;
const AT_A_TIME: u64 = 64;
/// Lines of which one has the text that is looked for.
const RARE: u64 = 500_000;

struct World {
    sink: Arc<AuditSink>,
    callers: Vec<Arc<Caller>>,
    services: Vec<ServiceName>,
}

fn agent(n: u64) -> String {
    format!("spiffe://jitgate.local/agent/worker-{n:04}")
}

/// As random as the ids of requests are: what is compressed must not be easier than in service.
fn random(n: u64) -> u64 {
    let mut bits = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn wide(n: u64) -> u128 {
    (u128::from(random(n)) << 64) | u128::from(random(!n))
}

fn task(n: u64) -> String {
    // Tasks of one window take turns.
    let window = n / (CALLS * AT_A_TIME);
    format!("INC-{}", window * AT_A_TIME + n % AT_A_TIME)
}

fn call(world: &World, n: u64) -> Result<(), Box<dyn Error>> {
    let name: TaskId = task(n).parse()?;
    let of = random(name.as_str().trim_start_matches("INC-").parse()?);
    let index = usize::try_from(of % PRINCIPALS)?;
    let caller = world.callers.get(index).ok_or("no caller")?;
    let id = (u128::from(1_795_341_600_000 + n / 10) << 80) | (wide(n) >> 48);
    let mut draft = Draft::begin(&world.sink, caller, RequestId::from_bits(id), Mono::now());
    draft.trace(TraceId(wide(n ^ 0x5555).to_le_bytes()));
    let path = if n % RARE == 77 {
        "/v1/exports/needle-4711".to_owned()
    } else {
        format!("/v1/orders/{:08x}", random(n ^ 0x77) >> 32)
    };
    let method = if n.is_multiple_of(5) { Method::POST } else { Method::GET };
    draft.head(&method, &path, Protocol::Http2);
    let service = usize::try_from(of)? % world.services.len();
    draft.service(world.services.get(service).ok_or("no service")?);
    if n % 50 == 49 {
        draft.deny(DenyReason::OutOfScope, 403, 512);
        return Ok(());
    }
    draft.grant(GrantId::from_bits(wide(of)), &name);
    draft.decided(Revision(n / 100), Duration::from_nanos(150 + of % 90));
    let mut record = draft.admit().map_err(|_| "the trail cannot be written")?;
    record.status(200);
    record.add_bytes_in(random(n) % 300);
    record.add_bytes_out(random(n ^ 3) % 9_000);
    record.finish(End::Complete);
    Ok(())
}

fn plain_files(folder: &Path) -> std::io::Result<usize> {
    let names = std::fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.file_name()));
    let rotated = names.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("audit-") && name.ends_with(".jsonl")
    });
    Ok(rotated.count())
}

fn write(path: &Path, lines: u64) -> Result<(), Box<dyn Error>> {
    let metrics = Metrics::new(&[])?;
    let mut config = AuditConfig::new("edge-1".parse()?, Target::File(path.to_owned()));
    config.origin = Some("jitgate.local/proxy/edge-1/audit".to_owned());
    config.denials = DenialBudget { per_second: 1_000_000_000, burst: 1_000_000_000 };
    let sink = AuditSink::open(config, Arc::clone(&metrics))?;
    let caller = |n: u64| -> Result<Arc<Caller>, Box<dyn Error>> {
        Ok(Caller::new(&agent(n).parse()?, &[u8::try_from(n % 256)?; 32], "10.0.0.1:51234".parse()?))
    };
    let callers = (0..PRINCIPALS).map(caller).collect::<Result<_, _>>()?;
    let services = (0..20).map(|n| format!("service-{n}").parse()).collect::<Result<_, _>>()?;
    let world = World { sink, callers, services };
    let folder = path.parent().unwrap_or(path);
    let mut done = 0;
    while done < lines {
        for n in done..(done + PORTION).min(lines) {
            call(&world, n)?;
        }
        done = (done + PORTION).min(lines);
        while metrics.audit_lines.end.get() < done {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Compressing is slower than writing at this rate.
        while plain_files(folder)? > 4 {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    while plain_files(folder)? > 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    world.sink.close(Duration::from_secs(60))?;
    Ok(())
}

/// Processor time of this process so far, in steps of 10 ms: what a busy machine does beside is not in it.
fn processor() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').ok_or("no stat")?.1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / 100.0)
}

fn timed(what: &str, path: &Path, conditions: &Conditions, limit: usize) -> Result<(), Box<dyn Error>> {
    let (mut best, mut busy) = (Duration::MAX, f64::MAX);
    let (mut lines, mut skipped) = (0, 0);
    for _ in 0..3 {
        let (begun, from) = (Mono::now(), processor()?);
        let found = search::search(path, conditions, Order::Newest, limit, |_| ControlFlow::Continue(()))?;
        best = best.min(Mono::now().since(begun));
        busy = busy.min(processor()? - from);
        (lines, skipped) = (found.lines, found.skipped);
    }
    println!("{what:<44} {:>9.2} {busy:>9.2} {lines:>9} {skipped:>9}", best.as_secs_f64());
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let lines: u64 = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(10_000_000);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = folder.path().join("audit.jsonl");
    let (begun, from) = (Mono::now(), wall());
    write(&path, lines)?;
    let (took, to) = (Mono::now().since(begun), wall());
    println!("{lines} lines written, compressed and indexed in {:.0} s", took.as_secs_f64());
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder.path())? {
        bytes += entry?.metadata()?.len();
    }
    println!("{} bytes a line on the disk\n", bytes / lines.max(1));

    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "search", "seconds", "CPU s", "lines", "skipped");
    let with = |field: Field, value: &str| Conditions::default().with(field, value);
    let middle = task(lines / 2);
    timed("one task", &path, &with(Field::Task, &middle), 1_000)?;
    let denied = with(Field::Principal, &agent(7)).with(Field::Decision, "deny");
    timed("one principal, denied", &path, &denied, 1_000)?;
    timed(
        "a text that 1 of 500,000 lines has",
        &path,
        &Conditions::default().containing("needle-4711"),
        1_000,
    )?;
    timed("a text that no line has", &path, &Conditions::default().containing("nowhere-at-all"), 1_000)?;
    let point = |part: u32| -> Time { from.plus(to.since(from) / 1_000 * part) };
    let short = Conditions::default().between(Some(point(500)), Some(point(501)));
    timed("a thousandth of the time, all of it", &path, &short, usize::MAX)?;
    let long = Conditions::default().between(None, Some(point(500)));
    timed("the first half of the time, newest 1,000", &path, &long, 1_000)?;
    timed("the newest 1,000 lines", &path, &Conditions::default(), 1_000)?;

    let store = Store::of(&path);
    let key: VerifierKey = std::fs::read_to_string(store.key_path())?.trim().parse()?;
    let note = store.checkpoint()?.ok_or("no checkpoint")?;
    let trusted = [Trusted { name: "c".to_owned(), checkpoint: Checkpoint::open(&note, &key)? }];
    let (begun, from) = (Mono::now(), processor()?);
    let report = verify::whole(&path, &trusted)?;
    let (took, busy) = (Mono::now().since(begun).as_secs_f64(), processor()? - from);
    if !report.wrong.is_empty() || report.last < lines {
        return Err(format!("the trail is not right: {report:?}").into());
    }
    let last = report.last as f64;
    println!(
        "\nverified {last} lines in {took:.1} s, {busy:.1} s of them on a processor: {:.0} lines/s a core",
        last / busy
    );
    Ok(())
}
