//! One request of the client: whose it is, in which era it is said, and what its answer becomes.

use super::asking::{Asking, Whose};
use super::bridge::Bridge;
use super::fault::{self, Fault, Kind};
use super::link::{Answered, Way};
use crate::mcp::mirror::{self, Param};
use crate::mcp::{Privilege, Request, Version, header, privilege};
use crate::model::json;
use bytes::Bytes;
use http::HeaderValue;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Tools whose headers are remembered.
const TOOLS: usize = 4_096;

/// In which era a message is said; the client's message tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Era {
    /// 2026-07-28: it stands alone, and names this version.
    Alone(HeaderValue),
    /// Up to 2025-11-25: it is part of a session.
    Session,
}

impl Era {
    /// Of what a message says in `params._meta`.
    pub(super) fn of(version: Option<&json::Value>) -> Self {
        let version = version.and_then(json::Value::as_str).and_then(|text| HeaderValue::from_str(text).ok());
        version.map_or(Self::Session, Self::Alone)
    }

    pub(super) fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }
}

/// The arguments that headers repeat, by tool; learnt from lists that pass.
#[derive(Default)]
pub(super) struct Params(Mutex<HashMap<Box<str>, Box<[Param]>>>);

impl Params {
    fn of(&self, request: &Request) -> Box<[Param]> {
        let call = request.call();
        let name = call.name.filter(|_| call.method == "tools/call");
        name.and_then(|name| self.0.lock().get(name).cloned()).unwrap_or_default()
    }

    fn learn(&self, list: &[u8]) {
        let said: Value = serde_json::from_slice(list).unwrap_or_default();
        let tools = said.pointer("/result/tools").and_then(Value::as_array);
        let mut known = self.0.lock();
        for tool in tools.into_iter().flatten() {
            let name = tool.get("name").and_then(Value::as_str);
            let (Some(name), Some(schema)) = (name, tool.get("inputSchema")) else { continue };
            let params = mirror::params_of(schema);
            if params.is_empty() {
                known.remove(name);
            } else if known.len() < TOOLS || known.contains_key(name) {
                known.insert(name.into(), params.into());
            }
        }
    }
}

impl Bridge {
    /// The message that answers a request.
    pub(super) async fn answered(&self, request: &Request, line: Bytes) -> Result<Vec<u8>, Fault> {
        let era = Era::of(request.meta_version());
        let call = request.call();
        let Some(asking) = &self.asking else {
            return match call.method {
                "initialize" => self.initialize(request, line).await,
                _ => self.pass(request, &era, line).await,
            }
            .map(|answered| answered.text);
        };
        match (call.method, call.name) {
            ("tools/call", Some(name)) => match asking.whose(name) {
                Whose::Ours => asking.call(request, &era, line).await.map(|answered| answered.text),
                Whose::Theirs(theirs) if theirs != name => {
                    let (request, line) = renamed(request, theirs)?;
                    self.pass(&request, &era, line).await.map(|answered| answered.text)
                }
                Whose::Theirs(_) => self.pass(request, &era, line).await.map(|answered| answered.text),
            },
            ("initialize", _) => self.greeted(asking, request, line).await,
            ("server/discover", _) => {
                let answered = self.pass(request, &era, line).await?;
                if answered.failed { Ok(answered.text) } else { with_tools(asking, &answered.text) }
            }
            ("tools/list", _) => self.listed(asking, request, &era, line).await,
            ("ping", _) if !era.is_alone() && self.service.sessions.live().is_none() => {
                Ok(fault::result(request.id(), Map::new()))
            }
            _ => self.pass(request, &era, line).await.map(|answered| answered.text),
        }
    }

    /// To the service, in a session or alone.
    async fn pass(&self, request: &Request, era: &Era, line: Bytes) -> Result<Answered, Fault> {
        if let Era::Alone(version) = era {
            let mut headers = mirror::made(request, &self.params.of(request));
            headers.insert(header::PROTOCOL_VERSION, version.clone());
            return self.service.ask(&Way { headers, live: None, alone: true }, line, request.id()).await;
        }
        let free = privilege::needed(request.method(), Version::V20251125) != Privilege::Granted;
        let mut tried = false;
        loop {
            let way = if self.service.sessions.can_begin() {
                match self.service.opened().await {
                    Ok(live) => Way::within(Some(live)),
                    // The gate says of the call itself why, and what would be enough.
                    Err(fault) if fault.kind() == Kind::Denied => Way::within(None),
                    Err(fault) => return Err(fault),
                }
            } else {
                Way::within(None)
            };
            match self.service.ask(&way, line.clone(), request.id()).await {
                Err(fault) if fault.kind() == Kind::SessionOver && free && !tried => tried = true,
                Err(fault) if fault.kind() == Kind::SessionOver => {
                    // Where access is what is missing, that is what the caller has to know.
                    if self.service.sessions.can_begin() {
                        self.service.opened().await?;
                    }
                    let detail = format!(
                        "the session with the service had ended, and this call was not made: call again ({})",
                        fault.text()
                    );
                    return Err(Fault::session_over(&detail));
                }
                other => return other,
            }
        }
    }

