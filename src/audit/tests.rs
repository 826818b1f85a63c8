//! The trail as a whole: records, sink and writer, on real disks that fill up and go away. The writer is driven by hand, with the time
//! passed in; only the tests of threads start one.

use super::record::{Called, Caller, Draft, End, Handshake, Named, Protocol, Record, TraceId};
use super::sink::{AuditConfig, AuditSink, CloseError, DenialBudget, Target, Unavailable};
use super::writer::{Output, Writer};
use crate::model::{DenyReason, GrantId, RequestId, Revision, Time};
use crate::runtime::clock::{Mono, wall};
use crate::runtime::metrics::Metrics;
use http::Method;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

mod durable;
mod power;
mod retention;
mod unsynced;

const MS: Duration = Duration::from_millis(1);

/// A trail whose writer moves only when told.
struct World {
    sink: Arc<AuditSink>,
    writer: Writer,
    metrics: Arc<Metrics>,
    path: PathBuf,
    now: Mono,
    wall: Time,
    asked: AtomicU64,
}

impl World {
    fn at(path: PathBuf) -> Self {
        Self::with(path, |_| {})
    }

    fn with(path: PathBuf, change: impl FnOnce(&mut AuditConfig)) -> Self {
        let mut config = config(Target::File(path.clone()));
        change(&mut config);
        let metrics = Metrics::new(&[]).unwrap();
        let (now, wall) = (Mono::now(), wall());
        let (sink, writer) = AuditSink::with_writer(config, Arc::clone(&metrics), wall, now).unwrap();
        Self { sink: Arc::new(sink), writer, metrics, path, now, wall, asked: AtomicU64::new(0) }
    }

    /// Time passes, then the writer does what is due.
    fn tick(&mut self, millis: u32) {
        self.now = self.now.plus(MS * millis);
        self.wall = self.wall.plus(MS * millis);
        self.writer.tick(self.wall, self.now);
    }

    fn draft(&self) -> Draft {
        draft(&self.sink, self.asked.fetch_add(1, Ordering::Relaxed))
    }

    fn admit(&self) -> Result<Record, Unavailable> {
        self.draft().admit()
    }

    /// Admits until there is no more room.
    fn admit_all(&self) -> Vec<Record> {
        std::iter::from_fn(|| self.admit().ok()).collect()
    }

    /// Every line of every file, in order, its numbers checked.
    fn lines(&self) -> Vec<Value> {
        lines_of(&self.path)
    }
}

fn config(target: Target) -> AuditConfig {
    AuditConfig::new("edge-1".parse().unwrap(), target)
}

fn caller() -> Arc<Caller> {
    let principal = "spiffe://jitgate.local/agent/demo".parse().unwrap();
    Caller::new(&principal, &[0xab; 32], "198.51.100.7:51234".parse().unwrap())
}

fn id(n: u64) -> RequestId {
    RequestId::from_bits(n.into())
}

fn draft(sink: &Arc<AuditSink>, n: u64) -> Draft {
    let mut draft = Draft::begin(sink, &caller(), id(n), Mono::now());
    draft.head(&Method::GET, "/v1/orders/42", Protocol::Http11);
    draft
}

fn lines_of(path: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    // `audit-…` before `audit.jsonl`, and those by time.
    files.sort();
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    assert!(text.is_empty() || text.ends_with('\n'));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], at as u64 + 1, "numbers have no gaps and no twins");
    }
    lines
}

fn of_kind<'a>(lines: &'a [Value], kind: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

// ---- what a line says ----

