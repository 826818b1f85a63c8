//! What answers mean, what is asked, and what is kept of what was signed.

use super::answer::{Answer, Asked, Dispute, Next};
use super::ask::{body, meaning};
use super::*;
use crate::config::ReceiverTls;
use crate::model::Time;
use crate::notary::{Notary, Store};
use crate::runtime::clock::wall;
use crate::tlog::scribe::Scribe;
use crate::tlog::{Hash, NoteSigner, Tree, note};
use parking_lot::Mutex;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::time::Duration;

const ORIGIN: &str = "jitgate.local/proxy/edge-1/audit";

struct World {
    _folder: tempfile::TempDir,
    notary: Notary,
    witness: Scribe,
    alarms: Arc<Mutex<Vec<String>>>,
    metrics: Arc<Metrics>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = NoteSigner::from_pkcs8(ORIGIN, &NoteSigner::generate().unwrap()).unwrap();
        let store = Store::at(folder.path().to_owned());
        let notary = Notary::new(store, signer, Tree::default(), None);
        let (witness, metrics) = (Scribe::new("witness.example/w1"), Metrics::new(&[]).unwrap());
        Self { _folder: folder, notary, witness, alarms: Arc::default(), metrics }
    }

    /// Adds so many lines and signs for all; the note.
    fn grow(&mut self, lines: u64) -> Arc<str> {
        for line in 0..lines {
            self.notary.push(Hash::leaf(&line.to_be_bytes()));
        }
        self.notary.sign().unwrap();
        self.notary.latest().note()
    }

    fn asker(&self) -> Asker {
        let config = WitnessConfig {
            name: "w1".parse().unwrap(),
            url: "http://127.0.0.1:1".parse().unwrap(),
            key: self.witness.key().parse().unwrap(),
            tls: ReceiverTls::default(),
            timeout: Duration::from_secs(1),
        };
        let alarms = Arc::clone(&self.alarms);
        let alarm: Alarm = Arc::new(move |name, why| alarms.lock().push(format!("{name}: {why}")));
        askers(&[config], "audit", &self.notary.latest(), &self.metrics, &alarm).unwrap().remove(0)
    }

    /// Attempts that failed, and disputes.
    fn counted(&self) -> (u64, i64) {
        let counted = self.metrics.witness("audit", &"w1".parse().unwrap());
        (counted.failures.get(), counted.disputes.get())
    }

    fn kept(&self) -> Option<String> {
        self.notary.store().witnessed_by(&"w1".parse().unwrap()).unwrap()
    }
}

fn text(note: &str) -> &str {
    note::split(note).unwrap().0
}

fn now() -> u64 {
    wall().as_millis() / 1000
}

#[test]
fn a_question_is_what_the_specification_says() {
    let hash = Hash::leaf(b"x");
    assert_eq!(body(0, &[], "note\n"), "old 0\n\nnote\n");
    assert_eq!(body(7, &[hash, hash], "note\n"), format!("old 7\n{hash}\n{hash}\n\nnote\n"));
}

#[test]
fn each_status_has_its_meaning() {
    let none = HeaderMap::new();
    let of = |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
    let meaning = |status: u16, headers: &HeaderMap, text: &str| {
        meaning(StatusCode::from_u16(status).unwrap(), headers, text.to_owned())
    };
    assert_eq!(meaning(200, &none, "— a b\n"), Answer::Signed("— a b\n".into()));
    assert_eq!(meaning(409, &of("text/x.tlog.size"), "17\n"), Answer::Conflict(Some(17)));
    let typed = of("text/x.tlog.size; charset=utf-8");
    assert_eq!(meaning(409, &typed, "0\n"), Answer::Conflict(Some(0)));
    assert_eq!(meaning(409, &none, ""), Answer::Conflict(None));
    for (kind, text) in [
        ("text/plain", "17\n"),
        ("text/x.tlog.size", "017\n"),
        ("text/x.tlog.size", "17"),
        ("text/x.tlog.size", "-1\n"),
    ] {
        assert_eq!(meaning(409, &of(kind), text), Answer::Conflict(None), "{kind} {text}");
    }
    assert_eq!(meaning(422, &none, ""), Answer::Unproved);
    for refused in [201, 204, 301, 400, 401, 403, 404, 410, 413] {
        assert!(matches!(meaning(refused, &none, ""), Answer::Refused(_)), "{refused}");
    }
    for later in [429, 500, 502, 503, 504] {
        assert!(matches!(meaning(later, &none, ""), Answer::Later { after: None, .. }), "{later}");
    }
    let busy = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("7"))]);
    let Answer::Later { after, .. } = meaning(503, &busy, "") else { panic!("not later") };
    assert_eq!(after, Some(Duration::from_secs(7)));
}

