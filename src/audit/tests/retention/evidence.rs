//! What stays although it is old, and what a removal must not take with it.

use super::*;
use crate::notary::Latest;

/// The tiles at the edge of the tree, without those of its beginning.
fn partial_tiles(path: &Path) -> Vec<PathBuf> {
    fn of(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.path().is_dir() {
                of(&entry.path(), found);
            } else if entry.path().to_string_lossy().contains(".p/") {
                found.push(entry.path());
            }
        }
    }
    let mut found = Vec::new();
    of(&Store::of(path).folder().join("tile"), &mut found);
    found
}

#[test]
fn after_a_removal_a_trail_whose_newest_tiles_are_damaged_is_taken_up_again() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path.clone(), days(7));
    kept.fill(4);
    kept.later(8);
    kept.settle();
    let first = kept.first();
    assert!(kept.files() == 0 && !first.is_multiple_of(256), "{first}");
    let tiles = partial_tiles(&path);
    assert!(!tiles.is_empty());
    for tile in &tiles {
        std::fs::write(tile, b"half").unwrap();
    }
    // The tile that holds the last line that is gone as well, if it is full.
    let at = crate::tlog::Tile::holding(0, first - 2, first - 1).unwrap();
    std::fs::write(Store::of(&path).folder().join(at.full_path()), b"half").unwrap();
    let mut kept = kept.restart(days(7));
    assert_eq!(kept.verify().wrong, []);
    kept.fill(2);
    let report = kept.verify();
    assert_eq!((report.wrong, report.removed.unwrap().to), (Vec::new(), first - 1));
    kept.later(20);
    kept.settle();
    assert!(kept.first() > first);
    for tile in partial_tiles(&path) {
        std::fs::remove_file(tile).unwrap();
    }
    assert_eq!(kept.restart(days(7)).verify().wrong, []);
}

#[test]
fn numbers_of_a_trail_that_was_here_before_confirm_nothing() {
    let (_folder, path) = folder();
    let mut kept = Kept::followed(path, days(1), true);
    kept.world.sink.acknowledged(100);
    kept.fill(4);
    assert!(latest(&kept).size() > 100);
    kept.later(400);
    kept.world.sink.control_time(kept.world.wall, kept.world.now);
    kept.settle();
    assert_eq!(kept.first(), 1, "that of the control plane is of another trail");
    kept.exported.store(1_000_001, Ordering::Relaxed);
    kept.world.sink.acknowledged(latest(&kept).size());
    kept.settle();
    assert_eq!(kept.first(), 1, "that of the export is");
    kept.exported.store(0, Ordering::Relaxed);
    kept.settle();
    assert!(kept.first() > 1);
}

fn latest(kept: &Kept) -> Arc<Latest> {
    Arc::clone(kept.world.sink.checkpoint().unwrap())
}

#[test]
fn what_a_witness_disputes_is_evidence_and_stays() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, days(7));
    kept.fill(3);
    latest(&kept).dispute();
    kept.later(8);
    kept.settle();
    assert_eq!((kept.first(), kept.world.metrics.audit_removal_blocked.get()), (1, 1));
    // Whoever starts it anew must not make it forget that.
    let mut kept = kept.restart(days(7));
    kept.settle();
    assert_eq!((kept.first(), latest(&kept).disputes()), (1, 1));
}

#[test]
fn the_alarm_comes_before_refusals_also_when_what_may_go_cannot() {
    let (_folder, path) = folder();
    let config =
        RetentionConfig { keep: None, max_total_bytes: Some(3_000_000), when_full: WhenFull::RemoveOldest };
    let mut kept = Kept::at(path.clone(), config);
    kept.fill(2);
    let oldest = segments::list(&path).unwrap()[0].path().to_owned();
    let text = std::fs::read_to_string(&oldest).unwrap();
    std::fs::write(&oldest, text.replacen("/v1/orders/42", "/v1/orders/43", 1)).unwrap();
    let mut low = false;
    let mut passed = 0;
    while let Ok(record) = kept.world.admit() {
        record.finish(End::Complete);
        kept.world.tick(60);
        passed += 1;
        if passed % 8 == 0 {
            kept.pass();
            low = low || kept.world.sink.health() == AuditHealth::LowSpace;
        }
        assert!(passed < 20_000);
    }
    let metrics = &kept.world.metrics;
    assert_eq!((low, metrics.audit_removal_blocked.get(), metrics.audit_disk_low.get()), (true, 1, 1));
    assert_eq!(kept.first(), 1);
    // It is put right: it goes, and the trail is open again.
    std::fs::write(&oldest, text).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    kept.settle();
    assert!(kept.first() > 1 && kept.world.admit().map(|record| record.finish(End::Complete)).is_ok());
    assert_eq!(kept.world.metrics.audit_removal_blocked.get(), 0);
}

