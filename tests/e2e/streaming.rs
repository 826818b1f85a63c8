//! Bodies pass as they come, both ways: nothing is buffered, nothing is lost at the end, and who gives up is noticed.

use crate::harness::client::{Body, empty, full};
use crate::harness::{Answer, Protocol, Setup, World, within};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use std::convert::Infallible;

#[tokio::test]
async fn events_arrive_one_by_one_while_the_answer_goes_on() {
    let world = World::start().await;
    world.grant("orders:GET:/sse").await;
    for protocol in Protocol::BOTH {
        let mut answer = world.client(protocol).connect().await.open("/sse").await;
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        for number in 0..3 {
            let frame = within("an event", answer.frame()).await.unwrap().unwrap();
            let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            assert!(text.contains(&format!("data: {number}")), "{protocol:?} {text}");
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_cancels_the_upstream_call() {
    let world = World::start().await;
    world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        for path in ["/sse", "/download", "/slow"] {
            let mut connection = world.client(protocol).connect().await;
            let request = connection.request("GET", path).body(empty()).unwrap();
            let call = tokio::spawn(async move {
                let answer = connection.try_send(request).await;
                // Holds the answer open until the task is aborted.
                let _held = (connection, answer);
                std::future::pending::<()>().await;
            });
            world.upstream.running(1).await;
            call.abort();
            world.upstream.running(0).await;
        }
    }
    for path in ["/sse", "/download", "/slow"] {
        for line in world.ends(path).await {
            assert_eq!(line["end"], "client_gone", "{line}");
        }
    }
}

#[tokio::test]
async fn trailers_pass_in_both_directions_and_are_cleaned_like_headers() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        let mut trailers = HeaderMap::new();
        trailers.insert("x-checksum", "123".parse().unwrap());
        trailers.insert("x-jitgate-principal", "a-lie".parse().unwrap());
        trailers.insert("x-forwarded-for", "a-lie".parse().unwrap());
        trailers.insert("x_jitgate_principal", "a-lie".parse().unwrap());
        let frames = [Ok::<_, Infallible>(Frame::data(Bytes::from("body"))), Ok(Frame::trailers(trailers))];
        let body: Body = StreamBody::new(stream::iter(frames)).boxed_unsync();
        let request = connection.request("POST", "/trailers").header("te", "trailers");
        let request = request
            .header("trailer", "x-checksum, x-jitgate-principal, x-forwarded-for, x_jitgate_principal");
        let answer = Answer::of(connection.send(request.body(body).unwrap()).await).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &b"body"[..]), "{protocol:?}");
        let received = world.upstream.only();
        assert!(answer.trailers.is_some(), "{protocol:?} {answer:?} {received:?}");
        assert_eq!(answer.trailers.unwrap()["x-checksum"], "abc", "{protocol:?}");
        world.upstream.forget();
        assert_eq!(received.body, "body");
        assert_eq!(received.trailers.get("x-checksum").unwrap(), "123", "{protocol:?}");
        assert_eq!(received.trailers.len(), 1, "{protocol:?} {received:?}");
    }
}

#[tokio::test]
async fn a_body_of_unknown_length_arrives_whatever_the_method_is() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    for protocol in Protocol::BOTH {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST"] {
            let path = format!("/v1/{method}/{protocol:?}");
            let mut connection = world.client(protocol).connect().await;
            let frames = ["a ", "query"].map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from(part))));
            let body: Body = StreamBody::new(stream::iter(frames)).boxed_unsync();
            let request = connection.request(method, &path);
            let request = match protocol {
                Protocol::H1 => request.header("transfer-encoding", "chunked"),
                Protocol::H2 => request,
            };
            let answer = Answer::of(connection.send(request.body(body).unwrap()).await).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert_eq!(world.upstream.only().body, "a query", "{path}");
            world.upstream.forget();
            let line = &world.ends(&path).await[0];
            assert_eq!(line["bytes_in"], 7, "{line}");
        }
    }
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let large = Bytes::from((0..4_000_000_u32).map(|number| number.to_le_bytes()[0]).collect::<Vec<_>>());
    for protocol in Protocol::BOTH {
        let mut connection = world.client(protocol).connect().await;
        let request = connection.request("PUT", "/large").body(full(large.clone())).unwrap();
        assert_eq!(Answer::of(connection.send(request).await).await.status, 200);
        assert!(world.upstream.only().body == large, "{protocol:?}: another body arrived");
        world.upstream.forget();
    }
    let line = &world.ends("/large").await[0];
    assert_eq!((&line["bytes_in"], &line["end"]), (&large.len().into(), &"complete".into()), "{line}");
}

