//! The verbs where policies decide: granted at once, denied with what decided, and the review of an emergency, which a second person
//! closes.

use crate::access::{agent, json, stderr};
use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::{Value, json as value};
use std::process::Output;

const POLICIES: &str = r#"
@id("reads-at-once")
permit (principal, action == Action::"request", resource) when { context.method == "GET" };
@id("breaks-glass")
@max_ttl("10m")
@review
permit (principal, action == Action::"request", resource) when { context.emergency };
@id("never-deleted")
forbid (principal, action, resource) when { context.method == "DELETE" };
"#;

async fn world() -> World {
    let mut world = Setup::new().tables("[control.policy]\nfolder = \"policies\"\n").prepare().await;
    std::fs::create_dir(world.path("policies")).unwrap();
    std::fs::write(world.path("policies/all.cedar"), POLICIES).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world
}

async fn ask(world: &World, task: &str, scope: &str, more: &[&str]) -> Output {
    let base = [
        "request", "--task", task, "--scope", scope, "--ttl", "5m", "--reason", "a test", "--output", "json",
    ];
    world.cli_as(&agent(world), &[&base[..], more].concat()).await
}

#[tokio::test]
async fn what_policies_allow_is_granted_at_once_and_what_they_forbid_is_denied_with_the_reason() {
    let world = world().await;
    let granted = ask(&world, "READ", "orders:GET:/v1/**", &[]).await;
    assert_eq!(
        (granted.status.code(), &json(&granted)["state"]),
        (Some(0), &value!("approved")),
        "{granted:?}"
    );
    eventually("permission", || async {
        (world.client(Protocol::H2).get("/v1/orders").await.status == 200).then_some(())
    })
    .await;
    let denied = ask(&world, "DROP", "orders:DELETE:/v1/orders/7", &["--wait"]).await;
    assert_eq!((denied.status.code(), &json(&denied)["state"]), (Some(1), &value!("denied")), "{denied:?}");
    assert!(stderr(&denied).contains("never-deleted"), "{denied:?}");
}

#[tokio::test]
async fn an_emergency_is_reviewed_by_somebody_else_before_the_next() {
    let world = world().await;
    let granted = ask(&world, "FIRE", "orders:POST:/v1/orders", &["--emergency"]).await;
    assert_eq!(
        (granted.status.code(), &json(&granted)["state"]),
        (Some(0), &value!("approved")),
        "{granted:?}"
    );
    let open: Value = world.cli(&["reviews"]).await;
    assert_eq!((&open[0]["state"], &open[0]["request"]), (&value!("open"), &json(&granted)["id"]), "{open}");
    assert_eq!(world.cli(&["status"]).await["reviews"]["open"], 1);
    let table = String::from_utf8(world.try_cli(&["status"]).await.stdout).unwrap();
    assert!(table.lines().any(|line| line.starts_with("open reviews") && line.ends_with('1')), "{table}");

    let next = ask(&world, "FIRE-2", "orders:PUT:/v1/orders", &["--emergency"]).await;
    assert_eq!(next.status.code(), Some(1), "{next:?}");
    assert!(stderr(&next).contains("A review is open"), "{next:?}");

    let id = open[0]["id"].as_str().unwrap().to_owned();
    let close = ["reviews", "close", &id, "--justified", "true", "--findings", "restarted it \u{202e}"];
    let own = world.cli_as(&agent(&world), &close).await;
    assert_eq!(own.status.code(), Some(1), "{own:?}");
    let closed = world.try_cli(&close).await;
    let text = String::from_utf8(closed.stdout.clone()).unwrap();
    assert!(closed.status.success() && text.contains("restarted it \\u{202e}"), "{closed:?}");
    assert_eq!(world.cli(&["reviews"]).await, value!([]));
    assert_eq!(world.cli(&["reviews", "--state", "closed"]).await[0]["justified"], true);
    let next = ask(&world, "FIRE-2", "orders:PUT:/v1/orders", &["--emergency"]).await;
    assert_eq!(next.status.code(), Some(0), "{next:?}");
}
