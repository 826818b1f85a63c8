//! Policy sets of any size, for the benches.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A folder of policies that goes with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// So many policies: each team has its own for its own service, and one in ten is a guard rail for everybody. With `methods` each
    /// team's policy names the actions that it permits.
    pub(crate) fn new(policies: usize, methods: Option<&str>) -> Result<Self, std::io::Error> {
        let kind = if methods.is_some() { "methods" } else { "any" };
        let name = format!("jitgate-bench-policy-{}-{policies}-{kind}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder)?;
        let methods = methods.map_or(String::new(), |list| format!("[{list}].contains(context.method) && "));
        let mut text = String::new();
        for n in 0..policies {
            // Writing to a text cannot fail.
            let _written = match n % 10 {
                0 => write!(
                    text,
                    "@id(\"rail-{n}\") forbid (principal, action, resource)\n\
                     when {{ principal.risk == Risk::\"high\" || context.history.refusals_last_hour >= {} }};\n",
                    n + 5
                ),
                _ => write!(
                    text,
                    "@id(\"team-{n}\") @max_ttl(\"30m\")\n\
                     permit (principal in Group::\"team-{n}\", action == Action::\"request\", resource in Service::\"team-{n}\")\n\
                     when {{ {methods}principal.kind == Kind::\"workload\" && context.protocol == Protocol::\"http\" &&\n\
                     context.path_prefix like \"/v1/orders/*\" && context has ticket }};\n"
                ),
            };
        }
        std::fs::write(folder.join("all.cedar"), text)?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the folder for temporary files disturbs nobody.
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}
