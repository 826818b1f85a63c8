//! `[proxy]` and its tables.

use super::service::within;
use super::{
    duration, export, filled, identity, path, recording, required, retention, service, trust, value, witness,
};
use crate::config::raw::{RawAudit, RawCeilings, RawControlLink, RawLimits, RawProxy, RawService, split};
use crate::config::source::Source;
use crate::config::text::HostName;
use crate::config::{
    AuditConfig, AuditTarget, Ceilings, ControlLink, DenialBudget, Durability, IssuerConfig, Limits,
    ProxyBase, ProxyConfig, RecordingConfig, ServiceConfig, TlsConfig, TrustFiles,
};
use crate::model::SpiffeId;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::ops::Range;
use toml::Spanned;

/// hyper needs this much for a request head over HTTP/1.1.
const HEADER_BYTES: std::ops::RangeInclusive<usize> = 8 * 1024..=1024 * 1024;

pub(in crate::config) fn proxy(
    source: &mut Source<'_>,
    raw: RawProxy,
    raw_services: Vec<Spanned<RawService>>,
    issuers: &[IssuerConfig],
    base: Option<ProxyBase>,
) -> Option<ProxyConfig> {
    let base = base.map_or_else(Base::default, Base::from);
    let listen = match (base.listen, raw.listen) {
        (Some(address), _) => Some(Box::new([address]) as Box<[_]>),
        (None, Some(list)) => {
            let items =
                filled(source, list, "nobody could connect: name an address such as `127.0.0.1:8443`");
            Some(items.into_iter().map(|(address, _)| address).collect())
        }
        (None, None) => Some(Box::new([ProxyConfig::LISTEN]) as Box<[_]>),
    };
    let domains: Box<[String]> = match raw.domains {
        Some(list) => list.into_iter().map(|domain| split(domain).0).map(|HostName(name)| name).collect(),
        None => Box::new([ProxyConfig::DOMAIN.to_owned()]),
    };
    let named = !raw_services.is_empty() || !base.services.is_empty();
    let given = if named { base.services } else { base.sample.into_iter().collect() };
    let none = !named && given.is_empty();
    let durable: Vec<_> = raw_services
        .iter()
        .filter_map(|service| service.get_ref().durability.as_ref())
        .filter(|durability| *durability.get_ref() == Durability::Durable)
        .map(Spanned::span)
        .collect();
    let services = service::services(source, raw_services, given, &domains, issuers);
    let demanded = |issuer: &&IssuerConfig| {
        let of = |service: &ServiceConfig| {
            service.user_token.as_ref().is_some_and(|demand| demand.issuer == issuer.issuer)
        };
        services.iter().any(of)
    };
    let issuers = issuers.iter().filter(demanded).cloned().collect();
    if none {
        source.missing("service", "add at least one `[[service]]` with `name` and `upstream`");
    }
    let identity = identity(source, "proxy", raw.identity, base.identity);
    let trust = trust(source, "proxy", raw.trust, base.trust);
    let control = control_link(source, raw.control, base.control, trust.as_ref());
    let audit = audit(source, raw.audit, base.audit, base.recording);
    if audit.as_ref().is_some_and(|audit| audit.target == AuditTarget::Stdout) {
        for place in durable {
            source.at(&place, "nothing is on disk with `stdout = true`: give the audit trail a `file`, or choose `buffered`");
        }
    }
    let limits = limits(source, raw.limits);
    let ceilings = ceilings(source, raw.ceilings, trust.as_ref());
    let workers = raw.workers.map(|workers| within(source, workers, ProxyConfig::WORKERS));
    let config = ProxyConfig {
        name: value(raw.name),
        listen: listen?,
        admin_listen: base.admin_listen.or(value(raw.admin_listen)).unwrap_or(ProxyConfig::ADMIN_LISTEN),
        workers: workers.and_then(NonZeroUsize::new),
        drain_timeout: duration(raw.drain_timeout, ProxyConfig::DRAIN_TIMEOUT),
        domains,
        access_request: value(raw.access_request),
        identity: identity?,
        trust: trust?,
        tls: TlsConfig {
            tls12: raw.tls.tls12.unwrap_or_default(),
            resumption: raw.tls.resumption.unwrap_or_default(),
        },
        control: control?,
        audit: audit?,
        limits,
        ceilings,
        services: services.into(),
        issuers,
    };
    listeners_differ(source, &config);
    Some(config)
}

