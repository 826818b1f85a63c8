//! `@modelcontextprotocol/conformance`, check by check, through the gate and without it.

use super::{Loopback, everything, world};
use crate::harness::clients::{folder, node};
use crate::harness::tools::Tools;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The suite takes about ten seconds, most of which it waits for what a server does not have.
const PATIENCE: Duration = Duration::from_secs(150);

/// By scenario and check, with its number where a scenario has several of one name: how it came out, and why.
type Checks = BTreeMap<(String, String, usize), (String, String)>;

/// A check that comes out otherwise at the gate.
struct Known {
    scenario: &'static str,
    check: &'static str,
    direct: &'static str,
    gate: &'static str,
    /// Why that is right.
    because: &'static str,
}

const REBINDING: Known = Known {
    scenario: "dns-rebinding-protection",
    check: "localhost-host-rebinding-rejected",
    direct: "FAILURE",
    gate: "SUCCESS",
    because: "`connect` refuses a foreign `Host`, which these servers do not",
};

const OLD_WITH_NEW_HEADERS: Known = Known {
    scenario: "dns-rebinding-protection",
    check: "localhost-host-valid-accepted",
    direct: "SUCCESS",
    gate: "FAILURE",
    because: "the check says `Mcp-Method` in a version that does not have it: such a request is not clear to the gate",
};

const TERMINATED: Known = Known {
    scenario: "server-session-lifecycle",
    check: "server-session-terminated-returns-404",
    direct: "FAILURE",
    gate: "SUCCESS",
    because: "the gate answers 404 for a session that is over, as the protocol says; this server answers 400",
};

async fn checks(url: &str, results: &Path, more: &[&str]) -> Checks {
    let mut command = Command::new(node().await);
    command.arg("node_modules/@modelcontextprotocol/conformance/dist/index.js");
    command.args(["server", "--url", url, "--output-dir"]).arg(results).args(more);
    command.current_dir(folder().await).stdin(Stdio::null()).kill_on_drop(true);
    let output =
        tokio::time::timeout(PATIENCE, command.output()).await.expect("the suite does not end").unwrap();
    let mut checks = Checks::new();
    for scenario in std::fs::read_dir(results).unwrap_or_else(|error| panic!("{error}: {output:?}")) {
        let folder = scenario.unwrap();
        let name = folder.file_name().into_string().unwrap();
        // `server-NAME-2026-11-29T09-09-18-938Z`
        let name = name.strip_prefix("server-").unwrap().rsplitn(7, '-').last().unwrap().to_owned();
        let text = std::fs::read(folder.path().join("checks.json")).unwrap();
        for check in serde_json::from_slice::<Vec<Value>>(&text).unwrap() {
            let id = check["id"].as_str().unwrap();
            let mut number = 0;
            while checks.contains_key(&(name.clone(), id.to_owned(), number)) {
                number += 1;
            }
            let why = check["errorMessage"].as_str().unwrap_or_default();
            let status = check["status"].as_str().unwrap().to_owned();
            checks.insert((name.clone(), id.to_owned(), number), (status, why.to_owned()));
        }
    }
    checks
}

/// Runs a suite both ways; every difference is known, and each known one is there. `passing`: so many checks must pass.
async fn same_through_the_gate(tools: &Tools, rules: &str, more: &[&str], passing: usize, known: &[Known]) {
    let world = world(&[("desk", tools, rules)]).await;
    everything(&world, "desk").await;
    let connect = Loopback::start(&world, "desk").await;
    let direct = format!("http://127.0.0.1:{}/mcp", tools.port);
    let direct = checks(&direct, &world.path("direct"), more).await;
    let gate = checks(&connect.url, &world.path("gate"), more).await;
    let passed = gate.values().filter(|(status, _)| status == "SUCCESS").count();
    assert!(passed >= passing, "{passed} checks pass, not {passing}");
    let mut other = Vec::new();
    let mut seen = vec![false; known.len()];
    let none = (String::new(), "not checked".to_owned());
    for key in direct.keys().chain(gate.keys().filter(|key| !direct.contains_key(*key))) {
        let (one, two) = (direct.get(key).unwrap_or(&none), gate.get(key).unwrap_or(&none));
        if one.0 == two.0 {
            continue;
        }
        let is = |known: &Known| {
            (known.scenario, known.check) == (&*key.0, &*key.1)
                && (known.direct, known.gate) == (&*one.0, &*two.0)
        };
        match known.iter().position(is) {
            Some(place) => seen[place] = true,
            None => other.push(format!("{key:?}: without {one:?}, through {two:?}")),
        }
    }
    assert!(other.is_empty(), "not known before:\n{}", other.join("\n"));
    let gone = known.iter().zip(seen).filter(|(_, seen)| !seen);
    let gone: Vec<_> = gone.map(|(known, _)| (known.check, known.because)).collect();
    assert!(gone.is_empty(), "no longer different: {gone:?}");
}

#[tokio::test]
async fn a_server_with_sessions_is_to_the_suite_what_it_is_without_the_gate() {
    let tools = Tools::everything().await;
    same_through_the_gate(&tools, "", &[], 45, &[REBINDING, OLD_WITH_NEW_HEADERS, TERMINATED]).await;
}

#[tokio::test]
async fn a_server_without_sessions_is_to_the_suite_what_it_is_without_the_gate() {
    let tools = Tools::conformance().await;
    same_through_the_gate(&tools, "", &[], 50, &[REBINDING, OLD_WITH_NEW_HEADERS]).await;
}

#[tokio::test]
async fn a_server_of_2026_meets_through_the_gate_what_it_meets_without() {
    let tools = Tools::conformance().await;
    let required = ["--requirements", "2026-07-28"];
    // Of an unknown version the gate says which ones it speaks: those that are pinned for the service.
    let pinned = "versions = [\"2026-07-28\"]";
    same_through_the_gate(&tools, pinned, &required, 135, &[REBINDING]).await;
}
