//! What a client sends: a JSON-RPC request, notification or response.
//!
//! A [`Request`] shows the facts that are decided on. They were read from the bytes that are forwarded; nothing is written anew.

use super::Id;
use super::fault::Fault;
use super::fold;
use super::task;
use crate::model::McpCall;
use crate::model::json::{Object, Value};

/// One message of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// It wants an answer.
    Request(Request),
    /// It wants none; its method begins with `notifications/`.
    Notification(Notification),
    /// It answers what the upstream asked.
    Response(Response),
}

/// A JSON-RPC request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    id: Id,
    method: Box<str>,
    name: Option<Box<str>>,
    params: Object,
    sent: usize,
}

/// Bytes of parts of `params`, as they were sent.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    /// Of `arguments` and `inputResponses`, where there is one of them.
    inputs: Option<usize>,
    /// Of everything but the handle of a task and `_meta`.
    beside_task: usize,
    /// Of all.
    pub(super) all: usize,
}

impl Sent {
    /// A member of `params` has so many bytes.
    pub(super) fn member(&mut self, name: &str, bytes: usize) {
        if matches!(name, "arguments" | INPUTS) {
            *self.inputs.get_or_insert(0) += bytes;
        }
        if !matches!(name, TASK_ID | META) {
            self.beside_task += bytes;
        }
    }

    /// What counts as the arguments of a call of this method.
    fn arguments(self, method: &str) -> usize {
        match method {
            "tools/call" | "prompts/get" => self.inputs.unwrap_or(self.all),
            _ if task::METHODS.contains(&method) => self.beside_task,
            _ => self.all,
        }
    }
}

/// A JSON-RPC notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Notification {
    method: Box<str>,
    params: Object,
    sent: usize,
    cancels: Option<Id>,
}

/// A JSON-RPC response. What it says is the upstream's business; which question it answers is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    id: Id,
    sent: usize,
}

/// Bytes of a method's name.
const LONGEST_METHOD: usize = 128;
/// Bytes of a tool's name, a prompt's name or a URI.
const LONGEST_NAME: usize = 8_192;

const NAME: &str = "name";
const URI: &str = "uri";
const META: &str = "_meta";
const TASK_ID: &str = "taskId";
const INPUTS: &str = "inputResponses";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// Members of `params` that mean something to MCP itself.
const PARAMS: [&str; 16] = [
    NAME,
    URI,
    "arguments",
    META,
    "cursor",
    "ref",
    "argument",
    "context",
    "task",
    TASK_ID,
    "requestId",
    INPUTS,
    "requestState",
    "notifications",
    "protocolVersion",
    "level",
];
/// Members of `params._meta` that do.
const METAS: [&str; 5] = [
    VERSION,
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "progressToken",
];

impl Request {
    pub(super) fn new(id: Id, method: &str, params: Option<Object>, sent: Sent) -> Result<Self, Fault> {
        if method.starts_with("notifications/") {
            return Err(Fault::ambiguous("a notification has no id"));
        }
        let (method, params) = checked(method, params)?;
        let name = named(&method, &params)?.map(Box::from);
        if &*method == "subscriptions/listen" {
            listens(&params)?;
        }
        let sent = sent.arguments(&method);
        Ok(Self { id, method, name, params, sent })
    }

    /// Its id; an answer carries the same.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }

    /// Its method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// What a permission is matched against.
    #[must_use]
    pub fn call(&self) -> McpCall<'_> {
        McpCall {
            method: &self.method,
            name: self.name.as_deref(),
            arguments: self.params.get("arguments").and_then(Value::as_object),
        }
    }

    /// Bytes as they were sent: of a tool's or a prompt's `arguments` and `inputResponses`, of all of `params` where there is neither; of what
    /// is about a task all but its handle and `_meta`; of everything else all of `params`.
    #[must_use]
    pub fn argument_bytes(&self) -> usize {
        self.sent
    }

    /// What the caller answers to the service's questions, where it sends the call again with that (2026-07-28).
    #[must_use]
    pub fn inputs(&self) -> Option<&Value> {
        self.params.get(INPUTS)
    }

    /// `params`; empty if there are none.
    #[must_use]
    pub fn params(&self) -> &Object {
        &self.params
    }

    /// The resources whose changes a `subscriptions/listen` asks for: each is as good as its `resources/subscribe`.
    pub fn listened(&self) -> impl Iterator<Item = &str> {
        let wanted = self.params.get("notifications").and_then(|wanted| wanted.get("resourceSubscriptions"));
        wanted.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// The version that it names in its own body, as requests of 2026-07-28 do.
    #[must_use]
    pub fn meta_version(&self) -> Option<&Value> {
        self.params.get(META)?.get(VERSION)
    }
}

impl Notification {
    pub(super) fn new(method: &str, params: Option<Object>, sent: Sent) -> Result<Self, Fault> {
        if !method.starts_with("notifications/") {
            return Err(Fault::malformed("a request has an id"));
        }
        let (method, params) = checked(method, params)?;
        let sent = sent.arguments(&method);
        // What two readers could take for the id of another's call is none.
        let cancels = match &*method {
            "notifications/cancelled" => Some(Id::of(params.get("requestId").unwrap_or(&Value::Null))?),
            _ => None,
        };
        Ok(Self { method, params, sent, cancels })
    }

