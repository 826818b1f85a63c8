//! Which permissions of grants were used: the permitted calls of trails against the permissions that they may have needed.
//!
//! A line does not say which permission of its grant permitted it, nor its query and arguments. So a permission counts as used when a
//! call under its grant may have needed it; one that is said to be unused was needed by none.

use super::ledger::{Granted, Ledger};
use super::source::Trail;
use crate::model::{GrantId, Permission, ProxyName, ServiceName, Time};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Ends what is too long for a line; see `docs/audit-line.schema.json`.
const TRUNCATED: &str = "…[truncated]";
/// In the place of what a line does not say; see `docs/recording.md`.
const REDACTED: &str = "[redacted]";

/// The permissions of all grants that are looked at.
#[derive(Debug, Default)]
pub(super) struct Uses(BTreeMap<GrantId, Vec<bool>>);

/// As much of a permitted call as tells what it needed.
#[derive(Debug, Deserialize)]
pub(super) struct Call<'a> {
    #[serde(borrow)]
    grant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    decision: Option<Cow<'a, str>>,
    #[serde(borrow)]
    service: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    protocol: Option<Cow<'a, str>>,
    #[serde(borrow)]
    mcp_method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool: Option<Cow<'a, str>>,
}

/// Permissions of one grant that nothing used.
#[derive(Debug, Serialize)]
pub(super) struct Unused {
    pub(super) grant: GrantId,
    /// Each in its text form.
    pub(super) permissions: Vec<String>,
    pub(super) of: usize,
    /// All that there are, so that the grant was not needed at all.
    pub(super) wholly: bool,
}

/// What is not known of a grant, and why.
#[derive(Debug, Serialize)]
pub(super) struct Unsure {
    pub(super) grant: GrantId,
    pub(super) why: String,
}

impl Uses {
    /// Of these grants, none used so far.
    pub(super) fn of<'a>(grants: impl IntoIterator<Item = &'a Granted>) -> Self {
        let none =
            |granted: &Granted| (granted.grant.id, vec![false; granted.grant.scope.permissions().len()]);
        Self(grants.into_iter().map(none).collect())
    }

    /// The next line of a trail.
    pub(super) fn take(&mut self, line: &[u8], grants: &BTreeMap<GrantId, Granted>) {
        let Ok(call) = serde_json::from_slice::<Call<'_>>(line) else { return };
        let id = call.grant.as_deref().and_then(|id| id.parse::<GrantId>().ok());
        let (Some(id), Some("permit")) = (id, call.decision.as_deref()) else { return };
        let (Some(used), Some(granted)) = (self.0.get_mut(&id), grants.get(&id)) else { return };
        let permissions = granted.grant.scope.permissions().iter();
        for (used, permission) in used.iter_mut().zip(permissions).filter(|(used, _)| !**used) {
            *used = call.may_need(permission);
        }
    }

    /// What nothing used, and of which grants that cannot be told.
    pub(super) fn unused(&self, ledger: &Ledger, trails: &[Trail]) -> (Vec<Unused>, Vec<Unsure>) {
        let (mut unused, mut unsure) = (Vec::new(), Vec::new());
        for (id, used) in &self.0 {
            let Some(granted) = ledger.grants.get(id) else { continue };
            let permissions = granted.grant.scope.permissions().iter().zip(used);
            let left: Vec<String> = permissions
                .filter(|(_, used)| !**used)
                .map(|(permission, _)| permission.to_string())
                .collect();
            if left.is_empty() {
                continue;
            }
            match blind(granted, ledger, trails) {
                Some(why) => unsure.push(Unsure { grant: *id, why }),
                None => unused.push(Unused {
                    grant: *id,
                    of: used.len(),
                    wholly: left.len() == used.len(),
                    permissions: left,
                }),
            }
        }
        (unused, unsure)
    }
}

impl Granted {
    /// From when on it permitted something.
    pub(super) fn begins(&self) -> Time {
        self.issued_at.max(self.grant.not_before)
    }
}

/// Why calls under a grant may be in no trail that was read.
fn blind(granted: &Granted, ledger: &Ledger, trails: &[Trail]) -> Option<String> {
    let how = if granted.use_is_logged { "was used" } else { "may have been used" };
    let places = places(granted, &ledger.proxies).into_iter();
    let begins = granted.begins();
    let mut lacks = places.filter_map(|proxy| Some((proxy, lack(proxy, begins, trails)?)));
    lacks.next().map(|(proxy, lack)| match lack {
        Lack::Unread => format!("it {how} at proxy `{proxy}`, whose trail was not read"),
        Lack::Begins => format!("it {how} at proxy `{proxy}`, and what is left of its trail begins later"),
    })
}

