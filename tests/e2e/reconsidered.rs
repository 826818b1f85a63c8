//! Between asking and approving things change: what is decided is decided with what is true then, and by all who approve together.

use crate::access::stderr;
use crate::harness::pki::Leaf;
use crate::harness::world::AGENT;
use crate::harness::{Protocol, Setup, Stub, World, asked, because, id, with};
use serde_json::{Value, json};

const POLICIES: &str = r#"
@id("one")
@approvers("1 of approvers")
@max_ttl("10m")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
@id("two")
@approvers("2 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "PUT" };
@id("calm")
@because("too risky now")
forbid (principal, action, resource) when { principal.risk == Risk::"high" };
"#;

const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["viewer", "approver"]
[[principals]]
id = "spiffe://jitgate.local/agent/demo"
kind = "workload"
risk = "low"
"#;

async fn world() -> World {
    Setup::new().tables(PEOPLE).decided_by("", POLICIES).await.start_both().await
}

async fn approve(world: &World, who: &str, request: &Value, less: Value) -> Value {
    let path = format!("/v1/requests/{}/approve", id(request));
    let body = with(less, "reason", json!("looked at it"));
    let answer = world.api(&world.ca.svid(who), ("POST", &path), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

async fn set_risk(world: &World, risk: &str) {
    let path = format!("/v1/principals/{}/attributes", AGENT.replace(':', "%3A").replace('/', "%2F"));
    let operator: Leaf = world.ca.svid("operator/local");
    assert_eq!(world.api(&operator, ("PUT", &path), &json!({"risk": risk})).await.status, 200);
}

fn scope(paths: &[&str]) -> Value {
    json!([{"type": "http", "locations": ["orders"], "actions": ["PUT"], "paths": paths}])
}

async fn statuses(world: &World, paths: [&str; 3]) -> [u16; 3] {
    let mut found = [0; 3];
    for (at, path) in paths.into_iter().enumerate() {
        found[at] = world.client(Protocol::H1).connect().await.call("PUT", path, "").await.status.as_u16();
    }
    found
}

#[tokio::test]
async fn facts_that_changed_while_it_waited_count() {
    let world = world().await;
    let request = world.ask(&world.agent, &asked("T", "GET", "/v1/orders/*")).await;
    assert_eq!(request["state"], "pending", "{request}");
    set_risk(&world, "high").await;
    let approving = world.try_cli(&["approve", id(&request), "--reason", "go on"]).await;
    let text = String::from_utf8(approving.stdout.clone()).unwrap();
    assert!(text.contains("the request is denied"), "{approving:?}");
    assert!(stderr(&approving).contains("too risky now"), "who approves is told why: {approving:?}");
    assert_eq!(approving.status.code(), Some(1), "nothing came of it: {approving:?}");
    let shown = world.cli(&["requests", "show", id(&request)]).await;
    assert_eq!((because(&shown), &shown["grant"]), ("too risky now".to_owned(), &Value::Null));
    // It was no person's denial: nothing holds off asking again once it is calm.
    set_risk(&world, "low").await;
    assert_eq!(world.ask(&world.agent, &asked("T", "GET", "/v1/orders/*")).await["state"], "pending");
}

#[tokio::test]
async fn policies_that_changed_while_it_waited_count() {
    let world = world().await;
    let request =
        world.ask(&world.agent, &with(asked("T", "GET", "/v1/orders/*"), "ttl", json!("10m"))).await;
    let other = world.ask(&world.agent, &asked("T", "PUT", "/v1/orders/7")).await;
    // A shorter time, nobody has to approve any more, and PUT is forbidden.
    world.write_policies(
        r#"
@id("at-once")
@max_ttl("1m")
permit (principal, action == Action::"request", resource);
@id("no-puts")
@because("orders are frozen")
forbid (principal, action, resource) when { context.method == "PUT" };
"#,
    );
    world.cli(&["policy", "reload"]).await;
    // Somebody had to decide when it was asked; that stays.
    let waits = world.cli(&["requests", "show", id(&request)]).await;
    assert_eq!(waits["state"], "pending", "{waits}");
    let approved = approve(&world, "operator/ada", &request, json!({})).await;
    let grant = world.granted(&approved).await;
    let time = |key: &str| grant[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert_eq!(time("expires_at").duration_since(time("not_before")).as_secs(), 60, "{grant}");
    assert_eq!(because(&approve(&world, "operator/ada", &other, json!({})).await), "orders are frozen");
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
}

#[tokio::test]
async fn of_what_several_approve_only_what_all_of_them_approved_is_there() {
    for [first, second] in [["/v1/orders/*", "/v1/orders/7"], ["/v1/orders/7", "/v1/orders/*"]] {
        let world = world().await;
        let body = with(asked("T", "PUT", "/"), "scope", scope(&["/v1/**"]));
        let request = world.ask(&world.agent, &body).await;
        let less = json!({"scope": scope(&[first]), "ttl": "2m"});
        assert_eq!(approve(&world, "operator/ada", &request, less).await["state"], "pending");
        let approved = approve(&world, "operator/local", &request, json!({"scope": scope(&[second])})).await;
        let grant = world.granted(&approved).await;
        let time = |key: &str| grant[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time("expires_at").duration_since(time("not_before")).as_secs(), 120, "{grant}");
        let found = statuses(&world, ["/v1/orders/7", "/v1/orders/8", "/v1/stock"]).await;
        assert_eq!(found, [200, 403, 403], "{first} and {second}");
        let shown = world.try_cli(&["requests", "show", id(&request)]).await;
        let text = String::from_utf8(shown.stdout).unwrap();
        for part in [first, second, "only for 2m"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}

const EXCEPTION: &str = r#"
@id("legacy-sync")
@max_ttl("1h")
@review
permit (principal, action in [Action::"request", Action::"extend"], resource) when { context.method == "GET" };
"#;

#[tokio::test]
async fn a_standing_exception_is_renewed_by_decision_and_reviewed_each_time() {
    let chat = Stub::receiver().await;
    let hook = format!(
        "[control.requests]\nreview_within = \"1s\"\n[[webhooks]]\nname = \"chat\"\nurl = \"http://{}/\"\nformat = \"chat\"\nevents = [\"*\"]\n",
        chat.address
    );
    let world = Setup::new().tables(&hook).decided_by("", EXCEPTION).await.start_both().await;
    let request =
        world.ask(&world.agent, &with(asked("SYNC", "GET", "/v1/orders/*"), "ttl", json!("8h"))).await;
    let grant = world.granted(&request).await;
    let path = format!("/v1/grants/{}/extend", grant["id"].as_str().unwrap());
    let longer = json!({"ttl": "1h", "reason": "the legacy system is still there"});
    let renewed = world.api(&world.agent, ("POST", &path), &longer).await.json();
    assert_eq!(renewed["state"], "approved", "{renewed}");
    let reviews = world.cli(&["reviews"]).await;
    let of: Vec<&Value> = reviews.as_array().unwrap().iter().map(|review| &review["request"]).collect();
    assert_eq!(of, [&request["id"], &renewed["id"]], "{reviews}");
    assert_eq!(reviews[0]["emergency"], false, "{reviews}");
    assert_eq!(world.cli(&["status"]).await["reviews"]["open"], 2);
    assert!(chat.chat("was due at").await.contains("Review"));
    // The agent closes none of them.
    let close = ["reviews", "close", id(&reviews[0]), "--justified", "false", "--findings", "move it"];
    assert_eq!(world.cli_as(&crate::access::agent(&world), &close).await.status.code(), Some(1));
    assert!(world.try_cli(&close).await.status.success());
    let story = world.cli(&["requests", "show", id(&request)]).await["story"].to_string();
    assert!(story.contains("review closed, not justified: move it"), "{story}");
}
