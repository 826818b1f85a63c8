//! A real browser: headless Chromium with a client certificate in its own store, driven over the DevTools protocol.

use super::wait::{eventually, within};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Who the browser is, and whom it reaches.
pub(crate) struct Identity<'a> {
    /// The authority that it trusts.
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The origins to which it shows its certificate.
    pub(crate) origins: &'a [String],
    /// The address that each `*.localhost` is at.
    pub(crate) address: String,
}

/// One page of a browser, which is killed with the test.
pub(crate) struct Browser {
    _process: Child,
    _home: tempfile::TempDir,
    socket: WebSocketStream<TcpStream>,
    session: Value,
    number: u64,
}

impl Browser {
    pub(crate) async fn start(identity: &Identity<'_>) -> Self {
        let home = tempfile::Builder::new().prefix("jitgate-browser-").tempdir().unwrap();
        store(home.path(), identity).await;
        let rules: Vec<_> =
            identity.origins.iter().map(|origin| json!({"pattern": origin, "filter": {}})).collect();
        let rules: Vec<_> = rules.iter().map(Value::to_string).collect();
        let policy = home.path().join("policy.json");
        fs::write(&policy, json!({"AutoSelectCertificateForUrls": rules}).to_string()).unwrap();

        // Chromium reads policies from one folder only: it gets one of its own, in a mount namespace that ends with it.
        const ENTER: &str = "mkdir -p /etc/chromium/policies && mount -t tmpfs tmpfs /etc/chromium/policies \
            && mkdir /etc/chromium/policies/managed && cp \"$1\" /etc/chromium/policies/managed/ && shift && exec \"$@\"";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--", "sh", "-c", ENTER, "sh"]).arg(&policy);
        command.args(["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--disable-background-networking", "--remote-debugging-port=0"]);
        command.arg(format!("--host-resolver-rules=MAP *.localhost {}", identity.address));
        command.arg(format!("--user-data-dir={}", home.path().join("profile").display())).arg("about:blank");
        command.env("HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.kill_on_drop(true).spawn().unwrap();

        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = within("a browser", async {
            let mut told = String::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some((_, url)) = line.split_once("DevTools listening on ") {
                    return url.to_owned();
                }
                told.push_str(&line);
            }
            panic!("the browser ended: {told}")
        })
        .await;
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let host = address.trim_start_matches("ws://").split('/').next().unwrap().to_owned();
        let stream = TcpStream::connect(host).await.unwrap();
        let opening = tokio_tungstenite::client_async(address, stream);
        let (socket, _) = within("the DevTools protocol", opening).await.unwrap();
        let mut browser = Self { _process: process, _home: home, socket, session: Value::Null, number: 0 };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"})).await;
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", attach).await["sessionId"].take();
        browser
    }

    /// Opens a page and waits until it is there.
    pub(crate) async fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url})).await;
        assert_eq!(opened["errorText"], Value::Null, "{url}: {opened}");
        let browser = tokio::sync::Mutex::new(self);
        eventually(url, || async {
            let mut browser = browser.lock().await;
            let there = "document.readyState === 'complete' && location.href !== 'about:blank'";
            (browser.run(there).await == json!(true)).then_some(())
        })
        .await;
    }

    /// The value of a script in the page; where it is a promise, what it comes to.
    pub(crate) async fn run(&mut self, script: &str) -> Value {
        let ask = json!({"expression": script, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.call("Runtime.evaluate", ask).await;
        assert_eq!(answer["exceptionDetails"], Value::Null, "{script}: {answer}");
        answer["result"]["value"].take()
    }

    /// Presses Enter in whatever has the focus.
    pub(crate) async fn press_enter(&mut self) {
        let key = json!({"type": "keyDown", "key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13});
        self.call("Input.dispatchKeyEvent", key).await;
    }

    /// Waits until a page says this, whatever page it is by then.
    pub(crate) async fn shows(&mut self, text: &str) {
        let browser = tokio::sync::Mutex::new(self);
        eventually(text, || async {
            let ask = json!({"expression": "document.body.innerText", "returnByValue": true});
            // A page that is just left answers nothing.
            let answer = browser.lock().await.try_call("Runtime.evaluate", ask).await.ok()?;
            answer["result"]["value"].as_str()?.contains(text).then_some(())
        })
        .await;
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.try_call(method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    async fn try_call(&mut self, method: &str, params: Value) -> Result<Value, Value> {
        self.number += 1;
        let number = self.number;
        let mut message = json!({"id": number, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.socket.send(Message::text(message.to_string())).await.unwrap();
        within(method, async {
            loop {
                let text = self.socket.next().await.expect("the browser is gone").unwrap();
                let mut answer: Value = serde_json::from_str(text.to_text().unwrap()).unwrap();
                if answer["id"] == number {
                    let (error, result) = (answer["error"].take(), answer["result"].take());
                    return if error.is_null() { Ok(result) } else { Err(error) };
                }
            }
        })
        .await
    }
}

/// Makes the certificate store (NSS) that Chromium finds in its home.
async fn store(home: &Path, identity: &Identity<'_>) {
    let store = home.join(".pki/nssdb");
    fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{}", store.display());
    let bundle = home.join("client.p12");
    let mut make = Command::new("certutil");
    make.args(["-d", &database, "-N", "--empty-password"]);
    let mut trust = Command::new("certutil");
    trust.args(["-d", &database, "-A", "-t", "C,,", "-n", "ca", "-i"]).arg(&identity.ca);
    let mut pack = Command::new("openssl");
    pack.args(["pkcs12", "-export", "-passout", "pass:none", "-in"]).arg(&identity.certificate);
    pack.arg("-inkey").arg(&identity.key).arg("-out").arg(&bundle);
    let mut import = Command::new("pk12util");
    import.args(["-d", &database, "-W", "none", "-i"]).arg(&bundle);
    for mut command in [make, trust, pack, import] {
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
    }
}
