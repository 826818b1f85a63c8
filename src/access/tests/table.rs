//! What a table keeps, ends and forgets.

use super::*;
use crate::access::ledger::REMEMBERED;
use crate::access::stream::Stream;
use crate::access::table::REMEMBERED_PER_PRINCIPAL;
use crate::access::{Ended, TableError};
use crate::model::Epoch;
use crate::model::digest::Digest;
use crate::runtime::clock::Mono;
use std::time::Duration;

fn ids(ended: &[Ended]) -> Vec<(GrantId, EndCause)> {
    let mut ids: Vec<_> = ended.iter().map(|ended| (ended.cell.id(), ended.cause)).collect();
    ids.sort_unstable_by_key(|(id, _)| *id);
    ids
}

fn arcs(grants: Vec<Grant>) -> Vec<Arc<Grant>> {
    grants.into_iter().map(Arc::new).collect()
}

#[test]
fn what_is_published_is_seen_through_a_slot_that_was_held_before() {
    let table = table(vec![]);
    let slot = table.slot(&agent("a"));
    assert!(slot.load().is_empty());
    let _ = table.apply(&delta(1, vec![issued(grant(1, "orders:GET:/**"))]), at(150)).unwrap();
    assert_eq!(slot.load().live().count(), 1);
    let cell = table.live(id(1)).unwrap();
    assert!(slot.load().holds(&cell));
    let cut = table.apply(&delta(2, vec![ended(1, EndCause::Revoked)]), at(150)).unwrap();
    assert_eq!(ids(&cut), [(id(1), EndCause::Revoked)]);
    assert!(Arc::ptr_eq(&cut[0].cell, &cell));
    assert!(!slot.load().holds(&cell) && table.live(id(1)).is_none());
}

#[test]
fn an_empty_slot_is_removed_only_when_nobody_holds_it() {
    let table = table(vec![]);
    let held = table.slot(&agent("a"));
    drop(table.slot(&agent("b")));
    assert_eq!(table.counts().slots, 2);
    let _ = table.expire(at(1_000));
    assert_eq!(table.counts().slots, 1, "the unheld one is gone");
    assert!(Arc::ptr_eq(&held, &table.slot(&agent("a"))), "the held one is still the one");
    let _ = table.apply(&delta(1, vec![issued(grant(1, "orders:GET:/**"))]), at(150)).unwrap();
    assert_eq!(held.load().live().count(), 1, "no orphan: the holder sees what comes later");
    let weak = Arc::downgrade(&held);
    drop(held);
    let _ = table.expire(at(2_000));
    assert!(weak.upgrade().is_some(), "a slot with grants or their memory stays, held or not");
    let _ = table.apply(&delta(2, vec![ended(1, EndCause::Expired)]), at(2_000)).unwrap();
    let _ = table.expire(at(2_000).plus(REMEMBERED));
    let _ = table.expire(at(2_000).plus(REMEMBERED).plus(Duration::from_secs(60)));
    assert!(weak.upgrade().is_none(), "nothing is kept for ever");
    assert_eq!(table.counts(), crate::access::Counts::default());
}

#[test]
fn slots_that_come_and_go_under_concurrency_are_never_orphans() {
    let table = table(vec![]);
    let rounds = 300_u64;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..rounds {
                    let slot = table.slot(&agent("a"));
                    assert!(
                        Arc::ptr_eq(&slot, &table.slot(&agent("a"))),
                        "one slot while one is held: {round}"
                    );
                }
            });
        }
        scope.spawn(|| {
            (0..rounds).for_each(|round| {
                let _ = table.expire(at(i64::try_from(round).unwrap() * 60));
            })
        });
    });
}

#[test]
fn a_table_never_goes_back() {
    let table = table(vec![]);
    let _ = table.apply(&delta(7, vec![]), at(0)).unwrap();
    let held = Revision(7);
    let behind = TableError::Behind { held, offered: Revision(6) };
    assert_eq!(table.apply(&delta(6, vec![issued(grant(1, "orders:GET:/**"))]), at(0)).unwrap_err(), behind);
    assert_eq!(table.replace(vec![], Epoch(0), Revision(6), at(0)).unwrap_err(), behind);
    assert_eq!((table.revision(), table.counts().grants), (held, 0));
    let _ = table.replace(vec![], Epoch(1), Revision(3), at(0)).unwrap();
    assert_eq!((table.epoch(), table.revision()), (Epoch(1), Revision(3)), "a new epoch counts anew");
    let old = TableError::OldEpoch { held: Epoch(1), offered: Epoch(0) };
    assert_eq!(table.replace(vec![], Epoch(0), Revision(99), at(0)).unwrap_err(), old);
}

