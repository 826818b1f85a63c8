//! The control plane's own tools, offered beside those of the service, so that an agent that lacks access can ask for it.
//!
//! Invariant: a call of one of these names goes to the control plane, whatever the service says. A tool of the service with such a name is
//! listed, and called, as `SERVICE__NAME`; what else could be taken for one of these names is not listed.

use super::fault::{self, Fault, Kind};
use super::link::{Answered, Link, Way};
use super::request::Era;
use crate::cli::run::say;
use crate::mcp::{Id, Request, fold, header, mirror};
use crate::model::ServiceName;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The tools that are the control plane's.
pub(super) const OURS: [&str; 5] =
    ["request_access", "access_status", "my_access", "task_done", "task_failed"];
/// How long a list of tools waits for the control plane.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the head of this file.
pub(super) struct Asking {
    control: Arc<Link>,
    service: ServiceName,
    /// Something was asked or ended: access may change.
    pub(super) asked: Notify,
    silent: AtomicBool,
}

/// Whose tool a name is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// The control plane's.
    Ours,
    /// The service's, under the name that it has there.
    Theirs(&'a str),
}

impl Asking {
    pub(super) fn new(control: Arc<Link>, service: ServiceName) -> Self {
        Self { control, service, asked: Notify::new(), silent: AtomicBool::new(false) }
    }

    /// Whose tool it is.
    pub(super) fn whose<'n>(&self, name: &'n str) -> Whose<'n> {
        if OURS.contains(&name) {
            return Whose::Ours;
        }
        let inner = name.strip_prefix(self.service.as_str()).and_then(|rest| rest.strip_prefix("__"));
        Whose::Theirs(inner.filter(|inner| OURS.contains(inner)).unwrap_or(name))
    }

    /// Calls one of our tools.
    pub(super) async fn call(&self, request: &Request, era: &Era, body: Bytes) -> Result<Answered, Fault> {
        let answered = self.control.ask(&way(era, request), body, request.id()).await;
        self.asked.notify_one();
        answered.map_err(|fault| match fault.kind() {
            Kind::Absent => Fault::new("no_asking", "this control plane cannot be asked for access over MCP"),
            Kind::Denied | Kind::SessionOver | Kind::Other => fault,
        })
    }

    /// Our tools, as the control plane describes them; none where it does not answer, which is said once.
    pub(super) async fn tools(&self) -> Vec<Value> {
        match tokio::time::timeout(PATIENCE, self.described()).await {
            Ok(Ok(tools)) => {
                self.silent.store(false, Ordering::Relaxed);
                return tools;
            }
            Ok(Err(fault)) => self.complain(fault.text()),
            Err(_) => self.complain("no answer"),
        }
        Vec::new()
    }

    fn complain(&self, why: &str) {
        if !self.silent.swap(true, Ordering::Relaxed) {
            say(&format!("the control plane does not offer its tools: {why}"));
        }
    }

    async fn described(&self) -> Result<Vec<Value>, Fault> {
        let id = Id::Text("jitgate-connect".into());
        let list = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {}});
        let mut way = Way::default();
        way.headers.insert(header::PROTOCOL_VERSION, LEGACY);
        let answered = self.control.ask(&way, list.to_string().into(), &id).await?;
        let said: Value = serde_json::from_slice(&answered.text).unwrap_or_default();
        let tools = said.pointer("/result/tools").and_then(Value::as_array);
        let named = |tool: &&Value| name_of(tool).is_some_and(|name| OURS.contains(&name));
        Ok(tools.map(|tools| tools.iter().filter(named).cloned().collect()).unwrap_or_default())
    }

    /// A list of the service with our tools in front (`ours` is empty on further pages); an error where it is no list.
    pub(super) fn merged(&self, theirs: &[u8], ours: Vec<Value>, era: &Era) -> Result<Vec<u8>, Fault> {
        let wrong = || Fault::new("unreadable", "the service answered `tools/list` without a list of tools");
        let mut message: Value = serde_json::from_slice(theirs).map_err(|_| wrong())?;
        let result = message.get_mut("result").and_then(Value::as_object_mut).ok_or_else(wrong)?;
        let Some(Value::Array(listed)) = result.remove("tools") else { return Err(wrong()) };
        let mut tools = ours;
        tools.extend(listed.into_iter().filter_map(|tool| self.beside(tool)));
        result.insert("tools".to_owned(), Value::Array(tools));
        if era.is_alone() {
            fresh(result);
        }
        serde_json::to_vec(&message).map_err(|_| wrong())
    }

    /// A tool of the service as it is listed beside ours.
    fn beside(&self, mut tool: Value) -> Option<Value> {
        let name = name_of(&tool)?.to_owned();
        if OURS.contains(&name.as_str()) {
            tool.as_object_mut()?.insert("name".to_owned(), json!(format!("{}__{name}", self.service)));
            return Some(tool);
        }
        let taken = self.whose(&name) != Whose::Theirs(&name);
        if taken || OURS.iter().any(|ours| looks_like(&name, ours)) {
            say(&format!(
                "the service's tool `{name}` is not listed: it could be taken for the control plane's"
            ));
            return None;
        }
        Some(tool)
    }

    /// A list of our tools alone.
    pub(super) fn alone(&self, id: &Id, ours: Vec<Value>, era: &Era) -> Vec<u8> {
        let mut result = Map::new();
        result.insert("tools".to_owned(), Value::Array(ours));
        if era.is_alone() {
            result.insert("resultType".to_owned(), json!("complete"));
            fresh(&mut result);
        }
        fault::result(id, result)
    }

    /// What an agent reads before it calls anything.
    pub(super) fn instructions(&self) -> String {
        format!(
            "Access to the service `{0}` is granted for one task and a short time. When a call is refused, ask with the tool \
             `request_access` for what `error.data.required` says, follow it with `access_status`, and try again once it is approved; end \
             with `task_done` or `task_failed`.",
            self.service
        )
    }
}

const LEGACY: HeaderValue = HeaderValue::from_static("2025-11-25");

/// What is permitted changes: no list is kept for later, and none is for others.
fn fresh(result: &mut Map<String, Value>) {
    result.insert("ttlMs".to_owned(), json!(0));
    result.insert("cacheScope".to_owned(), json!("private"));
}

/// The control plane has no sessions: each message stands alone, in either era.
fn way(era: &Era, request: &Request) -> Way {
    match era {
        Era::Alone(version) => {
            let mut headers = mirror::made(request, &[]);
            headers.insert(header::PROTOCOL_VERSION, version.clone());
            Way { headers, live: None, alone: true }
        }
        Era::Session => {
            let headers = [(header::PROTOCOL_VERSION, LEGACY)].into_iter().collect();
            Way { headers, live: None, alone: false }
        }
    }
}

fn name_of(tool: &Value) -> Option<&str> {
    tool.get("name")?.as_str()
}

/// Whether a reader could take one name for the other.
fn looks_like(name: &str, ours: &str) -> bool {
    let letters = |text: &str| fold::folded(text).chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    letters(name) == letters(ours)
}
