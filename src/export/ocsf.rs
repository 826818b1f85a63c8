//! What every OCSF 1.8 event says: class, activity, time, and where in which log it stands. Events of one line go one a line.

use super::record::Record;
use crate::model::Time;
use crate::model::shown::escaped_json;
use serde_json::{Map, Value, json};

/// The version of the schema.
const VERSION: &str = "1.8.0";

const IAM: &str = "Identity & Access Management";

/// The classes that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// A request.
    ApiActivity,
    /// A handshake.
    Authentication,
    /// Somebody may do something from now on.
    AuthorizeSession,
    /// Something that is kept: a grant, a request for access.
    EntityManagement,
}

impl Class {
    /// Category, class, and their names.
    fn numbers(self) -> (u32, &'static str, u32, &'static str) {
        match self {
            Self::ApiActivity => (6, "Application Activity", 6003, "API Activity"),
            Self::Authentication => (3, IAM, 3002, "Authentication"),
            Self::AuthorizeSession => (3, IAM, 3003, "Authorize Session"),
            Self::EntityManagement => (3, IAM, 3004, "Entity Management"),
        }
    }
}

/// Where an event comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log<'a> {
    /// The entry's position.
    pub(crate) seq: u64,
    /// What identifies the log.
    pub(crate) origin: &'a str,
    /// The entry, byte for byte; nothing where it is added later.
    pub(crate) text: &'a str,
}

/// The beginning of an event: everything that does not depend on the class's own members. Informational until said otherwise.
pub(crate) fn event(
    class: Class,
    (activity, activity_name): (u32, &str),
    time: Time,
    kind: &str,
    log: Log<'_>,
) -> Map<String, Value> {
    let (category, category_name, uid, name) = class.numbers();
    let mut event = Map::new();
    for (key, value) in [
        ("category_uid", json!(category)),
        ("category_name", json!(category_name)),
        ("class_uid", json!(uid)),
        ("class_name", json!(name)),
        ("activity_id", json!(activity)),
        ("activity_name", json!(activity_name)),
        ("type_uid", json!(uid * 100 + activity)),
        ("type_name", json!(format!("{name}: {activity_name}"))),
        ("severity_id", json!(1)),
        ("severity", json!("Informational")),
        ("time", json!(time.as_millis())),
        ("timezone_offset", json!(0)),
        (
            "metadata",
            json!({
                "version": VERSION,
                "product": { "name": "jitgate", "vendor_name": "jitgate", "version": env!("CARGO_PKG_VERSION") },
                "profiles": ["security_control"],
                "uid": format!("{}#{}", log.origin, log.seq),
                "log_name": log.origin,
                "sequence": log.seq,
                "event_code": kind,
                "original_time": time.to_string(),
            }),
        ),
    ] {
        event.insert(key.to_owned(), value);
    }
    if !log.text.is_empty() {
        put_raw(&mut event, log.text);
    }
    event
}

/// The entry itself.
pub(crate) fn put_raw(event: &mut Map<String, Value>, text: &str) {
    put(event, "raw_data", json!(text));
    put(event, "raw_data_size", json!(text.len()));
}

/// An object of those members that are there.
pub(crate) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    let there = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(there.collect())
}

/// Adds a member.
pub(crate) fn put(event: &mut Map<String, Value>, name: &str, value: Value) {
    event.insert(name.to_owned(), value);
}

/// Says that the members of another profile are there.
pub(crate) fn add_profile(event: &mut Map<String, Value>, profile: &str) {
    let profiles = event.get_mut("metadata").and_then(|metadata| metadata.get_mut("profiles"));
    if let Some(Value::Array(profiles)) = profiles {
        profiles.push(json!(profile));
    }
}

/// The events of these records, one a line, in bodies of about `most` bytes.
pub(super) fn bodies(records: &[Record], most: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut body = Vec::new();
    for event in records.iter().flat_map(|record| &record.ocsf) {
        body.extend_from_slice(escaped_json(&event.to_string()).as_bytes());
        body.push(b'\n');
        if body.len() >= most {
            all.push(std::mem::take(&mut body));
        }
    }
    if !body.is_empty() {
        all.push(body);
    }
    all
}
