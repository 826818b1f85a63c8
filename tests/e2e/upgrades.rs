//! Of all upgrades only `websocket`, only with the action `UPGRADE`, and only once the upstream agreed; it ends with its grant.

use crate::harness::raw::statuses;
use crate::harness::upstream::Upstream;
use crate::harness::world::own_address;
use crate::harness::{Protocol, Setup, World, client, eventually, within};
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::{Error, Message};

type Socket = WebSocketStream<TlsStream<TcpStream>>;

async fn websocket(world: &World, path: &str) -> Result<Socket, Error> {
    websocket_at(world, "orders.localhost", path).await
}

async fn websocket_at(world: &World, host: &str, path: &str) -> Result<Socket, Error> {
    websocket_with(world, &format!("wss://{host}{path}"), &[]).await
}

async fn websocket_with(
    world: &World,
    url: &str,
    headers: &[(&'static str, &'static str)],
) -> Result<Socket, Error> {
    let tls = Arc::new(client::tls(&world.ca, Some(&world.agent), &[Protocol::H1]));
    let stream = client::open(world.listener(), tls).await.unwrap();
    let mut request = url.into_client_request().unwrap();
    let fields =
        headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
    request.headers_mut().extend(fields.collect::<HeaderMap>());
    let opening = tokio_tungstenite::client_async(request, stream);
    within("the answer to an upgrade", opening).await.map(|(socket, _)| socket)
}

/// A service that accepts a WebSocket, then neither reads nor says anything, and does not go away either.
async fn stubborn() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut piece) = (String::new(), [0; 1024]);
            while !head.ends_with("\r\n\r\n") {
                let count = stream.read(&mut piece).await.unwrap();
                head.push_str(std::str::from_utf8(&piece[..count]).unwrap());
            }
            let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    address
}

/// Says more than all sockets on the way hold and takes nothing, until it cannot.
async fn says_too_much(mut socket: Socket) {
    while socket.send(Message::binary(vec![0; 64 << 10])).await.is_ok() {}
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
async fn a_caller_that_takes_nothing_from_a_tunnel_is_cut() {
    let limits = "[proxy.limits]\nwrite_stall_timeout = \"1s\"\n";
    let world = Setup::new().tables(limits).start().await;
    world.grant("orders:UPGRADE:/ws").await;
    let talking = tokio::spawn(says_too_much(websocket(&world, "/ws").await.unwrap()));
    world.upstream.running(1).await;
    world.upstream.running(0).await;
    within("the end of the caller", talking).await.unwrap();
    let line = &world.ends("/ws").await[0];
    assert_eq!((&line["end"], &line["cause"]), (&"cut".into(), &"client_timeout".into()), "{line}");
}

#[tokio::test]
async fn a_service_that_takes_nothing_from_a_tunnel_or_does_not_end_it_is_given_up() {
    let service = format!(
        "[[service]]\nname = \"tape\"\nupstream = [\"http://{}\"]\nidle_timeout = \"1s\"\n",
        stubborn().await
    );
    let world = Setup::new().tables(&service).start().await;
    world.grant("tape:UPGRADE:/**").await;
    let open = |path: &str| {
        let (world, url) = (&world, format!("wss://tape.localhost{path}"));
        async move { websocket_with(world, &url, &[]).await.unwrap() }
    };
    let talking = tokio::spawn(says_too_much(open("/full").await));
    within("the end of the caller", talking).await.unwrap();
    let mut gone = open("/gone").await;
    gone.get_mut().shutdown().await.unwrap();
    // As long as both are there, silence is no reason.
    let mut quiet = open("/quiet").await;
    for path in ["/full", "/gone"] {
        let line = &world.ends(path).await[0];
        assert_eq!((&line["end"], &line["cause"]), (&"cut".into(), &"upstream_timeout".into()), "{line}");
    }
    quiet.send(Message::text("still there")).await.unwrap();
    assert!(world.audit().iter().all(|line| line["path"] != "/quiet"), "it was cut");
}

#[tokio::test]
async fn a_host_that_has_vanished_is_noticed() {
    let world = World::start().await;
    let raw = world.raw(Protocol::H1).await;
    let api = world.api_as(&world.agent).connect().await;
    for port in [8443, 8444] {
        // Of `proc_pid_net(5)`: the addresses, then state 01 (established), then which timer runs: 02 is that of keep-alive.
        let local = format!("{:08X}:{port:04X}", u32::from(world.address).swap_bytes());
        // While something is on its way it is another one.
        eventually(&format!("the timers of {port}"), || async {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            let ours = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let timers: Vec<_> = ours
                .filter(|line| line[1] == local && line[3] == "01")
                .map(|line| line[5][..2].to_owned())
                .collect();
            (!timers.is_empty() && timers.iter().all(|timer| timer == "02")).then_some(())
        })
        .await;
    }
    drop((raw, api));
}

#[tokio::test]
async fn an_upgrade_that_takes_trailers_is_one_to_the_service_too() {
    let world = World::start().await;
    world.grant("orders:UPGRADE:/ws").await;
    let te = [("te", "trailers"), ("connection", "upgrade, te")];
    let mut socket = websocket_with(&world, "wss://orders.localhost/ws", &te).await.unwrap();
    socket.send(Message::text("one")).await.unwrap();
    assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("one"));
    let received = world.upstream.only();
    assert_eq!(received.headers["connection"], "upgrade", "{received:?}");
    assert!(!received.headers.contains_key("te"), "{received:?}");
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
async fn a_websocket_takes_the_place_of_a_connection_that_is_idle() {
    let service = Upstream::start().await;
    // One for each of two workers.
    let table = format!(
        "[[service]]\nname = \"narrow\"\nupstream = [\"http://{}\"]\nmax_connections = 2\nconnect_timeout = \"2s\"\n",
        service.address
    );
    let world = Setup::new().tables(&table).start().await;
    world.grant("narrow:GET,UPGRADE:/**").await;
    for _ in 0..4 {
        for _ in 0..8 {
            let answer = world.client(Protocol::H1).host("narrow.localhost").get("/v1/orders").await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        let mut socket = websocket_at(&world, "narrow.localhost", "/ws").await.unwrap();
        socket.send(Message::text("one")).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text("one"));
        drop(socket);
        service.running(0).await;
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
