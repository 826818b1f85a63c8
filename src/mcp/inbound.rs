//! A request of a client, as a whole: the head first, then the body in the light of it.
//!
//! Owns the rules of [`super::version`]'s table. It refuses to know whose session it is, and what anybody may do.

use super::body::{self, Content};
use super::fault::Fault;
use super::header::{self, EventId, SessionId};
use super::message::{Message, Notification, Request, Response};
use super::mirror;
use super::refused::Refused;
use super::rules::Rules;
use super::version::Version;
use bytes::Bytes;
use http::{HeaderMap, Method};

mod agree;

/// What a client wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Inbound {
    /// A request that wants an answer.
    Call(Request),
    /// A notification.
    Notification(Notification),
    /// An answer to what the upstream asked.
    Response(Response),
    /// Several messages; each is decided on.
    Batch(Vec<Message>),
    /// `GET`: a stream of what the upstream has to say.
    OpenStream {
        /// Where an earlier stream broke off.
        last_event_id: Option<EventId>,
    },
    /// `DELETE`: the session is over.
    EndSession,
}

/// A request that was read as a whole.
#[derive(Debug, Clone)]
pub struct Received {
    /// The version that is spoken; that of an `initialize` is not settled before its answer.
    pub version: Version,
    /// The session that it belongs to.
    pub session: Option<SessionId>,
    /// What it wants.
    pub inbound: Inbound,
    /// The body, byte for byte as it came: this is what is forwarded.
    pub body: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Post,
    Get,
    Delete,
}

/// What the head says about the version.
#[derive(Debug, Clone, Copy)]
enum Claim<'h> {
    Nothing,
    Known(Version),
    Unknown(&'h str),
}

/// The head of a request.
#[derive(Debug)]
pub struct Head<'h> {
    verb: Verb,
    claim: Claim<'h>,
    session: Option<SessionId>,
    last_event: Option<EventId>,
    headers: &'h HeaderMap,
    rules: &'h Rules,
}

impl<'h> Head<'h> {
    /// Reads the head; the path was compared before.
    ///
    /// # Errors
    /// [`Refused`] if a header is wrong whatever the body will be.
    pub fn read(rules: &'h Rules, method: &Method, headers: &'h HeaderMap) -> Result<Self, Refused> {
        header::check_names(headers)?;
        check_origin(rules, headers)?;
        let verb = match *method {
            Method::POST => Verb::Post,
            Method::GET => Verb::Get,
            Method::DELETE => Verb::Delete,
            _ => return Err(Refused::no_method("an MCP endpoint takes `POST`, `GET` and `DELETE`")),
        };
        let claim = match header::single(headers, &header::PROTOCOL_VERSION)? {
            None => Claim::Nothing,
            Some(text) => text.parse().map_or(Claim::Unknown(text), Claim::Known),
        };
        let (session, last_event) = (header::session(headers)?, header::last_event(headers)?);
        let head = Self { verb, claim, session, last_event, headers, rules };
        match verb {
            Verb::Post => head.check_post()?,
            Verb::Get | Verb::Delete => head.check_bodiless()?,
        }
        Ok(head)
    }

    /// The session that it names: who it belongs to has to be looked up before the body is read.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        self.session.as_ref()
    }

    /// Whether a body follows.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.verb == Verb::Post
    }

    /// The whole. `negotiated` is the version of its session, where that is known.
    ///
    /// # Errors
    /// [`Refused`] if the body has no reading, or none that the head agrees with.
    pub fn with_body(self, body: Bytes, negotiated: Option<Version>) -> Result<Received, Refused> {
        if self.verb == Verb::Post {
            return self.post(body, negotiated);
        }
        if !body.is_empty() {
            return Err(Fault::malformed("this request has no body").into());
        }
        let version = self.legacy(negotiated, false)?;
        let inbound = match self.verb {
            Verb::Delete => Inbound::EndSession,
            Verb::Get | Verb::Post => Inbound::OpenStream { last_event_id: self.last_event },
        };
        Ok(Received { version, session: self.session, inbound, body })
    }

    fn check_post(&self) -> Result<(), Refused> {
        header::check_content(self.headers)?;
        if self.last_event.is_some() {
            return Err(Fault::ambiguous("`Last-Event-ID` belongs to a `GET`").into());
        }
        Ok(())
    }

    fn check_bodiless(&self) -> Result<(), Refused> {
        header::check_no_body(self.headers)?;
        let stateless = matches!(self.claim, Claim::Known(version) if version.is_stateless());
        if stateless || self.rules.versions.newest_with_sessions().is_none() {
            return Err(Refused::no_method("this version of MCP has `POST` alone"));
        }
        if mirror::has_any(self.headers) {
            return Err(Refused::mismatch(Fault::ambiguous("headers of a call on a request that is none")));
        }
        if self.verb == Verb::Delete && (self.session.is_none() || self.last_event.is_some()) {
            return Err(Fault::malformed("`DELETE` names a session and no event").into());
        }
        Ok(())
    }

    fn post(self, body: Bytes, negotiated: Option<Version>) -> Result<Received, Refused> {
        let content = body::read(&body, self.rules.limits)?;
        let id = match &content {
            Content::One(Message::Request(request)) => Some(request.id().clone()),
            Content::One(_) | Content::Batch(_) => None,
        };
        let version = self.agreed(&content, negotiated).map_err(|refused| refused.with_id(id.as_ref()))?;
        let inbound = match content {
            Content::One(Message::Request(request)) => Inbound::Call(request),
            Content::One(Message::Notification(notification)) => Inbound::Notification(notification),
            Content::One(Message::Response(response)) => Inbound::Response(response),
            Content::Batch(messages) => Inbound::Batch(messages),
        };
        Ok(Received { version, session: self.session, inbound, body })
    }
}

/// Scripts of web pages reach what the browser reaches (DNS rebinding): only pages that are named may.
fn check_origin(rules: &Rules, headers: &HeaderMap) -> Result<(), Refused> {
    match header::single(headers, &http::header::ORIGIN)? {
        Some(origin) if !rules.origins.iter().any(|allowed| allowed.as_str() == origin) => {
            Err(Refused::origin())
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
