//! What does the check of a tool call cost, from the bytes of its body to the verdict? See `benches/README.md`.
//!
//! The body has 2 KiB, its arguments are checked against a schema of ten fields; the principal has a hundred grants beside.

use bytes::Bytes;
use jitgate::access::{Request, Slot, Table, UserProof, Verdict, View, decide, shows};
use jitgate::config::Ceilings;
use jitgate::mcp::{Head, Inbound, Limits, ListKind, Rules, Version, answer, list};
use jitgate::model::{Change, Delta, Grant, GrantId, McpCall, Revision, Scope, SpiffeId, Time};
use jitgate::runtime::clock::Mono;
use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn Error>;

const NOW: Time = Time::from_micros(1_000_000_000);
const ROUNDS: usize = 100_000;

const SCHEMA: &str = r#"{"type":"mcp","locations":["ops"],"actions":["tools/call"],"tools":["deploy"],"arguments":{"type":"object","properties":{
    "service":{"type":"string","pattern":"^[a-z][a-z0-9-]{0,62}$"},"server":{"enum":["srv-1","srv-2","srv-7"]},
    "version":{"type":"string","pattern":"^v\\d+\\.\\d+\\.\\d+$"},"replicas":{"type":"integer","minimum":1,"maximum":20},
    "force":{"const":false},"zone":{"enum":["a","b","c"]},"timeout":{"type":"number","exclusiveMinimum":0,"maximum":600},
    "tags":{"type":"array","items":{"type":"string","maxLength":32},"maxItems":16},"owner":{"type":"string","minLength":1,"maxLength":64},
    "notes":{"type":"string","maxLength":4096}},"required":["service","server","version"],"additionalProperties":false}}"#;

fn main() -> Result<(), Failure> {
    let body = body(1_560);
    println!("A body of {} bytes, {ROUNDS} rounds.\n", body.len());
    println!("| what | p50 ns | p99 ns |\n|---|---|---|");
    let any = slot("ops:tools/call:deploy{*}")?;
    let exact = slot(r#"ops:tools/call:deploy{service="billing"}"#)?;
    let fields = slot(SCHEMA)?;
    report("read and decide, schema of ten fields", &body, &fields, true, true)?;
    report("read and decide, any arguments", &body, &any, true, true)?;
    report("read and decide, other exact arguments: refused", &body, &exact, true, false)?;
    report("decide alone, schema of ten fields", &body, &fields, false, true)?;
    report("decide alone, any arguments", &body, &any, false, true)?;
    listing()
}

/// A list of 500 tools of which every tenth is shown.
fn listing() -> Result<(), Failure> {
    let item = |n: usize| {
        let schema = r#"{"type":"object","properties":{"service":{"type":"string","description":"Which service"},"server":{"type":"string"}}}"#;
        format!(
            r#"{{"name":"tool_{n}","description":"Does what tool number {n} does, and says so.","inputSchema":{schema}}}"#
        )
    };
    let items: Vec<String> = (0..500).map(item).collect();
    let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"tools":[{}]}}}}"#, items.join(","));
    let scope: Vec<String> = (0..50).map(|n| format!("tool_{}", n * 10)).collect();
    let shown = slot(&format!("ops:tools/call:{}{{*}}", scope.join(",")))?;
    let parts = http::Request::builder().method("POST").uri("/mcp").header("host", "ops.localhost");
    let parts = parts.body(())?.into_parts().0;
    let view = View::of(&parts)?;
    let limits = Limits::default();
    let mut times = Vec::with_capacity(ROUNDS / 100);
    for _ in 0..ROUNDS / 100 {
        let start = Mono::now();
        let set = shown.load();
        let answers = answer::read(text.as_bytes(), Version::V20260728, limits)?;
        let permits = |kind: ListKind, name: &str| {
            let call = McpCall { method: kind.used_with(), name: Some(name), arguments: None };
            let asked = Request {
                service: "ops",
                view: &view,
                call: Some(&call),
                only: None,
                source: IpAddr::V4(Ipv4Addr::LOCALHOST),
                token: None,
                token_required: false,
                user: UserProof::NotDemanded,
            };
            shows(&set, &asked, NOW)
        };
        let kept = list::filter(text.as_bytes(), &answers, limits, |_| Some(ListKind::Tools), permits)?.len();
        times.push(u64::try_from(Mono::now().since(start).as_nanos())?);
        if kept * 5 > text.len() {
            return Err("the list was not filtered".into());
        }
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("| filter a list of 500 tools ({} bytes), 50 shown | {} | {} |", text.len(), at(50), at(99));
    Ok(())
}

