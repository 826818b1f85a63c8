//! A request that was not decided yet, with its line in the audit trail begun: who asks, what is decided, what is admitted.

use crate::access::view::Form;
use crate::access::{Cell, Denial, Request as Asked, Verdict, View, attend, decide, decide_after};
use crate::audit::record::{Draft, Protocol, TraceId};
use crate::config::Durability;
use crate::identity::token::TokenFault;
use crate::mcp::{Id, Received};
use crate::model::{DenyReason, GrantId, McpCall, RequestId};
use crate::proxy::bearer::Bearer;
use crate::proxy::body::Download;
use crate::proxy::connection::Connected;
use crate::proxy::forward::Admitted;
use crate::proxy::ids;
use crate::proxy::reply::{Refusal, Shape, refuse};
use crate::proxy::router::Route;
use crate::proxy::user::{Carried, Demand, Presented};
use crate::runtime::clock::{Mono, wall};
use crate::session::{Live, NotAdmitted, Undecided};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Response, Version};
use std::sync::Arc;

mod refusals;

pub(crate) use refusals::asking_could_help;

/// How many grants may be tried when their limits are used up, and how often a decision is made anew when a grant ends under it.
const TRIES: usize = 16;

/// What a request needs in order to be admitted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Need<'a> {
    /// A grant that permits its method and path.
    Request,
    /// A grant that permits this call of MCP, with arguments of so many bytes.
    Call(&'a McpCall<'a>, usize),
    /// Any live grant for the service, which is not used by it.
    Attend,
    /// This very grant, which is not used by it, for inputs of so many bytes.
    Under(GrantId, usize),
}

/// A request that was not decided yet, with its line in the audit trail begun.
pub(crate) struct Incoming<'a> {
    connected: &'a Connected,
    /// Gone when it is refused, or admitted and a [`Live`] is there.
    _undecided: Undecided<'a>,
    draft: Draft,
    id: RequestId,
    trace: TraceId,
    started: Mono,
    decided: Mono,
    shape: Shape,
    route: Option<Arc<Route>>,
    bearer: Bearer,
    token_fault: Option<TokenFault>,
    user: Presented,
}

impl<'a> Incoming<'a> {
    /// `has_body`: more than the head of it is to come.
    pub(crate) fn begin(connected: &'a Connected, parts: &Parts, has_body: bool) -> Self {
        let started = Mono::now();
        let undecided = connected.caller.begin(has_body);
        let id = ids::request(wall());
        let trace = ids::trace(&parts.headers);
        let mut draft = Draft::begin(&connected.worker.shared.audit, &connected.audited, id, started);
        draft.trace(trace);
        let form = if is_grpc(parts) { Form::Grpc } else { Form::Http };
        draft.head(&parts.method, parts.uri.path(), protocol(parts.version, form));
        Self {
            connected,
            _undecided: undecided,
            draft,
            id,
            trace,
            started,
            decided: started,
            shape: Shape::of(form),
            route: None,
            bearer: Bearer::Foreign,
            token_fault: None,
            user: Presented::NotDemanded,
        }
    }

