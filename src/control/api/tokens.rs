//! Tokens over the API: made for a grant (`/v1/grants/{id}/token`), looked up (`/v1/introspect`, RFC 7662), and their keys replaced.
//!
//! Only the principal of a grant gets a token of it, bound to the certificate that it asks with. Whoever may not know of a token
//! is told the same as of one that does not exist.

use crate::control::api::decisions::Nothing;
use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, form, json_body};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::token::{MintError, Minted};
use crate::model::{GrantId, Time};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use utoipa::ToSchema;

/// Largest form of an introspection.
const MAX_FORM: usize = 32 << 10;

/// A token (RFC 6749 section 5.1). Not `Debug`.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenView {
    /// A JWT (RFC 9068), for `authorization: Bearer` beside the certificate that it was asked for with.
    access_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Seconds until it ends, which is when the grant does.
    expires_in: u64,
}

/// Makes a token of a live grant of one's own. It counts only with the certificate of this connection, and only while the grant
/// is live.
#[utoipa::path(post, path = "/v1/grants/{id}/token", tag = "tokens", request_body = Nothing,
    params(("id" = String, Path, description = "`gr_…`")),
    responses((status = 200, body = TokenView),
        (status = 404, description = "no such grant of the caller", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "the grant is not live", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn mint(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id: GrantId = id.parse().map_err(|_| Problem::not_found())?;
    let is_own = api
        .plane
        .with_state(|state| state.find(id).is_some_and(|found| found.grant().principal == *caller.id()));
    if !is_own {
        return Err(Problem::not_found());
    }
    let Nothing {} = json_body(&headers, body).await?;
    let Minted { token, expires_in } = for_grant(&api, &caller, id, api.plane.control_time())?;
    let view = TokenView { access_token: token, token_type: "Bearer", expires_in: expires_in.as_secs() };
    Ok(secret(respond(StatusCode::OK, &view)?))
}

/// A token of a live grant of the caller's.
pub(super) fn for_grant(api: &Api, caller: &Caller, id: GrantId, now: Time) -> Result<Minted, Problem> {
    let grant = api
        .plane
        .with_state(|state| {
            let live = state.live_grant(id).filter(|live| live.grant.principal == *caller.id())?;
            Some(Arc::clone(&live.grant))
        })
        .ok_or_else(|| Problem::not_live(MintError::NotLive.to_string()))?;
    let minted =
        api.tokens.mint(&grant, caller.peer().certificate_sha256(), now).map_err(|error| match error {
            MintError::NotLive => Problem::not_live(error.to_string()),
            MintError::TooLarge => Problem::token_too_large(error.to_string()),
            MintError::Sign(_) | MintError::NoKey => {
                tracing::error!(error = &error as &dyn std::error::Error, "a token cannot be made");
                Problem::internal()
            }
        })?;
    tracing::info!(grant = %id, principal = %grant.principal, "a token was made");
    Ok(minted)
}

/// For answers with a token in them (RFC 6749 section 5.1).
pub(super) fn secret(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What is asked about (RFC 7662 section 2.1). Not `Debug`.
#[derive(Deserialize, ToSchema)]
pub(super) struct Introspect {
    /// The token.
    token: String,
    /// Taken and not needed: there is one kind of token.
    #[serde(default)]
    #[allow(dead_code, reason = "RFC 7662 has it")]
    token_type_hint: Option<String>,
}

/// Says whether a token of this control plane is active now (RFC 7662): it holds, and its grant is live. For operators and
/// proxies, and for the principal of the token; to everybody else each token is inactive.
#[utoipa::path(post, path = "/v1/introspect", tag = "tokens",
    request_body(content = Introspect, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "`{\"active\": false}`, or the claims and `\"active\": true`", body = Object),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn introspect(
    caller: Caller,
    Shared(api): Shared<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let asked: Introspect = form(&headers, body, MAX_FORM).await?;
    let view = active(&api, &caller, &asked.token).map_or_else(|| json!({ "active": false }), Value::Object);
    Ok(secret(respond(StatusCode::OK, &view)?))
}

fn active(api: &Api, caller: &Caller, token: &str) -> Option<Map<String, Value>> {
    let now = api.plane.control_time();
    let claims = api.tokens.inspect(token, now)?;
    let rules = api.plane.rules();
    let is_own = claims.text("client_id").ok().flatten() == Some(caller.id().as_str());
    let may = rules.roles.may(caller.id(), Need::Read) || rules.roles.may(caller.id(), Need::Enforce);
    if !is_own && !may {
        return None;
    }
    let grant: GrantId = claims.text("jti").ok().flatten()?.parse().ok()?;
    if !api.plane.with_state(|state| state.live_grant(grant).is_some_and(|live| live.grant.covers(now))) {
        return None;
    }
    let mut members = claims.members().clone();
    members.insert("active".to_owned(), Value::Bool(true));
    members.insert("token_type".to_owned(), Value::String("Bearer".to_owned()));
    Some(members)
}

/// The new key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RotatedView {
    /// Its name in the JWK set.
    kid: String,
}

/// Makes a new key for tokens. It signs as soon as every proxy knows it; the old one stays published until its tokens have ended.
#[utoipa::path(post, path = "/v1/keys/rotate", tag = "tokens", request_body = Nothing,
    responses((status = 200, body = RotatedView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn rotate(
    caller: Caller,
    Shared(api): Shared<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Grant)?;
    let Nothing {} = json_body(&headers, body).await?;
    let kid = api.tokens.rotate().map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "the keys for tokens stay as they are");
        Problem::internal()
    })?;
    tracing::info!(kid, by = %caller.id(), "a new key for tokens");
    respond(StatusCode::OK, &RotatedView { kid })
}
