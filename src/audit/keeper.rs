//! Looks after the files of a trail: counts what they take, removes what may go, and says when space runs out.
//!
//! Runs on the thread that also compresses, so that nobody else renames or removes a rotated file. What may go is decided by
//! [`super::retain`]; here it is performed. Invariants: before a file goes, a line of the trail that says so is on the disk, and every
//! line of the file was read and is the one that the tree knows, whose tiles are on the disk: what is removed can still be proved.
//! A file that is not as it was logged is evidence, and stays, with all that follow; so does everything while somebody outside
//! disputes the trail.

mod alarm;
mod check;
mod files;
mod unlink;

pub(super) use files::others;

use super::queue::{RemovalLine, Shared};
use super::removal::Removed;
use super::retain::{self, Needs, Plan, Rotated};
use crate::config::RetentionConfig;
use crate::model::Time;
use crate::notary::{Latest, Store};
use crate::runtime::clock::Mono;
use check::{Checked, Unaccounted};
use files::{Found, look};
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
/// So many files go at once: what is read of them is bounded, and the line says no more than is about to happen.
const MOST_FILES: usize = 8;

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
    /// What no line speaks for, when it was looked for last.
    unaccounted: Option<Unaccounted>,
    /// The last line of the trail when this process took it up.
    began: u64,
    /// Files whose lines were all compared with the tree.
    checked: BTreeMap<u64, Checked>,
    /// What is recorded as removed.
    recorded: u64,
    /// The last line that was ever removed before `keep` had passed.
    early_to: u64,
    /// A line that was asked for: what it says, and since when.
    asked: Option<(Removed, Mono)>,
    on_disk: bool,
    /// Behind this line nothing can be removed, as was found when it was last tried.
    blocked: Option<u64>,
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
        let began = shared.queue.lock().seq;
        Self {
            trail: trail.to_owned(),
            shared,
            latest,
            config,
            exported,
            followed,
            accounted: None,
            unaccounted: None,
            began,
            checked: BTreeMap::new(),
            recorded: 0,
            early_to: 0,
            asked: None,
            on_disk: false,
            blocked: None,
            next: None,
        }
    }

    /// Does what is due.
    pub(super) fn pass(&mut self, wall: Time, now: Mono, stopped: &impl Fn() -> bool) {
        let files = match self.count() {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(path = %self.trail.display(), %error, "the files of the audit trail cannot be counted");
                self.tell_unknown();
                return;
            }
        };
        let time = self.time(wall, now);
        let needs = self.needs();
        if !self.is_disputed() && self.next.is_none_or(|next| now >= next) {
            self.next = None;
            match self.remove(&files, needs, (time, now), stopped) {
                Ok(()) => {}
                Err(_) if stopped() => return,
                Err(error) => {
                    tracing::error!(path = %self.trail.display(), %error, "old files of the audit trail are not removed");
                    self.blocked = Some(0);
                    self.next = Some(now.plus(AGAIN));
                }
            }
        }
        let blocked = if self.is_disputed() { Some(0) } else { self.blocked };
        self.tell_space(&files, Needs { blocked, ..needs }, time);
    }

    /// What old files are judged by.
    fn time(&self, wall: Time, now: Mono) -> Option<Time> {
        self.shared.clock.judge(self.followed, wall, now)
    }

    /// Somebody outside has signed for other lines than are here: they are evidence.
    fn is_disputed(&self) -> bool {
        self.latest.as_ref().is_some_and(|latest| latest.disputes() > 0)
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
            blocked: None,
        }
    }

    fn remove(
        &mut self,
        files: &[Found],
        needs: Needs,
        (time, now): (Option<Time>, Mono),
        stopped: &impl Fn() -> bool,
    ) -> io::Result<()> {
        let Some(plan) = self.plan(files, needs, time) else {
            self.blocked = None;
            return Ok(());
        };
        self.look_for_line(now);
        let planned = files.get(..plan.files).unwrap_or_default();
        let recorded = planned.iter().take_while(|file| file.rotated.last <= self.recorded).count();
        if recorded > 0 {
            let recorded = files.get(..recorded).unwrap_or_default();
            let Some(good) = self.check(recorded, needs, stopped)? else { return Ok(()) };
            self.unlink(recorded.get(..good).unwrap_or_default(), stopped)?;
        } else if self.asked.is_none() && self.is_accounted(stopped)? {
            let Some(good) = self.check(planned, needs, stopped)? else { return Ok(()) };
            let Some(plan) = self.plan(files.get(..good).unwrap_or_default(), needs, time) else {
                return Ok(());
            };
            self.sync_tiles()?;
            let removed = Removed {
                from: 1,
                to: plan.to,
                files: u64::try_from(plan.files).unwrap_or(u64::MAX),
                policy: plan.policy(),
                early_to: self.early_to.max(plan.early_to),
            };
            self.asked = Some((removed, now));
            self.on_disk = false;
            *self.shared.removal.lock() = RemovalLine::Wanted(removed);
            self.shared.pace.wake();
        }
        Ok(())
    }

    /// What is to go, as far as is known of the files. Without a time nothing is old.
    fn plan(&self, files: &[Found], needs: Needs, time: Option<Time>) -> Option<Plan> {
        let youngest = |file: &Rotated| match self.checked.get(&file.last) {
            Some(checked) => file.youngest.max(checked.youngest),
            None => file.youngest,
        };
        let files = files.get(..MOST_FILES).unwrap_or(files);
        let rotated: Vec<_> =
            files.iter().map(|file| Rotated { youngest: youngest(&file.rotated), ..file.rotated }).collect();
        let lines = self.shared.queue.lock().seq;
        self.of_files(&rotated, needs, self.shared.disk.over(lines), time)
    }

    /// The same of these files, when so many bytes are to be freed.
    fn of_files(&self, files: &[Rotated], needs: Needs, over: u64, time: Option<Time>) -> Option<Plan> {
        let keep = self.config.keep.filter(|_| time.is_some());
        let now = time.unwrap_or(Time::from_micros(0));
        retain::plan(files, needs, RetentionConfig { keep, ..self.config }, over, now)
    }

    /// Whether the line that was asked for is where it must be.
    fn look_for_line(&mut self, now: Mono) {
        let Some((removed, since)) = self.asked else { return };
        let mut removal = self.shared.removal.lock();
        if let RemovalLine::Queued { seq, on_disk } = &mut *removal {
            self.on_disk = self.on_disk || on_disk.try_recv().is_ok();
            let proved = self.latest.as_ref().is_some_and(|latest| latest.size() >= *seq);
            if proved || (self.on_disk && now.since(since) >= WAIT_FOR_PROOF) {
                self.recorded = self.recorded.max(removed.to);
                self.early_to = removed.early_to;
                self.asked = None;
                *removal = RemovalLine::None;
            }
        }
    }

    /// Tiles are not synced as they are written, because they could be made anew from the lines.
    fn sync_tiles(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(File::open(Store::of(&self.trail).folder())?)?)
    }
}
