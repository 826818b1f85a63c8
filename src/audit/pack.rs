//! Compresses rotated segments, beside the proxy's work: a thread that looks now and then, and also keeps the files
//! ([`super::keeper`]). Each file is compressed by a thread of its own, of the lowest priority: it takes what requests leave of the
//! processors, and little else; if that is not enough, a share.
//!
//! A plain file is removed only when its compressed form is on the disk under its name and was read back: until then readers take the
//! plain one, from then on either. So a crash at any point leaves a whole copy, and what it left half done is done again.

use super::index::{self, Builder};
use super::keeper::Keeper;
use super::segments::{self, compressed, last_of};
use crate::runtime::clock::{Mono, wall};
use parking_lot::{Condvar, Mutex};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// What failed is tried again after this; a full disk is not full of log lines about it.
const AGAIN: Duration = Duration::from_secs(60);
/// About a tenth of the size, faster than a disk writes.
const LEVEL: i32 = 3;
const PIECE: usize = 256 << 10;
/// Several times the longest line.
const TAIL: u64 = 1 << 20;
/// What looks after the files comes behind requests.
const NICE: i32 = 10;
/// Compressing comes behind that as well, to the lowest priority: where requests leave nothing, it takes a share of a processor that is
/// hardly seen.
const LESS: i32 = 9;
/// That goes for so long a time only: files are not looked after meanwhile, and uncompressed ones fill the disk.
const PATIENCE: Duration = Duration::from_secs(15);
/// Ends the name of a file that is being written.
pub(super) const DRAFT: &str = "draft";