/// Checks the part of JSON Schema that our schema uses; anything else in it fails the test.
fn conforms(line: &Value) {
    let schema: Value = serde_json::from_str(include_str!("../../docs/audit-line.schema.json")).unwrap();
    let line = line.as_object().unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for (name, value) in line {
        let rule = properties.get(name).unwrap_or_else(|| panic!("`{name}` is not in the schema"));
        follows(name, value, rule);
    }
    let has = |name: &Value| line.contains_key(name.as_str().unwrap());
    assert!(schema["required"].as_array().unwrap().iter().all(has), "{line:?}");
    let summary = line["kind"] == "summary";
    let ways = schema["then"]["oneOf"].as_array().unwrap().iter();
    let ways = ways.filter(|way| way["required"].as_array().unwrap().iter().all(has));
    assert_eq!(ways.count(), usize::from(summary), "{line:?}");
    let only = schema["else"]["properties"].as_object().unwrap().keys().any(|name| line.contains_key(name));
    assert_eq!(only, summary, "{line:?}");
}

fn follows(name: &str, value: &Value, rule: &Value) {
    for (keyword, wanted) in rule.as_object().unwrap() {
        let good = match keyword.as_str() {
            "description" => true,
            "properties" => {
                for (member, value) in value.as_object().into_iter().flatten() {
                    let rule = wanted
                        .get(member)
                        .unwrap_or_else(|| panic!("`{name}.{member}` is not in the schema"));
                    follows(member, value, rule);
                }
                true
            }
            "required" => value.as_object().is_none_or(|object| {
                wanted.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "type" => {
                let is = match value {
                    Value::Null => "null",
                    Value::String(_) => "string",
                    Value::Number(number) => {
                        if number.is_u64() {
                            "integer"
                        } else {
                            "number"
                        }
                    }
                    Value::Object(_) => "object",
                    Value::Bool(_) | Value::Array(_) => "of another type",
                };
                wanted == is || wanted.as_array().is_some_and(|types| types.contains(&is.into()))
            }
            "minimum" => value.as_u64().is_none_or(|value| value >= wanted.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|value| value <= wanted.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| fits(text, wanted.as_str().unwrap())),
            other => panic!("the test does not know `{other}`"),
        };
        assert!(good, "`{name}`: {value} against {keyword} {wanted}");
    }
}

/// Digits stand for digits, letters for letters of either alphabet; lengths must agree.
fn fits(text: &str, pattern: &str) -> bool {
    let (prefix, class, len) = match pattern {
        "^req_[0-9a-z]{26}$" => ("req_", "0123456789abcdefghjkmnpqrstvwxyz", 26),
        "^gr_[0-9a-z]{26}$" => ("gr_", "0123456789abcdefghjkmnpqrstvwxyz", 26),
        "^[0-9a-f]{32}$" => ("", "0123456789abcdef", 32),
        "^[0-9a-f]{64}$" => ("", "0123456789abcdef", 64),
        _ => return text.parse::<Time>().is_ok_and(|time| time.to_string() == text),
    };
    text.strip_prefix(prefix).is_some_and(|rest| rest.len() == len && rest.chars().all(|c| class.contains(c)))
}

fn full_record(world: &World) -> Record {
    let mut draft = world.draft();
    draft.trace(TraceId([0x5a; 16]));
    draft.head(&Method::POST, "/v1/orders/a\"\u{202e}b", Protocol::Http2);
    draft.service(&"orders".parse().unwrap());
    draft.grant(GrantId::from_bits(7), &"INC-4711".parse().unwrap());
    draft.decided(Revision(88), Duration::from_nanos(131));
    let mut record = draft.admit().unwrap();
    record.status(201);
    record.add_bytes_in(3);
    record.count_bytes_in(Arc::new(AtomicU64::new(4)));
    record.add_bytes_out(9);
    record
}

#[test]
fn an_end_line_says_all_that_is_known() {
    let (_folder, path) = folder();
    let mut world = World::at(path);
    let mut record = full_record(&world);
    record.write_admit().unwrap();
    record.finish(End::Cut("revoked"));
    world.tick(50);
    let lines = world.lines();
    lines.iter().for_each(conforms);
    let mut line = lines[1].clone();
    assert!(line["duration_us"].is_u64() && line["time"].is_string());
    for measured in ["time", "duration_us"] {
        line.as_object_mut().unwrap().remove(measured);
    }
    assert_eq!(
        line,
        serde_json::json!({
            "seq": 2, "kind": "end", "request_id": id(0).to_string(), "trace_id": "5a".repeat(16), "proxy": "edge-1",
            "principal": "spiffe://jitgate.local/agent/demo", "certificate_sha256": "ab".repeat(32),
            "source": "198.51.100.7:51234", "user": null, "service": "orders", "method": "POST", "path": "/v1/orders/a\"\u{202e}b",
            "protocol": "h2", "mcp_method": null, "tool": null, "arguments_sha256": null, "grant": GrantId::from_bits(7).to_string(),
            "task": "INC-4711", "revision": 88, "decision": "permit", "reason": null, "end": "cut", "cause": "revoked",
            "status": 201, "bytes_in": 7, "bytes_out": 9, "decision_ns": 131,
        })
    );
    let admit = &lines[0];
    assert_eq!(
        (&admit["kind"], &admit["end"], &admit["duration_us"]),
        (&"admit".into(), &Value::Null, &Value::Null)
    );
    let text = std::fs::read_to_string(&world.path).unwrap();
    assert!(text.contains(r#""path":"/v1/orders/a\"\u202eb","#), "escaped: {text}");
    assert!(text.starts_with("{\"seq\":1,\"time\":\""), "the order of fields is fixed");
}

#[test]
fn a_call_that_answers_questions_says_so_beside_its_arguments() {
    let (_folder, path) = folder();
    let mut world = World::at(path);
    // In debug builds the queue asserts that no line is longer than what was claimed for it.
    let name = "n".repeat(10_000);
    let called = || Called::new("tools/call", Some(&name), Some(&[0xcd; 32]));
    for called in [called(), called().with_inputs(&[0xef; 32])] {
        let mut draft = world.draft();
        draft.called(called);
        draft.admit().unwrap().finish(End::Complete);
    }
    world.tick(50);
    let lines = world.lines();
    lines.iter().for_each(conforms);
    assert_eq!(lines[0].get("inputs_sha256"), None, "{lines:?}");
    assert_eq!(lines[1]["inputs_sha256"], "ef".repeat(32));
    assert_eq!(lines[0]["arguments_sha256"], lines[1]["arguments_sha256"]);
}

#[test]
fn every_kind_of_line_follows_the_schema() {
    let (_folder, path) = folder();
    let mut world = World::with(path, |config| config.denials = DenialBudget { per_second: 10, burst: 20 });
    full_record(&world).finish(End::UpstreamError("connect"));
    drop(world.admit().unwrap());
    drop(Draft::begin(&world.sink, &caller(), id(5), Mono::now()));
    world.draft().deny(DenyReason::NoGrant, 403, 211);
    full_record(&world).deny(DenyReason::Limit, 429, 5);
    let source = "[2001:db8::1]:443".parse().unwrap();
    for certificate_sha256 in [None, Some([1; 32])] {
        for _ in 0..9 {
            world.sink.handshake(&Handshake { source, reason: "expired", certificate_sha256 });
        }
    }
    world.tick(5_000);
    world.tick(50);
    let lines = world.lines();
    lines.iter().for_each(conforms);
    for kind in ["end", "handshake", "summary"] {
        assert!(!of_kind(&lines, kind).is_empty(), "{kind}");
    }
    assert_eq!(of_kind(&lines, "summary")[0]["source"], "2001:db8::/64");
}

#[test]
fn a_long_path_is_cut_and_what_was_promised_still_suffices() {
    let (_folder, path) = folder();
    let mut world = World::at(path);
    for path in ["/".to_owned() + &"x".repeat(100_000), "/".to_owned() + &"\u{1}".repeat(100_000)] {
        let mut draft = world.draft();
        draft.head(&Method::GET, &path, Protocol::Http2);
        draft.service(&vec!["s".repeat(63); 3].join(".").parse().unwrap());
        draft.user(&Named::new(&"i".repeat(512), &"\u{202e}".repeat(85)));
        draft.grant(GrantId::from_bits(u128::MAX), &"t".repeat(128).parse().unwrap());
        draft.decided(Revision(u64::MAX), Duration::from_nanos(u64::MAX));
        let mut record = draft.admit().unwrap();
        record.status(999);
        record.add_bytes_in(u64::MAX);
        record.add_bytes_out(u64::MAX);
        // In debug builds the queue asserts that no line is longer than what was claimed for it.
        record.finish(End::UpstreamError("a_cause_as_long_as_we_would_ever_name"));
    }
    world.tick(50);
    for line in world.lines() {
        conforms(&line);
        assert!(line["path"].as_str().unwrap().ends_with("…[truncated]"));
        assert_eq!(line["user"]["issuer"].as_str().map(str::len), Some(512));
        assert!(line.to_string().len() < 12_000);
    }
}

// ---- exactly one end line ----

#[derive(Debug, Clone, Copy)]
enum Fate {
    DropBeforeHead,
    DropDraft,
    Deny,
    DropRecord,
    DenyRecord,
    Finish(u8),
    AdmitLineThenDrop,
    AdmitLineThenFinish,
    Panic,
}

fn live(world: &World, n: u64, fate: Fate) -> &'static str {
    let admit = || draft(&world.sink, n).admit().unwrap();
    match fate {
        Fate::DropBeforeHead => {
            drop(Draft::begin(&world.sink, &caller(), id(n), Mono::now()));
            "client_gone"
        }
        Fate::DropDraft => {
            drop(draft(&world.sink, n));
            "client_gone"
        }
        Fate::Deny => {
            draft(&world.sink, n).deny(DenyReason::NoGrant, 403, 1);
            "complete"
        }
        Fate::DropRecord => {
            drop(admit());
            "client_gone"
        }
        Fate::DenyRecord => {
            admit().deny(DenyReason::Limit, 429, 1);
            "complete"
        }
        Fate::Finish(which) => {
            let ends = [
                End::Complete,
                End::Cut("stale"),
                End::ClientGone,
                End::UpstreamError("reset"),
                End::Unknown,
            ];
            let end = ends[usize::from(which) % ends.len()];
            admit().finish(end);
            end.as_str()
        }
        Fate::AdmitLineThenDrop => {
            admit().write_admit().unwrap();
            "client_gone"
        }
        Fate::AdmitLineThenFinish => {
            let mut record = admit();
            record.write_admit().unwrap();
            record.finish(End::Complete);
            "complete"
        }
        Fate::Panic => {
            let record = admit();
            let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let _held = record;
                std::panic::resume_unwind(Box::new("on purpose"));
            }));
            assert!(panicked.is_err());
            "unknown"
        }
    }
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::DropBeforeHead),
        Just(Fate::DropDraft),
        Just(Fate::Deny),
        Just(Fate::DropRecord),
        Just(Fate::DenyRecord),
        (0..5_u8).prop_map(Fate::Finish),
        Just(Fate::AdmitLineThenDrop),
        Just(Fate::AdmitLineThenFinish),
        Just(Fate::Panic),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_request_has_exactly_one_end_line(fates in proptest::collection::vec(any_fate(), 1..40)) {
        let (_folder, path) = folder();
        let mut world = World::with(path, |config| config.rotate_bytes = 4_000);
        let mut ends = BTreeMap::new();
        for (n, fate) in (0_u64..).zip(&fates) {
            ends.insert(id(n).to_string(), live(&world, n, *fate));
            if n % 3 == 0 {
                world.tick(50);
            }
        }
        world.tick(50);
        let lines = world.lines();
        let seen = of_kind(&lines, "end");
        prop_assert_eq!(seen.len(), fates.len());
        for line in seen {
            prop_assert_eq!(&line["end"], ends.remove(line["request_id"].as_str().unwrap()).unwrap());
        }
        prop_assert!(ends.is_empty());
        prop_assert_eq!(world.metrics.audit_lines.end.get(), fates.len() as u64);
        prop_assert_eq!(world.metrics.audit_queue_length.get(), 0);
    }
}

