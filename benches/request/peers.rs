//! The processes: floor, and `jitgate up` with one grant. Each is ended when the lab is dropped.

use super::load::{Load, Stage};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// What a process runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Under {
    /// Nothing.
    Itself,
    /// Counts instructions.
    Callgrind,
    /// Counts system calls.
    Strace,
}

/// How the trail of our proxy is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audit {
    /// The default.
    Buffered,
    /// Each request waits for its `admit` line.
    Durable,
    /// Not at all, by a build that can leave it out.
    Off,
}

/// See [`Peer::costs`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    pub(crate) rate: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu: f64,
    pub(crate) busy: f64,
}

/// One process, on one core.
pub(crate) struct Peer {
    child: Child,
    pub(crate) port: u16,
    under: Under,
    counts: PathBuf,
}

/// What a process did: instructions, those of [`SHA256`] apart, or system calls by name.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The function of the provider that hashes. Under valgrind there are no SHA instructions, and it takes 25 for each byte instead of
/// about one.
pub(crate) const SHA256: &str = "sha256_block_data_order";

/// Everything that runs.
pub(crate) struct Lab {
    _folder: tempfile::TempDir,
    pub(crate) data: PathBuf,
    pub(crate) stage: Rc<Stage>,
    pub(crate) floor: Peer,
    pub(crate) ours: Peer,
}

/// The permission of the tool that is called: a schema of ten fields.
const TOOL: &str = r#"{"type":"mcp","locations":["tools"],"actions":["tools/call"],"tools":["deploy"],"arguments":{"type":"object","properties":{
    "service":{"type":"string","pattern":"^[a-z][a-z0-9-]{0,62}$"},"server":{"enum":["srv-1","srv-2","srv-7"]},
    "version":{"type":"string","pattern":"^v\\d+\\.\\d+\\.\\d+$"},"replicas":{"type":"integer","minimum":1,"maximum":20},
    "force":{"const":false},"zone":{"enum":["a","b","c"]},"timeout":{"type":"number","exclusiveMinimum":0,"maximum":600},
    "tags":{"type":"array","items":{"type":"string","maxLength":32},"maxItems":16},"owner":{"type":"string","minLength":1,"maxLength":64},
    "notes":{"type":"string","maxLength":4096}},"required":["service","server","version"],"additionalProperties":false}}"#;

const AGENT: &str = "spiffe://jitgate.local/agent/demo";

