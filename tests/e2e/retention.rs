//! Old files of the trail go as the configuration says, and no earlier; what is left, and what is gone, can still be proved. And the
//! trail takes no more of its disk than it may.

mod disk;

use crate::audit::TinyDisk;
use crate::harness::client::Connection;
use crate::harness::upstream::Upstream;
use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Output;

const TRAIL: &str = "audit/audit.jsonl";
/// Two files and 2 MiB, the least that is accepted, and some.
const BOUND: u64 = 3_000_000;

fn retention(when_full: &str) -> String {
    format!(
        "rotate_bytes = 50_000\ncompress = false\nretention = {{ max_total_bytes = {BOUND}, when_full = \"{when_full}\" }}\n"
    )
}

/// What the files in a folder take, as `du` says.
fn taken(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => taken(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

async fn audit(world: &World, arguments: &[&str]) -> Output {
    world.try_cli(&[&["audit"], arguments].concat()).await
}

/// Whether a request passes. Less than a second of refusals is no answer: so small a trail has little room ahead of a disk that is slow.
async fn passes(connection: &mut Connection, path: &str) -> bool {
    for _ in 0..50 {
        let answer = connection.get(path).await;
        if answer.status == 200 {
            return true;
        }
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "audit_unavailable"));
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    false
}

/// Whoever is told of trouble with the trail.
fn hook(receiver: &Upstream) -> String {
    format!(
        "[[webhooks]]\nname = \"siem\"\nurl = \"http://{}/siem\"\nevents = [\"audit.trouble\"]\nsecret_file = \"hook.secret\"\n",
        receiver.address
    )
}

fn secret(world: &World) {
    let secret = world.path("hook.secret");
    std::fs::write(&secret, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

async fn told(receiver: &Upstream, state: &str) {
    eventually(&format!("the message that the trail is {state}"), || async {
        let messages = receiver.received();
        let told = messages.iter().filter_map(|told| serde_json::from_slice::<Value>(&told.body).ok());
        let data = json!({"proxy": "edge-1", "state": state});
        told.filter(|told| told["type"] == "audit.trouble").any(|told| told["data"] == data).then_some(())
    })
    .await;
}

async fn verified(world: &World, more: &[&str]) -> Value {
    let output = audit(world, &[&["verify", "--file", TRAIL, "--output", "json"], more].concat()).await;
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test]
async fn the_oldest_files_go_at_the_bound_and_what_is_left_and_what_is_gone_can_be_proved() {
    let mut world = Setup::new().audited(&retention("remove_oldest")).start().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    connection.get("/v1/orders/first").await;
    let first = world.ends("/v1/orders/first").await[0].clone();
    eventually("its proof", || async {
        let id = first["request_id"].as_str().unwrap();
        let proved = audit(&world, &["prove", id, "--file", TRAIL, "--out", "first.tlog-proof"]).await;
        proved.status.success().then_some(())
    })
    .await;
    std::fs::copy(world.path("audit/audit.jsonl.tlog/checkpoint"), world.path("early.checkpoint")).unwrap();
    // Several times what fits.
    let mut removed = Value::Null;
    for round in 0..100 {
        for number in 0..100 {
            let path = format!("/v1/orders/{round}-{number}/{}", "x".repeat(1500));
            assert!(passes(&mut connection, &path).await, "nobody is refused for long");
        }
        assert!(taken(&world.path("audit")) <= BOUND, "{}", taken(&world.path("audit")));
        // Faster than a checkpoint is signed it could only refuse, as small as it is.
        eventually("room for the next", || async {
            (taken(&world.path("audit")) < BOUND * 3 / 4).then_some(())
        })
        .await;
        if round % 10 == 9 {
            removed = verified(&world, &[]).await["removed"].clone();
            if removed["to"].as_u64().is_some_and(|to| to > 1_000) {
                break;
            }
        }
    }
    assert_eq!(removed["policy"], "max_total_bytes", "{removed}");
    let (to, line) = (removed["to"].as_u64().unwrap(), removed["recorded_in"].as_u64().unwrap());
    let said = audit(&world, &["verify", "--file", TRAIL]).await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("lines 1 to ") && said.contains(" were removed by retention"), "{said}");
    // Against what was kept elsewhere, of before and of now.
    verified(&world, &["--checkpoint", "early.checkpoint"]).await;
    verified(&world, &["--proxy", "edge-1"]).await;
    verified(&world, &["--from", "1", "--to", &(to + 1).to_string()]).await;
    let proof = ["verify", "--proof", "first.tlog-proof", "--file", TRAIL, "--output", "json"];
    let proved = audit(&world, &proof).await;
    assert!(proved.status.success(), "{proved:?}");
    let proved: Value = serde_json::from_slice(&proved.stdout).unwrap();
    assert_eq!(proved["content"], first, "although the line is gone");

    let all = audit(&world, &["verify", "--file", TRAIL, "--nothing-removed", "--output", "json"]).await;
    let said = String::from_utf8_lossy(&all.stderr).into_owned();
    let json: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(json["verified"], false, "{json}");
    assert!(all.status.code() == Some(1) && said.contains("were removed by retention"), "{all:?}");

    // Everybody else copes with a trail that begins later.
    let found = world.cli(&["audit", "search", "--file", TRAIL, "--kind", "summary"]).await;
    let found = found.as_array().unwrap().iter().find(|found| found["seq"] == line).unwrap().clone();
    assert_eq!((&found["removed"]["from"], found["removed"]["to"].as_u64() >= Some(to)), (&1.into(), true));
    let newest = world.cli(&["audit", "search", "--file", TRAIL, "--kind", "end", "--limit", "1"]).await;
    let id = newest[0]["request_id"].as_str().unwrap().to_owned();
    eventually("a proof of a line that is left", || async {
        let proved = audit(&world, &["prove", &id, "--file", TRAIL]).await;
        proved.status.success().then_some(())
    })
    .await;
    let report = audit(&world, &["report", "--file", TRAIL, "--task", "t-1", "--output", "json"]).await;
    let text = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.status.code() == Some(1) && text.contains("\"removed\""), "{report:?}");
    let lacks = String::from_utf8_lossy(&report.stderr).into_owned();
    assert!(lacks.contains("at proxy `edge-1`: what is left of its trail begins later"), "{lacks}");
    let tail = audit(&world, &["tail", "--file", TRAIL]).await;
    assert!(tail.status.success(), "{tail:?}");

    // It goes on after an end and after a crash.
    drop(connection);
    for kill in [false, true] {
        if kill {
            world.proxy().kill();
        } else {
            world.proxy().terminate();
            assert!(world.proxy().ended().await.success());
        }
        world.start_proxy().await;
        let again = world.client(Protocol::H1).get("/v1/orders/again").await;
        assert_eq!(again.status, 200);
        verified(&world, &[]).await;
    }

    // Whoever removes more than that is found.
    world.proxy().terminate();
    assert!(world.proxy().ended().await.success());
    let last = verified(&world, &[]).await["last"].as_u64().unwrap();
    let trail = jitgate::audit::segments::list(&world.path(TRAIL)).unwrap();
    let until = trail.iter().position(|file| file.last().is_none_or(|last| last > line)).unwrap();
    for file in &trail[..until] {
        std::fs::remove_file(file.path()).unwrap();
    }
    let bad = audit(&world, &["verify", "--file", TRAIL]).await;
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(bad.status.code() == Some(1) && said.contains("lines 1 to "), "{last} {said}");
}

#[tokio::test]
async fn what_an_export_has_not_confirmed_stays_and_closes_the_gate_with_an_alarm_until_it_has() {
    let receiver = Upstream::start().await;
    let hook = hook(&receiver);
    let export = "[[proxy.audit.export]]\nname = \"events\"\nkind = \"ocsf\"\nfile = \"siem/events.jsonl\"\n";
    let mut world = Setup::new()
        .lease("3s")
        .audited(&retention("remove_oldest"))
        .tables(&(hook + export))
        .prepare()
        .await;
    secret(&world);
    // In the way of the folder for events.
    std::fs::write(world.path("siem"), "").unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut passed = 0;
    let mut low = false;
    while passes(&mut connection, &format!("/v1/orders/{passed}")).await {
        passed += 1;
        if passed % 100 == 0 {
            assert!(taken(&world.path("audit")) <= BOUND);
            // The keeper of the files looks once a second.
            if passed % 1_000 == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
            }
            if !low && world.metric("jitgate_audit_disk_low").await > 0.5 {
                low = true;
                told(&receiver, "low_space").await;
            }
        }
        assert!(passed < 50_000);
    }
    assert!(low, "the alarm came first");
    told(&receiver, "unwritable").await;
    assert!(world.metric("jitgate_audit_disk_bytes").await > 0.8 * BOUND as f64);
    let report = verified(&world, &[]).await;
    assert_eq!(report["removed"], Value::Null, "nothing may go");
    assert_eq!(world.metric("jitgate_audit_disk_limit_bytes").await, BOUND as f64);

    // A restart changes nothing: it starts, refuses, and exports.
    world.proxy().kill();
    world.spawn_proxy();
    eventually("refusal after the restart", || async {
        let client = world.client(Protocol::H1).try_connect().await;
        let answer = client.ok()?.get("/v1/orders").await;
        (answer.status == 503 && answer.reason() == "audit_unavailable").then_some(())
    })
    .await;

    std::fs::remove_file(world.path("siem")).unwrap();
    eventually("access without a restart", || async {
        (world.client(Protocol::H1).get("/v1/orders/after").await.status == 200).then_some(())
    })
    .await;
    told(&receiver, "good").await;
    let removed = verified(&world, &[]).await["removed"].clone();
    assert_eq!(removed["policy"], "max_total_bytes", "{removed}");
    // Every line that is gone was confirmed.
    let events = std::fs::read_to_string(world.path("siem/events.jsonl")).unwrap();
    assert!(events.lines().count() as u64 >= removed["to"].as_u64().unwrap());
}

