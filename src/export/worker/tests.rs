//! What becomes of records whose receiver is slow, refuses one of them, or is none.

use super::*;
use crate::config::{ExportTarget, HttpReceiver, ReceiverTls, SyslogReceiver};
use crate::export::record::{Batch, Form};
use crate::runtime::metrics::Metrics;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// These numbers, each with so many bytes of text.
struct Numbers(Vec<u64>, usize);

impl Source for Numbers {
    async fn read(&mut self, after: u64, _: Form) -> io::Result<Batch> {
        let record = |seq: &u64| Record {
            seq: *seq,
            time: Time::from_micros(1_795_341_600_000_000),
            kind: "end".to_owned(),
            notable: false,
            trace_id: None,
            text: format!("[{seq}]{}", "x".repeat(self.1)),
            fields: Vec::new(),
            ocsf: Vec::new(),
        };
        let records: Vec<_> = self.0.iter().filter(|seq| **seq > after).map(record).collect();
        Ok(Batch { to: records.last().map_or(after, |record| record.seq), records, lost: 0 })
    }

    fn head(&self) -> Head {
        let last = self.0.last().copied().unwrap_or(0);
        Arc::new(move || last)
    }

    fn origin(&self) -> &str {
        "d/audit"
    }

    fn host(&self) -> &str {
        "edge-1"
    }
}

/// Works on an export to `target` until it has come to `until`.
async fn exported(numbers: Numbers, target: ExportTarget, timeout: Duration, until: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = ExportConfig { name: "siem".parse().unwrap(), target, timeout };
    let log = dir.path().join("audit.jsonl");
    let metrics = Metrics::new(&[]).unwrap().export("audit", &config.name);
    let exporter = Exporter::new(&config, &log, numbers, metrics).unwrap();
    let file = CursorFile::of(&log, &config.name, String::new());
    let stop = CancellationToken::new();
    let reached = async {
        while file.load().seq < until {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            () = exporter.run(stop.clone()) => panic!("it stopped by itself"),
            () = reached => {}
        }
    })
    .await
    .expect("it comes no further");
}

#[test]
fn a_number_of_a_log_that_was_here_before_is_forgotten_at_once_although_the_receiver_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let config = ExportConfig {
        name: "siem".parse().unwrap(),
        target: otlp("127.0.0.1:9".parse().unwrap()),
        timeout: ExportConfig::TIMEOUT,
    };
    let log = dir.path().join("audit.jsonl");
    let file = CursorFile::of(&log, &config.name, String::new());
    file.store(Cursor { seq: 1_000, ..Cursor::default() }).unwrap();
    let metrics = Metrics::new(&[]).unwrap().export("audit", &config.name);
    let _not_run = Exporter::new(&config, &log, Numbers(vec![1, 2, 3], 1), metrics).unwrap();
    assert_eq!(file.load(), Cursor::default());
}

fn otlp(address: std::net::SocketAddr) -> ExportTarget {
    let url = format!("http://{address}/v1/logs").parse().unwrap();
    ExportTarget::Otlp(HttpReceiver { url, tls: ReceiverTls::default(), header: None })
}

/// The body of a request.
async fn body(stream: &mut TcpStream) -> Option<Vec<u8>> {
    body_of_at_most(usize::MAX, stream).await
}

/// The body of a request, unless that is longer than so many bytes with its head.
async fn body_of_at_most(most: usize, stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut read = Vec::new();
    while read.len() <= most {
        if let Some(end) = memchr::memmem::find(&read, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let (begin, length): (usize, usize) = (end + 4, length?);
            if read.len() >= begin + length {
                return Some(read[begin..begin + length].to_vec());
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
    None
}

/// Answers each request by its body.
async fn serve(listener: TcpListener, answer: impl Fn(&[u8]) -> String) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some(body) = body(&mut stream).await {
            let text = answer(&body);
            stream.write_all(text.as_bytes()).await.unwrap();
        }
    }
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_receiver_that_is_too_slow_for_many_records_gets_fewer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let target =
        ExportTarget::Syslog(SyslogReceiver { url, tls: ReceiverTls::default(), close_notify: true });
    let receiver = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let _ = stream.read_to_end(&mut read).await;
            // Of more than it can take in time it never says that it has it.
            if read.len() > 50_000 {
                tokio::spawn(async move {
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    std::future::pending::<()>().await;
                    drop(stream);
                });
            }
        }
    };
    tokio::select! {
        () = receiver => {}
        () = exported(Numbers((1..=8).collect(), 20_000), target, Duration::from_millis(300), 8) => {}
    }
}

/// A log that has lines and cannot be read.
struct Unreadable;

impl Source for Unreadable {
    async fn read(&mut self, _: u64, _: Form) -> io::Result<Batch> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn head(&self) -> Head {
        Arc::new(|| 5)
    }

    fn origin(&self) -> &str {
        "d/audit"
    }

    fn host(&self) -> &str {
        "edge-1"
    }
}

#[tokio::test]
async fn an_export_of_a_log_that_cannot_be_read_is_late() {
    let dir = tempfile::tempdir().unwrap();
    let (target, timeout) = (otlp("127.0.0.1:9".parse().unwrap()), ExportConfig::TIMEOUT);
    let config = ExportConfig { name: "siem".parse().unwrap(), target, timeout };
    let metrics = Metrics::new(&[]).unwrap().export("audit", &config.name);
    let (lines, seconds) = (metrics.lag_lines.clone(), metrics.lag_seconds.clone());
    let exporter = Exporter::new(&config, &dir.path().join("audit.jsonl"), Unreadable, metrics).unwrap();
    let late = async {
        while (lines.get(), seconds.get()) < (5, 1) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            () = exporter.run(CancellationToken::new()) => panic!("it stopped by itself"),
            () = late => {}
        }
    })
    .await
    .expect("it is never late");
}

