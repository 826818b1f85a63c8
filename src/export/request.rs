//! A line of a proxy's trail as a record: its members, and its OCSF event.
//!
//! An `end`, `admit` or `summary` line is an API Activity (6003), a refused handshake an Authentication (3002).

use super::ocsf::{self, Class, object, put};
use super::record::{Form, Record};
use crate::model::Time;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::time::Duration;

/// The record of one line; `None` if it is no line of a trail.
pub(super) fn record(seq: u64, text: String, form: Form, origin: &str) -> Option<Record> {
    let line: Map<String, Value> = serde_json::from_str(&text).ok()?;
    let line = Line(&line);
    let time: Time = line.text("time")?.parse().ok()?;
    let kind = line.text("kind")?.to_owned();
    let notable = line.text("decision") == Some("deny")
        || kind == "handshake"
        || kind == "summary"
        || matches!(line.text("end"), Some("cut" | "unknown"));
    let (fields, ocsf) = match form {
        Form::Fields => (line.fields(), Vec::new()),
        Form::Ocsf => (Vec::new(), vec![event(&line, &kind, time, ocsf::Log { seq, origin, text: &text })]),
    };
    let trace_id = line.text("trace_id").and_then(trace);
    Some(Record { seq, time, kind, notable, trace_id, fields, ocsf, text })
}

fn trace(text: &str) -> Option<[u8; 16]> {
    let number = Some(text).filter(|text| text.len() == 32).map(|text| u128::from_str_radix(text, 16));
    Some(number?.ok()?.to_be_bytes())
}

/// The members of a line.
struct Line<'a>(&'a Map<String, Value>);