/// The thread.
pub(super) struct Packer {
    stop: Arc<(Mutex<Told>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and its owner tell each other.
#[derive(Default)]
struct Told {
    stop: bool,
    ended: bool,
}

/// Says so, also after a panic.
struct Ended(Arc<(Mutex<Told>, Condvar)>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.0.lock().ended = true;
        self.0.1.notify_all();
    }
}

impl Packer {
    /// Begins to look after the trail at `path`, whose lock it holds until it ends, also when nobody waits for that any more: another
    /// process must not find its files moved.
    pub(super) fn start(
        path: PathBuf,
        compress: bool,
        keeper: Keeper,
        lock: Option<File>,
    ) -> io::Result<Self> {
        let stop = Arc::<(Mutex<Told>, Condvar)>::default();
        let told = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("audit-pack".into()).spawn(move || {
            // Of this thread alone and those that it starts, on Linux. Without it, it only competes harder.
            let _ = rustix::process::nice(NICE);
            let (_lock, ended) = (lock, Ended(told));
            run(&path, compress, keeper, &ended.0);
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Packer {
    /// Ends it. It looks at the flag with every piece; on a disk that does not answer it is left alone after `deadline`.
    pub(super) fn stop(mut self, deadline: Duration) {
        let mut told = self.stop.0.lock();
        told.stop = true;
        self.stop.1.notify_all();
        self.stop.1.wait_while_for(&mut told, |told| !told.ended, deadline);
        let ended = told.ended;
        drop(told);
        match self.thread.take() {
            // A panic in it has been reported.
            Some(thread) if ended => drop(thread.join()),
            Some(_) => tracing::warn!(
                "what compresses and removes files of the audit trail does not end: it is left to itself"
            ),
            None => {}
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.stop.0.lock().stop = true;
        self.stop.1.notify_all();
    }
}

fn run(trail: &Path, compress: bool, mut keeper: Keeper, stop: &(Mutex<Told>, Condvar)) {
    let stopped = || stop.0.lock().stop;
    let (mut next, mut haste) = (Mono::now(), Haste::None);
    while !stopped() {
        keeper.pass(wall(), Mono::now(), &stopped);
        let mut more = false;
        if compress && Mono::now() >= next {
            match pack_one(trail, haste, &stopped) {
                Ok(packed) => {
                    more = packed != Packed::Nothing;
                    haste = if packed == Packed::Late { Haste::Some } else { Haste::None };
                }
                Err(error) => {
                    tracing::warn!(path = %trail.display(), %error, "rotated audit files were not compressed; they are kept as they are");
                    next = Mono::now().plus(AGAIN);
                }
            }
        }
        let mut flag = stop.0.lock();
        if !flag.stop && !more {
            stop.1.wait_for(&mut flag, EVERY);
        }
    }
}

/// Whether a file is worth more of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// For [`PATIENCE`] not.
    None,
    Some,
}

#[derive(Debug, PartialEq, Eq)]
enum Packed {
    /// There is nothing to do, or it was stopped.
    Nothing,
    /// Requests left it too little time: it is begun anew, with more.
    Late,
    One,
}

/// Compresses the oldest file that is rotated and plain.
fn pack_one(trail: &Path, haste: Haste, stopped: &(impl Fn() -> bool + Sync)) -> io::Result<Packed> {
    let waiting = plain(trail)?;
    let Some(oldest) = waiting.iter().find(|path| is_whole(trail, path)) else {
        return match waiting.first() {
            None => Ok(Packed::Nothing),
            Some(odd) => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "`{}` does not end with the line that its name says: it is left alone, and hides a compressed one of that name; move it away \
                     if it is not of this trail, or wait until whatever writes it is done",
                    odd.display()
                ),
            )),
        };
    };
    let until = Mono::now().plus(PATIENCE);
    let late = || haste == Haste::None && Mono::now() >= until;
    let draft = with(&compressed(oldest), DRAFT);
    // A thread cannot take its priority back, so each file has one.
    let made = std::thread::scope(|scope| {
        let making = std::thread::Builder::new().name("audit-zstd".into()).spawn_scoped(scope, || {
            let _ = rustix::process::nice(if haste == Haste::None { LESS } else { 0 });
            make(oldest, &draft, &|| stopped() || late())
        })?;
        making.join().unwrap_or_else(|_| Err(io::Error::other("it panicked, as it has said")))
    })?;
    match made {
        Some(builder) if !stopped() => put(oldest, &draft, builder, folder(trail)).map(|()| Packed::One),
        Some(_) | None => {
            std::fs::remove_file(&draft)?;
            Ok(if stopped() { Packed::Nothing } else { Packed::Late })
        }
    }
}

fn folder(trail: &Path) -> &Path {
    trail.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Compresses what is rotated and plain, oldest first, until `stopped`.
#[cfg(test)]
pub(super) fn pack(trail: &Path, stopped: &(impl Fn() -> bool + Sync)) -> io::Result<()> {
    while !stopped() && pack_one(trail, Haste::Some, stopped)? != Packed::Nothing {}
    Ok(())
}

/// What is rotated and plain, oldest first.
fn plain(trail: &Path) -> io::Result<Vec<PathBuf>> {
    let mut plain = Vec::new();
    for entry in std::fs::read_dir(folder(trail))? {
        let entry = entry?;
        let name = entry.file_name();
        let path = trail.with_file_name(&name);
        let is_packed = path.extension().is_some_and(|extension| extension == "zst");
        if let Some(last) =
            last_of(trail, &name).filter(|_| !is_packed && entry.file_type().is_ok_and(|kind| kind.is_file()))
        {
            plain.push((last, path));
        }
    }
    plain.sort();
    Ok(plain.into_iter().map(|(_, path)| path).collect())
}

/// Whether a plain file ends with the line that its name says, and so is no copy that somebody has just begun: it will take the place of
/// a compressed one of that name.
fn is_whole(trail: &Path, plain: &Path) -> bool {
    let said = plain.file_name().and_then(|name| last_of(trail, name));
    let found = || -> io::Result<Option<u64>> {
        let file = File::open(plain)?;
        let length = file.metadata()?.len();
        let tail = length.min(TAIL);
        let mut end = vec![0; usize::try_from(tail).unwrap_or(0)];
        file.read_exact_at(&mut end, length - tail)?;
        let Some((b'\n', lines)) = end.split_last() else { return Ok(None) };
        let begin = memchr::memrchr(b'\n', lines);
        Ok(segments::seq(lines.get(begin.map_or(0, |at| at + 1)..).unwrap_or_default()))
    };
    said.is_some() && found().ok().flatten() == said
}

/// Compresses a file and reads it back; `None`: it was stopped.
fn make(plain: &Path, draft: &Path, stopped: &(impl Fn() -> bool + Sync)) -> io::Result<Option<Builder>> {
    let Some(written) = compress(plain, draft, stopped)? else { return Ok(None) };
    let Some((read, builder)) = read_back(draft, stopped)? else { return Ok(None) };
    if read != written {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "what was compressed does not read back as it was",
        ));
    }
    Ok(Some(builder))
}

/// Puts what was made in the place of the plain file.
fn put(plain: &Path, draft: &Path, builder: Builder, folder: &Path) -> io::Result<()> {
    let size = std::fs::metadata(draft)?.len();
    let index = index::path(plain);
    match builder.finish(size) {
        Some(found) => {
            let draft = with(&index, DRAFT);
            let mut file = create(&draft)?;
            file.write_all(&found.encode())?;
            file.sync_all()?;
            std::fs::rename(draft, &index)?;
        }
        // One of before would be of another size, and not believed; still.
        None => match std::fs::remove_file(&index) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        },
    }
    std::fs::rename(draft, compressed(plain))?;
    let folder = File::open(folder)?;
    folder.sync_all()?;
    std::fs::remove_file(plain)?;
    folder.sync_all()
}

