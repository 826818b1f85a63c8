//! `/v1/requests`: asking for access and deciding on it.

use crate::control::api::problem::Problem;
use crate::control::api::proofs::{self, Token};
use crate::control::api::read::{Caller, Query, keyed_body};
use crate::control::api::request_view::RequestView;
use crate::control::api::{Api, respond, tokens};
use crate::control::state::{Command, Outcome, RequestState};
use crate::control::workflow::{AccessCommand, NewRequest, Wanted, may_see};
use crate::model::strict::present;
use crate::model::{
    AccessRequestId, Entry, Envelope, IdempotencyKey, Plan, RoleName, Scope, SpiffeId, Step, TaskId, Time,
    Ttl,
};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// The longest wait of one call.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A request for access.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskFor {
    /// For which task.
    #[schema(value_type = String, example = "INC-4711")]
    task: TaskId,
    /// The justification; at most 4 KiB.
    reason: String,
    /// What is asked for: RFC 9396 `authorization_details`. One of `scope`, `role`, `plan` and `envelope`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Object>>)]
    scope: Option<Scope>,
    /// A named scope of the configuration.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    role: Option<RoleName>,
    /// Ordered steps: each a `scope`, where wanted `max_uses`, and `reassess` if it is decided anew before it opens.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Object>>)]
    plan: Option<Vec<Step>>,
    /// Several scopes with limits of their own, decided at once: each a `scope`, where wanted `limits`. One grant for each.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<Vec<Object>>)]
    envelope: Option<Vec<Entry>>,
    /// How long, from approval or from `not_before`.
    #[schema(value_type = String, example = "15m")]
    ttl: Ttl,
    /// From when.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Time>,
    /// For whom; needs the role `broker`.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    principal: Option<SpiffeId>,
    /// The ticket that it belongs to.
    #[serde(default, deserialize_with = "present")]
    ticket: Option<String>,
    /// A token (JWT) of a configured issuer that names the human behind the request.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    on_behalf_of: Option<Token>,
    /// Break-glass.
    #[serde(default)]
    emergency: bool,
    /// With a token of the grant, if this very call is answered with one that is live (see `/v1/grants/{id}/token`).
    #[serde(default)]
    token: bool,
    /// When the task ends.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, format = DateTime)]
    task_deadline: Option<Time>,
    /// Without traffic and sign of life for this long the task ends.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    task_idle_timeout: Option<Ttl>,
}

impl AskFor {
    fn wanted(&mut self) -> Result<Wanted, Problem> {
        let wanted = [
            self.scope.take().map(Wanted::Scope),
            self.role.take().map(Wanted::Role),
            self.plan.take().map(|steps| Wanted::Plan(Plan { steps })),
            self.envelope.take().map(|entries| Wanted::Envelope(Envelope { entries })),
        ];
        let mut given = wanted.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(wanted), None) => Ok(wanted),
            (None, _) => {
                Err(Problem::malformed("nothing is asked for: give `scope`, `role`, `plan` or `envelope`"))
            }
            (Some(_), Some(_)) => {
                Err(Problem::malformed("give one of `scope`, `role`, `plan` and `envelope`"))
            }
        }
    }
}

