//! The decision against a slow and obvious one, which looks at every grant and compares as the model does.

use super::*;
use crate::access::{Form, decide_after};
use crate::model::grant::{Conditions, Limits, Lineage};
use proptest::prelude::*;
use std::num::NonZeroU64;

#[derive(Debug, Clone)]
struct Given {
    grant: Grant,
    end: Option<EndCause>,
}

/// The scope of the grant and each scope that it was narrowed from.
fn matches(grant: &Grant, view: &View<'_>) -> bool {
    let service = "orders".parse().unwrap();
    std::iter::once(&grant.scope).chain(grant.within()).all(|scope| match view.form() {
        Form::Grpc => scope.permits_grpc(&service, view.path()),
        Form::Http | Form::Upgrade => scope.permits_http(&service, view.action(), view.path(), view.query()),
    })
}

fn reference(
    grants: &[Given],
    ceilings: &Ceilings,
    view: &View<'_>,
    token: Option<GrantId>,
    now: Time,
) -> Vec<GrantId> {
    let permits = |given: &&Given| {
        let Given { grant, end } = given;
        matches(grant, view)
            && token.is_none_or(|token| token == grant.id)
            && (token.is_some() || !grant.conditions.token_required())
            && end.is_none()
            && grant.covers(now)
            && view.task().is_none_or(|task| task == grant.task.as_str())
            && grant.conditions.hold(now, HERE)
            && grant.expires_at.since(grant.not_before) <= ceilings.max_ttl.get()
            && ceilings.methods.as_ref().is_none_or(|methods| methods.iter().any(|m| **m == *view.action()))
    };
    let mut permitting: Vec<&Given> = grants.iter().filter(permits).collect();
    permitting.sort_by_key(|given| {
        let grant = &given.grant;
        (grant.limits.max_uses.is_some(), std::cmp::Reverse(grant.expires_at), grant.id)
    });
    permitting.iter().map(|given| given.grant.id).collect()
}

/// The reason by the table in the module comment of `decide`, for requests that nothing permits.
fn reference_reason(
    grants: &[Given],
    ceilings: &Ceilings,
    view: &View<'_>,
    token: Option<GrantId>,
    now: Time,
) -> DenyReason {
    let service = "orders".parse().unwrap();
    let mut reason = DenyReason::NoGrant;
    for Given { grant, end } in grants {
        if !grant.scope.names(&service)
            || view.task().is_some_and(|task| task != grant.task.as_str())
            || token.is_some_and(|token| token != grant.id)
        {
            continue;
        }
        let passes = grant.expires_at.since(grant.not_before) <= ceilings.max_ttl.get()
            && ceilings.methods.as_ref().is_none_or(|methods| methods.iter().any(|m| **m == *view.action()));
        let found = match end {
            _ if !matches(grant, view) => DenyReason::OutOfScope,
            Some(EndCause::Limit) => DenyReason::Limit,
            Some(EndCause::Expired | EndCause::Idle) => DenyReason::Expired,
            Some(_) => DenyReason::Revoked,
            None if now >= grant.expires_at => DenyReason::Expired,
            None if now < grant.not_before => DenyReason::NotYetValid,
            None if !passes || !grant.conditions.hold(now, HERE) => DenyReason::Condition,
            None => DenyReason::TokenRequired,
        };
        reason = reason.max(found);
    }
    reason
}

fn pick<T: Clone + std::fmt::Debug + 'static>(values: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(values.to_vec())
}

fn pattern() -> impl Strategy<Value = String> {
    let middle = prop::collection::vec(pick(&["a", "b", "*", "%C3%A9", "p.S"]), 0..4);
    (middle, pick(&["a", "b", "*", "**", "M", ""])).prop_map(|(middle, last)| {
        middle.iter().chain([&last]).map(|segment| format!("/{segment}")).collect()
    })
}

fn permission() -> impl Strategy<Value = String> {
    let services = pick(&["orders", "orders,stock", "stock"]);
    let http = (
        pick(&["GET", "GET,POST", "*", "UPGRADE", "BREW", "BREW,GET"]),
        prop::collection::btree_set(pattern(), 1..3),
    )
        .prop_map(|(methods, paths)| format!("{methods}:{}", Vec::from_iter(paths).join(",")));
    let grpc = prop::collection::btree_set(pick(&["/p.S/M", "/p.S/*", "/p.S/N", "/q.S/*", "/b/M"]), 1..3)
        .prop_map(|calls| Vec::from_iter(calls).join(","));
    (services, prop_oneof![3 => http, 1 => grpc, 1 => Just("*".to_owned())])
        .prop_map(|(services, rest)| format!("{services}:{rest}"))
}

