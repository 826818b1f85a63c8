//! Several addresses of one service, and services behind TLS: who is asked next, who is passed over, and who is not believed.

use crate::harness::pki::Authority;
use crate::harness::upstream::Upstream;
use crate::harness::world::own_address;
use crate::harness::{Protocol, Setup, World, eventually, within};
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// An address that hangs up on everybody, until it is repaired and leads to an upstream.
struct Failing {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    works: Arc<AtomicBool>,
}

impl Failing {
    async fn before(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let failing =
            Self { address: listener.local_addr().unwrap(), asked: Arc::default(), works: Arc::default() };
        let (asked, works) = (Arc::clone(&failing.asked), Arc::clone(&failing.works));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                asked.fetch_add(1, Ordering::Relaxed);
                if works.load(Ordering::Relaxed) {
                    tokio::spawn(async move {
                        let mut behind = TcpStream::connect(upstream).await.unwrap();
                        let _gone = copy_bidirectional(&mut stream, &mut behind).await;
                    });
                }
            }
        });
        failing
    }
}

#[tokio::test]
async fn addresses_take_turns_and_one_that_refuses_is_passed_over_until_it_works() {
    let (unused, _lock) = own_address();
    let away = SocketAddr::from((unused, 9_001));
    let (one, two) = (Upstream::start().await, Upstream::start().await);
    let addresses =
        [one.address, two.address, away].map(|address| format!("\"http://{address}\"")).join(", ");
    let world = Setup::new()
        .tables(&format!("[[service]]\nname = \"many\"\nupstream = [{addresses}]\n"))
        .start()
        .await;
    world.grant("many:GET:/**").await;
    let ask = || async { world.client(Protocol::H1).host("many.localhost").get("/v1/orders").await.status };
    for _ in 0..24 {
        assert_eq!(ask().await, 200);
    }
    let (first, second) = (one.received().len(), two.received().len());
    assert_eq!(first + second, 24);
    assert!(first >= 6 && second >= 6, "{first} and {second} of 24");
    // It works again: it gets its turn again.
    let three = Upstream::start_at(away).await;
    eventually("a request at the third address", || async {
        assert_eq!(ask().await, 200);
        (!three.received().is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_is_believed_by_its_certificate_alone() {
    let theirs = Authority::new("the service's CA");
    let good = Upstream::start_tls(&theirs.server("service/good", [127, 0, 0, 1].into())).await;
    let misnamed = Upstream::start_tls(&theirs.server("service/bad", [127, 9, 9, 9].into())).await;
    let service = |name: &str, upstream: SocketAddr, ca: &str, more: &str| {
        format!(
            "[[service]]\nname = \"{name}\"\nupstream = [\"https://{upstream}\"]\nupstream_ca = \"{ca}\"\n{more}"
        )
    };
    let tables = [
        service("good", good.address, "theirs.pem", ""),
        service("good-h2", good.address, "theirs.pem", "protocol = \"grpc\"\n"),
        service("wrong-ca", good.address, "ca.pem", ""),
        service("wrong-name", misnamed.address, "theirs.pem", ""),
        service("wrong-name-h2", misnamed.address, "theirs.pem", "protocol = \"grpc\"\n"),
        service("plain", Upstream::start().await.address, "theirs.pem", ""),
    ];
    let world = with_file(Setup::new().tables(&tables.concat()), "theirs.pem", theirs.pem()).await;
    let ask = |name: &'static str| {
        let client = world.client(Protocol::H2).host(&format!("{name}.localhost"));
        async move { client.get("/v1/orders").await }
    };
    for (name, version) in [("good", http::Version::HTTP_11), ("good-h2", http::Version::HTTP_2)] {
        world.grant(&format!("{name}:GET:/**")).await;
        let answer = ask(name).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        assert_eq!(good.only().version, version);
        good.forget();
    }
    for name in ["wrong-ca", "wrong-name", "wrong-name-h2", "plain"] {
        world.grant(&format!("{name}:GET:/**")).await;
        let answer = ask(name).await;
        let got = (answer.status.as_u16(), answer.reason());
        assert_eq!(got, (502, "upstream_unavailable".to_owned()), "{name}: {answer:?}");
    }
    assert!(good.received().is_empty() && misnamed.received().is_empty());
    let cause =
        world.ends("/v1/orders").await.into_iter().find(|line| line["service"] == "wrong-ca").unwrap();
    assert_eq!((&cause["end"], &cause["cause"]), (&"upstream_error".into(), &"tls".into()), "{cause}");
}

#[tokio::test]
async fn an_address_that_fails_in_tls_is_asked_seldom_and_again_once_it_works() {
    let theirs = Authority::new("the service's CA");
    let leaf = theirs.server("service/good", [127, 0, 0, 1].into());
    let (one, hidden) = (Upstream::start_tls(&leaf).await, Upstream::start_tls(&leaf).await);
    let failing = Failing::before(hidden.address).await;
    let addresses = [one.address, failing.address].map(|address| format!("\"https://{address}\"")).join(", ");
    let table =
        format!("[[service]]\nname = \"many\"\nupstream = [{addresses}]\nupstream_ca = \"theirs.pem\"\n");
    let world = with_file(Setup::new().tables(&table), "theirs.pem", theirs.pem()).await;
    world.grant("many:GET:/**").await;
    let ask = || async { world.client(Protocol::H1).host("many.localhost").get("/v1/orders").await.status };
    for _ in 0..60 {
        assert_eq!(ask().await, 200);
    }
    // Every second request would have asked it; each of two workers asks once, and after 5 s once more.
    let asked = failing.asked.load(Ordering::Relaxed);
    assert!((1..=10).contains(&asked), "asked {asked} times");
    failing.works.store(true, Ordering::Relaxed);
    eventually("a request at the address that was repaired", || async {
        assert_eq!(ask().await, 200);
        (!hidden.received().is_empty()).then_some(())
    })
    .await;
}

/// A service that answers nobody until it may, and keeps its connections.
struct Held {
    address: SocketAddr,
    may_answer: watch::Sender<bool>,
    asked: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    most_open: Arc<AtomicUsize>,
}

impl Held {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let held = Self {
            address: listener.local_addr().unwrap(),
            may_answer: watch::channel(false).0,
            asked: Arc::default(),
            open: Arc::default(),
            most_open: Arc::default(),
        };
        let (asked, open, most_open) = (held.asked.clone(), held.open.clone(), held.most_open.clone());
        let may_answer = held.may_answer.subscribe();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                most_open.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let (asked, open, may_answer) = (asked.clone(), open.clone(), may_answer.clone());
                tokio::spawn(async move {
                    let _gone = Self::serve(stream, &asked, may_answer).await;
                    open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        held
    }

    async fn serve(
        stream: TcpStream,
        asked: &AtomicUsize,
        mut may_answer: watch::Receiver<bool>,
    ) -> Option<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = String::from("the first");
            while !line.trim().is_empty() {
                line.clear();
                if stream.read_line(&mut line).await.ok()? == 0 {
                    return None;
                }
            }
            asked.fetch_add(1, Ordering::Relaxed);
            may_answer.wait_for(|may| *may).await.ok()?;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.ok()?;
        }
    }

    /// A world in which each of two workers may have one connection to it.
    async fn narrow(&self, patience: &str) -> World {
        let table = format!(
            "[[service]]\nname = \"narrow\"\nupstream = [\"http://{}\"]\nmax_connections = 2\nconnect_timeout = \"{patience}\"\n",
            self.address
        );
        let world = Setup::new().tables(&table).start().await;
        world.grant("narrow:GET:/**").await;
        world
    }
}

#[tokio::test]
async fn who_waits_for_a_connection_gets_the_one_that_is_given_back() {
    let service = Held::start().await;
    let world = service.narrow("2s").await;
    // All of them at one worker.
    let connection = world.client(Protocol::H2).host("narrow.localhost").connect().await;
    let calls = (0..40).map(|_| {
        let mut connection = connection.again();
        async move { connection.get("/v1/orders").await.status.as_u16() }
    });
    let calls = tokio::spawn(join_all(calls));
    eventually("a request at the service", || async {
        (service.asked.load(Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    service.may_answer.send_replace(true);
    assert_eq!(within("all answers", calls).await.unwrap(), vec![200; 40]);
    assert_eq!((service.asked.load(Ordering::Relaxed), service.most_open.load(Ordering::Relaxed)), (40, 1));
}

#[tokio::test]
async fn who_waits_for_a_connection_in_vain_is_told_so_and_the_address_goes_on() {
    let service = Held::start().await;
    let world = service.narrow("5s").await;
    let connection = world.client(Protocol::H2).host("narrow.localhost").connect().await;
    let call = || {
        let mut connection = connection.again();
        async move { connection.get("/v1/orders").await }
    };
    let first = tokio::spawn(call());
    eventually("a request at the service", || async {
        (service.asked.load(Ordering::Relaxed) == 1).then_some(())
    })
    .await;
    let refused = call().await;
    assert_eq!((refused.status.as_u16(), &*refused.reason()), (503, "upstream_unavailable"));
    let line = &world.ends("/v1/orders").await[0];
    assert_eq!((&line["end"], &line["cause"]), (&"upstream_error".into(), &"connections_exhausted".into()));
    // Who gives up waiting leaves no gap in the queue.
    let running = |wanted: f64| {
        let world = &world;
        eventually("as many calls", move || async move {
            (world.metric("jitgate_streams_in_flight").await == wanted).then_some(())
        })
    };
    running(1.0).await;
    let gone = tokio::spawn(call());
    running(2.0).await;
    let waits = tokio::spawn(call());
    running(3.0).await;
    gone.abort();
    running(2.0).await;
    service.may_answer.send_replace(true);
    for call in [first, waits] {
        assert_eq!(within("an answer", call).await.unwrap().status, 200);
    }
    assert_eq!(service.most_open.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn while_one_address_has_no_room_the_others_are_asked() {
    let (held, other) = (Held::start().await, Held::start().await);
    other.may_answer.send_replace(true);
    let addresses = [&held, &other].map(|service| format!("\"http://{}\"", service.address)).join(", ");
    let table = format!("[[service]]\nname = \"many\"\nupstream = [{addresses}]\nmax_connections = 2\n");
    let world = Setup::new().tables(&table).start().await;
    world.grant("many:GET:/**").await;
    let connection = world.client(Protocol::H2).host("many.localhost").connect().await;
    let mut calls: FuturesUnordered<_> = (0..20)
        .map(|_| {
            let mut connection = connection.again();
            async move { connection.get("/v1/orders").await.status.as_u16() }
        })
        .collect();
    for _ in 0..19 {
        assert_eq!(within("an answer", calls.next()).await, Some(200));
    }
    assert_eq!(held.asked.load(Ordering::Relaxed), 1);
    held.may_answer.send_replace(true);
    assert_eq!(within("the last answer", calls.next()).await, Some(200));
    assert_eq!((held.asked.load(Ordering::Relaxed), other.asked.load(Ordering::Relaxed)), (1, 19));
}

/// A world with one more file beside its configuration.
async fn with_file(setup: Setup, name: &str, text: &str) -> World {
    let mut world = setup.prepare().await;
    std::fs::write(world.path(name), text).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world
}
