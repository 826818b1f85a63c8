//! Putting a question only to the policies that it can concern, and only once where the method does not matter, against putting every
//! question to every policy.

use super::super::folder::PolicyFile;
use super::super::tests::{World as Asked, file, world};
use super::*;
use crate::control::policy::compile::compile;
use crate::model::{GroupName, Risk};
use cedar_policy::{Effect, PolicyId};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;

/// What Cedar says about every question, with every policy in one set.
fn in_full(files: &[PolicyFile], policies: &Compiled, facts: &Facts) -> Decided {
    if let Some(denied) = unknown_services(facts) {
        return denied;
    }
    let parsed: CedarSet = files[0].text.parse().unwrap();
    let named =
        parsed.policies().map(|policy| policy.new_id(PolicyId::new(policy.annotation("id").unwrap())));
    let counts = |effect| facts.action != PolicyAction::Grant || effect == Effect::Forbid;
    let set = CedarSet::from_policies(named.filter(|policy| counts(policy.effect()))).unwrap();
    let questions = asked::questions(&facts.request.scope, &policies.spelt, &facts.services).unwrap();
    let world = World::new(&policies.names, facts, &questions).unwrap();
    let mut answers = Answers::default();
    for (asked, extent) in questions {
        let request = world.request(&asked, &extent, true).unwrap();
        if !answers.note(&Authorizer::new().is_authorized(&request, &set, &world.entities)) {
            answers.unanswered.push(shown(&asked));
        }
    }
    answers.decided(policies, facts.action)
}

fn policy() -> impl Strategy<Value = String> {
    let principal = select(vec![
        "principal",
        "principal == Principal::\"spiffe://d/agent/support\"",
        "principal == Principal::\"spiffe://d/agent/other\"",
        "principal in Principal::\"spiffe://d/agent/support\"",
        "principal in Group::\"support\"",
        "principal in Group::\"leads\"",
        "principal is Principal",
        "principal is Principal in Group::\"support\"",
    ]);
    let action = select(vec![
        "action",
        "action == Action::\"request\"",
        "action in [Action::\"extend\", Action::\"grant\"]",
        "action in [Action::\"request\", Action::\"delegate\"]",
    ]);
    let resource = select(vec![
        "resource",
        "resource == Service::\"orders\"",
        "resource in Service::\"orders\"",
        "resource in Service::\"stock\"",
        "resource is Service",
        "resource is Service in Service::\"stock\"",
        "resource is Tool",
        "resource == Tool::\"orders/drop\"",
        "resource is Tool in Service::\"orders\"",
    ]);
    let condition = select(vec![
        "",
        "when { context.method == \"GET\" }",
        "when { context.method like \"P*\" }",
        "when { [\"PURGE\", \"DELETE\"].contains(context.method) }",
        "unless { context[\"method\"] == \"*\" }",
        "when { context.paths.contains(\"/x\") }",
        "when { context.path_prefix like \"/v1/*\" }",
        "when { principal.risk == Risk::\"low\" }",
        "when { context.minute_of_day * 9223372036854775807 > 0 }",
        "when { context.method == \"PUT\" && context.services * 9223372036854775807 * 2 > 0 }",
        "when { resource.environment == \"production\" }",
        "when { context.protocol == Protocol::\"grpc\" }",
        "when { context.history.first_time_for_tool }",
        "when { context has any_arguments && context.any_arguments }",
        "when { context.method == \"tools/call\" }",
    ]);
    let effect = prop_oneof![4 => Just("permit"), 1 => Just("forbid")];
    (effect, principal, action, resource, condition)
        .prop_map(|(effect, p, a, r, when)| format!("{effect} ({p}, {a}, {r}) {when};\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Outcome, reasons, errors and determining policies are those of every policy asked every question.
    #[test]
    fn leaving_out_policies_that_a_question_cannot_concern_changes_nothing(
        texts in prop::collection::vec(policy(), 1..24),
        scope in prop::collection::btree_set(select(vec![
            "orders:GET:/x", "orders:GET,PUT:/v1/a", "stock:PURGE,POST:/x", "orders,stock:*:/v1/*", "stock:/p.S/M", "orders:/p.S/*",
            "orders:DELETE:/x", "stock:GET,HEAD,PATCH:/**",
            "orders:tools/call:drop,list{}", "orders,stock:tools/call:*{*}", "stock:resources/read:x:/y", "orders:tasks/get",
        ]), 1..4),
        groups in prop::collection::btree_set(select(vec!["support", "leads", "others"]), 0..3),
        risk in prop::option::of(select(vec![Risk::Low, Risk::High])),
        action in select(vec![PolicyAction::Request, PolicyAction::Extend, PolicyAction::Delegate, PolicyAction::Grant]),
    ) {
        let text: String = texts.iter().enumerate().map(|(n, text)| format!("@id(\"p{n}\") {text}")).collect();
        let files = [file("a.cedar", &text)];
        let compiled = compile(&files).unwrap();
        let scope: Vec<&str> = scope.into_iter().collect();
        let mut asked: Asked = world(&scope);
        asked.principal.attributes.groups =
            groups.iter().map(|group| group.parse::<GroupName>().unwrap()).collect();
        asked.principal.attributes.risk = risk;
        asked.action = action;
        let facts = Facts::of(&asked.question(), &TimeZone::UTC).unwrap();
        prop_assert_eq!(decide(&compiled, &facts), in_full(&files, &compiled, &facts));
    }
}
