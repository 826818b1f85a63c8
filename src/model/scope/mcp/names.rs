//! Methods, tools and prompts of an `mcp` permission: names that are compared byte for byte, or any.

use super::super::error::{PermissionError, Quoted};
use super::super::list::{List, ListFault};

/// Bytes of a method's name.
const LONGEST_METHOD: usize = 128;
/// Bytes of a tool's or prompt's name.
const LONGEST_NAME: usize = 1_024;

/// A non-empty set of names, or every name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Names {
    /// `*`: every one.
    Any,
    /// These.
    Only(List<Box<str>>),
}

impl Names {
    /// The methods of a permission.
    pub(super) fn methods<S: AsRef<str>>(methods: &[S]) -> Result<Self, PermissionError> {
        Self::of("actions", methods, |name| match is_method(name) {
            true => Ok(()),
            false => Err(PermissionError::McpMethod { value: Quoted::of(name) }),
        })
    }

    /// Tools or prompts.
    pub(super) fn named<S: AsRef<str>>(key: &'static str, names: &[S]) -> Result<Self, PermissionError> {
        Self::of(key, names, |name| match is_name(name) {
            true => Ok(()),
            false => Err(PermissionError::McpName { key, value: Quoted::of(name) }),
        })
    }

    fn of<S: AsRef<str>>(
        key: &'static str,
        names: &[S],
        check: impl Fn(&str) -> Result<(), PermissionError>,
    ) -> Result<Self, PermissionError> {
        if names.iter().any(|name| name.as_ref() == "*") {
            return match names.len() {
                1 => Ok(Self::Any),
                _ => Err(PermissionError::MixedAny { key }),
            };
        }
        names.iter().try_for_each(|name| check(name.as_ref()))?;
        let names = names.iter().map(|name| Box::from(name.as_ref())).collect();
        List::new(names).map(Self::Only).map_err(|fault| match fault {
            ListFault::Empty => PermissionError::Empty { key, example: "`[\"*\"]` for every one" },
            ListFault::TooMany => PermissionError::TooMany { key },
            ListFault::Duplicate(name) => PermissionError::Duplicate { key, value: Quoted::of(&name) },
        })
    }

    /// Whether it has a name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => names.binary_search_by(|known| (**known).cmp(name)).is_ok(),
        }
    }

    /// The names as they are written in a scope.
    pub fn texts(&self) -> impl Iterator<Item = &str> + Clone {
        let (any, names) = match self {
            Self::Any => (Some("*"), [].as_slice()),
            Self::Only(names) => (None, &**names),
        };
        any.into_iter().chain(names.iter().map(|name| &**name))
    }

    /// Whether it has each name that `other` has.
    pub(in crate::model::scope) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Only(_), Self::Any) => false,
            (Self::Only(wide), Self::Only(narrow)) => narrow.iter().all(|name| wide.has(name)),
        }
    }

    /// Whether they have a name in common.
    pub(in crate::model::scope) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Only(one), Self::Only(two)) => one.iter().any(|name| two.has(name)),
        }
    }
}

/// What the reader of MCP takes for a method.
pub(super) fn is_method(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.$".contains(&byte);
    (1..=LONGEST_METHOD).contains(&name.len()) && !name.starts_with('/') && name.bytes().all(plain)
}

/// A name that a person can read in one way. `*` in it would look like a pattern.
pub(super) fn is_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.trim() == name
        && !name.chars().any(|c| c == '*' || is_unseen(c))
}

/// Control characters, and what takes no room or turns the reading direction.
pub(super) fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}