#[test]
fn what_contradicts_our_log_is_a_dispute_and_nothing_else_is() {
    let asked = |old, size| Asked { old, size };
    let has = |size| Answer::Conflict(Some(size));
    let rolled = |has, ours| Next::Dispute(Dispute::RolledBack { has, ours });
    assert_eq!(has(11).next(asked(5, 10), 10), rolled(11, 10));
    assert_eq!(has(11).next(asked(0, 10), 10), rolled(11, 10));
    // Somebody else showed it a checkpoint of ours that is newer than the one that was asked about.
    assert_eq!(has(11).next(asked(5, 10), 12), Next::From(11));
    assert_eq!(has(10).next(asked(0, 10), 10), Next::From(10));
    assert_eq!(has(0).next(asked(5, 10), 10), Next::From(0));
    assert_eq!(has(10).next(asked(10, 10), 10), Next::Dispute(Dispute::Forked { size: 10 }));
    assert_eq!(has(9).next(asked(10, 10), 10), Next::From(9), "it has another size");
    assert!(matches!(has(5).next(asked(5, 10), 10), Next::Stuck(_)));
    // Whoever is asked about the size that it has, and owes no proof, can only mean the root.
    assert_eq!(Answer::Conflict(None).next(asked(10, 10), 10), Next::Dispute(Dispute::Forked { size: 10 }));
    assert!(matches!(Answer::Conflict(None).next(asked(5, 10), 10), Next::Stuck(_)));
    assert!(matches!(Answer::Conflict(None).next(asked(0, 10), 10), Next::Stuck(_)));
    assert_eq!(Answer::Unproved.next(asked(5, 10), 10), Next::Dispute(Dispute::Forked { size: 5 }));
    assert!(matches!(Answer::Unproved.next(asked(0, 10), 10), Next::Stuck(_)));
    assert!(matches!(Answer::Refused("no").next(asked(5, 10), 10), Next::Stuck(_)));
}

#[tokio::test]
async fn only_a_cosignature_of_this_witness_over_this_text_is_kept() {
    let mut world = World::new();
    let (before, note) = (world.grow(3), world.grow(4));
    let mut asker = world.asker();
    let (other, time) = (Scribe::new("witness.example/w1"), now());
    for (lines, why) in [
        (String::new(), "nothing"),
        (world.witness.line(text(&before), time), "another checkpoint"),
        (other.line(text(&note), time), "another key"),
        (world.witness.line(text(&note), time + 7_200), "a time to come"),
        (world.witness.line(text(&note), time - 7_200), "a time long ago"),
        (world.witness.line(text(&note), time).replace('A', "B"), "damaged"),
    ] {
        asker.check(&note, 7, &lines, wall()).await;
        assert_eq!(world.kept(), None, "{why}");
        assert_eq!(asker.lag()(), 7, "{why}");
    }
    let line = world.witness.line(text(&note), time);
    asker.check(&note, 7, &format!("— other AAAAAAAA\n{line}"), wall()).await;
    assert_eq!(world.kept(), Some(format!("{note}{line}")), "and nothing of what others signed");
    assert_eq!(asker.lag()(), 0);
    // After a restart it goes on from there.
    world.grow(1);
    assert_eq!(world.asker().lag()(), 1);
    assert!(world.alarms.lock().is_empty());
}

