//! A compiled schema, and whether a value fits it. Allocates nothing, and its time is bounded by [`Fuel`], whatever the value is.

use super::pattern::Pattern;
use crate::model::json::{Object, Value};
use serde_json::Number;

/// The largest integer that a double holds together with its neighbours.
pub(super) const MAX_SAFE: f64 = 9_007_199_254_740_991.0;

/// How much work is left; each value that is looked at, and each 64 bytes of text, costs one.
pub(super) struct Fuel(u32);

impl Default for Fuel {
    fn default() -> Self {
        Self(200_000)
    }
}

impl Fuel {
    fn take(&mut self, work: usize) -> bool {
        match u32::try_from(work).ok().and_then(|work| self.0.checked_sub(work)) {
            Some(left) => self.0 = left,
            None => self.0 = 0,
        }
        self.0 > 0
    }

    pub(super) fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// Types as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(pub(super) u8);

impl Kinds {
    pub(super) const NAMES: [(&'static str, u8); 7] = [
        ("array", 1),
        ("boolean", 2),
        ("integer", 4),
        ("null", 8),
        ("number", 16),
        ("object", 32),
        ("string", 64),
    ];
    pub(super) const ALL: Self = Self(u8::MAX);
    pub(super) const OBJECT: u8 = 32;

    fn has(self, value: &Value) -> bool {
        let bits = match value {
            Value::Array(_) => 1,
            Value::Bool(_) => 2,
            Value::Null => 8,
            Value::Number(number) => match double(number) {
                Some(number) if number.fract() == 0.0 => 4 | 16,
                Some(_) => 16,
                None => 0,
            },
            Value::Object(_) => Self::OBJECT,
            Value::String(_) => 64,
        };
        self.0 & bits != 0
    }
}

/// A schema.
pub(super) enum Node {
    Any,
    Nothing,
    Rules(Box<Rules>),
}

/// What must hold, all of it.
pub(super) struct Rules {
    pub(super) kinds: Kinds,
    pub(super) constant: Option<Value>,
    pub(super) choices: Option<Choices>,
    pub(super) object: Option<Box<ObjectRules>>,
    pub(super) list: Option<Box<ListRules>>,
    pub(super) text: Option<Box<TextRules>>,
    pub(super) number: Option<Box<NumberRules>>,
    pub(super) all_of: Box<[Node]>,
    pub(super) any_of: Option<Box<[Node]>>,
    pub(super) one_of: Option<Box<[Node]>>,
}

/// The values of an `enum`.
#[derive(Default)]
pub(super) struct Choices {
    /// Sorted.
    pub(super) texts: Vec<Box<str>>,
    pub(super) others: Vec<Value>,
}

pub(super) struct ObjectRules {
    /// Sorted by name.
    pub(super) properties: Box<[Property]>,
    /// Sorted.
    pub(super) required: Box<[Box<str>]>,
    pub(super) others: Node,
    pub(super) least: usize,
    pub(super) most: usize,
}

/// A name and the schema of its value.
pub(super) type Property = (Box<str>, Node);

pub(super) struct ListRules {
    pub(super) first: Box<[Node]>,
    pub(super) others: Node,
    pub(super) least: usize,
    pub(super) most: usize,
}

pub(super) struct TextRules {
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) pattern: Option<Pattern>,
}

#[derive(Default)]
pub(super) struct NumberRules {
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) above: Option<f64>,
    pub(super) below: Option<f64>,
    pub(super) multiple_of: Option<f64>,
}

