//! Law 3 against HTTP/1.1 request smuggling, from the outside: bytes over TLS in, and at the service a recorder that knows no HTTP
//! library. What reaches it has exactly one reading, and there is never a second request.

use crate::harness::raw::statuses;
use crate::harness::recorder::Recorder;
use crate::harness::{Protocol, Setup, World, eventually};

/// What may come of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing whole reaches the service, and nobody is told 200.
    Refused,
    /// At most this many requests reach it, each the one that was meant.
    Read(usize),
}
use Outcome::{Read, Refused};

/// A request that must never arrive. It is outside of the grant, so that the gate itself refuses it where it sees it.
const HIDDEN: &str = "GET /secret HTTP/1.1\r\nHost: bare.localhost\r\n\r\n";
const POST: &str = "POST /v1/orders HTTP/1.1\r\nHost: bare.localhost\r\n";
const GET: &str = "GET /v1/orders HTTP/1.1\r\nHost: bare.localhost\r\n";

async fn bare_world() -> (World, Recorder) {
    let recorder = Recorder::start().await;
    let service = format!("[[service]]\nname = \"bare\"\nupstream = [\"http://{}\"]\n", recorder.address);
    // What is left open ends soon, and no test has to close it: that would end what it began, too.
    let limits =
        "[proxy.limits]\nidle_timeout = \"1s\"\nheader_timeout = \"1s\"\nbody_stall_timeout = \"1s\"\n";
    let world = Setup::new().tables(&format!("{limits}{service}")).start().await;
    world.grant("bare:*:/v1/**").await;
    (world, recorder)
}

/// Sends each message on a connection of its own, with everything after it, and looks at what arrived and what was written.
async fn attack(world: &World, recorder: &Recorder, name: &str, message: &[u8], outcome: Outcome) {
    let lines = world.audit().len();
    let mut raw = world.raw(Protocol::H1).await;
    raw.send(message).await;
    let answer = raw.read_to_end().await;
    recorder.quiet().await;
    let seen = recorder.take();
    let shown = String::from_utf8_lossy(&message[..message.len().min(300)]).into_owned();
    assert!(seen.violations.is_empty(), "{name}: {shown:?} became {:?}", seen.violations);
    for whole in &seen.whole {
        assert_eq!(whole.target, "/v1/orders", "{name}: {shown:?} became {whole:?}");
    }
    let codes = statuses(&answer);
    match outcome {
        Refused => {
            assert!(seen.whole.is_empty(), "{name}: {shown:?} became {:?}", seen.whole);
            assert!(codes.iter().all(|code| (400..600).contains(code)), "{name}: {answer}");
        }
        Read(most) => assert!(seen.whole.len() <= most, "{name}: {shown:?} became {:?}", seen.whole),
    }
    assert!(!answer.contains("/secret HTTP"), "{name}: {answer}");
    eventually(&format!("a line in the trail for: {name}"), || async {
        (world.audit().len() > lines).then_some(())
    })
    .await;
}

