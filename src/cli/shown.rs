//! Text that callers supplied, as it may be shown on a terminal.

pub(super) use crate::model::shown::{escaped, escaped_json};
