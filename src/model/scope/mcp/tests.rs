//! Permissions of type `mcp`: both forms, what is refused, what is permitted.

use crate::model::scope::{McpPermission, Permission, Scope};
use crate::model::{McpCall, ServiceName};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn permission(text: &str) -> Permission {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn mcp(text: &str) -> McpPermission {
    match permission(text) {
        Permission::Mcp(mcp) => mcp,
        other @ (Permission::Http(_) | Permission::Grpc(_)) => panic!("{text} is {other:?}"),
    }
}

fn refused(text: &str) -> String {
    text.parse::<Permission>().expect_err(text).to_string()
}

fn call<'a>(method: &'a str, name: &'a str, arguments: &'a Value) -> McpCall<'a> {
    // Left where it is: a test's arguments are few.
    let arguments = arguments.as_object().cloned().map(|members| &*Box::leak(Box::new(members.into())));
    McpCall { method, name: Some(name).filter(|name| !name.is_empty()), arguments }
}

#[test]
fn text_and_json_mean_the_same() {
    for (text, json) in [
        (
            "ops:tools/call:restart_service{*}",
            r#"{"actions":["tools/call"],"arguments":true,"locations":["ops"],"tools":["restart_service"],"type":"mcp"}"#,
        ),
        (
            "ops:tools/call:*{*}",
            r#"{"actions":["tools/call"],"arguments":true,"locations":["ops"],"tools":["*"],"type":"mcp"}"#,
        ),
        (
            "a,b:tools/call:now,today{}",
            r#"{"actions":["tools/call"],"arguments":{"additionalProperties":false,"type":"object"},"locations":["a","b"],"tools":["now","today"],"type":"mcp"}"#,
        ),
        (
            r#"ops:tools/call:f{"a b"=null,n=-2.5,x={"k":[1,"}"]}}"#,
            r#"{"actions":["tools/call"],"arguments":{"additionalProperties":false,"properties":{"a b":{"const":null},"n":{"const":-2.5},"x":{"const":{"k":[1,"}"]}}},"required":["a b","n","x"],"type":"object"},"locations":["ops"],"tools":["f"],"type":"mcp"}"#,
        ),
        (
            "ops:prompts/get:review{}",
            r#"{"actions":["prompts/get"],"arguments":{"additionalProperties":false,"type":"object"},"locations":["ops"],"prompts":["review"],"type":"mcp"}"#,
        ),
        (
            "ops:resources/read,resources/subscribe:file:///docs/*,file:///notes/**",
            r#"{"actions":["resources/read","resources/subscribe"],"locations":["ops"],"resources":["file:///docs/*","file:///notes/**"],"type":"mcp"}"#,
        ),
        (
            "ops:resources/read:*",
            r#"{"actions":["resources/read"],"locations":["ops"],"resources":["*"],"type":"mcp"}"#,
        ),
        (
            "ops:logging/setLevel,tasks/get",
            r#"{"actions":["logging/setLevel","tasks/get"],"locations":["ops"],"type":"mcp"}"#,
        ),
    ] {
        assert_eq!(permission(text), permission(json), "{text}");
        assert_eq!(permission(json).to_string(), text);
        assert_eq!(permission(text).canonical_json(), json);
        assert_eq!(serde_json_canonicalizer::to_string(&permission(text)).unwrap(), json);
    }
}

