//! Certificate, key, bundles and CRLs from their files, followed as they change.
//!
//! There are two groups: our own pair (certificate and key), and whom we believe (bundles and CRLs).
//!
//! Invariants: a group is read and parsed before any of it is replaced; a group that cannot be used whole changes nothing and raises
//! an alarm, once for each change; neither group waits for the other, so that a key that cannot be used holds up no revocation;
//! at the start both must be good; open connections go on, and are re-checked by their owners ([`Trust::changes`]).

use super::crl::CrlError;
use super::keyfile::{self, FileError, Secrecy};
use super::own::{OwnError, OwnIdentity, OwnPair};
use super::trust::{TimeSource, Trust, TrustError, TrustSet};
use crate::config::{IdentityFiles, TrustFiles};
use crate::model::Time;
use aws_lc_rs::digest::{self, Digest, SHA256};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(1);

/// A file that was changed less than this before it was read may change again without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// Our certificate or key.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bundle.
    #[error(transparent)]
    Trust(TrustError),
    /// A revocation list.
    #[error("`{}` {source}", path.display())]
    Crl {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: CrlError,
    },
}

/// What a look at the files led to.
#[derive(Debug)]
pub enum Change {
    /// New files are in use: when each thing that is in use runs out (`certificate`, `bundle:<trust domain>`, `crl`).
    InUse(Vec<(String, Time)>),
    /// The files of one group cannot be used; what was in use of it before still is.
    Kept(ReloadError),
}

/// Hears of every [`Change`]: for metrics. Must not block.
pub type Observer = Box<dyn Fn(&Change) + Send + Sync>;

/// The files of one half of the program, and what is in use of them.
pub struct Reloader {
    identity: IdentityFiles,
    trust_files: TrustFiles,
    own: Arc<OwnIdentity>,
    trust: Arc<Trust>,
    observer: Observer,
    pair_files: Group,
    set_files: Group,
    stamps: Stamps,
}

/// Files that are replaced together or not at all.
struct Group {
    /// What they are, for whoever reads the alarm.
    name: &'static str,
    /// The digest of what is in use.
    in_use: Box<[u8]>,
    failing: Option<Failing>,
}

/// A failure that was seen. The first look at it raises no alarm: certificate and key are two files, and cannot be replaced in
/// one step.
struct Failing {
    /// The digest, where the files could be read, and the error.
    what: (Option<Box<[u8]>>, String),
    alarmed: bool,
}

/// What the file system tells about each file; `None` where nothing can be told, or not for certain.
type Stamps = Option<Vec<(u64, u64, u64, i64, i64)>>;

/// What the files of a group held.
trait Contents {
    fn digest(&self) -> Box<[u8]>;
}

struct PairContents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

struct SetContents {
    bundles: Vec<(String, Vec<u8>)>,
    crls: Vec<Vec<u8>>,
}

impl Reloader {
    /// Loads everything for the first time.
    ///
    /// # Errors
    /// [`ReloadError`] for the first file that cannot be used.
    pub fn load(
        identity: IdentityFiles,
        trust_files: TrustFiles,
        now: TimeSource,
        observer: Observer,
    ) -> Result<Self, ReloadError> {
        let stamps = stamps(&identity, &trust_files, now());
        let pair_contents = PairContents::read(&identity)?;
        let set_contents = SetContents::read(&trust_files)?;
        let pair = pair_contents.parse(&identity, now())?;
        let set = set_contents.parse(&trust_files)?;
        let reloader = Self {
            identity,
            trust_files,
            own: OwnIdentity::new(pair),
            trust: Trust::new(set, now),
            observer,
            pair_files: Group::new("certificate and key", &pair_contents),
            set_files: Group::new("trust bundles and revocation lists", &set_contents),
            stamps,
        };
        (reloader.observer)(&reloader.in_use());
        Ok(reloader)
    }

    /// What listeners and clients show; follows the files while [`Reloader::run`] runs.
    #[must_use]
    pub fn own(&self) -> Arc<OwnIdentity> {
        self.own.clone()
    }

