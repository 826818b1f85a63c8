//! MCP requests among the compiled permissions ([`super::rules`]): what they are hashed as.
//!
//! | place | what is hashed there |
//! |---|---|
//! | 0 | the method |
//! | 1 | the name, whole: a tool, a prompt, a URI without wildcards |
//! | 2 | the arguments, where a permission allows exactly these: a thousand such grants for one tool cost no more than one |
//! | 3 and on | the segments of a URI |
//!
//! So a permission is found by service, method and name, and a shape is a set of these places.

use super::rules::{Kind, Seed, hash_segment};
use super::view::MAX_SEGMENTS;
use crate::model::McpCall;
use crate::model::json::{Object, Value};
use crate::model::scope::{Arguments, McpPermission, McpTarget, Names, UriPattern, UriSegment, Uris};
use std::hash::BuildHasher as _;

const METHOD: usize = 0;
const NAME: usize = 1;
pub(super) const ARGUMENTS: usize = 2;
/// Where the segments of a URI begin.
pub(super) const URI: usize = 3;

/// The shape of a permission for one method and one name, and its hashes by place.
pub(super) struct Shaped {
    pub(super) kind: Kind,
    pub(super) literals: u64,
    /// How many places are given, for a URI with wildcards.
    pub(super) places: u8,
    pub(super) hashes: [u32; MAX_SEGMENTS],
}

impl Shaped {
    fn new(kind: Kind) -> Self {
        Self { kind, literals: 0, places: 0, hashes: [0; MAX_SEGMENTS] }
    }

    fn with(mut self, place: usize, hash: u32) -> Self {
        if let Some(at) = self.hashes.get_mut(place) {
            *at = hash;
            self.literals |= 1 << place;
        }
        self
    }
}

/// Everything that a permission is found by.
pub(super) fn shapes(permission: &McpPermission, seed: &Seed, found: &mut dyn FnMut(Shaped)) {
    found(Shaped::new(Kind::Attend));
    match permission.actions() {
        Names::Any => {
            found(Shaped::new(Kind::AnyMethod));
            for (method, target) in McpTarget::METHODS {
                of_method(permission, method, target, seed, found);
            }
        }
        Names::Only(methods) => {
            for method in methods.iter() {
                of_method(permission, method, McpTarget::of(method), seed, found);
            }
        }
    }
}

fn of_method(
    permission: &McpPermission,
    method: &str,
    target: McpTarget,
    seed: &Seed,
    found: &mut dyn FnMut(Shaped),
) {
    let text = |text: &str| hash_segment(seed, text.as_bytes());
    let of = |kind: Kind| Shaped::new(kind).with(METHOD, text(method));
    let exact = permission.arguments().filter(|_| target.has_arguments()).and_then(Arguments::exact);
    let arguments = exact.map(|members| hash_members(seed, members));
    let named = |names: Option<&Names>, found: &mut dyn FnMut(Shaped)| {
        for name in names.into_iter().flat_map(Names::texts) {
            let shaped = |kind| match names {
                Some(Names::Any) | None => of(kind),
                Some(Names::Only(_)) => of(kind).with(NAME, text(name)),
            };
            match arguments {
                None => found(shaped(Kind::Named)),
                Some(arguments) => {
                    found(shaped(Kind::Named).with(ARGUMENTS, arguments));
                    found(shaped(Kind::Shown));
                }
            }
        }
    };
    let resources = |found: &mut dyn FnMut(Shaped)| match permission.resources() {
        None => {}
        Some(Uris::Any) => found(of(Kind::Named)),
        Some(Uris::Only(patterns)) => {
            for pattern in patterns.iter() {
                found(match pattern.is_literal() {
                    true => of(Kind::Named).with(NAME, text(pattern.as_str())),
                    false => with_segments(of(Kind::Uri), pattern, seed),
                });
            }
        }
    };
    match target {
        McpTarget::Tool => named(permission.tools(), found),
        McpTarget::Prompt => named(permission.prompts(), found),
        McpTarget::Resource => resources(found),
        McpTarget::Completion => {
            named(permission.prompts(), found);
            resources(found);
        }
        McpTarget::Nothing => found(of(Kind::Named)),
    }
}

fn with_segments(mut shaped: Shaped, pattern: &UriPattern, seed: &Seed) -> Shaped {
    let mut places = URI;
    for segment in pattern.segments() {
        match segment {
            UriSegment::Rest => {
                shaped.kind = Kind::UriRest;
                break;
            }
            UriSegment::One => {}
            UriSegment::Literal(literal) => {
                shaped = shaped.with(places, hash_segment(seed, literal.as_bytes()));
            }
        }
        places += 1;
    }
    // The model's patterns have fewer segments than there are places.
    match u8::try_from(places).ok().filter(|_| places <= MAX_SEGMENTS) {
        Some(places) => Shaped { places, ..shaped },
        None => Shaped::new(Kind::Never),
    }
}

/// Hashes a request but for its arguments; returns how many places are given.
pub(super) fn hash(call: &McpCall<'_>, seed: &Seed, hashes: &mut [u32; MAX_SEGMENTS]) -> usize {
    let mut set = |place: usize, text: &str| {
        if let Some(hash) = hashes.get_mut(place) {
            *hash = hash_segment(seed, text.as_bytes());
        }
    };
    set(METHOD, call.method);
    let Some(name) = call.name else { return URI };
    set(NAME, name);
    match McpTarget::of(call.method) {
        McpTarget::Resource | McpTarget::Completion => {
            let mut places = URI;
            for segment in name.split('/') {
                set(places, segment);
                places += 1;
            }
            places
        }
        McpTarget::Tool | McpTarget::Prompt | McpTarget::Nothing => URI,
    }
}

/// The arguments of a call; none at all are the same as an empty object.
pub(super) fn hash_arguments(call: &McpCall<'_>, seed: &Seed) -> u32 {
    hash_members(seed, call.arguments.into_iter().flat_map(Object::iter))
}

/// Independent of the order of members, as their comparison is.
fn hash_members<'v>(seed: &Seed, members: impl Iterator<Item = (&'v str, &'v Value)>) -> u32 {
    (sum(seed, members) >> 32) as u32
}

fn sum<'v>(seed: &Seed, members: impl Iterator<Item = (&'v str, &'v Value)>) -> u64 {
    members.fold(0, |sum: u64, (name, value)| {
        sum.wrapping_add(mix(seed.hash_one(name), hash_value(seed, value)))
    })
}

/// Values that are the same have the same hash: 1 and 1.0, 0 and -0.
fn hash_value(seed: &Seed, value: &Value) -> u64 {
    match value {
        Value::Null => 1,
        Value::Bool(false) => 2,
        Value::Bool(true) => 3,
        Value::Number(number) => mix(4, number.as_f64().map_or(0, |number| (number + 0.0).to_bits())),
        Value::String(text) => mix(5, seed.hash_one(&**text)),
        Value::Array(items) => items.iter().fold(6, |hash, item| mix(hash, hash_value(seed, item))),
        Value::Object(members) => mix(7, sum(seed, members.iter())),
    }
}

fn mix(hash: u64, next: u64) -> u64 {
    let mixed = (hash.rotate_left(23) ^ next).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}
