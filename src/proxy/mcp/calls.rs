//! The calls of one request that have no answer yet, noted in their session as long as somebody may still fetch it.

use super::cancel::Canceller;
use super::shelf::{Owned, Shelf};
use crate::access::{Cell, GrantSet};
use crate::mcp::session::{Belongs, Call, SessionError};
use crate::mcp::{Answer, AnswerKind, EventId, Id, ListKind};
use crate::model::{Recording, Time};
use std::sync::Arc;
use std::time::Duration;

/// The calls of one request. Those that are left without an answer are cancelled at the service, and nothing else goes by their ids.
pub(super) struct Calls {
    shelf: Arc<Shelf>,
    owned: Option<Owned>,
    open: Vec<Noted>,
    /// An event of the answer has an id: who lost the stream may go on from there.
    resumable: bool,
    /// The call that this goes on with.
    goes_on: Option<Id>,
    /// How much of the answer is recorded.
    recorded: Recording,
    /// Set once something may have reached the service.
    canceller: Option<Canceller>,
}

/// A call with its id, as sessions note it.
pub(super) type Noted = (Id, Call<Arc<Cell>>);

/// Whose a message of the upstream is.
pub(super) enum Heard {
    /// It is passed on; if it is a list, what of it is permitted.
    Pass(Option<ListKind>),
    /// The same, of a call that may be answered with a task: that belongs to this grant.
    PassCall(Arc<Cell>, Option<ListKind>),
    /// It answers a call whose grant has ended: the caller is told that instead.
    Over(Withheld),
    /// It answers a call that must be recorded, and came where nothing is: the caller is told that instead.
    Unrecorded(Withheld),
    /// It answers a call with more than its grant permits: the caller is told that instead.
    TooLarge(Withheld),
    /// It answers nothing that was asked: it is left out.
    Unasked,
}

/// The call of an answer that its caller does not get.
pub(super) struct Withheld {
    pub(super) id: Id,
    /// The answer may promise a task, of which nobody will ever know.
    pub(super) makes_task: bool,
}

impl Withheld {
    fn of(call: &Call<Arc<Cell>>, id: &Id) -> Self {
        Self { id: id.clone(), makes_task: call.makes_task }
    }
}

/// A call that was withdrawn may still be answered for so long: servers need not say anything, and some keep its stream open for ever.
const WITHDRAWN: Duration = Duration::from_secs(5);

/// More than the grant of a call permits to be answered.
pub(super) const TOO_LARGE: &str = "the answer is larger than the `response_bytes` of the grant";

impl Calls {
    pub(super) fn new(shelf: Arc<Shelf>, owned: Option<Owned>) -> Self {
        Self {
            shelf,
            owned,
            open: Vec::new(),
            resumable: false,
            goes_on: None,
            recorded: Recording::Metadata,
            canceller: None,
        }
    }

    /// So much of the answer is recorded.
    pub(super) fn recorded_at(&mut self, level: Recording) {
        self.recorded = level;
    }

    /// It is about to be sent; what is left without an answer is cancelled through this.
    pub(super) fn sent_through(&mut self, canceller: Canceller) {
        self.canceller = Some(canceller);
    }

    /// This address of the service has answered.
    pub(super) fn answered_at(&mut self, place: usize) {
        self.canceller.iter_mut().for_each(|canceller| canceller.is_at(place));
    }

    /// What tells the service; none before anything was sent.
    pub(super) fn canceller(&self) -> Option<&Canceller> {
        self.canceller.as_ref()
    }

    /// The session that it belongs to.
    pub(super) fn owned(&self) -> Option<&Owned> {
        self.owned.as_ref()
    }

    pub(super) fn shelf(&self) -> &Arc<Shelf> {
        &self.shelf
    }