/// Where a grant was used; where that is not logged, all proxies that there were before it ended: it may have been.
pub(super) fn places<'a>(granted: &'a Granted, proxies: &'a BTreeMap<ProxyName, Time>) -> Vec<&'a ProxyName> {
    if granted.use_is_logged {
        granted.used.iter().filter(|used| used.requests > 0).map(|used| &used.proxy).collect()
    } else {
        let end = granted.ended.as_ref().map_or(granted.grant.expires_at, |end| end.at);
        proxies.iter().filter(|(_, joined)| **joined <= end).map(|(name, _)| name).collect()
    }
}

/// What is missing of what a proxy did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lack {
    /// Its trail was not read.
    Unread,
    /// What is left of its trail begins later.
    Begins,
}

/// What is missing of what a proxy did from a time on.
pub(super) fn lack(proxy: &ProxyName, from: Time, trails: &[Trail]) -> Option<Lack> {
    let of = |trail: &&Trail| trail.proxy.as_deref() == Some(proxy.as_str()) && trail.is_read();
    // Several files may be of one proxy: the one that begins first says where it begins.
    match trails.iter().filter(of).map(|trail| trail.begins_after(from)).min() {
        None => Some(Lack::Unread),
        Some(later) => later.then_some(Lack::Begins),
    }
}

impl Call<'_> {
    fn may_need(&self, permission: &Permission) -> bool {
        let service = self.service.as_deref().and_then(|service| service.parse::<ServiceName>().ok());
        if !service.is_some_and(|service| permission.names(&service)) {
            return false;
        }
        let (method, path) =
            (self.method.as_deref().unwrap_or_default(), self.path.as_deref().unwrap_or_default());
        let cut = |text: &str| text.ends_with(TRUNCATED);
        let unclear = |name: &str| cut(name) || name.contains(REDACTED);
        match permission {
            Permission::Http(http) => {
                self.mcp_method.is_none()
                    && http.methods().has(method)
                    && (cut(path) || http.paths().iter().any(|pattern| pattern.matches(path)))
            }
            Permission::Grpc(grpc) => {
                self.protocol.as_deref() == Some("grpc") && (cut(path) || grpc.permits(path))
            }
            Permission::Mcp(mcp) => {
                let Some(called) = self.mcp_method.as_deref() else { return false };
                let name = self.tool.as_deref();
                match called.split_once(',') {
                    None => {
                        let may_be = mcp.actions().has(called) && name.is_some_and(unclear);
                        cut(called) || may_be || mcp.shows(called, name)
                    }
                    // Of a batch the names are not known.
                    Some(_) => {
                        cut(called) || called.split(',').any(|method| mcp.actions().has(method.trim()))
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Scope;
    use serde_json::json;

    fn may_need(line: &serde_json::Value, permission: &str) -> bool {
        let text = line.to_string();
        let call: Call<'_> = serde_json::from_str(&text).unwrap();
        let scope = Scope::parse_all(&[permission]).unwrap();
        call.may_need(&scope.permissions()[0])
    }

    #[test]
    fn a_call_needs_what_permits_its_method_and_path() {
        let line = json!({"service": "orders", "method": "GET", "path": "/v1/orders/7", "protocol": "h2"});
        assert!(may_need(&line, "orders:GET:/v1/orders/*"));
        assert!(may_need(&line, "orders:GET:/v1/orders/7"));
        for other in
            ["orders:POST:/v1/orders/*", "orders:GET:/v1/orders", "stock:GET:/**", "ops:tools/call:x{}"]
        {
            assert!(!may_need(&line, other), "{other}");
        }
        let long =
            json!({"service": "orders", "method": "GET", "path": "/v1/aaa…[truncated]", "protocol": "h2"});
        assert!(may_need(&long, "orders:GET:/v2/**"), "the rest of the path is not known");
    }

    #[test]
    fn a_call_of_a_tool_needs_what_permits_that_tool() {
        let call = |method: &str, tool: Option<&str>| json!({"service": "ops", "method": "POST", "path": "/mcp", "protocol": "mcp", "mcp_method": method, "tool": tool});
        let permission = "ops:tools/call:restart{service=\"billing\"}";
        assert!(may_need(&call("tools/call", Some("restart")), permission));
        assert!(!may_need(&call("tools/call", Some("stop")), permission));
        assert!(may_need(&call("tools/call", Some("re[redacted]")), permission), "the rest is not known");
        assert!(!may_need(&call("tools/list", None), permission));
        assert!(
            may_need(&call("tools/list,tools/call", None), permission),
            "of a batch the names are not known"
        );
        assert!(!may_need(&call("tools/call", Some("restart")), "ops:POST:/mcp"));
    }
}
