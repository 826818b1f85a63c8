//! Grants: issued, listed, shown, ended; alone and 100,000 at once.

use crate::world::{AGENT, World, grant};
use serde_json::{Value, json};
use std::fmt::Write as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_from_issue_to_end() {
    let mut world = World::start().await;
    let mut admin = world.operator("admin").await;
    let issued = admin.post("/v1/grants", &grant(AGENT, "INC-1")).await;
    assert_eq!(issued.status, 201, "{issued:?}");
    let view = issued.json();
    for field in ["id", "principal", "task", "scope", "not_before", "expires_at", "state", "revision"] {
        assert!(!view[field].is_null(), "{field} is missing in {view}");
    }
    assert_eq!((&view["state"], &view["reason"]), (&json!("live"), &json!("a test")));
    let location = issued.headers["location"].to_str().unwrap().to_owned();
    assert_eq!(admin.get(&location).await.json(), view);
    // The same again is the same.
    let again = admin.post("/v1/grants", &grant(AGENT, "INC-1")).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &view["id"]));
    // It survives a restart.
    world.restart().await;
    let mut admin = world.operator("admin").await;
    assert_eq!(admin.get("/v1/grants").await.json(), json!([view]));
    let revoked = admin.post("/v1/revocations", &json!({"task": "INC-1", "reason": "over"})).await;
    assert_eq!(revoked.status, 201, "{revoked:?}");
    assert_eq!(admin.get("/v1/grants").await.json(), json!([]));
    let ended = admin.get(&location).await.json();
    assert_eq!((&ended["state"], &ended["ended"]["revocation"]), (&json!("revoked"), &revoked.json()["id"]));
    assert_eq!(admin.get("/v1/grants?state=ended").await.json()[0]["id"], view["id"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_says_how_much_is_recorded_and_none_that_records_less_is_returned_for_it() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let at_level = |task: &str, level: Value| {
        let mut grant = grant(AGENT, task);
        grant["recording"] = level;
        grant
    };
    for level in ["arguments", "full"] {
        let issued = admin.post("/v1/grants", &at_level(level, json!(level))).await;
        assert_eq!((issued.status.as_u16(), &issued.json()["recording"]), (201, &json!(level)));
        assert_eq!(admin.post("/v1/grants", &grant(AGENT, level)).await.status, 200, "it records more");
    }
    let plain = admin.post("/v1/grants", &at_level("plain", json!("metadata"))).await;
    assert_eq!(plain.status, 201, "{plain:?}");
    let refused = admin.post("/v1/grants", &at_level("plain", json!("full"))).await;
    refused.is_problem(409, "records_less");
    assert!(refused.text.contains(plain.json()["id"].as_str().unwrap()), "{refused:?}");
    let lines = format!("{}\n{}", at_level("bulk", json!("full")), at_level("plain", json!("full")));
    let refused = admin.call("POST", "/v1/grants", "application/jsonl", lines).await;
    refused.is_problem(409, "records_less");
    assert!(refused.text.contains("number 2"), "{refused:?}");
    for bad in [json!("all"), json!(""), Value::Null, json!(true)] {
        admin.post("/v1/grants", &at_level("bad", bad)).await.is_problem(400, "malformed");
    }
    assert_eq!(admin.get("/v1/grants").await.json().as_array().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_filtered_and_come_in_pages() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let all: Vec<Value> = (0..25)
        .map(|n| grant(&format!("spiffe://jitgate.local/agent/a{}", n % 5), &format!("t{n}")))
        .collect();
    assert_eq!(admin.post("/v1/grants", &json!(all)).await.status, 201);
    let count = async |admin: &mut crate::world::Client, query: &str| {
        admin.get(&format!("/v1/grants{query}")).await.json().as_array().unwrap().len()
    };
    for (query, expected) in [
        ("", 25),
        ("?principal=spiffe://jitgate.local/agent/a1", 5),
        ("?task=t7", 1),
        ("?service=orders", 25),
        ("?service=stock", 0),
        ("?state=live&limit=3", 3),
        ("?state=upcoming", 0),
        ("?state=ended", 0),
        ("?state=all", 25),
    ] {
        assert_eq!(count(&mut admin, query).await, expected, "{query}");
    }
    let (mut seen, mut next) = (Vec::new(), Some("/v1/grants?limit=10&service=orders".to_owned()));
    while let Some(path) = next {
        let page = admin.get(&path).await;
        seen.extend(
            page.json().as_array().unwrap().iter().map(|grant| grant["id"].as_str().unwrap().to_owned()),
        );
        next = page.headers.get("link").map(|link| {
            let link = link.to_str().unwrap();
            link[1..link.find('>').unwrap()].to_owned()
        });
    }
    assert_eq!(seen.len(), 25);
    assert!(seen.is_sorted());
    for bad in
        ["?limit=0", "?limit=100001", "?limit=x", "?state=dead", "?what=1", "?task=a&task=b", "?after=gr_1"]
    {
        admin.get(&format!("/v1/grants{bad}")).await.is_problem(400, "malformed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_in_one_call_or_none() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let mut lines = String::new();
    for n in 0..100_000 {
        let one = json!({"principal": format!("spiffe://jitgate.local/agent/n{n}"), "task": "bulk", "ttl": "1h", "reason": "x",
            "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/**"]}]});
        writeln!(lines, "{one}").unwrap();
    }
    let mut spoilt = lines.clone();
    spoilt.truncate(lines.len() - 1);
    spoilt = spoilt.replace("agent/n99999", "agent/of-admin");
    let refused = admin.call("POST", "/v1/grants", "application/jsonl", spoilt).await;
    refused.is_problem(403, "self_grant");
    assert!(refused.text.contains("number 100000"), "{refused:?}");
    assert_eq!(admin.get("/v1/grants").await.json(), json!([]));
    let issued = admin.call("POST", "/v1/grants", "application/jsonl", lines).await;
    assert_eq!(issued.status, 201);
    assert_eq!(issued.json().as_array().unwrap().len(), 100_000);
    world.app().plane().with_state(|state| assert_eq!(state.live().len(), 100_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_operator_may_not_grant() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    for own in ["spiffe://jitgate.local/operator/admin", "spiffe://jitgate.local/agent/of-admin"] {
        admin.post("/v1/grants", &grant(own, "t")).await.is_problem(403, "self_grant");
    }
    let with = |field: &str, value: Value| {
        let mut grant = grant(AGENT, "t");
        grant[field] = value;
        grant
    };
    admin.post("/v1/grants", &with("ttl", json!("9h"))).await.is_problem(422, "ttl_above_cap");
    admin.post("/v1/grants", &with("reason", json!(""))).await.is_problem(422, "invalid");
    admin.post("/v1/grants", &with("reason", json!("x".repeat(4097)))).await.is_problem(422, "invalid");
    admin
        .post("/v1/grants", &with("not_before", json!("2020-01-01T00:00:00Z")))
        .await
        .is_problem(422, "invalid");
    admin.post("/v1/grants", &json!([])).await.is_problem(422, "invalid");
    for name in ["security", "viewer", "broker"] {
        let refused = world.operator(name).await.post("/v1/grants", &grant(AGENT, "t")).await;
        refused.is_problem(403, "forbidden");
    }
    assert_eq!(admin.get("/v1/grants?state=all").await.json(), json!([]));
}
