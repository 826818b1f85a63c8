//! The audit trail gets out: to daemons and collectors that we did not write, at least once, whatever happens to them.

use crate::harness::pki::{Authority, Files};
use crate::harness::receivers::{Kind, Receiver, check_ocsf};
use crate::harness::{Protocol, Setup, World, eventually, within};
use jitgate::audit::segments;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const CLIENT: &str = "ca = \"ca.pem\"\ncertificate = \"agent/cert.pem\"\nkey = \"agent/key.pem\"\n";

fn syslog(world: &World) -> String {
    table("siem", "syslog", &format!("url = \"tls://{}:6514\"\n{CLIENT}", world.address))
}

fn over_http(world: &World, kind: &str, path: &str) -> String {
    fs::write(world.path("token"), "Bearer hunter2\n").unwrap();
    fs::set_permissions(world.path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("url = \"https://{}:4318{path}\"\n", world.address);
    table("siem", kind, &format!("{url}{CLIENT}secret_file = \"token\"\n"))
}

fn table(name: &str, kind: &str, rest: &str) -> String {
    format!("[[proxy.audit.export]]\nname = \"{name}\"\nkind = \"{kind}\"\n{rest}")
}

/// Every line of the trail on the disk, byte for byte, over all files.
fn trail(world: &World) -> BTreeMap<u64, String> {
    let mut all = BTreeMap::new();
    for segment in segments::list(&world.path("audit/audit.jsonl")).unwrap() {
        let mut lines = segment.open().unwrap();
        while let Some(line) = lines.line().unwrap() {
            all.insert(segments::seq(line).unwrap(), String::from_utf8(line.to_vec()).unwrap());
        }
    }
    all
}

async fn metric(world: &World, name: &str) -> f64 {
    world.metric(&format!("jitgate_export_{name}{{export=\"siem\",log=\"audit\"}}")).await
}

/// Waits until the receiver has every line of the trail; `text` finds a line in what it wrote.
async fn has_all(world: &World, receiver: &Receiver, text: fn(&Value) -> &str) {
    eventually("every line at the receiver", || async {
        let got = receiver.received();
        let got: BTreeSet<&str> = got.iter().map(text).collect();
        trail(world).values().all(|line| got.contains(line.as_str())).then_some(())
    })
    .await;
}

async fn caught_up(world: &World) {
    eventually("no lag", || async { (metric(world, "lag_lines").await == 0.0).then_some(()) }).await;
}

fn msg(line: &Value) -> &str {
    line["msg"].as_str().unwrap()
}

fn body(line: &Value) -> &str {
    line["body"].as_str().unwrap()
}

fn raw_data(line: &Value) -> &str {
    line["raw_data"].as_str().unwrap()
}

/// Files of the trail that end so.
fn files(world: &World, end: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(world.path("audit")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().ends_with(end)).collect()
}

/// Makes requests until the trail has so many files that end so.
async fn fill(world: &World, end: &str, many: usize) {
    for number in 0..200 {
        let path = format!("/v1/{number}");
        world.client(Protocol::H1).get(&path).await;
        // Files are rotated between batches of lines: each line is one.
        let written = || async { trail(world).values().any(|line| line.contains(&path)).then_some(()) };
        eventually("its line", written).await;
        if files(world, end).len() >= many {
            return;
        }
    }
    panic!("{:?}", files(world, ""));
}

#[tokio::test]
async fn a_syslog_daemon_that_is_killed_again_and_again_misses_no_line() {
    let mut world = Setup::new().prepare().await;
    let mut daemon = Receiver::new(&world, Kind::Syslog, "rsyslog");
    world.append_config(&syslog(&world));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/v1/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    for number in 0..1_500 {
        connection.get(&format!("/v1/{number}")).await;
    }
    connection.get("/secret/a\"b]c").await;
    eventually("lag that shows", || async {
        let (lines, seconds) = (metric(&world, "lag_lines").await, metric(&world, "lag_seconds").await);
        (lines > 1_500.0 && seconds > 0.0 && metric(&world, "failures_total").await > 0.0).then_some(())
    })
    .await;
    for _ in 0..3 {
        let before = daemon.received().len();
        daemon.start().await;
        eventually("some lines", || async { (daemon.received().len() > before).then_some(()) }).await;
        daemon.kill().await;
        for number in 0..50 {
            connection.get(&format!("/v1/later/{number}")).await;
        }
    }
    daemon.start().await;
    has_all(&world, &daemon, msg).await;
    caught_up(&world).await;
    let received = daemon.received();
    let of = |part: &str| received.iter().find(|line| msg(line).contains(part)).unwrap();
    let permitted = of("\"/v1/7\"");
    for (name, value) in [("pri", "110"), ("host", "edge-1"), ("app", "jitgate"), ("msgid", "end")] {
        assert_eq!(permitted[name], value, "{permitted}");
    }
    let line: Value = serde_json::from_str(msg(permitted)).unwrap();
    assert_eq!(permitted["time"], line["time"]);
    let data = permitted["data"].as_str().unwrap();
    for part in [format!("seq=\"{}\"", line["seq"]), "principal=\"spiffe://jitgate.local/agent/demo\"".into()]
    {
        assert!(data.contains(&part), "{part} in {data}");
    }
    assert_eq!(of("/secret/")["pri"], "108");
    assert_eq!(metric(&world, "lost_lines_total").await, 0.0);
}

#[tokio::test]
async fn a_collector_of_opentelemetry_gets_every_line_of_rotated_files_over_restarts_of_both() {
    let mut world = Setup::new().audited("rotate_bytes = 6_000").prepare().await;
    let mut collector = Receiver::new(&world, Kind::Http, "collector");
    world.append_config(&over_http(&world, "otlp", "/v1/logs"));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/v1/**").await;
    // It comes up busy, and asks for time.
    collector.say("answer", "503 1");
    collector.start().await;
    fill(&world, ".zst", 3).await;
    assert_eq!(collector.received().len(), 0);
    collector.say("answer", "");
    has_all(&world, &collector, body).await;
    collector.kill().await;
    for number in 0..40 {
        world.client(Protocol::H1).get(&format!("/v1/down/{number}")).await;
    }
    world.proxy().kill();
    world.start_proxy().await;
    world.client(Protocol::H1).get("/v1/after").await;
    collector.start().await;
    has_all(&world, &collector, body).await;
    caught_up(&world).await;

    let received = collector.received();
    let last = received.iter().find(|line| body(line).contains("/v1/after")).unwrap();
    let line: Value = serde_json::from_str(body(last)).unwrap();
    for (pointer, value) in [
        ("/attributes/jitgate.principal", &line["principal"]),
        ("/attributes/jitgate.status", &json!(200)),
        ("/attributes/log.record.uid", &json!(format!("jitgate.local/proxy/edge-1/audit#{}", line["seq"]))),
        ("/resource/service.name", &json!("jitgate")),
        ("/resource/service.instance.id", &json!("edge-1")),
        ("/event_name", &json!("jitgate.end")),
        ("/severity_text", &json!("INFO")),
        ("/trace_id", &line["trace_id"]),
        ("/authorization", &json!("Bearer hunter2")),
    ] {
        assert_eq!(last.pointer(pointer), Some(value), "{pointer} of {last}");
    }
    let uids: Vec<&Value> = received.iter().map(|line| &line["attributes"]["log.record.uid"]).collect();
    let once: BTreeSet<String> = uids.iter().map(|uid| uid.to_string()).collect();
    assert!(uids.len() < once.len() + 60, "{} lines came {} times", once.len(), uids.len());
    assert!(!world.log_of_proxy().contains("hunter2"));
}

#[tokio::test]
async fn one_line_that_a_collector_refuses_does_not_stop_the_others_and_a_wrong_collector_loses_none() {
    let mut world = Setup::new().prepare().await;
    let mut collector = Receiver::new(&world, Kind::Http, "collector");
    world.append_config(&over_http(&world, "otlp", "/v1/logs"));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/v1/**").await;
    // Refuses whatever comes.
    collector.say("answer", "400");
    collector.start().await;
    for number in 0..10 {
        world.client(Protocol::H1).get(&format!("/v1/{number}")).await;
    }
    eventually("refusals", || async { (metric(&world, "failures_total").await > 3.0).then_some(()) }).await;
    assert_eq!(metric(&world, "refused_lines_total").await, 0.0);
    collector.say("poison", "/v1/poison");
    collector.say("answer", "");
    for path in ["/v1/before", "/v1/poison", "/v1/after"] {
        world.client(Protocol::H1).get(path).await;
    }
    let arrived =
        || async { collector.received().iter().any(|line| body(line).contains("/v1/after")).then_some(()) };
    eventually("the last line", arrived).await;
    caught_up(&world).await;
    let got: BTreeSet<String> =
        collector.received().iter().map(|line| line["body"].as_str().unwrap().to_owned()).collect();
    let missing: Vec<String> = trail(&world).into_values().filter(|line| !got.contains(line)).collect();
    assert!(missing.len() == 1 && missing[0].contains("/v1/poison"), "{missing:?}");
    assert_eq!(metric(&world, "refused_lines_total").await, 1.0);
}

#[tokio::test]
async fn every_event_is_valid_by_the_published_schema_of_ocsf() {
    let mut world = Setup::new().audited("denials = { lines_per_second = 1, burst = 3 }").prepare().await;
    let mut collector = Receiver::new(&world, Kind::Http, "collector");
    world.append_config(&over_http(&world, "ocsf", "/ocsf"));
    world.append_config(&table("agent", "ocsf", "file = \"siem/events.jsonl\"\n"));
    collector.start().await;
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET,POST:/v1/**").await;
    let grant = world.grant("orders:GET:/sse").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    connection.get("/v1/a").await;
    connection.call("POST", "/v1/b", "{}").await;
    connection.get("/v1/status/500").await;
    // Nobody, and more refusals than there is budget for.
    let _refused = world.client_as(None, Protocol::H1).try_connect().await;
    for _ in 0..20 {
        world.client(Protocol::H1).get("/secret").await;
    }
    let mut cut = world.client(Protocol::H1).connect().await;
    let stream = cut.open("/sse").await;
    world.revoke(&grant).await;
    drop(stream);
    world.ends("/sse").await;
    eventually("a summary", || async {
        world.audit().iter().any(|line| line["kind"] == "summary").then_some(())
    })
    .await;
    has_all(&world, &collector, raw_data).await;
    let events = collector.received().into_iter().map(|mut event| {
        event.as_object_mut().unwrap().remove("authorization");
        event
    });
    let events: Vec<Value> = events.collect();
    let (problems, classes) = check_ocsf(&events).await;
    assert!(problems.is_empty(), "{problems:#?}");
    for class in ["6003/1", "6003/2", "6003/99", "3002/1"] {
        assert!(classes[class].as_u64() > Some(0), "{class} in {classes}");
    }
    let revoked = events.iter().find(|event| event["disposition_id"] == 24).expect("what was cut");
    assert_eq!(revoked["authorizations"][0]["policy"]["uid"], grant);
    // The same in the file, in the order of the trail.
    let from_file = eventually("the file", || async {
        let text = fs::read_to_string(world.path("siem/events.jsonl")).ok()?;
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (events.len() >= trail(&world).len()).then_some(events)
    })
    .await;
    let sequence: Vec<u64> =
        from_file.iter().map(|event| event["metadata"]["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequence, trail(&world).into_keys().collect::<Vec<_>>());
    assert!(check_ocsf(&from_file).await.0.is_empty());
}

#[tokio::test]
async fn lines_whose_files_were_removed_are_told_of_and_the_rest_goes_on() {
    let mut world = Setup::new().audited("rotate_bytes = 6_000\ncompress = false").prepare().await;
    let mut collector = Receiver::new(&world, Kind::Http, "collector");
    world.append_config(&over_http(&world, "ocsf", "/ocsf"));
    world.start_control().await;
    world.start_proxy().await;
    fill(&world, ".jsonl", 5).await;
    let mut old = files(&world, ".jsonl");
    old.retain(|path| !path.ends_with("audit.jsonl"));
    old.sort();
    let whole = trail(&world);
    for path in &old[..2] {
        fs::remove_file(path).unwrap();
    }
    collector.start().await;
    has_all(&world, &collector, raw_data).await;
    // A file that was open is read to its end all the same.
    let got = collector.received();
    let got: BTreeSet<&str> = got.iter().map(raw_data).collect();
    let gone = whole.values().filter(|line| !got.contains(line.as_str())).count();
    assert!(gone > 0);
    assert_eq!(metric(&world, "lost_lines_total").await, f64::from(u32::try_from(gone).unwrap()));
    assert!(world.log_of_proxy().contains("lines are gone that were not exported"));
}

#[tokio::test]
async fn nothing_is_sent_to_a_receiver_that_does_not_prove_who_it_is() {
    let mut world = Setup::new().prepare().await;
    let mut daemon = Receiver::new(&world, Kind::Syslog, "rsyslog");
    fs::write(world.path("other.pem"), Authority::new("another CA").pem()).unwrap();
    world.append_config(&syslog(&world).replace("\"ca.pem\"", "\"other.pem\""));
    daemon.start().await;
    world.start_control().await;
    world.start_proxy().await;
    world.client(Protocol::H1).get("/v1/a").await;
    eventually("failures", || async { (metric(&world, "failures_total").await > 1.0).then_some(()) }).await;
    assert!(world.log_of_proxy().contains("is not accepted"), "{}", world.log_of_proxy());
    assert_eq!(daemon.received(), Vec::<Value>::new());
}

#[tokio::test]
async fn without_files_the_same_lines_come_out_of_standard_output() {
    let mut world = Setup::new().prepare().await;
    let config = world.path("jitgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("file = \"audit/audit.jsonl\"", "stdout = true")).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    let grant = world.grant("orders:GET:/v1/**").await;
    for path in ["/v1/a", "/secret"] {
        world.client(Protocol::H1).get(path).await;
    }
    let lines = eventually("two lines", || async {
        let log = world.log_of_proxy();
        let lines = log.lines().filter(|line| line.starts_with("{\"seq\":"));
        let lines: Vec<Value> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        (lines.len() == 2).then_some(lines)
    })
    .await;
    let schema: Value = serde_json::from_str(include_str!("../../docs/audit-line.schema.json")).unwrap();
    for (line, seq, path, decision) in [(&lines[0], 1, "/v1/a", "permit"), (&lines[1], 2, "/secret", "deny")]
    {
        assert_eq!(
            (&line["seq"], &line["path"], &line["decision"]),
            (&json!(seq), &json!(path), &json!(decision))
        );
        for name in schema["required"].as_array().unwrap() {
            assert!(line.get(name.as_str().unwrap()).is_some(), "{name} in {line}");
        }
    }
    assert_eq!(lines[0]["grant"], grant);
    assert!(!world.path("audit").exists(), "no files");
    world.proxy().terminate();
    within("the end", world.proxy().ended()).await;
}

#[tokio::test]
async fn the_life_of_grants_is_exported_by_the_control_plane_as_valid_events_and_over_otlp() {
    let mut world = Setup::new().prepare().await;
    let mut siem = Receiver::new(&world, Kind::Http, "siem");
    let of = |kind: &str, path: &str, name: &str| {
        let table = over_http(&world, kind, path).replace("proxy.audit.export", "control.export");
        table.replace("name = \"siem\"", &format!("name = \"{name}\""))
    };
    world.append_config(&(of("ocsf", "/ocsf", "siem") + &of("otlp", "/v1/logs", "otel")));
    siem.say("answer", "503");
    siem.start().await;
    world.start_control().await;
    world.start_proxy().await;
    let agent = Files { cert: world.path("agent/cert.pem"), key: world.path("agent/key.pem") };
    let ask = async |task: &str| {
        let asked =
            ["request", "--task", task, "--scope", "orders:GET:/v1/a", "--ttl", "5m", "--reason", "look"];
        let output = world.cli_as(&agent, &[&asked[..], &["--output", "json"]].concat()).await;
        let asked: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        asked["id"].as_str().unwrap().to_owned()
    };
    let (wanted, unwanted) = (ask("t-9").await, ask("t-10").await);
    world.cli(&["approve", &wanted, "--reason", "fine"]).await;
    world.cli(&["deny", &unwanted, "--reason", "no \u{202e} way"]).await;
    let grant = world.grant("orders:GET,HEAD:/v1/**").await;
    world.revoke(&grant).await;
    // Whatever was not confirmed is sent by the next process.
    world.control().kill();
    world.start_control().await;
    siem.say("answer", "");
    let has = |kind: &str| {
        let received = siem.received();
        let of_kind = |event: &Value| {
            event["metadata"]["event_code"] == kind || event["event_name"] == format!("jitgate.{kind}")
        };
        let (otlp, ocsf): (Vec<_>, Vec<_>) =
            received.into_iter().filter(of_kind).partition(|event| event["metadata"].is_null());
        (!otlp.is_empty() && !ocsf.is_empty()).then_some((otlp, ocsf))
    };
    for kind in [
        "access_requested",
        "access_approved",
        "access_denied",
        "grants_issued",
        "grants_revoked",
        "proxy_joined",
    ] {
        eventually(kind, || async { has(kind) }).await;
    }
    let (otlp, _) = has("grants_revoked").unwrap();
    let told = &otlp[0];
    for (name, value) in [("grant", json!(grant)), ("reason", json!("a test"))] {
        assert_eq!(told["attributes"][format!("jitgate.{name}")], value, "{told}");
    }
    assert_eq!(told["resource"]["jitgate.log"], "jitgate.local/control/local/events/0");
    let logged: Value = serde_json::from_str(body(told)).unwrap();
    assert_eq!(logged["body"]["kind"], "grants_revoked");

    let ocsf = siem.received().into_iter().filter(|event| !event["metadata"].is_null());
    let events: Vec<Value> = ocsf
        .map(|mut event| {
            event.as_object_mut().unwrap().remove("authorization");
            event
        })
        .collect();
    let (problems, classes) = check_ocsf(&events).await;
    assert!(problems.is_empty(), "{problems:#?}");
    for class in ["3003/1", "3004/1", "3004/3", "3004/6", "3004/10", "3004/11"] {
        assert!(classes[class].as_u64() > Some(0), "{class} in {classes}");
    }
    let of_grant = |class: u64, activity: u64| {
        let found = events.iter().find(|event| {
            event["class_uid"] == class
                && event["activity_id"] == activity
                && (event["entity"]["uid"] == grant || event["session"]["uid"] == grant)
        });
        found.unwrap_or_else(|| panic!("{class}/{activity} of {grant}")).clone()
    };
    let session = of_grant(3003, 1);
    assert_eq!(session["user"]["uid"], "spiffe://jitgate.local/agent/demo");
    assert_eq!(session["privileges"], json!(["orders:GET,HEAD:/v1/**"]));
    assert_eq!(of_grant(3004, 10)["actor"]["user"]["uid"], "spiffe://jitgate.local/operator/local");
    let ended = of_grant(3004, 11);
    assert_eq!((&ended["disposition_id"], &ended["comment"]), (&json!(24), &json!("a test")));
    let uids: BTreeSet<String> = events.iter().map(|event| event["metadata"]["uid"].to_string()).collect();
    let bodies: BTreeSet<String> = events.iter().map(Value::to_string).collect();
    assert_eq!(uids.len(), bodies.len(), "an id for each event, the same each time");
}
