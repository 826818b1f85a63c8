//! Who asks proves itself to its issuer where policies demand it, names the human behind it, and anybody may learn whether the token of
//! the grant still holds.

use crate::harness::client::full;
use crate::harness::idp::{IDP, Idp, seconds};
use crate::harness::pki::Leaf;
use crate::harness::{Answer, Setup, World, asked, eventually, with};
use serde_json::{Value, json};
use std::fs;

const POLICY: &str = r#"@id("r") @step_up("amr=hwk max_age=5m") permit (principal, action, resource);"#;

async fn world(idp: &Idp) -> World {
    let tables = format!(
        "[[people]]\nname = \"Bob\"\nidentities = [\"spiffe://jitgate.local/agent/demo\"]\n\
         [[people]]\nname = \"Ada\"\nidentities = [\"spiffe://jitgate.local/agent/ada\"]\n\
         [[issuers]]\nissuer = \"{IDP}\"\naudience = \"jitgate\"\njwks_file = \"idp.json\"\nalgorithms = [\"ES256\"]\n\
         people = {{ \"u-bob\" = \"Bob\", \"u-ada\" = \"Ada\" }}\n"
    );
    let mut world = Setup::new().tables(&tables).decided_by("", POLICY).await;
    fs::write(world.path("idp.json"), idp.jwks()).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world
}

async fn ask(world: &World, body: &Value, proof: Option<&str>) -> Answer {
    let mut connection = world.api_as(&world.agent).connect().await;
    let request = connection.request("POST", "/v1/requests").header("content-type", "application/json");
    let request = proof
        .into_iter()
        .fold(request, |head, proof| head.header("authorization", format!("Bearer {proof}")));
    Answer::of(connection.send(request.body(full(body.to_string())).unwrap()).await).await
}

async fn introspect(world: &World, who: &Leaf, token: &str) -> Value {
    let mut connection = world.api_as(who).connect().await;
    let request = connection.request("POST", "/v1/introspect");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let answer =
        Answer::of(connection.send(request.body(full(format!("token={token}"))).unwrap()).await).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_requester_proves_itself_and_its_token_can_be_looked_up_while_it_holds() {
    let idp = Idp::new("k1");
    let world = world(&idp).await;
    let proof = |user: &str, age: u64| {
        idp.token(user, "jitgate", |claims| {
            claims["auth_time"] = json!(seconds() - age);
            claims["amr"] = json!(["hwk"]);
        })
    };
    let plain = asked("t-1", "GET", "/v1/orders");
    // No proof, an old one, and somebody else's.
    for weak in [None, Some(proof("u-bob", 301)), Some(proof("u-ada", 0))] {
        let answer = ask(&world, &plain, weak.as_deref()).await;
        assert!(matches!(answer.status.as_u16(), 401 | 403), "{answer:?}");
        assert!(matches!(&*answer.reason(), "step_up_required" | "other_person"), "{answer:?}");
    }
    let forged = with(plain.clone(), "on_behalf_of", json!("x.y.z"));
    assert_eq!(ask(&world, &forged, Some(&proof("u-bob", 0))).await.reason(), "token_invalid");
    assert_eq!(world.cli(&["requests"]).await, json!([]), "nothing was asked");

    let behalf = with(plain, "on_behalf_of", json!(idp.token("u-ada", "jitgate", |_| {})));
    let answer = ask(&world, &with(behalf, "token", json!(true)), Some(&proof("u-bob", 0))).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let granted = answer.json();
    assert_eq!(
        (&granted["state"], &granted["on_behalf_of"]["subject"]),
        (&json!("approved"), &json!("u-ada"))
    );
    let token = granted["token"].as_str().unwrap();

    let operator = world.ca.svid("operator/local");
    for who in [&world.agent, &operator] {
        let shown = introspect(&world, who, token).await;
        assert_eq!((&shown["active"], &shown["jti"]), (&json!(true), &granted["grant"]), "{shown}");
        assert_eq!(
            (&shown["sub"], &shown["act"]["sub"]),
            (&json!("u-ada"), &granted["principal"]),
            "{shown}"
        );
    }
    let inactive = json!({"active": false});
    assert_eq!(introspect(&world, &world.ca.svid("agent/stranger"), token).await, inactive);
    assert_eq!(introspect(&world, &operator, &token[..token.len() - 4]).await, inactive);
    world.cli(&["revoke", granted["grant"].as_str().unwrap(), "--reason", "enough"]).await;
    eventually("a token that holds no more", || async {
        (introspect(&world, &operator, token).await == inactive).then_some(())
    })
    .await;
}
