//! Who orchestrates agents asks for them, has nothing of it, and has no say in it in any identity.

use crate::access::{json, stderr};
use crate::harness::pki::Leaf;
use crate::harness::world::AGENT;
use crate::harness::{Protocol, Setup, World, asked, id, with};
use serde_json::{Value, json as value};

/// Bo runs the broker and is an approver; Ada owns the agent and is one as well.
const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/agent/broker"
roles = ["broker"]
[[identities]]
id = "spiffe://jitgate.local/operator/bo"
roles = ["approver"]
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["approver"]
[[people]]
name = "Bo"
identities = ["spiffe://jitgate.local/agent/broker", "spiffe://jitgate.local/operator/bo"]
[[people]]
name = "Ada"
identities = ["spiffe://jitgate.local/agent/demo", "spiffe://jitgate.local/operator/ada"]
"#;

fn for_agent(path: &str) -> Value {
    with(asked("T", "GET", path), "principal", value!(AGENT))
}

async fn listed(world: &World, who: &Leaf) -> usize {
    let shown = world.api(who, ("GET", "/v1/requests"), &value!({})).await;
    shown.json().as_array().unwrap().len()
}

#[tokio::test]
async fn a_broker_asks_for_an_agent_and_gets_nothing_itself() {
    let world = Setup::new().tables(PEOPLE).start().await;
    let (broker, helper) = (world.ca.svid("agent/broker"), world.ca.svid("agent/helper"));
    let files = broker.write(&world.path("broker"));
    let command = ["request", "--task", "T", "--scope", "orders:GET:/v1/orders/*", "--ttl", "5m"];
    let more = ["--reason", "the night shift", "--principal", AGENT, "--output", "json"];
    let own = world.cli_as(&helper.write(&world.path("helper")), &[&command[..], &more].concat()).await;
    assert_eq!(own.status.code(), Some(1), "{own:?}");
    assert!(stderr(&own).contains("needs the role `broker`"), "{own:?}");
    let asked = world.cli_as(&files, &[&command[..], &more].concat()).await;
    let request = json(&asked);
    assert_eq!((&request["state"], &request["principal"]), (&value!("pending"), &value!(AGENT)), "{asked:?}");

    // Both see it, and nobody beside them.
    assert_eq!([listed(&world, &broker).await, listed(&world, &world.agent).await], [1, 1]);
    assert_eq!(listed(&world, &helper).await, 0);
    let path = format!("/v1/requests/{}/approve", id(&request));
    for involved in ["operator/bo", "operator/ada", "agent/broker", "agent/demo"] {
        let refused = world.api(&world.ca.svid(involved), ("POST", &path), &value!({"reason": "r"})).await;
        assert_eq!((refused.status.as_u16(), refused.reason()), (403, "self_approval".into()), "{involved}");
    }
    let approved = world.cli(&["approve", id(&request), "--reason", "agreed"]).await;
    let grant = world.granted(&approved).await;
    assert_eq!(grant["principal"], AGENT, "{grant}");
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
    let itself = world.client_as(Some(&broker), Protocol::H1).get("/v1/orders/7").await;
    assert_eq!((itself.status.as_u16(), itself.reason()), (403, "no_grant".into()));

    // Whoever it is for takes part in the task, hands nothing back to those who approved, and may withdraw what is asked for them.
    assert_eq!(world.ask(&world.agent, &asked_again()).await["state"], "pending");
    let waits = world.ask(&broker, &for_agent("/v1/stock")).await;
    let cancel = format!("/v1/requests/{}/cancel", id(&waits));
    assert_eq!(world.api(&helper, ("POST", &cancel), &value!({})).await.status, 404);
    assert_eq!(world.api(&world.agent, ("POST", &cancel), &value!({})).await.json()["state"], "cancelled");
    // No token for another, and the end of the task is the broker's to say.
    let token = with(for_agent("/v1/a"), "token", value!(true));
    assert_eq!(world.try_ask(&broker, &token).await.status, 400);
    assert_eq!(world.api(&world.agent, ("POST", "/v1/tasks/T/done"), &value!({})).await.status, 403);
    assert_eq!(world.api(&broker, ("POST", "/v1/tasks/T/done"), &value!({})).await.status, 200);
    assert_eq!(world.cli(&["grants"]).await, value!([]));
}

fn asked_again() -> Value {
    asked("T", "GET", "/v1/orders/7")
}

#[tokio::test]
async fn what_was_refused_to_an_agent_is_not_had_through_a_broker() {
    let world = Setup::new().tables(PEOPLE).start().await;
    let broker = world.ca.svid("agent/broker");
    let request = world.ask(&world.agent, &asked("U", "GET", "/v1/orders/*")).await;
    world.cli(&["deny", id(&request), "--reason", "not you"]).await;
    let again = world.try_ask(&broker, &for_agent("/v1/orders/7")).await;
    assert_eq!((again.status.as_u16(), again.reason()), (429, "cooldown".into()), "{again:?}");
    // For another it is another matter.
    let other = with(for_agent("/v1/orders/7"), "principal", value!("spiffe://jitgate.local/agent/helper"));
    assert_eq!(world.ask(&broker, &other).await["state"], "pending");
}
