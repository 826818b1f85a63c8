//! A plan is asked for once and opened step by step; a step that is reassessed is decided on with the facts of then.

use crate::access::{agent, json, stderr};
use crate::harness::pki::Leaf;
use crate::harness::world::AGENT;
use crate::harness::{Answer, Protocol, Setup, World, because, eventually, id, with};
use serde_json::{Value, json as value};
use std::process::Output;

const POLICIES: &str = r#"
@id("reads")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
@id("posts")
permit (principal, action == Action::"request", resource) when { context.method == "POST" };
@id("deletes-with-people")
@approvers("1 of approvers")
permit (principal, action == Action::"request", resource)
when { context.method == "DELETE" && context has plan_step };
@id("deletes-are-planned")
permit (principal, action == Action::"request", resource)
when { context.method == "DELETE" && !(context has plan_step) };
@id("calm")
@because("too risky to change anything")
forbid (principal, action, resource) when { context.method != "GET" && principal.risk == Risk::"high" };
"#;

const KNOWN: &str = r#"
[[principals]]
id = "spiffe://jitgate.local/agent/demo"
kind = "workload"
risk = "low"
"#;

/// Reads twice, posts once after a second look, deletes once after a person's look.
const PLAN: &str = r#"[
    {"scope": "orders:GET:/v1/orders/*", "max_uses": 2},
    {"scope": "orders:POST:/v1/orders", "max_uses": 1, "reassess": true},
    {"scope": "orders:DELETE:/v1/orders/7", "reassess": true}
]"#;

async fn world() -> World {
    let world = Setup::new().tables(KNOWN).decided_by("", POLICIES).await;
    std::fs::write(world.path("plan.json"), PLAN).unwrap();
    world.start_both().await
}

/// Asks for the plan as the agent, on the command line.
async fn planned(world: &World, more: &[&str]) -> Output {
    let base = ["request", "--task", "REL-9", "--plan", "plan.json", "--ttl", "10m", "--reason", "release 9"];
    world.cli_as(&agent(world), &[&base[..], more].concat()).await
}

async fn advance(world: &World, plan: &str, more: &[&str]) -> Output {
    world.cli_as(&agent(world), &[&["requests", "advance", plan], more].concat()).await
}

async fn tried(world: &World, method: &str, path: &str) -> Answer {
    world.client(Protocol::H1).connect().await.call(method, path, "").await
}

async fn set_risk(world: &World, risk: &str) {
    let path = format!("/v1/principals/{}/attributes", AGENT.replace(':', "%3A").replace('/', "%2F"));
    let set = world.api(&world.ca.svid("operator/local"), ("PUT", &path), &value!({"risk": risk})).await;
    assert_eq!(set.status, 200, "{set:?}");
}

/// Where the steps of a plan stand.
async fn steps(world: &World, plan: &str) -> Vec<String> {
    steps_of(&world.cli(&["requests", "show", plan]).await)
}

