//! How much a trail may take.

use super::super::TinyDisk;
use super::*;

fn bounded(bytes: u64, when_full: WhenFull) -> RetentionConfig {
    RetentionConfig { keep: None, max_total_bytes: Some(bytes), when_full }
}

const BOUND: u64 = 3_000_000;

/// What the files of a trail take, as `du` says.
fn taken(path: &Path) -> u64 {
    fn of(folder: &Path) -> u64 {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => of(&entry.path()),
                Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
                Err(_) => 0,
            })
            .sum()
    }
    of(path.parent().unwrap())
}

impl Kept {
    /// Requests until one is refused; how many passed. Never takes more than it may.
    fn until_refused(&mut self) -> usize {
        for passed in 0..20_000 {
            match self.world.admit() {
                Ok(record) => record.finish(End::Complete),
                Err(Unavailable) => return passed,
            }
            self.world.tick(60);
            if passed % 16 == 0 {
                self.pass();
                let taken = taken(&self.world.path);
                assert!(taken <= BOUND, "{taken} {:?}", self.world.sink.disk_for_tests());
            }
        }
        panic!("never refused");
    }
}

#[test]
fn at_its_bound_requests_are_refused_after_an_alarm_and_pass_again_when_something_may_go() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, bounded(BOUND, WhenFull::RemoveOldest));
    kept.exported.store(1, Ordering::Relaxed);
    kept.pass();
    assert_eq!(kept.world.sink.health(), AuditHealth::Good);
    // Each health with the number of requests that had passed when it was first seen.
    let mut seen = vec![AuditHealth::Good];
    let mut passed = 0;
    while let Ok(record) = kept.world.admit() {
        record.finish(End::Complete);
        kept.world.tick(60);
        passed += 1;
        if passed % 8 != 0 {
            continue;
        }
        kept.pass();
        let health = kept.world.sink.health();
        if seen.last() != Some(&health) {
            seen.push(health);
        }
        assert!(taken(&kept.world.path) <= BOUND, "{}", taken(&kept.world.path));
        assert!(passed < 20_000);
    }
    assert!(passed > 1_000, "{passed}");
    assert!(matches!(seen[..], [AuditHealth::Good, AuditHealth::LowSpace, ..]), "{seen:?}");
    let metrics = &kept.world.metrics;
    assert_eq!((metrics.audit_disk_limit_bytes.get(), metrics.audit_disk_low.get()), (BOUND as i64, 1));
    assert!(metrics.audit_disk_bytes.get() as u64 >= BOUND * 8 / 10);
    kept.settle();
    assert!(kept.first() == 1 && kept.world.admit().is_err(), "nothing may go");

    // The export confirms some.
    let some = segments::list(&kept.world.path).unwrap()[14].last().unwrap();
    kept.exported.store(some + 1, Ordering::Relaxed);
    kept.settle();
    assert_eq!(kept.first(), some + 1);
    kept.world.admit().unwrap().finish(End::Complete);
    assert_ne!(kept.world.sink.health(), AuditHealth::Unwritable);
    // And then all: from now on the oldest go, and nobody is refused.
    kept.exported.store(0, Ordering::Relaxed);
    kept.settle();
    kept.settle();
    assert_eq!(kept.world.sink.health(), AuditHealth::Good);
    for number in 0..passed {
        kept.world.admit().unwrap().finish(End::Complete);
        kept.world.tick(60);
        if number % 8 == 0 {
            kept.pass();
            assert!(taken(&kept.world.path) <= BOUND);
        }
    }
    let report = kept.verify();
    assert_eq!((report.wrong, report.removed.unwrap().policy), (Vec::new(), Policy::MaxTotalBytes));
}

#[test]
fn at_its_bound_a_proxy_starts_and_refuses_and_a_larger_bound_or_age_opens_it() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, bounded(BOUND, WhenFull::Refuse));
    kept.until_refused();
    let kept = kept.restart(bounded(BOUND, WhenFull::Refuse));
    let mut kept = kept.restart(RetentionConfig { keep: Some(DAY), ..bounded(BOUND, WhenFull::Refuse) });
    assert!(kept.world.admit().is_err() && !kept.world.sink.is_available());
    for _ in 0..10 {
        kept.world.tick(300);
    }
    assert!(kept.world.admit().is_err() && taken(&kept.world.path) <= BOUND);
    kept.later(2);
    kept.settle();
    assert!(
        kept.first() > 1,
        "what is old goes, although there is hardly any space for the line that says so"
    );
    kept.world.admit().unwrap().finish(End::Complete);
    kept.until_refused();
    let kept = kept.restart(bounded(2 * BOUND, WhenFull::Refuse));
    kept.world.admit().unwrap().finish(End::Complete);
    assert_eq!(kept.verify().wrong, []);
}

#[test]
fn a_full_disk_does_not_prevent_a_start() {
    let Some(disk) = TinyDisk::new(1024) else { return };
    let mut kept = Kept::at(disk.audit(), days(7));
    kept.world.admit().unwrap().finish(End::Complete);
    kept.world.tick(1_100);
    kept.world.writer.trail_for_tests().trim();
    disk.fill();
    let mut kept = kept.restart(days(7));
    assert!(kept.world.admit().is_err() && !kept.world.sink.is_available());
    kept.world.tick(300);
    assert!(kept.world.admit().is_err());
    disk.free();
    kept.world.tick(300);
    kept.world.admit().unwrap().finish(End::Complete);
    kept.world.tick(1_100);
    assert_eq!(kept.verify().wrong, []);
}

#[test]
fn without_a_bound_the_alarm_is_about_the_file_system() {
    let Some(disk) = TinyDisk::new(40 << 10) else { return };
    let mut kept = Kept::at(disk.audit(), RetentionConfig::default());
    kept.pass();
    let metrics = Arc::clone(&kept.world.metrics);
    assert_eq!((metrics.audit_disk_low.get(), kept.world.sink.health()), (0, AuditHealth::Good));
    let filler = std::fs::File::create(disk.audit().with_file_name("filler")).unwrap();
    let (used, all) = crate::audit::disk::file_system(disk.audit().parent().unwrap()).unwrap();
    let more = all * 82 / 100 - used;
    rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, more).unwrap();
    kept.pass();
    assert_eq!((metrics.audit_disk_low.get(), kept.world.sink.health()), (1, AuditHealth::LowSpace));
    assert_eq!(metrics.audit_disk_limit_bytes.get() as u64, all);
    kept.world.admit().unwrap().finish(End::Complete);
    drop(filler);
    disk.free();
    kept.pass();
    assert_eq!((metrics.audit_disk_low.get(), kept.world.sink.health()), (0, AuditHealth::Good));
}

#[test]
fn on_a_full_disk_what_may_go_goes() {
    let Some(disk) = TinyDisk::new(4 << 10) else { return };
    // The bound is beyond the disk; it makes for smaller pieces.
    let mut kept = Kept::at(disk.audit(), RetentionConfig { max_total_bytes: Some(8 << 20), ..days(7) });
    kept.fill(20);
    disk.fill();
    while let Ok(record) = kept.world.admit() {
        record.finish(End::Complete);
        kept.world.tick(300);
    }
    kept.pass();
    assert_eq!(kept.world.sink.health(), AuditHealth::Unwritable);
    kept.later(8);
    for _ in 0..6 {
        kept.pass();
        kept.world.tick(5_000);
    }
    assert!(kept.first() > 1 && kept.files() < 20, "{} {}", kept.first(), kept.files());
    kept.world.admit().unwrap().finish(End::Complete);
    disk.free();
    kept.settle();
    assert_eq!(kept.verify().wrong, []);
}
