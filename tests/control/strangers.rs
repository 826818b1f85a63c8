//! An agent's certificate gets nowhere, and what it may not know looks as if it did not exist (law 11).

use crate::world::{AGENT, World, bundle, grant};
use jitgate::identity::devca::DevCa;
use jitgate::runtime::clock::wall;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_without_a_role_grants_or_revokes() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    admin.post("/v1/grants", &grant(AGENT, "t")).await;
    let strangers = [
        world.agent("demo").await,
        world.agent("other").await,
        world.operator("unknown").await,
        world.proxy("edge").await,
    ];
    for mut stranger in strangers {
        for body in [grant("spiffe://jitgate.local/agent/x", "t"), json!("nonsense")] {
            stranger.post("/v1/grants", &body).await.is_problem(403, "forbidden");
        }
        for path in ["/v1/revocations", "/v1/invented", "/v1/proxies", "/v1/grants/gr_1", "/invented"] {
            let refused = stranger.post(path, &json!({"all": true, "reason": "chaos"})).await;
            refused.is_problem(403, "forbidden");
        }
    }
    assert_eq!(admin.get("/v1/grants").await.json().as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_sees_its_own_grants_and_others_do_not_exist() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    let mine = admin.post("/v1/grants", &grant(AGENT, "t")).await.json()["id"].as_str().unwrap().to_owned();
    let other = grant("spiffe://jitgate.local/agent/other", "t");
    let theirs = admin.post("/v1/grants", &other).await.json()["id"].as_str().unwrap().to_owned();
    let revocation = admin.post("/v1/revocations", &json!({"service": "none", "reason": "x"})).await.json();

    let mut agent = world.agent("demo").await;
    assert_eq!(agent.get(&format!("/v1/grants/{mine}")).await.status, 200);
    for query in ["", "?state=all", "?task=t", "?service=orders", &format!("?principal={AGENT}")] {
        let listed = agent.get(&format!("/v1/grants{query}")).await.json();
        let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|grant| &grant["id"]).collect();
        assert_eq!(ids, [&json!(mine)], "{query}");
    }
    let empty = agent.get("/v1/grants?principal=spiffe://jitgate.local/agent/other").await;
    assert_eq!(empty.json(), json!([]));
    let invented = agent.get("/v1/grants/gr_00000000000000000000000000").await;
    invented.is_problem(404, "not_found");
    for path in [
        &format!("/v1/grants/{theirs}"),
        "/v1/grants/nonsense",
        &format!("/v1/revocations/{}", revocation["id"].as_str().unwrap()),
        "/v1/revocations/rv_00000000000000000000000000",
        "/v1/proxies",
        "/v1/proxies/edge",
        "/v1/events",
        "/v1/status",
        "/v1/revocations",
        "/v1/invented",
        "/",
    ] {
        let answer = agent.get(path).await;
        assert_eq!((answer.status, &answer.text), (invented.status, &invented.text), "{path}");
    }
    let who = agent.get("/v1/whoami").await.json();
    assert_eq!((&who["principal"], &who["roles"]), (&json!(AGENT), &json!([])));
    assert_eq!(world.operator("viewer").await.get("/v1/whoami").await.json()["roles"], json!(["viewer"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_channel_is_for_proxies_alone_and_looks_like_nothing_to_others() {
    let world = World::start().await;
    for name in ["admin", "unknown"] {
        let mut caller = world.operator(name).await;
        for path in ["/jitgate.sync.v1.Sync/Follow", "/jitgate.sync.v1.Sync/Invented", "/invented"] {
            let answer = caller.call("POST", path, "application/grpc", vec![0, 0, 0, 0, 0]).await;
            assert_eq!(answer.headers["grpc-status"], "7", "{path}: {answer:?}");
            assert!(answer.text.is_empty());
        }
    }
    assert!(world.app().plane().with_state(|state| state.proxies().is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_ends_when_its_ca_is_no_longer_trusted() {
    let world = World::start().await;
    let mut admin = world.operator("admin").await;
    assert_eq!(admin.get("/v1/grants").await.status, 200);
    let other = DevCa::init(&world.path().join("other"), Duration::from_secs(3600), wall()).unwrap();
    world.trust.replace(bundle(&other));
    assert!(admin.is_closed().await);
}
