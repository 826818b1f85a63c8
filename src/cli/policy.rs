//! `jitgate policy`: what the policies would decide, before and after they are changed.

mod diff;
mod live;
mod test;

use super::Failure;
use super::connection::Connection;
use super::output::Output;
use crate::config::{Config, ConfigErrors, PolicyConfig, Problem};
use crate::control::policy::{PolicyErrors, PolicySet};
use std::path::{Path, PathBuf};

/// Test policies, compare them, and reload those of a running control plane
#[derive(Debug, clap::Subcommand)]
pub(super) enum Policy {
    Test(test::Test),
    Diff(diff::Diff),
    Show(live::Show),
    Reload(live::Reload),
}

impl Policy {
    pub(super) fn run(self, connection: &Connection, output: Output) -> Result<(), Failure> {
        match self {
            Self::Test(verb) => verb.run(output),
            Self::Diff(verb) => verb.run(connection, output),
            Self::Show(verb) => verb.run(connection, output),
            Self::Reload(verb) => verb.run(connection, output),
        }
    }
}

/// Which policies.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The folder of policies; hours are those of UTC
    folder: Option<PathBuf>,
    /// The configuration that names the folder, and the zone of hours and weekdays
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Which {
    /// The folder and the policies in it.
    fn load(self) -> Result<(PathBuf, PolicySet), Failure> {
        let config = match (self.folder, self.config) {
            (Some(folder), _) => PolicyConfig { folder: Some(folder), ..PolicyConfig::default() },
            (None, Some(file)) => configured(&file).map_err(Failure::usage)?,
            (None, None) => PolicyConfig::default(),
        };
        let set = PolicySet::from_config(&config).map_err(Failure::usage)?;
        let folder = config.folder.ok_or_else(|| Failure::usage("name a folder of policies"))?;
        Ok((folder, set))
    }
}

fn configured(file: &Path) -> Result<PolicyConfig, ConfigErrors> {
    let control = Config::load(file)?.control;
    let policy = control.map(|control| control.policy).filter(|policy| policy.folder.is_some());
    policy.ok_or_else(|| {
        let (file, key) = (file.to_path_buf(), "control.policy.folder".to_owned());
        let message = "missing: the built-in rule has no tests".to_owned();
        ConfigErrors { problems: vec![Problem { file, line: None, key, message }] }
    })
}
