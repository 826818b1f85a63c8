//! One event of the log as a record: its members, and its OCSF events.
//!
//! What is granted is an Authorize Session (3003) for the principal, and the grant is activated; whatever else happens to grants,
//! requests, tasks and the like is an Entity Management (3004) of that entity. A match without `_`, so that a new kind of event is
//! looked at here.

use crate::control::log::LogError;
use crate::export::ocsf::{self, Class, Log, object, put};
use crate::export::record::{Form, Record};
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{AuditHealth, Grant, Revision};
use serde_json::{Map, Value, json};

/// A member of an event that is longer is no attribute.
const LONGEST_FIELD: usize = 1024;

// Activities of Entity Management.
const CREATE: (u32, &str) = (1, "Create");
const UPDATE: (u32, &str) = (3, "Update");
const ENROLL: (u32, &str) = (6, "Enroll");
const ACTIVATE: (u32, &str) = (10, "Activate");
const DEACTIVATE: (u32, &str) = (11, "Deactivate");

/// The record of one event, of which the log holds `text`: that is handed on as it is, since it is the leaf of the log's tree.
pub(super) fn record(revision: Revision, text: String, form: Form, origin: &str) -> Result<Record, LogError> {
    let event: Event = serde_json::from_str(&text).map_err(|source| LogError::Event { revision, source })?;
    let (seq, kind) = (revision.0, event.body.kind().to_owned());
    let (fields, ocsf) = match form {
        Form::Fields => {
            let json = serde_json::to_value(&event).map_err(LogError::Encode)?;
            (fields(&event, &json), Vec::new())
        }
        Form::Ocsf => (Vec::new(), events(&event, Log { seq, origin, text: &text })),
    };
    Ok(Record {
        seq,
        time: event.time,
        kind,
        notable: is_notable(&event.body),
        trace_id: None,
        text,
        fields,
        ocsf,
    })
}

/// Whether somebody may want to look at it.
fn is_notable(body: &EventBody) -> bool {
    match body {
        EventBody::AccessRequested { request } => request.emergency,
        EventBody::AccessDenied { .. }
        | EventBody::GrantsRevoked { .. }
        | EventBody::TrailDisputed { .. }
        | EventBody::WitnessDisputed { .. }
        | EventBody::ReviewOpened { .. } => true,
        EventBody::AuditReported { health, .. } => *health != AuditHealth::Good,
        EventBody::GrantsIssued { .. }
        | EventBody::AccessEvaluated { .. }
        | EventBody::RequestKeyed { .. }
        | EventBody::AccessApproved { .. }
        | EventBody::AccessCancelled { .. }
        | EventBody::AccessLapsed { .. }
        | EventBody::AccessSatisfied { .. }
        | EventBody::StepOpened { .. }
        | EventBody::TaskJoined { .. }
        | EventBody::TaskEnded { .. }
        | EventBody::AttributesSet { .. }
        | EventBody::CooldownLifted { .. }
        | EventBody::ReviewClosed { .. }
        | EventBody::PoliciesLoaded { .. }
        | EventBody::GrantUsed { .. }
        | EventBody::GrantsEnded { .. }
        | EventBody::UsesReserved { .. }
        | EventBody::ProxyJoined { .. }
        | EventBody::Acknowledged { .. }
        | EventBody::TrailRecorded { .. }
        | EventBody::LeaseRaised { .. } => false,
    }
}

fn by(actor: &Actor) -> &str {
    match actor {
        Actor::System => "system",
        Actor::Identity(id) => id.as_str(),
    }
}

/// The members of an event: those of its body, of a request that it holds, and of a grant if it is about one alone.
fn fields(event: &Event, json: &Value) -> Vec<(String, Value)> {
    let mut fields = vec![("actor".to_owned(), json!(by(&event.actor)))];
    let mut add = |name: String, value: &Value| match value {
        Value::Null | Value::Array(_) | Value::Object(_) => {}
        Value::String(text) if text.len() > LONGEST_FIELD => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => fields.push((name, value.clone())),
    };
    let body = json.get("body").and_then(Value::as_object);
    for (name, value) in body.into_iter().flatten() {
        match (name.as_str(), value) {
            ("request", Value::Object(request)) => {
                for (name, value) in request {
                    let name = if name == "id" { "request" } else { name.as_str() };
                    if name != "kind" {
                        add(name.to_owned(), value);
                    }
                }
            }
            ("grants", Value::Array(grants)) => match &grants[..] {
                [Value::Object(grant)] => {
                    for (name, value) in grant {
                        add(if name == "id" { "grant".to_owned() } else { name.clone() }, value);
                    }
                }
                [id] => add("grant".to_owned(), id),
                _ => add("grant_count".to_owned(), &json!(grants.len())),
            },
            (_, Value::Object(members)) => {
                for (member, value) in members {
                    add(format!("{name}.{member}"), value);
                }
            }
            (_, value) => add(name.clone(), value),
        }
    }
    fields
}

