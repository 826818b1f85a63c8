//! `/v1/proxies`: which there are, and how far each is.

use crate::control::api::problem::Problem;
use crate::control::api::read::Caller;
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::plane::Plane;
use crate::control::state::{KnownProxy, Trail};
use crate::model::{AuditHealth, ProxyName, Revision, SpiffeId, Time, TrailFault};
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A proxy, as the control plane knows it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProxyView {
    /// Its name.
    #[schema(value_type = String)]
    pub(super) name: ProxyName,
    #[schema(value_type = String)]
    identity: SpiffeId,
    #[schema(value_type = String, format = DateTime)]
    joined_at: Time,
    /// `connected`, `unknown` (not heard of since the control plane started, and it may hold a lease), `leased` (gone, but its lease
    /// still runs) or `lapsed` (it denies everything until it comes back).
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen: Option<Time>,
    /// The revision that it enforces, as it last said.
    #[schema(value_type = u64)]
    revision: Revision,
    /// How many revisions it is behind.
    pub(super) lag: u64,
    /// Up to where it confirmed revocations.
    #[schema(value_type = u64)]
    acknowledged: Revision,
    /// How its audit trail is, as it last said: `good`, `low_space` or `unwritable` (it refuses requests).
    pub(super) audit: &'static str,
    /// When it last said that an external witness has signed for other lines than its audit trail has; stays for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) witness_disputed_at: Option<Time>,
    /// How long its lease may still run.
    lease_remaining_ms: u64,
    /// How far its audit trail has come, by the last checkpoint that it handed over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trail: Option<TrailView>,
}

/// The last checkpoint of a proxy's audit trail.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrailView {
    /// Lines that it stands for.
    size: u64,
    /// The root of the tree over them (RFC 6962), base64.
    root: String,
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    /// By which it is verified (C2SP signed-note).
    key: String,
    /// What the proxy signed (C2SP tlog-checkpoint).
    checkpoint: String,
    /// What was last found wrong: `key` (another key), `rolled_back` (fewer lines) or `forked` (lines were changed).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) disputed: Option<TrailFault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) disputed_at: Option<Time>,
}

impl TrailView {
    fn of(trail: &Trail) -> Self {
        let Trail { head, at, disputed, logged: _ } = trail.clone();
        Self {
            size: head.size,
            root: head.root,
            at,
            key: head.key,
            checkpoint: head.note,
            disputed: disputed.map(|(fault, _)| fault),
            disputed_at: disputed.map(|(_, at)| at),
        }
    }
}

pub(super) fn all(plane: &Plane) -> Vec<ProxyView> {
    plane.with_state(|state| {
        let longest = state.longest_lease();
        state
            .proxies()
            .iter()
            .map(|(name, known)| view(plane, name, known, (state.revision(), longest)))
            .collect()
    })
}

fn view(
    plane: &Plane,
    name: &ProxyName,
    known: &KnownProxy,
    (head, longest): (Revision, std::time::Duration),
) -> ProxyView {
    let (now, seen) = (plane.mono(), plane.presence().of(name));
    let unknown = plane.started().1.plus(longest);
    let until = seen.lease_until.unwrap_or(unknown);
    let state = match (seen.connections > 0, now < until, seen.lease_until) {
        (true, _, _) => "connected",
        (false, true, Some(_)) => "leased",
        (false, true, None) => "unknown",
        (false, false, _) => "lapsed",
    };
    ProxyView {
        name: name.clone(),
        identity: known.identity.clone(),
        joined_at: known.joined_at,
        state,
        last_seen: seen.last_seen,
        revision: seen.applied,
        lag: head.0.saturating_sub(seen.applied.0),
        acknowledged: known.acknowledged,
        audit: known.audit.map_or(AuditHealth::Good, |(health, _)| health).as_str(),
        witness_disputed_at: known.witness_disputed,
        lease_remaining_ms: u64::try_from(until.since(now).as_millis()).unwrap_or(u64::MAX),
        trail: known.trail.as_deref().map(TrailView::of),
    }
}

/// Lists proxies.
#[utoipa::path(get, path = "/v1/proxies", tag = "proxies",
    responses((status = 200, body = Vec<ProxyView>),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    respond(StatusCode::OK, &all(&api.plane))
}

/// Shows one proxy.
#[utoipa::path(get, path = "/v1/proxies/{name}", tag = "proxies", params(("name" = String, Path)),
    responses((status = 200, body = ProxyView),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let view = all(&api.plane).into_iter().find(|proxy| proxy.name.as_str() == name);
    respond(StatusCode::OK, &view.ok_or_else(Problem::not_found)?)
}

/// Gives the last checkpoint of a proxy's audit trail: a signed note (C2SP tlog-checkpoint).
#[utoipa::path(get, path = "/v1/proxies/{name}/checkpoint", tag = "proxies", params(("name" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn checkpoint(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let note = api.plane.with_state(|state| {
        let mut proxies = state.proxies().iter();
        let (_, known) = proxies.find(|(proxy, _)| proxy.as_str() == name)?;
        known.trail.as_deref().map(|trail| trail.head.note.clone())
    });
    let note = note.ok_or_else(Problem::not_found)?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], note).into_response())
}