#[tokio::test]
async fn a_receiver_that_breaks_the_connection_at_long_bodies_gets_fewer_records_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = otlp(listener.local_addr().unwrap());
    let receiver = async {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            while body_of_at_most(30_000, &mut stream).await.is_some() {
                stream.write_all(ok("").as_bytes()).await.unwrap();
            }
        }
    };
    tokio::select! {
        () = receiver => {}
        () = exported(Numbers(vec![1, 2], 20_000), target, Duration::from_secs(5), 2) => {}
    }
}

#[tokio::test]
async fn a_refused_record_behind_a_gap_does_not_end_the_export() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = otlp(listener.local_addr().unwrap());
    let answer = |body: &[u8]| match memchr::memmem::find(body, b"[6]") {
        Some(_) => "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned(),
        None => ok(""),
    };
    tokio::select! {
        () = serve(listener, answer) => {}
        () = exported(Numbers(vec![3, 4, 6, 7], 10), target, Duration::from_secs(5), 7) => {}
    }
}

#[tokio::test]
async fn refused_records_one_behind_the_other_or_at_the_beginning_do_not_end_the_export() {
    for (numbers, refused) in [(4..=7, [5, 6]), (1..=4, [1, 2]), (1..=4, [1, 4]), (6..=9, [8, 9])] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = otlp(listener.local_addr().unwrap());
        let taken = std::cell::RefCell::new(Vec::new());
        let answer = |body: &[u8]| {
            if refused.iter().any(|n| memchr::memmem::find(body, format!("[{n}]").as_bytes()).is_some()) {
                return "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned();
            }
            taken.borrow_mut().extend_from_slice(body);
            ok("")
        };
        let last = *numbers.end();
        tokio::select! {
            () = serve(listener, answer) => {}
            () = exported(Numbers(numbers.clone().collect(), 10), target, Duration::from_secs(5), last) => {}
        }
        for number in numbers {
            let arrived = memchr::memmem::find(&taken.borrow(), format!("[{number}]").as_bytes()).is_some();
            assert_eq!(arrived, !refused.contains(&number), "{number}");
        }
    }
}

#[tokio::test]
async fn a_record_that_was_refused_just_before_the_receiver_was_mended_is_not_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = otlp(listener.local_addr().unwrap());
    let (asked, taken) = (std::cell::Cell::new(0), std::cell::RefCell::new(Vec::new()));
    let answer = |body: &[u8]| {
        asked.set(asked.get() + 1);
        // All of them, then the first two, then the first.
        if asked.get() <= 3 {
            return "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned();
        }
        taken.borrow_mut().extend_from_slice(body);
        ok("")
    };
    tokio::select! {
        () = serve(listener, answer) => {}
        () = exported(Numbers(vec![1, 2, 3], 10), target, Duration::from_secs(5), 3) => {}
    }
    for number in ["[1]", "[2]", "[3]"] {
        assert!(memchr::memmem::find(&taken.borrow(), number.as_bytes()).is_some(), "{number}");
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_everything_has_nothing_passed_over_although_it_is_asked_for_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = otlp(listener.local_addr().unwrap());
    let config = ExportConfig { name: "siem".parse().unwrap(), target, timeout: Duration::from_secs(5) };
    let log = dir.path().join("audit.jsonl");
    let file = CursorFile::of(&log, &config.name, String::new());
    file.store(Cursor { seq: 2, refused: None, taken: Some(2) }).unwrap();
    let metrics = Metrics::new(&[]).unwrap().export("audit", &config.name);
    let exporter = Exporter::new(&config, &log, Numbers(vec![1, 2, 3, 4], 10), metrics).unwrap();
    let asked = std::cell::Cell::new(0);
    let (enough, told) = (tokio::sync::Notify::new(), CancellationToken::new());
    let answer = |_: &[u8]| {
        asked.set(asked.get() + 1);
        if asked.get() == 6 {
            enough.notify_one();
        }
        "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n".to_owned()
    };
    tokio::select! {
        () = serve(listener, answer) => {}
        () = exporter.run(told) => {}
        () = enough.notified() => {}
    }
    assert_eq!(file.load().seq, 2);
}

#[tokio::test]
async fn what_does_not_answer_as_otlp_does_has_taken_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = otlp(listener.local_addr().unwrap());
    let asked = std::cell::Cell::new(0);
    let taken = std::cell::RefCell::new(Vec::new());
    let long = "x".repeat(100 << 10);
    let answer = |body: &[u8]| {
        asked.set(asked.get() + 1);
        match asked.get() {
            1 => ok("<html>back soon</html>"),
            2 => ok(&long),
            _ => {
                taken.borrow_mut().extend_from_slice(body);
                ok("")
            }
        }
    };
    tokio::select! {
        () = serve(listener, answer) => {}
        () = exported(Numbers(vec![1, 2, 3], 10), target, Duration::from_secs(5), 3) => {}
    }
    for number in ["[1]", "[2]", "[3]"] {
        assert!(memchr::memmem::find(&taken.borrow(), number.as_bytes()).is_some(), "{number}");
    }
}
