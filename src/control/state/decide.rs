//! `decide(state, command, now) -> events`: every rule of the control plane, in one pure function.
//!
//! Authorisation is decided here and nowhere else, so that no path to the log goes round it. Whatever is not shown to be allowed is
//! refused.

use crate::control::authz::Need;
use crate::control::state::command::{
    Command, GrantSpec, Issued, MAX_BULK, MAX_REASON, Outcome, Refusal, Rules, UseToLog,
};
use crate::control::state::{Purpose, State, revocation};
use crate::control::workflow::{self, AccessRefusal, Direct};
use crate::model::event::{Actor, Event, EventBody, Everything, Selector};
use crate::model::{EndCause, Grant, GrantId, KeptTrail, ProxyName, Revision, SpiffeId, Time, Ttl};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Most grants that one event names: bounds the size of an event and of a delta.
pub(crate) const CHUNK: usize = 1_000;
/// Most grants whose expiry one command logs; the reconciler comes again.
const EXPIRE_AT_ONCE: usize = 10_000;
/// A start that lies this little in the past is now: clocks of operators differ.
const LATE_START: Duration = Duration::from_secs(300);
const EARLIEST_BOOKING: Duration = Duration::from_secs(30 * 86_400);

/// What a decision depends on beside state and command.
pub struct Context<'a> {
    /// Control time.
    pub now: Time,
    /// What everybody is held to.
    pub rules: &'a Rules,
    /// Fresh random bits for identifiers.
    pub random: &'a mut dyn FnMut() -> [u8; 10],
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("now", &self.now).finish_non_exhaustive()
    }
}

/// What is to be logged, and what to answer once it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The events; none if nothing changes.
    pub events: Vec<Event>,
    /// What is to be kept beside them.
    pub kept: Option<KeptTrail>,
    /// The answer.
    pub outcome: Outcome,
}

/// Decides on a command.
///
/// # Errors
/// [`Refusal`]: nothing is to be done.
pub fn decide(
    state: &State,
    actor: &Actor,
    command: &Command,
    context: &mut Context<'_>,
) -> Result<Decision, Refusal> {
    // Whatever clock it comes from, time never runs below the last event.
    context.now = context.now.max(state.time);
    let mut draft = Draft { state, actor, events: Vec::new(), kept: None, now: context.now };
    let outcome = match command {
        Command::Grant(specs) => grant(&mut draft, specs, context)?,
        Command::Revoke { selector, reason } => revoke(&mut draft, selector, reason, context)?,
        Command::BeginEpoch => {
            system(actor)?;
            let reason = "the store was restored from a backup: a new epoch begins";
            revocation::log(&mut draft, &Selector::All(Everything), reason, context)
        }
        Command::End { grants, cause } => {
            system(actor)?;
            let not_over =
                |id: &GrantId| state.live.get(id).is_some_and(|live| context.now < live.grant.expires_at);
            let grants = state.with_dependants(grants.iter().copied().filter(not_over).collect());
            end(&mut draft, grants, *cause)
        }
        Command::Expire => {
            system(actor)?;
            end(&mut draft, state.expired(context.now, EXPIRE_AT_ONCE), EndCause::Expired)
        }
        Command::Join { proxy } => join(&mut draft, proxy, context)?,
        Command::KeepCheckpoint { proxy, head, since, proof } => {
            super::trail::keep(&mut draft, proxy, (head, *since, proof), context)?
        }
        Command::RecordTrails => {
            system(actor)?;
            super::trail::record(&mut draft)
        }
        Command::ReportAudit { proxy, health } => super::report::audit(&mut draft, proxy, *health, context)?,
        Command::ReportDispute { proxy } => super::report::dispute(&mut draft, proxy, context)?,
        Command::Acknowledge { proxy, revision, streams_cut } => {
            enforcer(state, actor, proxy, context.rules)?;
            acknowledge(&mut draft, proxy, *revision, *streams_cut)?
        }
        Command::ReserveUses { proxy, grant, want } => {
            enforcer(state, actor, proxy, context.rules)?;
            reserve(&mut draft, proxy, *grant, *want)
        }
        Command::NoteUses(uses) => {
            system(actor)?;
            note_uses(&mut draft, uses)
        }
        Command::RaiseLease { lease } => {
            system(actor)?;
            raise_lease(&mut draft, *lease)
        }
        Command::Access(command) => workflow::decide(&mut draft, command, context)?,
    };
    Ok(Decision { events: draft.events, kept: draft.kept, outcome })
}

