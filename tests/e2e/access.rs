//! Asking for access on the command line: waiting, approved by somebody else, narrowed, denied, withdrawn, told afterwards.

use crate::harness::pki::Files;
use crate::harness::world::{AGENT, JITGATE};
use crate::harness::{Protocol, World, eventually, within};
use serde_json::Value;
use std::process::{Output, Stdio};

pub(crate) const ASK: [&str; 9] = [
    "request",
    "--task",
    "INC-7",
    "--scope",
    "orders:GET:/v1/**",
    "--ttl",
    "10m",
    "--reason",
    "look at orders",
];

pub(crate) fn agent(world: &World) -> Files {
    Files { cert: world.path("agent/cert.pem"), key: world.path("agent/key.pem") }
}

/// The flags by which a verb reaches this world as somebody.
pub(crate) fn connection(world: &World, files: &Files) -> Vec<String> {
    let show = |path: &std::path::Path| path.display().to_string();
    let control = format!("https://{}:8444", world.address);
    let pairs = [
        ("--control", control),
        ("--cert", show(&files.cert)),
        ("--key", show(&files.key)),
        ("--ca", show(&world.path("ca.pem"))),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// A verb that goes on beside the test.
pub(crate) fn beside(world: &World, files: &Files, arguments: &[&str]) -> tokio::task::JoinHandle<Output> {
    let mut command = tokio::process::Command::new(JITGATE);
    command.args(arguments).args(connection(world, files)).current_dir(world.path(""));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    tokio::spawn(async move { within("the end of a verb", child.wait_with_output()).await.unwrap() })
}

/// The id of the only pending request, once there is one.
pub(crate) async fn pending(world: &World) -> String {
    eventually("a pending request", || async {
        let found = world.cli(&["requests", "--state", "pending"]).await;
        Some(found[0]["id"].as_str()?.to_owned())
    })
    .await
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error} in {output:?}"))
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_wait_says_for_whom_and_ends_when_somebody_else_approves() {
    let world = World::start().await;
    let asking = beside(&world, &agent(&world), &[&ASK[..], &["--wait", "--output", "json"]].concat());
    let id = pending(&world).await;
    let approved = world.cli(&["approve", &id, "--reason", "go ahead"]).await;
    assert_eq!(approved["state"], "approved", "{approved}");
    let output = asking.await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let request = json(&output);
    assert_eq!((&request["id"], &request["state"]), (&id.as_str().into(), &"approved".into()));
    assert!(request["grant"].as_str().unwrap().starts_with("gr_"), "{request}");
    assert!(stderr(&output).contains("waits for role:approver (0 of 1)"), "{output:?}");
    eventually("permission", || async {
        (world.client(Protocol::H2).get("/v1/orders").await.status == 200).then_some(())
    })
    .await;

    let shown = world.cli(&["requests", "show", &id]).await;
    let kinds: Vec<&str> =
        shown["story"].as_array().unwrap().iter().map(|chapter| chapter["kind"].as_str().unwrap()).collect();
    let order = ["access_requested", "access_evaluated", "access_approved", "grants_issued"];
    let at: Vec<_> = order.iter().map(|kind| kinds.iter().position(|other| other == kind).unwrap()).collect();
    assert!(at.is_sorted(), "{kinds:?}");
    let table = world.try_cli(&["requests", "show", &id]).await;
    let text = String::from_utf8(table.stdout).unwrap();
    assert!(text.contains("go ahead") && text.contains("look at orders"), "{text}");

    let ended = world.cli_as(&agent(&world), &["task", "done", "INC-7", "--output", "json"]).await;
    assert_eq!(json(&ended)["state"], "done", "{ended:?}");
    assert_eq!(world.cli(&["grants", "--task", "INC-7"]).await, Value::Array(Vec::new()));
}

#[tokio::test]
async fn less_is_approved_and_everybody_sees_what() {
    let world = World::start().await;
    let asking = beside(&world, &agent(&world), &[&ASK[..], &["--wait=1m"]].concat());
    let id = pending(&world).await;
    let narrower =
        ["approve", &id, "--scope", "orders:GET:/v1/orders", "--ttl", "5m", "--reason", "the list is enough"];
    let approved = world.try_cli(&narrower).await;
    let text = String::from_utf8(approved.stdout).unwrap();
    assert!(text.contains("orders:GET:/v1/**") && text.contains("approved: gr_"), "what is approved: {text}");
    let output = asking.await.unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success() && text.contains("orders:GET:/v1/orders"), "{output:?}");
    assert!(text.contains("only for 5m"), "{text}");
    eventually("permission", || async {
        (world.client(Protocol::H1).get("/v1/orders").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 403);
}

#[tokio::test]
async fn what_is_refused_ends_with_1_and_says_why() {
    let world = World::start().await;
    let asking = beside(&world, &agent(&world), &[&ASK[..], &["--wait"]].concat());
    let id = pending(&world).await;
    world.cli(&["deny", &id, "--reason", "not in \u{1b}[31mthe freeze"]).await;
    let output = asking.await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("is denied: not in \\u{1b}[31mthe freeze"), "{output:?}");
    assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b));

    // Nobody decides in time.
    let other = [
        "request",
        "--task",
        "INC-8",
        "--scope",
        "orders:DELETE:/v1/orders/7",
        "--ttl",
        "1m",
        "--reason",
        "r",
    ];
    let late = world.cli_as(&agent(&world), &[&other[..], &["--wait=50ms"]].concat()).await;
    assert_eq!(late.status.code(), Some(1), "{late:?}");
    assert!(stderr(&late).contains("nobody decided within 50ms"), "{late:?}");
    let id = pending(&world).await;
    let cancelled = world.cli_as(&agent(&world), &["cancel", &id, "--output", "json"]).await;
    assert_eq!(json(&cancelled)["state"], "cancelled");
    // Another than what was seen is not approved.
    let asked = world.cli_as(&agent(&world), &[&other[..], &["--output", "json"]].concat()).await;
    assert_eq!(asked.status.code(), Some(0), "pending without --wait: {asked:?}");
    let id = json(&asked)["id"].as_str().unwrap().to_owned();
    let wrong = world.try_cli(&["approve", &id, "--reason", "r", "--hash", &"0".repeat(64)]).await;
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    assert_eq!(world.cli(&["requests", "--state", "pending"]).await[0]["id"], id.as_str());
}