#[test]
fn a_snapshot_ends_what_it_omits_and_keeps_the_cells_of_what_it_lists() {
    let table = table(vec![grant(1, "orders:GET:/a"), grant(2, "orders:GET:/b"), grant(3, "orders:GET:/c")]);
    let kept = table.live(id(2)).unwrap();
    let changed = grant(3, "orders:GET:/d");
    let snapshot = arcs(vec![grant(2, "orders:GET:/b"), changed, grant(4, "orders:GET:/e")]);
    let cut = table.replace(snapshot, Epoch(0), Revision(5), at(150)).unwrap();
    let superseded = EndCause::Superseded;
    assert_eq!(ids(&cut), [(id(1), superseded), (id(3), superseded)]);
    assert!(Arc::ptr_eq(&kept, &table.live(id(2)).unwrap()));
    assert_eq!(ask(&table, "GET /a", at(150)), Err(DenyReason::Revoked));
    assert_eq!(ask(&table, "GET /b", at(150)), Ok(id(2)));
    assert_eq!(ask(&table, "GET /c", at(150)), Err(DenyReason::OutOfScope));
    assert_eq!(ask(&table, "GET /d", at(150)), Ok(id(3)));
    assert_eq!(ask(&table, "GET /e", at(150)), Ok(id(4)));
    let cut = table.replace(vec![], Epoch(0), Revision(5), at(150)).unwrap();
    assert_eq!(cut.len(), 3, "an empty snapshot ends everything");
    assert_eq!(ask(&table, "GET /b", at(150)), Err(DenyReason::Revoked));
}

#[test]
fn what_ended_here_stays_ended() {
    let table = table(vec![grant(1, "orders:GET:/a")]);
    assert!(table.end(id(1), EndCause::Idle, at(150)).is_some());
    assert!(table.end(id(1), EndCause::Limit, at(150)).is_none(), "once");
    let again = arcs(vec![grant(1, "orders:GET:/a")]);
    assert!(table.replace(again, Epoch(0), Revision(5), at(150)).unwrap().is_empty());
    let _ = table.apply(&delta(6, vec![issued(grant(1, "orders:GET:/a"))]), at(150)).unwrap();
    assert_eq!(ask(&table, "GET /a", at(150)), Err(DenyReason::Expired));
    let cut = table.apply(&delta(7, vec![ended(1, EndCause::Revoked)]), at(150)).unwrap();
    assert!(cut.is_empty(), "it was cut already");
    assert!(table.end(id(9), EndCause::Idle, at(150)).is_none());
}

#[test]
fn what_is_cut_and_not_gone_under_a_grant_that_ended_here_is_waited_for_when_the_log_ends_it() {
    for by_snapshot in [false, true] {
        let table = table(vec![grant(1, "orders:GET:/a"), grant(2, "orders:GET:/b")]);
        let cell = table.live(id(1)).unwrap();
        let stream = Arc::new(Stream::new(Arc::default(), Mono::default()));
        let place = cell.entry.admit(&stream, cell.limits(), Mono::default()).unwrap();
        assert_eq!(table.expire(at(200)).len(), 2);
        let cut = match by_snapshot {
            false => table
                .apply(&delta(6, vec![ended(1, EndCause::Revoked), ended(2, EndCause::Revoked)]), at(200)),
            true => table.replace(vec![], Epoch(0), Revision(6), at(200)),
        };
        let cut = cut.unwrap();
        let [left] = cut.as_slice() else { panic!("{cut:?}") };
        assert!(Arc::ptr_eq(&left.cell, &cell));
        let countdown = Arc::default();
        assert_eq!(left.cell.entry.end(left.cause, &countdown).len(), 1);
        assert_eq!(countdown.remaining(), 1);
        cell.entry.leave(&place);
        assert_eq!(countdown.remaining(), 0);
    }
}

#[test]
fn grants_expire_in_order_and_exactly_at_their_time() {
    let until = |number, seconds| Grant { expires_at: at(seconds), ..grant(number, "orders:GET:/**") };
    let table = table(vec![until(1, 300), until(2, 200), until(3, 200), until(4, 400)]);
    assert_eq!(table.next_expiry(), Some(at(200)));
    assert!(table.expire(Time::from_micros(199_999_999)).is_empty());
    let expired = EndCause::Expired;
    assert_eq!(ids(&table.expire(at(200))), [(id(2), expired), (id(3), expired)]);
    assert_eq!(table.next_expiry(), Some(at(300)));
    let _ = table.apply(&delta(2, vec![ended(1, EndCause::Revoked)]), at(250)).unwrap();
    assert_eq!(ids(&table.expire(at(1_000))), [(id(4), expired)], "the revoked one ended once");
}

