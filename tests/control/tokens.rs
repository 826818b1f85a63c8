//! Tokens over the API: who gets one, what it says, and who may ask about it.

use crate::world::{AGENT, Answer, Client, World, grant};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

async fn granted(world: &World) -> String {
    let answer = world.operator("admin").await.post("/v1/grants", &grant(AGENT, "t-1")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

async fn introspect(client: &mut Client, token: &str) -> Answer {
    let form = format!("token={token}&token_type_hint=access_token");
    client.call("POST", "/v1/introspect", "application/x-www-form-urlencoded", form).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_principal_of_a_live_grant_gets_a_token_of_it() {
    let world = World::start().await;
    let id = granted(&world).await;
    let path = format!("/v1/grants/{id}/token");
    for name in ["admin", "security", "broker"] {
        world.operator(name).await.post(&path, &json!({})).await.is_problem(404, "not_found");
    }
    world.agent("other").await.post(&path, &json!({})).await.is_problem(404, "not_found");
    world.proxy("edge").await.post(&path, &json!({})).await.is_problem(404, "not_found");
    let mut agent = world.agent("demo").await;
    agent.post(&path, &json!({"audience": "x"})).await.is_problem(400, "malformed");
    let answer = agent.post(&path, &json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json();
    let claims = claims(token["access_token"].as_str().unwrap());
    let shown = agent.get(&format!("/v1/grants/{id}")).await.json();
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!(AGENT), &json!(AGENT)));
    assert_eq!(
        (&claims["iss"], &claims["aud"]),
        (&json!("spiffe://jitgate.local/control/local"), &json!("jitgate"))
    );
    assert_eq!((&claims["jti"], &claims["authorization_details"]), (&json!(id), &shown["scope"]));
    let end: jitgate::model::Time = serde_json::from_value(shown["expires_at"].clone()).unwrap();
    assert_eq!(claims["exp"].as_i64().unwrap(), end.as_micros() / 1_000_000, "never longer than the grant");
    let whoami = agent.get("/v1/whoami").await.json();
    let sha256 = URL_SAFE_NO_PAD.decode(claims["cnf"]["x5t#S256"].as_str().unwrap()).unwrap();
    let hex: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(whoami["certificate_sha256"], hex);
    // Not of a grant that starts later, nor of one that has ended.
    let mut later = grant(AGENT, "t-2");
    later["not_before"] = json!(end.plus(std::time::Duration::from_secs(60)).to_string());
    let upcoming = world.operator("admin").await.post("/v1/grants", &later).await.json();
    let path_of = |id: &Value| format!("/v1/grants/{}/token", id.as_str().unwrap());
    agent.post(&path_of(&upcoming["id"]), &json!({})).await.is_problem(409, "not_live");
    let revoke = json!({"grant": id, "reason": "enough"});
    assert_eq!(world.operator("security").await.post("/v1/revocations", &revoke).await.status, 201);
    agent.post(&path, &json!({})).await.is_problem(409, "not_live");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_active_for_those_who_may_know_it_while_its_grant_is_live() {
    let mut world = World::start().await;
    let id = granted(&world).await;
    let mut agent = world.agent("demo").await;
    let token = agent.post(&format!("/v1/grants/{id}/token"), &json!({})).await.json();
    let token = token["access_token"].as_str().unwrap().to_owned();
    let inactive = json!({"active": false});
    for mut client in [world.operator("viewer").await, world.proxy("edge").await, world.agent("demo").await] {
        let answer = introspect(&mut client, &token).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let shown = answer.json();
        assert_eq!((&shown["active"], &shown["jti"]), (&json!(true), &json!(id)));
        // Nothing but the word where it does not hold.
        for other in [&token[..token.len() - 4], "x", "", &format!("{token}.x")] {
            assert_eq!(introspect(&mut client, other).await.json(), inactive);
        }
    }
    let mut stranger = world.agent("other").await;
    assert_eq!(introspect(&mut stranger, &token).await.json(), inactive);
    stranger.post("/v1/introspect", &json!({"token": token})).await.is_problem(415, "unsupported_media_type");
    let twice = format!("token={token}&token={token}");
    let form = "application/x-www-form-urlencoded";
    stranger.call("POST", "/v1/introspect", form, twice).await.is_problem(400, "malformed");
    // It survives a restart, as its keys do, and ends with its grant.
    world.restart().await;
    let mut viewer = world.operator("viewer").await;
    assert_eq!(introspect(&mut viewer, &token).await.json()["active"], true);
    let revoke = json!({"grant": id, "reason": "enough"});
    assert_eq!(world.operator("security").await.post("/v1/revocations", &revoke).await.status, 201);
    assert_eq!(introspect(&mut viewer, &token).await.json(), inactive);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_answered_with_a_grant_brings_a_token_where_one_is_wanted() {
    let world = World::start().await;
    let mut agent = world.agent("demo").await;
    let mut ask = json!({
        "task": "INC-1", "reason": "the customer calls", "ttl": "15m", "token": true,
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]}],
    });
    let pending = agent.post("/v1/requests", &ask).await;
    assert_eq!((pending.status.as_u16(), pending.json().get("token")), (201, None), "{pending:?}");
    let id = pending.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/requests/{id}/approve");
    let approved = world.operator("approver").await.post(&path, &json!({"reason": "fine"})).await.json();
    assert_eq!(approved.get("token"), None, "the approver gets none");
    let again = agent.post("/v1/requests", &ask).await;
    assert_eq!((again.status.as_u16(), &again.headers["cache-control"]), (200, &"no-store".parse().unwrap()));
    let again = again.json();
    assert_eq!(claims(again["token"].as_str().unwrap())["jti"], approved["grant"]);
    assert_eq!(agent.get(&format!("/v1/requests/{id}")).await.json().get("token"), None);
    ask["principal"] = json!("spiffe://jitgate.local/agent/other");
    world.operator("broker").await.post("/v1/requests", &ask).await.is_problem(400, "malformed");
}
