//! Law 1 at the door: what no live grant permits is refused, and the upstream never hears of it.

use crate::harness::{Protocol, World};

#[tokio::test]
async fn without_a_grant_nothing_is_forwarded() {
    let world = World::start().await;
    for protocol in Protocol::BOTH {
        let answer = world.client(protocol).get("/v1/orders").await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (403, "no_grant"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_grant_permits_what_it_names_and_nothing_beside_it() {
    let world = World::start().await;
    world.grant("orders:GET:/v1/orders/*").await;
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        assert_eq!(connection.get("/v1/orders/7").await.status, 200);
        assert_eq!(connection.get("/v1/orders/7?verbose=1").await.status, 200);
        for (method, path) in [
            ("POST", "/v1/orders/7"),
            ("HEAD", "/v1/orders/7"),
            ("get", "/v1/orders/7"),
            ("GET", "/v1/orders"),
            ("GET", "/v1/orders/"),
            ("GET", "/v1/orders/7/"),
            ("GET", "/v1/orders/7/lines"),
            ("GET", "/V1/orders/7"),
            ("OPTIONS", "/v1/orders/7"),
        ] {
            let answer = connection.call(method, path, "").await;
            assert_eq!(answer.status, 403, "{protocol:?} {method} {path}");
        }
    }
    assert_eq!(world.upstream.received().len(), 4);
}

#[tokio::test]
async fn a_grant_is_for_its_principal_alone() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let other = world.ca.svid("agent/other");
    for protocol in Protocol::BOTH {
        assert_eq!(world.client_as(Some(&other), protocol).get("/v1/orders").await.reason(), "no_grant");
        assert_eq!(world.client(protocol).get("/v1/orders").await.status, 200);
    }
}

#[tokio::test]
async fn the_task_header_narrows_and_is_not_forwarded() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    for (task, status) in [("t-1", 200), ("t-2", 403)] {
        let request = connection.request("GET", "/v1/orders").header("jitgate-task", task);
        let answer = connection.send(request.body(crate::harness::client::empty()).unwrap()).await;
        assert_eq!(answer.status(), status, "task {task}");
        crate::harness::Answer::of(answer).await;
    }
    assert!(!world.upstream.only().headers.contains_key("jitgate-task"));
}
