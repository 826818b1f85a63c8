//! `jitgate run` and the gate's tokens: the command reaches services that demand one and never sees it. And what it asks for is asked
//! once, also where the answer gets lost.

use crate::access::{agent, connection, pending};
use crate::harness::world::{AGENT, JITGATE};
use crate::harness::{Setup, World, eventually, within};
use crate::run::Running;
use serde_json::Value;
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Prints the status of a call.
const CALL: &str = "call() { curl --silent --output /dev/null --write-out '%{http_code}\\n' \"$@\"; }; ";

#[tokio::test]
async fn a_command_reaches_a_service_that_demands_a_token_and_never_sees_it() {
    let world = Setup::new().tables("token_required = true\n").start().await;
    let script = format!(
        "{CALL} head -c 100000 /dev/zero > big; call --data-binary @big \"$JITGATE_URL/v1/orders\"; \
         call \"$JITGATE_URL/v1/orders\"; call --data x \"$JITGATE_URL/v1/orders\"; \
         call --data-binary @big \"$JITGATE_URL/v1/orders\"; \
         call --header 'authorization: Basic eDp5' \"$JITGATE_URL/v1/orders\"; \
         env | grep -c eyJ; echo waiting; while ! test -e renewed; do sleep 0.05; done; \
         while ! call --fail \"$JITGATE_URL/v1/renewed\"; do sleep 0.05; done; echo end"
    );
    let mut running = Running::start_for(&world, ("INC-7", "orders:GET,POST:/v1/**"), &[], &script).await;
    for (expected, what) in [
        ("401", "too large to be sent twice: nobody had demanded a token yet"),
        ("200", "a call without a body"),
        ("200", "a small body"),
        ("200", "a large body, now that it is known"),
        ("401", "the command's own authorization goes first"),
        ("0", "nothing in the environment"),
        ("waiting", ""),
    ] {
        assert_eq!(running.line().await, expected, "{what}");
    }
    for request in world.upstream.received() {
        assert!(!request.headers.contains_key("authorization"), "{request:?}");
    }
    // The certificate is replaced, as those of workloads are all day long: the token is bound to the old one.
    world.ca.svid("agent/demo").write(&world.path("agent"));
    std::fs::write(world.path("renewed"), "").unwrap();
    while running.line().await != "end" {}
    assert!(world.ends("/v1/renewed").await.iter().any(|line| line["status"] == 200));
    let (code, _, err) = running.end().await;
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("eyJ"), "{err}");
    assert!(!std::fs::read_to_string(world.path("audit/audit.jsonl")).unwrap().contains("eyJ"));
}

#[tokio::test]
async fn further_grants_of_the_task_count_where_no_token_is_demanded() {
    let world = World::start().await;
    for (token, second) in [(None, "200"), (Some("--token"), "403")] {
        let script = format!(
            "{CALL} call \"$JITGATE_URL/v1/a\"; while ! test -e more; do sleep 0.05; done; call \"$JITGATE_URL/v1/b\""
        );
        let more: Vec<&str> = token.into_iter().collect();
        let mut running = Running::start_for(&world, ("t-1", "orders:GET:/v1/a"), &more, &script).await;
        assert_eq!(running.line().await, "200");
        world.grant("orders:GET:/v1/b").await;
        std::fs::write(world.path("more"), "").unwrap();
        assert_eq!(running.line().await, second, "{token:?}");
        assert_eq!(running.end().await.0, Some(0));
        std::fs::remove_file(world.path("more")).unwrap();
    }
}

