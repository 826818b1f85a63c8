//! Deliveries in two tables beside the event log, in the same file and over the same connection.

use crate::control::log::sqlite::SqliteLog;
use crate::control::notify::queue::{Change, Delivery};
use crate::control::notify::store::{Cursor, Kept, StoreError, WebhookStore};
use crate::model::{Revision, Time, WebhookName};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::{Row as _, SqlitePool};

/// See the head of this file.
#[derive(Debug)]
pub struct SqliteWebhooks(SqlitePool);

impl SqliteWebhooks {
    /// Beside this log. Its schema brings the tables.
    #[must_use]
    pub fn beside(log: &SqliteLog) -> Self {
        Self(log.pool())
    }

    async fn try_load(&self, name: &WebhookName) -> Result<Option<Kept>, StoreError> {
        let row = sqlx::query("SELECT revision, reviews FROM webhooks WHERE name = ?")
            .bind(name.as_str())
            .fetch_optional(&self.0)
            .await
            .map_err(StoreError::Database)?;
        let Some(row) = row else { return Ok(None) };
        let revision: i64 = row.try_get(0).map_err(StoreError::Database)?;
        let reviews: i64 = row.try_get(1).map_err(StoreError::Database)?;
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT delivery FROM webhook_deliveries WHERE webhook = ? ORDER BY rowid")
                .bind(name.as_str())
                .fetch_all(&self.0)
                .await
                .map_err(StoreError::Database)?;
        let deliveries: Result<Vec<Delivery>, _> = rows.iter().map(|row| serde_json::from_str(row)).collect();
        Ok(Some(Kept {
            cursor: Cursor {
                revision: Revision(u64::try_from(revision).unwrap_or(0)),
                reviews: Time::from_micros(reviews),
            },
            deliveries: deliveries.map_err(StoreError::Json)?,
        }))
    }

    async fn try_write(
        &self,
        name: &WebhookName,
        cursor: Option<Cursor>,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::Database)?;
        if let Some(cursor) = cursor {
            sqlx::query("INSERT INTO webhooks (name, revision, reviews) VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET revision = excluded.revision, reviews = excluded.reviews")
                .bind(name.as_str())
                .bind(i64::try_from(cursor.revision.0).unwrap_or(i64::MAX))
                .bind(cursor.reviews.as_micros())
                .execute(&mut *transaction)
                .await
                .map_err(StoreError::Database)?;
        }
        for change in changes {
            let query = match change {
                Change::Put(delivery) => {
                    let text = serde_json::to_string(delivery).map_err(StoreError::Json)?;
                    sqlx::query("INSERT INTO webhook_deliveries (webhook, id, delivery) VALUES (?, ?, ?) ON CONFLICT (webhook, id) DO UPDATE SET delivery = excluded.delivery")
                        .bind(name.as_str())
                        .bind(delivery.id.clone())
                        .bind(text)
                }
                Change::Remove(id) => {
                    sqlx::query("DELETE FROM webhook_deliveries WHERE webhook = ? AND id = ?")
                        .bind(name.as_str())
                        .bind(id.clone())
                }
            };
            query.execute(&mut *transaction).await.map_err(StoreError::Database)?;
        }
        transaction.commit().await.map_err(StoreError::Database)
    }

    async fn try_retain(&self, names: &[&WebhookName]) -> Result<(), StoreError> {
        let known: Vec<String> = sqlx::query_scalar("SELECT name FROM webhooks")
            .fetch_all(&self.0)
            .await
            .map_err(StoreError::Database)?;
        for name in known.iter().filter(|known| !names.iter().any(|name| name.as_str() == known.as_str())) {
            let mut transaction = self.0.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::Database)?;
            for statement in
                ["DELETE FROM webhook_deliveries WHERE webhook = ?", "DELETE FROM webhooks WHERE name = ?"]
            {
                sqlx::query(statement)
                    .bind(name.as_str())
                    .execute(&mut *transaction)
                    .await
                    .map_err(StoreError::Database)?;
            }
            transaction.commit().await.map_err(StoreError::Database)?;
            tracing::info!(webhook = name, "forgot a webhook that is no longer configured");
        }
        Ok(())
    }
}

impl WebhookStore for SqliteWebhooks {
    fn load<'a>(&'a self, name: &'a WebhookName) -> BoxFuture<'a, Result<Option<Kept>, StoreError>> {
        self.try_load(name).boxed()
    }

    fn write<'a>(
        &'a self,
        name: &'a WebhookName,
        cursor: Option<Cursor>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.try_write(name, cursor, changes).boxed()
    }

    fn retain<'a>(&'a self, names: &'a [&'a WebhookName]) -> BoxFuture<'a, Result<(), StoreError>> {
        self.try_retain(names).boxed()
    }
}
