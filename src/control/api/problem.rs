//! Errors of the API as RFC 9457 problem details; one place where refusals become answers.

use crate::control::policy::PolicyErrors;
use crate::control::state::Refusal;
use crate::control::workflow::AccessRefusal;
use crate::model::StepUp;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// A problem, as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// `urn:jitgate:problem:` and the reason.
    #[serde(rename = "type")]
    pub kind: String,
    /// The reason in words.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// What exactly, and what to do.
    pub detail: String,
    /// The reason, from a closed set.
    pub reason: &'static str,
    /// How the caller must have authenticated, beside the certificate: `acr`, `amr`, `max_age` in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub step_up: Option<Box<StepUp>>,
    /// Of a broken set of policies: everything that is wrong, each with `file`, `line`, `key` and `message`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub errors: Vec<crate::config::Problem>,
}

impl Problem {
    fn new(status: StatusCode, reason: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let kind = format!("urn:jitgate:problem:{reason}");
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            reason,
            step_up: None,
            errors: Vec::new(),
        }
    }

    /// There is no such thing, or the caller may not know of it: the two look the same (law 11).
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", "Not found", "there is no such resource")
    }

    /// The caller has no role for this.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden", detail)
    }

    /// The answer to a caller without a role that is enough: it depends on the method alone, so that endpoints and things that
    /// exist look like those that do not.
    #[must_use]
    pub fn stranger(method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) {
            Self::not_found()
        } else {
            Self::forbidden("this identity has no role that allows it")
        }
    }

    /// The body, the path or the query cannot be read.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail)
    }

    /// Another content type was expected.
    #[must_use]
    pub fn content_type(expected: &str) -> Self {
        let detail = format!("expected `content-type: {expected}`");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "Wrong content type", detail)
    }

    /// Another request than the one that was shown.
    #[must_use]
    pub fn changed() -> Self {
        let detail = "this is not the request that was shown: look again, then decide";
        Self::new(StatusCode::CONFLICT, "changed", "Another request", detail)
    }

    /// A token that is not accepted.
    #[must_use]
    pub fn token_invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "token_invalid", "Invalid token", detail)
    }

    /// The keys of a token's issuer cannot be had.
    #[must_use]
    pub fn issuer_unavailable(detail: impl Into<String>) -> Self {
        let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "Issuer unavailable");
        Self::new(status, "issuer_unavailable", title, detail)
    }

    /// The grant does not run now.
    #[must_use]
    pub fn not_live(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "not_live", "Not live", detail)
    }

    /// A token would not fit into a header.
    #[must_use]
    pub fn token_too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "token_too_large", "Too large for a token", detail)
    }

    /// A set of policies that cannot be used; the one before it goes on deciding.
    #[must_use]
    pub fn policies(errors: PolicyErrors) -> Self {
        let (status, title) = (StatusCode::UNPROCESSABLE_ENTITY, "The policies cannot be used");
        let detail = "the policies cannot be used; those before them go on deciding";
        let mut problem = Self::new(status, "policies_invalid", title, detail);
        problem.errors = errors.problems;
        problem
    }

    /// The body is too large.
    #[must_use]
    pub fn too_large(max: usize) -> Self {
        let detail =
            format!("the body is larger than {max} bytes: shorten it, or split it into several calls");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large", detail)
    }

    /// This resource does not know the method.
    #[must_use]
    pub fn method() -> Self {
        let (status, title) = (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed");
        Self::new(status, "method_not_allowed", title, "this resource does not know this method")
    }

    /// Our own fault.
    #[must_use]
    pub fn internal() -> Self {
        let (status, title) = (StatusCode::INTERNAL_SERVER_ERROR, "Internal error");
        Self::new(status, "internal", title, "see the log of the control plane")
    }

    /// Too many calls of one identity at once.
    #[must_use]
    pub fn too_many_calls() -> Self {
        let detail = "too many calls of this identity at once: wait for answers";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "limit", "Too many calls", detail)
    }

    /// Too much at once.
    #[must_use]
    pub fn busy() -> Self {
        let (status, title) = (StatusCode::SERVICE_UNAVAILABLE, "Busy");
        Self::new(status, "busy", title, "the control plane is busy: try again")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let invalid = StatusCode::UNPROCESSABLE_ENTITY;
        let detail = explain(&refusal);
        match innermost(&refusal) {
            Refusal::Role { .. } => Self::forbidden(detail),
            Refusal::SelfGrant { .. } => {
                Self::new(StatusCode::FORBIDDEN, "self_grant", "Not to oneself", detail)
            }
            Refusal::TtlAboveCap { .. } => Self::new(invalid, "ttl_above_cap", "Too long", detail),
            Refusal::TooMany { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large", detail)
            }
            Refusal::Empty | Refusal::Reason | Refusal::Start { .. } | Refusal::Future { .. } => {
                Self::new(invalid, "invalid", "Not allowed like this", detail)
            }
            Refusal::NotFound { .. } => Self::not_found(),
            Refusal::Access(refusal) => Self::from_access(refusal, detail),
            Refusal::RecordsLess { .. } => {
                Self::new(StatusCode::CONFLICT, "records_less", "Recorded less", detail)
            }
            Refusal::NameTaken { .. } => Self::new(StatusCode::CONFLICT, "conflict", "Conflict", detail),
            Refusal::Full { .. } => Self::new(StatusCode::INSUFFICIENT_STORAGE, "full", "Full", detail),
            Refusal::Busy | Refusal::Stopping => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Busy", detail)
            }
            Refusal::Unknown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store_unavailable",
                "The event log cannot be written",
                detail,
            ),
            Refusal::Entry { .. } => Self::internal(),
        }
    }
}

