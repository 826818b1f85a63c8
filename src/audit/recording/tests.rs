//! What is recorded, what is refused instead, and what becomes of it when the disk does not play along.

use super::writer::Writer;
use super::{Recorder, most};
use crate::audit::age;
use crate::audit::clock::Clock;
use crate::audit::record::{Called, Caller, Draft, End, Protocol, Record};
use crate::audit::sink::{AuditConfig, AuditError, AuditSink, Target, Unavailable};
use crate::config::{Pattern, RecipientSource, RecordingConfig};
use crate::model::{AgeIdentity, AuditHealth, Recording, RequestId, Time};
use crate::runtime::clock::{Mono, wall};
use crate::runtime::metrics::Metrics;
use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, HeaderValue, Method, header::CONTENT_TYPE};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

struct World {
    folder: tempfile::TempDir,
    identity: AgeIdentity,
    config: RecordingConfig,
    clock: Arc<Clock>,
    followed: bool,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (identity, recipient) = age::generate().unwrap();
        let directory = folder.path().join("recordings");
        let mut config = RecordingConfig::to(RecipientSource::Key(recipient), directory);
        (config.max_body_bytes, config.max_in_flight) = (1024, 8);
        Self { folder, identity, config, clock: Arc::default(), followed: false }
    }

    fn sink(&self) -> Arc<AuditSink> {
        self.try_sink().unwrap()
    }

    fn try_sink(&self) -> Result<Arc<AuditSink>, AuditError> {
        let target = Target::File(self.trail());
        let recording = Some(self.config.clone());
        let config = AuditConfig { recording, ..AuditConfig::new("edge-1".parse().unwrap(), target) };
        AuditSink::open(config, Metrics::new(&[]).unwrap())
    }

    /// A recorder whose writer moves only when told.
    fn driven(&self) -> (Recorder, Writer) {
        let clock = (Arc::clone(&self.clock), self.followed);
        Recorder::with_writer(&self.config, clock, Metrics::new(&[]).unwrap()).unwrap()
    }

    fn trail(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.trail()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What the file of a line holds; its digest is checked.
    fn open(&self, line: &Value) -> Value {
        let file = std::fs::read(self.config.directory.join(line["recording"].as_str().unwrap())).unwrap();
        let mut sha256 = Vec::new();
        crate::audit::text::hex(&mut sha256, digest(&SHA256, &file).as_ref());
        assert_eq!(line["recording_sha256"].as_str().unwrap().as_bytes(), sha256);
        serde_json::from_slice(&age::open(std::slice::from_ref(&self.identity), &file).unwrap()).unwrap()
    }

    fn files(&self) -> Vec<PathBuf> {
        let days = std::fs::read_dir(&self.config.directory).unwrap().map(|day| day.unwrap().path());
        let files = days.filter(|day| day.is_dir()).flat_map(|day| std::fs::read_dir(day).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }
}

fn draft(sink: &Arc<AuditSink>, n: u64) -> Draft {
    let principal = "spiffe://jitgate.local/agent/demo".parse().unwrap();
    let caller = Caller::new(&principal, &[0xab; 32], "198.51.100.7:51234".parse().unwrap());
    let mut draft = Draft::begin(sink, &caller, RequestId::from_bits(n.into()), Mono::now());
    draft.head(&Method::POST, "/v1/\u{202e}", Protocol::Http11);
    draft
}

fn admit(sink: &Arc<AuditSink>, n: u64, level: Recording) -> Result<Record, Unavailable> {
    let mut draft = draft(sink, n);
    draft.record_at(level)?;
    draft.admit()
}

fn json() -> HeaderMap {
    [(CONTENT_TYPE, HeaderValue::from_static("application/json"))].into_iter().collect()
}

fn speak(record: &mut Record) {
    record.request_head(&json(), Some("a=1&token=hunter2"));
    record.request_tape().unwrap().push(br#"{"password":"hunter2","#);
    record.request_tape().unwrap().push(br#""a":1}"#);
    record.response_head(&json());
    if let Some(tape) = record.response_tape() {
        tape.push(br#"{"ok":true}"#);
    }
    record.status(200);
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Mono::now().plus(SOON);
    while !holds() {
        assert!(Mono::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn both_bodies_are_recorded_without_secrets_and_linked_by_digest() {
    let world = World::new();
    let sink = world.sink();
    let mut full = admit(&sink, 1, Recording::Full).unwrap();
    speak(&mut full);
    full.write_admit().unwrap();
    full.finish(End::Complete);
    let mut arguments = admit(&sink, 2, Recording::Arguments).unwrap();
    speak(&mut arguments);
    drop(arguments);
    sink.close(SOON).unwrap();
    let lines = world.lines();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let line = |kind: &str, id: u64| {
        let id = RequestId::from_bits(id.into()).to_string();
        lines.iter().find(|line| line["kind"] == kind && line["request_id"] == id.as_str()).unwrap()
    };
    let started = line("admit", 1);
    assert_eq!(
        (&started["recording"], &started["recording_sha256"]),
        (&line("end", 1)["recording"], &Value::Null)
    );
    let document = world.open(line("end", 1));
    assert_eq!(document["query"]["text"], "a=1&token=[redacted]");
    assert_eq!(document["request"]["text"], r#"{"password":"[redacted]","a":1}"#);
    assert_eq!(document["response"]["text"], r#"{"ok":true}"#);
    assert_eq!(
        (&document["status"], &document["level"], &document["version"]),
        (&200.into(), &"full".into(), &1.into())
    );
    assert_eq!(document["path"], "/v1/\u{202e}");
    assert!(!document.to_string().contains("hunter2"), "{document}");
    assert_eq!(line("end", 2)["end"], "client_gone");
    let document = world.open(line("end", 2));
    assert_eq!((&document["request"]["redacted"], &document["response"]), (&1.into(), &Value::Null));
    for file in world.files() {
        let metadata = std::fs::metadata(&file).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777, 0o600);
        assert!(!std::fs::read(&file).unwrap().windows(4).any(|part| part == b"true"), "it is encrypted");
    }
}

#[test]
fn calls_are_recorded_by_their_arguments_and_what_they_answer() {
    let world = World::new();
    let sink = world.sink();
    let arguments = serde_json::json!({"server": "srv-7", "api_key": "hunter2"});
    let inputs = serde_json::json!({"pin": {"action": "accept", "content": {"token": "hunter2", "n": 1}}});
    for (n, level, inputs) in [
        (1, Recording::Arguments, None),
        (2, Recording::Arguments, Some(&inputs)),
        (3, Recording::Full, Some(&inputs)),
    ] {
        let mut record = admit(&sink, n, level).unwrap();
        speak(&mut record);
        assert_eq!(record.recording(), level);
        record.call_arguments(&arguments, inputs);
        record.finish(End::Complete);
    }
    sink.close(SOON).unwrap();
    for line in world.lines() {
        let document = world.open(&line);
        assert_eq!(document["arguments"]["text"], r#"{"server":"srv-7","api_key":"[redacted]"}"#);
        assert_eq!(document["request"], Value::Null, "it is the same once more");
        assert!(!document.to_string().contains("hunter2"), "{document}");
        assert_eq!(document["response"].is_null(), document["level"] != "full", "{document}");
        if line["request_id"] == RequestId::from_bits(1).to_string() {
            assert!(document["inputs"].is_null(), "{document}");
        } else {
            let kept = r#"{"pin":{"action":"accept","content":{"token":"[redacted]","n":1}}}"#;
            assert_eq!(document["inputs"]["text"], kept, "{document}");
        }
    }
}

#[test]
fn arguments_and_what_a_call_answers_take_no_more_than_one_body() {
    let world = World::new();
    let sink = world.sink();
    // In JSON each of these takes twice its length.
    let much = |length: usize| serde_json::json!(vec!["\"\\"; length]);
    for (n, arguments, inputs) in [(1, 40, 100_000), (2, 100_000, 40)] {
        let mut record = admit(&sink, n, Recording::Full).unwrap();
        speak(&mut record);
        record.response_tape().unwrap().push("\"".repeat(10_000).as_bytes());
        record.call_arguments(&much(arguments), Some(&much(inputs)));
        record.finish(End::Complete);
    }
    sink.close(SOON).unwrap();
    for (line, cut) in world.lines().iter().zip(["inputs", "arguments"]) {
        let document = world.open(line);
        assert_eq!(document[cut]["truncated"], true, "{document}");
        let bytes = |part: &str| document[part]["text"].to_string().len();
        assert!(bytes("arguments") + bytes("inputs") <= 2 * world.config.max_body_bytes + 8, "{document}");
    }
    for file in world.files() {
        assert!(std::fs::metadata(&file).unwrap().len() <= most(world.config.max_body_bytes));
    }
}

#[test]
fn a_line_says_no_secret_that_is_part_of_a_name() {
    let mut world = World::new();
    let patterns = world.config.redact.patterns.iter().cloned();
    world.config.redact.patterns = patterns.chain(Pattern::new("cust-[0-9]{6}")).collect();
    let sink = world.sink();
    let mut draft = draft(&sink, 1);
    let name = draft.clean_name("crm://cust-123456/notes?token=hunter2");
    draft.called(Called::new("resources/read", Some(&name), None));
    drop(draft);
    sink.close(SOON).unwrap();
    assert_eq!(world.lines()[0]["tool"], "crm://[redacted]/notes?token=[redacted]");
}

#[test]
fn a_request_that_is_not_to_be_recorded_leaves_nothing() {
    let world = World::new();
    let sink = world.sink();
    let record = admit(&sink, 1, Recording::Metadata).unwrap();
    assert!(record.request_tape().is_none() && record.response_tape().is_none());
    record.finish(End::Complete);
    // Refused after all.
    let mut draft = draft(&sink, 2);
    draft.record_at(Recording::Full).unwrap();
    draft.deny(crate::model::DenyReason::Stale, 503, 0);
    sink.close(SOON).unwrap();
    assert!(world.files().is_empty());
    assert!(world.lines().iter().all(|line| line.get("recording").is_none()), "{:?}", world.lines());
}

#[test]
fn what_must_be_recorded_and_cannot_is_refused() {
    let world = World::new();
    let sink = world.sink();
    let open: Vec<Record> = (0..8).map(|n| admit(&sink, n, Recording::Full).unwrap()).collect();
    assert!(admit(&sink, 9, Recording::Full).is_err(), "so many at a time");
    admit(&sink, 10, Recording::Metadata).unwrap().finish(End::Complete);
    drop(open);
    eventually("places are given back", || admit(&sink, 11, Recording::Arguments).is_ok());
    sink.close(SOON).unwrap();

    let target = Target::File(world.folder.path().join("other.jsonl"));
    let config = AuditConfig::new("edge-1".parse().unwrap(), target);
    let sink = AuditSink::open(config, Metrics::new(&[]).unwrap()).unwrap();
    assert!(admit(&sink, 1, Recording::Full).is_err(), "recording is not configured");
    assert!(admit(&sink, 2, Recording::Metadata).is_ok());
}

#[test]
fn bodies_are_kept_up_to_their_bound_and_counted_beyond() {
    let world = World::new();
    let sink = world.sink();
    let mut record = admit(&sink, 1, Recording::Full).unwrap();
    record.request_head(&json(), None);
    record.response_head(&HeaderMap::new());
    let (request, response) = (record.request_tape().unwrap(), record.response_tape().unwrap());
    request.push(b"[1");
    for _ in 0..100_000 {
        request.push(b",\"\\\"\\\"\\\"\\\"\"");
        response.push(&[0xff; 100]);
    }
    record.finish(End::Complete);
    sink.close(SOON).unwrap();
    let line = &world.lines()[0];
    let document = world.open(line);
    assert_eq!(
        (&document["request"]["length"], &document["request"]["truncated"]),
        (&1_100_002.into(), &true.into())
    );
    assert_eq!(document["request"]["recorded"], "text");
    let (recorded, digested) = (&document["response"]["recorded"], &document["response"]["digested"]);
    assert_eq!((recorded, digested), (&"digest".into(), &1024.into()), "{document}");
    let size = std::fs::metadata(&world.files()[0]).unwrap().len();
    assert!(size <= most(world.config.max_body_bytes), "{size}");
}

#[test]
fn a_body_that_did_not_come_to_its_end_may_end_within_a_secret() {
    let world = World::new();
    let sink = world.sink();
    let text: HeaderMap = [(CONTENT_TYPE, HeaderValue::from_static("text/plain"))].into_iter().collect();
    let cases = [
        (End::Cut("revoked"), false, "digest", "digest"),
        (End::Cut("revoked"), true, "text", "digest"),
        (End::ClientGone, true, "text", "digest"),
        (End::UpstreamError("broken"), false, "digest", "digest"),
        // The answer came before all of the request.
        (End::Complete, false, "digest", "text"),
        (End::Complete, true, "text", "text"),
    ];
    for (n, (end, all_sent, ..)) in (0..).zip(cases) {
        let mut record = admit(&sink, n, Recording::Full).unwrap();
        record.request_head(&text, Some("q=1"));
        let request = record.request_tape().unwrap();
        request.push(b"it is sk-abcd");
        if all_sent {
            request.end();
        }
        record.response_head(&text);
        record.response_tape().unwrap().push(b"it is sk-abcd");
        record.finish(end);
    }
    sink.close(SOON).unwrap();
    let lines = world.lines();
    for (n, (end, all_sent, request, response)) in (0_u64..).zip(cases) {
        let id = RequestId::from_bits(n.into()).to_string();
        let document = world.open(lines.iter().find(|line| line["request_id"] == id.as_str()).unwrap());
        let recorded = |side: &str| document[side]["recorded"].as_str().unwrap().to_owned();
        assert_eq!([recorded("request"), recorded("response")], [request, response], "{end:?} {all_sent}");
        assert_eq!(document["query"]["text"], "q=1");
    }
}

#[test]
fn the_total_bound_holds_until_somebody_takes_files_away() {
    let mut world = World::new();
    world.config.max_total_bytes = 2 * most(1024);
    let (recorder, mut writer) = world.driven();
    let claims = (recorder.claim(), recorder.claim());
    assert!(claims.0.is_some() && claims.1.is_some() && recorder.claim().is_none(), "no more than would fit");
    drop(claims);
    let day = world.config.directory.join("2026-11-29");
    std::fs::create_dir(&day).unwrap();
    std::fs::write(day.join("req_a.age"), vec![0; 2 * most(1024) as usize]).unwrap();
    let now = Mono::now().plus(Duration::from_secs(61));
    assert_eq!(recorder.health(), AuditHealth::Good);
    writer.tick(wall(), now);
    assert!(recorder.claim().is_none());
    assert_eq!(recorder.health(), AuditHealth::Unwritable, "somebody has to know");
    std::fs::remove_file(day.join("req_a.age")).unwrap();
    writer.tick(wall(), now.plus(Duration::from_secs(1)));
    assert!(recorder.claim().is_some());
    assert_eq!(recorder.health(), AuditHealth::Good);
}

#[test]
fn from_four_fifths_of_the_total_bound_on_it_is_called_short_until_below_three_quarters() {
    let mut world = World::new();
    world.config.max_total_bytes = 100 << 20;
    let (recorder, mut writer) = world.driven();
    let day = world.config.directory.join("2026-11-29");
    std::fs::create_dir(&day).unwrap();
    let mut now = Mono::now();
    for (mib, health) in [
        (79, AuditHealth::Good),
        (81, AuditHealth::LowSpace),
        (76, AuditHealth::LowSpace),
        (74, AuditHealth::Good),
        (100, AuditHealth::Unwritable),
    ] {
        // Sparse: what counts is what it may be copied to.
        std::fs::File::create(day.join("req_a.age")).unwrap().set_len(mib << 20).unwrap();
        now = now.plus(Duration::from_secs(61));
        writer.tick(wall(), now);
        assert_eq!(recorder.health(), health, "{mib}");
    }
}

#[test]
fn without_its_folder_nothing_is_promised_until_it_is_back() {
    let world = World::new();
    let (recorder, mut writer) = world.driven();
    let now = Mono::now();
    std::fs::remove_dir_all(&world.config.directory).unwrap();
    std::fs::write(&world.config.directory, "in the way").unwrap();
    writer.tick(wall(), now);
    assert!(recorder.claim().is_none());
    assert_eq!(recorder.health(), AuditHealth::Unwritable);
    std::fs::remove_file(&world.config.directory).unwrap();
    writer.tick(wall(), now.plus(Duration::from_millis(250)));
    assert!(recorder.claim().is_some(), "it was made anew");
    assert_eq!(recorder.health(), AuditHealth::Good);
}

#[test]
fn a_recording_that_cannot_be_written_holds_its_line_until_the_end_and_is_told_as_lost() {
    let world = World::new();
    let sink = world.sink();
    let mut record = admit(&sink, 1, Recording::Full).unwrap();
    speak(&mut record);
    std::fs::remove_dir_all(&world.config.directory).unwrap();
    std::fs::write(&world.config.directory, "in the way").unwrap();
    record.finish(End::Complete);
    eventually("refusal", || admit(&sink, 2, Recording::Full).is_err());
    assert!(
        world.lines().iter().all(|line| line["request_id"] != RequestId::from_bits(1).to_string().as_str())
    );
    sink.close(SOON).unwrap();
    let lines = world.lines();
    let line = lines.iter().find(|line| line["end"] == "complete").unwrap();
    assert!(line["recording"].is_string() && line["recording_sha256"].is_null(), "{line}");
}

#[test]
fn what_was_not_finished_goes_at_the_start_and_what_is_old_goes_in_time() {
    let mut world = World::new();
    let day = world.config.directory.join("2026-11-29");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::write(day.join("req_a.age"), "a").unwrap();
    std::fs::write(day.join("req_b.age.partial"), "b").unwrap();
    drop(world.driven());
    assert_eq!(world.files(), [day.join("req_a.age")]);
    world.config.keep = Some(Duration::from_secs(3600));
    let (_recorder, mut writer) = world.driven();
    let later =
        |hours: u32| (wall().plus(Duration::from_secs(3600) * hours), Mono::now().plus(SOON * 60 * hours));
    let tick = |writer: &mut Writer, (wall, now): (Time, Mono)| writer.tick(wall, now);
    assert_eq!(world.files().len(), 1);
    tick(&mut writer, later(2));
    assert!(world.files().is_empty());
}

#[test]
fn what_is_no_recording_is_neither_counted_nor_removed() {
    let mut world = World::new();
    world.config.keep = Some(Duration::from_secs(3600));
    world.config.max_total_bytes = 2 * most(1024);
    let folder = world.config.directory.clone();
    let others = [
        "audit.jsonl",
        "sub/x.jsonl",
        "sub/req_a.age",
        "audit.jsonl.tlog/0.partial",
        "2026-11-29/notes.txt",
        "2026-11-29/x.partial",
        "2026-11-29/kept/req_a.age",
        "2026-11-29T/req_a.age",
    ];
    for other in others {
        let path = folder.join(other);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![0; 2 * most(1024) as usize]).unwrap();
    }
    std::fs::create_dir(folder.join("empty")).unwrap();
    std::os::unix::fs::symlink("notes.txt", folder.join("2026-11-29/req_b.age")).unwrap();
    std::fs::write(folder.join("2026-11-29/req_c.age"), "c").unwrap();
    let (recorder, mut writer) = world.driven();
    writer.tick(wall().plus(Duration::from_secs(7200)), Mono::now().plus(SOON * 60));
    assert!(recorder.claim().is_some(), "they take nothing of the bound, and keep nobody from counting");
    for other in others.into_iter().chain(["2026-11-29/req_b.age"]) {
        assert!(folder.join(other).exists(), "{other}");
    }
    assert!(folder.join("empty").is_dir());
    assert!(!folder.join("2026-11-29/req_c.age").exists(), "it is a recording, and old");
}

#[test]
fn a_clock_of_this_host_that_runs_ahead_makes_no_recording_old() {
    let mut world = World::new();
    world.followed = true;
    world.config.keep = Some(Duration::from_secs(3600));
    let day = world.config.directory.join("2026-11-29");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::write(day.join("req_a.age"), "a").unwrap();
    let (_recorder, mut writer) = world.driven();
    let (real, began) = (wall(), Mono::now());
    let hours = |hours: u32| Duration::from_secs(3600) * hours;
    let mut at = |ahead: u32, minutes: u32| {
        writer.tick(real.plus(hours(ahead)), began.plus(SOON * 6 * minutes));
        world.files().len()
    };
    assert_eq!(at(1_000, 2), 1, "the control plane has not said what time it is");
    world.clock.set(real, began);
    assert_eq!(at(1_000, 4), 1, "it is not that late there");
    world.clock.set(real.plus(hours(2)), began);
    assert_eq!(at(1_000, 6), 0);
}

#[test]
fn a_folder_has_one_writer_and_a_key_is_needed() {
    let mut world = World::new();
    let _held = world.driven();
    assert!(
        matches!(world.try_sink(), Err(AuditError::Recording(error)) if error.to_string().contains("in use"))
    );
    let keys = world.folder.path().join("keys");
    world.config.recipient = RecipientSource::File(keys.clone());
    world.config.directory = world.folder.path().join("more");
    for wrong in [None, Some("# nothing\n"), Some("age1xyz\n")] {
        if let Some(text) = wrong {
            std::fs::write(&keys, text).unwrap();
        }
        let told = world.try_sink().err().unwrap().to_string();
        assert!(told.contains("public key") && told.contains(&keys.display().to_string()), "{told}");
    }
}

#[test]
fn each_recorded_request_has_one_end_line_with_its_own_recording() {
    let mut world = World::new();
    world.config.max_in_flight = 1_000;
    let sink = world.sink();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let sink = &sink;
            scope.spawn(move || {
                for n in 0..50 {
                    let mut record = admit(sink, thread * 1_000 + n, Recording::Full).unwrap();
                    speak(&mut record);
                    if n % 3 == 0 { drop(record) } else { record.finish(End::Complete) }
                }
            });
        }
    });
    sink.close(SOON).unwrap();
    let lines = world.lines();
    assert_eq!((lines.len(), world.files().len()), (200, 200));
    for line in &lines {
        assert_eq!(world.open(line)["request_id"], line["request_id"]);
    }
}

#[test]
fn a_record_that_outlives_the_recorder_still_has_its_line() {
    let world = World::new();
    let sink = world.sink();
    let record = admit(&sink, 1, Recording::Full).unwrap();
    assert!(sink.close(Duration::from_millis(1)).is_err(), "it is still owed");
    record.finish(End::Complete);
    drop(sink);
}

#[test]
fn the_name_of_a_folder_is_not_followed_elsewhere() {
    let world = World::new();
    let elsewhere = world.folder.path().join("elsewhere");
    std::fs::create_dir(&world.config.directory).unwrap();
    std::fs::write(&elsewhere, "x").unwrap();
    std::os::unix::fs::symlink(&elsewhere, world.config.directory.join(".reserve")).unwrap();
    assert!(world.try_sink().is_err());
    assert_eq!(std::fs::read(Path::new(&elsewhere)).unwrap(), b"x");
}
