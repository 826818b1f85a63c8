//! The version that the head and the body of a request agree on: the table of `version`, rule by rule.

use super::{Claim, Head};
use crate::mcp::body::Content;
use crate::mcp::fault::Fault;
use crate::mcp::message::Message;
use crate::mcp::mirror;
use crate::mcp::privilege;
use crate::mcp::refused::Refused;
use crate::mcp::version::Version;
use crate::model::json::Value;

impl Head<'_> {
    /// The version that head and body agree on.
    pub(super) fn agreed(&self, content: &Content, negotiated: Option<Version>) -> Result<Version, Refused> {
        let (claims, discover, initialize) = match content {
            Content::One(Message::Request(request)) => {
                let method = request.method();
                (request.meta_version(), method == "server/discover", method == "initialize")
            }
            Content::One(Message::Notification(notification)) => (notification.meta_version(), false, false),
            Content::One(Message::Response(_)) => (None, false, false),
            Content::Batch(messages) => (messages.iter().find_map(meta_version), false, false),
        };
        match self.claim {
            // Nobody's probe: whoever knows the version above it is told which ones there are.
            Claim::Unknown(text) => Err(Refused::version(self.rules.versions, text, false)),
            Claim::Known(version) if !self.rules.versions.contains(version) => {
                Err(Refused::unsupported(self.rules.versions, version, discover))
            }
            Claim::Known(version) if version.is_stateless() => {
                self.stateless(content, claims)?;
                Ok(version)
            }
            Claim::Nothing | Claim::Known(_) if claims.is_some() => Err(Refused::mismatch(Fault::ambiguous(
                "the body names a version that `MCP-Protocol-Version` does not name",
            ))),
            Claim::Nothing | Claim::Known(_) if mirror::has_any(self.headers) => Err(Refused::mismatch(
                Fault::ambiguous("`Mcp-Method`, `Mcp-Name` and `Mcp-Param-*` belong to version 2026-07-28"),
            )),
            Claim::Nothing | Claim::Known(_) if initialize && self.session.is_some() => {
                Err(Fault::ambiguous("`initialize` begins a session and names none").into())
            }
            Claim::Nothing | Claim::Known(_) => {
                let version = self.legacy(negotiated, initialize)?;
                match content {
                    Content::Batch(_) if !version.has_batches() => {
                        Err(Fault::malformed("batches belong to version 2025-03-26").into())
                    }
                    Content::One(_) | Content::Batch(_) => Ok(version),
                }
            }
        }
    }

    /// What holds for a request that stands alone.
    fn stateless(&self, content: &Content, claims: Option<&Value>) -> Result<(), Refused> {
        const DIFFERS: Fault =
            Fault::ambiguous("the body does not name the version of `MCP-Protocol-Version`");
        const NO_META: Fault = Fault::malformed(
            "`params._meta` names the version, in `io.modelcontextprotocol/protocolVersion`, in version 2026-07-28",
        );
        if self.session.is_some() {
            return Err(Refused::mismatch(Fault::ambiguous("version 2026-07-28 has no sessions")));
        }
        let same = claims.and_then(Value::as_str) == Some(Version::V20260728.as_str());
        let agreed = match content {
            Content::One(Message::Request(_)) if claims.is_none() => return Err(Refused::params(NO_META)),
            Content::One(Message::Request(_)) if !same => Err(DIFFERS),
            Content::One(Message::Request(request)) => {
                mirror::check_method(self.headers, request.method(), true)
                    .and_then(|()| mirror::check(self.headers, request))
            }
            // The version leaves the headers of notifications open.
            Content::One(Message::Notification(_)) if claims.is_some() && !same => Err(DIFFERS),
            Content::One(Message::Notification(notification)) => {
                mirror::check_method(self.headers, notification.method(), false)
            }
            Content::One(Message::Response(_)) => {
                Err(Fault::malformed("version 2026-07-28 has no responses of clients"))
            }
            Content::Batch(_) => Err(Fault::malformed("batches belong to version 2025-03-26")),
        };
        agreed.map_err(Refused::mismatch)?;
        match content {
            Content::One(Message::Request(request)) if privilege::is_removed(request.method()) => {
                Err(Refused::unknown_method())
            }
            Content::One(_) | Content::Batch(_) => Ok(()),
        }
    }

    /// The version of a request that belongs to a session, or begins one.
    pub(super) fn legacy(&self, negotiated: Option<Version>, initialize: bool) -> Result<Version, Refused> {
        let allowed = self.rules.versions;
        let version = match (self.claim, negotiated) {
            (Claim::Unknown(text), _) => return Err(Refused::version(allowed, text, false)),
            (Claim::Known(one), Some(other)) if one != other => {
                return Err(
                    Fault::ambiguous("`MCP-Protocol-Version` is not the version of the session").into()
                );
            }
            (Claim::Known(version), _) | (Claim::Nothing, Some(version)) => version,
            // Settled by the answer; until then the strictest reading counts.
            (Claim::Nothing, None) if initialize => match allowed.newest_with_sessions() {
                Some(newest) => newest,
                None => return Err(Refused::version(allowed, "initialize", false)),
            },
            (Claim::Nothing, None) => Version::V20250326,
        };
        match allowed.contains(version) {
            true => Ok(version),
            false => Err(Refused::unsupported(allowed, version, false)),
        }
    }
}

fn meta_version(message: &Message) -> Option<&Value> {
    match message {
        Message::Request(request) => request.meta_version(),
        Message::Notification(notification) => notification.meta_version(),
        Message::Response(_) => None,
    }
}