/// The entry itself stands in the first alone: some are about thousands of grants.
fn events(event: &Event, log: Log<'_>) -> Vec<Value> {
    let bare = Log { text: "", ..log };
    let made = match &event.body {
        EventBody::GrantsIssued { grants, reason } => {
            grants.iter().flat_map(|grant| granted(event, grant, reason, bare)).collect()
        }
        EventBody::GrantsRevoked { grants, reason, revocation, .. } if !grants.is_empty() => {
            let of = |grant: &_| revoked(event, json!(grant), json!(revocation), reason, bare);
            grants.iter().map(of).collect()
        }
        EventBody::GrantsEnded { grants, cause } => {
            let cause = json!(cause);
            let of = |grant| entity(event, DEACTIVATE, ("grant", json!(grant)), cause.as_str(), bare);
            grants.iter().map(of).collect()
        }
        EventBody::GrantsRevoked { .. }
        | EventBody::AccessRequested { .. }
        | EventBody::AccessEvaluated { .. }
        | EventBody::RequestKeyed { .. }
        | EventBody::AccessApproved { .. }
        | EventBody::AccessDenied { .. }
        | EventBody::AccessCancelled { .. }
        | EventBody::AccessLapsed { .. }
        | EventBody::AccessSatisfied { .. }
        | EventBody::StepOpened { .. }
        | EventBody::TaskJoined { .. }
        | EventBody::TaskEnded { .. }
        | EventBody::AttributesSet { .. }
        | EventBody::CooldownLifted { .. }
        | EventBody::ReviewOpened { .. }
        | EventBody::ReviewClosed { .. }
        | EventBody::PoliciesLoaded { .. }
        | EventBody::GrantUsed { .. }
        | EventBody::UsesReserved { .. }
        | EventBody::ProxyJoined { .. }
        | EventBody::Acknowledged { .. }
        | EventBody::AuditReported { .. }
        | EventBody::TrailRecorded { .. }
        | EventBody::TrailDisputed { .. }
        | EventBody::WitnessDisputed { .. }
        | EventBody::LeaseRaised { .. } => vec![managed(event, bare)],
    };
    let numbered = |(number, mut made): (usize, Map<String, Value>)| {
        if number == 0 {
            ocsf::put_raw(&mut made, log.text);
        } else if let Some(metadata) = made.get_mut("metadata").and_then(Value::as_object_mut) {
            put(metadata, "uid", json!(format!("{}#{}.{number}", log.origin, log.seq)));
        }
        Value::Object(made)
    };
    made.into_iter().enumerate().map(numbered).collect()
}

fn revoked(event: &Event, grant: Value, by: Value, reason: &str, log: Log<'_>) -> Map<String, Value> {
    let mut ended = entity(event, DEACTIVATE, ("grant", grant), Some(reason), log);
    put(&mut ended, "disposition_id", json!(24));
    put(&mut ended, "disposition", json!("Access Revoked"));
    put(&mut ended, "status_detail", by);
    ended
}

/// A grant: what its principal may do from now on, and that the grant is there.
fn granted(event: &Event, grant: &Grant, reason: &str, log: Log<'_>) -> [Map<String, Value>; 2] {
    let mut session =
        ocsf::event(Class::AuthorizeSession, (1, "Assign Privileges"), event.time, event.body.kind(), log);
    let principal = grant.principal.as_str();
    for (name, value) in [
        ("user", json!({ "uid": principal, "name": principal, "type_id": 4, "type": "Service" })),
        ("privileges", json!(grant.scope.canonical_texts())),
        (
            "session",
            json!({
                "uid": grant.id, "issuer": log.origin, "created_time": grant.not_before.as_millis(),
                "expiration_time": grant.expires_at.as_millis(),
            }),
        ),
        ("message", json!(reason)),
        ("unmapped", json!({ "task": grant.task })),
    ] {
        put(&mut session, name, value);
    }
    done(&mut session, event);
    let mut activated = entity(event, ACTIVATE, ("grant", json!(grant.id)), Some(reason), log);
    let data = json!({
        "principal": grant.principal, "task": grant.task, "scope": grant.scope, "not_before": grant.not_before,
        "expires_at": grant.expires_at,
    });
    if let Some(Value::Object(entity)) = activated.get_mut("entity") {
        put(entity, "data", data);
    }
    [session, activated]
}

