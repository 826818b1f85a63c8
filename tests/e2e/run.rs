//! `jitgate run`: access begins and ends with a command, which reaches the gate through a loopback address and with nothing else.

use crate::access::{agent, connection, pending};
use crate::harness::world::JITGATE;
use crate::harness::{World, eventually, within};
use serde_json::Value;
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout};

/// `run` as the agent, up to its command.
fn run_flags(world: &World, scope: &str) -> Vec<String> {
    flags_for(world, "INC-7", scope)
}

pub(crate) fn flags_for(world: &World, task: &str, scope: &str) -> Vec<String> {
    let mut all: Vec<String> =
        ["run", "--task", task, "--ttl", "10m", "--reason", "a test", "--scope", scope]
            .map(str::to_owned)
            .into();
    all.extend(["--proxy".to_owned(), format!("https://{}:8443", world.address)]);
    all.extend(connection(world, &agent(world)));
    all
}

/// `run` with a shell script, approved; what it prints is read as it comes.
pub(crate) struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    async fn start(world: &World, scope: &str, more: &[&str], script: &str) -> Self {
        Self::start_for(world, ("INC-7", scope), more, script).await
    }

    pub(crate) async fn start_for(
        world: &World,
        (task, scope): (&str, &str),
        more: &[&str],
        script: &str,
    ) -> Self {
        Self::approved_with(world, (task, scope), (more, &[]), script).await
    }

    /// `more` are flags of `run`, `less` those of the approval.
    pub(crate) async fn approved_with(
        world: &World,
        (task, scope): (&str, &str),
        (more, less): (&[&str], &[&str]),
        script: &str,
    ) -> Self {
        let mut flags = flags_for(world, task, scope);
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        let running = Self::spawn(world, &flags, script);
        let id = pending(world).await;
        world.cli(&[&["approve", &id, "--reason", "go ahead"], less].concat()).await;
        running
    }

    /// The control plane is reached at another address.
    pub(crate) async fn by_way_of(
        world: &World,
        control: String,
        (task, scope): (&str, &str),
        script: &str,
    ) -> Self {
        let mut flags = flags_for(world, task, scope);
        let at = flags.iter().position(|flag| flag == "--control").unwrap();
        flags[at + 1] = control;
        let running = Self::spawn(world, &flags, script);
        world.cli(&["approve", &pending(world).await, "--reason", "go ahead"]).await;
        running
    }

    fn spawn(world: &World, flags: &[String], script: &str) -> Self {
        let mut command = tokio::process::Command::new(JITGATE);
        command.args(flags).args(["--", "sh", "-c", script]);
        command.current_dir(world.path("")).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("JITGATE_SOMETHING", "x").env("NO_PROXY", "corp.example");
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub(crate) async fn line(&mut self) -> String {
        within("a line of the command", self.lines.next_line())
            .await
            .unwrap()
            .expect("the command said no more")
    }

    /// Sends a signal to `jitgate run` itself.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn end(mut self) -> (Option<i32>, String, String) {
        let mut rest = String::new();
        while let Some(line) = within("the end of the output", self.lines.next_line()).await.unwrap() {
            rest.push_str(&line);
            rest.push('\n');
        }
        let output = within("the end of `run`", self.child.wait_with_output()).await.unwrap();
        (output.status.code(), rest, String::from_utf8(output.stderr).unwrap())
    }
}

async fn task(world: &World) -> Value {
    world.cli(&["task", "show", "INC-7"]).await
}

async fn is_over(world: &World, state: &str) {
    assert_eq!(task(world).await["state"], state);
    assert_eq!(world.cli(&["grants", "--task", "INC-7"]).await, Value::Array(Vec::new()));
}

