//! A person with a browser and a certificate decides on the page of a request: on what is shown, from that page alone, and never for
//! themselves.

use crate::harness::browser::{Browser, Identity};
use crate::harness::form::{Fields, denial, fields, filled};
use crate::harness::scripted::{Scripted, done};
use crate::harness::{Answer, Protocol, Setup, World, asked, id, with};
use serde_json::{Value, json};

fn text(page: &Answer) -> String {
    String::from_utf8(page.body.to_vec()).unwrap()
}

async fn now(world: &World, request: &Value) -> Value {
    world.cli(&["requests", "show", id(request)]).await
}

#[tokio::test]
async fn a_request_is_narrowed_and_approved_on_its_page() {
    let world = World::start().await;
    let operator = world.ca.svid("operator/local");
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/**")).await;
    let page = world.page(&operator, id(&request)).await;
    assert_eq!(page.status, 200, "{page:?}");
    let html = text(&page);
    for shown in [
        "spiffe://jitgate.local/agent/demo",
        "INC-1",
        "orders:GET:/v1/**",
        "a customer asks",
        "5m",
        "role:approver",
    ] {
        assert!(html.contains(shown), "{shown} in {html}");
    }
    assert!(
        html.contains("Facts that they saw") && html.contains(request["hash"].as_str().unwrap()),
        "{html}"
    );
    let policy = page.header("content-security-policy").unwrap();
    for rule in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }

    let entered = [
        ("scope", "orders:GET:/v1/orders/*\r\n"),
        ("ttl", "3m"),
        ("reason", "only orders"),
        ("decision", "approve"),
    ];
    let sent = world.submit(&operator, id(&request), (&filled(fields(&page), &entered), &[])).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let request = now(&world, &request).await;
    assert_eq!(
        (&request["approvals"][0]["reason"], &request["approvals"][0]["ttl_seconds"]),
        (&json!("only orders"), &json!(180))
    );
    world.granted(&request).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.status, 200);
    assert_eq!(world.client(Protocol::H1).get("/v1/stock").await.reason(), "out_of_scope");
    // It still tells what happened, and has no form any more.
    let after = world.page(&operator, id(&request)).await;
    assert!(text(&after).contains("only orders") && !text(&after).contains("<form"), "{after:?}");
}

#[tokio::test]
async fn a_request_for_tools_shows_them_and_is_narrowed_to_one() {
    let service = Scripted::start(done).await;
    let world = Setup::new().tables(&service.table()).start().await;
    let operator = world.ca.svid("operator/local");
    let scope = json!([{"type": "mcp", "locations": ["desk"], "actions": ["tools/call"], "tools": ["drop", "restart"], "arguments": true}]);
    let request = world.ask(&world.agent, &with(asked("INC-1", "GET", "/v1/orders"), "scope", scope)).await;
    let page = world.page(&operator, id(&request)).await;
    let shown = "desk:tools/call:drop,restart{*}";
    assert!(text(&page).contains(shown), "{page:?}");
    assert_eq!(fields(&page)["scope"].trim(), shown);

    let wider = [("scope", "desk:tools/call:delete{*}"), ("reason", "too much"), ("decision", "approve")];
    let sent = world.submit(&operator, id(&request), (&filled(fields(&page), &wider), &[])).await;
    assert_eq!(sent.status, 422, "{sent:?}");
    let one = [("scope", "desk:tools/call:restart{*}\r\n"), ("reason", "that one"), ("decision", "approve")];
    let sent = world.submit(&operator, id(&request), (&filled(fields(&page), &one), &[])).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    world.granted(&now(&world, &request).await).await;
    let nothing = json!({});
    assert!(world.call_tool("restart", &nothing).await["result"].is_object());
    let refused = world.call_tool("drop", &nothing).await;
    assert_eq!(refused["error"]["data"]["reason"], "out_of_scope", "{refused}");
    assert_eq!(service.count("tools/call"), 1);
}

#[tokio::test]
async fn a_request_is_denied_on_its_page() {
    let world = World::start().await;
    let operator = world.ca.svid("operator/local");
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders")).await;
    let form = denial(&world.page(&operator, id(&request)).await);
    let sent = world
        .submit(&operator, id(&request), (&filled(form, &[("reason", "not now"), ("decision", "deny")]), &[]))
        .await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let denied = now(&world, &request).await;
    assert_eq!((&denied["state"], &denied["because"]), (&json!("denied"), &json!(["not now"])));
}

#[tokio::test]
async fn a_request_that_is_too_large_for_a_form_is_denied_on_its_page() {
    let world = World::start().await;
    let operator = world.ca.svid("operator/local");
    let part = |action: &str| {
        let paths: Vec<String> =
            (0..1_000).map(|number| format!("/v1/orders/{number:06}/of-a-customer")).collect();
        json!({"type": "http", "locations": ["orders"], "actions": [action], "paths": paths})
    };
    let scope = json!([part("GET"), part("PUT"), part("PATCH")]);
    let request = world.ask(&world.agent, &with(asked("INC-1", "GET", "/v1/orders"), "scope", scope)).await;
    let page = world.page(&operator, id(&request)).await;
    assert!(fields(&page)["scope"].len() > 64 << 10);
    let form = denial(&page);
    assert!(!form.contains_key("scope") && !form.contains_key("ttl"), "{form:?}");
    let form = filled(form, &[("reason", "ask for less"), ("decision", "deny")]);
    let sent = world.submit(&operator, id(&request), (&form, &[])).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    assert_eq!(now(&world, &request).await["state"], "denied");
}

#[tokio::test]
async fn text_of_callers_is_text_on_the_page() {
    let world = World::start().await;
    let hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u{1b}[31m\u{202e}gnihton\u{0}</pre></textarea><form action=https://evil.example>";
    let ask = with(asked("INC-1", "GET", "/v1/orders"), "reason", json!(hostile));
    let request = world.ask(&world.agent, &with(ask, "ticket", json!("OPS-7<b>\u{2066}"))).await;
    let operator = world.ca.svid("operator/local");
    let page = world.page(&operator, id(&request)).await;
    let html = text(&page);
    for markup in ["<script", "<img", "<b>", "evil.example>", "\u{1b}", "\u{202e}", "\u{2066}", "\u{0}"] {
        assert!(!html.contains(markup), "{markup:?} in {html}");
    }
    assert!(
        html.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && html.contains("\\u{202e}gnihton\\u{0}"),
        "{html}"
    );
    assert_eq!(html.matches("<form").count(), 2);
    // So is what an approver says, and what was wrong with a form.
    let entered = [("scope", "<script>"), ("reason", hostile), ("decision", "approve")];
    let sent = world.submit(&operator, id(&request), (&filled(fields(&page), &entered), &[])).await;
    assert_eq!(sent.status, 400, "{sent:?}");
    assert!(text(&sent).contains("Not done:") && !text(&sent).contains("<script"), "{sent:?}");
    let entered = [("reason", hostile), ("decision", "deny")];
    let sent = world.submit(&operator, id(&request), (&filled(denial(&page), &entered), &[])).await;
    assert_eq!(sent.status, 303, "{sent:?}");
    let html = text(&world.page(&operator, id(&request)).await);
    assert!(!html.contains("<script") && !html.contains('\u{202e}'), "{html}");
}

#[tokio::test]
async fn only_the_page_itself_decides() {
    let people = "[[identities]]\nid = \"spiffe://jitgate.local/operator/eve\"\nroles = [\"approver\"]\n";
    let world = Setup::new().tables(people).start().await;
    let (operator, eve) = (world.ca.svid("operator/local"), world.ca.svid("operator/eve"));
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders")).await;
    let other = world.ask(&world.agent, &asked("INC-2", "GET", "/v1/orders/7")).await;
    let page = world.page(&operator, id(&request)).await;
    let form = filled(fields(&page), &[("reason", "r"), ("decision", "approve")]);
    let changed = |name: &str, value: &str| filled(form.clone(), &[(name, value)]);
    let without =
        |name: &str| -> Fields { form.clone().into_iter().filter(|(key, _)| key != name).collect() };
    let others = fields(&world.page(&operator, id(&other)).await);
    let eves = fields(&world.page(&eve, id(&request)).await);
    for (status, form, headers) in [
        // Another page made the browser send it.
        (403, form.clone(), &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")][..]),
        (403, form.clone(), &[("sec-fetch-site", "same-site")]),
        (403, form.clone(), &[("sec-fetch-site", "none")]),
        (403, form.clone(), &[("origin", "https://evil.example")]),
        (403, form.clone(), &[("sec-fetch-site", "-"), ("origin", "https://evil.example")]),
        (403, form.clone(), &[("sec-fetch-site", "-"), ("origin", "null")]),
        (403, form.clone(), &[("sec-fetch-site", "-"), ("origin", "-")]),
        (403, form.clone(), &[("host", "evil.example"), ("origin", "https://evil.example")]),
        // It is not the form that was shown: to this caller, for this request.
        (403, changed("token", ""), &[]),
        (403, changed("token", &"0".repeat(64)), &[]),
        (403, changed("token", &eves["token"]), &[]),
        (403, changed("hash", &others["hash"]), &[]),
        (409, filled(form.clone(), &[("hash", &*others["hash"]), ("token", &*others["token"])]), &[]),
        (400, without("token"), &[]),
        (400, without("hash"), &[]),
        // An approval says of what and for how long; also a denial comes from the page.
        (400, without("scope"), &[]),
        (400, without("ttl"), &[]),
        (403, filled(denial(&page), &[("reason", "r"), ("decision", "deny"), ("token", "")]), &[]),
        (400, changed("decision", "both"), &[]),
        (400, changed("more", "1"), &[]),
        (400, changed("scope", ""), &[]),
        (422, changed("scope", "orders:DELETE:/v1/orders"), &[]),
        (422, changed("reason", ""), &[]),
        (413, changed("reason", &"x".repeat(70 << 10)), &[]),
        (415, form.clone(), &[("content-type", "text/plain")]),
    ] {
        let sent = world.submit(&operator, id(&request), (&form, headers)).await;
        assert_eq!(sent.status, status, "{headers:?} {form:?} {sent:?}");
        assert_eq!(now(&world, &request).await["state"], "pending", "{headers:?} {form:?}");
    }
    // A browser that does not say where a form comes from, but which page it was.
    let own = [("sec-fetch-site", "-"), ("origin", "https://localhost")];
    assert_eq!(world.submit(&operator, id(&request), (&form, &own)).await.status, 303);
    assert_eq!(now(&world, &request).await["state"], "approved");
    // Once is enough: what is decided is not decided again.
    let again = world.submit(&operator, id(&request), (&form, &own)).await;
    assert_eq!(again.status, 409, "{again:?}");
}

#[tokio::test]
async fn whoever_may_not_see_a_request_finds_nothing_there() {
    let world = World::start().await;
    let (operator, stranger) = (world.ca.svid("operator/local"), world.ca.svid("agent/other"));
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders")).await;
    let form = fields(&world.page(&operator, id(&request)).await);
    let form = filled(form, &[("reason", "r"), ("decision", "approve")]);
    let invented = "rq_01jzzzzzzzzzzzzzzzzzzzzzzz";
    let seen = |answer: &Answer| {
        let named = answer.headers.iter().filter(|(name, _)| *name != "date");
        (
            answer.status,
            text(answer),
            named.map(|(name, value)| (name.clone(), value.clone())).collect::<Vec<_>>(),
        )
    };
    let nothing = seen(&world.page(&stranger, invented).await);
    assert_eq!(nothing.0, 404);
    assert_eq!(seen(&world.page(&stranger, id(&request)).await), nothing);
    assert_eq!(seen(&world.page(&stranger, "nonsense").await), nothing);
    for headers in [&[][..], &[("sec-fetch-site", "cross-site")]] {
        assert_eq!(seen(&world.submit(&stranger, id(&request), (&form, headers)).await), nothing);
        assert_eq!(seen(&world.submit(&stranger, invented, (&form, headers)).await), nothing);
    }
    // The requester sees it, and has no say in it: not even with somebody else's form.
    let own = world.page(&world.agent, id(&request)).await;
    assert!(own.status == 200 && !text(&own).contains("<form"), "{own:?}");
    let sent = world.submit(&world.agent, id(&request), (&form, &[])).await;
    assert_eq!(sent.status, 403, "{sent:?}");
    assert_eq!(now(&world, &request).await["state"], "pending");
}

#[tokio::test]
async fn nobody_approves_for_themselves_on_the_page() {
    let people = "[[people]]\nname = \"Ada\"\nidentities = [\"spiffe://jitgate.local/agent/demo\", \"spiffe://jitgate.local/operator/local\"]\n";
    let world = Setup::new().tables(people).start().await;
    let operator = world.ca.svid("operator/local");
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders")).await;
    let form = fields(&world.page(&operator, id(&request)).await);
    let sent = world
        .submit(&operator, id(&request), (&filled(form, &[("reason", "me"), ("decision", "approve")]), &[]))
        .await;
    assert!(sent.status == 403 && text(&sent).contains("Not done:"), "{sent:?}");
    assert_eq!(now(&world, &request).await["state"], "pending");
}

#[tokio::test]
async fn a_public_url_is_what_callers_are_told() {
    let world = Setup::new().prepare().await;
    let path = world.path("jitgate.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        before.replace("[control]\n", "[control]\npublic_url = \"https://gate.example\"\n"),
    )
    .unwrap();
    let world = world.start_both().await;
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders")).await;
    assert_eq!(request["approval_url"], format!("https://gate.example:443/approve/{}", id(&request)));
    let operator = world.ca.svid("operator/local");
    let shown = world.api_as(&operator).host("gate.example").get(&format!("/approve/{}", id(&request))).await;
    assert_eq!(shown.status, 200);
    let elsewhere =
        world.api_as(&operator).host("evil.example").get(&format!("/approve/{}", id(&request))).await;
    assert_eq!(elsewhere.status, 421);
}

#[tokio::test]
async fn a_browser_decides_on_the_page_and_for_no_other_page() {
    let world = World::start().await;
    let origin = format!("https://{}:8444", world.address);
    let identity = Identity {
        ca: world.path("ca.pem"),
        certificate: world.operator.cert.clone(),
        key: world.operator.key.clone(),
        origins: std::slice::from_ref(&origin),
        address: world.address.to_string(),
    };
    let mut browser = Browser::start(&identity).await;
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders")).await;
    let url = request["approval_url"].as_str().unwrap();

    // Another page makes the browser, with its certificate, send what it can guess.
    let hidden = ["token", "hash", "scope", "ttl", "reason"]
        .map(|name| format!("<input name={name} value=5m>"))
        .concat();
    let foreign = format!(
        "data:text/html,<form method=post action={url}>{hidden}<button name=decision value=approve>x</button></form>"
    );
    browser.open(&foreign).await;
    browser.run("setTimeout(() => document.querySelector('button').click()); true").await;
    browser.shows("a form is sent from its own page").await;
    assert_eq!(now(&world, &request).await["state"], "pending");

    browser.open(url).await;
    assert_eq!(browser.run("document.querySelector('textarea').value").await, "orders:GET:/v1/orders");
    assert_eq!(
        browser.run("getComputedStyle(document.querySelector('dl')).display").await,
        "grid",
        "its own style counts"
    );
    // Whoever types why it is not needed and presses Enter has pressed no button: nothing is decided, least of all approved.
    let type_in = "globalThis.sent = 0; globalThis.off = new AbortController();
        document.querySelector('form').addEventListener('submit', event => { event.preventDefault(); sent++; }, {signal: off.signal});
        document.querySelector('input[name=reason]').value = 'not needed'; document.querySelector('input[name=reason]').focus(); true";
    browser.run(type_in).await;
    browser.press_enter().await;
    assert_eq!(browser.run("off.abort(); sent").await, 0);
    let fill = "document.querySelector('input[name=reason]').value = 'fine'; setTimeout(() => document.querySelector('button[value=approve]').click()); true";
    browser.run(fill).await;
    browser.shows("approved by spiffe://jitgate.local/operator/local").await;
    assert_eq!(now(&world, &request).await["state"], "approved");
}
