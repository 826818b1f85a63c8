//! What an auditor reads about access: everything from the request to the cut, also when half of it cannot be read.

use crate::harness::{Protocol, Setup, World, asked, eventually, id, with, within};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::process::Output;

const TRAIL: &str = "audit/audit.jsonl";
const REPORT: [&str; 6] = ["audit", "report", "--task", "INC-9", "--file", TRAIL];
/// Somebody tries to write into the report.
const WHY: &str = "</td><script>alert(1)</script> \u{202e}a customer asks";

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

/// Asked, approved for less, used, refused, and revoked while an answer runs; the request.
async fn story(world: &World) -> Value {
    let ask = with(asked("INC-9", "GET", "/**"), "reason", json!(WHY));
    let request = world.ask(&world.agent, &ask).await;
    let narrower = [
        "--scope",
        "orders:GET:/v1/**",
        "--scope",
        "orders:GET:/sse",
        "--ttl",
        "4m",
        "--reason",
        "read only",
    ];
    let approved = world.cli(&[&["approve", id(&request)], &narrower[..]].concat()).await;
    world.granted(&approved).await;
    let mut connection = world.client(Protocol::H2).connect().await;
    assert_eq!(connection.get("/v1/orders").await.status, 200);
    assert_eq!(connection.get("/secret").await.reason(), "out_of_scope");
    let mut answer = connection.open("/sse").await;
    within("the first bytes", answer.frame()).await.unwrap().unwrap();
    world.cli(&["revoke", "--task", "INC-9", "--reason", "looks odd", "--wait"]).await;
    assert_eq!(connection.get("/v1/orders/2").await.reason(), "revoked");
    for path in ["/sse", "/v1/orders/2"] {
        world.ends(path).await;
    }
    request
}

/// The report as JSON, once the trail's checkpoint and the use of the grant have caught up.
async fn settled(world: &World) -> Value {
    eventually("a report in which nothing is under way", || async {
        let report = world.cli(&REPORT).await;
        let trail = &report["trails"][0];
        let used = report["grants"][0]["used"][0]["requests"] == 2;
        let kept = trail["against"].to_string().contains("at the control plane");
        (used && kept && trail["standing"] == "verified" && trail["up_to"] == trail["last"]).then_some(report)
    })
    .await
}

