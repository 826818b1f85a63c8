//! Each kind of tampering with a trail, and what is none.

use super::super::proof::Prover;
use super::*;
use crate::tlog::CheckpointError;

const ORIGIN: &str = "jitgate.local/proxy/edge-1/audit";

fn line(seq: u64) -> String {
    format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:00Z\"}}\n")
}

fn lines(from: u64, to: u64) -> String {
    (from..=to).map(line).collect()
}

/// A trail of 700 lines in two files, and its checkpoints at 300 and 700.
struct World {
    folder: tempfile::TempDir,
    trail: PathBuf,
    kept: Vec<Trusted>,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let trail = folder.path().join("audit.jsonl");
    let old = folder.path().join("audit-20261122T100000Z-000000000400.jsonl");
    std::fs::write(&trail, "").unwrap();
    let mut prover = Prover::open(&trail, ORIGIN, 0).unwrap();
    let mut kept = Vec::new();
    for (from, to) in [(1, 300), (301, 700)] {
        prover.add(lines(from, to).as_bytes());
        prover.sign(|| Ok(())).unwrap();
        let latest = prover.latest();
        let checkpoint = Checkpoint::open(&latest.note(), latest.key()).unwrap();
        kept.push(Trusted { name: format!("checkpoint {to}"), checkpoint });
    }
    std::fs::write(&old, lines(1, 400)).unwrap();
    std::fs::write(&trail, lines(401, 700)).unwrap();
    World { folder, trail, kept }
}

impl World {
    fn edit(&self, change: impl FnOnce(String) -> String) {
        let old = self.folder.path().join("audit-20261122T100000Z-000000000400.jsonl");
        std::fs::write(&old, change(std::fs::read_to_string(&old).unwrap())).unwrap();
    }

    fn without_old(&self) {
        let old = self.folder.path().join("audit-20261122T100000Z-000000000400.jsonl");
        std::fs::remove_file(old).unwrap();
    }

    fn wrong(&self) -> Vec<Wrong> {
        whole(&self.trail, &self.kept).unwrap().wrong
    }
}

#[test]
fn a_good_trail_is_good() {
    let world = world();
    let report = whole(&world.trail, &world.kept).unwrap();
    assert_eq!((report.files, report.lines, report.last, report.wrong), (2, 700, 700, Vec::new()));
    let report = range(&world.trail, &world.kept, (395, 405)).unwrap();
    assert_eq!((report.lines, report.wrong), (11, Vec::new()));
}

#[test]
fn each_kind_of_tampering_is_found_and_named() {
    let changed = world();
    changed.edit(|text| text.replacen("\"seq\":77,\"time\":\"2026", "\"seq\":77,\"time\":\"2025", 1));
    assert!(matches!(changed.wrong()[..], [Wrong::Changed { line: 77, .. }]));
    let ranged = range(&changed.trail, &changed.kept, (70, 80)).unwrap().wrong;
    assert!(matches!(ranged[..], [Wrong::Changed { line: 77, .. }]), "{ranged:?}");

    let deleted = world();
    deleted.edit(|text| text.replacen(&lines(9, 11), "", 1));
    assert!(matches!(deleted.wrong()[..], [Wrong::Missing { from: 9, to: 11, .. }]));

    let inserted = world();
    inserted.edit(|text| text.replacen(&line(9), &(line(9) + &line(9)), 1));
    assert!(matches!(inserted.wrong()[..], [Wrong::Order { line: 9, after: 9, .. }]));

    let moved = world();
    moved.edit(|text| text.replacen(&lines(9, 10), &(line(10) + &line(9)), 1));
    assert!(matches!(
        moved.wrong()[..],
        [Wrong::Missing { from: 9, to: 9, .. }, Wrong::Order { line: 9, after: 10, .. }]
    ));

    let truncated = world();
    std::fs::write(&truncated.trail, lines(401, 690)).unwrap();
    assert!(matches!(truncated.wrong()[..], [Wrong::Truncated { last: 690, size: 700, .. }]));

    let tiles = world();
    let tile = Store::of(&tiles.trail).folder().join("tile/0/000");
    let mut content = std::fs::read(&tile).unwrap();
    content[32 * 4] ^= 1;
    std::fs::write(&tile, content).unwrap();
    assert_eq!(tiles.wrong(), [Wrong::Tile { line: 5 }]);
}

