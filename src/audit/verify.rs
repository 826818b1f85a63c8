//! Whether a trail is the one that was written: all its lines against checkpoints, and if not, which of them are wrong.
//!
//! Reads every segment once and parses no more of a line than its number. What the tiles say is not believed: the lines themselves
//! must lead to the root of each checkpoint; tiles only tell which line is the wrong one.

mod anchor;
mod beginning;

pub use beginning::Gone;

use super::removal;
use super::segments::{self, Segment};
use crate::notary::Store;
use crate::tlog::proof::{HashReader as _, check_inclusion, inclusion};
use crate::tlog::tile::{TileReader, WIDTH};
use crate::tlog::{Checkpoint, Hash, TileHashes, Tree};
use anchor::{Anchor, fork, goes_on};
use beginning::beginning;
use std::io;
use std::path::{Path, PathBuf};

/// So often is looked again when files go while they are read.
const TRIES: u32 = 8;
/// More is not listed.
const MOST_WRONG: usize = 100;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wrong {
    /// Other content than was logged.
    #[error("line {line} in `{}` was changed: it is not the line that was logged", file.display())]
    Changed {
        /// Its number.
        line: u64,
        /// Where.
        file: PathBuf,
    },
    /// Numbers are left out.
    #[error("lines {from} to {to} are missing before line {} in `{}`", to.saturating_add(1), file.display())]
    Missing {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
        /// Where the next line is.
        file: PathBuf,
    },
    /// A number that was there before, or is smaller than the last.
    #[error("line {line} in `{}` stands behind line {after}: it was inserted or moved", file.display())]
    Order {
        /// Its number.
        line: u64,
        /// The number before it.
        after: u64,
        /// Where.
        file: PathBuf,
    },
    /// No line of a trail.
    #[error("what stands behind line {after} in `{}` is no audit line", file.display())]
    NotALine {
        /// The number before it.
        after: u64,
        /// Where.
        file: PathBuf,
    },
    /// The end is gone.
    #[error(
        "the trail ends at line {last}, but {checkpoint} vouches for {size} lines: it was truncated or rolled back to an older copy"
    )]
    Truncated {
        /// The last line there is.
        last: u64,
        /// How many there were.
        size: u64,
        /// Which checkpoint says so.
        checkpoint: String,
    },
    /// Another trail.
    #[error(
        "the first {size} lines do not lead to the root of {checkpoint}: lines were changed and the tree with them, or this is a fork or another trail"
    )]
    Fork {
        /// How many.
        size: u64,
        /// Which checkpoint says so.
        checkpoint: String,
    },
    /// The lines are right, what the folder says of them is not.
    #[error("the tile that holds line {line} is damaged; the line itself is the one that was logged")]
    Tile {
        /// The first such line.
        line: u64,
    },
    /// Nothing vouches for a line of the range.
    #[error(
        "line {line} is not proved: its tiles are missing or damaged, or no checkpoint vouches for it yet"
    )]
    Unproved {
        /// Its number.
        line: u64,
    },
}

/// A checkpoint that is believed, and what to call it.
#[derive(Debug, Clone)]
pub struct Trusted {
    /// For messages.
    pub name: String,
    /// Its content, whose signature was checked.
    pub checkpoint: Checkpoint,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Report {
    /// Files that were read.
    pub files: usize,
    /// Lines that were looked at.
    pub lines: u64,
    /// The number of the last line.
    pub last: u64,
    /// The beginning is gone, and a proved line says that it was removed.
    pub removed: Option<Gone>,
    /// What is wrong; at most 100 of it.
    pub wrong: Vec<Wrong>,
}

/// Checks the trail at `trail` from its first line to its last against each of `trusted`.
///
/// # Errors
/// When a file cannot be read.
pub fn whole(trail: &Path, trusted: &[Trusted]) -> io::Result<Report> {
    whole_of(trail, || Ok(trusted.to_vec())).map(|(report, _)| report)
}

/// The same against what `load` says, which it is asked anew whenever the trail is looked at anew: what was removed meanwhile is recorded
/// in a line that only a later checkpoint vouches for. Also returns what it said last.
///
/// # Errors
/// When a file cannot be read.
pub fn whole_of(
    trail: &Path,
    mut load: impl FnMut() -> io::Result<Vec<Trusted>>,
) -> io::Result<(Report, Vec<Trusted>)> {
    while_files_go(|| once(trail, &mut load, &mut |_| ()))
}

/// A proxy may remove the oldest files while they are read: then what is left is read.
fn while_files_go<T>(mut read: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..TRIES {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            done => return done,
        }
    }
    read()
}

/// The same, and hands each line to `each` as it is read: what the report says holds for these very bytes.
///
/// # Errors
/// When a file cannot be read.
pub fn whole_with(
    trail: &Path,
    mut load: impl FnMut() -> io::Result<Vec<Trusted>>,
    mut each: impl FnMut(&[u8]),
) -> io::Result<(Report, Vec<Trusted>)> {
    let mut begun = false;
    for _ in 1..TRIES {
        let mut each = |line: &[u8]| {
            begun = true;
            each(line);
        };
        match once(trail, &mut load, &mut each) {
            // No line is handed out twice.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !begun => {}
            done => return done,
        }
    }
    once(trail, &mut load, &mut each)
}

