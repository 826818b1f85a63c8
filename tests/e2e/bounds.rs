//! Asking again is bounded: one grant for the same thing, a longest total, so much privileged time, so many that wait, and so long.

use crate::access::{agent, json, stderr};
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, Setup, Stub, World, asked, eventually, id, with};
use serde_json::{Value, json as value};

const POLICIES: &str = r#"
@id("reads")
@max_total("8m")
permit (principal, action in [Action::"request", Action::"extend"], resource) when { context.method == "GET" };
@id("posts-with-people")
@approvers("1 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "POST" };
"#;

/// The agent and its twin are one person's.
const PEOPLE: &str = r#"
[[people]]
name = "Ada"
identities = ["spiffe://jitgate.local/agent/demo", "spiffe://jitgate.local/agent/twin"]
[[ service ]]
name = "stock"
owner = "spiffe://jitgate.local/operator/local"
upstream = ["http://127.0.0.1:9"]
"#;

async fn world(more: &str) -> World {
    Setup::new().tables(PEOPLE).tables(more).decided_by("", POLICIES).await.start_both().await
}

fn time(of: &Value, key: &str) -> jiff::Timestamp {
    of[key].as_str().unwrap_or_else(|| panic!("no {key} in {of}")).parse().unwrap()
}

fn seconds(grant: &Value) -> i64 {
    time(grant, "expires_at").duration_since(time(grant, "not_before")).as_secs()
}

async fn extend(world: &World, grant: &Value, ttl: &str) -> Answer {
    let path = format!("/v1/grants/{}/extend", grant["id"].as_str().unwrap());
    world.api(&world.agent, ("POST", &path), &value!({"ttl": ttl, "reason": "not finished"})).await
}

fn for_(task: &str, path: &str, ttl: &str) -> Value {
    with(asked(task, "GET", path), "ttl", value!(ttl))
}

#[tokio::test]
async fn the_same_is_granted_once() {
    let world = world("").await;
    let first = world.ask(&world.agent, &for_("T", "/v1/orders/*", "5m")).await;
    assert_eq!(first["state"], "approved", "{first}");
    for ttl in ["5m", "1m"] {
        let again = world.try_ask(&world.agent, &for_("T", "/v1/orders/*", ttl)).await;
        assert_eq!(
            (again.status.as_u16(), &again.json()["grant"]),
            (200, &first["grant"]),
            "{ttl}: {again:?}"
        );
    }
    // Written in another order it is the same.
    let scope = |paths: [&str; 2]| value!([{"type": "http", "locations": ["orders"], "actions": ["HEAD", "GET"], "paths": paths}]);
    let world_scope = |paths| with(for_("U", "/", "5m"), "scope", scope(paths));
    assert_eq!(world.ask(&world.agent, &world_scope(["/a", "/b"])).await["state"], "denied", "HEAD");
    assert_eq!(world.cli(&["grants"]).await.as_array().unwrap().len(), 1);
    // Another task is another piece of work.
    assert_ne!(world.ask(&world.agent, &for_("V", "/v1/orders/*", "5m")).await["grant"], first["grant"]);
}

#[tokio::test]
async fn extensions_reach_the_policys_total_and_no_further() {
    let world = world("").await;
    let request = world.ask(&world.agent, &for_("T", "/v1/orders/*", "5m")).await;
    let first = world.granted(&request).await;
    let longer = extend(&world, &first, "5m").await;
    assert_eq!(longer.status, 201, "{longer:?}");
    let second = world.granted(&longer.json()).await;
    let total = time(&second, "expires_at").duration_since(time(&first, "not_before")).as_secs();
    assert_eq!((total, &second["lineage"]["extends"]), (8 * 60, &first["id"]), "{second}");
    assert_eq!(second["not_before"], first["expires_at"], "it goes on where the other ends");
    let refused = extend(&world, &second, "1m").await;
    assert_eq!((refused.status.as_u16(), refused.reason()), (409, "total_reached".into()), "{refused:?}");
    assert!(refused.json()["detail"].as_str().unwrap().contains("ask anew"), "{refused:?}");
    // The old one has gone on already: there is nothing more to get from it.
    assert_eq!(extend(&world, &first, "8h").await.json()["grant"], second["id"]);
    let command = ["extend", second["id"].as_str().unwrap(), "--ttl", "1m", "--reason", "still not"];
    let command = world.cli_as(&agent(&world), &command).await;
    assert_eq!(command.status.code(), Some(1), "{command:?}");
    assert!(stderr(&command).contains("longest total of 480s: ask anew"), "{command:?}");
    assert_eq!(world.cli(&["grants", "--state", "all"]).await.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn above_the_cap_of_privileged_time_a_person_decides() {
    let world = world("[control.requests]\nprivileged_cap = \"10m\"\n").await;
    let twin = world.ca.svid("agent/twin");
    let first = world.ask(&world.agent, &for_("T", "/v1/orders/*", "6m")).await;
    assert_eq!(first["state"], "approved", "{first}");
    // Whichever identity of the person asks, and for whichever task.
    for (who, task) in [(&world.agent, "U"), (&twin, "V")] {
        let above = world.ask(who, &for_(task, "/v1/orders/*", "6m")).await;
        assert_eq!(above["state"], "pending", "{above}");
        assert_eq!(above["waiting_for"][0]["from"], value!(["role:approver"]), "{above}");
        let path = format!("/v1/requests/{}/cancel", id(&above));
        world.api(who, ("POST", &path), &value!({})).await;
    }
    // Less, another service, and another person are not above it.
    let less = world.ask(&twin, &for_("W", "/v1/orders/7", "3m")).await;
    assert_eq!(less["state"], "approved", "{less}");
    let mut elsewhere = for_("X", "/v1/orders/*", "6m");
    elsewhere["scope"][0]["locations"] = value!(["stock"]);
    assert_eq!(world.ask(&world.agent, &elsewhere).await["state"], "approved");
    let other = world.ca.svid("agent/other");
    assert_eq!(world.ask(&other, &for_("Y", "/v1/orders/*", "6m")).await["state"], "approved");
    // A person may.
    let above = world.ask(&world.agent, &for_("Z", "/v1/orders/*", "6m")).await;
    let approved = world.cli(&["approve", id(&above), "--reason", "a long night"]).await;
    assert_eq!(approved["state"], "approved", "{approved}");
    // What was not used up counts no more.
    for task in ["T", "Z"] {
        world.cli(&["task", "done", task]).await;
    }
    assert_eq!(world.ask(&world.agent, &for_("AA", "/v1/orders/*", "6m")).await["state"], "approved");
}

#[tokio::test]
async fn the_time_runs_from_approval() {
    let world = world("").await;
    let request = world.ask(&world.agent, &asked("T", "POST", "/v1/orders")).await;
    // Time passes, as the control plane sees it.
    eventually("a later time", || async {
        let now = jiff::Timestamp::try_from(std::time::SystemTime::now()).unwrap();
        (now.duration_since(time(&request, "requested_at")).as_millis() > 300).then_some(())
    })
    .await;
    let approved = world.cli(&["approve", id(&request), "--reason", "r"]).await;
    let grant = world.granted(&approved).await;
    let waited = time(&grant, "not_before").duration_since(time(&request, "requested_at"));
    assert!(waited.as_millis() > 300, "{grant}");
    assert_eq!((grant["not_before"].clone(), seconds(&grant)), (approved["decided_at"].clone(), 300));
    // A start that was asked for counts where it is later; until then nothing is permitted.
    let start = time(&grant, "not_before") + jiff::SignedDuration::from_hours(1);
    let booked = with(for_("B", "/v1/booked", "5m"), "not_before", value!(start.to_string()));
    let request = world.ask(&world.agent, &booked).await;
    let grant = world.granted(&request).await;
    assert_eq!((time(&grant, "not_before"), seconds(&grant)), (start, 300));
    let early = world.client(Protocol::H1).get("/v1/booked").await;
    assert_eq!((early.status.as_u16(), early.reason()), (403, "not_yet_valid".into()));
}

#[tokio::test]
async fn what_nobody_decides_on_in_time_expires() {
    let chat = Stub::receiver().await;
    let hook = format!(
        "[control.requests]\npending_timeout = \"1s\"\n[[webhooks]]\nname = \"chat\"\nurl = \"http://{}/\"\nformat = \"chat\"\nevents = [\"*\"]\n",
        chat.address
    );
    let world = world(&hook).await;
    let mut command = vec!["request", "--task", "T", "--scope", "orders:POST:/v1/orders", "--ttl", "5m"];
    command.extend(["--reason", "an import", "--wait", "--output", "json"]);
    let late = world.cli_as(&agent(&world), &command).await;
    assert_eq!((late.status.code(), &json(&late)["state"]), (Some(1), &value!("expired")), "{late:?}");
    assert!(stderr(&late).contains("is expired"), "{late:?}");
    let request = json(&late);
    let approved = world.try_cli(&["approve", id(&request), "--reason", "late"]).await;
    assert!(stderr(&approved).contains("expired already"), "{approved:?}");
    assert!(chat.chat("nobody decided in time").await.contains(id(&request)));
    assert_eq!(world.cli(&["grants", "--state", "all"]).await, value!([]));
    // Nobody said no: it may be asked anew at once.
    let again = world.ask(&world.agent, &asked("T", "POST", "/v1/orders")).await;
    assert_ne!(id(&again), id(&request));
}

#[tokio::test]
async fn ten_of_one_requester_wait_at_once() {
    let world = world("").await;
    let post = |number: u32| asked("T", "POST", &format!("/v1/orders/{number}"));
    let mut waiting: Vec<Value> = Vec::new();
    for number in 0..10 {
        waiting.push(world.ask(&world.agent, &post(number)).await);
    }
    let refused = async |who: &Leaf, body: &Value| {
        let answer = world.try_ask(who, body).await;
        assert_eq!((answer.status.as_u16(), answer.reason()), (429, "too_many_pending".into()), "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("cancel some"), "{answer:?}");
    };
    refused(&world.agent, &post(10)).await;
    // Not for another task, nor for what policies would grant at once; the same again is no further one.
    refused(&world.agent, &asked("U", "POST", "/v1/orders/10")).await;
    refused(&world.agent, &for_("U", "/v1/orders/10", "1m")).await;
    assert_eq!(world.try_ask(&world.agent, &post(3)).await.status, 200);
    assert_eq!(
        world.ask(&world.ca.svid("agent/other"), &asked("O", "POST", "/v1/orders/1")).await["state"],
        "pending"
    );
    let cancelled = world.cli_as(&agent(&world), &["cancel", id(&waiting[0]), "--output", "json"]).await;
    assert_eq!(json(&cancelled)["state"], "cancelled", "{cancelled:?}");
    world.ask(&world.agent, &post(10)).await;
    refused(&world.agent, &post(11)).await;
    assert_eq!(world.cli(&["requests", "--state", "pending"]).await.as_array().unwrap().len(), 11);
}