#[test]
fn a_trail_with_a_tree_of_its_own_is_found_by_a_checkpoint_that_was_kept() {
    // Everything replaced by another trail, with its tiles and checkpoint.
    let replaced = world();
    let text = lines(1, 700).replacen("\"seq\":77,\"time\":\"2026", "\"seq\":77,\"time\":\"2025", 1);
    replaced.without_old();
    std::fs::remove_dir_all(Store::of(&replaced.trail).folder()).unwrap();
    std::fs::write(&replaced.trail, &text).unwrap();
    let mut forger = Prover::open(&replaced.trail, ORIGIN, 700).unwrap();
    forger.sign(|| Ok(())).unwrap();
    assert!(matches!(replaced.wrong()[..], [Wrong::Fork { size: 300, .. }, Wrong::Fork { size: 700, .. }]));

    // Rolled back to a backup that was good then.
    let back = world();
    back.without_old();
    std::fs::remove_dir_all(Store::of(&back.trail).folder()).unwrap();
    std::fs::write(&back.trail, lines(1, 300)).unwrap();
    Prover::open(&back.trail, ORIGIN, 300).unwrap().sign(|| Ok(())).unwrap();
    assert!(matches!(back.wrong()[..], [Wrong::Truncated { last: 300, size: 700, .. }]));

    // The trail of another proxy: its checkpoint is signed with another key.
    let other = world();
    let note = Store::of(&other.trail).checkpoint().unwrap().unwrap();
    let key = std::fs::read_to_string(Store::of(&back.trail).key_path()).unwrap().trim().parse().unwrap();
    assert!(matches!(Checkpoint::open(&note, &key), Err(CheckpointError::Note(_))));
}

/// Everything is made anew by whoever holds the key: a line is changed, and the tree over `to` lines is signed for.
fn rewritten(to: u64) -> (World, Trusted) {
    let world = world();
    world.without_old();
    std::fs::remove_dir_all(Store::of(&world.trail).folder()).unwrap();
    let text = lines(1, to).replacen("\"seq\":7,\"time\":\"2026", "\"seq\":7,\"time\":\"2025", 1);
    std::fs::write(&world.trail, &text).unwrap();
    let mut forger = Prover::open(&world.trail, ORIGIN, to).unwrap();
    forger.sign(|| Ok(())).unwrap();
    let latest = forger.latest();
    let checkpoint = Checkpoint::open(&latest.note(), latest.key()).unwrap();
    (world, Trusted { name: "the forged one".to_owned(), checkpoint })
}

#[test]
fn a_larger_checkpoint_proves_no_line_unless_it_goes_on_from_the_others() {
    for to in [700, 720] {
        let (world, forged) = rewritten(to);
        // In the order in which the command line has them, and in the other one.
        for trusted in
            [vec![forged.clone(), world.kept[0].clone()], vec![world.kept[0].clone(), forged.clone()]]
        {
            for lines in [(1, 20), (7, 7), (301, 310)] {
                let wrong = range(&world.trail, &trusted, lines).unwrap().wrong;
                assert!(matches!(wrong[..], [Wrong::Fork { size: 300, .. }]), "{lines:?} {wrong:?}");
            }
        }
        let alone = range(&world.trail, std::slice::from_ref(&forged), (1, 20)).unwrap();
        assert_eq!(alone.wrong, [], "nothing else is known of it");
        let size = if to == 700 { 700 } else { 300 };
        let trusted = [forged, world.kept[usize::from(to == 700)].clone()];
        let wrong = range(&world.trail, &trusted, (1, 6)).unwrap().wrong;
        assert!(matches!(&wrong[..], [Wrong::Fork { size: found, .. }, ..] if *found == size), "{wrong:?}");
    }
}

#[test]
fn a_checkpoint_whose_tiles_are_gone_or_damaged_does_not_prove_that_it_goes_on() {
    for damage in [true, false] {
        let world = world();
        let tile = Store::of(&world.trail).folder().join("tile/0/001");
        let mut content = std::fs::read(&tile).unwrap();
        content[32 * 60] ^= 1;
        if damage {
            std::fs::write(&tile, content).unwrap()
        } else {
            std::fs::remove_file(&tile).unwrap()
        }
        let wrong = range(&world.trail, &world.kept, (1, 2)).unwrap().wrong;
        assert_eq!(wrong, [Wrong::Unproved { line: 300 }], "damaged: {damage}");
    }
}
