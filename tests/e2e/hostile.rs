//! Text that callers chose does nothing where people read it: not on their terminals, not in their chats.

use crate::access::{agent, beside, connection, json, stderr};
use crate::harness::world::JITGATE;
use crate::harness::{Setup, Stub, World, asked, id, with, within};
use serde_json::{Value, json as value};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Clears the screen, turns the direction, hides, makes links, mentions and markup, and forges a line of a table.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]8;;https://evil.example\u{7}pay\u{202e}yap\u{2066}\u{200b}\u{9b}31m\r\nrq_01k2 approved \
    <script>alert(1)</script> <!channel> @here [ok](https://evil.example) **bold** `code` & \u{7f}";
/// What a ticket may hold of it: no control characters.
const TICKET: &str = "OPS-1\u{202e}<b>@here</b>\u{2028}x";

/// What acts on a terminal or on how text is laid out.
fn acts(character: char) -> bool {
    (character.is_control() && character != '\n')
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
}

/// Nothing acts, and the forged line is no line.
fn harmless(what: &str, output: &Output) -> String {
    let mut all = String::new();
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(!text.contains(acts), "{what}: {text:?}");
        assert!(
            !text.lines().any(|line| line.trim_start().starts_with("rq_01k2 approved")),
            "{what}: {text}"
        );
        all.push_str(&text);
    }
    all
}

fn hostile(task: &str) -> Value {
    with(with(asked(task, "GET", "/v1/**"), "reason", value!(HOSTILE)), "ticket", value!(TICKET))
}

#[tokio::test]
async fn what_callers_write_does_nothing_on_a_terminal() {
    let world = World::start().await;
    let follow = async |output: &'static str| {
        let mut command = tokio::process::Command::new(JITGATE);
        command.args(["requests", "--follow", "--output", output]).args(connection(&world, &world.operator));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        (BufReader::new(child.stdout.take().unwrap()).lines(), child)
    };
    let (mut rows, _rows) = follow("table").await;
    let (mut objects, _objects) = follow("json").await;
    let header = within("the header", rows.next_line()).await.unwrap().unwrap();
    assert!(header.starts_with("ID"), "{header}");

    let request = world.ask(&world.agent, &hostile("T")).await;
    assert_eq!(
        (&request["reason"], &request["ticket"]),
        (&value!(HOSTILE), &value!(TICKET)),
        "kept as it is"
    );
    for lines in [&mut rows, &mut objects] {
        let line = within("a line", lines.next_line()).await.unwrap().unwrap();
        assert!(line.contains(id(&request)) && !line.contains(acts), "{line:?}");
    }
    let waiting = beside(
        &world,
        &agent(&world),
        &["extend", "gr_01k2abcdefghjkmnpqrstvwxyz", "--ttl", "1m", "--reason", HOSTILE],
    );
    harmless("extend", &waiting.await.unwrap());

    let own = id(&request).to_owned();
    for output in ["table", "json"] {
        for verb in [&["requests"][..], &["requests", "show", &own], &["task", "show", "T"], &["status"]] {
            let shown = world.try_cli(&[verb, &["--output", output]].concat()).await;
            assert!(shown.status.success(), "{shown:?}");
            harmless(&format!("{verb:?} {output}"), &shown);
        }
    }
    let shown = harmless("show", &world.try_cli(&["requests", "show", &own]).await);
    assert!(
        shown.contains("\\u{1b}[2J") && shown.contains("\\u{202e}") && shown.contains("<script>"),
        "{shown}"
    );
    // As JSON it means what was written.
    let shown = json(&world.try_cli(&["requests", "show", &own, "--output", "json"]).await);
    assert_eq!((&shown["reason"], &shown["ticket"]), (&value!(HOSTILE), &value!(TICKET)));

    // Who decides writes as well, and whoever is refused reads it.
    let approve = ["approve", &own, "--reason", HOSTILE];
    let approved = harmless("approve", &world.try_cli(&approve).await);
    assert!(approved.contains("approved: gr_"), "{approved}");
    let granted = world.cli(&["requests", "show", &own]).await;
    for verb in [
        &["requests", "show", &own][..],
        &["grants"],
        &["grants", "show", granted["grant"].as_str().unwrap()],
    ] {
        harmless(&format!("{verb:?}"), &world.try_cli(verb).await);
    }
    let denied = world.ask(&world.agent, &hostile("U")).await;
    assert_eq!(denied["state"], "pending", "{denied}");
    harmless("deny", &world.try_cli(&["deny", id(&denied), "--reason", HOSTILE]).await);
    let mut again = vec!["request", "--task", "U", "--scope", "orders:GET:/v1/**", "--ttl", "5m"];
    again.extend(["--reason", HOSTILE, "--wait"]);
    let refused = world.cli_as(&agent(&world), &again).await;
    harmless("request", &refused);
    assert!(stderr(&refused).contains("ask again after"), "{refused:?}");
    for name in ["a\u{1b}[2J", "a b", "a\u{202e}", "<b>", "a\nb"] {
        let refused = world.try_ask(&world.agent, &hostile(name)).await;
        assert_eq!((refused.status.as_u16(), refused.reason()), (400, "malformed".into()), "{refused:?}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("letters, digits"), "{refused:?}");
        let mut named = again.clone();
        named[2] = name;
        let refused = world.cli_as(&agent(&world), &named).await;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        harmless("a task's name", &refused);
    }
}

#[tokio::test]
async fn what_callers_write_does_nothing_in_a_chat() {
    let (receiver, chat) = (Stub::receiver().await, Stub::receiver().await);
    let hooks = format!(
        "[[webhooks]]\nname = \"siem\"\nurl = \"http://{}/\"\nsecret_file = \"hook.secret\"\nevents = [\"*\"]\n\
         [[webhooks]]\nname = \"chat\"\nurl = \"http://{}/\"\nformat = \"chat\"\nevents = [\"*\"]\n",
        receiver.address, chat.address
    );
    let mut world = Setup::new().tables(&hooks).prepare().await;
    let secret = world.path("hook.secret");
    fs::write(&secret, "whsec_CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    world.start_control().await;

    let request = world.ask(&world.agent, &hostile("INC-1@here#general")).await;
    let told = receiver.message("request.pending").await;
    assert_eq!((&told["data"]["reason"], &told["data"]["ticket"]), (&value!(HOSTILE), &value!(TICKET)));
    let second = world.ask(&world.agent, &hostile("INC-2")).await;
    world.cli(&["approve", id(&request), "--reason", HOSTILE]).await;
    world.cli(&["deny", id(&second), "--reason", HOSTILE]).await;
    let shown = world.cli(&["requests", "show", id(&request)]).await;
    world.cli(&["revoke", shown["grant"].as_str().unwrap(), "--reason", HOSTILE]).await;
    for kind in ["Access request", "Granted", "Denied", "Revoked"] {
        let line = chat.chat(kind).await;
        // Our own words have full stops and colons; nothing of this is in them.
        let marks = ['<', '>', '@', '#', '*', '`', '[', ']', '!', '\n', '\r'];
        assert!(!line.contains(marks) && !line.contains(acts), "{line:?}");
        assert!(!line.contains("evil.example") && !line.contains("https:"), "no link: {line}");
        assert!(!line.contains("& "), "{line}");
    }
}
