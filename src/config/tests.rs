//! Whole files: the examples, and files with many mistakes.

use super::*;
use std::path::Path;
use std::time::Duration;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(Path::new("/etc/jitgate/gate.toml"), text, None)
}

/// `line key: message` of each problem.
fn problems(text: &str) -> Vec<String> {
    let errors = parse(text).expect_err("the file is wrong").problems;
    errors.iter().map(|p| format!("{} {}: {}", p.line.unwrap_or(0), p.key, p.message)).collect()
}

fn has(problems: &[String], start: &str, says: &str) {
    assert!(
        problems.iter().any(|p| p.starts_with(start) && p.contains(says)),
        "{start} … {says} in {problems:#?}"
    );
}

const PROXY: &str = include_str!("../../config/proxy.toml");
const CONTROL: &str = include_str!("../../config/control.toml");

#[test]
fn the_examples_are_read_and_paths_start_from_the_file() {
    let proxy = parse(PROXY).unwrap().proxy.unwrap();
    assert_eq!(proxy.identity.key, Path::new("/etc/jitgate/proxy/key.pem"));
    assert_eq!(proxy.services.len(), 4);
    let demand = proxy.services[2].user_token.as_ref().unwrap();
    assert_eq!((demand.header.as_str(), demand.audience.as_str()), (UserTokenRule::HEADER, "payroll"));
    assert_eq!(demand.claims["tenant"], ClaimValue::Text("internal".into()));
    assert_eq!(proxy.issuers[0].issuer, demand.issuer);
    assert_eq!(proxy.services[1].protocol, Protocol::Grpc);
    let control = parse(CONTROL).unwrap().control.unwrap();
    assert_eq!(control.store, Store::Sqlite("/etc/jitgate/control.db".into()));
    assert_eq!(control.lease, Duration::from_secs(15));
    assert_eq!(control.people[0].identities.len(), 3);
    assert_eq!(control.undeclared().count(), 0);
    assert_eq!(control.services.len(), 3);
    let ops = &control.services["ops"];
    assert_eq!(ops.tools["restart_service"], crate::model::Sensitivity::High);
    let tickets = control.tickets.as_ref().unwrap();
    assert_eq!(tickets.header.as_ref().unwrap().1, Path::new("/etc/jitgate/tickets.secret"));
    assert_eq!(tickets.url.of("X-1"), "https://tickets.example.internal/rest/api/2/issue/X-1");
    let [hook] = &control.webhooks[..] else { panic!("{:?}", control.webhooks) };
    assert_eq!((hook.events.len(), hook.format), (WebhookEvent::ALL.len(), WebhookFormat::Standard));
    assert_eq!(hook.secret_file.as_deref(), Some(Path::new("/etc/jitgate/webhooks/siem.secret")));
    // In one file what is known about a service stands beside where it is.
    let before_services = CONTROL.split("[[service]]").next().unwrap();
    let owned = PROXY
        .split("\n[[issuers]]")
        .next()
        .unwrap()
        .replace("[[service]]\n", "[[service]]\nowner = \"person:Ada\"\n");
    let both = parse(&format!("{owned}\n{before_services}")).unwrap();
    let known = both.control.as_ref().unwrap().services.keys().map(|name| name.as_str()).collect::<Vec<_>>();
    assert_eq!(known, ["ops", "orders", "payroll", "stock"]);
    let services = both.control.as_ref().unwrap().services.clone();
    let proxy = ProxyConfig { issuers: control.issuers.clone(), ..proxy };
    assert_eq!((both.proxy, both.control), (Some(proxy), Some(ControlConfig { services, ..control })));
}

