//! Whether what is to be removed is what was logged: every line of it is compared with the tree.

use super::Keeper;
use super::files::{Form, Found};
use crate::audit::removal;
use crate::audit::retain::Needs;
use crate::audit::segments;
use crate::model::Time;
use crate::notary::Store;
use crate::tlog::proof::{HashReader as _, check_inclusion, inclusion};
use crate::tlog::{Checkpoint, Hash, TileHashes, Tree};
use std::io;
use std::path::{Path, PathBuf};

/// A file whose lines are those that the tree knows.
pub(super) struct Checked {
    /// The time of its youngest line.
    pub(super) youngest: Time,
    /// What it was when it was looked at, before it was read.
    pub(super) forms: Vec<Form>,
}

/// Lines that are missing at the beginning, and the files that were searched for a line that speaks for them.
pub(super) struct Unaccounted {
    missing: u64,
    files: Vec<PathBuf>,
}

impl Keeper {
    /// Whether what is missing at the beginning already is missing by our own doing. Else nothing is removed: a line about that would
    /// cover up for whoever removed it.
    pub(super) fn is_accounted(&mut self, stopped: &impl Fn() -> bool) -> io::Result<bool> {
        let files = segments::list(&self.trail)?;
        let missing = removal::missing(&files)?;
        if missing == 0 || self.accounted.is_some_and(|accounted| accounted >= missing) {
            return Ok(true);
        }
        let why = || {
            let why = format!(
                "lines 1 to {missing} are missing, and no line says that they were removed: see `jitgate audit verify`"
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let paths: Vec<_> = files.iter().map(|file| file.path().to_owned()).collect();
        if self.unaccounted.as_ref().is_some_and(|known| known.missing == missing && known.files == paths) {
            return Err(why());
        }
        let (store, vouched) = (Store::of(&self.trail), self.needs().vouched);
        let known = self.known()?;
        // By its proof from the root that was signed: a tile alone says what whoever wrote it likes.
        let proves = |seq: u64, line: &[u8]| {
            let Some(index) = seq.checked_sub(1) else { return false };
            let path = inclusion(&TileHashes::new(&store, known.size), index, known.size).ok().flatten();
            path.is_some_and(|path| {
                check_inclusion(&path, &Hash::leaf(line), index, known.size, &known.root).is_ok()
            })
        };
        match removal::covering(&files, missing, proves, stopped)? {
            Some(recorded) => {
                self.accounted = Some(recorded.removed.to);
                self.early_to = self.early_to.max(recorded.removed.early());
                self.unaccounted = None;
                Ok(true)
            }
            None => {
                // Such a line may be in those that no checkpoint vouches for yet, but in none that was written since.
                self.unaccounted = (vouched >= self.began).then_some(Unaccounted { missing, files: paths });
                Err(why())
            }
        }
    }

    /// What the trail's last checkpoint says; it is ours, and was checked when it was taken up.
    pub(super) fn known(&self) -> io::Result<Checkpoint> {
        let note = self.latest.as_ref().map(|latest| latest.note()).unwrap_or_default();
        Checkpoint::unverified(&note).map_err(io::Error::other)
    }

    /// Reads what is to go, unless it was read before. How many of them are good; `None` when it was stopped.
    pub(super) fn check(
        &mut self,
        files: &[Found],
        needs: Needs,
        stopped: &impl Fn() -> bool,
    ) -> io::Result<Option<usize>> {
        let mut before = removal::missing(&segments::list(&self.trail)?)?;
        self.checked.retain(|last, _| files.first().is_some_and(|file| file.rotated.last <= *last));
        self.blocked = None;
        let mut good = 0;
        for file in files {
            let last = file.rotated.last;
            if self.checked.get(&last).is_none_or(|checked| checked.forms != file.forms) {
                self.checked.remove(&last);
                match self.read(file, before, needs.vouched, stopped) {
                    Ok(Some(youngest)) => {
                        self.checked.insert(last, Checked { youngest, forms: file.forms.clone() });
                    }
                    Ok(None) => return Ok(None),
                    // Those before it are good.
                    Err(error) if good > 0 => {
                        tracing::error!(path = %file.plain.display(), %error, "a file of the audit trail is kept: it is not as it was logged");
                        self.blocked = Some(before);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            before = last;
            good += 1;
        }
        Ok(Some(good))
    }

    /// The time of the youngest line of a file, each of whose lines is in its place and the one that the tree knows, in each form.
    fn read(
        &self,
        file: &Found,
        before: u64,
        vouched: u64,
        stopped: &impl Fn() -> bool,
    ) -> io::Result<Option<Time>> {
        if file.twice {
            let last = file.rotated.last;
            let why = format!(
                "there are several files whose last line is number {last}: one of them is none of this trail's"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let mut youngest = None;
        for form in &file.forms {
            let lines = if form.is_compressed() {
                segments::packed_lines(&form.path)?
            } else {
                segments::rotated(&form.path)?
            };
            match self.compare((lines, &form.path), (before, file.rotated.last), vouched, stopped)? {
                Some(time) => youngest = youngest.max(Some(time)),
                None => return Ok(None),
            }
        }
        youngest.map(Some).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn compare(
        &self,
        (mut lines, path): (segments::Lines, &Path),
        (before, last): (u64, u64),
        vouched: u64,
        stopped: &impl Fn() -> bool,
    ) -> io::Result<Option<Time>> {
        let wrong = |seq: u64| {
            let why = format!(
                "line {seq} in `{}` is not as it was logged: see `jitgate audit verify`",
                path.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let (store, known) = (Store::of(&self.trail), self.known()?);
        // The tiles tell which line is the wrong one; they are not believed: the lines must lead to what was signed.
        let tiles = TileHashes::new(&store, vouched);
        let mut tree = if before == 0 { Tree::default() } else { store.before(before, &known)? };
        let (mut seq, mut youngest) = (before, Vec::new());
        while let Some(line) = lines.line()? {
            seq += 1;
            let leaf = Hash::leaf(line);
            if segments::seq(line) != Some(seq) || tiles.hash(0, seq - 1)? != Some(leaf) {
                return Err(wrong(seq));
            }
            tree.push(leaf);
            tree.forget_full(usize::MAX);
            if let Some(time) = segments::time(line).filter(|time| *time > youngest.as_slice()) {
                youngest = time.to_vec();
            }
            if seq.is_multiple_of(1024) && stopped() {
                return Ok(None);
            }
        }
        if seq != last {
            return Err(wrong(seq + 1));
        }
        if tree.root() != store.before(last, &known)?.root() {
            let why = format!(
                "`{}` is not as it was logged, and tiles of the tree were changed with it: see `jitgate audit verify`",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let youngest = std::str::from_utf8(&youngest).ok().and_then(|time| time.parse().ok());
        youngest.map(Some).ok_or_else(|| wrong(seq))
    }
}
