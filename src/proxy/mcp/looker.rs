//! Each message of an answer, looked at before it is passed on: whose it is, what of a list is permitted, what it settles.

use super::calls::{Calls, Heard, TOO_LARGE, Withheld};
use super::cancel::Canceller;
use super::shelf::{Orphan, Owned, Shelf, Task};
use super::standing::Standing;
use crate::access::Cell;
use crate::mcp::answer::{self, About};
use crate::mcp::list::{self, Hint};
use crate::mcp::session::{Owner, SessionError};
use crate::mcp::task;
use crate::mcp::{Answer, AnswerKind, Denial, EventId, Fault, Id, Limits, ListKind, SessionId, Version};
use crate::model::{DenyReason, RequestId, Time};
use std::borrow::Cow;
use std::sync::Arc;

/// What looks at the messages of one answer.
pub(super) struct Looker {
    pub(super) calls: Calls,
    pub(super) standing: Standing,
    pub(super) version: Version,
    pub(super) limits: Limits,
    pub(super) request_id: RequestId,
    /// The session that an answer to `initialize` opens.
    pub(super) opens: Option<Owned>,
    /// What lists say beside their items, and where to ask.
    pub(super) hint: Option<Arc<Hint>>,
    pub(super) access_request: Option<String>,
}

/// What becomes of a text.
pub(super) enum Looked<'t> {
    Pass(Cow<'t, [u8]>),
    /// It is no message of this caller.
    LeaveOut,
}

/// What stands in the place of a message.
enum Instead {
    Nothing,
    Error(Vec<u8>),
}

/// The service does what the protocol, or its configuration, does not allow.
const BROKEN: Fault = Fault {
    reason: DenyReason::UpstreamUnavailable,
    detail: "the service sent a message that cannot be passed on",
};