#[test]
fn a_file_that_is_not_the_one_that_was_compared_stays() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path.clone(), days(7));
    kept.fill(2);
    let file = segments::list(&path).unwrap()[0].path().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replacen("/v1/orders/42", "/v1/orders/43", 1);
    kept.later(8);
    kept.pass();
    // It was compared, and its line is on its way.
    std::fs::write(&file, &other).unwrap();
    kept.settle();
    assert!(kept.first() == 1 && file.exists());
    // Another that says that it ends with the same line.
    std::fs::write(&file, &text).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let twin = file.with_file_name(format!("audit-20010101T000000Z{}", &name[22..]));
    std::fs::write(&twin, &other).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert!(file.exists() && twin.exists());
    std::fs::remove_file(twin).unwrap();
    // Both forms are there, and one of them is changed.
    let packed = segments::compressed(&file);
    std::fs::write(&packed, zstd::encode_all(other.as_bytes(), 3).unwrap()).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert!(file.exists() && packed.exists());
    std::fs::remove_file(&packed).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert!(kept.files() == 0 && kept.verify().wrong.is_empty());
    // What somebody put back is not taken for what was removed before.
    std::fs::write(&file, &other).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert!(file.exists());
    std::fs::write(&file, &text).unwrap();
    kept.world.now = kept.world.now.plus(DAY);
    kept.settle();
    assert!(!file.exists());
}

#[test]
fn the_clock_of_the_host_makes_nothing_old_where_a_control_plane_says_what_time_it_is() {
    let (_folder, path) = folder();
    let mut kept = Kept::followed(path, days(7), true);
    kept.fill(3);
    let (real, asked) = (kept.world.wall, kept.world.now);
    kept.world.sink.acknowledged(latest(&kept).size());
    kept.later(8);
    kept.settle();
    assert_eq!(kept.first(), 1, "it has not said so");
    kept.world.sink.control_time(real, asked);
    kept.settle();
    assert_eq!(kept.first(), 1, "nothing is old");
    kept.world.sink.control_time(real.plus(DAY * 8), asked);
    kept.settle();
    assert!(kept.first() > 1);
}

#[test]
fn a_removal_says_for_ever_what_went_before_its_time() {
    let (_folder, path) = folder();
    let config = RetentionConfig {
        keep: Some(DAY * 7),
        max_total_bytes: Some(3_000_000),
        when_full: WhenFull::RemoveOldest,
    };
    let mut kept = Kept::at(path, config);
    while kept.first() == 1 {
        kept.fill(4);
        kept.settle();
    }
    let gone = kept.verify().removed.unwrap();
    let early = gone.early_to.unwrap();
    assert_eq!((gone.policy, early), (Policy::MaxTotalBytes, gone.to));
    let mut kept = kept.restart(config);
    kept.later(8);
    while kept.files() > 0 {
        kept.settle();
    }
    let gone = kept.verify().removed.unwrap();
    assert_eq!((gone.policy, gone.early_to), (Policy::Keep, Some(early)));
    assert!(gone.to > early && gone.to_string().contains("before `keep` had passed"));
    conforms(&kept_line(&kept, gone.recorded_in));
}

#[test]
fn files_that_go_while_a_trail_is_verified_are_no_theft() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path.clone(), days(7));
    kept.fill(3);
    kept.later(8);
    let mut tries = 0;
    let (report, _) = verify::whole_of(&path, || {
        tries += 1;
        let trusted = vec![kept.trusted()];
        // Between the look and the reading.
        kept.settle();
        Ok(trusted)
    })
    .unwrap();
    assert_eq!((report.wrong, tries), (Vec::new(), 2));
    assert!(report.removed.is_some());
}

#[test]
fn closing_does_not_wait_for_ever_for_whoever_keeps_the_files() {
    let (_folder, path) = folder();
    let (go, wait) = std::sync::mpsc::sync_channel::<()>(1);
    let (here, reached) = std::sync::mpsc::sync_channel(1);
    let wait = std::sync::Mutex::new(wait);
    let stuck = move || {
        let _ = here.try_send(());
        let _ = wait.lock().unwrap().recv();
        None
    };
    let metrics = Metrics::new(&[]).unwrap();
    let sink = AuditSink::open_exported(config(Target::File(path)), Box::new(stuck), metrics).unwrap();
    reached.recv().unwrap();
    let (done, closed) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || done.send(sink.close(Duration::from_millis(400))));
    assert_eq!(closed.recv_timeout(Duration::from_secs(60)).unwrap(), Ok(()));
    drop(go);
}

#[test]
fn no_more_goes_at_once_than_is_read_in_reasonable_time() {
    let (_folder, path) = folder();
    let mut kept = Kept::at(path, days(7));
    kept.fill(10);
    kept.later(8);
    kept.pass();
    assert_eq!(kept.files(), 10, "recorded first");
    kept.world.tick(1_100);
    kept.pass();
    assert_eq!(kept.files(), 2);
    kept.settle();
    kept.settle();
    assert!(kept.files() == 0 && kept.verify().wrong.is_empty());
}
