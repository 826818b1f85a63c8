//! The ticket check over real sockets: what is open, and all that is not.

use crate::world::World;
use jitgate::config::TicketConfig;
use jitgate::control::tickets::{Answer, NoTicket, Tickets};
use jitgate::runtime::clock::Mono;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

type Heads = Arc<Mutex<Vec<String>>>;

/// A ticket system that answers everything in the same way; nothing: it never does.
async fn system(answer: &str) -> (SocketAddr, Heads) {
    let (address, heads, _) = changing(answer).await;
    (address, heads)
}

/// The same, with what it answers from now on.
async fn changing(answer: &str) -> (SocketAddr, Heads, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Heads::default());
    let said = Arc::new(Mutex::new(answer.to_owned()));
    let (seen, says) = (Arc::clone(&heads), Arc::clone(&said));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 8192];
            let read = stream.read(&mut bytes).await.unwrap_or(0);
            seen.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).into_owned());
            let answer = says.lock().unwrap().clone();
            let _ = stream.write_all(answer.as_bytes()).await;
            if answer.is_empty() {
                held.push(stream);
            }
        }
    });
    (address, heads, said)
}

fn config(address: SocketAddr) -> TicketConfig {
    TicketConfig {
        url: format!("http://{address}/api/{{ticket}}?fields=status").parse().unwrap(),
        header: None,
        pointer: "/fields/status".into(),
        open: ["Open".to_owned()].into(),
        ca: None,
        timeout: Duration::from_secs(2),
    }
}

