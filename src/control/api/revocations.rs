//! `/v1/revocations`: end access now; see how far it has taken effect.

use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, Query, json_body};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::receipt::Receipt;
use crate::control::state::{Command, Outcome};
use crate::model::event::{Everything, Selector};
use crate::model::{GrantId, RevocationId, ServiceName, SpiffeId, TaskId, Ttl};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

const MAX_WAIT: Duration = Duration::from_secs(120);
/// A lease that runs out makes no event: how often to look.
const LOOK: Duration = Duration::from_millis(100);

/// What to revoke: exactly one of `grant`, `task`, `principal`, `service`, `all`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRevocation {
    /// One grant.
    #[schema(value_type = Option<String>)]
    grant: Option<GrantId>,
    /// All grants of a task.
    #[schema(value_type = Option<String>)]
    task: Option<TaskId>,
    /// All grants of a principal.
    #[schema(value_type = Option<String>)]
    principal: Option<SpiffeId>,
    /// All grants with a permission at a service.
    #[schema(value_type = Option<String>)]
    service: Option<ServiceName>,
    /// Every grant: the literal `true`.
    #[schema(value_type = Option<bool>)]
    all: Option<Everything>,
    /// Why; at most 4 KiB.
    reason: String,
}

impl NewRevocation {
    fn selector(self) -> Result<(Selector, String), Problem> {
        let given = [
            self.grant.map(Selector::Grant),
            self.task.map(Selector::Task),
            self.principal.map(Selector::Principal),
            self.service.map(Selector::Service),
            self.all.map(Selector::All),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(selector), None) => Ok((selector, self.reason)),
            _ => Err(Problem::malformed(
                "give exactly one of `grant`, `task`, `principal`, `service`, `all` (which is `true`)",
            )),
        }
    }
}

/// How long to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Answer when the revocation is effective everywhere, or after this long (at most `2m`).
    #[param(value_type = Option<String>, example = "30s")]
    wait: Option<Ttl>,
}

/// A revocation with its receipt.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevocationView {
    #[serde(flatten)]
    receipt: Receipt,
    /// The same, signed by the control plane: a compact JWS (EdDSA; keys at `/.well-known/jwks.json`).
    signed: String,
}

/// Revokes. Accepted means durable: it is effective everywhere by `effective_by`, and as soon as `effective` says so.
#[utoipa::path(post, path = "/v1/revocations", tag = "revocations", params(Wait), request_body = NewRevocation,
    responses(
        (status = 201, description = "accepted", body = RevocationView),
        (status = "default", description = "refused, nothing was done", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(wait): Query<Wait>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Revoke)?;
    let (selector, reason) = json_body::<NewRevocation>(&headers, body).await?.selector()?;
    let revoke = Command::Revoke { selector, reason };
    let outcome = api.plane.submit(caller.actor(), revoke).await?;
    let Outcome::Revoked { revocation: id, .. } = outcome else { return Err(Problem::internal()) };
    let mut response = answer(&api, StatusCode::CREATED, id, &wait).await?;
    if let Ok(location) = HeaderValue::try_from(format!("/v1/revocations/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Shows a revocation with a fresh receipt.
#[utoipa::path(get, path = "/v1/revocations/{id}", tag = "revocations",
    params(Wait, ("id" = String, Path, description = "`rv_…`")),
    responses(
        (status = 200, body = RevocationView),
        (status = 404, description = "no such revocation", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(wait): Query<Wait>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let id: RevocationId = id.parse().map_err(|_| Problem::not_found())?;
    answer(&api, StatusCode::OK, id, &wait).await
}

async fn answer(api: &Api, status: StatusCode, id: RevocationId, wait: &Wait) -> Result<Response, Problem> {
    if let Some(wait) = wait.wait {
        let effective = until_effective(api, id);
        // Too late is an answer as well: the receipt says how far it is.
        let _ = tokio::time::timeout(wait.get().min(MAX_WAIT), effective).await;
    }
    let receipt = Receipt::of(&api.plane, id).ok_or_else(Problem::not_found)?;
    let signed = api.signer.sign(&receipt, api.plane.control_time()).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a receipt cannot be signed");
        Problem::internal()
    })?;
    respond(status, &RevocationView { receipt, signed })
}

async fn until_effective(api: &Api, id: RevocationId) {
    let mut head = api.plane.head();
    while !Receipt::is_effective(&api.plane, id) {
        // Either a confirmation moves the head or time passes.
        let _ = tokio::time::timeout(LOOK, head.changed()).await;
    }
}
