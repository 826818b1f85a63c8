//! The REST API, one file a resource; beside it the same for agents (`mcp`) and for a person with a browser (`page`). Knows callers only by the certificate of their connection ([`read::Caller`]).
//!
//! Rules: the role is looked at before anything else of a request; bodies are read strictly or not at all; a caller without a role
//! sees what names it, and everything else looks as if it did not exist (law 11).

mod checkpoints;
mod decisions;
mod events;
mod grant_view;
mod grants;
mod mcp;
mod openapi;
mod page;
mod parts;
mod people;
mod policies;
mod problem;
mod proofs;
mod proxies;
mod read;
mod request_list;
mod request_view;
mod requests;
mod revocations;
mod seconds;
mod site;
mod status;
mod story;
mod tasks;
mod tokens;
mod webhooks;

pub use openapi::openapi;
pub use problem::Problem;
pub use site::Site;

use crate::config::PolicyConfig;
use crate::control::issuers::Issuers;
use crate::control::notify::Notifier;
use crate::control::plane::Plane;
use crate::control::policies::Policies;
use crate::control::receipt::Signer;
use crate::control::tickets::Tickets;
use crate::control::token::Tokens;
use axum::Router;
use axum::extract::State as Shared;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get, post, put};
use read::Caller;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Largest body of a bulk call.
const MAX_BULK_BODY: usize = 32 << 20;
/// Bulk calls at once.
const BULK_CALLS: usize = 2;
/// Lists at once that are made for callers who read everything, and for all others together.
const LISTS: usize = 4;
const LISTS_OF_STRANGERS: usize = 1;
/// How much is looked at before the writer has a turn.
const LOOKS: usize = 10_000;

/// What the resources share.
#[derive(Debug, Clone)]
pub struct Api {
    plane: Plane,
    signer: Arc<Signer>,
    tokens: Tokens,
    webhooks: Notifier,
    tickets: Option<Arc<Tickets>>,
    issuers: Issuers,
    policies: Arc<Policies>,
    bulk: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    lists_of_strangers: Arc<Semaphore>,
    site: Site,
}

impl Api {
    /// The API of this control plane.
    #[must_use]
    pub fn new(
        plane: Plane,
        signer: Arc<Signer>,
        tokens: Tokens,
        (policies, site): (PolicyConfig, Site),
    ) -> Self {
        let policies = Arc::new(Policies::new(policies, &plane));
        Self {
            plane,
            signer,
            tokens,
            webhooks: Notifier::default(),
            tickets: None,
            issuers: Issuers::default(),
            policies,
            bulk: Arc::new(Semaphore::new(BULK_CALLS)),
            lists: Arc::new(Semaphore::new(LISTS)),
            lists_of_strangers: Arc::new(Semaphore::new(LISTS_OF_STRANGERS)),
            site,
        }
    }

    /// With these webhooks.
    #[must_use]
    pub fn with_webhooks(self, webhooks: Notifier) -> Self {
        Self { webhooks, ..self }
    }

    /// With outside issuers whose tokens prove who somebody is.
    #[must_use]
    pub fn with_issuers(self, issuers: Issuers) -> Self {
        Self { issuers, ..self }
    }

    /// With a ticket system to ask.
    #[must_use]
    pub fn with_tickets(self, tickets: Option<Arc<Tickets>>) -> Self {
        Self { tickets, ..self }
    }

