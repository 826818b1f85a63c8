//! URL elicitation: where a client can show its user a page, it is asked to show that of the request that it has just made.
//!
//! Owns what a client said that it can do, in the form of its version: each message of 2026-07-28 says so itself; in 2025-11-25
//! `initialize` did, and the session id carries it along, since this server remembers nothing. Neither a session id nor a
//! `requestState` gives any right: who calls is the certificate, and a request is found for its requester alone.

use super::arguments::MAX_WAIT;
use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::read::Caller;
use crate::control::api::site::Site;
use crate::mcp::{Inbound, Received, Version};
use crate::model::json;
use crate::model::shown::escaped;
use crate::model::{AccessRequestId, SpiffeId};
use axum::http::HeaderValue;
use rmcp::ErrorData;
use rmcp::model::{
    CallToolRequestParams, ElicitRequest, ElicitRequestParams, ErrorCode, InputRequest, InputRequiredResult,
};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What a session id of ours is for.
const SESSION: &str = "mcp session";
/// Under which name the page is asked for, and answered.
const PAGE: &str = "approval";
/// `URLElicitationRequiredError` of 2025-11-25; gone in 2026-07-28.
const REQUIRED: ErrorCode = ErrorCode(-32042);
/// Characters of a caller's text in a message: the page shows all of it.
const SHOWN: usize = 300;

/// How a client can be asked to show a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Not at all.
    None,
    /// By an answer that asks for more, after which the client repeats the call (2026-07-28).
    Answer,
    /// By an error that names the page (2025-11-25).
    Error,
}

impl Way {
    /// What the sender of a message can do; `in_session`: it carries a session id of ours.
    pub(super) fn of(received: &Received, in_session: bool) -> Self {
        let Inbound::Call(request) = &received.inbound else { return Self::None };
        if received.version.is_stateless() {
            let meta = request.params().get("_meta");
            let said = meta.and_then(|meta| meta.get("io.modelcontextprotocol/clientCapabilities"));
            return if shows_pages(said) { Self::Answer } else { Self::None };
        }
        if in_session { Self::Error } else { Self::None }
    }
}

/// Whether a message begins a session in which the client can be asked.
pub(super) fn begins(received: &Received) -> bool {
    let Inbound::Call(request) = &received.inbound else { return false };
    let wanted = request.params().get("protocolVersion").and_then(json::Value::as_str);
    request.call().method == "initialize"
        && wanted == Some(Version::V20251125.as_str())
        && shows_pages(request.params().get("capabilities"))
}

/// `elicitation: {}` alone means forms.
fn shows_pages(capabilities: Option<&json::Value>) -> bool {
    capabilities.and_then(|all| all.get("elicitation")?.get("url")).is_some_and(json::Value::is_object)
}

/// A session id that says that its holder shows pages; none where there is no randomness.
pub(super) fn session(site: &Site, caller: &SpiffeId) -> Option<HeaderValue> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).ok()?;
    let nonce: String = nonce.iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("{nonce}.{}", site.tag(SESSION, caller, &nonce))).ok()
}

/// What a session id says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    /// This process gave it to this caller: its client shows pages.
    Own,
    /// It looks like one of ours: from before a restart, of somebody else, or invented. It says nothing, and is no reason to end the work
    /// of a client that was there before the restart: few begin a session anew when they are told that theirs is over.
    Past,
    /// None of ours.
    Unknown,
}

impl Session {
    pub(super) fn of(site: &Site, caller: &SpiffeId, id: &str) -> Self {
        let is_hex = |text: &str, length| {
            text.len() == length
                && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        };
        match id.split_once('.') {
            Some((nonce, tag)) if site.is_tag(tag, SESSION, caller, nonce) => Self::Own,
            Some((nonce, tag)) if is_hex(nonce, 32) && is_hex(tag, 64) => Self::Past,
            Some(_) | None => Self::Unknown,
        }
    }
}

/// A client that comes back after its user was shown a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Back {
    request: AccessRequestId,
    /// The user went to the page; what came of it, the request says.
    went: bool,
}

impl Back {
    /// Whether a call is one that is repeated. Never for versions in which nothing is repeated.
    pub(super) fn of(call: &CallToolRequestParams, version: Version) -> Result<Option<Self>, Problem> {
        let (state, responses) = match (&call.request_state, &call.input_responses) {
            _ if !version.is_stateless() => return Ok(None),
            (None, None) => return Ok(None),
            // To go on as if nothing had been asked would make a second request.
            (None, Some(_)) => return Err(Problem::malformed("`inputResponses` come with `requestState`")),
            (Some(state), responses) => (state, responses.as_ref()),
        };
        if call.name != "request_access" {
            return Err(Problem::malformed(format!(
                "`{}` has asked for nothing: leave `requestState` out",
                call.name
            )));
        }
        let request = state.parse().map_err(|_| Problem::not_found())?;
        let action = responses.and_then(|all| all.get(PAGE)?.get("action")?.as_str());
        Ok(Some(Self { request, went: action == Some("accept") }))
    }

    /// The request, if it is this caller's and made for that task; for everybody else there is none (law 11).
    pub(super) fn request(
        &self,
        api: &Api,
        caller: &Caller,
        arguments: &Map<String, Value>,
    ) -> Result<AccessRequestId, Problem> {
        let task = arguments.get("task").and_then(Value::as_str);
        let is_theirs = api.plane.with_state(|state| {
            let request = state.request(self.request).map(|record| &record.request);
            request.is_some_and(|request| {
                request.requester == *caller.id() && Some(request.task.as_str()) == task
            })
        });
        if is_theirs { Ok(self.request) } else { Err(Problem::not_found()) }
    }

