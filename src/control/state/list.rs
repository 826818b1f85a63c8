//! Grants by id, from where there are fewest: whoever lists them looks at no more than it has to.

use super::{EndedGrant, Found, LiveGrant, State};
use crate::model::{GrantId, ServiceName, SpiffeId, TaskId};
use std::ops::Bound;

/// Which grants are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among<'a> {
    /// All that are known, ended ones as well.
    All,
    /// Those of a principal, ended ones as well.
    Principal(&'a SpiffeId),
    /// Those of a principal that the log has not ended.
    LiveOfPrincipal(&'a SpiffeId),
    /// Those of a task that the log has not ended.
    LiveOfTask(&'a TaskId),
    /// Those that name a service and that the log has not ended.
    LiveOfService(&'a ServiceName),
}

impl State {
    /// These grants, as far as their id is greater than `after`, by id.
    pub fn grants<'a>(
        &'a self,
        among: Among<'_>,
        after: Option<GrantId>,
    ) -> Box<dyn Iterator<Item = Found<'a>> + 'a> {
        let live = |id: GrantId| self.live.get(&id);
        match among {
            Among::All => {
                let range = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
                let live = self.live.range(range).map(|(_, live)| live);
                Box::new(merged(live, self.ended.range(range)))
            }
            Among::Principal(principal) => {
                let live = self.by_principal.after(principal, after).filter_map(live);
                Box::new(merged(live, self.ended.of_principal(principal, after)))
            }
            Among::LiveOfPrincipal(principal) => {
                Box::new(self.by_principal.after(principal, after).filter_map(live).map(Found::Live))
            }
            Among::LiveOfTask(task) => {
                Box::new(self.by_task.after(task, after).filter_map(live).map(Found::Live))
            }
            Among::LiveOfService(service) => {
                Box::new(self.by_service.after(service, after).filter_map(live).map(Found::Live))
            }
        }
    }
}

/// Both, by id.
fn merged<'a>(
    live: impl Iterator<Item = &'a LiveGrant>,
    ended: impl Iterator<Item = &'a EndedGrant>,
) -> impl Iterator<Item = Found<'a>> {
    let mut live = live.map(Found::Live).peekable();
    let mut ended = ended.map(Found::Ended).peekable();
    std::iter::from_fn(move || {
        let live_first = match (live.peek(), ended.peek()) {
            (Some(live), Some(ended)) => live.grant().id < ended.grant().id,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if live_first { live.next() } else { ended.next() }
    })
}
