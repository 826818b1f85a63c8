//! The tree beside a trail on a real disk: what it vouches for, and what is not continued.

use super::*;
use crate::notary::Store;
use crate::tlog::{Checkpoint, ProofFile, TileHashes, proof};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

const ORIGIN: &str = "jitgate.local/proxy/edge-1/audit";

fn lines(from: u64, to: u64) -> String {
    (from..=to).map(|seq| format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:00Z\"}}\n")).collect()
}

struct World {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl World {
    /// A trail of `count` lines under a checkpoint.
    fn of(count: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        std::fs::write(&path, "").unwrap();
        let world = Self { _folder: folder, path };
        let mut prover = world.open(0).unwrap();
        prover.sign(|| Ok(())).unwrap();
        world.append(&mut prover, 1, count);
        world
    }

    fn open(&self, last: u64) -> Result<Prover, ProofError> {
        Prover::open(&self.path, ORIGIN, last)
    }

    fn append(&self, prover: &mut Prover, from: u64, to: u64) {
        let text = std::fs::read_to_string(&self.path).unwrap() + &lines(from, to);
        std::fs::write(&self.path, text).unwrap();
        prover.add(lines(from, to).as_bytes());
        prover.sign(|| Ok(())).unwrap();
    }

    fn edit(&self, change: impl FnOnce(String) -> String) {
        std::fs::write(&self.path, change(std::fs::read_to_string(&self.path).unwrap())).unwrap();
    }

    fn checkpoint(&self) -> Checkpoint {
        let store = Store::of(&self.path);
        let key = std::fs::read_to_string(store.key_path()).unwrap().trim().parse().unwrap();
        Checkpoint::open(&store.checkpoint().unwrap().unwrap(), &key).unwrap()
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn each_line_can_be_proved_and_only_the_tiles_of_the_last_checkpoint_are_kept() {
    let world = World::of(100);
    let mut prover = world.open(100).unwrap();
    world.append(&mut prover, 101, 700);
    let checkpoint = world.checkpoint();
    assert_eq!((checkpoint.size, checkpoint.origin.as_str()), (700, ORIGIN));
    let store = Store::of(&world.path);
    let partial = files(store.folder()).into_iter().filter(|path| path.contains(".p/")).count();
    assert_eq!(partial, 2, "tile/0/002.p/188 and tile/1/000.p/2");
    for index in [0, 255, 256, 699] {
        let path = proof::inclusion(&TileHashes::new(&store, 700), index, 700).unwrap().unwrap();
        let file = ProofFile { extra: None, index, path, checkpoint: prover.latest().note().to_string() };
        let line = lines(index + 1, index + 1);
        file.check(line.trim_end().as_bytes(), prover.latest().key()).unwrap();
    }
    let mode = std::fs::metadata(world.path.with_extension("jsonl.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn the_tree_goes_on_over_restarts_and_is_made_anew_from_lines() {
    let world = World::of(300);
    let root = world.checkpoint().root;
    // Lines that no checkpoint vouches for yet, as after a crash.
    world.edit(|text| text + &lines(301, 310));
    let prover = world.open(310).unwrap();
    assert_eq!((prover.notary.tree().size(), prover.is_current()), (310, false));
    std::fs::remove_dir_all(Store::of(&world.path).folder().join("tile")).unwrap();
    let again = world.open(310).unwrap();
    assert_eq!(again.notary.tree().root(), prover.notary.tree().root());
    assert_ne!(again.notary.tree().root(), root);
    // A trail from before there was a tree.
    std::fs::remove_dir_all(Store::of(&world.path).folder()).unwrap();
    assert_eq!(world.open(310).unwrap().notary.tree().root(), prover.notary.tree().root());
    world.edit(|text| text.replacen(&lines(1, 1), "", 1));
    std::fs::remove_dir_all(Store::of(&world.path).folder()).unwrap();
    assert!(matches!(world.open(310), Err(ProofError::Missing { from: 1, to: 1, .. })));
}

#[test]
fn a_trail_that_does_not_fit_its_checkpoint_is_not_continued() {
    let changed = World::of(300);
    changed.edit(|text| text.replacen("\"seq\":77,\"time\":\"2026", "\"seq\":77,\"time\":\"2025", 1));
    assert!(matches!(changed.open(300), Err(ProofError::Changed { seq: 77, .. })));
    std::fs::remove_dir_all(Store::of(&changed.path).folder().join("tile")).unwrap();
    assert!(matches!(changed.open(300), Err(ProofError::Root { size: 300, .. })));

    let truncated = World::of(300);
    truncated.edit(|_| lines(1, 280));
    assert!(matches!(truncated.open(280), Err(ProofError::Missing { from: 281, to: 300, .. })));

    let deleted = World::of(300);
    deleted.edit(|text| text.replacen(&lines(9, 9), "", 1));
    assert!(matches!(deleted.open(300), Err(ProofError::Order { wanted: 9, .. })));

    let swapped = World::of(300);
    let other = World::of(300);
    std::fs::copy(Store::of(&other.path).checkpoint_path(), Store::of(&swapped.path).checkpoint_path())
        .unwrap();
    let refused = swapped.open(300).unwrap_err();
    assert!(matches!(refused, ProofError::Checkpoint { .. }), "{refused}");
    assert!(refused.to_string().contains("jitgate audit verify"));

    let loose = World::of(3);
    let key = loose.path.with_extension("jsonl.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(loose.open(3), Err(ProofError::File(_))));
    std::fs::remove_file(&key).unwrap();
    assert!(matches!(loose.open(3), Err(ProofError::NoKey(_))));
}

#[test]
fn no_checkpoint_without_the_disk_and_none_twice_a_second() {
    let world = World::of(1);
    let mut prover = world.open(1).unwrap();
    let now = Mono::now();
    prover.add(lines(2, 2).as_bytes());
    assert!(prover.tick(now, || Err(io::ErrorKind::Other.into())).is_err(), "the trail cannot be written");
    assert_eq!(world.checkpoint().size, 1, "the line is not on the disk");
    prover.tick(now.plus(Duration::from_millis(999)), || Ok(())).unwrap();
    assert_eq!(world.checkpoint().size, 1);
    prover.tick(now.plus(Duration::from_secs(1)), || Ok(())).unwrap();
    assert_eq!(world.checkpoint().size, 2);
    // The lines are on the disk, the tiles are not: for a while that is only told.
    let (tiles, away) = (Store::of(&world.path).folder().join("tile"), world.path.with_extension("away"));
    std::fs::rename(&tiles, &away).unwrap();
    std::fs::write(&tiles, "no folder").unwrap();
    prover.add(lines(3, 300).as_bytes());
    prover.sign(|| Ok(())).unwrap();
    assert!(prover.is_failing());
    // What cannot be proved for long is not admitted any more.
    prover.add(lines(301, 256 * 1024 + 512).as_bytes());
    assert!(prover.sign(|| Ok(())).is_err());
    std::fs::remove_file(&tiles).unwrap();
    std::fs::rename(&away, &tiles).unwrap();
    prover.sign(|| Ok(())).unwrap();
    assert!(prover.notary.tree().full().is_empty() && !prover.is_failing());
}
