//! Permissions, compiled so that the cost of a look-up hardly depends on how many there are.
//!
//! # How it finds candidates
//!
//! Path patterns that have their literals and wildcards at the same places have the same *shape*. For each service, the index
//! lists its few distinct shapes; within a shape, the rules are sorted by a hash of their literal segments. A request is looked
//! up once for each shape that fits its number of segments: hash the same segments, search the hash, and what is found is a
//! candidate (tuple space search). Principals have a handful of shapes, however many permissions they have.
//!
//! A candidate permits nothing yet: [`Rule::matches`] compares it with the request by the model's own rules. A fault in the
//! index can therefore only deny.
//!
//! It refuses to know grants: a member is the place of a scope among those that were compiled together.

use super::calls::{self, ARGUMENTS, Shaped};
use super::probe::{Probe, Question};
use super::view::{Form, MAX_SEGMENTS};
use crate::model::scope::{GrpcActions, McpTarget, PathPattern, Segment};
use crate::model::{McpCall, Permission, Scope, ServiceName};
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

pub(in crate::access) type Seed = foldhash::fast::RandomState;

/// The permissions of some scopes.
#[derive(Default)]
pub(in crate::access) struct Rules {
    services: Box<[Service]>,
    shapes: Box<[Shape]>,
    rules: Box<[Rule]>,
}

struct Service {
    name: ServiceName,
    shapes: Range<u32>,
}

struct Shape {
    /// Bit n: segment n is a literal.
    literals: u64,
    /// The place after its last rule; its first is the place after the last of the shape before it.
    end: u32,
    kind: Kind,
    /// How many segments are given, without a final `**`.
    segments: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// An `http` pattern without `**`.
    Exact,
    /// An `http` pattern that ends in `**`.
    Rest,
    /// A `grpc` action.
    Call,
    /// A method of MCP and what it is about: see [`calls`].
    Named,
    /// The same without the arguments, for lists alone.
    Shown,
    /// A method of MCP and a URI with wildcards, without `**`.
    Uri,
    /// The same, with `**`.
    UriRest,
    /// Every method of MCP that is about nothing.
    AnyMethod,
    /// An `mcp` permission as such, for attendance.
    Attend,
    /// A pattern with more segments than a request may have (the model knows none): it names its service and matches nothing.
    Never,
}

/// One pattern of one permission, for one service. 16 bytes.
pub(in crate::access) struct Rule {
    hash: u32,
    pub(in crate::access) member: u32,
    permission: u16,
    pattern: u16,
    methods: u16,
}

/// The bit of [`Rule::methods`] for methods that the model has no bit for.
pub(super) const OTHER_METHODS: u16 = 1 << 15;

impl Rules {
    /// Compiles scopes; the first is member 0.
    pub(in crate::access) fn compile<'a>(scopes: impl Iterator<Item = &'a Scope>, seed: &Seed) -> Self {
        let mut drafts = Vec::with_capacity(scopes.size_hint().0);
        for (scope, member) in scopes.zip(0_u32..) {
            for (permission, number) in scope.permissions().iter().zip(0..=u16::MAX) {
                draft(permission, number, member, seed, &mut drafts);
            }
        }
        drafts.sort_unstable();
        let (mut services, mut shapes) = (Vec::<Service>::new(), Vec::<Shape>::new());
        for (draft, at) in drafts.iter().zip(0_u32..) {
            let known = services.last().is_some_and(|service| service.name == *draft.service);
            if !known {
                let next = end_of(shapes.len());
                services.push(Service { name: draft.service.clone(), shapes: next..next });
            }
            if !(known && shapes.last().is_some_and(|shape| shape.is_of(draft))) {
                let Draft { kind, segments, literals, .. } = *draft;
                shapes.push(Shape { literals, end: at, kind, segments });
            }
            services.last_mut().into_iter().for_each(|service| service.shapes.end = end_of(shapes.len()));
            shapes.last_mut().into_iter().for_each(|shape| shape.end = at + 1);
        }
        let rules = drafts.iter().map(Draft::rule).collect();
        Self { services: services.into_boxed_slice(), shapes: shapes.into_boxed_slice(), rules }
    }

    /// The shapes of the rules that name a service; none if no rule does.
    pub(in crate::access) fn service(&self, name: &str) -> Option<Shapes<'_>> {
        let at = self.services.binary_search_by(|service| service.name.as_str().cmp(name)).ok()?;
        let places = range(&self.services.get(at)?.shapes);
        let before = places.start.checked_sub(1).and_then(|before| self.shapes.get(before));
        Some(Shapes {
            all: &self.rules,
            shapes: self.shapes.get(places)?,
            start: before.map_or(0, |shape| shape.end),
        })
    }
}

