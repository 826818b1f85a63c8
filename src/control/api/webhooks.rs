//! `/v1/webhooks`: how each receiver is, and sending again what it never got.

use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, json_body};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::notify::{DeadLetter, Notifier};
use crate::model::{Revision, Time, WebhookName};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A webhook's receiver.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookView {
    #[schema(value_type = String)]
    pub(super) name: WebhookName,
    /// Messages that wait for it.
    waiting: usize,
    /// Up to where the log has been looked at for it.
    #[schema(value_type = u64)]
    revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_delivered: Option<Time>,
    /// What was given up, oldest first.
    pub(super) dead_letters: Vec<DeadLetter>,
}

pub(super) fn all(webhooks: &Notifier) -> Vec<WebhookView> {
    let view = |(name, health): (WebhookName, crate::control::notify::Health)| WebhookView {
        name,
        waiting: health.waiting,
        revision: health.revision,
        last_delivered: health.last_delivered,
        dead_letters: health.dead,
    };
    webhooks.health().into_iter().map(view).collect()
}

/// Lists webhooks with what could not be delivered.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, body = Vec<WebhookView>),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    respond(StatusCode::OK, &all(&api.webhooks))
}

/// What is to be sent again: for now always everything that was given up.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redeliver {}

/// What is being sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redelivering {
    redelivering: usize,
}

/// Sends the dead letters of a webhook again, with all attempts before them.
#[utoipa::path(post, path = "/v1/webhooks/{name}/redeliver", tag = "webhooks", params(("name" = String, Path)), request_body = Redeliver,
    responses((status = 200, body = Redelivering),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn redeliver(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Configure)?;
    let Redeliver {} = json_body(&headers, body).await?;
    if !api.webhooks.health().iter().any(|(known, _)| known.as_str() == name) {
        return Err(Problem::not_found());
    }
    let redelivering = api.webhooks.redeliver(&name).await.ok_or_else(Problem::busy)?;
    respond(StatusCode::OK, &Redelivering { redelivering })
}
