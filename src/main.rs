//! jitgate: just-in-time access gate.
fn main() {}
