//! What the command's environment says about its access, and what it no longer says.
//!
//! Invariant: of what begins with `JITGATE_` the command gets what is set here and nothing else: what led this process to a
//! certificate, a key or a folder of such is not handed on.

use super::access::Access;
use crate::cli::loopback::Loopback;
use crate::model::ServiceName;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;

const PREFIX: &[u8] = b"JITGATE_";

/// Variables to be set.
#[derive(Debug)]
pub(super) struct Environment {
    set: BTreeMap<String, String>,
}

/// Two services whose names read the same in a variable.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the services `{one}` and `{other}` would share the variable `{name}`: choose one with --service")]
pub(super) struct SameVariable {
    name: String,
    one: ServiceName,
    other: ServiceName,
}

impl Environment {
    /// The addresses of these listeners, and what they are for.
    pub(super) fn new(loopback: &Loopback, access: &Access, expires_at: &str) -> Result<Self, SameVariable> {
        let secret = loopback.secret().reveal();
        let mut set = addresses(&loopback.addresses().collect::<Vec<_>>(), secret)?;
        set.insert("JITGATE_SECRET".to_owned(), secret.to_owned());
        set.insert("JITGATE_TASK".to_owned(), access.task());
        set.insert("JITGATE_GRANT".to_owned(), access.grant());
        set.insert("JITGATE_EXPIRES_AT".to_owned(), expires_at.to_owned());
        Ok(Self { set })
    }

    /// Makes a command's environment out of ours.
    pub(super) fn apply(&self, command: &mut tokio::process::Command) {
        for (name, _) in std::env::vars_os().filter(|(name, _)| is_ours(name)) {
            command.env_remove(name);
        }
        command.envs(&self.set);
        // A proxy of the environment would get to see the secret, and could not reach this machine's loopback interface anyway.
        for name in ["NO_PROXY", "no_proxy"] {
            command.env(name, no_proxy(std::env::var_os(name)));
        }
    }
}

fn is_ours(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    bytes.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

fn addresses(
    services: &[(&ServiceName, SocketAddr)],
    secret: &str,
) -> Result<BTreeMap<String, String>, SameVariable> {
    let mut set = BTreeMap::new();
    let mut named: BTreeMap<String, &ServiceName> = BTreeMap::new();
    for (service, address) in services {
        let suffix: String =
            service.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let suffix = suffix.to_ascii_uppercase();
        if let Some(other) = named.insert(suffix.clone(), service) {
            let (one, other) = (other.clone(), (*service).clone());
            return Err(SameVariable { name: format!("JITGATE_URL_{suffix}"), one, other });
        }
        let (url, origin) = (format!("http://{address}/{secret}"), format!("http://{address}"));
        if services.len() == 1 {
            set.insert("JITGATE_URL".to_owned(), url.clone());
            set.insert("JITGATE_ORIGIN".to_owned(), origin.clone());
        }
        set.insert(format!("JITGATE_URL_{suffix}"), url);
        set.insert(format!("JITGATE_ORIGIN_{suffix}"), origin);
    }
    Ok(set)
}

fn no_proxy(before: Option<OsString>) -> OsString {
    let mut list = before.filter(|list| !list.is_empty()).map_or_else(OsString::new, |mut list| {
        list.push(",");
        list
    });
    list.push("127.0.0.1,localhost");
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(name: &str) -> ServiceName {
        name.parse().unwrap()
    }

    #[test]
    fn each_service_has_a_variable_and_the_only_one_a_short_name_as_well() {
        let (orders, stock) = (service("orders"), service("stock-v2.eu"));
        let (a, b) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let one = addresses(&[(&orders, a)], "s").unwrap();
        assert_eq!(one["JITGATE_URL"], "http://127.0.0.1:1/s");
        assert_eq!(one["JITGATE_URL_ORDERS"], one["JITGATE_URL"]);
        assert_eq!(one["JITGATE_ORIGIN"], "http://127.0.0.1:1");
        let two = addresses(&[(&orders, a), (&stock, b)], "s").unwrap();
        assert_eq!(two["JITGATE_URL_STOCK_V2_EU"], "http://127.0.0.1:2/s");
        assert!(!two.contains_key("JITGATE_URL"), "which of them?");
        let (x, y) = (service("a-b"), service("a.b"));
        let error = addresses(&[(&x, a), (&y, b)], "s").unwrap_err();
        assert!(error.to_string().contains("`JITGATE_URL_A_B`"), "{error}");
    }

    #[test]
    fn what_is_ours_is_told_by_its_beginning() {
        for name in ["JITGATE_KEY", "JITGATE_", "jitgate_cert"] {
            assert!(is_ours(OsStr::new(name)), "{name}");
        }
        for name in ["JITGATE", "XJITGATE_KEY", "PATH"] {
            assert!(!is_ours(OsStr::new(name)), "{name}");
        }
        assert_eq!(no_proxy(None), "127.0.0.1,localhost");
        assert_eq!(no_proxy(Some("corp.example".into())), "corp.example,127.0.0.1,localhost");
    }
}
