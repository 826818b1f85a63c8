//! A task holds all access for one piece of work, of everybody who takes part; it ends by word, by its deadline, or when nobody
//! works on it, and all of it ends with it, at once.

use crate::access::{agent, json, stderr};
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, Setup, World, asked, eventually, id, with, within};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json as value};
use std::time::Duration;

const POLICIES: &str = r#"
@id("reads")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
@id("posts-with-people")
@approvers("1 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "POST" };
"#;

const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["viewer", "approver", "admin"]
[[identities]]
id = "spiffe://jitgate.local/operator/sec"
roles = ["security"]
[[identities]]
id = "spiffe://jitgate.local/agent/broker"
roles = ["broker"]
"#;

async fn world() -> World {
    Setup::new().tables(PEOPLE).decided_by("", POLICIES).await.start_both().await
}

impl World {
    async fn task(&self, task: &str) -> Value {
        self.cli(&["task", "show", task]).await
    }

    /// Waits until a task has ended like this; none of its access is left.
    async fn task_ends(&self, task: &str, how: &str) {
        eventually(&format!("the end of {task}"), || async {
            (self.task(task).await["state"] == how).then_some(())
        })
        .await;
        let now = self.task(task).await;
        assert_eq!((&now["grants"], now["ended_at"].is_string()), (&value!([]), true), "{now}");
        assert_eq!(self.cli(&["requests", "--task", task, "--state", "pending"]).await, value!([]));
    }

    async fn on_task(&self, who: &Leaf, what: &str, body: &Value) -> Answer {
        self.api(who, ("POST", &format!("/v1/tasks/T/{what}")), body).await
    }
}

/// A stream of a grant for the task, as somebody.
async fn streaming(world: &World, who: &Leaf, body: &Value) -> (Incoming, Value) {
    let request = world.ask(who, body).await;
    let grant = world.granted(&request).await;
    let mut connection = world.client_as(Some(who), Protocol::H2).connect().await;
    let mut running = connection.open("/sse").await;
    within("the first event", running.frame()).await.unwrap().unwrap();
    (running.into_body(), grant)
}

/// Reads until the stream is cut; never as if it were complete.
async fn cut(mut running: Incoming) {
    let reading = async {
        loop {
            match running.frame().await {
                Some(Ok(_)) => {}
                Some(Err(_)) => return,
                None => panic!("the cut looks like a complete answer"),
            }
        }
    };
    within("the cut", reading).await;
}

/// How so many streams ended, once all of them have.
async fn causes(world: &World, count: usize) -> Vec<String> {
    world.upstream.running(0).await;
    eventually("the `end` lines", || async {
        let lines = world.ends("/sse").await;
        let permitted = lines.iter().filter(|line| line["decision"] == "permit");
        let cause = |line: &Value| format!("{} {}", line["end"], line["cause"]).replace('"', "");
        Some(permitted.map(cause).collect::<Vec<_>>()).filter(|causes| causes.len() == count)
    })
    .await
}

fn after(length: Duration) -> Value {
    value!(jiff::Timestamp::try_from(std::time::SystemTime::now() + length).unwrap().to_string())
}

#[tokio::test]
async fn nothing_of_a_task_outlives_its_deadline() {
    let world = world().await;
    let body = with(asked("T", "GET", "/sse"), "task_deadline", after(Duration::from_secs(5)));
    let (running, grant) = streaming(&world, &world.agent, &body).await;
    let shown = world.task("T").await;
    assert_eq!((&shown["state"], &grant["expires_at"]), (&value!("open"), &shown["deadline"]), "{shown}");
    let waits = world.ask(&world.agent, &asked("T", "POST", "/v1/orders")).await;
    assert_eq!(waits["state"], "pending", "{waits}");
    // The deadline of an open task is not moved by asking.
    let later = with(asked("T", "GET", "/v1/a"), "task_deadline", after(Duration::from_secs(60)));
    let refused = world.try_ask(&world.agent, &later).await;
    assert_eq!((refused.status.as_u16(), refused.reason()), (422, "invalid".into()), "{refused:?}");
    // Nor is anything granted that would begin after it.
    let future = with(asked("T", "GET", "/v1/b"), "not_before", after(Duration::from_secs(60)));
    let refused = world.try_ask(&world.agent, &future).await;
    assert_eq!((refused.status.as_u16(), refused.reason()), (422, "invalid".into()), "{refused:?}");

    cut(running).await;
    assert_eq!(causes(&world, 1).await, ["cut expired"]);
    world.task_ends("T", "deadline").await;
    let waits = world.cli(&["requests", "show", id(&waits)]).await;
    assert_eq!(
        (&waits["state"], &waits["because"]),
        (&value!("cancelled"), &value!(["the task is deadline"]))
    );
    let approved = world.try_cli(&["approve", id(&waits), "--reason", "late"]).await;
    assert!(stderr(&approved).contains("cancelled already"), "{approved:?}");
    // A deadline that is over opens nothing; the owner takes the task up again, and nobody else does.
    let over = with(asked("T", "GET", "/v1/a"), "task_deadline", value!("2020-01-01T00:00:00Z"));
    assert_eq!(world.try_ask(&world.agent, &over).await.status, 422);
    let other = world.try_ask(&world.ca.svid("agent/helper"), &asked("T", "GET", "/v1/a")).await;
    assert_eq!((other.status.as_u16(), other.reason()), (409, "task_ended".into()), "{other:?}");
    assert_eq!(world.ask(&world.agent, &asked("T", "GET", "/v1/a")).await["state"], "approved");
}

#[tokio::test]
async fn a_task_that_nobody_works_on_ends_and_traffic_keeps_it() {
    // Shorter than the time between two reports of the proxy.
    let tables = format!("{PEOPLE}[control.requests]\ntask_idle_timeout = \"1s\"\n");
    let world = Setup::new().lease("10s").tables(&tables).decided_by("", POLICIES).await.start_both().await;
    let (mut running, grant) = streaming(&world, &world.agent, &asked("T", "GET", "/sse")).await;
    let waits = world.ask(&world.agent, &asked("T", "POST", "/v1/orders")).await;
    // Another task of the same time, on which nobody works: it ends, and this one goes on, for several times as long.
    let idle = with(asked("IDLE", "GET", "/v1/idle"), "task_idle_timeout", value!("1s"));
    world.ask(&world.agent, &idle).await;
    let going_on = async { while let Some(Ok(_)) = running.frame().await {} };
    tokio::select! {
        () = going_on => panic!("traffic did not keep the task: {}", world.task("T").await),
        () = world.task_ends("IDLE", "idle") => {}
    }
    for _ in 0..200 {
        let event = within("an event", running.frame()).await;
        assert!(matches!(event, Some(Ok(_))), "traffic did not keep the task: {}", world.task("T").await);
    }
    assert_eq!(world.task("T").await["grants"], value!([grant["id"]]));
    drop(running);
    world.task_ends("T", "idle").await;
    assert_eq!(world.cli(&["requests", "show", id(&waits)]).await["state"], "cancelled");
    assert_eq!(world.cli(&["grants", "show", id(&grant)]).await["ended"]["cause"], "idle");
    assert_ne!(world.client(Protocol::H1).get("/sse").await.status, 200);
}

#[tokio::test]
async fn whoever_steers_a_task_ends_all_of_it_at_once() {
    for (who, how) in [("agent/demo", "done"), ("agent/broker", "failed"), ("operator/sec", "failed")] {
        let world = world().await;
        let (helper, ender) = (world.ca.svid("agent/helper"), world.ca.svid(who));
        let (own, _) = streaming(&world, &world.agent, &asked("T", "GET", "/sse")).await;
        let join = value!({"principal": "spiffe://jitgate.local/agent/helper", "reason": "works on it"});
        assert_eq!(world.on_task(&world.agent, "members", &join).await.status, 200);
        let (of_helper, _) = streaming(&world, &helper, &asked("T", "GET", "/sse")).await;
        let waits = world.ask(&helper, &asked("T", "POST", "/v1/orders")).await;

        // Taking part, reading and deciding do not end it; to a stranger there is no such task.
        let ada = world.ca.svid("operator/ada");
        for (other, status) in [(&helper, 403), (&ada, 403), (&world.ca.svid("agent/third"), 404)] {
            for end in ["done", "failed"] {
                assert_eq!(world.on_task(other, end, &value!({})).await.status, status);
            }
        }
        let ended = world.on_task(&ender, how, &value!({"reason": "the import broke off"})).await;
        assert_eq!((ended.status.as_u16(), &ended.json()["state"]), (200, &value!(how)), "{who}: {ended:?}");
        cut(own).await;
        cut(of_helper).await;
        let cause = format!("cut task_{how}");
        assert_eq!(causes(&world, 2).await, [cause.as_str(), &cause]);
        world.task_ends("T", how).await;
        assert_eq!(world.cli(&["requests", "show", id(&waits)]).await["state"], "cancelled");
        let again = world.on_task(&ender, how, &value!({})).await;
        assert_eq!((again.status.as_u16(), again.reason()), (409, "task_ended".into()), "{again:?}");
    }
}

#[tokio::test]
async fn who_takes_part_is_said_by_owner_broker_or_security() {
    let world = world().await;
    let helper = world.ca.svid("agent/helper");
    world.ask(&world.agent, &asked("T", "GET", "/v1/orders/1")).await;
    let foreign = world.try_ask(&helper, &asked("T", "GET", "/v1/orders/7")).await;
    assert_eq!((foreign.status.as_u16(), foreign.reason()), (403, "foreign_task".into()), "{foreign:?}");
    let detail = foreign.json()["detail"].to_string();
    assert!(!detail.contains("agent/demo"), "whose it is is nobody's business: {detail}");

    let member = |name: &str| value!({"principal": format!("spiffe://jitgate.local/agent/{name}"), "reason": "works on it"});
    // Nobody lets themselves in, nor does who may only approve.
    assert_eq!(world.on_task(&helper, "members", &member("helper")).await.status, 404);
    let ada = world.ca.svid("operator/ada");
    assert_eq!(world.on_task(&ada, "members", &member("helper")).await.status, 403);
    assert_eq!(world.try_ask(&helper, &asked("T", "GET", "/v1/orders/7")).await.status, 403);

    let joined =
        ["task", "join", "T", "--principal", "spiffe://jitgate.local/agent/helper", "--reason", "helps"];
    let shown = world.cli_as(&agent(&world), &[&joined[..], &["--output", "json"]].concat()).await;
    assert_eq!(json(&shown)["members"], value!(["spiffe://jitgate.local/agent/helper"]));
    assert_eq!(world.ask(&helper, &asked("T", "GET", "/v1/orders/7")).await["state"], "approved");
    // Who takes part lets nobody else in.
    assert_eq!(world.on_task(&helper, "members", &member("third")).await.status, 403);
    for (who, name) in [("agent/broker", "third"), ("operator/sec", "fourth")] {
        assert_eq!(world.on_task(&world.ca.svid(who), "members", &member(name)).await.status, 200, "{who}");
        let joined = world.ca.svid(&format!("agent/{name}"));
        assert_eq!(world.ask(&joined, &asked("T", "GET", "/v1/orders/7")).await["state"], "approved");
    }
    // What a member does is told to people too.
    let table = world.cli_as(&agent(&world), &["task", "show", "T"]).await;
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains("agent/third") && text.contains("state"), "{text}");
}
