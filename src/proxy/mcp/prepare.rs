//! From the head of a request to its admission.

use super::calls::{Calls, Noted};
use super::needs::{self, What};
use super::send::{Said, Sending};
use super::shelf::Owned;
use super::standing::Standing;
use super::whole;
use crate::access::{Cell, Denial, View};
use crate::mcp::session::{Call, Owner, Route as Address, SessionError};
use crate::mcp::{Fault, Head, Id, Inbound, ListKind, Message, Received, Refused, Request};
use crate::model::scope::Permission;
use crate::model::{DenyReason, GrantId, ServiceName, Time};
use crate::proxy::incoming::{Incoming, Need, asking_could_help};
use crate::proxy::reply::{Asker, Shape};
use crate::proxy::router::Route;
use crate::runtime::clock::Mono;
use crate::session::Live;
use http::request::Parts;
use hyper::body::Incoming as Body;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Why a request goes no further.
pub(super) enum Stop {
    /// It is not what a request of MCP may be.
    Refused(Refused),
    /// No live grant permits it; with what would have been enough.
    Denied(Denial, Option<Permission>),
    /// The one grant that could permit it is not there, in words that say so; asking does not help.
    Severed(Denial, &'static str),
    /// It is not for the endpoint.
    Elsewhere,
    /// The service does not speak MCP.
    Unserved,
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.into())
    }
}

/// A request that was admitted.
pub(super) struct Ready {
    pub(super) live: Live,
    /// What else must go on living, for several messages in one body.
    pub(super) also: Vec<Live>,
    pub(super) sending: Sending,
}

