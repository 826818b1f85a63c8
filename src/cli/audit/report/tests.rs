//! Fixed events and lines in, what a report says of them out.

use super::access::{self, Counts};
use super::calls::Calls;
use super::html;
use super::ledger::{Act, Dispute, Entry, Interest, Ledger, Outcome};
use super::source::{Check, Log, Standing, Trail};
use super::story::{Known, Story, Subject};
use super::unused::Uses;
use super::words;
use crate::audit::search::Matcher;
use crate::cli::audit::Line;
use crate::cli::shown::escaped;
use crate::model::event::Actor;
use crate::model::{AccessRequestId, GrantId, ProxyName, ReviewId, Revision, RevocationId, Time, TrailFault};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const AGENT: &str = "spiffe://d/agent/a";
const ADA: &str = "spiffe://d/operator/ada";
const HOSTILE: &str = "<img src=x onerror=alert(1)>\u{202e}\u{1b}[31m";

fn rq(number: u128) -> String {
    AccessRequestId::from_bits(number).to_string()
}

fn gr(number: u128) -> String {
    GrantId::from_bits(number).to_string()
}

fn at(minute: u64) -> Time {
    let begin: Time = "2026-11-22T10:00:00Z".parse().unwrap();
    begin.plus(Duration::from_secs(60 * minute))
}

