//! What time it is for what is removed by its age. Whoever can set this host's clock must not make files old: where a control plane
//! says what time it is, no later than that, and nothing is old before it has said so.

use crate::model::Time;
use crate::runtime::clock::Mono;
use parking_lot::Mutex;

/// See the module's comment.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What the control plane's clock is ahead of ours that counts from the start of the machine, in microseconds; `None` before it
    /// has said so.
    ahead: Mutex<Option<i64>>,
}

impl Clock {
    /// The control plane says that it was `time` at `asked` or later.
    pub(super) fn set(&self, time: Time, asked: Mono) {
        *self.ahead.lock() = Some(time.as_micros().saturating_sub(micros(asked)));
    }

    /// What old files are judged by; `None`: none is old. `followed`: a control plane says what time it is.
    pub(super) fn judge(&self, followed: bool, wall: Time, now: Mono) -> Option<Time> {
        if !followed {
            return Some(wall);
        }
        let ahead = *self.ahead.lock();
        ahead.map(|ahead| Time::from_micros(ahead.saturating_add(micros(now))).min(wall))
    }
}

fn micros(mono: Mono) -> i64 {
    i64::try_from(mono.as_nanos() / 1_000).unwrap_or(i64::MAX)
}