/// Asks for access. A request that the policies refuse is created with the state `denied`.
#[utoipa::path(post, path = "/v1/requests", tag = "requests", request_body = AskFor,
    params(("idempotency-key" = Option<String>, Header, description = "asked once under this key, for a day")),
    responses(
        (status = 201, description = "asked, and perhaps decided already", body = RequestView),
        (status = 200, description = "asked before, or granted before", body = RequestView),
        (status = 401, description = "the policies demand a fresh and strong authentication (RFC 9470)", body = Problem, content_type = "application/problem+json"),
        (status = "default", description = "refused, nothing was logged", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    caller: Caller,
    Shared(api): Shared<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (ask, key): (AskFor, _) = keyed_body(&headers, "/v1/requests", body).await?;
    let wants_token = ask.token;
    let (status, view) = ask_for(&api, &caller, &headers, (ask, key)).await?;
    let response = located(respond(status, &view)?, view.id());
    Ok(if wants_token { tokens::secret(response) } else { response })
}

/// Asks: with what the caller brings along as proof looked at first.
pub(super) async fn ask_for(
    api: &Api,
    caller: &Caller,
    headers: &HeaderMap,
    (mut ask, key): (AskFor, Option<IdempotencyKey>),
) -> Result<(StatusCode, RequestView), Problem> {
    let wanted = ask.wanted()?;
    let authenticated = proofs::bearer(api, caller, headers).await?;
    let on_behalf_of = proofs::user(api, caller, ask.on_behalf_of.as_ref()).await?;
    let ticket_open = proofs::ticket(api, ask.ticket.as_deref()).await?;
    let new = NewRequest {
        principal: ask.principal,
        task: ask.task,
        wanted,
        ttl: ask.ttl,
        not_before: ask.not_before,
        reason: ask.reason,
        ticket: ask.ticket,
        ticket_open,
        on_behalf_of,
        authenticated,
        emergency: ask.emergency,
        task_deadline: ask.task_deadline,
        task_idle_timeout: ask.task_idle_timeout,
        source: caller.source(),
    };
    if ask.token && new.principal.as_ref().is_some_and(|principal| principal != caller.id()) {
        return Err(Problem::malformed(
            "`token` is for oneself: a token is bound to the certificate of its principal",
        ));
    }
    let command = once(key, AccessCommand::Request(Box::new(new)));
    let (status, id) = run(api, caller, command, true).await?;
    let mut view = view(api, caller, id)?;
    if let (true, Some(grant)) = (ask.token, view.granted()) {
        // A grant that starts later, or has ended already, has none: that is no reason to refuse the request.
        let minted = tokens::for_grant(api, caller, grant, api.plane.control_time());
        view.set_token(minted.ok().map(|minted| minted.token));
    }
    Ok((status, view))
}

/// Submits what makes a request: once under its key, if there is one.
pub(super) async fn submit_once(
    api: &Api,
    caller: &Caller,
    key: Option<IdempotencyKey>,
    command: AccessCommand,
) -> Result<Response, Problem> {
    submit(api, caller, once(key, command), true).await
}

/// The command as it is, or once under its key.
pub(super) fn once(key: Option<IdempotencyKey>, command: AccessCommand) -> AccessCommand {
    match key {
        Some(key) => AccessCommand::Once(key, Box::new(command)),
        None => command,
    }
}

/// Submits and answers with the request as it is then.
pub(super) async fn submit(
    api: &Api,
    caller: &Caller,
    command: AccessCommand,
    creates: bool,
) -> Result<Response, Problem> {
    let (status, id) = run(api, caller, command, creates).await?;
    let response = respond(status, &view(api, caller, id)?)?;
    Ok(if creates { located(response, id) } else { response })
}

/// Submits; the request that it is about, and whether it is new.
pub(super) async fn run(
    api: &Api,
    caller: &Caller,
    command: AccessCommand,
    creates: bool,
) -> Result<(StatusCode, AccessRequestId), Problem> {
    let outcome = api.plane.submit(caller.actor(), Command::Access(command)).await?;
    let Outcome::Request { id, existing } = outcome else { return Err(Problem::internal()) };
    Ok((if creates && !existing { StatusCode::CREATED } else { StatusCode::OK }, id))
}

fn located(mut response: Response, id: AccessRequestId) -> Response {
    if let Ok(location) = HeaderValue::try_from(format!("/v1/requests/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// The request as the caller may see it.
pub(super) fn view(api: &Api, caller: &Caller, id: AccessRequestId) -> Result<RequestView, Problem> {
    let (now, rules) = (api.plane.control_time(), api.plane.rules());
    let view = api.plane.with_state(|state| {
        let record = state.request(id).filter(|record| may_see(state, &rules, record, caller.id()));
        record.map(|record| RequestView::new(state, &rules, (record, &api.site), now))
    });
    view.ok_or_else(Problem::not_found)
}

/// The caller's own pending requests, for one task where one is named.
pub(super) fn own_pending(api: &Api, caller: &Caller, task: Option<&TaskId>) -> Vec<RequestView> {
    let (now, rules) = (api.plane.control_time(), api.plane.rules());
    api.plane.with_state(|state| {
        let own = state.pending_of(caller.id());
        let wanted = own.filter(|record| task.is_none_or(|task| record.request.task == *task));
        wanted.map(|record| RequestView::new(state, &rules, (record, &api.site), now)).collect()
    })
}

/// How long to wait for a decision.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// Answer when the request is no longer pending, or after this long; at most `60s`.
    #[param(value_type = Option<String>)]
    wait: Option<Ttl>,
}

/// Shows a request, at once or when it is decided.
#[utoipa::path(get, path = "/v1/requests/{id}", tag = "requests",
    params(Wait, ("id" = String, Path, description = "`rq_…`")),
    responses((status = 200, body = RequestView),
        (status = 404, description = "no such request", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
) -> Result<Response, Problem> {
    let id: AccessRequestId = id.parse().map_err(|_| Problem::not_found())?;
    view(&api, &caller, id)?;
    let length = wait.wait.map_or(Duration::ZERO, Ttl::get);
    if length > MAX_WAIT {
        return Err(Problem::malformed("`wait` is at most `60s`: ask again after that"));
    }
    respond(StatusCode::OK, &when_decided(&api, &caller, id, length).await?)
}

/// The request at once if it is no longer pending, else when it is, or after `length`.
pub(super) async fn when_decided(
    api: &Api,
    caller: &Caller,
    id: AccessRequestId,
    length: Duration,
) -> Result<RequestView, Problem> {
    let first = view(api, caller, id)?;
    if !first.is_pending() || length.is_zero() {
        return Ok(first);
    }
    let mut head = api.plane.head();
    let decided = async {
        loop {
            head.borrow_and_update();
            let pending = api.plane.with_state(|state| {
                state.request(id).is_some_and(|record| record.state == RequestState::Pending)
            });
            // A control plane that stops changes nothing any more.
            if !pending || head.changed().await.is_err() {
                return;
            }
        }
    };
    let _in_time = tokio::time::timeout(length, decided).await;
    view(api, caller, id)
}
