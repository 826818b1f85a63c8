//! What each tool does: the same as the REST resource of the same purpose, through the same functions.

use super::arguments::{check, needed, read, spell_out, text, wait};
use super::elicit::{Back, Page, Way};
use crate::control::api::grant_view::GrantView;
use crate::control::api::problem::Problem;
use crate::control::api::read::Caller;
use crate::control::api::request_view::RequestView;
use crate::control::api::{Api, grants, requests, tasks};
use crate::model::event::TaskOutcome;
use crate::model::scope::sha256;
use crate::model::shown::escaped;
use crate::model::{AccessRequestId, GrantId, IdempotencyKey, TaskId};
use axum::http::{HeaderMap, StatusCode};
use rmcp::model::Tool;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// Grants in one answer: a model has to read them.
const PAGE: usize = 50;

/// What a tool has to say.
pub(super) enum Reply {
    /// That.
    Said(Value),
    /// That somebody should look at a page.
    Page(Page),
}

/// Calls a tool.
pub(super) async fn call(
    api: &Api,
    (caller, headers): (&Caller, &HeaderMap),
    (tool, mut arguments): (&Tool, Map<String, Value>),
    (way, back): (Way, Option<Back>),
) -> Result<Reply, Problem> {
    check(tool, &arguments)?;
    let said = match &*tool.name {
        "request_access" => match back {
            Some(back) => came_back(api, caller, arguments, &back).await,
            None => return request_access(api, (caller, headers), arguments, way).await,
        },
        "access_status" => {
            let length = wait(&mut arguments)?;
            let id: AccessRequestId =
                needed(&mut arguments, "id")?.parse().map_err(|_| Problem::not_found())?;
            let view = requests::when_decided(api, caller, id, length).await?;
            answer(api, caller, &view)
        }
        "my_access" => my_access(api, caller, &mut arguments),
        "task_done" => end(api, caller, &mut arguments, TaskOutcome::Done).await,
        "task_failed" => end(api, caller, &mut arguments, TaskOutcome::Failed).await,
        _ => Err(Problem::not_found()),
    };
    said.map(Reply::Said)
}

async fn request_access(
    api: &Api,
    (caller, headers): (&Caller, &HeaderMap),
    mut arguments: Map<String, Value>,
    way: Way,
) -> Result<Reply, Problem> {
    let length = wait(&mut arguments)?;
    let key = text(&mut arguments, "idempotency_key")?;
    let key = key.map(|key| keyed(&key, &arguments)).transpose()?;
    let entries = arguments.get_mut("envelope").and_then(Value::as_array_mut);
    entries.into_iter().flatten().filter_map(|entry| entry.get_mut("scope")).try_for_each(spell_out)?;
    arguments.get_mut("scope").map_or(Ok(()), spell_out)?;
    let has_key = key.is_some();
    let (status, asked) = requests::ask_for(api, caller, headers, (read(arguments)?, key)).await?;
    let shows = match way {
        Way::None => false,
        Way::Answer => true,
        // The client sends the same call again, and nothing else says so: without a key it would ask for access once more, and
        // with one it has been shown the page when the request was made.
        Way::Error => has_key && status == StatusCode::CREATED,
    };
    // Before anybody has seen the page there is nothing to wait for.
    if shows
        && asked.is_pending()
        && let Some(page) = Page::of(api, asked.id())
    {
        return Ok(Reply::Page(page));
    }
    let view = requests::when_decided(api, caller, asked.id(), length).await?;
    answer(api, caller, &view).map(Reply::Said)
}

/// The call is repeated after its page was shown: it asks for nothing again, neither access nor the page.
async fn came_back(
    api: &Api,
    caller: &Caller,
    mut arguments: Map<String, Value>,
    back: &Back,
) -> Result<Value, Problem> {
    let length = back.wait(wait(&mut arguments)?);
    let id = back.request(api, caller, &arguments)?;
    let view = requests::when_decided(api, caller, id, length).await?;
    answer(api, caller, &view)
}

/// The key, for exactly these arguments.
fn keyed(key: &str, arguments: &Map<String, Value>) -> Result<IdempotencyKey, Problem> {
    let Some(key) = IdempotencyKey::read(key) else {
        return Err(Problem::malformed("`idempotency_key` is 1 to 255 visible ASCII characters"));
    };
    let canonical =
        serde_json_canonicalizer::to_vec(arguments).map_err(|error| Problem::malformed(error.to_string()))?;
    let fingerprint = sha256(&[b"/mcp request_access\0", &*canonical].concat());
    let fingerprint = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(IdempotencyKey { key: key.to_owned(), fingerprint })
}

