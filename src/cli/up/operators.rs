//! `DIR/operators.json`: the roles of operators that `certs issue` made, which a running `up` follows.

use crate::config::Role;
use crate::model::SpiffeId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "operators.json";

/// Roles by identity.
pub(in crate::cli) type Roles = BTreeMap<SpiffeId, BTreeSet<Role>>;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{}` cannot be used: {source}; remove it and issue the operators anew", path.display())]
pub(in crate::cli) struct OperatorsError {
    path: PathBuf,
    source: io::Error,
}

/// What the file says; nothing where there is none.
pub(in crate::cli) fn read(data: &Path) -> Result<Roles, OperatorsError> {
    let path = data.join(FILE);
    let parsed = match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Roles::new()),
        Err(error) => Err(error),
    };
    parsed.map_err(|source| OperatorsError { path, source })
}

fn parse(bytes: &[u8]) -> io::Result<Roles> {
    let stored: BTreeMap<SpiffeId, Vec<String>> = serde_json::from_slice(bytes)?;
    let role =
        |role: &String| role.parse::<Role>().map_err(|error| io::Error::other(format!("`{role}`: {error}")));
    let entry =
        |(id, roles): (SpiffeId, Vec<String>)| Ok((id, roles.iter().map(role).collect::<io::Result<_>>()?));
    stored.into_iter().map(entry).collect()
}

/// The roles in force: what the configuration says about an identity stands.
pub(super) fn merged(operators: &Roles, configured: &Roles) -> Roles {
    let mut all = operators.clone();
    all.extend(configured.clone());
    all
}

/// Sets the roles of one operator, in one step.
pub(in crate::cli) fn add(data: &Path, id: &SpiffeId, roles: &[Role]) -> Result<(), OperatorsError> {
    let mut all = read(data)?;
    all.insert(id.clone(), roles.iter().copied().collect());
    let stored: BTreeMap<_, Vec<_>> =
        all.iter().map(|(id, roles)| (id, roles.iter().map(|role| role.as_str()).collect())).collect();
    let path = data.join(FILE);
    let new = data.join(format!("{FILE}.new"));
    let written = serde_json::to_vec_pretty(&stored)
        .map_err(io::Error::from)
        .and_then(|text| std::fs::write(&new, text))
        .and_then(|()| std::fs::rename(&new, &path));
    written.map_err(|source| OperatorsError { path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_read_and_an_unknown_role_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        let id = || "spiffe://jitgate.local/operator/ada".parse::<SpiffeId>().unwrap();
        add(dir.path(), &id(), &[Role::Viewer, Role::Security]).unwrap();
        add(dir.path(), &id(), &[Role::Viewer]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [(id(), [Role::Viewer].into())].into());
        let configured = [(id(), [Role::Admin].into())].into();
        assert_eq!(merged(&read(dir.path()).unwrap(), &configured), configured, "the configuration stands");
        std::fs::write(dir.path().join(FILE), r#"{"spiffe://d/x":["root"]}"#).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("`root`"));
    }
}
