//! An access request as callers see it.

use crate::control::api::site::Site;
use crate::control::state::{RequestRecord, RequestState, Rules, State};
use crate::control::workflow::{max_uses, progress};
use crate::model::event::Actor;
use crate::model::{AccessRequestId, GrantId, RequestKind, Scope, SpiffeId, TaskId, Terms, Time, User};
use serde::Serialize;
use std::num::NonZeroU64;
use utoipa::ToSchema;

/// A request, and where it stands. Not `Debug`: it may hold a token.
#[derive(Serialize, ToSchema)]
pub(super) struct RequestView {
    #[schema(value_type = String)]
    id: AccessRequestId,
    /// `pending`, `approved`, `denied`, `expired`, `cancelled`.
    state: &'static str,
    #[schema(value_type = String)]
    requester: SpiffeId,
    #[schema(value_type = String)]
    principal: SpiffeId,
    #[schema(value_type = String)]
    task: TaskId,
    #[schema(value_type = Vec<Object>)]
    scope: Scope,
    ttl_seconds: f64,
    reason: String,
    /// The grant that answers it; of a plan the one of the step that was opened last.
    #[schema(value_type = Option<String>)]
    grant: Option<GrantId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket_open: Option<bool>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    emergency: bool,
    /// The human behind it, as a verified token names them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    on_behalf_of: Option<User>,
    /// `access`, `{"extension": {"of": …}}`, `{"delegation": {"of": …}}` or `{"step": {"of": …, "number": …}}`.
    #[schema(value_type = Object)]
    kind: RequestKind,
    /// Of a step of a plan: how often it may be used.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>)]
    max_uses: Option<NonZeroU64>,
    /// What approvers approve: SHA-256 over the canonical form of the request.
    hash: String,
    #[schema(value_type = String, format = DateTime)]
    requested_at: Time,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Time,
    /// The stages of approval while it is pending.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    waiting_for: Vec<StageView>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    because: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    decided_by: Option<Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Time>,
    /// On which terms the policies allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    terms: Option<Terms>,
    /// The policy set that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    approvals: Vec<ApprovalView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    plan: Option<crate::model::Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    envelope: Option<crate::model::Envelope>,
    /// Of an envelope: the grants of its entries. An entry that a live grant answered already has none of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    grants: Vec<GrantId>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    steps: Vec<StepView>,
    /// While it is pending: the page where people with a say decide on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    approval_url: Option<String>,
    /// A token of the grant, where one was asked for and this answer grants.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// A stage of approval.
#[derive(Debug, Serialize, ToSchema)]
struct StageView {
    /// From 0.
    stage: usize,
    /// How many different people.
    approvals: u8,
    /// How many have approved.
    approved: usize,
    /// Out of whom: `role:approver`, `owner`, `peers`, `group:…`, `identity:…`.
    from: Vec<String>,
    /// Where owners alone count: the services of whose owners nobody has approved yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    services: Vec<String>,
}

/// An approval.
#[derive(Debug, Serialize, ToSchema)]
struct ApprovalView {
    #[schema(value_type = String)]
    by: SpiffeId,
    #[schema(value_type = String, format = DateTime)]
    at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Object>>)]
    scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_seconds: Option<f64>,
    reason: String,
}

/// A step of a plan.
#[derive(Debug, Serialize, ToSchema)]
struct StepView {
    number: u32,
    /// `waiting` for its turn, `open`, `left`, or where its own request stands.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    request: Option<AccessRequestId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    grant: Option<GrantId>,
}

