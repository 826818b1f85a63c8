//! The API's description (OpenAPI 3.1), made from the handlers.

use crate::control::api::read::Caller;
use crate::control::api::{events, grants, problem, proxies, respond, revocations, status};
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
        revocations::create,
        revocations::show,
        proxies::list,
        proxies::show,
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
