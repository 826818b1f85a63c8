//! Whether two scopes could permit one and the same request: what is not shown to be apart overlaps. For controls that must not
//! be got round by asking a little differently.

use super::grpc::{GrpcAction, GrpcActions};
use super::http::HttpPermission;
use super::method::Methods;
use super::path::{PathPattern, Segment};
use super::{Permission, Scope};

/// Comparisons after which the answer is "overlaps": scopes come from callers, and the work grows with the product of both.
const BUDGET: usize = 1_000_000;

/// How many comparisons are left; once they are spent, everything overlaps.
#[derive(Debug)]
pub struct Comparisons(usize);

impl Default for Comparisons {
    fn default() -> Self {
        Self(BUDGET)
    }
}

impl Scope {
    /// Whether something could be permitted by both. Queries are not looked at, and permissions of different types for one
    /// service count as overlapping.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.overlaps_within(other, &mut Comparisons::default())
    }

    /// The same, as one of several looks that together make a bounded number of comparisons.
    #[must_use]
    pub fn overlaps_within(&self, other: &Self, left: &mut Comparisons) -> bool {
        self.permissions().iter().any(|one| {
            other.permissions().iter().any(|two| {
                let cost = size(one).saturating_mul(size(two));
                match left.0.checked_sub(cost) {
                    Some(rest) => {
                        left.0 = rest;
                        meet(one, two)
                    }
                    None => true,
                }
            })
        })
    }

    /// Whether a permission is for everything that a service has: every action on every path, every call, or
    /// every tool with any arguments.
    #[must_use]
    pub fn widest(&self) -> Option<&Permission> {
        self.permissions().iter().find(|permission| match permission {
            Permission::Http(http) => {
                http.methods().is_any() && http.paths().iter().any(|path| path.as_str() == "/**")
            }
            Permission::Grpc(grpc) => *grpc.actions() == GrpcActions::Any,
            Permission::Mcp(mcp) => mcp.is_widest(),
        })
    }
}

fn size(permission: &Permission) -> usize {
    let own = match permission {
        Permission::Http(http) => http.paths().len(),
        Permission::Grpc(grpc) => grpc.actions().texts().count(),
        Permission::Mcp(mcp) => mcp.size(),
    };
    own.saturating_add(permission.locations().len())
}

fn meet(one: &Permission, two: &Permission) -> bool {
    if !one.locations().iter().any(|service| two.names(service)) {
        return false;
    }
    match (one, two) {
        (Permission::Http(one), Permission::Http(two)) => meet_http(one, two),
        (Permission::Grpc(one), Permission::Grpc(two)) => match (one.actions(), two.actions()) {
            (GrpcActions::Any, _) | (_, GrpcActions::Any) => true,
            (GrpcActions::Only(one), GrpcActions::Only(two)) => {
                one.iter().any(|one| two.iter().any(|two| meet_call(one, two)))
            }
        },
        (Permission::Mcp(one), Permission::Mcp(two)) => one.meets(two),
        (Permission::Http(_) | Permission::Grpc(_) | Permission::Mcp(_), _) => true,
    }
}

fn meet_call(one: &GrpcAction, two: &GrpcAction) -> bool {
    one == two || (one.service() == two.service() && (one.is_whole_service() || two.is_whole_service()))
}

fn meet_http(one: &HttpPermission, two: &HttpPermission) -> bool {
    meet_methods(one.methods(), two.methods())
        && one.paths().iter().any(|one| two.paths().iter().any(|two| meet_path(one, two)))
}

fn meet_methods(one: &Methods, two: &Methods) -> bool {
    one.mask() & two.mask() != 0
        || one.is_any()
        || two.is_any()
        || one.others().iter().any(|other| two.has(other))
}

fn meet_path(one: &PathPattern, two: &PathPattern) -> bool {
    let (mut left, mut right) = (one.segments(), two.segments());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(Segment::Rest), Some(_)) | (Some(_), Some(Segment::Rest)) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some(Segment::Literal(left)), Some(Segment::Literal(right))) if left != right => return false,
            (Some(Segment::One), Some(Segment::Literal(literal)))
            | (Some(Segment::Literal(literal)), Some(Segment::One))
                if literal.is_empty() =>
            {
                return false;
            }
            (Some(_), Some(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Scope;

    fn scope(text: &str) -> Scope {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_not_shown_to_be_apart_overlaps() {
        for (one, two, overlap) in [
            ("orders:GET:/v1/orders/*", "orders:GET:/v1/orders/7", true),
            ("orders:GET:/v1/orders/*", "orders:GET,POST:/v1/**", true),
            ("orders:GET:/v1/orders/*", "orders:POST:/v1/orders/*", false),
            ("orders:GET:/v1/orders/*", "stock:GET:/v1/orders/*", false),
            ("orders:GET:/v1/orders/*", "orders:GET:/v1/orders/", false),
            ("orders:GET:/v1/orders", "orders:GET:/v1/orders/1", false),
            ("orders:*:/a", "orders:PURGE:/a", true),
            ("orders,stock:GET:/a", "stock:GET:/*", true),
            ("stock:/a.B/Get", "stock:/a.B/*", true),
            ("stock:/a.B/Get", "stock:/a.B/Put", false),
            ("stock:/a.B/*", "stock:/a.C/*", false),
            ("stock:*", "stock:/a.C/X", true),
            ("stock:/a.B/Get", "stock:POST:/a.B/Get", true),
        ] {
            assert_eq!(scope(one).overlaps(&scope(two)), overlap, "{one} and {two}");
            assert_eq!(scope(two).overlaps(&scope(one)), overlap, "{two} and {one}");
        }
    }

    #[test]
    fn everything_of_a_service_is_found() {
        for (text, wide) in [("a:*:/**", true), ("a:*", true), ("a:*:/v1/**", false), ("a:GET:/**", false)] {
            assert_eq!(scope(text).widest().is_some(), wide, "{text}");
        }
    }
}
