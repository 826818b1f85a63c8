//! Receivers of exports that we did not write: an rsyslog daemon, and a server built on the official library of OpenTelemetry. Each is
//! a process of its own on the world's address, in a folder of its own, and can be killed and started again.

use super::clients::folder;
use super::pki::Files;
use super::wait::eventually;
use super::world::World;
use serde_json::Value;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// Which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// rsyslog with TLS, which wants a client certificate.
    Syslog,
    /// OTLP at `/v1/logs`, OCSF at `/ocsf`, over HTTPS; wants a client certificate.
    Http,
}

/// See the head of this file. It ends when it is dropped.
pub(crate) struct Receiver {
    kind: Kind,
    folder: PathBuf,
    address: Ipv4Addr,
    files: Files,
    ca: PathBuf,
    process: Option<Child>,
}

impl Receiver {
    /// One that does not run yet, with a certificate of the world's CA.
    pub(crate) fn new(world: &World, kind: Kind, name: &str) -> Self {
        let files = world.ca.server("receiver", world.address.into()).write(&world.path(name));
        let (folder, ca) = (world.path(name), world.path("ca.pem"));
        Self { kind, folder, address: world.address, files, ca, process: None }
    }

    fn port(&self) -> u16 {
        match self.kind {
            Kind::Syslog => 6514,
            Kind::Http => 4318,
        }
    }

    /// Starts it and waits until it listens.
    pub(crate) async fn start(&mut self) {
        let mut command = match self.kind {
            Kind::Syslog => {
                fs::write(self.folder.join("rsyslog.conf"), self.configuration()).unwrap();
                let mut command = Command::new("rsyslogd");
                command.args(["-n", "-C", "-i", "NONE", "-f"]).arg(self.folder.join("rsyslog.conf"));
                command
            }
            Kind::Http => {
                let clients = folder().await;
                let mut command = Command::new("python3");
                command.env("PYTHONPATH", clients.join("python")).arg(clients.join("receive.py"));
                command.arg(self.address.to_string()).arg(self.port().to_string());
                command.arg(&self.files.cert).arg(&self.files.key).arg(&self.ca);
                command
            }
        };
        command.current_dir(&self.folder).stdin(Stdio::null()).kill_on_drop(true);
        self.process = Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let place = (self.address, self.port());
        eventually("a receiver", || async { TcpStream::connect(place).await.ok() }).await;
    }

    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(&mut self) {
        self.process.take().expect("it does not run").kill().await.unwrap();
    }

    /// What it has on its disk, without a line that it was killed in.
    pub(crate) fn received(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.join("received.jsonl")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Makes it answer so, or again as it should (an empty text); see `tests/clients/receive.py`.
    pub(crate) fn say(&self, file: &str, text: &str) {
        let fresh = self.folder.join("fresh");
        fs::write(&fresh, text).unwrap();
        fs::rename(fresh, self.folder.join(file)).unwrap();
    }

    /// What it takes is in its file before it says so: without that a killed daemon loses what it had read.
    fn configuration(&self) -> String {
        let (address, port) = (self.address, self.port());
        let [folder, ca, cert, key] =
            [&self.folder, &self.ca, &self.files.cert, &self.files.key].map(|path| path.display());
        format!(
            r#"
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
module(load="imtcp" streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
template(name="seen" type="list" option.jsonf="on") {{
  property(outname="pri" name="pri" format="jsonf")
  property(outname="host" name="hostname" format="jsonf")
  property(outname="app" name="app-name" format="jsonf")
  property(outname="msgid" name="msgid" format="jsonf")
  property(outname="time" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="data" name="structured-data" format="jsonf")
  property(outname="msg" name="msg" format="jsonf")
}}
ruleset(name="in" queue.type="Direct") {{
  action(type="omfile" file="{folder}/received.jsonl" template="seen" asyncWriting="off" flushOnTXEnd="on")
}}
input(type="imtcp" address="{address}" port="{port}" ruleset="in")
"#
        )
    }
}

/// What is wrong with these OCSF events by the published schema, and how many there are of each `class/activity`.
pub(crate) async fn check_ocsf(events: &[Value]) -> (Vec<Value>, Value) {
    let clients = folder().await;
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", clients.join("python")).arg(clients.join("ocsf.py"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let text: String = events.iter().map(|event| format!("{event}\n")).collect();
    let mut to = child.stdin.take().unwrap();
    let write = async move {
        to.write_all(text.as_bytes()).await.unwrap();
        drop(to);
    };
    let (output, ()) = tokio::join!(child.wait_with_output(), write);
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let mut said: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut counted = said.pop().unwrap();
    (said, counted["classes"].take())
}