#[tokio::test]
async fn witnesses_of_the_same_checkpoint_are_kept_together() {
    let mut world = World::new();
    let note = world.grow(5);
    let notes = Notes::new(world.notary.store().clone());
    notes.keep(&"a".parse().unwrap(), &note, "— a AAAA").unwrap();
    notes.keep(&"a".parse().unwrap(), &note, "— a AAAB").unwrap();
    notes.keep(&"b".parse().unwrap(), &note, "— b AAAA").unwrap();
    let later = world.grow(1);
    notes.keep(&"a".parse().unwrap(), &later, "— a BBBB").unwrap();
    let kept = world.notary.store().witnessed().unwrap();
    let kept = |name: &str| kept[name].as_deref().unwrap();
    assert_eq!(kept("b"), format!("{note}— a AAAB\n— b AAAA\n"));
    assert_eq!(kept("a"), format!("{later}— a BBBB\n"));
}

#[test]
fn a_proof_that_does_not_hold_is_our_trouble_and_no_dispute() {
    let mut world = World::new();
    world.grow(300);
    let note = world.grow(10);
    let latest = world.notary.latest();
    assert!(latest.proved(300, &note).is_ok());
    let tile = world.notary.store().folder().join("tile/0/000");
    let mut content = std::fs::read(&tile).unwrap();
    content[0] ^= 1;
    std::fs::write(&tile, content).unwrap();
    let partial = world.notary.store().folder().join("tile/1/000.p/1");
    std::fs::remove_file(partial).unwrap();
    assert!(latest.proved(300, &note).is_err());
}

#[test]
fn a_time_is_by_the_clock_of_the_witness() {
    assert!(super::worker::is_near(1_000_000, Time::from_micros(1_000_000_000_000)));
    assert!(!super::worker::is_near(u64::MAX, Time::from_micros(0)));
}

#[tokio::test]
async fn a_log_that_does_not_grow_is_vouched_for_anew_within_the_hour() {
    let mut world = World::new();
    let note = world.grow(3);
    let mut asker = world.asker();
    let line = world.witness.line(text(&note), now());
    asker.check(&note, 3, &line, wall()).await;
    assert!(!asker.is_due(3) && asker.is_due(4));
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    asker.rest().await;
    assert!(asker.is_due(3));
    // `--witness-within 1h` holds at all times, also if some attempts fail.
    assert!(began.elapsed() < Duration::from_secs(45 * 60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_witness_that_has_another_size_each_time_is_asked_more_and_more_slowly() {
    let mut world = World::new();
    world.grow(50);
    let mut asker = world.asker();
    assert_eq!((asker.goes_on_from(5), world.counted().0), (Duration::from_secs(1), 0), "so it is learned");
    let pauses: Vec<_> = (6..16).map(|size| asker.goes_on_from(size)).collect();
    assert_eq!(world.counted().0, 10);
    assert!(pauses[9] >= Duration::from_secs(15), "{pauses:?}");
    // What it had is gone: that is told at once.
    let mut other = world.asker();
    assert_eq!((other.goes_on_from(40), world.counted().0), (Duration::from_secs(1), 10));
    other.goes_on_from(3);
    assert_eq!(world.counted(), (11, 0));
}

#[tokio::test]
async fn a_dispute_ends_with_a_cosignature_alone() {
    let mut world = World::new();
    let note = world.grow(7);
    let mut asker = world.asker();
    let mut size = 7;
    let mut dispute = |asker: &mut Asker| {
        size += 1;
        asker.dispute(&Dispute::RolledBack { has: size, ours: 7 });
    };
    dispute(&mut asker);
    // Nothing of this hides it, or makes it new.
    asker.stuck("something else".to_owned());
    asker.wait("it is away", None);
    asker.goes_on_from(3);
    asker.goes_on_from(1);
    dispute(&mut asker);
    assert_eq!((world.counted().1, world.alarms.lock().len(), world.notary.latest().disputes()), (1, 1, 1));
    asker.check(&note, 7, &world.witness.line(text(&note), now()), wall()).await;
    dispute(&mut asker);
    assert_eq!((world.counted().1, world.alarms.lock().len(), world.notary.latest().disputes()), (2, 2, 2));
}
