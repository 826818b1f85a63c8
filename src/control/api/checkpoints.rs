//! `/v1/log`: the event log as a Merkle log (C2SP tlog-tiles), for whoever checks it without believing us.

use crate::control::api::problem::Problem;
use crate::control::api::read::{Caller, Query};
use crate::control::api::{Api, respond};
use crate::control::authz::Need;
use crate::model::{Revision, WitnessName};
use crate::notary::Latest;
use crate::tlog::tile::encode;
use crate::tlog::{Checkpoint, Tile, TileReader as _};
use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use utoipa::IntoParams;

/// Events in one answer, as a rule and at most.
const PAGE: u64 = 1_000;
const LONGEST_PAGE: u64 = 10_000;

const TEXT: [(axum::http::HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];

fn latest(api: &Api) -> Result<Arc<Latest>, Problem> {
    api.plane.checkpoints().cloned().ok_or_else(Problem::not_found)
}

/// Gives the last checkpoint of the event log: a signed note (C2SP tlog-checkpoint).
#[utoipa::path(get, path = "/v1/log/checkpoint", tag = "log",
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 404, description = "nothing is signed for yet", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn checkpoint(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let note = latest(&api)?.note();
    if note.is_empty() { Err(Problem::not_found()) } else { Ok((TEXT, note.to_string()).into_response()) }
}

/// Gives the key that signs checkpoints of the event log (C2SP signed-note).
#[utoipa::path(get, path = "/v1/log/key", tag = "log",
    responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn key(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    Ok((TEXT, format!("{}\n", latest(&api)?.key())).into_response())
}

/// Gives a tile of the event log's tree (C2SP tlog-tiles): `LEVEL/N` or `LEVEL/N.p/WIDTH`.
#[utoipa::path(get, path = "/v1/log/tile/{tile}", tag = "log", params(("tile" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn tile(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(tile): Path<String>,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let tile = Tile::from_path(&tile).ok_or_else(Problem::not_found)?;
    let store = latest(&api)?.store().clone();
    // Also what has grown since: checkpoints that witnesses vouched for are older than the last one.
    let content = tokio::task::spawn_blocking(move || store.read(tile).map(|hashes| encode(&hashes))).await;
    match content.map_err(io::Error::other).and_then(|content| content) {
        Ok(content) => Ok(([(CONTENT_TYPE, "application/octet-stream")], content).into_response()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Problem::not_found()),
        Err(error) => {
            tracing::error!(%error, "a tile of the event log cannot be read");
            Err(Problem::internal())
        }
    }
}

/// What an external witness has vouched for.
#[derive(Debug, Serialize)]
struct WitnessedView {
    /// What the configuration calls the witness.
    name: WitnessName,
    /// How many events it vouches for.
    size: u64,
    /// The note with its cosignature.
    checkpoint: String,
}

/// Gives the last checkpoint that each external witness (C2SP tlog-witness) has vouched for.
#[utoipa::path(get, path = "/v1/log/witnessed", tag = "log",
    responses((status = 200, body = Object, description = "`name`, `size` and `checkpoint` of each"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn witnessed(caller: Caller, Shared(api): Shared<Api>) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let store = latest(&api)?.store().clone();
    let notes = tokio::task::spawn_blocking(move || store.witnessed()).await;
    let notes = notes.map_err(io::Error::other).and_then(|notes| notes).map_err(unread)?;
    let view = |(name, checkpoint): (WitnessName, io::Result<String>)| {
        let checkpoint = checkpoint.map_err(unread).ok()?;
        let size = Checkpoint::unverified(&checkpoint).ok()?.size;
        Some(WitnessedView { name, size, checkpoint })
    };
    let all: Vec<_> = notes.into_iter().filter_map(view).collect();
    respond(StatusCode::OK, &all)
}

/// Gives the last checkpoint that this external witness has vouched for: a signed note with its cosignature (C2SP tlog-cosignature).
#[utoipa::path(get, path = "/v1/log/witnessed/{name}", tag = "log", params(("name" = String, Path)),
    responses((status = 200, body = String, content_type = "text/plain"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn witnessed_by(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let name: WitnessName = name.parse().map_err(|_| Problem::not_found())?;
    let store = latest(&api)?.store().clone();
    let note = tokio::task::spawn_blocking(move || store.witnessed_by(&name)).await;
    let note = note.map_err(io::Error::other).and_then(|note| note).map_err(unread)?;
    Ok((TEXT, note.ok_or_else(Problem::not_found)?).into_response())
}

fn unread(error: io::Error) -> Problem {
    tracing::error!(%error, "what a witness vouched for cannot be read");
    Problem::internal()
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those after this revision; 0, which is also the default, is all.
    #[serde(default)]
    after: u64,
    /// At most so many, 1,000 if nothing is said, 10,000 at most; fewer where they are large.
    #[serde(default)]
    limit: Option<u64>,
}

/// Gives events byte for byte as the log holds them, one a line: each is a leaf of its tree. An empty answer is the end of the log.
#[utoipa::path(get, path = "/v1/log/entries", tag = "log", params(Wanted),
    responses((status = 200, body = String, content_type = "application/jsonl"),
        (status = "default", description = "refused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn entries(
    caller: Caller,
    Shared(api): Shared<Api>,
    Query(Wanted { after, limit }): Query<Wanted>,
) -> Result<Response, Problem> {
    caller.needs(&api, Need::Read)?;
    let limit = usize::try_from(limit.unwrap_or(PAGE).clamp(1, LONGEST_PAGE)).unwrap_or(1);
    let entries = api.plane.entries(Revision(after), limit).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot read the event log");
        Problem::internal()
    })?;
    let mut text = String::with_capacity(entries.iter().map(|entry| entry.len() + 1).sum());
    for entry in entries {
        text.push_str(&entry);
        text.push('\n');
    }
    Ok((StatusCode::OK, [(CONTENT_TYPE, "application/jsonl")], text).into_response())
}
