//! Lines that requests wait for.

use super::*;
use std::io::ErrorKind;
use tokio::sync::oneshot::error::TryRecvError;

#[test]
fn whoever_waits_is_told_when_the_line_is_on_disk_and_one_sync_is_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(folder.path().join("audit.jsonl"));
    let mut records = [world.admit().unwrap(), world.admit().unwrap()];
    let mut waiting = records.each_mut().map(|record| record.admit_on_disk().unwrap());
    assert!(
        waiting.iter_mut().all(|waits| waits.try_recv() == Err(TryRecvError::Empty)),
        "nothing is written"
    );
    world.tick(100);
    assert!(waiting.iter_mut().all(|waits| waits.try_recv() == Ok(())));
    assert_eq!(of_kind(&world.lines(), "admit").len(), 2);
    // A stream that lives for long has its line already.
    records[0].write_admit().unwrap();
    world.writer.trail_for_tests().fault = Some(ErrorKind::StorageFull);
    drop(records);
    world.tick(100);
    assert!(world.writer.trail_for_tests().fault.is_some(), "nobody waited, so nothing was synced");
    let lines = world.lines();
    assert_eq!((of_kind(&lines, "admit").len(), of_kind(&lines, "end").len()), (2, 2));
}

#[test]
fn after_a_sync_for_many_nothing_of_it_is_left_over_and_who_comes_next_is_told_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(folder.path().join("audit.jsonl"));
    let mut records: Vec<_> = (0..20).map(|_| world.admit().unwrap()).collect();
    let (many, few) = records.split_at_mut(18);
    for part in [many, few] {
        let mut waiting: Vec<_> = part.iter_mut().map(|record| record.admit_on_disk().unwrap()).collect();
        world.tick(1);
        assert!(waiting.iter_mut().all(|waits| waits.try_recv() == Ok(())));
        assert_eq!(world.metrics.audit_queue_length.get(), 0);
    }
    assert_eq!(world.metrics.audit_lines.admit.get(), 20);
    drop(records);
    world.tick(1);
    let lines = world.lines();
    assert_eq!((of_kind(&lines, "admit").len(), of_kind(&lines, "end").len()), (20, 20));
}

#[test]
fn a_sync_that_fails_refuses_those_who_wait_and_is_repeated_without_a_gap_or_a_twin() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(folder.path().join("audit.jsonl"));
    let mut record = world.admit().unwrap();
    let mut waits = record.admit_on_disk().unwrap();
    world.writer.trail_for_tests().fault = Some(ErrorKind::Other);
    world.tick(100);
    assert_eq!(waits.try_recv(), Err(TryRecvError::Closed));
    assert!(world.admit().is_err(), "nothing is admitted while it fails");
    record.deny(DenyReason::AuditUnavailable, 503, 0);
    world.tick(300);
    let mut again = world.admit().unwrap();
    let mut waits = again.admit_on_disk().unwrap();
    world.tick(100);
    assert_eq!(waits.try_recv(), Ok(()));
    drop(again);
    world.tick(100);
    let lines = world.lines();
    assert_eq!((of_kind(&lines, "admit").len(), of_kind(&lines, "end").len()), (2, 2));
    assert_eq!(of_kind(&lines, "end")[0]["reason"], "audit_unavailable");
    assert_eq!(world.metrics.audit_queue_length.get(), 0);
}

#[test]
fn whoever_waits_for_a_file_that_was_moved_away_half_written_is_not_let_through_unsynced() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::at(folder.path().join("audit.jsonl"));
    let mut record = world.admit().unwrap();
    let mut waits = record.admit_on_disk().unwrap();
    std::fs::rename(&world.path, folder.path().join("away")).unwrap();
    world.tick(100);
    assert_eq!(waits.try_recv(), Ok(()), "it is in the new file, whole and synced");
    assert_eq!(world.lines().len(), 1);
}

#[test]
fn what_was_open_when_the_process_was_killed_is_closed_at_the_next_start_over_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let mut world = World::with(path.clone(), |config| config.rotate_bytes = 1);
    let (mut open, mut ended) = (world.admit().unwrap(), world.admit().unwrap());
    open.write_admit().unwrap();
    ended.write_admit().unwrap();
    world.tick(100);
    ended.finish(End::Complete);
    // Each tick rotates; the first file holds what is open.
    world.tick(100);
    world.admit().unwrap().finish(End::Complete);
    world.tick(100);
    let seen = world.lines();
    // Killed: nothing of it runs any more.
    std::mem::forget(open);
    drop(world);
    let lines = World::at(path.clone()).lines();
    let [before @ .., end] = lines.as_slice() else { panic!("nothing is left") };
    assert_eq!(before, seen);
    assert_eq!((&end["kind"], &end["end"]), (&"end".into(), &"unknown".into()));
    assert_eq!(end["request_id"], of_kind(&seen, "admit")[0]["request_id"]);
    conforms(end);
    assert_eq!(World::at(path).lines(), lines, "once");
}
