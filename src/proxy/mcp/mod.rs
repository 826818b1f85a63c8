//! Requests of MCP: the same steps as every request takes (`proxy::request`), with the body in hand.
//!
//! head -> session -> body, whole and bounded -> what each message needs -> decide -> admit -> forward, byte for byte -> look at each
//! message of the answer -> audit. The protocol itself is `crate::mcp`; here is what it means for grants: whose a message is, what a
//! session and a task live under, what a list shows, and what is said when access ends.
//!
//! Callers without a grant for the service never come here: they are answered by [`stranger`], as for any name (law 11).

mod answer;
mod calls;
mod cancel;
mod looker;
mod looking;
mod needs;
mod prepare;
mod send;
mod shelf;
mod standing;
pub(crate) mod stranger;
mod whole;

pub(crate) use needs::called;
pub(crate) use shelf::{Shelf, sweep};

use crate::access::View;
use crate::config::Durability;
use crate::model::DenyReason;
use crate::proxy::body::Download;
use crate::proxy::durable;
use crate::proxy::incoming::Incoming;
use crate::proxy::router::Route;
use http::request::Parts;
use http::{Method, Response};
use hyper::body::Incoming as Body;
use prepare::{Ready, Stop};
use std::sync::Arc;

/// A request that was read and decided on.
pub(crate) struct Prepared(Result<Box<Ready>, Stop>);

/// Reads and decides a request at a service that speaks MCP, of a caller with a grant for it.
pub(crate) async fn prepare(
    incoming: &mut Incoming<'_>,
    route: &Arc<Route>,
    (parts, view): (&Parts, &View<'_>),
    body: Body,
) -> Prepared {
    Prepared(prepare::prepare(incoming, route, (parts, view), body).await)
}

/// Forwards it, or answers why not.
pub(crate) async fn serve(
    incoming: Incoming<'_>,
    route: Arc<Route>,
    mut parts: Parts,
    Prepared(prepared): Prepared,
) -> Response<Download> {
    let Ready { live, also, mut sending } = match prepared {
        Ok(ready) => *ready,
        Err(Stop::Unserved) => return incoming.refuse_unserved(),
        Err(Stop::Refused(refused)) => return incoming.refuse_message(&refused),
        Err(Stop::Denied(denial, required)) => return incoming.refuse_denied(denial, required.as_ref()),
        Err(Stop::Severed(denial, detail)) => {
            return incoming.refuse(denial.reason, denial.reason.status(), detail, None);
        }
        Err(Stop::Elsewhere) if asks_for_metadata(&parts, DenyReason::OutOfScope) => {
            let path = crate::mcp::metadata::resource_path(parts.uri.path()).unwrap_or_default();
            return incoming.answer_metadata(path, &parts);
        }
        Err(Stop::Elsewhere) => {
            let detail = "the service speaks MCP, at another path than this one";
            let reason = DenyReason::OutOfScope;
            return incoming.refuse(reason, reason.status(), detail, None);
        }
    };
    incoming.keep_back(&mut parts.headers, &route);
    let connected = incoming.connected();
    let kept = match incoming.keep(live, &also, route) {
        Ok(admitted) if admitted.route.service.durability == Durability::Durable => {
            durable::on_disk(admitted, &also).await
        }
        kept => kept,
    };
    match kept {
        Ok(admitted) => {
            sending.calls.recorded_at(admitted.record.recording());
            send::send(connected, admitted, also, parts, sending).await
        }
        Err(response) => *response,
    }
}

/// Whether a request that nothing permits asks for the metadata of a protected resource (RFC 9728): answered for any name.
pub(crate) fn asks_for_metadata(parts: &Parts, reason: DenyReason) -> bool {
    matches!(reason, DenyReason::NoGrant | DenyReason::OutOfScope)
        && matches!(parts.method, Method::GET | Method::HEAD)
        && crate::mcp::metadata::resource_path(parts.uri.path()).is_some()
}
