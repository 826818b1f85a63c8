//! Who is who and what is what, as configured: principals, people, services, named scopes. Facts for decisions; roles are in
//! [`crate::control::authz`].
//!
//! Invariant: what a human may do, a human's own identity may do. `[[people]]` also links workloads that work for somebody, so that
//! nobody approves for themselves; that an identity belongs to a person makes it neither an approver nor an owner.

use crate::config::{ControlConfig, Person, PrincipalEntry, RoleTemplate};
use crate::control::authz::Roles;
use crate::model::{
    Attributes, GroupName, Owner, PrincipalKind, PrincipalProfile, RoleName, ServiceName, ServiceProfile,
    SpiffeId,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What the configuration knows.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    principals: BTreeMap<SpiffeId, PrincipalEntry>,
    people: Vec<Person>,
    person_of: HashMap<SpiffeId, usize>,
    /// Who has a role that decides over people's access.
    deciding: HashSet<SpiffeId>,
    services: BTreeMap<ServiceName, ServiceProfile>,
    templates: BTreeMap<RoleName, RoleTemplate>,
}

impl Directory {
    /// From the configuration.
    #[must_use]
    pub fn from_config(config: &ControlConfig) -> Self {
        Self::new(
            config.principals.clone(),
            config.people.to_vec(),
            config.services.clone(),
            config.templates.clone(),
        )
        .with_roles(&Roles::from_config(config))
    }

    /// From its parts; see [`Self::with_roles`].
    #[must_use]
    pub fn new(
        principals: BTreeMap<SpiffeId, PrincipalEntry>,
        people: Vec<Person>,
        services: BTreeMap<ServiceName, ServiceProfile>,
        templates: BTreeMap<RoleName, RoleTemplate>,
    ) -> Self {
        let numbered = people.iter().enumerate();
        let person_of = numbered
            .flat_map(|(at, person)| person.identities.iter().map(move |id| (id.clone(), at)))
            .collect();
        Self { principals, people, person_of, deciding: HashSet::new(), services, templates }
    }

    /// With those whom a role makes humans. Without, nobody is one unless their `kind` says so.
    #[must_use]
    pub fn with_roles(self, roles: &Roles) -> Self {
        Self { deciding: roles.deciding().cloned().collect(), ..self }
    }

    /// The person that an identity belongs to.
    #[must_use]
    pub fn person(&self, id: &SpiffeId) -> Option<&Person> {
        self.people.get(*self.person_of.get(id)?)
    }

    /// All identities of the one who holds `id`, itself included.
    #[must_use]
    pub fn identities(&self, id: &SpiffeId) -> BTreeSet<SpiffeId> {
        let mut all = self.person(id).map(|person| person.identities.clone()).unwrap_or_default();
        all.insert(id.clone());
        all
    }

    /// Whether an identity is a human's own: its `kind` says so or, where nobody says anything, a role that no workload may hold. A
    /// person in `[[people]]` does not: the agents that work for them are listed there, too.
    #[must_use]
    pub fn is_human(&self, id: &SpiffeId) -> bool {
        match self.principals.get(id).and_then(|entry| entry.kind) {
            Some(PrincipalKind::Human) => true,
            Some(PrincipalKind::Workload) => false,
            None => self.deciding.contains(id),
        }
    }

    /// Whether an identity is said to be a workload's.
    #[must_use]
    pub fn is_workload(&self, id: &SpiffeId) -> bool {
        self.principals.get(id).and_then(|entry| entry.kind) == Some(PrincipalKind::Workload)
    }

    /// What is known about an identity: the configuration, the groups of its person (a policy that forbids something to a group forbids
    /// it to the agents of its people as well), and over it what was set at run time.
    #[must_use]
    pub fn profile(&self, id: &SpiffeId, set: Option<&Attributes>) -> PrincipalProfile {
        let entry = self.principals.get(id);
        let mut attributes = entry.map(|entry| entry.attributes.clone()).unwrap_or_default();
        let person = self.person(id);
        attributes.groups.extend(person.iter().flat_map(|person| person.groups.iter().cloned()));
        if let Some(set) = set {
            attributes = attributes.merged(set);
        }
        PrincipalProfile {
            id: id.clone(),
            kind: entry.and_then(|entry| entry.kind),
            person: person.map(|person| person.name.clone()),
            attributes,
        }
    }

    /// The services that are known.
    #[must_use]
    pub fn services(&self) -> &BTreeMap<ServiceName, ServiceProfile> {
        &self.services
    }

    /// A named scope.
    #[must_use]
    pub fn template(&self, name: &RoleName) -> Option<&RoleTemplate> {
        self.templates.get(name)
    }

    /// Whether an identity, being in these groups, is an owner.
    #[must_use]
    pub fn owns(&self, id: &SpiffeId, groups: &BTreeSet<GroupName>, owner: &Owner) -> bool {
        match owner {
            Owner::Person(name) => {
                self.is_human(id) && self.person(id).is_some_and(|person| person.name == *name)
            }
            Owner::Group(group) => groups.contains(group),
            Owner::Identity(owner) => owner == id,
        }
    }
}
