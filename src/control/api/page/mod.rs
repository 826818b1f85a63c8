//! `/approve/{id}`: one access request as a page for a person with a browser and a certificate: who wants what, why and for how long,
//! what the policies say of it; and two forms: to approve it, or less of it; and to deny it.
//!
//! Whoever may not see the request gets the answer of one that does not exist (law 11). A decision counts for what was shown: the
//! forms carry the request's hash, and a token that only this page, shown to this caller, can have (law 10; see
//! [`super::site`] for pages of others).

mod html;
mod shown;

use crate::control::api::Api;
use crate::control::api::problem::Problem;
use crate::control::api::proofs;
use crate::control::api::read::{Caller, form};
use crate::control::api::requests::run;
use crate::control::workflow::{AccessCommand, NewApproval};
use crate::model::{AccessRequestId, Scope, Ttl};
use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use html::Html;
use serde::Deserialize;
use shown::Shown;

/// Largest form: what one page can send.
const MAX_FORM: usize = 64 << 10;

/// The page.
pub(super) async fn show(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    parts: Parts,
) -> Response {
    if let Err(fault) = api.site.host(&parts) {
        return plain(StatusCode::MISDIRECTED_REQUEST, &fault.to_string());
    }
    match Shown::find(&api, &caller, &id).await {
        Ok(shown) => shown.page(StatusCode::OK, None),
        Err(problem) => gone(&problem),
    }
}

/// What one of the two forms says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    decision: Verb,
    token: String,
    hash: String,
    /// Of an approval, and never absent there.
    scope: Option<String>,
    /// The same.
    ttl: Option<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verb {
    Approve,
    Deny,
}

/// The decision.
pub(super) async fn decide(
    caller: Caller,
    Shared(api): Shared<Api>,
    Path(id): Path<String>,
    parts: Parts,
    body: Body,
) -> Response {
    let shown = match Shown::find(&api, &caller, &id).await {
        Ok(shown) => shown,
        Err(problem) => return gone(&problem),
    };
    if let Err(fault) = api.site.own_page(&parts) {
        return plain(StatusCode::FORBIDDEN, &fault.to_string());
    }
    let decided = async {
        let decision: Decision = form(&parts.headers, body, MAX_FORM).await?;
        let command = command(&api, &caller, &shown, decision).await?;
        run(&api, &caller, command, false).await
    };
    match decided.await {
        // Loading it again must not decide again.
        Ok((_, id)) => (StatusCode::SEE_OTHER, [(header::LOCATION, location(id))]).into_response(),
        Err(problem) => {
            let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            // As it stands by now.
            match Shown::find(&api, &caller, &id).await {
                Ok(shown) => shown.page(status, Some(&problem)),
                Err(problem) => gone(&problem),
            }
        }
    }
}

fn location(id: AccessRequestId) -> HeaderValue {
    HeaderValue::try_from(format!("/approve/{id}")).unwrap_or(HeaderValue::from_static("/"))
}

/// What is submitted, if the form is ours and is about the request as it is.
async fn command(
    api: &Api,
    caller: &Caller,
    shown: &Shown,
    form: Decision,
) -> Result<AccessCommand, Problem> {
    if !api.site.is_form_token(&form.token, caller.id(), &form.hash) {
        return Err(Problem::forbidden(
            "this form is not from this page, or the control plane was restarted: look again, then decide",
        ));
    }
    let request = &shown.record.request;
    if form.hash != shown.record.hash {
        return Err(Problem::changed());
    }
    let reason = form.reason;
    Ok(match form.decision {
        Verb::Deny => AccessCommand::Deny { request: request.id, reason },
        Verb::Approve => {
            let lacks = |what: &str| Problem::malformed(format!("the form lacks `{what}`"));
            let scope = form.scope.ok_or_else(|| lacks("scope"))?;
            let scope = narrower(&scope)?.filter(|scope| *scope != request.scope);
            let ttl = form.ttl.ok_or_else(|| lacks("ttl"))?;
            let ttl: Ttl =
                ttl.trim().parse().map_err(|error| Problem::malformed(format!("the time: {error}")))?;
            let ttl = Some(ttl).filter(|ttl| *ttl != request.ttl);
            let hash = Some(form.hash);
            let (request, authenticated) = (request.id, None);
            let (ticket_open, ticket_silent) = proofs::ticket_of(api, request).await;
            let approval =
                NewApproval { request, hash, scope, ttl, reason, ticket_open, ticket_silent, authenticated };
            AccessCommand::Approve(Box::new(approval))
        }
    })
}

/// The scope of a form: JSON, or one entry a line. An empty field is a mistake: nothing that is left out widens.
fn narrower(text: &str) -> Result<Option<Scope>, Problem> {
    let whole = text.trim();
    let lines: Vec<&str> = if whole.starts_with('[') {
        vec![whole]
    } else {
        whole.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
    };
    Scope::parse_all(&lines).map(Some).map_err(|error| Problem::malformed(format!("the scope: {error}")))
}

/// Invented, foreign and forgotten requests look the same.
fn gone(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::NOT_FOUND);
    plain(status, "There is no such request, or it is not yours to see.")
}

fn plain(status: StatusCode, text: &str) -> Response {
    Html::default().raw("<h1>jitgate</h1><p>").text(text).raw("</p>").page(status, "jitgate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_line_by_line_or_as_json() {
        let two = narrower("orders:GET:/v1/orders\r\n\r\n  orders:POST:/v1/orders \r\n").unwrap().unwrap();
        assert_eq!(two.permissions().len(), 2);
        let json = narrower(&format!("\n{}\n", two.canonical_json())).unwrap();
        assert_eq!(json, Some(two));
        for bad in ["", " \r\n", "orders", "[]"] {
            assert!(narrower(bad).is_err(), "{bad:?}");
        }
    }
}
