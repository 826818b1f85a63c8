//! Why a call has no answer of the service, as the JSON-RPC error that its caller gets instead. The gate's own words stay in it.

use super::messages::Broken;
use crate::cli::failure::chain;
use crate::cli::loopback::GateError;
use crate::mcp::Id;
use crate::mcp::refused::ACCESS_DENIED;
use http::StatusCode;
use serde_json::{Map, Value, json};

/// JSON-RPC: the text is no JSON.
pub(super) const PARSE_ERROR: i32 = -32_700;
/// JSON-RPC: the call could not be carried out, through no fault of its own.
const INTERNAL: i32 = -32_603;
/// What the gate's problems begin with.
const PROBLEM: &str = "urn:jitgate:problem:";

/// A JSON-RPC error, and what follows from it.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    error: Value,
    kind: Kind,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The gate says that access is missing: asking may help.
    Denied,
    /// The session is gone; nothing was done.
    SessionOver,
    /// There is no such thing there (404, 405).
    Absent,
    /// Anything else.
    Other,
}

impl Fault {
    /// Ours, with a reason for programs and a sentence for people.
    pub(super) fn new(reason: &str, detail: &str) -> Self {
        Self::with(INTERNAL, Kind::Other, reason, detail)
    }

    pub(super) fn session_over(detail: &str) -> Self {
        Self::with(INTERNAL, Kind::SessionOver, "session_over", detail)
    }

    fn with(code: i32, kind: Kind, reason: &str, detail: &str) -> Self {
        let data = json!({"type": format!("{PROBLEM}{reason}"), "reason": reason, "detail": detail});
        Self { error: json!({"code": code, "message": detail, "data": data}), kind }
    }

    /// The gate gives no answer.
    pub(super) fn gate(error: &GateError) -> Self {
        match error {
            GateError::Connect(_) => {
                Self::new("gate_unavailable", &format!("the gate cannot be reached: {}", chain(error)))
            }
            GateError::Broken(_) => {
                Self::new("cut", &format!("{}; whether the call took effect is unknown", chain(error)))
            }
        }
    }

    /// An answer began and has no end.
    pub(super) fn cut(broken: Option<&Broken>) -> Self {
        let why = broken.map(|broken| format!(" ({})", chain(broken))).unwrap_or_default();
        let detail = format!(
            "the answer ended before the result{why}: access ended, or the service or the gate went away; whether the call took effect is unknown"
        );
        Self::new("cut", &detail)
    }

    /// An answer with a status that is no success.
    pub(super) fn refused(status: StatusCode, body: &[u8], in_session: bool) -> Self {
        let said: Value = serde_json::from_slice(body).unwrap_or_default();
        let error = rpc_error(&said).or_else(|| problem(&said)).unwrap_or_else(|| {
            let name = status.canonical_reason().unwrap_or("no success");
            let detail = format!("the answer is HTTP {}: {name}", status.as_u16());
            json!({"code": INTERNAL, "message": detail, "data": {"reason": "refused", "status": status.as_u16()}})
        });
        let denied = is_denial(&error);
        let kind = match status {
            // The gate says it with a reason of its own; the session is over all the same.
            StatusCode::NOT_FOUND if in_session => Kind::SessionOver,
            _ if denied => Kind::Denied,
            // Servers made with the TypeScript SDK say so for an id that they do not know, after a restart for instance.
            StatusCode::BAD_REQUEST if in_session && speaks_of_session(&error) => Kind::SessionOver,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Kind::Absent,
            _ => Kind::Other,
        };
        Self { error, kind }
    }

    /// What follows from it.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence.
    pub(super) fn text(&self) -> &str {
        self.error.get("message").and_then(Value::as_str).unwrap_or_default()
    }

    /// The error as a whole message.
    pub(super) fn message(&self, id: &Id) -> Vec<u8> {
        rpc(&json!(id), &self.error)
    }
}

/// An error as a whole message; `id` is null where the message could not be read.
pub(super) fn plain(id: Option<&Id>, code: i32, text: &str) -> Vec<u8> {
    rpc(&json!(id), &json!({"code": code, "message": text}))
}

fn rpc(id: &Value, error: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "error": error}).to_string().into_bytes()
}

/// Whether a message is an error by which the gate says that access is missing.
pub(super) fn denies(message: &[u8]) -> bool {
    let said: Value = serde_json::from_slice(message).unwrap_or_default();
    rpc_error(&said).is_some_and(|error| is_denial(&error))
}

