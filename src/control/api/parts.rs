//! `/v1/grants/{id}/extend` and `/delegate`: going on from a grant, each with a decision of its own.

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::proofs;
use crate::control::api::read::{Caller, keyed_body};
use crate::control::api::request_view::RequestView;
use crate::control::api::requests::submit_once;
use crate::control::workflow::{AccessCommand, NewDelegation, NewExtension, is_own};
use crate::model::strict::present;
use crate::model::{GrantId, Scope, SpiffeId, Ttl};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

/// More time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Extend {
    /// How much longer, from the end of the grant.
    #[schema(value_type = String, example = "15m")]
    ttl: Ttl,
    /// The new justification.
    reason: String,
    /// The ticket that it belongs to.
    #[serde(default, deserialize_with = "present")]
    ticket: Option<String>,
}

/// The grant that the path names, if the caller may know of it.
fn known(api: &Api, caller: &Caller, id: &str) -> Result<GrantId, Problem> {
    let id: GrantId = id.parse().map_err(|_| Problem::not_found())?;
    let is_own = api
        .plane
        .with_state(|state| state.find(id).is_some_and(|found| is_own(state, found.grant(), caller.id())));
    if is_own { Ok(id) } else { Err(Problem::not_found()) }
}

/// Asks for more time for a grant of one's own: a new decision, and a new grant that goes on where the old one ends.
#[utoipa::path(post, path = "/v1/grants/{id}/extend", tag = "grants", request_body = Extend,
    params(("id" = String, Path, description = "`gr_…`"),
        ("idempotency-key" = Option<String>, Header, description = "asked once under this key, for a day")),
    responses((status = 201, body = RequestView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn extend(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let grant = known(&api, &caller, &id)?;
    let path = format!("/v1/grants/{grant}/extend");
    let (Extend { ttl, reason, ticket }, key) = keyed_body(&headers, &path, body).await?;
    let authenticated = proofs::bearer(&api, &caller, &headers).await?;
    let ticket_open = proofs::ticket(&api, ticket.as_deref()).await?;
    let source = caller.source();
    let new = NewExtension { grant, ttl, reason, ticket, ticket_open, authenticated, source };
    submit_once(&api, &caller, key, AccessCommand::Extend(Box::new(new))).await
}

/// A part of a grant.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Delegate {
    /// For whom.
    #[schema(value_type = String)]
    principal: SpiffeId,
    /// What; the grant itself must permit as well.
    #[schema(value_type = Vec<Object>)]
    scope: Scope,
    /// How long; absent: as long as the grant.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    ttl: Option<Ttl>,
    /// Why.
    reason: String,
}

/// Hands a part of a grant of one's own to another principal for the same task. It ends with the grant.
#[utoipa::path(post, path = "/v1/grants/{id}/delegate", tag = "grants", request_body = Delegate,
    params(("id" = String, Path, description = "`gr_…`"),
        ("idempotency-key" = Option<String>, Header, description = "asked once under this key, for a day")),
    responses((status = 201, body = RequestView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn delegate(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let grant = known(&api, &caller, &id)?;
    let path = format!("/v1/grants/{grant}/delegate");
    let (Delegate { principal, scope, ttl, reason }, key) = keyed_body(&headers, &path, body).await?;
    let new = NewDelegation { grant, principal, scope, ttl, reason, source: caller.source() };
    submit_once(&api, &caller, key, AccessCommand::Delegate(Box::new(new))).await
}
