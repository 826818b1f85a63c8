//! Policies decide on facts, not on claims: whether a ticket is open, from where somebody comes, how risky they are now, what time it
//! is where the policies say.

use crate::harness::{Protocol, Setup, Stub, World, asked, because, with, within};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const TICKETS: &str = r#"
@id("with-a-ticket")
permit (principal, action == Action::"request", resource) when { context has ticket && context.ticket.open };
"#;

async fn with_tickets(url: &str) -> World {
    let tables = format!(
        "[tickets]\nurl = \"{url}/issue/{{ticket}}\"\npointer = \"/status\"\nopen = [\"Open\"]\ntimeout = \"300ms\"\n"
    );
    let mut world = Setup::new().tables(&tables).decided_by("", TICKETS).await;
    world.start_control().await;
    world
}

#[tokio::test]
async fn only_a_ticket_that_the_ticket_system_calls_open_counts() {
    let system = Stub::start(|path| match path {
        "/issue/OPEN-1" => Some((200, r#"{"status": "Open"}"#)),
        "/issue/DONE-1" => Some((200, r#"{"status": "Done"}"#)),
        "/issue/BROKEN-1" => Some((500, r#"{"status": "Open"}"#)),
        "/issue/SILENT-1" => None,
        _ => Some((404, "{}")),
    })
    .await;
    let world = with_tickets(&format!("http://{}", system.address)).await;
    let (yes, no, unanswered) = (json!(true), json!(false), Value::Null);
    for (ticket, open) in [
        ("OPEN-1", yes),
        ("DONE-1", no.clone()),
        ("NONE-1", no),
        ("SILENT-1", unanswered.clone()),
        ("BROKEN-1", unanswered),
    ] {
        let body = with(asked(ticket, "GET", "/v1/orders/*"), "ticket", json!(ticket));
        let request = world.ask(&world.agent, &body).await;
        let expected = if open == true { "approved" } else { "denied" };
        assert_eq!((&request["state"], &request["ticket_open"]), (&json!(expected), &open), "{request}");
        assert_eq!(request["ticket"], ticket);
    }
    let none = world.ask(&world.agent, &asked("NO-TICKET", "GET", "/v1/orders/*")).await;
    assert_eq!(because(&none), "no policy permits `GET` at `orders`");
    // Nobody says so themselves.
    let claimed = with(with(asked("C", "GET", "/a"), "ticket", json!("DONE-1")), "ticket_open", json!(true));
    assert_eq!(world.try_ask(&world.agent, &claimed).await.status, 400);
}

#[tokio::test]
async fn a_ticket_system_that_is_not_there_means_no() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let world = with_tickets(&url).await;
    let body = with(asked("INC-1", "GET", "/v1/orders/*"), "ticket", json!("OPEN-1"));
    assert_eq!(because(&world.ask(&world.agent, &body).await), "no policy permits `GET` at `orders`");
}

#[tokio::test]
async fn where_somebody_asks_from_is_the_address_of_their_connection() {
    let policies = r#"
@id("from-the-office")
permit (principal, action == Action::"request", resource) when { context.source.isInRange(ip("127.0.0.1/32")) };
@id("elsewhere")
@because("an unusual network")
forbid (principal, action, resource) unless { context.source.isInRange(ip("127.0.0.0/30")) };
"#;
    let mut world = Setup::new().decided_by("", policies).await;
    world.start_control().await;
    for (number, (from, why)) in [
        ([127, 0, 0, 1], None),
        ([127, 0, 0, 2], Some("no policy permits `GET` at `orders`")),
        ([127, 0, 0, 9], Some("an unusual network")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut connection = world.api_as(&world.agent).from(from).connect().await;
        let request = connection
            .request("POST", "/v1/requests")
            .header("content-type", "application/json")
            // A header is a claim.
            .header("x-forwarded-for", "127.0.0.1")
            .header("forwarded", "for=127.0.0.1");
        let body = asked(&format!("INC-{number}"), "GET", "/v1/orders/*").to_string();
        let answer = connection.send(request.body(crate::harness::client::full(body)).unwrap()).await;
        let request = crate::harness::Answer::of(answer).await.json();
        match why {
            None => assert_eq!(request["state"], "approved", "{request}"),
            Some(why) => assert_eq!(because(&request), why),
        }
    }
}

#[tokio::test]
async fn a_pinned_grant_counts_from_where_it_was_asked_for() {
    let policies =
        "@id(\"pinned\")\n@pin_source\npermit (principal, action == Action::\"request\", resource);";
    let world = Setup::new().decided_by("", policies).await.start_both().await;
    let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders/*")).await;
    world.granted(&request).await;
    for protocol in Protocol::BOTH {
        assert_eq!(world.client(protocol).get("/v1/orders/7").await.status, 200);
        let elsewhere = world.client(protocol).from([127, 0, 0, 2]).get("/v1/orders/7").await;
        assert_eq!((elsewhere.status.as_u16(), elsewhere.reason()), (403, "condition".into()));
    }
}

const RISK: &str = r#"
@id("tolerates-medium")
@max_risk("medium")
permit (principal, action == Action::"request", resource);
"#;

const KNOWN: &str = r#"
[[principals]]
id = "spiffe://jitgate.local/agent/demo"
kind = "workload"
risk = "low"
[[principals]]
id = "spiffe://jitgate.local/agent/helper"
kind = "workload"
risk = "low"
"#;

async fn set_risk(world: &World, agent: &str, risk: &str) {
    let path = format!("/v1/principals/spiffe%3A%2F%2Fjitgate.local%2Fagent%2F{agent}/attributes");
    let operator = world.ca.svid("operator/local");
    let set = world.api(&operator, ("PUT", &path), &json!({"risk": risk})).await;
    assert_eq!(set.status, 200, "{set:?}");
}

#[tokio::test]
async fn whose_risk_rises_loses_what_was_granted_while_it_was_lower() {
    let world = Setup::new().tables(KNOWN).decided_by("", RISK).await.start_both().await;
    let helper = world.ca.svid("agent/helper");
    let mut grants = Vec::new();
    for (who, task) in [(&world.agent, "INC-1"), (&helper, "INC-2")] {
        let request = world.ask(who, &asked(task, "GET", "/sse")).await;
        grants.push(world.granted(&request).await["id"].clone());
    }
    let mut connection = world.client(Protocol::H2).connect().await;
    let mut running = connection.open("/sse").await;
    within("the first event", running.frame()).await.unwrap().unwrap();
    let mut of_helper = world.client_as(Some(&helper), Protocol::H1).connect().await;
    let mut goes_on = of_helper.open("/sse").await;

    // What is tolerated changes nothing.
    set_risk(&world, "demo", "medium").await;
    assert_eq!(world.cli(&["grants"]).await.as_array().unwrap().len(), 2);
    within("the next event", running.frame()).await.unwrap().unwrap();
    set_risk(&world, "demo", "high").await;
    let cut = async { while let Some(Ok(_)) = running.frame().await {} };
    within("the cut", cut).await;
    let lines = world.ends("/sse").await;
    assert_eq!((&lines[0]["end"], &lines[0]["cause"]), (&json!("cut"), &json!("revoked")), "{lines:?}");
    assert_eq!(world.client(Protocol::H1).get("/sse").await.status, 403);
    assert_eq!(world.cli(&["grants", "show", grants[0].as_str().unwrap()]).await["state"], "revoked");
    within("an event of the other", goes_on.frame()).await.unwrap().unwrap();

    // And asking anew leads nowhere.
    let again = world.ask(&world.agent, &asked("INC-3", "GET", "/v1/orders/*")).await;
    assert!(because(&again).contains("is high"), "{again}");
}

/// A zone in which it is about this hour now.
fn zone(hour: i64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let utc = i64::try_from(now / 3600 % 24).unwrap();
    match (hour - utc + 36) % 24 - 12 {
        0 => "UTC".to_owned(),
        // East of Greenwich these names have a minus.
        ahead @ 1.. => format!("Etc/GMT-{ahead}"),
        behind => format!("Etc/GMT+{}", -behind),
    }
}

#[tokio::test]
async fn the_clock_of_the_machine_may_be_in_another_zone() {
    let hours = r#"
@id("office-hours")
permit (principal, action == Action::"request", resource)
when { context.minute_of_day >= 480 && context.minute_of_day < 1080 };
"#;
    for (policies, machine, state) in [(13, 1, "approved"), (1, 13, "denied")] {
        let lines = format!("zone = \"{}\"", zone(policies));
        let mut world = Setup::new().decided_by(&lines, hours).await;
        world.start_control_in(&[("TZ", &zone(machine))]).await;
        let request = world.ask(&world.agent, &asked("INC-1", "GET", "/v1/orders/*")).await;
        assert_eq!(request["state"], state, "{policies} {machine}: {request}");
        // What is logged is the clock that decided.
        let path = format!("/v1/requests/{}/story", crate::harness::id(&request));
        let story = world.api_as(&world.agent).get(&path).await.json();
        let evaluated: &Value =
            story.as_array().unwrap().iter().find(|told| told["kind"] == "access_evaluated").unwrap();
        assert!(evaluated.to_string().contains(&zone(policies)), "{evaluated}");
    }
}
