//! The newest heads of audit trails in a table beside the events, in the same file and over the same connection.

use super::SqliteLog;
use crate::control::log::LogError;
use crate::model::{KeptTrail, Revision, Time};
use sqlx::{QueryBuilder, Row as _, Sqlite};

/// Since schema 3: the newest head of each proxy's audit trail, and the event that it goes on from.
pub(super) const TABLE: &[&str] = &[
    "CREATE TABLE trails (proxy TEXT PRIMARY KEY, logged INTEGER NOT NULL, at INTEGER NOT NULL, head TEXT NOT NULL) STRICT",
];

impl SqliteLog {
    /// A statement is a transaction: all or nothing, and durable when it is over.
    pub(super) async fn try_keep_trails(&self, trails: Vec<KeptTrail>) -> Result<(), LogError> {
        if trails.is_empty() {
            return Ok(());
        }
        let heads: Result<Vec<String>, _> =
            trails.iter().map(|trail| serde_json::to_string(&trail.head)).collect();
        let heads = heads.map_err(LogError::Encode)?;
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO trails (proxy, logged, at, head) ");
        insert.push_values(trails.iter().zip(&heads), |mut row, (trail, head)| {
            row.push_bind(trail.proxy.as_str())
                .push_bind(i64::try_from(trail.logged.0).unwrap_or(i64::MAX))
                .push_bind(trail.at.as_micros())
                .push_bind(head.as_str());
        });
        insert.push(
            " ON CONFLICT (proxy) DO UPDATE SET logged = excluded.logged, at = excluded.at, head = excluded.head",
        );
        insert.build().execute(&self.pool).await.map_err(LogError::Database).map(drop)
    }

    pub(super) async fn try_kept_trails(&self) -> Result<Vec<KeptTrail>, LogError> {
        let rows = sqlx::query("SELECT proxy, logged, at, head FROM trails")
            .fetch_all(&self.pool)
            .await
            .map_err(LogError::Database)?;
        rows.iter().map(kept).collect()
    }
}

fn kept(row: &sqlx::sqlite::SqliteRow) -> Result<KeptTrail, LogError> {
    let proxy: String = row.try_get(0).map_err(LogError::Database)?;
    let logged: i64 = row.try_get(1).map_err(LogError::Database)?;
    let at: i64 = row.try_get(2).map_err(LogError::Database)?;
    let head: &str = row.try_get(3).map_err(LogError::Database)?;
    let (Ok(name), Ok(logged), Ok(head)) = (proxy.parse(), u64::try_from(logged), serde_json::from_str(head))
    else {
        return Err(LogError::Trail { proxy });
    };
    Ok(KeptTrail { proxy: name, logged: Revision(logged), at: Time::from_micros(at), head })
}
