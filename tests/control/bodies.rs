//! What cannot be read in one way only is refused, and nothing is done.

use crate::world::{AGENT, World, grant};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_read_strictly() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let good = grant(AGENT, "t").to_string();
    let inside = |more: &str| format!("{}{more}}}", &good[..good.len() - 1]);
    let without = |field: &str| {
        let mut grant = grant(AGENT, "t");
        grant.as_object_mut().unwrap().remove(field);
        grant.to_string()
    };
    let mut bad = vec![
        String::new(),
        "null".into(),
        "{}".into(),
        "[[]]".into(),
        format!("{good}{good}"),
        format!("[{good},"),
        inside(r#","surprise":1"#),
        inside(r#","task":"u""#),
        inside(r#","ta\u0073k":"u""#),
        inside(r#","limits":{"max_uses":1,"max_uses":2}"#),
        inside(r#","limits":{"maximum":1}"#),
        inside(r#","conditions":{"anything":1}"#),
        inside(r#","limits":{"max_uses":0}"#),
        good.replace("15m", "0s"),
        good.replace("15m", "forever"),
        good.replace("\"15m\"", "900"),
        good.replace("spiffe://", "https://"),
        good.replace("\"http\"", "\"telepathy\""),
        good.replace("\"GET\"", "7"),
    ];
    bad.extend(["principal", "task", "scope", "ttl", "reason"].map(without));
    for body in bad {
        let refused = admin.call("POST", "/v1/grants", "application/json", body.clone()).await;
        assert_eq!(refused.status, 400, "{body}: {refused:?}");
    }
    for kind in ["text/plain", "", "application/x-www-form-urlencoded", "application/json; charset=utf-16"] {
        let refused = admin.call("POST", "/v1/grants", kind, good.clone()).await;
        refused.is_problem(415, "unsupported_media_type");
    }
    let lines = format!("{good}\n\n{{\"task\":1}}\n");
    let refused = admin.call("POST", "/v1/grants", "application/jsonl", lines).await;
    assert!(refused.status == 400 && refused.text.contains("line 3"), "{refused:?}");
    let large = " ".repeat((32 << 20) + 1);
    let refused = admin.call("POST", "/v1/grants", "application/json", large).await;
    refused.is_problem(413, "too_large");
    let mut admin = world.operator("admin").await;
    assert_eq!(admin.get("/v1/grants?state=all").await.json(), json!([]));
    let accepted = admin.call("POST", "/v1/grants", "Application/JSON; charset=UTF-8", good).await;
    assert_eq!(accepted.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_selector_is_exactly_one_and_never_implied() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    admin.post("/v1/grants", &grant(AGENT, "t")).await;
    for body in [
        r#"{"reason":"x"}"#,
        r#"{"all":false,"reason":"x"}"#,
        r#"{"all":true}"#,
        r#"{"all":true,"task":"t","reason":"x"}"#,
        r#"{"task":"t","task":"u","reason":"x"}"#,
        r#"{"task":"","reason":"x"}"#,
        r#"{"everything":true,"reason":"x"}"#,
        r#"{"task":null,"reason":"x"}"#,
        r#"[]"#,
    ] {
        let refused = admin.call("POST", "/v1/revocations", "application/json", body).await;
        assert_eq!(refused.status, 400, "{body}: {refused:?}");
    }
    admin.post("/v1/revocations", &json!({"all": true, "reason": " "})).await.is_problem(422, "invalid");
    assert_eq!(admin.get("/v1/grants").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_names_every_resource() {
    let world = World::start().await;
    let mut viewer = world.operator("viewer").await;
    let document = viewer.get("/openapi.json").await.json();
    assert_eq!(document["openapi"].as_str().unwrap().split_once('.').unwrap().0, "3");
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in
        ["/v1/grants", "/v1/grants/{id}", "/v1/revocations", "/v1/proxies", "/v1/events", "/v1/status"]
    {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}
