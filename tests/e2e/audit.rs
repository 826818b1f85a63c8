//! Law 7, no access without audit: each request has exactly one `end` line, whatever became of it.

use crate::harness::client::empty;
use crate::harness::upstream::Upstream;
use crate::harness::world::AGENT;
use crate::harness::{Answer, Protocol, World, eventually};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;
use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test]
async fn each_request_has_exactly_one_end_line_that_tells_its_story() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/v1/**").await;
    let mut expected = HashMap::new();
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        for (path, status) in [("/v1/a", 200), ("/v2/b", 403), ("/v1/status/500", 200), ("/v1//c", 400)] {
            let answer = connection.get(&format!("{path}?secret=hunter2")).await;
            assert_eq!(answer.status, status, "{path}");
            *expected.entry((path.to_owned(), status)).or_insert(0) += 1;
        }
    }
    let lines = eventually("all lines", || async {
        let lines: Vec<_> = world.audit().into_iter().filter(|line| line["kind"] == "end").collect();
        (lines.len() >= 8).then_some(lines)
    })
    .await;
    let mut found = HashMap::new();
    for line in &lines {
        let (path, status) = (line["path"].as_str().unwrap(), line["status"].as_u64().unwrap());
        *found.entry((path.to_owned(), u16::try_from(status).unwrap())).or_insert(0) += 1;
        assert_eq!((&line["principal"], &line["proxy"]), (&AGENT.into(), &"edge-1".into()), "{line}");
        assert!(!line.to_string().contains("hunter2"), "a query may hold secrets: {line}");
        if status == 200 {
            assert_eq!(
                (&line["decision"], &line["grant"]),
                (&"permit".into(), &grant.as_str().into()),
                "{line}"
            );
            assert_eq!((&line["end"], &line["task"]), (&"complete".into(), &"t-1".into()), "{line}");
        } else {
            assert_eq!(
                (&line["decision"], &line["grant"]),
                (&"deny".into(), &serde_json::Value::Null),
                "{line}"
            );
        }
    }
    assert_eq!(found, expected);
    let mut sequence: Vec<_> = world.audit().iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    let sorted = {
        let mut copy = sequence.clone();
        copy.sort_unstable();
        copy.dedup();
        copy
    };
    sequence.dedup();
    assert_eq!(sequence, sorted, "`seq` rises without gaps or repeats");
}

#[tokio::test]
async fn what_the_caller_is_told_can_be_found_in_the_trail() {
    let world = World::start().await;
    let answer = world.client(Protocol::H1).get("/v1/orders").await;
    let id = answer.json()["request_id"].clone();
    assert_eq!(world.ends("/v1/orders").await[0]["request_id"], id);
}

#[tokio::test]
async fn without_a_trail_nothing_passes_until_it_can_be_written_again() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    assert_eq!(connection.get("/v1/orders").await.status, 200);
    world.ends("/v1/orders").await;
    // The folder goes, and a file takes its place in the same step, so that it cannot be made anew.
    std::fs::write(world.path("away"), "in the way").unwrap();
    let (audit, away) = (world.path("audit"), world.path("away"));
    renameat_with(CWD, &audit, CWD, &away, RenameFlags::EXCHANGE).unwrap();
    eventually("a refusal", || async {
        let answer = world.client(Protocol::H1).get("/v1/orders").await;
        (answer.status == 503 && answer.reason() == "audit_unavailable").then_some(())
    })
    .await;
    world.upstream.forget();
    for protocol in Protocol::BOTH {
        assert_eq!(world.client(protocol).get("/v1/orders").await.reason(), "audit_unavailable");
    }
    assert!(world.upstream.received().is_empty());
    assert!(world.metric("jitgate_audit_failures_total").await >= 1.0);

    std::fs::remove_file(world.path("audit")).unwrap();
    std::fs::create_dir(world.path("audit")).unwrap();
    eventually("recovery without a restart", || async {
        (world.client(Protocol::H1).get("/v1/orders").await.status == 200).then_some(())
    })
    .await;
    let summaries = eventually("a summary of what was refused", || async {
        let lines: Vec<_> = world.audit().into_iter().filter(|line| line["kind"] == "summary").collect();
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    let counted: u64 = summaries.iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert!(counted >= 3, "{summaries:?}");
}

#[tokio::test]
async fn a_caller_that_vanishes_before_the_answer_leaves_a_line() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    let request = connection.request("GET", "/slow").body(empty()).unwrap();
    let call = tokio::spawn(async move { connection.try_send(request).await });
    world.upstream.running(1).await;
    call.abort();
    let lines = world.ends("/slow").await;
    assert_eq!((lines.len(), &lines[0]["end"]), (1, &"client_gone".into()), "{lines:?}");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_told_apart() {
    let mut world = crate::harness::Setup::new().prepare().await;
    world.append_config("[[service]]\nname = \"stock\"\nupstream = [\"http://127.0.0.1:9\"]\n");
    world.start_control().await;
    world.start_proxy().await;
    world.grant("stock:GET:/**").await;
    let mut connection = world.client(Protocol::H1).host("stock.localhost").connect().await;
    let request = connection.request("GET", "/v1/stock").body(empty()).unwrap();
    let answer = Answer::of(connection.send(request).await).await;
    assert_eq!(answer.reason(), "upstream_unavailable");
    assert!(matches!(answer.status.as_u16(), 502 | 503), "{answer:?}");
    let line = &world.ends("/v1/stock").await[0];
    assert_eq!((&line["decision"], &line["end"]), (&"permit".into(), &"upstream_error".into()), "{line}");
}

/// A tiny file system in memory, gone with the test. `None` where mounting is not permitted, as for a developer who is not root,
/// and who said that such tests may be left out.
pub(crate) struct TinyDisk(std::path::PathBuf);

impl TinyDisk {
    pub(crate) fn mount(at: std::path::PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut command = std::process::Command::new("mount");
        let output =
            command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).output().unwrap();
        if output.status.success() {
            return Some(Self(at));
        }
        let without = std::env::var_os("JITGATE_TESTS_WITHOUT_MOUNTS").is_some();
        assert!(without, "needs root; JITGATE_TESTS_WITHOUT_MOUNTS=1 leaves this out: {output:?}");
        None
    }

    pub(crate) fn resize(&self, size: &str) {
        let resize = ["-o", &format!("remount,size={size}")];
        assert!(std::process::Command::new("mount").args(resize).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _shown_by_the_test = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_closes_the_gate_and_loses_no_line() {
    let mut world = crate::harness::Setup::new().prepare().await;
    let Some(disk) = TinyDisk::mount(world.path("audit"), "256k") else { return };
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut permitted = 0_usize;
    loop {
        let answer = connection.get("/v1/orders").await;
        if answer.status != 200 {
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "audit_unavailable"));
            break;
        }
        permitted += 1;
        assert!(permitted < 10_000, "256 KiB hold ten thousand lines?");
    }
    assert!(permitted > 0);
    let ends = |world: &World| {
        let lines =
            world.audit().into_iter().filter(|line| line["kind"] == "end" && line["decision"] == "permit");
        lines.count()
    };
    eventually("a line for each request that passed", || async { (ends(&world) == permitted).then_some(()) })
        .await;

    disk.resize("16m");
    eventually("recovery without a restart", || async {
        (status_of_a_call(&world).await == 200).then_some(())
    })
    .await;
    eventually("the line after recovery", || async { (ends(&world) == permitted + 1).then_some(()) }).await;
}

#[tokio::test]
async fn trouble_with_the_trail_is_told_when_it_begins_and_when_it_ends() {
    let receiver = Upstream::start().await;
    let hook = |name: &str, more: &str| {
        format!(
            "[[webhooks]]\nname = \"{name}\"\nurl = \"http://{}/{name}\"\nevents = [\"audit.trouble\"]\n{more}\n",
            receiver.address
        )
    };
    let tables = hook("siem", "secret_file = \"hook.secret\"") + &hook("chat", "format = \"chat\"");
    // Pings every second or so.
    let mut world = crate::harness::Setup::new().lease("3s").tables(&tables).prepare().await;
    let Some(disk) = TinyDisk::mount(world.path("audit"), "256k") else { return };
    let secret = world.path("hook.secret");
    std::fs::write(&secret, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    let told = async |state: &str, says: &str| {
        eventually(&format!("the message that the trail is {state}"), || async {
            let all = receiver.received();
            let bodies = |at: &str| {
                let at = all.iter().filter(|message| message.target == at);
                at.map(|message| String::from_utf8(message.body.to_vec()).unwrap()).collect::<Vec<_>>()
            };
            let siem =
                bodies("/siem").into_iter().filter_map(|body| serde_json::from_str::<Value>(&body).ok());
            let data = serde_json::json!({"proxy": "edge-1", "state": state});
            let siem = siem.filter(|told| told["type"] == "audit.trouble" && told["data"] == data).count();
            let chat = bodies("/chat").iter().filter(|body| body.contains(says)).count();
            (siem == 1 && chat == 1).then_some(())
        })
        .await;
        let status = world.cli(&["status"]).await;
        assert_eq!(status["proxies"][0]["audit"], state, "{status}");
        status["attention"].to_string()
    };
    assert!(told("low_space", "short of space").await.contains("hardly any space"));
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    while connection.get("/v1/orders").await.status == 200 {}
    assert!(told("unwritable", "refuses requests").await.contains("cannot write its audit trail"));
    disk.resize("64m");
    assert!(!told("good", "well again").await.contains("audit trail"));
    assert_eq!(status_of_a_call(&world).await, 200);
}

async fn status_of_a_call(world: &World) -> u16 {
    world.client(Protocol::H1).get("/v1/orders").await.status.as_u16()
}
