//! Callers of MCP without a grant for what they name. The answer is made of the request alone and takes the same form for services that
//! exist and for names that were made up (law 11); whether it is MCP is told by what every client of MCP sends.

use super::whole;
use crate::access::{Denial, View};
use crate::mcp::privilege::{self, Privilege};
use crate::mcp::{Head, Inbound, Message, Received, Rules};
use crate::model::scope::Permission;
use crate::model::{McpCall, ServiceName};
use crate::proxy::body::Download;
use crate::proxy::incoming::{Incoming, asking_could_help};
use crate::proxy::reply::{Asker, Shape};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Response};
use hyper::body::Incoming as Body;
use std::time::Duration;

/// Of a stranger's body so much is read, and each piece waited for so long: enough for a call that is worth an answer of its own.
const BODY: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether a request is one that clients of MCP send: JSON, to be answered with JSON or an event stream.
pub(crate) fn speaks_mcp(parts: &Parts) -> bool {
    let text = |name| parts.headers.get(name).and_then(|value| http::HeaderValue::to_str(value).ok());
    parts.method == Method::POST
        && text(CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/json"))
        && text(ACCEPT)
            .is_some_and(|takes| takes.contains("text/event-stream") && takes.contains("application/json"))
}

/// Refuses in the form of MCP what is a message of MCP, and everything else as everywhere: with `as_http`, what would have been enough
/// for it. `shown` is the name that the caller used.
pub(crate) async fn refuse(
    mut incoming: Incoming<'_>,
    denial: Denial,
    (shown, as_http): (String, Option<Permission>),
    parts: &Parts,
    body: Body,
) -> Response<Download> {
    let connected = incoming.connected();
    let shared = &connected.worker.shared;
    let authority = View::of(parts).map(|view| view.authority()).unwrap_or_default();
    let asker = Asker::of(parts, authority);
    let probes = asker.probes();
    incoming.answers_in(Shape::Mcp(Box::new(asker)));
    // Not those of the service, if there is one.
    let rules = Rules::default();
    let read = async {
        let head = Head::read(&rules, &parts.method, &parts.headers)?;
        let room = (&shared.mcp.waiting_room, connected.caller.peer().principal());
        let patience = shared.limits.body_stall_timeout.min(PATIENCE);
        let whole = whole::read(body, BODY, room, patience).await?;
        head.with_body(whole.bytes, None)
    };
    match read.await {
        Ok(received) => {
            incoming.says(&received);
            let service = shown.parse().ok().filter(|_| asking_could_help(denial.reason));
            let required = service.and_then(|service| required(&service, &received));
            incoming.refuse_denied(denial, required.as_ref())
        }
        Err(_) if probes => incoming.refuse_denied(denial, None),
        Err(_) => {
            incoming.answers_in(Shape::Problem);
            incoming.refuse_denied(denial, as_http.as_ref())
        }
    }
}

/// What the first message that needs a grant of its own would have needed.
fn required(service: &ServiceName, received: &Received) -> Option<Permission> {
    let needed = |call: McpCall<'_>| match privilege::needed(call.method, received.version) {
        Privilege::Granted => Permission::for_mcp(service, &call),
        Privilege::Free | Privilege::List(_) | Privilege::Listen => None,
    };
    match &received.inbound {
        Inbound::Call(request) => needed(request.call()),
        Inbound::Batch(messages) => messages.iter().find_map(|message| match message {
            Message::Request(request) => needed(request.call()),
            Message::Notification(_) | Message::Response(_) => None,
        }),
        Inbound::Notification(_)
        | Inbound::Response(_)
        | Inbound::OpenStream { .. }
        | Inbound::EndSession => None,
    }
}
