//! Lengths of time as answers show them: seconds, a whole number where they are whole.

use crate::model::Ttl;
use serde::{Serialize, Serializer};

/// See the head of this file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seconds(pub(super) Ttl);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(ttl) = self;
        let length = ttl.get();
        if length.subsec_nanos() == 0 {
            serializer.serialize_u64(length.as_secs())
        } else {
            serializer.serialize_f64(length.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_are_whole_numbers() {
        let text = |ttl: &str| serde_json::to_string(&Seconds(ttl.parse().unwrap())).unwrap();
        assert_eq!((text("15m"), text("1s"), text("1s500ms")), ("900".into(), "1".into(), "1.5".into()));
    }
}