#[tokio::test]
async fn a_task_is_reported_from_its_request_to_the_cut() {
    let world = World::start().await;
    let request = story(&world).await;
    let report = settled(&world).await;
    assert_eq!(report["missing"], json!([]), "{report}");
    let against = report["trails"][0]["against"].to_string();
    assert!(against.contains("the checkpoint of `edge-1` at the control plane"), "{against}");
    let asked = &report["requests"][0];
    assert_eq!((&asked["id"], &asked["reason"]), (&request["id"], &json!(WHY)));
    assert_eq!(asked["settled"]["outcome"], "granted", "{asked}");
    let approval = &asked["approvals"][0];
    let operator = json!({"identity": "spiffe://jitgate.local/operator/local"});
    assert_eq!(
        (&approval["by"], &approval["ttl"], &approval["reason"]),
        (&operator, &json!("4m"), &json!("read only"))
    );
    assert_eq!(approval["scope"].as_array().unwrap().len(), 2, "{approval}");
    let grant = &report["grants"][0];
    assert_eq!(
        (&grant["ended"]["cause"], &grant["ended"]["reason"]),
        (&json!("revoked"), &json!("looks odd"))
    );
    assert_eq!(
        (&grant["confirmed"][0]["proxy"], &grant["confirmed"][0]["streams_cut"]),
        (&json!("edge-1"), &json!(1))
    );
    let calls = &report["calls"];
    let counted = (&calls["permitted"], &calls["cut"], &calls["denied"]);
    assert_eq!(counted, (&json!(2), &json!(1), &json!(0)), "{calls}");
    let cut = calls["lines"].as_array().unwrap().iter().find(|line| line["path"] == "/sse").unwrap();
    assert_eq!((&cut["end"], &cut["cause"]), (&json!("cut"), &json!("revoked")));
    let refused = &report["refused"];
    let paths: Vec<&Value> = refused["lines"].as_array().unwrap().iter().map(|line| &line["path"]).collect();
    assert_eq!(
        (&refused["denied"], paths),
        (&json!(2), vec![&json!("/secret"), &json!("/v1/orders/2")]),
        "{refused}"
    );

    // For people, on a terminal and on paper.
    let text = said(&world.try_cli(&REPORT).await);
    for part in [
        "verified up to line",
        "a customer asks",
        "orders:GET:/v1/** orders:GET:/sse",
        "read only",
        "revoked at",
        "looks odd",
        "cut: revoked",
        "out_of_scope",
        "revoked",
        "\\u{202e}",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains('\u{202e}'));
    std::fs::write(world.path("report.html"), "an older one").unwrap();
    let wrote = world.try_cli(&[&REPORT[..], &["--html", "report.html"]].concat()).await;
    assert!(wrote.status.success() && said(&wrote) == "wrote report.html\n", "{wrote:?}");
    let mode = std::fs::metadata(world.path("report.html")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600, "as confidential as the trail");
    let html = std::fs::read_to_string(world.path("report.html")).unwrap();
    assert!(
        !html.contains("<script") && html.contains("&lt;script&gt;alert(1)") && html.contains("cut: revoked")
    );

    // By grant, by principal and by time it is the same access.
    for about in
        [["--grant", id(grant)], ["--principal", "spiffe://jitgate.local/agent/demo"], ["--since", "1h"]]
    {
        let other = world.cli(&[&["audit", "report", "--file", TRAIL], &about[..]].concat()).await;
        assert_eq!(
            (&other["requests"][0]["id"], &other["grants"][0]["id"]),
            (&asked["id"], &grant["id"]),
            "{about:?}"
        );
        assert_eq!(other["calls"]["permitted"], 2, "{about:?}");
    }
    let before = ["audit", "report", "--file", TRAIL, "--until", "1h"];
    let nothing = world.cli(&before).await;
    assert_eq!((&nothing["requests"], &nothing["calls"]["permitted"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_the_rest_is_reported() {
    let mut world = World::start().await;
    story(&world).await;
    settled(&world).await;
    let run = async |world: &World, trail: &str, more: &[&str]| {
        let fixed = ["audit", "report", "--task", "INC-9", "--output", "json"];
        let file: &[&str] = if trail.is_empty() { &[] } else { &["--file", trail] };
        let output = world.try_cli(&[&fixed[..], file, more].concat()).await;
        (output.status.code(), parsed(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let has = |report: &Value| {
        (report["requests"].as_array().unwrap().len(), report["calls"]["permitted"].as_u64().unwrap())
    };
    let (code, report, _) = run(&world, "", &["--no-trail"]).await;
    assert_eq!((code, has(&report)), (Some(0), (1, 0)), "what was not wanted is not missed");
    let (code, report, _) = run(&world, TRAIL, &["--offline"]).await;
    assert_eq!((code, has(&report)), (Some(0), (0, 2)));
    assert_eq!(report["control"], Value::Null);
    let (code, report, _) = run(&world, TRAIL, &["--no-verify"]).await;
    assert_eq!(
        (code, has(&report), &report["trails"][0]["standing"]),
        (Some(0), (1, 2), &json!("unverified"))
    );
    assert_eq!(report["refused"]["denied"], 2);
    let (code, report, why) = run(&world, "nowhere.jsonl", &[]).await;
    assert_eq!((code, has(&report)), (Some(1), (1, 0)));
    assert!(why.contains("nowhere.jsonl") && why.contains("not complete"), "{why}");

    // Somebody changes a line after the proxy has gone.
    world.proxy().terminate();
    world.proxy().ended().await;
    let trail = world.path(TRAIL);
    let text = std::fs::read_to_string(&trail).unwrap();
    std::fs::write(&trail, text.replacen("\"path\":\"/secret\"", "\"path\":\"/harmless\"", 1)).unwrap();
    let (code, report, why) = run(&world, TRAIL, &[]).await;
    assert_eq!((code, &report["trails"][0]["standing"]), (Some(1), &json!("wrong")), "{report}");
    assert!(why.contains("not as it was written"), "{why}");
    let text = said(&world.try_cli(&REPORT).await);
    assert!(text.contains("WARNING") && text.contains("was changed"), "{text}");

    world.control().terminate();
    world.control().ended().await;
    let (code, report, why) = run(&world, TRAIL, &["--no-verify"]).await;
    assert_eq!((code, has(&report)), (Some(1), (0, 2)));
    assert!(report["missing"][0].as_str().unwrap().contains("control plane"), "{report}");
    assert!(why.contains("not complete"), "{why}");
}

const POLICIES: &str = r#"
@id("breaks-glass")
permit (principal, action == Action::"request", resource) when { context.emergency };
@id("reads")
@approvers("1 of approvers")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
"#;

#[tokio::test]
async fn a_reviewer_sees_what_access_was_not_needed() {
    let world = Setup::new().decided_by("", POLICIES).await.start_both().await;
    story(&world).await;
    let idle = world.grant("orders:POST:/v1/**").await;
    for _ in 0..3 {
        let again = world.grant_with("orders:PUT:/v1/**", &["--scope", "orders:PATCH:/v1/**"]).await;
        assert_eq!(
            world.client(Protocol::H1).connect().await.call("PUT", "/v1/orders", "{}").await.status,
            200
        );
        world.revoke(&again).await;
    }
    let emergency = with(asked("FIRE-1", "DELETE", "/v1/orders"), "emergency", json!(true));
    let emergency = world.ask(&world.agent, &emergency).await;
    eventually("the lines of all calls", || async {
        let puts = world.audit().into_iter().filter(|line| line["kind"] == "end" && line["method"] == "PUT");
        (puts.count() == 3).then_some(())
    })
    .await;
    let report = world.cli(&["audit", "report", "--access", "--since", "1h", "--file", TRAIL]).await;
    assert_eq!(report["trails"][0]["standing"], "verified", "{report}");
    let left: Vec<(&Value, &Value, &Value)> = report["unused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| (&left["permissions"], &left["wholly"], &left["live"]))
        .collect();
    let (whole, part) = ((json!(true), json!(true)), (json!(false), json!(false)));
    let patch = json!(["orders:PATCH:/v1/**"]);
    let wanted = [
        (&json!(["orders:POST:/v1/**"]), &whole.0, &whole.1),
        (&patch, &part.0, &part.1),
        (&patch, &part.0, &part.1),
        (&patch, &part.0, &part.1),
        (&json!(["orders:DELETE:/v1/orders"]), &whole.0, &whole.1),
    ];
    assert_eq!(left, wanted, "of the story nothing is left: {report}");
    assert_eq!(report["unused"][0]["grant"], json!(idle));
    let times = report["approval_times"].as_array().unwrap();
    let names: Vec<(&Value, &Value, &Value)> =
        times.iter().map(|waits| (&waits["by"], &waits["name"], &waits["decisions"])).collect();
    let named = |by: &str, name: &str| (json!(by), json!(name), json!(1));
    let [all, service, policy] = [named("all", ""), named("service", "orders"), named("policy", "reads")];
    assert_eq!(names, [&all, &service, &policy].map(|(by, name, count)| (by, name, count)), "{report}");
    let [series] = &report["renewals"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((series["grants"].as_array().unwrap().len(), &series["tasks"]), (3, &json!(["t-1"])));
    let [review] = &report["open_reviews"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!(review["request"], emergency["id"], "{review}");
    let counts = &report["counts"];
    assert_eq!(
        (&counts["granted_at_once"], &counts["granted_by_approval"], &counts["by_operators"]),
        (&json!(1), &json!(1), &json!(4)),
        "{counts}"
    );

    let text = said(&world.try_cli(&["audit", "report", "--access", "--file", TRAIL]).await);
    for part in [
        "Unused permissions",
        "all, so far: 1 of 1",
        "some: 1 of 2",
        "Approval times",
        "reads",
        "Serial renewals",
        "Open reviews",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let page = world.try_cli(&["audit", "report", "--access", "--file", TRAIL, "--html", "-"]).await;
    assert!(page.status.success() && said(&page).starts_with("<!doctype html>"), "{page:?}");
    let both = ["audit", "report", "--access", "--file", TRAIL, "--html", "-", "--output", "json"];
    let both = world.try_cli(&both).await;
    assert!(both.status.code() == Some(2) && said(&both).is_empty(), "{both:?}");
}
