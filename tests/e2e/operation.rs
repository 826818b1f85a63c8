//! What operations rely on: health that tells the truth, metrics that Prometheus takes, a drain with an end, and a gate that closes
//! when it no longer knows.

use crate::harness::world::Process;
use crate::harness::{Protocol, Setup, World, eventually, within};
use http_body_util::BodyExt;
use std::io::Write;
use std::process::{Command, Stdio};

#[tokio::test]
async fn a_proxy_without_its_control_plane_is_not_ready_and_permits_nothing() {
    let mut world = Setup::new().prepare().await;
    world.spawn_proxy();
    eventually("the admin listener", || async { world.admin(9464, "/healthz").await }).await;
    assert_eq!(world.admin(9464, "/readyz").await.unwrap().0, 503);
    let answer = world.client(Protocol::H1).get("/v1/orders").await;
    assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "stale"));
    world.start_control().await;
    world.ready(9464).await;
    world.grant("orders:GET:/**").await;
    assert_eq!(world.client(Protocol::H1).get("/v1/orders").await.status, 200);
}

#[tokio::test]
async fn past_the_lease_everything_is_denied_and_what_runs_is_cut() {
    let mut world = Setup::new().lease("1s").start().await;
    world.grant("orders:GET:/**").await;
    for protocol in Protocol::BOTH {
        let mut events = world.client(protocol).connect().await.open("/sse").await.into_body();
        world.control().kill();
        let clean = within("the end of the stream", async {
            loop {
                match events.frame().await {
                    None => break true,
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break false,
                }
            }
        });
        assert!(!clean.await, "{protocol:?}: the cut looks like a complete answer");
        let answer = world.client(protocol).get("/v1/orders").await;
        assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "stale"));
        assert_eq!(world.admin(9464, "/readyz").await.unwrap().0, 503);
        world.upstream.running(0).await;
        // Back by itself.
        world.start_control().await;
        world.ready(9464).await;
        eventually("permission again", || async {
            (world.client(protocol).get("/v1/orders").await.status == 200).then_some(())
        })
        .await;
    }
    for line in world.ends("/sse").await {
        assert_eq!((&line["end"], &line["cause"]), (&"cut".into(), &"stale".into()), "{line}");
    }
}

#[tokio::test]
async fn sigterm_and_a_closed_terminal_let_answers_finish_and_take_no_new_ones() {
    lets_answers_finish(Process::terminate).await;
    lets_answers_finish(Process::hang_up).await;
}

async fn lets_answers_finish(stop: fn(&Process)) {
    let mut world = World::start().await;
    world.grant("orders:*:/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    let (parts, body) = slow_body();
    let request = connection.request("PUT", "/v1/orders").body(body).unwrap();
    let call = tokio::spawn(async move { connection.send(request).await.status() });
    world.upstream.running(1).await;
    stop(world.proxy());
    eventually("a listener that refuses", || async {
        tokio::net::TcpStream::connect(world.listener()).await.is_err().then_some(())
    })
    .await;
    drop(parts);
    assert_eq!(within("the answer", call).await.unwrap(), 200);
    assert_eq!(world.proxy().ended().await.code(), Some(0));
    assert_eq!(world.ends("/v1/orders").await[0]["end"], "complete");
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let mut world = Setup::new().proxy("drain_timeout = \"1s\"\n").start().await;
    world.grant("orders:GET:/**").await;
    let mut events = world.client(Protocol::H2).connect().await.open("/sse").await.into_body();
    within("an event", events.frame()).await.unwrap().unwrap();
    world.proxy().terminate();
    assert_eq!(world.proxy().ended().await.code(), Some(0));
    world.upstream.running(0).await;
    let lines = world.ends("/sse").await;
    assert_eq!((lines.len(), &lines[0]["end"]), (1, &"cut".into()), "{lines:?}");
}

#[tokio::test]
async fn the_metrics_are_clean_and_complete() {
    let world = World::start().await;
    world.grant("orders:GET:/v1/**").await;
    let mut connection = world.client(Protocol::H1).connect().await;
    connection.get("/v1/orders").await;
    connection.get("/v2/orders").await;
    world.client(Protocol::H1).host("invented.localhost").get("/").await;
    let (status, text) = world.admin(9464, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is in Debian's package `prometheus`");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    for name in [
        "requests_total",
        "decision_seconds",
        "request_seconds",
        "upstream_seconds",
        "streams_in_flight",
        "streams_cut_total",
        "grants",
        "revocation_apply_seconds",
        "control_connected",
        "control_lease_remaining_seconds",
        "control_revision",
        "audit_lines_total",
        "audit_queue_length",
        "audit_failures_total",
        "tls_handshakes_total",
        "certificate_not_after_seconds",
        "connections",
        "build_info",
    ] {
        assert!(text.contains(&format!("# TYPE jitgate_{name} ")), "jitgate_{name} is missing");
    }
    let series = |decision: &str, reason: &str, service: &str| {
        format!("jitgate_requests_total{{decision=\"{decision}\",reason=\"{reason}\",service=\"{service}\"}}")
    };
    assert_eq!(world.metric(&series("permit", "", "orders")).await, 1.0);
    assert_eq!(world.metric(&series("deny", "out_of_scope", "orders")).await, 1.0);
    assert_eq!(world.metric(&series("deny", "no_grant", "unknown")).await, 1.0);
    assert!(!text.contains("invented"), "a caller's words became a label");
}

/// A request body that goes on until the first half is dropped.
fn slow_body() -> (tokio::sync::oneshot::Sender<()>, crate::harness::client::Body) {
    let (until, dropped) = tokio::sync::oneshot::channel::<()>();
    let frames = futures_util::stream::once(async move {
        let _dropped = dropped.await;
        Ok::<_, std::convert::Infallible>(hyper::body::Frame::data(bytes::Bytes::from_static(b"done")))
    });
    (until, http_body_util::StreamBody::new(frames).boxed_unsync())
}

#[tokio::test]
async fn check_finds_in_files_what_a_start_would() {
    let world = Setup::new().prepare().await;
    let check = async || {
        let checked = world.try_cli(&["check", "jitgate.toml"]).await;
        (checked.status.code(), String::from_utf8_lossy(&checked.stderr).into_owned())
    };
    let (code, said) = check().await;
    assert_eq!(code, Some(0), "{said}");
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(world.path("proxy/key.pem"), mode(0o644)).unwrap();
    std::fs::write(world.path("control/cert.pem"), "no certificate").unwrap();
    std::fs::write(world.path("idp.json"), "{}").unwrap();
    world.append_config(
        "[[issuers]]\nissuer = \"https://idp.example\"\naudience = \"jitgate\"\njwks_file = \"idp.json\"\n\
         [[proxy.audit.export]]\nname = \"siem\"\nkind = \"syslog\"\nurl = \"tls://127.0.0.1\"\nca = \"siem-ca.pem\"\n",
    );
    let (code, said) = check().await;
    assert_eq!(code, Some(2), "{said}");
    for problem in [
        "jitgate.toml: proxy: `proxy/key.pem` has mode 0644",
        "jitgate.toml: control: ",
        "jitgate.toml: issuer `https://idp.example`: jwks_file: ",
        "jitgate.toml: proxy.audit.export `siem`: ca: `siem-ca.pem` cannot be read: No such file",
    ] {
        assert!(said.contains(problem), "{problem} in {said}");
    }
}
