//! `user_token` of `[[service]]`.

use crate::config::IssuerConfig;
use crate::config::raw::{RawService, RawUserToken, split};
use crate::config::source::Source;
use crate::config::text::{FieldName, TokenParty};
use crate::config::user_token::{ClaimValue, UserTokenRule};
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;

/// What a service demands, if anything; `issuers` are those that the file names.
pub(super) fn user_token(
    source: &mut Source<'_>,
    index: usize,
    raw: &mut RawService,
    issuers: &[IssuerConfig],
) -> Option<UserTokenRule> {
    let key = |name: &str| format!("service[{index}].user_token.{name}");
    let demand = raw.user_token.take()?;
    let place = demand.span();
    let RawUserToken { issuer, audience, claims, header, forward } = demand.into_inner();
    let claims = claims_of(source, claims);
    let (header, named) = match header.map(split) {
        Some((FieldName(name), span)) => (name, span),
        None => (UserTokenRule::HEADER.to_owned(), place),
    };
    let forward = forward.unwrap_or_default();
    check_header(source, &header, &named, forward);
    if header == "authorization" && raw.token_required == Some(true) {
        source.at(
            &named,
            "`authorization` carries the token that `token_required` demands: choose another header",
        );
    }
    let Some((TokenParty(name), span)) = issuer.map(split) else {
        source.missing(&key("issuer"), "whose tokens: the `issuer` of an entry of `[[issuers]]`");
        return None;
    };
    let Some(known) = issuers.iter().find(|known| known.issuer == name) else {
        if !source.lost("issuers") {
            source.at(&span, format!("`{name}` is no issuer of `[[issuers]]`: add an entry with its keys"));
        }
        return None;
    };
    let audience = audience.map_or_else(|| known.audience.clone(), |text| split(text).0.0);
    Some(UserTokenRule { issuer: name, audience, claims, header, forward })
}

fn check_header(source: &mut Source<'_>, header: &str, span: &Range<usize>, forward: bool) {
    /// These frame a message, or are read or set by the proxy itself.
    const TAKEN: [&str; 14] = [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "jitgate-task",
        "proxy-authorization",
        "te",
        "trailer",
        "traceparent",
        "transfer-encoding",
        "upgrade",
    ];
    if TAKEN.contains(&header) || header.starts_with("x-forwarded-") || header.starts_with("x-jitgate-") {
        source.at(span, format!("`{header}` has a meaning of its own: choose another header"));
    } else if header.starts_with("jitgate-") && forward {
        source.at(
            span,
            format!("`{header}` never reaches a service: to forward the token, name another `header`"),
        );
    }
}

fn claims_of(
    source: &mut Source<'_>,
    raw: BTreeMap<String, Spanned<toml::Value>>,
) -> BTreeMap<String, ClaimValue> {
    let mut claims = BTreeMap::new();
    for (name, value) in raw {
        let span = value.span();
        let value = match value.into_inner() {
            toml::Value::String(text) => ClaimValue::Text(text),
            toml::Value::Integer(number) => ClaimValue::Number(number),
            toml::Value::Boolean(truth) => ClaimValue::Truth(truth),
            toml::Value::Float(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_)
            | toml::Value::Table(_) => {
                source.at(&span, "expected a text, a whole number, `true` or `false`");
                continue;
            }
        };
        claims.insert(name, value);
    }
    claims
}
