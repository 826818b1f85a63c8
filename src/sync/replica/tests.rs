//! The replica against inputs made by hand: what it asks for, what it refuses, what it acknowledges.

use super::*;
use crate::model::{EndCause, Grant, Time};
use crate::sync::CutTicket;
use crate::wire::message::{Ack, DeltaPart, Received, ReceivedChange, SnapshotPart};
use std::num::NonZeroUsize;
use std::sync::Arc;

const LOG: LogId = LogId([1; 16]);

fn at(millis: u64) -> Mono {
    Mono::from_nanos(millis * 1_000_000)
}

fn id(n: u128) -> GrantId {
    GrantId::from_bits(n)
}

fn digest(ids: &[u128]) -> Digest {
    let mut digest = Digest::default();
    ids.iter().for_each(|n| digest.add(id(*n), Revision(1)));
    digest
}

fn grant(n: u128) -> Received {
    let scope = r#"[{"type":"http","locations":["orders"],"actions":["GET"],"paths":["/**"]}]"#;
    Received::Readable(Arc::new(Grant {
        id: id(n),
        principal: "spiffe://d/agent".parse().unwrap(),
        task: "T".parse().unwrap(),
        scope: serde_json::from_str(scope).unwrap(),
        not_before: Time::from_micros(0),
        expires_at: Time::MAX,
        conditions: Default::default(),
        limits: Default::default(),
        recording: crate::model::Recording::default(),
        lineage: None,
        revision: Revision(1),
    }))
}

fn unreadable(n: u128) -> Received {
    Received::Unreadable { id: id(n), revision: Revision(1) }
}

fn welcome(epoch: u64) -> Down {
    Down::Welcome { log: LOG, epoch: Epoch(epoch) }
}

fn snapshot(revision: u64, grants: Vec<Received>) -> Down {
    Down::Snapshot(SnapshotPart { revision: Revision(revision), grants, last: true })
}

fn delta(after: u64, revision: u64, changes: Vec<ReceivedChange>) -> Down {
    let (after, revision) = (Revision(after), Revision(revision));
    Down::Delta(DeltaPart { after, revision, changes, last: true })
}

fn ended(n: u128) -> ReceivedChange {
    ReceivedChange::Ended { grant: id(n), cause: EndCause::Revoked, at: Time::from_micros(0) }
}

fn pong(n: u64, head: u64, revision: u64, digest: Digest) -> Down {
    Down::Pong(Pong {
        n,
        head: Revision(head),
        needed: Revision(head),
        control_time: Time::from_micros(77),
        lease: LeaseLength::DEFAULT,
        digest_revision: Revision(revision),
        digest,
    })
}

/// A replica and the digest of the table that it drives.
struct Subject {
    replica: Replica,
    table: Digest,
}

impl Subject {
    fn new() -> Self {
        let replica = Replica::new(Settings {
            endpoints: NonZeroUsize::new(2).unwrap(),
            version: "test".into(),
            max_grants: 3,
            instance: 9,
        });
        Self { replica, table: Digest::default() }
    }

    /// Connected at 0, with a snapshot at revision 10 in epoch 1.
    fn following(grants: &[u128]) -> Self {
        let mut subject = Self::new();
        subject.connect(0);
        subject.receive(welcome(1), 1);
        subject.table = digest(grants);
        subject.receive(snapshot(10, grants.iter().map(|n| grant(*n)).collect()), 1);
        subject
    }

    fn give(&mut self, input: Input, now: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.replica.handle(input, at(now), &mut effects);
        effects
    }

    fn connect(&mut self, now: u64) -> Vec<Effect> {
        let first = self.give(Input::Tick, now);
        assert!(matches!(first[..], [Effect::Connect { .. }]), "{first:?}");
        self.give(Input::Connected, now)
    }

    fn receive(&mut self, message: Down, now: u64) -> Vec<Effect> {
        let table = self.table;
        self.give(Input::Received(message, table), now)
    }
}