fn json_answer(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn only_the_configured_states_are_open() {
    let open = json_answer(r#"{"fields":{"status":"Open"}}"#);
    let (elsewhere, asked_elsewhere) = system(&open).await;
    let huge = format!(r#"{{"fields":{{"status":"Open"}},"x":"{}"}}"#, "x".repeat(1 << 20));
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{elsewhere}/\r\ncontent-length: 0\r\n\r\n");
    for (answer, expected) in [
        (open.clone(), Answer::Open),
        (json_answer(r#"{"fields":{"status":"Done"}}"#), Answer::Closed),
        ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".into(), Answer::Closed),
        (json_answer(r#"{"status":"Open"}"#), Answer::Unknown),
        (json_answer(r#"{"fields":{"status":["Open"]}}"#), Answer::Unknown),
        (json_answer("Open"), Answer::Unknown),
        (json_answer(&huge), Answer::Unknown),
        (open.replace("application/json", "text/html"), Answer::Unknown),
        (open.replace("200 OK", "203 Other"), Answer::Unknown),
        (open.replace("200 OK", "500 No"), Answer::Unknown),
        (redirect, Answer::Unknown),
        (String::new(), Answer::Unknown),
    ] {
        let (address, _) = system(&answer).await;
        let tickets = Tickets::new(config(address)).unwrap();
        let shown = answer.chars().take(120).collect::<String>();
        assert_eq!(tickets.check("INC-1", Mono::now()).await, Ok(expected), "{shown}");
    }
    assert!(asked_elsewhere.lock().unwrap().is_empty(), "a redirect was followed");
}

#[tokio::test]
async fn a_ticket_is_one_segment_and_a_yes_is_believed_briefly() {
    let (address, heads) = system(&json_answer(r#"{"fields":{"status":"Open"}}"#)).await;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "Bearer sesame\n").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    let header = Some(("authorization".to_owned(), secret.clone()));
    let tickets = Tickets::new(TicketConfig { header, ..config(address) }).unwrap();
    let start = Mono::now();
    assert_eq!(tickets.check("org.repo#12", start).await, Ok(Answer::Open));
    assert_eq!(tickets.check("../admin", start).await, Err(NoTicket));
    assert_eq!(tickets.check("org.repo#12", start.plus(Duration::from_secs(29))).await, Ok(Answer::Open));
    let asked = heads.lock().unwrap().clone();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].starts_with("GET /api/org.repo%2312?fields=status HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("authorization: Bearer sesame\r\n"), "{asked:?}");
    assert_eq!(tickets.check("org.repo#12", start.plus(Duration::from_secs(30))).await, Ok(Answer::Open));
    assert_eq!(heads.lock().unwrap().len(), 2);
    // A secret that others can read is not used.
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(tickets.check("OTHER-1", start).await, Ok(Answer::Unknown));
    assert_eq!(heads.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_found_out_is_a_fact_of_the_request() {
    let (address, _) = system(&json_answer(r#"{"fields":{"status":"Open"}}"#)).await;
    let mut world = World::start().await;
    world.configure(|world| world.tickets = Some(config(address))).await;
    let mut agent = world.agent("demo").await;
    let ask = |ticket: &str| {
        json!({
            "task": "INC-1", "reason": "a test", "ttl": "15m", "ticket": ticket,
            "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/*"]}],
        })
    };
    agent.post("/v1/requests", &ask("../x")).await.is_problem(400, "malformed");
    let asked = agent.post("/v1/requests", &ask("INC-1")).await;
    assert_eq!((asked.status.as_u16(), &asked.json()["ticket_open"]), (201, &json!(true)), "{asked:?}");
}

const OPEN_AND_APPROVED: &str = r#"@id("open") @approvers("1 of approvers")
permit (principal, action == Action::"request", resource) when { context has ticket && context.ticket.open };"#;

/// Whose policies demand that the ticket system at this address says that a ticket is open.
async fn world_of_tickets(address: SocketAddr) -> World {
    let mut world = World::start().await;
    let policies = world.path().join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    std::fs::write(policies.join("all.cedar"), OPEN_AND_APPROVED).unwrap();
    let tickets = config(address);
    world
        .configure(|config| {
            config.tickets = Some(tickets);
            config.policy.folder = Some(policies);
        })
        .await;
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silence_of_the_ticket_system_denies_nothing_for_good() {
    let open = json_answer(r#"{"fields":{"status":"Open"}}"#);
    let (address, _, said) = changing(&open).await;
    let mut world = world_of_tickets(address).await;
    let scope =
        json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/orders/9"]}]);
    let ask = json!({"task": "WAITS", "reason": "a test", "ttl": "15m", "ticket": "INC-1", "scope": scope});
    let waits = world.agent("demo").await.post("/v1/requests", &ask).await.json();
    let id = waits["id"].as_str().unwrap();
    let (path, yes) = (format!("/v1/requests/{id}/approve"), json!({"reason": "fine"}));
    *said.lock().unwrap() = json_answer("maintenance");
    // A yes is believed for a while, by one process.
    world.restart().await;
    let mut approver = world.operator("approver").await;
    approver.post(&path, &yes).await.is_problem(503, "tickets_unavailable");
    let stands = approver.get(&format!("/v1/requests/{id}")).await;
    assert_eq!(stands.json()["state"], "pending", "{stands:?}");
    *said.lock().unwrap() = open;
    let approved = approver.post(&path, &yes).await;
    assert_eq!(approved.json()["state"], "approved", "{approved:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_and_an_approval_are_decided_with_the_ticket_as_it_is_then() {
    for (status, step, approval) in [("Open", "pending", "approved"), ("Done", "denied", "denied")] {
        let (address, _, said) = changing(&json_answer(r#"{"fields":{"status":"Open"}}"#)).await;
        let mut world = world_of_tickets(address).await;
        let (mut agent, mut approver) = (world.agent("demo").await, world.operator("approver").await);
        let ask = |task: &str, key: &str, what: Value| {
            let mut ask = json!({"task": task, "reason": "a test", "ttl": "15m", "ticket": "INC-1"});
            ask[key] = what;
            ask
        };
        let scope = |path: &str| json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": [path]}]);
        let steps = json!([
            {"scope": scope("/v1/orders/7")},
            {"scope": scope("/v1/orders/8"), "reassess": true},
        ]);
        let plan = agent.post("/v1/requests", &ask("PLAN", "plan", steps)).await.json();
        let waits = agent.post("/v1/requests", &ask("WAITS", "scope", scope("/v1/orders/9"))).await.json();
        assert_eq!((&plan["state"], &waits["state"]), (&json!("pending"), &json!("pending")));
        let path =
            |request: &Value, verb: &str| format!("/v1/requests/{}/{verb}", request["id"].as_str().unwrap());
        let yes = json!({"reason": "fine"});
        let planned = approver.post(&path(&plan, "approve"), &yes).await;
        assert_eq!(planned.json()["state"], "approved", "{planned:?}");
        *said.lock().unwrap() = json_answer(&format!(r#"{{"fields":{{"status":"{status}"}}}}"#));
        // A yes is believed for a while, by one process.
        world.restart().await;
        let (mut agent, mut approver) = (world.agent("demo").await, world.operator("approver").await);
        let opened = agent.post(&path(&plan, "advance"), &json!({})).await;
        assert_eq!((opened.status.as_u16(), &opened.json()["state"]), (200, &json!(step)), "{opened:?}");
        assert_eq!(opened.json()["ticket_open"], json!(status == "Open"), "{opened:?}");
        let approved = approver.post(&path(&waits, "approve"), &yes).await;
        assert_eq!(
            (approved.status.as_u16(), &approved.json()["state"]),
            (200, &json!(approval)),
            "{approved:?}"
        );
    }
}
