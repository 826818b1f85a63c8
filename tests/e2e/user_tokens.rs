//! A service that demands to know the human behind a request: a token of an outside issuer beside the certificate, which narrows,
//! permits nothing, counts for that service alone, and is not passed on.

use crate::harness::client::empty;
use crate::harness::idp::{IDP, Idp, b64, seconds};
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Protocol, Setup, World, asked, eventually, id, with};
use serde_json::{Value, json};
use std::fs;

const HEADER: &str = "jitgate-user-token";

/// What `orders` demands, and whom both halves believe.
fn tables(more: &str) -> String {
    format!(
        "{more}\n[service.user_token]\nissuer = \"{IDP}\"\naudience = \"orders\"\n\
         claims = {{ tenant = \"acme\", groups = \"support\", level = 3, active = true }}\n\
         [[issuers]]\nissuer = \"{IDP}\"\naudience = \"jitgate\"\njwks_file = \"idp.json\"\nalgorithms = [\"ES256\"]\n"
    )
}

async fn world(idp: &Idp, setup: Setup) -> World {
    let mut world = setup.prepare().await;
    fs::write(world.path("idp.json"), idp.jwks()).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world
}

fn good(claims: &mut Value) {
    claims["tenant"] = json!("acme");
    claims["groups"] = json!(["staff", "support"]);
    claims["level"] = json!(3);
    claims["active"] = json!(true);
}

async fn get_as(world: &World, leaf: &Leaf, protocol: Protocol, headers: &[(&str, &str)]) -> Answer {
    let mut connection = world.client_as(Some(leaf), protocol).connect().await;
    let mut request = connection.request("GET", "/v1/orders/7");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(connection.send(request.body(empty()).unwrap()).await).await
}

async fn get(world: &World, headers: &[(&str, &str)]) -> Answer {
    get_as(world, &world.agent, Protocol::H2, headers).await
}

fn is_denied(answer: &Answer, reason: &str, what: &str) {
    assert_eq!((answer.reason().as_str(), answer.status.as_u16()), (reason, 401), "{what}: {answer:?}");
    let error = if reason == "token_invalid" { "error=\"invalid_token\", " } else { "" };
    let challenge = format!(
        "Bearer realm=\"jitgate\", {error}token=\"user\", header=\"{HEADER}\", issuer=\"{IDP}\", audience=\"orders\""
    );
    assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{what}");
}

#[tokio::test]
async fn a_service_may_demand_to_know_the_user_and_the_audit_line_names_them() {
    let idp = Idp::new("k1");
    let world = world(&idp, Setup::new().tables(&tables(""))).await;
    let ada = idp.token("u-\"ada\"", "orders", good);
    // A token permits nothing, and whoever has no grant learns nothing of what the service demands.
    for headers in [&[][..], &[(HEADER, "x.y.z")], &[(HEADER, &ada)]] {
        let answer = get(&world, headers).await;
        assert_eq!((answer.reason().as_str(), answer.header("www-authenticate")), ("no_grant", None));
    }
    let grant = world.grant("orders:GET:/v1/orders/*").await;
    for protocol in Protocol::BOTH {
        let none = get_as(&world, &world.agent, protocol, &[]).await;
        is_denied(&none, "token_required", "none");
        for part in [IDP, "`orders`", HEADER, "`tenant`"] {
            assert!(none.json()["detail"].as_str().unwrap().contains(part), "{part}: {none:?}");
        }
        // Elsewhere than where it belongs it is no user's token.
        let bearer = format!("Bearer {ada}");
        let elsewhere = get_as(&world, &world.agent, protocol, &[("authorization", &bearer)]).await;
        is_denied(&elsewhere, "token_required", "elsewhere");
        let headers = [(HEADER, ada.as_str()), ("authorization", "Basic x")];
        assert_eq!(get_as(&world, &world.agent, protocol, &headers).await.status, 200);
        let received = world.upstream.only();
        assert!(!received.headers.contains_key(HEADER), "{received:?}");
        assert_eq!(received.headers["authorization"], "Basic x");
        assert_eq!(received.headers["x-jitgate-grant"], *grant);
        world.upstream.forget();
    }
    let lines = eventually("lines of each decision", || async {
        Some(world.ends("/v1/orders/7").await).filter(|lines| lines.len() == 9)
    });
    for line in lines.await {
        let user = match &line["decision"] {
            permit if permit == "permit" => json!({"issuer": IDP, "subject": "u-\"ada\""}),
            _ => Value::Null,
        };
        assert_eq!(line["user"], user, "{line}");
    }
    assert!(!fs::read_to_string(world.path("audit/audit.jsonl")).unwrap().contains(&ada));
}

