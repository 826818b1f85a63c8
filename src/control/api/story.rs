//! `/v1/requests/{id}/story`: everything that the log says about a request, in order: asked, evaluated, approved, granted, used,
//! extended, ended.

use crate::control::api::problem::Problem;
use crate::control::api::read::Caller;
use crate::control::api::{Api, respond};
use crate::control::log::Recorded;
use crate::control::workflow::may_see;
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{AccessRequestId, Evaluation, GrantId, PolicyOutcome, Revision, SpiffeId, Time};
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use utoipa::ToSchema;

/// One event of a story.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Chapter {
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(value_type = String, format = DateTime)]
    time: Time,
    /// Who caused it.
    #[schema(value_type = Object)]
    actor: Actor,
    /// What happened: `access_requested`, `access_evaluated`, `access_approved`, `grants_issued`, `grant_used`, `grants_ended`, …
    kind: &'static str,
    /// In words.
    text: String,
    /// The event itself, as it is logged.
    #[schema(value_type = Object)]
    event: EventBody,
}

impl Chapter {
    fn new(recorded: &Recorded) -> Self {
        let event = &recorded.event;
        Self {
            revision: recorded.revision,
            time: event.time,
            actor: event.actor.clone(),
            kind: event.body.kind(),
            text: words(&event.body),
            event: event.body.clone(),
        }
    }
}

impl Chapter {
    /// When, who, what.
    pub(super) fn line(&self) -> (Time, &Actor, &str) {
        (self.time, &self.actor, &self.text)
    }

    /// What the policies said, if it is about that.
    pub(super) fn evaluation(&self) -> Option<&Evaluation> {
        if let EventBody::AccessEvaluated { evaluation, .. } = &self.event { Some(evaluation) } else { None }
    }
}

/// Tells the story of a request, from the log.
#[utoipa::path(get, path = "/v1/requests/{id}/story", tag = "requests",
    params(("id" = String, Path, description = "`rq_…`")),
    responses((status = 200, body = Vec<Chapter>),
        (status = 404, description = "no such request", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn story(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id: AccessRequestId = id.parse().map_err(|_| Problem::not_found())?;
    respond(StatusCode::OK, &chapters(&api, &caller, id).await?)
}

/// The story of a request as the caller may read it.
pub(super) async fn chapters(
    api: &Api,
    caller: &Caller,
    id: AccessRequestId,
) -> Result<Vec<Chapter>, Problem> {
    let rules = api.plane.rules();
    let trail = api.plane.with_state(|state| {
        let record = state.request(id).filter(|record| may_see(state, &rules, record, caller.id()))?;
        let own: BTreeSet<GrantId> = record.grants.iter().copied().collect();
        Some((record.trail.clone(), own, Arc::clone(&record.request)))
    });
    let (trail, mut own, request) = trail.ok_or_else(Problem::not_found)?;
    // Whoever decides sees the facts that decided; whoever asked learns nothing of others by it.
    let takes_part = request.requester == *caller.id() || request.principal == *caller.id();
    let of_others = takes_part && !caller.sees_all(api);
    let mut chapters = Vec::new();
    for revision in trail {
        let before = Revision(revision.0.saturating_sub(1));
        let read = api.plane.read(before, 1).await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "the event log cannot be read");
            Problem::internal()
        })?;
        chapters.extend(read.iter().map(|recorded| {
            let mut recorded = only_of(id, &mut own, recorded);
            if of_others {
                recorded.event = Arc::new(without_others(caller.id(), &recorded.event));
            }
            Chapter::new(&recorded)
        }));
    }
    Ok(chapters)
}

/// An event that is about many grants, with those of this story alone: others are nobody's business here.
fn only_of(id: AccessRequestId, own: &mut BTreeSet<GrantId>, recorded: &Recorded) -> Recorded {
    let mut event = (*recorded.event).clone();
    if let EventBody::GrantsIssued { grants, .. } = &mut event.body {
        grants.retain(|grant| {
            grant.lineage.as_ref().is_some_and(|lineage| {
                let heads = [lineage.parent, lineage.extends].into_iter().flatten();
                lineage.request == Some(id) || heads.into_iter().any(|head| own.contains(&head))
            }) || own.contains(&grant.id)
        });
        own.extend(grants.iter().map(|grant| grant.id));
    } else if let EventBody::GrantsRevoked { grants, .. } | EventBody::GrantsEnded { grants, .. } =
        &mut event.body
    {
        grants.retain(|grant| own.contains(grant));
    }
    Recorded { revision: recorded.revision, event: Arc::new(event) }
}

/// An evaluation without what it says about another than the caller: attributes, and the past of whoever asked.
fn without_others(caller: &SpiffeId, event: &Event) -> Event {
    let mut event = event.clone();
    if let EventBody::AccessEvaluated { evaluation, .. } = &mut event.body {
        let mut shown = (**evaluation).clone();
        if let Some(facts) = shown.facts.as_object_mut() {
            let is_other = |profile: Option<&serde_json::Value>| {
                let id = profile.and_then(|profile| profile.get("id")?.as_str());
                id != Some(caller.as_str())
            };
            if is_other(facts.get("requester")) {
                facts.remove("history");
            }
            for side in ["requester", "principal"] {
                if is_other(facts.get(side)) {
                    facts.remove(side);
                }
            }
        }
        *evaluation = Arc::new(shown);
    }
    event
}