fn steps_of(plan: &Value) -> Vec<String> {
    let of = |step: &Value| step["state"].as_str().unwrap().to_owned();
    plan["steps"].as_array().unwrap().iter().map(of).collect()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn one_step_after_the_other_each_as_often_as_it_says() {
    let world = world().await;
    let asked = planned(&world, &["--output", "json"]).await;
    let plan = world.cli(&["requests", "show", id(&json(&asked))]).await;
    assert_eq!(
        (&plan["state"], &plan["steps"][0]["state"]),
        (&value!("approved"), &value!("open")),
        "{plan}"
    );
    let first = world.granted(&plan).await;
    assert_eq!(first["limits"], value!({"max_uses": 2}), "{first}");

    // Only the first step is open, and as often as it says.
    assert_eq!(tried(&world, "POST", "/v1/orders").await.reason(), "out_of_scope");
    for _ in 0..2 {
        assert_eq!(tried(&world, "GET", "/v1/orders/7").await.status, 200);
    }
    let third = tried(&world, "GET", "/v1/orders/7").await;
    assert_eq!((third.status.as_u16(), third.reason()), (429, "limit".into()));

    // People see what the steps are, before and after.
    let shown = text(&world.try_cli(&["requests", "show", id(&plan)]).await);
    for part in [
        "0 open: orders:GET:/v1/orders/*, at most 2 uses",
        "1 waiting: orders:POST:/v1/orders, at most 1 use, decided anew",
        "2 waiting: orders:DELETE:/v1/orders/7, decided anew",
    ] {
        assert!(shown.contains(part), "`{part}` in {shown}");
    }

    let opened = advance(&world, id(&plan), &[]).await;
    assert!(opened.status.success(), "{opened:?}");
    let shown = text(&opened);
    for part in [&format!("step 1 of {}", id(&plan)), "at most 1 use", "approved"] {
        assert!(shown.contains(part), "`{part}` in {shown}");
    }
    assert_eq!(steps(&world, id(&plan)).await, ["left", "open", "waiting"]);
    let grants = world.cli(&["grants"]).await;
    assert_eq!(grants.as_array().unwrap().len(), 1, "the step before has ended: {grants}");
    world.applied(&grants[0]["revision"]).await;
    assert_eq!(tried(&world, "GET", "/v1/orders/7").await.status, 403);
    assert_eq!(tried(&world, "POST", "/v1/orders").await.status, 200);
    assert_eq!(tried(&world, "POST", "/v1/orders").await.reason(), "limit");

    // The last one needs a person.
    let waits = advance(&world, id(&plan), &["--output", "json"]).await;
    let step = json(&waits);
    assert_eq!((waits.status.code(), &step["state"]), (Some(0), &value!("pending")), "{waits:?}");
    let again = advance(&world, id(&plan), &[]).await;
    assert!(stderr(&again).contains(&format!("still being decided on by `{}`", id(&step))), "{again:?}");
    assert_eq!(tried(&world, "DELETE", "/v1/orders/7").await.status, 403);
    let approved = world.cli(&["approve", id(&step), "--reason", "go"]).await;
    world.granted(&approved).await;
    assert_eq!(tried(&world, "DELETE", "/v1/orders/7").await.status, 200);
    assert_eq!(steps(&world, id(&plan)).await, ["left", "left", "open"]);
    let over = advance(&world, id(&plan), &[]).await;
    assert_eq!(over.status.code(), Some(1), "{over:?}");
    assert!(stderr(&over).contains("its last step is open"), "{over:?}");

    // Its story tells of each step, and nobody's plan goes on with the end of its task.
    let story = world.cli(&["requests", "show", id(&plan)]).await["story"].to_string();
    for part in ["step 0 of the plan opened", "step 1 of the plan opened", "step 2 of the plan opened"] {
        assert!(story.contains(part), "{story}");
    }
    world.cli_as(&agent(&world), &["task", "done", "REL-9"]).await;
    assert_eq!(world.cli(&["grants"]).await, value!([]));
    assert!(stderr(&advance(&world, id(&plan), &[]).await).contains("has ended"));
}

#[tokio::test]
async fn a_step_is_decided_with_the_facts_of_then() {
    let world = world().await;
    let plan = json(&planned(&world, &["--output", "json"]).await);
    world.granted(&plan).await;
    assert_eq!(tried(&world, "GET", "/v1/orders/7").await.status, 200);

    set_risk(&world, "high").await;
    let denied = advance(&world, id(&plan), &["--wait"]).await;
    assert_eq!(denied.status.code(), Some(1), "{denied:?}");
    assert!(stderr(&denied).contains("too risky to change anything"), "{denied:?}");
    assert_eq!(steps(&world, id(&plan)).await, ["left", "denied", "waiting"]);
    assert_eq!(world.cli(&["grants"]).await, value!([]));
    let asked = world.cli(&["requests", "--state", "denied"]).await;
    assert_eq!(because(&asked[0]), "too risky to change anything");
    assert_eq!(asked[0]["kind"]["step"], value!({"of": id(&plan), "number": 1}));
    // What was left does not come back by itself.
    eventually("the end of the first step", || async {
        (tried(&world, "GET", "/v1/orders/7").await.status == 403).then_some(())
    })
    .await;
    assert_eq!(tried(&world, "POST", "/v1/orders").await.status, 403);

    // The same step again, once the facts are good again; it is not skipped.
    set_risk(&world, "low").await;
    let opened = json(&advance(&world, id(&plan), &["--output", "json"]).await);
    assert_eq!((&opened["state"], &opened["kind"]["step"]["number"]), (&value!("approved"), &value!(1)));
    world.granted(&opened).await;
    assert_eq!(tried(&world, "POST", "/v1/orders").await.status, 200);
    assert_eq!(steps(&world, id(&plan)).await, ["left", "open", "waiting"]);
}

#[tokio::test]
async fn whose_step_a_person_refuses_has_to_wait_and_nobody_else_advances() {
    let world = world().await;
    let plan = json(&planned(&world, &["--output", "json"]).await);
    let path = format!("/v1/requests/{}/advance", id(&plan));
    let go_on = async |who: &Leaf| world.api(who, ("POST", &path), &value!({})).await;
    assert_eq!(go_on(&world.ca.svid("agent/other")).await.status, 404);
    assert_ne!(go_on(&world.ca.svid("operator/local")).await.status, 200, "who reads all opens nothing");
    assert_eq!(go_on(&world.agent).await.json()["state"], "approved");
    let step = go_on(&world.agent).await.json();
    assert_eq!(step["state"], "pending", "{step}");
    world.cli(&["deny", id(&step), "--reason", "not on a Friday"]).await;
    let again = go_on(&world.agent).await;
    assert_eq!((again.status.as_u16(), again.reason()), (429, "cooldown".into()), "{again:?}");
    assert_eq!(steps(&world, id(&plan)).await, ["left", "left", "denied"]);
    assert_eq!(world.cli(&["grants"]).await, value!([]), "nothing of the plan goes on");
}

#[tokio::test]
async fn a_call_that_is_sent_again_under_its_key_passes_over_no_step() {
    let world = world().await;
    let steps: Vec<Value> = (0..3)
        .map(|at| value!({"scope": crate::harness::asked("T", "GET", &format!("/v1/{at}"))["scope"]}))
        .collect();
    let body = value!({"task": "T", "reason": "three steps", "ttl": "5m", "plan": steps});
    let plan = world.ask(&world.agent, &body).await;
    let again = ["--idempotency-key", "second", "--output", "json"];
    for _ in 0..3 {
        let advanced = advance(&world, id(&plan), &again).await;
        assert!(advanced.status.success(), "{advanced:?}");
        assert_eq!(steps_of(&json(&advanced)), ["left", "open", "waiting"]);
    }
    let other = world.ask(&world.agent, &with(body, "task", value!("U"))).await;
    let reused = advance(&world, id(&other), &again).await;
    assert!(stderr(&reused).contains("was used for another request"), "{reused:?}");
    // Without one, and under another, each call is a step.
    assert_eq!(steps_of(&json(&advance(&world, id(&plan), &again[2..]).await)), ["left", "left", "open"]);
}