fn is_denial(error: &Value) -> bool {
    let data = |name| error.pointer(&format!("/data/{name}")).and_then(Value::as_str).unwrap_or_default();
    let missing = [
        "no_grant",
        "out_of_scope",
        "revoked",
        "expired",
        "not_yet_valid",
        "condition",
        "limit",
        "locked_down",
        "token_required",
        "token_invalid",
    ];
    data("type").starts_with(PROBLEM) && missing.contains(&data("reason"))
}

fn speaks_of_session(error: &Value) -> bool {
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default();
    message.to_ascii_lowercase().contains("session")
}

/// The error of a JSON-RPC message, with what clients insist on.
fn rpc_error(said: &Value) -> Option<Value> {
    let error = said.get("error")?;
    error.get("code")?.as_i64()?;
    error.get("message")?.as_str()?;
    let members = ["code", "message", "data"].map(|name| Some((name.to_owned(), error.get(name)?.clone())));
    Some(Value::Object(members.into_iter().flatten().collect()))
}

/// RFC 9457 as a JSON-RPC error: the gate's answer for services that are plain HTTP.
fn problem(said: &Value) -> Option<Value> {
    let problem = said.as_object()?;
    let kind = problem.get("type")?.as_str()?;
    let word = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let reason = kind.strip_prefix(PROBLEM)?;
    let detail = if word("detail").is_empty() { word("title") } else { word("detail") };
    let mut error = json!({"code": INTERNAL, "message": format!("{reason}: {detail}"), "data": problem});
    if is_denial(&error)
        && let Some(members) = error.as_object_mut()
    {
        let message = format!("access denied ({reason}): {detail}");
        members.insert("code".to_owned(), json!(ACCESS_DENIED));
        members.insert("message".to_owned(), json!(message));
    }
    Some(error)
}

/// A result as a whole message.
pub(super) fn result(id: &Id, result: Map<String, Value>) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &Value, in_session: bool) -> (Value, Kind) {
        let status = StatusCode::from_u16(status).unwrap();
        let fault = Fault::refused(status, body.to_string().as_bytes(), in_session);
        (serde_json::from_slice(&fault.message(&Id::Number(7))).unwrap(), fault.kind())
    }

    #[test]
    fn the_reason_of_the_gate_and_the_id_of_the_call_are_in_the_error() {
        let problem = json!({"type": "urn:jitgate:problem:no_grant", "title": "Forbidden", "status": 403, "reason": "no_grant",
            "detail": "nothing permits this", "required": [{"type": "http"}], "access_request": "https://c/v1/requests"});
        let (message, kind) = refused(403, &problem, false);
        assert_eq!(
            (&message["id"], &message["error"]["code"], kind),
            (&json!(7), &json!(-32_010), Kind::Denied)
        );
        let text = message["error"]["message"].as_str().unwrap();
        assert!(text.contains("no_grant"), "{text}");
        assert_eq!(message["error"]["data"]["required"], json!([{"type": "http"}]));

        let stale = json!({"type": "urn:jitgate:problem:stale", "title": "Unavailable", "reason": "stale"});
        assert_eq!(refused(503, &stale, false).1, Kind::Other);
        let rpc =
            json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32_001, "message": "Session not found"}});
        let (message, kind) = refused(404, &rpc, true);
        assert_eq!(
            (&message["id"], &message["error"]["code"], kind),
            (&json!(7), &json!(-32_001), Kind::SessionOver)
        );
        assert_eq!(refused(404, &rpc, false).1, Kind::Absent);
        let gone = json!({"jsonrpc": "2.0", "id": 7, "error": {"code": -32_600, "message": "there is no such session",
            "data": {"type": "urn:jitgate:problem:out_of_scope", "reason": "out_of_scope"}}});
        assert_eq!(
            (refused(404, &gone, true).1, refused(404, &gone, false).1),
            (Kind::SessionOver, Kind::Denied)
        );
        let (message, kind) = refused(502, &json!("<html>"), false);
        assert!(message["error"]["message"].as_str().unwrap().contains("502") && kind == Kind::Other);
    }

    #[test]
    fn only_the_gate_denies() {
        let own = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32_010, "message": "m",
            "data": {"type": "urn:jitgate:problem:revoked", "reason": "revoked"}}});
        assert!(denies(own.to_string().as_bytes()));
        let other = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32_010, "message": "m", "data": {"reason": "revoked"}}});
        assert!(!denies(other.to_string().as_bytes()) && !denies(b"{}") && !denies(b"no"));
    }
}