pub(super) async fn prepare(
    incoming: &mut Incoming<'_>,
    route: &Arc<Route>,
    (parts, view): (&Parts, &View<'_>),
    body: Body,
) -> Result<Box<Ready>, Stop> {
    let connected = incoming.connected();
    let shared = &connected.worker.shared;
    let service = route.name();
    let Some(rules) = route.service.mcp.as_ref() else { return Err(Stop::Unserved) };
    incoming.answers_in(Shape::Mcp(Box::new(Asker::of(parts, view.authority()))));
    if view.path() != rules.path.as_str() || view.query().is_some() {
        return Err(Stop::Elsewhere);
    }
    let head = Head::read(rules, &parts.method, &parts.headers)?;
    let principal = connected.caller.peer().principal();
    let found = match head.session() {
        Some(id) => Some(
            shared
                .mcp
                .sessions()
                .find(id, principal, service, now(incoming)?)
                .map_err(|error| error.refused(None))?,
        ),
        None => None,
    };
    let limits = &shared.limits;
    let whole = {
        let room = (&shared.mcp.room, principal);
        whole::read(body, rules.limits.body_bytes, room, limits.body_stall_timeout).await?
    };
    let received = head.with_body(whole.bytes.clone(), found.map(|(_, version)| version))?;
    incoming.says(&received);
    incoming.answers_each(&received);
    // Only now: what is said of a token depends on what the message is.
    let identified = incoming.identify(service.as_str(), &parts.headers).await;
    identified.map_err(|denial| Stop::Denied(denial, None))?;
    let mismatch = mismatch(incoming, route, parts, &received)?;

    let place = found.map_or(Address(0), |(place, _)| place);
    let owner = Owner { principal: principal.clone(), service: service.clone(), route: place };
    let owned = received.session.clone().map(|id| Owned { id, owner });
    let resumed = resumed(incoming, &received, owned.as_ref())?;
    let known = Known { incoming, owned: owned.as_ref(), now: now(incoming)? };
    let messages = needs::of(&received, resumed.as_ref(), &known)?;
    let mut lives: Vec<Live> = Vec::with_capacity(messages.len());
    let mut primary = None;
    for message in &messages {
        let need = match &message.what {
            What::Attend => Need::Attend,
            What::Under(grant, inputs) => Need::Under(*grant, *inputs),
            What::Call(call, arguments) => Need::Call(call, *arguments),
            What::Nothing => {
                return Err(denied(incoming, service, message, Denial::of(DenyReason::OutOfScope)));
            }
        };
        if primary.is_none() && !matches!(message.what, What::Attend) {
            primary = Some(lives.len());
        }
        match incoming.admit(view, service.as_str(), need).await {
            Ok(live) => lives.push(live),
            Err(denial) => return Err(denied(incoming, service, message, denial)),
        }
    }
    if let Some(refused) = mismatch {
        return Err((*refused).into());
    }
    let lasting = needs::lasts(&received, resumed.is_some());
    // A stream lasts while any grant does; what else was admitted beside it must hold as well.
    let primary = if lasting { 0 } else { primary.unwrap_or_default() };
    let cells: Vec<_> = lives.iter().map(|live| Arc::clone(live.cell())).collect();
    if let Some(cell) = cells.get(primary) {
        incoming.draft_mut().grant(cell.id(), cell.task());
    }
    let calls = enter(incoming, &received, owned, (&messages, &cells), resumed)?;
    let (grant, user) = incoming.standing();
    let standing = Standing::of(connected, route, parts, grant, user);
    if primary >= lives.len() {
        // There is a message in each request; without one nothing was permitted.
        return Err(Stop::Denied(Denial::of(DenyReason::OutOfScope), None));
    }
    let live = lives.swap_remove(primary);
    let sending = Sending {
        place: found.map(|(Address(place), _)| place as usize),
        whole,
        calls,
        standing,
        version: received.version,
        limits: rules.limits,
        initialize: matches!(&received.inbound, Inbound::Call(request) if request.method() == "initialize"),
        lasting,
        hint: rules.hint.clone(),
        said: said(&received, (&messages, &cells)),
    };
    Ok(Box::new(Ready { live, also: lives, sending }))
}

/// The headers of a call are not what its tool declares. Who may call the tool is told so, before a use of a grant is taken; for everybody
/// else it is denied first, as what a tool declares is not theirs to know.
fn mismatch(
    incoming: &Incoming<'_>,
    route: &Route,
    parts: &Parts,
    received: &Received,
) -> Result<Option<Box<Refused>>, Stop> {
    let Inbound::Call(request) = &received.inbound else { return Ok(None) };
    let connected = incoming.connected();
    let shelf = &connected.worker.shared.mcp;
    let stands_alone = received.version.is_stateless();
    let differs = stands_alone.then(|| shelf.mismatch(route.name(), &parts.headers, request)).flatten();
    let Some(refused) = differs else { return Ok(None) };
    let (grant, user) = incoming.standing();
    let mut standing = Standing::of(connected, route, parts, grant, user);
    match standing.offers(ListKind::Tools, request.call().name.unwrap_or_default(), now(incoming)?) {
        true => Err((*refused).into()),
        false => Ok(Some(refused)),
    }
}

/// Bytes of what a message is answered with; of what carries no privilege they are not limited.
fn most(what: &What<'_>, cell: &Cell) -> Option<u64> {
    match what {
        What::Call(_, _) | What::Under(_, _) => cell.limits().response_bytes.map(NonZeroU64::get),
        What::Attend | What::Nothing => None,
    }
}

/// What the one call in a body says, where it must be recorded. Several are recorded as the body that they come in; so is a call of which
/// more counts than its arguments, whatever it calls so.
fn said(received: &Received, (messages, cells): (&[needs::Message<'_>], &[Arc<Cell>])) -> Option<Box<Said>> {
    let ([message], [cell]) = (messages, cells) else { return None };
    let What::Call(call, _) = &message.what else { return None };
    if cell.recording().is_metadata() || !matches!(call.method, "tools/call" | "prompts/get") {
        return None;
    }
    let request = match &received.inbound {
        Inbound::Call(request) => Some(request),
        Inbound::Batch(messages) => messages.iter().find_map(|message| match message {
            Message::Request(request) => Some(request),
            Message::Notification(_) | Message::Response(_) => None,
        }),
        Inbound::Notification(_)
        | Inbound::Response(_)
        | Inbound::OpenStream { .. }
        | Inbound::EndSession => None,
    };
    let inputs = request.and_then(Request::inputs).map(serde_json::Value::from);
    let arguments = serde_json::Value::Object(call.arguments?.into());
    Some(Box::new(Said { arguments, inputs }))
}

fn now(incoming: &Incoming<'_>) -> Result<Time, Stop> {
    let gate = &incoming.connected().worker.shared.gate;
    gate.lease().now(Mono::now()).map_err(|_| Stop::Denied(Denial::of(DenyReason::Stale), None))
}

/// The call whose answer a stream goes on with: it must still be there, and its grant must live.
fn resumed(
    incoming: &Incoming<'_>,
    received: &Received,
    owned: Option<&Owned>,
) -> Result<Option<Noted>, Stop> {
    let Inbound::OpenStream { last_event_id: Some(event) } = &received.inbound else { return Ok(None) };
    let Some(Owned { id, owner }) = owned else {
        return Err(SessionError::UnknownEvent.refused(None).into());
    };
    let now = now(incoming)?;
    let shelf = &incoming.connected().worker.shared.mcp;
    let resumed = match shelf.sessions().resume(id, owner, event, now) {
        Ok(found) => found.map(|(call, of)| (call, of.clone())),
        Err(error) => return Err(error.refused(None).into()),
    };
    let Some((call, of)) = resumed else { return Ok(None) };
    let lives = incoming.connected().caller.slot().load().holds(&of.of) && now < of.of.expires_at();
    match lives {
        true => Ok(Some((call, of))),
        false => Err(SessionError::UnknownEvent.refused(None).into()),
    }
}

/// What is known of what messages refer to.
pub(super) struct Known<'k, 'c> {
    incoming: &'k Incoming<'c>,
    owned: Option<&'k Owned>,
    now: Time,
}

impl Known<'_, '_> {
    /// The grant of the call that made a task.
    pub(super) fn task(&self, handle: &str) -> Option<GrantId> {
        let connected = self.incoming.connected();
        let (principal, service) = (connected.caller.peer().principal(), self.incoming.service()?);
        connected.worker.shared.mcp.tasks().cell_of(principal, service, handle).map(|cell| cell.id())
    }

    /// The grant of the call under which the upstream asked; none of a question of the session.
    pub(super) fn question(&self, question: &Id) -> Result<Option<GrantId>, SessionError> {
        let Owned { id, owner } = self.owned.ok_or(SessionError::NotAsked)?;
        let shelf = &self.incoming.connected().worker.shared.mcp;
        let mut sessions = shelf.sessions();
        let cell = sessions.asked(id, owner, question, self.now)?;
        Ok(cell.map(|cell| cell.id()))
    }

    /// Whether a call of the session runs: only that one may be cancelled.
    pub(super) fn runs(&self, call: &Id) -> Result<(), SessionError> {
        let Owned { id, owner } = self.owned.ok_or(SessionError::NotRunning)?;
        self.incoming.connected().worker.shared.mcp.sessions().runs(id, owner, call, self.now)
    }
}

/// Notes in its session what is about to be forwarded.
fn enter(
    incoming: &Incoming<'_>,
    received: &Received,
    owned: Option<Owned>,
    (messages, cells): (&[needs::Message<'_>], &[Arc<Cell>]),
    resumed: Option<Noted>,
) -> Result<Calls, Stop> {
    let connected = incoming.connected();
    let shelf = &connected.worker.shared.mcp;
    let now = now(incoming)?;
    let refused = |error: SessionError, id: Option<&Id>| Stop::Refused(error.refused(id));
    let mut calls = Calls::new(Arc::clone(shelf), owned.clone());
    if let Some(Owned { id, owner }) = &owned {
        let set = connected.caller.slot().load();
        let renew = |under: &mut Vec<Arc<Cell>>| shelf.renew(under, &set, &owner.service);
        shelf.sessions().attend(id, owner, renew, now).map_err(|error| refused(error, None))?;
    }
    for (message, cell) in messages.iter().zip(cells) {
        if let Some((id, list)) = &message.call {
            let makes_task = matches!(message.what, What::Call(_, _));
            let call =
                Call { list: *list, makes_task, most: most(&message.what, cell), of: Arc::clone(cell) };
            calls.begin(id.clone(), call, now).map_err(|error| refused(error, Some(id)))?;
        }
        if let Some(question) = &message.answers {
            let Some(Owned { id, owner }) = &owned else {
                return Err(refused(SessionError::NotAsked, None));
            };
            shelf.sessions().answer(id, owner, question, now).map_err(|error| refused(error, None))?;
        }
        if let (Some(call), Some(Owned { id, owner })) = (message.withdraws, &owned) {
            shelf.sessions().withdraw(id, owner, call, now).map_err(|error| refused(error, None))?;
        }
    }
    if let (Inbound::EndSession, Some(Owned { id, owner })) = (&received.inbound, &owned) {
        shelf.sessions().close(id, owner);
    }
    if let (Some(call), Inbound::OpenStream { last_event_id: Some(event) }) = (resumed, &received.inbound) {
        calls.goes_on_with(call, event, now).map_err(|error| refused(error, None))?;
    }
    Ok(calls)
}

/// No live grant permits a message: a batch is refused as a whole for it.
fn denied(
    incoming: &mut Incoming<'_>,
    service: &ServiceName,
    message: &needs::Message<'_>,
    denial: Denial,
) -> Stop {
    incoming.is_refused_for(message.call.as_ref().map(|(id, _)| id));
    match words(&message.what, denial.reason) {
        Some(detail) => Stop::Severed(denial, detail),
        None => Stop::Denied(denial, required(service, &message.what, denial)),
    }
}

/// What is said of a message that only one grant could permit: there is nothing to ask for.
fn words(what: &What<'_>, reason: DenyReason) -> Option<&'static str> {
    let names_none = matches!(reason, DenyReason::NoGrant | DenyReason::OutOfScope);
    match what {
        What::Nothing => Some("no call of yours is known to have made this task, or its grant has ended"),
        What::Under(_, _) if names_none => {
            Some("the grant of its call has ended, or this request is restricted to another one")
        }
        What::Under(_, _) | What::Call(_, _) | What::Attend => None,
    }
}

/// What would have been enough; the caller has a grant for the service, and may know its name.
fn required(service: &ServiceName, what: &What<'_>, denial: Denial) -> Option<Permission> {
    match what {
        What::Call(call, _) if asking_could_help(denial.reason) => Permission::for_mcp(service, call),
        What::Call(_, _) | What::Attend | What::Under(_, _) | What::Nothing => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_ask_for_what_one_grant_alone_permits() {
        let under = What::Under(GrantId::from_parts(1, [1; 10]), 0);
        for reason in [DenyReason::NoGrant, DenyReason::OutOfScope] {
            for what in [&What::Nothing, &under] {
                assert!(words(what, reason).is_some_and(|words| !words.contains("required")));
            }
            assert_eq!(words(&What::Attend, reason), None);
        }
        // How it ended is said as everywhere.
        assert_eq!(words(&under, DenyReason::Revoked), None);
    }
}
