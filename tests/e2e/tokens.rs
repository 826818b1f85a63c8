//! A token narrows a request to one grant, counts with one certificate, and never outlives or replaces its grant.

use crate::harness::client::{empty, full};
use crate::harness::pki::Leaf;
use crate::harness::raw::statuses;
use crate::harness::world::AGENT;
use crate::harness::{Answer, Protocol, Setup, World, within};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

async fn post(world: &World, leaf: &Leaf, path: &str, body: &Value) -> Answer {
    let mut connection = world.api_as(leaf).connect().await;
    let request = connection.request("POST", path).header("content-type", "application/json");
    Answer::of(connection.send(request.body(full(body.to_string())).unwrap()).await).await
}

/// A token of a grant for the agent's certificate.
async fn token(world: &World, grant: &str) -> String {
    let answer = post(world, &world.agent, &format!("/v1/grants/{grant}/token"), &json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cache-control")),
        (200, Some("no-store")),
        "{answer:?}"
    );
    let token = answer.json();
    assert_eq!(token["token_type"], "Bearer");
    assert!((1..=600).contains(&token["expires_in"].as_u64().unwrap()), "{token}");
    token["access_token"].as_str().unwrap().to_owned()
}

async fn get_as(world: &World, leaf: &Leaf, protocol: Protocol, path: &str, authorization: &str) -> Answer {
    let mut connection = world.client_as(Some(leaf), protocol).connect().await;
    let request = connection.request("GET", path).header("authorization", authorization);
    Answer::of(connection.send(request.body(empty()).unwrap()).await).await
}

async fn get(world: &World, path: &str, authorization: &str) -> Answer {
    get_as(world, &world.agent, Protocol::H2, path, authorization).await
}

fn is_denied(answer: &Answer, reason: &str, what: &str) {
    assert_eq!((answer.reason().as_str(), answer.status.as_u16()), (reason, 401), "{what}: {answer:?}");
    let challenge = match reason {
        "token_required" => "Bearer realm=\"jitgate\"",
        _ => "Bearer realm=\"jitgate\", error=\"invalid_token\"",
    };
    assert_eq!(answer.header("www-authenticate"), Some(challenge), "{what}");
}

async fn grant_for(world: &World, task: &str, scope: &str) -> String {
    let grant = world
        .cli(&[
            "grant",
            "--principal",
            AGENT,
            "--task",
            task,
            "--scope",
            scope,
            "--reason",
            "r",
            "--ttl",
            "10m",
        ])
        .await;
    world.applied(&grant["revision"]).await;
    grant["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_service_that_demands_a_token_gets_requests_of_its_grant_alone() {
    let world = Setup::new().tables("token_required = true\n").start().await;
    // Whoever has no grant learns nothing of what the service demands.
    assert_eq!(world.client(Protocol::H1).get("/v1/orders/7").await.reason(), "no_grant");
    assert_eq!(get(&world, "/v1/orders/7", "Bearer opaque").await.reason(), "no_grant");
    let one = grant_for(&world, "t-1", "orders:GET:/v1/orders/*").await;
    let two = grant_for(&world, "t-2", "orders:GET:/v1/stock").await;
    let (token_one, token_two) = (token(&world, &one).await, token(&world, &two).await);
    for protocol in Protocol::BOTH {
        is_denied(&world.client(protocol).get("/v1/orders/7").await, "token_required", "none");
        for foreign in ["Basic dXNlcjpwYXNz", "Bearer ghp_0123456789", "Bearer"] {
            let answer = get_as(&world, &world.agent, protocol, "/v1/orders/7", foreign).await;
            is_denied(&answer, "token_required", foreign);
        }
        let bearer = format!("Bearer {token_one}");
        let answer = get_as(&world, &world.agent, protocol, "/v1/orders/7", &bearer).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let received = world.upstream.only();
        assert!(!received.headers.contains_key("authorization"), "{received:?}");
        assert_eq!(received.headers["x-jitgate-grant"], *one);
        world.upstream.forget();
    }
    // The other task's access is not there, whichever way around.
    assert_eq!(get(&world, "/v1/stock", &format!("Bearer {token_one}")).await.reason(), "out_of_scope");
    assert_eq!(get(&world, "/v1/orders/7", &format!("bearer {token_two}")).await.reason(), "out_of_scope");
    assert_eq!(get(&world, "/v1/stock", &format!("bearer  {token_two}")).await.status, 200);
    // The table decides, whatever the token says.
    world.revoke(&one).await;
    let answer = get(&world, "/v1/orders/7", &format!("Bearer {token_one}")).await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "revoked"), "{answer:?}");
    let ended = post(&world, &world.agent, &format!("/v1/grants/{one}/token"), &json!({})).await;
    assert_eq!((ended.status.as_u16(), ended.reason().as_str()), (409, "not_live"));
}

