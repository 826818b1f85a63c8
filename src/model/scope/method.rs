//! The `actions` of an `http` permission: methods, compared byte for byte (RFC 9110 section 9.1), or any.

use super::error::{PermissionError, Quoted};
use super::list::{List, ListFault};

const KNOWN: [&str; 9] = Methods::KNOWN;
const ANY: u16 = u16::MAX;
const MAX_LENGTH: usize = 64;

/// A non-empty set of actions, or every action. Sixteen standard bits and, hardly ever, a list of other tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Methods {
    mask: u16,
    others: Option<Box<List<Box<str>>>>,
}

/// Why a text is not a method of a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MethodFault {
    /// Not an RFC 9110 token without `*`, of at most 64 bytes.
    #[error("is no method: expected an RFC 9110 token of at most 64 characters, or `*` alone")]
    Token,
    /// A standard method in another case.
    #[error("is spelt in upper case (methods are case-sensitive)")]
    Case,
    /// `CONNECT`.
    #[error("is never forwarded: remove it")]
    Connect,
}

impl Methods {
    /// The action of opening a WebSocket. It is not a method: a request whose method is spelt like this matches nothing.
    pub const UPGRADE: &'static str = "UPGRADE";

    /// The actions that fit in the mask, sorted: the standard methods, and [`Self::UPGRADE`].
    pub const KNOWN: [&'static str; 9] =
        ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE", Self::UPGRADE];

    /// Every action, `UPGRADE` included.
    #[must_use]
    pub fn any() -> Self {
        Self { mask: ANY, others: None }
    }

    /// From method names, or `["*"]`.
    ///
    /// # Errors
    /// Empty, too many, duplicate, `*` beside others, or not a method ([`MethodFault`]).
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, PermissionError> {
        const KEY: &str = "actions";
        let names: Vec<&str> = names.into_iter().collect();
        let names = List::new(names).map_err(|fault| match fault {
            ListFault::Empty => PermissionError::Empty { key: KEY, example: "`[\"*\"]` for every method" },
            ListFault::TooMany => PermissionError::TooMany { key: KEY },
            ListFault::Duplicate(value) => PermissionError::Duplicate { key: KEY, value: Quoted::of(value) },
        })?;
        if names.has(&"*") {
            return match names.len() {
                1 => Ok(Self::any()),
                _ => Err(PermissionError::MixedAny { key: KEY }),
            };
        }
        let (mut mask, mut others) = (0, Vec::new());
        for name in names.iter() {
            let fault = |fault| PermissionError::Method { value: Quoted::of(name), fault };
            check(name).map_err(fault)?;
            match bit(name) {
                Some(bit) => mask |= bit,
                None => others.push(Box::from(*name)),
            }
        }
        Ok(Self { mask, others: List::new(others).ok().map(Box::new) })
    }

    /// Whether every action is in the set.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.mask == ANY
    }

    /// Whether the set has this action: the request's method, or [`Self::UPGRADE`].
    #[must_use]
    pub fn has(&self, action: &str) -> bool {
        self.is_any()
            || match bit(action) {
                Some(bit) => self.mask & bit != 0,
                None => self.others().iter().any(|other| **other == *action),
            }
    }

    /// The bit of an action in [`Self::mask`]; none for a token that has no bit. For an index over many permissions.
    #[must_use]
    pub fn bit(action: &str) -> Option<u16> {
        bit(action)
    }

    /// The known actions of the set as bits ([`Self::bit`]); all bits for any.
    #[must_use]
    pub fn mask(&self) -> u16 {
        self.mask
    }

    /// The actions of the set that have no bit, sorted; empty for any.
    #[must_use]
    pub fn others(&self) -> &[Box<str>] {
        self.others.as_deref().map_or(&[], |others| others)
    }

