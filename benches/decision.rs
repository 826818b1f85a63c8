//! What does a decision cost, and does it depend on how many grants there are? See `README.md`.

use jitgate::access::{Request, Slot, Table, UserProof, Verdict, View, decide};
use jitgate::config::Ceilings;
use jitgate::model::{Change, Delta, Epoch, Grant, GrantId, Interner, Revision, Scope, SpiffeId, Time};
use jitgate::runtime::clock::Mono;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

/// Grants of each principal.
const EACH: u64 = 10;
const HOT: usize = 64;
const ROUNDS: usize = 400_000;
const NOW: Time = Time::from_micros(1_800_000_000_000_000);

fn main() -> Result<(), Failure> {
    // First, while nothing else has been allocated and freed.
    memory_and_snapshot(1_000_000)?;
    println!();
    println!("| table | principals | requests | p50 ns | p99 ns | mean ns |");
    println!("|---|---|---|---|---|---|");
    for grants in [1, 10, 1_000, 10_000, 100_000, 1_000_000] {
        of_size(grants)?;
    }
    many_permissions()
}

/// Hot and cold principals of a table with so many grants.
fn of_size(grants: u64) -> Result<(), Failure> {
    let table = Table::new(ceilings()?);
    fill(&table, grants)?;
    let principals = (grants / EACH).max(1);
    let label = format!("{grants} grants");
    let mut random = Random(7);
    let slot = |principal: u64| principal_id(principal).map(|id| (principal, table.slot(&id)));
    let hot: Vec<_> = (0..HOT).map(|_| slot(random.below(principals))).collect::<Result<_, _>>()?;
    let order = (0..ROUNDS).map(|at| at % hot.len());
    report(&label, principals, "permitted, 64 hot slots", &measure(&hot, order, Ask::Granted)?);
    let order = (0..ROUNDS).map(|at| at % hot.len());
    report(&label, principals, "out of scope, 64 hot slots", &measure(&hot, order, Ask::OutOfScope)?);
    if principals > HOT as u64 {
        let cold: Vec<_> = (0..principals).map(slot).collect::<Result<_, _>>()?;
        let order: Vec<_> = (0..ROUNDS).map(|_| random.below(principals) as usize).collect();
        report(
            &label,
            principals,
            "permitted, random principals",
            &measure(&cold, order.into_iter(), Ask::Granted)?,
        );
    }
    Ok(())
}

/// One principal with 10,000 permissions, in one grant and in as many grants.
fn many_permissions() -> Result<(), Failure> {
    let texts: Vec<String> = (0..10_000).map(|n| format!("orders:GET:/v1/orders/{n}/lines/*")).collect();
    let scopes = [
        ("10,000 permissions in one grant", vec![Scope::parse_all(&texts)?]),
        ("10,000 grants of one permission", texts.iter().map(|text| text.parse()).collect::<Result<_, _>>()?),
    ];
    for (label, scopes) in scopes {
        let table = Table::new(ceilings()?);
        let grants = scopes.into_iter().zip(0..);
        let changes = grants.map(|(scope, n)| Ok(Change::Issued(Arc::new(Grant { scope, ..grant(0, n)? }))));
        let changes = changes.collect::<Result<_, Failure>>()?;
        let _ = table.apply(&Delta { revision: Revision(1), changes }, NOW)?;
        let slots = vec![(0, table.slot(&principal_id(0)?))];
        let order = (0..ROUNDS).map(|_| 0);
        report(label, 1, "permitted", &measure(&slots, order, Ask::Lines)?);
    }
    Ok(())
}

/// Bytes of resident memory for each grant, and how long a snapshot takes.
fn memory_and_snapshot(grants: u64) -> Result<(), Failure> {
    let table = Table::new(ceilings()?);
    let before = resident()?;
    fill(&table, grants)?;
    let bytes = resident()?.saturating_sub(before) / grants;
    println!("memory: {bytes} bytes for each of {grants} grants ({EACH} for each principal), all in");
    drop(table);

    let mut interner = Interner::default();
    let snapshot: Vec<Arc<Grant>> = (0..grants)
        .map(|n| Ok(Arc::new(interner.grant(grant(n / EACH, n)?))))
        .collect::<Result<_, Failure>>()?;
    let table = Table::new(ceilings()?);
    for what in ["new", "the same again"] {
        let start = Mono::now();
        let _ = table.replace(snapshot.clone(), Epoch(0), Revision(1), NOW)?;
        println!("snapshot of {grants} grants, {what}: {:.2?}", Mono::now().since(start));
    }
    let start = Mono::now();
    let later = grant(7, grants + 1)?;
    let _ =
        table.apply(&Delta { revision: Revision(2), changes: vec![Change::Issued(Arc::new(later))] }, NOW)?;
    println!("one grant more: {:.2?}", Mono::now().since(start));
    Ok(())
}

#[derive(Clone, Copy)]
enum Ask {
    Granted,
    OutOfScope,
    Lines,
}

