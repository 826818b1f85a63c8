//! Whose session it is, and what was said in it.
//!
//! A session id is a bearer secret that the upstream chose. Here it is bound to the principal, the service and the route that opened
//! it: for anybody else, and on any other route, there is no such session. What an answer or a resumption refers
//! to must have been said in that very session.
//!
//! It refuses to know what a call may do: `C` is whatever the gate wants to find again with a call, such as the grant it runs under.
//!
//! Invariants: everything is bounded ([`Bounds`]); what is full refuses what is new. Nothing is ever forgotten into openness: a
//! session, call, question or event that is not known is refused, so that forgetting closes. Time is an argument.

mod bounds;
mod owner;
mod refusal;
mod state;

use super::answer::AnswerKind;
use super::{Answer, EventId, Id, SessionId, Version};
use crate::model::{ServiceName, SpiffeId, Time};
pub use bounds::Bounds;
pub use owner::{Owner, Route};
pub use refusal::SessionError;
use state::State;
pub use state::{Belongs, Call};
use std::collections::HashMap;

/// The sessions of a proxy.
#[derive(Debug)]
pub struct Sessions<C> {
    by_id: HashMap<(ServiceName, SessionId), State<C>>,
    of_principal: HashMap<SpiffeId, usize>,
    bounds: Bounds,
}

