//! Policies decide who gets what: at once, with people, or not at all; and when they change, so does the access that is there.

use crate::harness::client::full;
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, Setup, World, within};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::fs;

/// Who there is. Nobody said how risky `agent/unknown` is.
const PEOPLE: &str = r#"
[[identities]]
id = "spiffe://jitgate.local/operator/ada"
roles = ["approver"]
[[principals]]
id = "spiffe://jitgate.local/agent/demo"
kind = "workload"
groups = ["agents"]
risk = "low"
[[principals]]
id = "spiffe://jitgate.local/agent/partner"
kind = "workload"
groups = ["agents", "partners"]
risk = "low"
[[principals]]
id = "spiffe://jitgate.local/agent/unknown"
kind = "workload"
groups = ["agents"]
"#;

const READS: &str = r#"
@id("reads")
@max_ttl("10m")
@max_risk("low")
permit (principal in Group::"agents", action == Action::"request", resource == Service::"orders")
when { context.method == "GET" };
"#;

const REST: &str = r#"
@id("deletes")
@approvers("2 of approvers")
permit (principal in Group::"agents", action == Action::"request", resource == Service::"orders")
when { context.method == "DELETE" };

@id("risk")
@because("too risky")
forbid (principal, action, resource) when { principal.risk == Risk::"high" };

@id("network")
@because("partners come from their own network")
forbid (principal in Group::"partners", action, resource)
unless { context.source.isInRange(ip("203.0.113.0/24")) };
"#;

async fn laid_out(policy: &str, text: &str) -> World {
    let tables = format!("[control.policy]\nfolder = \"policies\"\n{policy}\n{PEOPLE}");
    let world = Setup::new().tables(&tables).prepare().await;
    write(&world, text);
    world
}

fn write(world: &World, text: &str) {
    fs::create_dir_all(world.path("policies")).unwrap();
    fs::write(world.path("policies/a.cedar"), text).unwrap();
}

async fn started(policy: &str, text: &str) -> World {
    let mut world = laid_out(policy, text).await;
    world.start_control().await;
    world.start_proxy().await;
    world
}

async fn call(world: &World, leaf: &Leaf, (method, path): (&str, &str), body: &Value) -> Answer {
    let mut connection = world.api_as(leaf).connect().await;
    let request = connection.request(method, path).header("content-type", "application/json");
    Answer::of(connection.send(request.body(full(body.to_string())).unwrap()).await).await
}

/// Asks for one action at `orders`, as an agent.
async fn ask(world: &World, agent: &str, task: &str, action: &str) -> Value {
    let scope = json!([{"type": "http", "locations": ["orders"], "actions": [action], "paths": ["/**"]}]);
    // Everything of a service cannot be asked for; reading everything can.
    let body = json!({"task": task, "reason": "a customer asks", "scope": scope, "ttl": "5m"});
    let asked = call(world, &world.ca.svid(agent), ("POST", "/v1/requests"), &body).await;
    assert_eq!(asked.status, 201, "{asked:?}");
    asked.json()
}

