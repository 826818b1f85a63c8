//! The proxy is killed under load, again and again: of a `durable` service nothing that reached it is missing in the trail, and
//! everything that was admitted ends.

use crate::harness::client::{Body, Connection, empty, full};
use crate::harness::{Protocol, Setup, World};
use http::Request;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How often; more by hand, with `JITGATE_KILLS=500`.
const KILLS: usize = 20;
const CALLERS: usize = 8;

/// What a caller does: half of them read, the others write or call a tool; each over both protocols.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Doing {
    Reads,
    Writes,
    CallsATool,
}

impl Doing {
    fn of(caller: usize) -> Self {
        [Self::Reads, Self::Reads, Self::Writes, Self::CallsATool][caller / 2 % 4]
    }

    fn request(self, connection: &Connection, path: &str) -> Request<Body> {
        match self {
            Self::Reads => connection.request("GET", path).body(empty()).unwrap(),
            Self::Writes => connection
                .request("POST", path)
                .header("content-type", "application/json")
                .body(full("{\"quantity\":1}"))
                .unwrap(),
            Self::CallsATool => {
                let meta = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {}});
                let body = json!({"jsonrpc": "2.0", "id": "q", "method": "tools/call",
                    "params": {"name": "restart", "arguments": {"server": "srv-7"}, "_meta": meta}});
                connection
                    .request("POST", "/mcp")
                    .header("content-type", "application/json")
                    .header("accept", "application/json, text/event-stream")
                    .header("mcp-protocol-version", "2026-07-28")
                    .header("mcp-method", "tools/call")
                    .header("mcp-name", "restart")
                    .body(full(body.to_string()))
                    .unwrap()
            }
        }
    }
}

/// Calls until the connection is gone.
async fn call(world: &World, round: usize, caller: usize) {
    let doing = Doing::of(caller);
    let host = if doing == Doing::CallsATool { "ops.localhost" } else { "orders.localhost" };
    let client = world.client(Protocol::BOTH[caller % 2]).host(host);
    let Ok(mut connection) = client.try_connect().await else { return };
    for n in 0.. {
        let request = doing.request(&connection, &format!("/v1/orders/{round}-{caller}-{n}"));
        match connection.try_send(request).await {
            Ok(response) => {
                let body = http_body_util::BodyExt::collect(response.into_body()).await;
                if body.is_err() {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

fn lines(world: &World) -> Vec<Value> {
    let segments = jitgate::audit::segments::list(&world.path("audit/audit.jsonl")).unwrap();
    let mut found = Vec::new();
    for segment in segments {
        let mut lines = segment.open().unwrap();
        while let Some(line) = lines.line().unwrap() {
            found.push(serde_json::from_slice(line).unwrap());
        }
    }
    found
}

#[tokio::test]
async fn nothing_that_reached_a_durable_service_is_missing_and_everything_ends() {
    let kills = std::env::var("JITGATE_KILLS").ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let durable = "durability = \"durable\"";
    let mut world = Setup::new().tables(durable).audited("rotate_bytes = 200_000").prepare().await;
    let upstream = world.upstream.address;
    world.append_config(&format!(
        "[[service]]\nname = \"ops\"\nupstream = [\"mcp+http://{upstream}/mcp\"]\n{durable}\n"
    ));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET,POST:/**").await;
    world.grant("ops:tools/call:restart{*}").await;
    for round in 0..kills {
        let before = world.upstream.received().len();
        // At another moment each time, but only under load.
        let enough = before + 1 + round * 17 % 97;
        {
            let upstream = world.upstream.clone();
            let calls =
                futures_util::future::join_all((0..CALLERS).map(|caller| call(&world, round, caller)));
            let reached = async move {
                while upstream.received().len() < enough {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                _ = calls => panic!("the calls ended by themselves:\n{}", world.log_of_proxy()),
                () = reached => {}
            }
        }
        world.proxy().kill();
        world.start_proxy().await;
    }
    world.proxy().terminate();
    assert!(world.proxy().ended().await.success());

    let lines = lines(&world);
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "without gaps: {numbers:?}");
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    for line in &lines {
        match (line["kind"].as_str().unwrap(), line["request_id"].as_str()) {
            ("admit", Some(id)) => counts.entry(id).or_default()[0] += 1,
            ("end", Some(id)) => counts.entry(id).or_default()[1] += 1,
            _ => {}
        }
    }
    let not_once: Vec<_> = counts.iter().filter(|(_, [_, ends])| *ends != 1).collect();
    assert!(not_once.is_empty(), "one `end` line for each request: {not_once:?}");
    let received = world.upstream.received();
    let reached: BTreeSet<_> =
        received.iter().map(|call| call.headers["x-request-id"].to_str().unwrap()).collect();
    let missing: Vec<_> =
        reached.iter().filter(|id| counts.get(**id).is_none_or(|[admits, _]| *admits != 1)).collect();
    assert!(missing.is_empty(), "reached the service and is not in the trail: {missing:?}");
    let of = |method: &str, begin: &str| {
        received.iter().filter(|call| call.method == method && call.target.starts_with(begin)).count()
    };
    let each = [of("GET", "/v1/orders/"), of("POST", "/v1/orders/"), of("POST", "/mcp")];
    assert!(each.iter().all(|calls| *calls > 0), "reads, writes and calls of a tool: {each:?}");
    let unknown: Vec<_> = lines.iter().filter(|line| line["end"] == "unknown").collect();
    assert!(!unknown.is_empty(), "some were open when the proxy was killed");
    for line in unknown {
        assert_eq!(line["decision"], "permit", "{line}");
        assert!(matches!(line["service"].as_str(), Some("orders" | "ops")), "{line}");
    }
    let verified = world.cli(&["audit", "verify", "--file", "audit/audit.jsonl"]).await;
    assert_eq!(verified["verified"], true, "{verified}");
}