// ---- when it cannot be written ----

/// A file system of its own, so small that it fills up.
struct TinyDisk {
    folder: tempfile::TempDir,
}

impl TinyDisk {
    fn new(kib: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(folder.path())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            let without = std::env::var_os("JITGATE_TESTS_WITHOUT_MOUNTS").is_some();
            assert!(without, "mounting a tmpfs needs root; JITGATE_TESTS_WITHOUT_MOUNTS=1 leaves this out");
            eprintln!("SKIPPED: mounting a tmpfs needs root");
            return None;
        }
        Some(Self { folder })
    }

    fn audit(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// Another program takes all that is left.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.folder.path().join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    fn free(&self) {
        std::fs::remove_file(self.folder.path().join("filler")).unwrap();
    }

    fn remount(&self, how: &str) {
        let status = std::process::Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(self.folder.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[test]
fn on_a_full_disk_the_admitted_are_written_and_others_refused_until_there_is_space() {
    let Some(disk) = TinyDisk::new(1024) else { return };
    let mut world = World::at(disk.audit());
    disk.fill();
    for _ in 0..5 {
        world.tick(300);
    }
    let admitted = world.admit_all();
    assert!(admitted.len() > 100, "what was secured can be promised: {}", admitted.len());
    let refused = 1 + (0..9).filter(|_| world.admit().is_err()).count() as u64;
    assert_eq!((refused, world.sink.is_available()), (10, false));
    let written = admitted.len();
    admitted.into_iter().for_each(|record| record.finish(End::Complete));
    world.tick(300);
    assert_eq!(of_kind(&world.lines(), "end").len(), written, "although the disk is full");

    // A line is shorter than the most it could have been, so some room comes back without any being freed.
    let again = world.admit_all();
    let (more, refused) = (again.len(), refused + 1);
    again.into_iter().for_each(|record| record.finish(End::Complete));
    world.tick(300);
    assert!(of_kind(&world.lines(), "summary").is_empty(), "it is not over");

    disk.free();
    world.tick(300);
    world.tick(50);
    assert!(world.sink.is_available());
    world.admit().unwrap().finish(End::Complete);
    world.tick(2_000);
    world.tick(50);
    let lines = world.lines();
    lines.iter().for_each(conforms);
    assert_eq!(of_kind(&lines, "end").len(), written + more + 1, "nothing lost, nothing twice");
    let summaries = of_kind(&lines, "summary");
    assert_eq!(summaries.len(), 1);
    assert_eq!(
        (&summaries[0]["count"], &summaries[0]["reason"]),
        (&refused.into(), &"audit_unavailable".into())
    );
    assert_eq!(world.metrics.audit_failures.get(), refused);
}

#[test]
fn without_allocation_ahead_a_full_disk_is_noticed_at_writing_and_nothing_is_lost_or_doubled() {
    let Some(disk) = TinyDisk::new(1024) else { return };
    let mut world = World::at(disk.audit());
    world.writer.trail_for_tests().forget_allocation();
    world.tick(50);
    let admitted: Vec<Record> = (0..300).map(|_| world.admit().unwrap()).collect();
    disk.fill();
    admitted.into_iter().for_each(|record| record.finish(End::Complete));
    // Half a page is left at most, so that a write is torn.
    world.tick(50);
    assert!(world.admit().is_err(), "refused while lines wait");
    assert!(world.metrics.audit_queue_length.get() > 0);
    world.tick(300);
    assert!(world.admit().is_err(), "still");
    disk.free();
    world.tick(300);
    world.tick(300);
    world.admit().unwrap().finish(End::Complete);
    world.tick(5_000);
    world.tick(50);
    let lines = world.lines();
    assert_eq!(of_kind(&lines, "end").len(), 301);
    assert_eq!(of_kind(&lines, "summary")[0]["count"], 2);
}

#[test]
fn when_the_folder_goes_requests_are_refused_and_when_it_is_back_nothing_is_missing() {
    let (folder, _) = folder();
    let trail = folder.path().join("trail");
    let mut world = World::at(trail.join("audit.jsonl"));
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
    let open = world.admit().unwrap();
    let away = folder.path().join("away");
    std::fs::rename(&trail, &away).unwrap();
    world.tick(50);
    assert!(world.admit().is_err() && !world.sink.is_available());
    open.finish(End::Complete);
    world.tick(300);
    std::fs::rename(&away, &trail).unwrap();
    world.tick(300);
    world.admit().unwrap().finish(End::Complete);
    world.tick(2_000);
    world.tick(50);
    let lines = world.lines();
    assert_eq!((of_kind(&lines, "end").len(), of_kind(&lines, "summary").len()), (3, 1));
}

#[test]
fn a_folder_made_anew_gets_a_new_file_that_goes_on_counting() {
    let (folder, _) = folder();
    let trail = folder.path().join("trail");
    let mut world = World::at(trail.join("audit.jsonl"));
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
    std::fs::remove_dir_all(&trail).unwrap();
    world.tick(50);
    assert!(world.admit().is_err());
    std::fs::create_dir(&trail).unwrap();
    world.tick(300);
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
    let text = std::fs::read_to_string(&world.path).unwrap();
    assert!(text.starts_with("{\"seq\":2,"), "{text}");
    drop(world);
    let mut world = World::at(trail.join("audit.jsonl"));
    std::fs::remove_file(&world.path).unwrap();
    world.tick(50);
    drop(world);
    let mut world = World::at(trail.join("audit.jsonl"));
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
    let text = std::fs::read_to_string(&world.path).unwrap();
    assert!(!text.contains("\"seq\":1,"), "numbers never begin again: {text}");
}

#[test]
fn a_read_only_disk_is_told_at_start() {
    // Once the file is open the kernel refuses to make the disk read-only, so there is nothing to test later.
    let Some(disk) = TinyDisk::new(2048) else { return };
    let open = || {
        let config = config(Target::File(disk.audit()));
        AuditSink::with_writer(config, Metrics::new(&[]).unwrap(), wall(), Mono::now()).map(|_| ())
    };
    open().unwrap();
    disk.remount("ro");
    let error = open().unwrap_err();
    assert!(error.to_string().contains("audit.jsonl"), "{error}");
    disk.remount("rw");
    open().unwrap();
}

#[test]
fn a_file_that_is_moved_away_is_followed_by_a_new_one_without_gap() {
    let (folder, path) = folder();
    let mut world = World::at(path.clone());
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
    world.admit().unwrap().finish(End::Complete);
    std::fs::rename(&path, folder.path().join("audit-moved.jsonl")).unwrap();
    world.tick(50);
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
    assert_eq!(world.lines().len(), 3);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
    assert!(world.sink.is_available());
}

// ---- rotation and restart ----

#[test]
fn files_are_rotated_by_size_and_by_age_and_numbers_go_on_through_restarts() {
    let (_folder, path) = folder();
    let small = |config: &mut AuditConfig| {
        config.rotate_bytes = 3_000;
        config.rotate_every = Some(Duration::from_secs(3_600));
    };
    let files = || std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    let mut world = World::with(path.clone(), small);
    for _ in 0..20 {
        world.admit().unwrap().finish(End::Complete);
        world.tick(1_000);
    }
    let by_size = files();
    assert!(by_size > 4, "{by_size}");
    world.admit().unwrap().finish(End::Complete);
    world.tick(3_600_000);
    world.tick(3_600_000);
    assert!(files() > by_size);
    for _ in 0..3 {
        let (now, wall) = (world.now, world.wall);
        drop(world);
        world = World::with(path.clone(), small);
        (world.now, world.wall) = (now, wall);
        world.admit().unwrap().finish(End::Complete);
        world.tick(1_000);
    }
    assert_eq!(world.lines().len(), 24);
}

#[test]
fn rotation_keeps_what_was_promised() {
    let Some(disk) = TinyDisk::new(4096) else { return };
    let mut world = World::with(disk.audit(), |config| config.rotate_bytes = 50_000);
    let mut written = 0;
    for _ in 0..12 {
        let admitted: Vec<Record> = (0..100).map_while(|_| world.admit().ok()).collect();
        let later = world.admit();
        written += admitted.len();
        admitted.into_iter().for_each(|record| record.finish(End::Complete));
        world.tick(300);
        if let Ok(record) = later {
            record.finish(End::Complete);
            written += 1;
        }
    }
    disk.fill();
    let admitted = world.admit_all();
    written += admitted.len();
    admitted.into_iter().for_each(|record| record.finish(End::Complete));
    world.tick(11_000);
    world.tick(11_000);
    assert_eq!(of_kind(&world.lines(), "end").len(), written);
}

// ---- floods ----

#[test]
fn a_flood_of_refusals_is_summarised_and_leaves_room_for_permits() {
    let (_folder, path) = folder();
    let mut world = World::at(path);
    let principal = "spiffe://jitgate.local/agent/demo".parse().unwrap();
    let sources: Vec<_> = (1..=30_u8)
        .map(|n| Caller::new(&principal, &[0; 32], format!("203.0.113.{n}:9").parse().unwrap()))
        .collect();
    let total = 60_000_u64;
    for n in 0..total {
        let caller = &sources[n as usize % sources.len()];
        let mut draft = Draft::begin(&world.sink, caller, id(n), Mono::now());
        draft.head(&Method::GET, "/junk", Protocol::Http2);
        draft.deny(DenyReason::NoGrant, 403, 100);
    }
    let permits = 1_000;
    for n in 0..permits {
        draft(&world.sink, total + n).admit().unwrap().finish(End::Complete);
    }
    world.tick(5_000);
    world.tick(50);
    let lines = world.lines();
    let denied =
        lines.iter().filter(|line| line["kind"] == "end" && line["decision"] == "deny").count() as u64;
    let summarised: u64 = of_kind(&lines, "summary").iter().map(|line| line["count"].as_u64().unwrap()).sum();
    assert!((1_000..20_000).contains(&denied), "{denied}");
    assert_eq!(denied + summarised, total, "each is written or counted");
    assert_eq!(of_kind(&lines, "summary").len(), sources.len());
    assert_eq!(lines.iter().filter(|line| line["decision"] == "permit").count() as u64, permits);
}

#[test]
fn refusals_cannot_take_the_last_places() {
    let (_folder, path) = folder();
    let world = World::with(path, |config| config.queue_lines = 100);
    for _ in 0..1_000 {
        world.draft().deny(DenyReason::NoGrant, 403, 1);
    }
    assert_eq!(world.admit_all().len(), 50, "half of the places are for permits alone");
}

#[test]
fn a_full_queue_refuses_and_is_told_of_once() {
    let (_folder, path) = folder();
    let mut world = World::with(path, |config| config.queue_lines = 10);
    let admitted = world.admit_all();
    assert_eq!(admitted.len(), 10);
    for _ in 0..4 {
        assert!(world.admit().is_err());
    }
    drop(admitted);
    world.tick(2_000);
    world.tick(2_000);
    world.tick(50);
    let lines = world.lines();
    assert_eq!(
        of_kind(&lines, "summary").iter().map(|line| line["count"].as_u64().unwrap()).collect::<Vec<_>>(),
        [5]
    );
    assert!(world.admit().is_ok());
}

// ---- threads ----

#[test]
fn many_threads_leave_one_line_for_each_request_in_order() {
    let (_folder, path) = folder();
    let mut config = config(Target::File(path.clone()));
    config.rotate_bytes = 200_000;
    // `lines_of` reads what is plain.
    config.compress = false;
    let sink = AuditSink::open(config, Metrics::new(&[]).unwrap()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let sink = &sink;
            scope.spawn(move || {
                for n in 0..500 {
                    let record = draft(sink, thread * 1_000 + n).admit().unwrap();
                    if n % 2 == 0 { record.finish(End::Complete) } else { drop(record) }
                }
            });
        }
    });
    sink.close(Duration::from_secs(20)).unwrap();
    let lines = lines_of(&path);
    let ids: HashSet<&str> = lines.iter().map(|line| line["request_id"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), ids.len()), (4_000, 4_000));
    assert!(draft(&sink, 1).admit().is_err(), "closed");
}

