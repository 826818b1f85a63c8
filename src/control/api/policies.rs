//! `/v1/policies`: which policies decide, and replacing them while everything runs.

use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, json_body};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::policies::{LoadError, Loaded};
use crate::control::workflow::Disallowed;
use crate::model::{AccessRequestId, GrantId, PolicyOutcome, Time};
use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Grants that one answer lists.
const MAX_LISTED: usize = 1_000;

/// The policies that decide.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PoliciesView {
    /// `builtin`, or `sha256:` and 64 hexadecimal digits over the schema and all files.
    policy: String,
    /// Their ids, sorted.
    policies: Vec<String>,
    /// The zone of hours and weekdays.
    zone: String,
    /// Since when this process decides by them.
    #[schema(value_type = String, format = DateTime)]
    loaded_at: Time,
}

/// Shows which policies decide.
#[utoipa::path(get, path = "/v1/policies", tag = "policies",
    responses((status = 200, body = PoliciesView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let rules = api.plane.rules();
    let set = &rules.policies;
    let view = PoliciesView {
        policy: set.hash().to_owned(),
        policies: set.ids(),
        zone: set.zone().iana_name().unwrap_or("UTC").to_owned(),
        loaded_at: api.policies.loaded_at(),
    };
    respond(StatusCode::OK, &view)
}

/// How to reload.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Reload {
    /// Only say what would be.
    #[serde(default)]
    dry_run: bool,
}

/// What a reload led to, or would lead to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReloadView {
    policy: String,
    policies: Vec<String>,
    /// Whether it is another set than before; if not, nothing was done.
    changed: bool,
    dry_run: bool,
    /// How many grants it does not allow. They are revoked, except in a dry run.
    revoked: usize,
    /// The first thousand of them.
    disallowed: Vec<DisallowedView>,
}

/// A grant that is no longer allowed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DisallowedView {
    #[schema(value_type = String)]
    grant: GrantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request: Option<AccessRequestId>,
    /// `granted`, `approval` or `denied`.
    outcome: &'static str,
    /// The policies that determine that.
    policies: Vec<String>,
    /// Why it is no longer allowed.
    reason: String,
}

impl From<&Disallowed> for DisallowedView {
    fn from(no_longer: &Disallowed) -> Self {
        Self {
            grant: no_longer.grant,
            request: no_longer.request,
            outcome: match &no_longer.evaluation.outcome {
                PolicyOutcome::Denied { .. } => "denied",
                PolicyOutcome::Permitted(terms) if terms.stages.is_empty() => "granted",
                PolicyOutcome::Permitted(_) => "approval",
            },
            policies: no_longer.evaluation.determining.clone(),
            reason: no_longer.reason.clone(),
        }
    }
}

/// Reads the folder of policies again. A set that cannot be used changes nothing; a good one decides from now on, and every live
/// grant that it no longer allows, by the facts of its own decision, is revoked. Needs the role `security` or `admin`.
#[utoipa::path(post, path = "/v1/policies/reload", tag = "policies", request_body = Reload,
    responses((status = 200, body = ReloadView),
        (status = 422, description = "the set cannot be used: `errors`", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn reload(
    caller: Caller,
    Shared(api): Shared<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Load)?;
    let Reload { dry_run } = json_body(&headers, body).await?;
    // Whoever asked may hang up; what was begun is finished.
    let (plane, policies, actor) = (api.plane.clone(), api.policies.clone(), caller.actor());
    let reloading = tokio::spawn(async move { policies.reload(&plane, actor, dry_run).await });
    let Loaded { policy, policies, changed, disallowed } =
        reloading.await.map_err(|_| Problem::internal())?.map_err(problem)?;
    let listed = disallowed.iter().take(MAX_LISTED).map(DisallowedView::from).collect();
    let revoked = disallowed.len();
    respond(StatusCode::OK, &ReloadView { policy, policies, changed, dry_run, revoked, disallowed: listed })
}

fn problem(error: LoadError) -> Problem {
    match error {
        LoadError::Policies(errors) => Problem::policies(errors),
        LoadError::Refused(refusal) => refusal.into(),
        LoadError::Stopping => Problem::busy(),
        LoadError::Log(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "the event log cannot be read");
            Problem::internal()
        }
    }
}