impl RequestView {
    pub(super) fn new(
        state: &State,
        rules: &Rules,
        (record, site): (&RequestRecord, &Site),
        now: Time,
    ) -> Self {
        let is_pending = record.state == RequestState::Pending;
        let request = &record.request;
        let settled = record.settled.as_ref();
        let denied = matches!(record.state, RequestState::Denied | RequestState::Cancelled);
        Self {
            id: request.id,
            state: record.state.as_str(),
            requester: request.requester.clone(),
            principal: request.principal.clone(),
            task: request.task.clone(),
            scope: request.scope.clone(),
            ttl_seconds: request.ttl.get().as_secs_f64(),
            reason: request.reason.clone(),
            grant: record.grants.last().copied(),
            role: request.role.as_ref().map(ToString::to_string),
            not_before: request.not_before,
            ticket: request.ticket.clone(),
            ticket_open: request.ticket_open,
            emergency: request.emergency,
            on_behalf_of: request.on_behalf_of.clone(),
            kind: request.kind.clone(),
            max_uses: max_uses(state, &request.kind),
            hash: record.hash.clone(),
            requested_at: request.requested_at,
            expires_at: request.expires_at,
            waiting_for: waiting_for(state, rules, record),
            because: settled
                .filter(|_| denied)
                .and_then(|settled| settled.reason.clone())
                .into_iter()
                .collect(),
            decided_by: settled.map(|settled| settled.by.clone()),
            decided_at: settled.map(|settled| settled.at),
            terms: record.terms().cloned(),
            policy: record.evaluated.as_ref().map(|evaluated| evaluated.policy.clone()),
            approvals: approvals(record),
            plan: request.plan.clone(),
            envelope: request.envelope.clone(),
            grants: request.envelope.as_ref().map(|_| record.grants.clone()).unwrap_or_default(),
            steps: steps(state, record, now),
            approval_url: is_pending.then(|| site.approval_url(request.id)),
            token: None,
        }
    }

    pub(super) fn id(&self) -> AccessRequestId {
        self.id
    }

    /// The grant, if the request is approved.
    pub(super) fn granted(&self) -> Option<GrantId> {
        self.grant.filter(|_| self.state == RequestState::Approved.as_str())
    }

    /// All grants of an approved request.
    pub(super) fn all_granted(&self) -> impl Iterator<Item = GrantId> {
        let one = self.granted().filter(|grant| !self.grants.contains(grant));
        self.grants.iter().copied().filter(|_| self.granted().is_some()).chain(one)
    }

    pub(super) fn set_token(&mut self, token: Option<String>) {
        self.token = token;
    }

    pub(super) fn is_pending(&self) -> bool {
        self.state == RequestState::Pending.as_str()
    }
}

fn waiting_for(state: &State, rules: &Rules, record: &RequestRecord) -> Vec<StageView> {
    let (RequestState::Pending, Some(terms)) = (record.state, record.terms()) else { return Vec::new() };
    let progress = progress(state, rules, (&record.request, terms), &record.approvals);
    let stages = progress.stages.iter().enumerate().filter(|(_, stage)| !stage.complete);
    stages
        .map(|(at, stage)| StageView {
            stage: at,
            approvals: stage.stage.approvals.get(),
            approved: stage.approved.len(),
            from: stage.stage.from.iter().map(ToString::to_string).collect(),
            services: stage.unowned.iter().map(ToString::to_string).collect(),
        })
        .collect()
}

fn approvals(record: &RequestRecord) -> Vec<ApprovalView> {
    let view = |approval: &crate::control::state::Approval| ApprovalView {
        by: approval.by.clone(),
        at: approval.at,
        scope: approval.scope.clone(),
        ttl_seconds: approval.ttl.map(|ttl| ttl.get().as_secs_f64()),
        reason: approval.reason.clone(),
    };
    record.approvals.iter().map(view).collect()
}

fn steps(state: &State, record: &RequestRecord, now: Time) -> Vec<StepView> {
    let planned = record.request.plan.as_ref().map_or(0, |plan| plan.steps.len());
    let step = |number: usize| {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let opened = record.steps.iter().find(|step| step.number == number);
        let is_live = |id: GrantId| state.live_grant(id).is_some_and(|live| now < live.grant.expires_at);
        let stands = match opened {
            None => "waiting",
            Some(opened) => match (opened.grant, opened.asked.and_then(|id| state.request(id))) {
                (Some(grant), _) if is_live(grant) => "open",
                (Some(_), _) => "left",
                (None, Some(asked)) => asked.state.as_str(),
                (None, None) => "waiting",
            },
        };
        StepView {
            number,
            state: stands,
            request: opened.and_then(|opened| opened.asked),
            grant: opened.and_then(|opened| opened.grant),
        }
    };
    (0..planned).map(step).collect()
}
