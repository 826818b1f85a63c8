//! Calls that go both ways at once (gRPC, and whatever else is read while it is answered): they end when neither side moves, and not
//! because one of them listens.

use crate::harness::client::Body;
use crate::harness::{Protocol, Setup, World, within};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use std::convert::Infallible;

/// A silent caller is given one second for its request, and so much while it is answered.
async fn chat(idle: &str) -> World {
    let mut world = Setup::new().prepare().await;
    let service = format!(
        "[[service]]\nname = \"chat\"\nupstream = [\"h2c://{}\"]\nprotocol = \"http\"\nidle_timeout = \"{idle}\"\n",
        world.upstream.address
    );
    world.append_config(&format!("{service}[proxy.limits]\nbody_stall_timeout = \"1s\"\n"));
    world.start_control().await;
    world.start_proxy().await;
    world.grant("chat:POST:/**").await;
    world
}

/// Sends one frame of a request and then nothing more.
async fn say_something(world: &World, path: &str) -> Response<Incoming> {
    let mut connection = world.client(Protocol::H2).host("chat.localhost").connect().await;
    let said = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from("something")))]);
    let body: Body = StreamBody::new(said.chain(stream::pending())).boxed_unsync();
    let response = connection.send(connection.request("POST", path).body(body).unwrap()).await;
    assert_eq!(response.status(), 200);
    response
}

#[tokio::test]
async fn a_caller_may_listen_for_as_long_as_the_service_talks() {
    let world = chat("1s").await;
    let mut response = say_something(&world, "/talk").await;
    // One each 20 ms.
    for _ in 0..150 {
        within("an event", response.frame()).await.expect("it was cut").unwrap();
    }
}

#[tokio::test]
async fn a_call_ends_when_neither_side_moves() {
    let world = chat("3s").await;
    let mut response = say_something(&world, "/echo").await;
    let frame = within("an echo", response.frame()).await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "something");
    assert!(within("the end", response.frame()).await.unwrap().is_err());
    let line = &world.ends("/echo").await[0];
    assert_eq!((&line["end"], &line["cause"]), (&"cut".into(), &"client_timeout".into()), "{line}");
    assert!(line["duration_us"].as_u64().unwrap() >= 3_000_000, "{line}");
}
