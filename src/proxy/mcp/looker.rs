//! Each message of an answer, looked at before it is passed on: whose it is, what of a list is permitted, what it settles.

use super::calls::{Calls, Heard, TOO_LARGE};
use super::cancel::Canceller;
use super::shelf::{Owned, Shelf, Task};
use super::standing::Standing;
use crate::access::Cell;
use crate::mcp::session::{Owner, SessionError};
use crate::mcp::{Answer, AnswerKind, Denial, EventId, Fault, Id, Limits, ListKind, SessionId, Version};
use crate::mcp::{answer, list, task};
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
}

/// What becomes of a text.
pub(super) enum Looked<'t> {
    Pass(Cow<'t, [u8]>),
    /// It is no message of this caller.
    LeaveOut,
}

/// The service does what the protocol, or its configuration, does not allow.
const BROKEN: Fault = Fault {
    reason: DenyReason::UpstreamUnavailable,
    detail: "the service sent a message that cannot be passed on",
};

impl Looker {
    /// Looks at the body of a JSON answer, or at the data of an event.
    pub(super) fn look<'t>(&mut self, text: &'t [u8], now: Time) -> Result<Looked<'t>, Fault> {
        let answers = answer::read(text, self.version, self.limits)?;
        let mut listed: Vec<(&Id, ListKind)> = Vec::new();
        let mut finished: Vec<&Id> = Vec::new();
        let set = self.standing.caller().slot().load();
        for answer in &answers {
            let heard = self.calls.hear(answer, answer.of(text).len(), &set, now).map_err(|_| BROKEN)?;
            match (heard, &answer.kind) {
                (Heard::Pass(kind), AnswerKind::Result(id) | AnswerKind::Error(Some(id))) => {
                    listed.extend(kind.map(|kind| (id, kind)));
                    finished.push(id);
                    self.initialized(text, answer, now)?;
                }
                (Heard::PassCall(cell), AnswerKind::Result(id) | AnswerKind::Error(Some(id))) => {
                    finished.push(id);
                    self.promised(text, answer, cell)?;
                }
                (Heard::Pass(_), AnswerKind::Question(_)) if self.version.is_stateless() => {
                    return Err(BROKEN);
                }
                (Heard::Pass(_) | Heard::PassCall(_), AnswerKind::Notification)
                    if !self.may_hear(text, answer, now)? =>
                {
                    match answers.len() {
                        1 => return Ok(Looked::LeaveOut),
                        _ => return Err(BROKEN),
                    }
                }
                (Heard::Pass(_) | Heard::PassCall(_), _) => {}
                // Of a batch one message cannot be left out alone; no service has to answer so.
                (Heard::Over(_) | Heard::Unrecorded(_) | Heard::TooLarge(_) | Heard::Unasked, _)
                    if answers.len() > 1 =>
                {
                    return Err(BROKEN);
                }
                (Heard::Over(id), _) => {
                    self.calls.finish(&id);
                    return Ok(Looked::Pass(Cow::Owned(self.says_over(&id))));
                }
                (Heard::Unrecorded(id), _) => {
                    self.calls.finish(&id);
                    let detail = "the answer must be recorded, and came on a stream that is not";
                    return Ok(Looked::Pass(Cow::Owned(self.says(
                        &id,
                        DenyReason::AuditUnavailable,
                        detail,
                    ))));
                }
                (Heard::TooLarge(id), _) => {
                    self.calls.finish(&id);
                    return Ok(Looked::Pass(Cow::Owned(self.says(&id, DenyReason::Limit, TOO_LARGE))));
                }
                (Heard::Unasked, _) => return Ok(Looked::LeaveOut),
            }
        }
        drop(set);
        let standing = &mut self.standing;
        let mut permitted = |kind: ListKind, name: &str| standing.shows(kind, name, now);
        let kind_of = |id: &Id| listed.iter().find(|(of, _)| *of == id).map(|(_, kind)| *kind);
        let shown = std::cell::RefCell::new(&mut permitted);
        let text = list::filter(text, &answers, self.limits, kind_of, |kind, name| {
            (shown.borrow_mut())(kind, name)
        })?;
        finished.into_iter().for_each(|id| self.calls.finish(id));
        Ok(Looked::Pass(text))
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

    /// Whether a notification is one that the caller may hear: of a resource only while it may subscribe to it.
    fn may_hear(&mut self, text: &[u8], answer: &Answer, now: Time) -> Result<bool, Fault> {
        match answer::updated(text, answer, self.limits)? {
            None => Ok(true),
            Some(uri) => Ok(self.standing.subscribes(&uri, now)),
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

    fn says_over(&self, id: &Id) -> Vec<u8> {
        self.says(id, DenyReason::Revoked, "the grant of this call has ended")
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