impl Looker {
    /// Looks at the body of a JSON answer, or at the data of an event. Of a batch, each message is passed on, left out, or stands for an
    /// error, by itself.
    pub(super) fn look<'t>(&mut self, text: &'t [u8], now: Time) -> Result<Looked<'t>, Fault> {
        let answers = answer::read(text, self.version, self.limits)?;
        let mut listed: Vec<(&Id, ListKind)> = Vec::new();
        let mut finished: Vec<&Id> = Vec::new();
        let mut instead: Vec<(usize, Instead)> = Vec::new();
        let set = self.standing.caller().slot().load();
        for (index, answer) in answers.iter().enumerate() {
            let heard = self.calls.hear(answer, answer.of(text).len(), &set, now).map_err(|_| BROKEN)?;
            match (heard, &answer.kind) {
                (Heard::Pass(kind), AnswerKind::Result(id) | AnswerKind::Error(Some(id))) => {
                    listed.extend(kind.map(|kind| (id, kind)));
                    finished.push(id);
                    self.initialized(text, answer, now)?;
                }
                (Heard::PassCall(cell, kind), AnswerKind::Result(id) | AnswerKind::Error(Some(id))) => {
                    listed.extend(kind.map(|kind| (id, kind)));
                    finished.push(id);
                    self.promised(text, answer, cell)?;
                }
                (Heard::Pass(_), AnswerKind::Question(_)) if self.version.is_stateless() => {
                    return Err(BROKEN);
                }
                (Heard::Pass(_) | Heard::PassCall(_, _), AnswerKind::Notification)
                    if !self.may_hear(text, answer, now)? =>
                {
                    instead.push((index, Instead::Nothing));
                }
                (Heard::Pass(_) | Heard::PassCall(_, _), _) => {}
                (Heard::Unasked, _) => instead.push((index, Instead::Nothing)),
                (Heard::Over(call), _) => {
                    let says = (DenyReason::Revoked, "the grant of this call has ended");
                    instead.push((index, self.instead((text, answer), &call, says)));
                }
                (Heard::Unrecorded(call), _) => {
                    let detail = "the answer must be recorded, and came on a stream that is not";
                    let says = (DenyReason::AuditUnavailable, detail);
                    instead.push((index, self.instead((text, answer), &call, says)));
                }
                (Heard::TooLarge(call), _) => {
                    let says = (DenyReason::Limit, TOO_LARGE);
                    instead.push((index, self.instead((text, answer), &call, says)));
                }
            }
        }
        drop(set);
        let batch = text.trim_ascii_start().starts_with(b"[");
        if !batch && let Some((_, instead)) = instead.pop() {
            return Ok(match instead {
                Instead::Nothing => Looked::LeaveOut,
                Instead::Error(says) => Looked::Pass(Cow::Owned(says)),
            });
        }
        let standing = &mut self.standing;
        let shelf = Arc::clone(self.calls.shelf());
        let mut permitted = |kind: ListKind, name: &str| match kind {
            // What a task is for is not in its handle: it belongs to whoever made it, while the grant lives.
            ListKind::Tasks => standing.owns(&shelf, name, now),
            ListKind::Tools | ListKind::Resources | ListKind::Templates | ListKind::Prompts => {
                standing.offers(kind, name, now)
            }
        };
        let kind_of = |id: &Id| listed.iter().find(|(of, _)| *of == id).map(|(_, kind)| *kind);
        let shown = std::cell::RefCell::new(&mut permitted);
        let permits = |kind: ListKind, name: &str| (shown.borrow_mut())(kind, name);
        let hint = |kind| Some(self.hint.as_ref()?.says(kind, self.access_request.as_deref()));
        let all = text;
        let text = list::filter_with(all, &answers, self.limits, kind_of, permits, hint)?;
        self.learn(all, &answers, &listed);
        finished.into_iter().for_each(|id| self.calls.finish(id));
        match instead.is_empty() {
            true => Ok(Looked::Pass(text)),
            false => self.in_part(&text, &instead),
        }
    }

    /// Which headers repeat which arguments, from lists that have one reading, whatever of them is shown. Older versions have no such
    /// headers: there a service may leave out what declares them.
    fn learn(&self, text: &[u8], answers: &[Answer], listed: &[(&Id, ListKind)]) {
        for answer in answers.iter().filter(|_| self.version.is_stateless()) {
            if let (AnswerKind::Result(id), Some(result)) = (&answer.kind, answer.result_of(text))
                && listed.contains(&(id, ListKind::Tools))
            {
                self.calls.shelf().listed(self.standing.service(), result);
            }
        }
    }

    /// A batch in which other messages stand in the place of some; what stays, stays byte for byte.
    fn in_part<'t>(&self, text: &[u8], instead: &[(usize, Instead)]) -> Result<Looked<'t>, Fault> {
        // Its lists may have become longer, by what is said beside them.
        let limits = Limits { body_bytes: text.len(), ..self.limits };
        let mut batch = Vec::with_capacity(text.len());
        for (index, answer) in answer::read(text, self.version, limits)?.iter().enumerate() {
            let message = match instead.iter().find(|(of, _)| *of == index) {
                None => answer.of(text),
                Some((_, Instead::Error(says))) => says,
                Some((_, Instead::Nothing)) => continue,
            };
            batch.push(if batch.is_empty() { b'[' } else { b',' });
            batch.extend_from_slice(message);
        }
        if batch.is_empty() {
            return Ok(Looked::LeaveOut);
        }
        batch.push(b']');
        Ok(Looked::Pass(Cow::Owned(batch)))
    }

    /// An error in the place of an answer, which there will be none of any more.
    fn instead(
        &mut self,
        (text, answer): (&[u8], &Answer),
        Withheld { id, makes_task }: &Withheld,
        (reason, detail): (DenyReason, &str),
    ) -> Instead {
        if *makes_task {
            self.forsake_task(text, answer);
        }
        self.calls.finish(id);
        Instead::Error(self.says(id, reason, detail))
    }

    /// A body, or the data of an event, of which nothing is passed on: the tasks that it promises are cancelled. Of what did not come whole
    /// nothing is known; where it made a task the service has to end that by itself, as it is told that the call is cancelled.
    pub(super) fn forsake(&self, text: &[u8]) {
        for answer in answer::read(text, self.version, self.limits).iter().flatten() {
            if let AnswerKind::Result(id) = &answer.kind
                && self.calls.may_make_task(id)
            {
                self.forsake_task(text, answer);
            }
        }
    }

    /// The caller is not told of the task that an answer promises, and could never end it: it is cancelled.
    fn forsake_task(&self, text: &[u8], answer: &Answer) {
        let Ok(Some(handle)) = task::promised(text, answer, self.limits) else { return };
        let orphan = Orphan {
            service: self.standing.service().clone(),
            handle,
            session: self.calls.owned().cloned(),
            version: self.version,
            place: self.calls.canceller().and_then(Canceller::place),
        };
        let principal = self.standing.caller().peer().principal();
        self.calls.shelf().tasks().forsake(principal, orphan);
    }

    /// An event has an id: its stream may be resumed from there.
    pub(super) fn event(&mut self, id: &[u8], now: Time) {
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse::<EventId>().ok());
        if let Some(id) = id {
            // What is not remembered cannot be resumed from.
            let _ = self.calls.event(id, now);
        }
    }

    /// What an answer to `initialize` settles: the version and the session.
    fn initialized(&mut self, text: &[u8], answer: &Answer, now: Time) -> Result<(), Fault> {
        if let Some(Owned { id, owner }) = self.opens.take()
            && matches!(answer.kind, AnswerKind::Result(_))
        {
            let version = answer::negotiated(text, answer, self.limits)?;
            self.open(id, owner, version, now)?;
        }
        Ok(())
    }

    /// A call may be answered with a task: that belongs to the grant of the call.
    fn promised(&mut self, text: &[u8], answer: &Answer, cell: Arc<Cell>) -> Result<(), Fault> {
        if !matches!(answer.kind, AnswerKind::Result(_)) || memchr::memmem::find(text, b"task").is_none() {
            return Ok(());
        }
        let Some(handle) = task::promised(text, answer, self.limits)? else { return Ok(()) };
        let place = self.calls.canceller().and_then(Canceller::place);
        let service = self.standing.service();
        let made = Task { cell, session: self.calls.owned().cloned(), version: self.version, place };
        self.calls.shelf().made(service, handle, made);
        Ok(())
    }

    /// Whether a notification is one that the caller may hear: of a resource only while it may subscribe to it, of a task only what the
    /// grant of its call permits to be answered, while it lives.
    fn may_hear(&mut self, text: &[u8], answer: &Answer, now: Time) -> Result<bool, Fault> {
        match answer::about(text, answer, self.limits)? {
            None => Ok(true),
            Some(About::Resource(uri)) => Ok(self.standing.subscribes(&uri, now)),
            Some(About::Task(handle)) => {
                let made = self.standing.made(self.calls.shelf(), &handle, now);
                Ok(made.is_some_and(|cell| self.calls.may_tell(&cell, answer.of(text).len())))
            }
        }
    }

    /// Binds the session that an answer to `initialize` names.
    pub(super) fn open(&self, id: SessionId, owner: Owner, version: Version, now: Time) -> Result<(), Fault> {
        let set = self.standing.caller().slot().load();
        let under = Shelf::under(&set, &owner.service);
        let opened = self.calls.shelf().sessions().open(&id, owner.clone(), version, under, now);
        opened.map_err(|error| {
            // One that is somebody else's is theirs to end.
            if let (SessionError::TooManySessions, Some(canceller)) = (error, self.calls.canceller()) {
                canceller.end_session(Owned { id, owner });
            }
            error.refused(None).fault
        })
    }

    /// A JSON-RPC error in the place of an answer.
    pub(super) fn says(&self, id: &Id, reason: DenyReason, detail: &str) -> Vec<u8> {
        let denial = Denial {
            id: Some(id),
            method: None,
            reason,
            detail,
            request_id: self.request_id,
            required: &[],
            access_request: None,
            metadata: None,
        };
        denial.message()
    }
}