fn with(path: &Path, extension: &str) -> PathBuf {
    super::resume::beside(path, extension)
}

/// For the owner alone, as the trail itself; never through a link that somebody put there.
fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Returns how many bytes were compressed; `None` if it was stopped.
fn compress(plain: &Path, draft: &Path, stopped: &(impl Fn() -> bool + Sync)) -> io::Result<Option<usize>> {
    let mut from = File::open(plain)?;
    let mut to = zstd::stream::write::Encoder::new(create(draft)?, LEVEL)?;
    // Of what goes in: whatever does not come out as it went in is an error for each reader, and the first reads it back here.
    to.include_checksum(true)?;
    let mut bytes = 0;
    let mut piece = vec![0; PIECE];
    loop {
        if stopped() {
            return Ok(None);
        }
        let length = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = piece.get(..length).unwrap_or_default();
        bytes += length;
        to.write_all(part)?;
    }
    to.finish()?.sync_all()?;
    Ok(Some(bytes))
}

/// Reads a compressed file as its readers will, against its checksum; also what is after its last newline counts.
fn read_back(packed: &Path, stopped: &(impl Fn() -> bool + Sync)) -> io::Result<Option<(usize, Builder)>> {
    let mut bytes = 0;
    let mut builder = Builder::default();
    let mut lines = segments::packed_lines(packed)?;
    while let Some(block) = lines.block()? {
        if stopped() {
            return Ok(None);
        }
        bytes += block.len();
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            builder.add(line);
        }
    }
    Ok(Some((bytes + lines.rest().len(), builder)))
}

#[cfg(test)]
mod tests {
    use super::super::index::Index;
    use super::super::segments::list;
    use super::*;

    const NAME: &str = "audit-20261122T100000Z-000000000300.jsonl";

