//! What cannot be asked for is refused, nothing is done, and the answer says what to change; what strangers must not learn is not in it.

use crate::harness::client::full;
use crate::harness::{Answer, Protocol, Setup, World, asked, eventually, id, with};
use serde_json::{Value, json};
use std::time::Instant;

const SERVICES: &str = r#"
[[roles]]
name = "orders-reader"
scope = ["orders:GET:/v1/orders/*"]
max_ttl = "1h"
[[ service ]]
name = "vault"
owner = "spiffe://jitgate.local/operator/local"
upstream = ["http://127.0.0.1:9"]
requestable = false
"#;

async fn world() -> World {
    let mut world = Setup::new().tables(SERVICES).prepare().await;
    world.start_control().await;
    world
}

/// Sends a body as it is.
async fn send(world: &World, path: &str, body: String) -> Answer {
    let mut connection = world.api_as(&world.agent).connect().await;
    let request = connection.request("POST", path).header("content-type", "application/json");
    Answer::of(connection.send(request.body(full(body)).unwrap()).await).await
}

/// It is refused like this, says so, and left nothing behind.
async fn refused(world: &World, body: String, (status, reason, says): (u16, &str, &str)) {
    let short: String = body.chars().take(400).collect();
    let answer = send(world, "/v1/requests", body).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (status, reason), "{short}: {answer:?}");
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains(says), "`{says}` is not in `{detail}`: {short}");
    assert!(detail.len() < 1_000 && !detail.contains(char::is_control), "{detail:?}");
}

#[tokio::test]
async fn a_body_with_two_readings_or_unknown_members_is_refused() {
    let world = world().await;
    let good = asked("T", "GET", "/v1/orders/7").to_string();
    let instead = |from: &str, to: &str| {
        assert!(good.contains(from), "{good}");
        good.replacen(from, to, 1)
    };
    for (body, says) in [
        (instead("\"task\"", "\"tsak\""), "unknown field `tsak`"),
        (instead("\"ttl\"", "\"approved\":true,\"ttl\""), "unknown field `approved`"),
        (instead("\"ttl\"", "\"source\":\"127.0.0.1\",\"ttl\""), "unknown field `source`"),
        (instead("\"ttl\"", "\"task\":\"U\",\"ttl\""), "duplicate field `task`"),
        (instead("\"ttl\"", "\"ttl\":\"1h\",\"ttl\""), "duplicate field `ttl`"),
        (instead("\"ttl\"", "\"\\u0074tl\":\"1h\",\"ttl\""), "duplicate field `ttl`"),
        (instead("\"actions\"", "\"actions\":[\"GET\"],\"actions\""), "duplicate"),
        (instead("\"actions\"", "\"effect\":\"permit\",\"actions\""), "unknown"),
        (instead("\"ttl\"", "\"ticket\":null,\"ttl\""), "null"),
        (
            instead("\"scope\"", "\"role\":\"orders-reader\",\"scope\""),
            "one of `scope`, `role`, `plan` and `envelope`",
        ),
        (instead("\"5m\"", "300"), "string"),
        (format!("{good} {good}"), "trailing"),
        (good.replace('}', ""), "expected `,` or `}`"),
        ("[\"T\",\"r\",[]]".to_owned(), "expected"),
        (String::new(), "EOF"),
    ] {
        refused(&world, body, (400, "malformed", says)).await;
    }
    let mut connection = world.api_as(&world.agent).connect().await;
    let form = connection.request("POST", "/v1/requests").header("content-type", "text/plain");
    let answer = Answer::of(connection.send(form.body(full(good)).unwrap()).await).await;
    assert_eq!((answer.status.as_u16(), answer.reason()), (415, "unsupported_media_type".into()));
    assert_eq!(world.cli(&["requests"]).await, json!([]), "nothing is left of all that");
}