/// Events on their way, each knowing the revision that it will have.
pub(in crate::control) struct Draft<'a> {
    pub(in crate::control) state: &'a State,
    pub(in crate::control) actor: &'a Actor,
    pub(in crate::control) now: Time,
    events: Vec<Event>,
    kept: Option<KeptTrail>,
}

impl Draft<'_> {
    pub(in crate::control) fn next_revision(&self) -> Revision {
        Revision(self.state.revision.0.saturating_add(self.events.len() as u64).saturating_add(1))
    }

    pub(in crate::control) fn push(&mut self, body: EventBody) {
        self.push_as(self.actor.clone(), body);
    }

    /// Keeps it beside the log.
    pub(super) fn keep(&mut self, trail: KeptTrail) {
        self.kept = Some(trail);
    }

    /// As somebody else than whoever asked: the control plane itself, where policies or time decide.
    pub(in crate::control) fn push_as(&mut self, actor: Actor, body: EventBody) {
        self.events.push(Event { time: self.now, actor, body });
    }
}

pub(in crate::control) fn identity<'a>(
    actor: &'a Actor,
    need: Need,
    rules: &Rules,
) -> Result<&'a SpiffeId, Refusal> {
    match actor {
        Actor::Identity(id) if rules.roles.may(id, need) => Ok(id),
        Actor::Identity(_) | Actor::System => Err(Refusal::Role { need }),
    }
}

fn system(actor: &Actor) -> Result<(), Refusal> {
    match actor {
        Actor::System => Ok(()),
        // There is no role for what only the control plane itself does.
        Actor::Identity(_) => Err(Refusal::NotFound { what: "command" }),
    }
}

fn enforcer(state: &State, actor: &Actor, proxy: &ProxyName, rules: &Rules) -> Result<(), Refusal> {
    let id = identity(actor, Need::Enforce, rules)?;
    match state.proxies.get(proxy) {
        Some(known) if known.identity == *id => Ok(()),
        Some(_) => Err(Refusal::NameTaken { proxy: proxy.clone() }),
        None => Err(Refusal::NotFound { what: "proxy" }),
    }
}

pub(in crate::control) fn check_reason(reason: &str) -> Result<(), Refusal> {
    if reason.trim().is_empty() || reason.len() > MAX_REASON { Err(Refusal::Reason) } else { Ok(()) }
}

