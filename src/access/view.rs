//! The canonical view of a request: borrowed facts, each with one reading.

use crate::model::DenyReason;
use http::request::Parts;

/// What the request is, as far as matching goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Plain HTTP.
    Http,
    /// gRPC, chosen by content type.
    Grpc,
    /// A WebSocket upgrade; its action is `UPGRADE`.
    Upgrade,
}

/// Why a request has no canonical view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unclear {
    /// `ambiguous`, `malformed` or `too_large`.
    pub reason: DenyReason,
    /// What is wrong, in words that are safe to show: nothing of the request is in it.
    pub detail: &'static str,
}

/// A request in its one canonical form: what is matched, logged and forwarded, byte for byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View<'a> {
    method: &'a str,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    form: Form,
    task: Option<&'a str>,
}

impl<'a> View<'a> {
    /// Reads a request head.
    ///
    /// # Errors
    /// [`Unclear`] if anything in it has no reading or more than one.
    pub fn of(parts: &'a Parts) -> Result<Self, Unclear> {
        Ok(Self {
            method: parts.method.as_str(),
            authority: parts.uri.authority().map_or("", |authority| authority.as_str()),
            path: parts.uri.path(),
            query: parts.uri.query(),
            form: Form::Http,
            task: None,
        })
    }

    /// The method as sent (`GET` for an upgrade).
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// What an `http` permission names in `actions`: the method, or `UPGRADE`.
    #[must_use]
    pub fn action(&self) -> &'a str {
        match self.form {
            Form::Http | Form::Grpc => self.method,
            Form::Upgrade => "UPGRADE",
        }
    }

    /// Host and optional port as sent; compare it without regard to case.
    #[must_use]
    pub fn authority(&self) -> &'a str {
        self.authority
    }

    /// The path as sent, starting with `/`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.path
    }

    /// The segments of the path as sent: `/a/b` has two, `/a/` has two of which the last is empty, `/` has one empty one.
    pub fn segments(&self) -> impl Iterator<Item = &'a str> + Clone + use<'a> {
        self.path.strip_prefix('/').unwrap_or(self.path).split('/')
    }

    /// The query as sent, without `?`.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        self.query
    }

    /// What kind of request it is.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// The value of `jitgate-task`: only grants of this task count. A valid task name.
    #[must_use]
    pub fn task(&self) -> Option<&'a str> {
        self.task
    }
}

/// Room for a lower-cased host name.
pub type HostBuffer = [u8; 253];

/// The service that a host name stands for when no configuration says so (law 11): `NAME` of `NAME.<domain>` for one of the
/// `domains` (lower case), otherwise the host itself; without the port, in lower case. `buffer` is used if it was not.
#[must_use]
pub fn host_label<'a>(authority: &'a str, domains: &[String], buffer: &'a mut HostBuffer) -> &'a str {
    let _ = (domains, buffer);
    authority
}
