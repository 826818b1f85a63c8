//! The event log in a SQLite file.
//!
//! WAL with `synchronous=FULL`: an append is on disk before it is acknowledged. One process at a time: the file stays locked
//! exclusively while it is open, and the lock goes with the process, however that ends. Mode 0600: the log names who may do what.

mod trails;

use crate::control::log::{AppendError, EventLog, Identity, LogError, Recorded, encoded};
use crate::model::event::Event;
use crate::model::{Epoch, KeptTrail, LogId, Revision};
use crate::tlog::Hash;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{QueryBuilder, Row as _, Sqlite, SqlitePool};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Ours, in the file's header: `JGLG`.
const APPLICATION: i64 = 0x4a47_4c47;
/// The schema that this version writes. Raise it with each change, and migrate in [`prepare`].
const SCHEMA: i64 = 3;
/// Rows of one INSERT.
const ROWS: usize = 500;
/// A page of events is closed above this, and one that is read is handed over by the database's thread in batches of so many rows.
const PAGE_BYTES: usize = 4 << 20;
const ROWS_READ: usize = 512;
/// Hashes that are kept, 32 bytes each.
const RECENT: usize = 16_384;
/// How long a process that is just ending may hold the lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// A log in a SQLite file.
#[derive(Debug)]
pub struct SqliteLog {
    pool: SqlitePool,
    /// What this process committed last, or found. It holds the file exclusively, so this is the file's head, and can be said while a
    /// large append keeps the only connection busy. None while that is not certain.
    head: Mutex<Option<Revision>>,
    identity: Identity,
    recent: Mutex<Recent>,
}

impl SqliteLog {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`LogError`]: in use, damaged, not ours, of a later version, or not to be opened.
    pub async fn open(path: &Path) -> Result<Self, LogError> {
        let shown = path.display().to_string();
        claim(path).map_err(|source| LogError::File { path: shown.clone(), source })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .row_buffer_size(ROWS_READ)
            .busy_timeout(LOCK_WAIT);
        // One connection for ever: it holds the lock.
        let pool = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|error| explain(&shown, error))?;
        let identity = prepare(&pool, &shown).await?;
        Ok(Self { pool, head: Mutex::new(None), identity, recent: Mutex::default() })
    }

    /// The one connection, for tables that stand beside the log.
    pub(in crate::control) fn pool(&self) -> SqlitePool {
        self.pool.clone()
    }

    /// Begins a new epoch, durably. It counts from the next [`Self::open`] on: what has read the old one goes on with it.
    ///
    /// # Errors
    /// [`LogError`].
    pub async fn begin_epoch(&self) -> Result<Epoch, LogError> {
        let epoch: i64 = sqlx::query_scalar("UPDATE log SET epoch = epoch + 1 RETURNING epoch")
            .fetch_one(&self.pool)
            .await
            .map_err(LogError::Database)?;
        Ok(Epoch(u64::try_from(epoch).unwrap_or(0)))
    }

    /// Closes the file; another process may open it then.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes the file if need be, gives it its mode, and makes its existence durable.
