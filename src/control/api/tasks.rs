//! `/v1/tasks`: who takes part in a task, and its end.

use crate::control::api::decisions::{Nothing, Reason};
use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, json_body};
use crate::control::api::seconds::Seconds;
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::control::state::{Command, State, Task};
use crate::control::workflow::AccessCommand;
use crate::model::event::{Selector, TaskOutcome};
use crate::model::{AccessRequestId, GrantId, SpiffeId, TaskId, Time};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use utoipa::ToSchema;

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TaskView {
    #[schema(value_type = String)]
    task: TaskId,
    /// Whose it is: its first requester.
    #[schema(value_type = String)]
    owner: SpiffeId,
    /// Who else takes part.
    #[schema(value_type = Vec<String>)]
    members: BTreeSet<SpiffeId>,
    /// `open`, or how it ended: `done`, `failed`, `deadline`, `idle`.
    state: &'static str,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    deadline: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    idle_timeout_seconds: Option<Seconds>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Time>,
    /// Its grants that are not over.
    #[schema(value_type = Vec<String>)]
    grants: Vec<GrantId>,
    /// Its requests.
    #[schema(value_type = Vec<String>)]
    requests: Vec<AccessRequestId>,
}

impl TaskView {
    fn new(state: &State, name: &TaskId, task: &Task, now: Time) -> Self {
        Self {
            task: name.clone(),
            owner: task.owner.clone(),
            members: task.members.clone(),
            state: task.ended.map_or("open", |(outcome, _)| outcome.as_str()),
            opened_at: task.opened_at,
            deadline: task.deadline,
            idle_timeout_seconds: task.idle_timeout.map(Seconds),
            ended_at: task.ended.map(|(_, at)| at),
            grants: state.select(&Selector::Task(name.clone()), now),
            requests: state.requests_of(name).map(|record| record.request.id).collect(),
        }
    }
}

/// The task as the caller may see it: its owner, those who take part, and those who read everything.
fn view(api: &Api, caller: &Caller, task: &str) -> Result<(TaskId, TaskView), Problem> {
    let name: TaskId = task.parse().map_err(|_| Problem::not_found())?;
    let now = api.plane.control_time();
    let roles = api.plane.rules();
    let all = roles.roles.may(caller.id(), Need::Read) || roles.roles.may(caller.id(), Need::Steer);
    let view = api.plane.with_state(|state| {
        let known = state.task(&name).filter(|known| all || known.has(caller.id()));
        known.map(|known| TaskView::new(state, &name, known, now))
    });
    view.map(|view| (name, view)).ok_or_else(Problem::not_found)
}

/// Shows a task.
#[utoipa::path(get, path = "/v1/tasks/{task}", tag = "tasks", params(("task" = String, Path)),
    responses((status = 200, body = TaskView),
        (status = 404, description = "no such task", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(task): Path<String>,
) -> Result<Response, Problem> {
    respond(StatusCode::OK, &view(&api, &caller, &task)?.1)
}

async fn end(
    (caller, api): (Caller, Api),
    task: &str,
    (headers, body): (HeaderMap, Body),
    outcome: TaskOutcome,
) -> Result<Response, Problem> {
    view(&api, &caller, task)?;
    let Reason { reason } = json_body(&headers, body).await?;
    respond(StatusCode::OK, &ended(&api, &caller, task, (outcome, reason)).await?)
}

/// Ends a task that the caller may know of; the task as it is then.
pub(super) async fn ended(
    api: &Api,
    caller: &Caller,
    task: &str,
    (outcome, reason): (TaskOutcome, String),
) -> Result<TaskView, Problem> {
    let (name, _) = view(api, caller, task)?;
    let end = AccessCommand::EndTask { task: name, outcome, reason };
    api.plane.submit(caller.actor(), Command::Access(end)).await?;
    Ok(view(api, caller, task)?.1)
}

/// The task is done: everything that was granted for it ends.
#[utoipa::path(post, path = "/v1/tasks/{task}/done", tag = "tasks", params(("task" = String, Path)), request_body = Reason,
    responses((status = 200, body = TaskView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn done(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(task): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    end((caller, api), &task, (headers, body), TaskOutcome::Done).await
}

/// The task failed: everything that was granted for it ends.
#[utoipa::path(post, path = "/v1/tasks/{task}/failed", tag = "tasks", params(("task" = String, Path)), request_body = Reason,
    responses((status = 200, body = TaskView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn failed(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(task): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    end((caller, api), &task, (headers, body), TaskOutcome::Failed).await
}

/// Another principal that may ask for access under a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Member {
    #[schema(value_type = String)]
    principal: SpiffeId,
    /// Why.
    reason: String,
}

/// Lets another principal ask for access under the task: its owner, a broker or `security`.
#[utoipa::path(post, path = "/v1/tasks/{task}/members", tag = "tasks", params(("task" = String, Path)), request_body = Member,
    responses((status = 200, body = TaskView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn join(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(task): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let (name, _) = view(&api, &caller, &task)?;
    let Member { principal, reason } = json_body(&headers, body).await?;
    let join = AccessCommand::Join { task: name, principal, reason };
    api.plane.submit(caller.actor(), Command::Access(join)).await?;
    respond(StatusCode::OK, &view(&api, &caller, &task)?.1)
}

/// A sign of life of whoever works on the task.
#[utoipa::path(post, path = "/v1/tasks/{task}/alive", tag = "tasks", params(("task" = String, Path)), request_body = Nothing,
    responses((status = 200, body = TaskView),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn alive(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(task): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Nothing {} = json_body(&headers, body).await?;
    let (name, view) = view(&api, &caller, &task)?;
    // Only those who work on it keep it alive.
    if view.owner == *caller.id() || view.members.contains(caller.id()) {
        api.plane.task_is_alive(&name);
    }
    respond(StatusCode::OK, &view)
}
