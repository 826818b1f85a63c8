//! What a caller brings along as proof beside the certificate, verified before a command is submitted: tokens and tickets.

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::read::Caller;
use crate::control::issuers::IssuerFault;
use crate::control::tickets::Answer;
use crate::model::{AccessRequestId, User};
use axum::http::{HeaderMap, header};
use serde::Deserialize;

/// A token as it came. Never shown.
#[derive(Deserialize)]
#[serde(transparent)]
pub(super) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// The user of `authorization: Bearer`; `None` without one. A second one, or another scheme, has no meaning here.
pub(super) async fn bearer(api: &Api, caller: &Caller, headers: &HeaderMap) -> Result<Option<User>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let parts = value.to_str().ok().and_then(|text| text.split_once(' '));
    match (parts, values.next()) {
        (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => {
            user(api, caller, Some(&Token(token.trim_start_matches(' ').to_owned()))).await
        }
        _ => Err(Problem::malformed("expected one `authorization: Bearer TOKEN`")),
    }
}

/// The user that a token of a configured issuer names. One that is bound to a key must be bound to the certificate of the caller
/// who brings it, also where it names somebody else: whoever got hold of it does not have that key.
pub(super) async fn user(api: &Api, caller: &Caller, token: Option<&Token>) -> Result<Option<User>, Problem> {
    let Some(Token(token)) = token else { return Ok(None) };
    let shown = (&**token, caller.peer().certificate_sha256());
    let verified = api.issuers.verify(shown, api.plane.control_time(), api.plane.mono()).await;
    verified.map(Some).map_err(|fault| match fault {
        IssuerFault::Unavailable => Problem::issuer_unavailable(fault.to_string()),
        IssuerFault::None | IssuerFault::Token(_) => Problem::token_invalid(fault.to_string()),
    })
}

/// Whether the ticket system says now that the ticket of a request is open, `None` as in [`ticket`], and for what cannot be a ticket: it
/// was named before any ticket was asked about; and whether it was open when it was asked about and there is no answer now.
pub(super) async fn ticket_of(api: &Api, request: AccessRequestId) -> (Option<bool>, bool) {
    let named = api.plane.with_state(|state| {
        let request = &state.request(request)?.request;
        Some((request.ticket.clone()?, request.ticket_open))
    });
    let (Some(tickets), Some((ticket, before))) = (&api.tickets, named) else { return (None, false) };
    let answer = tickets.check(&ticket, api.plane.mono()).await.unwrap_or(Answer::Unknown);
    (answer.fact(), answer == Answer::Unknown && before == Some(true))
}

/// Whether the ticket system says that a ticket is open; `None` where none is configured, or nobody named one.
pub(super) async fn ticket(api: &Api, ticket: Option<&str>) -> Result<Option<bool>, Problem> {
    let (Some(tickets), Some(ticket)) = (&api.tickets, ticket) else { return Ok(None) };
    let answer = tickets.check(ticket, api.plane.mono()).await;
    answer.map(Answer::fact).map_err(|error| Problem::malformed(format!("`ticket`: {error}")))
}
