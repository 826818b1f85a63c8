//! What each message of a request needs in order to be forwarded.

use super::calls::Noted;
use super::prepare::Known;
use crate::audit::record::{Called, Draft};
use crate::mcp::privilege::{self, Privilege};
use crate::mcp::{
    self, Fault, Id, Inbound, ListKind, Notification, Received, Refused, Request, canonical, task,
};
use crate::model::scope::sha256;
use crate::model::{DenyReason, GrantId, McpCall};

/// What a message needs.
pub(super) enum What<'r> {
    /// Any live grant for the service.
    Attend,
    /// This very grant, that of the call whose answer or task it is about, for inputs of so many bytes.
    Under(GrantId, usize),
    /// A grant that permits this call, with arguments of so many bytes.
    Call(McpCall<'r>, usize),
    /// It is about a task that no call of this caller is known to have made: nothing permits that.
    Nothing,
}

/// One message, or one part of it.
pub(super) struct Message<'r> {
    pub(super) what: What<'r>,
    /// Set for the part that is answered.
    pub(super) call: Option<(Id, Option<ListKind>)>,
    /// The question of the upstream that it answers.
    pub(super) answers: Option<Id>,
    /// The call that it withdraws.
    pub(super) withdraws: Option<&'r Id>,
}

impl<'r> Message<'r> {
    fn of(what: What<'r>) -> Self {
        Self { what, call: None, answers: None, withdraws: None }
    }
}

/// What a request needs, never nothing.
///
/// # Errors
/// [`Refused`] where it refers to what is not there.
pub(super) fn of<'r>(
    received: &'r Received,
    resumed: Option<&Noted>,
    known: &Known<'_, '_>,
) -> Result<Vec<Message<'r>>, Refused> {
    let mut out = Vec::with_capacity(1);
    match &received.inbound {
        Inbound::Call(request) => asked(request, received, known, &mut out)?,
        Inbound::Notification(notification) => out.push(told(notification, received, known)?),
        Inbound::Response(response) => out.push(answered(response, known)?),
        Inbound::Batch(messages) => {
            for message in messages {
                match message {
                    mcp::Message::Request(request) => asked(request, received, known, &mut out)?,
                    mcp::Message::Notification(notification) => {
                        out.push(told(notification, received, known)?)
                    }
                    mcp::Message::Response(response) => out.push(answered(response, known)?),
                }
            }
        }
        Inbound::OpenStream { .. } => out.push(Message::of(match resumed {
            Some((_, call)) => What::Under(call.of.id(), 0),
            None => What::Attend,
        })),
        Inbound::EndSession => out.push(Message::of(What::Attend)),
    }
    Ok(out)
}

/// Whether its answer lives while any grant for the service does.
pub(super) fn lasts(received: &Received, resumes_a_call: bool) -> bool {
    match &received.inbound {
        Inbound::OpenStream { .. } => !resumes_a_call,
        Inbound::Call(request) => privilege::needed(request.method(), received.version) == Privilege::Listen,
        Inbound::Notification(_) | Inbound::Response(_) | Inbound::Batch(_) | Inbound::EndSession => false,
    }
}

fn asked<'r>(
    request: &'r Request,
    received: &Received,
    known: &Known<'_, '_>,
    out: &mut Vec<Message<'r>>,
) -> Result<(), Refused> {
    const TASK: Fault = Fault {
        reason: DenyReason::Malformed,
        detail: "only a call that needs a grant of its own is made as a task",
    };
    let call = request.call();
    // A handle belongs to the call that made the task, whatever else is granted.
    let of_task = task::handle(request).map(|handle| {
        known.task(handle).map_or(What::Nothing, |grant| What::Under(grant, request.argument_bytes()))
    });
    let needed = privilege::needed(call.method, received.version);
    if needed != Privilege::Granted && request.params().contains_key("task") {
        return Err(Refused { id: Some(request.id().clone()), ..TASK.into() });
    }
    let (what, list) = match needed {
        Privilege::Free | Privilege::Listen => (What::Attend, None),
        Privilege::List(kind) => (What::Attend, Some(kind)),
        Privilege::Granted => {
            let list = (call.method == "tasks/list").then_some(ListKind::Tasks);
            (of_task.unwrap_or(What::Call(call, request.argument_bytes())), list)
        }
    };
    out.push(Message { call: Some((request.id().clone(), list)), ..Message::of(what) });
    if needed == Privilege::Listen {
        out.extend(request.listened().map(|uri| {
            let call = McpCall { method: "resources/subscribe", name: Some(uri), arguments: None };
            Message::of(What::Call(call, uri.len()))
        }));
    }
    Ok(())
}

fn told<'r>(
    notification: &'r Notification,
    received: &Received,
    known: &Known<'_, '_>,
) -> Result<Message<'r>, Refused> {
    let method = notification.method();
    if let Some(call) = notification.cancels() {
        known.runs(call).map_err(|error| error.refused(None))?;
    }
    let what = match privilege::needed(method, received.version) {
        Privilege::Free => What::Attend,
        Privilege::List(_) | Privilege::Listen | Privilege::Granted => {
            let call = McpCall { method, name: None, arguments: None };
            What::Call(call, notification.argument_bytes())
        }
    };
    Ok(Message { withdraws: notification.cancels(), ..Message::of(what) })
}

/// Who answers what was asked under a call goes on with that call.
fn answered<'r>(response: &mcp::Response, known: &Known<'_, '_>) -> Result<Message<'r>, Refused> {
    let under = known.question(response.id()).map_err(|error| error.refused(None))?;
    let what = under.map_or(What::Attend, |grant| What::Under(grant, response.sent()));
    Ok(Message { answers: Some(response.id().clone()), ..Message::of(what) })
}

/// What the audit trail says of a request, without what the configuration takes out of names; nothing of streams and of what only answers.
pub(crate) fn called(received: &Received, draft: &Draft) -> Option<Called> {
    match &received.inbound {
        Inbound::Call(request) => {
            let call = request.call();
            let canonical =
                call.arguments.and_then(|arguments| canonical::text(arguments, request.argument_bytes()));
            let digest = canonical.map(|canonical| sha256(&canonical));
            let name = call.name.map(|name| draft.clean_name(name));
            let called = Called::new(call.method, name.as_deref(), digest.as_ref());
            // By themselves, so that the digest of the arguments is the same whether a call is sent again or not.
            Some(match request.inputs().and_then(canonical::of) {
                Some(inputs) => called.with_inputs(&sha256(&inputs)),
                None => called,
            })
        }
        Inbound::Notification(notification) => Some(Called::new(notification.method(), None, None)),
        Inbound::Batch(messages) => {
            let (mut methods, mut names) = (Vec::new(), Vec::new());
            for message in messages {
                match message {
                    mcp::Message::Request(request) => {
                        methods.push(request.method());
                        names.extend(request.call().name.map(|name| draft.clean_name(name)));
                    }
                    mcp::Message::Notification(notification) => methods.push(notification.method()),
                    mcp::Message::Response(_) => methods.push("response"),
                }
            }
            let names = (!names.is_empty()).then(|| names.join(","));
            let digest = sha256(&received.body);
            Some(Called::new(&methods.join(","), names.as_deref(), Some(&digest)))
        }
        Inbound::Response(_) => Some(Called::new("response", None, None)),
        Inbound::OpenStream { .. } | Inbound::EndSession => None,
    }
}