fn because(request: &Value) -> String {
    assert_eq!(request["state"], "denied", "{request}");
    request["because"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

/// Waits until the proxy has heard of the grant of a request.
async fn enforced(world: &World, request: &Value) -> String {
    let grants = world.cli(&["grants"]).await;
    let grant = grants.as_array().unwrap().iter().find(|grant| grant["id"] == request["grant"]).unwrap();
    world.applied(&grant["revision"]).await;
    grant["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn access_is_granted_at_once_with_two_people_or_not_at_all() {
    let world = started("", &format!("{READS}{REST}")).await;
    let operator = world.ca.svid("operator/local");

    let reads = ask(&world, "agent/demo", "INC-1", "GET").await;
    assert_eq!(reads["state"], "approved", "{reads}");
    let shown = world.try_cli(&["requests", "show", reads["id"].as_str().unwrap()]).await;
    let shown = String::from_utf8(shown.stdout).unwrap();
    for (name, value) in
        [("determined by", "reads"), ("principal.attributes.groups", "agents"), ("request.source", "127.")]
    {
        let says = |line: &str| line.split_once(name).is_some_and(|(_, rest)| rest.trim().starts_with(value));
        assert!(shown.lines().any(says), "{name} {value}: {shown}");
    }
    enforced(&world, &reads).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);

    // Two different people, and nothing before that.
    let deletes = ask(&world, "agent/demo", "INC-1", "DELETE").await;
    assert_eq!(deletes["state"], "pending", "{deletes}");
    let approve = format!("/v1/requests/{}/approve", deletes["id"].as_str().unwrap());
    let reason = json!({"reason": "fine"});
    let first = call(&world, &operator, ("POST", &approve), &reason).await;
    assert_eq!((first.status.as_u16(), &first.json()["state"]), (200, &json!("pending")), "{first:?}");
    assert_eq!(
        call(&world, &operator, ("POST", &approve), &reason).await.status,
        409,
        "the same person again"
    );
    assert_eq!(delete(&world).await.reason(), "out_of_scope");
    let second = call(&world, &world.ca.svid("operator/ada"), ("POST", &approve), &reason).await;
    assert_eq!(second.json()["state"], "approved", "{second:?}");
    enforced(&world, &second.json()).await;
    assert_eq!(delete(&world).await.status, 200);

    // Another network; a fact that nobody stated; a method that no policy permits.
    let partner = ask(&world, "agent/partner", "INC-2", "GET").await;
    assert_eq!(because(&partner), "partners come from their own network");
    let unknown = because(&ask(&world, "agent/unknown", "INC-3", "GET").await);
    assert!(unknown.contains("does not have the attribute `risk`"), "{unknown}");
    let posts = because(&ask(&world, "agent/demo", "INC-1", "POST").await);
    assert_eq!(posts, "no policy permits `POST` at `orders`");

    // Risk: above what a permit tolerates, and above what anybody may have.
    let attributes = "/v1/principals/spiffe%3A%2F%2Fjitgate.local%2Fagent%2Funknown/attributes";
    for (risk, why) in [("medium", "is medium"), ("high", "too risky")] {
        let set = call(&world, &operator, ("PUT", attributes), &json!({"risk": risk})).await;
        assert_eq!(set.status, 200, "{set:?}");
        let risky = ask(&world, "agent/unknown", "INC-3", "GET").await;
        assert_eq!(risky["state"], "denied", "{risky}");
        assert!(risky.to_string().contains(why), "{risky}");
    }
    let direct = ["grant", "--principal", "spiffe://jitgate.local/agent/unknown", "--task", "INC-4"];
    let rest = ["--scope", "orders:GET:/v1/**", "--ttl", "5m", "--reason", "by hand"];
    let refused = world.try_cli(&[&direct[..], &rest[..]].concat()).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("too risky"), "{refused:?}");
}

async fn delete(world: &World) -> Answer {
    let mut connection = world.client(Protocol::H1).connect().await;
    let request = connection.request("DELETE", "/v1/orders/7").body(full("")).unwrap();
    Answer::of(connection.send(request).await).await
}

/// A zone in which it is about this hour now.
fn zone(hour: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let utc = i64::try_from(now / 3600 % 24).unwrap();
    let ahead = (hour - utc + 36) % 24 - 12;
    match ahead {
        0 => "UTC".to_owned(),
        // East of Greenwich these names have a minus.
        1.. => format!("Etc/GMT-{ahead}"),
        _ => format!("Etc/GMT+{}", -ahead),
    }
}

#[tokio::test]
async fn hours_are_those_of_the_zone() {
    let hours = r#"
@id("hours")
@because("closed")
forbid (principal, action, resource) unless { context.minute_of_day >= 480 && context.minute_of_day < 1080 };
"#;
    for (hour, state) in [(13, "approved"), (1, "denied")] {
        let mut world = laid_out(&format!("zone = \"{}\"", zone(hour)), &format!("{READS}{hours}")).await;
        world.start_control().await;
        let asked = ask(&world, "agent/demo", "INC-1", "GET").await;
        assert_eq!(asked["state"], state, "at {hour}: {asked}");
        assert_eq!(asked["because"] == json!(["closed"]), state == "denied", "{asked}");
    }
}

#[tokio::test]
async fn a_control_plane_with_broken_policies_does_not_start() {
    let broken =
        "@id(\"a\")\npermit(principal, action, resource)\nwhen { principal.rsik == Risk::\"low\" };\n";
    let world = laid_out("", broken).await;
    let mut control = world.spawn("control", &["control", "--config", "jitgate.toml"]);
    assert_eq!(control.ended().await.code(), Some(2));
    let log = control.log();
    assert!(log.contains("policies/a.cedar:3: a: ") && log.contains("rsik"), "{log}");
    let check = world.try_cli(&["check", "jitgate.toml"]).await;
    assert_eq!(check.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&check.stderr).contains("policies/a.cedar:3"), "{check:?}");
}