fn grant(draft: &mut Draft<'_>, specs: &[GrantSpec], context: &mut Context<'_>) -> Result<Outcome, Refusal> {
    let operator = identity(draft.actor, Need::Grant, context.rules)?;
    match specs.len() {
        0 => return Err(Refusal::Empty),
        given if given > MAX_BULK => return Err(Refusal::TooMany { given }),
        _ => {}
    }
    let entry = |number: usize, refusal: Refusal| match specs.len() {
        1 => refusal,
        _ => Refusal::Entry { number: number.saturating_add(1), refusal: Box::new(refusal) },
    };
    let mut issued: Vec<Issued> = Vec::with_capacity(specs.len());
    let mut batch = Batch::default();
    for (number, spec) in specs.iter().enumerate() {
        let window = check_spec(spec, operator, draft.state, context).map_err(|why| entry(number, why))?;
        // An operator's own grant is on behalf of nobody: what somebody's user was given does not stand for it.
        let purpose =
            Purpose { principal: &spec.principal, task: &spec.task, scope: &spec.scope, user: None };
        let like = purpose.hash(&draft.state.hasher);
        let duplicate =
            batch.find(like, purpose, window).or_else(|| draft.state.same(purpose, window).map(Arc::clone));
        if let Some(existing) = duplicate {
            if existing.recording < spec.recording {
                return Err(entry(number, Refusal::RecordsLess { grant: existing.id }));
            }
            issued.push(Issued { grant: existing, existing: true });
            continue;
        }
        if !batch.fits(&spec.reason) {
            batch.flush(draft);
        }
        let grant = Arc::new(Grant {
            id: GrantId::from_parts(context.now.as_millis(), (context.random)()),
            principal: spec.principal.clone(),
            task: spec.task.clone(),
            scope: spec.scope.clone(),
            not_before: window.0,
            expires_at: window.1,
            conditions: spec.conditions.clone(),
            limits: spec.limits,
            recording: spec.recording,
            lineage: None,
            revision: draft.next_revision(),
        });
        batch.add(like, Arc::clone(&grant), &spec.reason);
        issued.push(Issued { grant, existing: false });
    }
    batch.flush(draft);
    let fresh = issued.iter().filter(|issued| !issued.existing).count();
    if draft.state.live.len().saturating_add(fresh) > context.rules.max_grants {
        return Err(Refusal::Full { max: context.rules.max_grants });
    }
    Ok(Outcome::Granted(issued))
}

/// Grants of one command that are not in the state yet.
#[derive(Default)]
struct Batch {
    like: HashMap<u64, Vec<Arc<Grant>>>,
    event: Vec<Arc<Grant>>,
    reason: Arc<str>,
}

impl Batch {
    fn find(&self, like: u64, purpose: Purpose<'_>, (start, end): (Time, Time)) -> Option<Arc<Grant>> {
        let same = |grant: &&Arc<Grant>| {
            Purpose::of(grant) == purpose && start < grant.expires_at && grant.not_before < end
        };
        self.like.get(&like)?.iter().find(same).cloned()
    }

    fn fits(&self, reason: &Arc<str>) -> bool {
        self.event.len() < CHUNK && (self.event.is_empty() || self.reason == *reason)
    }

    fn add(&mut self, like: u64, grant: Arc<Grant>, reason: &Arc<str>) {
        self.like.entry(like).or_default().push(Arc::clone(&grant));
        self.reason = Arc::clone(reason);
        self.event.push(grant);
    }

    fn flush(&mut self, draft: &mut Draft<'_>) {
        if !self.event.is_empty() {
            let grants = std::mem::take(&mut self.event);
            draft.push(EventBody::GrantsIssued { grants, reason: self.reason.to_string() });
        }
    }
}

/// The window of a grant that may be issued.
fn check_spec(
    spec: &GrantSpec,
    operator: &SpiffeId,
    state: &State,
    context: &Context<'_>,
) -> Result<(Time, Time), Refusal> {
    let (now, rules) = (context.now, context.rules);
    check_reason(&spec.reason)?;
    // Law 10: whoever decides must not be whoever benefits, whichever certificate they hold today.
    if rules.roles.same_person(operator, &spec.principal) {
        return Err(Refusal::SelfGrant { principal: spec.principal.clone() });
    }
    let highest = spec.conditions.max_risk();
    if let Some(because) = workflow::too_risky(state, rules, &spec.principal, highest) {
        return Err(AccessRefusal::Risk { because }.into());
    }
    if spec.ttl.get() > rules.max_ttl {
        let max = Ttl::new(rules.max_ttl).unwrap_or(spec.ttl);
        return Err(Refusal::TtlAboveCap { ttl: spec.ttl, max });
    }
    let start = window_start(spec.not_before, now)?;
    let direct = Direct {
        operator,
        principal: &spec.principal,
        task: &spec.task,
        scope: &spec.scope,
        ttl: spec.ttl,
        not_before: Some(start),
        reason: &spec.reason,
        at: now,
    };
    match workflow::forbidden(state, rules, direct) {
        Some(because) => Err(AccessRefusal::Forbidden { because }.into()),
        None => Ok((start, start.plus(spec.ttl.get()))),
    }
}

