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

/// See the head of this file.
pub(super) struct Notes {
    store: Store,
    /// What was signed of late: what the log signed, and the lines of witnesses.
    recent: Mutex<VecDeque<(Arc<str>, String)>>,
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
        let lines = {
            let mut recent = self.recent.lock();
            if !recent.iter().any(|(known, _)| known == note) {
                if recent.len() >= RECENT {
                    recent.pop_front();
                }
                recent.push_back((Arc::clone(note), String::new()));
            }
            let Some((_, lines)) = recent.iter_mut().find(|(known, _)| known == note) else { return Ok(()) };
            lines.push_str(line);
            lines.push('\n');
            lines.clone()
        };
        self.store.write_witnessed(witness, &format!("{note}{lines}"))
    }
}
