//! From an event of the log to what receivers are told: pure, so that the same event makes the same message again.
//!
//! A message's id is made of the log's id, the epoch and the position of its event: it stays the same over retries and restarts.

use crate::config::{WebhookEvent, WebhookFormat};
use crate::control::log::{Identity, Recorded};
use crate::control::notify::chat::harmless;
use crate::control::state::{RequestRecord, Review, State};
use crate::model::event::{Actor, EventBody};
use crate::model::{AccessRequestId, GrantId, Time};
use serde_json::{Map, Value, json};

/// Grants that one message names; it gives the number of all.
const GRANTS: usize = 100;

/// What a receiver is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// `webhook-id`.
    pub id: String,
    /// Of what.
    pub event: WebhookEvent,
    /// When it happened, control time.
    pub time: Time,
    /// The particulars.
    pub data: Value,
}

/// What the log's event means for receivers, looked up in a state that is at the event or later.
#[must_use]
pub fn of_event(recorded: &Recorded, state: &State, log: Identity) -> Vec<Message> {
    let event = &recorded.event;
    let facts = |id| state.request(id);
    let found: Vec<(WebhookEvent, Value)> = match &event.body {
        EventBody::AccessEvaluated { request, .. } => match facts(*request) {
            Some(record) if waits_since(record, recorded) => {
                vec![(WebhookEvent::RequestPending, about(*request, Some(record)))]
            }
            Some(_) | None => Vec::new(),
        },
        EventBody::AccessDenied { request, reason } => {
            let mut data = about(*request, facts(*request));
            put(&mut data, "state", json!("denied"));
            put(&mut data, "because", json!(reason));
            put(&mut data, "by", by(&event.actor));
            vec![(WebhookEvent::RequestDenied, data)]
        }
        EventBody::AccessLapsed { request } => {
            let mut data = about(*request, facts(*request));
            put(&mut data, "state", json!("expired"));
            put(&mut data, "because", json!("nobody decided in time"));
            vec![(WebhookEvent::RequestDenied, data)]
        }
        EventBody::GrantsIssued { grants, .. } => grants
            .iter()
            .filter_map(|grant| {
                let request = grant.lineage.as_ref()?.request?;
                let record = facts(request);
                let mut data = about(request, record);
                put(&mut data, "grant", json!(grant.id));
                put(&mut data, "granted_scope", json!(grant.scope));
                put(&mut data, "not_before", json!(grant.not_before));
                put(&mut data, "expires_at", json!(grant.expires_at));
                put(&mut data, "by", by(&event.actor));
                let glass = record.is_some_and(|record| record.request.emergency);
                let alarm = glass.then(|| (WebhookEvent::BreakGlass, data.clone()));
                Some([Some((WebhookEvent::RequestGranted, data)), alarm])
            })
            .flatten()
            .flatten()
            .collect(),
        EventBody::GrantsRevoked { revocation, selector, grants, reason } if !grants.is_empty() => {
            let data = json!({
                "revocation": revocation, "selector": selector, "reason": reason, "by": by(&event.actor),
                "count": grants.len(), "grants": grants.iter().take(GRANTS).map(|id| grant(*id, state)).collect::<Vec<_>>(),
            });
            vec![(WebhookEvent::GrantRevoked, data)]
        }
        EventBody::AuditReported { proxy, health } => {
            let data = json!({ "proxy": proxy, "state": health });
            vec![(WebhookEvent::AuditTrouble, data)]
        }
        EventBody::WitnessDisputed { proxy } => {
            let data = json!({ "proxy": proxy, "state": "witness_disputes" });
            vec![(WebhookEvent::AuditTrouble, data)]
        }
        EventBody::TrailDisputed { proxy, head, fault } => {
            let data = json!({ "proxy": proxy, "state": "disputed", "fault": fault, "size": head.size });
            vec![(WebhookEvent::AuditTrouble, data)]
        }
        EventBody::GrantsRevoked { .. }
        | EventBody::AccessRequested { .. }
        | EventBody::AccessApproved { .. }
        | EventBody::AccessCancelled { .. }
        | EventBody::AccessSatisfied { .. }
        | EventBody::StepOpened { .. }
        | EventBody::RequestKeyed { .. }
        | EventBody::TaskJoined { .. }
        | EventBody::TaskEnded { .. }
        | EventBody::AttributesSet { .. }
        | EventBody::CooldownLifted { .. }
        | EventBody::ReviewOpened { .. }
        | EventBody::ReviewClosed { .. }
        | EventBody::PoliciesLoaded { .. }
        | EventBody::GrantUsed { .. }
        | EventBody::GrantsEnded { .. }
        | EventBody::UsesReserved { .. }
        | EventBody::ProxyJoined { .. }
        | EventBody::TrailRecorded { .. }
        | EventBody::Acknowledged { .. }
        | EventBody::LeaseRaised { .. } => Vec::new(),
    };
    let id = |part: usize| format!("msg_{}_{}_{}_{part}", log.log, log.epoch.0, recorded.revision.0);
    let made = found.into_iter().enumerate();
    made.map(|(part, (event, data))| Message { id: id(part), event, time: recorded.event.time, data })
        .collect()
}

/// The reviews that became due after `after` and at `now` at the latest, and that are still open, earliest first.
#[must_use]
pub fn of_reviews(state: &State, after: Time, now: Time, log: Identity) -> Vec<Message> {
    let mut due: Vec<&Review> =
        state.open_reviews().filter(|review| after < review.due && review.due <= now).collect();
    due.sort_by_key(|review| (review.due, review.id));
    let message = |review: &Review| Message {
        id: format!("msg_{}_{}_{}", log.log, log.epoch.0, review.id),
        event: WebhookEvent::ReviewDue,
        time: review.due,
        data: json!({
            "review": review.id, "request": review.request, "grant": review.grant, "requester": review.requester,
            "emergency": review.emergency, "opened_at": review.opened_at, "due": review.due,
        }),
    };
    due.into_iter().map(message).collect()
}