    /// Makes a list for a caller, off the runtime's threads: the pings of proxies are answered there, and who is not answered in time
    /// denies everything. Callers without a role have theirs one after the other, so that they never take all processors.
    async fn listed<T: Send + 'static>(
        &self,
        caller: &Caller,
        list: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turns = if caller.sees_all(self) { &self.lists } else { &self.lists_of_strangers };
        let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| Problem::internal())?;
        let api = self.clone();
        let made = move || {
            let _turn = turn;
            list(&api)
        };
        tokio::task::spawn_blocking(made).await.map_err(|_| Problem::internal())
    }

    /// Its routes. To be served with an `Arc<Peer>` in the extensions of each request; without one nothing is answered.
    pub fn router(self) -> Router {
        Router::new()
            .route("/v1/grants", post(grants::create).get(grants::list))
            .route("/v1/grants/{id}", get(grants::show))
            .route("/v1/grants/{id}/extend", post(parts::extend))
            .route("/v1/grants/{id}/delegate", post(parts::delegate))
            .route("/v1/grants/{id}/token", post(tokens::mint))
            .route("/v1/introspect", post(tokens::introspect))
            .route("/v1/keys/rotate", post(tokens::rotate))
            .route("/v1/requests", post(requests::create).get(request_list::list))
            .route("/v1/requests/{id}", get(requests::show))
            .route("/v1/requests/{id}/story", get(story::story))
            .route("/v1/requests/{id}/approve", post(decisions::approve))
            .route("/v1/requests/{id}/deny", post(decisions::deny))
            .route("/v1/requests/{id}/cancel", post(decisions::cancel))
            .route("/v1/requests/{id}/advance", post(decisions::advance))
            .route("/v1/tasks/{task}", get(tasks::show))
            .route("/v1/tasks/{task}/done", post(tasks::done))
            .route("/v1/tasks/{task}/failed", post(tasks::failed))
            .route("/v1/tasks/{task}/members", post(tasks::join))
            .route("/v1/tasks/{task}/alive", post(tasks::alive))
            .route("/v1/principals/{id}", get(people::show))
            .route("/v1/principals/{id}/attributes", put(people::set_attributes))
            .route("/v1/principals/{id}/cooldowns/lift", post(people::lift_cooldowns))
            .route("/v1/reviews", get(people::reviews))
            .route("/v1/reviews/{id}/close", post(people::close_review))
            .route("/v1/policies", get(policies::show))
            .route("/v1/policies/reload", post(policies::reload))
            .route("/v1/revocations", post(revocations::create))
            .route("/v1/revocations/{id}", get(revocations::show))
            .route("/v1/proxies", get(proxies::list))
            .route("/v1/proxies/{name}", get(proxies::show))
            .route("/v1/proxies/{name}/checkpoint", get(proxies::checkpoint))
            .route("/v1/log/checkpoint", get(checkpoints::checkpoint))
            .route("/v1/log/witnessed", get(checkpoints::witnessed))
            .route("/v1/log/witnessed/{name}", get(checkpoints::witnessed_by))
            .route("/v1/log/key", get(checkpoints::key))
            .route("/v1/log/tile/{*tile}", get(checkpoints::tile))
            .route("/v1/log/entries", get(checkpoints::entries))
            .route("/v1/webhooks", get(webhooks::list))
            .route("/v1/webhooks/{name}/redeliver", post(webhooks::redeliver))
            .route("/v1/events", get(events::follow))
            .route("/v1/status", get(status::status))
            .route("/v1/whoami", get(status::whoami))
            .route("/.well-known/jwks.json", get(status::jwks))
            .route("/openapi.json", get(openapi::document))
            .route("/mcp", any(mcp::endpoint))
            .route("/approve/{id}", get(page::show).post(page::decide))
            .route("/healthz", get(status::healthz))
            .fallback(unknown)
            .method_not_allowed_fallback(wrong_method)
            .with_state(self)
    }
}

/// No such endpoint. A stranger gets the answer that it would get from an existing one.
async fn unknown(caller: Caller, Shared(api): Shared<Api>, method: Method) -> Problem {
    if caller.sees_all(&api) { Problem::not_found() } else { Problem::stranger(&method) }
}

async fn wrong_method(caller: Caller, Shared(api): Shared<Api>, method: Method) -> Problem {
    if caller.sees_all(&api) { Problem::method() } else { Problem::stranger(&method) }
}

/// How many items a list has at most: as many as are `wanted`, up to `most`.
fn limit(wanted: Option<usize>, usual: usize, most: usize) -> Result<usize, Problem> {
    match wanted.unwrap_or(usual) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        _ => Err(Problem::malformed(format!("`limit` is from 1 to {most}"))),
    }
}

/// A page of a list. If it is full, `next` says where the next one is, after its last item (RFC 8288).
fn respond_page<T: Serialize>(
    page: &[T],
    limit: usize,
    next: impl FnOnce(&T) -> String,
) -> Result<Response, Problem> {
    let mut response = respond(StatusCode::OK, &page)?;
    if let (true, Some(last)) = (page.len() == limit, page.last())
        && let Ok(link) = HeaderValue::try_from(next(last))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn respond(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    let bytes = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an answer cannot be written as JSON");
        Problem::internal()
    })?;
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((status, kind, bytes).into_response())
}