#[tokio::test]
async fn each_refusal_says_what_to_change() {
    let world = world().await;
    let ask = |key: &str, value: Value| with(asked("T", "GET", "/v1/orders/7"), key, value).to_string();
    let scope = |actions: &[&str], paths: &[&str]| {
        ask("scope", json!([{"type": "http", "locations": ["orders"], "actions": actions, "paths": paths}]))
    };
    let without = |key: &str| {
        let mut body = asked("T", "GET", "/v1/orders/7");
        body.as_object_mut().unwrap().remove(key);
        body.to_string()
    };
    let duration = "expected for instance `90s`";
    for (body, refusal) in [
        (without("reason"), (400, "malformed", "missing field `reason`")),
        (ask("reason", json!("")), (422, "invalid", "`reason` is mandatory and has at most 4096 bytes")),
        (ask("reason", json!(" \n\t ")), (422, "invalid", "`reason` is mandatory")),
        (ask("reason", json!("x".repeat(4097))), (422, "invalid", "at most 4096 bytes")),
        (
            ask("reason", json!("x".repeat(1 << 20))),
            (413, "too_large", "larger than 262144 bytes: shorten it"),
        ),
        (without("task"), (400, "malformed", "missing field `task`")),
        (without("scope"), (400, "malformed", "give `scope`, `role`, `plan` or `envelope`")),
        (ask("scope", json!([])), (400, "malformed", "name at least one permission")),
        (scope(&[], &["/a"]), (400, "malformed", "`actions`")),
        (scope(&["GET"], &[]), (400, "malformed", "`paths`")),
        (scope(&["GET"], &["/a/../b"]), (400, "malformed", "/a/../b")),
        (
            scope(&["*"], &["/**"]),
            (422, "too_wide", "name the actions, the paths or the tools that the task needs"),
        ),
        (scope(&["*"], &["/a", "/**"]), (422, "too_wide", "name the actions, the paths or the tools")),
        (
            ask("scope", json!([{"type": "grpc", "locations": ["orders"], "actions": ["*"]}])),
            (422, "too_wide", "name the actions"),
        ),
        (without("ttl"), (400, "malformed", "missing field `ttl`")),
        (ask("ttl", json!("0s")), (400, "malformed", duration)),
        (ask("ttl", json!("-5m")), (400, "malformed", duration)),
        (ask("ttl", json!("5 minutes")), (400, "malformed", duration)),
        (ask("ttl", json!("99999999999999999999d")), (400, "malformed", duration)),
        (ask("ttl", json!("8h1ms")), (422, "ttl_above_cap", "is above the cap 8h")),
        (ask("not_before", json!("2020-01-01T00:00:00Z")), (422, "invalid", "in the past")),
        (ask("not_before", json!("tomorrow")), (400, "malformed", "RFC 3339")),
        (ask("ticket", json!("")), (422, "invalid", "leave it out if there is none")),
        (
            ask("principal", json!("spiffe://jitgate.local/agent/other")),
            (403, "forbidden", "needs the role `broker`"),
        ),
        (ask("plan", json!([])).replace("\"scope\"", "\"_\""), (400, "malformed", "unknown field `_`")),
    ] {
        refused(&world, body, refusal).await;
    }
    let mut plan = asked("T", "GET", "/");
    let step = plan["scope"].take();
    plan.as_object_mut().unwrap().remove("scope");
    let steps =
        |number: usize| with(plan.clone(), "plan", json!(vec![json!({"scope": step}); number])).to_string();
    for number in [0, 33] {
        refused(&world, steps(number), (422, "invalid", "from 1 to 32 steps")).await;
    }
    let role = with(plan.clone(), "role", json!("orders-reader"));
    let long = with(role.clone(), "ttl", json!("2h")).to_string();
    refused(&world, long, (422, "ttl_above_cap", "above the cap 1h of the role `orders-reader`")).await;
    assert_eq!(world.cli(&["requests"]).await, json!([]));
    let expanded = world.ask(&world.agent, &role).await;
    assert_eq!(
        (&expanded["role"], &expanded["scope"][0]["paths"]),
        (&json!("orders-reader"), &json!(["/v1/orders/*"]))
    );
}

/// An answer as a stranger sees it: with what they said themselves, and without what is another for each answer.
fn seen(answer: &Answer, named: &str) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<(String, String)> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| name != "date")
        .collect();
    headers.sort();
    let own = answer.json()["request_id"].as_str().unwrap_or("no id").to_owned();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    (answer.status.as_u16(), headers, text.replace(&own, "ID").replace(named, "NAME"))
}