fn once(
    trail: &Path,
    load: &mut impl FnMut() -> io::Result<Vec<Trusted>>,
    each: &mut impl FnMut(&[u8]),
) -> io::Result<(Report, Vec<Trusted>)> {
    // Before the checkpoints: what is missing in this list is recorded in a line that they vouch for.
    let segments = segments::list(trail)?;
    let trusted = load()?;
    let report = against(trail, segments, &trusted, each)?;
    Ok((report, trusted))
}

fn against(
    trail: &Path,
    segments: Vec<Segment>,
    trusted: &[Trusted],
    each: &mut impl FnMut(&[u8]),
) -> io::Result<Report> {
    let store = Store::of(trail);
    let size = trusted.iter().map(|trusted| trusted.checkpoint.size).max().unwrap_or(0);
    let local = store.checkpoint()?.and_then(|note| Checkpoint::unverified(&note).ok());
    let tiles = TileHashes::new(&store, local.map_or(size, |local| local.size));
    let missing = removal::missing(&segments)?;
    // Whether it is the right one the root of a checkpoint tells, when the lines that are left were added to it.
    let begun = if missing > 0 { store.begun(missing).ok() } else { None };
    let mut forks = Vec::new();
    let begins = if begun.is_some() { missing } else { 0 };
    let anchor = (begins > 0).then(|| Anchor::of(&store, trusted)).flatten();
    let mut walk = Walk::behind(begins);
    let mut recorded = None;
    if let Some(begun) = begun {
        for trusted in trusted.iter().filter(|trusted| trusted.checkpoint.size <= missing) {
            match goes_on(&store, &trusted.checkpoint, (begun.size(), &begun.root())) {
                Some(true) => {}
                Some(false) => forks.push(trusted),
                None => walk.wrong(Wrong::Unproved { line: trusted.checkpoint.size }),
            }
        }
        walk.tree = begun;
    }
    for segment in segments {
        walk.report.files += 1;
        let mut lines = segment.open()?;
        while let Some(line) = lines.line()? {
            each(line);
            let Some(seq) = walk.place(line, &segment) else { continue };
            let leaf = Hash::leaf(line);
            if begins > 0 {
                let said = removal::of_line(line).filter(|said| said.removed.to >= missing);
                let proves = |line| anchor.as_ref().is_some_and(|anchor| anchor.proves(&store, line, &leaf));
                recorded = said.filter(|said| proves(said.line)).or(recorded);
            }
            walk.tree.push(leaf);
            if walk.tree.full().len() > 64 {
                walk.tree.forget_full(usize::MAX);
            }
            walk.compare(&tiles, (seq, leaf), &segment);
            if walk.whole {
                let here = trusted.iter().filter(|trusted| trusted.checkpoint.size == seq);
                forks.extend(here.filter(|trusted| trusted.checkpoint.root != walk.tree.root()));
            }
        }
    }
    let Walk { whole, suspects, mut report, .. } = walk;
    beginning(&mut report, missing, recorded, trail);
    for trusted in trusted.iter().filter(|trusted| trusted.checkpoint.size > report.last) {
        let (last, size, checkpoint) = (report.last, trusted.checkpoint.size, trusted.name.clone());
        report.wrong.push(Wrong::Truncated { last, size, checkpoint });
    }
    // Lines that lead to every root are right, whatever tiles say of them.
    let vouched = if whole && forks.is_empty() { size.min(report.last) } else { 0 };
    let mut changed = false;
    let mut tile = None;
    for (line, file) in suspects {
        if line <= vouched {
            tile = tile.or(Some(line));
        } else {
            changed = true;
            report.wrong.push(Wrong::Changed { line, file });
        }
    }
    report.wrong.extend(tile.map(|line| Wrong::Tile { line }));
    if !changed {
        report.wrong.extend(forks.into_iter().map(fork));
    }
    report.wrong.truncate(MOST_WRONG);
    Ok(report)
}

/// Checks the lines `from` to `to` alone, each by its own proof out of the tiles, against the largest of `trusted`; and that this one
/// goes on from each of the others: whoever holds the key of the log can sign for a larger one.
///
/// # Errors
/// When a file cannot be read.
pub fn range(trail: &Path, trusted: &[Trusted], range: (u64, u64)) -> io::Result<Report> {
    range_of(trail, || Ok(trusted.to_vec()), range).map(|(report, _)| report)
}

/// The same against what `load` says, as for [`whole_of`].
///
/// # Errors
/// When a file cannot be read.
pub fn range_of(
    trail: &Path,
    mut load: impl FnMut() -> io::Result<Vec<Trusted>>,
    range: (u64, u64),
) -> io::Result<(Report, Vec<Trusted>)> {
    while_files_go(|| {
        let segments = segments::list(trail)?;
        let trusted = load()?;
        let report = range_once(trail, segments, &trusted, range)?;
        Ok((report, trusted))
    })
}

