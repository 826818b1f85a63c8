//! Break-glass: at once, briefly, recorded in full, told to whoever listens, and looked at by a second person before the next time.

use crate::harness::{Protocol, Setup, Stub, World, asked, id, with};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const POLICIES: &str = r#"
@id("breaks-glass")
permit (principal, action == Action::"request", resource) when { context.emergency };
"#;

/// Bea has two agents and is an approver; Ada is one as well.
const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/operator/bea"
roles = ["viewer", "approver"]
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["viewer", "approver"]
[[people]]
name = "Bea"
identities = ["spiffe://jitgate.local/agent/demo", "spiffe://jitgate.local/agent/other", "spiffe://jitgate.local/operator/bea"]
"#;

/// A world that tells a receiver and a chat.
async fn world(requests: &str, receiver: &Stub, chat: &Stub) -> World {
    let hooks = format!(
        "{PEOPLE}[control.requests]\n{requests}\n\
         [[webhooks]]\nname = \"siem\"\nurl = \"http://{}/\"\nsecret_file = \"hook.secret\"\nevents = [\"*\"]\n\
         [[webhooks]]\nname = \"chat\"\nurl = \"http://{}/\"\nformat = \"chat\"\nevents = [\"*\"]\n",
        receiver.address, chat.address
    );
    let world = Setup::new().recorded().tables(&hooks).decided_by("", POLICIES).await;
    let secret = world.path("hook.secret");
    fs::write(&secret, "whsec_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    world.start_both().await
}

fn emergency(task: &str) -> Value {
    with(with(asked(task, "POST", "/v1/orders"), "emergency", json!(true)), "ttl", json!("4h"))
}

fn seconds(grant: &Value) -> i64 {
    let time = |key: &str| grant[key].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    time("expires_at").duration_since(time("not_before")).as_secs()
}

#[tokio::test]
async fn it_is_short_recorded_told_and_not_repeated_by_the_same_person() {
    let (receiver, chat) = (Stub::receiver().await, Stub::receiver().await);
    let world = world("", &receiver, &chat).await;
    let (ada, bea) = (world.ca.svid("operator/ada"), world.ca.svid("operator/bea"));
    // The same without an emergency is refused.
    let plain = with(emergency("FIRE-0"), "emergency", json!(false));
    assert_eq!(world.ask(&world.agent, &plain).await["state"], "denied");

    let request = world.ask(&world.agent, &emergency("FIRE-1")).await;
    let grant = world.granted(&request).await;
    assert_eq!(seconds(&grant), 30 * 60, "four hours were asked for: {grant}");
    assert_eq!(grant["recording"], "full", "{grant}");
    let mut connection = world.client(Protocol::H1).connect().await;
    assert_eq!(connection.call("POST", "/v1/orders", "{}").await.status, 200);

    let told = receiver.message("break_glass").await;
    assert_eq!((&told["data"]["request"], &told["data"]["grant"]), (&request["id"], &grant["id"]));
    let line = chat.chat("BREAK GLASS").await;
    assert!(line.contains(id(&request)) && line.contains("a customer asks"), "{line}");

    // Whichever identity the same person uses, the next waits for the review.
    let review = world.cli(&["reviews"]).await[0].clone();
    assert_eq!((&review["request"], &review["emergency"]), (&request["id"], &json!(true)));
    let other = world.ca.svid("agent/other");
    for who in [&world.agent, &other] {
        let again = world.try_ask(who, &emergency("FIRE-2")).await;
        assert_eq!((again.status.as_u16(), again.reason()), (409, "review_open".into()), "{again:?}");
    }
    // A different person's emergency is another matter.
    let third = world.ca.svid("agent/third");
    assert_eq!(world.ask(&third, &emergency("FIRE-3")).await["state"], "approved");

    let close = format!("/v1/reviews/{}/close", id(&review));
    let findings = json!({"findings": "the database had to be restarted", "justified": true});
    let own = world.api(&bea, ("POST", &close), &findings).await;
    assert_eq!((own.status.as_u16(), own.reason()), (403, "self_approval".into()), "{own:?}");
    for stranger in [&world.agent, &third] {
        let refused = world.api(stranger, ("POST", &close), &findings).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    assert_eq!(world.try_ask(&other, &emergency("FIRE-2")).await.status, 409);
    let closed = world.api(&ada, ("POST", &close), &findings).await.json();
    assert_eq!(closed["state"], "closed", "{closed}");
    assert_eq!(world.api(&ada, ("POST", &close), &findings).await.reason(), "review_closed");
    let next = world.ask(&other, &emergency("FIRE-2")).await;
    assert_eq!(next["state"], "approved", "{next}");

    let shown = world.cli(&["requests", "show", id(&request)]).await;
    let kinds: Vec<&str> =
        shown["story"].as_array().unwrap().iter().map(|told| told["kind"].as_str().unwrap()).collect();
    for kind in ["review_opened", "review_closed"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}

#[tokio::test]
async fn a_review_that_nobody_closes_is_told_and_shown() {
    let (receiver, chat) = (Stub::receiver().await, Stub::receiver().await);
    let world = world("review_within = \"1s\"", &receiver, &chat).await;
    let request = world.ask(&world.agent, &emergency("FIRE-1")).await;
    let told = receiver.message("review.due").await;
    assert_eq!((&told["data"]["request"], &told["data"]["emergency"]), (&request["id"], &json!(true)));
    assert!(chat.chat("was due at").await.contains(told["data"]["review"].as_str().unwrap()));
    let status = world.cli(&["status"]).await;
    assert_eq!(status["reviews"], json!({"open": 1, "overdue": 1}), "{status}");
    assert!(status["attention"].to_string().contains("1 reviews are open, 1 of them overdue"), "{status}");
    assert_eq!(world.cli(&["reviews"]).await[0]["overdue"], true);
}