impl Problem {
    /// What the workflow refuses, each with a reason that programs can tell apart.
    fn from_access(refusal: &AccessRefusal, detail: String) -> Self {
        use AccessRefusal as R;
        const INVALID: StatusCode = StatusCode::UNPROCESSABLE_ENTITY;
        const CONFLICT: StatusCode = StatusCode::CONFLICT;
        const FORBIDDEN: StatusCode = StatusCode::FORBIDDEN;
        let (status, reason, title) = match refusal {
            R::NotRequestable { .. } => (FORBIDDEN, "not_requestable", "Not requestable"),
            R::TooWide { .. } => (INVALID, "too_wide", "Too wide"),
            R::RoleTtl { .. } => (INVALID, "ttl_above_cap", "Too long"),
            R::NotBroker => (FORBIDDEN, "forbidden", "Forbidden"),
            R::ForeignTask { .. } => (FORBIDDEN, "foreign_task", "Somebody else's task"),
            R::TaskEnded { .. } => (CONFLICT, "task_ended", "The task has ended"),
            R::TaskTerms { .. } | R::Deadline | R::Longer { .. } | R::NotNarrower | R::Invalid(_) => {
                (INVALID, "invalid", "Not allowed like this")
            }
            R::TooManyPending { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_pending", "Too many pending requests")
            }
            R::KeyReused => (INVALID, "key_reused", "Another request under this key"),
            R::TooOften { .. } => (StatusCode::TOO_MANY_REQUESTS, "limit", "Too many requests"),
            R::Cooldown { .. } => (StatusCode::TOO_MANY_REQUESTS, "cooldown", "Asked again too early"),
            R::ReviewOpen { .. } => (CONFLICT, "review_open", "A review is open"),
            R::StepUp { .. } => (StatusCode::UNAUTHORIZED, "step_up_required", "Step-up required"),
            R::Forbidden { .. } => (FORBIDDEN, "forbidden_by_policy", "Forbidden by policy"),
            R::OtherPerson => (FORBIDDEN, "other_person", "Somebody else's token"),
            R::SelfApproval | R::Oneself | R::ApproverBenefits { .. } => {
                (FORBIDDEN, "self_approval", "Never for oneself")
            }
            R::NotApprover { .. } => (FORBIDDEN, "not_approver", "Not an approver of this stage"),
            R::ApprovedAlready => (CONFLICT, "approved_already", "Approved already"),
            R::TicketsSilent => {
                (StatusCode::SERVICE_UNAVAILABLE, "tickets_unavailable", "Ticket system unavailable")
            }
            R::Changed { .. } => (CONFLICT, "changed", "Another request"),
            R::Settled { .. } => (CONFLICT, "settled", "Decided already"),
            R::NotLive => (CONFLICT, "not_live", "Not live"),
            R::Total { .. } => (CONFLICT, "total_reached", "The longest total is reached"),
            R::Limited | R::TooDeep { .. } => (CONFLICT, "not_delegable", "Cannot be narrowed further"),
            R::NoStep | R::StepPending { .. } => (CONFLICT, "no_step", "No step to open"),
            R::ReviewClosed => (CONFLICT, "review_closed", "Closed already"),
            R::Risk { .. } => (CONFLICT, "risk", "Too risky"),
        };
        let mut problem = Self::new(status, reason, title, detail);
        if let R::StepUp { needed, .. } = refusal {
            problem.step_up = Some(Box::new(needed.clone()));
        }
        problem
    }

    /// RFC 6750 section 3 for a token that is refused, RFC 9470 section 3 for one that is missing or too weak.
    fn challenge(&self) -> Option<String> {
        if self.reason == "token_invalid" {
            return Some("Bearer error=\"invalid_token\"".to_owned());
        }
        let needed = self.step_up.as_ref()?;
        let mut challenge = "Bearer error=\"insufficient_user_authentication\"".to_owned();
        challenge.push_str(", error_description=\"a fresh and strong authentication is required\"");
        if !needed.acr.is_empty() {
            let acr: Vec<&str> = needed.acr.iter().map(String::as_str).collect();
            challenge.push_str(&format!(", acr_values=\"{}\"", acr.join(" ")));
        }
        if let Some(age) = needed.max_age {
            challenge.push_str(&format!(", max_age={age}"));
        }
        Some(challenge)
    }
}

fn innermost(refusal: &Refusal) -> &Refusal {
    if let Refusal::Entry { refusal, .. } = refusal { innermost(refusal) } else { refusal }
}

fn explain(refusal: &Refusal) -> String {
    let mut text = refusal.to_string();
    let mut source = std::error::Error::source(refusal);
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let challenge = self.challenge();
        let mut response = (status, body).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if let Some(challenge) = challenge
            && let Ok(challenge) = HeaderValue::try_from(challenge)
        {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
