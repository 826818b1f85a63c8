//! Facts as Cedar entities and context: the counterpart of `config/policies/jitgate.cedarschema`.
//!
//! A fact that nobody stated is left out, although the schema calls it required: a policy that reads it then errs, and an error
//! denies. What the schema marks `?` is absent for good reasons, and the validator makes policies look first.

use super::asked::{self, Asked, Extent, Questions};
use super::facts::Facts;
use super::heads::{Alike, Heads};
use crate::model::{
    GroupName, Owner, PrincipalProfile, RequestKind, Sensitivity, ServiceName, ServiceProfile, SpiffeId,
    Time, User,
};
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error;

/// The text of the schema.
pub(super) const SCHEMA: &str = include_str!("../../../config/policies/jitgate.cedarschema");

/// What Cedar did not take.
pub(super) type Fault = Box<dyn Error + Send + Sync>;

/// The names of the schema's types, parsed once.
#[derive(Debug, Clone)]
pub(super) struct Names {
    risk: EntityTypeName,
    kind: EntityTypeName,
    sensitivity: EntityTypeName,
    weekday: EntityTypeName,
    protocol: EntityTypeName,
    group: EntityTypeName,
    principal: EntityTypeName,
    service: EntityTypeName,
    tool: EntityTypeName,
    action: EntityTypeName,
}

impl Names {
    pub(super) fn new() -> Result<Self, Fault> {
        Ok(Self {
            risk: "Risk".parse()?,
            kind: "Kind".parse()?,
            sensitivity: "Sensitivity".parse()?,
            weekday: "Weekday".parse()?,
            protocol: "Protocol".parse()?,
            group: "Group".parse()?,
            principal: "Principal".parse()?,
            service: "Service".parse()?,
            tool: "Tool".parse()?,
            action: "Action".parse()?,
        })
    }

    /// `Action::"NAME"`.
    pub(super) fn action(&self, name: &str) -> EntityUid {
        uid(&self.action, name)
    }

    /// `Tool::"SERVICE/NAME"`.
    fn tool(&self, service: &ServiceName, tool: &str) -> EntityUid {
        uid(&self.tool, &format!("{service}/{tool}"))
    }

    fn group_value(&self, group: &GroupName) -> Value {
        value(&self.group, group.as_str())
    }
}

/// The facts of one question, ready to be asked about each action at each service.
pub(super) struct World<'f> {
    names: &'f Names,
    facts: &'f Facts,
    principal: EntityUid,
    /// The principal and everything that it is in.
    whom: Vec<EntityUid>,
    action: EntityUid,
    /// Everybody and everything that is named.
    pub(super) entities: Entities,
    /// What is the same for each action and service.
    common: Vec<(String, Value)>,
}

impl<'f> World<'f> {
    pub(super) fn new(names: &'f Names, facts: &'f Facts, questions: &Questions<'_>) -> Result<Self, Fault> {
        let principal = uid(&names.principal, facts.principal.id.as_str());
        let requester = &facts.request.requester;
        let mut entities = vec![principal_entity(names, &facts.principal)?];
        if facts.principal.id != *requester {
            entities.push(principal_entity(names, &facts.requester)?);
        }
        for (name, profile) in &facts.services {
            entities.push(service_entity(names, name, profile)?);
        }
        let tools: BTreeSet<_> =
            questions.keys().filter_map(|asked| Some((asked.service, asked.tool?))).collect();
        for (service, tool) in tools {
            if let Some(profile) = facts.services.get(service) {
                entities.push(tool_entity(names, service, tool, profile)?);
            }
        }
        // Groups are in no other group, services in nothing, tools in their service: see the schema.
        let groups = facts.principal.attributes.groups.iter().map(|group| uid(&names.group, group.as_str()));
        Ok(Self {
            names,
            facts,
            whom: [principal.clone()].into_iter().chain(groups).collect(),
            principal,
            action: names.action(facts.action.as_str()),
            entities: Entities::from_entities(entities, None)?,
            common: common(names, facts),
        })
    }