#[test]
fn closing_waits_for_the_admitted_until_its_deadline() {
    let (_folder, path) = folder();
    let sink = AuditSink::open(config(Target::File(path.clone())), Metrics::new(&[]).unwrap()).unwrap();
    let record = draft(&sink, 1).admit().unwrap();
    assert_eq!(sink.close(Duration::from_millis(5)), Err(CloseError { lines: 0 }));
    drop(record);
    let (_folder, path) = folder();
    let sink = AuditSink::open(config(Target::File(path.clone())), Metrics::new(&[]).unwrap()).unwrap();
    let record = draft(&sink, 1).admit().unwrap();
    std::thread::scope(|scope| {
        let closing = scope.spawn(|| sink.close(Duration::from_secs(20)));
        while sink.is_available() {
            std::thread::yield_now();
        }
        record.finish(End::Complete);
        assert_eq!(closing.join().unwrap(), Ok(()));
    });
    assert_eq!(lines_of(&path).len(), 1);
}

#[test]
fn a_second_process_cannot_write_the_same_trail() {
    let (_folder, path) = folder();
    let metrics = Metrics::new(&[]).unwrap();
    let _first = AuditSink::open(config(Target::File(path.clone())), Arc::clone(&metrics)).unwrap();
    let error = AuditSink::open(config(Target::File(path)), metrics).err().unwrap();
    assert!(error.to_string().contains("another process"), "{error}");
}

