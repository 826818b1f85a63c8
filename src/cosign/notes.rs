//! What witnesses have vouched for, as signed notes in the log's folder: one file for each, `witnessed/NAME`, with the last checkpoint
//! that it signed. Of several witnesses that signed the same one, the later files hold the cosignatures of those before as well.
//!
//! Files of their own, and not lines in `checkpoint`: that one is replaced by the log's writer each second, before anybody could have
//! vouched for it; what a witness vouches for is always a little older.

use crate::identity::keyfile::FileError;
use crate::model::WitnessName;
use crate::notary::Store;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Checkpoints that witnesses may still be about to sign.
const RECENT: usize = 8;

/// A checkpoint as the log signed it, and the lines of witnesses.
struct Signed {
    note: Arc<str>,
    lines: Vec<(WitnessName, String)>,
}

/// See the head of this file.
pub(super) struct Notes {
    store: Store,
    /// What was signed of late.
    recent: Mutex<VecDeque<Signed>>,
}

impl Notes {
    pub(super) fn new(store: Store) -> Self {
        Self { store, recent: Mutex::default() }
    }

    /// The last that this witness vouched for, unchecked; `None` also where it cannot be read.
    pub(super) fn of(&self, witness: &WitnessName) -> Option<String> {
        self.store.witnessed_by(witness).unwrap_or_else(|error| {
            tracing::warn!(%witness, %error, "what a witness vouched for cannot be read; it is asked anew");
            None
        })
    }

    /// Keeps `line`, with which `witness` signed `note`. Writes a file.
    pub(super) fn keep(&self, witness: &WitnessName, note: &Arc<str>, line: &str) -> Result<(), FileError> {
        let text = self.with(witness, note, line);
        self.store.write_witnessed(witness, &text)
    }

    /// The note with every line that is known of it.
    fn with(&self, witness: &WitnessName, note: &Arc<str>, line: &str) -> String {
        let mut recent = self.recent.lock();
        let at = recent.iter().position(|signed| signed.note == *note);
        let mut signed = at
            .and_then(|at| recent.remove(at))
            .unwrap_or_else(|| Signed { note: Arc::clone(note), lines: Vec::new() });
        signed.lines.retain(|(known, _)| known != witness);
        signed.lines.push((witness.clone(), line.to_owned()));
        let lines: String = signed.lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        recent.push_back(signed);
        if recent.len() > RECENT {
            recent.pop_front();
        }
        format!("{note}{lines}")
    }
}
