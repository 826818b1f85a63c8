//! Of all upgrades only `websocket`, only with the action `UPGRADE`, and only once the upstream agreed; it ends with its grant.

use crate::harness::raw::statuses;
use crate::harness::upstream::Upstream;
use crate::harness::world::own_address;
use crate::harness::{Protocol, Setup, World, client, within};
use futures_util::{SinkExt, StreamExt};
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn websocket(world: &World, path: &str) -> Result<Socket, Error> {
    websocket_at(world, "orders.localhost", path).await
}

async fn websocket_at(world: &World, host: &str, path: &str) -> Result<Socket, Error> {
    let tls = Arc::new(client::tls(&world.ca, Some(&world.agent), &[Protocol::H1]));
    let stream = client::open(world.listener(), tls).await.unwrap();
    let opening = tokio_tungstenite::client_async(format!("wss://{host}{path}"), stream);
    within("the answer to an upgrade", opening).await.map(|(socket, _)| socket)
}

fn status(refused: Result<Socket, Error>) -> u16 {
    match refused {
        Err(Error::Http(answer)) => answer.status().as_u16(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_websocket_needs_the_action_upgrade() {
    let world = World::start().await;
    world.grant("orders:GET,POST:/**").await;
    assert_eq!(status(websocket(&world, "/ws").await), 403);
    assert!(world.upstream.received().is_empty());
}

#[tokio::test]
async fn a_websocket_carries_messages_until_its_grant_is_revoked() {
    let world = World::start().await;
    let grant = world.grant("orders:GET,UPGRADE:/ws").await;
    let mut socket = websocket(&world, "/ws").await.unwrap();
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text(text));
    }
    world.revoke(&grant).await;
    let end = within("the end of the socket", socket.next()).await;
    assert!(!matches!(end, Some(Ok(Message::Text(_) | Message::Binary(_)))), "{end:?}");
    world.upstream.running(0).await;
    let line = &world.ends("/ws").await[0];
    assert_eq!(
        (&line["end"], &line["cause"], &line["status"]),
        (&"cut".into(), &"revoked".into(), &101.into())
    );
}

#[tokio::test]
async fn no_tunnel_opens_before_the_upstream_agreed() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    // The upstream answers 200 here and knows no WebSocket; what follows must not be taken for a tunnel.
    assert_eq!(status(websocket(&world, "/v1/orders").await), 200);
    world.upstream.running(0).await;
}

#[tokio::test]
async fn a_websocket_goes_to_an_address_that_works() {
    let (unused, _lock) = own_address();
    let service = Upstream::start().await;
    let table = format!(
        "[[service]]\nname = \"many\"\nupstream = [\"http://{unused}:9001\", \"http://{}\"]\n",
        service.address
    );
    let world = Setup::new().tables(&table).start().await;
    world.grant("many:GET,UPGRADE:/ws").await;
    for _ in 0..6 {
        let mut socket = websocket_at(&world, "many.localhost", "/ws").await.unwrap();
        socket.send(Message::text("one")).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("one"));
    }
}

#[tokio::test]
async fn every_other_upgrade_is_refused() {
    let world = World::start().await;
    world.grant("orders:*:/**").await;
    let heads = [
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nConnection: upgrade\r\nUpgrade: TLS/1.0\r\n",
        "GET / HTTP/1.1\r\nHost: orders.localhost\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n",
        "POST /ws HTTP/1.1\r\nHost: orders.localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n",
        "CONNECT orders.localhost:443 HTTP/1.1\r\nHost: orders.localhost:443\r\n",
    ];
    for head in heads {
        let mut raw = world.raw(Protocol::H1).await;
        raw.send(format!("{head}\r\n")).await;
        let answer = raw.read_until("\r\n\r\n").await;
        let status = statuses(&answer)[0];
        assert!((400..=405).contains(&status), "{head}: {answer}");
    }
    assert!(world.upstream.received().is_empty(), "{:?}", world.upstream.received());
}
