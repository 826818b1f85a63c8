//! Webhooks over real sockets: signed, at least once with one id, over restarts, and whatever a receiver does.

use crate::world::{AGENT, World, grant};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jitgate::config::{WebhookConfig, WebhookEvent, WebhookFormat};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a receiver does with a message.
#[derive(Clone)]
enum Answer {
    Status(&'static str),
    RedirectTo(SocketAddr),
    Endless,
    Silence,
    Reset,
}

struct Message {
    head: String,
    body: String,
}

impl Message {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no `{name}` in {}", self.head))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn is_signed(&self) {
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = format!("{id}.{timestamp}.{}", self.body);
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let signature =
            STANDARD.decode(self.header("webhook-signature").strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    }
}

/// A receiver that does with its first messages what it is told, and takes every later one.
struct Receiver {
    address: SocketAddr,
    messages: mpsc::Receiver<Message>,
}

impl Receiver {
    async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(answers.into_iter().collect::<VecDeque<_>>()));
        let (sender, messages) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answers), sender.clone()));
            }
        });
        Self { address, messages }
    }

    async fn next(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.messages.recv()).await.expect("no message").unwrap()
    }
}

async fn serve(mut stream: TcpStream, answers: Arc<Mutex<VecDeque<Answer>>>, sender: mpsc::Sender<Message>) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let Ok(count @ 1..) = stream.read(&mut part).await else { return };
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap();
        if body.len() < length {
            continue;
        }
        bytes.clear();
        sender.send(Message { head: head.to_owned(), body: body.to_owned() }).await.unwrap();
        let answer = answers.lock().unwrap().pop_front().unwrap_or(Answer::Status("204 No Content"));
        let text = match answer {
            Answer::Status(status) => format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"),
            Answer::RedirectTo(other) => {
                format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n"
                )
            }
            Answer::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                while stream.write_all(chunk.as_bytes()).await.is_ok() {}
                return;
            }
            Answer::Silence => std::future::pending().await,
            Answer::Reset => {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
        };
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}

fn hook(world: &World, name: &str, receiver: &Receiver, format: WebhookFormat) -> WebhookConfig {
    let file = world.path().join("webhook.secret");
    std::fs::write(&file, format!("whsec_{}\n", STANDARD.encode(SECRET))).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    WebhookConfig {
        name: name.parse().unwrap(),
        url: format!("http://{}/hook", receiver.address).parse().unwrap(),
        secret_file: Some(file),
        events: WebhookEvent::ALL.into(),
        format,
        ca: None,
        timeout: Duration::from_secs(2),
    }
}

async fn revoke(world: &World) -> String {
    let mut admin = world.operator("admin").await;
    admin.post("/v1/grants", &grant(AGENT, "t")).await;
    let revoked = admin.post("/v1/revocations", &json!({"principal": AGENT, "reason": "leaked"})).await;
    assert_eq!(revoked.status, 201, "{revoked:?}");
    revoked.json()["id"].as_str().unwrap().to_owned()
}