fn fault(effects: &[Effect]) -> Option<&Fault> {
    effects.iter().find_map(|effect| {
        let Effect::Disconnect(fault) = effect else { return None };
        Some(fault)
    })
}

fn leased(effects: &[Effect]) -> bool {
    effects.iter().any(|effect| matches!(effect, Effect::SetLease { .. }))
}

fn tickets(effects: &[Effect]) -> Vec<CutTicket> {
    let ticket = |effect: &Effect| {
        let (Effect::Apply(_, ticket) | Effect::Replace(_, ticket)) = effect else { return None };
        Some(*ticket)
    };
    effects.iter().filter_map(ticket).collect()
}

fn hello(effects: &[Effect]) -> Option<Option<Position>> {
    effects.iter().find_map(|effect| {
        let Effect::Send(Up::Hello(hello)) = effect else { return None };
        Some(hello.position)
    })
}

#[test]
fn asks_for_a_snapshot_first_and_pings_at_once() {
    let mut subject = Subject::new();
    assert_eq!(subject.replica.next_wake(), Mono::default());
    let effects = subject.connect(5);
    assert_eq!(hello(&effects), Some(None));
    assert!(effects.contains(&Effect::Send(Up::Ping { n: 1, audit: None, witness_disputes: 0 })));
    assert!(!subject.replica.is_connected());
}

#[test]
fn a_lease_needs_a_snapshot_and_begins_at_asking() {
    let mut subject = Subject::new();
    subject.connect(1_000);
    subject.receive(welcome(1), 1_100);
    assert!(!leased(&subject.receive(pong(1, 0, 0, Digest::default()), 1_200)), "there is no table yet");
    let effects = subject.receive(snapshot(0, Vec::new()), 2_000);
    let expected =
        Effect::SetLease { control_time: Time::from_micros(77), asked: at(1_000), until: at(16_000) };
    assert_eq!(effects.last(), Some(&expected), "after the table was replaced");
    assert!(matches!(effects.first(), Some(Effect::Replace(..))));
}

#[test]
fn a_lease_waits_for_the_head_that_its_pong_names() {
    let mut subject = Subject::following(&[1]);
    let table = subject.table;
    assert!(!leased(&subject.receive(pong(1, 12, 10, table), 20)));
    assert!(!leased(&subject.receive(delta(10, 11, Vec::new()), 30)));
    assert!(leased(&subject.receive(delta(11, 12, Vec::new()), 40)));
}

#[test]
fn a_gap_brings_a_snapshot_and_no_lease_before_it() {
    let mut subject = Subject::following(&[1]);
    let effects = subject.receive(delta(11, 12, vec![ended(1)]), 20);
    assert_eq!(fault(&effects), Some(&Fault::Gap { held: Revision(10), after: Revision(11) }));
    assert_eq!(hello(&subject.connect(21)), Some(None));
    subject.receive(welcome(1), 22);
    let table = subject.table;
    assert!(!leased(&subject.receive(pong(1, 10, 10, table), 23)), "the table may lack what was missed");
    let effects = subject.receive(delta(10, 11, Vec::new()), 24);
    assert!(matches!(fault(&effects), Some(Fault::Gap { .. })), "only a snapshot helps");
}

#[test]
fn a_reconnect_goes_on_where_the_table_stands() {
    let mut subject = Subject::following(&[1]);
    subject.give(Input::Disconnected, 30);
    let position = Position { log: LOG, epoch: Epoch(1), revision: Revision(10) };
    assert_eq!(hello(&subject.connect(31)), Some(Some(position)));
    subject.receive(welcome(1), 32);
    assert_eq!(tickets(&subject.receive(delta(10, 11, vec![ended(1)]), 33)).len(), 1);
}