fn range_once(
    trail: &Path,
    segments: Vec<Segment>,
    trusted: &[Trusted],
    (from, to): (u64, u64),
) -> io::Result<Report> {
    let store = Store::of(trail);
    let missing = removal::missing(&segments)?.min(to);
    let mut walk = Walk::behind(from.saturating_sub(1));
    let Some(anchor) = Anchor::of(&store, trusted) else { return Ok(walk.report) };
    if from <= missing {
        let proves = |seq: u64, line: &[u8]| anchor.proves(&store, seq, &Hash::leaf(line));
        if let Some(recorded) = removal::covering(&segments, missing, proves, &|| false)? {
            walk = Walk::behind(missing);
            beginning(&mut walk.report, missing, Some(recorded), trail);
        }
    }
    let Anchor { largest, contradicted } = anchor;
    for wrong in contradicted {
        walk.wrong(wrong);
    }
    let (size, root) = (largest.checkpoint.size, largest.checkpoint.root);
    let tiles = TileHashes::new(&store, size);
    for segment in segments {
        if segment.last().is_some_and(|last| last < from) || walk.report.last >= to {
            continue;
        }
        walk.report.files += 1;
        let mut lines = segment.open()?;
        while let Some(line) = lines.line()? {
            if segments::seq(line).is_some_and(|seq| seq < from || seq > to) {
                continue;
            }
            let Some(seq) = walk.place(line, &segment) else { continue };
            let leaf = Hash::leaf(line);
            let logged = tiles.hash(0, seq - 1).ok().flatten();
            let path = inclusion(&tiles, seq - 1, size).ok().flatten();
            let proves = |leaf: &Hash| {
                path.as_ref().is_some_and(|path| check_inclusion(path, leaf, seq - 1, size, &root).is_ok())
            };
            if proves(&leaf) {
                continue;
            }
            // The tiles lead to the root with another line in this place.
            let wrong = if logged.is_some_and(|logged| proves(&logged)) {
                Wrong::Changed { line: seq, file: segment.path().to_owned() }
            } else {
                Wrong::Unproved { line: seq }
            };
            walk.wrong(wrong);
        }
    }
    if walk.report.last < to {
        let (last, checkpoint) = (walk.report.last, largest.name.clone());
        walk.wrong(Wrong::Truncated { last, size: to.min(size), checkpoint });
    }
    Ok(walk.report)
}

struct Walk {
    tree: Tree,
    /// A tile that cannot be read: it is not tried again for each of its lines.
    unread: Option<u64>,
    /// Every line so far was in its place.
    whole: bool,
    /// Lines that the tiles do not know.
    suspects: Vec<(u64, PathBuf)>,
    report: Report,
}

impl Walk {
    /// Nothing is read yet; the next line is the one after `last`.
    fn behind(last: u64) -> Self {
        let report = Report { last, ..Report::default() };
        Self { tree: Tree::default(), unread: None, whole: true, suspects: Vec::new(), report }
    }

    /// The number of a line that comes behind all before it.
    fn place(&mut self, line: &[u8], segment: &Segment) -> Option<u64> {
        let after = self.report.last;
        let file = || segment.path().to_owned();
        self.report.lines += 1;
        let Some(seq) = segments::seq(line) else {
            self.wrong(Wrong::NotALine { after, file: file() });
            return None;
        };
        if seq <= after {
            self.wrong(Wrong::Order { line: seq, after, file: file() });
            return None;
        }
        if seq > after + 1 {
            self.wrong(Wrong::Missing { from: after + 1, to: seq - 1, file: file() });
        }
        self.report.last = seq;
        Some(seq)
    }

    /// Whether the tiles know the line by the same hash.
    fn compare<R: TileReader>(
        &mut self,
        tiles: &TileHashes<'_, R>,
        (seq, leaf): (u64, Hash),
        segment: &Segment,
    ) {
        let tile = (seq - 1) / WIDTH;
        if self.unread == Some(tile) {
            return;
        }
        match tiles.hash(0, seq - 1) {
            Ok(Some(logged)) if logged != leaf && self.suspects.len() < MOST_WRONG => {
                self.suspects.push((seq, segment.path().to_owned()));
            }
            Ok(_) => {}
            Err(_) => self.unread = Some(tile),
        }
    }

    fn wrong(&mut self, wrong: Wrong) {
        self.whole = false;
        if self.report.wrong.len() < MOST_WRONG {
            self.report.wrong.push(wrong);
        }
    }
}

#[cfg(test)]
mod tests {
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
        assert!(matches!(
            replaced.wrong()[..],
            [Wrong::Fork { size: 300, .. }, Wrong::Fork { size: 700, .. }]
        ));

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
            assert!(
                matches!(&wrong[..], [Wrong::Fork { size: found, .. }, ..] if *found == size),
                "{wrong:?}"
            );
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
}
