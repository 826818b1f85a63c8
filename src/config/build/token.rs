//! `[control.tokens]`.

use super::{duration, value};
use crate::config::TokenRules;
use crate::config::raw::RawTokens;
use crate::config::source::Source;
use crate::config::text::TokenParty;

pub(super) fn tokens(source: &mut Source<'_>, raw: RawTokens) -> TokenRules {
    let default = TokenRules::default();
    if let Some(every) = &raw.rotate_every
        && every.get_ref().0.get() < TokenRules::SHORTEST_ROTATION
    {
        source.at(
            &every.span(),
            "expected at least `1h`: each key stays published until its tokens have ended",
        );
    }
    TokenRules {
        issuer: value(raw.issuer).map(|TokenParty(issuer)| issuer),
        audience: value(raw.audience).map_or(default.audience, |TokenParty(audience)| audience),
        rotate_every: duration(raw.rotate_every, default.rotate_every),
    }
}