impl Rule {
    /// Whether a candidate of this scope, whose methods fit by their bits, really matches: by the model's own comparison.
    pub(in crate::access) fn matches(&self, scope: &Scope, probe: &Probe<'_>) -> bool {
        let pattern = usize::from(self.pattern);
        let path = probe.view.path();
        match scope.permissions().get(usize::from(self.permission)) {
            None => false,
            Some(Permission::Http(http)) => {
                probe.grpc() == Some(false)
                    && (probe.method != OTHER_METHODS || http.methods().has(probe.view.action()))
                    && http.paths().get(pattern).is_some_and(|pattern| is_match(pattern, path))
                    && http.query().is_none_or(|rule| rule.permits(probe.view.query()))
            }
            Some(Permission::Grpc(grpc)) => {
                probe.grpc() == Some(true)
                    && match grpc.actions() {
                        GrpcActions::Any => grpc.permits(path),
                        GrpcActions::Only(actions) => {
                            actions.get(pattern).is_some_and(|action| action.matches(path))
                        }
                    }
            }
            Some(Permission::Mcp(mcp)) => match probe.question {
                Question::View => false,
                Question::Call(call) => mcp.permits(call),
                Question::Show(call) => mcp.shows(call.method, call.name),
            },
        }
    }
}

/// The shapes of one service.
pub(in crate::access) struct Shapes<'a> {
    all: &'a [Rule],
    shapes: &'a [Shape],
    /// The place of the first rule.
    start: u32,
}

impl<'a> Shapes<'a> {
    /// For each shape, the rules that may match, in the order of preference.
    pub(in crate::access) fn candidates(
        &self,
        probe: &Probe<'_>,
    ) -> impl Iterator<Item = impl Iterator<Item = &'a Rule>> {
        let rules = self.all;
        let method = probe.method;
        let mut start = self.start;
        let shapes = self.shapes.iter().map(move |shape| (shape, std::mem::replace(&mut start, shape.end)));
        shapes.filter(|(shape, _)| shape.fits(probe)).map(move |(shape, start)| {
            let hash = shape.hash(|at| probe.hash(at));
            let rules = rules.get(range(&(start..shape.end))).unwrap_or_default();
            let first = rules.partition_point(|rule| rule.hash < hash);
            let rules = rules.get(first..).unwrap_or_default().iter();
            rules.take_while(move |rule| rule.hash == hash).filter(move |rule| rule.methods & method != 0)
        })
    }

    /// The rules of `mcp` permissions, one for each permission, in the order of preference.
    pub(in crate::access) fn attended(&self) -> impl Iterator<Item = &'a Rule> + use<'a> {
        let (rules, shapes, mut start) = (self.all, self.shapes, self.start);
        let shapes = shapes.iter().map(move |shape| (shape, std::mem::replace(&mut start, shape.end)));
        let attend = shapes.filter(|(shape, _)| shape.kind == Kind::Attend);
        attend.flat_map(move |(shape, start)| rules.get(range(&(start..shape.end))).unwrap_or_default())
    }

    /// Every rule that names the service, whether it matches or not.
    pub(in crate::access) fn rules(&self) -> impl Iterator<Item = &'a Rule> {
        let end = self.shapes.last().map_or(0, |shape| shape.end);
        self.all.get(range(&(self.start..end))).unwrap_or_default().iter()
    }
}

impl Shape {
    fn fits(&self, probe: &Probe<'_>) -> bool {
        let given = usize::from(self.segments);
        let grpc = match probe.question {
            Question::View => probe.view.form() == Form::Grpc,
            Question::Call(call) | Question::Show(call) => return self.fits_call(call, probe),
        };
        match self.kind {
            Kind::Exact => !grpc && probe.count == given,
            // `**` stands for at least an empty last segment.
            Kind::Rest => !grpc && probe.count > given,
            Kind::Call => grpc && probe.count == given,
            Kind::Named
            | Kind::Shown
            | Kind::Uri
            | Kind::UriRest
            | Kind::AnyMethod
            | Kind::Attend
            | Kind::Never => false,
        }
    }

    fn fits_call(&self, call: &McpCall<'_>, probe: &Probe<'_>) -> bool {
        let given = usize::from(self.segments);
        let show = matches!(probe.question, Question::Show(_));
        match self.kind {
            Kind::Named => !show || self.literals & (1 << ARGUMENTS) == 0,
            Kind::Shown => show,
            Kind::Uri => probe.count == given,
            Kind::UriRest => probe.count > given,
            Kind::AnyMethod => McpTarget::of(call.method) == McpTarget::Nothing,
            Kind::Exact | Kind::Rest | Kind::Call | Kind::Attend | Kind::Never => false,
        }
    }

