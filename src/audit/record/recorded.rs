//! The part of a request's record that is its recording.

use super::{Draft, Facts, Record, Unfinished};
use crate::audit::line::{self, Ending};
use crate::audit::recording::{Job, Reel, Tape};
use crate::audit::sink::{Claim, Unavailable};
use crate::model::Recording;
use crate::runtime::clock::wall;
use http::HeaderMap;
use std::borrow::Cow;
use std::sync::Arc;

impl Draft {
    /// The name of a tool or a prompt, or the URI of a resource, without what recordings never hold; as it is where nothing is recorded.
    pub(crate) fn clean_name<'t>(&self, name: &'t str) -> Cow<'t, str> {
        self.0.sink.recorder().map_or(Cow::Borrowed(name), |recorder| recorder.clean_name(name))
    }

    /// The request must be recorded at this level: sets space aside for that.
    ///
    /// # Errors
    /// [`Unavailable`]: it cannot, so that it must be refused with `audit_unavailable`.
    pub fn record_at(&mut self, level: Recording) -> Result<(), Unavailable> {
        if level.is_metadata() {
            return Ok(());
        }
        let Unfinished { sink, facts, .. } = &mut *self.0;
        let recorder = sink.recorder().ok_or(Unavailable)?;
        let claim = recorder.claim().ok_or(Unavailable)?;
        let reel = Reel::new(level, facts.id, wall(), recorder.max_body_bytes(), claim);
        facts.reel = Some(Box::new(reel));
        Ok(())
    }
}

impl Record {
    /// How much of the request is recorded.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.reel().map_or(Recording::Metadata, Reel::level)
    }

    /// How its body is to be read, and its query, before they are handed on.
    pub fn request_head(&mut self, fields: &HeaderMap, query: Option<&str>) {
        if let Some(reel) = self.reel_mut() {
            reel.request_head(fields, query);
        }
    }

    /// How the response's body is to be read.
    pub fn response_head(&mut self, fields: &HeaderMap) {
        if let Some(reel) = self.reel_mut() {
            reel.response_head(fields);
        }
    }

    /// From here on the exchange speaks another protocol.
    pub fn switched(&mut self) {
        if let Some(reel) = self.reel_mut() {
            reel.switched();
        }
    }

    /// What whoever hands on the request's body leaves a copy on, if it is recorded.
    #[must_use]
    pub(crate) fn request_tape(&self) -> Option<Arc<Tape>> {
        self.reel().map(Reel::request_tape)
    }

    /// The same for the response's body.
    #[must_use]
    pub(crate) fn response_tape(&self) -> Option<Arc<Tape>> {
        self.reel().and_then(Reel::response_tape)
    }

    /// The arguments of a call (MCP), and what it answers to questions of the service, from a body that was found to have one reading:
    /// they are recorded instead of the body, from level `arguments` on.
    pub fn call_arguments(&mut self, arguments: &serde_json::Value, inputs: Option<&serde_json::Value>) {
        if let Some(reel) = self.reel_mut() {
            reel.arguments(arguments, inputs);
        }
    }

    fn reel(&self) -> Option<&Reel> {
        self.0.facts.reel.as_deref()
    }

    fn reel_mut(&mut self) -> Option<&mut Reel> {
        self.0.facts.reel.as_deref_mut()
    }
}

impl Unfinished {
    /// The line is written when the recording is, so that it can name its digest.
    pub(super) fn leave_to_recorder(&mut self, ending: Ending, claim: Claim) {
        let mut facts: Facts = self.facts.take();
        match (facts.reel.take(), self.sink.recorder()) {
            (Some(reel), Some(recorder)) => {
                recorder.take(Job { sink: Arc::clone(&self.sink), facts, reel, ending, claim });
            }
            // A reel comes from a recorder; the line is owed whatever happens.
            (_, _) => self.sink.close_request(&claim, facts.admit, |out| {
                line::request(out, self.sink.proxy(), &facts, Some(&ending), wall());
            }),
        }
    }
}