    /// `initialize`, without tools of ours.
    async fn initialize(&self, request: &Request, line: Bytes) -> Result<Answered, Fault> {
        self.service.close().await;
        self.service.sessions.greet_with(request.params().into());
        self.service.initialize(line, request.id()).await
    }

    /// `initialize`. Without access to the service, the client comes up with our tools all the same.
    async fn greeted(&self, asking: &Asking, request: &Request, line: Bytes) -> Result<Vec<u8>, Fault> {
        match self.initialize(request, line).await {
            Ok(answered) if !answered.failed => with_tools(asking, &answered.text),
            Ok(answered) if !fault::denies(&answered.text) => Ok(answered.text),
            Err(fault) if fault.kind() != Kind::Denied => Err(fault),
            Ok(_) | Err(_) => {
                let wanted = request.params().get("protocolVersion").and_then(json::Value::as_str);
                let known = wanted.and_then(|text| text.parse::<Version>().ok());
                let version = known.filter(|version| !version.is_stateless()).unwrap_or(Version::V20251125);
                let result = json!({
                    "protocolVersion": version,
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "jitgate connect", "version": env!("CARGO_PKG_VERSION")},
                    "instructions": asking.instructions(),
                });
                Ok(fault::result(request.id(), result.as_object().cloned().unwrap_or_default()))
            }
        }
    }

    /// `tools/list`: the service's, as far as they are permitted, and ours.
    async fn listed(
        &self,
        asking: &Asking,
        request: &Request,
        era: &Era,
        line: Bytes,
    ) -> Result<Vec<u8>, Fault> {
        let further = request.params().contains_key("cursor");
        let ours = async { if further { Vec::new() } else { asking.tools().await } };
        let (theirs, ours) = tokio::join!(self.pass(request, era, line), ours);
        match theirs {
            Ok(answered) if !answered.failed => {
                if era.is_alone() {
                    self.params.learn(&answered.text);
                }
                asking.merged(&answered.text, ours, era)
            }
            Ok(answered) if further || !fault::denies(&answered.text) => Ok(answered.text),
            Err(fault) if further || fault.kind() != Kind::Denied => Err(fault),
            Ok(_) | Err(_) => Ok(asking.alone(request.id(), ours, era)),
        }
    }
}

/// The same call with the name that the tool has at the service.
fn renamed(request: &Request, name: &str) -> Result<(Request, Bytes), Fault> {
    let mut params = Map::from(request.params());
    params.insert("name".to_owned(), json!(name));
    let text = json!({"jsonrpc": "2.0", "id": request.id(), "method": request.method(), "params": params});
    let line = Bytes::from(text.to_string());
    match super::bridge::read(&line) {
        Ok(crate::mcp::Content::One(crate::mcp::Message::Request(request))) => Ok((request, line)),
        Ok(_) | Err(_) => Err(Fault::new("unreadable", "the call cannot be written anew")),
    }
}

/// What the service says of itself, with tools that may change, and how to ask.
fn with_tools(asking: &Asking, text: &[u8]) -> Result<Vec<u8>, Fault> {
    let wrong = || Fault::new("unreadable", "the service's answer to the handshake cannot be read");
    let mut message: Value = serde_json::from_slice(text).map_err(|_| wrong())?;
    let result = message.get_mut("result").and_then(Value::as_object_mut).ok_or_else(wrong)?;
    let capabilities = result.entry("capabilities").or_insert_with(|| json!({}));
    let tools = capabilities.as_object_mut().ok_or_else(wrong)?.entry("tools").or_insert_with(|| json!({}));
    tools.as_object_mut().ok_or_else(wrong)?.insert("listChanged".to_owned(), json!(true));
    let own = result.get("instructions").and_then(Value::as_str).unwrap_or_default();
    let separator = if own.is_empty() { "" } else { "\n\n" };
    let all = format!("{own}{separator}{}", asking.instructions());
    result.insert("instructions".to_owned(), json!(all));
    serde_json::to_vec(&message).map_err(|_| wrong())
}