fn scope(path: &str) -> Value {
    json!([{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": [path]}])
}

/// Writes a log: minute, actor, body.
struct Writer(Ledger, u64);

impl Writer {
    fn new() -> Self {
        Self(Ledger::of(Interest::default()), 0)
    }

    fn event(&mut self, minute: u64, by: Option<&str>, body: Value) {
        self.1 += 1;
        let actor = by.map_or(json!("system"), |id| json!({ "identity": id }));
        let entry = json!({"revision": self.1, "event": {"time": at(minute), "actor": actor, "body": body}});
        self.0.apply(serde_json::from_value::<Entry>(entry).unwrap());
    }

    fn asked(&mut self, minute: u64, id: u128, task: &str, reason: &str) {
        let request = json!({"id": rq(id), "requester": AGENT, "principal": AGENT, "task": task, "scope": scope("/**"), "ttl": "30m",
            "reason": reason, "kind": "access", "requested_at": at(minute), "expires_at": at(minute + 60)});
        self.event(minute, Some(AGENT), json!({"kind": "access_requested", "request": request}));
    }

    fn evaluated(&mut self, minute: u64, id: u128, outcome: Value) {
        let evaluation = json!({"policy": "p1", "facts": {"principal": {"risk": "low"}}, "determining": ["reads"], "outcome": outcome});
        self.event(
            minute,
            None,
            json!({"kind": "access_evaluated", "request": rq(id), "evaluation": evaluation}),
        );
    }

    fn approved(&mut self, minute: u64, id: u128) {
        self.event(
            minute,
            Some(ADA),
            json!({"kind": "access_approved", "request": rq(id), "hash": "h", "stage": 0,
            "scope": scope("/v1/*"), "ttl": "10m", "reason": "read only"}),
        );
    }

    fn granted(&mut self, minute: u64, id: u128, request: Option<u128>, task: &str, scope: &Value) {
        let lineage = request.map(|request| json!({"request": rq(request)})).unwrap_or(json!({}));
        let grant = json!({"id": gr(id), "principal": AGENT, "task": task, "scope": scope, "not_before": at(minute),
            "expires_at": at(minute + 10), "lineage": lineage, "revision": self.1 + 1});
        self.event(minute, Some(ADA), json!({"kind": "grants_issued", "grants": [grant], "reason": "why"}));
    }

    fn expired(&mut self, minute: u64, id: u128) {
        self.event(minute, None, json!({"kind": "grants_ended", "grants": [gr(id)], "cause": "expired"}));
    }

    fn used(&mut self, minute: u64, id: u128, requests: u64) {
        self.event(
            minute,
            None,
            json!({"kind": "grant_used", "grant": gr(id), "proxy": "edge-1", "instance": 1,
            "requests": requests, "bytes": 7}),
        );
    }
}

fn needs_approval() -> Value {
    json!({"permitted": {"stages": [{"approvals": 1, "from": ["approvers"]}]}})
}

fn line(seq: u64, minute: u64, more: Value) -> Line {
    let mut line = json!({"seq": seq, "time": at(minute), "kind": "end", "request_id": format!("req_{seq}"), "proxy": "edge-1",
        "principal": AGENT, "service": "orders", "method": "GET", "path": "/v1/7", "protocol": "h2", "grant": gr(1), "task": "T-1",
        "decision": "permit", "end": "complete", "status": 200, "bytes_in": 1, "bytes_out": 2});
    for (name, value) in more.as_object().unwrap() {
        line[name] = value.clone();
    }
    Line::parse(line.to_string()).unwrap()
}

fn trail(standing: Standing) -> Trail {
    let (file, proxy) = ("audit.jsonl".into(), Some("edge-1".to_owned()));
    Trail { file, proxy, first_line: Some(1), begins: Some(at(0)), standing }
}

fn proxies(names: &[&str]) -> BTreeMap<ProxyName, Time> {
    names.iter().map(|name| (name.parse().unwrap(), at(0))).collect()
}

fn verified() -> Standing {
    Standing::Verified { up_to: 3, last: 4, against: vec!["the checkpoint `c`".to_owned()], removed: None }
}

/// One task from its request to the revocation, beside another.
fn log() -> Writer {
    let mut log = Writer::new();
    log.asked(0, 1, "T-1", HOSTILE);
    log.evaluated(0, 1, needs_approval());
    log.asked(1, 2, "T-2", "another");
    log.approved(5, 1);
    log.granted(5, 1, Some(1), "T-1", &scope("/v1/*"));
    log.used(6, 1, 1);
    log.used(7, 1, 2);
    let revocation = RevocationId::from_bits(1).to_string();
    log.event(
        8,
        Some(ADA),
        json!({"kind": "grants_revoked", "revocation": revocation, "selector": {"task": "T-1"},
        "grants": [gr(1)], "reason": "looks odd"}),
    );
    let revision = log.1;
    log.event(
        9,
        None,
        json!({"kind": "acknowledged", "proxy": "edge-1", "revision": revision, "streams_cut": 2}),
    );
    log.event(
        9,
        None,
        json!({"kind": "acknowledged", "proxy": "edge-1", "revision": revision + 1, "streams_cut": 0}),
    );
    log
}

fn story(subject: Subject, standing: Standing) -> Story {
    let now = at(30);
    let known = Known::of(log().0, &subject, now);
    let lines = [
        line(1, 6, json!({})),
        line(2, 8, json!({"path": "/v1/8", "end": "cut", "cause": "revoked"})),
        line(
            3,
            8,
            json!({"grant": null, "task": null, "decision": "deny", "reason": "no_grant", "path": HOSTILE, "end": null}),
        ),
        line(4, 9, json!({"task": "T-2"})),
    ];
    let mut calls = Calls::at_most(10).until(subject.until);
    let mut refused = Calls::at_most(10);
    let conditions = subject.lines();
    let matcher = Matcher::new(&conditions);
    let refusals = known.refusals(&subject, now);
    for line in lines {
        let bytes = line.raw.clone();
        if matcher.hit(bytes.as_bytes()).is_some() {
            calls.take(line);
        } else if refusals.iter().any(|(_, ways)| Matcher::new(ways).hit(bytes.as_bytes()).is_some()) {
            refused.take(line);
        }
    }
    let control = Some(Log { log: "l".to_owned(), revision: Revision(9), time: now });
    let (title, missing) = ("Access report".to_owned(), Vec::new());
    Story {
        title,
        at: now,
        subject,
        missing,
        control,
        trails: vec![trail(standing)],
        disputes: Vec::new(),
        known,
        calls,
        refused,
    }
}

fn of_task() -> Subject {
    Subject { task: Some("T-1".parse().unwrap()), ..Subject::default() }
}

#[test]
fn a_task_is_told_from_its_request_to_its_end() {
    let story = story(of_task(), verified());
    let [asked] = &story.known.requests[..] else { panic!("{:?}", story.known) };
    assert_eq!((asked.evaluations.len(), asked.approvals.len()), (1, 1));
    assert_eq!(asked.settled.as_ref().unwrap().what, Outcome::Granted);
    let [granted] = &story.known.grants[..] else { panic!("{:?}", story.known) };
    assert_eq!(
        (granted.requests(), granted.over(at(30))),
        (Some(2), Some(at(8))),
        "the last total of a process counts"
    );
    let [confirmed] = &granted.confirmed[..] else { panic!("{granted:?}") };
    assert_eq!((confirmed.at, confirmed.streams_cut), (at(9), 2), "the first that covers the end");
    assert_eq!((story.calls.totals.permitted, story.calls.totals.cut), (2, 1));
    assert_eq!(story.refused.totals.denied, 1);
    let shown = serde_json::to_value(&story).unwrap();
    assert_eq!(shown["requests"][0]["approvals"][0]["by"], json!({ "identity": ADA }));
    assert_eq!(shown["trails"][0]["standing"], "verified");
    assert_eq!(shown["grants"][0]["ended"]["cause"], "revoked");
    assert_eq!(shown["calls"]["lines"][1]["cause"], "revoked");
}

#[test]
fn nothing_that_callers_wrote_acts_on_whoever_reads() {
    let html = html::document(&words::page(&story(of_task(), verified())));
    assert!(!html.contains("<img") && !html.contains('\u{202e}') && !html.contains('\u{1b}'), "{html}");
    let shown = escaped(HOSTILE).replace('<', "&lt;").replace('>', "&gt;");
    assert!(html.matches(&shown).count() >= 2, "as reason and as path: {html}");
    for part in [
        "read only",
        "looks odd",
        "cut: revoked",
        "orders:GET:/v1/*",
        "verified up to line 3 of 4",
        "1 of role:approver",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[test]
fn a_trail_that_was_changed_is_a_warning() {
    let wrong = crate::audit::verify::Wrong::Changed { line: 2, file: "audit.jsonl".into() };
    let standing = Standing::Wrong { up_to: 3, last: 4, against: Vec::new(), wrong: vec![wrong] };
    let story = story(of_task(), standing);
    assert!(
        html::document(&words::page(&story))
            .contains("class=\"warning\">The trail `audit.jsonl` is NOT AS IT WAS WRITTEN")
    );
    let shown = serde_json::to_value(&story).unwrap();
    assert_eq!(shown["trails"][0]["wrong"][0]["line"], 2);
    assert!(super::verdict(&[], &story.trails).is_err());
    assert!(super::verdict(&[], &[trail(verified())]).is_ok());
    assert!(super::verdict(&["something".to_owned()], &[trail(verified())]).is_err());
}

#[test]
fn a_subject_takes_what_went_on_in_its_time() {
    let known = |subject: Subject| {
        let known = Known::of(log().0, &subject, at(30));
        (known.requests.len(), known.grants.len())
    };
    let between = |since: Option<u64>, until: Option<u64>| Subject {
        since: since.map(at),
        until: until.map(at),
        ..Subject::default()
    };
    assert_eq!(known(Subject::default()), (2, 1));
    assert_eq!(known(between(Some(9), None)), (1, 0), "the second still waits, the first has ended");
    assert_eq!(known(between(Some(8), None)), (2, 1));
    assert_eq!(known(between(None, Some(1))), (1, 0), "before the second was asked, and anything granted");
    assert_eq!(known(between(None, Some(6))), (2, 1));
    let conditions = between(Some(1), Some(6)).lines();
    let matcher = Matcher::new(&conditions);
    let taken = |minute: u64| matcher.hit(line(1, minute, json!({})).raw.as_bytes()).is_some();
    assert_eq!([0, 3, 9].map(taken), [false, true, true], "a call that began in it may end behind it");
    let grant = Subject { grant: Some(GrantId::from_bits(1)), ..Subject::default() };
    assert_eq!(known(grant), (1, 1), "with the request that it answers");
    let other = Subject { grant: Some(GrantId::from_bits(7)), ..Subject::default() };
    assert_eq!(known(other), (0, 0));
}

#[test]
fn unused_permissions_are_told_only_where_every_trail_was_seen() {
    let mut log = Writer::new();
    let two = json!([scope("/v1/*")[0], scope("/v2/*")[0]]);
    let joined = |proxy: &str| json!({"kind": "proxy_joined", "proxy": proxy, "identity": format!("spiffe://d/{proxy}")});
    log.event(0, None, joined("edge-1"));
    for id in 1..=3 {
        log.granted(0, id, Some(id), "T-1", &two);
    }
    // Of what an operator grants nothing is logged.
    log.granted(0, 4, None, "T-1", &two);
    log.used(1, 1, 2);
    log.used(1, 2, 1);
    log.event(2, None, json!({"kind": "grant_used", "grant": gr(2), "proxy": "edge-2", "instance": 1, "requests": 1, "bytes": 0}));
    let mut ledger = log.0;
    let mut uses = Uses::of(ledger.grants.values());
    uses.take(line(1, 1, json!({})).raw.as_bytes(), &ledger.grants);
    uses.take(line(2, 1, json!({"path": "/v2/1", "decision": "deny"})).raw.as_bytes(), &ledger.grants);
    let told = |ledger: &Ledger, trail: Trail| {
        let (unused, unsure) = uses.unused(ledger, &[trail]);
        let unused: Vec<_> = unused
            .into_iter()
            .map(|unused| (unused.grant, unused.permissions.join(" "), unused.wholly))
            .collect();
        let unsure: Vec<_> = unsure.into_iter().map(|unsure| unsure.grant).collect();
        (unused, unsure)
    };
    let id = GrantId::from_bits;
    let (both, second) = ("orders:GET:/v1/* orders:GET:/v2/*".to_owned(), "orders:GET:/v2/*".to_owned());
    let (unused, unsure) = told(&ledger, trail(verified()));
    assert_eq!(unused, [(id(1), second, false), (id(3), both.clone(), true), (id(4), both.clone(), true)]);
    assert_eq!(unsure, [id(2)], "it was used at another proxy as well");
    let late = Trail { first_line: Some(100), begins: Some(at(1)), ..trail(verified()) };
    assert_eq!(
        told(&ledger, late),
        (vec![(id(3), both.clone(), true)], vec![id(1), id(2), id(4)]),
        "what no proxy reported is known without a trail"
    );
    let left = access::left(&ledger, uses.unused(&ledger, &[trail(verified())]).0, at(5));
    assert_eq!(
        left.iter().map(|left| (left.live, left.requests)).collect::<Vec<_>>(),
        [(true, Some(2)), (true, Some(0)), (true, None)]
    );
    let second =
        json!({"revision": 99, "event": {"time": at(3), "actor": "system", "body": joined("edge-2")}});
    ledger.apply(serde_json::from_value(second).unwrap());
    let (_, unsure) = told(&ledger, trail(verified()));
    assert_eq!(unsure, [id(2), id(4)], "it may have been used at a proxy whose trail was not read");
}

#[test]
fn approval_times_are_of_people_alone() {
    let mut log = Writer::new();
    for (id, minutes) in [(1, 1), (2, 2), (3, 4), (4, 60)] {
        log.asked(0, id, "T-1", "why");
        log.evaluated(0, id, needs_approval());
        log.approved(minutes, id);
        log.granted(minutes, id, Some(id), "T-1", &scope("/v1/*"));
    }
    log.asked(0, 5, "T-1", "at once");
    log.evaluated(0, 5, json!({"permitted": {}}));
    log.granted(0, 5, Some(5), "T-1", &scope("/v1/*"));
    log.asked(0, 6, "T-1", "refused");
    log.event(0, None, json!({"kind": "access_denied", "request": rq(6), "reason": "no"}));
    log.asked(0, 7, "T-1", "nobody");
    log.event(60, None, json!({"kind": "access_lapsed", "request": rq(7)}));
    log.granted(0, 9, None, "T-1", &scope("/v1/*"));
    let times = access::approval_times(&log.0, &Subject::default());
    let times: Vec<_> = times
        .iter()
        .map(|waits| (waits.by, &*waits.name, waits.decisions, waits.median_seconds, waits.p95_seconds))
        .collect();
    assert_eq!(
        times,
        [
            ("all", "", 4, 120.0, 3600.0),
            ("service", "orders", 4, 120.0, 3600.0),
            ("policy", "reads", 4, 120.0, 3600.0)
        ]
    );
    let counted = access::counts(&log.0, &Subject::default());
    let wanted = Counts {
        requests: 7,
        granted_at_once: 1,
        granted_by_approval: 4,
        denied_by_policy: 1,
        lapsed: 1,
        grants: 6,
        by_operators: 1,
        ..Counts::default()
    };
    assert_eq!(counted, wanted);
}

#[test]
fn grants_back_to_back_are_a_series() {
    let mut log = Writer::new();
    // Ten minutes each: three in a row, one much later; and two of other permissions.
    for (id, minute) in [(1, 0), (2, 9), (3, 25), (4, 200)] {
        log.granted(minute, id, None, &format!("T-{id}"), &scope("/v1/*"));
        log.expired(minute + 10, id);
    }
    log.granted(0, 5, None, "T-1", &scope("/v2/*"));
    log.granted(9, 6, None, "T-1", &scope("/v2/*"));
    let found = |gap: u64| {
        let found = access::renewals(&log.0, &Subject::default(), Duration::from_secs(60 * gap), at(300));
        found
            .iter()
            .map(|series| (series.grants.len(), series.tasks.len(), series.seconds, series.to))
            .collect::<Vec<_>>()
    };
    assert_eq!(found(6), [(3, 3, 29.0 * 60.0, Some(at(35)))], "time that two of them cover counts once");
    assert!(found(5).is_empty(), "only two of them are within five minutes");
    assert_eq!(found(180).len(), 1);
}

#[test]
fn reviews_are_open_until_somebody_closes_them() {
    let mut log = self::log();
    for (number, due) in [(1, 20), (2, 10), (3, 15)] {
        log.event(6, None, json!({"kind": "review_opened", "review": ReviewId::from_bits(number).to_string(), "request": rq(1),
            "grant": gr(1), "due": at(due)}));
    }
    let close = ReviewId::from_bits(2).to_string();
    log.event(
        7,
        Some(ADA),
        json!({"kind": "review_closed", "review": close, "findings": "no", "justified": false}),
    );
    let mut ledger = log.0;
    assert_eq!(access::counts(&ledger, &Subject::default()).reviews_not_justified, 1);
    let open = access::open_reviews(&mut ledger);
    assert_eq!(
        open.iter().map(|open| (open.due, open.is_overdue(at(15)))).collect::<Vec<_>>(),
        [(at(15), true), (at(20), false)]
    );
}

#[test]
fn whose_a_trail_is_no_earlier_file_hides() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let line =
        |seq| format!("{{\"seq\":{seq},\"time\":\"{}\",\"kind\":\"end\",\"proxy\":\"edge-1\"}}\n", at(1));
    std::fs::write(&path, line(1)).unwrap();
    let whose = || super::source::read(&path, Check::Not("a test".into()), &[], |_, _| ()).proxy;
    assert_eq!(whose().as_deref(), Some("edge-1"));
    for earlier in ["", "{\"seq\":1,no json\n", "{\"seq\":1,\"time\":\"x\"}\n"] {
        std::fs::write(dir.path().join("audit-20200101T000000Z-000000000000.jsonl"), earlier).unwrap();
        assert_eq!(whose().as_deref(), Some("edge-1"), "{earlier:?}");
    }
}

#[test]
fn a_report_lacks_what_other_proxies_did_and_what_was_signed_for_otherwise_before() {
    let mut story = story(of_task(), verified());
    let proxies = proxies(&["edge-1", "edge-2"]);
    let unread = |story: &Story| super::unread((&story.known.grants, None), &proxies, &story.trails);
    assert!(unread(&story).is_empty());
    for used in &mut story.known.grants[0].used {
        used.proxy = "edge-2".parse().unwrap();
    }
    assert_eq!(unread(&story), ["calls at proxy `edge-2`, whose trail was not read: name it with --file"]);
    story.known.grants[0].used.iter_mut().for_each(|used| used.requests = 0);
    assert!(unread(&story).is_empty());

    for fault in [Some(TrailFault::Forked), None] {
        let of = |proxy: &str| Act {
            at: at(9),
            by: Actor::System,
            what: Dispute { proxy: proxy.parse().unwrap(), fault },
        };
        assert!(super::disputed(&[of("edge-2")], &story.trails).is_empty());
        let lacks = super::disputed(&[of("edge-1")], &story.trails);
        assert!(lacks.len() == 1 && lacks[0].contains("witness") == fault.is_none(), "{lacks:?}");
    }
}

#[test]
fn what_is_not_told_of_a_grants_use_is_missing_where_a_trail_was_not_read_or_begins_later() {
    let mut log = Writer::new();
    // An operator's direct grant: of its use nothing is logged.
    log.granted(2, 1, None, "T-1", &scope("/v1/*"));
    let known = Known::of(log.0, &of_task(), at(30));
    assert!(!known.grants[0].use_is_logged);
    let unread = |since: Option<u64>, proxies: &[&str], trail: Trail| {
        super::unread((&known.grants, since.map(at)), &self::proxies(proxies), &[trail])
    };
    assert!(unread(None, &["edge-1"], trail(verified())).is_empty());
    assert_eq!(
        unread(None, &["edge-1", "edge-2"], trail(verified())),
        ["calls that there may have been at proxy `edge-2`, whose trail was not read: name it with --file"]
    );
    let not_read = trail(Standing::Unread { why: "gone".to_owned() });
    assert_eq!(unread(None, &["edge-1"], not_read).len(), 1);
    // Of the trail's beginning as much is left as was needed, or not.
    let left = |begins| Trail { first_line: Some(100), begins: Some(at(begins)), ..trail(verified()) };
    assert!(unread(None, &["edge-1"], left(2)).is_empty());
    let lacks = unread(None, &["edge-1"], left(3));
    assert_eq!(
        lacks,
        [
            "the first calls that there may have been at proxy `edge-1`: what is left of its trail begins later"
        ]
    );
    assert!(unread(Some(3), &["edge-1"], left(3)).is_empty(), "nothing earlier was asked for");

    // Where use is logged, only of a proxy that reported some.
    let known = Known::of(self::log().0, &of_task(), at(30)).grants;
    let proxies = proxies(&["edge-1", "edge-2"]);
    assert!(super::unread((&known, None), &proxies, &[trail(verified())]).is_empty());
    let lacks = super::unread((&known, None), &proxies, &[left(6)]);
    assert!(lacks.len() == 1 && lacks[0].starts_with("the first calls at proxy `edge-1`"), "{lacks:?}");
}
