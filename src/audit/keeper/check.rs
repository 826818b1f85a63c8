//! Whether what is to be removed is what was logged: every line of it is compared with the tree.

use super::Keeper;
use super::files::Found;
use crate::audit::removal;
use crate::audit::retain::{Needs, Plan};
use crate::audit::segments;
use crate::model::Time;
use crate::notary::Store;
use crate::tlog::proof::HashReader as _;
use crate::tlog::{Hash, TileHashes};
use std::io;

impl Keeper {
    /// Whether what is missing at the beginning already is missing by our own doing. Else nothing is removed: a line about that would
    /// cover up for whoever removed it.
    pub(super) fn is_accounted(&mut self) -> io::Result<bool> {
        let files = segments::list(&self.trail)?;
        let missing = removal::missing(&files)?;
        if missing == 0 || self.accounted.is_some_and(|accounted| accounted >= missing) {
            return Ok(true);
        }
        let store = Store::of(&self.trail);
        let tiles = TileHashes::new(&store, self.needs().vouched);
        let proves = |seq: u64, line: &[u8]| {
            tiles.hash(0, seq.saturating_sub(1)).ok().flatten() == Some(Hash::leaf(line))
        };
        match removal::covering(&files, missing, proves)? {
            Some(recorded) => {
                self.accounted = Some(recorded.removed.to);
                Ok(true)
            }
            None => {
                let why = format!(
                    "lines 1 to {missing} are missing, and no line says that they were removed: see `jitgate audit verify`"
                );
                Err(io::Error::new(io::ErrorKind::InvalidData, why))
            }
        }
    }

    /// Reads what is to go. What is left of the plan then; `None` also when it was stopped.
    pub(super) fn check(
        &mut self,
        files: &[Found],
        needs: Needs,
        wall: Time,
        stopped: &impl Fn() -> bool,
    ) -> io::Result<Option<Plan>> {
        let mut before = removal::missing(&segments::list(&self.trail)?)?;
        self.checked.retain(|last, _| files.first().is_some_and(|file| file.rotated.last <= *last));
        let mut good = 0;
        let wanted = self.plan(files, needs, wall).map_or(0, |plan| plan.files);
        for file in files.iter().take(wanted) {
            let last = file.rotated.last;
            if !self.checked.contains_key(&last) {
                match self.read(file, before, needs.vouched, stopped) {
                    Ok(Some(youngest)) => drop(self.checked.insert(last, youngest)),
                    Ok(None) => return Ok(None),
                    // Those before it are good.
                    Err(error) if good > 0 => {
                        tracing::error!(path = %file.plain.display(), %error, "a file of the audit trail is kept: it is not as it was logged");
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            before = last;
            good += 1;
        }
        Ok(self.plan(files.get(..good).unwrap_or_default(), needs, wall))
    }

    /// The time of the youngest line of a file, each of whose lines is in its place and the one that the tree knows.
    fn read(
        &self,
        file: &Found,
        before: u64,
        vouched: u64,
        stopped: &impl Fn() -> bool,
    ) -> io::Result<Option<Time>> {
        let wrong = |seq: u64| {
            let why = format!(
                "line {seq} in `{}` is not as it was logged: see `jitgate audit verify`",
                file.plain.display()
            );
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let store = Store::of(&self.trail);
        let tiles = TileHashes::new(&store, vouched);
        let mut lines = segments::rotated(&file.plain)?;
        let (mut seq, mut youngest) = (before, Vec::new());
        while let Some(line) = lines.line()? {
            seq += 1;
            if segments::seq(line) != Some(seq) || tiles.hash(0, seq - 1)? != Some(Hash::leaf(line)) {
                return Err(wrong(seq));
            }
            if let Some(time) = segments::time(line).filter(|time| *time > youngest.as_slice()) {
                youngest = time.to_vec();
            }
            if seq.is_multiple_of(1024) && stopped() {
                return Ok(None);
            }
        }
        if seq != file.rotated.last {
            return Err(wrong(seq + 1));
        }
        let youngest = std::str::from_utf8(&youngest).ok().and_then(|time| time.parse().ok());
        youngest.map(Some).ok_or_else(|| wrong(seq))
    }
}