fn report(what: &str, body: &Bytes, slot: &Slot, with_reading: bool, permitted: bool) -> Result<(), Failure> {
    let rules = Rules::default();
    let mut headers = http::HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "deploy"),
    ] {
        headers.insert(name, value.parse()?);
    }
    let parts = http::Request::builder().method("POST").uri("/mcp").header("host", "ops.localhost");
    let parts = parts.body(())?.into_parts().0;
    let view = View::of(&parts)?;
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let before_reading = Mono::now();
        let head =
            Head::read(&rules, &http::Method::POST, &headers).map_err(|refused| format!("{refused:?}"))?;
        let received =
            head.with_body(black_box(body.clone()), None).map_err(|refused| format!("{refused:?}"))?;
        let Inbound::Call(request) = &received.inbound else { return Err("the body is no call".into()) };
        let call = request.call();
        let asked = Request {
            service: "ops",
            view: &view,
            call: Some(&call),
            only: None,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            token: None,
            token_required: false,
            user: UserProof::NotDemanded,
        };
        let before_deciding = Mono::now();
        let verdict = black_box(decide(&slot.load(), black_box(&asked), NOW));
        let start = if with_reading { before_reading } else { before_deciding };
        times.push(u64::try_from(Mono::now().since(start).as_nanos())?);
        if matches!(verdict, Verdict::Permit(_)) != permitted {
            return Err(format!("{what}: {verdict:?} is not as the bench expects").into());
        }
    }
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    println!("| {what} | {} | {} |", at(50), at(99));
    Ok(())
}

fn body(notes: usize) -> Bytes {
    let notes = "a few words of what this is for ".repeat(notes / 32);
    let text = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"deploy","arguments":{{"service":"billing","server":"srv-7",
        "version":"v1.22.3","replicas":3,"force":false,"zone":"b","timeout":30.5,"tags":["blue","canary","eu"],"owner":"payments","notes":"{notes}"}},
        "_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":7}}}}}}"#
    );
    text.into()
}

/// The slot of a principal with this permission, and a hundred others.
fn slot(scope: &str) -> Result<Arc<Slot>, Failure> {
    let table =
        Table::new(Ceilings { max_ttl: "8h".parse()?, trust_domains: None, methods: None, tools: None });
    let others = (1..=100).map(|n| format!("ops:tools/call:deploy{{service=s{n},server=srv-{n}}}"));
    let mut changes = Vec::new();
    for (number, text) in (0..).zip(std::iter::once(scope.to_owned()).chain(others)) {
        changes.push(Change::Issued(Arc::new(grant(number, text.parse()?)?)));
    }
    let _ = table.apply(&Delta { revision: Revision(1), changes }, NOW)?;
    Ok(table.slot(&agent()?))
}

fn agent() -> Result<SpiffeId, Failure> {
    Ok("spiffe://jitgate.local/agent/worker".parse()?)
}

fn grant(number: u64, scope: Scope) -> Result<Grant, Failure> {
    Ok(Grant {
        id: GrantId::from_parts(number, [0; 10]),
        principal: agent()?,
        task: "INC-1".parse()?,
        scope,
        not_before: NOW,
        expires_at: NOW.plus(Duration::from_secs(600)),
        conditions: Default::default(),
        limits: Default::default(),
        recording: jitgate::model::Recording::default(),
        lineage: None,
        revision: Revision(number),
    })
}
