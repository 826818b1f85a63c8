//! Removes files that were recorded as removed.

use super::files::{Found, absent_is_fine, folder};
use super::{File, Keeper};
use crate::audit::segments::compressed;
use crate::audit::{index, pack, resume};
use crate::notary::Store;
use std::io;

impl Keeper {
    /// Oldest first, so that what is missing is always the beginning. Before each its tree is kept, without which what is left could not
    /// be proved; and it goes only if it still is the file that was compared.
    pub(super) fn unlink(&mut self, files: &[Found], stopped: &impl Fn() -> bool) -> io::Result<()> {
        let store = Store::of(&self.trail);
        let known = self.known()?;
        let mut to = None;
        for found in files {
            let last = found.rotated.last;
            let before = store.before(last, &known)?;
            let kept = match store.keep_beginning(&before) {
                Err(error) if is_full(&error) => false,
                done => done.map(|()| true)?,
            };
            self.sync_tiles()?;
            let same = self.checked.get(&last).is_some_and(|checked| checked.forms == found.forms);
            if stopped() || !same || !found.is_as_it_was()? {
                self.checked.remove(&last);
                break;
            }
            let (packed, index) = (compressed(&found.plain), index::path(&found.plain));
            let drafts = [&packed, &index].map(|path| resume::beside(path, pack::DRAFT));
            for path in drafts.iter().chain([&index, &packed, &found.plain]) {
                std::fs::remove_file(path).or_else(absent_is_fine)?;
            }
            // Before the next goes.
            File::open(folder(&self.trail))?.sync_all()?;
            self.accounted = Some(last);
            self.checked.remove(&last);
            to = Some(last);
            if !kept {
                // The disk was full until now; the tiles themselves are on it.
                store.keep_beginning(&before)?;
                self.sync_tiles()?;
            }
            store.forget_beginnings_but(last)?;
        }
        if let Some(to) = to {
            tracing::info!(path = %self.trail.display(), to, "old files of the audit trail were removed");
        }
        self.count().map(drop)
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
