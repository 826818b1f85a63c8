//! The command: found before anybody is asked for anything, so that nobody approves what cannot run.

use crate::cli::Failure;
use rustix::fs::{Access, access};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A program and its arguments.
#[derive(Debug)]
pub(super) struct CommandLine {
    name: OsString,
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl CommandLine {
    /// Finds the program like a shell would: by its path, or in `PATH`.
    pub(super) fn find(words: &[OsString]) -> Result<Self, Failure> {
        let (name, arguments) = words.split_first().ok_or_else(|| Failure::usage("which command?"))?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = locate(name, &path).ok_or_else(|| {
            let shown = name.to_string_lossy();
            Failure::usage(format!("`{shown}` is not a program that can be run: nothing was asked for"))
        })?;
        Ok(Self { name: name.clone(), program, arguments: arguments.to_vec() })
    }

    /// Its name without its folder and arguments: arguments may hold secrets.
    pub(super) fn name(&self) -> String {
        let name = Path::new(&self.name).file_name().unwrap_or(&self.name);
        name.to_string_lossy().into_owned()
    }

    /// To be completed and spawned.
    pub(super) fn build(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.arg0(&self.name).args(&self.arguments);
        command
    }
}

fn locate(name: &OsStr, path: &OsStr) -> Option<PathBuf> {
    if name.is_empty() {
        return None;
    }
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(name)).filter(|program| is_program(program));
    }
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_program_is_found_like_a_shell_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (program, data) = (file("tool", 0o755), file("data", 0o644));
        let path = std::env::join_paths([Path::new("/nowhere"), dir.path()]).unwrap();
        assert_eq!(locate(OsStr::new("tool"), &path).unwrap(), program);
        assert_eq!(locate(program.as_os_str(), OsStr::new("")).unwrap(), program);
        for wrong in
            [OsStr::new(""), OsStr::new("none"), OsStr::new("data"), data.as_os_str(), dir.path().as_os_str()]
        {
            assert_eq!(locate(wrong, &path), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_name_has_no_arguments() {
        let line = CommandLine::find(&["/bin/sh".into(), "-c".into(), "secret".into()]).unwrap();
        assert_eq!(line.name(), "sh");
    }
}