/// A request as an agent needs it: as the REST API shows it, with the grant itself, and with what to do next.
fn answer(api: &Api, caller: &Caller, view: &RequestView) -> Result<Value, Problem> {
    let mut value = written(view)?;
    let state = value.get("state").and_then(Value::as_str).unwrap_or_default();
    let mut next = next_step(state).to_owned();
    if let Some(because) = value.get("because").and_then(Value::as_array) {
        let why: Vec<&str> = because.iter().filter_map(Value::as_str).collect();
        next = format!("{next}: {}", why.join("; "));
    }
    let access: Vec<_> = view.all_granted().filter_map(|grant| grants::view(api, caller, grant)).collect();
    if let Some(members) = value.as_object_mut() {
        if !access.is_empty() {
            members.insert("access".to_owned(), written(&access)?);
        }
        members.insert("next".to_owned(), Value::String(next));
    }
    Ok(value)
}

fn next_step(state: &str) -> &'static str {
    match state {
        "pending" => {
            "somebody has to decide: call `access_status` with this `id` and `wait` (at most `50s`) until `state` is no longer \
             `pending`; people with a say decide at `approval_url`"
        }
        "approved" => {
            "call the service now: `access` says what was granted, perhaps less than you asked for, and until when; call `task_done` \
             (or `task_failed`) when the work is over"
        }
        "expired" => "nobody decided in time: ask again if it is still needed",
        "cancelled" => "it was withdrawn: ask again if it is still needed",
        _ => "it was refused: do not ask for the same again as long as the reason holds",
    }
}

fn my_access(api: &Api, caller: &Caller, arguments: &mut Map<String, Value>) -> Result<Value, Problem> {
    let task: Option<TaskId> = parsed(arguments, "task")?;
    let after: Option<GrantId> = parsed(arguments, "after")?;
    let page = grants::own(api, caller, (task.clone(), after), PAGE);
    let last = page.last().filter(|_| page.len() == PAGE).map(GrantView::id);
    let pending = requests::own_pending(api, caller, task.as_ref());
    let mut all = Map::new();
    all.insert("grants".to_owned(), written(&page)?);
    all.insert("pending".to_owned(), written(&pending)?);
    if let Some(last) = last {
        all.insert("after".to_owned(), json!(last));
        all.insert("next".to_owned(), json!("there may be more: call again with this `after`"));
    }
    Ok(Value::Object(all))
}

async fn end(
    api: &Api,
    caller: &Caller,
    arguments: &mut Map<String, Value>,
    outcome: TaskOutcome,
) -> Result<Value, Problem> {
    let reason = text(arguments, "reason")?.unwrap_or_default();
    let task = needed(arguments, "task")?;
    written(&tasks::ended(api, caller, &task, (outcome, reason)).await?)
}

fn parsed<T: DeserializeOwned>(arguments: &mut Map<String, Value>, name: &str) -> Result<Option<T>, Problem> {
    let text = text(arguments, name)?.map(Value::String);
    let read = text.map(serde_json::from_value).transpose();
    read.map_err(|error| Problem::malformed(format!("`{name}`: {error}")))
}

fn written(view: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(view).map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "an answer cannot be written as JSON");
        Problem::internal()
    })
}

/// A refusal for programs: the problem of the REST API, with what to do.
pub(super) fn refused(problem: &Problem) -> Value {
    let mut value = serde_json::to_value(problem).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("next".to_owned(), json!(advice(problem)));
    }
    value
}

/// A refusal for models.
pub(super) fn refusal_text(problem: &Problem) -> String {
    escaped(&format!("refused ({}): {}; {}", problem.reason, problem.detail, advice(problem)))
}

fn advice(problem: &Problem) -> &'static str {
    match problem.reason {
        "malformed" | "invalid" => "correct the arguments and call again",
        "not_found" => "you know only your own requests and tasks: check the id that you were given",
        "not_requestable" | "forbidden_by_policy" | "forbidden" => {
            "this cannot be had by asking again: tell whoever gave you the task"
        }
        "too_wide" | "ttl_above_cap" => "ask for less",
        "foreign_task" => "use a task of your own, or have its owner add you",
        "task_ended" => "ask under a new task",
        "cooldown" => "wait until then, or have somebody lift it",
        "too_many_pending" => "wait with `access_status` for those that are pending",
        "limit" | "busy" | "store_unavailable" | "issuer_unavailable" | "tickets_unavailable" => {
            "wait a little and call again"
        }
        "key_reused" => "use a new `idempotency_key` for another request",
        "step_up_required" => "a person has to authenticate freshly: tell whoever gave you the task",
        "too_large" => "shorten it, or split it into several requests",
        _ => "tell whoever gave you the task if you cannot go on",
    }
}
