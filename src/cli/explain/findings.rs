//! What each rule of a grant says about a request.

use crate::access::{Form, Request};
use crate::model::{EndCause, Grant, GrantId, Permission, ServiceName, TaskId, Time};
use serde::Serialize;

/// A grant as the control plane tells it.
#[derive(Debug, Clone)]
pub(super) struct KnownGrant {
    /// The grant.
    pub(super) grant: Grant,
    /// How and when it ended, where it did.
    pub(super) ended: Option<(EndCause, Time)>,
}

/// A grant that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// Which.
    pub(super) grant: GrantId,
    /// For which task.
    pub(super) task: TaskId,
    /// Every rule of it.
    pub(super) rules: Vec<Rule>,
}

/// One rule and what it says.
#[derive(Debug, Serialize)]
pub(super) struct Rule {
    /// Which.
    pub(super) rule: String,
    /// Whether it lets the request through.
    pub(super) holds: bool,
    /// Why (not).
    pub(super) why: String,
}

impl Rule {
    fn new(rule: impl Into<String>, holds: bool, why: impl Into<String>) -> Self {
        Self { rule: rule.into(), holds, why: why.into() }
    }
}

impl Finding {
    /// What every rule of this grant says.
    pub(super) fn of(known: &KnownGrant, request: &Request<'_>, now: Time) -> Self {
        let grant = &known.grant;
        let mut rules = vec![window(known, now)];
        if let Some(task) = request.view.task() {
            let why = format!("the request is for task {task}");
            rules.push(Rule::new("task", grant.task.as_str() == task, why));
        }
        rules.extend(grant.scope.permissions().iter().map(|permission| scope(permission, request)));
        if !grant.conditions.is_unconditional() {
            let holds = grant.conditions.hold(now, request.source);
            let why = format!("for {} at this time", request.source);
            rules.push(Rule::new("conditions", holds, why));
        }
        if !grant.limits.is_unlimited() {
            rules.push(Rule::new("limits", true, "how much is used up is known at the proxies only"));
        }
        Self { grant: grant.id, task: grant.task.clone(), rules }
    }
}

fn window(known: &KnownGrant, now: Time) -> Rule {
    let grant = &known.grant;
    let why = match known.ended {
        Some((cause, at)) => format!("{} at {at}", cause.as_str()),
        None if now < grant.not_before => format!("begins at {}", grant.not_before),
        None if grant.covers(now) => format!("until {}", grant.expires_at),
        None => format!("expired at {}", grant.expires_at),
    };
    Rule::new("live", known.ended.is_none() && grant.covers(now), why)
}

fn scope(permission: &Permission, request: &Request<'_>) -> Rule {
    let view = request.view;
    let text = permission.to_string();
    let service = request.service.parse::<ServiceName>();
    if !service.is_ok_and(|service| permission.names(&service)) {
        return Rule::new(text, false, format!("another service than {}", request.service));
    }
    match (permission, view.form()) {
        (Permission::Http(http), Form::Http | Form::Upgrade) => {
            let (action, path, query) = (view.action(), view.path(), view.query());
            let holds = http.permits(action, path, query);
            let why = if !http.methods().has(action) {
                format!("another method than {action}")
            } else if holds {
                "method and path match".to_owned()
            } else if http.query().is_some() {
                "another path or query".to_owned()
            } else {
                "another path".to_owned()
            };
            Rule::new(text, holds, why)
        }
        (Permission::Grpc(grpc), Form::Grpc) => {
            let holds = grpc.permits(view.path());
            Rule::new(text, holds, if holds { "the method matches" } else { "another gRPC method" })
        }
        (Permission::Http(_), Form::Grpc) => Rule::new(text, false, "the request is a gRPC call"),
        (Permission::Grpc(_), Form::Http | Form::Upgrade) => {
            Rule::new(text, false, "the request is no gRPC call (see --grpc)")
        }
    }
}

/// What would have been enough, derived from the request alone.
pub(super) fn required(request: &Request<'_>) -> Vec<Permission> {
    let Ok(service) = request.service.parse::<ServiceName>() else { return Vec::new() };
    let view = request.view;
    let permission = match view.form() {
        Form::Grpc => Permission::for_grpc(&service, view.path()),
        Form::Http | Form::Upgrade => Permission::for_http(&service, view.action(), view.path()),
    };
    permission.into_iter().collect()
}