fn claim(path: &Path) -> Result<(), std::io::Error> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Checks that the file is ours and of a schema that we know; makes the schema in an empty file. Takes the exclusive lock.
async fn prepare(pool: &SqlitePool, path: &str) -> Result<Identity, LogError> {
    let explain = |error| explain(path, error);
    let mut transaction = pool.begin_with("BEGIN EXCLUSIVE").await.map_err(explain)?;
    let number = |sql: &'static str| sqlx::query_scalar::<_, i64>(sql);
    let application = number("PRAGMA application_id").fetch_one(&mut *transaction).await.map_err(explain)?;
    let schema = number("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(explain)?;
    let tables =
        number("SELECT count(*) FROM sqlite_schema").fetch_one(&mut *transaction).await.map_err(explain)?;
    let broken = |problem: &str| LogError::Broken { path: path.to_owned(), problem: problem.to_owned() };
    match (application, schema) {
        (0, 0) if tables == 0 => {
            let mut log = [0_u8; 16];
            getrandom::fill(&mut log).map_err(|_| broken("no random numbers for its identity"))?;
            for statement in CREATE.iter().chain(WEBHOOKS).chain(trails::TABLE).chain(MARKS) {
                sqlx::query(*statement).execute(&mut *transaction).await.map_err(explain)?;
            }
            sqlx::query("INSERT INTO log (only, id, epoch) VALUES (1, ?, 0)")
                .bind(log.as_slice())
                .execute(&mut *transaction)
                .await
                .map_err(explain)?;
        }
        (APPLICATION, SCHEMA) => {}
        (APPLICATION, older @ (1 | 2)) => {
            let webhooks = if older == 1 { WEBHOOKS } else { &[] };
            for statement in webhooks.iter().chain(trails::TABLE).chain(MARKS) {
                sqlx::query(*statement).execute(&mut *transaction).await.map_err(explain)?;
            }
        }
        (APPLICATION, found) if found > SCHEMA => {
            return Err(LogError::NewerSchema { path: path.to_owned(), found, known: SCHEMA });
        }
        _ => return Err(broken("another application's database")),
    }
    let row = sqlx::query("SELECT id, epoch FROM log").fetch_one(&mut *transaction).await.map_err(explain)?;
    let id: Vec<u8> = row.try_get(0).map_err(explain)?;
    let epoch: i64 = row.try_get(1).map_err(explain)?;
    transaction.commit().await.map_err(explain)?;
    Ok(Identity {
        log: LogId(id.try_into().map_err(|_| broken("its identity is not 16 bytes"))?),
        epoch: Epoch(u64::try_from(epoch).map_err(|_| broken("its epoch is negative"))?),
    })
}

const CREATE: &[&str] = &[
    "CREATE TABLE log (only INTEGER PRIMARY KEY CHECK (only = 1), id BLOB NOT NULL, epoch INTEGER NOT NULL) STRICT",
    "CREATE TABLE events (revision INTEGER PRIMARY KEY, event TEXT NOT NULL) STRICT",
];
/// Since schema 2: how far each webhook's receiver has been told, and what is on its way to it.
const WEBHOOKS: &[&str] = &[
    "CREATE TABLE webhooks (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, reviews INTEGER NOT NULL) STRICT",
    "CREATE TABLE webhook_deliveries (webhook TEXT NOT NULL, id TEXT NOT NULL, delivery TEXT NOT NULL, PRIMARY KEY (webhook, id)) STRICT",
];
const MARKS: &[&str] = &["PRAGMA application_id = 1246186567", "PRAGMA user_version = 3"];

/// Says what a database error at opening means.
fn explain(path: &str, error: sqlx::Error) -> LogError {
    let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse().ok());
    // The low byte is the primary result code (sqlite.org/rescode.html).
    match code.map(|code: u32| code & 0xff) {
        Some(5 | 6) => LogError::InUse { path: path.to_owned() },
        Some(11 | 26) => LogError::Broken { path: path.to_owned(), problem: error.to_string() },
        _ => LogError::Database(error),
    }
}

async fn head(executor: impl sqlx::SqliteExecutor<'_>) -> Result<Revision, LogError> {
    let head: i64 = sqlx::query_scalar("SELECT coalesce(max(revision), 0) FROM events")
        .fetch_one(executor)
        .await
        .map_err(LogError::Database)?;
    Ok(Revision(u64::try_from(head).unwrap_or(0)))
}

impl SqliteLog {
    async fn try_append(&self, expected: Revision, events: Vec<Arc<Event>>) -> Result<Revision, AppendError> {
        // However this ends other than well, also by being dropped: the file has to be asked.
        let mut known = Known { head: &self.head, reached: None };
        let (rows, leaves) = encode(expected, events).await.map_err(AppendError::Log)?;
        match rows.len() {
            1..=ROWS => self.append_few(expected, &rows).await?,
            _ => self.append_many(expected, &rows).await?,
        }
        let reached = Revision(expected.0.saturating_add(rows.len() as u64));
        known.reached = Some(reached);
        self.recent.lock().add(expected, leaves);
        Ok(reached)
    }

