//! Scopes as a whole: both forms, one rendering, what is refused, containment.

use super::*;
use crate::model::Grant;
use proptest::prelude::*;

fn permission(text: &str) -> Permission {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn scope(texts: &[&str]) -> Scope {
    Scope::parse_all(texts).unwrap_or_else(|error| panic!("{texts:?}: {error}"))
}

fn refused(text: &str) -> String {
    Scope::parse_all(&[text]).expect_err(text).to_string()
}

#[test]
fn text_and_json_mean_the_same() {
    for (text, json) in [
        (
            "orders:GET,HEAD:/v1/orders/*",
            r#"{"actions":["GET","HEAD"],"locations":["orders"],"paths":["/v1/orders/*"],"type":"http"}"#,
        ),
        ("a,b:*:/**", r#"{"actions":["*"],"locations":["a","b"],"paths":["/**"],"type":"http"}"#),
        ("a:UPGRADE:/x:y/z", r#"{"actions":["UPGRADE"],"locations":["a"],"paths":["/x:y/z"],"type":"http"}"#),
        (
            "stock:/inventory.v1.Stock/Get",
            r#"{"actions":["/inventory.v1.Stock/Get"],"locations":["stock"],"type":"grpc"}"#,
        ),
        ("stock:*", r#"{"actions":["*"],"locations":["stock"],"type":"grpc"}"#),
        ("stock:/a.B/*,/c.D/E", r#"{"actions":["/a.B/*","/c.D/E"],"locations":["stock"],"type":"grpc"}"#),
    ] {
        assert_eq!(permission(text), permission(json));
        assert_eq!(permission(json).to_string(), text);
        assert_eq!(permission(text).canonical_json(), json);
    }
}

#[test]
fn order_and_spelling_do_not_matter() {
    let json = r#" {"paths":["/b","/a"], "type":"http", "actions":["POST","GET"], "locations":["y","x"]} "#;
    assert_eq!(permission(json).to_string(), "x,y:GET,POST:/a,/b");
    assert_eq!(permission("y,x:POST,GET:/b,/a").to_string(), "x,y:GET,POST:/a,/b");
}

#[test]
fn what_text_cannot_say_is_written_in_json() {
    for json in [
        r#"{"actions":["GET"],"locations":["a"],"paths":["/a,b"],"type":"http"}"#,
        r#"{"actions":["GET"],"locations":["a"],"paths":["/a"],"query":{},"type":"http"}"#,
        r#"{"actions":["GET"],"locations":["a"],"paths":["/a"],"query":{"p":["*"],"q":["1","2"]},"type":"http"}"#,
    ] {
        assert_eq!(permission(json).to_string(), json);
    }
}

#[test]
fn the_scope_of_the_contract() {
    let json = r#"[{"type":"http","locations":["orders"],"actions":["GET","HEAD"],"paths":["/v1/orders/*"]},
        {"type":"grpc","locations":["stock"],"actions":["/inventory.v1.Stock/Get"]},
        {"type":"mcp","locations":["ops"],"actions":["tools/call"],"tools":["restart_service"],
         "arguments":{"type":"object","properties":{"service":{"const":"billing"},"server":{"const":"srv-7"}},
                      "required":["service","server"],"additionalProperties":false}}]"#;
    const CALL: &str = r#"ops:tools/call:restart_service{server="srv-7",service="billing"}"#;
    let parsed = Scope::from_json(json).unwrap();
    assert_eq!(parsed, serde_json::from_str(json).unwrap());
    assert_eq!(parsed, scope(&["orders:GET,HEAD:/v1/orders/*", "stock:/inventory.v1.Stock/Get", CALL]));
    let text = format!("orders:GET,HEAD:/v1/orders/* stock:/inventory.v1.Stock/Get {CALL}");
    assert_eq!(parsed.to_string(), text);
    assert_eq!(parsed.canonical_texts()[2].parse::<Permission>().unwrap(), parsed.permissions()[2]);
    assert!(parsed.names(&"stock".parse().unwrap()) && !parsed.names(&"stoc".parse().unwrap()));
}

#[test]
fn several_values_make_one_scope() {
    let all = [
        "a:GET:/a",
        r#"{"type":"grpc","locations":["b"],"actions":["*"]}"#,
        r#" [{"type":"grpc","locations":["c"],"actions":["*"]},{"type":"grpc","locations":["d"],"actions":["*"]}]"#,
    ];
    let all = Scope::parse_all(&all).unwrap();
    assert_eq!(all.canonical_texts(), ["a:GET:/a", "b:*", "c:*", "d:*"]);
    assert_eq!(Scope::parse_all::<&str>(&[]), Err(ScopeError::Empty));
    let error = Scope::parse_all(&[
        "a:GET:/a",
        r#"[{"type":"grpc","locations":["b"],"actions":["*"]},{"type":"x"}]"#,
    ]);
    assert!(error.unwrap_err().to_string().starts_with("scope[2]: `type` `x`"));
    let twice = Scope::parse_all(&["a:GET:/a", "b:*", "a:GET:/a"]);
    assert_eq!(twice, Err(ScopeError::Duplicate { first: 0, second: 2 }));
}

#[test]
fn texts_that_are_no_permission_say_what_to_change() {
    for (text, says) in [
        ("", "scope[0]: `` is no permission"),
        ("orders", "SERVICES:METHODS:PATHS"),
        ("orders:GET", "SERVICES:METHODS:PATHS"),
        ("orders:GET:", "`paths`: ``"),
        ("orders::/a", "`actions`: ``"),
        (":GET:/a", "`locations`: ``"),
        ("orders,:GET:/a", "`locations`: ``"),
        ("orders,orders:GET:/a", "`locations` names `orders` twice"),
        ("Orders:GET:/a", "`locations`: `Orders`"),
        ("*:GET:/a", "`locations`: `*`"),
        ("orders:get:/a", "`get` is spelt in upper case"),
        ("orders:GET,*:/a", "`actions` mixes `*`"),
        ("orders:GET,GET:/a", "`actions` names `GET` twice"),
        ("orders:GET:/a,/a", "`paths` names `/a` twice"),
        ("orders:GET:a", "`paths`: `a` starts with `/`"),
        ("orders:GET:/a,b", "`paths`: `b`"),
        ("orders:GET:/a?b=c", "JSON form"),
        ("orders:GET:*", "`/**` for every path"),
        ("orders:/v1/orders:GET", "is no permission"),
        ("orders:GET:/a ", "`/a `"),
        (" orders:GET:/a", "` orders`"),
        ("orders:GET:/a\n", "`/a\\n`"),
        ("orders:GET:/\u{202e}a", "\\u{202e}"),
        ("stock:*,/a/b", "mixes"),
        ("stock:/a", "is no gRPC action"),
        ("stock:/a/b,", "`` is no gRPC action"),
        ("orders/x:GET:/a", "`locations`: `orders/x`"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("scope[0]: ") && error.contains(says), "{text}: {error}");
    }
}

#[test]
fn json_that_is_not_strict_is_refused() {
    const REST: &str = r#""locations":["a"],"actions":["GET"],"paths":["/a"]"#;
    for (json, says) in [
        (format!("{{{REST}}}"), "`type` is missing"),
        (r#"{"type":"http","actions":["GET"],"paths":["/a"]}"#.into(), "`locations` is missing"),
        (r#"{"type":"http","locations":["a"],"paths":["/a"]}"#.into(), "`actions` is missing"),
        (r#"{"type":"http","locations":["a"],"actions":["GET"]}"#.into(), "`paths` is missing"),
        (r#"{"type":"http","locations":[],"actions":["GET"],"paths":["/a"]}"#.into(), "`locations` is empty"),
        (r#"{"type":"http","locations":["a"],"actions":[],"paths":["/a"]}"#.into(), "`actions` is empty"),
        (r#"{"type":"http","locations":["a"],"actions":["GET"],"paths":[]}"#.into(), "`paths` is empty"),
        (format!(r#"{{"type":"http",{REST},"query":null}}"#), "null"),
        (format!(r#"{{"type":null,{REST}}}"#), "null"),
        (format!(r#"{{"type":"http",{REST},"tools":null}}"#), "null"),
        (format!(r#"{{"type":"http",{REST},"tools":["f"]}}"#), "`tools` has no meaning for type `http`"),
        (format!(r#"{{"type":"http",{REST},"arguments":true}}"#), "`arguments` has no meaning"),
        (
            r#"{"type":"grpc","locations":["a"],"actions":["*"],"paths":["/a"]}"#.into(),
            "`paths` has no meaning",
        ),
        (r#"{"type":"grpc","locations":["a"],"actions":["*"],"query":{}}"#.into(), "`query` has no meaning"),
        (
            format!(r#"{{"type":"http",{REST},"resources":["*"]}}"#),
            "`resources` has no meaning for type `http`",
        ),
        (r#"{"type":"mcp2","locations":["a"],"actions":["*"]}"#.into(), "`mcp2`"),
        (format!(r#"{{"type":"HTTP",{REST}}}"#), "`HTTP`"),
        (format!(r#"{{"type":"http",{REST},"path":["/a"]}}"#), "unknown field `path`"),
        (format!(r#"{{"type":"http",{REST},"type":"http"}}"#), "duplicate field `type`"),
        (format!(r#"{{"type":"http",{REST},"\u0061ctions":["*"]}}"#), "duplicate field `actions`"),
        (format!(r#"{{"type":"http",{REST},"query":{{"a":["1"],"\u0061":["2"]}}}}"#), "`a` twice"),
        (format!(r#"{{"type":"http",{REST},"query":{{"a":[]}}}}"#), "`query` is empty"),
        (format!(r#"{{"type":"http",{REST},"query":{{"a":"1"}}}}"#), "expected a sequence"),
        (format!(r#"{{"type":"http",{REST},"query":[]}}"#), "expected `query`: an object"),
        (r#"{"type":"http","locations":"a","actions":["GET"],"paths":["/a"]}"#.into(), "expected a sequence"),
        (r#"{"type":"http","locations":["a"],"actions":[null],"paths":["/a"]}"#.into(), "null"),
        (r#"{"type":"http","locations":["a"],"actions":["GET"],"paths":[1]}"#.into(), "invalid type"),
        (format!(r#"{{"type":"http",{REST}}} x"#), "trailing"),
        (format!(r#"{{"type":"http",{REST}"#), "EOF"),
    ] {
        let error = refused(&json);
        assert!(error.contains(says), "{json}: {error}");
        assert!(json.parse::<Permission>().is_err() && Scope::from_json(&format!("[{json}]")).is_err());
        assert!(serde_json::from_str::<Scope>(&format!("[{json}]")).is_err(), "{json}");
    }
    for (json, says) in [
        ("[]", "empty"),
        ("[null]", "scope[0]: "),
        ("[[]]", "scope[0]: "),
        (r#"[{"type":"grpc","locations":["a"],"actions":["*"]},{"x":1}]"#, "scope[1]: unknown field"),
        (r#"["orders:GET:/a"]"#, "scope[0]: invalid type: string \"orders:GET:/a\", expected an object"),
        (r#"[["grpc",["a"],["*"]]]"#, "scope[0]: invalid type: sequence, expected an object"),
    ] {
        let error = serde_json::from_str::<Scope>(json).expect_err(json).to_string();
        assert!(error.contains(says), "{json}: {error}");
        assert!(Scope::from_json(json).is_err() && Scope::parse_all(&[json]).is_err());
    }
    for json in ["null", "{}", "\"orders:GET:/a\"", "true"] {
        assert!(serde_json::from_str::<Scope>(json).is_err(), "{json}");
    }
}

#[test]
fn lists_and_scopes_are_bounded() {
    let entry = |n: usize| permission(&format!("a:GET:/{n}"));
    assert!(Scope::new((0..MAX_PERMISSIONS).map(entry).collect()).is_ok());
    assert_eq!(Scope::new((0..=MAX_PERMISSIONS).map(entry).collect()), Err(ScopeError::TooMany));
    let paths: Vec<String> = (0..=MAX_ENTRIES).map(|n| format!("/{n}")).collect();
    assert!(refused(&format!("a:GET:{}", paths.join(","))).contains("`paths` has more than 1000"));
    let json = vec![r#"{"type":"grpc","locations":["a"],"actions":["*"]}"#; MAX_PERMISSIONS + 1].join(",");
    assert!(refused(&format!("[{json}]")).contains("more than 10000"));
}

#[test]
fn a_long_value_is_cut_and_escaped_in_errors() {
    let error = refused(&format!("a:GET:\u{1b}[31m{}", "x".repeat(10_000)));
    assert!(error.contains("\\u{1b}[31m") && error.contains("...") && error.len() < 300, "{error}");
}

#[test]
fn a_denial_names_what_would_have_been_enough() {
    let service: ServiceName = "orders".parse().unwrap();
    let http = |action, path| Permission::for_http(&service, action, path).map(|p| p.to_string());
    assert_eq!(http("GET", "/v1/orders/7").unwrap(), "orders:GET:/v1/orders/7");
    assert_eq!(http("UPGRADE", "/ws/").unwrap(), "orders:UPGRADE:/ws/");
    for (action, path) in
        [("*", "/a"), ("GET", "/*"), ("GET", "/**"), ("GET", "*"), ("get", "/a"), ("GET", "/%2f")]
    {
        assert_eq!(http(action, path), None, "{action} {path}");
    }
    let grpc = |path| Permission::for_grpc(&service, path).map(|p| p.to_string());
    assert_eq!(grpc("/a.B/C").unwrap(), "orders:/a.B/C");
    for path in ["*", "/a.B/*", "/a.B", "/a/b/c", ""] {
        assert_eq!(grpc(path), None, "{path}");
    }
}

#[test]
fn protocols_do_not_permit_each_other() {
    let service: ServiceName = "a".parse().unwrap();
    let http = scope(&["a:*:/**"]);
    assert!(http.permits_http(&service, "POST", "/a.B/C", None) && !http.permits_grpc(&service, "/a.B/C"));
    let grpc = scope(&["a:*"]);
    assert!(grpc.permits_grpc(&service, "/a.B/C") && !grpc.permits_http(&service, "POST", "/a.B/C", None));
    assert!(!grpc.permits_grpc(&"b".parse().unwrap(), "/a.B/C"));
    assert!(!http.contains(&grpc) && !grpc.contains(&http));
}

#[test]
fn containment_by_example() {
    for (wide, narrow) in [
        (&["a:GET,POST:/**"][..], &["a:GET:/x/*"][..]),
        (&["a,b:*:/x/**"], &["a:GET:/x/y", "b:PUT:/x/"]),
        (&["a:GET:/x", "a:POST:/x"], &["a:GET,POST:/x"]),
        (&["a:GET:/x", "b:GET:/*"], &["a,b:GET:/x"]),
        (&["a:GET:/x", "a:GET:/y"], &["a:GET:/x,/y"]),
        (&["a:*"], &["a:/p.S/*"]),
        (&["a:/p.S/*,/q.T/U"], &["a:/p.S/M,/q.T/U"]),
    ] {
        assert!(scope(wide).contains(&scope(narrow)), "{wide:?} {narrow:?}");
        assert!(scope(wide).contains(&scope(wide)), "{wide:?}");
        assert!(!scope(narrow).contains(&scope(wide)) || scope(narrow).contains(&scope(narrow)));
    }
    for (wide, narrow) in [
        (&["a:GET:/**"][..], &["a:*:/x"][..]),
        (&["a:GET,HEAD:/**"], &["a:GET,PUT:/x"]),
        (&["a:*:/x/*"], &["a:GET:/x/**"]),
        (&["a:*:/x"], &["a:GET:/x", "a:GET:/y"]),
        (&["a:*:/**"], &["b:GET:/x"]),
        (&["a:/p.S/M"], &["a:/p.S/*"]),
        (&["a:/p.S/*"], &["a:*"]),
        (&["a:/p.S/*"], &["a:/p.St/M"]),
        (
            &[r#"{"type":"http","locations":["a"],"actions":["*"],"paths":["/**"],"query":{"q":["*"]}}"#],
            &["a:GET:/x"],
        ),
    ] {
        assert!(!scope(wide).contains(&scope(narrow)), "{wide:?} {narrow:?}");
    }
}

#[test]
fn containment_gives_up_rather_than_run_for_long() {
    let list = |n: usize| Scope::new((0..n).map(|n| permission(&format!("a:GET:/{n}"))).collect()).unwrap();
    assert!(list(1_000).contains(&list(1_000)));
    assert!(!list(MAX_PERMISSIONS).contains(&list(MAX_PERMISSIONS)), "not shown");
}

#[test]
fn permissions_are_small() {
    assert!(size_of::<Permission>() <= 80, "{}", size_of::<Permission>());
    assert_eq!(size_of::<Scope>(), 16);
}

#[test]
fn digests_are_of_the_canonical_form() {
    let one = scope(&["b,a:POST,GET:/x"]);
    assert_eq!(one.sha256(), scope(&["a,b:GET,POST:/x"]).sha256());
    assert_ne!(one.sha256(), scope(&["a:GET,POST:/x"]).sha256());
    let hex: String = sha256(b"abc").iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn a_grant_is_read_strictly() {
    let grant = |more: &str| {
        let json = format!(
            r#"{{"id":"gr_00000000000000000000000001","principal":"spiffe://d/a","task":"T-1",
            "scope":[{{"type":"grpc","locations":["a"],"actions":["*"]}}],
            "not_before":"2026-11-22T10:00:00Z","revision":7,{more}}}"#
        );
        serde_json::from_str::<Grant>(&json).map_err(|error| error.to_string())
    };
    const END: &str = r#""expires_at":"2026-11-22T10:15:00Z""#;
    let plain = grant(END).unwrap();
    assert_eq!(serde_json::from_str::<Grant>(&plain.canonical_json().unwrap()).unwrap(), plain);
    assert!(!plain.canonical_json().unwrap().contains("limits"));
    let limited = grant(&format!(r#"{END},"limits":{{"max_uses":2}}"#)).unwrap();
    assert_eq!(serde_json::from_str::<Grant>(&serde_json::to_string(&limited).unwrap()).unwrap(), limited);
    for (more, says) in [
        (r#""expires_at":"2026-11-22T10:00:00Z""#.to_owned(), "later than"),
        (r#""expires_at":"2026-11-22T09:59:59Z""#.to_owned(), "later than"),
        (format!(r#"{END},"risk":"low""#), "unknown field"),
        (format!(r#"{END},{END}"#), "duplicate"),
        (format!(r#"{END},"limits":null"#), "null"),
        (format!(r#"{END},"limits":{{}}"#), "empty"),
        (format!(r#"{END},"conditions":null"#), "null"),
        (format!(r#"{END},"conditions":{{}}"#), "empty"),
        (format!(r#"{END},"conditions":{{"risk":1}}"#), "unknown field"),
    ] {
        let error = grant(&more).expect_err(&more);
        assert!(error.contains(says), "{more}: {error}");
    }
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "v1"]).prop_map(str::to_owned),
        1 => prop::sample::select(vec!["x,y", "a:b", "%C3%A9", "%2A", "...", "50%25", "[x]"]).prop_map(str::to_owned),
        1 => "[a-zA-Z0-9_~.-]{0,5}z",
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    let inner = prop_oneof![2 => segment(), 1 => Just("*".to_owned())];
    let last =
        prop_oneof![3 => segment(), 1 => Just("*".into()), 1 => Just("**".into()), 1 => Just(String::new())];
    (prop::collection::vec(inner, 0..3), last).prop_map(|(mut segments, last)| {
        segments.push(last);
        format!("/{}", segments.join("/"))
    })
}

fn path() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment(), 1..4), any::<bool>())
        .prop_map(|(segments, slash)| format!("/{}{}", segments.join("/"), if slash { "/" } else { "" }))
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "DELETE", "UPGRADE", "PURGE"];

fn services() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(vec!["a", "b", "c.d"], 1..=3).prop_shuffle()
}

fn actions() -> impl Strategy<Value = Vec<&'static str>> {
    prop_oneof![1 => Just(vec!["*"]), 4 => prop::sample::subsequence(METHODS.to_vec(), 1..=4).prop_shuffle()]
}

fn query_rule() -> impl Strategy<Value = Option<QueryRule>> {
    let values = prop_oneof![
        1 => Just(vec!["*"]),
        2 => prop::sample::subsequence(vec!["1", "2", "%20", ""], 1..=3).prop_shuffle()
    ];
    let parameters =
        prop::collection::btree_map(prop::sample::select(vec!["p", "q", "r%5B%5D"]), values, 0..3);
    prop::option::weighted(0.3, parameters.prop_map(|parameters| QueryRule::new(parameters).unwrap()))
}

fn any_permission() -> impl Strategy<Value = Permission> {
    let paths = prop::collection::btree_set(pattern(), 1..4);
    let http = (services(), actions(), paths, query_rule()).prop_map(|(services, actions, paths, query)| {
        let paths: Vec<String> = paths.into_iter().collect();
        Permission::Http(HttpPermission::new(&services, &actions, &paths, query).unwrap())
    });
    let call = prop::sample::select(vec!["/p.S/M", "/p.S/N", "/p.S/*", "/p.T/M", "/U/M"]);
    let calls = prop_oneof![
        1 => Just(vec!["*"]),
        3 => prop::collection::btree_set(call, 1..4).prop_map(|calls| calls.into_iter().collect())
    ];
    let grpc = (services(), calls)
        .prop_map(|(services, calls)| Permission::Grpc(GrpcPermission::new(&services, &calls).unwrap()));
    prop_oneof![3 => http, 1 => grpc]
}

fn any_scope() -> impl Strategy<Value = Scope> {
    prop::collection::hash_set(any_permission(), 1..4)
        .prop_map(|permissions| Scope::new(permissions.into_iter().collect()).unwrap())
}

/// A scope and another that was cut from it and then, often, changed: containment is neither always false nor always true.
fn wide_and_near() -> impl Strategy<Value = (Scope, Scope)> {
    let change = (services(), actions(), pattern(), query_rule(), any::<[bool; 4]>());
    (wide_and_cut(), change).prop_map(|((wide, cut), (services, actions, path, query, changed))| {
        let Permission::Http(http) = &cut.permissions()[0] else { return (wide, cut) };
        let kept: Vec<&str> = http.locations().iter().map(ServiceName::as_str).collect();
        let (names, patterns) = (http.methods().names(), http.paths());
        let services = if changed[0] { services } else { kept };
        let actions = if changed[1] { actions } else { names };
        let path = if changed[2] { path } else { patterns[0].to_string() };
        let query = if changed[3] { query } else { http.query().cloned() };
        let near = HttpPermission::new(&services, &actions, &[path], query).unwrap();
        (wide, Scope::from(Permission::Http(near)))
    })
}

/// A scope and one that was cut from it: one of its permissions, for one service, one path and one method.
fn wide_and_cut() -> impl Strategy<Value = (Scope, Scope)> {
    (any_scope(), any::<prop::sample::Index>(), segment()).prop_map(|(wide, at, segment)| {
        let narrow = match at.get(wide.permissions()) {
            Permission::Http(http) => {
                let path = at.get(http.paths()).as_str();
                let path = path.replace("**", &segment).replace('*', &segment);
                let names = http.methods().names();
                let action = if http.methods().is_any() { "PATCH" } else { *at.get(&names) };
                let service = at.get(http.locations()).as_str();
                let query = http.query().cloned();
                Permission::Http(HttpPermission::new(&[service], &[action], &[path], query).unwrap())
            }
            Permission::Grpc(grpc) => {
                let calls: Vec<&str> = grpc.actions().texts().collect();
                let call = at.get(&calls).replace("/*", "/M");
                Permission::Grpc(GrpcPermission::new(&[at.get(grpc.locations()).as_str()], &[call]).unwrap())
            }
            mcp @ Permission::Mcp(_) => mcp.clone(),
        };
        (wide, narrow.into())
    })
}

/// Requests that fit the patterns of a scope, with any method and several queries.
fn requests(scope: &Scope, fill: &[String]) -> Vec<(&'static str, String, Option<&'static str>)> {
    let mut requests = Vec::new();
    let patterns = scope.permissions().iter().filter_map(|permission| match permission {
        Permission::Http(http) => Some(http.paths()),
        Permission::Grpc(_) | Permission::Mcp(_) => None,
    });
    for pattern in patterns.flatten() {
        for rest in ["".to_owned(), fill[0].clone(), format!("{}/{}/", fill[0], fill[1])] {
            let path = pattern.as_str().replace("**", &rest).replace('*', &fill[2]);
            for method in METHODS {
                for query in [None, Some("p=1"), Some("q=2&p="), Some("r%5B%5D=%20"), Some("z=1")] {
                    requests.push((method, path.clone(), query));
                }
            }
        }
    }
    requests
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_forms_round_trip_to_one_rendering(permission in any_permission()) {
        let (text, json) = (permission.to_string(), permission.canonical_json());
        prop_assert_eq!(&text.parse::<Permission>().unwrap(), &permission);
        prop_assert_eq!(&json.parse::<Permission>().unwrap(), &permission);
        prop_assert_eq!(&serde_json::to_string(&permission).unwrap(), &json);
        prop_assert_eq!(&serde_json_canonicalizer::to_string(&permission).unwrap(), &json);
        prop_assert_eq!(serde_json::from_str::<Permission>(&json).unwrap().to_string(), text);
    }

    #[test]
    fn scopes_round_trip(scope in any_scope()) {
        prop_assert_eq!(&Scope::parse_all(&scope.canonical_texts()).unwrap(), &scope);
        prop_assert_eq!(&Scope::from_json(&scope.canonical_json()).unwrap(), &scope);
        prop_assert_eq!(&scope.canonical_json().parse::<Scope>().unwrap(), &scope);
        prop_assert_eq!(serde_json_canonicalizer::to_string(&scope).unwrap(), scope.canonical_json());
    }

    /// Whatever text is accepted, its canonical rendering means the same and is stable.
    #[test]
    fn accepted_text_has_one_rendering(text in "[a-b,]{1,3}:[A-Z*,]{0,4}(:/[a*/%,.;25F]{0,8})?|[a-z]:/[a.*/,]{0,10}") {
        if let Ok(permission) = text.parse::<Permission>() {
            let canonical = permission.to_string();
            let again: Permission = canonical.parse().unwrap();
            prop_assert_eq!(&again, &permission);
            prop_assert_eq!(again.to_string(), canonical);
        }
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Scope>();
        let _ = PathPattern::new(&text);
        let _ = serde_json::from_str::<Scope>(&text);
    }

    /// What is shown to be narrower is narrower: each request made to fit the narrow scope fits the wide one.
    #[test]
    fn contained_is_permitted(
        (wide, narrow) in prop_oneof![1 => (any_scope(), any_scope()), 4 => wide_and_near()],
        fill in prop::collection::vec(segment(), 4),
    ) {
        prop_assert!(wide.contains(&wide));
        if wide.contains(&narrow) {
            for service in ["a", "b", "c.d"].map(|name| name.parse::<ServiceName>().unwrap()) {
                for (method, path, query) in requests(&narrow, &fill) {
                    prop_assert!(
                        !narrow.permits_http(&service, method, &path, query)
                            || wide.permits_http(&service, method, &path, query),
                        "{} {} {} {:?}: {} not in {}", service, method, path, query, narrow, wide
                    );
                }
                for call in ["/p.S/M", "/p.S/X", "/p.T/M", "/Z/M"] {
                    prop_assert!(!narrow.permits_grpc(&service, call) || wide.permits_grpc(&service, call));
                }
            }
        }
    }

    /// What was only cut is shown to be narrower.
    #[test]
    fn what_was_cut_is_contained((wide, narrow) in wide_and_cut()) {
        prop_assert!(wide.contains(&narrow), "{} in {}", narrow, wide);
    }

    /// A pattern that covers another matches each path that the other matches.
    #[test]
    fn covered_is_matched(wide in pattern(), narrow in pattern(), paths in prop::collection::vec(path(), 40)) {
        let (wide, narrow) = (PathPattern::new(&wide).unwrap(), PathPattern::new(&narrow).unwrap());
        for path in paths {
            prop_assert!(!wide.covers(&narrow) || !narrow.matches(&path) || wide.matches(&path), "{wide} {narrow} {path}");
            prop_assert!(!wide.matches(&path) || path.starts_with(wide.literal_prefix()));
        }
    }

    /// What a denial says would have been enough is enough, and nothing else.
    #[test]
    fn required_is_enough(path in path(), other in path(), method in prop::sample::select(METHODS.to_vec())) {
        let service: ServiceName = "a".parse().unwrap();
        let required = Scope::from(Permission::for_http(&service, method, &path).unwrap());
        prop_assert!(required.permits_http(&service, method, &path, Some("any=thing")));
        prop_assert_eq!(required.permits_http(&service, method, &other, None), other == path);
    }
}