    /// The policies that can concern a question.
    pub(super) fn matching<'p>(&self, policies: &'p Heads, asked: &Asked<'_>) -> Vec<&'p Alike> {
        let service = uid(&self.names.service, asked.service.as_str());
        let tool = asked.tool.map(|tool| self.names.tool(asked.service, tool));
        let what: Vec<EntityUid> = [service].into_iter().chain(tool).collect();
        policies.matching(&self.whom, &what)
    }

    /// The request for one action at one service. Without `all_paths`, `paths` is left out.
    pub(super) fn request(
        &self,
        asked: &Asked<'_>,
        extent: &Extent<'_>,
        all_paths: bool,
    ) -> Result<Request, Fault> {
        let resource = match asked.tool {
            Some(tool) => self.names.tool(asked.service, tool),
            None => uid(&self.names.service, asked.service.as_str()),
        };
        let mut pairs = self.common.clone();
        pairs.push(("protocol".into(), value(&self.names.protocol, asked.protocol.as_str())));
        pairs.push(("method".into(), text(asked.method)));
        pairs.push(("path_prefix".into(), text(asked::prefix(&extent.paths))));
        if all_paths {
            pairs.push(("paths".into(), Value::new_set(extent.paths.iter().map(|path| text(path)))));
        }
        if let Some(any) = extent.any_arguments {
            pairs.push(("any_arguments".into(), Value::new_bool(any)));
        }
        pairs.push(("history".into(), self.history(asked)?));
        let context = Context::from_pairs(pairs)?;
        Ok(Request::new(self.principal.clone(), self.action.clone(), resource, context, None)?)
    }

    fn history(&self, asked: &Asked<'_>) -> Result<Value, Fault> {
        let history = &self.facts.history;
        let first = !history.services.contains(asked.service);
        let first_for_tool =
            asked.tool.map_or(first, |tool| !history.tools.contains(&format!("{}/{tool}", asked.service)));
        let usual = history.usual_hours.contains(&self.facts.asked_hour());
        Ok(Value::new_record([
            ("first_time_for_service".to_owned(), Value::new_bool(first)),
            ("first_time_for_tool".to_owned(), Value::new_bool(first_for_tool)),
            ("usual_hour".to_owned(), Value::new_bool(usual)),
            ("refusals_last_hour".to_owned(), Value::new_long(i64::from(history.refusals_last_hour))),
            ("privileged_minutes".to_owned(), long(history.privileged_minutes)),
        ])?)
    }
}

fn principal_entity(names: &Names, profile: &PrincipalProfile) -> Result<Entity, Fault> {
    let known = &profile.attributes;
    let mut facts = HashMap::from([
        ("trust_domain".to_owned(), text(profile.id.trust_domain())),
        ("path".to_owned(), text(profile.id.path())),
    ]);
    let mut fact = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value);
        }
    };
    fact("kind", profile.kind.map(|kind| value(&names.kind, kind.as_str())));
    fact("risk", known.risk.map(|risk| value(&names.risk, risk.as_str())));
    fact("compliant", known.compliant.map(Value::new_bool));
    fact("person", profile.person.as_deref().map(text));
    let groups = known.groups.iter().map(|group| uid(&names.group, group.as_str()));
    let id = uid(&names.principal, profile.id.as_str());
    Ok(Entity::new_with_tags(id, facts, groups, tags(&known.labels))?)
}

fn service_entity(names: &Names, name: &ServiceName, profile: &ServiceProfile) -> Result<Entity, Fault> {
    let facts = service_facts(names, profile, profile.sensitivity);
    Ok(Entity::new_with_tags(uid(&names.service, name.as_str()), facts, [], tags(&profile.labels))?)
}

/// `*` is any tool that is not named otherwise.
fn tool_entity(
    names: &Names,
    service: &ServiceName,
    tool: &str,
    profile: &ServiceProfile,
) -> Result<Entity, Fault> {
    let sensitivity = profile.tools.get(tool).copied().unwrap_or(profile.sensitivity);
    let mut facts = service_facts(names, profile, sensitivity);
    facts.insert("name".to_owned(), text(tool));
    let parent = uid(&names.service, service.as_str());
    Ok(Entity::new_with_tags(names.tool(service, tool), facts, [parent], tags(&profile.labels))?)
}