#[test]
fn the_end_of_a_grant_is_remembered_for_a_while() {
    let table = table(vec![grant(1, "orders:GET:/a")]);
    let _ = table.apply(&delta(2, vec![ended(1, EndCause::Revoked)]), at(150)).unwrap();
    let almost = Time::from_micros(at(150).plus(REMEMBERED).as_micros() - 1);
    let _ = table.expire(almost);
    assert_eq!(ask(&table, "GET /a", almost), Err(DenyReason::Revoked));
    assert!(table.next_expiry().is_some());
    let _ = table.expire(at(150).plus(REMEMBERED));
    assert_eq!(ask(&table, "GET /a", at(150)), Err(DenyReason::NoGrant));
    assert_eq!(table.counts().ended, 0);
}

#[test]
fn of_the_ends_of_one_principal_the_latest_are_remembered() {
    let many = REMEMBERED_PER_PRINCIPAL as u64 + 5;
    let table = table((1..=many).map(|n| grant(n, &format!("orders:GET:/{n}"))).collect());
    for number in 1..=many {
        let change = vec![ended(number, EndCause::Revoked)];
        let _ = table.apply(&delta(1 + number, change), at(100 + i64::try_from(number).unwrap())).unwrap();
    }
    assert_eq!(table.counts().ended, REMEMBERED_PER_PRINCIPAL);
    assert_eq!(ask(&table, "GET /5", at(150)), Err(DenyReason::OutOfScope));
    assert_eq!(ask(&table, "GET /6", at(150)), Err(DenyReason::Revoked));
}

#[test]
fn issued_and_ended_in_one_delta_is_ended() {
    let table = table(vec![]);
    let both = vec![issued(grant(1, "orders:GET:/a")), ended(1, EndCause::Revoked)];
    assert_eq!(table.apply(&delta(2, both), at(150)).unwrap().len(), 1);
    assert_eq!(ask(&table, "GET /a", at(150)), Err(DenyReason::Revoked));
    assert_eq!(table.digest(), Digest::default());
}

#[test]
fn the_digest_is_of_what_the_log_lists_whatever_ended_here() {
    let listed = |grants: &[u64]| {
        let mut digest = Digest::default();
        grants.iter().for_each(|number| digest.add(id(*number), Revision(*number)));
        digest
    };
    let table = table(vec![grant(2, "orders:GET:/a"), grant(1, "orders:GET:/b")]);
    assert_eq!(table.digest(), listed(&[1, 2]));
    let _ = table.expire(at(500));
    let _ = table.expire(at(500).plus(REMEMBERED));
    assert_eq!(table.counts().grants, 0);
    assert_eq!(table.digest(), listed(&[1, 2]), "the log has not said so yet");
    let _ = table.apply(&delta(3, vec![ended(1, EndCause::Expired)]), at(9_000)).unwrap();
    assert_eq!(table.digest(), listed(&[2]));
    let _ = table
        .apply(&delta(4, vec![ended(1, EndCause::Expired), issued(grant(3, "orders:GET:/c"))]), at(9_000));
    assert_eq!(table.digest(), listed(&[2, 3]));
    let _ = table.replace(arcs(vec![grant(3, "orders:GET:/d")]), Epoch(0), Revision(5), at(9_000)).unwrap();
    assert_eq!(table.digest(), listed(&[3]));
}

#[test]
fn the_expiry_queue_stays_in_proportion() {
    let table = table(vec![]);
    for round in 0..20 {
        let numbers = round * 1_000..(round + 1) * 1_000;
        let grants = numbers.clone().map(|n| issued(grant(n, "orders:GET:/a"))).collect();
        let _ = table.apply(&delta(2 + 2 * round, grants), at(0)).unwrap();
        let ends = numbers.map(|n| ended(n, EndCause::Revoked)).collect();
        assert_eq!(table.apply(&delta(3 + 2 * round, ends), at(0)).unwrap().len(), 1_000);
    }
    let counts = table.counts();
    assert_eq!((counts.grants, counts.ended), (0, REMEMBERED_PER_PRINCIPAL));
    assert!(table.queued() <= 4_096, "{}", table.queued());
}
