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
    /// Whether it may be answered with a task that belongs to it.
    pub makes_task: bool,
    /// Bytes of the message that answers it, at most.
    pub most: Option<u64>,
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

/// An event, and the call whose answer its stream was.
type Remembered<C> = (EventId, Option<(Id, Call<C>)>);

#[derive(Debug)]
pub(super) struct State<C> {
    pub(super) owner: Owner,
    pub(super) version: Version,
    pub(super) used: Time,
    /// What its owner's access rests on.
    pub(super) under: Vec<C>,
    calls: HashMap<Id, Call<C>>,
    /// Those of them that their caller has withdrawn, and when. The service may answer all the same, or never.
    withdrawn: HashMap<Id, Time>,
    /// Calls that a resumed stream goes on with, and how many do: also after their answer, no other call goes by their ids meanwhile.
    going_on: HashMap<Id, usize>,
    /// Calls that ended without an answer. The upstream may still answer: nothing else goes by their ids.
    barred: HashSet<Id>,
    /// Oldest first, with what the call is of that was asked under; none where the question came outside of any.
    questions: VecDeque<(Id, Option<C>)>,
    /// Oldest first, with the call whose answer the stream was: also after its answer, which may have been lost on the way.
    events: VecDeque<Remembered<C>>,
}

impl<C: Clone> State<C> {
    pub(super) fn new(owner: Owner, version: Version, under: Vec<C>, now: Time) -> Self {
        let (calls, withdrawn, barred) = (HashMap::new(), HashMap::new(), HashSet::new());
        let (questions, events) = (VecDeque::new(), VecDeque::new());
        let going_on = HashMap::new();
        Self { owner, version, used: now, under, calls, withdrawn, going_on, barred, questions, events }
    }

    /// A session in which a call runs is in use, however long that takes.
    pub(super) fn is_idle(&self, now: Time, after: Duration) -> bool {
        self.calls.is_empty() && now.since(self.used) > after
    }

    pub(super) fn call(&mut self, id: Id, call: Call<C>, bound: usize) -> Result<(), SessionError> {
        if self.calls.contains_key(&id) || self.barred.contains(&id) || self.going_on.contains_key(&id) {
            return Err(SessionError::IdInUse);
        }
        if self.calls.len() >= bound {
            return Err(SessionError::TooManyCalls);
        }
        // Events of an earlier call with this id are not its own.
        self.forget_events(&id);
        self.calls.insert(id, call);
        Ok(())
    }

    fn forget_events(&mut self, call: &Id) {
        self.events.retain(|(_, of)| of.as_ref().is_none_or(|(id, _)| id != call));
    }

    pub(super) fn called(&self, id: &Id) -> Option<&Call<C>> {
        self.calls.get(id)
    }

    /// Nobody waits for the answer any more.
    pub(super) fn withdraw(&mut self, id: &Id, now: Time) {
        if self.calls.contains_key(id) {
            self.withdrawn.entry(id.clone()).or_insert(now);
        }
    }

    pub(super) fn withdrawn(&self, id: &Id) -> Option<Time> {
        self.withdrawn.get(id).copied()
    }

    pub(super) fn finish(&mut self, id: &Id) -> Option<C> {
        self.withdrawn.remove(id);
        self.calls.remove(id).map(|call| call.of)
    }

    /// A call is over without its answer having been passed on. False if there are too many of these: the session has to end.
    pub(super) fn abandon(&mut self, id: &Id, bound: usize) -> bool {
        self.withdrawn.remove(id);
        if self.calls.remove(id).is_some() {
            self.barred.insert(id.clone());
            self.forget_events(id);
        }
        self.barred.len() <= bound
    }

    /// Abandons the calls that are over, and forgets what was asked under them; which ones they were.
    pub(super) fn end_calls(&mut self, is_over: &mut impl FnMut(&C) -> bool) -> Vec<Id> {
        let over: Vec<Id> =
            self.calls.iter().filter(|(_, call)| is_over(&call.of)).map(|(id, _)| id.clone()).collect();
        for id in &over {
            self.abandon(id, usize::MAX);
        }
        self.questions.retain(|(_, of)| !of.as_ref().is_some_and(&mut *is_over));
        self.events.retain(|(_, of)| !of.as_ref().is_some_and(|(_, call)| is_over(&call.of)));
        over
    }

    /// Notes a question. Where too many are open the oldest cannot be answered any more.
    pub(super) fn ask(&mut self, id: &Id, of: Option<C>, bound: usize) {
        // The same question again comes with a resumed stream.
        self.questions.retain(|(asked, _)| asked != id);
        while self.questions.len() >= bound.max(1) {
            self.questions.pop_front();
        }
        self.questions.push_back((id.clone(), of));
    }

    pub(super) fn asked(&self, id: &Id) -> Result<Option<&C>, SessionError> {
        let found = self.questions.iter().find(|(asked, _)| asked == id);
        found.map(|(_, of)| of.as_ref()).ok_or(SessionError::NotAsked)
    }

    pub(super) fn answer(&mut self, id: &Id) -> Result<(), SessionError> {
        let before = self.questions.len();
        self.questions.retain(|(asked, _)| asked != id);
        match self.questions.len() < before {
            true => Ok(()),
            false => Err(SessionError::NotAsked),
        }
    }

    /// Notes an event; if it is of a call, of which.
    pub(super) fn remember(&mut self, event: EventId, call: Option<&Id>, bound: usize) {
        while self.events.len() >= bound.max(1) {
            self.events.pop_front();
        }
        // Of a call that is over already, an earlier event of its stream knows it.
        let known = call
            .map(|id| self.calls.get(id).or_else(|| self.of_events(id)).map(|of| (id.clone(), of.clone())));
        match known {
            None => self.events.push_back((event, None)),
            Some(Some(of)) => self.events.push_back((event, Some(of))),
            // Nobody can go on from there.
            Some(None) => {}
        }
    }

    fn of_events(&self, id: &Id) -> Option<&Call<C>> {
        let mut calls = self.events.iter().filter_map(|(_, of)| of.as_ref());
        calls.find(|(of, _)| of == id).map(|(_, call)| call)
    }

    /// A stream goes on from an event with this call, if it is still the event's.
    pub(super) fn go_on(&mut self, event: &EventId, call: &Id) -> Result<(), SessionError> {
        match self.resumed(event)? {
            Some((id, _)) if id == *call => {
                *self.going_on.entry(id).or_default() += 1;
                Ok(())
            }
            Some(_) | None => Err(SessionError::UnknownEvent),
        }
    }

    /// It does no longer.
    pub(super) fn gone_on(&mut self, call: &Id) {
        if let Some(streams) = self.going_on.get_mut(call) {
            *streams -= 1;
            if *streams == 0 {
                self.going_on.remove(call);
            }
        }
    }

    pub(super) fn resumed(&self, event: &EventId) -> Result<Option<(Id, &Call<C>)>, SessionError> {
        // An id that the upstream used for two streams belongs to neither.
        let mut found = self.events.iter().filter(|(id, _)| id == event).map(|(_, call)| call.as_ref());
        let first = found.next().ok_or(SessionError::UnknownEvent)?;
        let id = |of: Option<&(Id, Call<C>)>| of.map(|(id, _)| id.clone());
        if found.any(|other| id(other) != id(first)) {
            return Err(SessionError::UnknownEvent);
        }
        Ok(first.map(|(id, call)| (id.clone(), call)))
    }
}