#[tokio::test]
async fn without_a_bound_the_alarm_is_about_the_file_system() {
    let receiver = Upstream::start().await;
    let mut world = Setup::new().lease("3s").tables(&hook(&receiver)).prepare().await;
    secret(&world);
    let Some(_disk) = TinyDisk::mount(world.path("audit"), "64m") else { return };
    world.start_control().await;
    world.start_proxy().await;
    let filler = world.path("audit/filler");
    // The trail has set 16 MiB aside.
    let done = run("fallocate", &["--length", "40M", filler.to_str().unwrap()]);
    assert!(done.status.success(), "{done:?}");
    told(&receiver, "low_space").await;
    eventually("the metric", || async { (world.metric("jitgate_audit_disk_low").await > 0.5).then_some(()) })
        .await;
    std::fs::remove_file(filler).unwrap();
    told(&receiver, "good").await;
    world.proxy().kill();
}

#[tokio::test]
async fn trouble_with_recordings_is_told_as_well() {
    let receiver = Upstream::start().await;
    let recorded = "max_total_bytes = 10_000_000";
    let mut world = Setup::new().lease("3s").recorded_with(recorded).tables(&hook(&receiver)).prepare().await;
    secret(&world);
    let folder = world.path("audit/recordings");
    std::fs::create_dir_all(folder.join("2026-11-22")).unwrap();
    let old = std::fs::File::create(folder.join("2026-11-22/req_old.age")).unwrap();
    old.set_len(9_000_000).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    told(&receiver, "low_space").await;
    let status = world.cli(&["status"]).await;
    assert!(status["attention"].to_string().contains("its recordings"), "{status}");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    told(&receiver, "unwritable").await;
    std::fs::remove_file(&folder).unwrap();
    told(&receiver, "good").await;
}

fn run(program: &str, arguments: &[&str]) -> Output {
    std::process::Command::new(program).args(arguments).output().unwrap()
}
