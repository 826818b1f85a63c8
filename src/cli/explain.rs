//! `jitgate explain`: would this call be permitted now, and why: every grant and every permission that was looked at.
//!
//! The grants come from the control plane; the verdict is made here by the very function that the proxy uses. What only a proxy
//! knows (limits used up there, its ceilings, its lease) is said to be unknown; which tokens a service demands is known of a running `up`.

mod findings;

use super::client::{Client, query, with_client};
use super::connection::Connection;
use super::output::{self, Output};
use super::{Failure, grants};
use crate::access::view::HostBuffer;
use crate::access::{Request, Table, UserProof, Verdict, View, decide, host_label};
use crate::config::Ceilings;
use crate::model::json::Object;
use crate::model::strict::Unique;
use crate::model::{
    Change, Delta, DenyReason, EndCause, Grant, GrantId, McpCall, Revision, ServiceName, SpiffeId, TaskId,
    Time, UserId,
};
use crate::runtime::clock::wall;
use findings::{Finding, KnownGrant};
use http::{Method, Uri, header};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;

/// Explain why a call would be permitted or denied now
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
jitgate explain --principal spiffe://jitgate.local/agent/demo GET https://orders.localhost:8443/v1/orders\n  \
jitgate explain --principal spiffe://jitgate.local/agent/demo --service stock --grpc \\\n    \
POST https://gate.example/inventory.v1.Stock/Get --output json\n  \
jitgate explain --principal spiffe://jitgate.local/agent/demo --mcp tools/call --name restart_service \\\n    \
--arguments '{\"server\":\"srv-7\"}' POST https://ops.localhost:8443/mcp\n\n\
It ends with 0 whether the call would be permitted or not: look at `decision`.")]
pub(super) struct Explain {
    /// Who would call
    #[arg(long)]
    principal: SpiffeId,
    /// With this `jitgate-task` header
    #[arg(long)]
    task: Option<TaskId>,
    /// The service, where it is not chosen by host name
    #[arg(long)]
    service: Option<ServiceName>,
    /// With a valid token of this grant
    #[arg(long, value_name = "GRANT")]
    token: Option<GrantId>,
    /// With a valid token that names this user, where the service demands to know
    #[arg(long, value_name = "SUBJECT")]
    user: Option<String>,
    /// The service has `token_required` [default: as the running `up` says]
    #[arg(long)]
    token_required: bool,
    /// The service has a `user_token` of this issuer [default: as the running `up` says]
    #[arg(long, value_name = "ISSUER")]
    user_token: Option<String>,
    /// From this address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    source: IpAddr,
    /// At this time [default: now, by this machine's clock]
    #[arg(long, value_name = "TIME")]
    at: Option<Time>,
    /// As a gRPC call
    #[arg(long)]
    grpc: bool,
    /// As an MCP request of this method, for instance `tools/call`
    #[arg(long, value_name = "METHOD", conflicts_with = "grpc")]
    mcp: Option<String>,
    /// The tool, prompt or URI that the MCP request names
    #[arg(long, value_name = "NAME", requires = "mcp")]
    name: Option<String>,
    /// The arguments of the MCP request, a JSON object
    #[arg(long, value_name = "JSON", requires = "mcp", value_parser = arguments)]
    arguments: Option<CallArguments>,
    /// Method, for instance `GET`
    method: Method,
    /// Where to, for instance `https://orders.localhost:8443/v1/orders`
    url: Uri,
}

/// The arguments of a call.
#[derive(Debug, Clone)]
struct CallArguments(Object);

