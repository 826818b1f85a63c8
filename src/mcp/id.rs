//! The id of a JSON-RPC request: a string or an integer. Fractions and `null` are none (MCP, "Requests").

use super::fault::Fault;
use super::json::{Kind, Reader};
use crate::model::json::Value;
use std::fmt;

/// Bytes of an id that is a string; ids are kept for as long as a call runs.
const LONGEST: usize = 256;

const NONE: Fault = Fault::malformed("an id is a string or an integer");

/// The id of a JSON-RPC request. `1` and `"1"` are two ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    /// An integer that a double holds exactly.
    Number(i64),
    /// A string of at most 256 bytes.
    Text(Box<str>),
}

impl Id {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.kind()? {
            Kind::Number => reader.number()?.as_i64().map(Self::Number).ok_or(NONE),
            Kind::Text => Self::text(reader.string()?.into()),
            Kind::Object | Kind::Array | Kind::Word => Err(NONE),
        }
    }

    /// The id that a member of `params` is.
    pub(super) fn of(value: &Value) -> Result<Self, Fault> {
        match value {
            Value::Number(number) => number.as_i64().map(Self::Number).ok_or(NONE),
            Value::String(text) => Self::text(text.clone()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(NONE),
        }
    }

    fn text(text: Box<str>) -> Result<Self, Fault> {
        match text.len() <= LONGEST && !text.chars().any(char::is_control) {
            true => Ok(Self::Text(text)),
            false => Err(Fault::malformed("an id is longer than 256 bytes or holds control characters")),
        }
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => to.serialize_i64(*number),
            Self::Text(text) => to.serialize_str(text),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => fmt::Debug::fmt(text, f),
        }
    }
}
