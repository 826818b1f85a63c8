//! What a scope asks for, as questions to policies: each action at each service once, with the paths asked for with it.
//!
//! Two permissions with the same action at the same service are one question. A wildcard is asked as itself (`*` is "any other") and
//! also as every action that it covers and that policies could tell apart: each standard method, and what the policies spell out. So
//! a policy about `DELETE` also meets `*`.
//!
//! Bounded before anything is unfolded: a permission is a product of lists, so a small scope can stand for a billion questions.

use crate::model::scope::{McpTarget, Methods};
use crate::model::{Permission, Scope, ServiceName};
use std::collections::{BTreeMap, BTreeSet};

/// Most questions of one scope.
pub(super) const MAX_QUESTIONS: usize = 1_024;
/// Most steps of unfolding one scope, and most paths over all its questions.
const MAX_WORK: usize = 250_000;

/// By what a service is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Http,
    Grpc,
    Mcp,
}

impl Protocol {
    /// The name in policies.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
            Self::Mcp => "mcp",
        }
    }
}

/// One action at one service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked<'s> {
    pub(super) service: &'s ServiceName,
    pub(super) protocol: Protocol,
    pub(super) method: &'s str,
}

/// Every question of a scope, with the path patterns of each.
pub(super) type Questions<'s> = BTreeMap<Asked<'s>, BTreeSet<&'s str>>;

/// The scope stands for more than is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Actions that policies spell out, sorted: what a wildcard is also asked as.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelt(BTreeSet<String>);

impl Spelt {
    /// Notes a text of a policy, if it could be an action.
    pub(super) fn note(&mut self, text: &str) {
        let method =
            !text.is_empty() && text.bytes().all(|b| b.is_ascii_uppercase() || b == b'-' || b == b'_');
        if text.len() <= 1_024 && (method || text.starts_with('/')) {
            self.0.insert(text.to_owned());
        }
    }
}

/// Unfolds a scope.
pub(super) fn questions<'s>(scope: &'s Scope, spelt: &'s Spelt) -> Result<Questions<'s>, TooMuch> {
    let mut questions = Questions::new();
    let mut work = 0_usize;
    for permission in scope.permissions() {
        let (protocol, methods, paths) = parts(permission, spelt);
        let each = methods.len().saturating_mul(paths.len().max(1));
        work = work.saturating_add(each.saturating_mul(permission.locations().len()));
        if work > MAX_WORK {
            return Err(TooMuch);
        }
        for service in permission.locations() {
            for method in &methods {
                let asked = questions.entry(Asked { service, protocol, method }).or_default();
                asked.extend(paths.iter().copied());
            }
            if questions.len() > MAX_QUESTIONS {
                return Err(TooMuch);
            }
        }
    }
    Ok(questions)
}

/// The longest text that every path of these patterns starts with; empty for none.
pub(super) fn prefix<'s>(paths: &BTreeSet<&'s str>) -> &'s str {
    // A literal `*` is written `%2A`.
    let literal = |path: &&'s str| path.split('*').next().unwrap_or_default();
    let mut prefixes = paths.iter().map(literal);
    let first = prefixes.next().unwrap_or_default();
    prefixes.fold(first, |all, next| {
        let same = all.char_indices().zip(next.chars()).take_while(|((_, a), b)| a == b);
        let end = same.last().map_or(0, |((at, a), _)| at + a.len_utf8());
        all.get(..end).unwrap_or_default()
    })
}