#[tokio::test]
async fn what_cannot_be_asked_for_looks_like_what_is_not_there() {
    let world = world().await;
    // One that is there and not requestable, and one that is not there; names of one length, so that the answers have one.
    let at = |name: &str| json!([{"type": "http", "locations": [name], "actions": ["GET"], "paths": ["/a"]}]);
    let mut both = json!([at("orders")[0], at("vault")[0]]);
    for more in [json!({}), json!({"ttl": "9h"}), json!({"emergency": true}), json!({"ticket": "T-1"})] {
        let mut answers = Vec::new();
        for name in ["vault", "vualt"] {
            for scope in [at(name), {
                both[1] = at(name)[0].clone();
                both.clone()
            }] {
                let mut body = with(asked("T", "GET", "/a"), "scope", scope);
                body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let answer = world.try_ask(&world.agent, &body).await;
                assert_eq!((answer.status.as_u16(), answer.reason()), (403, "not_requestable".into()));
                answers.push(seen(&answer, name));
            }
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    let role = with(json!({"task": "T", "reason": "r", "ttl": "1m"}), "role", json!("no-such"));
    assert_eq!(world.try_ask(&world.agent, &role).await.reason(), "not_requestable");
}

#[tokio::test]
async fn ten_thousand_permissions_are_answered_and_cost_little() {
    let mut world = world().await;
    let scope = |count: usize| {
        let one = |number| json!({"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": [format!("/{number}")]});
        json!((0..count).map(one).collect::<Vec<_>>())
    };
    let before = world.control().resident_kib();
    let body = with(asked("T", "GET", "/"), "scope", scope(10_000)).to_string();
    // The answer comes before the body was read: a client that is still sending may find the connection closed instead.
    let answer = eventually("an answer to a body that is too large", || async {
        let mut connection = world.api_as(&world.agent).connect().await;
        let request = connection.request("POST", "/v1/requests").header("content-type", "application/json");
        let response = connection.try_send(request.body(full(body.clone())).unwrap()).await.ok()?;
        Some(Answer::of(response).await)
    })
    .await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (413, "too_large"), "{answer:?}");
    // As many as fit into a body: asked, decided on, and there.
    let start = Instant::now();
    let request = world.ask(&world.agent, &with(asked("T", "GET", "/"), "scope", scope(3_000))).await;
    let asked_in = start.elapsed();
    let approved = world.cli(&["approve", id(&request), "--reason", "all of them"]).await;
    let grown = world.control().resident_kib().saturating_sub(before);
    eprintln!(
        "3,000 permissions: asked in {asked_in:?}, approved after {:?}, {grown} KiB more",
        start.elapsed()
    );
    assert_eq!(approved["state"], "approved");
    assert!(grown < 256 << 10, "{grown} KiB");
    // Ten thousand paths in few permissions, narrowed: proxies know them all, and the smaller scope too.
    let paths = |at: usize| (0..1_000).map(|number| format!("/{at}/p/{number}")).collect::<Vec<_>>();
    let one =
        |at: usize| json!({"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": paths(at)});
    let many = json!((0..10).map(one).collect::<Vec<_>>());
    let request = world.ask(&world.agent, &with(asked("T", "GET", "/"), "scope", many)).await;
    let few = json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/8/p/998", "/8/p/999"]}]);
    let less = json!({"reason": "two of them", "scope": few});
    let path = format!("/v1/requests/{}/approve", id(&request));
    let approved = world.api(&world.ca.svid("operator/local"), ("POST", &path), &less).await.json();
    world.start_proxy().await;
    world.granted(&approved).await;
    for (path, status) in [("/8/p/999", 200), ("/2999", 200), ("/8/p/0", 403), ("/3000", 403)] {
        assert_eq!(world.client(Protocol::H1).get(path).await.status, status, "{path}");
    }
    let shown = world.try_cli(&["requests"]).await;
    assert!(shown.status.success() && !shown.stdout.is_empty(), "{:?}", shown.status);
    let row = String::from_utf8(shown.stdout).unwrap();
    assert!(row.lines().all(|line| line.len() < 1_000), "a long scope buries no other row");
}
