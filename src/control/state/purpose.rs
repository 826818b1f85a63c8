//! What there is one live grant for (law 9): asking again for the same is answered by what is there.

use crate::model::{AccessRequest, Grant, Scope, SpiffeId, TaskId, UserId};

/// For whom, for which task, what, and on behalf of which human: access that was decided for one user is no other's (law 10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purpose<'a> {
    pub(in crate::control) principal: &'a SpiffeId,
    pub(in crate::control) task: &'a TaskId,
    pub(in crate::control) scope: &'a Scope,
    /// Issuer and subject; nobody is somebody else as well.
    pub(in crate::control) user: Option<(&'a str, &'a str)>,
}

impl<'a> Purpose<'a> {
    /// What a grant is for.
    #[must_use]
    pub fn of(grant: &'a Grant) -> Self {
        let user = grant.on_behalf_of().map(|UserId { issuer, subject }| (&**issuer, &**subject));
        Self { principal: &grant.principal, task: &grant.task, scope: &grant.scope, user }
    }

    /// What the grant of a request would be for, with the scope that it comes to.
    #[must_use]
    pub fn asked(request: &'a AccessRequest, scope: &'a Scope) -> Self {
        let user = request.on_behalf_of.as_ref().map(|user| (&*user.issuer, &*user.subject));
        Self { principal: &request.principal, task: &request.task, scope, user }
    }

    /// A hash by which grants for the same are found; equal hashes are compared in full.
    pub(super) fn hash(&self, hasher: &impl std::hash::BuildHasher) -> u64 {
        // A scope that could not be written as JSON would only be found less quickly.
        let scope = serde_json::to_vec(self.scope).unwrap_or_default();
        hasher.hash_one((self.principal, self.task, scope, self.user))
    }
}
