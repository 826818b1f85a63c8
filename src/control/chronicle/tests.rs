//! The event log is signed for, goes on over a restart, and is not signed for once it is another one.

use super::*;
use crate::control::log::memory::MemoryLog;
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{LogId, ProxyName, Time};
use crate::tlog::TileHashes;
use crate::tlog::proof::inclusion;

fn event(n: u64) -> Arc<Event> {
    let proxy: ProxyName = format!("edge-{n}").parse().unwrap();
    let identity = format!("spiffe://d/proxy/edge-{n}").parse().unwrap();
    let body = EventBody::ProxyJoined { proxy, identity };
    Arc::new(Event { time: Time::from_micros(1_795_341_600_000_000), actor: Actor::System, body })
}

async fn log(events: std::ops::Range<u64>) -> Arc<MemoryLog> {
    let log = MemoryLog::new(LogId([7; 16]));
    log.append(Revision(0), events.map(event).collect()).await.unwrap();
    Arc::new(log)
}

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn open(&self, log: &Arc<MemoryLog>) -> Chronicle {
        let issuer = "spiffe://d/control/local".parse().unwrap();
        Chronicle::open(&self.folder.path().join("control.db"), &issuer, Arc::clone(log) as _).unwrap()
    }

    async fn signed(&self, log: &Arc<MemoryLog>) -> Result<Chronicle, Broken> {
        let mut chronicle = self.open(log);
        let head = log.head().await.unwrap();
        chronicle.advance(head).await.map(|()| chronicle.sign())
    }
}

fn checkpoint(chronicle: &Chronicle) -> Checkpoint {
    let latest = chronicle.latest();
    Checkpoint::open(&latest.note(), latest.key()).unwrap()
}

#[tokio::test]
async fn each_event_as_the_log_holds_it_is_a_leaf_and_a_restart_goes_on() {
    let world = World { folder: tempfile::tempdir().unwrap() };
    let log = log(0..700).await;
    let first = checkpoint(&world.signed(&log).await.unwrap());
    assert_eq!((first.size, first.origin.as_str()), (700, "d/control/local/events/0"));
    log.append(Revision(700), (700..1_500).map(event).collect()).await.unwrap();
    let chronicle = world.signed(&log).await.unwrap();
    let second = checkpoint(&chronicle);
    assert_eq!(second.size, 1_500);
    let latest = chronicle.latest();
    let proof = latest.consistency(700, 1_500).unwrap();
    crate::tlog::proof::check_consistency(&proof, (700, &first.root), (1_500, &second.root)).unwrap();
    let text = serde_json::to_string(&*event(321)).unwrap();
    let path = inclusion(&TileHashes::new(latest.store(), 1_500), 321, 1_500).unwrap().unwrap();
    let leaf = Hash::leaf(text.as_bytes());
    crate::tlog::proof::check_inclusion(&path, &leaf, 321, 1_500, &second.root).unwrap();
}

#[tokio::test]
async fn a_log_that_is_another_one_is_not_signed_for() {
    let world = World { folder: tempfile::tempdir().unwrap() };
    world.signed(&log(0..700).await).await.unwrap();
    let note = |world: &World| world.open_note();
    let before = note(&world);
    let shorter = world.signed(&log(0..650).await).await;
    assert!(matches!(shorter, Err(Broken::Short { head: 650, signed: 700 })), "{shorter:?}");
    let other = world.signed(&log(1..800).await).await;
    assert!(matches!(other, Err(Broken::Changed { signed: 700 })), "{other:?}");
    assert_eq!(note(&world), before);
    assert_eq!(checkpoint(&world.signed(&log(0..701).await).await.unwrap()).size, 701);
}

#[tokio::test]
async fn tiles_that_were_lost_are_made_anew_and_a_key_that_was_lost_is_not() {
    let world = World { folder: tempfile::tempdir().unwrap() };
    let log = log(0..700).await;
    let chronicle = world.signed(&log).await.unwrap();
    std::fs::remove_dir_all(chronicle.latest().store().folder().join("tile")).unwrap();
    log.append(Revision(700), vec![event(700)]).await.unwrap();
    let chronicle = world.signed(&log).await.unwrap();
    assert!(chronicle.latest().consistency(3, 701).is_ok());
    std::fs::remove_file(world.folder.path().join("control.events.key")).unwrap();
    let issuer = "spiffe://d/control/local".parse().unwrap();
    let opened = Chronicle::open(&world.folder.path().join("control.db"), &issuer, log as _);
    assert!(matches!(opened, Err(ChronicleError::Key(KeyError::Missing(_)))), "{opened:?}");
}

impl World {
    fn open_note(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("control.events.tlog/0/checkpoint")).unwrap()
    }
}