fn arguments(text: &str) -> Result<CallArguments, String> {
    match serde_json::from_str(text) {
        Ok(Unique(Value::Object(arguments))) => Ok(CallArguments(arguments.into())),
        Ok(_) => Err("expected a JSON object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The tokens that a service demands.
struct Demands {
    token: bool,
    /// Whether it demands one of its user, and whom that names.
    user: Option<Option<UserId>>,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Explanation {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    principal: SpiffeId,
    service: String,
    method: String,
    path: String,
    at: Time,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    required: Vec<crate::model::Permission>,
    looked_at: Vec<Finding>,
}

impl Explain {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        let parts = self.parts()?;
        let service = self.service(connection)?;
        let grants = with_client(connection, async |client| self.grants(client).await)?;
        let demands = self.demands(connection, &service);
        let explanation = self.explain(&parts, (service, demands), &grants);
        match output {
            Output::Json => output::json(&explanation),
            Output::Table => show(&explanation),
        }
    }

    /// The request as a proxy would get it.
    fn parts(&self) -> Result<http::request::Parts, Failure> {
        let authority = self.url.authority().ok_or_else(|| Failure::usage("the URL has no host"))?;
        let target = self.url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = http::Request::builder()
            .method(self.method.clone())
            .uri(target)
            .header(header::HOST, authority.as_str());
        if let Some(task) = &self.task {
            request = request.header("jitgate-task", task.as_str());
        }
        if self.grpc {
            request = request.header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
        }
        let (parts, ()) = request.body(()).map_err(Failure::usage)?.into_parts();
        Ok(parts)
    }

    /// The service that the URL chooses: by the running `up` where there is one, else by the first label of `localhost`.
    fn service(&self, connection: &Connection) -> Result<String, Failure> {
        if let Some(service) = &self.service {
            return Ok(service.to_string());
        }
        let state = connection.local();
        let domains =
            state.as_ref().map_or_else(|| vec!["localhost".to_owned()], |state| state.domains.clone());
        let authority = self.url.authority().map_or("", http::uri::Authority::as_str);
        let host = self.url.host().unwrap_or_default().to_ascii_lowercase();
        let services = state.map(|state| state.services).unwrap_or_default();
        let port = self.url.port_u16();
        let own = services.iter().find(|service| {
            service.hosts.contains(&host)
                || service.listen.is_some_and(|listen| Some(listen.port()) == port && listen.port() != 0)
        });
        let mut buffer: HostBuffer = [0; 253];
        let label = host_label(authority, &domains, &mut buffer);
        Ok(match (own, services.as_slice()) {
            (Some(service), _) => service.name.to_string(),
            // A single service is the only one, unless the host is itself the name of a service.
            (None, [only]) if label.len() == host.len() => only.name.to_string(),
            (None, _) => label.to_owned(),
        })
    }

    /// The tokens that the service demands.
    fn demands(&self, connection: &Connection, service: &str) -> Demands {
        let state = connection.local();
        let services = state.map(|state| state.services).unwrap_or_default();
        let known = services.into_iter().find(|known| known.name.as_str() == service);
        let (token, user) =
            known.map_or((false, None), |service| (service.token_required, service.user_token));
        let user = self.user_token.clone().or(user).map(|issuer| {
            let subject = self.user.clone();
            subject.map(|subject| UserId { issuer, subject })
        });
        Demands { token: self.token_required || token, user }
    }

    async fn grants(&self, client: &mut Client) -> Result<Vec<KnownGrant>, Failure> {
        let principal = Some(self.principal.to_string());
        let page = [("principal", principal), ("state", Some("all".to_owned()))];
        let found: Vec<Value> = grants::pages(client, &query("/v1/grants", page)).await?;
        found.into_iter().map(KnownGrant::read).collect::<Result<_, _>>().map_err(Failure::failed)
    }

    fn explain(
        &self,
        parts: &http::request::Parts,
        (service, demands): (String, Demands),
        grants: &[KnownGrant],
    ) -> Explanation {
        let now = self.at.unwrap_or_else(wall);
        let mut explanation = Explanation {
            decision: "deny",
            reason: None,
            detail: None,
            grant: None,
            principal: self.principal.clone(),
            service,
            method: self.method.to_string(),
            path: parts.uri.path().to_owned(),
            at: now,
            required: Vec::new(),
            looked_at: Vec::new(),
        };
        let view = match View::of(parts) {
            Ok(view) => view,
            Err(unclear) => {
                explanation.reason = Some(unclear.reason.as_str());
                explanation.detail = Some(unclear.detail);
                return explanation;
            }
        };
        let call = self.mcp.as_ref().map(|method| McpCall {
            method,
            name: self.name.as_deref(),
            arguments: self.arguments.as_ref().map(|CallArguments(arguments)| arguments),
        });
        let request = Request {
            service: &explanation.service,
            view: &view,
            call: call.as_ref(),
            only: None,
            source: self.source,
            token: self.token,
            token_required: demands.token,
            user: match &demands.user {
                None => UserProof::NotDemanded,
                Some(None) => UserProof::Missing,
                Some(Some(user)) => UserProof::Proven(user),
            },
        };
        match verdict(&self.principal, grants, &request, now) {
            Ok(Verdict::Permit(permit)) => {
                explanation.decision = "permit";
                explanation.grant = Some(permit.cell().id().to_string());
            }
            Ok(Verdict::Deny(denial)) => {
                explanation.reason = Some(denial.reason.as_str());
                explanation.grant = denial.nearest.map(|id| id.to_string());
            }
            Err(()) => explanation.reason = Some(DenyReason::Stale.as_str()),
        }
        explanation.looked_at = grants.iter().map(|grant| Finding::of(grant, &request, now)).collect();
        explanation.required = findings::required(&request);
        explanation
    }
}

/// The verdict of the proxy's own table and decision.
fn verdict(
    principal: &SpiffeId,
    grants: &[KnownGrant],
    request: &Request<'_>,
    now: Time,
) -> Result<Verdict, ()> {
    // No ceilings: they are each proxy's own.
    let table =
        Table::new(Ceilings { max_ttl: Ceilings::MAX_TTL, trust_domains: None, methods: None, tools: None });
    let issued = grants.iter().map(|known| Change::Issued(Arc::new(known.grant.clone())));
    let ended = grants.iter().filter_map(|known| {
        let (cause, at) = known.ended?;
        Some(Change::Ended { grant: known.grant.id, cause, at })
    });
    let revision = grants.iter().map(|known| known.grant.revision).max().unwrap_or(Revision(1));
    let delta = Delta { revision, changes: issued.chain(ended).collect() };
    table.apply(&delta, now).map_err(|_| ())?;
    let slot = table.slot(principal);
    Ok(decide(&slot.load(), request, now))
}

fn show(explanation: &Explanation) -> Result<(), Failure> {
    let reason = explanation.reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let required: Vec<String> = explanation.required.iter().map(ToString::to_string).collect();
    output::fields([
        ("decision", format!("{}{reason}", explanation.decision)),
        ("detail", explanation.detail.unwrap_or_default().to_owned()),
        ("grant", explanation.grant.clone().unwrap_or_default()),
        ("service", explanation.service.clone()),
        ("would be enough", if explanation.decision == "deny" { required.join("\n") } else { String::new() }),
    ])?;
    output::line("")?;
    if explanation.looked_at.is_empty() {
        return output::line("no grant of this principal is known");
    }
    let rows = explanation.looked_at.iter().flat_map(|finding| {
        let id = finding.grant.to_string();
        let task = finding.task.to_string();
        let rule = |rule: &findings::Rule| {
            [
                id.clone(),
                task.clone(),
                rule.rule.clone(),
                if rule.holds { "yes" } else { "no" }.to_owned(),
                rule.why.clone(),
            ]
        };
        finding.rules.iter().map(rule).collect::<Vec<_>>()
    });
    output::table(["GRANT", "TASK", "RULE", "HOLDS", "WHY"], rows)
}

/// A grant that a control plane knows, and how it ended.
impl KnownGrant {
    fn read(mut value: Value) -> Result<Self, serde_json::Error> {
        let mut ended = None;
        if let Some(object) = value.as_object_mut() {
            // What is told beside the grant itself.
            for key in ["state", "issued_by", "issued_at", "reason"] {
                object.remove(key);
            }
            if let Some(end) = object.remove("ended") {
                let cause: EndCause = serde_json::from_value(end.get("cause").cloned().unwrap_or_default())?;
                let at: Time = serde_json::from_value(end.get("at").cloned().unwrap_or_default())?;
                ended = Some((cause, at));
            }
        }
        let grant: Grant = serde_json::from_value(value)?;
        Ok(Self { grant, ended })
    }
}
