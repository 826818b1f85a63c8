//! From JSON to a compiled schema in canonical form; what is outside the subset is refused, with its place.

use super::super::super::error::Quoted;
use super::check::{
    Choices, Kinds, ListRules, MAX_SAFE, Node, NumberRules, ObjectRules, Property, Rules, TextRules, double,
};
use super::pattern::Pattern;
use super::{MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, Schema, SchemaFault};
use crate::model::json;
use serde::Serialize;
use serde_json::{Map, Number, Value};
use std::io;

/// What is wrong, and where (a JSON pointer).
pub(super) type Wrong = (Quoted, SchemaFault);

/// A schema that restricts something.
pub(super) fn schema(mut value: Value) -> Result<Schema, Wrong> {
    let whole = |fault| (Quoted::of(""), fault);
    let canonical =
        |value: &Value| serde_json_canonicalizer::to_string(value).map_err(|_| whole(SchemaFault::Number));
    // Before anything is compiled.
    weigh(&value).ok_or_else(|| whole(SchemaFault::TooLarge))?;
    let mut reader = Reader { place: String::new() };
    let node = reader.schema(&mut value, 1).map_err(|fault| (Quoted::of(&reader.place), fault))?;
    if !matches!(node, Node::Rules(_)) {
        return Err(whole(SchemaFault::Trivial));
    }
    let canonical = canonical(&value)?;
    match canonical.len() <= MAX_SCHEMA_BYTES {
        true => Ok(Schema { canonical: canonical.into(), node }),
        false => Err(whole(SchemaFault::TooLarge)),
    }
}

/// Whether a value could have a canonical form of the size that is allowed: it is at most twice as long as it is here. (That of a
/// schema leaves out what says nothing.) Looks at no more than that.
pub(super) fn weigh(value: &impl Serialize) -> Option<()> {
    struct Left(usize);
    impl io::Write for Left {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Left(2 * MAX_SCHEMA_BYTES), value).ok()
}

/// Where it is; left as it was where something is wrong.
struct Reader {
    place: String,
}

type Read<T> = Result<T, SchemaFault>;

