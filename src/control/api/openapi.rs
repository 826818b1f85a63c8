//! The API's description (OpenAPI 3.1), made from the handlers.

use crate::control::api::read::Caller;
use crate::control::api::{
    checkpoints, decisions, events, grants, parts, people, policies, problem, proxies, request_list,
    requests, respond, revocations, status, story, tasks, tokens, webhooks,
};
use axum::http::StatusCode;
use axum::response::Response;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "jitgate",
        description = "Just-in-time access: grants, revocations and what enforces them. Callers are known by their client certificate (mTLS)."
    ),
    paths(
        grants::create,
        grants::list,
        grants::show,
        parts::extend,
        parts::delegate,
        tokens::mint,
        tokens::introspect,
        tokens::rotate,
        requests::create,
        request_list::list,
        requests::show,
        decisions::approve,
        decisions::deny,
        decisions::cancel,
        decisions::advance,
        story::story,
        tasks::show,
        tasks::done,
        tasks::failed,
        tasks::join,
        tasks::alive,
        people::show,
        people::set_attributes,
        people::lift_cooldowns,
        people::reviews,
        people::close_review,
        policies::show,
        policies::reload,
        revocations::create,
        revocations::show,
        proxies::list,
        proxies::show,
        proxies::checkpoint,
        checkpoints::checkpoint,
        checkpoints::witnessed,
        checkpoints::witnessed_by,
        checkpoints::key,
        checkpoints::tile,
        checkpoints::entries,
        webhooks::list,
        webhooks::redeliver,
        events::follow,
        status::status,
        status::whoami,
    ),
    components(schemas(problem::Problem))
)]
struct Document;

/// The description.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

pub(super) async fn document(_: Caller) -> Result<Response, problem::Problem> {
    respond(StatusCode::OK, &openapi())
}