#[test]
fn a_stream_gets_the_same_lines_and_a_reader_that_went_away_refuses_requests() {
    let (mut reader, pipe) = std::io::pipe().unwrap();
    let metrics = Metrics::new(&[]).unwrap();
    let now = Mono::now();
    let (sink, mut writer) =
        AuditSink::with_output(&config(Target::Stdout), Output::Stream(pipe.into()), (0, 0), metrics, now)
            .unwrap();
    let sink = Arc::new(sink);
    draft(&sink, 1).admit().unwrap().finish(End::Complete);
    draft(&sink, 2).deny(DenyReason::Expired, 403, 0);
    writer.tick(wall(), now);
    let mut bytes = vec![0; 64 << 10];
    let len = reader.read(&mut bytes).unwrap();
    let text = std::str::from_utf8(&bytes[..len]).unwrap();
    let by_reason: HashMap<String, Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["reason"].to_string(), line["seq"].clone()))
        .collect();
    assert_eq!(by_reason, HashMap::from([("null".into(), 1.into()), ("\"expired\"".into(), 2.into())]));
    drop(reader);
    draft(&sink, 3).admit().unwrap().finish(End::Complete);
    writer.tick(wall(), now.plus(MS * 300));
    assert!(draft(&sink, 4).admit().is_err());
}