fn parts<'s>(permission: &'s Permission, spelt: &'s Spelt) -> (Protocol, Vec<&'s str>, Vec<&'s str>) {
    match permission {
        Permission::Http(http) => {
            let mut methods = http.methods().names();
            if http.methods().is_any() {
                methods.extend(Methods::KNOWN);
                let others = spelt.0.iter().map(String::as_str).filter(|text| !text.starts_with('/'));
                methods.extend(others.filter(|text| Methods::bit(text).is_none()));
            }
            let paths = http.paths().iter().map(|path| path.as_str()).collect();
            (Protocol::Http, methods, paths)
        }
        Permission::Grpc(grpc) => {
            let mut methods: Vec<&str> = grpc.actions().texts().collect();
            if methods.iter().any(|method| method.ends_with('*')) {
                methods.extend(spelt.0.iter().map(String::as_str).filter(|text| grpc.permits(text)));
            }
            (Protocol::Grpc, methods, Vec::new())
        }
        Permission::Mcp(mcp) => {
            let mut methods: Vec<&str> = mcp.actions().texts().collect();
            if methods == ["*"] {
                methods.extend(McpTarget::METHODS.map(|(method, _)| method));
            }
            (Protocol::Mcp, methods, Vec::new())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scope: &[&str], spelt: &[&str]) -> Vec<String> {
        let scope = Scope::parse_all(scope).unwrap();
        let mut known = Spelt::default();
        spelt.iter().for_each(|text| known.note(text));
        let questions = questions(&scope, &known).unwrap();
        questions
            .iter()
            .map(|(asked, paths)| {
                let paths: Vec<_> = paths.iter().copied().collect();
                format!("{} {} {}", asked.service, asked.method, paths.join(","))
            })
            .collect()
    }

    #[test]
    fn an_action_at_a_service_is_one_question_with_all_its_paths() {
        let asked = shown(&["a:GET,HEAD:/x", "a,b:GET:/y", "a:/p.S/M"], &[]);
        assert_eq!(asked, ["a GET /x,/y", "a HEAD /x", "a /p.S/M ", "b GET /y"]);
    }

    #[test]
    fn a_wildcard_is_asked_as_everything_that_policies_could_tell_apart() {
        let asked = shown(&["a:*:/**"], &["PURGE", "DELETE", "/p.S/M", "purge"]);
        assert_eq!(asked.len(), Methods::KNOWN.len() + 2, "{asked:?}");
        for method in ["*", "DELETE", "PURGE", "UPGRADE"] {
            assert!(asked.contains(&format!("a {method} /**")), "{method}");
        }
        assert_eq!(shown(&["a:/p.S/*"], &["/p.S/M", "/p.T/M"]), ["a /p.S/* ", "a /p.S/M "]);
        assert_eq!(shown(&["a:*"], &["/p.S/M", "GET"]), ["a * ", "a /p.S/M "]);
        assert_eq!(shown(&["a:/p.S/N"], &["/p.S/M"]), ["a /p.S/N "]);
    }

    #[test]
    fn what_all_paths_start_with() {
        for (paths, expected) in [
            (&["/v1/orders/*"][..], "/v1/orders/"),
            (&["/v1/orders/*", "/v1/orders/42/items"], "/v1/orders/"),
            (&["/v1/orders", "/v1/ordé", "/v1/ordê"], "/v1/ord"),
            (&["/v1/orders/**", "/**"], "/"),
            (&[], ""),
        ] {
            assert_eq!(prefix(&paths.iter().copied().collect()), expected, "{paths:?}");
        }
    }

    #[test]
    fn a_scope_that_stands_for_too_much_is_not_unfolded() {
        let names =
            |n: usize, start: &str| (0..n).map(|i| format!("{start}{i}")).collect::<Vec<_>>().join(",");
        let spelt = Spelt::default();
        let wide = format!("{}:{}:/x", names(900, "s"), names(900, "M"));
        assert_eq!(questions(&Scope::parse_all(&[&wide]).unwrap(), &spelt), Err(TooMuch));
        let many = format!("{}:GET,PUT:/x", names(513, "s"));
        assert_eq!(questions(&Scope::parse_all(&[&many]).unwrap(), &spelt), Err(TooMuch));
        let paths: Vec<String> = (0..10_000).map(|n| format!("orders:GET,HEAD:/v1/orders/{n}")).collect();
        let scope = Scope::parse_all(&paths).unwrap();
        assert_eq!(questions(&scope, &spelt).unwrap().len(), 2);
    }
}
