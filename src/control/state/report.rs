//! What proxies say about themselves.

use super::decide::{Context, Draft, identity};
use super::{KnownProxy, Outcome, Refusal, State};
use crate::control::authz::Need;
use crate::model::event::EventBody;
use crate::model::{AuditHealth, ProxyName, Revision};
use std::time::Duration;

/// Changes of one proxy are logged at most so often: a trail that comes and goes must not fill the log.
const PAUSE: Duration = Duration::from_secs(5);

/// The proxy, if it is who speaks.
pub(super) fn speaker<'a>(
    draft: &Draft<'a>,
    proxy: &ProxyName,
    context: &Context<'_>,
) -> Result<&'a KnownProxy, Refusal> {
    let id = identity(draft.actor, Need::Enforce, context.rules)?;
    let known = draft.state.proxies.get(proxy).filter(|known| known.identity == *id);
    known.ok_or_else(|| Refusal::NameTaken { proxy: proxy.clone() })
}

impl State {
    /// Whether the proxy confirms some revocation by having come to `revision`. What confirms nothing is not logged.
    pub(in crate::control) fn is_confirmed_by(&self, proxy: &ProxyName, revision: Revision) -> bool {
        let before = self.proxies.get(proxy).map_or(Revision(0), |known| known.acknowledged);
        revision > self.revision || self.revocations.any_between(before, revision)
    }
}

/// How a proxy's audit trail is: logged at the change. What comes too soon is said again with the next ping.
pub(super) fn audit(
    draft: &mut Draft<'_>,
    proxy: &ProxyName,
    health: AuditHealth,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    let known = speaker(draft, proxy, context)?;
    let (before, soon) = match known.audit {
        None => (AuditHealth::Good, false),
        Some((before, at)) => (before, draft.now < at.plus(PAUSE)),
    };
    if health != before && !soon {
        draft.push(EventBody::AuditReported { proxy: proxy.clone(), health });
    }
    Ok(Outcome::Acknowledged)
}

impl KnownProxy {
    /// Whether it would be news that an external witness disputes its trail: nobody has said so, or a checkpoint of it has contradicted the
    /// one before since then.
    pub(in crate::control) fn may_be_disputed(&self) -> bool {
        let contradicted = |at| {
            let fault = self.trail.as_ref().and_then(|trail| trail.disputed);
            fault.is_some_and(|(_, since)| since > at)
        };
        self.witness_disputed.is_none_or(contradicted)
    }
}

/// An external witness has signed for other lines. That it does not say so any more, perhaps because nobody can ask it, ends nothing.
pub(super) fn dispute(
    draft: &mut Draft<'_>,
    proxy: &ProxyName,
    context: &Context<'_>,
) -> Result<Outcome, Refusal> {
    if speaker(draft, proxy, context)?.may_be_disputed() {
        draft.push(EventBody::WitnessDisputed { proxy: proxy.clone() });
    }
    Ok(Outcome::Acknowledged)
}