fn words(body: &EventBody) -> String {
    match body {
        EventBody::AccessRequested { request } => {
            let what = request.scope.canonical_texts().join(" ");
            let how = if request.emergency { "asked in an emergency" } else { "asked" };
            format!("{how} for {what} for {}: {}", request.ttl, request.reason)
        }
        EventBody::AccessEvaluated { evaluation, .. } => {
            let outcome = match &evaluation.outcome {
                PolicyOutcome::Denied { because } => format!("denied: {}", because.join("; ")),
                PolicyOutcome::Permitted(terms) if terms.stages.is_empty() => "granted at once".to_owned(),
                PolicyOutcome::Permitted(terms) => match terms.stages.len() {
                    1 => "needs approval".to_owned(),
                    stages => format!("needs approval in {stages} stages"),
                },
            };
            let by = match evaluation.determining.join(", ") {
                none if none.is_empty() => "no policy".to_owned(),
                by => by,
            };
            format!("policy {} evaluated: {outcome} (determined by {by})", evaluation.policy)
        }
        EventBody::AccessApproved { hash, scope, ttl, reason, .. } => {
            let narrower =
                scope.as_ref().map(|scope| format!(", only {}", scope.canonical_texts().join(" ")));
            let shorter = ttl.map(|ttl| format!(", only for {ttl}"));
            format!(
                "approved what has the hash {hash}{}{}: {reason}",
                narrower.unwrap_or_default(),
                shorter.unwrap_or_default()
            )
        }
        EventBody::AccessDenied { reason, .. } => format!("denied: {reason}"),
        EventBody::AccessCancelled { reason, .. } => format!("cancelled: {reason}"),
        EventBody::AccessLapsed { .. } => "nobody decided in time".to_owned(),
        EventBody::AccessSatisfied { grant, .. } => format!("answered by the live grant {grant}"),
        EventBody::StepOpened { number, .. } => format!("step {number} of the plan opened"),
        EventBody::GrantsIssued { grants, .. } => {
            let all: Vec<String> =
                grants.iter().map(|grant| format!("{} until {}", grant.id, grant.expires_at)).collect();
            format!("granted {}", all.join(", "))
        }
        EventBody::GrantUsed { grant, proxy, instance: _, requests, bytes } => {
            format!("{grant} used at {proxy}: {requests} requests, {bytes} bytes so far")
        }
        EventBody::GrantsRevoked { reason, .. } => format!("revoked: {reason}"),
        EventBody::GrantsEnded { cause, .. } => format!("ended: {}", cause.as_str()),
        EventBody::ReviewOpened { due, .. } => format!("review opened, due {due}"),
        EventBody::ReviewClosed { findings, justified, .. } => {
            format!("review closed, {}: {findings}", if *justified { "justified" } else { "not justified" })
        }
        EventBody::RequestKeyed { .. }
        | EventBody::TaskJoined { .. }
        | EventBody::TaskEnded { .. }
        | EventBody::AttributesSet { .. }
        | EventBody::CooldownLifted { .. }
        | EventBody::PoliciesLoaded { .. }
        | EventBody::UsesReserved { .. }
        | EventBody::ProxyJoined { .. }
        | EventBody::Acknowledged { .. }
        | EventBody::AuditReported { .. }
        | EventBody::TrailRecorded { .. }
        | EventBody::TrailDisputed { .. }
        | EventBody::WitnessDisputed { .. }
        | EventBody::LeaseRaised { .. } => body.kind().replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whoever_asks_for_another_reads_nothing_about_them() {
        let profile = |id: &str| json!({"id": id, "attributes": {"risk": "high"}});
        let facts = json!({"requester": profile("spiffe://d/a"), "principal": profile("spiffe://d/b"),
            "history": {"refusals_last_hour": 1}, "services": {}});
        let outcome = PolicyOutcome::Denied { because: Vec::new() };
        let evaluation = Evaluation { policy: "p".into(), facts, determining: Vec::new(), outcome };
        let body = EventBody::AccessEvaluated {
            request: AccessRequestId::from_bits(1),
            evaluation: Arc::new(evaluation),
        };
        let event = Event { time: Time::from_micros(0), actor: Actor::System, body };
        let seen_by = |id: &str| {
            let id: SpiffeId = id.parse().unwrap();
            let shown = without_others(&id, &event).body;
            let EventBody::AccessEvaluated { evaluation, .. } = shown else { panic!("{shown:?}") };
            evaluation.facts.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>()
        };
        assert_eq!(
            seen_by("spiffe://d/a"),
            BTreeSet::from(["history", "requester", "services"].map(str::to_owned))
        );
        assert_eq!(seen_by("spiffe://d/b"), BTreeSet::from(["principal", "services"].map(str::to_owned)));
        assert_eq!(seen_by("spiffe://d/c"), BTreeSet::from(["services"].map(str::to_owned)));
    }
}
