//! The rotated files of a trail as they are on the disk.

use crate::audit::disk::blocks;
use crate::audit::retain::Rotated;
use crate::audit::segments::{self, last_of};
use crate::model::Time;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A rotated file, with whatever belongs to it.
pub(super) struct Found {
    pub(super) rotated: Rotated,
    pub(super) plain: PathBuf,
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
        let file = found.entry(last).or_insert(Found { rotated, plain });
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