    fn hash(&self, segment: impl Fn(usize) -> u32) -> u32 {
        let mut left = self.literals;
        let mut hash = 0_u64;
        while left != 0 {
            let at = left.trailing_zeros() as usize;
            left &= left - 1;
            hash = (hash.rotate_left(23) ^ u64::from(segment(at))).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        (hash >> 32) as u32
    }
}

fn is_match(pattern: &PathPattern, path: &str) -> bool {
    // The usual case first: a pattern without wildcards is the path itself. One with wildcards matches its own text, too.
    pattern.as_str() == path || pattern.matches(path)
}

pub(super) fn hash_segment(seed: &Seed, segment: &[u8]) -> u32 {
    let mut hasher = seed.build_hasher();
    hasher.write(segment);
    // The high half: all input bits reach it in a folded multiplication.
    (hasher.finish() >> 32) as u32
}

fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// A rule on its way into the index; the order of its fields is the order of the index.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Draft<'a> {
    service: &'a ServiceName,
    kind: Kind,
    segments: u8,
    literals: u64,
    hash: u32,
    member: u32,
    permission: u16,
    pattern: u16,
    methods: u16,
}

fn end_of(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Shape {
    fn is_of(&self, draft: &Draft<'_>) -> bool {
        (self.kind, self.segments, self.literals) == (draft.kind, draft.segments, draft.literals)
    }
}

impl Draft<'_> {
    fn rule(&self) -> Rule {
        let Self { hash, member, permission, pattern, methods, .. } = *self;
        Rule { hash, member, permission, pattern, methods }
    }
}

/// One draft for each service and pattern of a permission.
fn draft<'a>(permission: &'a Permission, number: u16, member: u32, seed: &Seed, drafts: &mut Vec<Draft<'a>>) {
    let mut push = |pattern: u16, methods: u16, (kind, literals, segments, hash): Compiled| {
        drafts.extend(permission.locations().iter().map(|service| Draft {
            service,
            kind,
            segments,
            literals,
            hash,
            member,
            permission: number,
            pattern,
            methods,
        }));
    };
    match permission {
        Permission::Http(http) => {
            let others = if http.methods().others().is_empty() { 0 } else { OTHER_METHODS };
            let methods = http.methods().mask() | others;
            for (pattern, at) in http.paths().iter().zip(0..=u16::MAX) {
                let kind = if pattern.has_rest() { Kind::Rest } else { Kind::Exact };
                push(at, methods, compile_segments(kind, pattern.segments(), seed));
            }
        }
        Permission::Grpc(grpc) => {
            let texts = grpc.actions().texts().map(|text| if text == "*" { "/*/*" } else { text });
            for (action, at) in texts.zip(0..=u16::MAX) {
                let segments = action.strip_prefix('/').unwrap_or(action).split('/');
                let segments =
                    segments.map(|text| if text == "*" { Segment::One } else { Segment::Literal(text) });
                push(at, u16::MAX, compile_segments(Kind::Call, segments, seed));
            }
        }
        // Which of its names a rule is for is not kept: a permission is compared as a whole.
        Permission::Mcp(mcp) => calls::shapes(mcp, seed, &mut |Shaped { kind, literals, places, hashes }| {
            let shape = Shape { literals, end: 0, kind, segments: places };
            let hash = shape.hash(|at| hashes.get(at).copied().unwrap_or_default());
            push(0, u16::MAX, (kind, literals, places, hash));
        }),
    }
}

type Compiled = (Kind, u64, u8, u32);

fn compile_segments<'a>(kind: Kind, segments: impl Iterator<Item = Segment<'a>>, seed: &Seed) -> Compiled {
    let mut hashes = [0; MAX_SEGMENTS];
    let (mut literals, mut count) = (0_u64, 0_u8);
    for segment in segments.filter(|segment| *segment != Segment::Rest) {
        let Some(hash) = hashes.get_mut(usize::from(count)) else { return (Kind::Never, 0, 0, 0) };
        if let Segment::Literal(text) = segment {
            literals |= 1 << count;
            *hash = hash_segment(seed, text.as_bytes());
        }
        count += 1;
    }
    let shape = Shape { literals, end: 0, kind, segments: count };
    (kind, literals, count, shape.hash(|at| hashes.get(at).copied().unwrap_or_default()))
}
