//! What is exported, in the words that every form is made from, and where it comes from.

use crate::model::Time;
use serde_json::Value;
use std::future::Future;
use std::io;
use std::sync::Arc;

/// One entry of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Its position: 1 and up, without gaps.
    pub seq: u64,
    /// When it was written.
    pub time: Time,
    /// Its kind, for instance `end`.
    pub kind: String,
    /// Whether somebody may want to look at it: something was refused, cut or is in trouble.
    pub notable: bool,
    /// The trace that it belongs to.
    pub trace_id: Option<[u8; 16]>,
    /// The entry itself, byte for byte: the leaf of the log's tree.
    pub text: String,
    /// Its members, for forms that have attributes: strings, numbers and booleans.
    pub fields: Vec<(String, Value)>,
    /// Its OCSF events, where these are wanted.
    pub ocsf: Vec<Value>,
}

/// Which of the forms a record is read for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// [`Record::ocsf`].
    Ocsf,
    /// [`Record::fields`].
    Fields,
}

/// What was read at once.
#[derive(Debug, Default, PartialEq)]
pub struct Batch {
    /// The records, in order.
    pub records: Vec<Record>,
    /// Where reading goes on: the last record, or further if what follows it is lost.
    pub to: u64,
    /// How many entries up to there are gone.
    pub lost: u64,
}

/// See [`Source::head`].
pub type Head = Arc<dyn Fn() -> u64 + Send + Sync>;

/// A log that is exported.
pub trait Source: Send {
    /// Reads on after `after`; an empty batch where there is nothing more yet.
    fn read(&mut self, after: u64, form: Form) -> impl Future<Output = io::Result<Batch>> + Send;

    /// Tells the position of the last entry that may be exported.
    fn head(&self) -> Head;

    /// What identifies the log, over all its entries.
    fn origin(&self) -> &str;

    /// What changes when the same positions begin to mean something else: then everything is sent again.
    fn generation(&self) -> String {
        String::new()
    }

    /// Whose log it is, in a word: the host of syslog messages.
    fn host(&self) -> &str;
}

/// Entries that are read at once, and about how many bytes.
pub(crate) const MOST_RECORDS: usize = 1_000;
pub(crate) const MOST_BYTES: usize = 1 << 20;
