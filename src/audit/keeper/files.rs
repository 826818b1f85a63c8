//! The rotated files of a trail as they are on the disk.

use crate::audit::disk::blocks;
use crate::audit::retain::Rotated;
use crate::audit::segments::{self, compressed, last_of};
use crate::model::Time;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A rotated file, with whatever belongs to it.
pub(super) struct Found {
    pub(super) rotated: Rotated,
    pub(super) plain: PathBuf,
    /// As it is, compressed or not; for a while it is both.
    pub(super) forms: Vec<Form>,
    /// Another file says that it ends with the same line.
    pub(super) twice: bool,
}

/// One file, and what changes when somebody writes to it or puts another in its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    pub(super) path: PathBuf,
    marks: [i64; 7],
}

impl Form {
    fn of(path: PathBuf, metadata: &Metadata) -> Self {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let (changed, touched) =
            ((metadata.ctime(), metadata.ctime_nsec()), (metadata.mtime(), metadata.mtime_nsec()));
        let (device, inode, length) =
            (number(metadata.dev()), number(metadata.ino()), number(metadata.len()));
        Self { path, marks: [device, inode, length, changed.0, changed.1, touched.0, touched.1] }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "zst")
    }
}

impl Found {
    /// Whether it still is what it was when it was looked at.
    pub(super) fn is_as_it_was(&self) -> io::Result<bool> {
        let mut now = Vec::new();
        for path in [self.plain.clone(), compressed(&self.plain)] {
            match std::fs::symlink_metadata(&path) {
                Ok(metadata) => now.push(Form::of(path, &metadata)),
                Err(error) => absent_is_fine(error)?,
            }
        }
        Ok(now == self.forms)
    }
}

pub(super) fn absent_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

pub(super) fn folder(trail: &Path) -> &Path {
    trail.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What the files beside the active one take, without what is written while one is compressed.
pub(in crate::audit) fn others(trail: &Path) -> io::Result<u64> {
    look(trail).map(|(_, bytes)| bytes)
}

pub(super) fn look(trail: &Path) -> io::Result<(Vec<Found>, u64)> {
    let mut found: BTreeMap<u64, Found> = BTreeMap::new();
    let mut indices: BTreeMap<u64, u64> = BTreeMap::new();
    let mut bytes = 0_u64;
    for entry in std::fs::read_dir(folder(trail))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = trail.with_file_name(&name);
        let extension = path.extension().unwrap_or_default();
        let of = if extension == "idx" { path.file_stem().unwrap_or_default() } else { &name };
        let last = last_of(trail, of);
        let aside = extension == "torn"
            && path.as_os_str().as_encoded_bytes().starts_with(trail.as_os_str().as_encoded_bytes());
        if last.is_none() && !aside {
            continue;
        }
        let metadata = match entry.metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let takes = blocks(metadata.len()).max(metadata.blocks() * 512);
        bytes = bytes.saturating_add(takes);
        let Some(last) = last else { continue };
        let plain = if extension == "zst" { path.with_extension("") } else { path.clone() };
        if extension == "idx" {
            *indices.entry(last).or_insert(0) += takes;
            continue;
        }
        // A name that cannot be is none of an old file.
        let youngest = segments::rotated_at(trail, &name).unwrap_or(Time::from_micros(i64::MAX));
        let rotated = Rotated { last, youngest, bytes: 0 };
        let file = found.entry(last).or_insert_with(|| Found {
            rotated,
            plain: plain.clone(),
            forms: Vec::new(),
            twice: false,
        });
        file.twice = file.twice || file.plain != plain;
        file.forms.push(Form::of(path, &metadata));
        file.forms.sort();
        file.rotated.bytes = file.rotated.bytes.saturating_add(takes);
        file.rotated.youngest = file.rotated.youngest.max(youngest);
    }
    for (last, takes) in indices {
        if let Some(file) = found.get_mut(&last) {
            file.rotated.bytes = file.rotated.bytes.saturating_add(takes);
        }
    }
    Ok((found.into_values().collect(), bytes))
}