impl Node {
    /// Whether an object fits; the same as [`Self::holds`] of it as a value.
    pub(super) fn holds_object(&self, object: &Object, fuel: &mut Fuel) -> bool {
        let rules = match self {
            Self::Any => return true,
            Self::Nothing => return false,
            Self::Rules(rules) => rules,
        };
        let each = |nodes: &[Node], fuel: &mut Fuel| {
            nodes.iter().filter(|node| node.holds_object(object, fuel)).take(2).count()
        };
        fuel.take(1)
            && rules.kinds.0 & Kinds::OBJECT != 0
            && rules
                .constant
                .as_ref()
                .is_none_or(|wanted| wanted.as_object().is_some_and(|wanted| same_members(wanted, object)))
            && rules.choices.as_ref().is_none_or(|choices| choices.has_object(object, fuel))
            && rules.object.as_ref().is_none_or(|rules| rules.hold(object, fuel))
            && rules.all_of.iter().all(|node| node.holds_object(object, fuel))
            && rules
                .any_of
                .as_ref()
                .is_none_or(|nodes| nodes.iter().any(|node| node.holds_object(object, fuel)))
            && rules.one_of.as_ref().is_none_or(|nodes| each(nodes, fuel) == 1)
    }

    fn holds(&self, value: &Value, fuel: &mut Fuel) -> bool {
        let rules = match (self, value) {
            (Self::Any, _) => return true,
            (Self::Nothing, _) => return false,
            (Self::Rules(_), Value::Object(object)) => return self.holds_object(object, fuel),
            (Self::Rules(rules), _) => rules,
        };
        let each = |nodes: &[Node], fuel: &mut Fuel| {
            nodes.iter().filter(|node| node.holds(value, fuel)).take(2).count()
        };
        fuel.take(1)
            && rules.kinds.has(value)
            && rules.constant.as_ref().is_none_or(|wanted| same(wanted, value))
            && rules.choices.as_ref().is_none_or(|choices| choices.has(value, fuel))
            && rules.holds_own(value, fuel)
            && rules.all_of.iter().all(|node| node.holds(value, fuel))
            && rules.any_of.as_ref().is_none_or(|nodes| nodes.iter().any(|node| node.holds(value, fuel)))
            && rules.one_of.as_ref().is_none_or(|nodes| each(nodes, fuel) == 1)
    }

    /// The names and values of the only object that fits, if the schema is written like that.
    pub(super) fn exact(&self) -> Option<impl ExactSizeIterator<Item = (&str, &Value)>> {
        let Self::Rules(rules) = self else { return None };
        let rules = rules.is_alone(Kinds(Kinds::OBJECT)).then_some(rules)?;
        let object = rules.object.as_ref()?;
        let whole = (object.least, object.most) == (0, usize::MAX) && matches!(object.others, Self::Nothing);
        let names = object.properties.iter().map(|(name, _)| name).eq(object.required.iter());
        let values = object.properties.iter().all(|(_, node)| node.constant().is_some());
        (whole && names && values && rules.constant.is_none()).then(|| {
            object.properties.iter().map(|(name, node)| (&**name, node.constant().unwrap_or(&Value::Null)))
        })
    }

    /// The value of a schema that is nothing but a `const`.
    fn constant(&self) -> Option<&Value> {
        let Self::Rules(rules) = self else { return None };
        let alone = rules.is_alone(Kinds::ALL) && rules.object.is_none();
        rules.constant.as_ref().filter(|_| alone)
    }
}

impl Rules {
    /// Whether there are no rules but of these types, a constant and rules for objects.
    fn is_alone(&self, kinds: Kinds) -> bool {
        let Self { kinds: own, constant: _, choices, object: _, list, text, number, all_of, any_of, one_of } =
            self;
        *own == kinds
            && choices.is_none()
            && list.is_none()
            && text.is_none()
            && number.is_none()
            && all_of.is_empty()
            && any_of.is_none()
            && one_of.is_none()
    }

    /// The rules of the value's own type; objects are elsewhere.
    fn holds_own(&self, value: &Value, fuel: &mut Fuel) -> bool {
        match value {
            Value::Null | Value::Bool(_) | Value::Object(_) => true,
            Value::Number(number) => match (&self.number, double(number)) {
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(rules), Some(number)) => rules.hold(number),
            },
            Value::String(text) => self.text.as_ref().is_none_or(|rules| rules.hold(text, fuel)),
            Value::Array(items) => self.list.as_ref().is_none_or(|rules| rules.hold(items, fuel)),
        }
    }
}