/// Passes connections on to the control plane. Of the second one the answer to what the client says after its handshake is lost.
async fn losing(world: &World) -> (String, tokio::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind((world.address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let control = (world.address, 8444);
    let (sent, said) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for number in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = TcpStream::connect(control).await.unwrap();
            let sent = sent.clone();
            tokio::spawn(async move {
                if number != 1 {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
                let (mut hello, mut flight) = (vec![0; 65_536], vec![0; 65_536]);
                let read = client.read(&mut hello).await.unwrap();
                server.write_all(&hello[..read]).await.unwrap();
                // The server's flight, until the client has had enough of it to answer.
                loop {
                    tokio::select! {
                        read = server.read(&mut flight) => {
                            client.write_all(&flight[..read.unwrap()]).await.unwrap();
                        }
                        read = client.read(&mut hello) => {
                            server.write_all(&hello[..read.unwrap()]).await.unwrap();
                            break;
                        }
                    }
                }
                // What the client says arrives, and no answer comes back, until the test says that it is enough.
                let passing = tokio::io::copy(&mut client, &mut server);
                tokio::select! {
                    _ = passing => {}
                    () = async { sent.send(()).await.unwrap(); sent.closed().await } => {}
                }
            });
        }
    });
    (format!("https://{}:{port}", world.address), said)
}

#[tokio::test]
async fn a_question_whose_answer_got_lost_is_asked_again_and_once_all_the_same() {
    let world = World::start().await;
    let (control, mut said) = losing(&world).await;
    let mut flags = connection(&world, &agent(&world));
    flags[1] = control;
    let mut command = tokio::process::Command::new(JITGATE);
    command.args(["run", "--task", "T", "--ttl", "10m", "--scope", "orders:GET:/v1/**"]).args(flags);
    command.args(["--proxy", &format!("https://{}:8443", world.address), "--", "true"]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    within("the question", said.recv()).await.unwrap();
    let pending = |wanted: usize| {
        let world = &world;
        eventually("the request", move || async move {
            let found = world.cli(&["requests", "--state", "pending"]).await;
            Some(found).filter(|found| found.as_array().unwrap().len() == wanted)
        })
    };
    let first: Value = pending(1).await;
    drop(said);
    let id = first[0]["id"].as_str().unwrap();
    world.cli(&["approve", id, "--reason", "go ahead"]).await;
    let output = within("the end of `run`", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = world.cli(&["requests"]).await;
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
}

#[tokio::test]
async fn a_question_whose_answer_is_still_out_is_taken_back_when_it_is_interrupted() {
    let world = World::start().await;
    let (control, mut said) = losing(&world).await;
    let mut flags = connection(&world, &agent(&world));
    flags[1] = control;
    let mut command = tokio::process::Command::new(JITGATE);
    command.args(["run", "--task", "T", "--ttl", "10m", "--scope", "orders:GET:/v1/**"]).args(flags);
    command.args(["--proxy", &format!("https://{}:8443", world.address), "--", "true"]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().unwrap();
    within("the question", said.recv()).await.unwrap();
    let id = pending(&world).await;
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = within("the end of `run`", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("interrupted (SIGTERM) while asking") && err.contains("is withdrawn"), "{err}");
    let all = world.cli(&["requests"]).await;
    assert_eq!(all.as_array().unwrap().len(), 1, "{all}");
    assert_eq!((&all[0]["id"], &all[0]["state"]), (&id.into(), &"cancelled".into()));
}

#[tokio::test]
async fn explain_knows_the_tokens_that_a_service_demands() {
    let world = World::start().await;
    let grant = world.grant("orders:GET:/**").await;
    let explain = async |flags: &[&str]| {
        let call = ["GET", "https://orders.localhost:8443/v1/orders"];
        world.cli(&[&["explain", "--principal", AGENT][..], flags, &call].concat()).await
    };
    let idp = ["--user-token", "https://idp.example"];
    for (flags, decision, reason) in [
        (&[][..], "permit", Value::Null),
        (&["--token-required"], "deny", "token_required".into()),
        (&["--token-required", "--token", &grant], "permit", Value::Null),
        (&idp, "deny", "token_required".into()),
        (&[&idp[..], &["--user", "u-ada"]].concat(), "permit", Value::Null),
    ] {
        let told = explain(flags).await;
        assert_eq!((&told["decision"], &told["reason"]), (&decision.into(), &reason), "{flags:?}: {told}");
    }
    let rules = explain(&["--token-required"]).await["looked_at"][0]["rules"].clone();
    let rules = rules.as_array().unwrap();
    assert!(rules.iter().any(|rule| rule["rule"] == "token" && rule["holds"] == false), "{rules:?}");
}
