//! What the log amounts to when a control plane starts. Nothing is served meanwhile, and proxies enforce for no longer than a lease: so a
//! page is read while the one before is parsed.

use super::StartError;
use crate::control::clock::ControlClock;
use crate::control::log::EventLog;
use crate::control::state::{ApplyError, State};
use crate::model::Revision;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

/// Events read at once while replaying, if they are small.
const PAGE: usize = 1024;

/// The events, and what is kept beside them. The clock never runs below either.
pub(super) async fn replay(log: &dyn EventLog, clock: &ControlClock) -> Result<State, StartError> {
    let mut state = events(log).await?;
    clock.observe(state.time());
    for kept in log.kept_trails().await? {
        clock.observe(kept.at);
        state.keep_trail(&kept);
    }
    Ok(state)
}

async fn events(log: &dyn EventLog) -> Result<State, StartError> {
    let head = log.head().await?;
    let mut state = State::default();
    while state.revision() < head {
        let pages = (state.revision().0..head.0).step_by(PAGE);
        let mut pages = stream::iter(pages).map(|after| log.read(Revision(after), PAGE)).buffered(2);
        while let Some(page) = pages.try_next().await? {
            if page.is_empty() {
                return Err(ApplyError::Gap { applied: state.revision(), found: head }.into());
            }
            // Of large events less was read, and the next page does not follow.
            let is_short = page.len() < PAGE;
            for recorded in page {
                state.apply(recorded.revision, &recorded.event)?;
            }
            if is_short {
                break;
            }
        }
    }
    Ok(state)
}