impl Choices {
    fn has(&self, value: &Value, fuel: &mut Fuel) -> bool {
        match value.as_str() {
            Some(text) => self.texts.binary_search_by(|known| (**known).cmp(text)).is_ok(),
            None => fuel.take(self.others.len()) && self.others.iter().any(|known| same(known, value)),
        }
    }

    fn has_object(&self, object: &Object, fuel: &mut Fuel) -> bool {
        let known = |known: &Value| known.as_object().is_some_and(|known| same_members(known, object));
        fuel.take(self.others.len()) && self.others.iter().any(known)
    }
}

impl ObjectRules {
    fn hold(&self, object: &Object, fuel: &mut Fuel) -> bool {
        // Both are sorted: what stands before a name is not looked at again.
        let mut properties = &*self.properties;
        let mut member = |(name, value): (&str, &Value)| {
            let node = match properties.split_first() {
                // Mostly the members are those of the schema, in turn.
                Some(((known, node), rest)) if **known == *name => {
                    properties = rest;
                    node
                }
                Some(_) | None => match properties.binary_search_by(|(known, _)| (**known).cmp(name)) {
                    Ok(at) => {
                        let (_, found) = properties.split_at(at);
                        properties = found.get(1..).unwrap_or_default();
                        found.first().map_or(&self.others, |(_, node)| node)
                    }
                    Err(at) => {
                        properties = properties.get(at..).unwrap_or_default();
                        &self.others
                    }
                },
            };
            fuel.take(1 + name.len() / 64) && node.holds(value, fuel)
        };
        (self.least..=self.most).contains(&object.len())
            && self.required.iter().all(|name| object.contains_key(name))
            && object.iter().all(&mut member)
    }
}

impl ListRules {
    fn hold(&self, items: &[Value], fuel: &mut Fuel) -> bool {
        let nodes = self.first.iter().chain(std::iter::repeat(&self.others));
        (self.least..=self.most).contains(&items.len())
            && items.iter().zip(nodes).all(|(item, node)| fuel.take(1) && node.holds(item, fuel))
    }
}

impl TextRules {
    fn hold(&self, text: &str, fuel: &mut Fuel) -> bool {
        // Characters are between a quarter of the bytes and all of them.
        let bounded = (self.least, self.most) != (0, usize::MAX);
        if !fuel.take(text.len() / 64) || text.len() < self.least || text.len() / 4 > self.most {
            return false;
        }
        // Most texts are that far from both bounds, that they need not be counted.
        let sure = text.len() <= self.most && text.len().div_ceil(4) >= self.least;
        if bounded && !sure && !(self.least..=self.most).contains(&text.chars().count()) {
            return false;
        }
        match &self.pattern {
            None => true,
            Some(pattern) => fuel.take(pattern.cost(text)) && pattern.finds(text),
        }
    }
}

impl NumberRules {
    fn hold(&self, number: f64) -> bool {
        self.minimum.is_none_or(|bound| number >= bound)
            && self.maximum.is_none_or(|bound| number <= bound)
            && self.above.is_none_or(|bound| number > bound)
            && self.below.is_none_or(|bound| number < bound)
            // Exact: the remainder of two doubles is a double.
            && self.multiple_of.is_none_or(|of| number % of == 0.0)
    }
}

/// The double that a number is; none if a double is not exactly that integer.
pub(super) fn double(number: &Number) -> Option<f64> {
    let value = number.as_f64()?;
    let exact = number.is_f64() || value.abs() <= MAX_SAFE;
    (exact && value.is_finite()).then_some(value)
}

/// Equality of JSON Schema: numbers by value, objects without order.
pub(super) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::String(one), Value::String(other)) => one == other,
        (Value::Number(one), Value::Number(other)) => {
            double(one).zip(double(other)).is_some_and(|(one, other)| one == other)
        }
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => same_members(one, other),
        (
            Value::Null
            | Value::Bool(_)
            | Value::String(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => false,
    }
}

fn same_members(one: &Object, other: &Object) -> bool {
    let members =
        |((one, value), (other, with)): ((&str, &Value), (&str, &Value))| one == other && same(value, with);
    one.len() == other.len() && one.iter().zip(other.iter()).all(members)
}
