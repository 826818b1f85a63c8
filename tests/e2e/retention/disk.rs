//! Disks that stand still or fail.

use super::*;

/// A file system on a file of its own, which can be frozen and can fail.
struct Loop {
    at: std::path::PathBuf,
}

impl Loop {
    fn mount(image: &Path, at: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        std::fs::File::create(image).unwrap().set_len(64 << 20).unwrap();
        let made = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        assert!(made.status.success(), "{made:?}");
        let options = ["-o", "loop,errors=remount-ro", image.to_str().unwrap(), at.to_str().unwrap()];
        let mounted = run("mount", &options);
        if mounted.status.success() {
            return Some(Self { at });
        }
        let without = std::env::var_os("JITGATE_TESTS_WITHOUT_MOUNTS").is_some();
        assert!(without, "needs root; JITGATE_TESTS_WITHOUT_MOUNTS=1 leaves this out: {mounted:?}");
        None
    }

    fn freeze(&self, how: &str) {
        let done = run("fsfreeze", &[how, self.at.to_str().unwrap()]);
        assert!(done.status.success(), "{done:?}");
    }

    /// As after an error of the device: the kernel allows no more writing.
    fn fail(&self) {
        let source = run("findmnt", &["-n", "-o", "SOURCE", self.at.to_str().unwrap()]);
        let source = String::from_utf8(source.stdout).unwrap();
        let device = source.trim().rsplit('/').next().unwrap().to_owned();
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").unwrap();
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let at = self.at.to_str().unwrap();
        // Whatever was frozen would never be unmounted.
        run("fsfreeze", &["--unfreeze", at]);
        run("umount", &["--lazy", at]);
    }
}

async fn permits(world: &World) -> Vec<Value> {
    let lines = world.cli(&["audit", "search", "--file", TRAIL, "--decision", "permit", "--limit", "100000"]);
    lines.await.as_array().unwrap().clone()
}

/// Requests at once while the disk stands still.
const DURING: usize = 40;

#[tokio::test]
async fn a_disk_that_stands_still_slows_or_refuses_and_loses_nothing() {
    stands_still("durability = \"durable\"").await;
}

#[tokio::test]
async fn the_same_where_lines_are_not_waited_for() {
    stands_still("").await;
}

async fn stands_still(durability: &str) {
    let mut world = Setup::new().tables(durability).prepare().await;
    let image = world.path("disk.img");
    let Some(disk) = Loop::mount(&image, world.path("audit")) else { return };
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    let mut connections = Vec::new();
    for _ in 0..DURING {
        connections.push(world.client(Protocol::H2).connect().await);
    }
    assert_eq!(connections[0].get("/v1/orders/before").await.status, 200);
    world.ends("/v1/orders/before").await;
    disk.freeze("--freeze");
    world.upstream.forget();
    let during = connections.into_iter().enumerate().map(|(number, mut connection)| {
        tokio::spawn(async move {
            let path = format!("/v1/orders/during-{number}");
            let request = connection.request("GET", &path).body(crate::harness::client::empty()).unwrap();
            crate::harness::Answer::of(connection.send(request).await).await
        })
    });
    let during: Vec<_> = during.collect();
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    if !durability.is_empty() {
        // What is asked for now waits for the disk: the service sees nothing of it.
        assert!(world.upstream.received().is_empty(), "no line, no access");
    }
    disk.freeze("--unfreeze");
    let mut permitted = 0;
    for waits in during {
        let answer = waits.await.unwrap();
        if answer.status == 200 {
            permitted += 1;
        } else {
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "audit_unavailable"));
        }
    }
    let reached = world.upstream.received().len();
    assert_eq!(reached, permitted);
    eventually("access without a restart", || async {
        (world.client(Protocol::H1).get("/v1/orders/after").await.status == 200).then_some(())
    })
    .await;
    eventually("each request that passed", || async {
        let ends =
            permits(&world).await.into_iter().filter(|line| line["kind"] == "end" && line["status"] == 200);
        let all: Vec<_> = ends.map(|line| line["request_id"].as_str().unwrap().to_owned()).collect();
        let once: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(once.len(), all.len(), "no request has two ends");
        (all.len() == 2 + reached).then_some(())
    })
    .await;
    eventually("a checkpoint", || async {
        let output = audit(&world, &["verify", "--file", TRAIL]).await;
        output.status.success().then_some(())
    })
    .await;
    world.proxy().kill();
}

#[tokio::test]
async fn a_disk_that_becomes_read_only_closes_the_gate_until_another_takes_its_place() {
    let mut world = Setup::new().prepare().await;
    let image = world.path("disk.img");
    let Some(disk) = Loop::mount(&image, world.path("audit")) else { return };
    world.start_control().await;
    world.start_proxy().await;
    world.grant("orders:GET:/**").await;
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut passed = 0;
    for number in 0..20 {
        passed += usize::from(connection.get(&format!("/v1/orders/{number}")).await.status == 200);
    }
    assert_eq!(passed, 20);
    world.ends("/v1/orders/19").await;
    disk.fail();
    loop {
        let answer = connection.get("/v1/orders/refused").await;
        if answer.status != 200 {
            assert_eq!((answer.status.as_u16(), answer.reason().as_str()), (503, "audit_unavailable"));
            break;
        }
        passed += 1;
    }
    world.upstream.forget();
    for protocol in Protocol::BOTH {
        assert_eq!(world.client(protocol).get("/v1/orders").await.reason(), "audit_unavailable");
    }
    assert!(world.upstream.received().is_empty());

    // Its content is copied to another disk, which is mounted in its place.
    let (copy, at) = (world.path("copy"), world.path("audit"));
    let copied = run("cp", &["-a", at.to_str().unwrap(), copy.to_str().unwrap()]);
    assert!(copied.status.success(), "{copied:?}");
    let Some(other) = TinyDisk::mount(world.path("other"), "64m") else { return };
    let copied = run("cp", &["-a", &format!("{}/.", copy.display()), world.path("other").to_str().unwrap()]);
    assert!(copied.status.success(), "{copied:?}");
    let moved = run("mount", &["--bind", world.path("other").to_str().unwrap(), at.to_str().unwrap()]);
    assert!(moved.status.success(), "{moved:?}");
    eventually("access without a restart", || async {
        (world.client(Protocol::H1).get("/v1/orders/after").await.status == 200).then_some(())
    })
    .await;
    passed += 1;
    eventually("each request that passed, once", || async {
        let ends = permits(&world).await.into_iter().filter(|line| line["kind"] == "end");
        let all: Vec<_> = ends.map(|line| line["request_id"].as_str().unwrap().to_owned()).collect();
        let once: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(once.len(), all.len(), "no request has two ends");
        (all.len() == passed).then_some(())
    })
    .await;
    eventually("a checkpoint over them", || async {
        let output = audit(&world, &["verify", "--file", TRAIL]).await;
        output.status.success().then_some(())
    })
    .await;
    world.proxy().kill();
    run("umount", &["--lazy", at.to_str().unwrap()]);
    drop((disk, other));
}