/// What happened to anything but grants as such.
fn managed(event: &Event, log: Log<'_>) -> Map<String, Value> {
    let body = &event.body;
    let about = |activity, kind, id: Value, why: Option<&str>| entity(event, activity, (kind, id), why, log);
    let request = |activity, id: &_, why| about(activity, "access request", json!(id), why);
    let mut made = match body {
        EventBody::AccessRequested { request: asked } => {
            request(CREATE, &asked.id, Some(asked.reason.as_str()))
        }
        EventBody::AccessEvaluated { request: id, .. } => request(UPDATE, id, Some("evaluated")),
        EventBody::RequestKeyed { request: id, .. } => request(UPDATE, id, Some("keyed")),
        EventBody::AccessApproved { request: id, reason, .. } => request(UPDATE, id, Some(reason)),
        EventBody::AccessDenied { request: id, reason } => request(DEACTIVATE, id, Some(reason)),
        EventBody::AccessCancelled { request: id, reason } => request(DEACTIVATE, id, Some(reason)),
        EventBody::AccessLapsed { request: id } => request(DEACTIVATE, id, Some("nobody decided in time")),
        EventBody::AccessSatisfied { request: id, .. } => request(UPDATE, id, Some("satisfied")),
        EventBody::StepOpened { request: id, .. } => request(UPDATE, id, Some("step opened")),
        EventBody::TaskJoined { task, reason, .. } => about(UPDATE, "task", json!(task), Some(reason)),
        EventBody::TaskEnded { task, reason, .. } => about(DEACTIVATE, "task", json!(task), Some(reason)),
        EventBody::AttributesSet { principal, .. } => about(UPDATE, "principal", json!(principal), None),
        EventBody::CooldownLifted { principal, reason } => {
            about(UPDATE, "principal", json!(principal), Some(reason))
        }
        EventBody::ReviewOpened { review, .. } => about(CREATE, "review", json!(review), None),
        EventBody::ReviewClosed { review, findings, .. } => {
            about(DEACTIVATE, "review", json!(review), Some(findings))
        }
        EventBody::PoliciesLoaded { policy, .. } => about(UPDATE, "policy set", json!(policy), None),
        EventBody::GrantUsed { grant, .. } => about(UPDATE, "grant", json!(grant), Some("used")),
        EventBody::UsesReserved { grant, .. } => about(UPDATE, "grant", json!(grant), Some("uses reserved")),
        EventBody::ProxyJoined { proxy, .. } => about(ENROLL, "proxy", json!(proxy), None),
        EventBody::Acknowledged { proxy, .. } => about(UPDATE, "proxy", json!(proxy), Some("acknowledged")),
        EventBody::AuditReported { proxy, .. } => about(UPDATE, "proxy", json!(proxy), Some("audit trail")),
        EventBody::TrailRecorded { proxy, .. } => {
            about(UPDATE, "proxy", json!(proxy), Some("trail recorded"))
        }
        EventBody::TrailDisputed { proxy, .. } => {
            about(UPDATE, "proxy", json!(proxy), Some("trail disputed"))
        }
        EventBody::WitnessDisputed { proxy } => {
            about(UPDATE, "proxy", json!(proxy), Some("trail disputed by a witness"))
        }
        EventBody::LeaseRaised { .. } => about(UPDATE, "lease", json!("longest lease"), None),
        // It matched nothing; somebody wanted it all the same.
        EventBody::GrantsRevoked { revocation, reason, .. } => {
            about(CREATE, "revocation", json!(revocation), Some(reason))
        }
        // Told grant by grant.
        EventBody::GrantsIssued { .. } | EventBody::GrantsEnded { .. } => {
            about(UPDATE, "grants", json!("grants"), None)
        }
    };
    let approved = matches!(body, EventBody::AccessApproved { .. }).then_some((8, "Approved"));
    let outcome = approved.or(matches!(body, EventBody::AccessDenied { .. }).then_some((25, "Rejected")));
    if let Some((id, name)) = outcome {
        put(&mut made, "disposition_id", json!(id));
        put(&mut made, "disposition", json!(name));
    }
    made
}

/// An Entity Management of `kind` with the id `id`.
fn entity(
    event: &Event,
    activity: (u32, &str),
    (kind, id): (&str, Value),
    why: Option<&str>,
    log: Log<'_>,
) -> Map<String, Value> {
    let mut made = ocsf::event(Class::EntityManagement, activity, event.time, event.body.kind(), log);
    let of = object([
        ("uid", Some(id.clone())),
        ("name", Some(id)),
        ("type_id", Some(json!(99))),
        ("type", Some(json!(kind))),
    ]);
    put(&mut made, "entity", of);
    if let Some(why) = why {
        put(&mut made, "comment", json!(why));
    }
    put(&mut made, "message", json!(event.body.kind()));
    done(&mut made, event);
    if is_notable(&event.body) {
        put(&mut made, "severity_id", json!(2));
        put(&mut made, "severity", json!("Low"));
    }
    made
}

/// Who did it. What is in the log has happened.
fn done(made: &mut Map<String, Value>, event: &Event) {
    let actor = match &event.actor {
        Actor::System => json!({ "app_name": "jitgate" }),
        Actor::Identity(id) => json!({ "user": { "uid": id, "name": id } }),
    };
    put(made, "actor", actor);
    put(made, "status_id", json!(1));
    put(made, "status", json!("Success"));
}
