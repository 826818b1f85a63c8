//! What each rule of a grant says about a request.

use crate::access::{Form, Request, UserProof};
use crate::model::{EndCause, Grant, GrantId, Permission, Scope, ServiceName, TaskId, Time};
use serde::Serialize;

/// How many permissions of a parent's scope are spelt out.
const SHOWN: usize = 3;

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
        rules.extend(grant.within().iter().map(|parent| within(parent, request)));
        if let Some(token) = request.token {
            rules.push(Rule::new("token", token == grant.id, format!("the token is of grant {token}")));
        } else if grant.conditions.token_required() {
            rules.push(Rule::new("token", false, "this grant demands one (see --token)"));
        } else if request.token_required {
            rules.push(Rule::new("token", false, "the service demands one (see --token)"));
        }
        rules.extend(user(grant, request.user));
        if let Some(risk) = grant.conditions.max_risk() {
            let why = format!("at most {}: the control plane ends the grant above it", risk.as_str());
            rules.push(Rule::new("risk", true, why));
        }
        if grant.conditions.source_networks().is_some() || grant.conditions.windows().is_some() {
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

fn user(grant: &Grant, proof: UserProof<'_>) -> Option<Rule> {
    let of = grant.on_behalf_of();
    let (holds, why) = match (proof, of) {
        (UserProof::NotDemanded, _) => return None,
        (UserProof::Missing | UserProof::Refused, _) => {
            (false, "the service demands a token of its user (see --user)".to_owned())
        }
        (UserProof::Proven(user), Some(of)) if user != of => {
            (false, format!("the grant was given on behalf of {} ({})", of.subject, of.issuer))
        }
        (UserProof::Proven(user), _) => (true, format!("a token names {}", user.subject)),
    };
    Some(Rule::new("user", holds, why))
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
        (Permission::Mcp(mcp), _) => {
            let Some(call) = request.call else {
                return Rule::new(text, false, "the request is no MCP call");
            };
            let shown = mcp.shows(call.method, call.name);
            let (holds, why) = match (mcp.permits(call), shown) {
                (true, _) => (true, "method, name and arguments match"),
                (false, true) => (false, "other arguments"),
                (false, false) if mcp.actions().has(call.method) => (false, "another name"),
                (false, false) => (false, "another MCP method"),
            };
            Rule::new(text, holds, why)
        }
        (Permission::Http(_) | Permission::Grpc(_), _) if request.call.is_some() => {
            Rule::new(text, false, "the request is an MCP call")
        }
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

/// A scope that the grant was narrowed from, as one rule: any of its permissions is enough.
fn within(parent: &Scope, request: &Request<'_>) -> Rule {
    let rules: Vec<Rule> = parent.permissions().iter().map(|permission| scope(permission, request)).collect();
    let texts = parent.canonical_texts();
    let shown = texts.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(" ");
    let more = if texts.len() > SHOWN { format!(" and {} more", texts.len() - SHOWN) } else { String::new() };
    let name = format!("narrowed from {shown}{more}");
    if rules.iter().any(|rule| rule.holds) {
        return Rule::new(name, true, "the parent permits it as well");
    }
    let why = match rules.as_slice() {
        [only] => only.why.clone(),
        _ => "none of its permissions matches".to_owned(),
    };
    Rule::new(name, false, format!("the parent does not permit it: {why}"))
}

/// What would have been enough, derived from the request alone.
pub(super) fn required(request: &Request<'_>) -> Vec<Permission> {
    let Ok(service) = request.service.parse::<ServiceName>() else { return Vec::new() };
    let view = request.view;
    if let Some(call) = request.call {
        return Permission::for_mcp(&service, call).into_iter().collect();
    }
    let permission = match view.form() {
        Form::Grpc => Permission::for_grpc(&service, view.path()),
        Form::Http | Form::Upgrade => Permission::for_http(&service, view.action(), view.path()),
    };
    permission.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::View;
    use crate::model::grant::Lineage;
    use std::sync::Arc;

    #[test]
    fn a_parent_that_refuses_is_named() {
        let json = r#"{"id":"gr_0000000000000000000000000a","principal":"spiffe://d/a","task":"T",
            "scope":[{"type":"http","locations":["orders"],"actions":["*"],"paths":["/**"]}],
            "not_before":"2026-01-01T00:00:00Z","expires_at":"2026-01-01T01:00:00Z","revision":1}"#;
        let mut grant: Grant = serde_json::from_str(json).unwrap();
        let within = vec!["orders:GET:/a".parse().unwrap(), "orders:GET:/**".parse().unwrap()];
        grant.lineage = Some(Arc::new(Lineage { within, ..Lineage::default() }));
        let now = grant.not_before;
        let known = KnownGrant { grant, ended: None };
        let look = |path: &str| {
            let request = http::Request::builder().uri(path).header("host", "orders").body(()).unwrap();
            let parts = request.into_parts().0;
            let view = View::of(&parts).unwrap();
            let source = [127, 0, 0, 1].into();
            let finding = Finding::of(
                &known,
                &Request {
                    service: "orders",
                    view: &view,
                    call: None,
                    only: None,
                    source,
                    token: None,
                    token_required: false,
                    user: UserProof::NotDemanded,
                },
                now,
            );
            let rules = finding.rules.into_iter().skip(1);
            rules.map(|rule| (rule.rule, rule.holds, rule.why)).collect::<Vec<_>>()
        };
        assert!(look("/a").iter().all(|(_, holds, _)| *holds));
        let rules = look("/b");
        let holds: Vec<bool> = rules.iter().map(|(_, holds, _)| *holds).collect();
        assert_eq!(holds, [true, false, true], "{rules:?}");
        let (name, _, why) = &rules[1];
        assert_eq!(name, "narrowed from orders:GET:/a");
        assert_eq!(why, "the parent does not permit it: another path");
    }
}