/// Nanoseconds of each decision, sorted, without the cost of looking at the clock. The request was parsed just before, as it is
/// at a proxy; the grants are as warm as the order of slots leaves them.
fn measure(
    slots: &[(u64, Arc<Slot>)],
    order: impl Iterator<Item = usize>,
    ask: Ask,
) -> Result<Vec<u64>, Failure> {
    let mut random = Random(11);
    let idle = clock_cost();
    let mut times = Vec::with_capacity(ROUNDS);
    for at in order {
        let Some((principal, slot)) = slots.get(at) else { continue };
        let parts = request(*principal, ask, &mut random)?;
        let view = View::of(&parts)?;
        let request = Request {
            service: "orders",
            view: &view,
            call: None,
            only: None,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            token: None,
            token_required: false,
            user: UserProof::NotDemanded,
        };
        let start = Mono::now();
        let verdict = black_box(decide(&slot.load(), black_box(&request), black_box(NOW)));
        let took = Mono::now().since(start).as_nanos();
        times.push(u64::try_from(took)?.saturating_sub(idle));
        if matches!(verdict, Verdict::Permit(_)) == matches!(ask, Ask::OutOfScope) {
            return Err(format!(
                "{} {} at principal {principal} is not as the bench expects",
                view.method(),
                view.path()
            )
            .into());
        }
    }
    times.sort_unstable();
    Ok(times)
}

/// The median of two looks at the clock with nothing between them.
fn clock_cost() -> u64 {
    let mut times: Vec<u64> = (0..100_001)
        .map(|_| {
            let start = Mono::now();
            Mono::now().as_nanos() - start.as_nanos()
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn report(table: &str, principals: u64, requests: &str, times: &[u64]) {
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    let mean = times.iter().sum::<u64>() / times.len().max(1) as u64;
    println!("| {table} | {principals} | {requests} | {} | {} | {mean} |", at(0.5), at(0.99));
}

/// The scopes of a principal's grants differ in path, shape and service.
fn scope(number: u64) -> String {
    match number % EACH {
        0..4 => format!("orders:GET,HEAD:/v1/orders/{number}"),
        4..6 => format!("orders:PUT:/v1/orders/{number}/lines/*"),
        6 => format!("orders:*:/v1/customers/{number}/**"),
        7 => format!("billing:GET:/invoices/{number}"),
        8 => format!("stock:/inventory.v{number}.Stock/Get"),
        _ => format!("orders,billing:POST:/v1/searches/{number}"),
    }
}

fn request(principal: u64, ask: Ask, random: &mut Random) -> Result<http::request::Parts, Failure> {
    let number = principal * EACH + random.below(7);
    let (method, path) = match (ask, number % EACH) {
        (Ask::Lines, _) => ("GET", format!("/v1/orders/{}/lines/4711?full=yes", random.below(10_000))),
        (Ask::OutOfScope, _) => ("DELETE", format!("/v1/orders/{number}")),
        // A table of one grant has only this.
        (Ask::Granted, 0..4) => ("GET", format!("/v1/orders/{}?full=yes", principal * EACH)),
        (Ask::Granted, 4..6) if principal > 0 => ("PUT", format!("/v1/orders/{number}/lines/4711")),
        (Ask::Granted, _) if principal > 0 => {
            ("PATCH", format!("/v1/customers/{}/a/b", principal * EACH + 6))
        }
        (Ask::Granted, _) => ("HEAD", format!("/v1/orders/{}", principal * EACH)),
    };
    let request = http::Request::builder().method(method).uri(path).header("host", "orders.localhost");
    Ok(request.header("user-agent", "bench").header("accept", "*/*").body(())?.into_parts().0)
}

fn fill(table: &Table, grants: u64) -> Result<(), Failure> {
    // As the control channel does it.
    let mut interner = Interner::default();
    let mut next = 0;
    let mut revision = Revision(0);
    while next < grants {
        let end = (next + 1_000).min(grants);
        let change = |n| Ok(Change::Issued(Arc::new(interner.grant(grant(n / EACH, n)?))));
        let changes = (next..end).map(change).collect::<Result<_, Failure>>()?;
        revision = revision.next();
        let _ = table.apply(&Delta { revision, changes }, NOW)?;
        next = end;
    }
    Ok(())
}

fn grant(principal: u64, number: u64) -> Result<Grant, Failure> {
    Ok(Grant {
        id: GrantId::from_parts(number, scattered(number)),
        principal: principal_id(principal)?,
        task: format!("INC-{}", number / 5).parse()?,
        scope: scope(number).parse()?,
        not_before: NOW,
        expires_at: NOW.plus(Duration::from_secs(60 + number % 28_000)),
        conditions: Default::default(),
        limits: Default::default(),
        recording: jitgate::model::Recording::default(),
        lineage: None,
        revision: Revision(number),
    })
}

/// Ten bytes that differ for each number and are in no order.
fn scattered(number: u64) -> [u8; 10] {
    let mut random = Random(number);
    [(); 10].map(|()| u8::try_from(random.below(256)).unwrap_or_default())
}

fn principal_id(principal: u64) -> Result<SpiffeId, Failure> {
    Ok(format!("spiffe://jitgate.local/agent/worker-{principal}").parse()?)
}

fn ceilings() -> Result<Ceilings, Failure> {
    Ok(Ceilings { max_ttl: "8h".parse()?, trust_domains: None, methods: None, tools: None })
}

/// Resident bytes of this process.
fn resident() -> Result<u64, Failure> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split(' ').nth(1).ok_or("statm has no second field")?.parse()?;
    Ok(pages * 4096)
}

/// Repeatable, good enough for a bench (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
