//! `[[service]]`.

use super::{duration, filled, path, user_token::user_token, value};
use crate::config::raw::{RawProtocol, RawService, split};
use crate::config::source::Source;
use crate::config::{HostHeader, IssuerConfig, Protocol, ServiceConfig, Transport, Upstream};
use std::collections::BTreeSet;
use std::ops::Range;
use toml::Spanned;

/// The services of the file and those of the command line; names and hosts unique.
pub(super) fn services(
    source: &mut Source<'_>,
    raw: Vec<Spanned<RawService>>,
    given: Vec<ServiceConfig>,
    domains: &[String],
    issuers: &[IssuerConfig],
) -> Vec<ServiceConfig> {
    let mut taken = BTreeSet::new();
    let mut services = Vec::with_capacity(raw.len() + given.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let span = raw.span();
        if let Some(service) = service(source, index, raw.into_inner(), issuers) {
            for host in selected_by(&service, domains) {
                if !taken.insert(host.clone()) {
                    source.at(&span, format!("`{host}` already selects another service: choose another"));
                }
            }
            services.push(service);
        }
    }
    for service in given {
        let free = selected_by(&service, domains).into_iter().all(|host| taken.insert(host));
        if !free {
            source.whole("--service", format!("`{}` is there already: choose another name", service.name));
        }
        services.push(service);
    }
    services
}

/// Everything that selects this service: its name itself counts, so that names are unique also without domains.
fn selected_by(service: &ServiceConfig, domains: &[String]) -> Vec<String> {
    let by_domain = domains.iter().map(|domain| format!("{}.{domain}", service.name));
    std::iter::once(format!("{} (name)", service.name))
        .chain(by_domain)
        .chain(service.hosts.iter().cloned())
        .collect()
}

fn service(
    source: &mut Source<'_>,
    index: usize,
    mut raw: RawService,
    issuers: &[IssuerConfig],
) -> Option<ServiceConfig> {
    let user_token = user_token(source, index, &mut raw, issuers);
    let name = raw.name.map(split);
    if name.is_none() {
        source.missing(&format!("service[{index}].name"), super::access::SERVICE_NAME);
    }
    let upstreams = match raw.upstream {
        Some(list) => upstreams(source, list),
        None => {
            source
                .missing(&format!("service[{index}].upstream"), "for instance `[\"http://127.0.0.1:8080\"]`");
            None
        }
    };
    let (name, upstreams) = (name?.0, upstreams?);
    let first = upstreams.first()?.clone();
    let transport = first.transport;
    let mut service = ServiceConfig::new(name, first);
    service.upstreams = upstreams;
    if let Some(protocol) = raw.protocol {
        let span = protocol.span();
        service.protocol = match protocol.into_inner() {
            RawProtocol::Http => Protocol::Http,
            RawProtocol::Grpc => Protocol::Grpc,
        };
        if service.protocol == Protocol::Grpc && transport == Transport::Http {
            source.at(&span, "gRPC needs HTTP/2: write the upstream as `h2c://…` or `https://…`");
        }
    }
    service.hosts = raw.hosts.into_iter().map(|host| split(host).0.0).collect();
    service.listen = value(raw.listen);
    if raw.preserve_host == Some(true) {
        service.host_header = HostHeader::Preserve;
    }
    service.connect_timeout = duration(raw.connect_timeout, service.connect_timeout);
    service.first_byte_timeout = duration(raw.first_byte_timeout, service.first_byte_timeout);
    service.idle_timeout = duration(raw.idle_timeout, service.idle_timeout);
    service.max_connections = raw.max_connections.map_or(service.max_connections, usize::from);
    service.token_required = raw.token_required.unwrap_or(service.token_required);
    service.user_token = user_token;
    service.forward_authorization = raw.forward_authorization.unwrap_or(service.forward_authorization);
    if let (Some(file), Transport::Http | Transport::H2c) = (&raw.upstream_ca, transport) {
        source
            .at(&file.span(), "has no effect without TLS: write the upstream as `https://…` or remove this");
    }
    service.upstream_ca = path(source, raw.upstream_ca);
    Some(service)
}

fn upstreams(
    source: &mut Source<'_>,
    list: Spanned<Vec<crate::config::text::Text<Upstream>>>,
) -> Option<Box<[Upstream]>> {
    let items: Vec<(Upstream, Range<usize>)> =
        filled(source, list, "nothing could be forwarded: name an upstream");
    let transport = items.first()?.0.transport;
    for (upstream, span) in &items {
        if upstream.transport != transport {
            source.at(
                span,
                format!("the upstreams of a service are all of one kind, here `{}://`", transport.scheme()),
            );
        }
    }
    Some(items.into_iter().map(|(upstream, _)| upstream).collect())
}