/// Tokens that must not hold, each wrong in one respect.
fn attacks(idp: &Idp) -> Vec<(&'static str, String)> {
    let mut claims = Idp::claims("u-ada", "orders");
    good(&mut claims);
    let (header, plain) = (idp.header(), claims.to_string());
    let but = |name: &str, value: Value| with(claims.clone(), name, value).to_string();
    let headed = |name: &str, value: Value| with(idp.header(), name, value).to_string();
    let signed = |claims: String| idp.sign(idp.header().to_string(), claims);
    let payload = b64(&plain);
    let foreign = Idp::new("k1");
    let hs256 = {
        let signed = format!("{}.{payload}", b64(headed("alg", json!("HS256"))));
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, idp.public_point());
        format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
    };
    let good_one = signed(plain.clone());
    vec![
        ("nothing", String::new()),
        ("no token", "x.y.z".to_owned()),
        ("none", format!("{}.{payload}.", b64(headed("alg", json!("none"))))),
        ("none, signed", idp.sign(headed("alg", json!("none")), &plain)),
        ("HS256 with the public key", hs256),
        ("a foreign key under its name", foreign.sign(header.to_string(), &plain)),
        ("an unknown key", idp.sign(headed("kid", json!("k9")), &plain)),
        ("an embedded key", foreign.sign(headed("jwk", foreign.jwk()), &plain)),
        ("a key elsewhere", idp.sign(headed("jku", json!("https://x/")), &plain)),
        ("crit", idp.sign(headed("crit", json!(["exp"])), &plain)),
        ("another kind", idp.sign(headed("typ", json!("logout+jwt")), &plain)),
        ("expired by a second", signed(but("exp", json!(seconds() - 1)))),
        ("without an end", signed(but("exp", Value::Null))),
        ("not yet valid", signed(but("nbf", json!(seconds() + 3_600)))),
        ("the control plane's audience", signed(but("aud", json!("jitgate")))),
        ("another issuer", signed(but("iss", json!("https://them")))),
        ("nobody", signed(but("sub", json!("")))),
        ("another tenant", signed(but("tenant", json!("Acme")))),
        ("no tenant", signed(but("tenant", Value::Null))),
        ("another group", signed(but("groups", json!(["staff"])))),
        ("a number as a text", signed(but("level", json!("3")))),
        ("another truth", signed(but("active", json!(false)))),
        ("bound to another certificate", signed(but("cnf", json!({"x5t#S256": b64([7; 32])})))),
        ("bound to what cannot be checked", signed(but("cnf", json!({"jkt": "x"})))),
        ("a claim twice", signed(plain.replacen('{', r#"{"exp":9999999999,"#, 1))),
        ("a header twice", idp.sign(header.to_string().replacen('{', r#"{"alg":"none","#, 1), &plain)),
        ("with its scheme", format!("Bearer {good_one}")),
        ("cut short", good_one[..good_one.len() - 8].to_owned()),
        ("with a comma", format!("{good_one},x")),
    ]
}

#[tokio::test]
async fn users_tokens_that_do_not_hold_are_refused_though_the_grant_would_permit() {
    let idp = Idp::new("k1");
    let world = world(&idp, Setup::new().tables(&tables(""))).await;
    world.grant("orders:GET:/**").await;
    for (what, attack) in attacks(&idp) {
        is_denied(&get(&world, &[(HEADER, &attack)]).await, "token_invalid", what);
    }
    let ada = idp.token("u-ada", "orders", good);
    // Two have two readings, and so has another spelling that a service might read.
    is_denied(&get(&world, &[(HEADER, &ada), (HEADER, &ada)]).await, "token_invalid", "twice");
    assert!(world.upstream.received().is_empty());
    // One that is bound to the caller's certificate holds with it.
    let bound = idp.token("u-ada", "orders", |claims| {
        good(claims);
        claims["cnf"] = json!({"x5t#S256": world.agent.thumbprint()});
    });
    assert_eq!(get(&world, &[(HEADER, &bound)]).await.status, 200);
    // What held on a connection is looked at again: other keys forget it.
    let mut connection = world.client(Protocol::H2).connect().await;
    let again = async |connection: &mut crate::harness::client::Connection| {
        let request = connection.request("GET", "/v1/orders/7").header(HEADER, &ada).body(empty()).unwrap();
        Answer::of(connection.send(request).await).await
    };
    assert_eq!(again(&mut connection).await.status, 200);
    assert_eq!(again(&mut connection).await.status, 200);
    let second = Idp::new("k2");
    fs::write(world.path("idp.json"), second.jwks()).unwrap();
    // An unknown key is a reason to look for newer ones at once.
    assert_eq!(get(&world, &[(HEADER, &second.token("u-ada", "orders", good))]).await.status, 200);
    assert_eq!(again(&mut connection).await.reason(), "token_invalid");
}

#[tokio::test]
async fn a_grant_that_was_given_on_behalf_of_a_user_is_for_that_user_alone() {
    let idp = Idp::new("k1");
    let world = world(&idp, Setup::new().tables(&tables(""))).await;
    let operator = world.ca.svid("operator/local");
    let behalf = idp.token("u-ada", "jitgate", |_| {});
    let body = with(asked("t-1", "GET", "/v1/orders/*"), "on_behalf_of", json!(behalf));
    let pending = world.ask(&world.agent, &body).await;
    let path = format!("/v1/requests/{}/approve", id(&pending));
    let approved = world.api(&operator, ("POST", &path), &json!({"reason": "fine"})).await.json();
    let grant = world.cli(&["grants", "show", approved["grant"].as_str().unwrap()]).await;
    assert_eq!(grant["lineage"]["on_behalf_of"], json!({"issuer": IDP, "subject": "u-ada"}), "{grant}");
    world.applied(&grant["revision"]).await;
    let (ada, bob) = (idp.token("u-ada", "orders", good), idp.token("u-bob", "orders", good));
    is_denied(&get(&world, &[]).await, "token_required", "none");
    let other = get(&world, &[(HEADER, &bob)]).await;
    is_denied(&other, "token_invalid", "somebody else");
    assert!(other.json()["detail"].as_str().unwrap().contains("another user"), "{other:?}");
    assert_eq!(get(&world, &[(HEADER, &ada)]).await.status, 200);
    eventually("the line of the refusal", || async {
        let lines = world.ends("/v1/orders/7").await;
        let named = |line: &Value| line["user"]["subject"] == "u-bob" && line["decision"] == "deny";
        lines.iter().any(named).then_some(())
    })
    .await;
    // A grant that is nobody's serves whoever is behind the request.
    world.grant("orders:GET:/**").await;
    assert_eq!(get(&world, &[(HEADER, &bob)]).await.status, 200);
}

#[tokio::test]
async fn both_tokens_have_a_header_each_and_a_service_may_get_the_users() {
    let idp = Idp::new("k1");
    let token = format!("[service.user_token]\nissuer = \"{IDP}\"\nheader = \"x-user\"\nforward = true\n");
    let table = tables("token_required = true");
    let (before, issuers) = table.split_once("[service.user_token]").unwrap();
    let issuers = issuers.split_once("[[issuers]]").unwrap().1;
    let second = "[[service]]\nname = \"stock\"\nupstream = [\"http://127.0.0.1:1\"]\n";
    let own = format!("[service.user_token]\nissuer = \"{IDP}\"\nheader = \"authorization\"\n");
    let token = token.replace("x-user", "x-user-token");
    let tables = format!("{before}{token}{second}{own}[[issuers]]{issuers}");
    let mut world = Setup::new().tables(&tables).prepare().await;
    let text = fs::read_to_string(world.path("jitgate.toml")).unwrap();
    fs::write(
        world.path("jitgate.toml"),
        text.replace("http://127.0.0.1:1\"", &format!("http://{}\"", world.upstream.address)),
    )
    .unwrap();
    fs::write(world.path("idp.json"), idp.jwks()).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    let grant = world.grant("orders,stock:GET:/**").await;
    let user = idp.token("u-ada", "jitgate", |_| {});
    let made =
        world.api(&world.agent, ("POST", &format!("/v1/grants/{grant}/token")), &json!({})).await.json();
    let ours = format!("Bearer {}", made["access_token"].as_str().unwrap());
    let none = get(&world, &[]).await;
    let challenges: Vec<_> = none.headers.get_all("www-authenticate").iter().collect();
    assert_eq!((none.reason().as_str(), challenges.len()), ("token_required", 2), "{none:?}");
    assert_eq!(get(&world, &[("x-user-token", &user)]).await.reason(), "token_required");
    assert_eq!(get(&world, &[("authorization", &ours)]).await.reason(), "token_required");
    let both = [("x-user-token", user.as_str()), ("authorization", ours.as_str())];
    assert_eq!(get(&world, &both).await.status, 200);
    let received = world.upstream.only();
    world.upstream.forget();
    assert_eq!(received.headers["x-user-token"], user);
    assert!(!received.headers.contains_key("authorization"));
    // Another spelling is one that a service might read in its place.
    let twin = [("x-user-token", user.as_str()), ("x_user_token", "x"), ("authorization", ours.as_str())];
    assert_eq!(get(&world, &twin).await.reason(), "token_invalid");
    // In `authorization`, where a service expects it of its users: kept back, unless it is to be forwarded.
    let mut connection = world.client(Protocol::H1).host("stock.localhost").connect().await;
    for (value, reason) in
        [(format!("Bearer {user}"), ""), (ours, "token_required"), ("Basic x".into(), "token_required")]
    {
        let request = connection.request("GET", "/v1/orders").header("authorization", value);
        let answer = Answer::of(connection.send(request.body(empty()).unwrap()).await).await;
        match reason {
            "" => assert_eq!(answer.status, 200, "{answer:?}"),
            reason => assert_eq!(answer.reason(), reason),
        }
    }
    assert!(!world.upstream.only().headers.contains_key("authorization"));
}

#[tokio::test]
async fn without_fresh_keys_no_users_token_holds() {
    let idp = Idp::new("k1");
    let table = tables("").replace("jwks_file = \"idp.json\"", "jwks_url = \"http://127.0.0.1:9/keys\"");
    let world = world(&idp, Setup::new().tables(&table)).await;
    world.grant("orders:GET:/**").await;
    let answer = get(&world, &[(HEADER, &idp.token("u-ada", "orders", good))]).await;
    is_denied(&answer, "token_invalid", "no keys");
    assert!(answer.json()["detail"].as_str().unwrap().contains("try again"), "{answer:?}");
    assert!(world.upstream.received().is_empty());
}