/// What the examples show as defaults are the defaults: taking the comment away changes nothing.
#[test]
fn commented_keys_of_the_examples_are_known_and_show_their_defaults() {
    let uncomment = |text: &str| -> String {
        let key = |line: &str| {
            let (key, value) = line.split_once(" = ").unwrap_or((line, ""));
            let word = !key.is_empty()
                && key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            // These have no default that can be written.
            word && !value.is_empty()
                && !["crls", "trust_domains", "methods", "tools", "listen", "stdout"].contains(&key)
        };
        let line = |line: &str| match line.strip_prefix("# ") {
            Some(rest) if key(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        };
        text.lines().map(line).collect()
    };
    let (proxy, control) = (uncomment(PROXY), uncomment(CONTROL));
    assert!(proxy.contains("\nh2_streams = 256") && control.contains("\nlease = \"15s\""));
    assert_eq!(parse(&proxy).unwrap(), parse(PROXY).unwrap());
    assert_eq!(parse(&control).unwrap(), parse(CONTROL).unwrap());
}

#[test]
fn what_is_wrong_with_recordings_is_told_with_line_and_key() {
    let table = |text: &str| PROXY.replace("[proxy.limits]\n", &format!("[proxy.limits]\n{text}\n"));
    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let given = |from: &str, to: &str| PROXY.replacen(from, to, 1);
    let recipient = format!("recipient = \"{key}\"\n");
    let at = "proxy.audit.recording";
    for (text, start, says) in [
        (given(key, "age1xyz"), format!("{at}.recipient"), "public key of age"),
        (given(key, "AGE-SECRET-KEY-1XYZ"), format!("{at}.recipient"), "public key of age"),
        (given(&recipient, "\n"), format!("{at}.recipient"), "age-keygen"),
        (
            given(&recipient, &format!("{recipient}recipient_file = \"a\"\n")),
            format!("{at}.recipient_file"),
            "choose one",
        ),
        (
            given("# max_body_bytes = 65_536", "max_body_bytes = 10"),
            format!("{at}.max_body_bytes"),
            "1024 to",
        ),
        (
            given("# directory = \"audit/recordings\"", "directory = \"audit/audit.jsonl.tlog/recordings\""),
            format!("{at}.directory"),
            "a folder of their own",
        ),
        (
            given("# directory = \"audit/recordings\"", "directory = \"audit/audit.jsonl.export\""),
            format!("{at}.directory"),
            "a folder of their own",
        ),
        (given("# max_in_flight = 128", "max_in_flight = 0"), format!("{at}.max_in_flight"), "0"),
        (given("# raw = false", "rawr = true"), format!("{at}.rawr"), "raw"),
        (given("# pointers = []", "pointers = [\"a\"]"), format!("{at}.redact.pointers[0]"), "JSON pointer"),
        (given("# keys = []", "keys = [\"--\"]"), format!("{at}.redact.keys[0]"), "letters or digits"),
        (
            given("# patterns = []", "patterns = [\"a(?=b)\"]"),
            format!("{at}.redact.patterns[0]"),
            "look-around",
        ),
        (given("# patterns = []", "patterns = [\"x*\"]"), format!("{at}.redact.patterns[0]"), "empty text"),
    ] {
        let problems = problems(&text);
        let [problem] = &problems[..] else { panic!("{problems:#?}") };
        assert!(
            problem.contains(&format!(" {start}: ")) && problem.contains(says),
            "{start} {says}: {problem}"
        );
        assert!(!problem.starts_with("0 "), "{problem}");
    }
    let text = table("").replacen("# patterns = []", "patterns = [\"sk-[a-z]+\"]\nkeys = [\"iban\"]", 1);
    let recording = parse(&text).unwrap().proxy.unwrap().audit.recording.unwrap();
    let default = Redaction::default();
    assert_eq!(recording.redact.keys.len(), default.keys.len() + 1);
    assert_eq!(recording.redact.patterns.len(), default.patterns.len() + 1);
    assert_eq!(recording.directory, Path::new("/etc/jitgate/audit/recordings"));
}

#[test]
fn what_is_wrong_with_retention_is_told_with_line_and_key() {
    let retention = parse(PROXY).unwrap().proxy.unwrap().audit.retention;
    assert_eq!(retention.keep, Some(Duration::from_secs(400 * 24 * 3600)));
    assert_eq!((retention.max_total_bytes, retention.when_full), (Some(50 << 30), WhenFull::Refuse));
    let given = |from: &str, to: &str| PROXY.replacen(from, to, 1);
    let (keep, bytes) = ("keep = \"400d\"", "max_total_bytes = 53_687_091_200");
    for (text, key, says) in [
        (given(keep, "keep = \"59m\""), "keep", "`1h` or more"),
        (given(keep, "keep = \"0s\""), "keep", "a duration"),
        (given(bytes, "max_total_bytes = 0"), "max_total_bytes", "538968064 or more"),
        (given(bytes, "max_total_bytes = 538_968_063"), "max_total_bytes", "`rotate_bytes` (268435456)"),
        (given(bytes, "max_total_bytes = -1"), "max_total_bytes", "-1"),
        (given(bytes, "when_full = \"remove_oldest\""), "when_full", "set `max_total_bytes`"),
        (given("# when_full = \"refuse\"", "when_full = \"delete\""), "when_full", "remove_oldest"),
        (given("# when_full", "keeps = 1\n# when_full"), "keeps", "keep"),
    ] {
        let problems = problems(&text);
        let [problem] = &problems[..] else { panic!("{problems:#?}") };
        let start = format!(" proxy.audit.retention.{key}: ");
        assert!(problem.contains(&start) && problem.contains(says), "{key} {says}: {problem}");
        assert!(!problem.starts_with("0 "), "{problem}");
    }
    let found = problems(&given("file = \"audit/audit.jsonl\"", "stdout = true"));
    assert!(found.iter().any(|problem| problem.contains(" proxy.audit.retention: ")), "{found:#?}");
}

#[test]
fn every_mistake_is_reported_at_once_with_line_and_key() {
    let text = r#"
[proxy]
lisen = ["127.0.0.1:8443"]
admin_listen = "localhost:9464"
drain_timeout = 30
workers = -1

[proxy.identity]
certificate = "cert.pem"

[proxy.trust]
bundles = { "Example" = "ca.pem" }

[proxy.control]
endpoints = ["https://a:8444", "http://b:8444"]
identity = "spiffe://example/control"

[proxy.audit]
file = "audit.jsonl"
stdout = true

[proxy.limits]
header_bytes = 100
h2-streams = 12
connections = 0

[proxy.ceilings]
methods = []

[[service]]
name = "Orders"
upstream = ["http://a/path"]

[[service]]
name = "stock"
upstream = ["http://a", "https://b"]
protocol = "grpc"

[[service]]
name = "stock"
upstream = ["mcp+http://a"]
upstream_ca = "x"

[[service]]
upstream = []
"#;
    let found = problems(text);
    for (start, says) in [
        ("3 proxy.lisen:", "did you mean `listen`?"),
        ("4 proxy.admin_listen:", "an address with port such as `127.0.0.1:8443`"),
        ("5 proxy.drain_timeout:", "a duration such as `30s`"),
        ("6 proxy.workers:", "-1"),
        ("8 proxy.identity.key:", "missing: the PEM file of its private key"),
        ("12 proxy.trust.bundles.Example:", "a trust domain such as"),
        ("15 proxy.control.endpoints[1]:", "https://HOST"),
        ("16 proxy.control.identity:", "no bundle for `example`"),
        ("20 proxy.audit.stdout:", "choose one"),
        ("23 proxy.limits.header_bytes:", "expected 8192 to 1048576"),
        ("24 proxy.limits.h2-streams:", "did you mean `h2_streams`?"),
        ("25 proxy.limits.connections:", "nonzero"),
        ("28 proxy.ceilings.methods:", "remove the key"),
        ("31 service[0].name:", "not a valid service name"),
        ("32 service[0].upstream[0]:", "a path, query or fragment"),
        ("36 service[1].upstream[1]:", "all of one kind"),
        ("37 service[1].protocol:", "gRPC needs HTTP/2"),
        ("41 service[2].upstream[0]:", "the path of the MCP endpoint"),
        ("44 service[3].name:", "missing"),
        ("45 service[3].upstream:", "name an upstream"),
    ] {
        has(&found, start, says);
    }
    let lines: Vec<usize> = found.iter().map(|p| p.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(lines.is_sorted(), "in the order of the file: {found:#?}");
    assert_eq!(found.len(), 20, "nothing is reported twice: {found:#?}");
}

#[test]
fn mistakes_of_a_control_plane() {
    let text = r#"
[control]
store = "postgres://db"
lease = "61s"
[control.identity]
certificate = "c.pem"
key = "k.pem"
[control.trust]
bundles = {}
[[identities]]
id = "spiffe://d/a"
roles = ["admn"]
[[identities]]
id = "spiffe://d/b"
roles = []
[[identities]]
id = "spiffe://d/b"
roles = ["viewer"]
[[people]]
name = "Ada"
identities = ["spiffe://d/a", "spiffe://d/a"]
[[people]]
identities = ["spiffe://d/c"]
[[principals]]
id = "spiffe://d/b"
kind = "workload"
[[roles]]
name = "reader"
scope = []
[[service]]
name = "orders"
[[service]]
name = "stock"
owner = "someone"
sensitivity = "mild"
[person]
"#;
    let found = problems(&text.replace("roles = [\"viewer\"]", "roles = [\"admin\"]"));
    for (start, says) in [
        ("3 control.store:", "sqlite:control.db"),
        ("4 control.lease:", "`1s` to `60s`"),
        ("9 control.trust.bundles:", "nobody would be trusted"),
        ("12 identities[0].roles[0]:", "expected `viewer`"),
        ("15 identities[1].roles:", "without a role"),
        ("17 identities[2].id:", "listed twice"),
        ("21 people[0].identities[1]:", "belongs to a person already"),
        ("22 people[1].name:", "missing"),
        ("25 principals[0].id:", "a workload cannot hold the role `admin`"),
        ("29 roles[0].scope:", "permits nothing"),
        ("30 service[0].owner:", "who answers for it"),
        ("34 service[1].owner:", "an owner such as"),
        ("35 service[1].sensitivity:", "unknown variant"),
        ("36 person:", "unknown key"),
    ] {
        has(&found, start, says);
    }
    assert_eq!(found.len(), 14, "{found:#?}");
}

#[test]
fn issuers_that_could_not_be_believed_are_refused() {
    let issuer = parse(CONTROL).unwrap().control.unwrap().issuers[0].clone();
    assert_eq!(issuer.people["00u1a2b3c"], "Ada");
    assert_eq!(issuer.algorithms, IssuerConfig::ALGORITHMS.into());
    let before = CONTROL.split("[[issuers]]").next().unwrap();
    let services = CONTROL.split_once("[[identities]]").unwrap().1;
    let issuers = r#"
[[issuers]]
issuer = "https://a"
audience = "us"
jwks_url = "http://a.example/keys"
algorithms = []
people = { x = "Nobody" }
[[issuers]]
issuer = "https://a"
audience = "us"
jwks_file = "keys.json"
[[issuers]]
issuer = "a b"
jwks_url = "https://a/keys"
jwks_file = "keys.json"
algorithms = ["none", "HS256"]
[[identities]]"#;
    let found = problems(&format!("{before}{issuers}{services}"));
    for (key, says) in [
        ("issuers[0].jwks_url:", "expected `https`"),
        ("issuers[0].algorithms:", "no token could hold"),
        ("issuers[0].people.x:", "no person of `[[people]]`"),
        ("issuers[1].issuer:", "is there already"),
        ("issuers[2].issuer:", "visible ASCII"),
        ("issuers[2].audience:", "missing"),
        ("issuers[2].jwks_url:", "choose one"),
        ("issuers[2].algorithms[0]:", "expected `ES256`"),
        ("issuers[2].algorithms[1]:", "expected `ES256`"),
    ] {
        assert!(found.iter().any(|line| line.contains(key) && line.contains(says)), "{key} {found:#?}");
    }
}

/// What would silently count for less than it says is refused.
#[test]
fn bounds_of_access_requests() {
    let before = CONTROL.split("[[service]]").next().unwrap();
    let file = before
        .replace("# cooldown_after_denial = \"5m\"", "cooldown_after_denial = \"25h\"")
        .replace("# cooldown_after_expiry = \"0s\"", "cooldown_after_expiry = \"1d\"")
        .replace("# privileged_window = \"1d\"", "privileged_window = \"31d\"");
    let services = "[[service]]\nname = \"a\"\nowner = \"person:Bob\"\n[[service]]\nowner = \"group:x\"\n\
                    [[service]]\nname = \"b\"\nowner = \"group:x\"\n[[service]]\nname = \"b\"\nowner = \"group:x\"\n";
    let found = problems(&(file + services));
    for (key, says) in [
        ("control.requests.cooldown_after_denial:", "at most `1d`"),
        ("control.requests.privileged_window:", "at most `30d`"),
        ("service[0].owner:", "no person of this name"),
        ("service[1].name:", "the name that scopes use"),
        ("service[3].name:", "is there already"),
    ] {
        assert!(found.iter().any(|line| line.contains(key) && line.contains(says)), "{key} {found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn mistakes_of_webhooks() {
    let found = problems(
        r#"
[[webhooks]]
name = "one"
url = "http://hooks.example/"
secret_file = "s"
events = []
[[webhooks]]
name = "one"
url = "https://user:password@hooks.example/"
events = ["grant.revokd"]
[[webhooks]]
name = "chat"
url = "http://hooks.example/x"
insecure = true
format = "chat"
events = ["*"]
secret = "whsec_"
[tickets]
url = "http://tickets.example/{ticket}"
header = "x-key"
pointer = "status"
open = []
"#,
    );
    for (start, says) in [
        ("4 webhooks[0].url:", "expected `https`"),
        ("6 webhooks[0].events:", "told of nothing"),
        ("8 webhooks[1].name:", "a name of its own"),
        ("9 webhooks[1].url:", "credentials"),
        ("7 webhooks[1].secret_file:", "missing"),
        ("10 webhooks[1].events[0]:", "`grant.revoked`"),
        ("17 webhooks[2].secret:", "unknown key"),
        ("19 tickets.url:", "expected `https`"),
        ("20 tickets.header:", "secret_file"),
        ("21 tickets.pointer:", "a JSON pointer"),
        ("22 tickets.open:", "no ticket would ever be open"),
    ] {
        has(&found, start, says);
    }
}

#[test]
fn a_table_that_is_missing_is_one_error_for_each_key_and_an_empty_file_says_what_to_write() {
    has(&problems(""), "0 :", "add `[proxy]`");
    has(&problems("not toml"), "1 ", "not TOML");
    has(&problems("[service]\nname = \"a\""), "1 service:", "write `[[service]]`");
    let found = problems("[proxy]\n");
    for key in
        ["identity.certificate", "identity.key", "trust.bundles", "control.endpoints", "control.identity"]
    {
        has(&found, &format!("1 proxy.{key}:"), "missing");
    }
    has(&found, "1 proxy.audit.file:", "stdout = true");
    has(&found, "0 service:", "[[service]]");
}

#[test]
fn services_that_would_be_confused_are_refused() {
    let twin =
        PROXY.replace("name = \"stock\"", "name = \"stock\"\nhosts = [\"orders.gate.example.internal\"]");
    let second = PROXY.lines().enumerate().filter(|(_, line)| *line == "[[service]]").nth(1).unwrap().0 + 1;
    let place = format!("{second} service[1]:");
    has(&problems(&twin), &place, "`orders.gate.example.internal` already selects another service");
    let same = PROXY.replace("name = \"stock\"", "name = \"orders\"");
    has(&problems(&same), &place, "already selects");
    let port = PROXY.replace("# listen = \"0.0.0.0:9001\"", "listen = \"0.0.0.0:8443\"");
    has(&problems(&port), "0 listen:", "used twice");
}

#[test]
fn what_up_brings_along_needs_no_file_and_flags_win_over_one() {
    let base = base();
    let (proxy, control) = Config::with_base(None, base.clone()).unwrap();
    assert_eq!(proxy.listen.as_ref(), [ProxyConfig::LISTEN]);
    assert_eq!(proxy.limits, Limits::default());
    assert_eq!(control.lease, ControlConfig::LEASE);
    let file = "[proxy]\nlisten = [\"127.0.0.1:1\"]\n[control]\nlease = \"2s\"\n[[service]]\nname = \"orders\"\nupstream = [\"http://b\"]\n";
    let mut base = base;
    base.proxy.listen = Some("127.0.0.1:2".parse().unwrap());
    let errors = Config::parse(Path::new("f.toml"), file, Some(base.clone())).unwrap_err();
    assert!(errors.to_string().contains("--service: `orders` is there already"), "{errors}");
    base.proxy.services.clear();
    let alone = Config::with_base(None, base.clone()).unwrap().0;
    assert_eq!(alone.services[0].name.as_str(), "sample");
    let both = Config::parse(Path::new("f.toml"), file, Some(base)).unwrap();
    assert_eq!(both.proxy.as_ref().unwrap().services.len(), 1, "the sample is for those who name nothing");
    assert_eq!(both.proxy.unwrap().listen.as_ref(), ["127.0.0.1:2".parse().unwrap()]);
    assert_eq!(both.control.unwrap().lease, Duration::from_secs(2));
}

fn base() -> Base {
    let files = IdentityFiles { certificate: "c".into(), key: "k".into() };
    let trust = TrustFiles { bundles: [("d".into(), "ca.pem".into())].into(), crls: Vec::new() };
    Base {
        proxy: ProxyBase {
            listen: None,
            admin_listen: None,
            services: vec!["orders=http://a".parse().unwrap()],
            sample: Some("sample=http://s".parse().unwrap()),
            identity: files.clone(),
            trust: trust.clone(),
            control: ControlLink {
                endpoints: Box::new(["https://127.0.0.1:8444".parse().unwrap()]),
                identity: "spiffe://d/control".parse().unwrap(),
            },
            audit: AuditTarget::File("audit.jsonl".into()),
            recording: None,
        },
        control: ControlBase {
            listen: None,
            identity: files,
            trust,
            store: Store::Sqlite("control.db".into()),
            roles: BTreeMap::new(),
            owner: "spiffe://d/operator".parse().unwrap(),
        },
    }
}

#[test]
fn a_user_token_that_nobody_could_bring_is_refused() {
    let before = PROXY.split("[service.user_token]").next().unwrap();
    let issuers = PROXY.split_once("\n[[issuers]]").unwrap().1;
    let found = |table: &str, more: &str| {
        let text = format!("{before}{more}\n[service.user_token]\n{table}\n[[issuers]]{issuers}");
        problems(&text)
    };
    let known = "issuer = \"https://idp.example.internal\"\n";
    for (table, more, says) in [
        ("audience = \"x\"", "", "issuer: missing"),
        ("issuer = \"https://other\"", "", "is no issuer of `[[issuers]]`"),
        (&format!("{known}claims = {{ x = 1.5 }}"), "", "expected a text, a whole number"),
        (&format!("{known}claims = {{ x = [\"a\"] }}"), "", "expected a text, a whole number"),
        (&format!("{known}header = \"X-User\""), "", "in lower case"),
        (&format!("{known}header = \"cookie\""), "", "a meaning of its own"),
        (&format!("{known}forward = true"), "", "never reaches a service"),
        (&format!("{known}header = \"authorization\""), "token_required = true", "choose another header"),
        (&format!("{known}headers = \"x\""), "", "unknown key"),
    ] {
        let found = found(table, more);
        assert!(found.iter().any(|line| line.contains(says)), "{says}: {found:#?}");
    }
    assert!(parse(&format!("{before}[service.user_token]\n{known}[[issuers]]{issuers}")).is_ok());
}

mod export;
mod witness;
