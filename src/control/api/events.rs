//! `/v1/events`: the log as server-sent events, from a revision on.

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, Query};
use crate::control::authz::Need;
use crate::control::log::Recorded;
use crate::control::plane::Plane;
use crate::model::{Revision, SpiffeId};
use axum::extract::State as Shared;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{Stream, unfold};
use serde::Deserialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use tokio::sync::watch;
use utoipa::IntoParams;

const PAGE: usize = 16;

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Events after this revision; absent: those that are still to come. A `Last-Event-ID` header counts more.
    after: Option<u64>,
}

/// Follows the log. Each event has its revision as `id`, its kind as `event`, and the whole of it as JSON in `data`.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(From),
    responses((status = 200, description = "an event stream", content_type = "text/event-stream", body = String),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn follow(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let resumed = match headers.get("last-event-id") {
        None => None,
        Some(id) => {
            let id = id.to_str().ok().and_then(|id| id.parse().ok());
            Some(id.ok_or_else(|| Problem::malformed("`last-event-id` is not a revision"))?)
        }
    };
    let head = api.plane.head();
    let after = resumed.or(from.after).map_or_else(|| *head.borrow(), Revision);
    let follower = Follower {
        plane: api.plane.clone(),
        reader: caller.id().clone(),
        head,
        after,
        waiting: VecDeque::new(),
    };
    Ok(Sse::new(stream(follower)).keep_alive(KeepAlive::default()).into_response())
}

struct Follower {
    plane: Plane,
    reader: SpiffeId,
    head: watch::Receiver<Revision>,
    after: Revision,
    waiting: VecDeque<Recorded>,
}

fn stream(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(follower, |mut follower| async move {
        let recorded = follower.next().await?;
        Some((Ok(event(&recorded)), follower))
    })
}

impl Follower {
    /// The next event; `None` when the reader has lost its role, the log cannot be read, or the control plane stops.
    async fn next(&mut self) -> Option<Recorded> {
        loop {
            if !self.plane.rules().roles.may(&self.reader, Need::Read) {
                return None;
            }
            if let Some(recorded) = self.waiting.pop_front() {
                self.after = recorded.revision;
                return Some(recorded);
            }
            self.head.borrow_and_update();
            let page = self.plane.read(self.after, PAGE).await.ok()?;
            if page.is_empty() {
                self.head.changed().await.ok()?;
            }
            self.waiting.extend(page);
        }
    }
}

fn event(recorded: &Recorded) -> Event {
    let data = serde_json::json!({"revision": recorded.revision, "event": &*recorded.event});
    Event::default()
        .id(recorded.revision.to_string())
        .event(recorded.event.body.kind())
        .data(data.to_string())
}