#[tokio::test]
async fn an_answer_that_comes_before_the_body_was_read_arrives() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let mut raw = world.raw(Protocol::H1).await;
    raw.send(
        "POST /early HTTP/1.1\r\nHost: orders.localhost\r\nContent-Length: 1000000\r\n\r\nthe beginning",
    )
    .await;
    raw.read_until("HTTP/1.1 413").await;

    let mut connection = world.client(Protocol::H2).connect().await;
    // A body that never ends by itself.
    let frames = stream::unfold((), |()| async {
        tokio::task::yield_now().await;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[0; 1024]))), ()))
    });
    let body: Body = StreamBody::new(frames).boxed_unsync();
    let answer = connection.send(connection.request("POST", "/early").body(body).unwrap()).await;
    assert_eq!(answer.status(), 413);
}

#[tokio::test]
async fn a_request_goes_on_to_its_end_while_nobody_takes_the_answer() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let mut raw = world.raw(Protocol::H1).await;
    // More than all sockets on the way hold.
    let body = vec![b'x'; 24 << 20];
    raw.send(format!(
        "POST /both HTTP/1.1\r\nHost: orders.localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    raw.send(body).await;
    raw.read_until("HTTP/1.1 200 OK").await;
}

#[tokio::test]
async fn a_caller_that_waits_for_100_continue_gets_it_only_if_it_may_go_on() {
    let world = World::start().await;
    world.grant("orders:PUT:/v1/**").await;
    let head = "Host: orders.localhost\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n";

    let mut permitted = world.raw(Protocol::H1).await;
    permitted.send(format!("PUT /v1/orders HTTP/1.1\r\n{head}")).await;
    permitted.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    permitted.send("body").await;
    permitted.read_until("HTTP/1.1 200 OK").await;
    assert_eq!(world.upstream.only().body, "body");

    let mut refused = world.raw(Protocol::H1).await;
    refused.send(format!("PUT /v2/orders HTTP/1.1\r\n{head}")).await;
    let answer = refused.read_until("out_of_scope").await;
    assert!(!answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn grpc_passes_with_its_status_and_is_refused_in_its_own_words() {
    let mut world = Setup::new().prepare().await;
    let service =
        format!("[[service]]\nname = \"stock\"\nupstream = [\"h2c://{}\"]\n", world.upstream.address);
    world.append_config(&service);
    world.start_control().await;
    world.start_proxy().await;
    world.grant(r#"[{"type":"grpc","locations":["stock"],"actions":["/grpc.Stock/Get"]}]"#).await;
    let mut connection = world.client(Protocol::H2).host("stock.localhost").connect().await;
    for (path, status) in [("/grpc.Stock/Get", "5"), ("/grpc.Stock/Set", "7")] {
        let request = connection.request("POST", path).header("content-type", "application/grpc");
        let answer =
            Answer::of(connection.send(request.header("te", "trailers").body(empty()).unwrap()).await).await;
        assert_eq!(answer.status, 200, "{path}: a gRPC caller reads `grpc-status`");
        let told = answer.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        let told = told.or_else(|| answer.headers.get("grpc-status"));
        assert_eq!(told.unwrap(), status, "{path}: {answer:?}");
    }
    assert_eq!(world.upstream.only().version, http::Version::HTTP_2);
}
