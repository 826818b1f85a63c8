//! The key that signs for a log: made with it, and never replaced silently.

use crate::identity::keyfile::{self, Existing, FileError, Secrecy};
use crate::tlog::{NoteError, NoteSigner};
use std::path::{Path, PathBuf};

/// Why a log cannot be signed for.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file or its folder.
    #[error("the signing key cannot be used")]
    File(#[from] FileError),
    /// A key of something else.
    #[error("`{}` is no key that signs a log", path.display())]
    Key {
        /// Where it is.
        path: PathBuf,
        /// Why.
        source: NoteError,
    },
    /// The log was signed for with a key that is gone.
    #[error("`{}` is missing, with which the log was signed: restore it", .0.display())]
    Missing(PathBuf),
}

/// The key at `path` for the log `origin`, made if the log never `was_signed`.
///
/// # Errors
/// [`KeyError`].
pub fn signer(path: &Path, origin: &str, was_signed: bool) -> Result<NoteSigner, KeyError> {
    let key = |source| KeyError::Key { path: path.to_owned(), source };
    let der = if path.exists() {
        keyfile::read(path, Secrecy::Private)?
    } else if was_signed {
        return Err(KeyError::Missing(path.to_owned()));
    } else {
        let der = NoteSigner::generate().ok_or_else(|| key(NoteError::PrivateKey))?;
        keyfile::write(path, &der, Secrecy::Private, Existing::Keep)?;
        der
    };
    NoteSigner::from_pkcs8(origin, &der).map_err(key)
}
