//! Handles of long-running calls: an upstream may answer a call with a task, whose result is fetched later.
//!
//! | version | the answer to the call | what is done with the handle |
//! |---|---|---|
//! | 2025-11-25 | `result.task.taskId` | `tasks/get`, `tasks/result`, `tasks/cancel` with `params.taskId` |
//! | 2026-07-28 | `result.resultType` is `task`, and `result.taskId` or `result.task.taskId` | `tasks/get`, `tasks/update`, `tasks/cancel` |

use super::answer::{Answer, AnswerKind};
use super::body::once;
use super::fault::Fault;
use super::fold;
use super::json::{Kind, Reader};
use super::{Limits, Request};

/// What is done with a handle.
pub(super) const METHODS: [&str; 4] = ["tasks/get", "tasks/result", "tasks/update", "tasks/cancel"];
/// The longest handle that is remembered.
const LONGEST: usize = 512;

/// The task that a result promises; none if it promises none.
///
/// # Errors
/// [`Fault`] if it is not clear which task that is: the answer is not passed on then.
pub fn promised(text: &[u8], answer: &Answer, limits: Limits) -> Result<Option<Box<str>>, Fault> {
    let (AnswerKind::Result(_), Some(place)) = (&answer.kind, answer.result.clone()) else { return Ok(None) };
    let result = text.get(place).unwrap_or_default();
    let mut reader = Reader::new(result, limits.depth)?;
    if reader.kind()? != Kind::Object {
        return Ok(None);
    }
    let (mut inner, mut outer) = (None, None);
    reader.object(|reader, name| match &*name {
        "taskId" if reader.kind()? == Kind::Text => once(&mut outer, reader.string()?.into_owned()),
        "task" if reader.kind()? == Kind::Object => reader.object(|reader, name| match &*name {
            "taskId" => once(&mut inner, reader.string()?.into_owned()),
            other => {
                fold::is_itself(other, &["taskId"])?;
                reader.skip()
            }
        }),
        other => {
            fold::is_itself(other, &["task", "taskId"])?;
            reader.skip()
        }
    })?;
    match (inner, outer) {
        (Some(one), Some(other)) if one != other => Err(Fault::ambiguous("a result names two tasks")),
        (Some(id), _) | (None, Some(id)) if id.len() > LONGEST => {
            Err(Fault::too_large("the handle of a task is too long"))
        }
        (Some(id), _) | (None, Some(id)) => Ok(Some(id.into())),
        (None, None) => Ok(None),
    }
}

/// The handle that a request is about: it belongs to the call that made the task.
#[must_use]
pub fn handle(request: &Request) -> Option<&str> {
    let about_one = METHODS.contains(&request.method());
    about_one.then(|| request.params().get("taskId"))?.and_then(crate::model::json::Value::as_str)
}
