//! A trail whose old files are removed: what goes, what stays, and that the rest can still be proved. The keeper of the files is driven
//! by hand, as the writer is.

use super::super::keeper::Keeper;
use super::super::removal::{self, Policy};
use super::super::verify::{self, Report, Trusted, Wrong};
use super::super::{pack, search, segments};
use super::*;
use crate::config::{RetentionConfig, WhenFull};
use crate::model::AuditHealth;
use crate::notary::Store;
use crate::tlog::Checkpoint;

mod bound;
mod evidence;

const ORIGIN: &str = "jitgate.local/proxy/edge-1/audit";
const DAY: Duration = Duration::from_secs(24 * 3600);
const NOT: &(dyn Fn() -> bool + Sync) = &|| false;

struct Kept {
    world: World,
    keeper: Keeper,
    /// The first line that an export has not confirmed; 0: nothing is exported.
    exported: Arc<AtomicU64>,
}

fn days(keep: u32) -> RetentionConfig {
    RetentionConfig { keep: Some(DAY * keep), ..RetentionConfig::default() }
}

impl Kept {
    fn at(path: PathBuf, retention: RetentionConfig) -> Self {
        Self::followed(path, retention, false)
    }

    fn followed(path: PathBuf, retention: RetentionConfig, followed: bool) -> Self {
        Self::rotated((path, 20_000), retention, followed)
    }

    fn rotated((path, bytes): (PathBuf, u64), retention: RetentionConfig, followed: bool) -> Self {
        let world = World::with(path.clone(), |config| {
            config.rotate_bytes = bytes;
            config.origin = Some(ORIGIN.to_owned());
            config.retention = retention;
        });
        let exported = Arc::new(AtomicU64::new(0));
        let first = Arc::clone(&exported);
        let first = move || Some(first.load(Ordering::Relaxed)).filter(|first| *first > 0);
        let keeper = world.sink.keeper(&path, (retention, Box::new(first), followed));
        Self { world, keeper, exported }
    }

    /// Requests until so many files were rotated.
    fn fill(&mut self, files: usize) {
        let before = self.files();
        while self.files() < before + files {
            self.world.admit().unwrap().finish(End::Complete);
            self.world.tick(60);
        }
        self.world.tick(1_100);
    }

    fn pass(&mut self) {
        self.keeper.pass(self.world.wall, self.world.now, &NOT);
    }

    /// As long as it takes to write a line, sign for it and remove files.
    fn settle(&mut self) {
        for _ in 0..5 {
            self.pass();
            self.world.tick(1_100);
        }
    }

    fn later(&mut self, days: u32) {
        self.world.wall = self.world.wall.plus(DAY * days);
    }

    fn files(&self) -> usize {
        segments::list(&self.world.path).unwrap().len() - 1
    }

    fn first(&self) -> u64 {
        removal::missing(&segments::list(&self.world.path).unwrap()).unwrap() + 1
    }

    fn trusted(&self) -> Trusted {
        let store = Store::of(&self.world.path);
        let key = std::fs::read_to_string(store.key_path()).unwrap().trim().parse().unwrap();
        let checkpoint = Checkpoint::open(&store.checkpoint().unwrap().unwrap(), &key).unwrap();
        Trusted { name: "the checkpoint".to_owned(), checkpoint }
    }

    fn verify(&self) -> Report {
        verify::whole(&self.world.path, &[self.trusted()]).unwrap()
    }

    /// Ends the process and begins another one.
    fn restart(self, retention: RetentionConfig) -> Self {
        let path = self.world.path.clone();
        drop((self.keeper, self.world));
        Self::at(path, retention)
    }
}

