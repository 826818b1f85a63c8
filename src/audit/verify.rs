//! Whether a trail is the one that was written: all its lines against checkpoints, and if not, which of them are wrong.
//!
//! Reads every segment once and parses no more of a line than its number. What the tiles say is not believed: the lines themselves
//! must lead to the root of each checkpoint; tiles only tell which line is the wrong one.

mod anchor;
mod beginning;
mod range;
#[cfg(test)]
mod tests;

pub use beginning::Gone;
pub use range::{range, range_of};

use super::removal;
use super::segments::{self, Segment};
use crate::model::{Time, TrailFault};
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
    /// Whoever keeps its checkpoints was once shown one that contradicts the one before.
    #[error(
        "at {at} the trail contradicted the checkpoint that the control plane kept: it {}; what it held before is not proved, and unless it was begun anew on purpose (`--accept-disputes-until {at}`), it was tampered with",
        fault.meaning()
    )]
    Disputed {
        /// What was wrong.
        fault: TrailFault,
        /// When that was found.
        at: Time,
    },
    /// An external witness has signed for another trail.
    #[error(
        "at {at} an external witness was found to have signed for other lines; unless the trail was begun anew on purpose (`--accept-disputes-until {at}`), it was rolled back or rewritten"
    )]
    WitnessDisputed {
        /// When that was found.
        at: Time,
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
    looked(trail, load, |segments, trusted| against(trail, segments, trusted, each))
}

/// Looks at the files, then at the checkpoints, and checks the ones against the others.
fn looked(
    trail: &Path,
    load: &mut impl FnMut() -> io::Result<Vec<Trusted>>,
    check: impl FnOnce(Vec<Segment>, &[Trusted]) -> io::Result<Report>,
) -> io::Result<(Report, Vec<Trusted>)> {
    // Before the checkpoints: what is missing in this list is recorded in a line that they vouch for.
    let segments = segments::list(trail)?;
    let trusted = load()?;
    Ok((check(segments, &trusted)?, trusted))
}

fn largest(trusted: &[Trusted]) -> Option<&Checkpoint> {
    trusted.iter().map(|trusted| &trusted.checkpoint).max_by_key(|checkpoint| checkpoint.size)
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
    let begun = if missing > 0 { store.begun(missing, largest(trusted)).ok() } else { None };
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