/// [`ProxyBase`] with every part optional, so that both cases read the same.
#[derive(Default)]
struct Base {
    listen: Option<std::net::SocketAddr>,
    admin_listen: Option<std::net::SocketAddr>,
    identity: Option<crate::config::IdentityFiles>,
    trust: Option<TrustFiles>,
    control: Option<ControlLink>,
    audit: Option<AuditTarget>,
    recording: Option<RecordingConfig>,
    services: Vec<ServiceConfig>,
    sample: Option<ServiceConfig>,
}

impl From<ProxyBase> for Base {
    fn from(base: ProxyBase) -> Self {
        Self {
            listen: base.listen,
            admin_listen: base.admin_listen,
            identity: Some(base.identity),
            trust: Some(base.trust),
            control: Some(base.control),
            audit: Some(base.audit),
            recording: base.recording,
            services: base.services,
            sample: base.sample,
        }
    }
}

fn listeners_differ(source: &mut Source<'_>, config: &ProxyConfig) {
    let mut taken = BTreeSet::new();
    let own = config.services.iter().filter_map(|service| service.listen);
    for address in config.listen.iter().copied().chain([config.admin_listen]).chain(own) {
        if address.port() != 0 && !taken.insert(address) {
            source.whole("listen", format!("`{address}` is used twice: give each listener its own port"));
        }
    }
}

fn control_link(
    source: &mut Source<'_>,
    raw: Option<RawControlLink>,
    base: Option<ControlLink>,
    trust: Option<&TrustFiles>,
) -> Option<ControlLink> {
    let raw = match (raw, base) {
        (None, Some(base)) if !source.lost("proxy.control") => return Some(base),
        (raw, _) => raw.unwrap_or_default(),
    };
    if raw.endpoints.is_none() {
        source.missing("proxy.control.endpoints", "for instance `[\"https://127.0.0.1:8444\"]`");
    }
    let endpoints = raw.endpoints.map(|list| {
        let items = filled(source, list, "no grants could come: name the control plane's address");
        items.into_iter().map(|(endpoint, _)| endpoint).collect()
    });
    let place = raw.identity.as_ref().map(Spanned::span);
    let identity = required(
        source,
        "proxy.control.identity",
        "the SPIFFE ID that the control plane must prove",
        raw.identity,
    );
    if let (Some(id), Some(place)) = (&identity, place) {
        in_bundles(source, id, &place, trust);
    }
    Some(ControlLink { endpoints: endpoints?, identity: identity? })
}

fn in_bundles(source: &mut Source<'_>, id: &SpiffeId, place: &Range<usize>, trust: Option<&TrustFiles>) {
    if trust.is_some_and(|trust| !trust.bundles.contains_key(id.trust_domain())) {
        source.at(place, format!("there is no bundle for `{}` in `proxy.trust.bundles`", id.trust_domain()));
    }
}