impl Reader {
    /// Reads a schema and makes it canonical.
    fn schema(&mut self, value: &mut Value, depth: usize) -> Read<Node> {
        if depth > MAX_SCHEMA_DEPTH {
            return Err(SchemaFault::TooDeep);
        }
        let members = match value {
            Value::Bool(true) => return Ok(Node::Any),
            Value::Bool(false) => return Ok(Node::Nothing),
            Value::Object(members) => members,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                return Err(SchemaFault::Schema);
            }
        };
        for (key, says_nothing) in
            [("properties", Value::Object(Map::new())), ("required", Value::Array(vec![]))]
        {
            if members.get(key) == Some(&says_nothing) {
                members.remove(key);
            }
        }
        let mut rules = Draft::default();
        for (key, value) in members.iter_mut() {
            let before = self.place.len();
            self.place.push('/');
            self.place.push_str(key);
            self.keyword(key, value, depth, &mut rules)?;
            self.place.truncate(before);
        }
        if members.is_empty() {
            *value = Value::Bool(true);
            return Ok(Node::Any);
        }
        Ok(Node::Rules(Box::new(rules.finished())))
    }

    fn keyword(&mut self, key: &str, value: &mut Value, depth: usize, draft: &mut Draft) -> Read<()> {
        let rules = &mut draft.rules;
        match key {
            "type" => rules.kinds = kinds(value)?,
            "const" => rules.constant = Some(constant(value, depth)?),
            "enum" => rules.choices = Some(choices(value, depth)?),
            "allOf" => rules.all_of = self.schemas("allOf", value, depth)?,
            "anyOf" => rules.any_of = Some(self.schemas("anyOf", value, depth)?),
            "oneOf" => rules.one_of = Some(self.schemas("oneOf", value, depth)?),
            "properties" => draft.object().properties = self.properties(value, depth)?,
            "required" => draft.object().required = required(value)?,
            "additionalProperties" => draft.object().others = self.schema(value, depth + 1)?,
            "minProperties" => draft.object().least = count("minProperties", value)?,
            "maxProperties" => draft.object().most = count("maxProperties", value)?,
            "prefixItems" => draft.list().first = self.schemas("prefixItems", value, depth)?,
            "items" => draft.list().others = self.schema(value, depth + 1)?,
            "minItems" => draft.list().least = count("minItems", value)?,
            "maxItems" => draft.list().most = count("maxItems", value)?,
            "minLength" => draft.text().least = count("minLength", value)?,
            "maxLength" => draft.text().most = count("maxLength", value)?,
            "pattern" => draft.text().pattern = Some(pattern(value)?),
            "minimum" => draft.number().minimum = Some(bound("minimum", value)?),
            "maximum" => draft.number().maximum = Some(bound("maximum", value)?),
            "exclusiveMinimum" => draft.number().above = Some(bound("exclusiveMinimum", value)?),
            "exclusiveMaximum" => draft.number().below = Some(bound("exclusiveMaximum", value)?),
            "multipleOf" => draft.number().multiple_of = Some(divisor(value)?),
            _ => return Err(SchemaFault::Keyword(Quoted::of(key))),
        }
        Ok(())
    }

    fn properties(&mut self, value: &mut Value, depth: usize) -> Read<Box<[Property]>> {
        let Value::Object(members) = value else {
            return Err(wrong("properties", "is an object from names to schemas"));
        };
        let mut properties: Vec<Property> = Vec::with_capacity(members.len());
        for (name, value) in members.iter_mut() {
            let before = self.place.len();
            self.place.push('/');
            self.place.push_str(name);
            properties.push((Box::from(name.as_str()), self.schema(value, depth + 1)?));
            self.place.truncate(before);
        }
        properties.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Ok(properties.into())
    }

    fn schemas(&mut self, key: &'static str, value: &mut Value, depth: usize) -> Read<Box<[Node]>> {
        let list = value.as_array_mut().filter(|list| !list.is_empty());
        let list = list.ok_or(wrong(key, "is a list of one or more schemas"))?;
        list.iter_mut().map(|value| self.schema(value, depth + 1)).collect()
    }
}

/// Rules while they are read: those of a type are there once one of them is.
struct Draft {
    rules: Rules,
}

impl Default for Draft {
    fn default() -> Self {
        let rules = Rules {
            kinds: Kinds::ALL,
            constant: None,
            choices: None,
            object: None,
            list: None,
            text: None,
            number: None,
            all_of: Box::default(),
            any_of: None,
            one_of: None,
        };
        Self { rules }
    }
}

impl Draft {
    fn object(&mut self) -> &mut ObjectRules {
        self.rules.object.get_or_insert_with(|| {
            let (properties, required) = (Box::default(), Box::default());
            Box::new(ObjectRules { properties, required, others: Node::Any, least: 0, most: usize::MAX })
        })
    }

    fn list(&mut self) -> &mut ListRules {
        let none = || ListRules { first: Box::default(), others: Node::Any, least: 0, most: usize::MAX };
        self.rules.list.get_or_insert_with(|| Box::new(none()))
    }

    fn text(&mut self) -> &mut TextRules {
        let none = || TextRules { least: 0, most: usize::MAX, pattern: None };
        self.rules.text.get_or_insert_with(|| Box::new(none()))
    }

    fn number(&mut self) -> &mut NumberRules {
        self.rules.number.get_or_insert_with(Box::default)
    }

    fn finished(self) -> Rules {
        self.rules
    }
}

fn wrong(keyword: &'static str, expected: &'static str) -> SchemaFault {
    SchemaFault::Value { keyword, expected }
}

/// Makes numbers canonical, refuses those that readers take in different ways, and what is nested too deep.
fn constant(value: &mut Value, depth: usize) -> Read<json::Value> {
    tidy(value, depth)?;
    Ok(value.clone().into())
}

fn tidy(value: &mut Value, depth: usize) -> Read<()> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
        Value::Number(number) => {
            *number = exact(number)?;
            Ok(())
        }
        Value::Array(_) | Value::Object(_) if depth >= MAX_SCHEMA_DEPTH => Err(SchemaFault::TooDeep),
        Value::Array(items) => items.iter_mut().try_for_each(|item| tidy(item, depth + 1)),
        Value::Object(members) => members.values_mut().try_for_each(|member| tidy(member, depth + 1)),
    }
}