    /// A call is about to be forwarded.
    pub(super) fn begin(&mut self, id: Id, call: Call<Arc<Cell>>, now: Time) -> Result<(), SessionError> {
        if let Some(Owned { id: session, owner }) = &self.owned {
            self.shelf.sessions().call(session, owner, (id.clone(), call.clone()), now)?;
        }
        self.open.push((id, call));
        Ok(())
    }

    /// The stream goes on with the answer to an earlier call of the session.
    pub(super) fn goes_on_with(
        &mut self,
        (id, call): Noted,
        event: &EventId,
        now: Time,
    ) -> Result<(), SessionError> {
        let Some(Owned { id: session, owner }) = &self.owned else { return Err(SessionError::UnknownEvent) };
        self.shelf.sessions().go_on(session, owner, (event, &id), now)?;
        self.goes_on = Some(id.clone());
        self.open.push((id, call));
        self.resumable = true;
        Ok(())
    }

    /// The calls that have no answer yet.
    pub(super) fn open(&self) -> impl Iterator<Item = &Id> {
        self.open.iter().map(|(id, _)| id)
    }

    /// Whether this is a call without an answer that may be answered with a task.
    pub(super) fn may_make_task(&self, id: &Id) -> bool {
        self.open.iter().any(|(open, call)| open == id && call.makes_task)
    }

    /// Whether its caller has withdrawn whatever has no answer yet, so long ago that none is waited for.
    pub(super) fn is_withdrawn(&self, now: Time) -> bool {
        !self.open.is_empty()
            && self
                .open
                .iter()
                .all(|(id, _)| self.withdrawn(id).is_some_and(|since| now.since(since) >= WITHDRAWN))
    }

    fn withdrawn(&self, id: &Id) -> Option<Time> {
        let Owned { id: session, owner } = self.owned.as_ref()?;
        self.shelf.sessions().withdrawn(session, owner, id)
    }

    /// Bytes of the one message that answers it, at most; none of a batch, where each message is looked at by itself.
    pub(super) fn most_of_message(&self) -> Option<u64> {
        if self.open.len() > 1 { None } else { self.most() }
    }

    /// Bytes of all answers to them together, at most; none if one of them is not limited.
    pub(super) fn most(&self) -> Option<u64> {
        let most = self.open.iter().map(|(_, call)| call.most);
        let sum = most.reduce(|sum, most| sum.zip(most).map(|(sum, most)| sum.saturating_add(most)));
        sum.flatten()
    }

    /// A message of the upstream, before it is passed on. `set` is what the caller has now.
    pub(super) fn hear(
        &mut self,
        answer: &Answer,
        bytes: usize,
        set: &GrantSet,
        now: Time,
    ) -> Result<Heard, SessionError> {
        let lives = |cell: &Arc<Cell>| set.holds(cell) && now < cell.expires_at();
        if let AnswerKind::Result(id) | AnswerKind::Error(Some(id)) = &answer.kind
            && let Some((_, call)) = self.open.iter().find(|(open, _)| open == id)
        {
            return Ok(match lives(&call.of) {
                true => passed(call, id, bytes),
                false => Heard::Over(Withheld::of(call, id)),
            });
        }
        let Some(Owned { id: session, owner }) = &self.owned else {
            return match &answer.kind {
                AnswerKind::Result(_) | AnswerKind::Error(Some(_)) => Ok(Heard::Unasked),
                // Nobody could answer it: it belongs to no session.
                AnswerKind::Question(_) => Ok(Heard::Unasked),
                AnswerKind::Error(None) | AnswerKind::Notification => Ok(Heard::Pass(None)),
            };
        };
        // A question on the stream of a call is that call's; who answers it needs its grant.
        let under = match &*self.open {
            [(_, call)] => Some(Arc::clone(&call.of)),
            _ => None,
        };
        match self.shelf.sessions().hear(session, owner, answer, under, now) {
            Ok(Belongs::ToSession) => Ok(Heard::Pass(None)),
            Ok(Belongs::ToCall(call)) if lives(&call.of) => {
                let demanded = call.of.recording();
                let recorded = demanded < Recording::Full || self.recorded == Recording::Full;
                Ok(match &answer.kind {
                    AnswerKind::Result(id) | AnswerKind::Error(Some(id)) if recorded => {
                        passed(call, id, bytes)
                    }
                    AnswerKind::Result(id) | AnswerKind::Error(Some(id)) => {
                        Heard::Unrecorded(Withheld::of(call, id))
                    }
                    AnswerKind::Error(None) | AnswerKind::Question(_) | AnswerKind::Notification
                        if recorded =>
                    {
                        Heard::Pass(None)
                    }
                    AnswerKind::Error(None) | AnswerKind::Question(_) | AnswerKind::Notification => {
                        Heard::Unasked
                    }
                })
            }
            Ok(Belongs::ToCall(call)) => match &answer.kind {
                AnswerKind::Result(id) | AnswerKind::Error(Some(id)) => {
                    Ok(Heard::Over(Withheld::of(call, id)))
                }
                AnswerKind::Error(None) | AnswerKind::Question(_) | AnswerKind::Notification => {
                    Ok(Heard::Unasked)
                }
            },
            Err(SessionError::NotCalled) => Ok(Heard::Unasked),
            Err(error) => Err(error),
        }
    }