#[tokio::test]
async fn a_command_calls_the_api_and_its_access_ends_with_it() {
    let world = World::start().await;
    let script = "curl --silent --show-error --fail-with-body \"$JITGATE_URL/v1/orders\" && echo && \
        curl --silent --fail --user \"any:$JITGATE_SECRET\" \"$JITGATE_ORIGIN_ORDERS/v1/orders\" && echo && \
        curl --silent --output /dev/null --write-out '%{http_code}\\n' -X DELETE \"$JITGATE_URL/v1/orders/7\" && \
        echo \"$JITGATE_TASK $JITGATE_GRANT\"";
    let running = Running::start(&world, "orders:GET:/v1/**", &[], script).await;
    let (code, out, err) = running.end().await;
    assert_eq!(code, Some(0), "{out}\n{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[2], "403", "a denial passes through: {out}");
    assert!(lines[3].starts_with("INC-7 gr_"), "{out}");
    assert!(err.contains("waits for role:approver (0 of 1)"), "{err}");
    is_over(&world, "done").await;
    let received = world.upstream.received();
    assert_eq!(received.len(), 2, "{received:?}");
    for request in received {
        let seen = format!("{request:?}").to_lowercase();
        assert!(!seen.contains("authorization") && !seen.contains("jitgate-secret"), "{seen}");
        assert!(seen.contains("/v1/orders"), "{seen}");
    }
    let line = &world.ends("/v1/orders").await[0];
    assert_eq!((&line["task"], &line["decision"]), (&"INC-7".into(), &"permit".into()));
}

#[tokio::test]
async fn the_command_has_what_is_documented_and_no_credentials() {
    let world = World::start().await;
    let running = Running::start(&world, "orders:GET:/v1/**", &[], "env | sort").await;
    let (code, out, _) = running.end().await;
    assert_eq!(code, Some(0));
    let ours: Vec<&str> = out
        .lines()
        .filter(|line| line.starts_with("JITGATE"))
        .map(|line| line.split('=').next().unwrap())
        .collect();
    let documented = [
        "JITGATE_EXPIRES_AT",
        "JITGATE_GRANT",
        "JITGATE_ORIGIN",
        "JITGATE_ORIGIN_ORDERS",
        "JITGATE_SECRET",
        "JITGATE_TASK",
        "JITGATE_URL",
        "JITGATE_URL_ORDERS",
    ];
    assert_eq!(ours, documented);
    assert!(out.contains("NO_PROXY=corp.example,127.0.0.1,localhost"), "{out}");
    assert!(!out.contains("key.pem"), "{out}");
}

#[tokio::test]
async fn exit_codes_are_the_commands_and_125_when_there_was_none() {
    let world = World::start().await;
    let running = Running::start(&world, "orders:GET:/v1/**", &[], "exit 7").await;
    assert_eq!(running.end().await.0, Some(7));
    is_over(&world, "failed").await;

    let flags = run_flags(&world, "orders:GET:/v1/orders/8");
    let run = async |more: &[&str]| -> Output {
        let mut command = tokio::process::Command::new(JITGATE);
        command.args(&flags).args(more).current_dir(world.path("")).stdin(Stdio::null());
        within("the end of `run`", command.output()).await.unwrap()
    };
    let missing = run(&["--", "no-such-program"]).await;
    assert_eq!(missing.status.code(), Some(125), "{missing:?}");
    assert_eq!(
        world.cli(&["requests", "--state", "pending"]).await,
        Value::Array(Vec::new()),
        "nothing was asked"
    );

    let late = run(&["--wait=50ms", "--", "true"]).await;
    assert_eq!(late.status.code(), Some(125), "{late:?}");
    assert!(String::from_utf8_lossy(&late.stderr).contains("is withdrawn"), "{late:?}");
    let denied = async { run(&["--", "true"]).await };
    let deny = async {
        let id = pending(&world).await;
        world.cli(&["deny", &id, "--reason", "not now"]).await
    };
    let (denied, _) = tokio::join!(denied, deny);
    assert_eq!(denied.status.code(), Some(125), "{denied:?}");
    assert!(String::from_utf8_lossy(&denied.stderr).contains("is denied: not now"), "{denied:?}");
}

#[tokio::test]
async fn a_signal_reaches_everything_that_the_command_started() {
    let world = World::start().await;
    let script = "trap 'echo told; exit 3' TERM; sleep 1000 & echo \"ready $!\"; wait";
    let mut running = Running::start(&world, "orders:GET:/v1/**", &[], script).await;
    let line = running.line().await;
    let sleeper: i32 = line.strip_prefix("ready ").unwrap().parse().unwrap();
    running.signal(rustix::process::Signal::TERM);
    let (code, out, _) = running.end().await;
    assert_eq!((code, out.as_str()), (Some(3), "told\n"));
    is_over(&world, "failed").await;
    let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
    eventually("the end of what it had started", || async {
        rustix::process::test_kill_process(sleeper).is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_command_that_does_not_listen_is_killed_and_one_that_is_killed_fails_its_task() {
    let world = World::start().await;
    let script = "trap '' TERM INT HUP; echo ready; while :; do sleep 1; done";
    let mut running = Running::start(&world, "orders:GET:/v1/**", &["--grace", "200ms"], script).await;
    assert_eq!(running.line().await, "ready");
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.end().await.0, Some(137));
    is_over(&world, "failed").await;

    // Somebody else kills the command.
    let mut other = Running::start(&world, "orders:GET:/v1/orders", &[], "echo $$; exec sleep 1000").await;
    let pid: i32 = other.line().await.parse().unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert_eq!(other.end().await.0, Some(137));
    is_over(&world, "failed").await;
}

#[tokio::test]
async fn whoever_loses_access_is_ended() {
    let world = World::start().await;
    let script = "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.1; done";
    let mut running = Running::start(&world, "orders:GET:/v1/**", &[], script).await;
    assert_eq!(running.line().await, "ready");
    world.cli(&["revoke", "--task", "INC-7", "--reason", "stop", "--wait"]).await;
    let (code, out, err) = running.end().await;
    assert_eq!((code, out.as_str()), (Some(0), "told\n"), "{err}");
    assert!(err.contains("the access is revoked; ending the command"), "{err}");
    // It said 0, but was not done.
    is_over(&world, "failed").await;
}

#[tokio::test]
async fn an_interrupted_wait_withdraws_the_request() {
    let world = World::start().await;
    let mut command = tokio::process::Command::new(JITGATE);
    command.args(run_flags(&world, "orders:GET:/v1/**")).args(["--", "true"]).stdin(Stdio::null());
    let child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let id = pending(&world).await;
    let pid = rustix::process::Pid::from_raw(child.id().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = within("the end of `run`", child.wait_with_output()).await.unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert_eq!(world.cli(&["requests", "show", &id]).await["state"], "cancelled");
}

/// Sends a head to the listener of a running command; the status that comes back.
async fn status(origin: &str, head: &str) -> u16 {
    let mut stream = TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.unwrap();
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("an answer", stream.read_to_string(&mut answer)).await.unwrap();
    answer.get(9..12).unwrap().parse().unwrap()
}

#[tokio::test]
async fn nobody_else_gets_through_the_loopback_address() {
    let world = World::start().await;
    let script = "echo \"$JITGATE_ORIGIN\"; echo \"$JITGATE_SECRET\"; sleep 1000";
    let mut running = Running::start(&world, "orders:*:/v1/**", &[], script).await;
    let (origin, secret) = (running.line().await, running.line().await);
    let host = origin.strip_prefix("http://").unwrap().to_owned();
    let right = format!("GET /{secret}/v1/orders HTTP/1.1\r\nHost: {host}");
    assert_eq!(status(&origin, &right).await, 200);
    let before = world.upstream.received().len();
    let wrong = secret.chars().rev().collect::<String>();
    for (refused, head) in [
        (401, format!("GET /v1/orders HTTP/1.1\r\nHost: {host}")),
        (401, format!("GET /{wrong}/v1/orders HTTP/1.1\r\nHost: {host}")),
        (401, format!("GET /v1/orders HTTP/1.1\r\nHost: {host}\r\nJitgate-Secret: {wrong}")),
        (403, format!("GET /{secret}/v1/orders HTTP/1.1\r\nHost: evil.example")),
        (403, format!("{right}\r\nOrigin: https://evil.example")),
        (403, format!("{right}\r\nOrigin: null")),
        (403, format!("{right}\r\nSec-Fetch-Site: cross-site")),
    ] {
        assert_eq!(status(&origin, &head).await, refused, "{head}");
    }
    // The task is ours: nobody widens or moves it with a header.
    assert_eq!(status(&origin, &format!("{right}\r\nJitgate-Task: other")).await, 200);
    assert_eq!(world.upstream.received().len(), before + 1);
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.end().await.0, Some(143));
    assert!(TcpStream::connect(&host).await.is_err(), "the listener is gone with the command");
}

#[tokio::test]
async fn streams_and_websockets_pass_and_end_with_the_access() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let world = World::start().await;
    let script = "echo \"$JITGATE_ORIGIN\"; echo \"$JITGATE_SECRET\"; sleep 1000";
    let mut running = Running::start(&world, "orders:GET,UPGRADE:/ws", &["--grace", "200ms"], script).await;
    let (origin, secret) = (running.line().await, running.line().await);
    let host = origin.strip_prefix("http://").unwrap().to_owned();
    let stream = TcpStream::connect(&host).await.unwrap();
    let opening = tokio_tungstenite::client_async(format!("ws://{host}/{secret}/ws"), stream);
    let (mut socket, _) = within("a WebSocket", opening).await.unwrap();
    for text in ["one", "two"] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(within("an echo", socket.next()).await.unwrap().unwrap(), Message::text(text));
    }
    world.cli(&["revoke", "--task", "INC-7", "--reason", "stop", "--wait"]).await;
    let end = within("the end of the socket", socket.next()).await;
    assert!(!matches!(end, Some(Ok(Message::Text(_) | Message::Binary(_)))), "{end:?}");
    assert_eq!(running.end().await.0, Some(143));
}

/// `script` gives a terminal; its shell is the one from which `run` is started.
#[tokio::test]
async fn at_a_terminal_the_command_has_the_keys_and_gives_them_back() {
    let world = World::start().await;
    let quoted = |word: &String| format!("'{}'", word.replace('\'', "'\\''"));
    let flags = run_flags(&world, "orders:GET:/v1/**").iter().map(quoted).collect::<Vec<_>>().join(" ");
    // sed, because a shell may miss a signal between two commands.
    let inner = "echo inner; exec sed -u -e s/^/heard./";
    let line = format!(
        "{JITGATE} {flags} -- sh -c '{inner}'; echo \"code $?\"; read line; echo \"outer got $line\""
    );
    let mut command = tokio::process::Command::new("script");
    command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env("SHELL", "/bin/sh");
    command.current_dir(world.path("")).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut keys = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    world.cli(&["approve", &pending(&world).await, "--reason", "go ahead"]).await;
    let mut until = async |wanted: &str| loop {
        let line =
            within(wanted, lines.next_line()).await.unwrap().unwrap_or_else(|| panic!("no `{wanted}`"));
        if line.trim_end().ends_with(wanted) {
            return;
        }
    };
    until("inner").await;
    keys.write_all(b"one\n").await.unwrap();
    until("heard.one").await;
    // Ctrl-C is for the command alone.
    keys.write_all(b"\x03").await.unwrap();
    until("code 130").await;
    keys.write_all(b"two\n").await.unwrap();
    until("outer got two").await;
    is_over(&world, "failed").await;
}
