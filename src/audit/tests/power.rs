//! A loss of power: what was not synced is gone, in pieces.

use super::*;
use crate::audit::verify::{self, Trusted};
use crate::tlog::Checkpoint;

fn opened(path: &Path, tree: bool) -> World {
    let origin = tree.then(|| "jitgate.local/proxy/edge-1/audit".to_owned());
    World::with(path.to_owned(), |config| config.origin = origin)
}

fn line(world: &mut World) {
    world.admit().unwrap().finish(End::Complete);
    world.tick(50);
}

/// Lines that are on the disk, then some that nobody has waited for, of which `damage` makes what the disk has of them; and a restart.
fn recovered(tree: bool, damage: impl FnOnce(&[&[u8]]) -> Vec<u8>) {
    let (folder, path) = folder();
    let mut world = opened(&path, tree);
    line(&mut world);
    let mut record = world.admit().unwrap();
    let mut waits = record.admit_on_disk().unwrap();
    world.tick(50);
    waits.try_recv().unwrap();
    std::mem::forget(record);
    let synced = std::fs::read(&path).unwrap();
    (0..5).for_each(|_| line(&mut world));
    drop(world);
    let all = std::fs::read(&path).unwrap();
    let lost: Vec<&[u8]> = all[synced.len()..].split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(lost.len(), 5);
    let torn = damage(&lost);
    std::fs::write(&path, [&synced[..], &torn].concat()).unwrap();

    let mut world = opened(&path, tree);
    line(&mut world);
    world.tick(1_000);
    let text = std::fs::read(&path).unwrap();
    assert!(text.starts_with(&synced), "what was promised is there");
    let lines = world.lines();
    assert_eq!((lines.len(), of_kind(&lines, "admit").len()), (4, 1), "and what was open is closed");
    assert_eq!((&lines[2]["end"], &lines[3]["end"]), (&"unknown".into(), &"complete".into()));
    let aside = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let aside: Vec<_> = aside.filter(|path| path.extension().is_some_and(|end| end == "torn")).collect();
    assert!(aside.len() == 1 && std::fs::read(&aside[0]).unwrap() == torn, "nothing is thrown away");
    if let Some(latest) = world.sink.checkpoint() {
        let checkpoint = Checkpoint::open(&latest.note(), latest.key()).unwrap();
        assert_eq!(checkpoint.size, 4);
        let trusted = Trusted { name: "the last".to_owned(), checkpoint };
        assert_eq!(verify::whole(&path, &[trusted]).unwrap().wrong, Vec::new());
    }
}

#[test]
fn a_trail_goes_on_before_a_hole_whatever_stands_behind_it() {
    for tree in [true, false] {
        recovered(tree, |lost| [&vec![0; lost[0].len()], &lost[1..].concat()[..]].concat());
        recovered(tree, |lost| {
            let hole = vec![0; lost[0].len() - 40 + lost[1].len() + lost[2].len() - 40];
            [&lost[0][..40], &hole, &lost[2][lost[2].len() - 40..], lost[3], lost[4]].concat()
        });
    }
}

#[test]
fn a_trail_goes_on_before_any_number_of_zeros() {
    for tree in [true, false] {
        for many in [1, 1 << 20, (5 << 20) + 7] {
            recovered(tree, |_| vec![0; many]);
        }
    }
}