    pub(crate) fn connected(&self) -> &'a Connected {
        self.connected
    }

    /// The configured service that it is for, where there is one.
    pub(crate) fn service(&self) -> Option<&crate::model::ServiceName> {
        self.route.as_ref().map(|route| route.name())
    }

    /// What kind of request it turned out to be: refusals take its form.
    pub(crate) fn is_of(&mut self, form: Form) {
        self.shape = Shape::of(form);
    }

    /// Refusals take this form from now on.
    pub(crate) fn answers_in(&mut self, shape: Shape) {
        self.shape = shape;
    }

    pub(crate) fn draft_mut(&mut self) -> &mut Draft {
        &mut self.draft
    }

    /// The configured service that it is for.
    pub(crate) fn goes_to(&mut self, route: &Arc<Route>) {
        self.draft.service(route.name());
        self.route = Some(Arc::clone(route));
    }

    /// Whose token came with it, and which human is behind it, where either counts.
    pub(crate) async fn identify(&mut self, service: &str, headers: &HeaderMap) -> Result<(), Denial> {
        self.bearer = self.look_at_token(headers)?;
        if self.route.as_ref().is_some_and(|route| route.user.is_some()) {
            self.look_at_user(service, headers).await;
        }
        Ok(())
    }

    /// Decides and admits; a use that has to be reserved first is the only thing waited for.
    pub(crate) async fn admit(
        &mut self,
        view: &View<'_>,
        service: &str,
        need: Need<'_>,
    ) -> Result<Live, Denial> {
        let mut reserved: Option<GrantId> = None;
        for _ in 0..TRIES {
            let gate = &self.connected.worker.shared.gate;
            let cell = match self.try_admit(view, service, need) {
                Ok(live) => return Ok(live),
                Err(Hindrance::Denied(denial)) => return Err(denial),
                Err(Hindrance::NeedsUse(cell)) => cell,
            };
            let limited = Denial { reason: DenyReason::Limit, nearest: Some(cell.id()) };
            // One that has none left makes way for the next one.
            if reserved == Some(cell.id()) || Box::pin(gate.reserve_use(&cell)).await.is_err() {
                return Err(limited);
            }
            reserved = Some(cell.id());
        }
        Err(Denial { reason: DenyReason::Limit, nearest: reserved })
    }

    /// Whose the token is, if there is one. The answer depends on the token, the certificate and the published keys alone.
    fn look_at_token(&mut self, headers: &HeaderMap) -> Result<Bearer, Denial> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(Bearer::Foreign);
        }
        let gate = &self.connected.worker.shared.gate;
        let now = gate.lease().now(Mono::now()).map_err(|_| Denial::of(DenyReason::Stale))?;
        let peer = self.connected.caller.peer();
        self.connected.tokens.bearer(headers, peer, gate.token_keys(), now).map_err(|fault| {
            self.token_fault = Some(fault);
            Denial::of(DenyReason::TokenInvalid)
        })
    }

    /// Who is behind the request, where the service demands to know. A caller without a grant for it finds out nothing, not even
    /// by how long an answer takes (law 11): its token is not looked at.
    async fn look_at_user(&mut self, service: &str, headers: &HeaderMap) {
        let Some(route) = self.route.clone() else { return };
        let Some(demand) = route.user.as_ref() else { return };
        self.user = Presented::Missing;
        let Connected { users, caller, worker, .. } = self.connected;
        if !caller.slot().load().names(service) {
            return;
        }
        self.user = match demand.carried(headers, self.bearer) {
            Carried::Nothing => Presented::Missing,
            Carried::Unclear(fault) => Presented::Refused(fault),
            Carried::Token(token) => match users.recall(route.index, demand, token) {
                Some(proof) => Presented::Proven(proof),
                None => {
                    let now = || worker.shared.gate.lease().now(Mono::now()).ok();
                    // Boxed: its state would be moved with that of every request.
                    Box::pin(users.verify(route.index, demand, token, (caller.peer(), now))).await
                }
            },
        };
        if let Some(named) = self.user.named() {
            self.draft.user(named);
        }
    }

    /// Our own token never reaches a service, its user's does where it says so; what else is in `authorization` does unless the
    /// service says otherwise.
    pub(crate) fn keep_back(&self, headers: &mut HeaderMap, route: &Route) {
        let user = route.user.as_ref();
        if let Some(header) = user.and_then(Demand::kept_back) {
            headers.remove(header);
        }
        let carries_user = user.is_some_and(|demand| demand.header() == AUTHORIZATION);
        if self.bearer.grant().is_some() || !(route.service.forward_authorization || carries_user) {
            headers.remove(AUTHORIZATION);
        }
    }

    /// The grant that its token names, and the human behind it: what is kept for a stream that outlives its request.
    pub(crate) fn standing(&self) -> (Option<GrantId>, Presented) {
        (self.bearer.grant(), self.user.clone())
    }

    fn try_admit(&mut self, view: &View<'_>, service: &str, need: Need<'_>) -> Result<Live, Hindrance> {
        let Self { connected, draft, started, decided, user, bearer, route, .. } = self;
        let gate = &connected.worker.shared.gate;
        let (call, arguments, only, attends) = match need {
            Need::Request => (None, 0, None, false),
            Need::Call(call, arguments) => (Some(call), arguments, None, false),
            Need::Attend => (None, 0, None, true),
            Need::Under(grant, inputs) => (None, inputs, Some(grant), true),
        };
        let mut limited: Option<Denial> = None;
        let mut refused: Option<Arc<Cell>> = None;
        for _ in 0..TRIES {
            let before = Mono::now();
            let now = gate.lease().now(before).map_err(|_| Denial::of(DenyReason::Stale))?;
            let asked = Asked {
                service,
                view,
                call,
                only,
                source: connected.caller.source().ip(),
                token: bearer.grant(),
                token_required: route.as_ref().is_some_and(|route| route.service.token_required),
                user: user.at(now),
            };
            let set = connected.caller.slot().load();
            let verdict = match &refused {
                _ if attends => attend(&set, &asked, now),
                None => decide(&set, &asked, now),
                Some(cell) => decide_after(&set, &asked, now, cell),
            };
            *decided = Mono::now();
            let took = decided.since(before);
            draft.decided(gate.table().revision(), took);
            connected.worker.shared.metrics.decision_seconds.observe(took.as_secs_f64());
            let permit = match verdict {
                Verdict::Permit(permit) => permit,
                Verdict::Deny(denial) => {
                    return Err(limited.map_or(denial, |limited| limited.best(denial)).into());
                }
            };
            draft.grant(permit.cell().id(), permit.cell().task());
            let admitted = match permit.cell().limits().take_arguments(arguments) {
                true => gate.admit(permit, &connected.caller, (*started, before)),
                false => Err(NotAdmitted::Limit(permit.into_cell())),
            };
            match admitted {
                Ok(live) => return Ok(live),
                Err(NotAdmitted::NeedsUse(cell)) => return Err(Hindrance::NeedsUse(cell)),
                Err(NotAdmitted::Ended) => {}
                Err(NotAdmitted::Limit(cell)) => {
                    limited = Some(Denial { reason: DenyReason::Limit, nearest: Some(cell.id()) });
                    refused = Some(cell);
                }
            }
        }
        Err(limited.unwrap_or(Denial::of(DenyReason::Revoked)).into())
    }

    /// Sets the audit line's place aside, and what a recording needs; from here on the request is forwarded. `also`: what else was
    /// admitted for it.
    pub(crate) fn keep(
        mut self,
        live: Live,
        also: &[Live],
        route: Arc<Route>,
    ) -> Result<Admitted, Box<Response<Download>>> {
        let level = |live: &Live| live.cell().recording();
        let demanded = also.iter().map(level).fold(level(&live), Ord::max);
        if self.draft.record_at(demanded).is_err() {
            let reason = DenyReason::AuditUnavailable;
            let detail = "the grant demands a recording, and nothing can be recorded; try again later";
            return Err(Box::new(self.refuse(reason, reason.status(), detail, None)));
        }
        let (request_id, trace, at, shape) = (self.id, self.trace, self.decided, self.shape);
        match self.draft.admit() {
            Ok(record) => {
                if route.service.durability == Durability::Buffered {
                    route.metrics.permit.inc();
                }
                Ok(Admitted { live, record, route, request_id, trace, at, shape })
            }
            Err(_) => {
                let reason = DenyReason::AuditUnavailable;
                route.metrics.deny(reason).inc();
                let detail = "the audit trail cannot be written; try again later";
                Err(Box::new(refuse(&Refusal::plain(reason, detail, request_id, &shape)).0))
            }
        }
    }

    /// It is this message of MCP: for the trail, and for what is said when it is refused.
    pub(crate) fn says(&mut self, received: &Received) {
        let Self { draft, shape, .. } = self;
        if let Some(called) = crate::proxy::mcp::called(received, draft) {
            draft.called(called);
        }
        shape.is_about(received);
    }

    /// If it is a batch, each request of it gets an answer of its own when it is refused.
    pub(crate) fn answers_each(&mut self, received: &Received) {
        self.shape.answers_each(received);
    }

    /// What it is refused for, if it is a batch: the request with this id, or else a message that is no request.
    pub(crate) fn is_refused_for(&mut self, id: Option<&Id>) {
        self.shape.is_refused_for(id);
    }
}

/// Why a request is not admitted right now.
enum Hindrance {
    Denied(Denial),
    NeedsUse(Arc<Cell>),
}

impl From<Denial> for Hindrance {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

fn protocol(version: Version, form: Form) -> Protocol {
    match (form, version) {
        (Form::Grpc, _) => Protocol::Grpc,
        (Form::Http | Form::Upgrade, Version::HTTP_2) => Protocol::Http2,
        (Form::Http | Form::Upgrade, Version::HTTP_10) => Protocol::Http10,
        (Form::Http | Form::Upgrade, _) => Protocol::Http11,
    }
}

fn is_grpc(parts: &Parts) -> bool {
    let value = parts.headers.get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    value.is_some_and(|value| value.starts_with(b"application/grpc"))
}