    /// Whether what is told beside a call may be told here: within the bytes of its grant, and recorded where it must be.
    pub(super) fn may_tell(&self, cell: &Cell, bytes: usize) -> bool {
        let most = cell.limits().response_bytes;
        let recorded = cell.recording() < Recording::Full || self.recorded == Recording::Full;
        recorded && most.is_none_or(|most| bytes as u64 <= most.get())
    }

    /// Its answer was passed on, or it was refused.
    pub(super) fn finish(&mut self, id: &Id) {
        self.open.retain(|(open, _)| open != id);
        if let Some(Owned { id: session, owner }) = &self.owned {
            self.shelf.sessions().finish(session, owner, id);
        }
    }

    /// An event of the answer has this id.
    pub(super) fn event(&mut self, event: EventId, now: Time) -> Result<(), SessionError> {
        let Some(Owned { id: session, owner }) = &self.owned else { return Ok(()) };
        let call = self.open.first().map(|(id, _)| id.clone());
        self.resumable |= call.is_some();
        self.shelf.sessions().event(session, owner, event, call, now)
    }

    /// What has no answer yet will get none: it is cancelled at the service, and the ids stay barred in the session.
    pub(super) fn abandon_all(&mut self) {
        let open = std::mem::take(&mut self.open);
        let Some(canceller) = &self.canceller else {
            // Nothing was sent.
            if let Some(Owned { id: session, owner }) = &self.owned {
                let mut sessions = self.shelf.sessions();
                open.iter().for_each(|(id, _)| _ = sessions.finish(session, owner, id));
            }
            return;
        };
        canceller.cancel(open.iter().map(|(id, _)| id));
        let Some(owned) = &self.owned else { return };
        for (id, _) in &open {
            let over = self.shelf.sessions().abandon(&owned.id, &owned.owner, id);
            if over {
                canceller.end_session(owned.clone());
            }
        }
    }
}

fn passed(call: &Call<Arc<Cell>>, id: &Id, bytes: usize) -> Heard {
    match call.makes_task {
        _ if call.most.is_some_and(|most| bytes as u64 > most) => Heard::TooLarge(Withheld::of(call, id)),
        true => Heard::PassCall(Arc::clone(&call.of), call.list),
        false => Heard::Pass(call.list),
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        if let (Some(call), Some(Owned { id: session, owner })) = (self.goes_on.take(), &self.owned) {
            self.shelf.sessions().gone_on(session, owner, &call);
        }
        if self.resumable {
            // Nobody goes on with what was withdrawn.
            let open = std::mem::take(&mut self.open);
            self.open = open.into_iter().filter(|(id, _)| self.withdrawn(id).is_some()).collect();
        }
        self.abandon_all();
    }
}
