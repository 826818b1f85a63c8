//! The human behind a request, as far as its service demands to know, and what that means for one grant.

use super::cell::Cell;
use crate::model::{DenyReason, UserId};

/// What a request proves about its user. A proof narrows; it permits nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserProof<'a> {
    /// The service does not ask.
    NotDemanded,
    /// It asks, and there is no token.
    Missing,
    /// It asks, and the token does not hold.
    Refused,
    /// A token of the issuer that the service demands names this user.
    Proven(&'a UserId),
}

impl UserProof<'_> {
    /// What keeps a grant that matches from permitting. One that was given on behalf of a user is for that user alone.
    pub(in crate::access) fn obstacle(self, cell: &Cell) -> Option<DenyReason> {
        match self {
            Self::NotDemanded => None,
            Self::Missing => Some(DenyReason::TokenRequired),
            Self::Refused => Some(DenyReason::TokenInvalid),
            Self::Proven(user) => {
                let other = cell.on_behalf_of().is_some_and(|of| of != user);
                other.then_some(DenyReason::TokenInvalid)
            }
        }
    }
}