/// Whether the evaluation that was logged here is the one after which the request began to wait for people.
fn waits_since(record: &RequestRecord, recorded: &Recorded) -> bool {
    let EventBody::AccessEvaluated { evaluation, .. } = &recorded.event.body else { return false };
    // Its second event: it was asked, then evaluated. Later evaluations are of steps and new policies.
    let first = record.trail.get(1) == Some(&recorded.revision);
    let people = evaluation.outcome.terms().is_some_and(|terms| !terms.stages.is_empty());
    // What our own rules denied at once (nobody could approve it) never waited.
    let waited = record.settled.as_ref().is_none_or(|settled| settled.at > recorded.event.time);
    first && people && waited
}

fn about(id: AccessRequestId, record: Option<&RequestRecord>) -> Value {
    let mut data = json!({ "request": id });
    let Some(record) = record else { return data };
    let request = &record.request;
    for (name, value) in [
        ("requester", json!(request.requester)),
        ("principal", json!(request.principal)),
        ("task", json!(request.task)),
        ("scope", json!(request.scope)),
        ("ttl_seconds", json!(request.ttl.get().as_secs())),
        ("reason", json!(request.reason)),
        ("hash", json!(record.hash)),
        ("requested_at", json!(request.requested_at)),
        ("decide_by", json!(request.expires_at)),
    ] {
        put(&mut data, name, value);
    }
    if let Some(ticket) = &request.ticket {
        put(&mut data, "ticket", json!(ticket));
    }
    if request.emergency {
        put(&mut data, "emergency", json!(true));
    }
    data
}

fn grant(id: GrantId, state: &State) -> Value {
    let mut data = json!({ "id": id });
    if let Some(found) = state.find(id) {
        put(&mut data, "principal", json!(found.grant().principal));
        put(&mut data, "task", json!(found.grant().task));
    }
    data
}

fn by(actor: &Actor) -> Value {
    match actor {
        Actor::System => json!("system"),
        Actor::Identity(id) => json!(id),
    }
}

fn put(data: &mut Value, name: &str, value: Value) {
    data.as_object_mut().unwrap_or(&mut Map::new()).insert(name.to_owned(), value);
}

impl Message {
    /// What is sent.
    #[must_use]
    pub fn body(&self, format: WebhookFormat) -> String {
        match format {
            WebhookFormat::Standard => {
                json!({ "type": self.event.as_str(), "timestamp": self.time, "data": self.data }).to_string()
            }
            WebhookFormat::Chat => json!({ "text": self.text() }).to_string(),
        }
    }

    /// For people. Whatever somebody else chose is harmless in it.
    fn text(&self) -> String {
        let field = |name: &str| match self.data.get(name) {
            Some(Value::String(text)) => harmless(text),
            Some(other) => harmless(&other.to_string()),
            None => "unknown".to_owned(),
        };
        // Identifiers and times are ours: they stay as they are, to be copied.
        let own = |name: &str| match self.data.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "unknown".to_owned(),
        };
        let request = || {
            let (who, task, reason) = (field("principal"), field("task"), field("reason"));
            format!("{} for {who}, task {task}: {reason}", own("request"))
        };
        match self.event {
            WebhookEvent::RequestPending => {
                let (scope, by) = (scope(&self.data), own("decide_by"));
                format!("Access request {}. Asked for: {scope}. Decide by {by}.", request())
            }
            WebhookEvent::RequestGranted => {
                format!("Granted: {}. Until {}.", request(), own("expires_at"))
            }
            WebhookEvent::RequestDenied => format!("Denied: {}. Because: {}.", request(), field("because")),
            WebhookEvent::BreakGlass => {
                format!(
                    "BREAK GLASS: {}. Got: {}. Until {}.",
                    request(),
                    scope(&self.data),
                    own("expires_at")
                )
            }
            WebhookEvent::GrantRevoked => {
                let (count, by, reason) = (own("count"), field("by"), field("reason"));
                format!("Revoked: {count} grants ({}) by {by}: {reason}", own("revocation"))
            }
            WebhookEvent::AuditTrouble => {
                let how = match self.data.get("state").and_then(Value::as_str) {
                    Some("unwritable") => {
                        "cannot be written, or what has to be recorded cannot: the proxy refuses requests"
                    }
                    Some("low_space") => "is short of space: free some before requests are refused",
                    Some("witness_disputes") => {
                        "is not what an external witness has signed for: it was rolled back or rewritten"
                    }
                    Some("good") => "is well again",
                    Some("disputed") => {
                        "contradicts what it had signed for: it was tampered with, unless it was begun anew on purpose"
                    }
                    Some(_) | None => "is in an unknown state",
                };
                format!("The audit trail of proxy {} {how}.", field("proxy"))
            }
            WebhookEvent::ReviewDue => {
                let (who, due) = (field("requester"), own("due"));
                format!("Review {} of {} ({who}) was due at {due}.", own("review"), own("request"))
            }
        }
    }
}

/// The scope in its short form.
fn scope(data: &Value) -> String {
    let scope = data.get("scope").cloned().unwrap_or_default();
    serde_json::from_value::<crate::model::Scope>(scope)
        .map_or_else(|_| "unknown".to_owned(), |scope| harmless(&scope.to_string()))
}

#[cfg(test)]
mod tests;