    fn line(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"time\":\"2026-11-22T10:00:00.000000Z\",\"grant\":\"gr_{seq}\"}}\n")
    }

    fn trail() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        std::fs::write(dir.path().join(NAME), (1..=300).map(line).collect::<String>()).unwrap();
        std::fs::write(&path, line(301)).unwrap();
        (dir, path)
    }

    fn lines(trail: &Path) -> usize {
        let mut count = 0;
        for segment in list(trail).unwrap() {
            let mut lines = segment.open().unwrap();
            while lines.line().unwrap().is_some() {
                count += 1;
            }
        }
        count
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = std::fs::read_dir(dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_rotated_file_becomes_a_compressed_one_and_its_index_and_the_active_one_stays() {
        let (dir, path) = trail();
        let before = std::fs::read(dir.path().join(NAME)).unwrap();
        assert_eq!(pack_one(&path, Haste::None, &|| false).unwrap(), Packed::One);
        assert_eq!(pack_one(&path, Haste::None, &|| false).unwrap(), Packed::Nothing);
        assert_eq!(names(&dir), [format!("{NAME}.idx"), format!("{NAME}.zst"), "audit.jsonl".to_owned()]);
        let packed = dir.path().join(format!("{NAME}.zst"));
        assert_eq!(zstd::decode_all(File::open(packed).unwrap()).unwrap(), before);
        let segments = list(&path).unwrap();
        assert!(Index::of(&segments[0]).is_some() && Index::of(&segments[1]).is_none());
        assert_eq!(lines(&path), 301);
        pack(&path, &|| false).unwrap();
        assert_eq!(lines(&path), 301);
    }

    #[test]
    fn what_a_crash_left_is_done_again_and_nothing_is_counted_twice() {
        let (dir, path) = trail();
        let plain = dir.path().join(NAME);
        let bytes = std::fs::read(&plain).unwrap();
        // Killed while it wrote the draft, and after a rename whose plain file was not removed.
        std::fs::write(dir.path().join(format!("{NAME}.zst.draft")), b"half").unwrap();
        assert_eq!(lines(&path), 301);
        std::fs::write(dir.path().join(format!("{NAME}.idx")), b"half").unwrap();
        std::fs::write(dir.path().join(format!("{NAME}.zst")), zstd::encode_all(&*bytes, 1).unwrap())
            .unwrap();
        assert_eq!(lines(&path), 301);
        pack(&path, &|| false).unwrap();
        assert_eq!(names(&dir).len(), 3);
        assert_eq!(lines(&path), 301);
        assert!(Index::of(&list(&path).unwrap()[0]).is_some());
    }

    #[test]
    fn a_copy_that_was_just_begun_takes_nobodys_place() {
        let (dir, path) = trail();
        let plain = dir.path().join(NAME);
        let whole = std::fs::read(&plain).unwrap();
        pack(&path, &|| false).unwrap();
        let packed = std::fs::read(dir.path().join(format!("{NAME}.zst"))).unwrap();
        let other = dir.path().join("audit-20261122T110000Z-000000000301.jsonl");
        for begun in
            [&b""[..], whole.get(..whole.len() / 2).unwrap(), whole.get(..whole.len() - 1).unwrap(), b"\n"]
        {
            std::fs::write(&plain, begun).unwrap();
            assert!(pack_one(&path, Haste::None, &|| false).is_err());
            // Others are not held up by it.
            std::fs::write(&other, line(301)).unwrap();
            assert_eq!(pack_one(&path, Haste::None, &|| false).unwrap(), Packed::One);
            assert_eq!(std::fs::read(dir.path().join(format!("{NAME}.zst"))).unwrap(), packed);
            assert_eq!(std::fs::read(&plain).unwrap(), begun);
        }
        std::fs::write(&plain, &whole).unwrap();
        assert_eq!(pack_one(&path, Haste::None, &|| false).unwrap(), Packed::One);
    }

    #[test]
    fn stopping_leaves_the_plain_file_and_no_draft() {
        let (dir, path) = trail();
        let looks = std::sync::atomic::AtomicU32::new(0);
        let second = || looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0;
        pack(&path, &second).unwrap();
        assert_eq!(names(&dir), [NAME, "audit.jsonl"]);
    }

    #[test]
    fn an_index_of_another_file_is_not_believed() {
        let (dir, path) = trail();
        pack(&path, &|| false).unwrap();
        let packed = dir.path().join(format!("{NAME}.zst"));
        std::fs::write(&packed, zstd::encode_all(line(300).as_bytes(), 3).unwrap()).unwrap();
        assert!(Index::of(&list(&path).unwrap()[0]).is_none(), "another size");
    }
}