#[tokio::test]
async fn what_a_new_set_does_not_allow_is_revoked_and_cut() {
    let mut world = started("", &format!("{READS}{REST}")).await;
    let before = world.cli(&["policy", "show"]).await;
    assert_eq!(before["policies"], json!(["deletes", "network", "reads", "risk"]));
    let request = ask(&world, "agent/demo", "INC-1", "GET").await;
    let grant = enforced(&world, &request).await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut running = connection.open("/sse").await;
    within("the first event", running.frame()).await.unwrap().unwrap();

    // A set that cannot be used changes nothing, and says what is wrong.
    write(&world, "@id(\"a\")\npermit(principal, action, resource)\nwhen { nonsense };");
    let refused = world.try_cli(&["policy", "reload"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(told.contains("a.cedar") && told.contains("go on deciding"), "{told}");
    let operator = world.ca.svid("operator/local");
    let problem = call(&world, &operator, ("POST", "/v1/policies/reload"), &json!({})).await;
    assert_eq!((problem.status.as_u16(), problem.reason()), (422, "policies_invalid".into()));
    assert_eq!(problem.json()["errors"][0]["line"], 3, "{problem:?}");
    assert_eq!(world.cli(&["policy", "show"]).await, before);

    // A good one, first dry: it tells what would be, and changes nothing.
    let closed = r#"@id("closed") @because("orders are closed") forbid (principal, action, resource);"#;
    write(&world, &format!("{READS}{REST}{closed}"));
    let differs = world.cli(&["policy", "diff", "policies"]).await;
    assert_eq!(differs.as_array().unwrap().len(), 1, "{differs}");
    let (was, is) = (&differs[0]["before"]["outcome"], &differs[0]["after"]["outcome"]);
    assert_eq!((&differs[0]["id"], was, is), (&request["id"], &json!("granted"), &json!("denied")));
    let dry = world.cli(&["policy", "reload", "--dry-run"]).await;
    assert_eq!((&dry["changed"], &dry["revoked"]), (&json!(true), &json!(1)), "{dry}");
    assert_eq!(
        (&dry["disallowed"][0]["grant"], &dry["disallowed"][0]["policies"]),
        (&json!(grant), &json!(["closed"]))
    );
    assert_eq!(world.cli(&["policy", "show"]).await, before);
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);

    // Neither the agent nor an approver loads policies.
    for (who, status) in [("agent/demo", 403), ("operator/ada", 403)] {
        let leaf = world.ca.svid(who);
        assert_eq!(call(&world, &leaf, ("POST", "/v1/policies/reload"), &json!({})).await.status, status);
    }
    let done = world.cli(&["policy", "reload"]).await;
    assert_eq!(
        (&done["changed"], &done["revoked"], &done["dry_run"]),
        (&json!(true), &json!(1), &json!(false))
    );
    let cut = async { while let Some(Ok(_)) = running.frame().await {} };
    within("the cut", cut).await;
    let lines = world.ends("/sse").await;
    assert_eq!((&lines[0]["end"], &lines[0]["cause"]), (&json!("cut"), &json!("revoked")), "{lines:?}");
    assert_ne!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
    let path = format!("/v1/requests/{}/story", request["id"].as_str().unwrap());
    let story = call(&world, &world.agent, ("GET", &path), &json!({})).await.json();
    let last = story.as_array().unwrap().last().unwrap();
    assert_eq!(last["kind"], "grants_revoked", "{story}");
    assert!(last["text"].as_str().unwrap().ends_with("(closed): orders are closed"), "{last}");
    assert_eq!(world.cli(&["policy", "reload"]).await["changed"], false);
    assert_eq!(because(&ask(&world, "agent/demo", "INC-5", "POST").await), "orders are closed");

    // The same happens when it starts with another set than before.
    write(&world, &format!("{READS}{REST}"));
    world.cli(&["policy", "reload"]).await;
    let direct = world.grant("orders:GET:/v1/**").await;
    world.control().kill();
    write(&world, &format!("{READS}{REST}{closed}"));
    world.start_control().await;
    let grants = world.cli(&["grants", "--state", "all"]).await;
    let shown = grants.as_array().unwrap().iter().find(|grant| grant["id"] == *direct).unwrap();
    assert_eq!(shown["state"], "revoked", "{shown}");
}
