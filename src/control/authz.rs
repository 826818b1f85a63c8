//! Who may do what at the control plane: roles given to SPIFFE IDs in the configuration, and the people behind them.
//!
//! A closed set. An identity that is not listed has no role. The role `proxy` is for enforcement points and for nothing else.

use crate::config::{ControlConfig, Role};
use crate::model::SpiffeId;
use std::collections::{BTreeSet, HashMap};

/// What a command or a resource needs: any one of these roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Issue a direct grant.
    Grant,
    /// Revoke.
    Revoke,
    /// Read what is not one's own.
    Read,
    /// Be an enforcement point.
    Enforce,
    /// Decide on access requests, lift cool-downs, close reviews.
    Approve,
    /// Say what is known about principals.
    Secure,
    /// Replace the policies.
    Load,
    /// Ask for another principal.
    Broker,
    /// Steer tasks of others.
    Steer,
    /// Look after the control plane itself.
    Configure,
}

impl Need {
    /// The roles of which one is enough.
    #[must_use]
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::Grant | Self::Configure => &[Role::Admin],
            Self::Revoke => &[Role::Security, Role::Admin],
            Self::Read => &[Role::Viewer, Role::Approver, Role::Security, Role::Admin],
            Self::Enforce => &[Role::Proxy],
            Self::Approve => &[Role::Approver, Role::Security, Role::Admin],
            Self::Secure => &[Role::Security],
            Self::Load => &[Role::Security, Role::Admin],
            Self::Broker => &[Role::Broker],
            Self::Steer => &[Role::Broker, Role::Security],
        }
    }
}

/// Roles and people, as configured.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    roles: HashMap<SpiffeId, BTreeSet<Role>>,
    people: HashMap<SpiffeId, usize>,
}

impl Roles {
    /// From `[[identities]]` (id, roles) and `[[people]]` (the identities of each). Somebody listed twice has all that was
    /// listed for them.
    #[must_use]
    pub fn new(
        identities: impl IntoIterator<Item = (SpiffeId, Vec<Role>)>,
        people: impl IntoIterator<Item = Vec<SpiffeId>>,
    ) -> Self {
        let mut roles: HashMap<SpiffeId, BTreeSet<Role>> = HashMap::new();
        for (id, given) in identities {
            roles.entry(id).or_default().extend(given);
        }
        let people = people
            .into_iter()
            .enumerate()
            .flat_map(|(person, identities)| identities.into_iter().map(move |id| (id, person)))
            .collect();
        Self { roles, people }
    }

    /// From the configuration.
    #[must_use]
    pub fn from_config(config: &ControlConfig) -> Self {
        let identities = config.roles.iter().map(|(id, roles)| (id.clone(), roles.iter().copied().collect()));
        Self::new(identities, config.people.iter().map(|person| person.identities.iter().cloned().collect()))
    }

    /// The roles of an identity; none if it is not listed.
    pub fn of<'a>(&'a self, id: &SpiffeId) -> impl Iterator<Item = Role> + use<'a> {
        self.roles.get(id).into_iter().flatten().copied()
    }

    /// Whether an identity has a role that is enough.
    #[must_use]
    pub fn may(&self, id: &SpiffeId, need: Need) -> bool {
        self.of(id).any(|role| need.roles().contains(&role))
    }

    /// The identities with a role that decides over people's access.
    pub fn deciding(&self) -> impl Iterator<Item = &SpiffeId> {
        let decides = |roles: &BTreeSet<Role>| roles.iter().any(|role| role.decides());
        self.roles.iter().filter(move |(_, roles)| decides(roles)).map(|(id, _)| id)
    }

    /// Whether two identities are one and the same person (an identity always is itself).
    #[must_use]
    pub fn same_person(&self, one: &SpiffeId, other: &SpiffeId) -> bool {
        one == other
            || match (self.people.get(one), self.people.get(other)) {
                (Some(one), Some(other)) => one == other,
                (None, _) | (_, None) => false,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> SpiffeId {
        text.parse().unwrap()
    }

    #[test]
    fn an_unlisted_identity_has_no_role_and_a_proxy_only_enforces() {
        let proxy = id("spiffe://d/proxy");
        let roles = Roles::new([(proxy.clone(), vec![Role::Proxy])], []);
        for need in [Need::Grant, Need::Revoke, Need::Read] {
            assert!(!roles.may(&proxy, need) && !roles.may(&id("spiffe://d/agent"), need));
        }
        assert!(roles.may(&proxy, Need::Enforce) && !roles.may(&id("spiffe://d/agent"), Need::Enforce));
    }

    #[test]
    fn no_operator_role_is_enough_to_enforce() {
        let all = vec![Role::Viewer, Role::Approver, Role::Security, Role::Admin, Role::Broker];
        let roles = Roles::new([(id("spiffe://d/op"), all)], []);
        assert!(!roles.may(&id("spiffe://d/op"), Need::Enforce));
        assert!(roles.may(&id("spiffe://d/op"), Need::Grant));
    }

    #[test]
    fn people_link_identities() {
        let (a, b, c) = (id("spiffe://d/a"), id("spiffe://d/b"), id("spiffe://d/c"));
        let roles = Roles::new([], [vec![a.clone(), b.clone()], vec![c.clone()]]);
        assert!(roles.same_person(&a, &b) && roles.same_person(&c, &c));
        assert!(!roles.same_person(&a, &c) && !roles.same_person(&id("spiffe://d/x"), &id("spiffe://d/y")));
    }
}
