//! `/v1/requests/{id}/…`: what is decided on a request, and its plan.

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::proofs;
use crate::control::api::read::{Caller, json_body, keyed_body};
use crate::control::api::request_view::RequestView;
use crate::control::api::requests::{once, submit, view};
use crate::control::workflow::{AccessCommand, NewApproval};
use crate::model::strict::present;
use crate::model::{AccessRequestId, Scope, Ttl};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

/// The request that the path names, if the caller may know of it, and only then what is said about it (law 11).
async fn about<T: DeserializeOwned>(
    api: &Api,
    caller: &Caller,
    id: &str,
    (headers, body): (&HeaderMap, Body),
) -> Result<(AccessRequestId, T), Problem> {
    let id = known(api, caller, id)?;
    Ok((id, json_body(headers, body).await?))
}

fn known(api: &Api, caller: &Caller, id: &str) -> Result<AccessRequestId, Problem> {
    let id = id.parse().map_err(|_| Problem::not_found())?;
    view(api, caller, id)?;
    Ok(id)
}

/// An approval.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    /// Why; at most 4 KiB.
    reason: String,
    /// A narrower scope: it and what was asked for must both permit.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Object>>)]
    scope: Option<Scope>,
    /// A shorter time.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    ttl: Option<Ttl>,
    /// The `hash` of the request that was seen: another one is not approved.
    #[serde(default, deserialize_with = "present")]
    hash: Option<String>,
}

/// Approves a request, or less of it.
#[utoipa::path(post, path = "/v1/requests/{id}/approve", tag = "requests", request_body = Approve,
    params(("id" = String, Path, description = "`rq_…`")),
    responses((status = 200, body = RequestView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn approve(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (request, Approve { reason, scope, ttl, hash }) = about(&api, &caller, &id, (&headers, body)).await?;
    let authenticated = proofs::bearer(&api, &caller, &headers).await?;
    let (ticket_open, ticket_silent) = proofs::ticket_of(&api, request).await;
    let approval =
        NewApproval { request, hash, scope, ttl, reason, ticket_open, ticket_silent, authenticated };
    submit(&api, &caller, AccessCommand::Approve(Box::new(approval)), false).await
}

/// Why something is so.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reason {
    /// In words; at most 4 KiB.
    #[serde(default)]
    pub(super) reason: String,
}

/// Refuses a request.
#[utoipa::path(post, path = "/v1/requests/{id}/deny", tag = "requests", request_body = Reason,
    params(("id" = String, Path, description = "`rq_…`")),
    responses((status = 200, body = RequestView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn deny(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (request, Reason { reason }) = about(&api, &caller, &id, (&headers, body)).await?;
    submit(&api, &caller, AccessCommand::Deny { request, reason }, false).await
}

/// Withdraws a request: requester or principal.
#[utoipa::path(post, path = "/v1/requests/{id}/cancel", tag = "requests", request_body = Reason,
    params(("id" = String, Path, description = "`rq_…`")),
    responses((status = 200, body = RequestView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (request, Reason { reason }) = about(&api, &caller, &id, (&headers, body)).await?;
    submit(&api, &caller, AccessCommand::Cancel { request, reason }, false).await
}

/// Nothing more to say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// Leaves the open step of a plan and opens the next; a step that is decided anew is answered as a request of its own.
#[utoipa::path(post, path = "/v1/requests/{id}/advance", tag = "requests", request_body = Nothing,
    params(("id" = String, Path, description = "`rq_…`"),
        ("idempotency-key" = Option<String>, Header, description = "opens one step under this key, for a day: a call that is sent again passes over none")),
    responses((status = 200, body = RequestView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn advance(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let request = known(&api, &caller, &id)?;
    let (Nothing {}, key) = keyed_body(&headers, &format!("/v1/requests/{request}/advance"), body).await?;
    let (ticket_open, ticket_silent) = proofs::ticket_of(&api, request).await;
    let advance = AccessCommand::Advance { request, ticket_open, ticket_silent, source: caller.source() };
    submit(&api, &caller, once(key, advance), false).await
}