fn audit(
    source: &mut Source<'_>,
    raw: Option<RawAudit>,
    base: Option<AuditTarget>,
    recording_base: Option<RecordingConfig>,
) -> Option<AuditConfig> {
    let raw = raw.unwrap_or_default();
    let stdout = raw.stdout.as_ref().is_some_and(|stdout| *stdout.get_ref());
    let target = match (path(source, raw.file), stdout, base) {
        (Some(_), true, _) => {
            let span = raw.stdout.map_or(0..0, |stdout| stdout.span());
            source.at(&span, "choose one: `file = \"…\"` or `stdout = true`");
            None
        }
        (Some(file), false, _) => Some(AuditTarget::File(file)),
        (None, true, _) => Some(AuditTarget::Stdout),
        (None, false, Some(base)) => Some(base),
        (None, false, None) => {
            source.missing("proxy.audit.file", "the file for the audit trail, or `stdout = true`");
            None
        }
    };
    let target = target?;
    let recording = recording::recording(source, raw.recording, recording_base, &target);
    if target == AuditTarget::Stdout && !raw.export.is_empty() {
        let hint = "exports are read from the files of the trail: set `file`, or leave them to whoever collects the output";
        source.missing("proxy.audit.file", hint);
    }
    if target == AuditTarget::Stdout && !raw.witness.is_empty() {
        source
            .missing("proxy.audit.file", "only a trail in files is a log that can be witnessed: set `file`");
    }
    let trail = match &target {
        AuditTarget::File(file) => Some(file.as_path()),
        AuditTarget::Stdout => None,
    };
    let exports = export::exports(source, "proxy.audit.export", raw.export, trail);
    let witnesses = witness::witnesses(source, "proxy.audit.witness", raw.witness);
    let default = AuditConfig::to(target);
    let rotate_bytes = raw.rotate_bytes.map_or(default.rotate_bytes, |bytes| bytes.into_inner().get());
    let retention = retention::retention(source, raw.retention, &default.target, rotate_bytes);
    Some(AuditConfig {
        rotate_bytes,
        rotate_every: duration(raw.rotate_every, default.rotate_every),
        compress: raw.compress.map_or(default.compress, Spanned::into_inner),
        queue_lines: raw.queue_lines.map_or(default.queue_lines, |lines| lines.into_inner().get()),
        denials: DenialBudget {
            lines_per_second: raw
                .denials
                .lines_per_second
                .map_or(default.denials.lines_per_second, |lines| lines.get()),
            burst: raw.denials.burst.map_or(default.denials.burst, |burst| burst.get()),
        },
        recording,
        exports,
        retention,
        witnesses,
        target: default.target,
    })
}

fn limits(source: &mut Source<'_>, raw: RawLimits) -> Limits {
    let default = Limits::default();
    let header_bytes = raw.header_bytes.map_or(default.header_bytes, |bytes| {
        if !HEADER_BYTES.contains(bytes.get_ref()) {
            source.at(&bytes.span(), format!("expected {} to {}", HEADER_BYTES.start(), HEADER_BYTES.end()));
        }
        bytes.into_inner()
    });
    Limits {
        connections: raw.connections.map_or(default.connections, NonZeroUsize::get),
        connections_per_principal: raw
            .connections_per_principal
            .map_or(default.connections_per_principal, NonZeroUsize::get),
        handshake_timeout: duration(raw.handshake_timeout, default.handshake_timeout),
        header_timeout: duration(raw.header_timeout, default.header_timeout),
        header_bytes,
        headers: raw.headers.map_or(default.headers, NonZeroUsize::get),
        idle_timeout: duration(raw.idle_timeout, default.idle_timeout),
        body_stall_timeout: duration(raw.body_stall_timeout, default.body_stall_timeout),
        write_stall_timeout: duration(raw.write_stall_timeout, default.write_stall_timeout),
        h2_streams: raw.h2_streams.map_or(default.h2_streams, |n| n.get()),
        h2_resets_per_second: raw.h2_resets_per_second.map_or(default.h2_resets_per_second, |n| n.get()),
        h2_control_frames_per_second: raw
            .h2_control_frames_per_second
            .map_or(default.h2_control_frames_per_second, |n| n.get()),
    }
}

fn ceilings(source: &mut Source<'_>, raw: RawCeilings, trust: Option<&TrustFiles>) -> Ceilings {
    let trust_domains = raw.trust_domains.map(|list| {
        let items = filled(source, list, "nobody could pass: remove the key to admit every trusted domain");
        for (domain, span) in &items {
            if trust.is_some_and(|trust| !trust.bundles.contains_key(&domain.0)) {
                source
                    .at(span, "nobody of it can connect: there is no bundle for it in `proxy.trust.bundles`");
            }
        }
        items.into_iter().map(|(domain, _)| domain.0.into()).collect()
    });
    let methods = raw.methods.map(|list| {
        let items = filled(source, list, "no request could pass: remove the key to admit every method");
        items.into_iter().map(|(method, _)| method.0).collect()
    });
    let tools = raw.tools.map(|list| {
        let items = filled(source, list, "no tool could be called: remove the key to admit every tool");
        items.into_iter().map(|(tool, _)| tool.0).collect()
    });
    Ceilings { max_ttl: value(raw.max_ttl).unwrap_or(Ceilings::MAX_TTL), trust_domains, methods, tools }
}
