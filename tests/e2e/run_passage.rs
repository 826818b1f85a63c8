//! What `jitgate run` carries between its command and the gate: everything of the message, nothing of the hop, and for one task.

use crate::harness::{World, within};
use crate::run::Running;
use http::Version;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Says where it is and waits.
const SAY: &str = "echo \"$JITGATE_ORIGIN\"; echo \"$JITGATE_SECRET\"; exec sleep 1000";

struct Address {
    host: String,
    secret: String,
}

impl Address {
    async fn of(running: &mut Running) -> Self {
        let (origin, secret) = (running.line().await, running.line().await);
        Self { host: origin.strip_prefix("http://").unwrap().to_owned(), secret }
    }

    async fn open(&self, head: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(&self.host).await.unwrap();
        let head = head.replace("SECRET", &self.secret).replace("HOST", &self.host);
        stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        stream
    }

    /// The whole answer.
    async fn ask(&self, head: &str, body: &[u8]) -> String {
        let mut stream = self.open(&format!("{head}\r\nConnection: close"), body).await;
        let mut answer = String::new();
        within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
        answer.to_lowercase()
    }

    async fn status(&self, path: &str) -> String {
        let answer = self.ask(&format!("GET /SECRET{path} HTTP/1.1\r\nHost: HOST"), b"").await;
        answer.get(9..12).unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn the_service_sees_the_message_byte_for_byte_and_nothing_of_the_hop() {
    let world = World::start().await;
    let mut running =
        Running::start_for(&world, ("T", "orders:*:/v1/**"), &["--scope", "orders:GET:/hop"], SAY).await;
    let address = Address::of(&mut running).await;
    let target = "/v1/a%20b/c~d/?q=%2F&&x=+&y=%7B%22a%22%3A1%7D";
    let head = format!(
        "POST /SECRET{target} HTTP/1.1\r\nHost: HOST\r\nConnection: x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\n\
         TE: trailers\r\nProxy-Authorization: Basic eA==\r\nReferer: http://HOST/SECRET/before\r\nJitgate-Task: other\r\n\
         Authorization: Bearer of-the-service\r\nX-Yours: a\r\nX-Yours: b\r\nContent-Type: application/json\r\nContent-Length: 7"
    );
    let answer = address.ask(&head, b"{\"a\":1}").await;
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    let seen = world.upstream.only();
    assert_eq!((seen.target.as_str(), &seen.body[..]), (target, &b"{\"a\":1}"[..]));
    assert_eq!(seen.headers["authorization"], "Bearer of-the-service");
    assert_eq!(seen.headers.get_all("x-yours").iter().collect::<Vec<_>>(), ["a", "b"]);
    for gone in ["x-mine", "keep-alive", "proxy-authorization", "referer", "jitgate-task", "jitgate-secret"] {
        assert!(!seen.headers.contains_key(gone), "{gone}: {:?}", seen.headers);
    }
    assert!(!format!("{seen:?}").contains(&address.secret), "{seen:?}");
    assert_ne!(seen.version, Version::HTTP_10);

    let answer = address.ask("GET /SECRET/hop HTTP/1.1\r\nHost: HOST", b"").await;
    assert!(answer.contains("x-public: for all"), "{answer}");
    assert!(!answer.contains("x-private") && !answer.contains("proxy-authenticate"), "{answer}");
    running.signal(Signal::TERM);
    assert_eq!(running.end().await.0, Some(143));
}

#[tokio::test]
async fn large_bodies_and_events_stream_both_ways() {
    let world = World::start().await;
    let more = ["--scope", "orders:GET:/download", "--scope", "orders:GET:/sse", "--grace", "200ms"];
    let mut running = Running::start_for(&world, ("T", "orders:PUT:/v1/big"), &more, SAY).await;
    let address = Address::of(&mut running).await;
    let body = vec![b'b'; 3 * 1024 * 1024];
    let mut chunked = Vec::new();
    for part in body.chunks(64 * 1024) {
        chunked.extend(format!("{:x}\r\n", part.len()).into_bytes());
        chunked.extend([part, b"\r\n"].concat());
    }
    chunked.extend(b"0\r\n\r\n");
    let head = "PUT /SECRET/v1/big HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked";
    assert!(address.ask(head, &chunked).await.starts_with("http/1.1 200"));
    assert_eq!(world.upstream.only().body, body);

    // More than any buffer on the way, and whoever has enough ends it for the service as well.
    let mut stream = address.open("GET /SECRET/download HTTP/1.1\r\nHost: HOST", b"").await;
    let mut part = vec![0; 16 * 1024 * 1024];
    within("16 MiB", stream.read_exact(&mut part)).await.unwrap();
    drop(stream);
    world.upstream.running(0).await;

    let mut stream = address.open("GET /SECRET/sse HTTP/1.1\r\nHost: HOST", b"").await;
    let mut text = String::new();
    while !text.contains("data: 3\n") {
        let mut some = [0; 256];
        let read = within("an event", stream.read(&mut some)).await.unwrap();
        assert!(read > 0, "the stream ended: {text}");
        text.push_str(std::str::from_utf8(&some[..read]).unwrap());
    }
    running.signal(Signal::TERM);
    running.end().await;
    let mut rest = Vec::new();
    // Ended or cut: either way it ends, and at the service too.
    let _how = within("the end of the stream", stream.read_to_end(&mut rest)).await;
    world.upstream.running(0).await;
}

#[tokio::test]
async fn two_runs_of_one_identity_do_not_use_each_others_access() {
    let world = World::start().await;
    let mut one = Running::start_for(&world, ("ONE", "orders:GET:/v1/one"), &[], SAY).await;
    let mut two = Running::start_for(&world, ("TWO", "orders:GET:/v1/two"), &[], SAY).await;
    let (first, second) = (Address::of(&mut one).await, Address::of(&mut two).await);
    assert_eq!((first.status("/v1/one").await, second.status("/v1/two").await), ("200".into(), "200".into()));
    assert_eq!((first.status("/v1/two").await, second.status("/v1/one").await), ("403".into(), "403".into()));
    let crossed = Address { host: second.host.clone(), secret: first.secret.clone() };
    assert_eq!(crossed.status("/v1/two").await, "401", "a secret is for one run");

    one.signal(Signal::TERM);
    one.end().await;
    assert_eq!(second.status("/v1/two").await, "200", "the other one goes on");
    two.signal(Signal::TERM);
    two.end().await;
}
