//! A disk that loses what it was given: a sync fails, the kernel takes the lines for written all the same, and the next sync works.

use super::*;
use crate::audit::verify::{self, Trusted};
use crate::model::AuditHealth;
use crate::notary::Store;
use crate::tlog::Checkpoint;
use std::io::ErrorKind;

/// A trail with a tree, of one line, under a checkpoint.
fn proved(path: PathBuf) -> World {
    let mut world =
        World::with(path, |config| config.origin = Some("jitgate.local/proxy/edge-1/audit".into()));
    line(&mut world);
    assert_eq!(signed(&world).checkpoint.size, 1);
    world
}

/// One more line is written.
fn line(world: &mut World) {
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
}

fn signed(world: &World) -> Trusted {
    let latest = world.sink.checkpoint().unwrap();
    let checkpoint = Checkpoint::open(&latest.note(), latest.key()).unwrap();
    Trusted { name: "the last".to_owned(), checkpoint }
}

fn is_whole(path: &Path) -> bool {
    std::fs::read(path).unwrap().iter().all(|byte| *byte != 0)
}

#[test]
fn a_checkpoint_vouches_for_no_line_that_a_failed_sync_lost_and_nobody_is_admitted_meanwhile() {
    let (_folder, path) = folder();
    let mut world = proved(path);
    // Several batches, none of them synced.
    line(&mut world);
    line(&mut world);
    world.writer.trail_for_tests().fault = Some(ErrorKind::Other);
    world.tick(1_000);
    assert!(!is_whole(&world.path), "the kernel has forgotten them");
    assert_eq!((world.sink.is_available(), world.sink.health()), (false, AuditHealth::Unwritable));
    assert!(world.admit().is_err());
    world.tick(200);
    world.writer.trail_for_tests().fault = Some(ErrorKind::Other);
    world.tick(50);
    assert!(!world.sink.is_available(), "it fails once more");
    assert_eq!(signed(&world).checkpoint.size, 1);

    world.tick(250);
    assert!(is_whole(&world.path) && world.sink.is_available());
    assert_eq!(world.sink.health(), AuditHealth::Good);
    world.tick(1_000);
    world.tick(1_000);
    let last = world.lines().len() as u64;
    let report = verify::whole(&world.path, &[signed(&world)]).unwrap();
    assert_eq!((signed(&world).checkpoint.size, report.last, report.wrong), (last, last, Vec::new()));
    assert_eq!(of_kind(&world.lines(), "end").len(), 3);
}

#[test]
fn a_durable_line_is_not_promised_before_what_was_lost_before_it_is_there_again() {
    let (_folder, path) = folder();
    // Without a tree nothing but such lines is ever synced.
    let mut world = World::at(path);
    line(&mut world);
    line(&mut world);
    let mut waits = [0, 1].map(|at| {
        world.writer.trail_for_tests().fault = (at == 0).then_some(ErrorKind::Other);
        let mut record = world.admit().unwrap();
        let waits = record.admit_on_disk().unwrap();
        world.tick(300);
        world.tick(300);
        (waits, record)
    });
    assert!(waits[0].0.try_recv().is_err() && waits[1].0.try_recv() == Ok(()));
    assert!(is_whole(&world.path));
}

#[test]
fn at_the_end_nothing_is_signed_that_could_not_be_synced() {
    let (_folder, path) = folder();
    let mut world = proved(path);
    line(&mut world);
    world.writer.trail_for_tests().fault = Some(ErrorKind::Other);
    let World { sink, writer, path, .. } = world;
    let thread = std::thread::spawn(move || writer.run());
    sink.close(Duration::from_secs(10)).unwrap();
    thread.join().unwrap();
    let note = Store::of(&path).checkpoint().unwrap().unwrap();
    assert_eq!((Checkpoint::unverified(&note).unwrap().size, is_whole(&path)), (1, false));
}

#[test]
fn that_no_checkpoint_can_be_written_is_told_before_anybody_is_refused() {
    let (_folder, path) = folder();
    let mut world = proved(path);
    let tiles = Store::of(&world.path).folder().join("tile");
    let away = tiles.with_extension("away");
    std::fs::rename(&tiles, &away).unwrap();
    std::fs::write(&tiles, "no folder").unwrap();
    line(&mut world);
    world.tick(1_000);
    assert_eq!((world.sink.is_available(), world.sink.health()), (true, AuditHealth::LowSpace));
    std::fs::remove_file(&tiles).unwrap();
    std::fs::rename(&away, &tiles).unwrap();
    world.tick(1_000);
    assert_eq!((world.sink.health(), signed(&world).checkpoint.size), (AuditHealth::Good, 2));
}
