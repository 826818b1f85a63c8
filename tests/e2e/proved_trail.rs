//! A trail is proved with the real binary: its lines to somebody who has only a key and a checkpoint, and what was done to it since.

use crate::harness::{Protocol, Setup, World, eventually};
use serde_json::Value;
use std::process::{Command, Output};

async fn audit(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(crate::harness::world::JITGATE);
    command.arg("audit").args(arguments).current_dir(world.path(""));
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

const VERIFY: [&str; 3] = ["verify", "--file", "audit/audit.jsonl"];

#[tokio::test]
async fn a_line_is_proved_and_tampering_is_named() {
    let mut world = Setup::new().start().await;
    world.grant("orders:GET:/**").await;
    let mut client = world.client(Protocol::H1).connect().await;
    for n in 0..20 {
        client.get(&format!("/v1/orders/{n}")).await;
    }
    let line = world.ends("/v1/orders/7").await.remove(0);
    let checkpoint = world.path("audit/audit.jsonl.tlog/checkpoint");
    eventually("a checkpoint over the line", || async {
        let note = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        let size = note.lines().nth(1).and_then(|size| size.parse::<u64>().ok());
        size.filter(|size| Some(*size) >= line["seq"].as_u64())
    })
    .await;
    let id = line["request_id"].as_str().unwrap();
    let proved =
        audit(&world, &["prove", id, "--file", "audit/audit.jsonl", "--out", "kept.tlog-proof"]).await;
    assert!(proved.status.success(), "{proved:?}");
    drop(client);
    world.proxy().terminate();
    world.proxy().ended().await;
    let good = audit(&world, &[&VERIFY[..], &["--output", "json"]].concat()).await;
    assert!(good.status.success(), "{good:?}");
    let report: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!(
        report["lines"], report["checkpoint"],
        "at its end the proxy vouches for every line: {report}"
    );
    std::fs::copy(&checkpoint, world.path("kept.checkpoint")).unwrap();
    std::fs::copy(world.path("audit/audit.jsonl.tlog/key.pub"), world.path("kept.pub")).unwrap();

    // Somebody changes a line, and the proxy does not go on.
    let trail = world.path("audit/audit.jsonl");
    let text = std::fs::read_to_string(&trail).unwrap();
    std::fs::write(&trail, text.replacen("/v1/orders/7\"", "/v1/orders/8\"", 1)).unwrap();
    let bad = audit(&world, &VERIFY).await;
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert_eq!(bad.status.code(), Some(1));
    assert!(said.contains(&format!("line {} in `audit/audit.jsonl` was changed", line["seq"])), "{said}");
    world.spawn_proxy();
    assert!(!world.proxy().ended().await.success());
    assert!(world.log_of_proxy().contains("jitgate audit verify"), "{}", world.log_of_proxy());

    // The last lines go, with all that is beside the trail; what was kept elsewhere tells.
    let short: String = text.split_inclusive('\n').take(5).collect();
    std::fs::write(&trail, short).unwrap();
    std::fs::remove_dir_all(world.path("audit/audit.jsonl.tlog")).unwrap();
    let kept = ["--checkpoint", "kept.checkpoint", "--key", "kept.pub"];
    let bad = audit(&world, &[&VERIFY[..], &kept].concat()).await;
    let said = String::from_utf8_lossy(&bad.stdout).into_owned();
    assert!(bad.status.code() == Some(1) && said.contains("the trail ends at line 5"), "{bad:?}");

    // The proof needs nothing but the key.
    let proof = ["verify", "--proof", "kept.tlog-proof", "--key", "kept.pub", "--output", "json"];
    let checked = audit(&world, &proof).await;
    assert!(checked.status.success(), "{checked:?}");
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!((&checked["content"], &checked["line"]), (&line, &line["seq"]));
}

/// Beside the proxy of the world, `edge-1`, the configuration of a second one, `edge-2`, of the same control plane. Both listen at the
/// same ports, so that one runs at a time.
fn lay_out_a_second_proxy(world: &World) {
    let path = world.path("jitgate.toml");
    let first = "[[identities]]\nid = \"spiffe://jitgate.local/proxy/edge-1\"\nroles = [\"proxy\"]\n";
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches(first).count(), 1, "{text}");
    let text = text.replace(first, &format!("{first}{}", first.replace("edge-1", "edge-2")));
    std::fs::write(&path, &text).unwrap();
    let second = text
        .replace("name = \"edge-1\"", "name = \"edge-2\"")
        .replace("\"proxy/", "\"proxy-2/")
        .replace("\"audit/audit.jsonl\"", "\"audit-2/audit.jsonl\"");
    std::fs::write(world.path("jitgate-2.toml"), second).unwrap();
    world.ca.server("proxy/edge-2", world.address.into()).write(&world.path("proxy-2"));
}

