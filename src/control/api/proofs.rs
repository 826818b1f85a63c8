//! What a caller brings along as proof beside the certificate, verified before a command is submitted: tokens and tickets.

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::tickets::Answer;
use crate::model::User;
use axum::http::{HeaderMap, header};
use serde::Deserialize;

/// A token as it came. Never shown.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Token(#[allow(dead_code, reason = "read once issuers can be configured")] String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The user of `Authorization: Bearer`; `None` without one.
pub(super) async fn bearer(api: &Api, headers: &HeaderMap) -> Result<Option<User>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
    match (token, values.next()) {
        (Some(token), None) => user(api, Some(&Token(token.to_owned()))).await,
        _ => Err(Problem::malformed("expected one `authorization: Bearer TOKEN`")),
    }
}

/// The user that a token of a configured issuer names.
pub(super) async fn user(_: &Api, token: Option<&Token>) -> Result<Option<User>, Problem> {
    match token {
        None => Ok(None),
        Some(Token(_)) => Err(Problem::token_invalid("no issuer is configured")),
    }
}

/// Whether the ticket system says that a ticket is open; `None` where none is configured, or nobody named one.
pub(super) async fn ticket(api: &Api, ticket: Option<&str>) -> Result<Option<bool>, Problem> {
    let (Some(tickets), Some(ticket)) = (&api.tickets, ticket) else { return Ok(None) };
    let answer = tickets.check(ticket, api.plane.mono()).await;
    answer.map(Answer::fact).map_err(|error| Problem::malformed(format!("`ticket`: {error}")))
}
