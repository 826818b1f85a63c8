//! However `jitgate run` or its command ends, the access ends; and nothing of `run` is left with what the command started.

use crate::harness::world::{AGENT, JITGATE};
use crate::harness::{World, eventually, within};
use crate::run::{Running, flags_for};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::process::Stdio;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

fn pid(line: &str) -> Pid {
    Pid::from_raw(line.trim().parse().unwrap()).unwrap()
}

async fn state(world: &World) -> String {
    let task = world.cli(&["task", "show", "T"]).await;
    task["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_killed_run_leaves_no_access_behind() {
    let world = World::start().await;
    // Longer than its idle time: signs of life keep the task, without any traffic.
    let script = "echo $$; echo \"$JITGATE_ORIGIN\"; sleep 3; echo on; exec sleep 1000";
    let idle = ["--task-idle-timeout", "1500ms"];
    let mut running = Running::start_for(&world, ("T", "orders:GET:/v1/**"), &idle, script).await;
    let (command, origin) = (pid(&running.line().await), running.line().await);
    let host = origin.strip_prefix("http://").unwrap().to_owned();
    assert_eq!(running.line().await, "on");
    assert_eq!(state(&world).await, "open");
    drop(TcpStream::connect(&host).await.unwrap());

    running.signal(Signal::KILL);
    eventually("the end of the listener", || async {
        TcpStream::connect(&host).await.is_err().then_some(())
    })
    .await;
    eventually("the end of the task", || async { (state(&world).await == "idle").then_some(()) }).await;
    assert_eq!(world.cli(&["grants", "--task", "T"]).await, serde_json::json!([]));
    // The command itself goes on, without access.
    test_kill_process(command).unwrap();
    kill_process(command, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_command_whose_time_runs_out_is_ended_and_its_task_has_failed() {
    let world = World::start().await;
    let (script, less) = ("echo ready; exec sleep 1000", ["--ttl", "2s"]);
    let scope = ("T", "orders:GET:/v1/**");
    let mut running = Running::approved_with(&world, scope, (&[], &less), script).await;
    assert_eq!(running.line().await, "ready");
    let (code, out, err) = running.end().await;
    assert_eq!((code, out.as_str()), (Some(128 + 15), ""), "{err}");
    assert!(err.contains("the access is expired; ending the command"), "{err}");
    assert_eq!(state(&world).await, "failed");
    assert_eq!(world.cli(&["grants", "--task", "T"]).await, serde_json::json!([]));
}

/// Passes so many connections on to the control plane. Those after them are closed at once, as if it was away, and told of; until
/// nobody wants to hear of them any more.
async fn away_after(world: &World, passing: usize) -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind((world.address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let control = (world.address, 8444);
    let (sender, closed) = mpsc::channel(64);
    tokio::spawn(async move {
        for number in 0_usize.. {
            let (mut client, _) = listener.accept().await.unwrap();
            if number >= passing && sender.send(()).await.is_ok() {
                continue;
            }
            let mut server = TcpStream::connect(control).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
        }
    });
    (format!("https://{}:{port}", world.address), closed)
}

#[tokio::test]
async fn a_control_plane_that_is_away_when_the_command_starts_does_not_end_it() {
    let world = World::start().await;
    // Looked at the task, asked, and waited for the grant; the token and all looks at the grant come after.
    let (control, mut closed) = away_after(&world, 3).await;
    let script = "echo ready; while ! test -e on; do sleep 0.05; done; echo on";
    let mut running = Running::by_way_of(&world, control, ("T", "orders:GET:/v1/**"), script).await;
    assert_eq!(running.line().await, "ready");
    // More than what is asked before a command is ended whose access is over.
    for _ in 0..10 {
        within("a look at the grant", closed.recv()).await.unwrap();
    }
    drop(closed);
    std::fs::write(world.path("on"), "").unwrap();
    assert_eq!(running.line().await, "on");
    let (code, _, err) = running.end().await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(state(&world).await, "done");
}

#[tokio::test]
async fn what_the_command_leaves_behind_has_no_access() {
    let world = World::start().await;
    let script = "setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $!; echo \"$JITGATE_ORIGIN\"";
    let mut running = Running::start_for(&world, ("T", "orders:GET:/v1/**"), &[], script).await;
    let (daemon, origin) = (pid(&running.line().await), running.line().await);
    let (code, _, err) = running.end().await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(state(&world).await, "done");
    test_kill_process(daemon).unwrap();
    assert!(TcpStream::connect(origin.strip_prefix("http://").unwrap()).await.is_err());
    kill_process(daemon, Signal::KILL).unwrap();
}

#[tokio::test]
async fn the_command_inherits_no_connection_and_no_key_file() {
    let world = World::start().await;
    let script = "for file in /proc/$$/fd/*; do readlink \"$file\"; done; true";
    let running = Running::start_for(&world, ("T", "orders:GET:/v1/**"), &[], script).await;
    let (code, out, err) = running.end().await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.lines().count() >= 3, "{out}");
    for ours in ["socket:", "anon_inode:", ".pem", "/dev/tty"] {
        assert!(!out.contains(ours), "{out}");
    }
}

#[tokio::test]
async fn a_task_that_was_open_before_keeps_its_terms() {
    let world = World::start().await;
    let open = [
        "request",
        "--task",
        "T",
        "--scope",
        "orders:GET:/v1/a",
        "--ttl",
        "5m",
        "--reason",
        "r",
        "--task-idle-timeout",
        "1h",
    ];
    let asked = world.cli_as(&crate::access::agent(&world), &open).await;
    assert!(asked.status.success(), "{asked:?}");
    world.cli(&["approve", &crate::access::pending(&world).await, "--reason", "r"]).await;
    let running = Running::start_for(&world, ("T", "orders:GET:/v1/b"), &[], "exit 4").await;
    let (code, _, err) = running.end().await;
    assert_eq!(code, Some(4), "{err}");
    assert_eq!(state(&world).await, "failed");
}

#[tokio::test]
async fn the_task_of_somebody_else_is_refused_before_anything_is_asked() {
    let world = World::start().await;
    let owner = world.ca.svid("agent/owner").write(&world.path("owner"));
    let open = ["request", "--task", "T", "--scope", "orders:GET:/v1/a", "--ttl", "5m", "--reason", "r"];
    let asked = world.cli_as(&owner, &open).await;
    assert!(asked.status.success(), "{asked:?}");
    world.cli(&["approve", &crate::access::pending(&world).await, "--reason", "r"]).await;
    world.cli(&["task", "join", "T", "--principal", AGENT, "--reason", "helps"]).await;

    let mut command = tokio::process::Command::new(JITGATE);
    command.args(flags_for(&world, "T", "orders:GET:/v1/b")).args(["--wait=50ms", "--", "true"]);
    command.current_dir(world.path("")).stdin(Stdio::null());
    let output = within("the end of `run`", command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.contains("belongs to spiffe://jitgate.local/agent/owner"), "{err}");
    assert_eq!(world.cli(&["requests"]).await.as_array().unwrap().len(), 1, "nothing was asked");
    assert_eq!(state(&world).await, "open");
}
