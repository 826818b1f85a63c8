//! Several addresses of one service, and services behind TLS: who is asked next, who is passed over, and who is not believed.

use crate::harness::pki::Authority;
use crate::harness::upstream::Upstream;
use crate::harness::world::own_address;
use crate::harness::{Protocol, Setup, World, eventually};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

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

/// A world with one more file beside its configuration.
async fn with_file(setup: Setup, name: &str, text: &str) -> World {
    let mut world = setup.prepare().await;
    std::fs::write(world.path(name), text).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    world
}