#[tokio::test]
async fn a_stream_that_a_token_opened_ends_with_the_grant() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    let bearer = format!("Bearer {}", token(&world, &grant).await);
    let mut connection = world.client(Protocol::H2).connect().await;
    let request = connection.request("GET", "/sse").header("authorization", &bearer).body(empty()).unwrap();
    let mut running = connection.send(request).await;
    within("the first event", running.frame()).await.unwrap().unwrap();
    // On the same connection the token is known already; that changes nothing.
    let again =
        connection.request("GET", "/v1/orders").header("authorization", &bearer).body(empty()).unwrap();
    assert_eq!(connection.send(again).await.status(), 200);
    world.revoke(&grant).await;
    within("the cut", async { while let Some(Ok(_)) = running.frame().await {} }).await;
    let again =
        connection.request("GET", "/v1/orders").header("authorization", &bearer).body(empty()).unwrap();
    assert_eq!(Answer::of(connection.send(again).await).await.reason(), "revoked");
}

#[tokio::test]
async fn a_grant_may_demand_a_token_by_itself() {
    let world = World::start().await;
    let body = json!({
        "principal": AGENT, "task": "t-1", "ttl": "10m", "reason": "a test",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/**"]}],
        "conditions": {"token_required": true},
    });
    let granted = post(&world, &world.ca.svid("operator/local"), "/v1/grants", &body).await;
    assert_eq!(granted.status, 201, "{granted:?}");
    let granted = granted.json();
    world.applied(&granted["revision"]).await;
    is_denied(&world.client(Protocol::H1).get("/v1/orders").await, "token_required", "none");
    let bearer = format!("Bearer {}", token(&world, granted["id"].as_str().unwrap()).await);
    assert_eq!(get(&world, "/v1/orders", &bearer).await.status, 200);
}

#[tokio::test]
async fn what_is_not_ours_is_passed_on_unless_the_service_says_otherwise() {
    let mut world = Setup::new().prepare().await;
    let upstream = world.upstream.address;
    world.append_config(&format!(
        "[[service]]\nname = \"stock\"\nupstream = [\"http://{upstream}\"]\nforward_authorization = false\n"
    ));
    world.start_control().await;
    world.start_proxy().await;
    let grant = world.grant("orders,stock:GET:/**").await;
    let ours = format!("Bearer {}", token(&world, &grant).await);
    let theirs =
        ["Bearer ghp_0123456789", "Basic dXNlcjpwYXNz", "Bearer eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.", "X y"];
    for (host, passes) in [("orders.localhost", true), ("stock.localhost", false)] {
        for (value, expected) in
            theirs.into_iter().map(|value| (value, passes)).chain([(ours.as_str(), false)])
        {
            let mut connection = world.client(Protocol::H1).host(host).connect().await;
            let request = connection.request("GET", "/v1/orders").header("authorization", value);
            assert_eq!(connection.send(request.body(empty()).unwrap()).await.status(), 200, "{host} {value}");
            let received = world.upstream.only();
            world.upstream.forget();
            let arrived = received.headers.get("authorization").map(|arrived| arrived.to_str().unwrap());
            assert_eq!(arrived, expected.then_some(value), "{host}");
        }
    }
}

/// The control plane's own key, as somebody who stole it would use it: so that each check stands alone.
struct Stolen {
    pair: EcdsaKeyPair,
    kid: String,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Stolen {
    fn from(world: &World, token: &str) -> Self {
        let file = std::fs::read(world.path("control.tokens.keys.json")).unwrap();
        let keys: Value = serde_json::from_slice(&file).unwrap();
        let der = URL_SAFE_NO_PAD.decode(keys["keys"][0]["pkcs8"].as_str().unwrap()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der).unwrap();
        Self { pair, kid: part(token, 0)["kid"].as_str().unwrap().to_owned() }
    }

    fn sign(&self, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let signed = format!("{}.{}", b64(header), b64(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature.as_ref()))
    }
}

/// One part of a token, as JSON.
fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

fn with(base: &Value, name: &str, value: Value) -> String {
    let mut changed = base.clone();
    changed[name] = value;
    changed.to_string()
}

/// Tokens that must not hold, each wrong in one respect.
fn attacks(world: &World, token: &str) -> Vec<(&'static str, String)> {
    let stolen = Stolen::from(world, token);
    let (header, claims) = (part(token, 0), part(token, 1));
    let (plain_header, plain) = (header.to_string(), claims.to_string());
    let pieces: Vec<&str> = token.split('.').collect();
    let foreign_der =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let foreign_pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, foreign_der.as_ref()).unwrap();
    let point = foreign_pair.public_key().as_ref().to_vec();
    let embedded = json!({"kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..])});
    let foreign = Stolen { pair: foreign_pair, kid: stolen.kid.clone() };
    let hs256 = {
        let signed = format!("{}.{}", b64(with(&header, "alg", json!("HS256"))), pieces[1]);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, stolen.pair.public_key().as_ref());
        format!("{signed}.{}", b64(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    vec![
        ("none", format!("{}.{}.", b64(with(&header, "alg", json!("none"))), pieces[1])),
        ("none, signed", stolen.sign(with(&header, "alg", json!("none")), &plain)),
        ("HS256 with the public key", hs256),
        ("a foreign key under our name", foreign.sign(&plain_header, &plain)),
        ("a foreign key under its own name", foreign.sign(with(&header, "kid", json!("x")), &plain)),
        ("an embedded key", foreign.sign(with(&header, "jwk", embedded), &plain)),
        ("a key elsewhere", stolen.sign(with(&header, "jku", json!("https://x/")), &plain)),
        ("crit", stolen.sign(with(&header, "crit", json!(["exp"])), &plain)),
        ("another kind", stolen.sign(with(&header, "typ", json!("JWT")), &plain)),
        ("expired by a second", stolen.sign(&plain_header, with(&claims, "exp", json!(now - 1)))),
        ("not yet valid", stolen.sign(&plain_header, with(&claims, "nbf", json!(now + 3_600)))),
        ("another audience", stolen.sign(&plain_header, with(&claims, "aud", json!("them")))),
        ("another issuer", stolen.sign(&plain_header, with(&claims, "iss", json!("https://them")))),
        ("a claim twice", stolen.sign(&plain_header, plain.replacen('{', r#"{"exp":9999999999,"#, 1))),
        ("a header twice", stolen.sign(plain_header.replacen('{', r#"{"alg":"none","#, 1), &plain)),
        ("another principal", stolen.sign(&plain_header, with(&claims, "client_id", json!("spiffe://x/y")))),
        ("no certificate", stolen.sign(&plain_header, with(&claims, "cnf", json!({})))),
        ("no grant", stolen.sign(&plain_header, with(&claims, "jti", json!("gr_x")))),
        ("cut short", token[..token.len() - 8].to_owned()),
        ("without a signature", format!("{}.{}", pieces[0], pieces[1])),
        ("with padding", format!("{token}=")),
        ("with a comma", format!("{token},x")),
        ("huge", stolen.sign(&plain_header, with(&claims, "pad", json!("x".repeat(14_000))))),
    ]
}

#[tokio::test]
async fn tokens_that_were_tampered_with_are_refused_though_the_grant_would_permit() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    let token = token(&world, &grant).await;
    let claims = part(&token, 1);
    assert_eq!(part(&token, 0)["typ"], "at+jwt");
    assert_eq!(
        (&claims["jti"], &claims["sub"], &claims["task"]),
        (&json!(grant), &json!(AGENT), &json!("t-1"))
    );
    assert_eq!(claims["authorization_details"][0]["locations"], json!(["orders"]));
    for (what, attack) in attacks(&world, &token) {
        for protocol in Protocol::BOTH {
            let bearer = format!("Bearer {attack}");
            let answer = get_as(&world, &world.agent, protocol, "/v1/orders", &bearer).await;
            is_denied(&answer, "token_invalid", what);
        }
    }
    // Somebody else's token, and the same identity with another certificate.
    let stranger = world.ca.svid("agent/other");
    for leaf in [&stranger, &world.ca.svid("agent/demo")] {
        let answer = get_as(&world, leaf, Protocol::H2, "/v1/orders", &format!("Bearer {token}")).await;
        is_denied(&answer, "token_invalid", "another certificate");
    }
    assert!(world.upstream.received().is_empty());
    // Two headers have two readings.
    let mut raw = world.raw(Protocol::H1).await;
    let head = "GET /v1/orders HTTP/1.1\r\nhost: orders.localhost\r\nconnection: close\r\n";
    raw.send(format!("{head}authorization: Bearer {token}\r\nauthorization: Bearer x\r\n\r\n")).await;
    assert_eq!(statuses(&raw.read_to_end().await), [400]);
    // And it still holds where it belongs.
    assert_eq!(get(&world, "/v1/orders", &format!("Bearer {token}")).await.status, 200);
    let lines = world.ends("/v1/orders").await;
    assert!(lines.iter().any(|line| line["reason"] == "token_invalid"), "{lines:?}");
    let log = std::fs::read_to_string(world.path("proxy.log")).unwrap();
    assert!(!log.contains(token.split('.').nth(2).unwrap()));
}

#[tokio::test]
async fn keys_are_replaced_without_a_token_being_lost() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    let before = token(&world, &grant).await;
    let operator = world.ca.svid("operator/local");
    assert_eq!(post(&world, &world.agent, "/v1/keys/rotate", &json!({})).await.status, 403);
    let rotated = post(&world, &operator, "/v1/keys/rotate", &json!({})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    let jwks = world.api_as(&world.agent).get("/.well-known/jwks.json").await.json();
    let kids: Vec<&Value> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    assert!(kids.contains(&&rotated.json()["kid"]) && kids.contains(&&part(&before, 0)["kid"]), "{jwks}");
    assert_eq!(kids.len(), 3, "with that of receipts: {jwks}");
    // Proxies are told before the new key signs.
    let after = token(&world, &grant).await;
    for token in [&before, &after] {
        assert_eq!(get(&world, "/v1/orders", &format!("Bearer {token}")).await.status, 200);
    }
}

/// Serves a JWK set over TLS; the URL of it.
async fn key_server(world: &World, jwks: String) -> String {
    let leaf = world.ca.server("idp", std::net::Ipv4Addr::LOCALHOST.into());
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(leaf.chain(), leaf.key())
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(tls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = vec![0; 8_192];
            let _ = stream.read(&mut head).await;
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", jwks.len());
            let _ = stream.write_all(format!("{head}{jwks}").as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://localhost:{port}/keys")
}

#[tokio::test]
async fn an_approval_that_policies_want_proved_needs_a_token_of_the_approvers_issuer() {
    let mut world = Setup::new().prepare().await;
    let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
    let point = pair.public_key().as_ref().to_vec();
    let jwk =
        json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": b64(&point[1..33]), "y": b64(&point[33..])});
    let url = key_server(&world, json!({"keys": [jwk]}).to_string()).await;
    std::fs::create_dir(world.path("policies")).unwrap();
    let policy = r#"@id("a") @approvers("1 of approvers") @approver_step_up("amr=hwk max_age=5m")
permit (principal, action, resource);"#;
    std::fs::write(world.path("policies/all.cedar"), policy).unwrap();
    world.append_config(&format!(
        r#"
[control.policy]
folder = "policies"
[[people]]
name = "Ada"
identities = ["spiffe://jitgate.local/operator/local"]
[[issuers]]
issuer = "https://idp.example"
audience = "jitgate"
jwks_url = "{url}"
ca = "ca.pem"
people = {{ "u-ada" = "Ada" }}
"#
    ));
    world.start_control().await;
    world.start_proxy().await;
    let idp = Stolen { pair, kid: "k".to_owned() };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let proof = |auth_time: u64| {
        let claims = json!({"iss": "https://idp.example", "aud": "jitgate", "sub": "u-ada", "exp": now + 300,
            "auth_time": auth_time, "amr": ["hwk"]});
        format!(
            "Bearer {}",
            idp.sign(json!({"alg": "ES256", "kid": idp.kid}).to_string(), claims.to_string())
        )
    };
    let ask = json!({"task": "t-1", "reason": "a test", "ttl": "10m",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders"]}]});
    let request = post(&world, &world.agent, "/v1/requests", &ask).await.json();
    let path = format!("/v1/requests/{}/approve", request["id"].as_str().unwrap());
    let operator = world.ca.svid("operator/local");
    let approve = async |authorization: Option<&str>| {
        let mut connection = world.api_as(&operator).connect().await;
        let head = connection.request("POST", &path).header("content-type", "application/json");
        let head = authorization.into_iter().fold(head, |head, value| head.header("authorization", value));
        let body = full(json!({"reason": "fine"}).to_string());
        Answer::of(connection.send(head.body(body).unwrap()).await).await
    };
    for weak in [None, Some(proof(now - 301))] {
        let answer = approve(weak.as_deref()).await;
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("insufficient_user_authentication") && challenge.contains("max_age=300"));
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (401, "step_up_required"),
            "{answer:?}"
        );
    }
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.reason(), "no_grant");
    let proof = proof(now);
    std::fs::write(world.path("proof"), proof.trim_start_matches("Bearer ")).unwrap();
    let id = request["id"].as_str().unwrap();
    let arguments = ["approve", id, "--reason", "fine", "--bearer", "proof", "--output", "json"];
    // The first fetch of the keys may still be on its way.
    let approved = crate::harness::eventually("the approval", || async {
        Some(world.try_cli(&arguments).await).filter(|output| output.status.success())
    })
    .await;
    let approved: Value = serde_json::from_slice(&approved.stdout).unwrap();
    let grant = approved["grant"].as_str().unwrap().to_owned();
    let shown = world.cli(&["grants"]).await;
    let shown = shown.as_array().unwrap().iter().find(|shown| shown["id"] == *grant).unwrap().clone();
    world.applied(&shown["revision"]).await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
}
