//! What does it cost to decide on an access request, and does it depend on how many policies there are? See `README.md`.

mod sets;

use jitgate::control::policy::{History, PolicyAction, PolicySet, Question};
use jitgate::model::{
    AccessRequest, AccessRequestId, Attributes, Owner, PrincipalKind, PrincipalProfile, RequestKind, Risk,
    Scope, Sensitivity, ServiceName, ServiceProfile, SpiffeId, Time,
};
use jitgate::runtime::clock::Mono;
use sets::Folder;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error>;

const ROUNDS: usize = 2_000;
const NOW: &str = "2026-11-25T10:00:00Z";

/// What a team's policy permits, where it names it: everything that is asked for, `*` included.
const METHODS: &str =
    r#""*", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", "UPGRADE""#;

fn main() -> Result<(), Failure> {
    println!("| policies | read the action | asked for | load ms | p50 µs | p99 µs |");
    println!("|---|---|---|---|---|---|");
    for policies in [10, 100, 1_000] {
        for methods in [None, Some(METHODS)] {
            let folder = Folder::new(policies, methods)?;
            let before = Mono::now();
            let set = PolicySet::load(folder.path(), "UTC").map_err(|errors| errors.to_string())?;
            let load = Mono::now().since(before).as_millis();
            let reads = if methods.is_some() { "each" } else { "none" };
            for scope in
                ["team-3:GET:/v1/orders/*", "team-3:GET,HEAD,POST,PUT:/v1/orders/*", "team-3:*:/v1/orders/*"]
            {
                let (p50, p99) = measure(&set, scope)?;
                let [p50, p99] = [p50, p99].map(|time| time.as_secs_f64() * 1e6);
                println!("| {policies} | {reads} | `{scope}` | {load} | {p50:.0} | {p99:.0} |");
            }
        }
    }
    Ok(())
}

/// The median and the slowest of a hundred, of whole evaluations: from the question to the facts that are logged.
fn measure(set: &PolicySet, scope: &str) -> Result<(Duration, Duration), Failure> {
    let now: Time = NOW.parse()?;
    let id: SpiffeId = "spiffe://jitgate.local/agent/team-3".parse()?;
    let principal = PrincipalProfile {
        id: id.clone(),
        kind: Some(PrincipalKind::Workload),
        person: None,
        attributes: Attributes {
            risk: Some(Risk::Low),
            compliant: Some(true),
            groups: ["team-3".parse()?].into(),
            labels: BTreeMap::new(),
        },
    };
    let services = (0..1_000).map(|n| Ok((format!("team-{n}").parse()?, service()?)));
    let services: BTreeMap<ServiceName, ServiceProfile> = services.collect::<Result<_, Failure>>()?;
    let request = AccessRequest {
        id: AccessRequestId::from_bits(7),
        requester: id.clone(),
        principal: id,
        task: "INC-1".parse()?,
        scope: Scope::parse_all(&[scope])?,
        role: None,
        ttl: "15m".parse()?,
        not_before: None,
        reason: "a customer asks about an order".to_owned(),
        ticket: Some("INC-1".to_owned()),
        ticket_open: Some(true),
        on_behalf_of: None,
        authenticated: None,
        emergency: false,
        plan: None,
        envelope: None,
        task_deadline: None,
        task_idle_timeout: None,
        kind: RequestKind::Access,
        source: Some("10.1.2.3".parse()?),
        requested_at: now,
        expires_at: now.plus(Duration::from_secs(3600)),
    };
    let history = History::default();
    let question = Question {
        action: PolicyAction::Request,
        request: &request,
        requester: &principal,
        principal: &principal,
        services: &services,
        history: &history,
        now,
    };
    let decided = set.evaluate(&question);
    if decided.outcome.terms().is_none() {
        return Err(format!("measured a denial: {:?}", decided.outcome).into());
    }
    let mut times = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let before = Mono::now();
        black_box(set.evaluate(black_box(&question)));
        times.push(Mono::now().since(before));
    }
    times.sort_unstable();
    let at = |part: usize| times.get(ROUNDS * part / 100).copied().unwrap_or_default();
    Ok((at(50), at(99)))
}

fn service() -> Result<ServiceProfile, Failure> {
    Ok(ServiceProfile {
        owner: Owner::Group("owners".parse()?),
        sensitivity: Sensitivity::Medium,
        environment: Some("production".to_owned()),
        labels: BTreeMap::new(),
        tools: BTreeMap::new(),
        requestable: true,
    })
}
