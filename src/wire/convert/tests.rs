//! What converts, and what is refused.

use super::*;
use crate::model::grant::{Conditions, Lineage};
use crate::model::{AuditHealth, Delta, Grant, Recording, Scope, UserId};
use crate::wire::chunk::{self, CHUNK_BYTES};
use crate::wire::message::LeaseLength;
use prost::Message;
use std::sync::Arc;

fn model_grant(n: u128) -> Arc<Grant> {
    let scope = r#"[{"type":"http","locations":["orders"],"actions":["GET"],"paths":["/v1/orders/*"]}]"#;
    Arc::new(Grant {
        id: GrantId::from_bits(n),
        principal: "spiffe://d/agent".parse().unwrap(),
        task: "T-1".parse().unwrap(),
        scope: serde_json::from_str(scope).unwrap(),
        not_before: Time::from_micros(5),
        expires_at: Time::from_micros(6),
        conditions: serde_json::from_str(r#"{"source_networks":["10.0.0.0/8"]}"#).unwrap(),
        limits: serde_json::from_str(r#"{"max_uses":7}"#).unwrap(),
        recording: crate::model::Recording::default(),
        lineage: None,
        revision: Revision(3),
    })
}

fn within(scopes: &[&str]) -> Arc<Lineage> {
    let within = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
    Arc::new(Lineage { within, ..Lineage::default() })
}

fn narrowed(within: Arc<Lineage>) -> raw::Grant {
    (&Grant { lineage: Some(within), ..Grant::clone(&model_grant(1)) }).into()
}

fn raw_grant() -> raw::Grant {
    model_grant(1).as_ref().into()
}

fn refused(change: impl FnOnce(&mut raw::Grant)) -> WireError {
    let mut grant = raw_grant();
    change(&mut grant);
    Received::try_from(grant).unwrap_err()
}

/// Through the bytes, as it comes over the network.
fn down(message: raw::Down) -> Result<Down, WireError> {
    raw::Down::decode(message.encode_to_vec().as_slice()).unwrap().try_into()
}

#[test]
fn a_grant_survives_the_wire() {
    assert_eq!(Received::try_from(raw_grant()), Ok(Received::Readable(model_grant(1))));
    let mut plain = Grant::clone(&model_grant(1));
    plain.conditions = Conditions::default();
    plain.limits = Default::default();
    let raw = raw::Grant::from(&plain);
    assert!(raw.conditions.is_empty() && raw.limits.is_empty() && raw.constraints == 0);
    assert_eq!(Received::try_from(raw), Ok(Received::Readable(Arc::new(plain.clone()))));
    let parents = within(&["orders:*:/v1/**", "orders:GET:/**"]);
    for recording in [Recording::Metadata, Recording::Arguments, Recording::Full] {
        let narrowed = Grant { recording, lineage: Some(Arc::clone(&parents)), ..plain.clone() };
        let read = Received::try_from(raw::Grant::from(&narrowed));
        assert_eq!(read, Ok(Received::Readable(Arc::new(narrowed))));
    }
    let conditions = Conditions::default().with_token_required().with_max_risk(crate::model::Risk::Low);
    let on_behalf_of = Some(UserId { issuer: "https://idp".into(), subject: "ada".into() });
    let lineage = Some(Arc::new(Lineage { on_behalf_of, ..Lineage::default() }));
    for demanding in [Grant { conditions, ..plain.clone() }, Grant { lineage, ..plain }] {
        let read = Received::try_from(raw::Grant::from(&demanding));
        assert_eq!(read, Ok(Received::Readable(Arc::new(demanding))));
    }
}

#[test]
fn a_constraint_that_is_not_known_rejects_the_grant_whole_and_nothing_else() {
    let unreadable = Ok(Received::Unreadable { id: GrantId::from_bits(1), revision: Revision(3) });
    let unknown: [fn(&mut raw::Grant); 18] = [
        |grant| grant.scope = r#"[{"type":"telepathy","locations":["orders"]}]"#.into(),
        |grant| grant.scope = Bytes::new(),
        |grant| grant.scope = "[]".into(),
        |grant| grant.conditions = r#"{"moon":"full"}"#.into(),
        |grant| grant.conditions = "!".into(),
        |grant| grant.limits = r#"{"max_uses":0}"#.into(),
        |grant| grant.limits = r#"{"max_wishes":3}"#.into(),
        // What a version without limits of one call sees in one of them.
        |grant| grant.limits = r#"{"argument_bits":3,"response_bytes":9}"#.into(),
        |grant| grant.within.push("[]".into()),
        |grant| grant.within.push(Bytes::new()),
        |grant| grant.within.clear(),
        |grant| grant.recording = 3,
        |grant| grant.recording = -1,
        // A field that this version does not know.
        |grant| grant.constraints |= 1 << 14,
        // A user that got lost, that was not announced, and that is nobody.
        |grant| grant.constraints |= 1 << 13,
        |grant| grant.on_behalf_of = Some(raw::UserId { issuer: "i".into(), subject: "s".into() }),
        |grant| {
            grant.constraints |= 1 << 13;
            grant.on_behalf_of = Some(raw::UserId { issuer: "i".into(), subject: String::new() });
        },
        // A field got lost on the way.
        |grant| grant.conditions = Bytes::new(),
    ];
    for change in unknown {
        let mut grant = narrowed(within(&["orders:GET:/**"]));
        assert!(matches!(Received::try_from(grant.clone()), Ok(Received::Readable(_))));
        change(&mut grant);
        assert_eq!(Received::try_from(grant.clone()), unreadable, "{grant:?}");
    }
}

#[test]
fn more_parents_than_bounded_reject_the_grant_and_nothing_else() {
    let unreadable = Ok(Received::Unreadable { id: GrantId::from_bits(1), revision: Revision(3) });
    let parents = |count| within(&vec!["orders:GET:/**"; count]);
    assert!(matches!(Received::try_from(narrowed(parents(Lineage::MAX_WITHIN))), Ok(Received::Readable(_))));
    assert_eq!(Received::try_from(narrowed(parents(Lineage::MAX_WITHIN + 1))), unreadable);
    let texts = |count: usize| (0..count).map(|n| format!("orders:GET:/{n}")).collect::<Vec<_>>();
    let lineage = |sizes: &[usize]| {
        let scopes = sizes.iter().map(|size| Scope::parse_all(&texts(*size)).unwrap()).collect();
        Arc::new(Lineage { within: scopes, ..Lineage::default() })
    };
    assert!(matches!(Received::try_from(narrowed(lineage(&[9_999, 1]))), Ok(Received::Readable(_))));
    assert_eq!(Received::try_from(narrowed(lineage(&[9_999, 2]))), unreadable);
    let long = "x".repeat(900);
    let texts: Vec<_> = (0..4_000).map(|n| format!("orders:GET:/{n}{long}")).collect();
    let huge = Grant { scope: Scope::parse_all(&texts).unwrap(), ..Grant::clone(&model_grant(1)) };
    let raw = raw::Grant::from(&huge);
    assert!(raw.encoded_len() < CHUNK_BYTES, "a message always holds it");
    assert_eq!(Received::try_from(raw), unreadable);
}

#[test]
fn a_grant_that_is_malformed_refuses_the_message() {
    assert_eq!(refused(|grant| grant.id = Bytes::from_static(b"short")), WireError::Malformed("grant"));
    assert_eq!(refused(|grant| grant.principal = "agent".into()), WireError::Malformed("principal"));
    assert_eq!(refused(|grant| grant.task = "a b".into()), WireError::Malformed("task"));
    assert_eq!(refused(|grant| grant.expires_at = grant.not_before), WireError::Malformed("expires_at"));
}

#[test]
fn unknown_kinds_and_values_are_refused() {
    assert_eq!(down(raw::Down { body: None }), Err(WireError::UnknownKind));
    assert_eq!(Up::try_from(raw::Up { body: None }), Err(WireError::UnknownKind));
    let change = raw::Change { body: None };
    assert_eq!(ReceivedChange::try_from(change), Err(WireError::UnknownKind));
    for value in [0, 8, -1, 256 + 1] {
        let ended = raw::Ended { grant: id_bytes(GrantId::from_bits(1)), cause: value, at: 0 };
        let change = raw::Change { body: Some(raw::change::Body::Ended(ended)) };
        let expected = Err(WireError::UnknownValue { field: "cause", value });
        assert_eq!(ReceivedChange::try_from(change), expected);
    }
    for cause in EndCause::ALL {
        assert_eq!(end_cause(i32::from(cause as u8)), Ok(cause));
    }
}

#[test]
fn numbers_beyond_their_bounds_are_refused() {
    let pong = |lease_ms| {
        let pong = raw::Pong { lease_ms, ..raw::Pong::default() };
        down(raw::Down { body: Some(raw::down::Body::Pong(pong)) })
    };
    assert!(pong(1_000).is_ok() && pong(60_000).is_ok());
    for lease_ms in [0, 999, 60_001, u64::MAX] {
        assert!(matches!(pong(lease_ms), Err(WireError::Lease(_))), "{lease_ms}");
    }
    let grants = vec![raw::Grant::default(); MAX_ITEMS + 1];
    let part = raw::SnapshotChunk { revision: 1, grants, last: true };
    assert_eq!(SnapshotPart::try_from(part), Err(WireError::TooMany("grants")));
    let backwards = raw::DeltaChunk { after: 5, revision: 4, changes: Vec::new(), last: true };
    assert_eq!(DeltaPart::try_from(backwards), Err(WireError::Malformed("revision")));
    for version in ["x".repeat(MAX_VERSION + 1), "a\nb".to_owned()] {
        let hello = raw::Hello { position: None, version, instance: 1 };
        assert_eq!(Hello::try_from(hello), Err(WireError::Malformed("version")));
    }
    let position = raw::Position { log_id: Bytes::from_static(b"x"), epoch: 1, revision: 1 };
    assert_eq!(Position::try_from(position), Err(WireError::Malformed("log_id")));
}

#[test]
fn every_message_up_survives_the_wire() {
    let position = Position { log: LogId([9; 16]), epoch: Epoch(2), revision: Revision(3) };
    let usage = GrantUsage { grant: GrantId::from_bits(7), requests: 1, bytes: 2, running: 3 };
    for message in [
        Up::Hello(Hello { position: Some(position), version: "1.2".into(), instance: 77 }),
        Up::Hello(Hello { position: None, version: String::new(), instance: 0 }),
        Up::Ping { n: u64::MAX, audit: None, witness_disputes: 0 },
        Up::Ping { n: 1, audit: Some(AuditHealth::Good), witness_disputes: 1 },
        Up::Ping { n: 1, audit: Some(AuditHealth::LowSpace), witness_disputes: u32::MAX },
        Up::Ping { n: 1, audit: Some(AuditHealth::Unwritable), witness_disputes: 0 },
        Up::Ack(Ack { revision: Revision(4), streams_cut: 5 }),
        Up::Usage(vec![usage]),
        Up::ReserveUses { grant: GrantId::from_bits(7), want: 8, nonce: 9 },
    ] {
        let bytes = raw::Up::from(message.clone()).encode_to_vec();
        assert_eq!(raw::Up::decode(bytes.as_slice()).unwrap().try_into(), Ok(message));
    }
}

#[test]
fn a_state_of_a_trail_that_only_a_later_version_knows_is_no_error() {
    for audit in [4, 99, -1] {
        let ping = raw::up::Body::Ping(raw::Ping { n: 1, audit, witness_disputes: 2 });
        let expected = Up::Ping { n: 1, audit: None, witness_disputes: 2 };
        assert_eq!(raw::Up { body: Some(ping) }.try_into(), Ok(expected), "{audit}");
    }
}

#[test]
fn answers_survive_the_wire() {
    let said = Pong {
        n: 1,
        head: Revision(2),
        needed: Revision(1),
        control_time: Time::from_micros(3),
        lease: LeaseLength::DEFAULT,
        digest_revision: Revision(4),
        digest: Digest::from_bits(u64::MAX),
    };
    assert_eq!(down(pong(said)), Ok(Down::Pong(said)));
    let (log, epoch) = (LogId([3; 16]), Epoch(8));
    assert_eq!(down(welcome(log, epoch)), Ok(Down::Welcome { log, epoch }));
    for granted in [None, Some(0), Some(3)] {
        assert_eq!(down(uses_reserved(4, granted)), Ok(Down::UsesReserved { nonce: 4, granted }));
    }
}

#[test]
fn chunks_hold_everything_once_in_order_and_stay_small() {
    let grants: Vec<_> = (0..20_000).map(model_grant).collect();
    let messages: Vec<_> = chunk::snapshot(Revision(9), grants.clone()).collect();
    assert!(messages.len() > 2 && messages.iter().all(|message| message.encoded_len() <= CHUNK_BYTES));
    let mut read = Vec::new();
    let mut lasts = Vec::new();
    for message in messages {
        let Ok(Down::Snapshot(part)) = down(message) else { panic!("not a snapshot") };
        assert_eq!(part.revision, Revision(9));
        lasts.push(part.last);
        read.extend(part.grants);
    }
    assert!(read.into_iter().eq(grants.into_iter().map(Received::Readable)));
    let (last, others) = lasts.split_last().unwrap();
    assert!(*last && !others.contains(&true));
}

#[test]
fn an_empty_change_is_one_message() {
    let empty = Delta { revision: Revision(5), changes: Vec::new() };
    let messages: Vec<_> = chunk::delta(Revision(4), empty).map(down).collect();
    let part = DeltaPart { after: Revision(4), revision: Revision(5), changes: Vec::new(), last: true };
    assert_eq!(messages, [Ok(Down::Delta(part))]);
    assert_eq!(chunk::snapshot(Revision(5), []).count(), 1);
}
