//! Revocations and their receipts, events, status.

use crate::world::{AGENT, World, grant};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jitgate::control::state::Command;
use jitgate::model::event::Actor;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_is_signed_and_says_what_is_true() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let edge = Actor::Identity("spiffe://jitgate.local/proxy/edge".parse().unwrap());
    let proxy: jitgate::model::ProxyName = "edge".parse().unwrap();
    let plane = world.app().plane();
    plane.submit(edge.clone(), Command::Join { proxy: proxy.clone() }).await.unwrap();
    let id = admin.post("/v1/grants", &grant(AGENT, "t")).await.json()["id"].clone();
    let mut security = world.operator("security").await;
    let pending = security.post("/v1/revocations", &json!({"grant": id, "reason": "leaked"})).await.json();
    assert_eq!(pending["grants"], json!([id]));
    assert_eq!((&pending["effective"], &pending["proxies"][0]["state"]), (&json!(false), &json!("pending")));
    let path = format!("/v1/revocations/{}", pending["id"].as_str().unwrap());
    // Whoever waits is answered as soon as the proxy confirms.
    let waiting = tokio::spawn({
        let path = format!("{path}?wait=1m");
        async move { security.get(&path).await.json() }
    });
    let revision = *plane.head().borrow();
    plane.submit(edge, Command::Acknowledge { proxy, revision, streams_cut: 2 }).await.unwrap();
    let receipt = tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap().unwrap();
    assert_eq!((&receipt["effective"], &receipt["proxies"][0]["streams_cut"]), (&json!(true), &json!(2)));

    let jwks = admin.get("/.well-known/jwks.json").await.json();
    let public = jwks["keys"][0]["x"].as_str().unwrap();
    let key = DecodingKey::from_ed_components(public).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let signed = receipt["signed"].as_str().unwrap();
    let claims = jsonwebtoken::decode::<Value>(signed, &key, &validation).unwrap().claims;
    assert_eq!(claims["jti"], receipt["id"]);
    assert_eq!(claims["iss"], "spiffe://jitgate.local/control/local");
    assert_eq!(claims["receipt"]["effective"], json!(true));
    // Another word in it, and it is no longer signed.
    let mut parts: Vec<String> = signed.split('.').map(str::to_owned).collect();
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
    parts[1] = URL_SAFE_NO_PAD.encode(text.replace("\"streams_cut\":2", "\"streams_cut\":3"));
    assert!(jsonwebtoken::decode::<Value>(&parts.join("."), &key, &validation).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_that_is_too_short_is_answered_with_what_is_known() {
    let world = World::start().await;
    let plane = world.app().plane();
    let edge = Actor::Identity("spiffe://jitgate.local/proxy/edge".parse().unwrap());
    plane.submit(edge, Command::Join { proxy: "edge".parse().unwrap() }).await.unwrap();
    let mut admin = world.operator("admin").await;
    let answer = admin.post("/v1/revocations?wait=1ms", &json!({"all": true, "reason": "drill"})).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["effective"]), (201, &json!(false)));
    let proxies = admin.get("/v1/proxies").await.json();
    assert_eq!((&proxies[0]["name"], &proxies[0]["state"]), (&json!("edge"), &json!("unknown")));
    let status = admin.get("/v1/status").await.json();
    assert_eq!(status["attention"].as_array().unwrap().len(), 1, "{status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn selectors_take_what_they_name_and_no_more() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let mut other = grant("spiffe://jitgate.local/agent/other", "u");
    other["scope"][0]["locations"] = json!(["stock"]);
    for (selector, left) in [
        (json!({"task": "t", "reason": "x"}), 1),
        (json!({"principal": AGENT, "reason": "x"}), 1),
        (json!({"service": "orders", "reason": "x"}), 1),
        (json!({"service": "nothing", "reason": "x"}), 2),
        (json!({"all": true, "reason": "x"}), 0),
    ] {
        admin.post("/v1/grants", &json!([grant(AGENT, "t"), other])).await;
        let revoked = admin.post("/v1/revocations", &selector).await.json();
        assert_eq!(revoked["grants"].as_array().unwrap().len(), 2 - left, "{selector}");
        assert_eq!(admin.get("/v1/grants").await.json().as_array().unwrap().len(), left, "{selector}");
    }
    let unknown = json!({"grant": "gr_00000000000000000000000000", "reason": "x"});
    admin.post("/v1/revocations", &unknown).await.is_problem(404, "not_found");
}
