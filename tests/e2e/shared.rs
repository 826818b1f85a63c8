//! Many requests share one HTTP/2 connection to a service: none is held up, cut or kept alive by another.

use crate::harness::client::{Body, Connection};
use crate::harness::shared::Shared;
use crate::harness::{Protocol, Setup, World, client, eventually, within};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use h2::Reason;
use http::Request;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2;
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// A call that goes on: its head was read, and it sends as the test says.
struct Call {
    send: mpsc::Sender<Bytes>,
    answer: Incoming,
}

/// The body of a request, of what is sent here.
fn said() -> (mpsc::Sender<Bytes>, Body) {
    let (send, receive) = mpsc::channel(1);
    let frames = stream::unfold(receive, |mut receive: mpsc::Receiver<Bytes>| async {
        let bytes = receive.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), receive))
    });
    (send, StreamBody::new(frames).boxed_unsync())
}

impl Call {
    async fn open(connection: &mut Connection, path: &str) -> Self {
        let (send, body) = said();
        let answer = connection.send(connection.request("POST", path).body(body).unwrap()).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        Self { send, answer: answer.into_body() }
    }

    /// Says something to `/echo` and hears it again.
    async fn echoes(&mut self, text: &'static str) {
        self.send.send(Bytes::from_static(text.as_bytes())).await.unwrap();
        let frame = within("an echo", self.answer.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }

    /// Sends more to `/unread` than the service has a window for, and waits until that is full.
    async fn fill(&self, service: &Shared) {
        for _ in 0..8 {
            within("the proxy's window", self.send.send(vec![b'u'; 16 << 10].into())).await.unwrap();
        }
        let full = || async { (service.seen().unread >= usize::from(u16::MAX)).then_some(()) };
        eventually("a full window", full).await;
    }
}

/// A world with the service, by the name `stock`.
async fn world(service: &Shared, more: &str) -> World {
    let upstream = format!("h2c://{}", service.address);
    let table =
        format!("[[service]]\nname = \"stock\"\nprotocol = \"http\"\nupstream = [\"{upstream}\"]\n{more}");
    Setup::new().tables(&table).start().await
}

async fn connect(world: &World) -> Connection {
    world.client(Protocol::H2).host("stock.localhost").connect().await
}

async fn cancelled(service: &Shared) {
    let reset = || async { service.seen().broken.contains(&Some(Reason::CANCEL)).then_some(()) };
    eventually("a reset at the service", reset).await;
}

#[tokio::test]
async fn a_revocation_ends_an_upload_that_the_service_does_not_read_and_no_other() {
    let service = Shared::start(100, u16::MAX.into()).await;
    let world = world(&service, "").await;
    let grant = world.grant("stock:POST:/unread").await;
    world.grant("stock:POST:/echo").await;
    let mut connection = connect(&world).await;
    let mut echo = Call::open(&mut connection, "/echo").await;
    echo.echoes("before").await;
    let stuck = Call::open(&mut connection, "/unread").await;
    stuck.fill(&service).await;

    let receipt = world.revoke(&grant).await;
    assert_eq!(receipt["effective"], true, "{receipt}");
    cancelled(&service).await;
    echo.echoes("after").await;
    assert_eq!((service.seen().connections, service.seen().ended), (1, 0));
}

#[tokio::test]
async fn a_call_that_its_caller_gives_up_is_cancelled_at_the_service_though_it_does_not_read() {
    let service = Shared::start(100, u16::MAX.into()).await;
    let world = world(&service, "").await;
    world.grant("stock:POST:/**").await;
    let mut connection = connect(&world).await;
    let mut echo = Call::open(&mut connection, "/echo").await;
    let stuck = Call::open(&mut connection, "/unread").await;
    stuck.fill(&service).await;
    drop(stuck);
    cancelled(&service).await;
    echo.echoes("after").await;
    let one = || async { (world.metric("jitgate_streams_in_flight").await < 1.5).then_some(()) };
    eventually("that only the other call is left", one).await;
}

/// Sends until nothing goes on any more.
async fn send_all_that_goes(send: &mpsc::Sender<Bytes>) {
    let chunk = Bytes::from(vec![b'u'; 16 << 10]);
    while let Ok(sent) = tokio::time::timeout(Duration::from_secs(1), send.send(chunk.clone())).await {
        sent.unwrap();
    }
}

async fn revoked_from_a_deaf_service(world: &World, service: &Shared, grant: &str) {
    let receipt = world.revoke(grant).await;
    assert_eq!(receipt["effective"], true, "{receipt}");
    service.deaf(false);
    let ended = || async { (service.seen().ended == 1).then_some(()) };
    eventually("the end of the connection", ended).await;
    assert_eq!(service.seen().broken, [None], "not by a reset, which comes behind what lies in buffers");
}

#[tokio::test]
async fn what_a_deaf_service_does_not_take_from_the_socket_ends_with_the_grant() {
    let service = Shared::start(100, 1 << 27).await;
    let world = world(&service, "").await;
    let grant = world.grant("stock:POST:/unread").await;
    let stuck = Call::open(&mut connect(&world).await, "/unread").await;
    service.deaf(true);
    send_all_that_goes(&stuck.send).await;
    revoked_from_a_deaf_service(&world, &service, &grant).await;
}

#[tokio::test]
async fn a_head_that_a_deaf_service_has_not_taken_does_not_leave_once_its_grant_is_gone() {
    let service = Shared::start(100, 1 << 27).await;
    let world = world(&service, "").await;
    world.grant("stock:POST:/unread").await;
    let grant = world.grant("stock:DELETE:/orders/1").await;
    let mut connection = connect(&world).await;
    let stuck = Call::open(&mut connection, "/unread").await;
    service.deaf(true);
    send_all_that_goes(&stuck.send).await;
    let mut again = connection.again();
    let late = tokio::spawn(async move {
        let request = again.request("DELETE", "/orders/1").body(client::empty()).unwrap();
        again.try_send(request).await
    });
    eventually("both under way", || async {
        (world.metric("jitgate_streams_in_flight").await == 2.0).then_some(())
    })
    .await;
    revoked_from_a_deaf_service(&world, &service, &grant).await;
    assert_eq!(service.seen().paths, ["/unread"], "what had been acknowledged as ended");
    drop(within("the end of the call", late).await);
}

/// What works for a client, so that it can vanish.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, work: F) {
        self.0.lock().spawn(work);
    }
}

