//! The id of a JSON-RPC request: a string or an integer. Fractions and `null` are none (MCP, "Requests").

use super::fault::Fault;
use super::json::{Kind, Reader};
use std::fmt;

/// Bytes of an id that is a string; ids are kept for as long as a call runs.
const LONGEST: usize = 256;

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
        const NONE: Fault = Fault::malformed("an id is a string or an integer");
        match reader.kind()? {
            Kind::Number => reader.number()?.as_i64().map(Self::Number).ok_or(NONE),
            Kind::Text => {
                let text = reader.string()?;
                match text.len() <= LONGEST && !text.chars().any(char::is_control) {
                    true => Ok(Self::Text(text.into())),
                    false => {
                        Err(Fault::malformed("an id is longer than 256 bytes or holds control characters"))
                    }
                }
            }
            Kind::Object | Kind::Array | Kind::Word => Err(NONE),
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
