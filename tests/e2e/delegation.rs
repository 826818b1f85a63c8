//! What was handed on is a part of what it comes from, at each depth: never more, never longer, and never after it.

use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, Setup, World, asked, eventually, within};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

const POLICIES: &str = r#"
@id("reads")
permit (principal, action in [Action::"request", Action::"delegate", Action::"extend"], resource)
when { context.method == "GET" };
"#;

const HELPER: &str = "spiffe://jitgate.local/agent/helper";
const THIRD: &str = "spiffe://jitgate.local/agent/third";

async fn world() -> World {
    Setup::new().decided_by("", POLICIES).await.start_both().await
}

fn reads(paths: &[&str]) -> Value {
    json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": paths}])
}

async fn hand_on(world: &World, who: &Leaf, grant: &Value, more: &Value) -> Answer {
    let path = format!("/v1/grants/{}/delegate", grant["id"].as_str().unwrap());
    let mut body = json!({"reason": "does a part of it"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.api(who, ("POST", &path), &body).await
}

async fn extend(world: &World, who: &Leaf, grant: &Value, ttl: &str) -> Answer {
    let path = format!("/v1/grants/{}/extend", grant["id"].as_str().unwrap());
    world.api(who, ("POST", &path), &json!({"ttl": ttl, "reason": "not finished"})).await
}

async fn grant_of(world: &World, answer: Answer) -> Value {
    assert_eq!(answer.status, 201, "{answer:?}");
    world.granted(&answer.json()).await
}

/// Three in a row: the agent has a grant, its helper a part of it, and a third a part of that.
struct Chain {
    leaves: [Leaf; 3],
    grants: [Value; 3],
}

async fn chain(world: &World) -> Chain {
    let leaves = ["demo", "helper", "third"].map(|name| world.ca.svid(&format!("agent/{name}")));
    let mut body = asked("T", "GET", "/v1/**");
    body["scope"] = reads(&["/sse", "/v1/**"]);
    body["ttl"] = json!("10m");
    let request = world.ask(&leaves[0], &body).await;
    let first = world.granted(&request).await;
    let part = json!({"principal": HELPER, "scope": reads(&["/sse", "/v1/orders/*"]), "ttl": "5m"});
    let second = grant_of(world, hand_on(world, &leaves[0], &first, &part).await).await;
    let part = json!({"principal": THIRD, "scope": reads(&["/sse", "/v1/orders/7"])});
    let third = grant_of(world, hand_on(world, &leaves[1], &second, &part).await).await;
    Chain { leaves, grants: [first, second, third] }
}

async fn streaming(world: &World, who: &Leaf) -> Incoming {
    let mut connection = world.client_as(Some(who), Protocol::H2).connect().await;
    let mut running = connection.open("/sse").await;
    within("the first event", running.frame()).await.unwrap().unwrap();
    running.into_body()
}

async fn cut(mut running: Incoming) {
    let reading = async { while let Some(Ok(_)) = running.frame().await {} };
    within("the cut", reading).await;
}

fn end(grant: &Value) -> jiff::Timestamp {
    grant["expires_at"].as_str().unwrap().parse().unwrap()
}

async fn status(world: &World, who: &Leaf, path: &str) -> u16 {
    world.client_as(Some(who), Protocol::H1).get(path).await.status.as_u16()
}

#[tokio::test]
async fn each_may_do_less_than_the_one_before() {
    let world = world().await;
    let Chain { leaves, grants } = chain(&world).await;
    for (path, statuses) in [
        ("/v1/orders/7", [200, 200, 200]),
        ("/v1/orders/8", [200, 200, 403]),
        ("/v1/stock", [200, 403, 403]),
        ("/other", [403, 403, 403]),
    ] {
        for (who, expected) in leaves.iter().zip(statuses) {
            assert_eq!(status(&world, who, path).await, expected, "{path}");
        }
    }
    // Both, the part and what it is a part of, are with the grant, and who handed it on.
    let within: Vec<&Value> = vec![&grants[1]["scope"], &grants[0]["scope"]];
    assert_eq!(grants[2]["lineage"]["within"], json!(within), "{}", grants[2]);
    assert_eq!(grants[2]["lineage"]["parent"], grants[1]["id"]);

    // Nobody hands on more than there is, or what is not theirs, or to themselves.
    for (who, of, scope) in
        [(0, 0, "/other"), (1, 1, "/v1/stock"), (2, 2, "/v1/orders/8"), (2, 2, "/v1/orders/*")]
    {
        let part = json!({"principal": "spiffe://jitgate.local/agent/fourth", "scope": reads(&[scope])});
        let refused = hand_on(&world, &leaves[who], &grants[of], &part).await;
        assert_eq!((refused.status.as_u16(), refused.reason()), (422, "invalid".into()), "{refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("name permissions"), "{refused:?}");
    }
    let part = json!({"principal": "spiffe://jitgate.local/agent/fourth", "scope": reads(&["/v1/orders/7"])});
    for (who, of) in [(2, 0), (2, 1), (1, 0), (0, 1)] {
        assert_eq!(hand_on(&world, &leaves[who], &grants[of], &part).await.status, 404, "{who} {of}");
    }
    let own = json!({"principal": HELPER, "scope": reads(&["/v1/orders/7"])});
    assert_eq!(hand_on(&world, &leaves[1], &grants[1], &own).await.reason(), "self_approval");
}

#[tokio::test]
async fn none_outlives_the_one_before() {
    let world = world().await;
    let Chain { leaves, grants } = chain(&world).await;
    assert!(end(&grants[1]) < end(&grants[0]), "{grants:?}");
    assert_eq!(end(&grants[2]), end(&grants[1]), "as long as what it comes from");
    // Asked for longer.
    let part = json!({"principal": "spiffe://jitgate.local/agent/fourth", "scope": reads(&["/v1/orders/7"]), "ttl": "8h"});
    let fourth = grant_of(&world, hand_on(&world, &leaves[1], &grants[1], &part).await).await;
    assert_eq!(end(&fourth), end(&grants[1]), "{fourth}");

    // More time: the last has none to get; the middle one gets what is left of the first.
    let refused = extend(&world, &leaves[2], &grants[2], "10m").await;
    assert_eq!((refused.status.as_u16(), refused.reason()), (409, "not_live".into()), "{refused:?}");
    let longer = grant_of(&world, extend(&world, &leaves[1], &grants[1], "8h").await).await;
    assert_eq!(end(&longer), end(&grants[0]), "{longer}");
    assert_eq!(longer["lineage"]["parent"], grants[0]["id"], "still a part of it: {longer}");

    // The first is ended: nothing of it is left, neither the part that was to go on.
    let revoked = world.revoke(grants[0]["id"].as_str().unwrap()).await;
    assert_eq!(revoked["effective"], true, "{revoked}");
    assert_eq!(world.cli(&["grants"]).await, json!([]));
    for who in &leaves {
        assert_eq!(status(&world, who, "/v1/orders/7").await, 403);
    }
}

#[tokio::test]
async fn the_end_of_one_cuts_what_runs_at_every_depth_below_and_nothing_above() {
    let world = world().await;
    let Chain { leaves, grants } = chain(&world).await;
    let mut first = streaming(&world, &leaves[0]).await;
    let (second, third) = (streaming(&world, &leaves[1]).await, streaming(&world, &leaves[2]).await);

    let revoked = world.revoke(grants[1]["id"].as_str().unwrap()).await;
    assert_eq!(revoked["effective"], true, "{revoked}");
    cut(second).await;
    cut(third).await;
    world.upstream.running(1).await;
    for _ in 0..10 {
        assert!(matches!(within("an event", first.frame()).await, Some(Ok(_))), "the first goes on");
    }
    let state = async |at: usize| {
        world.cli(&["grants", "show", grants[at]["id"].as_str().unwrap()]).await["state"].clone()
    };
    assert_eq!(
        (state(0).await, state(1).await, state(2).await),
        (json!("live"), json!("revoked"), json!("revoked"))
    );
    for who in &leaves[1..] {
        assert_eq!(status(&world, who, "/v1/orders/7").await, 403);
    }
    // What was revoked is not handed on once more right away.
    let part = json!({"principal": THIRD, "scope": reads(&["/v1/orders/7"])});
    let again = hand_on(&world, &leaves[0], &grants[0], &part).await;
    assert_eq!((again.status.as_u16(), again.reason()), (429, "cooldown".into()), "{again:?}");
    cut_by_task(&world, &leaves[0], first).await;
}

/// The end of the task cuts the rest.
async fn cut_by_task(world: &World, owner: &Leaf, running: Incoming) {
    assert_eq!(world.api(owner, ("POST", "/v1/tasks/T/done"), &json!({})).await.status, 200);
    cut(running).await;
    world.upstream.running(0).await;
    let mut causes = eventually("three lines", || async {
        let lines = world.ends("/sse").await;
        let cause = |line: &Value| format!("{} {}", line["end"], line["cause"]).replace('"', "");
        Some(lines.iter().map(cause).collect::<Vec<_>>()).filter(|causes| causes.len() == 3)
    })
    .await;
    causes.sort();
    assert_eq!(causes, ["cut revoked", "cut revoked", "cut task_done"]);
}

#[tokio::test]
async fn the_end_of_the_first_cuts_the_streams_of_the_last() {
    let world = world().await;
    let Chain { leaves, grants } = chain(&world).await;
    let mut running = Vec::new();
    for who in &leaves {
        running.push(streaming(&world, who).await);
    }
    let revoked = world.revoke(grants[0]["id"].as_str().unwrap()).await;
    assert_eq!(revoked["effective"], true, "{revoked}");
    assert_eq!(revoked["grants"].as_array().unwrap().len(), 3, "{revoked}");
    for running in running {
        cut(running).await;
    }
    world.upstream.running(0).await;
}