/// The number as it is written canonically.
fn exact(number: &Number) -> Read<Number> {
    let value = double(number).filter(|value| value.abs() <= MAX_SAFE).ok_or(SchemaFault::Number)?;
    if value == 0.0 && value.is_sign_negative() {
        return Err(SchemaFault::Number);
    }
    match value.fract() == 0.0 {
        // Within the range of exact doubles, so within that of `i64`.
        true => Ok(Number::from(value as i64)),
        false => Ok(number.clone()),
    }
}

fn kinds(value: &mut Value) -> Read<Kinds> {
    const EXPECTED: &str = "is a type of JSON Schema, or a list of different ones";
    let bit = |value: &Value| {
        let name = value.as_str()?;
        Kinds::NAMES.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit)
    };
    if let Some(bit) = bit(value) {
        return Ok(Kinds(bit));
    }
    let list = value.as_array_mut().filter(|list| !list.is_empty()).ok_or(wrong("type", EXPECTED))?;
    let mut bits = 0;
    for kind in list.iter() {
        let bit = bit(kind).filter(|bit| bits & bit == 0).ok_or(wrong("type", EXPECTED))?;
        bits |= bit;
    }
    list.sort_unstable_by(|one, other| one.as_str().cmp(&other.as_str()));
    if let [only] = list.as_mut_slice() {
        *value = std::mem::take(only);
    }
    Ok(Kinds(bits))
}

fn choices(value: &mut Value, depth: usize) -> Read<Choices> {
    const EXPECTED: &str = "is a list of one or more different values";
    let list = value.as_array_mut().filter(|list| !list.is_empty()).ok_or(wrong("enum", EXPECTED))?;
    let mut choices = Choices::default();
    for value in list.iter_mut() {
        tidy(value, depth)?;
        match value.as_str() {
            Some(text) => choices.texts.push(text.into()),
            None => choices.others.push(value.clone().into()),
        }
    }
    let text = |value: &Value| serde_json_canonicalizer::to_string(value).unwrap_or_default();
    list.sort_by_cached_key(text);
    if list.windows(2).any(|pair| matches!(pair, [one, other] if text(one) == text(other))) {
        return Err(wrong("enum", EXPECTED));
    }
    choices.texts.sort_unstable();
    Ok(choices)
}

fn required(value: &mut Value) -> Read<Box<[Box<str>]>> {
    let fault = || wrong("required", "is a list of different names");
    let Value::Array(list) = value else { return Err(fault()) };
    let names: Option<Vec<Box<str>>> = list.iter().map(|name| name.as_str().map(Box::from)).collect();
    let mut names = names.ok_or_else(fault)?;
    names.sort_unstable();
    if names.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        return Err(fault());
    }
    *list = names.iter().map(|name| Value::from(&**name)).collect();
    Ok(names.into())
}

fn count(keyword: &'static str, value: &mut Value) -> Read<usize> {
    let fault = || wrong(keyword, "is an integer of 0 or more");
    let Value::Number(number) = value else { return Err(fault()) };
    *number = exact(number)?;
    number.as_u64().and_then(|count| usize::try_from(count).ok()).ok_or_else(fault)
}

fn bound(keyword: &'static str, value: &mut Value) -> Read<f64> {
    let fault = || wrong(keyword, "is a number");
    let Value::Number(number) = value else { return Err(fault()) };
    *number = exact(number)?;
    double(number).ok_or_else(fault)
}

fn divisor(value: &mut Value) -> Read<f64> {
    let fault = || wrong("multipleOf", "is an integer above 0");
    let of = bound("multipleOf", value).map_err(|_| fault())?;
    (of > 0.0 && of.fract() == 0.0).then_some(of).ok_or_else(fault)
}

fn pattern(value: &Value) -> Read<Pattern> {
    let text = value.as_str().ok_or(wrong("pattern", "is a string"))?;
    Pattern::new(text).map_err(|fault| SchemaFault::Pattern { value: Quoted::of(text), fault })
}