fn service_facts(
    names: &Names,
    profile: &ServiceProfile,
    sensitivity: Sensitivity,
) -> HashMap<String, Value> {
    let owner = match &profile.owner {
        Owner::Person(person) => format!("person:{person}"),
        Owner::Group(group) => format!("group:{group}"),
        Owner::Identity(id) => id.to_string(),
    };
    let mut facts = HashMap::from([
        ("owner".to_owned(), text(&owner)),
        ("sensitivity".to_owned(), value(&names.sensitivity, sensitivity.as_str())),
    ]);
    if let Some(environment) = &profile.environment {
        facts.insert("environment".to_owned(), text(environment));
    }
    facts
}

fn tags(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (String, Value)> {
    labels.iter().map(|(name, label)| (name.clone(), text(label)))
}

fn common(names: &Names, facts: &Facts) -> Vec<(String, Value)> {
    let (request, now) = (&facts.request, facts.time.now);
    let services: BTreeSet<_> =
        request.scope.permissions().iter().flat_map(|permission| permission.locations()).collect();
    let minutes = |length: std::time::Duration| long(length.as_millis().div_ceil(60_000));
    let plan_steps = request.plan.as_ref().map_or(0, |plan| plan.steps.len());
    let requester: &SpiffeId = &request.requester;
    let mut pairs = vec![
        ("requester".to_owned(), value(&names.principal, requester.as_str())),
        ("services".to_owned(), long(services.len())),
        ("permissions".to_owned(), long(request.scope.permissions().len())),
        ("task".to_owned(), text(request.task.as_str())),
        ("reason".to_owned(), text(&request.reason)),
        ("reason_length".to_owned(), long(request.reason.trim().chars().count())),
        ("emergency".to_owned(), Value::new_bool(request.emergency)),
        ("ttl_minutes".to_owned(), minutes(request.ttl.get())),
        ("starts_in_minutes".to_owned(), minutes(request.not_before.unwrap_or(now).since(now))),
        ("plan_steps".to_owned(), long(plan_steps)),
        ("minute_of_day".to_owned(), Value::new_long(i64::from(facts.time.minute_of_day))),
        ("weekday".to_owned(), value(&names.weekday, facts.time.weekday.as_str())),
    ];
    let mut fact = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            pairs.push((name.to_owned(), value));
        }
    };
    fact("role", request.role.as_ref().map(|role| text(role.as_str())));
    if let RequestKind::Step { number, .. } = &request.kind {
        fact("plan_step", Some(Value::new_long(i64::from(*number))));
    }
    // No answer means no.
    let open = Value::new_bool(request.ticket_open == Some(true));
    let ticket = |name: &String| record([("name", Some(text(name))), ("open", Some(open.clone()))]);
    fact("ticket", request.ticket.as_ref().and_then(ticket));
    // One spelling of an address: an IPv4 caller is one also where the socket is IPv6.
    fact("source", request.source.map(|source| Value::new_ip(source.to_canonical().to_string())));
    fact("on_behalf_of", request.on_behalf_of.as_ref().and_then(|user| user_value(names, user, now)));
    fact("authenticated", request.authenticated.as_ref().and_then(|user| user_value(names, user, now)));
    pairs
}

fn user_value(names: &Names, user: &User, now: Time) -> Option<Value> {
    record([
        ("issuer", Some(text(&user.issuer))),
        ("subject", Some(text(&user.subject))),
        ("person", user.person.as_deref().map(text)),
        ("groups", Some(Value::new_set(user.groups.iter().map(|group| names.group_value(group))))),
        ("acr", user.acr.as_deref().map(text)),
        ("amr", Some(Value::new_set(user.amr.iter().map(|method| text(method))))),
        ("age_seconds", user.auth_time.map(|time| long(now.since(time).as_secs()))),
    ])
}

/// `None` never happens: no name is there twice.
fn record<const N: usize>(facts: [(&str, Option<Value>); N]) -> Option<Value> {
    let known = facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::new_record(known).ok()
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn value(kind: &EntityTypeName, id: &str) -> Value {
    Value::new_entity_uid(uid(kind, id))
}

fn text(text: &str) -> Value {
    Value::new_string(text.to_owned())
}

fn long<N: TryInto<i64>>(number: N) -> Value {
    Value::new_long(number.try_into().unwrap_or(i64::MAX))
}
