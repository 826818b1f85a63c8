//! Tokens of outside issuers: step-up of requesters and approvers, the human behind an agent, and keys from files and the web.

use crate::world::{Answer, Client, World};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;
use jitgate::config::{IssuerConfig, KeySource, Person};
use jitgate::control::issuers::{IssuerFault, Issuers};
use jitgate::identity::token::TokenFault;
use jitgate::model::JwsAlgorithm;
use jitgate::runtime::clock::{Mono, wall};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const IDP: &str = "https://idp.example";
/// The certificate of whoever brings a token that is bound to none.
const ANY: [u8; 32] = [0; 32];

/// Signs as an issuer does.
struct Idp {
    pair: EcdsaKeyPair,
    kid: &'static str,
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn seconds() -> i64 {
    wall().as_micros() / 1_000_000
}

impl Idp {
    fn new(kid: &'static str) -> Self {
        let der =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref()).unwrap();
        Self { pair, kid }
    }

    fn jwks(&self) -> String {
        let point = self.pair.public_key().as_ref();
        let (x, y) = (b64(&point[1..33]), b64(&point[33..]));
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.kid, "x": x, "y": y}]})
            .to_string()
    }

    fn sign(&self, alg: &str, claims: &Value) -> String {
        let header = json!({"alg": alg, "kid": self.kid, "typ": "JWT"});
        let signed = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", b64(signature.as_ref()))
    }

    /// A token of somebody who has just proved themselves with a security key, after `change`.
    fn token(&self, subject: &str, change: impl FnOnce(&mut Value)) -> String {
        let now = seconds();
        let mut claims = json!({
            "iss": IDP, "aud": "jitgate", "sub": subject, "iat": now, "exp": now + 300,
            "auth_time": now - 60, "acr": "strong", "amr": ["hwk", "pin"],
        });
        change(&mut claims);
        self.sign("ES256", &claims)
    }
}

fn issuer(keys: KeySource) -> IssuerConfig {
    let people = [("u-ada", "ada"), ("u-bob", "bob")].map(|(user, name)| (user.to_owned(), name.to_owned()));
    IssuerConfig {
        issuer: IDP.to_owned(),
        audience: "jitgate".to_owned(),
        keys,
        algorithms: [JwsAlgorithm::Es256].into(),
        person_claim: "sub".to_owned(),
        people: people.into(),
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), text).unwrap();
    folder.join(name)
}

/// A world with one issuer, where `operator/approver` is Bob's, under this policy.
async fn world(idp: &Idp, policy: &str) -> World {
    let mut world = World::start().await;
    let policies = world.path().join("policies");
    write(&policies, "all.cedar", policy);
    let keys = KeySource::File(write(world.path(), "idp.json", &idp.jwks()));
    let bob = Person {
        name: "bob".into(),
        identities: ["spiffe://jitgate.local/operator/approver".parse().unwrap()].into(),
        groups: ["on-call".parse().unwrap()].into(),
    };
    world
        .configure(|config| {
            config.issuers = Box::new([issuer(keys)]);
            config.people = config.people.iter().cloned().chain([bob]).collect();
            config.policy.folder = Some(policies);
        })
        .await;
    world
}

async fn post(client: &mut Client, path: &str, body: &Value, authorization: &[&str]) -> Answer {
    let request = Request::builder().method("POST").uri(path).header(header::HOST, "control");
    let request =
        authorization.iter().fold(request, |request, value| request.header("authorization", *value));
    let request = request.header(header::CONTENT_TYPE, "application/json");
    client.send(request.body(Full::new(Bytes::from(body.to_string()))).unwrap()).await
}

async fn bearing(client: &mut Client, path: &str, body: &Value, token: &str) -> Answer {
    post(client, path, body, &[&format!("Bearer {token}")]).await
}

fn ask() -> Value {
    json!({
        "task": "INC-1", "reason": "the customer calls", "ttl": "15m",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]}],
    })
}

