//! What survives a restart: how far each receiver has been told, and what is still on its way or was given up.
//!
//! The contract of each backend: [`WebhookStore::write`] is atomic and durable when it returns. So a message is put into the store
//! together with the position that it comes from, and is neither lost nor made twice.

use crate::control::notify::queue::{Change, Delivery};
use crate::model::{Revision, Time, WebhookName};
use futures_util::future::BoxFuture;

/// How far a receiver has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Up to and including this revision of the log.
    pub revision: Revision,
    /// Of reviews that were due up to and including then.
    pub reviews: Time,
}

/// What is kept of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// How far it has been told.
    pub cursor: Cursor,
    /// What is on its way, and what was given up, by id.
    pub deliveries: Vec<Delivery>,
}

/// Why a store does not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
    /// What was kept cannot be read, or what is to be kept cannot be written as JSON.
    #[error("a kept delivery is not what this version writes")]
    Json(#[source] serde_json::Error),
}

/// Keeps deliveries. Shaped so that a store of several processes (PostgreSQL) fits.
pub trait WebhookStore: Send + Sync + 'static {
    /// What is kept of a receiver; `None` of one that was never told anything.
    fn load<'a>(&'a self, name: &'a WebhookName) -> BoxFuture<'a, Result<Option<Kept>, StoreError>>;

    /// Makes the changes, and moves the cursor if one is given; all or nothing.
    fn write<'a>(
        &'a self,
        name: &'a WebhookName,
        cursor: Option<Cursor>,
        changes: &'a [Change],
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Forgets receivers that are no longer configured: if one comes back, it is not told of what happened meanwhile.
    fn retain<'a>(&'a self, names: &'a [&'a WebhookName]) -> BoxFuture<'a, Result<(), StoreError>>;
}
