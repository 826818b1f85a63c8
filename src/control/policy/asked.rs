//! What a scope asks for, as questions to policies: each action at each service once, with the paths asked for with it. Calls of MCP
//! tools are asked about tool by tool.
//!
//! Two permissions with the same action at the same service are one question. A wildcard is asked as itself (`*` is "any other") and
//! also as every action that it covers and that policies could tell apart: each standard method, and what the policies spell out. So
//! a policy about `DELETE` also meets `*`. Likewise any tool is asked as each one that the policies or the service's profile name.
//!
//! Bounded before anything is unfolded: a permission is a product of lists, so a small scope can stand for a billion questions.

use crate::model::scope::{Arguments, McpTarget, Methods, Names, Uris};
use crate::model::{Permission, Scope, ServiceName, ServiceProfile};
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
    /// The tool of a `tools/call`; `*` is any other.
    pub(super) tool: Option<&'s str>,
    pub(super) method: &'s str,
}

/// What is asked for with one action at one service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Extent<'s> {
    /// Path patterns; of MCP, patterns of resources.
    pub(super) paths: BTreeSet<&'s str>,
    /// Whether a call may have any arguments; none for what has no arguments.
    pub(super) any_arguments: Option<bool>,
}

/// Every question of a scope, with the extent of each.
pub(super) type Questions<'s> = BTreeMap<Asked<'s>, Extent<'s>>;

/// The scope stands for more than is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMuch;

/// Actions and tools that policies spell out, sorted: what a wildcard is also asked as.
#[derive(Debug, Clone, Default)]
pub(super) struct Spelt {
    methods: BTreeSet<String>,
    /// Whatever could be a tool, also as `SERVICE/TOOL`.
    tools: BTreeSet<String>,
    /// Whether a policy looks at the name of anything.
    pub(super) reads_names: bool,
}

impl Spelt {
    /// Notes a text of a policy, if it could be an action or a tool.
    pub(super) fn note(&mut self, text: &str) {
        if text.len() <= 1_024 && (looks_like_method(text) || text.contains('/')) {
            self.methods.insert(text.to_owned());
        }
        let visible = |c: char| !c.is_control() && !c.is_whitespace() && c != '*';
        if (1..=1_024).contains(&text.len()) && text.chars().all(visible) {
            self.tools.insert(text.to_owned());
        }
    }

    /// Methods of HTTP; of gRPC and MCP they have a slash.
    fn http(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(String::as_str).filter(|text| !text.contains('/'))
    }

    fn with_slash(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(String::as_str).filter(|text| text.contains('/'))
    }

    /// What could be the name of a tool of this service.
    fn tools<'s>(&'s self, service: &str) -> impl Iterator<Item = &'s str> {
        let start = format!("{service}/");
        let own = self.tools.iter().filter_map(move |text| text.strip_prefix(start.as_str()));
        let named = self.tools.iter().map(String::as_str).filter(|_| self.reads_names);
        own.filter(|tool| !tool.is_empty()).chain(named)
    }
}

/// A method of HTTP is any token (RFC 9110 section 5.6.2). Without a capital a text is a number, an address or an operator; with a
/// lower-case letter it is a word: those are no methods that anybody uses, and each would be one more question for every wildcard.
fn looks_like_method(text: &str) -> bool {
    let token = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"!#$%&'+-.^_`|~".contains(&b);
    text.bytes().all(token) && text.bytes().any(|b| b.is_ascii_uppercase())
}

/// Unfolds a scope. `services` are those that are known.
pub(super) fn questions<'s>(
    scope: &'s Scope,
    spelt: &'s Spelt,
    services: &'s BTreeMap<ServiceName, ServiceProfile>,
) -> Result<Questions<'s>, TooMuch> {
    let mut questions = Questions::new();
    let mut work = 0_usize;
    for permission in scope.permissions() {
        let Parts { protocol, methods, paths } = parts(permission, spelt);
        for service in permission.locations() {
            for method in &methods {
                let tools = tools(permission, method, spelt, services.get(service), service);
                work = work.saturating_add(tools.len().saturating_mul(paths.len().max(1)));
                if work > MAX_WORK {
                    return Err(TooMuch);
                }
                for tool in tools {
                    let extent = questions.entry(Asked { service, protocol, tool, method }).or_default();
                    extend(extent, permission, method, &paths);
                }
                if questions.len() > MAX_QUESTIONS {
                    return Err(TooMuch);
                }
            }
        }
    }
    Ok(questions)
}

fn extend<'s>(extent: &mut Extent<'s>, permission: &'s Permission, method: &str, paths: &[&'s str]) {
    let Permission::Mcp(mcp) = permission else {
        extent.paths.extend(paths.iter().copied());
        return;
    };
    let target = McpTarget::of(method);
    match target {
        McpTarget::Resource | McpTarget::Completion => extent.paths.extend(paths.iter().copied()),
        McpTarget::Tool | McpTarget::Prompt | McpTarget::Nothing => {}
    }
    if target.has_arguments() {
        let any = mcp.arguments().is_none_or(|arguments| *arguments == Arguments::Any);
        extent.any_arguments = Some(any || extent.any_arguments == Some(true));
    }
}

