//! External witnesses vouch for both logs: whoever has their keys can tell what was there when, and a trail that is rolled back is found.

use crate::harness::witness::{Scribe, Witness};
use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::Value;
use std::fs;
use std::process::{Command, Output};
use std::sync::Arc;

fn table(log: &str, name: &str, url: &str, key: &str) -> String {
    format!("[[{log}.witness]]\nname = \"{name}\"\nurl = \"{url}\"\nkey = \"{key}\"\nca = \"ca.pem\"\n")
}

async fn audit(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::harness::world::JITGATE);
    command.arg("audit").args(arguments).current_dir(world.path(""));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

/// `audit verify` of the trail with more arguments: whether it is good, and what it says.
async fn verify(world: &World, more: &[&str]) -> (bool, Value, String) {
    let fixed = ["verify", "--file", "audit/audit.jsonl", "--output", "json"];
    let output = audit(world, &[&fixed[..], more].concat()).await;
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

async fn metric(world: &World, name: &str, witness: &str) -> f64 {
    world.metric(&format!("jitgate_witness_{name}{{log=\"audit\",name=\"{witness}\"}}")).await
}

async fn requests(world: &World, many: usize) {
    for number in 0..many {
        assert_eq!(world.client(Protocol::H1).get(&format!("/v1/orders/{number}")).await.status, 200);
    }
}

/// How many lines the file of a witness says.
fn vouched(world: &World, name: &str) -> u64 {
    let note = fs::read_to_string(world.path(&format!("audit/audit.jsonl.tlog/witnessed/{name}")));
    note.ok().and_then(|note| note.lines().nth(1)?.parse().ok()).unwrap_or(0)
}

fn lines(world: &World) -> u64 {
    world.audit().last().and_then(|line| line["seq"].as_u64()).unwrap_or(0)
}

/// Waits until a witness vouches for so many lines, and every one that there is.
async fn covered(world: &World, name: &str, many: u64) -> u64 {
    eventually(&format!("{many} lines vouched for by {name}"), || async {
        let size = vouched(world, name);
        (size >= lines(world).max(many)).then_some(size)
    })
    .await
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[tokio::test]
async fn a_witness_that_we_did_not_write_vouches_for_both_logs_and_finds_a_rollback() {
    let mut world = Setup::new().prepare().await;
    let mut witness = Witness::new(&world, "witness").await;
    let scribe = Arc::new(Scribe::new("scribe.example"));
    let https = scribe.serve(&world.ca.server("witness", "127.0.0.1".parse().unwrap())).await;
    let honest = format!("https://{https}/honest");
    world.append_config(&table("proxy.audit", "w1", &witness.url(), &witness.key));
    world.append_config(&table("proxy.audit", "w2", &honest, &scribe.key()));
    world.append_config(&table("control", "w1", &witness.url(), &witness.key));
    let checked = world.try_cli(&["check", "jitgate.toml"]).await;
    assert!(checked.status.success(), "{checked:?}");
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;

    // It is away: nobody waits for it, and the other vouches all the same.
    requests(&world, 20).await;
    let line = world.ends("/v1/orders/7").await.remove(0);
    let id = line["request_id"].as_str().unwrap();
    eventually("lag", || async { (metric(&world, "lag_lines", "w1").await >= 20.0).then_some(()) }).await;
    covered(&world, "w2", 20).await;
    assert!(metric(&world, "failures_total", "w1").await > 0.0);
    let (good, report, said) = verify(&world, &["--witness", &witness.key, "--witness", &scribe.key()]).await;
    assert!(!good && said.contains("fewer than 2 of 2 witnesses"), "{said}");
    assert_eq!((&report["verified"], &report["witnesses"][0]["vouches"]), (&false.into(), &false.into()));
    let quorum = ["--witness", &witness.key, "--witness", &scribe.key(), "--witness-quorum", "1"];
    assert!(verify(&world, &quorum).await.0);

    // It comes, knows both logs, and vouches.
    let key = fs::read_to_string(world.path("audit/audit.jsonl.tlog/key.pub")).unwrap();
    let events = fs::read_to_string(world.path("control.events.tlog/0/key.pub")).unwrap();
    witness.knows(&key).await;
    witness.knows(&events).await;
    witness.start().await;
    covered(&world, "w1", 20).await;
    requests(&world, 5).await;
    covered(&world, "w1", 25).await;
    eventually("no lag", || async { (metric(&world, "lag_lines", "w1").await == 0.0).then_some(()) }).await;
    let both = ["--witness", &witness.key, "--witness", &scribe.key()];
    let (good, report, said) = verify(&world, &both).await;
    assert!(good, "{said} {report}");
    for (at, name) in ["witness.example/w1", "scribe.example"].iter().enumerate() {
        let voucher = &report["witnesses"][at];
        assert_eq!((&voucher["name"], &voucher["vouches"]), (&Value::from(*name), &true.into()));
        assert!(voucher["lines"].as_u64() >= Some(25) && voucher["time"].is_string(), "{voucher}");
    }
    let (good, _, said) = verify(&world, &[&both[..], &["--from", "1", "--to", "20"]].concat()).await;
    assert!(good, "{said}");

    // So says a library that we did not write.
    let note = world.path("audit/audit.jsonl.tlog/witnessed/w1");
    assert!(witness.accepts(&note, &key, &[&witness.key]).await);
    assert!(!witness.accepts(&note, &key, &[&Scribe::new("witness.example/w1").key()]).await);

    // A proof carries what they signed.
    let proved =
        audit(&world, &["prove", id, "--file", "audit/audit.jsonl", "--out", "kept.tlog-proof"]).await;
    assert!(proved.status.success(), "{proved:?}");
    let proof = ["verify", "--proof", "kept.tlog-proof", "--key", key.trim(), "--witness"];
    for (demanded, good) in
        [(&witness.key, true), (&scribe.key(), true), (&Scribe::new("scribe.example").key(), false)]
    {
        let checked = audit(&world, &[&proof[..], &[demanded]].concat()).await;
        assert_eq!(checked.status.success(), good, "{demanded}: {checked:?}");
    }

    // The event log.
    let operator = world.ca.svid("operator/local");
    let note = eventually("a witnessed event log", || async {
        let answer = world.api_as(&operator).get("/v1/log/witnessed/w1").await;
        (answer.status == 200).then(|| String::from_utf8(answer.body.to_vec()).unwrap())
    })
    .await;
    let log: jitgate::tlog::VerifierKey = events.trim().parse().unwrap();
    let signed = jitgate::tlog::Checkpoint::open(&note, &log).unwrap();
    let by: jitgate::tlog::WitnessKey = witness.key.parse().unwrap();
    let (text, signatures) = jitgate::tlog::note::split(&note).unwrap();
    assert!(by.find(text, signatures).unwrap().is_some() && signed.size > 0, "{note}");
    let tile = format!("/v1/log/tile/0/000.p/{}", signed.size);
    let tile = world.api_as(&operator).get(&tile).await;
    assert_eq!((tile.status.as_u16(), tile.body.len() as u64), (200, signed.size * 32), "also an older one");
    assert_eq!(
        world.api_as(&world.agent).get("/v1/log/witnessed").await.status,
        404,
        "an agent learns nothing"
    );

    // It goes away and comes back, as does the proxy: nothing is lost.
    witness.kill().await;
    let before = vouched(&world, "w1");
    requests(&world, 5).await;
    eventually("lag", || async { (metric(&world, "lag_lines", "w1").await >= 5.0).then_some(()) }).await;
    world.proxy().kill();
    copy(&world.path("audit"), &world.path("backup"));
    world.start_proxy().await;
    witness.start().await;
    let size = covered(&world, "w1", 30).await;
    assert!(size > before);
    assert_eq!(metric(&world, "disputes", "w1").await, 0.0);

    // The trail is rolled back to a backup, as by root on that host.
    requests(&world, 10).await;
    let size = covered(&world, "w1", 40).await;
    world.proxy().kill();
    copy(&world.path("audit"), &world.path("evidence"));
    fs::remove_dir_all(world.path("audit")).unwrap();
    copy(&world.path("backup"), &world.path("audit"));
    world.start_proxy().await;
    eventually("an alarm", || async { (metric(&world, "disputes", "w1").await > 0.0).then_some(()) }).await;
    let said = world.log_of_proxy();
    assert!(said.contains("lines were removed, or it was rolled back"), "{said}");
    assert!(vouched(&world, "w1") < size, "it vouches for nothing more");
    eventually("attention", || async {
        let status = world.cli(&["status"]).await;
        let told = status["proxies"][0]["witness_disputed_at"].is_string();
        (told && status["attention"].to_string().contains("external witness")).then_some(())
    })
    .await;

    // Also to whoever checks the trail against what the control plane keeps, although by now that is of the backup.
    let name = world.cli(&["status"]).await["proxies"][0]["name"].as_str().unwrap().to_owned();
    let verified = world
        .try_cli(&["audit", "verify", "--file", "audit/audit.jsonl", "--proxy", &name, "--output", "json"])
        .await;
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!((verified.status.code(), &report["verified"]), (Some(1), &false.into()), "{report}");
    assert!(report["wrong"].to_string().contains("\"witness_disputed\""), "{report}");

    // It is told for good, also when the witness cannot be asked any more and a new process knows nothing of it.
    witness.kill().await;
    world.proxy().terminate();
    world.proxy().ended().await;
    world.start_proxy().await;
    requests(&world, 1).await;
    eventually("failures", || async { (metric(&world, "failures_total", "w1").await > 0.0).then_some(()) })
        .await;
    let status = world.cli(&["status"]).await;
    assert_eq!(
        (metric(&world, "disputes", "w1").await, &status["proxies"][0]["audit"]),
        (0.0, &"good".into())
    );
    assert!(status["attention"].to_string().contains("external witness"), "{status}");
    witness.start().await;

    // It grows beyond what was there, which does not make it the same log.
    while lines(&world) <= size + 1 {
        requests(&world, 5).await;
    }
    world.proxy().terminate();
    world.proxy().ended().await;
    world.start_proxy().await;
    eventually("the alarm about a fork", || async {
        world.log_of_proxy().contains("is not the beginning of this log").then_some(())
    })
    .await;
    assert_eq!(metric(&world, "disputes", "w1").await, 1.0);

    // Whoever kept the checkpoint that was vouched for can show it.
    let kept = "evidence/audit.jsonl.tlog/witnessed/w1";
    let (good, report, _) = verify(&world, &["--witness", &witness.key, "--checkpoint", kept]).await;
    let wrong = report["wrong"].to_string();
    assert!(
        !good && wrong.contains("fork") && wrong.contains("that witness `witness.example/w1` vouches"),
        "{report}"
    );
}

#[tokio::test]
async fn what_a_witness_did_not_sign_for_this_log_is_not_kept() {
    let mut world = Setup::new().prepare().await;
    let scribe = Arc::new(Scribe::new("scribe.example"));
    let https = scribe.serve(&world.ca.server("witness", "127.0.0.1".parse().unwrap())).await;
    // Each under another key, as the configuration demands; only one of them is the scribe's.
    let url = |what: &str| format!("https://{https}/{what}");
    world.append_config(&table("proxy.audit", "behind", &url("behind"), &scribe.key()));
    for what in ["foreign", "unknown", "endless"] {
        let key = Scribe::new("scribe.example").key();
        world.append_config(&table("proxy.audit", what, &url(what), &key));
    }
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    requests(&world, 10).await;
    // It is asked from nothing, says where it is, and is asked from there.
    covered(&world, "behind", 10).await;
    for what in ["foreign", "unknown", "endless"] {
        eventually(what, || async { (metric(&world, "failures_total", what).await > 0.0).then_some(()) })
            .await;
        assert_eq!(vouched(&world, what), 0);
    }
    let said = world.log_of_proxy();
    for part in ["it signed with another key than", "it does not know this log", "its answer is too long"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    // It signs another text, under its own key: what was kept before stays.
    let text = fs::read_to_string(world.path("jitgate.toml")).unwrap();
    fs::write(world.path("jitgate.toml"), text.replace("/behind\"", "/other\"")).unwrap();
    let size = vouched(&world, "behind");
    world.proxy().kill();
    world.start_proxy().await;
    requests(&world, 3).await;
    eventually("a word on it", || async {
        world.log_of_proxy().contains("it signed something else").then_some(())
    })
    .await;
    assert_eq!(vouched(&world, "behind"), size);
    let (good, report, said) = verify(&world, &["--witness", &scribe.key()]).await;
    assert!(good && report["witnesses"][0]["lines"] == size, "{report} {said}");
    // Somebody writes that into the file all the same.
    let file = world.path("audit/audit.jsonl.tlog/witnessed/behind");
    let forged =
        fs::read_to_string(&file).unwrap().replacen(&format!("\n{size}\n"), &format!("\n{}\n", size + 1), 1);
    fs::write(&file, forged).unwrap();
    let (good, _, said) = verify(&world, &["--witness", &scribe.key()]).await;
    assert!(!good && said.contains("fewer than 1 of 1"), "{said}");
}

#[tokio::test]
async fn a_trail_that_is_rewritten_and_signed_for_anew_is_not_proved_line_by_line_either() {
    let mut world = Setup::new().prepare().await;
    let scribe = Arc::new(Scribe::new("scribe.example"));
    let https = scribe.serve(&world.ca.server("witness", "127.0.0.1".parse().unwrap())).await;
    world.append_config(&table("proxy.audit", "w1", &format!("https://{https}/honest"), &scribe.key()));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    requests(&world, 25).await;
    covered(&world, "w1", 25).await;
    world.proxy().terminate();
    world.proxy().ended().await;
    let (folder, size) = (world.path("audit/audit.jsonl.tlog"), vouched(&world, "w1"));
    let (key, witness) = (fs::read_to_string(folder.join("key.pub")).unwrap(), scribe.key());
    fs::copy(folder.join("witnessed/w1"), world.path("kept")).unwrap();
    let alone = ["--key", key.trim(), "--from", "1", "--to", "20"];
    let demanded = [&alone[..], &["--witness", &witness]].concat();
    let kept = [&alone[..], &["--checkpoint", "kept"]].concat();

    // What else lies there does not matter, and is not waited for.
    fs::create_dir(folder.join("witnessed/odd")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("witnessed/pipe")).status().unwrap().success());
    for arguments in [&alone[..], &demanded, &kept, &["--witness", &witness]] {
        let (good, report, said) = verify(&world, arguments).await;
        assert!(good, "{arguments:?} {report} {said}");
    }
    let (_, report, _) = verify(&world, &["--witness", &witness]).await;
    let behind = lines(&world) - size;
    assert_eq!((&report["vouched_lines"], &report["lines_behind_vouched"]), (&size.into(), &behind.into()));
    for wrong in [
        &["--witness", &witness, "--witness-quorum", "2"][..],
        &["--witness", &witness, "--witness", &witness],
    ] {
        let fixed = ["verify", "--file", "audit/audit.jsonl"];
        assert_eq!(audit(&world, &[&fixed[..], wrong].concat()).await.status.code(), Some(2));
    }

    // Root on that host changes a line, has the tree made anew, and the proxy sign for it.
    let trail = world.path("audit/audit.jsonl");
    let text = fs::read_to_string(&trail).unwrap();
    let rewritten = |(number, line): (usize, &str)| {
        if number == 6 { line.replacen("\"status\":200", "\"status\":403", 1) } else { line.to_owned() }
    };
    let changed = text.split_inclusive('\n').enumerate().map(rewritten).collect::<String>();
    assert_ne!(text, changed);
    fs::write(&trail, changed).unwrap();
    fs::remove_dir_all(folder.join("tile")).unwrap();
    fs::remove_file(folder.join("checkpoint")).unwrap();
    let config = fs::read_to_string(world.path("jitgate.toml")).unwrap();
    fs::write(world.path("jitgate.toml"), config.replace("/honest\"", "/unknown\"")).unwrap();
    world.start_proxy().await;
    requests(&world, 5).await;
    eventually("a larger checkpoint", || async {
        let note = fs::read_to_string(folder.join("checkpoint")).ok()?;
        (note.lines().nth(1)?.parse::<u64>().ok()? > size + 4).then_some(())
    })
    .await;
    assert_eq!(fs::read_to_string(folder.join("key.pub")).unwrap(), key);
    assert!(verify(&world, &alone).await.0, "nobody else is asked");
    for (arguments, by) in
        [(&demanded, "that witness `scribe.example` vouches"), (&kept, "checkpoint `kept`")]
    {
        let (good, report, said) = verify(&world, arguments).await;
        let wrong = report["wrong"].to_string();
        assert!(!good && report["verified"] == false, "{report} {said}");
        assert!(wrong.contains("\"fork\"") && wrong.contains(by), "{report} {said}");
    }
}

#[tokio::test]
async fn an_event_log_that_is_rolled_back_is_found_by_its_witness() {
    let mut world = Setup::new().prepare().await;
    let mut witness = Witness::new(&world, "witness").await;
    world.append_config(&table("control", "w1", &witness.url(), &witness.key));
    world.start_control().await;
    let key = world.path("control.events.tlog/0/key.pub");
    witness.knows(&fs::read_to_string(key).unwrap()).await;
    witness.start().await;
    let file = world.path("control.events.tlog/0/witnessed/w1");
    let signed = || fs::read_to_string(&file).ok()?.lines().nth(1)?.parse::<u64>().ok();
    eventually("a witnessed log", || async { signed() }).await;
    // What else lies there spoils nothing of it, and is not waited for.
    let folder = world.path("control.events.tlog/0/witnessed");
    fs::create_dir(folder.join("odd")).unwrap();
    assert!(Command::new("mkfifo").arg(folder.join("pipe")).status().unwrap().success());
    let operator = world.ca.svid("operator/local");
    for (path, status) in
        [("", 200), ("/w1", 200), ("/w2", 404), ("/W.1", 404), ("/odd", 500), ("/pipe", 500)]
    {
        let answer = world.api_as(&operator).get(&format!("/v1/log/witnessed{path}")).await;
        assert_eq!(answer.status, status, "{path}");
        if path.is_empty() {
            let all: Value = serde_json::from_slice(&answer.body).unwrap();
            assert!(all[0]["name"] == "w1" && all[0]["size"].is_u64() && all.get(1).is_none(), "{all}");
        }
    }
    fs::remove_dir(folder.join("odd")).unwrap();
    fs::remove_file(folder.join("pipe")).unwrap();
    world.control().kill();
    fs::create_dir(world.path("backup")).unwrap();
    let parts = |from: &str| {
        let names = fs::read_dir(world.path(from)).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_str().unwrap().starts_with("control.")).collect::<Vec<_>>()
    };
    let saved: Vec<_> = parts("").into_iter().filter(|name| name != "control.log").collect();
    for name in &saved {
        copy(&world.path("").join(name), &world.path("backup"));
    }
    world.start_control().await;
    let granted = ["grant", "--principal", crate::harness::world::AGENT, "--task", "t-1", "--ttl", "10m"];
    let mut last = 0;
    for scope in ["orders:POST:/**", "orders:PUT:/**", "orders:PATCH:/**"] {
        let grant = world.cli(&[&granted[..], &["--scope", scope, "--reason", "a test"]].concat()).await;
        last = grant["revision"].as_u64().unwrap();
    }
    eventually("the later events witnessed", || async { (signed()? >= last).then_some(()) }).await;
    let attention = async |world: &World| world.cli(&["status"]).await["attention"].to_string();
    assert!(!attention(&world).await.contains("witness"));

    // Restored from a backup, and nobody says so.
    world.control().kill();
    for name in &saved {
        let at = world.path("").join(name);
        if at.is_dir() { fs::remove_dir_all(&at).unwrap() } else { fs::remove_file(&at).unwrap() }
    }
    for name in &saved {
        copy(&world.path("backup").join(name), &world.path(""));
    }
    world.start_control().await;
    eventually("attention", || async {
        attention(&world).await.contains("witness `w1` claims that").then_some(())
    })
    .await;
}