    /// Whom they believe; follows the files while [`Reloader::run`] runs.
    #[must_use]
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.clone()
    }

    /// Looks at the files each second until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reloader = self;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let look = tokio::task::spawn_blocking(move || {
                reloader.poll();
                reloader
            });
            match look.await {
                Ok(returned) => reloader = returned,
                Err(error) => {
                    tracing::error!(%error, "certificates and revocation lists are no longer followed");
                    return;
                }
            }
        }
    }

    /// Looks at the files once (blocking).
    pub fn poll(&mut self) {
        let now = self.trust.now();
        let stamps = stamps(&self.identity, &self.trust_files, now);
        let is_failing = self.pair_files.failing.is_some() || self.set_files.failing.is_some();
        if stamps.is_some() && stamps == self.stamps && !is_failing {
            return;
        }
        self.stamps = stamps;
        // The pair first: whoever connects anew because of the other group shows the new one.
        let pair = self.pair_files.changed(&self.observer, PairContents::read(&self.identity), |contents| {
            contents.parse(&self.identity, now)
        });
        let set = self.set_files.changed(&self.observer, SetContents::read(&self.trust_files), |contents| {
            contents.parse(&self.trust_files)
        });
        let is_changed = pair.is_some() || set.is_some();
        if let Some(pair) = pair {
            self.own.replace(pair);
        }
        // Not for a new certificate of ours alone: each replacement has every connection checked again.
        if let Some(set) = set {
            self.trust.replace(set);
        }
        if is_changed {
            tracing::info!("certificates, trust bundles or revocation lists were reloaded");
            (self.observer)(&self.in_use());
        }
    }

    fn in_use(&self) -> Change {
        let own = ("certificate".to_owned(), self.own.current().not_after());
        Change::InUse(std::iter::once(own).chain(self.trust.current().ends()).collect())
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Group {
    fn new(name: &'static str, contents: &impl Contents) -> Self {
        Self { name, in_use: contents.digest(), failing: None }
    }

    /// What is to be put in use, if the files have changed and can be used; an alarm if they cannot.
    fn changed<C: Contents, T>(
        &mut self,
        observer: &Observer,
        read: Result<C, FileError>,
        parse: impl FnOnce(&C) -> Result<T, ReloadError>,
    ) -> Option<T> {
        let contents = match read {
            Ok(contents) => contents,
            Err(error) => {
                self.fail(observer, None, error.into());
                return None;
            }
        };
        let digest = contents.digest();
        if digest == self.in_use {
            self.failing = None;
            return None;
        }
        match parse(&contents) {
            Ok(parsed) => {
                self.in_use = digest;
                self.failing = None;
                Some(parsed)
            }
            Err(error) => {
                self.fail(observer, Some(digest), error);
                None
            }
        }
    }

    fn fail(&mut self, observer: &Observer, digest: Option<Box<[u8]>>, error: ReloadError) {
        let what = (digest, error.to_string());
        match &mut self.failing {
            Some(failing) if failing.what == what => {
                if !failing.alarmed {
                    failing.alarmed = true;
                    let files = self.name;
                    tracing::error!(
                        files,
                        error = %Chain(&error),
                        "a reload of certificates failed, the old ones stay in use"
                    );
                    observer(&Change::Kept(error));
                }
            }
            failing => *failing = Some(Failing { what, alarmed: false }),
        }
    }
}

/// An error with its sources, for one log line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

impl PairContents {
    fn read(files: &IdentityFiles) -> Result<Self, FileError> {
        Ok(Self {
            certificate: keyfile::read(&files.certificate, Secrecy::Public)?,
            key: keyfile::read(&files.key, Secrecy::Private)?,
        })
    }

    fn parse(&self, files: &IdentityFiles, now: Time) -> Result<OwnPair, ReloadError> {
        Ok(OwnPair::parse(files, &self.certificate, &self.key, now)?)
    }
}

impl Contents for PairContents {
    fn digest(&self) -> Box<[u8]> {
        hash([&self.certificate, &self.key])
    }
}

impl SetContents {
    fn read(files: &TrustFiles) -> Result<Self, FileError> {
        let public = |path: &PathBuf| keyfile::read(path, Secrecy::Public);
        Ok(Self {
            bundles: files
                .bundles
                .iter()
                .map(|(domain, path)| Ok((domain.clone(), public(path)?)))
                .collect::<Result<_, FileError>>()?,
            crls: files.crls.iter().map(public).collect::<Result<_, _>>()?,
        })
    }

    fn parse(&self, files: &TrustFiles) -> Result<TrustSet, ReloadError> {
        let bundles = self.bundles.iter().map(|(domain, pem)| (domain.as_str(), pem.as_slice()));
        TrustSet::parse(bundles, self.crls.iter().map(Vec::as_slice)).map_err(|error| {
            if let TrustError::Crl { position, source } = error {
                let path = files.crls.get(position.saturating_sub(1)).cloned().unwrap_or_default();
                ReloadError::Crl { path, source }
            } else {
                ReloadError::Trust(error)
            }
        })
    }
}

impl Contents for SetContents {
    fn digest(&self) -> Box<[u8]> {
        hash(self.bundles.iter().map(|(_, pem)| pem).chain(&self.crls))
    }
}

/// Each file by its length and content, so that no two lists of files are the same.
fn hash<'a>(files: impl IntoIterator<Item = &'a Vec<u8>>) -> Box<[u8]> {
    let mut context = digest::Context::new(&SHA256);
    for file in files {
        context.update(&(file.len() as u64).to_be_bytes());
        context.update(file);
    }
    let digest: Digest = context.finish();
    digest.as_ref().into()
}

fn stamps(identity: &IdentityFiles, trust: &TrustFiles, now: Time) -> Stamps {
    let own = [&identity.certificate, &identity.key];
    let paths = own.into_iter().chain(trust.bundles.values()).chain(&trust.crls);
    paths.map(|path| stamp(path, now)).collect()
}

fn stamp(path: &Path, now: Time) -> Option<(u64, u64, u64, i64, i64)> {
    let metadata = std::fs::metadata(path).ok()?;
    let changed = Time::from_micros(metadata.ctime().saturating_mul(1_000_000));
    if now < changed.plus(SETTLED) {
        return None;
    }
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Some((
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        nanos(metadata.mtime(), metadata.mtime_nsec()),
        nanos(metadata.ctime(), metadata.ctime_nsec()),
    ))
}