    /// `notifications/…`.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// As those of a request.
    #[must_use]
    pub fn argument_bytes(&self) -> usize {
        self.sent
    }

    /// Which call a `notifications/cancelled` is about.
    #[must_use]
    pub fn cancels(&self) -> Option<&Id> {
        self.cancels.as_ref()
    }

    /// The version that it names in its own body.
    #[must_use]
    pub fn meta_version(&self) -> Option<&Value> {
        self.params.get(META)?.get(VERSION)
    }
}

impl Response {
    pub(super) fn new(id: Id, sent: usize) -> Self {
        Self { id, sent }
    }

    /// Bytes of its result or its error, as they were sent.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// The id of the question.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }
}

/// What holds for `params` whatever the method is.
fn checked(method: &str, params: Option<Object>) -> Result<(Box<str>, Object), Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.$".contains(&byte);
    if method.is_empty() || method.len() > LONGEST_METHOD || !method.bytes().all(plain) {
        return Err(Fault::malformed("a method is letters, digits and any of `/_-.$`"));
    }
    let params = params.unwrap_or_default();
    params.keys().try_for_each(|name| fold::is_itself(name, &PARAMS))?;
    match params.get(META) {
        None => {}
        Some(Value::Object(meta)) => meta.keys().try_for_each(|name| fold::is_itself(name, &METAS))?,
        Some(_) => return Err(Fault::malformed("`_meta` is an object")),
    }
    if params.get("arguments").is_some_and(|arguments| !arguments.is_object()) {
        return Err(Fault::malformed("`arguments` is an object"));
    }
    Ok((method.into(), params))
}

/// What a request is about: `params.name`, `params.uri`, or for a completion what `params.ref` names.
fn named<'a>(method: &str, params: &'a Object) -> Result<Option<&'a str>, Fault> {
    let (found, needed) = match method {
        "completion/complete" => {
            let Some(Value::Object(reference)) = params.get("ref") else {
                return Err(Fault::malformed("a completion has a `ref`"));
            };
            reference.keys().try_for_each(|name| fold::is_itself(name, &["type", NAME, URI]))?;
            let kind = if reference.contains_key(URI) { "ref/resource" } else { "ref/prompt" };
            if reference.get("type").and_then(Value::as_str) != Some(kind) {
                return Err(Fault::ambiguous("the type of a `ref` is not that of what it names"));
            }
            (either(reference)?, true)
        }
        "tools/call" | "prompts/get" => (either(params)?.filter(|_| params.contains_key(NAME)), true),
        "resources/read" => (either(params)?.filter(|_| params.contains_key(URI)), true),
        // Without a URI no permission fits; a version that does not have them says so.
        "resources/subscribe" | "resources/unsubscribe" => {
            (either(params)?.filter(|_| params.contains_key(URI)), false)
        }
        _ => (either(params)?, false),
    };
    match found {
        None if needed => Err(Fault::malformed("the request does not say what it is about")),
        found => Ok(found),
    }
}

/// What a `subscriptions/listen` may ask for: changes of lists, which show nothing, and of resources, each of which needs a permission.
/// A closed set: whatever else a server might tell on that stream was not asked for by a caller whose right to it is known.
fn listens(params: &Object) -> Result<(), Fault> {
    const SHAPE: Fault = Fault::malformed(
        "`notifications` holds `toolsListChanged`, `promptsListChanged`, `resourcesListChanged` and `resourceSubscriptions` alone",
    );
    let Some(Value::Object(wanted)) = params.get("notifications") else { return Err(SHAPE) };
    for (name, value) in wanted.iter() {
        match (name, value) {
            ("toolsListChanged" | "promptsListChanged" | "resourcesListChanged", Value::Bool(_)) => {}
            ("resourceSubscriptions", Value::Array(uris)) => {
                for uri in uris {
                    let Value::String(uri) = uri else { return Err(SHAPE) };
                    if uri.is_empty() || uri.len() > LONGEST_NAME || !is_plain_uri(uri) {
                        return Err(Fault::ambiguous("a URI has dot segments, a backslash or white space"));
                    }
                }
            }
            _ => return Err(SHAPE),
        }
    }
    Ok(())
}

/// `name` or `uri`, never both.
fn either(members: &Object) -> Result<Option<&str>, Fault> {
    let (text, is_uri) = match (members.get(NAME), members.get(URI)) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(Fault::ambiguous("a request names both a `name` and a `uri`")),
        (Some(Value::String(name)), None) => (name, false),
        (None, Some(Value::String(uri))) => (uri, true),
        (Some(_), None) | (None, Some(_)) => return Err(Fault::malformed("`name` and `uri` are strings")),
    };
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Fault::malformed("a name is empty or holds control characters"));
    }
    if text.len() > LONGEST_NAME {
        return Err(Fault::too_large("a name is too long"));
    }
    if is_uri && !is_plain_uri(text) {
        return Err(Fault::ambiguous("a URI has dot segments, a backslash or white space"));
    }
    Ok(Some(text))
}

/// Servers take URIs apart with URL parsers: these resolve dot segments, also encoded ones, read `\` as `/` and drop white space.
fn is_plain_uri(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or_default();
    let dots = |segment: &str| {
        let bare = segment.replace("%2e", ".").replace("%2E", ".");
        bare == "." || bare == ".."
    };
    !uri.contains(|c: char| c == '\\' || c.is_whitespace()) && !path.split('/').any(dots)
}
