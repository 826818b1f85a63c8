//! What the upstream is told, and by whom: identity comes from the gate alone, and what is for one hop stays on it.

use crate::harness::client::empty;
use crate::harness::upstream::Received;
use crate::harness::world::AGENT;
use crate::harness::{Answer, Protocol, World};

/// Headers by which applications learn who calls, from where, or what really to do.
const CLAIMS: [&str; 38] = [
    "x-jitgate-principal",
    "x-jitgate-grant",
    "x-jitgate-task",
    "x-jitgate-anything",
    "jitgate-anything",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-anything",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "remote-user",
    "remote-addr",
    "x-remote-user",
    "x-remote-addr",
    "x-user",
    "x-auth-request-user",
    "x-spiffe-id",
    "x-host",
    "x-envoy-external-address",
    "x-client-ip",
    "x-cluster-client-ip",
    "cf-connecting-ip",
    "true-client-ip",
    "client-ip",
    "client-cert",
    "client-cert-chain",
    "x-client-cert",
    "x-client-dn",
    "x-ssl-client-cn",
    "ssl-client-s-dn",
    "proxy",
];

async fn send(world: &World, protocol: Protocol, headers: &[(&str, &str)]) -> (Answer, Received) {
    let mut connection = world.client(protocol).connect().await;
    let request = headers.iter().fold(connection.request("GET", "/v1/orders"), |request, (name, value)| {
        request.header(*name, *value)
    });
    let answer = Answer::of(connection.send(request.body(empty()).unwrap()).await).await;
    assert_eq!(answer.status, 200, "{protocol:?} {answer:?}");
    let received = world.upstream.only();
    world.upstream.forget();
    (answer, received)
}

#[tokio::test]
async fn nothing_that_a_caller_claims_about_itself_arrives() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        let claims: Vec<_> = CLAIMS.iter().map(|name| (*name, "a-lie")).collect();
        let (_, received) = send(&world, protocol, &claims).await;
        for (name, value) in &received.headers {
            assert!(!value.to_str().unwrap().contains("a-lie"), "{protocol:?} {name}: {value:?}");
        }
    }
}

/// CGI, WSGI, Rack and their kin read `x_remote_user` as `x-remote-user`.
#[tokio::test]
async fn a_claim_in_another_spelling_is_refused() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        for name in CLAIMS.into_iter().chain(["content-length", "transfer-encoding"]) {
            for twin in [name.replace('-', "_"), name.replacen('-', "_", 1), name.replacen('-', ".", 1)] {
                if twin == name {
                    continue;
                }
                let request = connection.request("GET", "/v1/orders").header(&twin, "a-lie");
                let answer = Answer::of(connection.send(request.body(empty()).unwrap()).await).await;
                assert_eq!(answer.status, 400, "{protocol:?} {twin}: {answer:?}");
                assert_eq!(answer.reason(), "ambiguous", "{protocol:?} {twin}: {answer:?}");
            }
        }
        // What has no meaning here passes in any spelling.
        let (_, received) = send(&world, protocol, &[("x_custom", "kept")]).await;
        assert_eq!(received.headers["x_custom"], "kept", "{protocol:?}");
    }
}

#[tokio::test]
async fn the_upstream_is_told_who_calls_under_which_grant() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        let (_, received) = send(&world, protocol, &[("x-custom", "kept"), ("accept", "text/plain")]).await;
        assert_eq!((received.method.as_str(), received.target.as_str()), ("GET", "/v1/orders"));
        let told = |name: &str| received.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told("x-jitgate-principal").as_deref(), Some(AGENT));
        assert_eq!(told("x-jitgate-grant"), Some(grant.clone()));
        assert_eq!(told("x-jitgate-task").as_deref(), Some("t-1"));
        assert!(told("x-request-id").is_some_and(|id| !id.is_empty()));
        assert!(told("traceparent").is_some_and(|trace| trace.starts_with("00-") && trace.len() == 55));
        assert_eq!(told("host"), Some(world.upstream.address.to_string()));
        assert_eq!(
            (told("x-custom").as_deref(), told("accept").as_deref()),
            (Some("kept"), Some("text/plain"))
        );
    }
}

/// HTTP/2 callers may send them in pieces (RFC 9113 section 8.2.3).
#[tokio::test]
async fn cookies_arrive_in_one_field() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        let pieces = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("x-custom", "1"), ("x-custom", "2")];
        let (_, received) = send(&world, protocol, &pieces).await;
        let values = |name| received.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(values("cookie"), ["a=1; b=2; c=3"], "{protocol:?}");
        assert_eq!(values("x-custom"), ["1", "2"], "{protocol:?}");
    }
}

#[tokio::test]
async fn a_trace_goes_on_under_the_callers_trace_id() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let (_, received) = send(&world, Protocol::H1, &[("traceparent", &parent)]).await;
    assert!(received.headers["traceparent"].to_str().unwrap().contains(trace));
    assert_eq!(world.ends("/v1/orders").await[0]["trace_id"], trace);
}

#[tokio::test]
async fn what_is_for_one_hop_stays_on_it() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    let (_, received) = send(
        &world,
        Protocol::H1,
        &[
            ("connection", "keep-alive, x-private, x-jitgate-principal, host"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic secret"),
            ("te", "gzip"),
            ("x-private", "for the gate alone"),
        ],
    )
    .await;
    for name in ["keep-alive", "proxy-connection", "proxy-authorization", "te", "x-private"] {
        assert!(!received.headers.contains_key(name), "{name}: {received:?}");
    }
    // Naming a header in `Connection` removes what the caller sent, never what the gate sets.
    assert_eq!(received.headers["x-jitgate-principal"], AGENT);
    assert!(received.headers.contains_key("host"));

    for protocol in Protocol::BOTH {
        let answer = world.client(protocol).get("/hop").await;
        for name in ["x-private", "keep-alive"] {
            assert!(!answer.headers.contains_key(name), "{protocol:?} {name}: {answer:?}");
        }
        assert_eq!(answer.header("x-public"), Some("for all"));
    }
}
