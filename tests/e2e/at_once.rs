//! Decisions that meet: at the same instant, after a denial, or of something else than what was seen.

use crate::access::stderr;
use crate::harness::client::full;
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Setup, World, asked, id, with, within};
use futures_util::future::join_all;
use serde_json::{Value, json};

const POLICIES: &str = r#"
@id("one")
@approvers("1 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
@id("two")
@approvers("2 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "PUT" };
"#;

const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["approver"]
[[identities]]
id = "spiffe://jitgate.local/operator/ada-laptop"
roles = ["approver"]
[[identities]]
id = "spiffe://jitgate.local/operator/bob"
roles = ["approver"]
[[identities]]
id = "spiffe://jitgate.local/operator/cyd"
roles = ["approver"]
[[people]]
name = "Ada"
identities = ["spiffe://jitgate.local/operator/ada", "spiffe://jitgate.local/operator/ada-laptop"]
"#;

const ALL: [&str; 4] = ["operator/ada", "operator/ada-laptop", "operator/bob", "operator/cyd"];

async fn world() -> World {
    let mut world = Setup::new().tables(PEOPLE).decided_by("", POLICIES).await;
    world.start_control().await;
    world
}

/// All these calls at the same instant: each on a connection of its own that is open already.
async fn at_once(world: &World, calls: &[(&Leaf, String, Value)]) -> Vec<Answer> {
    let mut open = Vec::new();
    for (who, path, body) in calls {
        let connection = world.api_as(who).connect().await;
        let request = connection.request("POST", path).header("content-type", "application/json");
        open.push((connection, request.body(full(body.to_string())).unwrap()));
    }
    let together = std::sync::Arc::new(tokio::sync::Barrier::new(open.len()));
    let tasks = open.into_iter().map(|(mut connection, request)| {
        let together = std::sync::Arc::clone(&together);
        tokio::spawn(async move {
            together.wait().await;
            Answer::of(connection.send(request).await).await
        })
    });
    let answers = within("all answers", join_all(tasks)).await;
    answers.into_iter().map(Result::unwrap).collect()
}

fn path(request: &Value, what: &str) -> String {
    format!("/v1/requests/{}/{what}", id(request))
}

/// The grants that there ever were for a request.
async fn grants_of(world: &World, request: &Value) -> Vec<Value> {
    let all = world.cli(&["grants", "--state", "all"]).await;
    let of = |grant: &&Value| grant["lineage"]["request"] == request["id"];
    all.as_array().unwrap().iter().filter(of).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn approvals_at_the_same_instant_make_one_grant() {
    let world = world().await;
    let leaves: Vec<Leaf> = ALL.iter().map(|who| world.ca.svid(who)).collect();
    for round in 0..8 {
        for (method, needed) in [("GET", 1), ("PUT", 2)] {
            let request = world.ask(&world.agent, &asked("T", method, &format!("/v1/orders/{round}"))).await;
            let approval = json!({"reason": "me too", "hash": request["hash"]});
            let calls: Vec<_> =
                leaves.iter().map(|who| (who, path(&request, "approve"), approval.clone())).collect();
            let answers = at_once(&world, &calls).await;
            let counted: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
            assert_eq!(counted.len(), needed, "{answers:?}");
            for other in answers.iter().filter(|answer| answer.status != 200) {
                assert_eq!(other.status, 409, "{other:?}");
                assert!(["settled", "approved_already"].contains(&other.reason().as_str()), "{other:?}");
            }
            let shown = world.cli(&["requests", "show", id(&request)]).await;
            assert_eq!(shown["state"], "approved", "{shown}");
            assert_eq!(shown["approvals"].as_array().unwrap().len(), needed, "{shown}");
            let grants = grants_of(&world, &request).await;
            assert_eq!((grants.len(), &grants[0]["id"]), (1, &shown["grant"]), "{grants:?}");
        }
    }
    assert_eq!(world.cli(&["grants"]).await.as_array().unwrap().len(), 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_asked_at_the_same_instant_is_one_request() {
    let world = world().await;
    let body = asked("T", "GET", "/v1/orders/7");
    let calls: Vec<_> = (0..6).map(|_| (&world.agent, "/v1/requests".to_owned(), body.clone())).collect();
    let answers = at_once(&world, &calls).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 201]);
    assert_eq!(world.cli(&["requests"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_an_approval_and_a_denial_at_the_same_instant_one_counts() {
    let world = world().await;
    let (ada, bob) = (world.ca.svid("operator/ada"), world.ca.svid("operator/bob"));
    for round in 0..6 {
        // Each asked for by another agent, so that no cool-down of the last keeps it off.
        let agent = world.ca.svid(&format!("agent/{round}"));
        let request = world.ask(&agent, &asked(&format!("T-{round}"), "GET", "/v1/orders/7")).await;
        let reason = json!({"reason": "at the same time"});
        let calls = [
            (&ada, path(&request, "approve"), reason.clone()),
            (&bob, path(&request, "deny"), reason.clone()),
        ];
        let answers = at_once(&world, &calls).await;
        let shown = world.cli(&["requests", "show", id(&request)]).await;
        let grants = grants_of(&world, &request).await.len();
        // The later one learns that it is too late.
        match shown["state"].as_str().unwrap() {
            "approved" => assert_eq!((grants, answers[1].status.as_u16()), (1, 409), "{answers:?}"),
            "denied" => assert_eq!((grants, answers[0].status.as_u16()), (0, 409), "{answers:?}"),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_denial_ends_the_request_whoever_approved_before() {
    let world = world().await;
    let request = world.ask(&world.agent, &asked("T", "PUT", "/v1/orders/7")).await;
    let act = async |who: &str, what: &str| {
        let (leaf, reason) = (world.ca.svid(who), json!({"reason": "r"}));
        world.api(&leaf, ("POST", &path(&request, what)), &reason).await
    };
    assert_eq!(act("operator/ada", "approve").await.json()["state"], "pending");
    assert_eq!(act("operator/bob", "deny").await.json()["state"], "denied");
    for (who, what) in
        [("operator/cyd", "approve"), ("operator/local", "approve"), ("operator/local", "deny")]
    {
        let late = act(who, what).await;
        assert_eq!((late.status.as_u16(), late.reason()), (409, "settled".into()), "{who} {what}: {late:?}");
    }
    let cancelled = world.api(&world.agent, ("POST", &path(&request, "cancel")), &json!({})).await;
    assert_eq!(cancelled.reason(), "settled");
    assert!(grants_of(&world, &request).await.is_empty());
    let command = world.try_cli(&["approve", id(&request), "--reason", "late"]).await;
    assert_eq!(command.status.code(), Some(1), "{command:?}");
    assert!(stderr(&command).contains("denied already"), "{command:?}");
}

#[tokio::test]
async fn only_what_was_seen_is_approved() {
    let world = world().await;
    let first = world.ask(&world.agent, &asked("T", "GET", "/v1/orders/7")).await;
    // What was seen was asked with other words: it was withdrawn, and asked anew.
    world.api(&world.agent, ("POST", &path(&first, "cancel")), &json!({})).await;
    let body = with(asked("T", "GET", "/v1/orders/7"), "reason", json!("another reason"));
    let second = world.ask(&world.agent, &body).await;
    assert_ne!(first["hash"], second["hash"]);
    let bob = world.ca.svid("operator/bob");
    for stale in [first["hash"].clone(), json!("0".repeat(64)), json!("")] {
        let approval = json!({"reason": "r", "hash": stale});
        let refused = world.api(&bob, ("POST", &path(&second, "approve")), &approval).await;
        assert_eq!((refused.status.as_u16(), refused.reason()), (409, "changed".into()), "{refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("look at it again"), "{refused:?}");
    }
    assert!(grants_of(&world, &second).await.is_empty());
    let approval = json!({"reason": "r", "hash": second["hash"]});
    let done = world.api(&bob, ("POST", &path(&second, "approve")), &approval).await.json();
    assert_eq!(done["state"], "approved", "{done}");
    // What was approved is in its story.
    let story = world.cli(&["requests", "show", id(&second)]).await["story"].to_string();
    assert!(story.contains(second["hash"].as_str().unwrap()), "{story}");
}