#[tokio::test]
async fn requests_are_followed_as_they_come_and_change() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let world = World::start().await;
    let mut command = tokio::process::Command::new(JITGATE);
    command.args(["requests", "--follow", "--output", "json"]).args(connection(&world, &world.operator));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = world.cli_as(&agent(&world), &[&ASK[..], &["--output", "json"]].concat()).await;
    let id = json(&first)["id"].clone();
    let next = async |lines: &mut tokio::io::Lines<_>| -> Value {
        let line = within("a line", lines.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    };
    let seen = next(&mut lines).await;
    assert_eq!((&seen["id"], &seen["state"]), (&id, &"pending".into()));
    world.cli(&["approve", id.as_str().unwrap(), "--reason", "yes"]).await;
    let seen = next(&mut lines).await;
    assert_eq!((&seen["id"], &seen["state"]), (&id, &"approved".into()));
}

#[tokio::test]
async fn a_grant_goes_on_and_a_part_of_it_is_handed_on() {
    let world = World::start().await;
    let asking = beside(&world, &agent(&world), &[&ASK[..], &["--wait", "--output", "json"]].concat());
    world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    let grant = json(&asking.await.unwrap())["grant"].as_str().unwrap().to_owned();

    let extend = ["extend", &grant, "--ttl", "5m", "--reason", "slow", "--wait", "--output", "json"];
    let extending = beside(&world, &agent(&world), &extend);
    world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    let longer = json(&extending.await.unwrap())["grant"].as_str().unwrap().to_owned();
    assert_ne!(longer, grant);

    let helper = world.ca.svid("agent/helper");
    let files = helper.write(&world.path("helper"));
    let part = [
        "delegate",
        &grant,
        "--principal",
        "spiffe://jitgate.local/agent/helper",
        "--scope",
        "orders:GET:/v1/orders/7",
        "--reason",
        "reads one",
        "--wait",
        "--output",
        "json",
    ];
    let delegating = beside(&world, &agent(&world), &part);
    world.cli(&["approve", &pending(&world).await, "--reason", "r"]).await;
    let delegating = delegating.await.unwrap();
    assert!(delegating.status.success(), "{delegating:?}");
    let own = world.cli_as(&files, &["grants", "--output", "json"]).await;
    assert_eq!(json(&own)[0]["principal"], "spiffe://jitgate.local/agent/helper");
    let task = world.cli_as(&agent(&world), &["task", "show", "INC-7", "--output", "json"]).await;
    assert_eq!((&json(&task)["owner"], &json(&task)["state"]), (&AGENT.into(), &"open".into()));
    assert_eq!(world.cli(&["reviews"]).await, Value::Array(Vec::new()));
}
