//! Who approves: so many different people, in stages, peers, owners of everything that is asked for; never whoever benefits.

use crate::access::stderr;
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Setup, World, asked, id, with};
use serde_json::{Value, json};

const POLICIES: &str = r#"
@id("reads")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
@id("two")
@approvers("2 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "PUT" };
@id("stages")
@approvers("1 of group:payments then 1 of group:risk")
permit (principal, action == Action::"request", resource) when { context.method == "DELETE" };
@id("peers")
@approvers("1 of peers")
permit (principal, action == Action::"request", resource) when { context.method == "PATCH" };
@id("owners")
@approvers("1 of owner")
permit (principal, action == Action::"request", resource) when { context.method == "POST" };
@id("looks")
permit (principal, action == Action::"request", resource)
when { context.method == "HEAD" && resource.sensitivity != Sensitivity::"critical" };
@id("looks-at-what-is-critical")
@approvers("2 of approvers")
permit (principal, action == Action::"request", resource)
when { context.method == "HEAD" && resource.sensitivity == Sensitivity::"critical" };
@id("hands-on")
permit (principal, action == Action::"delegate", resource);
"#;

/// Ada has two certificates, and agents that work for her; Eve is in two groups; Pat works beside the agents.
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
[[people]]
name = "Ada"
identities = [
  "spiffe://jitgate.local/operator/ada", "spiffe://jitgate.local/operator/ada-laptop",
  "spiffe://jitgate.local/agent/of-ada", "spiffe://jitgate.local/agent/other-of-ada",
]
groups = ["payments"]
[[people]]
name = "Bob"
identities = ["spiffe://jitgate.local/operator/bob"]
groups = ["risk"]
[[people]]
name = "Eve"
identities = ["spiffe://jitgate.local/operator/eve"]
groups = ["payments", "risk"]
[[people]]
name = "Pat"
identities = ["spiffe://jitgate.local/human/pat", "spiffe://jitgate.local/human/pat-phone"]
groups = ["agents"]
[[principals]]
id = "spiffe://jitgate.local/operator/eve"
kind = "human"
[[principals]]
id = "spiffe://jitgate.local/human/pat"
kind = "human"
[[principals]]
id = "spiffe://jitgate.local/human/pat-phone"
kind = "human"
[[principals]]
id = "spiffe://jitgate.local/agent/other-of-ada"
kind = "workload"
[[principals]]
id = "spiffe://jitgate.local/agent/demo"
kind = "workload"
groups = ["agents"]
[[principals]]
id = "spiffe://jitgate.local/agent/helper"
kind = "workload"
groups = ["agents", "payments"]
[[ service ]]
name = "billing"
owner = "group:payments"
upstream = ["http://127.0.0.1:9"]
[[ service ]]
name = "stock"
sensitivity = "critical"
owner = "person:Bob"
upstream = ["http://127.0.0.1:9"]
[[ service ]]
name = "ledger"
owner = "person:Ada"
upstream = ["http://127.0.0.1:9"]
"#;

async fn world() -> World {
    let mut world = Setup::new().tables(PEOPLE).decided_by("", POLICIES).await;
    world.start_control().await;
    world
}

impl World {
    async fn pending(&self, who: &str, body: &Value) -> Value {
        let request = self.ask(&self.ca.svid(who), body).await;
        assert_eq!(request["state"], "pending", "{request}");
        request
    }

    async fn approve_as(&self, who: &str, request: &Value) -> Answer {
        let path = format!("/v1/requests/{}/approve", id(request));
        self.api(&self.ca.svid(who), ("POST", &path), &json!({"reason": "looked at it"})).await
    }

    /// Approves, which counts; where the request stands then.
    async fn approved_by(&self, who: &str, request: &Value) -> String {
        let answer = self.approve_as(who, request).await;
        assert_eq!(answer.status, 200, "{who}: {answer:?}");
        answer.json()["state"].as_str().unwrap().to_owned()
    }

    /// Tries to approve, which does not count.
    async fn refused_to(&self, who: &str, request: &Value) -> (u16, String) {
        let answer = self.approve_as(who, request).await;
        let shown = self.api(&self.ca.svid("operator/local"), ("GET", "/v1/requests"), &json!({})).await;
        let all = shown.json();
        let now = all.as_array().unwrap().iter().find(|other| other["id"] == request["id"]).unwrap();
        assert!(now["grant"].is_null(), "{now}");
        (answer.status.as_u16(), answer.reason())
    }
}

#[tokio::test]
async fn so_many_different_people_whatever_certificates_they_use() {
    let world = world().await;
    let request = world.pending("agent/demo", &asked("T", "PUT", "/v1/orders/7")).await;
    let first = world.try_cli(&["approve", id(&request), "--reason", "r"]).await;
    assert!(String::from_utf8_lossy(&first.stdout).contains("others have to approve as well"), "{first:?}");
    assert_eq!(world.refused_to("operator/local", &request).await, (409, "approved_already".into()));

    let other = world.pending("agent/demo", &asked("T", "PUT", "/v1/orders/8")).await;
    assert_eq!(world.approved_by("operator/ada", &other).await, "pending");
    assert_eq!(world.refused_to("operator/ada-laptop", &other).await, (409, "approved_already".into()));
    // Who may neither decide nor read it is told that there is nothing.
    for stranger in ["agent/helper", "operator/eve", "human/pat"] {
        assert_eq!(world.refused_to(stranger, &other).await, (404, "not_found".into()), "{stranger}");
    }
    assert_eq!(world.approved_by("operator/bob", &other).await, "approved");

    // Ada asks herself: neither of her certificates counts, though both are approvers'.
    let own = world.pending("operator/ada", &asked("A", "PUT", "/v1/orders/9")).await;
    for herself in ["operator/ada", "operator/ada-laptop"] {
        let (status, reason) = world.refused_to(herself, &own).await;
        assert!(matches!((status, reason.as_str()), (403, "self_approval") | (404, "not_found")), "{reason}");
    }
    assert_eq!(world.approved_by("operator/bob", &own).await, "pending");
    assert_eq!(world.approved_by("operator/local", &own).await, "approved");
}

#[tokio::test]
async fn stages_come_one_after_the_other_and_nobody_counts_in_two() {
    let world = world().await;
    let request = world.pending("agent/demo", &asked("T", "DELETE", "/v1/orders/7")).await;
    let waits = |request: &Value| -> Vec<String> {
        let stages = request["waiting_for"].as_array().unwrap();
        stages.iter().map(|stage| stage["from"][0].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(waits(&request), ["group:payments", "group:risk"]);
    let early = world.approve_as("operator/bob", &request).await;
    assert_eq!((early.status.as_u16(), early.reason()), (403, "not_approver".into()), "{early:?}");
    assert!(early.json()["detail"].as_str().unwrap().contains("group:payments"), "{early:?}");
    // An agent of that group decides nothing, and an approver outside it neither.
    assert_eq!(world.refused_to("agent/helper", &request).await, (404, "not_found".into()));
    assert_eq!(world.refused_to("operator/local", &request).await, (403, "not_approver".into()));

    let first = world.approve_as("operator/eve", &request).await;
    assert_eq!((first.status.as_u16(), waits(&first.json())), (200, vec!["group:risk".to_owned()]));
    assert_eq!(world.refused_to("operator/eve", &request).await, (409, "approved_already".into()));
    assert_eq!(world.refused_to("operator/ada", &request).await, (403, "not_approver".into()));
    assert_eq!(world.approved_by("operator/bob", &request).await, "approved");
}

#[tokio::test]
async fn peers_are_people_of_the_same_group_and_never_the_requester() {
    let world = world().await;
    let request = world.pending("agent/demo", &asked("T", "PATCH", "/v1/orders/7")).await;
    // To an agent beside it there is no such request; an approver of another group sees it and decides nothing.
    assert_eq!(world.refused_to("agent/helper", &request).await, (404, "not_found".into()));
    assert_eq!(world.refused_to("operator/bob", &request).await, (403, "not_approver".into()));
    assert_eq!(world.refused_to("agent/demo", &request).await, (403, "self_approval".into()));
    assert_eq!(world.approved_by("human/pat", &request).await, "approved");

    // Pat's own request is not decided by Pat, and agents beside Pat decide nothing.
    let own = world.pending("human/pat", &asked("P", "PATCH", "/v1/orders/7")).await;
    assert_eq!(world.refused_to("human/pat", &own).await, (403, "self_approval".into()));
    for other in ["human/pat-phone", "agent/demo", "agent/helper"] {
        let (status, _) = world.refused_to(other, &own).await;
        assert!(matches!(status, 403 | 404), "{other}: {status}");
    }
}

#[tokio::test]
async fn the_owners_of_everything_that_is_asked_for() {
    let world = world().await;
    let scope =
        json!([{"type": "http", "locations": ["billing", "stock"], "actions": ["POST"], "paths": ["/v1/x"]}]);
    let request = world.pending("agent/demo", &with(asked("T", "POST", "/"), "scope", scope)).await;
    assert_eq!(request["waiting_for"][0]["services"], json!(["billing", "stock"]), "{request}");
    let first = world.approve_as("operator/ada", &request).await.json();
    assert_eq!(first["state"], "pending", "one of two owners: {first}");
    assert_eq!(first["waiting_for"][0]["services"], json!(["stock"]), "{first}");
    // Another owner of what is approved already does not stand in for the one who is missing.
    assert_eq!(world.approved_by("operator/eve", &request).await, "pending");
    let shown = world.try_cli(&["requests", "show", id(&request)]).await;
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("owner, still of stock"), "{text}");
    assert_eq!(world.refused_to("operator/local", &request).await, (403, "not_approver".into()));
    assert_eq!(world.approved_by("operator/bob", &request).await, "approved");
}

#[tokio::test]
async fn an_agent_that_works_for_somebody_decides_nothing_in_their_name() {
    let world = world().await;
    let of = |task: &str, method: &str, service: &str| {
        let scope =
            json!([{"type": "http", "locations": [service], "actions": [method], "paths": ["/v1/x"]}]);
        with(asked(task, method, "/"), "scope", scope)
    };
    // As a member of her group, as the owner through that group, and as the owner by name.
    for (method, service) in [("DELETE", "billing"), ("POST", "billing"), ("POST", "ledger")] {
        let body = of(&format!("{method}-{service}"), method, service);
        let request = world.pending("agent/demo", &body).await;
        for agent in ["agent/of-ada", "agent/other-of-ada"] {
            assert_eq!(world.refused_to(agent, &request).await, (404, "not_found".into()), "{agent}: {body}");
        }
        let hers = world.approve_as("operator/ada-laptop", &request).await;
        assert_eq!(hers.status, 200, "{hers:?}");
    }
    // It asks as her all the same, so that she does not decide on it; and policies see her groups, as what they forbid her they forbid it.
    let own = world.pending("agent/of-ada", &of("own", "POST", "ledger")).await;
    assert_eq!(world.refused_to("operator/ada", &own).await, (403, "self_approval".into()));
    let local = world.ca.svid("operator/local");
    for who in ["agent/of-ada", "agent/other-of-ada", "operator/ada"] {
        let path = format!("/v1/principals/spiffe:%2F%2Fjitgate.local%2F{}", who.replace('/', "%2F"));
        let shown = world.api(&local, ("GET", &path), &json!({})).await.json();
        let groups = json!(["payments"]);
        assert_eq!((&shown["person"], &shown["attributes"]["groups"]), (&json!("Ada"), &groups), "{shown}");
    }
    // `check` says of whom nobody says what it is.
    let check = world.try_cli(&["check", "jitgate.toml"]).await;
    assert!(check.status.success(), "{check:?}");
    let warned = stderr(&check);
    assert_eq!(warned.lines().count(), 1, "{warned}");
    assert!(
        warned.contains("agent/of-ada` belongs to `Ada`") && warned.contains("kind = \"human\""),
        "{warned}"
    );
}

#[tokio::test]
async fn who_approved_gets_no_part_of_it() {
    let world = world().await;
    let request = world.pending("agent/demo", &asked("T", "PUT", "/v1/orders/7")).await;
    world.approved_by("operator/ada", &request).await;
    let granted = world.approve_as("operator/bob", &request).await.json();
    let path = format!("/v1/grants/{}/delegate", granted["grant"].as_str().unwrap());
    let part = |who: &str| {
        let scope = asked("T", "PUT", "/v1/orders/7")["scope"].clone();
        json!({"principal": format!("spiffe://jitgate.local/{who}"), "scope": scope, "reason": "helps"})
    };
    for approver in ["operator/ada", "operator/ada-laptop", "operator/bob"] {
        let refused = world.api(&world.agent, ("POST", &path), &part(approver)).await;
        assert_eq!((refused.status.as_u16(), refused.reason()), (403, "self_approval".into()), "{refused:?}");
    }
    let child = world.api(&world.agent, ("POST", &path), &part("agent/helper")).await.json();
    assert_eq!(child["state"], "approved", "{child}");
    // Nor through somebody in between.
    let helper: Leaf = world.ca.svid("agent/helper");
    let path = format!("/v1/grants/{}/delegate", child["grant"].as_str().unwrap());
    let refused = world.api(&helper, ("POST", &path), &part("operator/ada-laptop")).await;
    assert_eq!((refused.status.as_u16(), refused.reason()), (403, "self_approval".into()), "{refused:?}");
}

#[tokio::test]
async fn how_sensitive_a_service_is_decides_who_approves() {
    let world = world().await;
    let of = |task: &str, services: Value| {
        let scope = json!([{"type": "http", "locations": services, "actions": ["HEAD"], "paths": ["/v1/*"]}]);
        with(asked(task, "HEAD", "/"), "scope", scope)
    };
    let low = world.ask(&world.ca.svid("agent/demo"), &of("T", json!(["billing"]))).await;
    assert_eq!((&low["state"], &low["waiting_for"]), (&json!("approved"), &Value::Null), "{low}");
    // One critical service among others is enough.
    for (task, services) in [("U", json!(["stock"])), ("V", json!(["billing", "stock"]))] {
        let request = world.pending("agent/demo", &of(task, services)).await;
        assert_eq!(request["waiting_for"][0]["approvals"], 2, "{request}");
        assert_eq!(world.approved_by("operator/ada", &request).await, "pending");
        assert_eq!(world.approved_by("operator/bob", &request).await, "approved");
    }
}

#[tokio::test]
async fn a_workload_decides_over_nobodys_access() {
    let world = Setup::new().prepare().await;
    let before = std::fs::read_to_string(world.path("jitgate.toml")).unwrap();
    for role in ["approver", "security", "admin"] {
        let robot = format!(
            "{before}\n[[identities]]\nid = \"spiffe://jitgate.local/agent/robot\"\nroles = [\"viewer\", \"{role}\"]\n\
             [[principals]]\nid = \"spiffe://jitgate.local/agent/robot\"\nkind = \"workload\"\n"
        );
        std::fs::write(world.path("robot.toml"), robot).unwrap();
        let checked = std::process::Command::new(crate::harness::world::JITGATE)
            .args(["check", "robot.toml"])
            .current_dir(world.path(""))
            .output()
            .unwrap();
        assert_eq!(checked.status.code(), Some(2), "{checked:?}");
        let said = stderr(&checked);
        let line = format!("a workload cannot hold the role `{role}`");
        assert!(said.contains(&line) && said.contains("robot.toml:"), "{said}");
    }
}
