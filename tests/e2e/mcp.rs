//! Agents call tools through the gate: real clients, real servers, both eras of MCP.

use crate::harness::clients::Talk;
use crate::harness::pki::Files;
use crate::harness::tools::Tools;
use crate::harness::{Setup, World, eventually};
use serde_json::{Value, json};

/// A world with the service `ops`, on a port of its own.
struct Ops {
    world: World,
    tools: Tools,
}

impl Ops {
    async fn before(tools: Tools) -> Self {
        let mut world = Setup::new().prepare().await;
        let (address, port) = (world.address, tools.port);
        world.append_config(&format!(
            "[[service]]\nname = \"ops\"\nlisten = \"{address}:9001\"\nupstream = [\"mcp+http://127.0.0.1:{port}/mcp\"]\n"
        ));
        world.start_control().await;
        world.start_proxy().await;
        Self { world, tools }
    }

    fn url(&self) -> String {
        format!("https://{}:9001/mcp", self.world.address)
    }

    fn agent(&self) -> Files {
        Files { cert: self.world.path("agent/cert.pem"), key: self.world.path("agent/key.pem") }
    }

    async fn talk(&self, sdk: &str) -> Talk {
        Talk::start(&self.world, sdk, &self.url(), &self.agent()).await
    }

    /// The `end` lines about a tool, once there are so many.
    async fn ends_of(&self, tool: &str, many: usize) -> Vec<Value> {
        eventually(&format!("{many} `end` lines about {tool}"), || async {
            let lines = self.world.audit().into_iter();
            let lines: Vec<_> = lines.filter(|line| line["kind"] == "end" && line["tool"] == tool).collect();
            (lines.len() >= many).then_some(lines)
        })
        .await
    }
}

