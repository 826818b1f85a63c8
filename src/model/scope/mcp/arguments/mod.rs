//! The `arguments` of an `mcp` permission: any, or a schema that they must fit.
//!
//! The schema is a subset of JSON Schema 2020-12 in which every keyword restricts and none can make the check run away:
//!
//! | of | keywords |
//! |---|---|
//! | any value | `type`, `const`, `enum`, `allOf`, `anyOf`, `oneOf` |
//! | objects | `properties`, `required`, `additionalProperties`, `minProperties`, `maxProperties` |
//! | lists | `prefixItems`, `items`, `minItems`, `maxItems` |
//! | strings | `minLength`, `maxLength`, `pattern` ([`pattern`]) |
//! | numbers | `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf` (an integer) |
//!
//! Every other keyword is refused, also those that only annotate: an approver reads what is enforced. Numbers are within ±(2^53 - 1),
//! where a double is exact. In its canonical form the lists `required`, `type` and `enum` are sorted, a `type` of one is no list, empty
//! `properties` and `required` are left out, a schema `{}` is `true`, and all of it is RFC 8785: at most 8 KiB, at most 8 schemas deep
//! (a list or object in a `const` or `enum` counts as one).
//!
//! Compiled when it is read, and then shared by everybody who holds the permission.

mod check;
mod pattern;
mod read;
#[cfg(test)]
mod tests;

use super::super::error::{PermissionError, Quoted};
use crate::model::McpCall;
use crate::model::json::{self, Object};
use check::{Fuel, Node};
use serde_json::{Map, Value, json};
use std::fmt;
use std::hash::{Hash, Hasher};

/// Bytes of a schema in its canonical form.
pub const MAX_SCHEMA_BYTES: usize = 8_192;
/// How many schemas may be inside of each other.
pub const MAX_SCHEMA_DEPTH: usize = 8;

/// Which arguments a call may have.
#[derive(Debug, PartialEq, Eq, Hash)]
pub enum Arguments {
    /// `true`: any.
    Any,
    /// Those that fit.
    Fit(Schema),
}

/// A schema, compiled. Equal if the canonical forms are.
pub struct Schema {
    canonical: Box<str>,
    node: Node,
}

/// Why a value is no schema of the subset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaFault {
    /// Not in the subset.
    #[error("`{0}` is no keyword of the subset: see docs/scope.md for those that are")]
    Keyword(Quoted),
    /// A keyword has a value of the wrong form.
    #[error("`{keyword}` {expected}")]
    Value {
        /// The keyword.
        keyword: &'static str,
        /// What it takes.
        expected: &'static str,
    },
    /// Not an object, `true` or `false`.
    #[error("is no schema: expected an object, `true` or `false`")]
    Schema,
    /// A number that readers do not agree about.
    #[error("has a number beyond ±(2^53 - 1), or `-0`: readers do not agree about it")]
    Number,
    /// Not a pattern that is matched in linear time.
    #[error("`pattern` `{value}` {fault}")]
    Pattern {
        /// The pattern.
        value: Quoted,
        /// What is wrong with it.
        fault: pattern::PatternFault,
    },
    /// [`MAX_SCHEMA_DEPTH`].
    #[error("is nested more than {MAX_SCHEMA_DEPTH} deep")]
    TooDeep,
    /// [`MAX_SCHEMA_BYTES`].
    #[error("has more than {MAX_SCHEMA_BYTES} bytes in its canonical form")]
    TooLarge,
    /// `{}` or `false` as a whole.
    #[error("restricts nothing or permits nothing: write `true` for any arguments")]
    Trivial,
}

pub use pattern::PatternFault;

impl Arguments {
    /// From `true` or a schema.
    pub(super) fn new(value: Value) -> Result<Self, PermissionError> {
        if value == Value::Bool(true) {
            return Ok(Self::Any);
        }
        read::schema(value).map(Self::Fit).map_err(|(at, fault)| PermissionError::Arguments { at, fault })
    }

    /// Exactly these and no others.
    pub(super) fn exactly<'a>(
        members: impl Iterator<Item = (&'a str, Value)>,
    ) -> Result<Self, PermissionError> {
        let properties: Map<String, Value> =
            members.map(|(name, value)| (name.to_owned(), json!({ "const": value }))).collect();
        let required: Vec<&String> = properties.keys().collect();
        Self::new(json!({
            "type": "object",
            "required": required,
            "properties": properties,
            "additionalProperties": false,
        }))
    }

    /// Exactly those of a call; none if no schema can say so.
    pub(super) fn of_call(call: &McpCall<'_>) -> Option<Self> {
        // What is far too large is not even copied.
        read::weigh(&call.arguments)?;
        let members = call.arguments.into_iter().flat_map(Object::iter);
        Self::exactly(members.map(|(name, value)| (name, value.into()))).ok()
    }

    /// Whether a call with these arguments fits; one without is one with none. Allocates nothing.
    #[must_use]
    pub fn permit(&self, arguments: Option<&Object>) -> bool {
        match self {
            Self::Any => true,
            Self::Fit(schema) => schema.fits(arguments),
        }
    }

    /// The names and values of the only arguments that fit, sorted by name; none if others fit as well.
    pub fn exact(&self) -> Option<impl ExactSizeIterator<Item = (&str, &json::Value)>> {
        match self {
            Self::Any => None,
            Self::Fit(schema) => schema.node.exact(),
        }
    }

    /// Whether it is shown that whatever fits `other` fits here.
    pub(in crate::model::scope) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Fit(_), Self::Any) => false,
            // Of the narrower one it is known what fits: that is tried. Else only a schema that is the same covers.
            (Self::Fit(wide), Self::Fit(narrow)) => {
                wide == narrow || narrow.only().is_some_and(|only| wide.fits(Some(&only)))
            }
        }
    }

    /// Whether something could fit both: what is not shown to be apart does.
    pub(in crate::model::scope) fn meets(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Fit(one), Self::Fit(two)) => match (one.only(), two.only()) {
                (Some(only), _) => two.fits(Some(&only)),
                (None, Some(only)) => one.fits(Some(&only)),
                (None, None) => true,
            },
        }
    }

    /// The JSON form by RFC 8785.
    #[must_use]
    pub fn canonical_json(&self) -> &str {
        match self {
            Self::Any => "true",
            Self::Fit(schema) => &schema.canonical,
        }
    }
}

impl Schema {
    /// Whether arguments fit. A check that would take too long says no.
    #[must_use]
    pub fn fits(&self, arguments: Option<&Object>) -> bool {
        let mut fuel = Fuel::default();
        let holds = match arguments {
            Some(arguments) => self.node.holds_object(arguments, &mut fuel),
            None => self.node.holds_object(&Object::default(), &mut fuel),
        };
        holds && !fuel.is_spent()
    }

    /// The only arguments that fit, where the schema says so plainly.
    fn only(&self) -> Option<Object> {
        let members = self.node.exact()?;
        Object::new(members.map(|(name, value)| (name.into(), value.clone())).collect()).ok()
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Schema {}

impl Hash for Schema {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.canonical.hash(state);
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

impl serde::Serialize for Arguments {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value: Value = serde_json::from_str(self.canonical_json()).map_err(serde::ser::Error::custom)?;
        value.serialize(to)
    }
}
