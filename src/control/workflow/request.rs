//! Asking: what is said is brought into one request, and whatever can be refused without asking anybody is refused, with what to
//! change.

use crate::control::state::decide::{Context, Draft, check_reason, window_start};
use crate::control::state::look::services_of;
use crate::control::state::{Outcome, Refusal, Rules};
use crate::control::workflow::command::{NewRequest, Wanted};
use crate::control::workflow::refusal::AccessRefusal;
use crate::control::workflow::{caller, consider, controls, refuse};
use crate::model::request::{MAX_ENTRIES, MAX_STEPS, MAX_TICKET};
use crate::model::{
    AccessRequest, AccessRequestId, Entry, Envelope, Permission, Plan, RequestKind, RoleName, Scope,
    SpiffeId, Ttl,
};

/// Decides on a new request.
pub(super) fn ask(
    draft: &mut Draft<'_>,
    new: &NewRequest,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    let requester = caller(draft)?.clone();
    check_reason(&new.reason)?;
    check_ticket(new.ticket.as_deref())?;
    let rules = context.rules;
    let principal = match &new.principal {
        Some(principal) if *principal != requester => {
            controls::broker(rules, &requester)?;
            principal.clone()
        }
        Some(_) | None => requester.clone(),
    };
    let Asked { scope, role, plan, envelope } = wanted(&new.wanted, new.ttl, rules)?;
    check_services(&scope, rules)?;
    check_ttl(new.ttl, rules)?;
    let start = new.not_before.map(|at| window_start(Some(at), context.now)).transpose()?;
    controls::task_is_open_to(draft.state, (&new.task, &requester, &principal), new, context)?;
    if let Some(pending) = controls::pending_duplicate(draft.state, (&requester, &principal), new, &scope) {
        return Ok(Outcome::Request { id: pending, existing: true });
    }
    controls::number(draft.state, &requester, context)?;
    let request = AccessRequest {
        id: AccessRequestId::from_parts(context.now.as_millis(), (context.random)()),
        requester,
        principal,
        task: new.task.clone(),
        scope,
        role,
        ttl: new.ttl,
        not_before: start,
        reason: new.reason.clone(),
        ticket: new.ticket.clone(),
        ticket_open: new.ticket_open,
        on_behalf_of: new.on_behalf_of.clone(),
        authenticated: new.authenticated.clone(),
        emergency: new.emergency,
        plan,
        envelope,
        task_deadline: new.task_deadline,
        task_idle_timeout: new.task_idle_timeout,
        kind: RequestKind::Access,
        source: new.source,
        requested_at: context.now,
        expires_at: context.now.plus(rules.requests.pending_timeout),
    };
    if let Some(existing) = controls::live_duplicate(draft.state, &request, context.now) {
        return controls::satisfied(draft, request, existing);
    }
    controls::cooldown(draft.state, &request, context)?;
    controls::emergency(draft.state, &request, rules)?;
    consider::consider(draft, request, context)
}

/// What is asked for, as permissions.
struct Asked {
    scope: Scope,
    role: Option<RoleName>,
    plan: Option<Plan>,
    envelope: Option<Envelope>,
}

impl Asked {
    fn plain(scope: Scope) -> Self {
        Self { scope, role: None, plan: None, envelope: None }
    }
}

/// A named scope is expanded now, once.
fn wanted(wanted: &Wanted, ttl: Ttl, rules: &Rules) -> Result<Asked, Refusal> {
    match wanted {
        Wanted::Scope(scope) => {
            check_width(scope)?;
            Ok(Asked::plain(scope.clone()))
        }
        Wanted::Role(name) => {
            let Some(template) = rules.directory.template(name) else {
                return refuse(AccessRefusal::NotRequestable { what: name.to_string() });
            };
            match template.max_ttl {
                Some(max) if ttl.get() > max.get() => {
                    refuse(AccessRefusal::RoleTtl { ttl, max, role: name.clone() })
                }
                Some(_) | None => {
                    Ok(Asked { role: Some(name.clone()), ..Asked::plain(template.scope.clone()) })
                }
            }
        }
        Wanted::Plan(plan) => {
            if plan.steps.is_empty() || plan.steps.len() > MAX_STEPS {
                return refuse(AccessRefusal::Invalid("a plan has from 1 to 32 steps"));
            }
            let scope = union(plan.steps.iter().map(|step| &step.scope))?;
            Ok(Asked { plan: Some(plan.clone()), ..Asked::plain(scope) })
        }
        Wanted::Envelope(envelope) => {
            let entries = &envelope.entries;
            if entries.is_empty() || entries.len() > MAX_ENTRIES {
                return refuse(AccessRefusal::Invalid("an envelope has from 1 to 32 entries"));
            }
            // One live grant for each principal, task, scope and user: two would be two budgets for one thing.
            let twice = |(at, entry): (usize, &Entry)| {
                entries.iter().take(at).any(|other| other.scope == entry.scope)
            };
            if entries.iter().enumerate().any(twice) {
                return refuse(AccessRefusal::Invalid(
                    "two entries of an envelope have the same scope: make one of them",
                ));
            }
            let scope = union(entries.iter().map(|entry| &entry.scope))?;
            Ok(Asked { envelope: Some(envelope.clone()), ..Asked::plain(scope) })
        }
    }
}

/// Everything that any of them names, in one order.
fn union<'a>(scopes: impl Iterator<Item = &'a Scope>) -> Result<Scope, Refusal> {
    let mut all: Vec<Permission> = Vec::new();
    for scope in scopes {
        check_width(scope)?;
        all.extend(scope.permissions().iter().cloned());
    }
    all.sort_by_cached_key(Permission::canonical_json);
    all.dedup();
    Scope::new(all).map_err(|_| AccessRefusal::Invalid("there are too many permissions in all").into())
}

pub(super) fn check_width(scope: &Scope) -> Result<(), Refusal> {
    match scope.widest() {
        Some(permission) => refuse(AccessRefusal::TooWide { permission: permission.to_string() }),
        None => Ok(()),
    }
}

/// Services that nobody knows and services that cannot be asked for are refused alike (law 11).
pub(super) fn check_services(scope: &Scope, rules: &Rules) -> Result<(), Refusal> {
    for service in services_of(scope) {
        if !rules.directory.services().get(&service).is_some_and(|profile| profile.requestable) {
            return refuse(AccessRefusal::NotRequestable { what: service.to_string() });
        }
    }
    Ok(())
}

pub(super) fn check_ttl(ttl: Ttl, rules: &Rules) -> Result<(), Refusal> {
    match Ttl::new(rules.max_ttl) {
        Ok(max) if ttl.get() > rules.max_ttl => Err(Refusal::TtlAboveCap { ttl, max }),
        Ok(_) => Ok(()),
        // No cap could be said: nothing is below it.
        Err(_) => Err(Refusal::TtlAboveCap { ttl, max: ttl }),
    }
}

pub(super) fn check_ticket(ticket: Option<&str>) -> Result<(), Refusal> {
    let fits = |ticket: &str| {
        (1..=MAX_TICKET).contains(&ticket.len())
            && !ticket.trim().is_empty()
            && !ticket.contains(char::is_control)
    };
    match ticket {
        Some(ticket) if !fits(ticket) => refuse(AccessRefusal::Invalid(
            "`ticket` has 1 to 256 visible bytes; leave it out if there is none",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Whether two identities are one and the same human or workload.
pub(super) fn same(rules: &Rules, one: &SpiffeId, other: &SpiffeId) -> bool {
    rules.roles.same_person(one, other) || rules.directory.identities(one).contains(other)
}