/// The program that is measured: `JITGATE=PATH`, or the one that was built with this.
fn jitgate() -> String {
    std::env::var("JITGATE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_jitgate").to_owned())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn answers(port: u16) {
    let until = Instant::now() + Duration::from_secs(60);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Peer {
    fn start(core: &str, under: Under, folder: &Path, program: &str, args: &[&str], port: u16) -> Self {
        Self::start_with(core, under, folder, (program, args, &[]), port)
    }

    fn start_with(
        core: &str,
        under: Under,
        folder: &Path,
        (program, args, variables): (&str, &[&str], &[(&str, &str)]),
        port: u16,
    ) -> Self {
        let mut command = Command::new("taskset");
        command.envs(variables.iter().copied());
        command.args(["-c", core]);
        let counts = folder.join(format!("counts-{port}"));
        match under {
            Under::Itself => {}
            Under::Callgrind => {
                command.args(["valgrind", "--tool=callgrind"]);
                command.arg(format!("--callgrind-out-file={}", counts.display()));
            }
            // `-D`: this process is the program, and strace stands beside it.
            Under::Strace => _ = command.args(["strace", "-D", "-f", "-q", "-c", "-o"]).arg(&counts),
        }
        let log = std::fs::File::create(folder.join(format!("log-{port}"))).unwrap();
        let child = command
            .arg(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        answers(port);
        Self { child, port, under, counts }
    }

    /// User and system time so far.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    /// What a load sees, CPU seconds for 100,000 requests, and how busy its core was: well below 1, it was the load that was the limit, and
    /// a rate says less than the CPU time does.
    pub(crate) fn costs(&self, load: &Load, time: Duration) -> Costs {
        let before = Cell::new(0.0);
        let run = load.run(time, || before.set(self.cpu_seconds()));
        let cpu = self.cpu_seconds() - before.get();
        let (requests, busy) = (run.requests as f64, cpu * run.rate / run.requests as f64);
        Costs { rate: run.rate, p99_us: run.p99_us, cpu: cpu / requests * 1e5, busy }
    }

    fn stop(&mut self) -> Counts {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let read = || std::fs::read_to_string(&self.counts).unwrap_or_default();
        match self.under {
            Under::Itself => Counts::new(),
            Under::Callgrind => {
                let text = read();
                if let Ok(folder) = std::env::var("KEEP") {
                    let name = format!("callgrind.out.{}", self.child.id());
                    std::fs::copy(&self.counts, Path::new(&folder).join(name)).unwrap();
                }
                let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
                let (total, sha256) = (total.trim().parse::<u64>().unwrap(), own_cost(&text, SHA256));
                Counts::from([("others".to_owned(), total - sha256), (SHA256.to_owned(), sha256)])
            }
            Under::Strace => {
                // strace writes when the program has ended.
                let until = Instant::now() + Duration::from_secs(10);
                while !read().contains(" total") {
                    assert!(Instant::now() < until, "strace counts nothing");
                    std::thread::sleep(Duration::from_millis(20));
                }
                let calls = |line: &str| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    Some(((*fields.last()?).to_owned(), fields.get(3)?.parse().ok()?))
                };
                read().lines().filter_map(calls).filter(|(name, _)| name != "total").collect()
            }
        }
    }
}

/// The instructions of the functions of this name themselves, in a profile of callgrind.
fn own_cost(profile: &str, name: &str) -> u64 {
    let mut known = BTreeSet::new();
    let (mut cost, mut inside, mut of_callee) = (0, false, false);
    for line in profile.lines() {
        let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || "+-*".contains(c));
        if let Some((kind, function)) = line.split_once("fn=(") {
            let (id, named) = function.split_once(')').unwrap();
            if named.contains(name) {
                known.insert(id);
            }
            if kind.is_empty() {
                inside = known.contains(id);
            }
        } else if line.starts_with("calls=") {
            of_callee = true;
        } else if is_cost {
            if inside && !of_callee {
                cost += line.rsplit(' ').next().unwrap().parse::<u64>().unwrap();
            }
            of_callee = false;
        }
    }
    cost
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lab {
    /// Both proxies run `under` a tool. Beside the grant that is used there are `others`: ten for each principal.
    pub(crate) fn start(under: Under, others: usize) -> Self {
        Self::start_audited(under, others, Audit::Buffered)
    }

    /// The same with a trail that is written in another way.
    pub(crate) fn start_audited(under: Under, others: usize, audit: Audit) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let me = std::env::current_exe().unwrap();
        let me = me.to_str().unwrap();
        let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
        upstream.set_nonblocking(true).unwrap();
        let (port, data) = (upstream.local_addr().unwrap().port(), folder.path().join("data"));
        let path = data.to_str().unwrap();
        let target = format!("127.0.0.1:{port}");
        let ours = {
            let (port, control, admin) = (free_port(), free_port(), free_port());
            let at = |port: u16| format!("127.0.0.1:{port}");
            let durability = if audit == Audit::Durable { "durable" } else { "buffered" };
            let services = format!(
                "[[service]]\nname = \"bench\"\nupstream = [\"http://{target}\"]\ndurability = \"{durability}\"\n\
                 [[service]]\nname = \"tools\"\nupstream = [\"mcp+http://{target}/mcp\"]\ndurability = \"{durability}\"\n"
            );
            let config = folder.path().join("up.toml");
            std::fs::write(&config, services).unwrap();
            let config = config.to_str().unwrap();
            let (listen, control, admin) = (at(port), at(control), at(admin));
            let args = [
                "up",
                "--data",
                path,
                "--config",
                config,
                "--listen",
                &listen,
                "--control-listen",
                &control,
                "--admin-listen",
                &admin,
            ];
            let off: &[_] = if audit == Audit::Off { &[("JITGATE_BENCH_UNAUDITED", "1")] } else { &[] };
            Peer::start_with("0", under, folder.path(), (&jitgate(), &args, off), port)
        };
        let floor = {
            let port = free_port();
            let listen = format!("127.0.0.1:{port}");
            Peer::start("0", under, folder.path(), me, &["floor", &listen, &target, path], port)
        };
        grant(
            path,
            &[
                "--principal",
                AGENT,
                "--task",
                "bench",
                "--scope",
                "bench:GET,POST:/v1/items/*",
                "--scope",
                TOOL,
            ],
        );
        if others > 0 {
            let file = folder.path().join("grants.jsonl");
            std::fs::write(&file, many(others)).unwrap();
            grant(path, &["--file", file.to_str().unwrap()]);
        }
        Self { data, _folder: folder, stage: Rc::new(Stage::new(upstream)), floor, ours }
    }

    /// What floor and ours did.
    pub(crate) fn stop_and_count(mut self) -> (Counts, Counts) {
        (self.floor.stop(), self.ours.stop())
    }
}

/// Grants for an import, ten for each principal; the first ten are the agent's.
fn many(grants: usize) -> String {
    let line = |n: usize| {
        let principal =
            if n < 10 { AGENT.to_owned() } else { format!("spiffe://jitgate.local/agent/{}", n / 10) };
        format!(
            r#"{{"principal":"{principal}","task":"other-{n}","scope":[{{"type":"http","locations":["bench"],"actions":["GET"],"paths":["/v1/items/{n}/*"]}}]}}"#
        )
    };
    (0..grants).map(line).collect::<Vec<_>>().join("\n")
}

fn grant(data: &str, what: &[&str]) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let done = Command::new(jitgate())
            .args(["grant", "--data", data])
            .args(what)
            .args(["--ttl", "1h", "--reason", "bench", "--output", "json"])
            .output()
            .unwrap();
        if done.status.success() {
            break;
        }
        assert!(Instant::now() < until, "no grant: {}", String::from_utf8_lossy(&done.stderr));
        std::thread::sleep(Duration::from_millis(200));
    }
    // The proxy hears of it over the control channel.
    std::thread::sleep(Duration::from_millis(500));
}
