//! A grant as callers see it.

use crate::control::state::Found;
use crate::model::event::Actor;
use crate::model::grant::Grant;
use crate::model::{EndCause, GrantId, Revision, RevocationId, Time};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A grant, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GrantView {
    /// The grant: `id`, `principal`, `task`, `scope`, `not_before`, `expires_at`, `revision`, and where set `conditions`, `limits`,
    /// `recording` (`arguments` or `full`).
    #[serde(flatten)]
    #[schema(value_type = Object)]
    grant: Arc<Grant>,
    /// `upcoming`, `live`, or how it ended: `expired`, `revoked`, `task_done`, `task_failed`, `idle`, `limit`, `superseded`.
    state: &'static str,
    /// Who issued it.
    #[schema(value_type = Object)]
    issued_by: Actor,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Time,
    /// Why.
    reason: String,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<EndView>,
}

/// How a grant ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndView {
    #[schema(value_type = String)]
    cause: EndCause,
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    #[schema(value_type = Object)]
    by: Actor,
    #[schema(value_type = u64)]
    revision: Revision,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    revocation: Option<RevocationId>,
}

impl GrantView {
    pub(super) fn id(&self) -> GrantId {
        self.grant.id
    }

    pub(super) fn new(found: Found<'_>, now: Time) -> Self {
        let issue = found.issue();
        Self {
            grant: Arc::clone(found.grant()),
            state: state_of(found, now),
            issued_by: issue.by.clone(),
            issued_at: issue.at,
            reason: issue.reason.clone(),
            ended: match found {
                Found::Live(_) => None,
                Found::Ended(ended) => Some(EndView {
                    cause: ended.cause,
                    at: ended.at,
                    by: ended.by.clone(),
                    revision: ended.revision,
                    revocation: ended.revocation,
                }),
            },
        }
    }
}

fn state_of(found: Found<'_>, now: Time) -> &'static str {
    match found.end(now) {
        Some(cause) => cause.as_str(),
        None if now < found.grant().not_before => "upcoming",
        None => "live",
    }
}