impl<C: Clone> Sessions<C> {
    /// None yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { by_id: HashMap::new(), of_principal: HashMap::new(), bounds }
    }

    /// Binds the id that the upstream gave in answer to `initialize`, before the answer is passed on. It lives while any of `under` does,
    /// as [`Self::attend`] says.
    ///
    /// # Errors
    /// [`SessionError::Taken`] and [`SessionError::TooManySessions`]: the answer must not be passed on then.
    pub fn open(
        &mut self,
        id: &SessionId,
        owner: Owner,
        version: Version,
        under: Vec<C>,
        now: Time,
    ) -> Result<(), SessionError> {
        let key = (owner.service.clone(), id.clone());
        if let Some(state) = self.by_id.get(&key) {
            if state.owner != owner {
                return Err(SessionError::Taken);
            }
            self.remove(&key);
        }
        if self.by_id.len() >= self.bounds.sessions {
            self.sweep(now);
        }
        let held = self.of_principal.get(&owner.principal).copied().unwrap_or_default();
        if self.by_id.len() >= self.bounds.sessions || held >= self.bounds.sessions_per_principal {
            return Err(SessionError::TooManySessions);
        }
        *self.of_principal.entry(owner.principal.clone()).or_default() += 1;
        self.by_id.insert(key, State::new(owner, version, under, now));
        Ok(())
    }

    /// A request in a session that its owner still has access for: `renew` looks at what the session has lived under, puts what it
    /// lives under now in its place, and says whether any of the old is left. Access that ended and came back is not the same access.
    ///
    /// # Errors
    /// [`SessionError::Unknown`]; where nothing is left, the session is over.
    pub fn attend(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        renew: impl FnOnce(&mut Vec<C>) -> bool,
        now: Time,
    ) -> Result<(), SessionError> {
        let state = self.own(id, owner, now)?;
        if renew(&mut state.under) {
            return Ok(());
        }
        self.remove(&(owner.service.clone(), id.clone()));
        Err(SessionError::Unknown)
    }

    /// Ends every session that is over by what it lives under; what it gives back is to be ended at the upstream.
    pub fn end_where(
        &mut self,
        mut is_over: impl FnMut(&Owner, &mut Vec<C>) -> bool,
    ) -> Vec<(SessionId, Owner)> {
        let over: Vec<_> = self
            .by_id
            .iter_mut()
            .filter_map(|(key, state)| is_over(&state.owner, &mut state.under).then(|| key.clone()))
            .collect();
        over.into_iter()
            .filter_map(|key| {
                let owner = self.by_id.get(&key)?.owner.clone();
                self.remove(&key);
                Some((key.1, owner))
            })
            .collect()
    }

    /// Where a session lives and what is spoken in it: before a request is read.
    ///
    /// # Errors
    /// [`SessionError::Unknown`] unless it is this principal's at this service.
    pub fn find(
        &self,
        id: &SessionId,
        principal: &SpiffeId,
        service: &ServiceName,
        now: Time,
    ) -> Result<(Route, Version), SessionError> {
        let state = self.by_id.get(&(service.clone(), id.clone())).ok_or(SessionError::Unknown)?;
        match state.owner.principal == *principal && !state.is_idle(now, self.bounds.idle) {
            true => Ok((state.owner.route, state.version)),
            false => Err(SessionError::Unknown),
        }
    }

    /// Notes a call that is about to be forwarded.
    ///
    /// # Errors
    /// [`SessionError`] if it must not be.
    pub fn call(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        call: (Id, Call<C>),
        now: Time,
    ) -> Result<(), SessionError> {
        let calls = self.bounds.calls;
        self.own(id, owner, now)?.call(call.0, call.1, calls)
    }

    /// What the call is of under which the upstream asked: who answers goes on with that call. None for a question of the session.
    ///
    /// # Errors
    /// [`SessionError::NotAsked`], [`SessionError::Unknown`].
    pub fn asked(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        question: &Id,
        now: Time,
    ) -> Result<Option<&C>, SessionError> {
        self.own(id, owner, now)?.asked(question)
    }

    /// Whether a call of this session runs: only that one can be cancelled.
    ///
    /// # Errors
    /// [`SessionError::NotRunning`], [`SessionError::Unknown`].
    pub fn runs(&mut self, id: &SessionId, owner: &Owner, call: &Id, now: Time) -> Result<(), SessionError> {
        self.own(id, owner, now)?.called(call).map(drop).ok_or(SessionError::NotRunning)
    }

    /// The caller has withdrawn a call (`notifications/cancelled`): nobody waits for its answer any more.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub fn withdraw(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        call: &Id,
        now: Time,
    ) -> Result<(), SessionError> {
        self.own(id, owner, now)?.withdraw(call, now);
        Ok(())
    }

    /// When its caller has withdrawn a call that runs; `None` of one that somebody waits for.
    #[must_use]
    pub fn withdrawn(&self, id: &SessionId, owner: &Owner, call: &Id) -> Option<Time> {
        let state = self.by_id.get(&(owner.service.clone(), id.clone()))?;
        if state.owner == *owner { state.withdrawn(call) } else { None }
    }

    /// A call is over and its answer was not passed on: nothing else goes by its id any more. A session with too many of these is over;
    /// true says so.
    pub fn abandon(&mut self, id: &SessionId, owner: &Owner, call: &Id) -> bool {
        let key = (owner.service.clone(), id.clone());
        let bound = self.bounds.abandoned;
        let lives = self
            .by_id
            .get_mut(&key)
            .filter(|state| state.owner == *owner)
            .is_none_or(|state| state.abandon(call, bound));
        !lives && self.remove(&key)
    }

    /// A response of the client: passes for what the upstream asked in this session, once.
    ///
    /// # Errors
    /// [`SessionError::NotAsked`], [`SessionError::Unknown`].
    pub fn answer(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        question: &Id,
        now: Time,
    ) -> Result<(), SessionError> {
        self.own(id, owner, now)?.answer(question)
    }

    /// A message of the upstream in this session, before it is passed on: notes a question, with what the call is of on whose stream it
    /// came (`under`), finds the call of a result.
    ///
    /// # Errors
    /// [`SessionError::NotCalled`], [`SessionError::Unknown`]: it is not passed on.
    pub fn hear(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        answer: &Answer,
        under: Option<C>,
        now: Time,
    ) -> Result<Belongs<'_, C>, SessionError> {
        let questions = self.bounds.questions;
        let state = self.own(id, owner, now)?;
        match &answer.kind {
            AnswerKind::Result(call) | AnswerKind::Error(Some(call)) => {
                state.called(call).map(Belongs::ToCall).ok_or(SessionError::NotCalled)
            }
            AnswerKind::Question(question) => {
                state.ask(question, under, questions);
                Ok(Belongs::ToSession)
            }
            AnswerKind::Error(None) | AnswerKind::Notification => Ok(Belongs::ToSession),
        }
    }

    /// A call is over: its result was passed on, or it was refused or cut. Gives back what was kept with it.
    pub fn finish(&mut self, id: &SessionId, owner: &Owner, call: &Id) -> Option<C> {
        self.by_id
            .get_mut(&(owner.service.clone(), id.clone()))
            .filter(|state| state.owner == *owner)?
            .finish(call)
    }

    /// Remembers an event of a stream; `call` is the one whose answer the stream is, none for a stream of the session.
    ///
    /// # Errors
    /// [`SessionError::Unknown`].
    pub fn event(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        event: EventId,
        call: Option<Id>,
        now: Time,
    ) -> Result<(), SessionError> {
        let events = self.bounds.events;
        self.own(id, owner, now)?.remember(event, call.as_ref(), events);
        Ok(())
    }

    /// A stream is resumed from an event: it must be one of this session, and what its call was under must not have ended: resumption does
    /// not revive it. The call may have its answer, which was perhaps lost on the way. None for a stream of the session.
    ///
    /// # Errors
    /// [`SessionError::UnknownEvent`], [`SessionError::Unknown`].
    pub fn resume(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        event: &EventId,
        now: Time,
    ) -> Result<Option<(Id, &Call<C>)>, SessionError> {
        self.own(id, owner, now)?.resumed(event)
    }

    /// A stream goes on from an event with a call, until [`Self::gone_on`]: no other call goes by the id of its call meanwhile.
    ///
    /// # Errors
    /// As [`Self::resume`]: what was there a moment ago may be gone.
    pub fn go_on(
        &mut self,
        id: &SessionId,
        owner: &Owner,
        (event, call): (&EventId, &Id),
        now: Time,
    ) -> Result<(), SessionError> {
        self.own(id, owner, now)?.go_on(event, call)
    }

    /// A stream that went on with a call is over.
    pub fn gone_on(&mut self, id: &SessionId, owner: &Owner, call: &Id) {
        let state = self.by_id.get_mut(&(owner.service.clone(), id.clone()));
        if let Some(state) = state.filter(|state| state.owner == *owner) {
            state.gone_on(call);
        }
    }

    /// Ends one session: `DELETE`, or the upstream says that it is over.
    pub fn close(&mut self, id: &SessionId, owner: &Owner) -> bool {
        let key = (owner.service.clone(), id.clone());
        self.by_id.get(&key).is_some_and(|state| state.owner == *owner) && self.remove(&key)
    }

    /// Access to a service has died: every session of this principal there is over. What it gives back is ended at the upstream.
    pub fn end(&mut self, principal: &SpiffeId, service: &ServiceName) -> Vec<(SessionId, Owner)> {
        self.remove_where(|state| state.owner.principal == *principal && state.owner.service == *service)
    }

    /// Calls whose grant has ended are gone: their results do not pass any more, nothing of theirs is resumed, and what was asked under
    /// them cannot be answered. They are to be cancelled at the upstream.
    pub fn end_calls(&mut self, mut is_over: impl FnMut(&C) -> bool) -> Vec<(SessionId, Owner, Version, Id)> {
        let mut over = Vec::new();
        for ((_, session), state) in &mut self.by_id {
            let calls = state.end_calls(&mut is_over);
            over.extend(
                calls.into_iter().map(|id| (session.clone(), state.owner.clone(), state.version, id)),
            );
        }
        over
    }

    /// Drops what has not been used for longer than [`Bounds::idle`].
    pub fn sweep(&mut self, now: Time) -> Vec<(SessionId, Owner)> {
        let idle = self.bounds.idle;
        self.remove_where(|state| state.is_idle(now, idle))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn own(&mut self, id: &SessionId, owner: &Owner, now: Time) -> Result<&mut State<C>, SessionError> {
        let idle = self.bounds.idle;
        let state = self.by_id.get_mut(&(owner.service.clone(), id.clone())).ok_or(SessionError::Unknown)?;
        if state.owner != *owner || state.is_idle(now, idle) {
            return Err(SessionError::Unknown);
        }
        state.used = state.used.max(now);
        Ok(state)
    }

    fn remove_where(&mut self, mut is_over: impl FnMut(&State<C>) -> bool) -> Vec<(SessionId, Owner)> {
        let over: Vec<_> = self
            .by_id
            .iter()
            .filter(|(_, state)| is_over(state))
            .map(|(key, state)| (key.clone(), state.owner.clone()))
            .collect();
        over.into_iter()
            .map(|(key, owner)| {
                self.remove(&key);
                (key.1, owner)
            })
            .collect()
    }

    fn remove(&mut self, key: &(ServiceName, SessionId)) -> bool {
        let Some(state) = self.by_id.remove(key) else { return false };
        let principal = state.owner.principal;
        if let Some(held) = self.of_principal.get_mut(&principal) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.of_principal.remove(&principal);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests;