#[test]
fn old_files_go_once_a_line_says_so_and_the_rest_is_proved() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, days(7));
    kept.fill(4);
    let early = kept.trusted();
    kept.settle();
    assert_eq!((kept.files(), kept.first()), (4, 1), "nothing is old");

    kept.later(8);
    kept.world.admit().unwrap().finish(End::Complete);
    kept.world.tick(1_100);
    kept.pass();
    kept.world.tick(20);
    kept.pass();
    assert_eq!((kept.files(), kept.first()), (4, 1), "the line is written, but no checkpoint vouches for it");
    kept.settle();
    let first = kept.first();
    assert!(kept.files() == 0 && first > 50, "{first}");

    let report = kept.verify();
    let gone = report.removed.unwrap();
    assert_eq!((report.wrong, gone.to, gone.policy), (Vec::new(), first - 1, Policy::Keep));
    let line = kept_line(&kept, gone.recorded_in);
    conforms(&line);
    assert_eq!(line["removed"], serde_json::json!({"from": 1, "to": gone.to, "files": 4, "policy": "keep"}));
    // A checkpoint over lines that are gone still counts, and so does one that contradicts it.
    let both = |early: Trusted| verify::whole(&kept.world.path, &[kept.trusted(), early]).unwrap();
    assert!(early.checkpoint.size < first);
    assert_eq!(both(early.clone()).wrong, []);
    let mut other = early;
    other.checkpoint.root = crate::tlog::Hash::leaf(b"another");
    let contradicted = both(other);
    assert!(matches!(contradicted.wrong[..], [Wrong::Missing { from: 1, .. }, Wrong::Fork { .. }]));
    assert_eq!(contradicted.removed, None, "and nothing of what it says of removals is believed");
    // Ranges as well: of what is there, of what is gone, and of both.
    for range in [(first, first + 1), (1, 3), (first - 2, first + 1)] {
        let report = verify::range(&kept.world.path, &[kept.trusted()], range).unwrap();
        assert_eq!(report.wrong, [], "{range:?}");
        assert_eq!(report.removed.is_some(), range.0 < first);
    }

    // It goes on after a restart, and again.
    let mut kept = kept.restart(days(7));
    kept.fill(2);
    kept.later(20);
    kept.settle();
    let report = kept.verify();
    assert_eq!((report.wrong, report.removed.unwrap().to), (Vec::new(), kept.first() - 1));
    assert!(kept.first() > first);
    let hits = |world: &World| {
        let mut hits = 0;
        search::search(&world.path, &search::Conditions::default(), search::Order::Newest, 1000, |_| {
            hits += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        hits
    };
    assert_eq!(hits(&kept.world), report.lines);
}

fn kept_line(kept: &Kept, seq: u64) -> Value {
    for segment in segments::list(&kept.world.path).unwrap() {
        let mut lines = segment.open().unwrap();
        while let Some(line) = lines.line().unwrap() {
            if segments::seq(line) == Some(seq) {
                return serde_json::from_slice(line).unwrap();
            }
        }
    }
    panic!("no line {seq}");
}

#[test]
fn what_an_export_or_the_control_plane_has_not_confirmed_stays_whatever_its_age() {
    let (_folder, path) = folder();
    let mut kept = Kept::followed(path, days(1), true);
    kept.exported.store(1, Ordering::Relaxed);
    kept.fill(4);
    kept.later(400);
    kept.settle();
    assert_eq!(kept.first(), 1, "nothing is confirmed");
    kept.world.sink.control_time(kept.world.wall, kept.world.now);
    kept.exported.store(0, Ordering::Relaxed);
    kept.settle();
    assert_eq!(kept.first(), 1, "the control plane has said nothing");
    let ends: Vec<_> =
        segments::list(&kept.world.path).unwrap().iter().filter_map(segments::Segment::last).collect();
    kept.world.sink.acknowledged(ends[2]);
    kept.exported.store(ends[1] + 1, Ordering::Relaxed);
    kept.settle();
    assert_eq!(kept.first(), ends[1] + 1, "up to the slowest");
    kept.exported.store(ends[3] + 1, Ordering::Relaxed);
    kept.settle();
    assert_eq!(kept.first(), ends[2] + 1);
    assert_eq!(kept.verify().wrong, []);
}

#[test]
fn a_request_that_is_open_keeps_its_line_so_that_it_can_be_closed_after_a_crash() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, days(1));
    kept.fill(1);
    let mut open = kept.world.admit().unwrap();
    open.write_admit().unwrap();
    kept.fill(3);
    kept.later(400);
    kept.settle();
    assert_eq!(kept.files(), 3, "the file with the admit line and those behind it");
    // Nobody ends it: the process is gone.
    std::mem::forget(open);
    let mut kept = kept.restart(days(1));
    let closed = |kept: &Kept| {
        let mut count = 0;
        for segment in segments::list(&kept.world.path).unwrap() {
            let mut lines = segment.open().unwrap();
            while let Some(line) = lines.line().unwrap() {
                count += usize::from(memchr::memmem::find(line, b"\"end\":\"unknown\"").is_some());
            }
        }
        count
    };
    assert_eq!(closed(&kept), 1);
    kept.later(400);
    kept.settle();
    kept.world.tick(60);
    kept.settle();
    assert!(kept.files() == 0 && kept.verify().wrong.is_empty(), "{}", kept.files());
}

