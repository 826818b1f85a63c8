//! Looks after the files of a trail: counts what they take, removes what may go, and says when space runs out.
//!
//! Runs on the thread that also compresses, so that nobody else renames or removes a rotated file. What may go is decided by
//! [`super::retain`]; here it is performed. Invariants: before a file goes, a line of the trail that says so is on the disk, and every
//! line of the file was read and is the one that the tree knows, whose tiles are on the disk: what is removed can still be proved.
//! A file that is not as it was logged is evidence, and stays, with all that follow.

mod alarm;
mod check;
mod files;

pub(super) use files::others;

use super::pack;
use super::queue::{RemovalLine, Shared};
use super::removal::Removed;
use super::retain::{self, Needs, Plan, Rotated};
use super::segments::compressed;
use super::{index, resume};
use crate::config::RetentionConfig;
use crate::model::Time;
use crate::notary::{Latest, Store};
use crate::runtime::clock::Mono;
use files::{Found, absent_is_fine, folder, look};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Files that cannot be removed are tried again after this.
const AGAIN: Duration = Duration::from_secs(60);
/// A checkpoint over the line of a removal is waited for so long: on a full disk there may be none before something is removed.
const WAIT_FOR_PROOF: Duration = Duration::from_secs(10);
/// A look at a folder that changes meanwhile is repeated so often.
const LOOKS: usize = 4;

/// The first line that some export has not confirmed; `None`: nothing is exported.
pub type Exported = Box<dyn Fn() -> Option<u64> + Send>;

/// See the module's comment.
pub(super) struct Keeper {
    trail: PathBuf,
    shared: Arc<Shared>,
    latest: Option<Arc<Latest>>,
    config: RetentionConfig,
    exported: Exported,
    /// Whether a control plane follows, without whose word nothing goes.
    followed: bool,
    /// What is missing at the beginning was removed by us: up to this line. `None`: it was not looked at yet.
    accounted: Option<u64>,
    /// The youngest line of files whose lines were all compared with the tree.
    checked: BTreeMap<u64, Time>,
    /// What is recorded as removed.
    recorded: u64,
    /// A line that was asked for: up to where, and since when.
    asked: Option<(u64, Mono)>,
    on_disk: bool,
    /// After a failure: not before.
    next: Option<Mono>,
}

impl Keeper {
    pub(super) fn new(
        trail: &Path,
        shared: Arc<Shared>,
        latest: Option<Arc<Latest>>,
        (config, exported, followed): (RetentionConfig, Exported, bool),
    ) -> Self {
        Self {
            trail: trail.to_owned(),
            shared,
            latest,
            config,
            exported,
            followed,
            accounted: None,
            checked: BTreeMap::new(),
            recorded: 0,
            asked: None,
            on_disk: false,
            next: None,
        }
    }

    /// Does what is due.
    pub(super) fn pass(&mut self, wall: Time, now: Mono, stopped: &impl Fn() -> bool) {
        let files = match self.count() {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(path = %self.trail.display(), %error, "the files of the audit trail cannot be counted");
                return;
            }
        };
        let needs = self.needs();
        self.tell_space(&files, needs, wall);
        if self.next.is_some_and(|next| now < next) {
            return;
        }
        self.next = None;
        if let Err(error) = self.remove(&files, needs, (wall, now), stopped) {
            tracing::error!(path = %self.trail.display(), %error, "old files of the audit trail are not removed");
            self.next = Some(now.plus(AGAIN));
        }
    }

    /// Counts the files, for the writer as well. Oldest first.
    fn count(&self) -> io::Result<Vec<Found>> {
        let mut looks = 0;
        loop {
            let rotations = self.shared.disk.rotations();
            let (files, bytes) = look(&self.trail)?;
            looks += 1;
            if self.shared.disk.counted(bytes, rotations) || looks == LOOKS {
                return Ok(files);
            }
        }
    }

    fn needs(&self) -> Needs {
        let acknowledged = self.shared.acknowledged.load(Ordering::Relaxed);
        Needs {
            vouched: self.latest.as_ref().map_or(0, |latest| latest.size()),
            open: self.shared.open.load(Ordering::Relaxed),
            exported: (self.exported)(),
            acknowledged: self.followed.then_some(acknowledged),
        }
    }

    fn remove(
        &mut self,
        files: &[Found],
        needs: Needs,
        (wall, now): (Time, Mono),
        stopped: &impl Fn() -> bool,
    ) -> io::Result<()> {
        let Some(plan) = self.plan(files, needs, wall) else { return Ok(()) };
        self.look_for_line(now);
        let planned = files.get(..plan.files).unwrap_or_default();
        let recorded = planned.iter().take_while(|file| file.rotated.last <= self.recorded).count();
        if recorded > 0 {
            self.unlink(files.get(..recorded).unwrap_or_default())?;
        } else if self.asked.is_none() && self.is_accounted()? {
            let Some(plan) = self.check(files, needs, wall, stopped)? else { return Ok(()) };
            self.sync_tiles()?;
            let removed = Removed {
                from: 1,
                to: plan.to,
                files: u64::try_from(plan.files).unwrap_or(u64::MAX),
                policy: plan.policy,
            };
            self.asked = Some((plan.to, now));
            self.on_disk = false;
            *self.shared.removal.lock() = RemovalLine::Wanted(removed);
            self.shared.wake();
        }
        Ok(())
    }

    /// What is to go, as far as is known of the files.
    fn plan(&self, files: &[Found], needs: Needs, wall: Time) -> Option<Plan> {
        let youngest = |file: &Rotated| match self.checked.get(&file.last) {
            Some(checked) => file.youngest.max(*checked),
            None => file.youngest,
        };
        let rotated: Vec<_> =
            files.iter().map(|file| Rotated { youngest: youngest(&file.rotated), ..file.rotated }).collect();
        let lines = self.shared.queue.lock().seq;
        retain::plan(&rotated, needs, self.config, self.shared.disk.over(lines), wall)
    }

    /// Whether the line that was asked for is where it must be.
    fn look_for_line(&mut self, now: Mono) {
        let Some((to, since)) = self.asked else { return };
        let mut removal = self.shared.removal.lock();
        if let RemovalLine::Queued { seq, on_disk } = &mut *removal {
            self.on_disk = self.on_disk || on_disk.try_recv().is_ok();
            let proved = self.latest.as_ref().is_some_and(|latest| latest.size() >= *seq);
            if proved || (self.on_disk && now.since(since) >= WAIT_FOR_PROOF) {
                self.recorded = self.recorded.max(to);
                self.asked = None;
                *removal = RemovalLine::None;
            }
        }
    }

    /// Tiles are not synced as they are written, because they could be made anew from the lines.
    fn sync_tiles(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(Store::of(&self.trail).folder())?)?)
    }

    /// Oldest first, so that what is missing is always the beginning.
    fn unlink(&mut self, files: &[Found]) -> io::Result<()> {
        for Found { rotated, plain } in files {
            let (packed, index) = (compressed(plain), index::path(plain));
            let drafts = [&packed, &index].map(|path| resume::beside(path, pack::DRAFT));
            for path in drafts.iter().chain([&index, &packed, plain]) {
                std::fs::remove_file(path).or_else(absent_is_fine)?;
            }
            // Before the next goes.
            File::open(folder(&self.trail))?.sync_all()?;
            self.accounted = Some(rotated.last);
        }
        let to = files.last().map_or(0, |file| file.rotated.last);
        tracing::info!(path = %self.trail.display(), files = files.len(), to, "old files of the audit trail were removed");
        self.count().map(drop)
    }
}
