//! What is particular to the log in a SQLite file: it survives, it is one process's, it says what is wrong with it.

use crate::contract::{event, events, trail};
use jitgate::control::log::sqlite::SqliteLog;
use jitgate::control::log::{EventLog as _, LogError};
use jitgate::model::{Epoch, Revision};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[tokio::test]
async fn is_there_again_after_it_was_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let log = SqliteLog::open(&path).await.unwrap();
    let identity = log.identity();
    log.append(Revision(0), events(1..=5)).await.unwrap();
    log.close().await;
    let log = SqliteLog::open(&path).await.unwrap();
    assert_eq!(log.identity(), identity);
    assert_eq!(log.head().await.unwrap(), Revision(5));
    assert_eq!(log.read(Revision(4), 9).await.unwrap()[0].event, event(5));
}

#[tokio::test]
async fn a_new_epoch_is_there_from_the_next_opening_on_and_the_log_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let log = SqliteLog::open(&path).await.unwrap();
    let before = log.identity();
    log.append(Revision(0), events(1..=5)).await.unwrap();
    assert_eq!(log.begin_epoch().await.unwrap(), Epoch(before.epoch.0 + 1));
    assert_eq!(log.identity(), before);
    log.close().await;
    let log = SqliteLog::open(&path).await.unwrap();
    let after = log.identity();
    assert_eq!((after.log, after.epoch), (before.log, Epoch(before.epoch.0 + 1)));
    assert_eq!(log.head().await.unwrap(), Revision(5));
}

#[tokio::test]
async fn what_was_acknowledged_is_on_disk_without_a_close() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(Revision(0), events(1..=700)).await.unwrap();
    log.keep_trails(vec![trail("edge", 1)]).await.unwrap();
    log.keep_trails(vec![trail("edge", 2)]).await.unwrap();
    // What `kill -9` leaves behind: the files as they are now, with nobody to tidy up.
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(folder.path().join("control.db-wal"), folder.path().join("copy.db-wal")).unwrap();
    let survivor = SqliteLog::open(&copy).await.unwrap();
    assert_eq!(survivor.head().await.unwrap(), Revision(700));
    assert_eq!(survivor.kept_trails().await.unwrap(), [trail("edge", 2)]);
    // Torn in the middle of the next append: that one is not there, and everything before it is.
    log.append(Revision(700), events(701..=800)).await.unwrap();
    let torn = folder.path().join("torn.db");
    std::fs::copy(&path, &torn).unwrap();
    let wal = std::fs::read(folder.path().join("control.db-wal")).unwrap();
    std::fs::write(folder.path().join("torn.db-wal"), &wal[..wal.len() - 100]).unwrap();
    let survivor = SqliteLog::open(&torn).await.unwrap();
    assert_eq!(survivor.head().await.unwrap(), Revision(700));
}

#[tokio::test]
async fn belongs_to_one_process_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let log = SqliteLog::open(&path).await.unwrap();
    let second = SqliteLog::open(&path).await;
    assert!(matches!(second, Err(LogError::InUse { .. })), "{second:?}");
    log.close().await;
    SqliteLog::open(&path).await.unwrap();
}

#[tokio::test]
async fn is_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(Revision(0), events(1..=1)).await.unwrap();
    for name in ["control.db", "control.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

async fn sqlite(path: &Path, statements: &[&'static str]) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn says_what_is_wrong_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, vec![b'x'; 8192]).unwrap();
    assert!(matches!(SqliteLog::open(&garbage).await, Err(LogError::Broken { .. })));

    let foreign = folder.path().join("foreign.db");
    sqlite(&foreign, &["CREATE TABLE other (x)"]).await;
    assert!(matches!(SqliteLog::open(&foreign).await, Err(LogError::Broken { .. })));

    let newer = folder.path().join("newer.db");
    SqliteLog::open(&newer).await.unwrap().close().await;
    sqlite(&newer, &["PRAGMA user_version = 4"]).await;
    let error = SqliteLog::open(&newer).await.unwrap_err();
    assert!(matches!(error, LogError::NewerSchema { found: 4, known: 3, .. }), "{error}");

    let unknown = folder.path().join("unknown.db");
    SqliteLog::open(&unknown).await.unwrap().close().await;
    sqlite(&unknown, &["INSERT INTO events VALUES (1, '{\"time\":\"2026-01-01T00:00:00Z\",\"actor\":\"system\",\"body\":{\"kind\":\"from_the_future\"}}')"]).await;
    let log = SqliteLog::open(&unknown).await.unwrap();
    assert!(matches!(log.read(Revision(0), 1).await, Err(LogError::Event { revision: Revision(1), .. })));

    let nowhere = folder.path().join("no/such/folder/control.db");
    assert!(matches!(SqliteLog::open(&nowhere).await, Err(LogError::File { .. })));
}

#[tokio::test]
async fn a_file_of_an_earlier_schema_is_brought_up_to_date() {
    // What the first versions wrote.
    let second: &[&str] = &["DROP TABLE trails", "PRAGMA user_version = 2"];
    let first: &[&str] = &[
        "DROP TABLE trails",
        "DROP TABLE webhooks",
        "DROP TABLE webhook_deliveries",
        "PRAGMA user_version = 1",
    ];
    for statements in [first, second] {
        brought_up_to_date(statements).await;
    }
}

async fn brought_up_to_date(back: &[&'static str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("control.db");
    let log = SqliteLog::open(&path).await.unwrap();
    log.append(Revision(0), events(1..=5)).await.unwrap();
    log.close().await;
    sqlite(&path, back).await;
    for _ in 0..2 {
        let log = SqliteLog::open(&path).await.unwrap();
        assert_eq!(log.head().await.unwrap(), Revision(5));
        log.keep_trails(vec![trail("edge", 1)]).await.unwrap();
        log.close().await;
    }
    sqlite(&path, &["SELECT revision, reviews FROM webhooks", "SELECT delivery FROM webhook_deliveries"])
        .await;
}
