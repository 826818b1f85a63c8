//! Which service a request is for: by the listener it came in on, by host name, or because there is only one.
//!
//! For a caller without a grant the answer must depend on the bytes of the request alone (law 11). So the name shown to it is
//! always taken from the Host, whether a service of that name exists or not.

use crate::access::view::{HostBuffer, host_label};
use crate::config::ServiceConfig;
use crate::model::ServiceName;
use crate::proxy::user::{Demand, Issuers};
use crate::runtime::metrics::{Metrics, ServiceMetrics};
use http::HeaderValue;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A protected service as requests see it.
pub(crate) struct Route {
    /// Position among the services; each worker keeps its connections by it.
    pub(crate) index: usize,
    pub(crate) service: ServiceConfig,
    /// The `Host` that its upstream gets to see, unless the caller's is preserved.
    pub(crate) host: HeaderValue,
    pub(crate) metrics: Arc<ServiceMetrics>,
    /// What it demands to know of its users.
    pub(crate) user: Option<Demand>,
    /// So much at once is it told by the gate itself.
    pub(crate) telling: Arc<Semaphore>,
}

/// What a service is told by the gate itself: so much at once.
const TELLING: usize = 32;

/// A service demands tokens of an issuer that is not configured.
#[derive(Debug)]
pub(crate) struct UnknownIssuer(pub(crate) ServiceName);

impl Route {
    pub(crate) fn name(&self) -> &ServiceName {
        &self.service.name
    }
}

/// What a request is for.
pub(crate) struct Selected<'a> {
    /// The service as named in scopes; an invented one has a name too.
    pub(crate) service: &'a str,
    /// The name that a caller without a grant gets to see.
    pub(crate) shown: &'a str,
    /// Where it leads, if anywhere.
    pub(crate) route: Option<&'a Arc<Route>>,
}

/// All services by the names that select them.
pub(crate) struct Router {
    by_label: HashMap<Box<str>, Arc<Route>, foldhash::quality::RandomState>,
    routes: Box<[Arc<Route>]>,
    domains: Box<[String]>,
}

impl Router {
    pub(crate) fn new(
        services: &[ServiceConfig],
        domains: &[String],
        issuers: &Issuers,
        metrics: &Metrics,
    ) -> Result<Self, UnknownIssuer> {
        let routes: Box<[_]> = services
            .iter()
            .enumerate()
            .map(|(index, service)| {
                let authority =
                    service.upstreams.first().map(|upstream| upstream.authority()).unwrap_or_default();
                let user = match &service.user_token {
                    None => None,
                    Some(rule) => {
                        Some(issuers.demand(rule).ok_or_else(|| UnknownIssuer(service.name.clone()))?)
                    }
                };
                Ok(Arc::new(Route {
                    index,
                    service: service.clone(),
                    host: HeaderValue::from_str(&authority).unwrap_or(HeaderValue::from_static("localhost")),
                    metrics: metrics.service(&service.name),
                    user,
                    telling: Arc::new(Semaphore::new(TELLING)),
                }))
            })
            .collect::<Result<_, _>>()?;
        let mut by_label = HashMap::default();
        for route in &routes {
            by_label.insert(Box::from(route.name().as_str()), Arc::clone(route));
            for host in &route.service.hosts {
                let mut buffer: HostBuffer = [0; 253];
                by_label.insert(Box::from(host_label(host, domains, &mut buffer)), Arc::clone(route));
            }
        }
        Ok(Self { by_label, routes, domains: domains.into() })
    }

    pub(crate) fn routes(&self) -> &[Arc<Route>] {
        &self.routes
    }

    /// What a request with this authority is for, when it came in on the listener `own` of one service or on a shared one.
    pub(crate) fn select<'a>(
        &'a self,
        own: Option<&'a Arc<Route>>,
        authority: &'a str,
        buffer: &'a mut HostBuffer,
    ) -> Selected<'a> {
        let label = host_label(authority, &self.domains, buffer);
        let route = own.or_else(|| self.by_label.get(label)).or_else(|| self.only(authority, label));
        Selected { service: route.map_or(label, |route| route.name().as_str()), shown: label, route }
    }

    /// The only service, for a host that is not itself the name of a service (`NAME.<domain>`).
    fn only(&self, authority: &str, label: &str) -> Option<&Arc<Route>> {
        let names_a_service = authority.len() > label.len()
            && authority.get(label.len()..).is_some_and(|rest| rest.starts_with('.'));
        match &*self.routes {
            [only] if !names_a_service => Some(only),
            _ => None,
        }
    }
}