#[tokio::test]
async fn what_a_caller_left_at_a_deaf_service_ends_with_the_grant() {
    let service = Shared::start(100, 1 << 27).await;
    let world = world(&service, "").await;
    let grant = world.grant("stock:POST:/unread").await;
    let tls = Arc::new(client::tls(&world.ca, Some(&world.agent), &[Protocol::H2]));
    let stream = client::open(world.listener(), tls).await.unwrap();
    let tasks = Tasks::default();
    let (mut sender, connection) = http2::handshake(tasks.clone(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let (send, body) = said();
    let request = Request::post("https://stock.localhost/unread").body(body).unwrap();
    let answer = within("the head of an answer", sender.send_request(request)).await.unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    service.deaf(true);
    send_all_that_goes(&send).await;
    // With the socket, and without a word.
    tasks.0.lock().abort_all();
    assert_eq!(world.ends("/unread").await[0]["end"], "client_gone");
    revoked_from_a_deaf_service(&world, &service, &grant).await;
}

#[tokio::test]
async fn calls_get_as_many_connections_as_the_service_permits_calls_on_each_and_no_more_than_configured() {
    let service = Shared::start(2, u16::MAX.into()).await;
    // Three for each of two workers.
    let world = world(&service, "max_connections = 6\n").await;
    world.grant("stock:POST:/**").await;
    let connection = connect(&world).await;
    // At once, on connections that are not open yet.
    let calls = (0..6).map(|_| {
        let mut connection = connection.again();
        async move { Call::open(&mut connection, "/echo").await }
    });
    let mut calls = join_all(calls).await;
    for call in &mut calls {
        call.echoes("first").await;
    }
    assert_eq!(service.seen().connections, 3);

    let mut connection = connection.again();
    let refused = connection.call("POST", "/echo", "one too many").await;
    assert_eq!((refused.status.as_u16(), &*refused.reason()), (503, "upstream_unavailable"));
    let line = &world.ends("/echo").await[0];
    assert_eq!((&line["end"], &line["cause"]), (&"upstream_error".into(), &"connections_exhausted".into()));
    for call in &mut calls {
        call.echoes("second").await;
    }
    drop(calls.pop());
    eventually("a place for one more", || async {
        let mut connection = connection.again();
        (connection.call("POST", "/echo", "once more").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(service.seen().connections, 3);
}