    /// The names, sorted; `*` alone for any.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        if self.is_any() {
            return vec!["*"];
        }
        let known = KNOWN.into_iter().filter(|name| bit(name).is_some_and(|bit| self.mask & bit != 0));
        let mut names: Vec<&str> = known.chain(self.others().iter().map(|other| &**other)).collect();
        names.sort_unstable();
        names
    }

    /// What of `wanted` this set does not have; none if it has all of it.
    pub(super) fn lacking(&self, wanted: &Self) -> Option<Self> {
        if self.is_any() {
            return None;
        }
        if wanted.is_any() {
            return Some(wanted.clone());
        }
        let others = wanted.others().iter().filter(|other| !self.has(other)).cloned().collect();
        let left = Self { mask: wanted.mask & !self.mask, others: List::new(others).ok().map(Box::new) };
        (left.mask != 0 || left.others.is_some()).then_some(left)
    }
}

fn bit(action: &str) -> Option<u16> {
    KNOWN.iter().position(|name| *name == action).map(|at| 1 << at)
}

/// RFC 9110 section 5.6.2 `token`, without `*`: it would look like a pattern.
fn check(name: &str) -> Result<(), MethodFault> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(&b);
    if !(1..=MAX_LENGTH).contains(&name.len()) || !name.bytes().all(token) {
        return Err(MethodFault::Token);
    }
    if name.eq_ignore_ascii_case("CONNECT") {
        return Err(MethodFault::Connect);
    }
    match KNOWN.iter().any(|known| name.eq_ignore_ascii_case(known) && name != *known) {
        true => Err(MethodFault::Case),
        false => Ok(()),
    }
}

impl serde::Serialize for Methods {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.names())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_what_it_names() {
        let set = Methods::new(["PURGE", "HEAD", "GET"]).unwrap();
        assert_eq!(set.names(), ["GET", "HEAD", "PURGE"]);
        assert!(set.has("GET") && set.has("PURGE"));
        for other in ["POST", "get", "purge", "", "*", "UPGRADE", "CONNECT", "PURGE2"] {
            assert!(!set.has(other), "{other}");
        }
        let any = Methods::new(["*"]).unwrap();
        assert!(any.is_any() && any.has("PURGE") && any.has(Methods::UPGRADE));
        assert_eq!(any.names(), ["*"]);
        let all_known = Methods::new(KNOWN).unwrap();
        assert!(!all_known.is_any() && !all_known.has("PURGE"));
    }

    #[test]
    fn what_is_no_method() {
        use MethodFault as F;
        for (name, fault) in [
            ("get", F::Case),
            ("Upgrade", F::Case),
            ("CONNECT", F::Connect),
            ("connect", F::Connect),
            ("", F::Token),
            ("GET ", F::Token),
            ("G*", F::Token),
            ("**", F::Token),
            ("tools/call", F::Token),
            ("GÉT", F::Token),
            ("G\0", F::Token),
            ("\"GET\"", F::Token),
            (&"X".repeat(65), F::Token),
        ] {
            let error = PermissionError::Method { value: Quoted::of(name), fault };
            assert_eq!(Methods::new([name]), Err(error), "{name}");
        }
        assert!(matches!(Methods::new([]), Err(PermissionError::Empty { .. })));
        assert!(matches!(Methods::new(["GET", "GET"]), Err(PermissionError::Duplicate { .. })));
        assert_eq!(Methods::new(["GET", "*"]), Err(PermissionError::MixedAny { key: "actions" }));
    }

    #[test]
    fn what_is_lacking() {
        let set = |names: &[&str]| Methods::new(names.iter().copied()).unwrap();
        assert_eq!(set(&["GET", "HEAD"]).lacking(&set(&["GET"])), None);
        assert_eq!(set(&["GET", "A"]).lacking(&set(&["GET", "POST", "A", "B"])), Some(set(&["POST", "B"])));
        assert_eq!(set(&["*"]).lacking(&set(&["*"])), None);
        assert_eq!(Methods::new(KNOWN).unwrap().lacking(&Methods::any()), Some(Methods::any()));
    }
}
