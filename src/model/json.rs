//! JSON values as a body with one reading holds them: members are sorted by name, and no two have one.
//!
//! A tree that costs little to make and to look through: names and texts are boxed, nothing is hashed. It refuses to know how JSON is
//! written; `crate::mcp` reads it strictly, and what comes from elsewhere is made of a [`serde_json::Value`].

use serde::ser::{Serialize, Serializer};
use serde_json::Number;

/// So many members are looked through faster than they are searched.
const FEW: usize = 8;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as it was written: `1` and `1.0` differ.
    Number(Number),
    /// A text.
    String(Box<str>),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Object(Object),
}

/// The members of an object, sorted by the bytes of their names.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object(Vec<Member>);

/// A name and its value.
pub type Member = (Box<str>, Value);

/// Two members have one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an object has two members with one name")]
pub struct Twice;

impl Object {
    /// An object of these members, in any order.
    ///
    /// # Errors
    /// [`Twice`].
    pub fn new(mut members: Vec<Member>) -> Result<Self, Twice> {
        members.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        match members.array_windows().any(|[(one, _), (other, _)]| one == other) {
            true => Err(Twice),
            false => Ok(Self(members)),
        }
    }

    /// The value of a member.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = match self.0.len() <= FEW {
            true => self.0.iter().position(|(own, _)| **own == *name)?,
            false => self.0.binary_search_by(|(own, _)| (**own).cmp(name)).ok()?,
        };
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether there is such a member.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> + Clone {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.0.iter().map(|(name, _)| &**name)
    }

    /// The values in the order of their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &Value> + Clone {
        self.0.iter().map(|(_, value)| value)
    }
}

impl Value {
    /// The text that it is.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The object that it is.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// The list that it is.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// Whether it is an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The value of a member, if it is an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(flag) => Self::Bool(flag),
            serde_json::Value::Number(number) => Self::Number(number),
            serde_json::Value::String(text) => Self::String(text.into()),
            serde_json::Value::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(members) => Self::Object(members.into()),
        }
    }
}

impl From<serde_json::Map<String, serde_json::Value>> for Object {
    fn from(members: serde_json::Map<String, serde_json::Value>) -> Self {
        let mut own: Vec<Member> =
            members.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        // A map has each name once.
        own.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self(own)
    }
}

impl From<&Value> for serde_json::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::String(text.as_ref().into()),
            Value::Array(items) => items.iter().map(Self::from).collect(),
            Value::Object(object) => Self::Object(object.into()),
        }
    }
}

impl From<&Object> for serde_json::Map<String, serde_json::Value> {
    fn from(object: &Object) -> Self {
        object.iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => to.serialize_unit(),
            Self::Bool(flag) => to.serialize_bool(*flag),
            Self::Number(number) => number.serialize(to),
            Self::String(text) => to.serialize_str(text),
            Self::Array(items) => to.collect_seq(items),
            Self::Object(object) => object.serialize(to),
        }
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn members_are_found_by_name_and_there_once() {
        for count in [0, 1, FEW, FEW + 1, 100] {
            let members: Vec<Member> =
                (0..count).rev().map(|at| (format!("m{at}").into(), Value::Bool(at % 2 == 0))).collect();
            let object = Object::new(members.clone()).unwrap();
            assert_eq!((object.len(), object.is_empty()), (count, count == 0));
            assert!(object.keys().is_sorted());
            for (name, value) in &members {
                assert_eq!(object.get(name), Some(value));
            }
            for absent in ["", "m", "m01", "n"] {
                assert!(!object.contains_key(absent), "{count} {absent}");
            }
            let twice = members.iter().cloned().chain(members.first().cloned()).collect();
            assert_eq!(Object::new(twice).is_err(), count > 0);
        }
    }

    #[test]
    fn it_is_what_it_was_made_of() {
        let given = json!({"b": [1, -2, 2.5, "x", null, true, {"d": {}, "c": []}], "a": "\u{e9}"});
        let value = Value::from(given.clone());
        assert_eq!(serde_json::Value::from(&value), given);
        assert_eq!(
            serde_json::to_string(&value).unwrap(),
            r#"{"a":"é","b":[1,-2,2.5,"x",null,true,{"c":[],"d":{}}]}"#
        );
        assert_eq!(value.get("a").and_then(Value::as_str), Some("\u{e9}"));
        assert_eq!(value.get("b").and_then(Value::as_array).map(<[_]>::len), Some(7));
        assert!(value.get("c").is_none() && value.is_object());
    }

    proptest! {
        #[test]
        fn the_order_of_members_does_not_matter(mut names in proptest::collection::vec("[a-c]{0,2}", 0..20), turn in 0_usize..20) {
            let object = |names: &[String]| Object::new(names.iter().map(|name| (name.as_str().into(), Value::String(name.as_str().into()))).collect());
            let one = object(&names);
            let turn = turn.min(names.len());
            names.rotate_left(turn);
            prop_assert_eq!(&one, &object(&names));
            let different: std::collections::BTreeSet<&String> = names.iter().collect();
            prop_assert_eq!(one.is_ok(), different.len() == names.len());
        }
    }
}
