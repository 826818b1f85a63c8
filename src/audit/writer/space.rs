//! Space for lines: secured ahead of them, within the bound of the trail, and offered to requests.

use super::{HELD, LEAST_CHUNK, LEAST_ROOM, Output, RETRY_AFTER, STREAM_ROOM, Writer};
use crate::audit::disk::Active;
use crate::audit::room::signed;
use crate::audit::settings::AuditError;
use crate::audit::trail::Trail;
use crate::runtime::clock::Mono;
use std::io;

impl Writer {
    /// Offers room to requests again, once there is enough for all that they were promised and more. At its bound a trail offers none,
    /// but goes on: what is to be removed has to be recorded in it.
    pub(super) fn publish(&mut self) -> Result<(), AuditError> {
        let secured = match &mut self.output {
            Output::Files { trail, .. } => {
                let promised = u64::try_from(-self.shared.room.bytes()).unwrap_or(0);
                let owed = promised.saturating_sub(trail.room());
                let disk = &self.shared.disk;
                let room = trail.room().saturating_add(owed);
                let more = disk.more(Active { end: trail.end(), room, lines: self.batch.last });
                let extra = if more < LEAST_CHUNK { HELD } else { disk.chunk().min(more) };
                if more >= LEAST_CHUNK || trail.room() < promised.saturating_add(HELD) {
                    trail
                        .secure(owed.saturating_add(extra), owed.saturating_add(1))
                        .map_err(|source| AuditError::io(trail.path(), source))?;
                }
                trail.room()
            }
            Output::Stream(_) => STREAM_ROOM,
        };
        self.held = self.holds().min(secured);
        self.shared.room.change(signed(secured - self.held));
        self.published = true;
        Ok(())
    }

    pub(super) fn withdraw(&mut self) {
        if self.published {
            let room = match &self.output {
                Output::Files { trail, .. } => trail.room(),
                Output::Stream(_) => STREAM_ROOM,
            };
            self.shared.room.change(signed(self.held) - signed(room));
            self.held = 0;
            self.published = false;
        }
    }

    pub(super) fn secure(&mut self, now: Mono) {
        let holds = self.holds();
        let Output::Files { trail, .. } = &mut self.output else { return };
        let (room, disk) = (&self.shared.room, &self.shared.disk);
        let chunk = disk.chunk();
        if room.bytes() >= signed(chunk / 2) && self.held == holds {
            self.short = false;
            return;
        }
        if now < self.next_secure {
            return;
        }
        let urgent = room.bytes() < LEAST_ROOM.min(signed(chunk / 4));
        let active = Active { end: trail.end(), room: trail.room(), lines: self.batch.last };
        match within(trail, disk.more(active), (chunk, urgent)) {
            Ok(more) => {
                let held = (holds - self.held.min(holds)).min(more);
                self.held += held;
                room.change(signed(more - held));
                (self.short, self.warned) = (false, false);
            }
            Err(error) => {
                if urgent && !self.warned {
                    tracing::error!(path = %trail.path().display(), %error,
                        "no more space can be set aside for the audit trail; requests are refused when the rest is promised: free some");
                    self.warned = true;
                }
                self.short = true;
                self.next_secure = now.plus(RETRY_AFTER);
            }
        }
    }

    /// Where nothing is ever removed, nothing has to be recorded of it.
    fn holds(&self) -> u64 {
        if self.shared.disk.may_remove { HELD } else { 0 }
    }

    /// Gives up what is held back, for the line that it is held back for.
    pub(super) fn give_up_held(&mut self) {
        self.shared.room.change(signed(std::mem::take(&mut self.held)));
    }
}

/// Secures more space, no more than the bound leaves.
fn within(trail: &mut Trail, bound: u64, (chunk, urgent): (u64, bool)) -> io::Result<u64> {
    if bound < LEAST_CHUNK {
        let why = "the trail takes all that `max_total_bytes` allows, and nothing may be removed yet";
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, why));
    }
    let wanted = chunk.min(bound);
    trail.secure(wanted, if urgent { 1 } else { wanted })
}