    /// How long it is waited for a decision: not at all where the user did not go there.
    pub(super) fn wait(&self, asked: Duration) -> Duration {
        match (self.went, asked.is_zero()) {
            (false, _) => Duration::ZERO,
            (true, true) => MAX_WAIT,
            (true, false) => asked,
        }
    }
}

/// The page of a request, and what a user is told of it before they go there.
#[derive(Debug)]
pub(super) struct Page {
    request: AccessRequestId,
    url: String,
    message: String,
}

impl Page {
    /// None where there is no such request (any more).
    pub(super) fn of(api: &Api, id: AccessRequestId) -> Option<Self> {
        let (who, task, what, ttl) = api.plane.with_state(|state| {
            let request = &state.request(id)?.request;
            let what: Vec<String> = request.scope.permissions().iter().map(ToString::to_string).collect();
            Some((request.principal.to_string(), request.task.to_string(), what.join(", "), request.ttl))
        })?;
        let message = format!(
            "{} asks for access to {}, for {ttl}, for the task {}. People with a say decide on this page; why it is asked for stands \
             there. Nobody is signed in by the link: the page opens for the certificate of whoever decides.",
            shown(&who),
            shown(&what),
            shown(&task),
        );
        Some(Self { request: id, url: api.site.approval_url(id), message })
    }

    /// The answer that asks for it.
    pub(super) fn answer(self) -> InputRequiredResult {
        let elicitation = ElicitRequestParams::UrlElicitationParams {
            meta: None,
            message: self.message,
            url: self.url,
            // Not of this version, but `rmcp` writes it; what is not known is not read.
            elicitation_id: self.request.to_string(),
        };
        let request = InputRequest::Elicitation(ElicitRequest::new(elicitation));
        let requests = [(PAGE.to_owned(), request)].into_iter().collect();
        InputRequiredResult::new(Some(requests), Some(self.request.to_string()))
    }

    /// The error that asks for it. It is all that some agents see: it says how to go on.
    pub(super) fn error(self) -> ErrorData {
        let Self { request, url, message } = self;
        let text = format!(
            "the request {request} is pending and somebody has to decide at {url}: send the same call again with the same \
             `idempotency_key`, or call `access_status` with this `id` and `wait`"
        );
        let page = json!({"mode": "url", "elicitationId": request, "url": url, "message": message});
        ErrorData::new(REQUIRED, text, Some(json!({"elicitations": [page]})))
    }
}

fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    escaped(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(name: &str, more: Value) -> CallToolRequestParams {
        let mut call = json!({"name": name, "arguments": {"task": "T"}});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(call).unwrap()
    }

    #[test]
    fn forms_alone_are_no_pages() {
        for (capabilities, shows) in [
            (json!({"elicitation": {"url": {}}}), true),
            (json!({"elicitation": {"form": {}, "url": {"more": 1}}}), true),
            (json!({"elicitation": {}}), false),
            (json!({"elicitation": {"form": {}}}), false),
            (json!({"elicitation": {"url": null}}), false),
            (json!({"elicitation": {"url": true}}), false),
            (json!({"url": {}}), false),
            (json!([]), false),
        ] {
            assert_eq!(shows_pages(Some(&capabilities.clone().into())), shows, "{capabilities}");
        }
    }

    #[test]
    fn a_call_is_repeated_with_the_state_that_it_was_given() {
        let new = Version::V20260728;
        let id = "rq_01jzzzzzzzzzzzzzzzzzzzzzzz";
        let back = |more: Value| Back::of(&call("request_access", more), new);
        let said =
            |action: &str| json!({"requestState": id, "inputResponses": {"approval": {"action": action}}});
        assert_eq!(back(json!({})).unwrap(), None);
        for (action, went) in [("accept", true), ("decline", false), ("cancel", false), ("", false)] {
            let back = back(said(action)).unwrap().unwrap();
            assert_eq!((back.request.to_string().as_str(), back.went), (id, went), "{action}");
            assert_eq!(back.wait(Duration::ZERO), if went { MAX_WAIT } else { Duration::ZERO });
            assert_eq!(back.wait(Duration::from_secs(1)).as_secs(), u64::from(went));
        }
        assert_eq!(back(json!({"requestState": id})).unwrap().map(|back| back.went), Some(false));
        assert_eq!(back(json!({"requestState": "invented"})).unwrap_err().reason, "not_found");
        let lost = back(json!({"inputResponses": {"approval": {"action": "accept"}}}));
        assert_eq!(lost.unwrap_err().reason, "malformed", "it would make a second request");
        assert_eq!(Back::of(&call("task_done", said("accept")), new).unwrap_err().reason, "malformed");
        assert_eq!(Back::of(&call("request_access", said("accept")), Version::V20251125).unwrap(), None);
    }

    #[test]
    fn texts_of_callers_are_short_and_do_not_act() {
        let text = shown(&"\u{202e}\n".repeat(400));
        assert!(
            text.starts_with("\\u{202e}\\u{a}") && text.ends_with('…') && !text.contains('\u{202e}'),
            "{text}"
        );
        assert_eq!(shown("orders:GET:/v1/orders/7"), "orders:GET:/v1/orders/7");
    }
}
