//! `[[service]]`.

use super::{duration, filled, path, user_token::user_token, value};
use crate::config::raw::{RawMcp, RawProtocol, RawService, split};
use crate::config::service::Address;
use crate::config::source::Source;
use crate::config::{HostHeader, IssuerConfig, Protocol, ServiceConfig, Transport, Upstream};
use crate::mcp::list::Hint;
use crate::mcp::rules::EndpointPath;
use crate::mcp::{Rules, Versions};
use crate::model::scope::Permission;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
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
    let (name, (upstreams, endpoint)) = (name?.0, upstreams?);
    let first = upstreams.first()?.clone();
    let transport = first.transport;
    let mut service = ServiceConfig::new(name, first);
    service.upstreams = upstreams;
    let stated = raw.protocol.as_ref().map(Spanned::span);
    if let Some(protocol) = raw.protocol {
        let span = protocol.span();
        service.protocol = match protocol.into_inner() {
            RawProtocol::Http => Protocol::Http,
            RawProtocol::Grpc => Protocol::Grpc,
            RawProtocol::Mcp => Protocol::Mcp,
        };
        if service.protocol == Protocol::Grpc && transport == Transport::Http {
            source.at(&span, "gRPC needs HTTP/2: write the upstream as `h2c://…` or `https://…`");
        }
    }
    speaks_mcp(source, &mut service, endpoint, raw.mcp, stated);
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
    service.durability = raw.durability.map_or(service.durability, Spanned::into_inner);
    if let (Some(file), Transport::Http | Transport::H2c) = (&raw.upstream_ca, transport) {
        source
            .at(&file.span(), "has no effect without TLS: write the upstream as `https://…` or remove this");
    }
    service.upstream_ca = path(source, raw.upstream_ca);
    Some(service)
}

fn upstreams(
    source: &mut Source<'_>,
    list: Spanned<Vec<crate::config::text::Text<Address>>>,
) -> Option<(Box<[Upstream]>, Option<EndpointPath>)> {
    let items: Vec<(Address, Range<usize>)> =
        filled(source, list, "nothing could be forwarded: name an upstream");
    let (transport, mcp) = items.first().map(|(first, _)| (first.upstream.transport, first.mcp.clone()))?;
    for (Address { upstream, mcp: path }, span) in &items {
        if *path != mcp {
            source.at(span, "the upstreams of a service have one MCP endpoint path, or none");
        }
        if upstream.transport != transport {
            source.at(
                span,
                format!("the upstreams of a service are all of one kind, here `{}://`", transport.scheme()),
            );
        }
    }
    Some((items.into_iter().map(|(address, _)| address.upstream).collect(), mcp))
}

/// The smallest and largest message that may be asked for, and the deepest.
const MESSAGE_BYTES: std::ops::RangeInclusive<usize> = 1_024..=64 << 20;
/// Each list is so much longer.
const MOST_REQUESTABLE: usize = 64;
const MESSAGE_DEPTH: std::ops::RangeInclusive<u16> = 8..=128;

/// What is said about MCP: by the upstream's URL, by `protocol`, by `[service.mcp]`.
fn speaks_mcp(
    source: &mut Source<'_>,
    service: &mut ServiceConfig,
    endpoint: Option<EndpointPath>,
    raw: Option<Spanned<RawMcp>>,
    stated: Option<Range<usize>>,
) {
    match (&stated, service.protocol) {
        (Some(span), Protocol::Http | Protocol::Grpc) if endpoint.is_some() => {
            source
                .at(span, "the upstream is written as `mcp+…`: `mcp` is the protocol, or remove the prefix");
        }
        _ => {}
    }
    if service.protocol != Protocol::Mcp && endpoint.is_none() {
        if let Some(raw) = raw {
            source.at(&raw.span(), "has no effect: write `protocol = \"mcp\"` or remove this");
        }
        return;
    }
    if service.upstreams.first().is_some_and(|upstream| upstream.transport == Transport::H2c) {
        let says = "MCP is spoken over `http://…` or `https://…`";
        stated.iter().for_each(|span| source.at(span, says));
    }
    let mut rules = endpoint.clone().map(Rules::new).unwrap_or_default();
    if let Some(raw) = raw {
        let raw = raw.into_inner();
        if let Some((path, span)) = raw.path.map(split) {
            if endpoint.is_some_and(|endpoint| endpoint != path) {
                source.at(&span, "the upstream's URL names another path: remove one of them");
            }
            rules.path = path;
        }
        if let Some(list) = raw.versions {
            let listed = filled(source, list, "nothing could be spoken: name a version, or remove the key");
            rules.versions =
                Versions::of(listed.into_iter().map(|(version, _)| version)).unwrap_or(rules.versions);
        }
        rules.origins =
            raw.allowed_origins.unwrap_or_default().into_iter().map(|text| split(text).0).collect();
        if let Some(bytes) = raw.message_bytes {
            rules.limits.body_bytes = within(source, bytes, MESSAGE_BYTES);
        }
        if let Some(depth) = raw.message_depth {
            rules.limits.depth = within(source, depth, MESSAGE_DEPTH);
        }
        let hints = raw.list_hint.unwrap_or_default();
        let named = raw.requestable.map(|list| requestable(source, service, list, hints)).unwrap_or_default();
        rules.hint = hints.then(|| Arc::new(Hint::new(named)));
    }
    service.speaks_mcp(rules);
}

/// What lists name as what may be asked for: of this service, in the form of docs/scope.md.
fn requestable(
    source: &mut Source<'_>,
    service: &ServiceConfig,
    list: Spanned<Vec<crate::config::text::Text<Permission>>>,
    hints: bool,
) -> Vec<Permission> {
    let span = list.span();
    if !hints {
        source.at(&span, "has no effect: write `list_hint = true` or remove this");
    }
    let listed = filled(source, list, "name what may be asked for, or remove the key");
    if listed.len() > MOST_REQUESTABLE {
        source.at(&span, format!("expected at most {MOST_REQUESTABLE} permissions"));
    }
    for (permission, span) in &listed {
        let own =
            matches!(permission, Permission::Mcp(_)) && *permission.locations() == [service.name.clone()];
        if !own {
            source.at(span, format!("expected a permission of MCP for `{}` alone", service.name));
        }
    }
    listed.into_iter().map(|(permission, _)| permission).collect()
}

pub(super) fn within<N: Copy + PartialOrd + std::fmt::Display>(
    source: &mut Source<'_>,
    value: Spanned<N>,
    allowed: std::ops::RangeInclusive<N>,
) -> N {
    if !allowed.contains(value.as_ref()) {
        source.at(&value.span(), format!("expected {} to {}", allowed.start(), allowed.end()));
    }
    value.into_inner()
}