impl<'a> Line<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    fn time(&self, name: &str) -> Option<Time> {
        self.text(name)?.parse().ok()
    }

    /// What is there, with members of members as `user.subject`.
    fn fields(&self) -> Vec<(String, Value)> {
        let mut fields = Vec::with_capacity(self.0.len());
        for (name, value) in self.0 {
            match value {
                Value::Null => {}
                Value::Object(members) => {
                    fields.extend(
                        members.iter().map(|(member, value)| (format!("{name}.{member}"), value.clone())),
                    );
                }
                Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    fields.push((name.clone(), value.clone()));
                }
            }
        }
        fields
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// What OCSF has no place for.
    fn unmapped(&self) -> Value {
        const ELSEWHERE: [&str; 14] = [
            "seq",
            "time",
            "request_id",
            "trace_id",
            "proxy",
            "principal",
            "source",
            "service",
            "method",
            "path",
            "status",
            "count",
            "from",
            "to",
        ];
        let rest =
            self.0.iter().filter(|(name, value)| !value.is_null() && !ELSEWHERE.contains(&name.as_str()));
        Value::Object(rest.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

fn event(line: &Line<'_>, kind: &str, time: Time, log: ocsf::Log<'_>) -> Value {
    let handshake = kind == "handshake" || line.text("of") == Some("handshake");
    let class = if handshake { Class::Authentication } else { Class::ApiActivity };
    let (activity, activity_name) = match (kind, line.text("method")) {
        _ if handshake => (1, "Logon"),
        ("admit", _) => (99, "Admit"),
        ("summary", _) => (99, "Summary"),
        _ if line.text("mcp_method").is_some() => (99, "Call"),
        (_, Some("GET" | "HEAD" | "OPTIONS")) => (2, "Read"),
        (_, Some("POST")) => (1, "Create"),
        (_, Some("PUT" | "PATCH")) => (3, "Update"),
        (_, Some("DELETE")) => (4, "Delete"),
        (_, Some(_)) => (99, "Other"),
        (_, None) => (0, "Unknown"),
    };
    let mut event = ocsf::event(class, (activity, activity_name), time, kind, log);
    let proxy = line.text("proxy").unwrap_or("unknown");
    outcome(&mut event, line, kind, handshake);
    put(&mut event, "actor", actor(line));
    put(&mut event, "src_endpoint", source(line));
    put(&mut event, "unmapped", line.unmapped());
    let named = [("correlation_uid", line.text("request_id")), ("log_provider", Some(proxy))];
    let metadata = event.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(metadata) = metadata {
        for (name, value) in named {
            if let Some(value) = value {
                put(metadata, name, json!(value));
            }
        }
    }
    if let Some(uid) = line.text("trace_id") {
        put(&mut event, "trace", json!({ "uid": uid }));
        ocsf::add_profile(&mut event, "trace");
    }
    if let Some(count) = line.number("count") {
        put(&mut event, "count", json!(count));
    }
    for (name, at) in [("start_time", line.time("from")), ("end_time", line.time("to"))] {
        if let Some(at) = at {
            put(&mut event, name, json!(at.as_millis()));
        }
    }
    if let Some(took) = line.number("duration_us") {
        put(&mut event, "duration", json!(took / 1_000));
        put(&mut event, "start_time", json!(time.minus(Duration::from_micros(took)).as_millis()));
    }
    if handshake {
        logon(&mut event, line, proxy);
    } else {
        call(&mut event, line);
    }
    Value::Object(event)
}

/// What became of it.
fn outcome(event: &mut Map<String, Value>, line: &Line<'_>, kind: &str, handshake: bool) {
    let end = line.text("end");
    let refused =
        line.text("decision") == Some("deny") || handshake || (kind == "summary" && !line.has("removed"));
    let cut = end == Some("cut");
    let failed = refused || matches!(end, Some("cut" | "client_gone" | "upstream_error" | "unknown"));
    let (status, name) = match (failed, kind) {
        (true, _) => (2, "Failure"),
        (false, "admit") => (99, "Admitted"),
        (false, _) => (1, "Success"),
    };
    put(event, "status_id", json!(status));
    put(event, "status", json!(name));
    if let Some(why) = line.text("reason").or(line.text("cause")).or(end) {
        put(event, "status_detail", json!(why));
    }
    if let Some(status) = line.number("status") {
        put(event, "status_code", json!(status.to_string()));
    }
    let severity = if refused || cut { (2, "Low") } else { (1, "Informational") };
    put(event, "severity_id", json!(severity.0));
    put(event, "severity", json!(severity.1));
    // Whether it was let through, and whether that was taken back.
    let decided = line.text("decision").is_some() || refused;
    let action = if refused {
        (2, "Denied")
    } else if decided {
        (1, "Allowed")
    } else {
        (0, "Unknown")
    };
    let disposition = match (refused, cut && line.text("cause") == Some("revoked"), decided) {
        (true, _, _) => (2, "Blocked"),
        (false, true, _) => (24, "Access Revoked"),
        (false, false, true) => (1, "Allowed"),
        (false, false, false) => (0, "Unknown"),
    };
    for (id, name, (value, text)) in
        [("action_id", "action", action), ("disposition_id", "disposition", disposition)]
    {
        put(event, id, json!(value));
        put(event, name, json!(text));
    }
    if let Some(decision) = line.text("decision") {
        let policy = line.text("grant").map(|grant| {
            let task = line.text("task").map(|task| json!(task));
            object([("uid", Some(json!(grant))), ("type", Some(json!("grant"))), ("name", task)])
        });
        put(
            event,
            "authorizations",
            json!([object([("decision", Some(json!(decision))), ("policy", policy)])]),
        );
    }
}

fn actor(line: &Line<'_>) -> Value {
    match line.text("principal") {
        Some(principal) => json!({ "user": user(line, principal) }),
        // OCSF wants somebody.
        None => json!({ "app_name": "unidentified caller" }),
    }
}

fn user(line: &Line<'_>, principal: &str) -> Value {
    object([
        ("uid", Some(json!(principal))),
        ("name", Some(json!(principal))),
        ("type_id", Some(json!(4))),
        ("type", Some(json!("Service"))),
        ("credential_uid", line.text("certificate_sha256").map(|sum| json!(sum))),
    ])
}

fn source(line: &Line<'_>) -> Value {
    let Some(source) = line.text("source") else { return json!({ "name": "several sources" }) };
    match source.parse::<SocketAddr>() {
        Ok(address) => json!({ "ip": address.ip(), "port": address.port() }),
        Err(_) => match source.parse::<std::net::IpAddr>() {
            Ok(ip) => json!({ "ip": ip }),
            Err(_) => json!({ "name": source }),
        },
    }
}

/// What an Authentication says beside that.
fn logon(event: &mut Map<String, Value>, line: &Line<'_>, proxy: &str) {
    let user = line
        .text("principal")
        .map_or_else(|| json!({ "name": "unknown" }), |principal| user(line, principal));
    put(event, "user", user);
    put(event, "service", json!({ "name": proxy }));
    put(event, "auth_protocol_id", json!(99));
    put(event, "auth_protocol", json!("mutual TLS"));
    put(event, "is_remote", json!(true));
}

/// What an API Activity says beside that.
fn call(event: &mut Map<String, Value>, line: &Line<'_>) {
    let (method, path) = (line.text("method"), line.text("path"));
    let operation = match (line.text("mcp_method"), line.text("tool"), method) {
        (Some(mcp), Some(tool), _) => format!("{mcp} {tool}"),
        (Some(mcp), None, _) => mcp.to_owned(),
        (None, _, Some(method)) => format!("{method} {}", path.unwrap_or_default()).trim_end().to_owned(),
        (None, _, None) => "unknown".to_owned(),
    };
    let text = |name: &str| line.text(name).map(|text| json!(text));
    let number = |name: &str| line.number(name).map(|number| json!(number));
    let named = |name: &str, kind: &str| line.text(name).map(|text| json!({ "name": text, "type": kind }));
    let code = number("status");
    let api = object([
        ("operation", Some(json!(operation))),
        ("service", line.text("service").map(|service| json!({ "name": service }))),
        ("request", line.text("request_id").map(|id| json!({ "uid": id }))),
        ("response", code.as_ref().map(|code| json!({ "code": code }))),
    ]);
    put(event, "api", api);
    put(event, "message", json!(operation));
    let request = object([
        ("http_method", text("method")),
        ("url", path.filter(|path| !path.is_empty()).map(|path| json!({ "path": path }))),
        ("uid", text("request_id")),
        ("version", text("protocol")),
        ("body_length", number("bytes_in")),
    ]);
    put(event, "http_request", request);
    if code.is_some() {
        put(event, "http_response", object([("code", code), ("body_length", number("bytes_out"))]));
    }
    if let Some(service) = text("service") {
        put(event, "dst_endpoint", json!({ "svc_name": service }));
    }
    let resources: Vec<Value> =
        [named("service", "service"), named("tool", "tool")].into_iter().flatten().collect();
    if !resources.is_empty() {
        put(event, "resources", json!(resources));
    }
}

#[cfg(test)]
mod tests;