#[test]
fn bare_words_are_strings_and_order_means_nothing() {
    let one = permission("ops:tools/call:f{server=srv-7,n=7,ok=true,path=/a/b:c@d}");
    assert_eq!(one, permission(r#"ops:tools/call:f{path="/a/b:c@d","ok"=true,n=7.0,server="srv-7"}"#));
    assert_eq!(one.to_string(), r#"ops:tools/call:f{n=7,ok=true,path="/a/b:c@d",server="srv-7"}"#);
}

#[test]
fn what_text_cannot_say_is_written_in_json() {
    for json in [
        r#"{"actions":["*"],"arguments":true,"locations":["a"],"prompts":["*"],"resources":["*"],"tools":["*"],"type":"mcp"}"#,
        r#"{"actions":["ping"],"locations":["a"],"type":"mcp"}"#,
        r#"{"actions":["tools/call"],"arguments":{"maxProperties":2},"locations":["a"],"tools":["f"],"type":"mcp"}"#,
        r#"{"actions":["tools/call"],"arguments":true,"locations":["a"],"tools":["my tool"],"type":"mcp"}"#,
        r#"{"actions":["tools/call"],"arguments":true,"locations":["a"],"tools":["a,b"],"type":"mcp"}"#,
        r#"{"actions":["tools/call"],"arguments":true,"locations":["a"],"tools":["a\"\\b"],"type":"mcp"}"#,
        r#"{"actions":["resources/read"],"locations":["a"],"resources":["x:a,b"],"type":"mcp"}"#,
        r#"{"actions":["prompts/get","tools/call"],"arguments":true,"locations":["a"],"prompts":["p"],"tools":["t"],"type":"mcp"}"#,
        r#"{"actions":["completion/complete"],"locations":["a"],"prompts":["p"],"type":"mcp"}"#,
    ] {
        assert_eq!(permission(json).to_string(), json);
        assert_eq!(
            serde_json::to_value(permission(json)).unwrap(),
            serde_json::from_str::<Value>(json).unwrap()
        );
    }
}

#[test]
fn what_cannot_be_seen_is_escaped_in_text() {
    let json = json!({"type":"mcp","locations":["a"],"actions":["tools/call"],"tools":["f"],"arguments":
        {"type":"object","properties":{"t":{"const":"\u{202e}x\u{9b}é"}},"required":["t"],"additionalProperties":false}});
    let permission = permission(&json.to_string());
    assert_eq!(permission.to_string(), r#"a:tools/call:f{t="\u202ex\u009bé"}"#);
    assert_eq!(permission.to_string().parse::<Permission>().unwrap(), permission);
}

#[test]
fn lists_are_required_where_they_are_used_and_nowhere_else() {
    let with = |actions: &str, more: &str| {
        format!(r#"{{"type":"mcp","locations":["a"],"actions":{actions}{more}}}"#)
    };
    for (actions, more, says) in [
        (r#"["tools/call"]"#, r#","arguments":true"#, "`tools` is missing"),
        (r#"["tools/call"]"#, r#","tools":["f"]"#, "`arguments` is missing"),
        (r#"["tools/call"]"#, r#","tools":[],"arguments":true"#, "`tools` is empty"),
        (
            r#"["tools/call"]"#,
            r#","tools":["f"],"arguments":true,"prompts":["*"]"#,
            "`prompts` restricts none",
        ),
        (
            r#"["tools/call"]"#,
            r#","tools":["f"],"arguments":true,"resources":["*"]"#,
            "`resources` restricts none",
        ),
        (r#"["tools/call"]"#, r#","tools":["f","*"],"arguments":true"#, "`tools` mixes"),
        (r#"["tools/call"]"#, r#","tools":["f","f"],"arguments":true"#, "`tools` names `f` twice"),
        (r#"["tools/call"]"#, r#","tools":["f*"],"arguments":true"#, "`tools`: `f*` is no name"),
        (r#"["tools/call"]"#, r#","tools":[" f"],"arguments":true"#, "`tools`: ` f` is no name"),
        (r#"["tools/call"]"#, r#","tools":["a\u202eb"],"arguments":true"#, "is no name"),
        (r#"["tools/call"]"#, r#","tools":[""],"arguments":true"#, "is no name"),
        (r#"["tools/call"]"#, r#","tools":"f","arguments":true"#, "expected a sequence"),
        (r#"["tools/call"]"#, r#","tools":null,"arguments":true"#, "null"),
        (r#"["tools/call"]"#, r#","tools":["f"],"arguments":null"#, "is no schema"),
        (r#"["tools/call"]"#, r#","tools":["f"],"arguments":false"#, "permits nothing"),
        (r#"["tools/call"]"#, r#","tools":["f"],"arguments":{}"#, "write `true`"),
        (
            r#"["tools/call"]"#,
            r#","tools":["f"],"arguments":{"properties":{},"required":[]}"#,
            "write `true`",
        ),
        (r#"["tools/call"]"#, r#","tools":["f"],"arguments":{"type":"object","type":"object"}"#, "twice"),
        (
            r#"["tools/call"]"#,
            r#","tools":["f"],"arguments":true,"paths":["/**"]"#,
            "`paths` has no meaning for type `mcp`",
        ),
        (r#"["resources/read"]"#, "", "`resources` is missing"),
        (r#"["resources/read"]"#, r#","resources":["*"],"arguments":true"#, "`arguments` restricts none"),
        (r#"["resources/read"]"#, r#","resources":["/a"]"#, "begins with a scheme"),
        (r#"["resources/read"]"#, r#","resources":["*://x"]"#, "begins with a scheme"),
        (r#"["resources/read"]"#, r#","resources":["file:///a*"]"#, "not a whole segment"),
        (r#"["resources/read"]"#, r#","resources":["file:///**/a"]"#, "not a whole segment"),
        (r#"["resources/read"]"#, r#","resources":["file:///a/../b"]"#, "`..`"),
        (r#"["resources/read"]"#, r#","resources":["file:///a/%2e%2E/b"]"#, "`..`"),
        (r#"["resources/read"]"#, r#","resources":["file:///a b"]"#, "white space"),
        (r#"["prompts/get"]"#, r#","arguments":true"#, "`prompts` is missing"),
        (r#"["prompts/get"]"#, r#","prompts":["p"]"#, "`arguments` is missing"),
        (r#"["completion/complete"]"#, "", "`prompts` is missing"),
        (r#"["*"]"#, "", "`tools` is missing"),
        (r#"["*"]"#, r#","tools":["*"],"prompts":["*"],"arguments":true"#, "`resources` is missing"),
        (r#"["ping","*"]"#, "", "`actions` mixes"),
        (r#"["ping","ping"]"#, "", "`actions` names `ping` twice"),
        ("[]", "", "`actions` is empty"),
        (r#"["tools call"]"#, "", "is no MCP method"),
        (r#"["/tools/call"]"#, "", "is no MCP method"),
        (r#"["tools/*"]"#, "", "is no MCP method"),
        (r#"["ping"]"#, r#","tools":["f"]"#, "`tools` restricts none"),
    ] {
        let error = refused(&with(actions, more));
        assert!(error.contains(says), "{actions} {more}: {error}");
    }
}

#[test]
fn text_that_is_no_permission_says_what_to_change() {
    for (text, says) in [
        ("ops:tools/call", "`tools` is missing"),
        (
            "ops:tools/call:f",
            "`arguments` is missing: nothing is permitted by leaving it out, write `true` for any",
        ),
        ("ops:tools/call:", "`tools`: `` is no name"),
        ("ops:tools/call:{*}", "`tools`: `` is no name"),
        ("ops:tools/call:f{*", "is no permission"),
        ("ops:tools/call:f{a}", "is no permission"),
        ("ops:tools/call:f{a=}", "is no permission"),
        ("ops:tools/call:f{a=1,}", "is no permission"),
        ("ops:tools/call:f{,}", "is no permission"),
        ("ops:tools/call:f{a=1}x", "is no permission"),
        ("ops:tools/call:f{a=1 }", "is no permission"),
        ("ops:tools/call:f{ a=1}", "is no permission"),
        ("ops:tools/call:f{a= 1}", "is no permission"),
        ("ops:tools/call:f{a=1,a=2}", "`arguments` names `a` twice"),
        (r#"ops:tools/call:f{a={"b":1,"b":2}}"#, "is no permission"),
        ("ops:tools/call:f{a=1.2.3}", "is no permission"),
        ("ops:tools/call:f{a=9007199254740993}", "beyond"),
        ("ops:tools/call:f{a=-0}", "beyond"),
        ("ops:tools/call,resources/read:f{*}", "is no permission"),
        ("ops:completion/complete:p", "is no permission"),
        ("ops:tasks/get:x", "is no permission"),
        ("ops:resources/read:f", "begins with a scheme"),
        ("ops:resources/read:file:///a{*}", "not a whole segment"),
    ] {
        let error = refused(text);
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn calls_inside_and_outside() {
    let exact = mcp("ops:tools/call:restart_service{service=billing,server=srv-7}");
    let arguments = json!({"server": "srv-7", "service": "billing"});
    assert!(exact.permits(&call("tools/call", "restart_service", &arguments)));
    for (method, name, arguments) in [
        ("tools/call", "restart_service", json!({"server": "srv-8", "service": "billing"})),
        ("tools/call", "restart_service", json!({"server": "srv-7"})),
        ("tools/call", "restart_service", json!({"server": "srv-7", "service": "billing", "force": true})),
        ("tools/call", "restart_service", json!({"server": ["srv-7"], "service": "billing"})),
        ("tools/call", "restart_service", json!({})),
        ("tools/call", "restart_service", json!(null)),
        ("tools/call", "Restart_service", arguments.clone()),
        ("tools/call", "", arguments.clone()),
        ("tools/list", "restart_service", arguments.clone()),
        ("prompts/get", "restart_service", arguments.clone()),
    ] {
        assert!(!exact.permits(&call(method, name, &arguments)), "{method} {name} {arguments}");
    }
    assert!(exact.shows("tools/call", Some("restart_service")));
    assert!(!exact.shows("tools/call", Some("stop_service")) && !exact.shows("tools/call", None));

    let none = json!(null);
    let nothing = mcp("ops:tools/call:now{}");
    assert!(
        nothing.permits(&call("tools/call", "now", &none))
            && nothing.permits(&call("tools/call", "now", &json!({})))
    );
    assert!(!nothing.permits(&call("tools/call", "now", &json!({"x": null}))));

    let any = mcp(
        r#"{"type":"mcp","locations":["a"],"actions":["*"],"tools":["t"],"resources":["x:/r"],"prompts":["p"],"arguments":true}"#,
    );
    for (method, name, permitted) in [
        ("tools/call", "t", true),
        ("tools/call", "u", false),
        ("resources/read", "x:/r", true),
        ("resources/read", "x:/s", false),
        ("resources/unsubscribe", "x:/r", true),
        ("prompts/get", "p", true),
        ("prompts/get", "t", false),
        ("completion/complete", "p", true),
        ("completion/complete", "x:/r", true),
        ("completion/complete", "t", false),
        ("tools/unknown", "", true),
        ("ping", "", true),
    ] {
        assert_eq!(any.permits(&call(method, name, &none)), permitted, "{method} {name}");
    }
    let service: ServiceName = "ops".parse().unwrap();
    let scope: Scope = "ops:tools/call:now{}".parse().unwrap();
    assert!(scope.permits_mcp(&service, &call("tools/call", "now", &none)));
    assert!(!scope.permits_mcp(&"op".parse().unwrap(), &call("tools/call", "now", &none)));
    let http: Scope = "ops:*:/**".parse().unwrap();
    assert!(!http.permits_mcp(&service, &call("tools/call", "now", &none)));
}

#[test]
fn resources_by_pattern() {
    for (pattern, uri, matches) in [
        ("file:///docs/*", "file:///docs/a", true),
        ("file:///docs/*", "file:///docs/", false),
        ("file:///docs/*", "file:///docs/a/b", false),
        ("file:///docs/*", "file:///docs", false),
        ("file:///docs/*", "file:///docs/a?x=1", false),
        ("file:///docs/*", "file:///docs/a#x", false),
        ("file:///docs/*", "file:///docs/..", false),
        ("file:///docs/*", "file:///docs/%2e%2e", false),
        ("file:///docs/*", "file:///docs/..%2F..%2Fetc", false),
        ("file:///docs/*", "file:///docs/a%5Cb", false),
        ("file:///docs/*", "file:///docs/a%252Fb", false),
        ("file:///docs/*", "file:///docs/a%20b", true),
        ("file:///docs/*", "file:///docs/a%2", false),
        ("file:///docs/*", "file:///docs/a\\b", false),
        ("file:///docs/*", "file:///docs/a\0", false),
        ("file:///docs/*", "FILE:///docs/a", false),
        ("file:///docs/*", "file:///docs/*", true),
        ("file:///docs/**", "file:///docs/", true),
        ("file:///docs/**", "file:///docs/a/b/", true),
        ("file:///docs/**", "file:///docs", false),
        ("file:///docs/**", "file:///docs//etc/passwd", false),
        ("file:///docs/**", "file:///docs/a/../../b", false),
        ("file:///docs/**", "file:///docs/a/%2E%2E/b", false),
        ("file:///*/x", "file:///a/x", true),
        ("file:///*/x", "file:////x", false),
        ("db://t?q=../x", "db://t?q=../x", true),
        ("test://**", "test://a/b", true),
        ("test://**", "test:/a", false),
        ("config:app", "config:app", true),
        ("config:app", "config:app2", false),
    ] {
        let json = json!({"type":"mcp","locations":["a"],"actions":["resources/read"],"resources":[pattern]});
        let found = mcp(&json.to_string()).permits(&call("resources/read", uri, &Value::Null));
        assert_eq!(found, matches, "{pattern} {uri}");
    }
}

#[test]
fn what_a_refused_call_would_have_needed() {
    let service: ServiceName = "ops".parse().unwrap();
    let needed = |method, name, arguments: Value| {
        let call = call(method, name, &arguments);
        let permission = Permission::for_mcp(&service, &call)?;
        assert!(Scope::from(permission.clone()).permits_mcp(&service, &call), "{permission}");
        Some(permission.to_string())
    };
    let arguments = json!({"service": "billing", "n": [1, {"a": 2.5}]});
    let text = r#"ops:tools/call:restart{n=[1,{"a":2.5}],service="billing"}"#;
    assert_eq!(needed("tools/call", "restart", arguments).as_deref(), Some(text));
    assert_eq!(needed("tools/call", "now", json!(null)).as_deref(), Some("ops:tools/call:now{}"));
    assert_eq!(needed("prompts/get", "p", json!({"a": "b"})).as_deref(), Some(r#"ops:prompts/get:p{a="b"}"#));
    assert_eq!(
        needed("resources/read", "file:///a", json!(null)).as_deref(),
        Some("ops:resources/read:file:///a")
    );
    assert_eq!(needed("logging/setLevel", "", json!(null)).as_deref(), Some("ops:logging/setLevel"));
    assert!(needed("completion/complete", "p", json!(null)).unwrap().contains(r#""prompts":["p"]"#));
    assert!(
        needed("completion/complete", "x://p", json!(null)).unwrap().contains(r#""resources":["x://p"]"#)
    );
    for (method, name, arguments) in [
        ("tools/call", "*", json!(null)),
        ("tools/call", "", json!(null)),
        ("*", "", json!(null)),
        ("resources/read", "*", json!(null)),
        ("resources/read", "file:///*", json!(null)),
        ("resources/read", "no uri", json!(null)),
        ("tools/call", "f", json!({"t": "x".repeat(8_200)})),
        ("tools/call", "f", json!({"t": [[[[[[[1]]]]]]]})),
        ("tools/call", "f", json!({"t": 9_007_199_254_740_993_u64})),
    ] {
        assert_eq!(needed(method, name, arguments), None, "{method} {name}");
    }
}

#[test]
fn containment_and_overlap_by_example() {
    let scope = |texts: &[&str]| Scope::parse_all(texts).unwrap();
    let schema = |schema: &str| {
        format!(
            r#"{{"type":"mcp","locations":["a"],"actions":["tools/call"],"tools":["f"],"arguments":{schema}}}"#
        )
    };
    let integer = schema(r#"{"properties":{"n":{"type":"integer"}}}"#);
    let everything = r#"{"type":"mcp","locations":["a"],"actions":["*"],"tools":["*"],"resources":["*"],"prompts":["*"],"arguments":true}"#;
    // wide, narrow, contains, overlaps
    for (wide, narrow, contains, overlaps) in [
        ("a:tools/call:f{*}", "a:tools/call:f{n=1}", true, true),
        ("a:tools/call:*{*}", "a:tools/call:f,g{n=1}", true, true),
        ("a:tools/call:f,g{n=1}", "a:tools/call:f{n=1}", true, true),
        ("a:tools/call:f{n=1}", "a:tools/call:f{n=2}", false, false),
        ("a:tools/call:f{n=1}", "a:tools/call:f{n=1,m=1}", false, false),
        ("a:tools/call:f{n=1}", "a:tools/call:g{n=1}", false, false),
        ("a:tools/call:f{n=1}", "a:tools/call:f{*}", false, true),
        ("a:tools/call:f{n=1}", "b:tools/call:f{n=1}", false, false),
        ("a,b:tools/call:f{n=1}", "b:tools/call:f{n=1}", true, true),
        ("a:tools/call:f{*}", "a:prompts/get:f{*}", false, false),
        (&integer, "a:tools/call:f{n=1}", true, true),
        (&integer, "a:tools/call:f{n=1.5}", false, false),
        (&integer, &schema(r#"{"properties":{"n":{"const":1}}}"#), false, true),
        (&integer, &integer, true, true),
        ("a:resources/read:x:///a/**", "a:resources/read:x:///a/b,x:///a/*", true, true),
        ("a:resources/read:x:///a/*", "a:resources/read:x:///a/**", false, true),
        ("a:resources/read:x:///a/*", "a:resources/read:x:///b/*", false, false),
        ("a:resources/read:x:///a/**", "a:resources/read:x:///a/b?c", false, true),
        ("a:resources/read:x:///a/**", "a:resources/subscribe:x:///a/b", false, false),
        (everything, "a:tools/call:f{n=1}", true, true),
        (everything, "a:tasks/get", true, true),
        (everything, everything, true, true),
        ("a:tasks/get", everything, false, true),
        ("a:tasks/get", "a:tasks/get,tasks/cancel", false, true),
        ("a:*:/**", "a:tools/call:f{*}", false, true),
        ("a:tools/call:f{*}", "a:GET:/x", false, true),
    ] {
        let (wide, narrow) = (scope(&[wide]), scope(&[narrow]));
        assert_eq!(wide.contains(&narrow), contains, "{wide} {narrow}");
        assert_eq!(wide.overlaps(&narrow), overlaps, "{wide} {narrow}");
        assert_eq!(narrow.overlaps(&wide), overlaps, "{narrow} {wide}");
    }
    for (text, widest) in [
        ("a:tools/call:*{*}", true),
        (everything, true),
        ("a:tools/call:*{}", false),
        ("a:tools/call:f{*}", false),
        ("a:resources/read:*", false),
    ] {
        assert_eq!(scope(&[text]).widest().is_some(), widest, "{text}");
    }
}

#[test]
fn a_permission_is_shared_when_it_is_cloned() {
    let one = mcp("ops:tools/call:f{n=1}");
    let same = one.clone();
    assert!(std::ptr::eq(one.arguments().unwrap(), same.arguments().unwrap()));
}

fn names(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![1 => Just(vec!["*"]), 5 => prop::sample::subsequence(all, 1..=2).prop_shuffle()]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3..3_i64).prop_map(Value::from),
        prop::sample::select(vec![0.5, -1.25, 1.0, 1e-7, 123456.789]).prop_map(Value::from),
        prop::sample::select(vec![
            "", "a", "srv-7", "a b", "\"}", "\u{202e}", "é", "\n", "true", "{*}", "\\u"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-c]{1}", inner, 0..3)
                .prop_map(|members| Value::from(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn arguments() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec!["a", "b", "n-1", "a b", "\u{e9}", "*", "x=y"]);
    let exact = prop::collection::btree_map(key, value(), 0..4).prop_map(|members| {
        let properties: Map<String, Value> =
            members.iter().map(|(name, value)| ((*name).to_owned(), json!({"const": value}))).collect();
        let mut required: Vec<_> = members.keys().collect();
        required.reverse();
        json!({"type": ["object"], "properties": properties, "required": required, "additionalProperties": false})
    });
    let others = prop::sample::select(vec![
        json!({"maxProperties": 2}),
        json!({"properties": {"a": {"type": ["string", "integer"], "enum": ["b", "a", 1.0]}}}),
        json!({"anyOf": [{"required": ["b", "a"]}, {"properties": {"a": {"pattern": "^a\\d+$"}}}]}),
        json!({"additionalProperties": {"minimum": -2, "items": {"multipleOf": 2}}}),
    ]);
    prop_oneof![2 => Just(json!(true)), 4 => exact, 2 => others]
}

fn any_permission() -> impl Strategy<Value = Value> {
    let services = prop::sample::subsequence(vec!["a", "b"], 1..=2).prop_shuffle();
    let tools = (
        Just("tools"),
        prop::sample::subsequence(vec!["tools/call"], 1),
        names(&["f", "g.h", "my tool", "x{"]),
        arguments(),
    );
    let prompts = (
        Just("prompts"),
        prop::sample::subsequence(vec!["prompts/get"], 1),
        names(&["p", "q,r"]),
        arguments(),
    );
    let reading =
        prop::sample::subsequence(vec!["resources/read", "resources/subscribe"], 1..=2).prop_shuffle();
    let uris = names(&["x:/a", "x:/a/*", "x:/a/**", "y:b,c", "file:///d"]);
    let resources = (Just("resources"), reading, uris, Just(Value::Null));
    let others = prop::sample::subsequence(vec!["ping", "tasks/get", "logging/setLevel"], 1..=3);
    let others = (Just(""), others, Just(vec![]), Just(Value::Null));
    (services, prop_oneof![4 => tools, 1 => prompts, 2 => resources, 1 => others]).prop_map(
        |(services, (key, actions, named, arguments))| {
            let mut json = json!({"type": "mcp", "locations": services, "actions": actions});
            if !key.is_empty() {
                json[key] = json!(named);
            }
            if !arguments.is_null() {
                json["arguments"] = arguments;
            }
            json
        },
    )
}

fn any_call() -> impl Strategy<Value = (&'static str, &'static str, Value)> {
    let method =
        prop::sample::select(vec!["tools/call", "prompts/get", "resources/read", "ping", "tasks/get"]);
    let name = prop::sample::select(vec!["", "f", "g.h", "p", "x:/a", "x:/a/b", "x:/a/b/c", "x:/a/../b"]);
    let key = prop::sample::select(vec!["a", "b", "n-1"]);
    let arguments = prop::collection::btree_map(key, value(), 0..3).prop_map(|members| json!(members));
    (method, name, prop_oneof![1 => Just(Value::Null), 4 => arguments])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn both_forms_round_trip_to_one_rendering(json in any_permission()) {
        let permission = permission(&json.to_string());
        let (text, canonical) = (permission.to_string(), permission.canonical_json());
        prop_assert_eq!(&text.parse::<Permission>().unwrap(), &permission, "{}", text);
        prop_assert_eq!(&canonical.parse::<Permission>().unwrap(), &permission);
        prop_assert_eq!(&serde_json_canonicalizer::to_string(&permission).unwrap(), &canonical);
        prop_assert_eq!(serde_json::from_str::<Permission>(&canonical).unwrap().to_string(), text);
        prop_assert_eq!(serde_json::from_value::<Permission>(serde_json::to_value(&permission).unwrap()).unwrap(), permission);
    }

    /// What is shown to be narrower is narrower; what both permit, overlaps.
    #[test]
    fn contained_is_permitted(
        wide in any_permission(),
        narrow in any_permission(),
        calls in prop::collection::vec(any_call(), 20),
    ) {
        let (wide, narrow) = (mcp(&wide.to_string()), mcp(&narrow.to_string()));
        let scope = |mcp: &McpPermission| Scope::from(Permission::Mcp(mcp.clone()));
        prop_assert!(scope(&wide).contains(&scope(&wide)));
        let (contains, overlaps) = (scope(&wide).contains(&scope(&narrow)), scope(&wide).overlaps(&scope(&narrow)));
        for (method, name, arguments) in &calls {
            let call = call(method, name, arguments);
            for service in ["a", "b"].map(|name| name.parse::<ServiceName>().unwrap()) {
                let by = |permission: &McpPermission| scope(permission).permits_mcp(&service, &call);
                prop_assert!(!contains || !by(&narrow) || by(&wide), "{:?} in {:?}: {:?}", narrow, wide, call);
                prop_assert!(overlaps || !(by(&narrow) && by(&wide)), "{:?} and {:?}: {:?}", narrow, wide, call);
            }
        }
    }

    #[test]
    fn no_text_panics(text in "a:(tools/call|prompts/get|resources/read|x/y)(:[a-c*,:/]{0,6})?(\\{[ab=\",{}*\\\\1.-]{0,10}\\}?)?") {
        if let Ok(permission) = text.parse::<Permission>() {
            let canonical = permission.to_string();
            prop_assert_eq!(&canonical.parse::<Permission>().unwrap(), &permission, "{}", canonical);
        }
    }

    /// What a denial says would have been enough is enough, and nothing else.
    #[test]
    fn required_is_enough(one in any_call(), other in any_call()) {
        let service: ServiceName = "a".parse().unwrap();
        let (one, other) = (call(one.0, one.1, &one.2), call(other.0, other.1, &other.2));
        if let Some(required) = Permission::for_mcp(&service, &one).map(Scope::from) {
            prop_assert!(required.permits_mcp(&service, &one));
            let named = !matches!(one.method, "ping" | "tasks/get");
            prop_assert!(!required.permits_mcp(&service, &other) || other.method == one.method && (!named || other.name == one.name));
        }
    }
}
