//! `DIR/operators.json`: the roles of operators that `certs issue` made, which a running `up` follows.

use crate::config::Role;
use crate::model::SpiffeId;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

const FILE: &str = "operators.json";

/// Roles by identity.
pub(in crate::cli) type Roles = BTreeMap<SpiffeId, BTreeSet<Role>>;

/// What the file says; nothing where there is none.
pub(in crate::cli) fn read(data: &Path) -> io::Result<Roles> {
    let bytes = match std::fs::read(data.join(FILE)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Roles::new()),
        Err(error) => return Err(error),
    };
    let stored: BTreeMap<SpiffeId, Vec<String>> = serde_json::from_slice(&bytes)?;
    let parse =
        |role: &String| role.parse::<Role>().map_err(|error| io::Error::other(format!("`{role}`: {error}")));
    stored
        .iter()
        .map(|(id, roles)| Ok((id.clone(), roles.iter().map(parse).collect::<io::Result<_>>()?)))
        .collect()
}

/// Sets the roles of one operator, in one step.
pub(in crate::cli) fn add(data: &Path, id: &SpiffeId, roles: &[Role]) -> io::Result<()> {
    let mut all = read(data)?;
    all.insert(id.clone(), roles.iter().copied().collect());
    let stored: BTreeMap<_, Vec<_>> =
        all.iter().map(|(id, roles)| (id, roles.iter().map(|role| role.as_str()).collect())).collect();
    let new = data.join(format!("{FILE}.new"));
    std::fs::write(&new, serde_json::to_vec_pretty(&stored)?)?;
    std::fs::rename(new, data.join(FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_read_and_an_unknown_role_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap().is_empty());
        let id: SpiffeId = "spiffe://jitgate.local/operator/ada".parse().unwrap();
        add(dir.path(), &id, &[Role::Viewer, Role::Security]).unwrap();
        add(dir.path(), &id, &[Role::Viewer]).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [(id, [Role::Viewer].into())].into());
        std::fs::write(dir.path().join(FILE), r#"{"spiffe://d/x":["root"]}"#).unwrap();
        assert!(read(dir.path()).unwrap_err().to_string().contains("`root`"));
    }
}
