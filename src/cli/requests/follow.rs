//! Requests as they come and change: the list first, then whatever the log says is new about one of them.
//!
//! The events are taken up before the list is read, so that nothing falls between the two; what stands as it was shown before is
//! not shown again.

use super::{Filter, HEADER, row};
use crate::cli::Failure;
use crate::cli::client::{Client, ClientError, Events, query};
use crate::cli::grants::text;
use crate::cli::output::{self, Output};
use crate::model::AccessRequestId;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Requests whose last state is remembered; the oldest are forgotten first.
const REMEMBERED: usize = 10_000;
/// Between two tries while the control plane is away.
const AGAIN: Duration = Duration::from_secs(1);

/// Prints until it is stopped, or the control plane refuses.
pub(super) async fn follow(client: &mut Client, filter: &Filter, output: Output) -> Result<(), Failure> {
    let mut events = client.events("/v1/events").await?;
    let mut shown = Shown::default();
    let mut revision = None;
    if output == Output::Table {
        line(&HEADER.map(str::to_owned))?;
    }
    for request in filter.list(client).await? {
        shown.show(&request, output)?;
    }
    loop {
        match events.next().await {
            Ok(Some(data)) => {
                let event: Value = serde_json::from_str(&data).map_err(Failure::failed)?;
                revision = event.get("revision").and_then(Value::as_u64).or(revision);
                for id in ids(&event) {
                    look(client, id, filter, output, &mut shown).await?;
                }
            }
            Ok(None) => events = again(client, revision).await?,
            Err(error) if error.is_passing() => events = again(client, revision).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Goes on after the last event that was seen.
async fn again(client: &Client, revision: Option<u64>) -> Result<Events, Failure> {
    let path = query("/v1/events", [("after", revision.map(|revision| revision.to_string()))]);
    loop {
        tokio::time::sleep(AGAIN).await;
        match client.events(&path).await {
            Ok(events) => return Ok(events),
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn look(
    client: &mut Client,
    id: AccessRequestId,
    filter: &Filter,
    output: Output,
    shown: &mut Shown,
) -> Result<(), Failure> {
    let request = loop {
        match client.get::<Value>(&format!("/v1/requests/{id}")).await {
            Ok(request) => break request,
            // Not ours to see.
            Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => return Ok(()),
            Err(error) if ClientError::is_passing(&error) => tokio::time::sleep(AGAIN).await,
            Err(error) => return Err(error.into()),
        }
    };
    if filter.takes(&request) { shown.show(&request, output) } else { Ok(()) }
}

/// What was shown of each request.
#[derive(Default)]
struct Shown {
    states: BTreeMap<String, String>,
}

impl Shown {
    fn show(&mut self, request: &Value, output: Output) -> Result<(), Failure> {
        // Approvals that are not enough are news too.
        let stands = format!("{} {}", text(request, "state"), text(request, "approvals"));
        let before = self.states.insert(text(request, "id"), stands.clone());
        while self.states.len() > REMEMBERED {
            self.states.pop_first();
        }
        if before.is_some_and(|before| before == stands) {
            return Ok(());
        }
        match output {
            Output::Json => output::json_line(request),
            Output::Table => line(&row(request)),
        }
    }
}

/// The requests that an event is about, wherever it names them.
fn ids(event: &Value) -> BTreeSet<AccessRequestId> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![event];
    while let Some(value) = waiting.pop() {
        match value {
            Value::String(text) => found.extend(text.parse::<AccessRequestId>().ok()),
            Value::Array(list) => waiting.extend(list),
            Value::Object(members) => waiting.extend(members.values()),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    found
}

/// One line of a table whose rows come one by one.
fn line(cells: &[String; 7]) -> Result<(), Failure> {
    let [id, state, principal, task, scope, length, reason] = cells;
    output::line(&crate::cli::shown::escaped(&format!(
        "{id:<31}{state:<11}{principal:<38}{task:<16}{scope}   {length}   {reason}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_names_its_requests_wherever_they_stand() {
        let id = |n: u8| AccessRequestId::from_parts(u64::from(n), [n; 10]);
        let event = json!({"revision": 7, "event": {"body": {
            "kind": "grants_issued", "reason": "rq_ is no id",
            "grants": [{"lineage": {"request": id(1)}}, {"lineage": {"request": id(2)}}, {"id": "gr_1"}],
        }}});
        assert_eq!(ids(&event), [id(1), id(2)].into());
    }
}
