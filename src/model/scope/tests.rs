//! Tests of scopes as a whole.
