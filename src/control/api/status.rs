//! `/v1/status`, `/v1/whoami`, and what needs no role: health, keys, the API's description.

use crate::control::api::problem::Problem;
use crate::control::api::proxies::{ProxyView, all};
use crate::control::api::read::Caller;
use crate::control::api::webhooks::{self, WebhookView};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::plane::Plane;
use crate::model::{Epoch, Revision, SpiffeId, Time};
use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

/// How the whole is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatusView {
    version: &'static str,
    log: String,
    #[schema(value_type = u64)]
    epoch: Epoch,
    /// The head of the log.
    #[schema(value_type = u64)]
    revision: Revision,
    /// Control time.
    #[schema(value_type = String, format = DateTime)]
    time: Time,
    #[schema(value_type = String, format = DateTime)]
    started_at: Time,
    lease_ms: u64,
    longest_lease_ms: u64,
    grants: Counts,
    requests: RequestCounts,
    reviews: ReviewCounts,
    proxies: Vec<ProxyView>,
    webhooks: Vec<WebhookView>,
    /// What somebody should look at; empty is good.
    attention: Vec<String>,
}

/// How many grants there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Counts {
    live: usize,
    upcoming: usize,
}

/// How many requests wait for a decision.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RequestCounts {
    pending: usize,
}

/// How many reviews wait for a second person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReviewCounts {
    open: usize,
    overdue: usize,
}

/// Shows proxies with their revision, lease and lag; counts; and what needs attention.
#[utoipa::path(get, path = "/v1/status", tag = "status",
    responses((status = 200, body = StatusView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn status(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let plane = &api.plane;
    let (now, proxies) = (plane.control_time(), all(plane));
    let webhooks = webhooks::all(&api.webhooks);
    let (revision, longest, (live, upcoming), (pending, reviews)) = plane.with_state(|state| {
        let upcoming = state.live().filter(|live| now < live.grant.not_before).count();
        let live = state.live().filter(|live| live.grant.covers(now)).count();
        let overdue = state.open_reviews().filter(|review| review.due <= now).count();
        let reviews = ReviewCounts { open: state.open_reviews().count(), overdue };
        let counts = (state.pending().len(), reviews);
        (state.revision(), state.longest_lease(), (live, upcoming), counts)
    });
    let millis = |length: std::time::Duration| u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let view = StatusView {
        version: env!("CARGO_PKG_VERSION"),
        log: plane.log_id().to_string(),
        epoch: plane.epoch(),
        revision,
        time: now,
        started_at: plane.started().0,
        lease_ms: millis(plane.lease()),
        longest_lease_ms: millis(longest),
        grants: Counts { live, upcoming },
        attention: attention(&api.plane, &proxies, &webhooks, pending, &reviews),
        requests: RequestCounts { pending },
        reviews,
        proxies,
        webhooks,
    };
    respond(StatusCode::OK, &view)
}

fn attention(
    plane: &Plane,
    proxies: &[ProxyView],
    webhooks: &[WebhookView],
    pending: usize,
    reviews: &ReviewCounts,
) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(why) = plane.log_dispute() {
        notes.push(format!("the event log is not the one that was signed for: {why}"));
    }
    for (witness, why) in plane.witness_claims() {
        notes.push(format!(
            "witness `{witness}` claims that the event log was rolled back or rewritten: {why}"
        ));
    }
    if pending > 0 {
        let (requests, wait) = if pending == 1 { ("request", "waits") } else { ("requests", "wait") };
        notes.push(format!("{pending} access {requests} {wait} for a decision"));
    }
    if reviews.open > 0 {
        let are = if reviews.open == 1 { "review is" } else { "reviews are" };
        notes.push(format!("{} {are} open, {} overdue", reviews.open, reviews.overdue));
    }
    for webhook in webhooks.iter().filter(|webhook| !webhook.dead_letters.is_empty()) {
        let count = webhook.dead_letters.len();
        let messages = if count == 1 { "message" } else { "messages" };
        notes.push(format!("webhook `{}` has {count} {messages} that could not be delivered", webhook.name));
    }
    if proxies.is_empty() {
        notes.push("no proxy has ever joined".to_owned());
    }
    for proxy in proxies {
        match proxy.audit {
            "unwritable" => notes.push(format!(
                "proxy `{}` cannot write its audit trail, or what has to be recorded, and refuses requests: free space there",
                proxy.name
            )),
            "low_space" => {
                notes.push(format!("proxy `{}` has hardly any space left for its audit trail or its recordings", proxy.name));
            }
            _ => {}
        }
        if proxy.witness_disputed_at.is_some() {
            notes.push(format!(
                "an external witness of the audit trail of proxy `{}` has signed for other lines: unless it was begun anew on purpose, it was rolled back or rewritten",
                proxy.name
            ));
        }
        if let Some(fault) = proxy.trail.as_ref().and_then(|trail| trail.disputed) {
            notes.push(format!(
                "the audit trail of proxy `{}` {}: unless it was begun anew on purpose, it was tampered with",
                proxy.name,
                fault.meaning()
            ));
        }
        match proxy.state {
            "connected" if proxy.lag > 1_000 => {
                notes.push(format!("proxy `{}` is {} revisions behind", proxy.name, proxy.lag));
            }
            "connected" => {}
            state => notes.push(format!("proxy `{}` is not connected ({state})", proxy.name)),
        }
    }
    notes
}

/// Who the caller is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WhoView {
    #[schema(value_type = String)]
    principal: SpiffeId,
    roles: Vec<&'static str>,
    certificate_sha256: String,
    #[schema(value_type = String, format = DateTime)]
    not_after: Time,
}

/// Shows the caller's own identity and roles.
#[utoipa::path(get, path = "/v1/whoami", tag = "status", responses((status = 200, body = WhoView)))]
pub(super) async fn whoami(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    let rules = api.plane.rules();
    let view = WhoView {
        principal: caller.id().clone(),
        roles: rules.roles.of(caller.id()).map(crate::config::Role::as_str).collect(),
        certificate_sha256: caller.peer().certificate_sha256_hex().to_owned(),
        not_after: caller.peer().not_after(),
    };
    respond(StatusCode::OK, &view)
}

/// The keys that receipts and tokens are signed with (RFC 7517).
pub(super) async fn jwks(_: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    let mut keys = vec![api.signer.jwk()];
    keys.extend(api.tokens.jwks());
    respond(StatusCode::OK, &serde_json::json!({ "keys": keys }))
}

/// Whether this process serves.
pub(super) async fn healthz(_: Caller) -> &'static str {
    "ok\n"
}
