//! `/v1/principals` and `/v1/reviews`: what is known about principals, cool-downs, and what is looked at afterwards.

use crate::control::api::decisions::Reason;
use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, Query, json_body};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::state::{Command, Review};
use crate::control::workflow::AccessCommand;
use crate::model::event::Actor;
use crate::model::{AccessRequestId, Attributes, GrantId, PrincipalProfile, ReviewId, SpiffeId, Time};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

fn principal(id: &str) -> Result<SpiffeId, Problem> {
    id.parse().map_err(|_| Problem::malformed("the principal is a percent-encoded SPIFFE ID"))
}

fn profile(api: &Api, id: &SpiffeId) -> PrincipalProfile {
    let rules = api.plane.rules();
    api.plane.with_state(|state| rules.directory.profile(id, state.attributes(id)))
}

/// Shows what is known about a principal. A caller without a role sees itself.
#[utoipa::path(get, path = "/v1/principals/{id}", tag = "principals", params(("id" = String, Path)),
    responses((status = 200, description = "`id`, `kind`, `person`, `attributes`", body = Object),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    if !caller.sees_all(&api) && id != caller.id().as_str() {
        return Err(Problem::not_found());
    }
    respond(StatusCode::OK, &profile(&api, &principal(&id)?))
}

/// Replaces what is known about a principal at run time: `risk`, `compliant`, `groups`, `labels`. Needs the role `security`, and
/// is logged; grants that tolerate less risk end.
#[utoipa::path(put, path = "/v1/principals/{id}/attributes", tag = "principals", params(("id" = String, Path)), request_body = Object,
    responses((status = 200, description = "`id`, `kind`, `person`, `attributes`", body = Object),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn set_attributes(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Secure)?;
    let principal = principal(&id)?;
    let attributes: Attributes = json_body(&headers, body).await?;
    let set = AccessCommand::SetAttributes { principal: principal.clone(), attributes };
    api.plane.submit(caller.actor(), Command::Access(set)).await?;
    respond(StatusCode::OK, &profile(&api, &principal))
}

/// Lets somebody ask again before their cool-down is over, in all identities of the same person.
#[utoipa::path(post, path = "/v1/principals/{id}/cooldowns/lift", tag = "principals", params(("id" = String, Path)), request_body = Reason,
    responses((status = 200, description = "lifted", body = Object),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn lift_cooldowns(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Approve)?;
    let principal = principal(&id)?;
    let Reason { reason } = json_body(&headers, body).await?;
    let lift = AccessCommand::LiftCooldowns { principal: principal.clone(), reason };
    api.plane.submit(caller.actor(), Command::Access(lift)).await?;
    respond(StatusCode::OK, &profile(&api, &principal))
}

/// A review.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReviewView {
    #[schema(value_type = String)]
    id: ReviewId,
    /// `open` or `closed`.
    state: &'static str,
    #[schema(value_type = String)]
    request: AccessRequestId,
    #[schema(value_type = String)]
    grant: GrantId,
    /// Who asked.
    #[schema(value_type = String)]
    requester: SpiffeId,
    emergency: bool,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Time,
    #[schema(value_type = String, format = DateTime)]
    due: Time,
    overdue: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    closed_by: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    justified: Option<bool>,
}

impl ReviewView {
    pub(super) fn new(review: &Review, now: Time) -> Self {
        let closed = review.closed.as_ref();
        Self {
            id: review.id,
            state: if closed.is_some() { "closed" } else { "open" },
            request: review.request,
            grant: review.grant,
            requester: review.requester.clone(),
            emergency: review.emergency,
            opened_at: review.opened_at,
            due: review.due,
            overdue: closed.is_none() && review.due <= now,
            closed_by: closed.map(|closed| closed.by.clone()),
            closed_at: closed.map(|closed| closed.at),
            findings: closed.map(|closed| closed.findings.clone()),
            justified: closed.map(|closed| closed.justified),
        }
    }
}

/// Which reviews to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Filter {
    /// `open`, `closed`; absent: all.
    state: Option<String>,
}

/// Lists reviews, oldest first. A caller without a role sees those of its own requests.
#[utoipa::path(get, path = "/v1/reviews", tag = "reviews", params(Filter),
    responses((status = 200, body = Vec<ReviewView>),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reviews(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(filter): Query<Filter>,
) -> Result<Response, Problem> {
    if let Some(state) = &filter.state
        && !matches!(state.as_str(), "open" | "closed")
    {
        return Err(Problem::malformed("`state` is `open` or `closed`"));
    }
    let (all, now, who) = (caller.sees_all(&api), api.plane.control_time(), caller.id().clone());
    let list = move |api: &Api| {
        let page: Vec<ReviewView> = api.plane.with_state(|state| {
            let own = |review: &&Review| all || review.requester == who;
            let views = state.reviews().filter(own).map(|review| ReviewView::new(review, now));
            views.filter(|view| filter.state.as_ref().is_none_or(|state| view.state == *state)).collect()
        });
        respond(StatusCode::OK, &page)
    };
    api.listed(&caller, list).await?
}

/// The result of a review.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Close {
    /// What happened; at most 4 KiB.
    findings: String,
    /// Whether the access was right.
    justified: bool,
}

/// Closes a review: a second person, who had no part in the request.
#[utoipa::path(post, path = "/v1/reviews/{id}/close", tag = "reviews", params(("id" = String, Path, description = "`rw_…`")), request_body = Close,
    responses((status = 200, body = ReviewView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn close_review(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Approve)?;
    let review: ReviewId = id.parse().map_err(|_| Problem::not_found())?;
    let Close { findings, justified } = json_body(&headers, body).await?;
    let close = AccessCommand::CloseReview { review, findings, justified };
    api.plane.submit(caller.actor(), Command::Access(close)).await?;
    let now = api.plane.control_time();
    let view = api.plane.with_state(|state| state.review(review).map(|review| ReviewView::new(review, now)));
    respond(StatusCode::OK, &view.ok_or_else(Problem::not_found)?)
}