const APPROVER: &str = r#"@id("a") @approvers("1 of approvers") @approver_step_up("acr=strong amr=hwk max_age=5m")
permit (principal, action, resource);"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approval_needs_a_fresh_and_strong_token_of_the_approver() {
    let idp = Idp::new("k1");
    let world = world(&idp, APPROVER).await;
    let asked = world.agent("demo").await.post("/v1/requests", &ask()).await.json();
    let shown = format!("/v1/requests/{}", asked["id"].as_str().unwrap());
    let (path, yes) = (format!("{shown}/approve"), json!({"reason": "fine"}));
    let mut approver = world.operator("approver").await;
    let weak = |claim: &'static str, value: Value| idp.token("u-bob", move |claims| claims[claim] = value);
    let without = approver.post(&path, &yes).await;
    let mut answers = vec![without];
    for token in [
        weak("auth_time", json!(seconds() - 301)),
        weak("auth_time", json!(seconds() + 3_600)),
        weak("acr", json!("weak")),
        weak("amr", json!(["pwd"])),
        idp.token("u-bob", |claims| drop(claims.as_object_mut().unwrap().remove("auth_time"))),
    ] {
        answers.push(bearing(&mut approver, &path, &yes, &token).await);
    }
    for answer in answers {
        answer.is_problem(401, "step_up_required");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        for part in ["error=\"insufficient_user_authentication\"", "acr_values=\"strong\"", "max_age=300"] {
            assert!(challenge.starts_with("Bearer ") && challenge.contains(part), "{challenge}");
        }
        assert_eq!(answer.json()["step_up"], json!({"acr": ["strong"], "amr": ["hwk"], "max_age": 300}));
    }
    let stranger = Idp::new("k1");
    for (what, token) in [
        ("another audience", weak("aud", json!("them"))),
        ("another issuer", weak("iss", json!("https://them"))),
        ("expired by a second", weak("exp", json!(seconds() - 1))),
        ("a foreign key", stranger.token("u-bob", |_| {})),
        ("an unknown key", Idp::new("k9").token("u-bob", |_| {})),
        (
            "none",
            idp.sign("none", &json!({"iss": IDP, "aud": "jitgate", "sub": "u-bob", "exp": seconds() + 300})),
        ),
        ("no subject", idp.token("u-bob", |claims| drop(claims.as_object_mut().unwrap().remove("sub")))),
        ("a method that is no text", weak("amr", json!([1]))),
        ("nonsense", "x.y.z".to_owned()),
    ] {
        let answer = bearing(&mut approver, &path, &yes, &token).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        answer.is_problem(401, "token_invalid");
        assert_eq!(answer.headers["www-authenticate"], "Bearer error=\"invalid_token\"", "{what}");
    }
    // Whoever the token names must be whoever the certificate names.
    let (ada, eve) = (idp.token("u-ada", |_| {}), idp.token("u-eve", |_| {}));
    bearing(&mut approver, &path, &yes, &ada).await.is_problem(403, "other_person");
    bearing(&mut approver, &path, &yes, &eve).await.is_problem(401, "step_up_required");
    let mut unlinked = world.operator("second").await;
    let good = idp.token("u-bob", |_| {});
    bearing(&mut unlinked, &path, &yes, &good).await.is_problem(403, "other_person");
    let twice = format!("Bearer {good}");
    post(&mut approver, &path, &yes, &[&twice, &twice]).await.is_problem(400, "malformed");
    post(&mut approver, &path, &yes, &["Basic dXNlcjpwYXNz"]).await.is_problem(400, "malformed");
    let pending = world.agent("demo").await.get(&shown).await.json();
    assert_eq!(
        (&pending["state"], &pending["grant"]),
        (&json!("pending"), &Value::Null),
        "nothing was granted"
    );
    let approved = bearing(&mut approver, &path, &yes, &good).await;
    assert_eq!(
        (approved.status.as_u16(), &approved.json()["state"]),
        (200, &json!("approved")),
        "{approved:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_requester_proves_itself_and_names_the_human_behind_it() {
    let idp = Idp::new("k1");
    let policy = r#"@id("r") @step_up("amr=hwk max_age=5m") permit (principal, action, resource);"#;
    let world = world(&idp, policy).await;
    let mut agent = world.agent("demo").await;
    let before = world.app().plane().with_state(|state| state.revision());
    agent.post("/v1/requests", &ask()).await.is_problem(401, "step_up_required");
    let old = idp.token("u-bob", |claims| claims["auth_time"] = json!(seconds() - 301));
    bearing(&mut agent, "/v1/requests", &ask(), &old).await.is_problem(401, "step_up_required");
    let nobody = idp.token("u-eve", |_| {});
    bearing(&mut agent, "/v1/requests", &ask(), &nobody).await.is_problem(401, "step_up_required");
    // On behalf of somebody only with a token that holds, however well the requester is proved.
    let good = idp.token("u-bob", |_| {});
    for bad in ["x.y.z".to_owned(), idp.token("u-ada", |claims| claims["aud"] = json!("them"))] {
        let mut ask = ask();
        ask["on_behalf_of"] = json!(bad);
        bearing(&mut agent, "/v1/requests", &ask, &good).await.is_problem(401, "token_invalid");
    }
    assert_eq!(world.app().plane().with_state(|state| state.revision()), before, "nothing was logged");
    let mut ask = ask();
    ask["on_behalf_of"] = json!(idp.token("u-ada", |_| {}));
    ask["token"] = json!(true);
    let granted = bearing(&mut agent, "/v1/requests", &ask, &good).await;
    assert_eq!((granted.status.as_u16(), &granted.json()["state"]), (201, &json!("approved")), "{granted:?}");
    let granted = granted.json();
    let user = &granted["on_behalf_of"];
    assert_eq!(
        (&user["issuer"], &user["subject"], &user["person"]),
        (&json!(IDP), &json!("u-ada"), &json!("ada"))
    );
    let token = granted["token"].as_str().unwrap();
    let claims: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap();
    assert_eq!((&claims["sub"], &claims["jti"]), (&json!("u-ada"), &granted["grant"]));
    assert_eq!(claims["sub_id"], json!({"format": "iss_sub", "iss": IDP, "sub": "u-ada"}));
    assert_eq!((&claims["act"]["sub"], &claims["client_id"]), (&granted["principal"], &granted["principal"]));
    // Our own tokens prove nothing about a human.
    let own = bearing(&mut agent, "/v1/requests", &ask, token).await;
    own.is_problem(401, "token_invalid");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_user_behind_an_agent_has_a_request_a_grant_and_a_token_of_their_own() {
    let idp = Idp::new("k1");
    let world = world(&idp, r#"@id("r") permit (principal, action, resource);"#).await;
    let mut agent = world.agent("demo").await;
    let mut seen = std::collections::BTreeSet::new();
    for (user, status) in [("u-ada", 201), ("u-bob", 201), ("u-ada", 200), ("u-bob", 200)] {
        let mut ask = ask();
        ask["on_behalf_of"] = json!(idp.token(user, |_| {}));
        ask["token"] = json!(true);
        let answer = agent.post("/v1/requests", &ask).await;
        assert_eq!(answer.status, status, "{user}: {answer:?}");
        let granted = answer.json();
        assert_eq!(granted["on_behalf_of"]["subject"], user, "{granted}");
        let token = granted["token"].as_str().unwrap();
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!((&claims["sub"], &claims["jti"]), (&json!(user), &granted["grant"]));
        seen.insert((granted["id"].to_string(), granted["grant"].to_string(), user));
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    // Without a user it is the agent's own.
    let own = agent.post("/v1/requests", &ask()).await;
    assert_eq!((own.status.as_u16(), own.json().get("on_behalf_of")), (201, None), "{own:?}");
}

/// The `x5t#S256` of the certificate of this connection.
async fn thumbprint(client: &mut Client) -> String {
    let hex = client.get("/v1/whoami").await.json()["certificate_sha256"].as_str().unwrap().to_owned();
    b64((0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect::<Vec<_>>())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_bound_to_a_key_counts_with_that_key_alone() {
    let idp = Idp::new("k1");
    let policy = r#"@id("a") @step_up("amr=hwk") @approvers("1 of approvers") @approver_step_up("amr=hwk")
permit (principal, action, resource);"#;
    let world = world(&idp, policy).await;
    let (mut agent, mut approver) = (world.agent("demo").await, world.operator("approver").await);
    let (agents, approvers) = (thumbprint(&mut agent).await, thumbprint(&mut approver).await);
    let bound = |user: &str, cnf: Value| idp.token(user, |claims| claims["cnf"] = cnf);
    let with = |thumbprint: &String| json!({"x5t#S256": thumbprint});
    // What somebody else's key would have to go with, and what cannot be checked here.
    let foreign = |own: &String, other: &String| {
        let both = json!({"x5t#S256": own, "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"});
        let padded = json!({"x5t#S256": format!("{own}=")});
        let others = [json!({"jkt": "x"}), json!({}), json!("x"), json!(null), json!([own]), both, padded];
        others.into_iter().chain([with(other)]).collect::<Vec<_>>()
    };
    let before = world.app().plane().with_state(|state| state.revision());
    let plain = idp.token("u-ada", |_| {});
    for cnf in foreign(&agents, &approvers) {
        let token = bound("u-ada", cnf.clone());
        let proving = bearing(&mut agent, "/v1/requests", &ask(), &token).await;
        assert_eq!(proving.status, 401, "{cnf}: {proving:?}");
        proving.is_problem(401, "token_invalid");
        let mut behalf = ask();
        behalf["on_behalf_of"] = json!(token);
        bearing(&mut agent, "/v1/requests", &behalf, &plain).await.is_problem(401, "token_invalid");
    }
    assert_eq!(world.app().plane().with_state(|state| state.revision()), before, "nothing was logged");
    // With the caller's own certificate it counts: for the caller, and as the word of whoever is behind it.
    let mut behalf = ask();
    behalf["on_behalf_of"] = json!(bound("u-ada", with(&agents)));
    let asked = bearing(&mut agent, "/v1/requests", &behalf, &bound("u-ada", with(&agents))).await;
    assert_eq!((asked.status.as_u16(), &asked.json()["state"]), (201, &json!("pending")), "{asked:?}");
    let (path, yes) =
        (format!("/v1/requests/{}/approve", asked.json()["id"].as_str().unwrap()), json!({"reason": "fine"}));
    for cnf in foreign(&approvers, &agents) {
        let token = bound("u-bob", cnf);
        bearing(&mut approver, &path, &yes, &token).await.is_problem(401, "token_invalid");
    }
    let approved = bearing(&mut approver, &path, &yes, &bound("u-bob", with(&approvers))).await;
    assert_eq!(
        (approved.status.as_u16(), &approved.json()["state"]),
        (200, &json!("approved")),
        "{approved:?}"
    );
    let path = format!("/v1/grants/{}/extend", approved.json()["grant"].as_str().unwrap());
    let more = json!({"ttl": "5m", "reason": "it takes longer"});
    for cnf in foreign(&agents, &approvers) {
        bearing(&mut agent, &path, &more, &bound("u-ada", cnf)).await.is_problem(401, "token_invalid");
    }
    let extension = bearing(&mut agent, &path, &more, &bound("u-ada", with(&agents))).await;
    assert_eq!(extension.status, 201, "{extension:?}");
}

/// Serves whatever is in it to everybody.
async fn web(content: Arc<Mutex<String>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 8_192];
            let _ = stream.read(&mut head).await;
            let body = content.lock().unwrap().clone();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    format!("http://{address}/keys")
}

#[tokio::test]
async fn keys_on_the_web_are_followed_and_without_keys_no_token_holds() {
    let (old, new) = (Idp::new("k1"), Idp::new("k2"));
    let content = Arc::new(Mutex::new("not keys".to_owned()));
    let url = web(Arc::clone(&content)).await.parse().unwrap();
    let issuers = Issuers::new(&[issuer(KeySource::Url { url, ca: None })], &[]).unwrap();
    let (of_old, of_new) = (old.token("u-ada", |_| {}), new.token("u-ada", |_| {}));
    let unavailable = issuers.verify((&of_old, &ANY), wall(), Mono::now()).await;
    assert_eq!(unavailable, Err(IssuerFault::Unavailable));
    let stop = CancellationToken::new();
    let _end = stop.clone().drop_guard();
    tokio::spawn(issuers.clone().run(stop));
    *content.lock().unwrap() = old.jwks();
    let mut user = issuers.verify((&of_old, &ANY), wall(), Mono::now()).await;
    while user == Err(IssuerFault::Unavailable) {
        tokio::task::yield_now().await;
        user = issuers.verify((&of_old, &ANY), wall(), Mono::now()).await;
    }
    assert_eq!(user.unwrap().person.as_deref(), Some("ada"));
    // The issuer replaces its keys: a token of the new one is a reason to look again, and the old one is gone then.
    *content.lock().unwrap() = new.jwks();
    assert!(issuers.verify((&of_new, &ANY), wall(), Mono::now()).await.is_ok());
    let gone = issuers.verify((&of_old, &ANY), wall(), Mono::now()).await;
    assert_eq!(gone, Err(IssuerFault::Token(TokenFault::UnknownKey)));
    // An answer that is no set of keys changes nothing, for as long as keys are believed.
    *content.lock().unwrap() = String::new();
    assert_eq!(
        issuers.verify((&of_old, &ANY), wall(), Mono::now()).await,
        Err(TokenFault::UnknownKey.into())
    );
    assert!(issuers.verify((&of_new, &ANY), wall(), Mono::now()).await.is_ok());
    let day = std::time::Duration::from_secs(24 * 3600);
    let late = issuers.verify((&of_new, &ANY), wall(), Mono::now().plus(day)).await;
    assert_eq!(late, Err(IssuerFault::Unavailable));
}

#[tokio::test]
async fn an_address_that_the_issuer_has_not_verified_is_anybodys() {
    let idp = Idp::new("k1");
    let folder = tempfile::tempdir().unwrap();
    let keys = KeySource::File(write(folder.path(), "idp.json", &idp.jwks()));
    let people = [("ada@example.com".to_owned(), "ada".to_owned())].into();
    let config = IssuerConfig { person_claim: "email".into(), people, ..issuer(keys) };
    let issuers = Issuers::new(&[config], &[]).unwrap();
    for (verified, person) in
        [(json!(true), Some("ada")), (json!(false), None), (json!("true"), None), (json!(null), None)]
    {
        let token = idp.token("u-1", |claims| {
            claims["email"] = json!("ada@example.com");
            claims["email_verified"] = verified.clone();
        });
        let user = issuers.verify((&token, &ANY), wall(), Mono::now()).await.unwrap();
        assert_eq!(user.person.as_deref(), person, "{verified}");
    }
}