/// Calls through whichever proxy runs, until the control plane keeps a checkpoint over them.
async fn call_until_kept(world: &World, proxy: &str, calls: u64) {
    let mut client = world.client(Protocol::H1).connect().await;
    for n in 0..calls {
        assert_eq!(client.get(&format!("/v1/orders/{n}")).await.status, 200);
    }
    eventually(&format!("a checkpoint of {proxy} at the control plane"), || async {
        let status = world.cli(&["status"]).await;
        let proxies = status["proxies"].as_array().unwrap();
        let trail = proxies.iter().find(|known| known["name"] == proxy).map(|known| &known["trail"]);
        trail.and_then(|trail| trail["size"].as_u64()).filter(|size| *size >= calls)
    })
    .await;
}

/// What a verification says that must fail.
fn fails(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn the_trail_of_one_proxy_does_not_stand_for_that_of_another() {
    let mut world = Setup::new().prepare().await;
    lay_out_a_second_proxy(&world);
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    call_until_kept(&world, "edge-1", 3).await;
    world.proxy().terminate();
    assert!(world.proxy().ended().await.success());
    let mut second = world.spawn("proxy-2", &["proxy", "--config", "jitgate-2.toml"]);
    world.ready(9464).await;
    call_until_kept(&world, "edge-2", 20).await;
    second.terminate();
    assert!(second.ended().await.success());

    let (one, other) = (world.path("audit"), world.path("audit-2"));
    for (folder, name) in [(&one, "edge-1"), (&other, "edge-2")] {
        let tlog = folder.join("audit.jsonl.tlog");
        std::fs::copy(tlog.join("key.pub"), world.path(&format!("{name}.pub"))).unwrap();
        std::fs::copy(tlog.join("checkpoint"), world.path(&format!("{name}.checkpoint"))).unwrap();
    }
    let files = [("edge-1", "audit/audit.jsonl"), ("edge-2", "audit-2/audit.jsonl")];
    let at_control = async |name: &str, file: &str| {
        world.try_cli(&["audit", "verify", "--file", file, "--proxy", name]).await
    };
    let by_key = async |name: &str, file: &str| {
        audit(&world, &["verify", "--file", file, "--key", &format!("{name}.pub")]).await
    };
    for (name, file) in files {
        let (kept, key) = (at_control(name, file).await, by_key(name, file).await);
        assert!(kept.status.success() && key.status.success(), "{kept:?} {key:?}");
    }

    // Swapped with all that is beside them.
    let swap = || {
        let aside = world.path("aside");
        std::fs::rename(&one, &aside).unwrap();
        std::fs::rename(&other, &one).unwrap();
        std::fs::rename(&aside, &other).unwrap();
    };
    swap();
    for ((name, file), (found, _)) in files.into_iter().zip(files.into_iter().rev()) {
        for output in [by_key(name, file).await, at_control(name, file).await] {
            let said = fails(&output);
            assert!(said.contains(&format!("`{file}.tlog/checkpoint` is refused")), "{said}");
            assert!(said.contains(&format!("not signed by `jitgate.local/proxy/{name}/audit+")), "{said}");
            assert!(said.contains(&format!("but by `jitgate.local/proxy/{found}/audit+")), "{said}");
        }
    }

    // Without what is beside them, which told: the root that was kept is of another trail.
    let telling = one.join("audit.jsonl.tlog");
    std::fs::rename(&telling, world.path("telling")).unwrap();
    let kept = ["--checkpoint", "edge-1.checkpoint", "--key", "edge-1.pub"];
    let said = fails(&audit(&world, &[&VERIFY[..], &kept].concat()).await);
    assert!(said.contains("do not lead to the root of the checkpoint `edge-1.checkpoint`"), "{said}");
    let said = fails(&at_control("edge-1", "audit/audit.jsonl").await);
    assert!(said.contains("to the root of the checkpoint of `edge-1` at the control plane"), "{said}");
    std::fs::rename(world.path("telling"), &telling).unwrap();

    // The lines alone.
    swap();
    let (mine, theirs) = (one.join("audit.jsonl"), other.join("audit.jsonl"));
    std::fs::rename(&mine, world.path("mine")).unwrap();
    std::fs::copy(&theirs, &mine).unwrap();
    let said = fails(&by_key("edge-1", "audit/audit.jsonl").await);
    assert!(said.contains("line 1 in `audit/audit.jsonl` was changed"), "{said}");
}
