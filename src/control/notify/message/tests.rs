//! What is told of which event, and what a chat is shown.

use super::*;
use crate::model::event::{Event, Selector};
use crate::model::{AuditHealth, TrailFault, TrailHead};
use crate::model::{Epoch, LogId, Revision};
use std::sync::Arc;

const LOG: Identity = Identity { log: LogId([7; 16]), epoch: Epoch(3) };

fn recorded(body: EventBody) -> Recorded {
    let by = Actor::Identity("spiffe://jitgate.local/operator/local".parse().unwrap());
    let event = Event { time: Time::from_micros(1_000_000), actor: by, body };
    Recorded { revision: Revision(42), event: Arc::new(event) }
}

fn revoked(grants: Vec<GrantId>, reason: &str) -> Recorded {
    recorded(EventBody::GrantsRevoked {
        revocation: crate::model::RevocationId::from_bits(1),
        selector: Selector::All(crate::model::event::Everything),
        grants,
        reason: reason.to_owned(),
    })
}

#[test]
fn a_revocation_is_told_once_with_the_same_id_each_time() {
    let state = State::default();
    let event = revoked((0..500).map(GrantId::from_bits).collect(), "leaked");
    let messages = of_event(&event, &state, LOG);
    assert_eq!(messages, of_event(&event, &state, LOG));
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert!(message.id.starts_with("msg_0707") && message.id.ends_with("_3_42_0"), "{}", message.id);
    assert!(!message.id.contains('.'), "the standard signs ID.TIMESTAMP.BODY");
    assert_eq!(
        (&message.data["count"], message.data["grants"].as_array().unwrap().len()),
        (&json!(500), GRANTS)
    );
    let body: Value = serde_json::from_str(&message.body(WebhookFormat::Standard)).unwrap();
    assert_eq!((&body["type"], &body["data"]["reason"]), (&json!("grant.revoked"), &json!("leaked")));
    assert_eq!(body["timestamp"], "1970-01-01T00:00:01.000000Z");
}

#[test]
fn what_concerns_nobody_is_not_told() {
    let state = State::default();
    assert_eq!(of_event(&revoked(Vec::new(), "nothing matched"), &state, LOG), []);
    assert_eq!(of_event(&recorded(EventBody::LeaseRaised { lease_ms: 1 }), &state, LOG), []);
}

#[test]
fn a_chat_is_told_nothing_that_acts() {
    let event = revoked(vec![GrantId::from_bits(1)], "<!channel> [x](https://evil.example)\u{202e}\n@all");
    let message = &of_event(&event, &State::default(), LOG)[0];
    let body: Value = serde_json::from_str(&message.body(WebhookFormat::Chat)).unwrap();
    let text = body["text"].as_str().unwrap();
    assert_eq!(body.as_object().unwrap().len(), 1);
    assert!(text.starts_with("Revoked: 1 grants (rv_"), "{text}");
    let said = text.split_once("local").unwrap().1;
    assert!(!said.contains(['<', '@', '[', '\u{202e}', '\n']) && !said.contains("evil.example"), "{text}");
}

#[test]
fn a_review_is_told_once_when_it_is_due_and_still_open() {
    // The log's own state machine opens and closes reviews only with their requests; `tests/control` covers that way.
    assert_eq!(of_reviews(&State::default(), Time::default(), Time::MAX, LOG), []);
}

#[test]
fn a_trail_that_contradicts_itself_is_told() {
    let head = TrailHead { key: "k".into(), size: 7, root: "r".into(), note: "n".into() };
    let body = EventBody::TrailDisputed { proxy: "edge-1".parse().unwrap(), head, fault: TrailFault::Forked };
    let [message] = &of_event(&recorded(body), &State::default(), LOG)[..] else { panic!("nothing") };
    let body: Value = serde_json::from_str(&message.body(WebhookFormat::Standard)).unwrap();
    let data = json!({"proxy": "edge-1", "state": "disputed", "fault": "forked", "size": 7});
    assert_eq!((&body["type"], &body["data"]), (&json!("audit.trouble"), &data));
    let chat: Value = serde_json::from_str(&message.body(WebhookFormat::Chat)).unwrap();
    assert!(chat["text"].as_str().unwrap().contains("tampered with"), "{chat}");
}

#[test]
fn a_trail_in_trouble_is_told_when_it_begins_and_when_it_ends() {
    let proxy = || "edge-1".parse().unwrap();
    let reported = |health| EventBody::AuditReported { proxy: proxy(), health };
    for (body, state, says) in [
        (reported(AuditHealth::Unwritable), "unwritable", "refuses requests"),
        (reported(AuditHealth::LowSpace), "low_space", "short of space"),
        (EventBody::WitnessDisputed { proxy: proxy() }, "witness_disputes", "external witness"),
        (reported(AuditHealth::Good), "good", "well again"),
    ] {
        let event = recorded(body);
        let [message] = &of_event(&event, &State::default(), LOG)[..] else { panic!("{event:?}") };
        let body: Value = serde_json::from_str(&message.body(WebhookFormat::Standard)).unwrap();
        assert_eq!(
            (&body["type"], &body["data"]),
            (&json!("audit.trouble"), &json!({"proxy": "edge-1", "state": state}))
        );
        let chat: Value = serde_json::from_str(&message.body(WebhookFormat::Chat)).unwrap();
        assert!(chat["text"].as_str().unwrap().contains(says), "{chat}");
    }
}
