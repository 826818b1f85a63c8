//! The processes: upstream, floor, and `jitgate up` with one grant. Each is ended when the lab is dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// One process, on one core.
pub(crate) struct Peer {
    child: Child,
    pub(crate) port: u16,
    counts: Option<PathBuf>,
}

/// Everything that runs.
pub(crate) struct Lab {
    _folder: tempfile::TempDir,
    pub(crate) data: PathBuf,
    _upstream: Peer,
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

const JITGATE: &str = env!("CARGO_BIN_EXE_jitgate");

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
    fn start(core: &str, tool: Option<&str>, folder: &Path, program: &str, args: &[&str], port: u16) -> Self {
        let mut command = Command::new("taskset");
        command.args(["-c", core]);
        let counts = tool.map(|_| folder.join(format!("counts-{port}")));
        if let (Some(tool), Some(counts)) = (tool, &counts) {
            command.arg("valgrind").arg(format!("--tool={tool}"));
            command.arg(format!("--callgrind-out-file={}", counts.display()));
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
        Self { child, port, counts }
    }

    /// User and system time so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
    }

    fn stop(&mut self) -> u64 {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        let Some(counts) = &self.counts else { return 0 };
        let text = std::fs::read_to_string(counts).unwrap();
        let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
        total.trim().parse().unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lab {
    /// `tool` is a valgrind tool to run both proxies under.
    pub(crate) fn start(tool: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let me = std::env::current_exe().unwrap();
        let me = me.to_str().unwrap();
        let (port, data) = (free_port(), folder.path().join("data"));
        let path = data.to_str().unwrap();
        let target = format!("127.0.0.1:{port}");
        let upstream = Peer::start("1", None, folder.path(), me, &["upstream", &target], port);
        let ours = {
            let (port, control, admin) = (free_port(), free_port(), free_port());
            let at = |port: u16| format!("127.0.0.1:{port}");
            let service = format!("bench=http://{target}");
            let tools = format!("tools=mcp+http://{target}/mcp");
            let (listen, control, admin) = (at(port), at(control), at(admin));
            let args = [
                "up",
                "--data",
                path,
                "--service",
                &service,
                "--service",
                &tools,
                "--listen",
                &listen,
                "--control-listen",
                &control,
                "--admin-listen",
                &admin,
            ];
            Peer::start("0", tool, folder.path(), JITGATE, &args, port)
        };
        let floor = {
            let port = free_port();
            let listen = format!("127.0.0.1:{port}");
            Peer::start("0", tool, folder.path(), me, &["floor", &listen, &target, path], port)
        };
        grant(path);
        Self { data, _folder: folder, _upstream: upstream, floor, ours }
    }

    /// The instructions of floor and ours.
    pub(crate) fn stop_and_count(mut self) -> (u64, u64) {
        (self.floor.stop(), self.ours.stop())
    }
}

fn grant(data: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let done = Command::new(JITGATE)
            .args([
                "grant",
                "--data",
                data,
                "--principal",
                "spiffe://jitgate.local/agent/demo",
                "--task",
                "bench",
            ])
            .args([
                "--scope",
                "bench:GET,POST:/v1/items/*",
                "--scope",
                TOOL,
                "--ttl",
                "1h",
                "--reason",
                "bench",
                "--output",
                "json",
            ])
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
