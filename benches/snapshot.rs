//! How long is a proxy without its table when it starts: a snapshot of 1,000,000 grants, from the control plane's memory through
//! the bytes of the channel to a table that decides. One core, no network. See `README.md`.

use bytes::Bytes;
use jitgate::access::Table;
use jitgate::config::Ceilings;
use jitgate::model::{Digest, Grant, GrantId, LogId, Revision, Time};
use jitgate::runtime::clock::Mono;
use jitgate::sync::{Effect, FromAsking, Input, Replica, Settings, Snapshot};
use jitgate::wire::generated as raw;
use jitgate::wire::message::Down;
use jitgate::wire::{chunk, convert};
use prost::Message;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

const GRANTS: u64 = 1_000_000;
/// Grants of each principal.
const EACH: u64 = 10;
const NOW: Time = Time::from_micros(1_800_000_000_000_000);
const RUNS: usize = 5;

fn main() -> Result<(), Failure> {
    println!("| scopes | wire MiB | largest chunk KiB | encode s | decode s | apply s | decode + apply s |");
    println!("|---|---|---|---|---|---|---|");
    run("12 shared by all", |number| number % 12)?;
    run("each grant its own", |number| number)
}

/// `shape` says which of the scopes a grant has.
fn run(label: &str, shape: fn(u64) -> u64) -> Result<(), Failure> {
    let grants = (0..GRANTS).map(|number| grant(number, shape(number))).collect::<Result<Vec<_>, _>>()?;
    let (mut encodes, mut decodes, mut applies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut largest) = (0, 0);
    for _ in 0..RUNS {
        let started = Mono::now();
        let chunks: Vec<Bytes> = chunk::snapshot(Revision(GRANTS), grants.iter().cloned())
            .map(|message| message.encode_to_vec().into())
            .collect();
        encodes.push(Mono::now().since(started));
        bytes = chunks.iter().map(Bytes::len).sum();
        largest = chunks.iter().map(Bytes::len).max().unwrap_or_default();

        let started = Mono::now();
        let snapshot = receive(chunks)?;
        decodes.push(Mono::now().since(started));
        if snapshot.grants.len() != grants.len() {
            return Err("the snapshot that arrived is not the one that was sent".into());
        }

        let table =
            Table::new(Ceilings { max_ttl: "8h".parse()?, trust_domains: None, methods: None, tools: None });
        let started = Mono::now();
        let ended = table.replace(snapshot.grants, snapshot.epoch, snapshot.revision, NOW)?;
        applies.push(Mono::now().since(started));
        if !ended.is_empty() || table.counts().grants != grants.len() {
            return Err("the table does not hold what the snapshot held".into());
        }
    }
    let (encode, decode, apply) = (median(encodes), median(decodes), median(applies));
    let (mib, kib) = (bytes as f64 / 1_048_576.0, largest as f64 / 1024.0);
    println!(
        "| {label} | {mib:.0} | {kib:.0} | {encode:.2} | {decode:.2} | {apply:.2} | {:.2} |",
        decode + apply
    );
    Ok(())
}

/// What the client does with what it reads.
fn receive(chunks: Vec<Bytes>) -> Result<Snapshot, Failure> {
    let mut replica = Replica::<FromAsking>::new(Settings {
        endpoints: NonZeroUsize::MIN,
        version: "bench".into(),
        max_grants: usize::try_from(GRANTS)?,
        instance: 1,
    });
    let mut effects = Vec::new();
    let now = Mono::now();
    replica.handle(Input::Tick, now, &mut effects);
    replica.handle(Input::Connected, now, &mut effects);
    let welcome = convert::welcome(LogId([1; 16]), jitgate::model::Epoch(1));
    let messages = std::iter::once(Ok(welcome)).chain(chunks.into_iter().map(raw::Down::decode));
    for message in messages {
        let message = Down::try_from(message?)?;
        effects.clear();
        replica.handle(Input::Received(message, Digest::default()), now, &mut effects);
    }
    for effect in effects {
        if let Effect::Replace(snapshot, _) = effect {
            return Ok(snapshot);
        }
    }
    Err("no snapshot came out".into())
}

fn grant(number: u64, shape: u64) -> Result<Arc<Grant>, Failure> {
    let [a, b, c, d, e, f, g, h] = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    let scope = match shape % 3 {
        0 => format!("orders:GET,HEAD:/v1/orders/{shape}/*"),
        1 => format!("orders,billing:POST:/v1/searches/{shape}"),
        _ => format!("stock:/inventory.v{shape}.Stock/Get"),
    };
    Ok(Arc::new(Grant {
        id: GrantId::from_parts(number, [a, b, c, d, e, f, g, h, a, b]),
        principal: format!("spiffe://jitgate.local/agent/worker-{}", number / EACH).parse()?,
        task: format!("INC-{number}").parse()?,
        scope: scope.parse()?,
        not_before: NOW,
        expires_at: NOW.plus(Duration::from_secs(60 + number % 28_000)),
        conditions: Default::default(),
        limits: Default::default(),
        recording: jitgate::model::Recording::default(),
        lineage: None,
        revision: Revision(number + 1),
    }))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default().as_secs_f64()
}
