//! What was said in one session.

use super::{Owner, SessionError};
use crate::mcp::{EventId, Id, ListKind, Version};
use crate::model::Time;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// A call that has no result yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call<C> {
    /// Set if its result is a list that has to be filtered.
    pub list: Option<ListKind>,
    /// What the gate keeps with it.
    pub of: C,
}

/// What a message of the upstream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belongs<'s, C> {
    /// The result or error of this call; it is over once the message has been passed on ([`super::Sessions::finish`]).
    ToCall(&'s Call<C>),
    /// To the session as a whole.
    ToSession,
}

#[derive(Debug)]
pub(super) struct State<C> {
    pub(super) owner: Owner,
    pub(super) version: Version,
    pub(super) used: Time,
    /// What its owner's access rests on.
    pub(super) under: Vec<C>,
    calls: HashMap<Id, Call<C>>,
    questions: HashSet<Id>,
    /// Oldest first, with the call whose answer the stream was.
    events: VecDeque<(EventId, Option<Id>)>,
}

impl<C> State<C> {
    pub(super) fn new(owner: Owner, version: Version, under: Vec<C>, now: Time) -> Self {
        let (calls, questions, events) = (HashMap::new(), HashSet::new(), VecDeque::new());
        Self { owner, version, used: now, under, calls, questions, events }
    }

    pub(super) fn is_idle(&self, now: Time, after: Duration) -> bool {
        now.since(self.used) > after
    }

    pub(super) fn call(&mut self, id: Id, call: Call<C>, bound: usize) -> Result<(), SessionError> {
        if self.calls.contains_key(&id) {
            return Err(SessionError::IdInUse);
        }
        if self.calls.len() >= bound {
            return Err(SessionError::TooManyCalls);
        }
        // Events of an earlier call with this id are not its own.
        self.events.retain(|(_, of)| of.as_ref() != Some(&id));
        self.calls.insert(id, call);
        Ok(())
    }

    pub(super) fn called(&self, id: &Id) -> Option<&Call<C>> {
        self.calls.get(id)
    }

    pub(super) fn finish(&mut self, id: &Id) -> Option<C> {
        self.calls.remove(id).map(|call| call.of)
    }

    pub(super) fn end_calls(&mut self, is_over: &mut impl FnMut(&C) -> bool) {
        self.calls.retain(|_, call| !is_over(&call.of));
    }

    pub(super) fn ask(&mut self, id: &Id, bound: usize) -> Result<(), SessionError> {
        if self.questions.len() >= bound && !self.questions.contains(id) {
            return Err(SessionError::TooManyQuestions);
        }
        // The same question again comes with a resumed stream.
        self.questions.insert(id.clone());
        Ok(())
    }

    pub(super) fn answer(&mut self, id: &Id) -> Result<(), SessionError> {
        match self.questions.remove(id) {
            true => Ok(()),
            false => Err(SessionError::NotAsked),
        }
    }

    pub(super) fn remember(&mut self, event: EventId, call: Option<Id>, bound: usize) {
        while self.events.len() >= bound.max(1) {
            self.events.pop_front();
        }
        self.events.push_back((event, call));
    }

    pub(super) fn resumed(&self, event: &EventId) -> Result<Option<(Id, &Call<C>)>, SessionError> {
        // An id that the upstream used for two streams belongs to neither.
        let mut found = self.events.iter().filter(|(id, _)| id == event).map(|(_, call)| call);
        let first = found.next().ok_or(SessionError::UnknownEvent)?;
        if found.any(|other| other != first) {
            return Err(SessionError::UnknownEvent);
        }
        match first {
            None => Ok(None),
            Some(id) => {
                self.calls.get(id).map(|call| Some((id.clone(), call))).ok_or(SessionError::UnknownEvent)
            }
        }
    }
}
