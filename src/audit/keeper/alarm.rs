//! Says how full it is: metrics, and the alarm before requests are refused.

use super::Keeper;
use super::files::{Found, folder};
use crate::audit::disk;
use crate::audit::retain::Needs;
use crate::model::Time;

impl Keeper {
    /// Nobody knows how full it is.
    pub(super) fn tell_unknown(&self) {
        self.shared.metrics.audit_disk_low.set(1);
        self.shared.disk.set_low(true);
    }

    /// Metrics, and the alarm.
    pub(super) fn tell_space(&self, files: &[Found], needs: Needs, time: Option<Time>) {
        let disk = &self.shared.disk;
        let rotated: Vec<_> = files.iter().map(|file| file.rotated).collect();
        let may_go = self.of_files(&rotated, needs, u64::MAX, time);
        disk.set_removable(may_go.map_or(0, |plan| plan.bytes));
        let lines = self.shared.queue.lock().seq;
        let file_system = disk::file_system(folder(&self.trail));
        let bound = disk.bound.map(|bound| (disk.used(lines), bound));
        let was = disk.is_low();
        let of_bound = disk.bound.is_some_and(|bound| disk::is_low(disk.stuck(lines), bound, was));
        let of_file_system = file_system.is_some_and(|(used, all)| disk::is_low(used, all, was));
        let metrics = &self.shared.metrics;
        metrics.audit_removal_blocked.set(needs.blocked.is_some().into());
        if let Some((used, all)) = bound.or(file_system) {
            metrics.audit_disk_bytes.set(i64::try_from(used).unwrap_or(i64::MAX));
            metrics.audit_disk_limit_bytes.set(i64::try_from(all).unwrap_or(i64::MAX));
        }
        let low = of_bound || of_file_system;
        metrics.audit_disk_low.set(low.into());
        if disk.set_low(low) {
            let path = self.trail.display();
            let what = if of_bound { "what `max_total_bytes` allows" } else { "its file system" };
            if low {
                tracing::warn!(%path, "the audit trail is at 80 % of {what}: when it is full, requests are refused");
            } else {
                tracing::info!(%path, "the audit trail has space again");
            }
        }
    }
}