#[test]
fn another_log_an_older_epoch_and_a_lost_history_are_refused() {
    for (message, expected) in [
        (
            Down::Welcome { log: LogId([2; 16]), epoch: Epoch(9) },
            Fault::OtherLog { held: LOG, offered: LogId([2; 16]) },
        ),
        (welcome(0), Fault::OldEpoch { held: Epoch(1), offered: Epoch(0) }),
    ] {
        let mut subject = Subject::following(&[1]);
        subject.give(Input::Disconnected, 30);
        subject.connect(31);
        let effects = subject.receive(message, 32);
        assert_eq!(effects, [Effect::Disconnect(expected)], "and the table is left as it is");
    }
    let behind = Fault::Behind { held: Revision(10), offered: Revision(9) };
    for message in [snapshot(9, Vec::new()), pong(1, 9, 9, Digest::default())] {
        let effects = Subject::following(&[1]).receive(message, 20);
        assert_eq!(effects, [Effect::Disconnect(behind.clone())]);
    }
}

#[test]
fn a_new_epoch_ends_what_was_granted_before_and_takes_any_revision() {
    let mut subject = Subject::following(&[1]);
    let old = tickets(&subject.receive(delta(10, 11, vec![ended(1)]), 20));
    subject.give(Input::Disconnected, 30);
    subject.connect(31);
    let effects = subject.receive(welcome(2), 32);
    let Some(Effect::Replace(empty, _)) = effects.first() else { panic!("{effects:?}") };
    assert!(empty.grants.is_empty() && empty.epoch == Epoch(2));
    subject.table = Digest::default();
    assert!(!leased(&subject.receive(pong(1, 3, 3, Digest::default()), 33)));
    let late = subject.give(Input::Cut { ticket: old[0], streams_cut: 1 }, 34);
    assert_eq!(late, [], "revision 11 of the old epoch means nothing in the new one");
    let effects = subject.receive(snapshot(3, Vec::new()), 35);
    assert!(leased(&effects) && tickets(&effects).len() == 1);
}

#[test]
fn a_table_that_diverged_is_replaced_and_its_lease_not_renewed() {
    let mut subject = Subject::following(&[1]);
    subject.table = Digest::default();
    let effects = subject.receive(pong(1, 10, 10, digest(&[1])), 20);
    assert_eq!(effects, [Effect::Disconnect(Fault::Diverged(Revision(10)))]);
    assert_eq!(hello(&subject.connect(21)), Some(None));
}

#[test]
fn a_grant_that_cannot_be_read_permits_nothing_and_is_no_divergence() {
    let mut subject = Subject::new();
    subject.connect(0);
    subject.receive(welcome(1), 1);
    let effects = subject.receive(snapshot(10, vec![grant(1), unreadable(2)]), 2);
    let Some(Effect::Replace(snapshot, _)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(snapshot.grants.len(), 1);
    subject.table = digest(&[1]);
    assert!(leased(&subject.receive(pong(1, 10, 10, digest(&[1, 2])), 3)));
    let effects = subject.receive(delta(10, 11, vec![ended(2)]), 4);
    let Some(Effect::Apply(delta, _)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(delta.changes, []);
    subject.give(Input::Tick, 3_000);
    assert!(leased(&subject.receive(pong(2, 11, 11, digest(&[1])), 3_001)));
}

#[test]
fn acknowledges_when_the_cut_is_over_and_not_before() {
    let mut subject = Subject::following(&[1]);
    let effects = subject.receive(delta(10, 11, vec![ended(1)]), 20);
    let ticket = tickets(&effects)[0];
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Send(Up::Ack(_)))));
    // The first snapshot was a change as well.
    let first = CutTicket::first();
    subject.give(Input::Cut { ticket: first, streams_cut: 0 }, 21);
    let effects = subject.give(Input::Cut { ticket, streams_cut: 4 }, 22);
    let ack = Ack { revision: Revision(11), streams_cut: 4 };
    assert_eq!(effects, [Effect::Send(Up::Ack(ack))]);
}