/// The tools that a method is asked about one by one; `[None]` for a method that has none.
fn tools<'s>(
    permission: &'s Permission,
    method: &str,
    spelt: &'s Spelt,
    profile: Option<&'s ServiceProfile>,
    service: &ServiceName,
) -> Vec<Option<&'s str>> {
    let Permission::Mcp(mcp) = permission else { return vec![None] };
    let Some(names) = mcp.tools().filter(|_| McpTarget::of(method) == McpTarget::Tool) else {
        return vec![None];
    };
    let mut tools: Vec<&str> = names.texts().collect();
    if *names == Names::Any {
        tools.extend(spelt.tools(service.as_str()));
        tools.extend(profile.into_iter().flat_map(|profile| profile.tools.keys().map(String::as_str)));
    }
    tools.into_iter().map(Some).collect()
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

struct Parts<'s> {
    protocol: Protocol,
    methods: Vec<&'s str>,
    paths: Vec<&'s str>,
}

fn parts<'s>(permission: &'s Permission, spelt: &'s Spelt) -> Parts<'s> {
    match permission {
        Permission::Http(http) => {
            let mut methods = http.methods().names();
            if http.methods().is_any() {
                methods.extend(Methods::KNOWN);
                methods.extend(spelt.http().filter(|text| Methods::bit(text).is_none()));
            }
            let paths = http.paths().iter().map(|path| path.as_str()).collect();
            Parts { protocol: Protocol::Http, methods, paths }
        }
        Permission::Grpc(grpc) => {
            let mut methods: Vec<&str> = grpc.actions().texts().collect();
            if methods.iter().any(|method| method.ends_with('*')) {
                methods.extend(spelt.with_slash().filter(|text| grpc.permits(text)));
            }
            Parts { protocol: Protocol::Grpc, methods, paths: Vec::new() }
        }
        Permission::Mcp(mcp) => {
            let mut methods: Vec<&str> = mcp.actions().texts().collect();
            if *mcp.actions() == Names::Any {
                methods.extend(McpTarget::METHODS.map(|(method, _)| method));
                methods.extend(spelt.with_slash().filter(|text| !text.starts_with('/')));
            }
            let paths = mcp.resources().into_iter().flat_map(Uris::texts).collect();
            Parts { protocol: Protocol::Mcp, methods, paths }
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
        known.reads_names = true;
        let services = [("m".parse().unwrap(), profile())].into();
        let questions = questions(&scope, &known, &services).unwrap();
        questions
            .iter()
            .map(|(asked, extent)| {
                let paths: Vec<_> = extent.paths.iter().copied().collect();
                let tool = asked.tool.map(|tool| format!(":{tool}")).unwrap_or_default();
                let any = if extent.any_arguments == Some(true) { "{*}" } else { "" };
                format!("{} {}{tool}{any} {}", asked.service, asked.method, paths.join(","))
            })
            .collect()
    }

    fn profile() -> ServiceProfile {
        ServiceProfile {
            owner: crate::model::Owner::Person("Ada".into()),
            sensitivity: crate::model::Sensitivity::Low,
            environment: None,
            labels: BTreeMap::new(),
            tools: [("drop".to_owned(), crate::model::Sensitivity::Critical)].into(),
            requestable: true,
        }
    }

    #[test]
    fn calls_are_asked_about_tool_by_tool() {
        let asked = shown(&["m:tools/call:a,b{}", "m:tools/call:b{*}", "m:resources/read:x:/a/*,x:/b"], &[]);
        assert_eq!(asked, ["m resources/read x:/a/*,x:/b", "m tools/call:a ", "m tools/call:b{*} "]);
        let asked = shown(&["m,n:tools/call:*{}"], &["m/stop", "rm", "DELETE me"]);
        let expected = ["*", "drop", "m/stop", "rm", "stop"].map(|tool| format!("m tools/call:{tool} "));
        assert_eq!(asked[..5], expected, "{asked:?}");
        assert_eq!(
            asked[5..],
            ["*", "m/stop", "rm"].map(|tool| format!("n tools/call:{tool} ")),
            "{asked:?}"
        );
        let json = r#"{"type":"mcp","locations":["m"],"actions":["*"],"tools":["a"],"resources":["x:/a"],"prompts":["p"],"arguments":true}"#;
        let asked = shown(&[json], &["tasks/get", "/p.S/M"]);
        for wanted in
            ["m * ", "m tasks/get ", "m tools/call:a{*} ", "m resources/read x:/a", "m prompts/get{*} "]
        {
            assert!(asked.contains(&wanted.to_owned()), "{wanted}: {asked:?}");
        }
        assert!(!asked.contains(&"m /p.S/M ".to_owned()) && !asked.iter().any(|asked| asked.contains(":*")));
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
        // Whatever a scope takes as a method, in capitals.
        let asked = shown(&["a:*:/**"], &["V2PURGE", "X.Y'Z", "A B", "10.1.2.3", ">=", "v2PURGE"]);
        assert_eq!(asked.len(), Methods::KNOWN.len() + 3, "{asked:?}");
        for method in ["V2PURGE", "X.Y'Z"] {
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
        let (spelt, none) = (Spelt::default(), BTreeMap::new());
        let wide = format!("{}:{}:/x", names(900, "s"), names(900, "M"));
        assert_eq!(questions(&Scope::parse_all(&[&wide]).unwrap(), &spelt, &none), Err(TooMuch));
        let many = format!("{}:GET,PUT:/x", names(513, "s"));
        assert_eq!(questions(&Scope::parse_all(&[&many]).unwrap(), &spelt, &none), Err(TooMuch));
        let paths: Vec<String> = (0..10_000).map(|n| format!("orders:GET,HEAD:/v1/orders/{n}")).collect();
        let scope = Scope::parse_all(&paths).unwrap();
        assert_eq!(questions(&scope, &spelt, &none).unwrap().len(), 2);
    }
}