fn ask(task: &str) -> Value {
    json!({
        "task": task,
        "reason": "the customer <!channel> calls",
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]}],
        "ttl": "15m",
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asked_denied_granted_and_revoked_are_told_in_both_forms() {
    let mut world = World::start().await;
    let (mut standard, mut chat) = (Receiver::start([]).await, Receiver::start([]).await);
    // What happened before a webhook was there is not told.
    revoke(&world).await;
    let hooks = [
        hook(&world, "audit", &standard, WebhookFormat::Standard),
        WebhookConfig { secret_file: None, ..hook(&world, "chat", &chat, WebhookFormat::Chat) },
    ];
    world.configure(|config| config.webhooks = Box::new(hooks)).await;
    // Not the one whose grant was just revoked: that one would have to wait.
    let mut agent = world.agent("other").await;
    let mut approver = world.operator("approver").await;
    let asked = agent.post("/v1/requests", &ask("INC-1")).await.json();
    let id = asked["id"].as_str().unwrap().to_owned();
    let pending = standard.next().await;
    pending.is_signed();
    let told = pending.json();
    assert_eq!((&told["type"], &told["data"]["request"]), (&json!("request.pending"), &json!(id)));
    assert_eq!(told["data"]["hash"], asked["hash"], "what an approver approves");
    let approved =
        approver.post(&format!("/v1/requests/{id}/approve"), &json!({"reason": "ok"})).await.json();
    let granted = standard.next().await.json();
    assert_eq!(
        (&granted["type"], &granted["data"]["grant"]),
        (&json!("request.granted"), &approved["grant"])
    );
    let revocation = revoke(&world).await;
    let revoked = standard.next().await.json();
    assert_eq!(
        (&revoked["type"], &revoked["data"]["revocation"]),
        (&json!("grant.revoked"), &json!(revocation))
    );
    let mut other = world.agent("third").await;
    let denied = other.post("/v1/requests", &ask("INC-2")).await.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(standard.next().await.json()["type"], "request.pending");
    approver.post(&format!("/v1/requests/{denied}/deny"), &json!({"reason": "not today"})).await;
    let told = standard.next().await.json();
    assert_eq!((&told["type"], &told["data"]["because"]), (&json!("request.denied"), &json!("not today")));
    let text = chat.next().await.json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&format!("Access request {id} for ")) && !text.contains('<'), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_survives_a_restart_and_keeps_its_id() {
    let mut world = World::start().await;
    let mut receiver = Receiver::start([Answer::Status("500 No")]).await;
    let hooks = [hook(&world, "audit", &receiver, WebhookFormat::Standard)];
    world.configure(|config| config.webhooks = Box::new(hooks)).await;
    revoke(&world).await;
    let first = receiver.next().await;
    world.restart().await;
    let second = receiver.next().await;
    second.is_signed();
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.body, second.body);
    // And once it has arrived, a restart does not bring it back: the next one is the next.
    until(&world, |hook| hook["waiting"] == 0).await;
    world.restart().await;
    revoke(&world).await;
    assert_ne!(receiver.next().await.header("webhook-id"), first.header("webhook-id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_on_its_way_is_sent_again_after_a_restart() {
    let mut world = World::start().await;
    let mut receiver = Receiver::start([Answer::Silence]).await;
    let hooks = [hook(&world, "audit", &receiver, WebhookFormat::Standard)];
    world.configure(|config| config.webhooks = Box::new(hooks)).await;
    revoke(&world).await;
    let first = receiver.next().await;
    world.restart().await;
    assert_eq!(receiver.next().await.header("webhook-id"), first.header("webhook-id"));
}

/// Waits until `/v1/webhooks` shows the first webhook as wanted.
async fn until(world: &World, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut viewer = world.operator("viewer").await;
    let look = async {
        loop {
            let hooks = viewer.get("/v1/webhooks").await.json();
            if wanted(&hooks[0]) {
                return hooks[0].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.expect("never as wanted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_given_up_is_shown_and_an_admin_sends_it_again() {
    let mut world = World::start().await;
    let mut receiver = Receiver::start([Answer::Status("410 Gone")]).await;
    let hooks = [hook(&world, "audit", &receiver, WebhookFormat::Standard)];
    world.configure(|config| config.webhooks = Box::new(hooks)).await;
    revoke(&world).await;
    let first = receiver.next().await;
    until(&world, |hook| hook["dead_letters"].as_array().is_some_and(|dead| dead.len() == 1)).await;
    world.restart().await;
    let mut viewer = world.operator("viewer").await;
    let status = viewer.get("/v1/status").await.json();
    assert_eq!(status["webhooks"][0]["dead_letters"][0]["id"], first.header("webhook-id"));
    assert!(status["attention"].to_string().contains("`audit` has 1 message "), "{status}");
    let path = "/v1/webhooks/audit/redeliver";
    viewer.post(path, &json!({})).await.is_problem(403, "forbidden");
    let mut admin = world.operator("admin").await;
    admin.post("/v1/webhooks/none/redeliver", &json!({})).await.is_problem(404, "not_found");
    assert_eq!(admin.post(path, &json!({})).await.json(), json!({"redelivering": 1}));
    assert_eq!(receiver.next().await.header("webhook-id"), first.header("webhook-id"));
    until(&world, |hook| hook["waiting"] == 0 && hook["dead_letters"] == json!([])).await;
    world.agent("demo").await.get("/v1/webhooks").await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_receivers_hold_up_nobody_and_lead_nowhere() {
    let mut world = World::start().await;
    let mut elsewhere = Receiver::start([]).await;
    let always = |answer: Answer| std::iter::repeat_n(answer, 100);
    let mut hostile = [
        Receiver::start(always(Answer::Silence)).await,
        Receiver::start(always(Answer::Reset)).await,
        Receiver::start(always(Answer::RedirectTo(elsewhere.address))).await,
        Receiver::start(always(Answer::Endless)).await,
    ];
    let mut good = Receiver::start([]).await;
    let mut hooks = vec![hook(&world, "good", &good, WebhookFormat::Standard)];
    for (number, receiver) in hostile.iter().enumerate() {
        hooks.push(hook(&world, &format!("hostile-{number}"), receiver, WebhookFormat::Standard));
    }
    world.configure(|config| config.webhooks = hooks.into()).await;
    for _ in 0..3 {
        let revocation = revoke(&world).await;
        assert_eq!(good.next().await.json()["data"]["revocation"], revocation);
    }
    for receiver in &mut hostile {
        receiver.next().await;
    }
    // One attempt at a time: with its second message the first of the one that redirects is over.
    hostile[2].next().await;
    assert!(elsewhere.messages.try_recv().is_err(), "a redirect was followed");
}