#[test]
fn an_acknowledgement_that_may_be_lost_is_said_again_after_the_welcome() {
    let mut subject = Subject::following(&[1]);
    subject.give(Input::Cut { ticket: CutTicket::first(), streams_cut: 0 }, 2);
    subject.give(Input::Disconnected, 30);
    let ack = Effect::Send(Up::Ack(Ack { revision: Revision(10), streams_cut: 0 }));
    assert!(!subject.connect(31).contains(&ack), "not before the control plane has named its log");
    assert!(subject.receive(welcome(1), 32).contains(&ack));
}

#[test]
fn silence_starvation_and_broken_manners_end_a_connection() {
    let mut subject = Subject::following(&[1]);
    assert_eq!(fault(&subject.give(Input::Tick, 6_001)), Some(&Fault::Silent));

    // It talks, but no ping is answered for a whole lease.
    let mut subject = Subject::following(&[1]);
    let mut ended = None;
    for second in 1..20 {
        let revision = 9 + second;
        subject.receive(delta(revision, revision + 1, Vec::new()), second * 1_000);
        ended = fault(&subject.give(Input::Tick, second * 1_000 + 1)).cloned().map(|fault| (second, fault));
        if ended.is_some() {
            break;
        }
    }
    assert_eq!(ended, Some((15, Fault::Silent)));

    for message in [welcome(1), snapshot(11, vec![grant(1), grant(2), grant(3), grant(4)])] {
        let effects = Subject::following(&[1]).receive(message, 20);
        assert!(matches!(fault(&effects), Some(Fault::Protocol(_))), "{effects:?}");
    }
    let mut subject = Subject::new();
    subject.connect(0);
    let effects = subject.receive(pong(1, 0, 0, Digest::default()), 1);
    assert!(matches!(fault(&effects), Some(Fault::Protocol(_))), "nothing before the welcome");
}

#[test]
fn parts_are_applied_when_the_last_has_come() {
    let mut subject = Subject::following(&[1]);
    let part = |grants, last| Down::Snapshot(SnapshotPart { revision: Revision(12), grants, last });
    assert_eq!(subject.receive(part(vec![grant(1)], false), 20), []);
    let effects = subject.receive(part(vec![grant(2)], true), 21);
    let Some(Effect::Replace(snapshot, _)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(snapshot.grants.len(), 2);
    subject.receive(part(vec![grant(1)], false), 22);
    let effects = subject.receive(delta(12, 13, Vec::new()), 23);
    assert!(matches!(fault(&effects), Some(Fault::Protocol(_))));
}

#[test]
fn the_table_may_refuse_and_is_then_replaced() {
    let mut subject = Subject::following(&[1]);
    let ticket = tickets(&subject.receive(delta(10, 11, vec![ended(1)]), 20))[0];
    let effects = subject.give(Input::TableRefused(ticket), 20);
    assert_eq!(fault(&effects), Some(&Fault::TableRefused));
    assert_eq!(hello(&subject.connect(21)), Some(None));
}

#[test]
fn reservations_are_answered_once_and_never_left_waiting() {
    let mut subject = Subject::new();
    let want = |ticket| Input::WantUses { ticket, grant: id(1), want: 5 };
    assert_eq!(subject.give(want(1), 0), [Effect::Uses { ticket: 1, granted: None }]);
    let mut subject = Subject::following(&[1]);
    let asked = subject.give(want(2), 10);
    assert_eq!(asked, [Effect::Send(Up::ReserveUses { grant: id(1), want: 5, nonce: 1 })]);
    let answer = || Down::UsesReserved { nonce: 1, granted: Some(3) };
    let answered = subject.receive(answer(), 11);
    assert_eq!(answered, [Effect::Uses { ticket: 2, granted: Some(3) }]);
    assert_eq!(subject.receive(answer(), 12), []);
    subject.give(want(3), 13);
    assert_eq!(subject.give(Input::Disconnected, 14), [Effect::Uses { ticket: 3, granted: None }]);
}
