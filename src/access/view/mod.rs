//! The canonical view of a request: borrowed facts, each with one reading (law 3). What is matched is what is forwarded, byte for
//! byte; nothing is decoded, normalised or put together anew.
//!
//! Whatever somebody behind us could read in another way is refused as `ambiguous`; what cannot be read at all as `malformed`;
//! a path of more than [`MAX_PATH`] bytes or [`MAX_SEGMENTS`] segments as `too_large`.
//!
//! # One path, several spellings
//!
//! Patterns are matched against the bytes that were sent. RFC 3986 knows spellings that mean the same: `%7E` for `~`, `%c3` for
//! `%C3`. A grant only ever permits, so that another spelling can never gain access: it matches no literal of a pattern, and a
//! wildcard permits it in every spelling. What it could do is look like something else in an audit trail. Therefore an encoded
//! letter, digit, `-` or `_` is refused (no client encodes these; `%61dmin` has no honest use), while lower-case hexadecimal
//! digits and `%7E`, which real clients do send, are accepted as they are and matched as they are.
//!
//! It refuses to know any grant.

mod header;
mod host;
pub(crate) mod names;
mod path;

use crate::model::DenyReason;
use http::request::Parts;

pub use host::{HostBuffer, host_label};
pub use path::{MAX_PATH, MAX_SEGMENTS};

/// What the request is, as far as matching goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// Plain HTTP.
    Http,
    /// gRPC, chosen by content type (`application/grpc` or `application/grpc+…`).
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

impl Unclear {
    fn ambiguous(detail: &'static str) -> Self {
        Self { reason: DenyReason::Ambiguous, detail }
    }

    fn malformed(detail: &'static str) -> Self {
        Self { reason: DenyReason::Malformed, detail }
    }

    fn too_large(detail: &'static str) -> Self {
        Self { reason: DenyReason::TooLarge, detail }
    }
}

/// A request in its one canonical form.
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
    /// Reads a request head. Allocates nothing.
    ///
    /// # Errors
    /// [`Unclear`] if anything in it has no reading or more than one.
    pub fn of(parts: &'a Parts) -> Result<Self, Unclear> {
        let method = parts.method.as_str();
        // A tunnel has no path to match (RFC 9110 section 9.3.6; RFC 8441 for HTTP/2); `UPGRADE` is our word for an upgrade.
        if matches!(method, "CONNECT" | "UPGRADE") {
            return Err(Unclear::malformed("this method is not forwarded"));
        }
        let authority = host::authority(parts)?;
        let path = parts.uri.path();
        path::check(path)?;
        let query = parts.uri.query();
        query.map_or(Ok(()), path::check_query)?;
        let seen = header::check_names(&parts.headers)?;
        if seen.authorization {
            header::check_once(&parts.headers, &http::header::AUTHORIZATION)?;
        }
        if seen.transfer_encoding {
            header::check_framing(&parts.headers)?;
        }
        Ok(Self {
            method,
            authority,
            path,
            query,
            form: header::form(parts, seen)?,
            task: if seen.task { header::single(&parts.headers, &header::TASK)? } else { None },
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

    /// The value of `jitgate-task`: only grants of this task count. A value that is no task name is no grant's task.
    #[must_use]
    pub fn task(&self) -> Option<&'a str> {
        self.task
    }
}

#[cfg(test)]
mod tests;
