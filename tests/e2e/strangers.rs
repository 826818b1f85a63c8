//! Law 11: without a grant for a service, an answer depends on the bytes of the request alone.

use crate::harness::raw::Raw;
use crate::harness::{Protocol, Setup, World};

/// The answer to a request for a host, without what differs by nature: request ids and the date.
async fn ask(raw: &mut Raw, host: &str, message: &str) -> String {
    raw.send(message.replace("HOST", host)).await;
    let answer = raw.read_to_end().await.replace(host, "HOST");
    let lines =
        answer.lines().filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "));
    let text = lines.collect::<Vec<_>>().join("\n");
    match text.split_once("req_") {
        Some((before, after)) => {
            format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_alphanumeric()))
        }
        None => text,
    }
}

#[tokio::test]
async fn existing_and_invented_services_answer_alike() {
    let url = "https://control.example:8444/v1/requests";
    let world = Setup::new().proxy(&format!("access_request = \"{url}\"\n")).start().await;
    // Something to find: another's grant for the same service.
    let other = crate::harness::world::AGENT.replace("demo", "other");
    let scope = ["--scope", "orders:GET:/v1/**", "--reason", "a test", "--ttl", "10m"];
    let grant = world.cli(&[&["grant", "--principal", &other, "--task", "t-2"], &scope[..]].concat()).await;
    world.applied(&grant["revision"]).await;
    let messages = [
        "GET /v1/things HTTP/1.1\r\nHost: HOST.localhost\r\nConnection: close\r\n\r\n",
        "POST /v1/things HTTP/1.1\r\nHost: HOST.localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        "GET /v1//things HTTP/1.1\r\nHost: HOST.localhost\r\nConnection: close\r\n\r\n",
        "POST /a.B/C HTTP/1.1\r\nHost: HOST.localhost\r\nConnection: close\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: HOST.localhost\r\nConnection: close, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        "GET /v1/things HTTP/1.1\r\nHost: HOST.localhost\r\nConnection: close\r\nJitgate-Task: t-2\r\n\r\n",
        "CONNECT HOST.localhost:443 HTTP/1.1\r\nHost: HOST.localhost:443\r\nConnection: close\r\n\r\n",
    ];
    for message in messages {
        let mut answers = Vec::new();
        // Names of one length: `content-length` says as much about each.
        for host in ["orders", "ordars"] {
            let mut raw = world.raw(Protocol::H1).await;
            answers.push(ask(&mut raw, host, message).await);
        }
        assert_eq!(answers[0], answers[1], "{message}");
        let refused = answers[0].starts_with("HTTP/1.1 4") || answers[0].contains("grpc-status: 7");
        assert!(refused, "{message}: {}", answers[0]);
        // Where asking could help, all are sent to the same place.
        assert_eq!(answers[0].contains("required"), answers[0].contains(url), "{message}: {}", answers[0]);
    }
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn others_grants_and_invented_ones_answer_alike_on_the_api() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/v1/**").await;
    let invented = format!("{}{}", &grant[..grant.len() - 1], if grant.ends_with('0') { '1' } else { '0' });
    let stranger = world.ca.svid("agent/stranger");
    let api = world.api_as(&stranger);
    let (real, false_one) =
        (api.get(&format!("/v1/grants/{grant}")).await, api.get(&format!("/v1/grants/{invented}")).await);
    assert_eq!((real.status.as_u16(), false_one.status.as_u16()), (404, 404), "{real:?} {false_one:?}");
    let shape = |answer: &crate::harness::Answer, id: &str| {
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("request_id");
        problem.to_string().replace(id, "ID")
    };
    assert_eq!(shape(&real, &grant), shape(&false_one, &invented));
    assert_eq!(api.get("/v1/grants").await.json(), serde_json::json!([]));
    let own = world.api_as(&world.agent).get(&format!("/v1/grants/{grant}")).await;
    assert_eq!((own.status.as_u16(), &own.json()["id"]), (200, &grant.into()));
}
