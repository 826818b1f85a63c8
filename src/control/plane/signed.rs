//! The log as whoever checks it sees it: its checkpoints, its events as it holds them, and whether it is the one that was signed for.

use super::Plane;
use crate::config::WitnessConfig;
use crate::control::log::LogError;
use crate::model::{Revision, WitnessName};
use crate::notary::Latest;
use std::sync::Arc;

/// Events read at once; each may name 1,000 grants.
const PAGE: usize = 64;
/// Above this no further page is read.
const ENTRY_BYTES: usize = 4 << 20;

impl Plane {
    /// The checkpoints of the log, from the first call of [`Self::sign_with`] on.
    #[must_use]
    pub fn checkpoints(&self) -> Option<&Arc<Latest>> {
        self.inner.checkpoints.get()
    }

    /// From now on these are the checkpoints of the log. Only the first call counts.
    pub(crate) fn sign_with(&self, latest: Arc<Latest>) {
        let _ = self.inner.checkpoints.set(latest);
    }

    /// The log is not the one that was signed for. Only the first reason is kept.
    pub(crate) fn log_is_disputed(&self, why: String) {
        let _ = self.inner.disputed.set(why);
    }

    /// Why the log is not signed for any more; `None` where nothing is wrong.
    #[must_use]
    pub fn log_dispute(&self) -> Option<&str> {
        self.inner.disputed.get().map(String::as_str)
    }

    /// An external witness has answered that it knows another log. Of each the last is kept.
    pub(crate) fn witness_has_claimed(&self, witness: &WitnessName, why: &str) {
        let mut claims = self.inner.claims.lock();
        // Their names are those of the configuration.
        if claims.len() < WitnessConfig::MOST || claims.contains_key(witness) {
            claims.insert(witness.clone(), why.to_owned());
        }
    }

    /// What external witnesses have claimed of the log since this process started.
    #[must_use]
    pub fn witness_claims(&self) -> Vec<(WitnessName, String)> {
        self.inner.claims.lock().iter().map(|(witness, why)| (witness.clone(), why.clone())).collect()
    }

    /// Up to `limit` events as the log holds them, after `after`; fewer where they are large, none only at the end of the log.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn entries(&self, after: Revision, limit: usize) -> Result<Vec<String>, LogError> {
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while entries.len() < limit && bytes < ENTRY_BYTES {
            let read = Revision(after.0.saturating_add(entries.len() as u64));
            let page = self.inner.log.entries(read, (limit - entries.len()).min(PAGE)).await?;
            if page.is_empty() {
                break;
            }
            bytes += page.iter().map(String::len).sum::<usize>();
            entries.extend(page);
        }
        Ok(entries)
    }
}