/// The start of a window: now, or what was asked for if it lies neither behind nor far ahead.
pub(in crate::control) fn window_start(not_before: Option<Time>, now: Time) -> Result<Time, Refusal> {
    match not_before {
        None => Ok(now),
        Some(start) if start < now.minus(LATE_START) || start > now.plus(EARLIEST_BOOKING) => {
            Err(Refusal::Start { not_before: start })
        }
        Some(start) => Ok(start.max(now)),
    }
}

fn revoke(
    draft: &mut Draft<'_>,
    selector: &Selector,
    reason: &str,
    context: &mut Context<'_>,
) -> Result<Outcome, Refusal> {
    identity(draft.actor, Need::Revoke, context.rules)?;
    check_reason(reason)?;
    if let Selector::Grant(id) = selector
        && draft.state.find(*id).is_none()
    {
        return Err(Refusal::NotFound { what: "grant" });
    }
    Ok(revocation::log(draft, selector, reason, context))
}

fn end(draft: &mut Draft<'_>, grants: Vec<GrantId>, cause: EndCause) -> Outcome {
    for part in grants.chunks(CHUNK) {
        draft.push(EventBody::GrantsEnded { grants: part.to_vec(), cause });
    }
    Outcome::Ended(grants)
}

fn join(draft: &mut Draft<'_>, proxy: &ProxyName, context: &Context<'_>) -> Result<Outcome, Refusal> {
    let id = identity(draft.actor, Need::Enforce, context.rules)?;
    match draft.state.proxies.get(proxy) {
        Some(known) if known.identity == *id => {}
        Some(_) => return Err(Refusal::NameTaken { proxy: proxy.clone() }),
        None => draft.push(EventBody::ProxyJoined { proxy: proxy.clone(), identity: id.clone() }),
    }
    Ok(Outcome::Joined)
}

fn acknowledge(
    draft: &mut Draft<'_>,
    proxy: &ProxyName,
    revision: Revision,
    streams_cut: u64,
) -> Result<Outcome, Refusal> {
    if revision > draft.state.revision {
        return Err(Refusal::Future { revision });
    }
    if draft.state.is_confirmed_by(proxy, revision) {
        draft.push(EventBody::Acknowledged { proxy: proxy.clone(), revision, streams_cut });
    }
    Ok(Outcome::Acknowledged)
}

fn reserve(draft: &mut Draft<'_>, proxy: &ProxyName, grant: GrantId, want: u64) -> Outcome {
    let left =
        draft.state.live.get(&grant).filter(|live| live.grant.covers(draft.now)).and_then(|live| {
            live.grant.limits.max_uses.map(|max| max.get().saturating_sub(live.uses_reserved))
        });
    let uses = left.unwrap_or(0).min(want);
    if uses > 0 {
        draft.push(EventBody::UsesReserved { grant, proxy: proxy.clone(), uses });
    }
    Outcome::Reserved { uses }
}

/// Totals only grow: what says less than the log is passed over.
fn note_uses(draft: &mut Draft<'_>, uses: &[UseToLog]) -> Outcome {
    for UseToLog { grant, process, requests, bytes } in uses {
        let logged = draft.state.logged_use_of(*grant, process);
        let is_news = logged.is_none_or(|logged| logged.requests < *requests || logged.bytes < *bytes);
        if is_news && draft.state.find(*grant).is_some() {
            let (proxy, instance) = process.clone();
            draft.push(EventBody::GrantUsed {
                grant: *grant,
                proxy,
                instance,
                requests: *requests,
                bytes: *bytes,
            });
        }
    }
    Outcome::Done
}

fn raise_lease(draft: &mut Draft<'_>, lease: Duration) -> Outcome {
    if lease > draft.state.longest_lease {
        let lease_ms = u64::try_from(lease.as_millis()).unwrap_or(u64::MAX);
        draft.push(EventBody::LeaseRaised { lease_ms });
    }
    Outcome::LeaseRaised
}