#[tokio::test]
async fn two_framings_of_one_message() {
    let (world, recorder) = bare_world().await;
    let length = HIDDEN.len() + 5;
    let te = |spelling: &str, outcome| (format!("{spelling}\r\n\r\n0\r\n\r\n{HIDDEN}"), outcome);
    let cases = [
        te(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"), Read(1)),
        te(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"), Read(1)),
        (
            format!("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5c\r\n{HIDDEN}\r\n0\r\n\r\n"),
            Read(1),
        ),
        te("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", Read(1)),
        te("Transfer-Encoding: chunked, chunked", Read(1)),
        te("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", Refused),
        te("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", Read(1)),
        te("Transfer-Encoding: chunked, identity", Refused),
        te("Transfer-Encoding: gzip, chunked", Read(1)),
        te("Transfer-Encoding: identity", Refused),
        te("Transfer-Encoding: xchunked", Refused),
        te("Transfer-Encoding: chunkedx", Refused),
        te("Transfer-Encoding: \"chunked\"", Refused),
        te("Transfer-Encoding: chunked;q=1", Refused),
        te("Transfer-Encoding: ", Refused),
        te("Transfer-Encoding:chunked", Read(1)),
        te("Transfer-Encoding:\tchunked\t", Read(1)),
        te("Transfer-Encoding: CHUNKED", Read(1)),
        te("Transfer-Encoding: \u{b}chunked", Refused),
        te("Transfer-Encoding: \u{0}chunked", Refused),
        te("Transfer-Encoding : chunked", Refused),
        te(" Transfer-Encoding: chunked", Refused),
        te("Transfer_Encoding: chunked", Read(1)),
        te("X: y\rTransfer-Encoding: chunked", Refused),
        te("X: y\nTransfer-Encoding: chunked", Read(1)),
        te("Transfer-Encoding\r\n : chunked", Refused),
        te("Transfer-Encoding:\r\n chunked", Refused),
        te("X: y\r\n z: obs-fold", Refused),
        te("Transfer-Encoding: chunked\u{0}", Refused),
    ];
    for (rest, outcome) in cases {
        attack(&world, &recorder, "framing", format!("{POST}{rest}").as_bytes(), outcome).await;
    }
}

#[tokio::test]
async fn lengths_with_two_readings() {
    let (world, recorder) = bare_world().await;
    let cases = [
        ("Content-Length: 0\r\nContent-Length: 44", Refused),
        ("Content-Length: 44\r\nContent-Length: 0", Refused),
        ("Content-Length: 0\r\nContent-Length: 0", Read(1)),
        ("Content-Length: 0, 0", Refused),
        ("Content-Length: 0, 44", Refused),
        ("Content-Length: +0", Refused),
        ("Content-Length: -0", Refused),
        ("Content-Length: 0x0", Refused),
        ("Content-Length: 0 0", Refused),
        ("Content-Length: 0;", Refused),
        ("Content-Length: \u{b}0", Refused),
        ("Content-Length: ", Refused),
        ("Content-Length: 0\u{0}", Refused),
        ("Content-Length: 18446744073709551616", Refused),
        ("Content-Length: 99999999999999999999999999", Refused),
        ("Content-Length : 0", Refused),
        ("Content-Length: 0\r", Refused),
        ("Content-Length: 000", Read(1)),
    ];
    for (line, outcome) in cases {
        let message = format!("{POST}{line}\r\n\r\n{HIDDEN}");
        attack(&world, &recorder, line, message.as_bytes(), outcome).await;
    }
}

#[tokio::test]
async fn chunks_that_lie() {
    let (world, recorder) = bare_world().await;
    let flood = format!("1;{}\r\nx\r\n0\r\n\r\n", "e=1;".repeat(200_000));
    let cases = [
        ("fffffffffffffffff\r\nx", Refused),
        ("ffffffffffffffff\r\nx", Refused),
        ("10000000000000000\r\n", Refused),
        ("0x0\r\n\r\n", Refused),
        ("+0\r\n\r\n", Refused),
        ("-1\r\n\r\n", Refused),
        ("\r\n\r\n", Refused),
        ("g\r\n\r\n", Refused),
        ("3\r\nabcd\r\n0\r\n\r\n", Refused),
        ("3\r\nab\r\n0\r\n\r\n", Refused),
        ("3\nabc\r\n0\r\n\r\n", Refused),
        ("3\r\nabc0\r\n\r\n", Refused),
        // The last chunk without its empty line: the hidden request would be read as trailers.
        ("0\r\n", Refused),
        ("3\r\nabc\r\n0\r\n", Refused),
        ("3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n", Read(1)),
        ("3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\nHost: x\r\n\r\n", Read(1)),
        ("3;ext=\"\r\n\"\r\nabc\r\n0\r\n\r\n", Refused),
        ("3;ext=1\r\nabc\r\n0\r\n\r\n", Read(1)),
        ("003\r\nabc\r\n0\r\n\r\n", Read(1)),
        (&flood, Refused),
    ];
    for (body, outcome) in cases {
        let message = format!("{POST}Transfer-Encoding: chunked\r\n\r\n{body}{HIDDEN}");
        attack(&world, &recorder, &body[..body.len().min(40)], message.as_bytes(), outcome).await;
    }
}

#[tokio::test]
async fn heads_with_two_readings() {
    let (world, recorder) = bare_world().await;
    let many: String = (0..5_000).map(|number| format!("X-{number}: 1\r\n")).collect();
    let endless = format!("X: {}\r\n", "y".repeat(1 << 20));
    let cases = [
        ("bare CR", format!("{GET}X: a\rb\r\n\r\n{HIDDEN}"), Refused),
        ("bare CR before the end", format!("{GET}X: a\r\r\n\r\n{HIDDEN}"), Refused),
        ("NUL in a value", format!("{GET}X: a\0b\r\n\r\n"), Refused),
        ("NUL in a name", format!("{GET}X\0Y: a\r\n\r\n"), Refused),
        ("space before the colon", format!("{GET}X : a\r\n\r\n"), Refused),
        ("no name", format!("{GET}: a\r\n\r\n"), Refused),
        ("no colon", format!("{GET}X\r\n\r\n"), Refused),
        ("folded", format!("{GET}X: a\r\n\tb\r\n\r\n"), Refused),
        ("folded first", "GET /v1/orders HTTP/1.1\r\n Host: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("HTTP/0.9", format!("GET /v1/orders\r\n\r\n{HIDDEN}"), Refused),
        ("HTTP/2.0 in the clear", format!("GET /v1/orders HTTP/2.0\r\nHost: bare.localhost\r\n\r\n{HIDDEN}"), Refused),
        ("HTTP/1.2", format!("GET /v1/orders HTTP/1.2\r\nHost: bare.localhost\r\n\r\n{HIDDEN}"), Refused),
        ("two spaces", "GET  /v1/orders HTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("a tab", "GET\t/v1/orders\tHTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("a space in the target", "GET /v1/orders HTTP/1.1 HTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("a control character in the target", "GET /v1/\u{1}orders HTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("very many headers", format!("{GET}{many}\r\n"), Refused),
        ("a header without end", format!("{GET}{endless}\r\n"), Refused),
        ("absolute-form against Host", "GET https://orders.localhost/v1/orders HTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("absolute-form with Host", "GET https://bare.localhost/v1/orders HTTP/1.1\r\nHost: bare.localhost\r\nConnection: close\r\n\r\n".to_owned(), Read(1)),
        ("two hosts", format!("{GET}Host: orders.localhost\r\n\r\n"), Refused),
        ("authority-form", "GET bare.localhost:443 HTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("asterisk-form", "GET * HTTP/1.1\r\nHost: bare.localhost\r\n\r\n".to_owned(), Refused),
        ("CONNECT with a body", format!("CONNECT bare.localhost:443 HTTP/1.1\r\nHost: bare.localhost:443\r\nContent-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len()), Refused),
    ];
    for (name, message, outcome) in cases {
        attack(&world, &recorder, name, message.as_bytes(), outcome).await;
    }
}

#[tokio::test]
async fn requests_behind_and_within_requests() {
    let (world, recorder) = bare_world().await;
    let hidden = format!("{POST}Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    let body_of_get = format!("{GET}Content-Length: {}\r\n\r\n{HIDDEN}", HIDDEN.len());
    let http10 = "POST /v1/orders HTTP/1.0\r\nHost: bare.localhost\r\nConnection: keep-alive\r\n";
    let cases = [
        ("in a body", hidden.clone(), Read(1)),
        ("in a body of GET", body_of_get, Read(1)),
        ("pipelined, both meant", format!("{POST}Content-Length: 3\r\n\r\nabc{GET}\r\n"), Read(2)),
        ("pipelined behind a body", format!("{hidden}{HIDDEN}"), Read(1)),
        ("HTTP/1.0 kept alive", format!("{http10}Content-Length: 3\r\n\r\nabc{HIDDEN}"), Read(1)),
        ("HTTP/1.0 without a length", format!("{http10}\r\n{HIDDEN}"), Read(1)),
        ("HTTP/1.0 chunked", format!("{http10}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"), Refused),
        (
            "100-continue with the body at once",
            format!("{POST}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n{HIDDEN}{HIDDEN}", HIDDEN.len()),
            Read(1),
        ),
        ("100-continue without a body", format!("{POST}Expect: 100-continue\r\n\r\n{HIDDEN}"), Read(1)),
        (
            "another expectation",
            format!("{POST}Expect: 200-ok\r\nContent-Length: 3\r\n\r\nabc{HIDDEN}"),
            Read(1),
        ),
        (
            "an upgrade to h2c",
            format!(
                "{GET}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n{HIDDEN}"
            ),
            Refused,
        ),
        (
            "connection options that name a length",
            format!(
                "{POST}Connection: close, content-length\r\nContent-Length: {}\r\n\r\n{HIDDEN}",
                HIDDEN.len()
            ),
            Read(1),
        ),
        (
            "connection options that name an encoding",
            format!(
                "{POST}Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"
            ),
            Read(1),
        ),
    ];
    for (name, message, outcome) in cases {
        attack(&world, &recorder, name, message.as_bytes(), outcome).await;
    }
}

/// The gate's own reading of what stands behind a message decides: it is refused there, not at the service.
#[tokio::test]
async fn the_recorder_finds_a_request_that_hides() {
    let recorder = Recorder::start().await;
    use tokio::io::AsyncWriteExt;
    for message in [
        format!("{GET}\r\n{HIDDEN}"),
        format!("{POST}Content-Length: 0\r\nContent-Length: 44\r\n\r\n"),
        format!("{POST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("{GET}X: a\rb\r\n\r\n"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(recorder.address).await.unwrap();
        stream.write_all(message.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let found = || async {
            let seen = recorder.take();
            (seen.whole.iter().any(|whole| whole.target == "/secret") || !seen.violations.is_empty())
                .then_some(())
        };
        eventually(&format!("a finding in {message:?}"), found).await;
    }
}