fn names(items: &Value, key: &str) -> Vec<String> {
    let items = items.as_array().unwrap_or_else(|| panic!("no list in {items}"));
    items.iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_agent_calls_what_was_granted_and_nothing_beside_it() {
    for sdk in ["v1", "v2-legacy"] {
        let ops = Ops::before(Tools::everything().await).await;
        ops.world.grant("ops:tools/call:get-sum{a=2,b=3}").await;
        ops.world.grant("ops:tools/call:echo{*}").await;
        let mut talk = ops.talk(sdk).await;
        assert_eq!(talk.version, "2025-11-25", "{sdk}");
        assert_eq!(names(&talk.tools().await, "name"), ["echo", "get-sum"], "{sdk}");
        let sum = talk.call("get-sum", json!({"a": 2, "b": 3})).await;
        assert_eq!(sum["content"][0]["text"], "The sum of 2 and 3 is 5.", "{sdk}: {sum}");

        let other = talk.call("get-sum", json!({"a": 2, "b": 4})).await;
        assert_eq!(other["data"]["reason"], "out_of_scope", "{sdk}: {other}");
        let required = other["data"]["required"].to_string();
        let hidden = talk.call("get-env", json!({})).await;
        assert_eq!(
            (&hidden["code"], &hidden["data"]["reason"]),
            (&json!(-32010), &json!("out_of_scope")),
            "{sdk}"
        );
        let echo = talk.call("echo", json!({"message": "still here"})).await;
        assert_eq!(echo["content"][0]["text"], "Echo: still here", "{sdk}");

        // What was missing is exactly what to ask for.
        let scope = required.trim_start_matches('[').trim_end_matches(']').to_owned();
        ops.world.grant(&scope).await;
        let sum = talk.call("get-sum", json!({"a": 2, "b": 4})).await;
        assert_eq!(sum["content"][0]["text"], "The sum of 2 and 4 is 6.", "{sdk}: {sum}");

        let lines = ops.ends_of("get-sum", 3).await;
        let said: Vec<_> = lines.iter().map(|line| (&line["decision"], &line["reason"])).collect();
        let (permit, deny) = ((&json!("permit"), &Value::Null), (&json!("deny"), &json!("out_of_scope")));
        assert_eq!(said, [permit, deny, permit], "{sdk}");
        assert!(
            lines.iter().all(|line| line["mcp_method"] == "tools/call" && line["protocol"] == "mcp"),
            "{lines:?}"
        );
        assert_ne!(lines[0]["arguments_sha256"], lines[1]["arguments_sha256"]);
        assert_eq!(lines[1]["arguments_sha256"], lines[2]["arguments_sha256"]);
    }
}

#[tokio::test]
async fn each_request_stands_alone_in_2026() {
    let ops = Ops::before(Tools::ops().await).await;
    ops.world.grant(r#"ops:tools/call:restart_service{server="srv-7",service="billing"}"#).await;
    ops.world.grant("ops:resources/read:log://billing/*").await;
    let mut talk = ops.talk("v2").await;
    assert_eq!(talk.version, "2026-07-28");
    assert_eq!(names(&talk.tools().await, "name"), ["restart_service"]);
    talk.send(&json!({"resources": true})).await;
    assert_eq!(names(&talk.line().await["resources"], "uri"), ["log://billing/today"]);
    talk.send(&json!({"prompts": true})).await;
    assert_eq!(talk.line().await["prompts"], json!([]));
    talk.send(&json!({"read": "log://billing/today"})).await;
    assert_eq!(talk.line().await["contents"][0]["text"], "the log of billing");
    talk.send(&json!({"read": "log://payroll/today"})).await;
    assert_eq!(talk.line().await["data"]["reason"], "out_of_scope");

    let done = talk.call("restart_service", json!({"service": "billing", "server": "srv-7"})).await;
    assert_eq!(done["content"][0]["text"], "restarted billing on srv-7", "{done}");
    for arguments in [
        json!({"service": "billing", "server": "srv-8"}),
        json!({"service": "billing", "server": "srv-7", "force": true}),
        json!({"service": "billing"}),
        json!({}),
    ] {
        let refused = talk.call("restart_service", arguments).await;
        assert_eq!(refused["data"]["reason"], "out_of_scope", "{refused}");
    }
    assert_eq!(ops.tools.said().iter().filter(|line| line["did"] == "restart_service").count(), 1);
}

#[tokio::test]
async fn a_running_call_is_cut_and_cancelled_when_its_grant_ends() {
    let ops = Ops::before(Tools::ops().await).await;
    let place = json!({"service": "billing", "server": "srv-7"});
    let grant = ops.world.grant(r#"ops:tools/call:follow_log{server="srv-7",service="billing"}"#).await;
    let mut talk = ops.talk("v2").await;
    talk.begin("follow_log", place.clone()).await;
    ops.tools.says(&json!({"did": "follow_log", "service": "billing", "server": "srv-7"})).await;
    let receipt = ops.world.revoke(&grant).await;
    assert_eq!(receipt["effective"], true, "{receipt}");
    let cut = talk.line().await;
    assert_eq!(cut["data"]["reason"], "revoked", "{cut}");
    ops.tools.says(&json!({"cancelled": "follow_log"})).await;
    let line = ops.ends_of("follow_log", 1).await.remove(0);
    assert_eq!((&line["end"], &line["cause"]), (&json!("cut"), &json!("revoked")), "{line}");
    let again = talk.call("follow_log", place).await;
    assert_eq!(again["data"]["reason"], "revoked", "{again}");
}

#[tokio::test]
async fn a_running_call_of_a_session_is_cut_and_the_session_goes_on_under_what_is_left() {
    let ops = Ops::before(Tools::everything().await).await;
    ops.world.grant("ops:tools/call:echo{*}").await;
    let grant = ops.world.grant("ops:tools/call:trigger-long-running-operation{*}").await;
    let mut talk = ops.talk("v1").await;
    talk.begin("trigger-long-running-operation", json!({"duration": 300, "steps": 3_000})).await;
    assert!(talk.line().await["progress"].is_number());
    ops.world.revoke(&grant).await;
    let cut = loop {
        let line = talk.line().await;
        if !line["progress"].is_number() {
            break line;
        }
    };
    assert_eq!(cut["data"]["reason"], "revoked", "{cut}");
    let line = ops.ends_of("trigger-long-running-operation", 1).await.remove(0);
    assert_eq!((&line["end"], &line["cause"]), (&json!("cut"), &json!("revoked")), "{line}");
    let echo = talk.call("echo", json!({"message": "on"})).await;
    assert_eq!(echo["content"][0]["text"], "Echo: on", "{echo}");
}