prop_compose! {
    fn given(number: u64)(
        texts in prop::collection::btree_set(permission(), 1..4),
        task in pick(&["T", "U"]),
        from in pick(&[100, 150, 151]),
        until in pick(&[150, 151, 200, 300, 9_000]),
        near in prop::bool::weighted(0.8),
        costly in prop::bool::weighted(0.2),
        token in prop::bool::weighted(0.2),
        within in prop::collection::vec(prop::collection::btree_set(permission(), 1..4), 0..3),
        end in prop::option::weighted(0.3, pick(&EndCause::ALL)),
    ) -> Given {
        let network = if near { "127.0.0.0/8" } else { "10.0.0.0/8" };
        let scope = |texts: &std::collections::BTreeSet<String>| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            crate::model::Scope::parse_all(&texts).unwrap()
        };
        let within: Vec<_> = within.iter().map(scope).collect();
        let lineage = (!within.is_empty()).then(|| Arc::new(Lineage { within, ..Lineage::default() }));
        let mut conditions = Conditions::new(Some(vec![network.parse().unwrap()]), None).unwrap();
        if token {
            conditions = conditions.with_token_required();
        }
        let limits = Limits { max_uses: NonZeroU64::new(1).filter(|_| costly), ..Limits::default() };
        let grant = Grant {
            scope: scope(&texts),
            task: task.parse().unwrap(),
            not_before: at(from),
            expires_at: at(until.max(from + 1)),
            conditions,
            limits,
            lineage,
            ..grant(number, "orders:GET:/")
        };
        Given { grant, end }
    }
}

prop_compose! {
    fn request()(
        method in pick(&["GET", "POST", "BREW", "WIND"]),
        middle in prop::collection::vec(pick(&["a", "b", "c", "%C3%A9", "%c3%a9", "p.S", "q.S", "*"]), 0..4),
        last in pick(&["a", "b", "M", "N", "", "c", "**", "*"]),
        kind in pick(&["plain", "plain", "grpc", "upgrade"]),
        task in prop::option::weighted(0.4, pick(&["T", "U", "V"])),
    ) -> Parts {
        let path: String = middle.iter().chain([&last]).map(|segment| format!("/{segment}")).collect();
        let (method, mut headers) = match kind {
            "grpc" => ("POST", vec![("content-type", "application/grpc")]),
            "upgrade" => ("GET", vec![("upgrade", "websocket"), ("connection", "upgrade")]),
            _ => (method, vec![]),
        };
        headers.extend(task.map(|task| ("jitgate-task", task)));
        parts(method, &path, &headers)
    }
}

fn grants() -> impl Strategy<Value = Vec<Given>> {
    prop::collection::vec(given(0), 0..12).prop_map(|mut grants| {
        for (given, number) in grants.iter_mut().zip(1..) {
            given.grant.id = id(number);
        }
        grants
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn the_index_decides_as_a_look_at_every_grant(
        grants in grants(),
        requests in prop::collection::vec(request(), 1..6),
        token in prop::option::weighted(0.3, 1_u64..14),
        methods in prop::option::weighted(0.2, Just(["GET", "POST"])),
    ) {
        let ceilings = Ceilings {
            max_ttl: "1000s".parse().unwrap(),
            trust_domains: None,
            methods: methods.map(|methods| methods.map(Box::from).into()),
            tools: None,
        };
        let table = Table::new(ceilings.clone());
        let all = grants.iter().map(|given| issued(given.grant.clone())).collect();
        let ends = grants.iter().filter_map(|given| {
            Some(Change::Ended { grant: given.grant.id, cause: given.end?, at: at(0) })
        });
        let _ = table.apply(&delta(1, all), at(0)).unwrap();
        let _ = table.apply(&delta(2, ends.collect()), at(0)).unwrap();
        let slot = table.slot(&agent("a"));
        let now = at(150);
        let token = token.map(id);
        for parts in &requests {
            let view = View::of(parts).unwrap();
            let asked = Request { service: "orders", view: &view, call: None, only: None, source: HERE, token, token_required: false, user: UserProof::NotDemanded };
            let expected = reference(&grants, &ceilings, &view, token, now);
            let mut found = Vec::new();
            let mut verdict = decide(&slot.load(), &asked, now);
            let first = match &verdict {
                Verdict::Deny(denial) => Some(denial.reason),
                Verdict::Permit(_) => None,
            };
            while let Verdict::Permit(permit) = verdict {
                let cell = permit.into_cell();
                found.push(cell.id());
                verdict = decide_after(&slot.load(), &asked, now, &cell);
            }
            prop_assert_eq!(&found, &expected, "{} {}", view.action(), view.path());
            if expected.is_empty() {
                prop_assert_eq!(first, Some(reference_reason(&grants, &ceilings, &view, token, now)));
            }
        }
    }
}