#[test]
fn a_crash_between_the_line_and_the_removal_or_within_it_is_made_good_by_the_next_process() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, days(7));
    kept.fill(3);
    kept.later(8);
    kept.pass();
    kept.world.tick(1_100);
    let report = kept.verify();
    assert_eq!((report.removed, report.wrong), (None, Vec::new()), "recorded, but nothing is gone");
    // Killed when one of three is gone.
    let oldest = segments::list(&kept.world.path).unwrap()[0].path().to_owned();
    let mut kept = kept.restart(days(7));
    std::fs::remove_file(oldest).unwrap();
    let report = kept.verify();
    assert_eq!((report.wrong, report.removed.unwrap().to), (Vec::new(), kept.first() - 1));
    kept.later(8);
    kept.settle();
    assert!(kept.files() == 0 && kept.verify().wrong.is_empty());
}

#[test]
fn what_somebody_else_removed_is_a_fault_and_is_never_covered_up() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, days(7));
    kept.fill(3);
    let oldest = segments::list(&kept.world.path).unwrap()[0].clone();
    std::fs::remove_file(oldest.path()).unwrap();
    let to = oldest.last().unwrap();
    assert!(matches!(kept.verify().wrong[..], [Wrong::Missing { from: 1, to: last, .. }] if last == to));
    kept.later(8);
    kept.settle();
    assert_eq!(kept.files(), 2, "the keeper touches nothing");
    assert!(matches!(kept.verify().wrong[..], [Wrong::Missing { from: 1, to: last, .. }] if last == to));
    let range = verify::range(&kept.world.path, &[kept.trusted()], (to, to + 1)).unwrap();
    assert!(matches!(range.wrong[..], [Wrong::Missing { .. }]));
}

#[test]
fn a_file_that_was_changed_or_whose_tiles_are_gone_is_evidence_and_stays() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path.clone(), days(7));
    kept.fill(3);
    let files = segments::list(&path).unwrap();
    let text = std::fs::read_to_string(files[1].path()).unwrap();
    std::fs::write(files[1].path(), text.replacen("/v1/orders/42", "/v1/orders/43", 1)).unwrap();
    kept.later(8);
    kept.settle();
    assert_eq!(kept.first(), files[0].last().unwrap() + 1, "that before it goes");
    std::fs::write(files[1].path(), text).unwrap();
    let folder = Store::of(&path).folder().join("tile/0");
    let away = Store::of(&path).folder().join("away");
    std::fs::rename(&folder, &away).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.pass();
    assert_eq!(kept.files(), 2);
    std::fs::remove_dir_all(&folder).ok();
    std::fs::rename(&away, &folder).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert_eq!(kept.files(), 0);
    assert_eq!(kept.verify().wrong, []);
}

#[test]
fn a_line_that_was_changed_together_with_its_tile_is_evidence_and_stays() {
    let (_folder, path) = folder();
    // Its last line is in another tile than its first: the edge of the tree behind it says nothing of the changed one.
    let mut kept = Kept::rotated((path.clone(), 300_000), days(7), false);
    kept.fill(1);
    let file = segments::list(&path).unwrap()[0].clone();
    assert!(file.last().is_some_and(|last| last > 300 && last % 256 > 10));
    let tile = Store::of(&path).folder().join("tile/0/000");
    let text = std::fs::read_to_string(file.path()).unwrap();
    let forged = text.replacen("/v1/orders/42", "/v1/orders/43", 1);
    let hashes = |text: &str| -> Vec<u8> {
        let hashes = text.lines().flat_map(|line| *crate::tlog::Hash::leaf(line.as_bytes()).as_bytes());
        hashes.take(256 * 32).collect()
    };
    assert_eq!(std::fs::read(&tile).unwrap(), hashes(&text));
    std::fs::write(file.path(), &forged).unwrap();
    std::fs::write(&tile, hashes(&forged)).unwrap();
    kept.later(8);
    kept.settle();
    assert_eq!((kept.first(), kept.world.metrics.audit_removal_blocked.get()), (1, 1));
    std::fs::write(file.path(), &text).unwrap();
    std::fs::write(&tile, hashes(&text)).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert_eq!(kept.files(), 0);
}

#[test]
fn compressed_files_go_with_their_indices_and_a_name_is_not_believed_about_its_age() {
    let (folder, path) = folder();
    let mut kept = Kept::at(path.clone(), days(7));
    kept.fill(2);
    pack::pack(&path, &NOT).unwrap();
    // A name says that it is much older than its lines are.
    let file = segments::list(&path).unwrap()[0].path().to_owned();
    let name = file.file_name().unwrap().to_str().unwrap().to_owned();
    let older = format!("audit-20010101T000000Z{}", &name[22..]);
    std::fs::rename(&file, folder.path().join(&older)).unwrap();
    kept.settle();
    assert_eq!(kept.files(), 2);
    kept.later(8);
    kept.settle();
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("audit-") && name.ends_with(".zst"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(kept.verify().wrong, []);
}
