//! THE page: what happens to every request, in order.
//!
//! view -> token -> decide -> admit -> forward -> audit. Every path that does not reach `forward` ends in a refusal of
//! [`Incoming`]. Requests of MCP take the same steps with their body in hand: `mcp::serve`.

use crate::access::view::{Form, HostBuffer};
use crate::access::{Denial, View};
use crate::config::Durability;
use crate::mcp::metadata;
use crate::model::DenyReason;
use crate::proxy::body::Download;
use crate::proxy::connection::Connected;
use crate::proxy::forward::forward;
use crate::proxy::incoming::{Incoming, Need};
use crate::proxy::{durable, mcp, tunnel};
use http::{Request, Response};
use hyper::body::{Body as _, Incoming as Body};
use std::pin::pin;
use std::sync::Arc;

/// Serves one request.
pub(crate) async fn serve(connected: &Connected, request: Request<Body>) -> Response<Download> {
    let (mut parts, body) = request.into_parts();
    let mut incoming = Incoming::begin(connected, &parts, !body.is_end_stream());
    let (admitted, form) = {
        let view = match View::of(&parts) {
            Ok(view) => view,
            Err(unclear) => return incoming.refuse_unclear(unclear, &parts),
        };
        incoming.is_of(view.form());
        let mut buffer: HostBuffer = [0; 253];
        let router = &connected.worker.shared.router;
        let selected = router.select(connected.route.as_ref(), view.authority(), &mut buffer);
        if let Some(route) = selected.route {
            incoming.goes_to(route);
            // A caller without a grant for it is answered as everywhere (law 11).
            if route.service.mcp.is_some() && connected.caller.slot().load().names(selected.service) {
                let route = Arc::clone(route);
                // Boxed, both: their state would be moved with that of every request.
                let prepared = Box::pin(mcp::prepare(&mut incoming, &route, (&parts, &view), body)).await;
                return Box::pin(mcp::serve(incoming, route, parts, prepared)).await;
            }
        }
        let decided = match incoming.identify(selected.service, &parts.headers).await {
            Ok(()) => incoming.admit(&view, selected.service, Need::Request).await,
            Err(denial) => Err(denial),
        };
        match decided {
            // A grant came between: what is asked of MCP is read first.
            Ok(_) if selected.route.is_some_and(|route| route.service.mcp.is_some()) => {
                (Err((Denial::of(DenyReason::NoGrant), None)), view.form())
            }
            Ok(live) => {
                let Some(route) = selected.route else { return incoming.refuse_unserved() };
                (Ok((live, Arc::clone(route))), view.form())
            }
            Err(denial) => {
                let required = incoming.required(&view, &selected, denial);
                // Without a grant an answer is made of the request alone; clients of MCP get theirs in their own form.
                let stranger = || !connected.caller.slot().load().names(selected.service);
                if mcp::stranger::speaks_mcp(&parts) && stranger() {
                    let shown = (selected.shown.to_owned(), required);
                    return Box::pin(mcp::stranger::refuse(incoming, denial, shown, &parts, body)).await;
                }
                (Err((denial, required)), view.form())
            }
        }
    };
    let (live, route) = match admitted {
        Ok(admitted) => admitted,
        // Where nothing is permitted, the metadata of a protected resource are those of the gate, whatever name is asked for.
        Err((denial, _)) if mcp::asks_for_metadata(&parts, denial.reason) => {
            let path = metadata::resource_path(parts.uri.path()).unwrap_or_default().to_owned();
            return incoming.answer_metadata(&path, &parts);
        }
        Err((denial, required)) => return incoming.refuse_denied(denial, required.as_ref()),
    };
    incoming.keep_back(&mut parts.headers, &route);
    let admitted = match incoming.keep(live, &[], route) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    let admitted = match admitted.route.service.durability {
        Durability::Buffered => admitted,
        Durability::Durable => match Box::pin(durable::on_disk(admitted, &[])).await {
            Ok(admitted) => admitted,
            Err(response) => return *response,
        },
    };
    match form {
        // Pinned where it is made: an awaited call is moved first, and this one is large.
        Form::Http | Form::Grpc => pin!(forward(connected, admitted, parts, body)).await,
        // Boxed: its state would be moved with that of every request.
        Form::Upgrade => Box::pin(tunnel::open(connected, admitted, parts, body)).await,
    }
}
