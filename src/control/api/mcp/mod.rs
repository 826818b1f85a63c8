//! `/mcp`: the control plane as an MCP server, so that an agent without an SDK of ours can ask, wait, work and finish.
//!
//! Every call is checked as the proxy checks calls of MCP ([`crate::mcp`]: one reading, headers that agree with the body, no page of
//! another site), then served by `rmcp` without a session: there is no state of a client to keep, to bound or to mix up; a session
//! id, where a client is given one, only says what the client can do (see [`elicit`]). Who calls is the certificate of the
//! connection; what a tool does is what the REST resource of the same purpose does.

mod arguments;
mod elicit;
mod schema;
mod server;
mod tools;

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, MAX_BODY, bytes};
use crate::control::api::site::SiteFault;
use crate::mcp::{Fault, Head, Limits, Refused, Rules, Version, Versions, header as mcp_header};
use crate::model::{DenyReason, RequestId};
use axum::body::Body;
use axum::extract::{Request, State as Shared};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::StreamableHttpServerConfig;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use server::Asking;
use std::sync::Arc;

/// The versions that clients speak; the first one had batches and was gone before tools had results with a structure.
const VERSIONS: [Version; 3] = [Version::V20250618, Version::V20251125, Version::V20260728];
/// How deep a body may be nested: arguments of a scope are at most eight deep.
const DEPTH: u16 = 32;

/// Takes one message of a client.
pub(super) async fn endpoint(caller: Caller, Shared(api): Shared<Api>, request: Request) -> Response {
    match accepted(&api, &caller, request).await {
        Ok((mut request, begins)) => {
            let session = if begins { elicit::session(&api.site, caller.id()) } else { None };
            request.extensions_mut().insert(caller);
            let service = StreamableHttpService::new(
                move || Ok(Asking::new(api.clone())),
                Arc::new(NeverSessionManager::default()),
                settings(),
            );
            let mut response = service.handle(request).await.map(Body::new);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            if let Some(session) = session {
                response.headers_mut().insert(mcp_header::SESSION_ID, session);
            }
            response
        }
        Err(refused) => refusal(&refused, api.plane.control_time().as_millis()),
    }
}

/// Host and origin are looked at before; see [`accepted`].
fn settings() -> StreamableHttpServerConfig {
    StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_sse_keep_alive(None)
        .with_max_request_body_bytes(MAX_BODY)
        .disable_allowed_hosts()
}

/// The request with its body read: one message that has one reading, or why not. Beside it, whether it begins a session.
async fn accepted(api: &Api, caller: &Caller, request: Request) -> Result<(Request, bool), Refused> {
    let (mut parts, body) = request.into_parts();
    api.site.host(&parts).map_err(foreign)?;
    if parts.method != Method::POST {
        let only_post =
            Fault { reason: DenyReason::Malformed, detail: "this server has no sessions: `POST` alone" };
        return Err(Refused { status: StatusCode::METHOD_NOT_ALLOWED, ..only_post.into() });
    }
    if parts.uri.query().is_some() {
        return Err(Fault { reason: DenyReason::Malformed, detail: "`/mcp` takes no query" }.into());
    }
    let rules = rules();
    let head = Head::read(&rules, &parts.method, &parts.headers)?;
    let session = head.session().map(|id| elicit::Session::of(&api.site, caller.id(), id.as_str()));
    if session == Some(elicit::Session::Unknown) {
        let unknown =
            Fault { reason: DenyReason::Malformed, detail: "there is no such session: initialize anew" };
        return Err(Refused { status: StatusCode::NOT_FOUND, ..unknown.into() });
    }
    let in_session = session == Some(elicit::Session::Own);
    let body = bytes(body, MAX_BODY).await.map_err(|problem| unread(&problem))?;
    let received = head.with_body(body, in_session.then_some(Version::V20251125))?;
    // It has said what it is there for.
    parts.headers.remove(mcp_header::SESSION_ID);
    parts.extensions.insert(elicit::Way::of(&received, in_session));
    parts.extensions.insert(received.version);
    let begins = elicit::begins(&received);
    Ok((Request::from_parts(parts, Body::from(received.body)), begins))
}

fn rules() -> Rules {
    Rules {
        versions: Versions::of(VERSIONS).unwrap_or(Versions::ALL),
        limits: Limits { body_bytes: MAX_BODY, depth: DEPTH },
        ..Rules::default()
    }
}

fn foreign(_: SiteFault) -> Refused {
    let detail = "this host name is not one of the control plane's";
    Refused {
        status: StatusCode::MISDIRECTED_REQUEST,
        ..Fault { reason: DenyReason::Condition, detail }.into()
    }
}

fn unread(problem: &Problem) -> Refused {
    let fault = if problem.status == StatusCode::PAYLOAD_TOO_LARGE.as_u16() {
        Fault { reason: DenyReason::TooLarge, detail: "the body is too large" }
    } else {
        Fault { reason: DenyReason::Malformed, detail: "the body ended early" }
    };
    fault.into()
}

fn refusal(refused: &Refused, millis: u64) -> Response {
    let mut random = [0; 10];
    // It names a line of nobody's trail; where there is no randomness it names it less well.
    let _ = getrandom::fill(&mut random);
    let reply = refused.reply(RequestId::from_parts(millis, random));
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    let mut response = (reply.status, headers, reply.body).into_response();
    if reply.status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