    /// A statement is a transaction: all or nothing, and durable when it is over. Alone it needs one way to the database's thread and
    /// back, where a transaction of several needs one for each.
    async fn append_few(&self, expected: Revision, rows: &[(i64, String)]) -> Result<(), AppendError> {
        let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO events (revision, event) SELECT * FROM (");
        values(&mut insert, rows);
        insert.push(") WHERE (SELECT coalesce(max(revision), 0) FROM events) = ");
        insert.push_bind(i64::try_from(expected.0).unwrap_or(i64::MAX));
        match insert.build().execute(&self.pool).await.map_err(database)?.rows_affected() {
            0 => Err(AppendError::Conflict { head: head(&self.pool).await.map_err(AppendError::Log)? }),
            _ => Ok(()),
        }
    }

    async fn append_many(&self, expected: Revision, rows: &[(i64, String)]) -> Result<(), AppendError> {
        let mut transaction = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(database)?;
        let head = head(&mut *transaction).await.map_err(AppendError::Log)?;
        if head != expected {
            return Err(AppendError::Conflict { head });
        }
        for some in rows.chunks(ROWS) {
            let mut insert = QueryBuilder::<Sqlite>::new("INSERT INTO events (revision, event) ");
            values(&mut insert, some);
            insert.build().execute(&mut *transaction).await.map_err(database)?;
        }
        transaction.commit().await.map_err(database)
    }

    async fn try_head(&self) -> Result<Revision, LogError> {
        let known = *self.head.lock();
        match known {
            Some(head) => Ok(head),
            // Not kept: an append may be on its way. The next one that succeeds says where it stands.
            None => head(&self.pool).await,
        }
    }

    async fn try_entries(&self, after: Revision, limit: usize) -> Result<Vec<String>, LogError> {
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sqlx::query_scalar("SELECT event FROM events WHERE revision > ? ORDER BY revision LIMIT ?")
            .bind(after)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(LogError::Database)
    }

    async fn try_read(&self, after: Revision, limit: usize) -> Result<Vec<Recorded>, LogError> {
        let after = i64::try_from(after.0).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found =
            sqlx::query("SELECT revision, event FROM events WHERE revision > ? ORDER BY revision LIMIT ?")
                .bind(after)
                .bind(limit)
                .fetch(&self.pool);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while bytes < PAGE_BYTES
            && let Some(row) = found.try_next().await.map_err(LogError::Database)?
        {
            bytes += row.try_get::<&str, _>(1).map_err(LogError::Database)?.len();
            rows.push(row);
        }
        drop(found);
        let decode = move || rows.iter().map(decode).collect();
        tokio::task::spawn_blocking(decode).await.map_err(|_| LogError::Closed)?
    }
}

fn database(error: sqlx::Error) -> AppendError {
    AppendError::Log(LogError::Database(error))
}

fn values(insert: &mut QueryBuilder<Sqlite>, rows: &[(i64, String)]) {
    insert.push_values(rows, |mut row, (revision, event)| {
        row.push_bind(*revision).push_bind(event.as_str());
    });
}

/// Hashes of the events that were appended last, for whoever would have to read them again.
#[derive(Debug, Default)]
struct Recent {
    /// The revision before the first.
    after: u64,
    leaves: VecDeque<Hash>,
}

impl Recent {
    fn add(&mut self, expected: Revision, leaves: Vec<Hash>) {
        if self.after + self.leaves.len() as u64 != expected.0 {
            *self = Self { after: expected.0, leaves: VecDeque::new() };
        }
        self.leaves.extend(leaves);
        let over = self.leaves.len().saturating_sub(RECENT);
        self.leaves.drain(..over);
        self.after += over as u64;
    }

    fn after(&self, after: Revision, limit: usize) -> Option<Vec<Hash>> {
        let skip = usize::try_from(after.0.checked_sub(self.after)?).ok()?;
        let found: Vec<_> = self.leaves.iter().skip(skip).take(limit).copied().collect();
        (!found.is_empty()).then_some(found)
    }
}

/// Writes down what an append came to when it is over.
struct Known<'a> {
    head: &'a Mutex<Option<Revision>>,
    reached: Option<Revision>,
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        *self.head.lock() = self.reached;
    }
}

/// JSON, off the runtime's threads: a bulk call makes some 40 MB of it.
async fn encode(
    after: Revision,
    events: Vec<Arc<Event>>,
) -> Result<(Vec<(i64, String)>, Vec<Hash>), LogError> {
    let encode = move || {
        let first = i64::try_from(after.0).unwrap_or(i64::MAX).saturating_add(1);
        let rows = (first..).zip(&events);
        rows.map(|(revision, event)| {
            let text = encoded(event)?;
            let leaf = Hash::leaf(text.as_bytes());
            Ok(((revision, text), leaf))
        })
        .collect()
    };
    tokio::task::spawn_blocking(encode).await.map_err(|_| LogError::Closed)?
}

fn decode(row: &sqlx::sqlite::SqliteRow) -> Result<Recorded, LogError> {
    let revision: i64 = row.try_get(0).map_err(LogError::Database)?;
    let revision = Revision(u64::try_from(revision).unwrap_or(0));
    let event: &str = row.try_get(1).map_err(LogError::Database)?;
    let event = serde_json::from_str(event).map_err(|source| LogError::Event { revision, source })?;
    Ok(Recorded { revision, event: Arc::new(event) })
}

impl EventLog for SqliteLog {
    fn identity(&self) -> Identity {
        self.identity
    }

    fn head(&self) -> BoxFuture<'_, Result<Revision, LogError>> {
        self.try_head().boxed()
    }

    fn read(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Recorded>, LogError>> {
        self.try_read(after, limit).boxed()
    }

    fn entries(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        self.try_entries(after, limit).boxed()
    }

    fn leaves(&self, after: Revision, limit: usize) -> BoxFuture<'_, Result<Vec<Hash>, LogError>> {
        async move {
            if let Some(leaves) = self.recent.lock().after(after, limit) {
                return Ok(leaves);
            }
            let entries = self.try_entries(after, limit).await?;
            Ok(entries.iter().map(|entry| Hash::leaf(entry.as_bytes())).collect())
        }
        .boxed()
    }

    fn append(
        &self,
        expected: Revision,
        events: Vec<Arc<Event>>,
    ) -> BoxFuture<'_, Result<Revision, AppendError>> {
        self.try_append(expected, events).boxed()
    }

    fn keep_trails(&self, trails: Vec<KeptTrail>) -> BoxFuture<'_, Result<(), LogError>> {
        self.try_keep_trails(trails).boxed()
    }

    fn kept_trails(&self) -> BoxFuture<'_, Result<Vec<KeptTrail>, LogError>> {
        self.try_kept_trails().boxed()
    }
}
